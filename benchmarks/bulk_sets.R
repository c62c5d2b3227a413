# Every table of R files as CSV: Rscript bulk_sets.R RAW OUT; an entry of a list is named by its path, file.object.entry.csv
words <- commandArgs(trailingOnly = TRUE)
written <- function(value, name) {
  if (is.data.frame(value) || is.matrix(value)) write.csv(value, file.path(words[2], paste0(name, ".csv")))
  else if (is.list(value)) for (part in names(value)) written(value[[part]], paste0(name, ".", part))
  else if (!is.null(names(value))) write.csv(data.frame(value), file.path(words[2], paste0(name, ".csv")))
}
for (path in list.files(words[1], "\\.(rda|RData|rds)$", full.names = TRUE)) {
  name <- sub("\\.[^.]*$", "", basename(path))
  if (grepl("rds$", path)) written(readRDS(path), name)
  else {
    room <- new.env()
    for (object in load(path, room)) written(get(object, room), object)
  }
}

# Labelled cells out of R files, as matrices that benchmarks.cell_types reads: Rscript benchmarks/cell_types.R RAW OUT
# RAW holds, from the newest snapshots of GitHub repositories in November 2026:
#   darmanis.RData, darmanis_anno.RData  vign/{NormalizedData,Anno}_GSE67835.RData of gjhunt/dtangle
#   baron.RData                          data/pancreas.RData of zhiyhu/CIDER (the human cells are taken)
#   ginhoux.rda                          data/ginhoux.rda of rcannood/SCORPIUS
#   symphony_expr.rda, symphony_meta.rda data/pbmcs_{exprs,meta}_small.rda of immunogenomics/symphony
# and mclust's partition of any table: Rscript benchmarks/cell_types.R --mclust TABLE K OUT
suppressMessages(library(Matrix))
words <- commandArgs(trailingOnly = TRUE)
if (words[1] == "--mclust") {
  suppressMessages(library(mclust))
  fitted <- Mclust(as.matrix(read.csv(words[2], header = FALSE)), G = as.integer(words[3]), verbose = FALSE)
  writeLines(as.character(fitted$classification), words[4])
  quit()
}
held <- function(name) {
  room <- new.env()
  suppressWarnings(load(file.path(words[1], name), room))
  room[[ls(room)[1]]]
}
keep <- function(name, values, type) { # genes × cells
  writeMM(as(Matrix(as.matrix(values), sparse = TRUE), "generalMatrix"), file.path(words[2], paste0(name, ".mtx")))
  writeLines(as.character(type), file.path(words[2], paste0(name, ".types")))
}
brain <- held("darmanis.RData")
keep("darmanis", brain - min(brain), held("darmanis_anno.RData")[colnames(brain), "CellType"])
pancreas <- attributes(held("baron.RData"))
of_man <- grepl("human", pancreas$meta.data[[which(sapply(pancreas$meta.data, function(x) any(grepl("^human1$", x))))[1]]])
types <- pancreas$meta.data[[which(sapply(pancreas$meta.data, function(x) any(x == "alpha")))[1]]]
keep("baron", attributes(pancreas$assays[[1]])$counts[, of_man], types[of_man])
progenitors <- held("ginhoux.rda")
keep("ginhoux", t(progenitors$expression), progenitors$sample_info$group_name)
blood <- held("symphony_expr.rda")
about <- held("symphony_meta.rda")
for (chemistry in c("3pv2", "5p")) {
  mine <- about$donor == chemistry
  keep(paste0("pbmc_", chemistry), blood[, mine], about$cell_type[mine])
}

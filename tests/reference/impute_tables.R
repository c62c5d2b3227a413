# Tables with gaps that R packages ship, as TSV: Rscript tests/reference/impute_tables.R FOLDER [FOLDER of mvnmle/data]
# Sources and licences: impute_tables.md beside this file.
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
keep <- function(name, table) {
  write.table(table, file.path(folder, paste0("impute_", name, ".tsv")),
    sep = "\t", quote = FALSE, na = "", row.names = FALSE, eol = "\n"
  )
}
codes <- function(table) as.data.frame(lapply(table, function(x) if (is.factor(x)) as.integer(x) else x))
keep("airquality", datasets::airquality[, c("Ozone", "Solar.R", "Wind", "Temp")])
keep("nhanes", mice::nhanes[, c("age", "bmi", "hyp", "chl")])
boys <- mice::boys
keep("boys", cbind(
  codes(boys[, c("age", "hgt", "wgt", "bmi", "hc", "gen", "phb", "tv")]),
  sapply(c("east", "west", "south", "city"), function(level) as.integer(boys$reg == level))
))
sleep <- mice::mammalsleep
keep("sleep", data.frame(
  log_bw = log(sleep$bw), log_brw = log(sleep$brw), sws = sleep$sws, ps = sleep$ps,
  log_mls = log(sleep$mls), log_gt = log(sleep$gt), pi = sleep$pi, sei = sleep$sei, odi = sleep$odi
))
keep("mammalsleep", sleep[, -1])
pbcseq <- survival::pbcseq
keep("pbcseq", data.frame(
  day = pbcseq$day, age = round(pbcseq$age, 3), female = as.integer(pbcseq$sex == "f"),
  pbcseq[, c("ascites", "hepato", "spiders", "edema", "bili", "chol", "albumin", "alk.phos", "ast", "platelet",
    "protime", "stage")]
))
if (length(arguments) > 1) {
  for (name in c("apple", "missvals")) {
    load(file.path(arguments[2], paste0(name, ".rda")))
    keep(name, get(name))
  }
}

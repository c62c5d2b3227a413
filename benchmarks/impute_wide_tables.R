# Real tables for benchmarks/impute_wide.py: Rscript impute_wide_tables.R FOLDER [LIBRARY]
# bladder.csv 57 x 400 (package bladderbatch), ALL.csv 128 x 2000 (package ALL): genes at random among the 5,000 that vary most;
# gasoline.csv 60 x 401 near-infrared spectra (package pls). A package that is not installed is left out.
arguments <- commandArgs(trailingOnly = TRUE)
if (length(arguments) > 1) .libPaths(c(arguments[2], .libPaths()))
written <- function(values, name) write.csv(values, file.path(arguments[1], paste0(name, ".csv")), row.names = FALSE)
genes <- function(package, data, columns) {
  if (!requireNamespace(package, quietly = TRUE)) return(invisible())
  room <- new.env()
  utils::data(list = data, package = package, envir = room)
  values <- t(Biobase::exprs(room[[ls(room)[1]]]))
  set.seed(1)
  kept <- sort(sample(order(-apply(values, 2, var))[1:5000], columns))
  written(round(values[, kept], 5), if (package == "ALL") "ALL" else "bladder")
}
genes("bladderbatch", "bladderdata", 400)
genes("ALL", "ALL", 2000)
if (requireNamespace("pls", quietly = TRUE)) {
  utils::data("gasoline", package = "pls")
  written(unclass(gasoline$NIR), "gasoline")
}

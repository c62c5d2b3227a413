# Makes mclust_families.json and thyroid.tsv beside this file: Rscript tests/reference/mclust_families.R
# For each data set, covariance family and number of components: the log-likelihood, degrees of freedom, BIC and ICL of
# mclust's `me` from its own hierarchical partition, at a tight tolerance; NA where mclust has no value. ICL as in
# mclust's icl(): BIC plus twice the sum of the logs of the largest responsibilities; larger is better for both.
# Tables: as in mclust.R; thyroid from mclust (Coomans et al. 1983, Methods Inf. Med. 22, 93-101); the breast-cancer
# nuclei are scikit-learn's copy, one row a line in the file given as argument, each column to mean 0 and variance 1.
suppressMessages(library(mclust))
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
nuclei <- commandArgs(trailingOnly = TRUE)[1]
data(diabetes); data(thyroid)
tables <- list(iris = iris[, 1:4], faithful = faithful, diabetes = diabetes[, 2:4], thyroid = thyroid[, 2:6],
  nuclei = scale(read.table(nuclei)))
write.table(tables$thyroid, file.path(folder, "thyroid.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
families <- c("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV")
# The orientation of EVE and VVE converges slowly in mclust: a bound in 30 columns, where only "not below" is asked.
control <- function(family, d) {
  slow <- d > 20 && family %in% c("EVE", "VVE")
  emControl(eps = .Machine$double.eps, tol = c(1e-14, 1e-14), itmax = if (slow) c(200L, 20L) else c(20000L, 500L))
}
text <- function(value) if (length(value) == 0 || is.na(value)) "null" else sprintf("%.17g", value)
rows <- c(); partitions <- c()
for (name in names(tables)) {
  x <- as.matrix(tables[[name]]); n <- nrow(x); d <- ncol(x)
  tree <- hc(x, modelName = mclust.options("hcModelName"), use = mclust.options("hcUse"))
  for (k in 1:5) {
    labels <- if (k == 1) rep(1, n) else as.vector(hclass(tree, k))
    partitions <- c(partitions, sprintf('  "%s %d": "%s"', name, k, paste(labels, collapse = "")))
    for (family in families) {
      took <- system.time(fit <- tryCatch(suppressWarnings(me(x, modelName = family, z = unmap(labels), control = control(family, d))),
        error = function(e) list(loglik = NA, z = NULL)))[["elapsed"]]
      df <- nMclustParams(family, d, k)
      bic <- 2 * fit$loglik - df * log(n)
      top <- if (is.null(fit$z) || anyNA(fit$z)) NA else sum(log(apply(fit$z, 1, max)))
      rows <- c(rows, sprintf('  {"data": "%s", "family": "%s", "n_components": %d, "loglik": %s, "df": %d, "bic": %s, "icl": %s, "iterations": %s}',
        name, family, k, text(fit$loglik), as.integer(df), text(bic), text(bic + 2 * top), text(attr(fit, "info")["iterations"])))
      cat(name, k, family, text(fit$loglik), took, "\n")
    }
  }
}
writeLines(c("{", sprintf(' "mclust": "%s",', packageVersion("mclust")),
  sprintf(' "r": "%s.%s",', R.version$major, R.version$minor),
  ' "script": "tests/reference/mclust_families.R",',
  ' "partitions": {', paste(partitions, collapse = ",\n"), " },",
  ' "fits": [', paste(rows, collapse = ",\n"), " ]", "}"), file.path(folder, "mclust_families.json"))

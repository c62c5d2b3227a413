# Makes mclust.json, faithful.tsv and diabetes.tsv beside this file: Rscript tests/reference/mclust.R
# For each data set, model and number of components: mclust's own partition (model-based hierarchical
# clustering), the log-likelihood that its EM reaches from there at a tight tolerance, and its degrees of freedom.
# Tables: faithful from R's datasets (Azzalini & Bowman 1990, Appl. Stat. 39, 357-365); the three measurements of
# diabetes from mclust (Reaven & Miller 1979, Diabetologia 16, 17-24); iris (Fisher 1936) is read from scikit-learn.
suppressMessages(library(mclust))
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
data(diabetes)
tables <- list(iris = iris[, 1:4], faithful = faithful, diabetes = diabetes[, 2:4])
for (name in c("faithful", "diabetes")) {
  write.table(tables[[name]], file.path(folder, paste0(name, ".tsv")), sep = "\t", quote = FALSE, row.names = FALSE)
}
control <- emControl(eps = .Machine$double.eps, tol = c(1e-15, 1e-15), itmax = c(100000L, 100000L))
rows <- c()
for (name in names(tables)) {
  x <- as.matrix(tables[[name]])
  tree <- hc(x, modelName = mclust.options("hcModelName"), use = mclust.options("hcUse"))
  for (model in c("VVV", "EEE", "VVI", "VII")) {
    for (k in 1:5) {
      labels <- if (k == 1) rep(1, nrow(x)) else as.vector(hclass(tree, k))
      fit <- suppressWarnings(me(x, modelName = model, z = unmap(labels), control = control))
      loglik <- if (is.na(fit$loglik)) "null" else sprintf("%.17g", fit$loglik)
      rows <- c(rows, sprintf(
        '  {"data": "%s", "model": "%s", "n_components": %d, "loglik": %s, "df": %d, "iterations": %d, "labels": "%s"}',
        name, model, k, loglik, as.integer(nMclustParams(model, ncol(x), k)),
        as.integer(attr(fit, "info")["iterations"]), paste(labels, collapse = "")))
    }
  }
}
writeLines(c("{",
  sprintf(' "mclust": "%s",', packageVersion("mclust")),
  sprintf(' "r": "%s.%s",', R.version$major, R.version$minor),
  ' "script": "tests/reference/mclust.R",',
  ' "fits": [', paste(rows, collapse = ",\n"), " ]", "}"), file.path(folder, "mclust.json"))

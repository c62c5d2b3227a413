# One peer of benchmarks/impute_speed.py: Rscript impute_peers.R PEER TABLE ROWS COLUMNS CRITERION ANSWER [LIBRARY]
# TABLE holds float64 by column, NaN where missing. ANSWER receives a mean and a covariance; stdout the version, CPU and wall seconds, and how far the
# peak of memory was raised, MB.
arguments <- commandArgs(trailingOnly = TRUE)
peer <- arguments[1]
n <- as.integer(arguments[3])
d <- as.integer(arguments[4])
criterion <- as.numeric(arguments[5])
if (length(arguments) > 6) .libPaths(c(arguments[7], .libPaths()))
package <- if (peer %in% c("amelia", "bootstrap")) "Amelia" else peer
suppressPackageStartupMessages(library(package, character.only = TRUE))
x <- matrix(readBin(arguments[2], "double", n * d), n, d)
x[is.nan(x)] <- NA
colnames(x) <- paste0("x", seq_len(d))

moments <- function(filled) {
  filled <- as.matrix(filled)
  list(mean = colMeans(filled), covariance = cov(filled) * (n - 1) / n)
}

boot <- if (peer == "bootstrap") "ordinary" else "none"
run <- list(
  norm = function() {
    table <- prelim.norm(x)
    found <- getparam.norm(table, em.norm(table, showits = FALSE, criterion = criterion, maxits = 1000))
    list(mean = found$mu, covariance = found$sigma)
  },
  norm2 = function() {
    found <- emNorm(x, criterion = criterion, iter.max = 1000, estimate.worst = FALSE)
    list(mean = as.vector(found$param$beta), covariance = found$param$sigma)
  },
  amelia = function() {
    found <- amelia(x, m = 1, p2s = 0, boot.type = boot, tolerance = criterion)
    # Its parameters are those of standardised columns, those with fewest gaps first.
    back <- order(order(colSums(is.na(x))))
    unit <- apply(x, 2, sd, na.rm = TRUE)
    covariance <- found$covMatrices[back, back, 1] * outer(unit, unit)
    list(mean = colMeans(x, na.rm = TRUE) + unit * found$mu[back, 1], covariance = covariance)
  },
  mice = function() {
    moments(complete(mice(as.data.frame(x), m = 1, method = "norm", printFlag = FALSE, seed = 1)))
  }
)[[if (peer == "bootstrap") "amelia" else peer]]

set.seed(1)
if (peer == "norm") rngseed(1)
memory <- function(line) as.numeric(gsub("[^0-9]", "", grep(line, readLines("/proc/self/status"), value = TRUE))) / 1024
invisible(gc())
writeLines("5", "/proc/self/clear_refs")
before <- memory("^VmRSS")
used <- system.time(answer <- run())
above <- memory("^VmHWM") - before
writeBin(c(as.vector(answer$mean), as.vector(answer$covariance)), arguments[6])
cat(as.character(packageVersion(package)), sum(used[c("user.self", "sys.self")]), used["elapsed"], above, "\n")

# Makes squarem.json beside this file: Rscript tests/reference/squarem.R (some minutes; package SQUAREM)
# Varadhan & Roland (2008), Scand. J. Stat. 35, 335-353. For each problem of slow_problems.py, its data and its hundred
# starts: squarem with the default allowance of a fall (objfn.inc = 1 nat) and with none (objfn.inc = 0), in unconstrained
# parameters (log odds, logarithms, log-Cholesky). A pass is one call of the EM map; the climb is there at the first call
# whose argument is within 1e-8 nats of the top. Calls of the objective alone are not counted.
suppressMessages(library(SQUAREM))
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
source(file.path(folder, "slow_problems.R"))

# One run: the log-likelihood at each call of the map, and the falls between accepted points.
run <- function(problem, row, allowance) {
  trace <- c()
  of <- watched(problem, function(v, loglik) trace <<- c(trace, loglik))
  control <- list(objfn.inc = allowance, tol = 1e-10, maxiter = 3000, intermed = TRUE)
  end <- try(squarem(problem$pack(row), of$map, of$minus_loglik, control = control), silent = TRUE)
  if (inherits(end, "try-error")) return(list(failed = TRUE, trace = trace))
  accepted <- -end$p.intermed[, ncol(end$p.intermed)]
  falls <- -diff(accepted)
  real <- falls > 1e-12 * (1 + abs(accepted[-length(accepted)]))
  list(failed = FALSE, trace = trace, n_falls = sum(real), largest = max(0, falls[real]))
}

number <- function(x) paste0("[", paste(ifelse(is.na(x), "null", sprintf("%.17g", x)), collapse = ", "), "]")
blocks <- c()
for (name in names(problems)) {
  starts <- read(paste0("slow_", name, "_starts"))
  for (kind in c("default", "monotone")) {
    runs <- lapply(seq_len(nrow(starts)), function(i) {
      run(problems[[name]], as.numeric(starts[i, ]), if (kind == "default") 1 else 0)
    })
    tops <- sapply(runs, function(r) if (r$failed) NA else max(r$trace, na.rm = TRUE))
    best <- max(tops, na.rm = TRUE)
    first <- function(r, top) if (r$failed) NA else which(r$trace >= top - near)[1]
    own <- mapply(first, runs, tops)
    global <- sapply(runs, first, best)
    blocks <- c(blocks, sprintf(paste0(
      '  {"problem": "%s", "control": "%s", "best": %.17g, "n_failed": %d, "n_at_best": %d,\n',
      '   "median": %g, "percentile_95": %g, "median_own_top": %g, "percentile_95_own_top": %g,\n',
      '   "n_runs_with_falls": %d, "n_falls": %d, "largest_fall": %.6g,\n',
      '   "passes": %s,\n   "passes_own_top": %s,\n   "tops": %s}'),
      name, kind, best, sum(is.na(tops)), sum(!is.na(global)),
      median(global, na.rm = TRUE), quantile(global, 0.95, na.rm = TRUE),
      median(own, na.rm = TRUE), quantile(own, 0.95, na.rm = TRUE),
      sum(sapply(runs, function(r) !r$failed && r$n_falls > 0)),
      sum(sapply(runs, function(r) if (r$failed) 0 else r$n_falls)),
      max(sapply(runs, function(r) if (r$failed) 0 else r$largest)),
      number(global), number(own), number(tops)))
    cat(sub(",\n   \"passes\".*", "", blocks[length(blocks)]), "\n")
  }
}
writeLines(c("{",
  sprintf(' "SQUAREM": "%s",', packageVersion("SQUAREM")),
  sprintf(' "r": "%s.%s",', R.version$major, R.version$minor),
  ' "script": "tests/reference/squarem.R",',
  sprintf(' "near": %g,', near),
  ' "results": [', paste(blocks, collapse = ",\n"), " ]", "}"), file.path(folder, "squarem.json"))

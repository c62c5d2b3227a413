# Makes squarem.json beside this file: Rscript tests/reference/squarem.R (some minutes; package SQUAREM)
# Varadhan & Roland (2008), Scand. J. Stat. 35, 335-353. For each problem of slow_problems.py, its data and its hundred
# starts: squarem with the default allowance of a fall (objfn.inc = 1 nat) and with none (objfn.inc = 0), in unconstrained
# parameters (log odds, logarithms, log-Cholesky). A pass is one call of the EM map; the climb is there at the first call
# whose argument is within 1e-8 nats of the top. Calls of the objective alone are not counted.
suppressMessages(library(SQUAREM))
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
read <- function(name) as.matrix(read.table(file.path(folder, paste0(name, ".tsv")), header = TRUE, sep = "\t"))
near <- 1e-8

# Each problem: pack(row of starts) and step(vector), which gives the log-likelihood there and the EM image.
london_times <- function() {
  n <- c(162, 267, 271, 185, 111, 61, 27, 8, 3, 1)
  y <- 0:9
  pack <- function(row) c(qlogis(row[1]), log(row[2:3]))
  step <- function(v) {
    w <- plogis(v[1])
    r <- exp(v[2:3])
    joint <- cbind(w * dpois(y, r[1]), (1 - w) * dpois(y, r[2]))
    both <- rowSums(joint)
    counts <- n * joint / both
    total <- colSums(counts)
    list(loglik = sum(n * log(both)), image = c(log(total[1] / total[2]), log(colSums(counts * y) / total)))
  }
  list(pack = pack, step = step)
}

overlap <- function() {
  x <- as.vector(read("slow_overlap"))
  pack <- function(row) c(log(row[1:2] / row[3]), row[4:6], log(row[7:9]) / 2)
  step <- function(v) {
    w <- exp(c(v[1:2], 0))
    w <- w / sum(w)
    logs <- sapply(1:3, function(k) log(w[k]) + dnorm(x, v[2 + k], exp(v[5 + k]), log = TRUE))
    most <- do.call(pmax, as.data.frame(logs))
    joint <- exp(logs - most)
    both <- rowSums(joint)
    share <- joint / both
    total <- colSums(share)
    mean <- colSums(share * x) / total
    variance <- colSums(share * outer(x, mean, "-")^2) / total
    list(loglik = sum(log(both) + most), image = c(log(total[1:2] / total[3]), mean, log(variance) / 2))
  }
  list(pack = pack, step = step)
}

missing_cells <- function() {
  x <- read("slow_missing")
  d <- ncol(x)
  seen <- !is.na(x)
  groups <- split(seq_len(nrow(x)), apply(seen, 1, paste, collapse = ""))
  lower <- which(lower.tri(diag(d), diag = TRUE))
  triangle <- function(factor) {
    diag(factor) <- log(diag(factor))
    factor[lower]
  }
  pack <- function(row) {
    s <- matrix(0, d, d)
    s[upper.tri(s, diag = TRUE)] <- row[-(1:d)]  # rows of the lower triangle are columns of the upper one
    s[lower.tri(s)] <- t(s)[lower.tri(s)]
    c(row[1:d], triangle(t(chol(s))))
  }
  step <- function(v) {
    mean <- v[1:d]
    factor <- matrix(0, d, d)
    factor[lower] <- v[-(1:d)]
    diag(factor) <- exp(diag(factor))
    s <- tcrossprod(factor)
    first <- rep(0, d)
    second <- matrix(0, d, d)
    loglik <- 0
    for (rows in groups) {
      o <- which(seen[rows[1], ])
      m <- which(!seen[rows[1], ])
      root <- chol(s[o, o, drop = FALSE])
      centred <- t(x[rows, o, drop = FALSE]) - mean[o]
      white <- backsolve(root, centred, transpose = TRUE)
      loglik <- loglik - length(rows) * (length(o) * log(2 * pi) / 2 + sum(log(diag(root)))) - sum(white^2) / 2
      full <- matrix(0, d, length(rows))
      full[o, ] <- centred
      if (length(m)) {
        half <- backsolve(root, s[o, m, drop = FALSE], transpose = TRUE)
        full[m, ] <- crossprod(half, white)
        second[m, m] <- second[m, m] + length(rows) * (s[m, m] - crossprod(half))
      }
      first <- first + rowSums(full)
      second <- second + tcrossprod(full)
    }
    shift <- first / nrow(x)
    list(loglik = loglik, image = c(mean + shift, triangle(t(chol(second / nrow(x) - tcrossprod(shift))))))
  }
  list(pack = pack, step = step)
}

# One run: the log-likelihood at each call of the map, and the falls between accepted points.
run <- function(problem, row, allowance) {
  trace <- c()
  last <- NULL
  at <- function(v) {
    if (is.null(last) || !identical(last$v, v)) last <<- c(list(v = v), suppressWarnings(problem$step(v)))
    last
  }
  map <- function(v) {
    here <- at(v)
    trace <<- c(trace, here$loglik)
    here$image
  }
  control <- list(objfn.inc = allowance, tol = 1e-10, maxiter = 3000, intermed = TRUE)
  end <- try(squarem(problem$pack(row), map, function(v) -at(v)$loglik, control = control), silent = TRUE)
  if (inherits(end, "try-error")) return(list(failed = TRUE, trace = trace))
  accepted <- -end$p.intermed[, ncol(end$p.intermed)]
  falls <- -diff(accepted)
  real <- falls > 1e-12 * (1 + abs(accepted[-length(accepted)]))
  list(failed = FALSE, trace = trace, n_falls = sum(real), largest = max(0, falls[real]))
}

number <- function(x) paste0("[", paste(ifelse(is.na(x), "null", sprintf("%.17g", x)), collapse = ", "), "]")
problems <- list(london_times = london_times(), overlap = overlap(), missing = missing_cells())
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

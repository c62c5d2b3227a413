# The problems of slow_problems.py in R, in unconstrained parameters (log odds, logarithms, log-Cholesky); `folder` is where this
# file lies. Each problem: pack(row of starts) and its inverse unpack(vector); step(vector) gives the log-likelihood there and the EM image.
read <- function(name) as.matrix(read.table(file.path(folder, paste0(name, ".tsv")), header = TRUE, sep = "\t"))
near <- 1e-8 # nats from the maximum at which a climb is counted as there

london_times <- function() {
  n <- c(162, 267, 271, 185, 111, 61, 27, 8, 3, 1)
  y <- 0:9
  pack <- function(row) c(qlogis(row[1]), log(row[2:3]))
  unpack <- function(v) c(plogis(v[1]), exp(v[2:3]))
  step <- function(v) {
    w <- plogis(v[1])
    r <- exp(v[2:3])
    joint <- cbind(w * dpois(y, r[1]), (1 - w) * dpois(y, r[2]))
    both <- rowSums(joint)
    counts <- n * joint / both
    total <- colSums(counts)
    list(loglik = sum(n * log(both)), image = c(log(total[1] / total[2]), log(colSums(counts * y) / total)))
  }
  list(pack = pack, unpack = unpack, step = step)
}

overlap <- function() {
  x <- as.vector(read("slow_overlap"))
  pack <- function(row) c(log(row[1:2] / row[3]), row[4:6], log(row[7:9]) / 2)
  unpack <- function(v) c(exp(c(v[1:2], 0)) / sum(exp(c(v[1:2], 0))), v[3:5], exp(2 * v[6:8]))
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
  list(pack = pack, unpack = unpack, step = step)
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
  covariance <- function(v) {
    factor <- matrix(0, d, d)
    factor[lower] <- v[-(1:d)]
    diag(factor) <- exp(diag(factor))
    tcrossprod(factor)
  }
  unpack <- function(v) {
    s <- covariance(v)
    c(v[1:d], s[upper.tri(s, diag = TRUE)])
  }
  step <- function(v) {
    mean <- v[1:d]
    s <- covariance(v)
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
  list(pack = pack, unpack = unpack, step = step)
}

problems <- list(london_times = london_times(), overlap = overlap(), missing = missing_cells())

# The EM map and minus the log-likelihood as R's packages want them. One E-step gives both, so what is asked twice in a row
# at one place is computed once; `on_pass` is told the place and the log-likelihood of each call of the map, `on_step` of each E-step.
# Where the E-step fails minus the log-likelihood is Inf, so that a search along a line can go too far; the map fails there.
watched <- function(problem, on_pass, on_step = function() NULL) {
  last <- NULL
  at <- function(v) {
    if (is.null(last) || !identical(last$v, v)) {
      on_step()
      last <<- c(list(v = v), suppressWarnings(problem$step(v)))
    }
    last
  }
  map <- function(v) {
    here <- at(v)
    on_pass(v, here$loglik)
    here$image
  }
  list(map = map, minus_loglik = function(v) tryCatch(-at(v)$loglik, error = function(e) Inf))
}

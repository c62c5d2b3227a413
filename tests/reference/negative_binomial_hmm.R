# Makes negative_binomial_hmm.json: maximum likelihood of a hidden Markov model of negative binomial counts by nlm, on the
# earthquakes of hmmlearn_series.json. Run: Rscript negative_binomial_hmm.R > negative_binomial_hmm.json
# The start is free, as in emtools; the likelihood is the scaled forward recursion of Zucchini & MacDonald (2009), section 3.2.
suppressPackageStartupMessages(library(jsonlite))
args <- commandArgs(FALSE)
here <- dirname(sub("--file=", "", args[grep("--file=", args)]))
counts <- as.vector(fromJSON(file.path(here, "hmmlearn_series.json"))$earthquakes)

share <- function(x) { e <- exp(c(0, x) - max(0, x)); e / sum(e) }
read <- function(v, k) list(
  start = share(v[seq_len(k - 1)]),
  transition = t(sapply(seq_len(k), function(i) share(v[k - 1 + (i - 1) * (k - 1) + seq_len(k - 1)]))),
  means = exp(v[k^2 - 1 + seq_len(k)]),
  dispersions = exp(v[k^2 - 1 + k + seq_len(k)]))
loss <- function(v, k) {
  p <- read(v, k)
  forward <- p$start * dnbinom(counts[1], size = 1 / p$dispersions, mu = p$means)
  total <- log(sum(forward)); forward <- forward / sum(forward)
  for (x in counts[-1]) {
    forward <- as.vector(forward %*% p$transition) * dnbinom(x, size = 1 / p$dispersions, mu = p$means)
    total <- total + log(sum(forward)); forward <- forward / sum(forward)
  }
  if (is.finite(total)) -total else 1e10
}
climb <- function(k) {
  set.seed(k)
  best <- NULL
  for (trial in 1:20) {
    v <- c(rnorm(k^2 - 1), log(quantile(counts, (seq_len(k) - 0.5) / k)) + rnorm(k, sd = 0.1), rnorm(k, -4))
    for (again in 1:3) {
      end <- suppressWarnings(nlm(loss, v, k = k, iterlim = 2000, gradtol = 1e-9, steptol = 1e-12, ndigit = 14))
      v <- end$estimate
    }
    if (is.null(best) || end$minimum < best$minimum) best <- end
  }
  p <- read(best$estimate, k)
  o <- order(p$means)
  list(loglik = -best$minimum, means = p$means[o], dispersions = p$dispersions[o])
}
cat(toJSON(list(tool = R.version.string, states_2 = climb(2), states_3 = climb(3)), digits = 12, auto_unbox = TRUE, pretty = TRUE), "\n")

# Fills masked tables by mice, Amelia or missForest; started by impute_accuracy.py.
# Usage: Rscript impute_accuracy.R METHOD TRUTH.csv MASKED.csv SEED, with or without --sources=FILE.R of missForest.
# Prints the normalised root mean square error over the masked cells (NA where the method fails) and what it said.
arguments <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(stats))
sources <- sub("--sources=", "", grep("^--sources=", arguments, value = TRUE))
arguments <- grep("^--", arguments, value = TRUE, invert = TRUE)
truth <- as.matrix(read.csv(arguments[2]))
masked <- read.csv(arguments[3])
cells <- is.na(as.matrix(masked)) & !is.na(truth)
mean_of <- function(tables) Reduce("+", lapply(tables, as.matrix)) / length(tables)
fill <- list(
  mice = function() {
    done <- mice::mice(masked, m = 5, method = "pmm", printFlag = FALSE, seed = as.integer(arguments[4]) + 1)
    mean_of(lapply(1:5, function(k) mice::complete(done, k)))
  },
  Amelia = function() {
    set.seed(as.integer(arguments[4]))
    done <- Amelia::amelia(masked, m = 5, p2s = 0)
    if (done$code != 1) done <- Amelia::amelia(masked, m = 5, p2s = 0, empri = max(1, 0.01 * nrow(masked)))
    mean_of(done$imputations)
  },
  missForest = function() {
    set.seed(as.integer(arguments[4]))
    if (length(sources)) {
      suppressPackageStartupMessages(library(randomForest))
      source(sources)
      return(as.matrix(missForest(masked)$ximp))
    }
    as.matrix(missForest::missForest(masked)$ximp)
  }
)[[arguments[1]]]
said <- ""
filled <- tryCatch(suppressWarnings(fill()), error = function(e) {
  said <<- gsub("[\t\n]", " ", conditionMessage(e))
  NULL
})
error <- NA
if (!is.null(filled)) {
  gaps <- is.na(filled)
  if (any(gaps & cells)) {
    said <- paste(sum(gaps & cells), "cells left empty, filled with the mean")
    filled[gaps] <- colMeans(masked, na.rm = TRUE)[col(filled)[gaps]]
  }
  scale <- apply(truth, 2, sd, na.rm = TRUE)
  error <- sqrt(mean((((filled - truth) / scale[col(truth)])[cells])^2))
}
cat(formatC(error, digits = 10, format = "g"), said, sep = "\t")

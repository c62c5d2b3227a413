# Independent maximum likelihood of a multivariate normal with missing values: lavaan's saturated model (FIML).
# Intercept and iteration warnings are expected: nothing but the unrestricted moments is used, at a tolerance below rounding.
# Usage: Rscript tests/reference/normal.R > tests/reference/normal.lavaan.json
# The data of airquality and nhanes go into the output too; those of pbc lie in resources/pbc.csv.
suppressPackageStartupMessages(library(lavaan))
markers <- c("bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime")
tables <- list(
  airquality = datasets::airquality[, c("Ozone", "Solar.R", "Wind", "Temp")],
  nhanes = mice::nhanes[, c("age", "bmi", "hyp", "chl")],
  pbc = survival::pbc[, markers]
)
number <- function(x) paste0("[", paste(formatC(x, digits = 17, format = "g"), collapse = ", "), "]")
entries <- c()
for (name in names(tables)) {
  table <- tables[[name]]
  # Scaled by powers of two, so that the optimiser sees similar units and the way back is exact.
  scale <- 2^round(log2(sapply(table, sd, na.rm = TRUE)))
  scaled <- as.data.frame(sweep(as.matrix(table), 2, scale, "/"))
  fit <- suppressWarnings(lavaan(
    paste(names(table), "~~", names(table), collapse = "\n"), data = scaled, missing = "ml", fixed.x = FALSE,
    meanstructure = TRUE, do.fit = FALSE, baseline = FALSE, em.h1.iter.max = 20000, em.h1.tol = 1e-14
  ))
  # The unrestricted moments come from lavaan's own EM with the tolerance above.
  moments <- fit@SampleStats@missing.h1[[1]]
  mean <- as.numeric(moments$mu) * scale
  covariance <- as.matrix(moments$sigma) * outer(scale, scale)
  observed <- colSums(!is.na(table))
  scaled_loglik <- lavaan:::lav_mvnorm_missing_loglik_data(as.matrix(scaled), Mu = moments$mu, Sigma = moments$sigma)
  loglik <- as.numeric(scaled_loglik) - sum(observed * log(scale))
  rows <- apply(as.matrix(table), 1, function(row) gsub("NA", "null", number(row)))
  entries <- c(entries, paste0(
    " \"", name, "\": {\n",
    "  \"columns\": [\"", paste(names(table), collapse = "\", \""), "\"],\n",
    "  \"loglik\": ", formatC(loglik, digits = 17, format = "g"), ",\n",
    "  \"mean\": ", number(mean), ",\n",
    "  \"covariance\": [", paste(apply(covariance, 1, number), collapse = ",\n   "), "]",
    if (name == "pbc") "" else paste0(",\n  \"data\": [", paste(rows, collapse = ",\n   "), "]"), "\n }"
  ))
}
versions <- c(R = paste0(R.version$major, ".", R.version$minor), sapply(c("lavaan", "survival", "mice"), function(p) {
  as.character(packageVersion(p))
}))
entries <- c(entries, paste0(" \"versions\": {", paste0("\"", names(versions), "\": \"", versions, "\"", collapse = ", "), "}"))
cat("{\n", paste(entries, collapse = ",\n"), "\n}\n", sep = "")

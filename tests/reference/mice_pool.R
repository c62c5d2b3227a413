# Rubin's rules by mice: estimates and squared standard errors of regressions on m completed tables, and what pool() makes
# of them. The completed tables of the cases with tables = TRUE go into the output too, so that the whole command can be
# compared. The joint test is pool.compare(method = "wald"), which leaves correlations between coefficients out.
# Usage: Rscript tests/reference/mice_pool.R > tests/reference/mice_pool.json
suppressPackageStartupMessages(library(mice))
number <- function(x) {
  text <- formatC(as.numeric(x), digits = 17, format = "g")
  text[is.infinite(x)] <- "null"
  paste0("[", paste(text, collapse = ", "), "]")
}
rows <- function(x) paste0("[", paste(apply(as.matrix(x), 1, number), collapse = ",\n   "), "]")
words <- function(x) paste0("[\"", paste(x, collapse = "\", \""), "\"]")
air <- datasets::airquality
air$High <- as.integer(air$Temp > 79)
nhanes <- mice::nhanes
nhanes$hyp <- nhanes$hyp - 1
cases <- list(
  list(name = "nhanes, 2", data = nhanes, m = 2, formula = chl ~ age + bmi),
  list(name = "nhanes, 5", data = nhanes, m = 5, formula = chl ~ age + bmi, tables = TRUE),
  list(name = "nhanes, 20", data = nhanes, m = 20, formula = bmi ~ age + hyp + chl),
  list(name = "nhanes, binomial", data = nhanes, m = 5, formula = hyp ~ age, family = "binomial", tables = TRUE),
  list(name = "nhanes, large sample", data = nhanes, m = 5, formula = chl ~ age + bmi, dfcom = Inf),
  list(name = "airquality, 3", data = air, m = 3, formula = Ozone ~ Wind + Temp + Solar.R),
  list(name = "airquality, 10", data = air, m = 10, formula = Solar.R ~ Wind + Temp),
  list(name = "airquality, complete columns", data = air, m = 4, formula = Temp ~ Wind),
  list(name = "airquality, poisson", data = air, m = 3, formula = Day ~ Wind + Ozone, family = "poisson", tables = TRUE),
  list(name = "airquality, binomial", data = air, m = 10, formula = High ~ Ozone + Wind, family = "binomial")
)
fields <- c("estimate", "ubar", "b", "t", "df", "riv", "lambda", "fmi")
entries <- c()
for (case in cases) {
  imputed <- mice(case$data, m = case$m, method = "norm", maxit = 5, seed = 7, printFlag = FALSE)
  tables <- lapply(seq_len(case$m), function(i) complete(imputed, i))
  family <- if (is.null(case$family)) "gaussian" else case$family
  hurdle <- if (family == "binomial") "hyp" else ""
  if (hurdle %in% names(tables[[1]])) tables <- lapply(tables, function(t) { t$hyp <- as.integer(t$hyp > 0.5); t })
  # Three decimals, so that the stored tables are the tables that were analysed.
  tables <- lapply(tables, function(t) { t[] <- lapply(t, round, 3); t[, all.vars(case$formula)] })
  # A second fit from the coefficients of the first, since glm's covariance is that of the step before its last one.
  one <- function(t) {
    if (family == "gaussian") return(lm(case$formula, t))
    exact <- glm.control(epsilon = 1e-14, maxit = 100)
    first <- glm(case$formula, family = family, data = t, control = exact)
    glm(case$formula, family = family, data = t, control = exact, start = coef(first))
  }
  fits <- lapply(tables, one)
  pooled <- pool(as.mira(fits), dfcom = case$dfcom)$pooled
  interval <- summary(pool(as.mira(fits), dfcom = case$dfcom), conf.int = TRUE)
  entries <- c(entries, paste0(
    " {\"name\": \"", case$name, "\", \"formula\": \"", deparse(case$formula), "\", \"family\": \"", family, "\",\n",
    "  \"terms\": ", words(as.character(pooled$term)), ",\n",
    "  \"estimates\": ", rows(do.call(rbind, lapply(fits, coef))), ",\n",
    "  \"variances\": ", rows(do.call(rbind, lapply(fits, function(f) diag(vcov(f))))), ",\n",
    "  \"dfcom\": ", if (is.infinite(pooled$dfcom[1])) "null" else pooled$dfcom[1], ",\n",
    paste0("  \"", fields, "\": ", sapply(fields, function(f) number(pooled[[f]])), collapse = ",\n"), ",\n",
    "  \"p_value\": ", number(interval$p.value), ",\n",
    "  \"lower\": ", number(interval[["2.5 %"]]), ",\n",
    "  \"upper\": ", number(interval[["97.5 %"]]),
    if (isTRUE(case$tables)) paste0(
      ",\n  \"columns\": ", words(names(tables[[1]])),
      ",\n  \"tables\": [", paste(sapply(tables, rows), collapse = ",\n  "), "]"
    ) else "", "}"
  ))
}
imputed <- mice(nhanes, m = 5, method = "norm", maxit = 5, seed = 7, printFlag = FALSE)
joint <- lapply(c(5, 2), function(m) {
  fits <- lapply(seq_len(m), function(i) lm(chl ~ age + bmi, complete(imputed, i)))
  smaller <- lapply(seq_len(m), function(i) lm(chl ~ 1, complete(imputed, i)))
  test <- suppressWarnings(pool.compare(as.mira(fits), as.mira(smaller), method = "wald"))
  paste0(
    " {\"estimates\": ", rows(do.call(rbind, lapply(fits, function(f) coef(f)[-1]))),
    ",\n  \"variances\": ", rows(do.call(rbind, lapply(fits, function(f) diag(vcov(f))[-1]))),
    ",\n  \"statistic\": ", number(test$Dm), ", \"increase\": ", number(test$rm),
    ", \"df\": ", number(c(test$df1, test$df2)), ", \"p_value\": ", number(test$pvalue), "}"
  )
})
cat(
  "{\n\"versions\": {\"R\": \"", R.version$major, ".", R.version$minor, "\", \"mice\": \"",
  as.character(packageVersion("mice")), "\"},\n\"cases\": [\n", paste(entries, collapse = ",\n"),
  "\n],\n\"joint\": [\n", paste(unlist(joint), collapse = ",\n"), "\n]\n}\n", sep = ""
)

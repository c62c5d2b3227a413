# Real tables for benchmarks/impute_limits_more.py: Rscript impute_limits_tables.R FOLDER
# Positive measurements of patients, blood, urine, soil and air that R packages ship; a package that is not installed is left out.
arguments <- commandArgs(trailingOnly = TRUE)
written <- function(name, package, data, columns, chosen = identity, from = data) {
  if (!requireNamespace(package, quietly = TRUE)) return(invisible())
  room <- new.env()
  utils::data(list = data, package = package, envir = room)
  table <- chosen(as.data.frame(do.call(rbind, mget(from, envir = room))))
  write.csv(table[, columns], file.path(arguments[1], paste0(name, ".csv")), row.names = FALSE, na = "")
}
every <- function(step) function(table) table[seq(1, nrow(table), step), ]
written("flchain", "survival", "flchain", c("age", "kappa", "lambda", "creatinine"), every(13))
written("mgus", "survival", "cancer", c("age", "hgb", "creat"), every(3), "mgus2")
written("thyroid", "mclust", "thyroid", c("RT3U", "T4", "T3", "TSH", "DTSH"))
written("reaven", "mclust", "diabetes", c("glucose", "insulin", "sspg"))
written("pima", "mlbench", "PimaIndiansDiabetes2", c("age", "glucose", "pressure", "triceps", "insulin", "mass", "pedigree"))
written("urine", "boot", "urine", c("gravity", "ph", "osmo", "cond", "urea", "calc"))
written("meuse", "sp", "meuse", c("elev", "cadmium", "copper", "lead", "zinc", "om"))
written("jura", "gstat", "jura", c("Cd", "Co", "Cr", "Cu", "Ni", "Pb", "Zn"), from = c("prediction.dat", "validation.dat"))
written("nox", "robustbase", "ambientNOxCH", c("ad", "ba", "ef", "la", "lu", "re", "ri", "se"))
written("athletes", "locfit", "ais", c("RCC", "WCC", "Hg", "Ferr", "BMI", "SSF", "LBM"))

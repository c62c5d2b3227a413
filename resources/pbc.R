# Makes resources/pbc.csv from R's survival package: Rscript resources/pbc.R > resources/pbc.csv
table <- survival::pbc[, c(
  "id", "time", "status", "trt", "age", "sex", "edema", "bili", "chol", "albumin",
  "copper", "alk.phos", "ast", "trig", "platelet", "protime", "stage"
)]
table$age <- round(table$age, 3)
write.csv(table, stdout(), row.names = FALSE, quote = FALSE, na = "", eol = "\n")

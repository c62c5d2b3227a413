# Peers of benchmarks/engine_speed.py: Rscript engine_speed.R FOLDER PROBLEM STARTS TOP; those not installed are left out.
# FOLDER holds slow_problems.R. A row on stdout for each start and peer: package, version, method, whether its EM map was asked within
# 1e-8 nats of TOP, calls of the map, E-steps and CPU seconds until then or until its own end, and the parameters there.
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
source(file.path(folder, "slow_problems.R"))
problem <- problems[[arguments[2]]]
starts <- read(paste0("slow_", arguments[2], "_starts"))
top <- as.numeric(arguments[4])
tolerance <- 1e-10 # tight, so that no peer stops before it is near
most <- 3000 # of their iterations

by_squarem <- function(allowance) function(start, map, value) {
  squarem(start, map, value, control = list(objfn.inc = allowance, tol = tolerance, maxiter = most))$par
}
by_turboem <- function(method) function(start, map, value) {
  found <- turboem(start, map, value,
    method = method, boundary = function(par, direction) c(-Inf, Inf), pconstr = function(par) TRUE,
    control.run = list(tol = tolerance, maxiter = most)
  )
  if (found$fail) stop(found$errors)
  found$pars[1, ]
}
peers <- list(
  SQUAREM = list(default = by_squarem(1), monotone = by_squarem(0)),
  turboEM = list(squarem = by_turboem("squarem"), pem = by_turboem("pem"), decme = by_turboem("decme"), qn = by_turboem("qn"))
)
here <- Filter(function(package) suppressWarnings(suppressPackageStartupMessages(require(package, character.only = TRUE))), names(peers))

# One climb, left by a condition that is no error where it is near: some peers catch errors.
run <- function(peer, row) {
  passes <- 0
  steps <- 0
  near_top <- function(v, loglik) {
    passes <<- passes + 1
    if (isTRUE(loglik >= top - near)) signalCondition(structure(list(v = v), class = c("near", "condition")))
  }
  of <- watched(problem, near_top, function() steps <<- steps + 1)
  began <- proc.time()
  end <- tryCatch(
    list(there = 0, v = suppressWarnings(peer(problem$pack(row), of$map, of$minus_loglik))),
    near = function(condition) list(there = 1, v = condition$v),
    error = function(condition) list(there = 0, v = NA * problem$pack(row))
  )
  seconds <- sum((proc.time() - began)[1:2])
  c(end$there, passes, steps, seconds, problem$unpack(unname(end$v)))
}

for (i in 0:as.integer(arguments[3])) for (package in here) for (name in names(peers[[package]])) {
  numbers <- run(peers[[package]][[name]], as.numeric(starts[max(i, 1), ])) # once untold, since R compiles what it runs again
  if (i) cat(package, as.character(packageVersion(package)), name, paste(sprintf("%.17g", numbers), collapse = "\t"), sep = "\t", fill = FALSE)
  if (i) cat("\n")
}

"""Acceleration of EM beside R's SQUAREM and turboEM: ``python -m benchmarks.engine_speed [--starts N]``.

Three slow problems (tests/reference/slow_problems.py), each from the first twenty of its hundred starts, to within 1e-8 nats of the
maximum: passes (calls of the EM map), E-steps (those for a log-likelihood alone counted too; ours gives both in one) and CPU ms,
refused proposals and looks included. R runs its peers start by start, ours run before and after them; ``times_steps`` and
``times_cpu`` are a peer's by ours. The step of R is interpreted and ours compiled, so E-steps are the fair figure; the CPU time
beside it is lower in R for all at ten counts (London Times) and for SQUAREM at 600 values, since what an engine does beside the step is all there is.
``never`` counts starts that end elsewhere or in an error, ``nats_short`` is the largest distance from the maximum of the other
answers (ours where it ends, a peer's where it is near), by one E-step of ours. Settings are defaults with a tolerance of 1e-10; "monotone" is SQUAREM without an allowance for steps
down (``objfn.inc = 0``), pem parabolic EM, decme dynamic ECME, qn quasi-Newton. turboEM is found by ``R_LIBS``.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from emtools.engine.chunks import total_stats
from emtools.engine.loop import climb
from emtools.engine.result import Pass
from tests.reference.slow_problems import HERE, NEAR, PARAMS, PROBLEMS, SlowProblem

SCRIPT = Path(__file__).with_suffix(".R")
TABLE = Path(__file__).with_suffix(".tsv")
KEYS = ["problem", "method"]
STARTS = 20
TOL = 1e-9  # nats: tighter than `NEAR`
TOLD = ["package", "version", "method", "there", "passes", "steps", "seconds"]


def by_us(problem: SlowProblem, n_starts: int) -> pd.DataFrame:
    """Where each of our climbs was near the top: passes, CPU seconds, and the log-likelihood at its end in nats."""
    rows = []
    for start in problem.starts[:n_starts]:
        near: list[tuple[int, float]] = []

        def on_pass(row: Pass, near: list[tuple[int, float]] = near) -> None:
            if not near and row.objective >= problem.maximum - NEAR:
                near.append((row.number + 1, process_time()))

        began = process_time()
        end = climb(problem.model, problem.source, start, tol=TOL, on_pass=on_pass)
        passes, until = near[0] if near else (len(end.trace), process_time())
        loglik = total_stats(problem.model, problem.source, end.params).loglik
        rows.append((bool(near), passes, passes, until - began, loglik))
    return pd.DataFrame(rows, columns=[*TOLD[3:], "loglik"]).assign(package="emtools", version="", method="")


def by_r(name: str, problem: SlowProblem, n_starts: int) -> pd.DataFrame:
    """The same of each peer that R has."""
    command = ["Rscript", str(SCRIPT), str(HERE), name, str(n_starts), repr(problem.maximum)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    rows = []
    for line in done.stdout.splitlines():
        *told, end = line.split("\t", len(TOLD))
        row = np.array(end.replace("NA", "nan").split("\t"), dtype=float)
        known = bool(np.isfinite(row).all())
        loglik = total_stats(problem.model, problem.source, PARAMS[name](row)).loglik if known else np.nan
        rows.append((*told[:3], told[3] == "1", *map(float, told[4:]), loglik))
    return pd.DataFrame(rows, columns=[*TOLD, "loglik"])


def summary(climbs: pd.DataFrame, maximum: float) -> dict[str, Any]:
    """One method on one problem."""
    there = climbs[climbs["there"]]
    return {
        "starts": len(climbs),
        "never": len(climbs) - len(there),
        "passes": there["passes"].median(),
        "passes_95": round(there["passes"].quantile(0.95)),
        "steps": there["steps"].median(),
        "cpu_ms": round(1e3 * there["seconds"].mean(), 1),
        "nats_short": f"{max(0.0, float((maximum - there['loglik']).max())):.1e}",
    }


def measured(name: str, n_starts: int) -> list[dict[str, Any]]:
    """Ours, all of R's, ours."""
    problem = PROBLEMS[name]()
    by_us(problem, 1)  # compiles
    first, peers, second = by_us(problem, n_starts), by_r(name, problem, n_starts), by_us(problem, n_starts)
    first["seconds"] = (first["seconds"] + second["seconds"]) / 2
    absent = {"SQUAREM", "turboEM"} - set(peers["package"])
    if absent:
        print(f"left out: R has no {' and no '.join(sorted(absent))}", flush=True)
    ours = {"problem": problem.title, "method": "emtools", **summary(first, problem.maximum)}
    rows = [ours]
    for (package, version, method), climbs in peers.groupby(TOLD[:3], sort=False):
        row = {"problem": problem.title, "method": f"{package} {version}, {method}", **summary(climbs, problem.maximum)}
        row["times_steps"] = round(row["steps"] / ours["steps"], 1)
        row["times_cpu"] = round(row["cpu_ms"] / ours["cpu_ms"], 1)
        rows.append(row)
    return rows


def merged(rows: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Rows in the place of the stored ones of the same keys; those of a peer that is not here stay."""
    titles = [make().title for make in PROBLEMS.values()]
    table = pd.concat([rows, stored], ignore_index=True).drop_duplicates(KEYS)
    return table.sort_values("problem", key=lambda column: column.map(titles.index), kind="stable")


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=STARTS)
    n_starts = parser.parse_args().starts
    with threadpool_limits(1):
        for name in PROBLEMS:
            rows = pd.DataFrame(measured(name, n_starts))
            print(rows.to_string(index=False), flush=True)
            table = merged(rows, pd.read_csv(TABLE, sep="\t", dtype=str)) if TABLE.exists() else rows
            table.to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

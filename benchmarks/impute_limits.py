"""Detection limits: what is filled in below them, beside usual substitutes. ``python -m benchmarks.impute_limits``

The serum markers of the diabetes table (all ten columns are in the model) and the laboratory markers of PBC (with age)
are censored, and what was filled in is compared with what had been there. NRMSE is the root mean square of
(filled - true) / (standard deviation of the complete column) over the censored cells of all columns together, bias the
mean of the same; "column" on the scale of the table, "model" on the scale on which the marker was modelled.

A marker is modelled on the scale named: ``none``, ``log`` (every censored marker; diabetes s5 is a logarithm as it
comes), or ``evidence``: a logarithm where the censored likelihood is for it by 3 nats (`log_evidence`). Each row is one
mask: ``low 30`` the lowest 30 % of every marker below one limit; ``one at a time`` the same of one marker while the
others are complete, all markers pooled; ``plates`` a limit at the 20 % point on one half of the rows, at the 40 % point
on the other; ``high 30`` the highest 30 %; ``both 15`` 15 % at either end; ``interval`` the lowest 30 % known to lie in
one of two intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from emtools.engine.chunks import total_stats
from emtools.engine.starts import fit
from emtools.kernels.censored import log_evidence
from emtools.kernels.readings import Readings
from emtools.models.censored_normal import CensoredNormal
from emtools.models.normal import NormalParams

TABLE = Path(__file__).with_name("impute_limits.tsv")
PBC = Path(__file__).parents[1] / "resources" / "pbc.csv"
PBC_COLUMNS = ["age", "bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime"]
STRONG = 3.0
DRAWS = 100


@dataclass(frozen=True)
class Table:
    """Values (n, d), which columns get limits, and which of them are logarithms already."""

    name: str
    values: np.ndarray
    limited: list[int]
    logged: frozenset[int]


def tables() -> list[Table]:
    pbc = pd.read_csv(PBC)[PBC_COLUMNS].to_numpy(float)
    diabetes = load_diabetes(scaled=False).data
    return [
        Table("diabetes", diabetes, list(range(4, 10)), frozenset([8])),
        Table("pbc", pbc, list(range(1, 10)), frozenset()),
    ]


def censor(values: np.ndarray, columns: list[int], mask: str) -> Readings:
    """The table with cells of some columns known only by bounds."""
    low, high = np.full(values.shape, -np.inf), np.full(values.shape, np.inf)
    plate = np.arange(len(values)) % 2 == 1
    for j in columns:
        column = values[:, j]
        points = {p: np.nanquantile(column, p / 100) for p in (15, 20, 30, 40, 70, 85)}
        limit = np.where(plate, points[20], points[40]) if mask == "plates" else points[15 if mask == "both 15" else 30]
        if mask != "high 30":
            high[:, j] = np.where(column < limit, limit, np.inf)
        if mask in ("high 30", "both 15"):
            top = points[70 if mask == "high 30" else 85]
            low[:, j] = np.where(column > top, top, low[:, j])
        if mask == "interval":
            inside = column < limit
            low[:, j] = np.where(inside & (column >= points[15]), points[15], low[:, j])
            high[:, j] = np.where(inside & (column < points[15]), points[15], high[:, j])
    bounded = np.isfinite(low) | np.isfinite(high)
    return Readings(np.where(bounded, np.nan, values), low, high)


def choose(known: Readings, table: Table, scale: str) -> np.ndarray:
    """Columns that are modelled as logarithms."""
    chosen = np.zeros(known.values.shape[1], dtype=bool)
    low, high = known.bounds()
    for j in table.limited:
        if scale == "log":
            chosen[j] = j not in table.logged
        elif scale == "evidence":
            chosen[j] = log_evidence(known.values[:, j], low[:, j], high[:, j], np.ones(len(low))) > STRONG
    return chosen


def forward(values: np.ndarray, logs: np.ndarray) -> np.ndarray:
    out = values.copy()
    with np.errstate(divide="ignore"):
        out[:, logs] = np.log(np.maximum(values[:, logs], 0.0))
    return out


def backward(values: np.ndarray, logs: np.ndarray) -> np.ndarray:
    out = values.copy()
    out[:, logs] = np.exp(values[:, logs])
    return out


@dataclass(frozen=True)
class Errors:
    """Errors of the censored cells in standard deviations of their columns, and the furthest beyond a bound."""

    column: np.ndarray
    model: np.ndarray
    beyond: float


def errors(filled: np.ndarray, table: Table, known: Readings, logs: np.ndarray) -> Errors:
    cells, (low, high) = known.bounded, known.bounds()
    scaled = forward(table.values, logs)
    by_column = (filled - table.values) / np.nanstd(table.values, axis=0)
    by_model = (forward(filled, logs) - scaled) / np.nanstd(scaled, axis=0)
    beyond = np.maximum(low - filled, filled - high)[cells].max()
    return Errors(by_column[cells], by_model[cells], float(beyond))


def fill(table: Table, columns: list[int], mask: str, scale: str) -> tuple[dict[str, Errors], int, float, float]:
    """Errors by method, rows approximated, CPU seconds, and the largest fall of a plain pass relative to loglik."""
    known = censor(table.values, columns, mask)
    logs = choose(known, table, scale)
    low, high = known.bounds()
    scaled = Readings(forward(known.values, logs), *(forward(bound, logs) for bound in (low, high)))
    model = CensoredNormal(table.values.shape[1])
    source = model.source(scaled)
    began = process_time()
    params = fit(model, source).params
    spent = process_time() - began
    alone = NormalParams(source.means, np.diag(source.sds**2))

    def completed(values: np.ndarray) -> np.ndarray:
        back = np.clip(backward(values, logs), low, high)
        return np.where(known.bounded, back, table.values)

    rng = np.random.default_rng(1)
    drawn = [completed(model.draw(params, scaled, rng)) for _ in range(DRAWS if len(columns) > 1 else 0)]
    found = {
        "multivariate": completed(model.conditional(params, scaled)[0]),
        "tobit": completed(model.conditional(alone, scaled)[0]),
    }
    if drawn:
        found["multivariate, mean of draws"] = np.mean(drawn, axis=0)
    if mask in ("low 30", "one at a time", "plates"):
        for name, factor in (("LOD/2", 0.5), ("LOD/sqrt 2", 0.5**0.5)):
            found[name] = np.where(known.bounded, np.where(known.bounded, high, 0.0) * factor, table.values)
    params, before, fall = model.initial_params(source, rng, "moments"), -np.inf, 0.0
    for _ in range(30):
        stats = total_stats(model, source, params)
        fall = max(fall, (before - stats.loglik) / abs(stats.loglik))
        before, params = stats.loglik, model.m_step(stats, params)
    approximate = int((known.bounded.sum(axis=1) > 2).sum())
    return {name: errors(value, table, known, logs) for name, value in found.items()}, approximate, spent, fall


def main() -> None:
    lines = []
    for table in tables():
        runs = [("low 30", s) for s in ("none", "log", "evidence")]
        runs += [(mask, "evidence") for mask in ("one at a time", "plates", "high 30", "both 15", "interval")]
        for mask, scale in runs:
            parts = [[j] for j in table.limited] if mask == "one at a time" else [table.limited]
            done = [fill(table, columns, "low 30" if len(columns) == 1 else mask, scale) for columns in parts]
            for method in done[0][0]:
                each = [found[method] for found, _, _, _ in done]
                column, model = (np.concatenate([getattr(e, name) for e in each]) for name in ("column", "model"))
                lines.append(
                    {
                        "table": table.name,
                        "mask": mask,
                        "scale": scale,
                        "method": method,
                        "cells": column.size,
                        "nrmse_column": round(float(np.sqrt(np.mean(column**2))), 3),
                        "bias_column": round(float(column.mean()), 3),
                        "nrmse_model": round(float(np.sqrt(np.mean(model**2))), 3),
                        "bias_model": round(float(model.mean()), 3),
                        "beyond_bound": max(0.0, max(e.beyond for e in each)),
                        "rows_approximated": sum(rows for _, rows, _, _ in done),
                        "largest_fall": float(f"{max(fall for _, _, _, fall in done):.1e}"),
                    }
                )
            told = lines[-1]
            print(table.name, mask, scale, told["cells"], f"{sum(s for _, _, s, _ in done):.2f} CPU s", flush=True)
    pd.DataFrame(lines).to_csv(TABLE, sep="\t", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

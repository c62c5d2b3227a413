"""Detection limits: what is filled in below them, beside usual substitutes. ``python -m benchmarks.impute_limits``

The serum markers of the diabetes table (all ten columns are in the model) and the laboratory markers of PBC (with age)
are censored, and what was filled in is compared with what had been there. NRMSE is the root mean square of
(filled - true) / (standard deviation of the complete column) over the censored cells of all columns together, bias the
mean of the same; "column" on the scale of the table, "model" on the scale on which the marker was modelled.

A marker is modelled on the scale named: ``none``, ``log`` (every censored marker; diabetes s5 is a logarithm as it
comes), ``alone``: the power of each marker by its own censored likelihood, ``chosen``: powers by the likelihood of the
whole table (`emtools.imputing.scaling.limited_scales`, the default of the command), ``oracle``: as ``chosen``, but for
the true values, which nobody has. "by marker" rows are those of the multivariate model, one censored marker each. Each row is one
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
from emtools.imputing.complete import fill as fill_gaps
from emtools.imputing.complete import to_scales
from emtools.imputing.scaling import alone, limited_scales, of_power
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity, Log, Scale
from emtools.models.censored_normal import CensoredNormal
from emtools.models.normal import NormalParams

TABLE = Path(__file__).with_name("impute_limits.tsv")
PBC = Path(__file__).parents[1] / "resources" / "pbc.csv"
PBC_COLUMNS = ["age", "bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime"]


@dataclass(frozen=True)
class Table:
    """Values (n, d), which columns get limits, and which of them are logarithms already."""

    name: str
    names: list[str]
    values: np.ndarray
    limited: list[int]
    logged: frozenset[int]


def tables() -> list[Table]:
    pbc = pd.read_csv(PBC)[PBC_COLUMNS].to_numpy(float)
    diabetes = load_diabetes(scaled=False).data
    return [
        Table("diabetes", load_diabetes().feature_names, diabetes, list(range(4, 10)), frozenset([8])),
        Table("pbc", PBC_COLUMNS, pbc, list(range(1, 10)), frozenset()),
    ]


def censor(values: np.ndarray, columns: list[int], mask: str) -> Readings:
    """The table with cells of some columns known only by bounds."""
    low, high = np.full(values.shape, -np.inf), np.full(values.shape, np.inf)
    plate = np.arange(len(values)) % 2 == 1
    end, share = mask.split() if " " in mask else (mask, "30")
    for j in columns:
        column = values[:, j]
        points = {p: np.nanquantile(column, p / 100) for p in (15, 20, 40, int(share), 100 - int(share))}
        limit = np.where(plate, points[20], points[40]) if mask == "plates" else points[int(share)]
        if end != "high":
            high[:, j] = np.where(column < limit, limit, np.inf)
        if end in ("high", "both"):
            top = points[100 - int(share)]
            low[:, j] = np.where(column > top, top, low[:, j])
        if mask == "interval":
            inside = column < limit
            low[:, j] = np.where(inside & (column >= points[15]), points[15], low[:, j])
            high[:, j] = np.where(inside & (column < points[15]), points[15], high[:, j])
    bounded = np.isfinite(low) | np.isfinite(high)
    return Readings(np.where(bounded, np.nan, values), low, high)


def choose(known: Readings, table: Table, scale: str) -> list[Scale]:
    """Scales of all columns."""
    found: list[Scale | None] = [None if j in table.limited else Identity() for j in range(known.values.shape[1])]
    for j in table.limited:
        if scale == "none" or (scale == "log" and j in table.logged):
            found[j] = Identity()
        elif scale == "log":
            found[j] = Log()
        elif scale == "alone" and known.bounded[:, j].any():
            found[j] = of_power(alone(known, j), known, j)
    chosen = limited_scales(as_intervals(table) if scale == "oracle" else known, found)
    return [one or chosen.get(j, Identity()) for j, one in enumerate(found)]


def as_intervals(table: Table) -> Readings:
    """The true table, one cell of each limited column known to a millionth only: its scale is chosen with all values."""
    values = table.values.copy()
    low, high = np.full(values.shape, -np.inf), np.full(values.shape, np.inf)
    for j in table.limited:
        row = int(np.nanargmin(np.abs(values[:, j] - np.nanmedian(values[:, j]))))
        low[row, j], high[row, j] = values[row, j] * (1.0 - 1e-6), values[row, j] * (1.0 + 1e-6)
        values[row, j] = np.nan
    return Readings(values, low, high)


def forward(values: np.ndarray, scales: list[Scale]) -> np.ndarray:
    return np.column_stack([scale.forward(column) for scale, column in zip(scales, values.T, strict=True)])


def backward(values: np.ndarray, scales: list[Scale]) -> np.ndarray:
    return np.column_stack([scale.inverse(column) for scale, column in zip(scales, values.T, strict=True)])


@dataclass(frozen=True)
class Errors:
    """Errors of the censored cells in standard deviations of their columns, and the furthest beyond a bound."""

    column: np.ndarray
    model: np.ndarray
    marker: np.ndarray
    beyond: float


def errors(filled: np.ndarray, table: Table, known: Readings, scales: list[Scale]) -> Errors:
    cells, (low, high) = known.bounded, known.bounds()
    scaled = forward(table.values, scales)
    by_column = (filled - table.values) / np.nanstd(table.values, axis=0)
    by_model = (forward(filled, scales) - scaled) / np.nanstd(scaled, axis=0)
    beyond = np.maximum(low - filled, filled - high)[cells].max()
    return Errors(by_column[cells], by_model[cells], np.nonzero(cells)[1], float(beyond))


def fill(table: Table, columns: list[int], mask: str, scale: str) -> tuple[dict[str, Errors], int, float, float]:
    """Errors by method, rows approximated, CPU seconds, and the largest fall of a plain pass relative to loglik."""
    known = censor(table.values, columns, mask)
    scales = choose(known, table, scale)
    low, high = known.bounds()
    scaled = to_scales(known, scales)
    model = CensoredNormal(table.values.shape[1])
    source = model.source(scaled)
    began = process_time()
    params = fit(model, source, certificate=False).params
    spent = process_time() - began
    each = NormalParams(source.means, np.diag(source.sds**2))

    def completed(values: np.ndarray) -> np.ndarray:
        back = np.clip(backward(values, scales), low, high)
        return np.where(known.bounded, back, table.values)

    def whole(values: np.ndarray) -> np.ndarray:
        return np.where(known.bounded, values, table.values)

    rng = np.random.default_rng(1)
    found = {
        "multivariate": whole(fill_gaps(model, params, known, scaled, scales, 0).values),
        "multivariate, mean on the scale": completed(model.conditional(params, scaled)[0]),
        "tobit": whole(fill_gaps(model, each, known, scaled, scales, 0).values),
    }
    if mask in ("low 30", "one at a time", "plates"):
        for name, factor in (("LOD/2", 0.5), ("LOD/sqrt 2", 0.5**0.5)):
            found[name] = np.where(known.bounded, np.where(known.bounded, high, 0.0) * factor, table.values)
    params, before, fall = model.initial_params(source, rng, "moments"), -np.inf, 0.0
    for _ in range(30):
        stats = total_stats(model, source, params)
        fall = max(fall, (before - stats.loglik) / abs(stats.loglik))
        before, params = stats.loglik, model.m_step(stats, params)
    approximate = int((known.bounded.sum(axis=1) > 2).sum())
    return {name: errors(value, table, known, scales) for name, value in found.items()}, approximate, spent, fall


def line(told: dict[str, object], column: np.ndarray, model: np.ndarray, rest: dict[str, object]) -> dict[str, object]:
    """A row of the table."""
    return {
        **told,
        "cells": column.size,
        "nrmse_column": round(float(np.sqrt(np.mean(column**2))), 3),
        "bias_column": round(float(column.mean()), 3),
        "nrmse_model": round(float(np.sqrt(np.mean(model**2))), 3),
        "bias_model": round(float(model.mean()), 3),
        **rest,
    }


def main() -> None:
    lines = []
    for table in tables():
        runs = [("low 30", s) for s in ("chosen", "alone", "none", "log", "oracle")]
        runs += [(mask, "chosen") for mask in ("high 30", "plates", "both 15", "interval", "one at a time")]
        runs += [("high 30", "alone"), ("high 30", "oracle"), ("plates", "oracle")]
        for mask, scale in runs:
            parts = [[j] for j in table.limited] if mask == "one at a time" else [table.limited]
            done = [fill(table, columns, "low 30" if len(columns) == 1 else mask, scale) for columns in parts]
            for method in done[0][0]:
                each = [found[method] for found, _, _, _ in done]
                column, model, marker = (
                    np.concatenate([getattr(e, name) for e in each]) for name in ("column", "model", "marker")
                )
                told = {"table": table.name, "mask": mask, "scale": scale, "method": method}
                rest = {
                    "beyond_bound": max(0.0, max(e.beyond for e in each)),
                    "rows_approximated": sum(rows for _, rows, _, _ in done),
                    "largest_fall": float(f"{max(fall for _, _, _, fall in done):.1e}"),
                }
                lines.append(line(told | {"marker": "all"}, column, model, rest))
                if method in ("multivariate", "tobit"):
                    lines += [
                        line(told | {"marker": table.names[j]}, column[marker == j], model[marker == j], rest)
                        for j in table.limited
                    ]
            print(table.name, mask, scale, f"{sum(s for _, _, s, _ in done):.2f} CPU s", flush=True)
            pd.DataFrame(lines).to_csv(TABLE, sep="\t", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

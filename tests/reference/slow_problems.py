"""Three problems on which plain EM is slow: data, a hundred starts and the maximum of each.

``python tests/reference/slow_problems.py`` draws the data and starts again; they lie beside this
file as slow_<name>.tsv and slow_<name>_starts.tsv, in natural parameters at full precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
STARTS = 100
NEAR = 1e-8  # nats from the maximum at which a climb is counted as there
# Largest log-likelihoods known, in nats: R's SQUAREM and ours agree in them to 2e-12, and exact.json has the first.
MAXIMUM = {"london_times": -1989.945859882964, "overlap": -1356.2500719425296, "missing": -352.525729565567}


@dataclass(frozen=True)
class SlowProblem:
    """A model, its data, starts and the top.

    Parameters
    ----------
    title : str
        For a table.
    model, source : Any
        Of emtools.
    starts : list of Params
        The hundred starts.
    maximum : float
        Largest log-likelihood known, in nats.
    """

    title: str
    model: Any
    source: Any
    starts: list[Any]
    maximum: float


def table(name: str) -> np.ndarray:
    return np.genfromtxt(HERE / f"{name}.tsv", skip_header=1, delimiter="\t")


def poisson_params(row: np.ndarray) -> Any:
    from emtools.models.count_mixture import PoissonParams

    return PoissonParams(np.array([row[0], 1.0 - row[0]]), row[1:, None].copy())


def mixture_params(row: np.ndarray) -> Any:
    from emtools.models.mixture import MixtureParams

    return MixtureParams(row[:3], row[3:6, None], row[6:, None, None].copy())


def normal_params(row: np.ndarray) -> Any:
    from emtools.models.normal import NormalParams

    covariance = np.zeros((6, 6))
    covariance[np.tril_indices(6)] = row[6:]
    return NormalParams(row[:6], covariance + np.tril(covariance, -1).T)


def london_times() -> SlowProblem:
    from emtools.engine.chunks import ArraySource
    from emtools.models.count_mixture import PoissonMixture

    counts = np.array(json.loads((HERE / "exact.json").read_text())["problems"]["london_times"]["data"], dtype=float)
    starts = [poisson_params(row) for row in table("slow_london_times_starts")]
    source = ArraySource(np.arange(len(counts), dtype=float)[:, None], counts)
    return SlowProblem("London Times", PoissonMixture(2, 1), source, starts, MAXIMUM["london_times"])


def overlap() -> SlowProblem:
    from emtools.engine.chunks import ArraySource
    from emtools.models.mixture import GaussianMixture

    starts = [mixture_params(row) for row in table("slow_overlap_starts")]
    title = "Three overlapping normals"
    return SlowProblem(
        title,
        GaussianMixture(3, 1, order_by=0),
        ArraySource(table("slow_overlap")[:, None]),
        starts,
        MAXIMUM["overlap"],
    )


def missing() -> SlowProblem:
    from emtools.models.normal import MultivariateNormal, PatternSource

    starts = [normal_params(row) for row in table("slow_missing_starts")]
    source = PatternSource(table("slow_missing"))
    return SlowProblem("Normal, 40 % missing", MultivariateNormal(6), source, starts, MAXIMUM["missing"])


PROBLEMS: dict[str, Callable[[], SlowProblem]] = {"london_times": london_times, "overlap": overlap, "missing": missing}
# A row of a table of starts, or of what R ends at, as parameters of ours.
PARAMS: dict[str, Callable[[np.ndarray], Any]] = {
    "london_times": poisson_params,
    "overlap": mixture_params,
    "missing": normal_params,
}


def write(name: str, header: list[str], rows: np.ndarray) -> None:
    """A table at full precision; an empty cell where there is nothing."""
    lines = ["\t".join(header)]
    lines += ["\t".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in np.atleast_2d(rows)]
    (HERE / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def draw_london_times() -> None:
    rng = np.random.default_rng(1969)
    rows = np.column_stack([rng.uniform(0.05, 0.95, STARTS), rng.uniform(0.1, 9.0, (STARTS, 2))])
    write("slow_london_times_starts", ["weight", "rate_1", "rate_2"], rows)


def draw_overlap() -> None:
    """Normals of standard deviation 1 at 0, 2.8 and 5.6; starts: three rows as means, the variance of the data."""
    rng = np.random.default_rng(3)
    component = rng.choice(3, 600, p=[0.35, 0.3, 0.35])
    values = np.array([0.0, 2.8, 5.6])[component] + rng.normal(size=600)
    rng = np.random.default_rng(1977)
    means = np.array([rng.choice(values, 3, replace=False) for _ in range(STARTS)])
    rows = np.column_stack([np.full((STARTS, 3), 1.0 / 3.0), means, np.full((STARTS, 3), values.var())])
    write("slow_overlap", ["value"], values[:, None])
    write("slow_overlap_starts", [f"{w}_{k}" for w in ("weight", "mean", "variance") for k in (1, 2, 3)], rows)


def draw_missing() -> None:
    """Two factors and own variances of 0.2 to 0.8, 40 % of the cells taken out at random; starts of any correlation."""
    rng = np.random.default_rng(27)
    loadings = rng.normal(size=(6, 2))
    covariance = loadings @ loadings.T + np.diag(rng.uniform(0.2, 0.8, 6))
    values = rng.multivariate_normal(np.zeros(6), covariance, 64)
    values[rng.random(values.shape) < 0.4] = np.nan
    values = values[~np.isnan(values).all(axis=1)]
    centre, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    rng = np.random.default_rng(1973)
    rows = []
    for _ in range(STARTS):
        sd = spread * 2.0 ** rng.normal(size=6)
        scatter = np.corrcoef(rng.normal(size=(6, 14))) * np.outer(sd, sd)
        rows.append(np.concatenate([centre + sd * rng.normal(size=6), scatter[np.tril_indices(6)]]))
    lower = [f"covariance_{i + 1}_{j + 1}" for i, j in zip(*np.tril_indices(6), strict=True)]
    write("slow_missing", [f"x{j + 1}" for j in range(6)], values)
    write("slow_missing_starts", [*(f"mean_{j + 1}" for j in range(6)), *lower], np.array(rows))


if __name__ == "__main__":
    draw_london_times()
    draw_overlap()
    draw_missing()

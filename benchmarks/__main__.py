"""Run all comparisons and write the table: ``python -m benchmarks``.

Each comparison alternates the two sides and takes the median CPU seconds of one thread, so that a busy machine
slows both. The log-likelihood of both answers is computed by one function. Only ratios are to be quoted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import sklearn
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.mixture import GaussianMixture as PeerMixture

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.kernels.readings import Readings
from emtools.models.mixture import GaussianMixture, MixtureParams, kmeans
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource

ROUNDS = 5
TABLE = Path(__file__).with_name("results.tsv")


@dataclass(frozen=True)
class Comparison:
    """One row of the table: two callables that return the log-likelihood or other quality of their answer."""

    task: str
    peer: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    quality: str


def cpu_seconds(run: Callable[[], float]) -> tuple[float, float]:
    """CPU seconds and quality of one run."""
    began = process_time()
    quality = run()
    return process_time() - began, quality


def blobs(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian groups and one row of each as a start."""
    rng = np.random.default_rng(1)
    centres = rng.normal(scale=2.0, size=(k, d))
    return centres[rng.integers(k, size=n)] + rng.normal(size=(n, d)), centres + rng.normal(scale=0.5, size=(k, d))


def compare_mixture(n: int, d: int, k: int, family: str, passes: int) -> Comparison:
    values, means = blobs(n, d, k)
    model, source = GaussianMixture(k, d, family), ArraySource(values)
    variance = float(values.var())
    start = MixtureParams(np.full(k, 1 / k), means, model.as_family(variance * np.eye(d)))
    precisions = {"full": np.repeat(np.eye(d)[None] / variance, k, axis=0), "diagonal": np.full((k, d), 1 / variance)}

    def loglik(params: MixtureParams) -> float:
        return total_stats(model, source, params).loglik

    def ours() -> float:
        params = start
        for _ in range(passes):
            params = model.m_step(total_stats(model, source, params), params)
        return loglik(params)

    def theirs() -> float:
        peer = PeerMixture(
            k,
            covariance_type={"full": "full", "diagonal": "diag"}[family],
            reg_covar=0.0,
            tol=0.0,
            max_iter=passes,
            weights_init=start.weights,
            means_init=means,
            precisions_init=precisions[family],
        ).fit(values)
        return loglik(MixtureParams(peer.weights_, peer.means_, peer.covariances_))

    peer = f"scikit-learn {sklearn.__version__} GaussianMixture"
    return Comparison(f"mixture {family} {n} x {d}, K={k}, {passes} passes", peer, ours, theirs, "loglik, nats")


def compare_kmeans(n: int, d: int, k: int) -> Comparison:
    values, means = blobs(n, d, k)
    model, source = kmeans(k, d), ArraySource(values)
    start = MixtureParams(np.full(k, 1 / k), means, np.ones(k))

    def ours() -> float:
        centres = climb(model, source, start, assign="hard", tol=1e-6).params.means
        return inertia(values, centres)

    def theirs() -> float:
        peer = KMeans(k, init=means, n_init=1, tol=0.0, algorithm="lloyd", max_iter=2000).fit(values)
        return inertia(values, peer.cluster_centers_)

    return Comparison(
        f"K-means {n} x {d}, K={k}, to the end", f"scikit-learn {sklearn.__version__} KMeans", ours, theirs, "-inertia"
    )


def inertia(values: np.ndarray, centres: np.ndarray) -> float:
    """Minus the sum of squared distances to the nearest centre."""
    squared = (values**2).sum(axis=1)[:, None] - 2 * values @ centres.T + (centres**2).sum(axis=1)
    return -float(squared.min(axis=1).sum())


def compare_normal(n: int, d: int) -> Comparison:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * rng.normal(size=(n, d))
    holes = rng.random((n, d)) < 0.2
    holes[holes.all(axis=1), 0] = False
    values = np.where(holes, np.nan, truth)
    scale = truth.std(axis=0)

    def error(filled: np.ndarray) -> float:
        return -float(np.sqrt((((filled - truth) / scale)[holes] ** 2).mean()))

    def ours() -> float:
        source, model = PatternSource(values), MultivariateNormal(d)
        start = NormalParams(np.nanmean(values, axis=0), np.diag(np.nanvar(values, axis=0)))
        return error(model.conditional(climb(model, source, start).params, Readings(values))[0])

    def theirs() -> float:
        return error(IterativeImputer(max_iter=50, random_state=0).fit_transform(values))

    peer = f"scikit-learn {sklearn.__version__} IterativeImputer, 50 iterations"
    return Comparison(f"missing values {n} x {d}, 20 % missing, to convergence", peer, ours, theirs, "-NRMSE")


COMPARISONS: tuple[Callable[[], Comparison], ...] = (
    partial(compare_mixture, 20_000, 20, 10, "full", 20),
    partial(compare_mixture, 20_000, 20, 10, "diagonal", 20),
    partial(compare_mixture, 200_000, 2, 3, "full", 20),
    partial(compare_kmeans, 50_000, 10, 8),
    partial(compare_normal, 2_000, 20),
)


def main() -> None:
    """Alternate, take medians, print and write the table."""
    rows = []
    warnings.simplefilter("ignore", ConvergenceWarning)
    for make in COMPARISONS:
        comparison = make()
        comparison.ours()
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(cpu_seconds(comparison.ours))
            theirs.append(cpu_seconds(comparison.theirs))
        ratios = [b[0] / a[0] for a, b in zip(ours, theirs, strict=True)]
        rows.append(
            {
                "task": comparison.task,
                "peer": comparison.peer,
                "times_faster": round(float(np.median(ratios)), 2),
                "lowest": round(min(ratios), 2),
                "highest": round(max(ratios), 2),
                "quality": comparison.quality,
                "ours": f"{ours[-1][1]:.10g}",
                "theirs": f"{theirs[-1][1]:.10g}",
            }
        )
        print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(TABLE, sep="\t", index=False)
    print(f"Table: {os.path.relpath(TABLE)}")


if __name__ == "__main__":
    main()

"""Gaps of tables with more columns than rows, filled by us and by peers: ``python -m benchmarks.impute_wide``.

Each method and table has a process of its own, whose CPU seconds (one thread, all included but for imports) and peak
resident memory are read at its end. A fifth of the cells is hidden completely at random, the same for all methods; the
error is the root mean square over them, each column in units of its standard deviation. Tables are simulated, or files:
``impute_wide_tables.R`` writes some, and ``pbmc`` is scanpy's ``pbmc68k_reduced``, 300 of its cells and the genes seen in a
twentieth of them. ``--seeds`` hides other cells (of a simulated table, of another one).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time

import numpy as np

TABLE = Path(__file__).with_suffix(".tsv")
SHARE = 0.2
SIZES = {"60x400": (60, 400), "300x2000": (300, 2000), "500x3000": (500, 3000)}
KINDS = ("factors", "blocks", "chain", "noise")


def make(kind: str, n: int, d: int, seed: int) -> np.ndarray:
    """A table: factors with unequal noise, blocks of 20 columns with heavy tails, a chain of neighbours, or noise alone."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.normal(size=(n, d))
    if kind == "factors":
        loadings = rng.normal(size=(d, 12)) * 0.9 ** np.arange(12)
        signal = rng.normal(size=(n, 12)) @ loadings.T / np.sqrt((loadings**2).sum(axis=1).mean())
        return np.sqrt(0.5) * signal + np.sqrt(0.5 * rng.gamma(3.0, 1.0 / 3.0, size=d)) * rng.normal(size=(n, d))
    if kind == "blocks":
        block = np.arange(d) // 20
        shared = rng.normal(size=(n, block.max() + 1))[:, block] * rng.choice([-1.0, 1.0], d)
        return np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.standard_t(4, size=(n, d)) / np.sqrt(2.0)
    rows = rng.normal(size=(n, d))
    for j in range(1, d):
        rows[:, j] = 0.9 * rows[:, j - 1] + np.sqrt(0.19) * rows[:, j]
    return rows


def read(name: str, seed: int) -> np.ndarray:
    """A table by name: ``kind:size``, ``pbmc``, or a comma-separated file of numbers with a header."""
    if name == "pbmc":
        return cells()
    if ":" in name:
        kind, size = name.split(":")
        return make(kind, *SIZES[size], seed)
    return np.genfromtxt(name, delimiter=",", skip_header=1)


def cells() -> np.ndarray:
    """300 cells of scanpy's `pbmc68k_reduced`, log-normalised, and the genes seen in at least 5 % of them."""
    import scanpy

    warnings.simplefilter("ignore")
    counts = scanpy.datasets.pbmc68k_reduced().raw.X.toarray()
    rows = counts[np.random.default_rng(0).choice(len(counts), 300, replace=False)].astype(np.float64)
    return rows[:, (rows > 0.0).mean(axis=0) > 0.05]


def standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns with mean 0 and standard deviation 1, and both."""
    centre, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return (values - centre) / spread, centre, spread


def by_mean(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values)


def by_neighbours(values: np.ndarray) -> np.ndarray:
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=10).fit_transform(values)


def by_regressions(values: np.ndarray, nearest: int) -> np.ndarray:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    passes = 10 if values.shape[1] <= 500 else 3
    warnings.simplefilter("ignore")
    return IterativeImputer(n_nearest_features=nearest, max_iter=passes, random_state=0).fit_transform(values)


def soft_threshold(values: np.ndarray, keep: np.ndarray, weight: float, start: np.ndarray, steps: int) -> np.ndarray:
    """Soft-thresholded singular values of the table with its gaps at the last estimate, again and again."""
    for _ in range(steps):
        left, lengths, right = np.linalg.svd(np.where(keep, np.nan_to_num(values), start), full_matrices=False)
        after = (left * np.maximum(lengths - weight, 0.0)) @ right
        close = np.linalg.norm(after - start) < 1e-3 * np.linalg.norm(start)
        start = after
        if close:
            break
    return start


def by_singular_values(values: np.ndarray) -> np.ndarray:
    """Soft-impute (Mazumder, Hastie & Tibshirani 2010), its weight by hidden cells along a warm-started path."""
    seen = ~np.isnan(values)
    keep = seen & (np.random.default_rng(0).random(values.shape) > 0.1)
    hidden, best, state = seen & ~keep, (np.inf, 0.0), np.zeros_like(values)
    top = np.linalg.svd(np.nan_to_num(values), compute_uv=False)[0]
    for weight in top * np.geomspace(0.9, 0.02, 12):
        state = soft_threshold(values, keep, weight, state, 30)
        best = min(best, (float(np.mean((state - values)[hidden] ** 2)), weight))
    return soft_threshold(values, seen, best[1], np.zeros_like(values), 60)


def by_components(values: np.ndarray) -> np.ndarray:
    """Probabilistic principal components, their number by hidden cells: our own model with isotropic noise."""
    from emtools.engine.loop import climb
    from emtools.kernels.readings import Readings
    from emtools.models.factor_analysis import FactorAnalysis

    seen = ~np.isnan(values)
    hidden = seen & (np.random.default_rng(0).random(values.shape) < 0.1)

    def fitted(table: np.ndarray, size: int) -> np.ndarray:
        model = FactorAnalysis(table.shape[1], size, "isotropic", least_noise=1e-6)
        source = model.source(Readings(table))
        start = model.initial_params(source, np.random.default_rng(0), "principal")
        return model.conditional(climb(model, source, start, tol=1.0, max_passes=60).params, Readings(table))[0]

    sizes = [q for q in (1, 2, 3, 5, 8, 12, 18, 27, 40) if q < len(values) / 2]
    kept = np.where(hidden, np.nan, values)
    errors = {q: float(np.mean((fitted(kept, q) - values)[hidden] ** 2)) for q in sizes}
    return fitted(values, min(errors, key=lambda q: errors[q]))


def by_us(values: np.ndarray) -> np.ndarray:
    from emtools.imputing.fitting import fit_table
    from emtools.kernels.readings import Readings

    fitted = fit_table(Readings(values))
    covariance = fitted.model.moments(fitted.params)[1]
    least = float(np.linalg.eigvalsh(covariance)[0])
    print(json.dumps({"kind": fitted.kind, "status": str(fitted.fit.status), "least": least}), file=sys.stderr)
    return fitted.model.conditional(fitted.params, Readings(values))[0]


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ours": by_us,
    "mean": by_mean,
    "knn 10": by_neighbours,
    "IterativeImputer 20": lambda values: by_regressions(values, 20),
    "IterativeImputer 100": lambda values: by_regressions(values, 100),
    "soft-impute": by_singular_values,
    "PPCA": by_components,
}


def run(name: str, method: str, seed: int) -> None:
    """One method on one table; its row as JSON."""
    whole = read(name, seed)
    hidden = np.random.default_rng(1000 + seed).random(whole.shape) < SHARE
    varies = np.nanstd(np.where(hidden, np.nan, whole), axis=0) > 0.0
    whole, hidden = whole[:, varies], hidden[:, varies]
    values, centre, spread = standardised(np.where(hidden, np.nan, whole))
    truth = (whole - centre) / spread
    began = process_time()
    filled = METHODS[method](values)
    seconds = process_time() - began
    error = float(np.sqrt(np.mean((filled - truth)[hidden] ** 2)))
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"error": error, "cpu_s": seconds, "peak_gib": peak}))


def main() -> None:
    """Run all, and write or extend the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", nargs="*", default=[f"{kind}:{size}" for size in SIZES for kind in KINDS])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--one", nargs=3, metavar=("TABLE", "METHOD", "SEED"))
    options = parser.parse_args()
    if options.one:
        run(options.one[0], options.one[1], int(options.one[2]))
        return
    rows = TABLE.read_text().splitlines() if TABLE.exists() else ["table\tmethod\tseed\terror\tcpu_s\tpeak_gib\tnote"]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for name in options.tables:
        for method in options.methods:
            for seed in range(options.seeds):
                command = [sys.executable, "-m", "benchmarks.impute_wide", "--one", name, method, str(seed)]
                done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
                if done.returncode:
                    row = [Path(name).stem, method, str(seed), "", "", "", done.stderr.strip().splitlines()[-1]]
                else:
                    got = json.loads(done.stdout)
                    figures = [f"{got['error']:.4f}", f"{got['cpu_s']:.1f}", f"{got['peak_gib']:.2f}"]
                    note = done.stderr.strip().splitlines()[-1] if method == "ours" and done.stderr else ""
                    row = [Path(name).stem, method, str(seed), *figures, note]
                rows = [r for r in rows if r.split("\t")[:3] != row[:3]] + ["\t".join(row)]
                TABLE.write_text("\n".join(rows) + "\n")
                print(rows[-1], flush=True)


if __name__ == "__main__":
    main()

"""CPU seconds of whole fits of full mixtures beside scikit-learn's and mclust's: same rows, same start, one thread.

    python -m benchmarks.mixture_fits         # prints and writes benchmarks/mixture_fits.tsv

A peer climbs until its own rule stops it at a tolerance; ours climbs until it is as high, by one E-step of ours on both
answers, and no further. Rows overlap (0.5 standard deviations a
feature between means), since EM is slow where they do.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.result import Pass
from emtools.models.mixture import GaussianMixture, MixtureParams

SIZES = ((20_000, 10, 5), (20_000, 20, 10), (100_000, 5, 3))
TOLERANCES = (1e-3, 1e-6, 1e-8)
APART, SHIFT = 0.5, 0.3  # standard deviations: of the means, and of the start from them
MOST_PASSES = 3_000
TABLE = Path(__file__).with_suffix(".tsv")
HEADER = "n\td\tK\tpeer\ttolerance\tours\ttheirs\tratio\tpasses, ours\tpasses, theirs\tloglik"

MCLUST = """
suppressMessages(library(mclust))
n <- {n}; d <- {d}; k <- {k}
read <- function(name, size) readBin(file.path("{folder}", name), "double", size)
rows <- matrix(read("rows", n * d), n, d, byrow = TRUE)
means <- matrix(read("means", k * d), d, k)
sigma <- array(diag(d), c(d, d, k))
variance <- list(modelName = "VVV", d = d, G = k, sigma = sigma, cholsigma = sigma)
began <- proc.time()
found <- em(rows, modelName = "VVV", parameters = list(pro = rep(1 / k, k), mean = means, variance = variance))
spent <- proc.time() - began
writeBin(c(sum(spent[1:2]), attr(found, "info")[1], found$loglik), file.path("{folder}", "out"))
"""


class Reached(Exception):
    """The likelihood to reach is reached."""


def rows_and_start(n: int, d: int, k: int) -> tuple[np.ndarray, MixtureParams]:
    """Overlapping groups, and means a little off theirs."""
    rng = np.random.default_rng(0)
    means = APART * rng.normal(size=(k, d))
    values = rng.normal(size=(n, d)) * rng.uniform(0.7, 1.3, size=d) + means[rng.integers(k, size=n)]
    start = means + SHIFT * rng.normal(size=(k, d))
    return values, MixtureParams(np.full(k, 1.0 / k), start, np.repeat(np.eye(d)[None], k, axis=0))


def climb_to(model: GaussianMixture, values: np.ndarray, start: MixtureParams, target: float) -> tuple[float, int]:
    """CPU seconds and passes until the log-likelihood is as high as `target` nats."""
    passes = 0

    def on_pass(row: Pass) -> None:
        nonlocal passes
        passes += 1
        if row.objective >= target:
            raise Reached

    began = process_time()
    try:
        climb(model, ArraySource(values), start, max_passes=100 * MOST_PASSES, on_pass=on_pass)
    except Reached:
        return process_time() - began, passes
    raise SystemExit("ours stopped below the peer")


def scikit_learn(tol: float) -> Callable[[np.ndarray, MixtureParams], tuple[float, int, MixtureParams]]:
    """Seconds, passes and answer of scikit-learn at a tolerance."""

    def fitted(values: np.ndarray, start: MixtureParams) -> tuple[float, int, MixtureParams]:
        inits = {"weights_init": start.weights, "means_init": start.means, "precisions_init": start.covariances}
        peer = Peer(len(start.means), tol=tol, reg_covar=0.0, max_iter=MOST_PASSES, init_params="random", **inits)
        began = process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(values)
        return process_time() - began, peer.n_iter_, MixtureParams(peer.weights_, peer.means_, peer.covariances_)

    return fitted


def mclust(values: np.ndarray, start: MixtureParams) -> tuple[float, float]:
    """Seconds and log-likelihood of mclust at its own tolerance."""
    n, d = values.shape
    with TemporaryDirectory() as folder:
        values.tofile(Path(folder) / "rows")
        start.means.tofile(Path(folder) / "means")
        code = MCLUST.format(n=n, d=d, k=len(start.means), folder=folder)
        subprocess.run(["Rscript", "-"], input=code, text=True, check=True)
        seconds, _, loglik = np.fromfile(Path(folder) / "out")
    return float(seconds), float(loglik)


def main() -> None:
    """Run all and write the table."""
    lines = [HEADER]
    with threadpool_limits(1):
        for n, d, k in SIZES:
            values, start = rows_and_start(n, d, k)
            model = GaussianMixture(k, d)
            climb(model, ArraySource(values[:2000]), start, max_passes=3)
            answers: list[tuple[str, str, float, str, float]] = []
            for tol in TOLERANCES:
                seconds, passes, found = scikit_learn(tol)(values, start)
                loglik = total_stats(model, ArraySource(values), found).loglik
                answers.append(("scikit-learn", f"{tol:.0e}", seconds, str(passes), loglik))
            seconds, loglik = mclust(values, start)
            answers.append(("mclust", "1e-05", seconds, "-", loglik))
            for peer, tolerance, seconds, told, loglik in answers:
                mine, passes = climb_to(model, values, start, loglik - 1e-12 * abs(loglik))
                figures = [f"{mine:.3f}", f"{seconds:.3f}", f"{seconds / mine:.1f}", str(passes), told, f"{loglik:.9g}"]
                lines.append("\t".join([str(n), str(d), str(k), peer, tolerance, *figures]))
                print(lines[-1], flush=True)
                TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""CPU seconds of whole fits of full mixtures beside scikit-learn's and mclust's: same rows, same start, one thread.

    python -m benchmarks.mixture_fits         # prints and writes benchmarks/mixture_fits.tsv

A peer climbs until its own rule stops it at a tolerance; ours climbs until it is as high, by one E-step of ours on both
answers, and no further. A peer that takes less than a few seconds is run again and again, in turn with ours: medians, the median ratio of
neighbours with its lowest and highest, and that of wall times. Memory is what the resident peak of a fit is above the state before it. Rows overlap (0.5 standard deviations a
feature between means), since EM is slow where they do.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from benchmarks.timing import clocks, compared, memory_now, resident
from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.result import Pass
from emtools.models.mixture import GaussianMixture, MixtureParams

SIZES = ((20_000, 10, 5), (20_000, 20, 10), (100_000, 5, 3))
TOLERANCES = (1e-3, 1e-6, 1e-8)
APART, SHIFT = 0.5, 0.3  # standard deviations: of the means, and of the start from them
MOST_PASSES = 3_000
ROUNDS, LONGEST = 5, 6.0  # of a peer, and CPU seconds of it after which none is added
TABLE = Path(__file__).with_suffix(".tsv")
HEADER = "n\td\tK\tpeer\ttolerance\tours\ttheirs\tratio\tspread\twall\tpasses, ours\tpasses, theirs\tloglik\tours, MB\ttheirs, MB"

MCLUST = """
suppressMessages(library(mclust))
n <- {n}; d <- {d}; k <- {k}
read <- function(name, size) readBin(file.path("{folder}", name), "double", size)
rows <- matrix(read("rows", n * d), n, d, byrow = TRUE)
means <- matrix(read("means", k * d), d, k)
sigma <- array(diag(d), c(d, d, k))
variance <- list(modelName = "VVV", d = d, G = k, sigma = sigma, cholsigma = sigma)
memory <- function(line) as.numeric(gsub("[^0-9]", "", grep(line, readLines("/proc/self/status"), value = TRUE))) / 1024
invisible(gc())
writeLines("5", "/proc/self/clear_refs")
before <- memory("^VmRSS")
began <- proc.time()
found <- em(rows, modelName = "VVV", parameters = list(pro = rep(1 / k, k), mean = means, variance = variance))
spent <- proc.time() - began
writeBin(c(spent[1] + spent[2], spent[3], memory("^VmHWM") - before, found$loglik), file.path("{folder}", "out"))
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


def climb_to(model: GaussianMixture, values: np.ndarray, start: MixtureParams, target: float) -> tuple[np.ndarray, int]:
    """CPU and wall seconds, and passes, until the log-likelihood is as high as `target` nats."""
    passes = 0

    def on_pass(row: Pass) -> None:
        nonlocal passes
        passes += 1
        if row.objective >= target:
            raise Reached

    began = clocks()
    try:
        climb(model, ArraySource(values), start, max_passes=100 * MOST_PASSES, on_pass=on_pass)
    except Reached:
        return clocks() - began, passes
    raise SystemExit("ours stopped below the peer")


@dataclass(frozen=True)
class Answer:
    """Of a peer: CPU and wall seconds, MB, passes where it tells them, and the log-likelihood by one E-step of ours (of mclust its own)."""

    seconds: np.ndarray
    memory: float
    passes: str
    loglik: float


Fit = Callable[[GaussianMixture, np.ndarray, MixtureParams], Answer]


def scikit_learn(tol: float) -> Fit:
    """scikit-learn at a tolerance."""

    def fitted(model: GaussianMixture, values: np.ndarray, start: MixtureParams) -> Answer:
        inits = {"weights_init": start.weights, "means_init": start.means, "precisions_init": start.covariances}
        peer = Peer(len(start.means), tol=tol, reg_covar=0.0, max_iter=MOST_PASSES, init_params="random", **inits)
        before, began = memory_now(), clocks()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(values)
        seconds, memory = clocks() - began, resident("VmHWM") - before
        found = MixtureParams(peer.weights_, peer.means_, peer.covariances_)
        return Answer(seconds, memory, str(peer.n_iter_), total_stats(model, ArraySource(values), found).loglik)

    return fitted


def mclust(model: GaussianMixture, values: np.ndarray, start: MixtureParams) -> Answer:
    """mclust at its own tolerance; the log-likelihood is its own, which is one of its answer."""
    n, d = values.shape
    with TemporaryDirectory() as folder:
        values.tofile(Path(folder) / "rows")
        start.means.tofile(Path(folder) / "means")
        code = MCLUST.format(n=n, d=d, k=len(start.means), folder=folder)
        subprocess.run(["Rscript", "-"], input=code, text=True, check=True)
        *seconds, memory, loglik = np.fromfile(Path(folder) / "out")
    return Answer(np.array(seconds), float(memory), "-", float(loglik))


def row(model: GaussianMixture, values: np.ndarray, start: MixtureParams, peer: Fit) -> list[str]:
    """The peer and ours in turn; ours climbs as high as the peer."""
    spent: list[tuple[np.ndarray, np.ndarray]] = []
    while len(spent) < ROUNDS and sum(pair[1][0] for pair in spent) < LONGEST:
        answer = peer(model, values, start)
        target = answer.loglik - 1e-12 * abs(answer.loglik)
        before = memory_now()
        seconds, passes = climb_to(model, values, start, target)
        memory = resident("VmHWM") - before
        spent.append((seconds, answer.seconds))
    took = compared(spent)
    times = [f"{took.ours:.3f}", f"{took.theirs:.3f}", f"{took.ratio:.1f}", took.spread, f"{took.wall:.1f}"]
    told = [str(passes), answer.passes, f"{answer.loglik:.9g}", f"{memory:.0f}", f"{answer.memory:.0f}"]
    return [*times, *told]


def main() -> None:
    """Run all and write the table."""
    lines = [HEADER]
    peers: list[tuple[str, str, Fit]] = [("scikit-learn", f"{tol:.0e}", scikit_learn(tol)) for tol in TOLERANCES]
    peers.append(("mclust", "1e-05", mclust))
    with threadpool_limits(1):
        for n, d, k in SIZES:
            values, start = rows_and_start(n, d, k)
            model = GaussianMixture(k, d)
            climb(model, ArraySource(values[:2000]), start, max_passes=3)
            for peer, tolerance, fitted in peers:
                figures = row(model, values, start, fitted)
                lines.append("\t".join([str(n), str(d), str(k), peer, tolerance, *figures]))
                print(lines[-1], flush=True)
                TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

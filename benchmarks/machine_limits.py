"""Kernels against what this machine can do, one thread, same run: ``python -m benchmarks.machine_limits``.

The limits are measured first: multiply-adds of a large product of matrices (BLAS), numbers read from memory, exponentials of
numpy. A kernel is then told as a share of the limit that holds it up. The flops that are counted are those that the
statistics need, two for a multiply-add, whatever the kernel does beside: for a full covariance ``d (d + 1)`` a row and component for
the density, by a triangular product, and as many for the lower triangle of the moments. Limits are measured again after every
kernel, since clocks drift: the share is that of the two neighbours' mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.mixture_speed import passes
from emtools.kernels.mixture import hard_diagonal

TABLE = Path(__file__).with_suffix(".tsv")
MIXTURES = ((20_000, 20, 10), (100_000, 50, 20), (200_000, 30, 15))
GROUPS = ((50_000, 10, 8), (20_000, 50, 100))
SIDE = 1200
ROUNDS = 5


def least(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Least CPU seconds of some calls, after one that compiles and warms."""
    run()
    spent = []
    for _ in range(rounds):
        began = process_time()
        run()
        spent.append(process_time() - began)
    return min(spent)


def peak() -> float:
    """Flops a second of a product of matrices in float64."""
    a, b = np.random.default_rng(0).normal(size=(2, SIDE, SIDE))
    return float(2 * SIDE**3 / least(lambda: a @ b))


def bandwidth() -> float:
    """Bytes a second that a sum reads from memory."""
    numbers = np.ones(50_000_000)
    return float(numbers.nbytes / least(numbers.sum))


def exponentials() -> float:
    """Exponentials a second of numpy."""
    numbers = np.linspace(-30.0, 0.0, 1_000_000)
    return float(numbers.size / least(lambda: np.exp(numbers)))


LIMITS = {"GFlop/s of a product of matrices": peak, "GB/s read": bandwidth, "G exponentials/s of numpy": exponentials}


def against(limit: str, kernel: str, work: float, run: Callable[[], object]) -> dict[str, Any]:
    """A row of the table: `work`, in the units of the limit, against that measured before and after."""
    before = LIMITS[limit]()
    seconds = least(run)
    bound = 0.5 * (before + LIMITS[limit]())
    return {
        "kernel": kernel, "limit": limit, "of the machine": round(bound / 1e9, 2), "reached": round(work / seconds / 1e9, 2),
        "share": round(work / seconds / bound, 3), "cpu_s": round(seconds, 5),
    }  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    """All rows of the table."""
    flops = next(iter(LIMITS))
    for n, d, k in MIXTURES:
        for apart, told in ((0.3, "all components hold all rows"), (1.5, "few components hold a row")):
            ours, theirs = passes(n, d, k, "full", "float64", apart)
            work = 2.0 * n * k * d * (d + 1)
            name = f"pass of a full mixture, {n} x {d}, K = {k}, {told}"
            yield against(flops, f"{name}: emtools", work, ours)
            yield against(flops, f"{name}: scikit-learn", work, theirs)
    for n, d, k in GROUPS:
        rng = np.random.default_rng(0)
        values, means, ones = rng.normal(size=(n, d)), rng.normal(size=(k, d)), np.ones((k, d))
        run = partial(hard_diagonal, values, np.ones(n), means, ones, np.zeros(k))
        yield against(flops, f"pass of K-means, {n} x {d}, K = {k}: emtools", 2.0 * n * k * d, run)
    n, k = 4_000_000, 3
    ours, theirs = passes(n, 1, k, "full", "float64", 1.5)
    for who, run in (("emtools", ours), ("scikit-learn", theirs)):
        name = f"pass of a mixture of one feature, {n} rows, K = {k}: {who}"
        yield against("G exponentials/s of numpy", name, float(n * k), run)
        yield against("GB/s read", name, 8.0 * n, run)


def main() -> None:
    """Measure and write the table."""
    told = []
    with threadpool_limits(1):
        for row in rows():
            told.append(row)
            print(row, flush=True)
            pd.DataFrame(told).to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

"""Wall time of a pass of a full Gaussian mixture on one thread and on two, which must give the same bytes.

    python -m benchmarks.mixture_threads      # prints and writes benchmarks/mixture_threads.tsv

Passes alternate; the ratio is the median of that of neighbours. It needs two free cores.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.executors import executor
from emtools.models.mixture import GaussianMixture, MixtureParams

CASES = ((100_000, 50, 20), (400_000, 20, 10))
APART, PAIRS = 1.5, 9
TABLE = Path(__file__).with_suffix(".tsv")


def case(n: int, d: int, k: int) -> str:
    """One row of the table."""
    rng = np.random.default_rng(0)
    means = APART * rng.normal(size=(k, d))
    source = ArraySource(means[rng.integers(k, size=n)] + rng.normal(size=(n, d)))
    model, params = (
        GaussianMixture(k, d),
        MixtureParams(np.full(k, 1 / k), means, np.repeat(np.eye(d)[None], k, axis=0)),
    )
    spent, parts = [], {}
    for _ in range(PAIRS + 1):
        row = []
        for threads in (1, 2):
            with executor("threads", threads) as chunk_map:
                began = perf_counter(), process_time()
                stats = total_stats(model, source, params, chunk_map=chunk_map)
                row.append((perf_counter() - began[0], process_time() - began[1]))
            parts[threads] = [np.asarray(x).tobytes() for x in (stats.loglik, stats.counts, stats.first, stats.second)]
        spent.append(row)
    assert parts[1] == parts[2], "one thread and two give different bytes"
    seconds = np.array(spent[1:])  # the first pair compiles
    wall, cpu = (np.median(seconds[:, 0, i] / seconds[:, 1, i]) for i in range(2))
    return f"{n}\t{d}\t{k}\t{wall:.2f}\t{1 / cpu:.2f}\tthe same"


def main() -> None:
    """Run the cases and write the table."""
    lines = ["n\td\tK\twall time, one : two\tCPU time, two : one\tbytes"]
    for one in CASES:
        lines.append(case(*one))
        print(lines[-1], flush=True)
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

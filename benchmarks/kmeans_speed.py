"""CPU seconds of K-means to its end beside scikit-learn's (Lloyd): same rows, same start, one thread, same run.

    python -m benchmarks.kmeans_speed         # prints and writes benchmarks/kmeans_speed.tsv

Fits alternate; the ratio is the median of that of neighbours. Groups overlap (means 1 and rows 1 standard deviation apart), so
that there is something to climb. Both stop where no row changes its group, and end with the same inertia.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from time import process_time

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.models.mixture import MixtureParams, kmeans

# Rows, features, groups: cells, pixels, and the edges of few and of many.
CASES = ((50_000, 10, 8), (100_000, 50, 20), (1_000_000, 4, 3), (1_000_000, 15, 3), (100_000, 2, 5), (20_000, 50, 100))
ROUNDS = 5
TABLE = Path(__file__).with_suffix(".tsv")
HEADER = (
    "n\td\tK\tours, s\tscikit-learn, s\tratio\tpasses, ours\tpasses, scikit-learn\tinertia, ours\tinertia, scikit-learn"
)


def case(n: int, d: int, k: int) -> str:
    """One row of the table."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(k, d))
    values = means[rng.integers(k, size=n)] + rng.normal(size=(n, d))
    start = means + 0.5 * rng.normal(size=(k, d))
    model, source = kmeans(k, d), ArraySource(values)
    begin = MixtureParams(np.full(k, 1 / k), start, np.ones(k))
    climb(model, ArraySource(values[:500]), begin, assign="hard", max_passes=3)  # compiles
    constant = n * (0.5 * d * np.log(2 * np.pi) + np.log(k))
    spent = []
    for _ in range(ROUNDS):
        at = process_time()
        found = climb(model, source, begin, assign="hard")
        between = process_time()
        peer = KMeans(k, init=start, n_init=1, tol=0.0, algorithm="lloyd", max_iter=5000).fit(values)
        spent.append((between - at, process_time() - between))
    assert found.status == "converged"
    seconds = np.array(spent)
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    told = [f"{x:.4f}" for x in seconds.min(axis=0)]
    inertia = -2.0 * (found.objective + constant)
    ends = [f"{inertia:.10g}", f"{peer.inertia_:.10g}"]
    return "\t".join([str(n), str(d), str(k), *told, f"{ratio:.2f}", str(len(found.trace)), str(peer.n_iter_), *ends])


def main() -> None:
    """Run the cases and write the table."""
    warnings.simplefilter("ignore")
    lines = [HEADER]
    with threadpool_limits(1):
        for one in CASES:
            lines.append(case(*one))
            print(lines[-1], flush=True)
            TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

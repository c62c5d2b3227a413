"""CPU seconds of K-means to its end beside scikit-learn's (Lloyd): same rows, same start, one thread, same run.

    python -m benchmarks.kmeans_speed         # prints and writes benchmarks/kmeans_speed.tsv

Fits alternate: medians, the median ratio of neighbours with its lowest and highest, and that of wall times; memory is what the
resident peak of a fit is above the state before it. Groups overlap (means 1 and rows 1 standard deviation apart), so
that there is something to climb. Both stop where no row changes its group, and end with the same inertia.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.timing import alternated, peak_above
from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.models.mixture import MixtureParams, kmeans

# Rows, features, groups: cells, pixels, and the edges of few and of many.
CASES = ((50_000, 10, 8), (100_000, 50, 20), (1_000_000, 4, 3), (1_000_000, 15, 3), (100_000, 2, 5), (20_000, 50, 100))
ROUNDS, LONGEST = 7, 20.0
TABLE = Path(__file__).with_suffix(".tsv")
HEADER = (
    "n\td\tK\tours, s\tscikit-learn, s\tratio\tspread\twall\tpasses, ours\tpasses, scikit-learn\tinertia, ours"
    "\tinertia, scikit-learn\tours, MB\tscikit-learn, MB"
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
    ours = partial(climb, model, source, begin, assign="hard")
    peer = KMeans(k, init=start, n_init=1, tol=0.0, algorithm="lloyd", max_iter=5000)
    memory = [peak_above(ours), peak_above(partial(peer.fit, values))]
    took = alternated(ours, partial(peer.fit, values), ROUNDS, LONGEST)
    found = ours()
    assert found.status == "converged"
    times = [f"{took.ours:.4f}", f"{took.theirs:.4f}", f"{took.ratio:.2f}", took.spread, f"{took.wall:.2f}"]
    inertia = -2.0 * (found.objective + constant)
    ends = [f"{inertia:.10g}", f"{peer.inertia_:.10g}", *(f"{x:.0f}" for x in memory)]
    return "\t".join([str(n), str(d), str(k), *times, str(len(found.trace)), str(peer.n_iter_), *ends])


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

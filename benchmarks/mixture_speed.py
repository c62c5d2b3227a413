"""CPU seconds of one pass of a Gaussian mixture beside scikit-learn's, same data, same parameters, same run, one thread.

    python -m benchmarks.mixture_speed [ROW ...]     # prints and writes these rows, counted from 1, of benchmarks/mixture_speed.tsv

A pass is one E-step and one M-step; passes of the two alternate: medians, and the median ratio of neighbours with the lowest and the
highest (``spread``), beside it that of wall times, which mean something on a quiet machine. The
log-likelihoods of the two are compared to 1e-10 relative in float64, 1e-4 in float32 (where scikit-learn computes in
float32, ours in float64). Ours leaves rows out of the products of components that do not hold them, so the means are
apart by 1.5 standard deviations a feature in some rows and 0.3 in others, where every component holds every row. Each row
has a process of its own. The memory is what the resident peak of a pass is above the state before it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from benchmarks.timing import alternated, in_own_process, peak_above
from emtools.engine.chunks import ArraySource, total_stats
from emtools.models.mixture import GaussianMixture, MixtureParams

CASES = (
    (20_000, 20, 10, "full", "float64", 1.5),
    (20_000, 20, 10, "full", "float64", 0.3),
    (100_000, 50, 20, "full", "float64", 1.5),
    (100_000, 50, 20, "full", "float64", 0.3),
    (1_000_000, 30, 15, "full", "float64", 1.5),
    (20_000, 20, 10, "full", "float32", 1.5),
    (100_000, 50, 20, "full", "float32", 1.5),
    (100_000, 50, 20, "full", "float32", 0.3),
    (1_000_000, 30, 15, "full", "float32", 1.5),
    (100_000, 1, 5, "full", "float64", 1.5),
    (100_000, 2, 5, "full", "float64", 1.5),
    (20_000, 20, 10, "tied", "float64", 1.5),
    (20_000, 20, 10, "diagonal", "float64", 1.5),
    (20_000, 20, 10, "spherical", "float64", 1.5),
)
KINDS = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
LONGEST = 12.0  # CPU seconds of scikit-learn's passes after which no pair is added
PAIRS = 7  # at most
HEADER = "n\td\tK\tfamily\ttype\tapart\tours\tscikit-learn\tratio\tspread\twall\tdifference\tours, MB\tscikit-learn, MB"
TABLE = Path(__file__).with_suffix(".tsv")


def passes(n: int, d: int, k: int, family: str, kind: str, apart: float) -> tuple[Callable[[], float], ...]:
    """One pass of ours and one of scikit-learn's at the same parameters; each returns its mean log-likelihood."""
    rng = np.random.default_rng(0)
    means = apart * rng.normal(size=(k, d))
    values = rng.normal(size=(n, d))
    values += means[rng.integers(k, size=n)]
    values = values.astype(kind, copy=False)
    one = {"full": np.repeat(np.eye(d)[None], k, axis=0), "tied": np.eye(d), "diagonal": np.ones((k, d))}
    ones = one.get(family, np.ones(k))
    params = MixtureParams(np.full(k, 1.0 / k), means + 0.3 * rng.normal(size=(k, d)), ones)
    model, source = GaussianMixture(k, d, family), ArraySource(values)  # type: ignore[arg-type]
    peer = Peer(k, covariance_type=KINDS[family], reg_covar=0.0)
    peer.fit(values[: 20 * k * d][: 1000 * k])

    def ours() -> float:
        stats = total_stats(model, source, params)
        model.m_step(stats, params)
        return stats.loglik / n

    def theirs() -> float:
        peer.weights_, peer.means_ = params.weights.astype(kind), params.means.astype(kind)
        peer.covariances_ = peer.precisions_cholesky_ = ones.astype(kind)
        mean_loglik, log_shares = peer._e_step(values)
        peer._m_step(values, log_shares)
        return float(mean_loglik)

    total_stats(model, ArraySource(values[:1000]), params)  # compiles
    return ours, theirs


def case(n: int, d: int, k: int, family: str, kind: str, apart: float) -> list[str]:
    """One row of the table."""
    ours, theirs = passes(n, d, k, family, kind, apart)
    memory = [peak_above(run) for run in (ours, theirs)]
    took = alternated(ours, theirs, PAIRS, LONGEST)
    off = abs(ours() - theirs()) / abs(theirs())
    assert off < (1e-10 if kind == "float64" else 1e-4), off
    figures = [f"{took.ours:.4f}", f"{took.theirs:.4f}", f"{took.ratio:.1f}", took.spread, f"{took.wall:.1f}"]
    told = [f"{x:.0f}" for x in memory]
    return [str(n), str(d), str(k), family, kind, str(apart), *figures, f"{off:.0e}", *told]


def main() -> None:
    """Run the cases that are named, or all, and write their rows; the others stay. ``--case`` runs one and prints it."""
    if sys.argv[1:2] == ["--case"]:
        with threadpool_limits(1):
            print("\t".join(case(*CASES[int(sys.argv[2]) - 1])))
        return
    chosen = [int(name) - 1 for name in sys.argv[1:]] or list(range(len(CASES)))
    known: dict[str, str] = {}
    if TABLE.exists():
        known = {"\t".join(line.split("\t")[:6]): line for line in TABLE.read_text().splitlines()[1:]}
    names = ["\t".join(map(str, one)) for one in CASES]
    for i in chosen:
        known[names[i]] = in_own_process("mixture_speed", "--case", str(i + 1))
        print(known[names[i]], flush=True)
        TABLE.write_text("\n".join([HEADER, *(known[name] for name in names if name in known)]) + "\n")


if __name__ == "__main__":
    main()

"""CPU seconds of one pass of a Gaussian mixture beside scikit-learn's, same data, same parameters, same run, one thread.

    python -m benchmarks.mixture_speed        # prints and writes benchmarks/mixture_speed.tsv

A pass is one E-step and one M-step. The log-likelihoods of the two are compared to 1e-10 relative in float64, 1e-4 in
float32 (where scikit-learn computes in float32, ours in float64).
"""

from __future__ import annotations

from pathlib import Path
from time import process_time

import numpy as np
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from emtools.engine.chunks import ArraySource, total_stats
from emtools.models.mixture import GaussianMixture, MixtureParams

CASES = (
    (20_000, 20, 10, "full", "float64"),
    (100_000, 50, 20, "full", "float64"),
    (1_000_000, 30, 15, "full", "float64"),
    (20_000, 20, 10, "full", "float32"),
    (100_000, 50, 20, "full", "float32"),
    (100_000, 1, 5, "full", "float64"),
    (100_000, 2, 5, "full", "float64"),
    (20_000, 20, 10, "diagonal", "float64"),
    (20_000, 20, 10, "spherical", "float64"),
)
KINDS = {"full": "full", "diagonal": "diag", "spherical": "spherical"}
SPREAD = 1.5  # standard deviation of the means, in those of the rows
REPEATS = 3


def case(n: int, d: int, k: int, family: str, kind: str) -> list[str]:
    """One row of the table."""
    rng = np.random.default_rng(0)
    means = SPREAD * rng.normal(size=(k, d))
    values = (means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(kind)
    ones = {"full": np.repeat(np.eye(d)[None], k, axis=0), "diagonal": np.ones((k, d)), "spherical": np.ones(k)}[family]
    params = MixtureParams(np.full(k, 1.0 / k), means + 0.3 * rng.normal(size=(k, d)), ones)
    model, source = GaussianMixture(k, d, family), ArraySource(values)  # type: ignore[arg-type]
    total_stats(model, ArraySource(values[:1000]), params)
    peer = Peer(k, covariance_type=KINDS[family])
    peer.fit(values[: 1000 * k])
    peer.reg_covar = 0.0
    ours, theirs = [], []
    for _ in range(REPEATS):
        began = process_time()
        stats = total_stats(model, source, params)
        model.m_step(stats, params)
        ours.append(process_time() - began)
        peer.weights_, peer.means_ = params.weights.astype(kind), params.means.astype(kind)
        peer.covariances_ = peer.precisions_cholesky_ = ones.astype(kind)
        began = process_time()
        mean_loglik, log_shares = peer._e_step(values)
        peer._m_step(values, log_shares)
        theirs.append(process_time() - began)
    off = abs(stats.loglik / n - mean_loglik) / abs(mean_loglik)
    assert off < (1e-10 if kind == "float64" else 1e-4), off
    mine, other = min(ours), min(theirs)
    return [str(n), str(d), str(k), family, kind, f"{mine:.4f}", f"{other:.4f}", f"{other / mine:.1f}", f"{off:.0e}"]


def main() -> None:
    """Run all cases and write the table."""
    lines = ["n\td\tK\tfamily\ttype\tours\tscikit-learn\tratio\tdifference"]
    with threadpool_limits(1):
        for one in CASES:
            lines.append("\t".join(case(*one)))
            print(lines[-1], flush=True)
    Path(__file__).with_suffix(".tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""How fast plain EM closes in on the top of Markov models over letters: ``python -m benchmarks.hmm_fits``.

The missing-information rate of the certificate beside the ratio of successive steps, on the lambda genome with 2 and 3 states
and on a simulated chain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.engine.certificate import certify
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.starts import fit
from emtools.io.fasta import read_fasta
from emtools.models.hmm import CategoricalHMM, HMMParams

GENOME = Path(__file__).parents[1] / "resources" / "lambda.fa"
TABLE = Path(__file__).with_name("hmm_fits.tsv")
LETTERS = 20_000
KEYS = ["part", "case", "tool"]

COINS = HMMParams(
    np.array([0.5, 0.5]),
    np.array([[0.98, 0.02], [0.03, 0.97]]),
    np.array([[0.4, 0.1, 0.15, 0.35], [0.15, 0.35, 0.35, 0.15]]),
)


def simulate(params: HMMParams, length: int, rng: np.random.Generator) -> np.ndarray:
    """Letters of one chain."""
    uniforms = rng.random((2, length))
    jumps, states = params.transition.cumsum(axis=1), np.empty(length, dtype=np.int64)
    state = int(np.searchsorted(params.start.cumsum(), uniforms[0, 0]))
    for t in range(length):
        states[t] = state
        state = min(int(np.searchsorted(jumps[state], uniforms[0, t])), len(jumps) - 1)
    letters = (uniforms[1][:, None] > params.emission.cumsum(axis=1)[states, :-1]).sum(axis=1)
    return letters.astype(np.uint8)


def rate() -> list[dict[str, Any]]:
    """The certificate's rate, and the ratio of successive steps of plain EM near the top.

    Steps of transitions and emissions: one chain says nothing of its start, which ends at an edge and is held there.
    """
    rows = []
    (genome,) = read_fasta(GENOME)
    chains = {"lambda, 2 states": (2, genome.codes), "lambda, 3 states": (3, genome.codes)}
    chains["2 states, simulated"] = (2, simulate(COINS, LETTERS, np.random.default_rng([0, 5])))
    for case, (k, codes) in chains.items():
        model, source = CategoricalHMM(k, 4), SequenceSource([codes])
        top = fit(model, source, seed=1, starts=10)
        seen = certify(model, source, top.params)
        params = model.unpack(model.pack(top.params) + 0.05 * seen.along)
        steps = []
        for _ in range(400):
            after = model.m_step(total_stats(model, source, params), params)
            steps.append(np.append(after.transition - params.transition, after.emission - params.emission))
            params = after
        sizes = [float(np.linalg.norm(step)) for step in steps]
        last = next((i for i, size in enumerate(sizes) if size < 1e-6 * sizes[0]), len(sizes) - 1)
        observed = (sizes[last] / sizes[last // 2]) ** (1.0 / (last - last // 2))
        row = {"part": "rate", "case": case, "tool": "emtools", "certificate": seen.rate, "observed": observed}
        rows.append(row | {"apart, %": 100.0 * abs(seen.rate / observed - 1.0)})
    return rows


def main() -> None:
    table = pd.DataFrame(rate()).melt(KEYS, var_name="figure")
    print(table.to_string(index=False))
    table.to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

"""Optima, passes and errors of Markov models over letters: ``python -m benchmarks.hmm_fits [--library FOLDER]``.

- ``starts``: of 20 seeds, how many fits end on the best optimum known of the lambda genome with 3 states and of loaded
  dice, with the starts that ``emtools hmm`` makes by default; beside 20 single starts of hmmlearn (FOLDER: where ``pip
  install --target FOLDER hmmlearn`` put it), as it is and with a tolerance of 1e-6 and 500 passes.
- ``passes``: passes of the default loop against plain EM from equal parameters, both to the same remaining gain, in ten slow
  and easy starts of each.
- ``coverage``: parametric bootstrap of two-state chains: how many 95 % intervals hold the truth.
- ``rate``: the missing-information rate of the certificate, and the rate at which plain EM closes in on the top.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.engine.certificate import certify
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.io.fasta import read_fasta
from emtools.models.hmm import CategoricalHMM, HMMParams

GENOME = Path(__file__).parents[1] / "resources" / "lambda.fa"
TABLE = Path(__file__).with_name("hmm_fits.tsv")
SEEDS, SAME = 20, 0.01  # nats within which two optima are one
SEARCH: dict[str, Any] = {"starts": 10}  # as the command line has it
MOST_PASSES = 20_000
PEER_PASSES, MANY = 500, 40
SLOW = 200  # passes of plain EM from which a start counts as slow
REPEATS, LETTERS = 200, 20_000
KEYS = ["part", "case", "tool"]

DICE = HMMParams(
    np.array([1.0, 0.0, 0.0]),
    np.array([[0.94, 0.03, 0.03], [0.10, 0.88, 0.02], [0.08, 0.02, 0.90]]),
    np.array([[1 / 6] * 6, [0.1, 0.1, 0.1, 0.1, 0.1, 0.5], [0.4, 0.3, 0.1, 0.1, 0.05, 0.05]]),
)
FOUR_DICE = HMMParams(
    np.array([1.0, 0.0, 0.0, 0.0]),
    np.array([[0.94, 0.02, 0.02, 0.02], [0.06, 0.88, 0.04, 0.02], [0.05, 0.03, 0.90, 0.02], [0.04, 0.04, 0.04, 0.88]]),
    np.array(
        [
            [1 / 6] * 6,
            [0.12, 0.12, 0.12, 0.12, 0.12, 0.40],
            [0.35, 0.25, 0.10, 0.10, 0.10, 0.10],
            [0.10, 0.10, 0.30, 0.30, 0.10, 0.10],
        ]
    ),
)
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


def cases() -> dict[str, tuple[CategoricalHMM, SequenceSource]]:
    """Models with many optima."""
    (genome,) = read_fasta(GENOME)
    three, four = simulate(DICE, 3000, np.random.default_rng(11)), simulate(FOUR_DICE, 4000, np.random.default_rng(12))
    return {
        "lambda, 3 states": (CategoricalHMM(3, 4), SequenceSource([genome.codes])),
        "3 loaded dice, 3,000 throws": (CategoricalHMM(3, 6), SequenceSource([three])),
        "4 loaded dice, 4,000 throws": (CategoricalHMM(4, 6), SequenceSource([four])),
    }


def loglik_at(model: CategoricalHMM, source: SequenceSource, params: HMMParams) -> float:
    """Log-likelihood, at parameters made positive where a peer left a zero."""
    return total_stats(model, source, params).loglik


def share_of(ends: list[float], best: float) -> str:
    """How many are as high as the best."""
    return f"{sum(end > best - SAME for end in ends)} of {len(ends)}"


def peer_ends(model: CategoricalHMM, source: SequenceSource, library: str, **options: Any) -> list[float]:
    """Log-likelihoods that single starts of hmmlearn end with, each at its own last parameters."""
    if library not in sys.path:
        sys.path.append(library)
    from hmmlearn.hmm import CategoricalHMM as Peer

    letters, ends = source.codes.astype(np.int64)[:, None], []
    for seed in range(SEEDS):
        peer = Peer(model.n_states, n_features=model.n_letters, implementation="scaling", random_state=seed, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.fit(letters)
        found = HMMParams(peer.startprob_, peer.transmat_, peer.emissionprob_)
        ends.append(loglik_at(model, source, found))
    return ends


def starts(library: str) -> list[dict[str, Any]]:
    """Twenty seeds of the default search, and twenty single starts of the peer."""
    rows = []
    for case, (model, source) in cases().items():
        fits = [fit(model, source, seed=seed, certificate=False, **SEARCH) for seed in range(SEEDS)]
        ends = {"emtools": [f.loglik for f in fits]}
        many = fit(model, source, seed=SEEDS, starts=MANY, strategy="random", certificate=False)
        if library:
            ends["hmmlearn, as it is"] = peer_ends(model, source, library)
            ends["hmmlearn, tol 1e-6"] = peer_ends(model, source, library, n_iter=PEER_PASSES, tol=1e-6)
        best = max(many.loglik, *(max(values) for values in ends.values()))
        optima = {round(start.objective, 1) for start in many.starts}
        for tool, values in ends.items():
            row = {"part": "starts", "case": case, "tool": tool, "reach the best": share_of(values, best)}
            row |= {
                "best": best,
                "median short of it, nats": best - float(np.median(values)),
                f"optima of {MANY}": len(optima),
            }
            row |= {"passes": float(np.mean([f.passes for f in fits]))} if tool == "emtools" else {}
            rows.append(row)
    return rows


def passes(library: str) -> list[dict[str, Any]]:
    """Passes of plain EM by those of the default loop, from equal parameters."""
    rows = []
    for case, (model, source) in cases().items():
        slow, longer, short = [], [], []
        for seed in range(SEEDS):
            rng = np.random.default_rng([seed, 77])
            first = model.initial_params(source, rng, model.strategies[seed % 2])
            plain, quick = (climb(model, source, first, accelerate=on, max_passes=MOST_PASSES) for on in (False, True))
            slow += [len(plain.trace) / len(quick.trace)] if len(plain.trace) >= SLOW else []
            longer.append(len(quick.trace) / len(plain.trace))
            short.append(plain.objective - quick.objective)
        row = {"part": "passes", "case": case, "tool": f"{SEEDS} starts", "slow starts": len(slow)}
        row |= {"EM / ours, slow, median": np.median(slow), "EM / ours, slow, least": min(slow, default=np.nan)}
        row |= {"ours / EM, most": max(longer), "lower than EM by > 0.01": sum(s > SAME for s in short)}
        rows.append(row)
    return rows


def coverage(library: str) -> list[dict[str, Any]]:
    """Share of 95 % intervals that hold the truth, over chains drawn from it."""
    model, inside = CategoricalHMM(2, 4), []
    for repeat in range(REPEATS):
        source = SequenceSource([simulate(COINS, LETTERS, np.random.default_rng([repeat, 5]))])
        top = climb(model, source, COINS, max_passes=MOST_PASSES)
        seen = certify(model, source, top.params)
        inside.append(
            [
                (seen.lower[name] <= getattr(COINS, name)) & (getattr(COINS, name) <= seen.upper[name])
                for name in ("transition", "emission")
            ]
        )
    row = {"part": "coverage", "case": f"2 states, {REPEATS} chains of {LETTERS:,}", "tool": "emtools"}
    told = {
        name: 100.0 * float(np.mean([pair[i] for pair in inside])) for i, name in enumerate(("transition", "emission"))
    }
    return [row | {f"{name} covered, %": share for name, share in told.items()}]


def rate(library: str) -> list[dict[str, Any]]:
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


PARTS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "starts": starts,
    "passes": passes,
    "coverage": coverage,
    "rate": rate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default="", help="folder that holds hmmlearn")
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="part", help=", ".join(PARTS))
    asked = parser.parse_args()
    for part in asked.parts:
        table = pd.DataFrame([row | {} for row in PARTS[part](asked.library)]).melt(KEYS, var_name="figure").dropna()
        print(table.to_string(index=False), flush=True)
        if TABLE.exists():
            old = pd.read_csv(TABLE, sep="\t")
            table = pd.concat([old[old["part"] != part], table])
        table.to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

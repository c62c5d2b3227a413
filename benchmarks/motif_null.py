"""E-values of sets without a motif: ``python -m benchmarks.motif_null [--seed N] [--alone N]``.

Sets of shuffles: the CRP regions with their letters shuffled, and windows of phage lambda with their letters or their pairs of
neighbouring letters kept. Both strands, widths 8 to 16, the order of the background as the command chooses it. ``--seed`` draws other sets; ``--central`` searches
about the middle of the sequences.

``--alone N`` asks the test itself, without a search: a motif that is drawn at random, sought in 20 sequences of 60 letters and shuffles of them,
N times. Its p-value is exact, so that at most a share a of them are below a, but for chance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.engine.chunks import SequenceSource
from emtools.io.fasta import read_fasta
from emtools.models.motif import DNA, Motif, MotifParams, estimate_background
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.places import place_prior
from emtools.motif_finding.search import Terms
from emtools.motif_finding.significance import held_out_test, shuffled_pieces, tested

HERE = Path(__file__).parent
STORED = HERE / "motif_null.tsv"
SETS = {"CRP regions, letters": 80, "lambda windows, letters": 60, "lambda windows, pairs": 60}
WINDOWS, LENGTH = 60, 100


def null_set(kind: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Sequences of one set."""
    if kind.startswith("CRP"):
        return [rng.permutation(record.codes) for record in read_fasta(HERE.parent / "resources" / "crp.fa")]
    genome = read_fasta(HERE.parent / "resources" / "lambda.fa")[0].codes
    starts = rng.permutation(len(genome) // LENGTH)[:WINDOWS] * LENGTH
    pieces = [genome[a : a + LENGTH] for a in starts]
    return [shuffled_pieces(p, rng) if kind.endswith("pairs") else rng.permutation(p) for p in pieces]


def alone(n: int, seed: int) -> np.ndarray:
    """p-values of the test for random motifs in random letters, shape (n,)."""
    values = []
    for k in range(n):
        rng = np.random.default_rng([seed, k, 5])
        sequences = [rng.integers(DNA, size=60).astype(np.uint8) for _ in range(20)]
        background = estimate_background(SequenceSource(sequences), 0)
        model, params = Motif(8, background), MotifParams(0.5, rng.dirichlet(np.full(DNA, 0.5), size=8) * 0.96 + 0.01)
        values.append(tested(model, params, background, sequences, None, rng).p)
    return np.array(values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=2, help="2 draws the stored sets")
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument(
        "--central", action="store_true", help="with the prior of sites about the middle; stores nothing"
    )
    parser.add_argument("--only", type=int, nargs="*", default=[*range(len(SETS))], help="kinds of sets, by number")
    parser.add_argument("--store", default=str(STORED))
    chosen = parser.parse_args()
    if chosen.alone:
        p = alone(chosen.alone, chosen.seed)
        print(*(f"{c}: {(p <= c).mean():.4f}" for c in (0.01, 0.05, 0.2, 0.5)))
        return
    rows = []
    for number, (kind, n_sets) in enumerate(SETS.items()):
        values = []
        for k in range(n_sets if number in chosen.only else 0):
            source = SequenceSource(null_set(kind, np.random.default_rng([chosen.seed, number, k])))
            if chosen.central:
                source.prior = place_prior(np.diff(source.offsets).tolist(), True, None)
            background = estimate_background(source, choose_order(source.codes.size, False))
            values.append(held_out_test(source, background, Terms((8, 16)), k, 30).p)
        if not values:
            continue
        p = np.array(values)
        rows.append({"sets": kind, "n": n_sets, **{f"below_{c}": int((p < c).sum()) for c in (0.01, 0.05, 0.2, 0.5)}})
        print(rows[-1], flush=True)
        total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "sets"}
        if not chosen.central:
            pd.DataFrame([*rows, {"sets": "all", **total}]).to_csv(chosen.store, sep="\t", index=False)


if __name__ == "__main__":
    main()

"""Sites near the middle of their sequences, sought with and without that prior: ``python -m benchmarks.motif_central [--seed N]``.

Matrices of JASPAR are planted in windows of phage lambda, normally about the middle, in a share of the sequences, as they are or mixed with a fifth
of equal letters. ``--role "chosen on"`` takes the four motifs that choices were made on. ``even`` plants them anywhere instead: what the prior
costs where it is wrong. Everything else as in `motif_accuracy`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.motif_accuracy import HERE, WIDTHS, Sites, matrices, nucleotide_f1, planted_word
from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.io.fasta import read_fasta
from emtools.models.motif import estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.places import place_prior
from emtools.motif_finding.search import Terms, search, settle

STORED = HERE / "motif_central.tsv"
N, LENGTH = 200, 200
SPREADS = (15.0, 40.0, np.inf)  # bp; standard deviation about the middle, infinite for anywhere
CELLS = ((0.3, 0.0), (0.3, 0.2), (0.6, 0.2))  # occurrence, flattened


def plant_central(
    matrix: np.ndarray, occurrence: float, spread: float, genome: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], Sites]:
    """Windows of the genome with the motif about the middle of a share of them, and where."""
    sequences: list[np.ndarray] = []
    sites: Sites = []
    room = LENGTH - len(matrix)
    for i, spot in enumerate(rng.permutation(len(genome) // LENGTH)[:N]):
        codes = genome[spot * LENGTH : (spot + 1) * LENGTH].copy()
        if rng.random() < occurrence:
            at = -1
            while not 0 <= at <= room:
                at = int(rng.integers(room + 1) if np.isinf(spread) else np.rint(room / 2 + rng.normal(0.0, spread)))
            codes[at : at + len(matrix)] = planted_word(matrix, rng)
            sites.append((i, at, at + len(matrix)))
        sequences.append(codes)
    return sequences, sites


def found(sequences: list[np.ndarray], central: bool) -> Sites:
    """Sites that the search finds."""
    source = SequenceSource(sequences, prior=place_prior([len(s) for s in sequences], central, None))
    background, terms = estimate_background(source, 2), Terms(WIDTHS)
    model, start = settle(source, background, terms, search(source, background, terms))
    calls = call_sites(model, climb(model, source, start).params, source)
    return [(int(i), int(s), int(s) + model.width) for i, s in zip(calls.sequence, calls.start, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=11, help="11 draws the stored sets")
    parser.add_argument("--role", default="judged", choices=("judged", "chosen on"))
    parser.add_argument("--store", type=Path, default=STORED)
    chosen = parser.parse_args()
    genome = read_fasta(HERE.parent / "resources" / "lambda.fa")[0].codes
    rows = []
    for spread in SPREADS:
        for number, (name, matrix) in enumerate(matrices(chosen.role).items()):
            for occurrence, flattened in CELLS:
                wide = 0 if np.isinf(spread) else int(spread)
                rng = np.random.default_rng([chosen.seed, number, int(10 * occurrence), int(10 * flattened), wide])
                mixed = (1.0 - flattened) * matrix + flattened / 4.0
                sequences, known = plant_central(mixed, occurrence, spread, genome, rng)
                plain, central = (nucleotide_f1(found(sequences, prior), known) for prior in (False, True))
                rows.append(
                    {
                        "spread": "even" if np.isinf(spread) else wide, "motif": name, "width": len(matrix),
                        "occurrence": occurrence, "flattened": flattened, "sites": len(known), "plain": plain, "central": central,
                    }
                )  # fmt: skip
                print(*rows[-1].values(), flush=True)
                pd.DataFrame(rows).round(3).to_csv(chosen.store, sep="\t", index=False, quoting=csv.QUOTE_NONE)
    print(pd.DataFrame(rows).groupby("spread")[["plain", "central"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()

"""Sites found where neighbouring letters depend on each other and where they do not: ``python -m benchmarks.motif_order [--seed N]``.

Matrices of JASPAR are planted on either strand of windows of phage lambda in a share of the sequences. With a dependence d, a letter of a
site is with probability d the one that goes with the letter before it (at each position its own permutation of the letters), otherwise drawn from the matrix. F1 is by
nucleotide: of the motif with independent letters, of that of order 1 made from it, and of the true tables. ``--role "chosen on"`` takes the
four motifs that choices were made on.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.motif_accuracy import HERE, WIDTHS, N, Sites, matrices, nucleotide_f1
from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.io.fasta import read_fasta
from emtools.models.motif import Motif, MotifParams, estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.dependence import linked, look_at
from emtools.motif_finding.search import Terms, search, settle

STORED = HERE / "motif_order.tsv"
LENGTH = 100
DEPENDENCES = (0.0, 0.4, 0.7)
OCCURRENCES = (0.3, 0.7, 1.0)


def tables_of(matrix: np.ndarray, dependence: float, rng: np.random.Generator) -> np.ndarray:
    """Letter probabilities after each letter, shape (width, 4, 4); the rows of the first position are alike."""
    tables = np.repeat(matrix[:, None], 4, axis=1)
    for table in tables[1:]:
        table[:] = (1.0 - dependence) * table + dependence * np.eye(4)[rng.permutation(4)]
    return tables


def plant(
    tables: np.ndarray, occurrence: float, genome: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], Sites]:
    """Windows of the genome with a site in a share of them, and where."""
    width, sequences, sites = len(tables), [], []
    for i, spot in enumerate(rng.permutation(len(genome) // LENGTH)[:N]):
        codes = genome[spot * LENGTH : (spot + 1) * LENGTH].copy()
        if rng.random() < occurrence:
            at, letter = int(rng.integers(LENGTH - width + 1)), 0
            word = np.zeros(width, dtype=np.uint8)
            for w in range(width):
                letter = int(rng.choice(4, p=tables[w, letter]))
                word[w] = letter
            codes[at : at + width] = word if rng.random() < 0.5 else 3 - word[::-1]
            sites.append((i, at, at + width))
        sequences.append(codes)
    return sequences, sites


def found(model: Motif, params: MotifParams, source: SequenceSource) -> Sites:
    """The sites of a motif."""
    calls = call_sites(model, params, source)
    return [(int(i), int(s), int(s) + model.width) for i, s in zip(calls.sequence, calls.start, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=31, help="31 draws the stored sets")
    parser.add_argument("--role", default="judged", choices=("judged", "chosen on"))
    parser.add_argument("--store", type=Path, default=STORED)
    chosen = parser.parse_args()
    genome = read_fasta(HERE.parent / "resources" / "lambda.fa")[0].codes
    rows = []
    for dependence in DEPENDENCES:
        for number, (name, matrix) in enumerate(matrices(chosen.role).items()):
            for occurrence in OCCURRENCES:
                rng = np.random.default_rng([chosen.seed, number, int(10 * occurrence), int(10 * dependence)])
                tables = tables_of(matrix, dependence, rng)
                sequences, known = plant(tables, occurrence, genome, rng)
                source = SequenceSource(sequences)
                background, terms = estimate_background(source, 2), Terms(WIDTHS)
                model, start = settle(source, background, terms, search(source, background, terms))
                apart = climb(model, source, start).params
                seen = look_at(model, apart, source)
                of, first = linked(model, apart, seen)
                true = MotifParams(min(occurrence, 0.995), 0.999 * tables + 0.00025)
                oracle = terms.model(len(matrix), background, true.occurrence)
                answers = {
                    "independent": found(model, apart, source),
                    "order_1": found(model, climb(of, source, first).params.scored, source),
                    "oracle": found(oracle, true, source),
                }
                rows.append(
                    {
                        "dependence": dependence, "motif": name, "width": len(matrix), "occurrence": occurrence, "sites": len(known),
                        **{of: nucleotide_f1(sites, known) for of, sites in answers.items()},
                        "evidence": seen.evidence, "strength": seen.strength, "verdict": seen.verdict,
                    }
                )  # fmt: skip
                print(*(f"{v:.3f}" if isinstance(v, float) else v for v in rows[-1].values()), flush=True)
                pd.DataFrame(rows).round(3).to_csv(chosen.store, sep="\t", index=False, quoting=csv.QUOTE_NONE)
    table = pd.DataFrame(rows)
    print(table.groupby("dependence")[["independent", "order_1", "oracle"]].mean().round(3).to_string())
    print(table.groupby("dependence")["verdict"].value_counts().to_string())


if __name__ == "__main__":
    main()

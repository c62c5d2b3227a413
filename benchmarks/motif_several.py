"""Two motifs planted in the same sequences, ours and MEME's: ``python -m benchmarks.motif_several [--meme PATH]``.

Pairs of matrices of JASPAR, of those that judge in `motif_accuracy`, are planted on either strand of windows of phage lambda, each in its own half of a
window and in 60 % of them, as they are. Both programs seek two motifs of 6 to 20 bp with at most one site a sequence over a background
of order 2. F1 is by nucleotide, the sites of a planted motif beside those of the found one that meets them better, each found one beside another.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.motif_accuracy import (
    LENGTH,
    WIDTHS,
    N,
    Sites,
    matrices,
    meme_text,
    nucleotide_f1,
    planted_word,
    sites_of,
)
from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.io.fasta import read_fasta
from emtools.models.motif import estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.erasing import erase
from emtools.motif_finding.search import Terms, search, settle

HERE = Path(__file__).parent
STORED = HERE / "motif_several.tsv"
PAIRS = (("CTCF", "FOXA1"), ("STAT1", "CEBPA"), ("ESR1", "MEF2A"))
SEEDS = (1, 2)
SHARE = 0.6


def plant_two(names: tuple[str, str], seed: int) -> tuple[list[np.ndarray], list[Sites]]:
    """Windows of the genome with the two motifs, and where each is."""
    genome = read_fasta(HERE.parent / "resources" / "lambda.fa")[0].codes
    rng = np.random.default_rng([seed, 2])
    sequences: list[np.ndarray] = []
    sites: list[Sites] = [[], []]
    for i, spot in enumerate(rng.permutation(len(genome) // LENGTH)[:N]):
        codes = genome[spot * LENGTH : (spot + 1) * LENGTH].copy()
        for half, which in enumerate(rng.permutation(2)):
            if rng.random() < SHARE:
                word = planted_word(matrices("judged")[names[which]], rng)
                at = half * LENGTH // 2 + int(rng.integers(LENGTH // 2 - len(word) + 1))
                codes[at : at + len(word)] = word
                sites[which].append((i, at, at + len(word)))
        sequences.append(codes)
    return sequences, sites


def by_us(sequences: list[np.ndarray]) -> tuple[list[Sites], float]:
    """Sites of our two motifs, and our CPU seconds."""
    began = process_time()
    rest = SequenceSource(sequences)
    background, terms = estimate_background(rest, 2), Terms(WIDTHS)
    found: list[Sites] = []
    for _ in range(2):
        model, start = settle(rest, background, terms, search(rest, background, terms))
        params = climb(model, rest, start).params
        calls = call_sites(model, params, rest)
        found.append([(int(i), int(s), int(s) + model.width) for i, s in zip(calls.sequence, calls.start, strict=True)])
        rest = erase(rest, model, params)
    return found, process_time() - began


def by_meme(path: str, sequences: list[np.ndarray]) -> tuple[list[Sites], float]:
    """MEME's."""
    text, seconds = meme_text(path, sequences, 2)
    return [sites_of(part) for part in text.split("\nMOTIF ")[1:]], seconds


def scores(found: list[Sites], known: list[Sites]) -> tuple[float, float]:
    """F1 of each planted motif with a found one of its own."""
    found = [*found, [], []][:2]
    table = [[nucleotide_f1(f, k) for f in found] for k in known]
    straight, crossed = (table[0][0], table[1][1]), (table[0][1], table[1][0])
    return max(straight, crossed, key=sum)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--meme", default=None)
    parser.add_argument("--store", default=str(STORED))
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for names in PAIRS:
        for seed in SEEDS:
            sequences, known = plant_two(names, seed)
            found, seconds = by_us(sequences)
            ours = scores(found, known)
            row = {"first": names[0], "second": names[1], "seed": seed, "ours_first": ours[0], "ours_second": ours[1], "ours_cpu_s": seconds}  # fmt: skip
            if chosen.meme is not None:
                found, seconds = by_meme(chosen.meme, sequences)
                theirs = scores(found, known)
                row |= {"meme_first": theirs[0], "meme_second": theirs[1], "meme_cpu_s": seconds}
            rows.append(row)
            print(*(f"{v:.3f}" if isinstance(v, float) else v for v in row.values()), flush=True)
            pd.DataFrame(rows).round(3).to_csv(chosen.store, sep="\t", index=False, quoting=csv.QUOTE_NONE)


if __name__ == "__main__":
    main()

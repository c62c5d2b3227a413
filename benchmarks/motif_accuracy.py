"""Sites found of planted motifs, ours and MEME's: ``python -m benchmarks.motif_accuracy [--meme PATH] [--seed N]``.

Matrices of JASPAR are planted on either strand of windows of phage lambda that do not overlap, in a share of the sequences, the matrices as they are or
mixed with a fifth of equal letters. Widths are searched from 6 to 20 with a background of order 2, one site a sequence at most. F1 is by
nucleotide. "oracle" is the true matrix and occurrence with sites of a posterior above a half. The defaults were chosen on the four matrices
marked so (and the CRP regions); the eight others judge.
"""

from __future__ import annotations

import argparse
import csv
import re
import resource
import subprocess
import tempfile
from pathlib import Path
from time import process_time
from typing import IO, Any

import numpy as np
import pandas as pd

from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.io.fasta import decode, read_fasta
from emtools.kernels.spans import n_positions, n_shared_positions
from emtools.models.motif import MotifParams, estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.search import Terms, search, settle

HERE = Path(__file__).parent
STORED = HERE / "motif_accuracy.tsv"
MATRICES = HERE / "motif_matrices.tsv"
WIDTHS = (6, 20)
N, LENGTH = 150, 100
OCCURRENCES = (0.3, 0.7, 1.0)
FLATTENED = (0.0, 0.2)

Sites = list[tuple[int, int, int]]


def matrices(role: str) -> dict[str, np.ndarray]:
    """Letter probabilities by name, a quarter added to each count."""
    table = pd.read_csv(MATRICES, sep="\t", comment="#")
    counts = {name: part[list("ACGT")].to_numpy() + 0.25 for name, part in table[table["role"] == role].groupby("name")}
    return {name: values / values.sum(axis=1, keepdims=True) for name, values in counts.items()}


def plant(
    matrix: np.ndarray, occurrence: float, n: int, length: int, genome: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], Sites]:
    """Windows of the genome with the motif in a share of them, and where."""
    spots = rng.permutation(len(genome) // length)
    spots = spots[:n] if n <= spots.size else rng.integers(spots.size, size=n)
    width, sequences, sites = len(matrix), [], []
    for i, spot in enumerate(spots):
        codes = genome[spot * length : (spot + 1) * length].copy()
        if rng.random() < occurrence:
            at = int(rng.integers(length - width + 1))
            codes[at : at + width] = planted_word(matrix, rng)
            sites.append((i, at, at + width))
        sequences.append(codes)
    return sequences, sites


def planted_word(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A site drawn from a matrix, on either strand."""
    draws = rng.random(len(matrix))[:, None]
    word = (draws > np.cumsum(matrix, axis=1)).sum(axis=1).clip(0, 3).astype(np.uint8)
    return word if rng.random() < 0.5 else 3 - word[::-1]


def nucleotide_f1(found: Sites, known: Sites) -> float:
    """F1 over positions."""
    ours, theirs = (np.array(sites, dtype=np.int64).reshape(-1, 3) for sites in (found, known))
    if not len(ours):
        return 0.0
    shared = n_shared_positions(ours, theirs)
    return float(2 * shared / (n_positions(ours) + n_positions(theirs)))


def by_us(sequences: list[np.ndarray], matrix: np.ndarray, occurrence: float) -> tuple[Sites, Sites, float]:
    """Our sites, those of the true matrix, and our CPU seconds."""
    source = SequenceSource(sequences)
    began = process_time()
    background = estimate_background(source, 2)
    terms = Terms(WIDTHS)
    model, start = settle(source, background, terms, search(source, background, terms))
    params = climb(model, source, start).params
    seconds = process_time() - began
    oracle = terms.model(len(matrix), background, min(occurrence, 0.995))
    true = MotifParams(min(occurrence, 0.995), 0.999 * matrix + 0.00025)
    answers = []
    for of, at in ((model, params), (oracle, true)):
        calls = call_sites(of, at, source)
        answers.append([(int(i), int(s), int(s) + of.width) for i, s in zip(calls.sequence, calls.start, strict=True)])
    return answers[0], answers[1], seconds


def by_meme(path: str, sequences: list[np.ndarray]) -> tuple[Sites, float]:
    """MEME's sites and its CPU seconds."""
    text, seconds = meme_text(path, sequences, 1)
    return sites_of(text), seconds


def meme_text(
    path: str, sequences: list[np.ndarray], n_motifs: int, widths: tuple[int, int] = WIDTHS
) -> tuple[str, float]:
    """What MEME says, and its CPU seconds: same widths, both strands, ZOOPS, background of order 2."""
    with tempfile.NamedTemporaryFile("w", suffix=".fa") as file:
        write_fasta(sequences, file)
        words = [path, file.name, "-text", "-dna", "-revcomp", "-mod", "zoops", "-nostatus"]
        words += ["-minw", str(widths[0]), "-maxw", str(widths[1]), "-nmotifs", str(n_motifs), "-markov_order", "2"]
        return counted(words)


def write_fasta(sequences: list[np.ndarray], file: IO[str]) -> None:
    """Sequences as other programs read them, called s0, s1, …"""
    file.writelines(f">s{i}\n{decode(codes)}\n" for i, codes in enumerate(sequences))
    file.flush()


def counted(words: list[str]) -> tuple[str, float]:
    """What a program says, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return text, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def sites_of(text: str) -> Sites:
    """The sites of the first motif in a text of MEME."""
    head = re.search(r"width =\s*(\d+)\s+sites =", text)
    if head is None:
        return []
    rows = text.split("sites sorted by position p-value")[1].split("block diagrams")[0].splitlines()
    starts = [re.match(r"s(\d+)\s+[+-]\s+(\d+)\s", row) for row in rows]
    return [(int(m[1]), int(m[2]) - 1, int(m[2]) - 1 + int(head[1])) for m in starts if m]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--meme", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--role", default="judged", choices=("judged", "chosen on"))
    parser.add_argument("--only", nargs="*", default=None, help="motifs")
    parser.add_argument("--flattened", nargs="*", type=float, default=FLATTENED)
    parser.add_argument("--store", default=str(STORED))
    chosen = parser.parse_args()
    genome = read_fasta(HERE.parent / "resources" / "lambda.fa")[0].codes
    rows: list[dict[str, Any]] = []
    for number, (name, matrix) in enumerate(matrices(chosen.role).items()):
        if chosen.only and name not in chosen.only:
            continue
        for occurrence in OCCURRENCES:
            for flattened in chosen.flattened:
                rng = np.random.default_rng([chosen.seed, number, int(10 * occurrence), int(10 * flattened)])
                mixed = (1.0 - flattened) * matrix + flattened / 4.0
                sequences, known = plant(mixed, occurrence, N, LENGTH, genome, rng)
                ours, oracle, seconds = by_us(sequences, mixed, occurrence)
                row = {
                    "motif": name, "width": len(matrix), "occurrence": occurrence, "flattened": flattened,
                    "sites": len(known), "ours": nucleotide_f1(ours, known), "oracle": nucleotide_f1(oracle, known),
                    "ours_cpu_s": seconds,
                }  # fmt: skip
                if chosen.meme is not None:
                    theirs, their_seconds = by_meme(chosen.meme, sequences)
                    row |= {"meme": nucleotide_f1(theirs, known), "meme_cpu_s": their_seconds}
                rows.append(row)
                print(*(f"{v:.3f}" if isinstance(v, float) else v for v in row.values()), flush=True)
                table = pd.DataFrame(rows)
                table.round(3).to_csv(chosen.store, sep="\t", index=False, quoting=csv.QUOTE_NONE)
    print(table.drop(columns="motif").mean().round(3).to_string())


if __name__ == "__main__":
    main()

"""Matches of three motifs with 52 known ones by Tomtom of the MEME suite: ``python tests/reference/tomtom.py PATH_OF_TOMTOM`` writes tomtom.json.

The known motifs are the twelve of benchmarks/motif_matrices.tsv and forty random ones; the motifs are CTCF without its first three positions, read on the other strand
and flattened, FOXA1 with two positions of background on either side, and a random one.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
KEPT = 5  # best matches of each motif


def motifs() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Found and known motifs: letter probabilities by name."""
    rng = np.random.default_rng(7)
    table = pd.read_csv(HERE.parents[1] / "benchmarks" / "motif_matrices.tsv", sep="\t", comment="#")
    counts = {name: part[list("ACGT")].to_numpy() + 0.25 for name, part in table.groupby("name")}
    known = {name: values / values.sum(axis=1, keepdims=True) for name, values in counts.items()}
    known |= {f"R{k}": rng.dirichlet(np.full(4, 0.5), size=int(rng.integers(7, 16))) for k in range(40)}
    flank = np.full((2, 4), 0.25)
    found = {
        "ctcf": 0.9 * known["CTCF"][3:][::-1, ::-1] + 0.025,
        "foxa1": np.concatenate([flank, 0.95 * known["FOXA1"] + 0.0125, flank]),
        "random": rng.dirichlet(np.full(4, 0.5), size=11),
    }
    return found, known


def meme_text(matrices: dict[str, np.ndarray]) -> str:
    """A file in MEME format."""
    text = "MEME version 5\n\nALPHABET= ACGT\n\nstrands: + -\n\nBackground letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n\n"
    for name, matrix in matrices.items():
        rows = "\n".join(" ".join(f"{p:.6f}" for p in row) for row in matrix)
        text += f"MOTIF {name}\nletter-probability matrix: alength= 4 w= {len(matrix)} nsites= 1000000\n{rows}\n\n"
    return text


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, matrices in zip(("found", "known"), motifs(), strict=True):
            Path(folder, name).write_text(meme_text(matrices))
        words = ["-text", "-dist", "ed", "-thresh", "1", "-motif-pseudo", "0", "-verbosity", "1", "found", "known"]
        run = subprocess.run([sys.argv[1], *words], cwd=folder, capture_output=True, text=True, check=True)
    version = subprocess.run([sys.argv[1], "-version"], capture_output=True, text=True, check=True).stdout.strip()
    rows = [row for row in csv.DictReader(run.stdout.splitlines(), delimiter="\t") if row["Orientation"]]
    best: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        kept = best.setdefault(row["Query_ID"], [])
        if len(kept) < KEPT:
            kept.append(
                {
                    "known": row["Target_ID"],
                    "offset": int(row["Optimal_offset"]),
                    "p": float(row["p-value"]),
                    "overlap": int(row["Overlap"]),
                    "strand": row["Orientation"],
                }
            )
    command = "tomtom " + " ".join(words)
    HERE.joinpath("tomtom.json").write_text(
        json.dumps({"tool": "Tomtom (MEME suite)", "version": version, "command": command, "matches": best}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()

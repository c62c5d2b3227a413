"""E-values of sets without a motif: ``python -m benchmarks.motif_null``.

Sets of shuffles: the CRP regions with their letters shuffled, and windows of phage lambda with their letters or their pairs of
neighbouring letters kept. Fresh sets and seeds; both strands, widths 8 to 16, the order of the background as the command chooses it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emtools.engine.chunks import SequenceSource
from emtools.io.fasta import read_fasta
from emtools.models.motif import estimate_background
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.search import Terms
from emtools.motif_finding.significance import held_out_test, shuffled_pieces

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


def main() -> None:
    rows = []
    for number, (kind, n_sets) in enumerate(SETS.items()):
        values = []
        for k in range(n_sets):
            source = SequenceSource(null_set(kind, np.random.default_rng([number, k])))
            background = estimate_background(source, choose_order(source.codes.size, False))
            values.append(held_out_test(source, background, Terms((8, 16)), k, 30).p)
        p = np.array(values)
        rows.append({"sets": kind, "n": n_sets, **{f"below_{c}": int((p < c).sum()) for c in (0.01, 0.05, 0.2, 0.5)}})
        print(rows[-1], flush=True)
        total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "sets"}
        pd.DataFrame([*rows, {"sets": "all", **total}]).to_csv(STORED, sep="\t", index=False)


if __name__ == "__main__":
    main()

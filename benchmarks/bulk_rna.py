"""Fractions of RNA and of cells on blood counted by flow cytometry: ``python -m benchmarks.bulk_rna --sets FOLDER``.

FOLDER is that of `benchmarks.bulk_accuracy`. Truth is of cells. Where a set has cells, their RNA per cell is in the profiles
(``reference``); where it has a table of profiles in transcripts per million, which have lost it, ``rna_per_cell.csv`` in its folder
(type, rna) is as for ``emtools deconvolve --rna-per-cell``: the stored rows are with those of EPIC 1.1.7
(``mRNA_cell_default``; Racle et al. 2017, doi:10.7554/eLife.26476, measured by flow cytometry in blood of other donors). Profiles of a
table are taken as per unit of RNA, as by the command, though they lack genes and their totals differ. Nothing was chosen on these sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bulk_accuracy import concordance, from_folder, grouped, scaled
from emtools.deconvolving.choice import deconvolve
from emtools.io.bulk import read_rna_per_cell

STORED = Path(__file__).with_suffix(".tsv")
SETS = ("hoek_bref", "abis_bref", "fino_bref", "hoek", "abis_hao", "fino")


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True)
    sets = parser.parse_args().sets
    rows = []
    for name in SETS:
        task = from_folder(sets / name)
        truth = scaled(task.truth.to_numpy(float))
        types, file = task.reference.types, sets / name / "rna_per_cell.csv"
        found = deconvolve(task.mixtures, task.reference)
        if file.exists():
            known = read_rna_per_cell(file)
            each = np.array([known[one] for one in types])
            answers = {"RNA": found.shares(np.ones(len(types)))[0], "cells, by file": found.shares(1.0 / each)[0]}
        else:
            answers = {"RNA": found.of_rna()[0], "cells, by reference": found.of_cells()[0]}
        for of, fractions in answers.items():
            answer = grouped(fractions, task)
            error = np.sqrt(np.mean((answer - truth) ** 2))
            rows.append({"set": name, "of": of, "rmse": f"{error:.4f}", "ccc": f"{concordance(answer, truth):.3f}"})
            print(*rows[-1].values(), flush=True)
        pd.DataFrame(rows).to_csv(STORED, sep="\t", index=False)


if __name__ == "__main__":
    main()

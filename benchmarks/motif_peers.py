"""A motif in many sequences, ours beside STREME and MEME: ``python -m benchmarks.motif_peers [--programs FOLDER]``.

The sets of `motif_speed`: the CTCF matrix planted in 70 % of random sequences of 100 bp. Each seeks one motif of the same widths on both
strands over a background of order 2: STREME with ``--nmotifs 1``, MEME by ZOOPS. Ours runs before and after the peer; ``times`` is
its CPU seconds, reading and writing included, by the mean of both (``spread``: by each); F1 of the sites that each program lists is by nucleotide. FOLDER holds ``streme`` and ``meme`` (built from
the source of the MEME suite), else they are sought on the path. ``--largest`` leaves out sets with more sequences, ``--peer`` one of the two; rows that are not run again stay.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.motif_accuracy import Sites, counted, meme_text, nucleotide_f1, sites_of, write_fasta
from benchmarks.motif_speed import planted, searched
from benchmarks.timing import spread
from emtools.engine.chunks import SequenceSource

TABLE = Path(__file__).with_suffix(".tsv")
KEYS = ["sequences", "widths", "peer"]
RUNS = (
    ("streme", 1_000, (15, 15)),
    ("streme", 1_000, (8, 20)),
    ("streme", 50_000, (8, 20)),
    ("meme", 1_000, (15, 15)),
)


def by_streme(path: str, sequences: list[np.ndarray], widths: tuple[int, int]) -> tuple[Sites, float]:
    """STREME's sites and its CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        fasta, told = Path(folder) / "all.fa", Path(folder) / "told"
        with fasta.open("w") as file:
            write_fasta(sequences, file)
        words = [path, "--p", str(fasta), "--dna", "--order", "2", "--nmotifs", "1", "--oc", str(told)]
        _, seconds = counted([*words, "--minw", str(widths[0]), "--maxw", str(widths[1]), "--verbosity", "1"])
        table = pd.read_csv(told / "sites.tsv", sep="\t", comment="#")
    places = zip(table["seq_ID"], table["site_Start"], table["site_End"], strict=True)
    return [(int(name[1:]), int(start) - 1, int(end)) for name, start, end in places], seconds


def by_meme(path: str, sequences: list[np.ndarray], widths: tuple[int, int]) -> tuple[Sites, float]:
    """MEME's."""
    text, seconds = meme_text(path, sequences, 1, widths)
    return sites_of(text), seconds


def version_of(path: str) -> str:
    """As the program tells it."""
    flag = "--version" if Path(path).name == "streme" else "-version"
    found = re.search(r"\d+(\.\d+)+", subprocess.run([path, flag], capture_output=True, text=True, check=True).stdout)
    return found[0] if found else ""


def measured(peer: str, path: str, n: int, widths: tuple[int, int]) -> dict[str, Any]:
    """Ours, the peer, ours."""
    sequences, known = planted(n)
    source = SequenceSource(sequences)
    _, _, found, first = searched(source, widths)
    theirs, seconds = (by_streme if peer == "streme" else by_meme)(path, sequences, widths)
    second = searched(source, widths)[3]
    ours = (first + second) / 2
    return {
        "sequences": n, "widths": f"{widths[0]}-{widths[1]}", "peer": peer.upper(), "version": version_of(path), "cpu_s": round(ours, 2),
        "peer_cpu_s": round(seconds, 1), "times": round(seconds / ours, 1),
        "spread": spread([seconds / one for one in (first, second)]), "f1": round(nucleotide_f1(found, known), 3),
        "peer_f1": round(nucleotide_f1(theirs, known), 3),
    }  # fmt: skip


def main() -> None:
    """Run what is here and put its rows in the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default=None, help="folders of streme and meme")
    parser.add_argument("--peer", choices=("streme", "meme"), default=None, help="only this one")
    parser.add_argument("--largest", type=int, default=50_000, help="sequences at most")
    chosen = parser.parse_args()
    searched(SequenceSource(planted(200)[0]), (8, 20))  # compiles
    for peer, n, widths in RUNS:
        path = shutil.which(peer, path=chosen.programs or None)
        if n > chosen.largest or chosen.peer not in (None, peer):
            continue
        if path is None:
            print(f"left out: no {peer} here", flush=True)
            continue
        row = measured(peer, path, n, widths)
        table = pd.DataFrame([row])
        if TABLE.exists():
            table = pd.concat([pd.read_csv(TABLE, sep="\t"), table]).drop_duplicates(KEYS, keep="last")
        table.sort_values(["peer", *KEYS[:2]]).to_csv(TABLE, sep="\t", index=False)
        print("\t".join(f"{k}={v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()

"""The study of motifs beside STREME and MEME (benchmarks/motif_peers.py): their programs stood in for by scripts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.motif_peers import by_streme, version_of

STREME = """#!{python}
import sys
from pathlib import Path
if "--version" in sys.argv:
    sys.exit(print("5.5.8"))
told = Path(sys.argv[sys.argv.index("--oc") + 1])
told.mkdir()
fasta = Path(sys.argv[sys.argv.index("--p") + 1]).read_text().split()
width = int(sys.argv[sys.argv.index("--minw") + 1])
start = fasta[fasta.index(">s1") + 1].index("TTT") + 1
head = "motif_ID motif_ALT_ID seq_ID site_Start site_End site_Strand site_Score site_Sequence"
row = f"1-TTT STREME-1 s1 {{start}} {{start + width - 1}} - 9.2 AAA"
(told / "sites.tsv").write_text("\\n".join(line.replace(" ", "\\t") for line in (head, row, "", "#_end")) + "\\n")
"""


def test_sites_of_streme_are_zero_based_and_half_open(tmp_path: Path):
    program = tmp_path / "streme"
    program.write_text(STREME.format(python=sys.executable))
    program.chmod(0o755)
    sequences = [np.zeros(6, dtype=np.uint8), np.array([0, 0, 3, 3, 3, 0], dtype=np.uint8)]
    sites, _ = by_streme(str(program), sequences, (3, 3))
    assert sites == [(1, 2, 5)]
    assert version_of(str(program)) == "5.5.8"

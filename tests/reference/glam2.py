"""Write tests/reference/glam2.json: the CRP sites that GLAM2 finds. Needs ``glam2`` (Debian package glam2).

Run from the root of the repository: ``python tests/reference/glam2.py``. Insertions and deletions are made
improbable and the width is fixed, so that GLAM2 searches the space that OOPS on both strands does.
"""

import json
import re
import subprocess
from pathlib import Path

OPTIONS = "-2 -a 22 -b 22 -D 1e-6 -E 1 -I 1e-6 -J 1 -z 18 -r 10 -n 20000 -s 1"
FASTA = Path("resources/crp.fa")


def main() -> None:
    command = ["glam2", *OPTIONS.split(), "n", str(FASTA)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    best = text.split("Score:")[1]
    lines = re.findall(r"^(\S+) +(\d+) ([acgt]{22}) +(\d+) ([+-]) [\d.]+$", best, flags=re.MULTILINE)
    sites = [[name, min(int(a), int(b)) - 1, max(int(a), int(b)), strand] for name, a, _, b, strand in lines]
    version = re.search(r"^Version (\S+)$", text, flags=re.MULTILINE)
    record = {"tool": "GLAM2", "version": version.group(1), "command": " ".join(command), "sites": sites}
    body = ",\n  ".join(json.dumps(site) for site in record.pop("sites"))
    head = json.dumps(record, indent=1)[:-2]
    Path(__file__).with_suffix(".json").write_text(f'{head},\n "sites": [\n  {body}\n ]\n}}\n')


if __name__ == "__main__":
    main()

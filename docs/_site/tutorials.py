"""Commands of the tutorials, run when the site is built; what they print and write is what the pages show."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

BLOCK = re.compile(r"^```console(?: exit=(\d+))?\n(.*?)^```\n", flags=re.M | re.S)
COLUMNS = 96
LARGEST = 8_000_000  # bytes of a result that the site carries


class Tutorials:
    """Pages whose ``console`` blocks are run one after another in one folder.

    Commands write under ``out/``, which lies beside the pages in the site, so that ``![](out/crp/logo.svg)`` shows a
    figure of ``--out out/crp``. In the text ``{{ fit('out/crp').rate }}`` and ``{{ table('out/crp/accuracy.tsv') }}`` are
    what the results hold. Nothing is run again while the commands and the sources of emtools are the same.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".docs"
        self.printed: dict[str, list[str]] = {}

    def run(self, pages: list[Path]) -> None:
        """Run every block, page by page.

        Raises
        ------
        RuntimeError
            If a command does not end as the page says.
        """
        stamp = self.folder / "stamp"
        state = self.state(pages)
        record = self.folder / "printed.json"
        if stamp.is_file() and stamp.read_text() == state:
            self.printed = json.loads(record.read_text())
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "resources").symlink_to(self.root / "resources")
        self.printed = {
            page.name: [self.execute(page.name, block[2], int(block[1] or 0)) for block in blocks(page)]
            for page in pages
        }
        record.write_text(json.dumps(self.printed))
        stamp.write_text(state)

    def state(self, pages: list[Path]) -> str:
        """A hash of the commands, the sources and the inputs."""
        digest = hashlib.sha256()
        for page in pages:
            for block in blocks(page):
                digest.update(block[0].encode())
        parts = [*(self.root / "emtools").rglob("*"), *(self.root / "resources").glob("*")]
        for path in sorted(part for part in parts if part.is_file() and part.suffix != ".pyc"):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def execute(self, name: str, block: str, status: int) -> str:
        """What the commands of one block print."""
        commands = re.split(r"^\$ ", block, flags=re.M)[1:]
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": str(COLUMNS),
            "MPLBACKEND": "agg",
        }
        told = []
        for command in commands:
            print(f"{name}: {command.rstrip()}", file=sys.stderr)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            if done.returncode != status:
                raise RuntimeError(f"{name}: {command}: exit status {done.returncode}, not {status}\n{done.stdout}")
            told.append(done.stdout)
        return "".join(told)

    def produced(self) -> list[Path]:
        """Files under out/ that the site carries."""
        found = (self.folder / "out").rglob("*")
        return sorted(path for path in found if path.is_file() and path.stat().st_size <= LARGEST)

    def shown(self, name: str, markdown: str) -> str:
        """The page with the output behind each block, and the values that its text names."""
        outputs = iter(self.printed[name])

        def with_output(match: re.Match[str]) -> str:
            printed = next(outputs).rstrip()
            block = f"```console\n{match[2]}```\n"
            lines = [part for line in printed.splitlines() for part in textwrap.wrap(line, COLUMNS, replace_whitespace=False) or [""]]  # fmt: skip
            return block + ('\n```text title="prints"\n' + "\n".join(lines) + "\n```\n" if printed else "")

        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        return environment.from_string(BLOCK.sub(with_output, markdown)).render(fit=self.fit, table=self.table)

    def fit(self, folder: str) -> Any:
        """The fit.json of a folder."""
        return json.loads((self.folder / folder / "fit.json").read_text())

    def table(self, path: str, rows: int = 20, columns: list[str] | None = None) -> str:
        """The first rows of a table that a command wrote, as Markdown; accuracy with a column for each method."""
        file = self.folder / path
        bed = {"header": None, "names": ["record", "start", "end", "name", "score"], "usecols": range(5)}
        frame = pd.read_csv(file, sep="," if file.suffix == ".csv" else "\t", **bed if file.suffix == ".bed" else {})
        if list(frame.columns) == ["method", "metric", "value"]:
            frame["metric"] = frame["metric"].str.replace("_", " ")
            frame = frame.pivot_table("value", "metric", "method", sort=False).reset_index()
        return markdown_table((frame[columns] if columns else frame).head(rows))


def blocks(page: Path) -> list[re.Match[str]]:
    """Blocks of a page that are run."""
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


def markdown_table(frame: pd.DataFrame) -> str:
    """A table in Markdown, numbers to four digits."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return (
                "" if value != value else f"{value:.0f}" if value.is_integer() and abs(value) < 1e7 else f"{value:.4g}"
            )
        return str(value).replace("|", "\\|")

    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    lines = [
        "| " + " | ".join(str(name).replace("_", " ") for name in frame.columns) + " |",
        "|" + "|".join("---:" if number else "---" for number in numbers) + "|",
        *("| " + " | ".join(map(cell, row)) + " |" for row in frame.itertuples(index=False)),
    ]
    return "\n".join(lines)

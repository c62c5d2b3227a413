"""bigWig in, by a process of its own: the library that reads it ends a whole process on some damaged files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.outputs import require_file

ROW = np.dtype([("start", np.int64), ("end", np.int64), ("value", np.float64)])
MOST_MEMORY, MEMORY_A_BYTE = 2**32, 64  # address space of that process, bytes, and bytes for each byte of the file
MOST_SECONDS, BYTES_A_SECOND = 60, 100_000  # its CPU time
ABSENT = 4  # exit status without the library


def read_rows(path: Path, names: Collection[str] | None = None) -> dict[str, npt.NDArray[np.void]]:
    """Intervals of each record, structured as `ROW`; records without one are left out, and of those not in `names` only the first is read.

    Raises
    ------
    InputError
        If the file cannot be read or pybigtools is not installed.
    """
    require_file(path, "bigWig")
    with TemporaryDirectory() as folder:
        out, wanted = Path(folder) / "rows.npz", Path(folder) / "names.json"
        wanted.write_text(json.dumps(None if names is None else list(names)))
        words = [sys.executable, "-m", __name__, str(path.absolute()), str(out), str(wanted)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == ABSENT:
            got = "pybigtools is not installed, which reads bigWig"
            raise InputError(str(path), got, "it", 'pip install "emtools[bigwig]"')
        if done.returncode or not out.is_file():
            why = ([line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no reason given"])[-1]
            raise InputError(str(path), f"cannot be read ({why[:120]})", "a whole bigWig file", "copy it again")
        with np.load(out, allow_pickle=False) as stored:
            return {str(name): stored[f"rows_{k}"] for k, name in enumerate(stored["names"])}


def convert(source: Path, target: Path, wanted: Path) -> None:
    """Write the intervals of `source` as npz; the list in `wanted` is the `names` of `read_rows`."""
    import resource

    import pybigtools

    size = source.stat().st_size
    for kind, most in (
        (resource.RLIMIT_AS, MOST_MEMORY + MEMORY_A_BYTE * size),
        (resource.RLIMIT_CPU, MOST_SECONDS + size // BYTES_A_SECOND),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    with closing(pybigtools.open(str(source))) as file:
        names = json.loads(wanted.read_text())
        kept = frozenset(names or ())
        most = {name: None if names is None or name in kept else 1 for name in file.chroms()}
        rows = {name: np.fromiter(islice(file.records(name), n), dtype=ROW) for name, n in most.items()}
    held = {name: found for name, found in rows.items() if len(found)}
    np.savez(target, names=np.array(list(held), dtype=str), **{f"rows_{k}": r for k, r in enumerate(held.values())})


if __name__ == "__main__":
    try:
        convert(*map(Path, sys.argv[1:4]))
    except ModuleNotFoundError:
        sys.exit(ABSENT)

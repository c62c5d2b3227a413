"""CPU seconds of whole commands, start to exit: ``python -m benchmarks.command_times``.

Each is run with an empty cache of compiled kernels, as after an install, and again with the cache that this left. The inputs
are those of the demo; the small ones are fits of which the second run should cost next to nothing beside Python itself, and the
refused ones get a damaged file, so that what they cost is what a command costs before it works. Words after the name, ``python -m benchmarks.command_times hmm``, run only the commands that have one of them; other rows stay.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

TABLE = Path(__file__).with_suffix(".tsv")
RESOURCES = Path("resources")
COMMANDS = {
    "emtools --help": ("--help",),
    "emtools doctor": ("doctor",),
    "emtools impute pbc.csv": ("impute", "pbc.csv", "--id", "id"),
    "emtools deconvolve (pbmc68k_reduced, K = 8)": ("deconvolve", "pbmc68k_reduced.h5ad", "--components", "8"),
    "emtools segment nuclei.tif": ("segment", "nuclei.tif"),
    "emtools hmm lambda.fa --states 2": ("hmm", "lambda.fa", "--states", "2"),
    "emtools motif crp.fa --width 22": ("motif", "crp.fa", "--width", "22"),
    "small: emtools impute, 4 columns of pbc.csv, no ensemble": (
        "impute", "pbc.csv", "--id", "id", "--columns", "bili", "chol", "albumin", "copper", "--fill", "model",
    ),
    "small: emtools hmm crp.fa --states 2 --starts 1": ("hmm", "crp.fa", "--states", "2", "--starts", "1"),
}  # fmt: skip
DAMAGED = {
    "bad.csv": b"a,b\n1,2\n1,2,3\n",
    "bad.fa": b">a\nACGT\nAC!T\n",
    "bad.bedgraph": b"chr1\t0\t10\tx\n",
    "bad.tif": b"no image",
    "bad.h5ad": b"no HDF5",
}
REFUSED = {
    f"refused: emtools {' '.join(words)}": words
    for words in (
        ("impute", "bad.csv"),
        ("deconvolve", "bad.csv", "--components", "2"),
        ("deconvolve", "bad.h5ad", "--components", "2"),
        ("deconvolve", "bad.h5ad", "--reference", "bad.h5ad"),
        ("segment", "bad.tif"),
        ("segment", "bad.csv"),
        ("hmm", "bad.fa", "--states", "2"),
        ("hmm", "bad.bedgraph", "--states", "2"),
        ("motif", "bad.fa", "--width", "6"),
    )
}


def spent(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """CPU seconds, peak of memory in MB and exit status of a command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emtools", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, process.returncode


def measured(name: str, words: tuple[str, ...], folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """A command without and with the kernels of its first run."""
    here = [str(path) if (path := RESOURCES / word).is_file() else word for word in words]
    here = [str(folder / word) if word.endswith(".h5ad") or word in DAMAGED else word for word in here]
    fits = words[0] in ("impute", "deconvolve", "segment", "hmm", "motif")
    runs = []
    for run in ("first", "second"):
        out = ["--out", str(folder / run)] if fits else []
        runs.append(spent([*here, *out], environment))
        assert runs[-1][2] in ((2,) if name in REFUSED else (0, 3)), (name, runs[-1])
    return {
        "first_cpu_s": round(runs[0][0], 2), "second_cpu_s": round(runs[1][0], 2),
        "peak_mb": round(max(run[1] for run in runs)), "exit": runs[1][2],
    }  # fmt: skip


def main() -> None:
    """Run the commands and write the table."""
    words = sys.argv[1:]
    rows = {} if not TABLE.exists() else pd.read_csv(TABLE, sep="\t").set_index("command").to_dict("index")
    with TemporaryDirectory(prefix="emtools-") as held:
        folder = Path(held)
        chosen = {n: w for n, w in (COMMANDS | REFUSED).items() if not words or any(word in n for word in words)}
        if any("pbmc68k_reduced.h5ad" in arguments for arguments in chosen.values()):
            spent(["demo", "pbmc68k_reduced", "--out", str(folder / "pbmc68k_reduced.h5ad")], dict(os.environ))
        for i, (name, arguments) in enumerate(chosen.items()):
            place = folder / str(i)
            place.mkdir()
            (place / "pbmc68k_reduced.h5ad").symlink_to(folder / "pbmc68k_reduced.h5ad")
            for file, content in DAMAGED.items():
                (place / file).write_bytes(content)
            environment = os.environ | {"NUMBA_CACHE_DIR": str(place / "kernels")}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as after an install, modules are compiled once
            rows[name] = measured(name, arguments, place, environment)
            print(name, rows[name], flush=True)
            stored = [{"command": known, **rows[known]} for known in COMMANDS | REFUSED if known in rows]
            pd.DataFrame(stored).to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

"""The machine that the studies ran on, and the versions of what they measured: ``python -m benchmarks.machine``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pandas as pd
import scipy.linalg  # noqa: F401  its BLAS is told beside numpy's
from threadpoolctl import threadpool_info

TABLE = Path(__file__).with_suffix(".tsv")
PACKAGES = ("numpy", "scipy", "numba", "pandas", "scikit-learn", "scikit-image")
OF_R = ("mclust", "Amelia", "mice", "norm", "norm2", "SQUAREM", "turboEM")


def machine() -> pd.DataFrame:
    """The processor, its caches, and the versions of what was measured; what is not here is left out."""
    rows = {"processor": processor(), "cores": str(os.cpu_count()), "memory, GiB": f"{memory():.0f}", **caches()}
    rows |= {"vector instructions": ", ".join(flag for flag in ("avx2", "avx512f") if flag in flags())}
    rows |= {"system": f"{platform.system()} {platform.machine()}", "Python": platform.python_version()}
    for name in PACKAGES:
        rows[name] = metadata.version(name)
    for library in threadpool_info():
        if library["user_api"] == "blas":
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs")
            rows[f"BLAS of {owner}"] = (
                f"{library['internal_api']} {library['version']}, {library.get('architecture', '')}"
            )
    told = pd.DataFrame({"what": list(rows), "value": list(rows.values())})
    return pd.concat([told, versions_of_r()], ignore_index=True)


def versions_of_r() -> pd.DataFrame:
    """R and the peers that it has here."""
    if shutil.which("Rscript") is None:
        return pd.DataFrame({"what": [], "value": []})
    code = (
        'cat("R", format(getRversion()), "\\n"); for (p in commandArgs(TRUE)) '
        'if (length(find.package(p, quiet = TRUE))) cat("R:", p, format(packageVersion(p)), "\\n")'
    )
    done = subprocess.run(["Rscript", "-e", code, *OF_R], capture_output=True, text=True, check=True)
    pairs = [line.strip().rsplit(" ", 1) for line in done.stdout.splitlines()]
    return pd.DataFrame(pairs, columns=["what", "value"])


def processor() -> str:
    """Its name as the system tells it."""
    names = [line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def flags() -> list[str]:
    """What its instructions are called."""
    return next((line.split(":")[1].split() for line in cpuinfo() if line.startswith("flags")), [])


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def memory() -> float:
    """Of the machine, GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def caches() -> dict[str, str]:
    """Sizes of the first core's data caches."""
    told = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            told[f"cache, level {level}"] = size
    return told


def main() -> None:
    """Write the table."""
    table = machine()
    table.to_csv(TABLE, sep="\t", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

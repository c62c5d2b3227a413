"""What the studies share: runs that alternate, memory of a call, and the machine and the versions that they ran on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_info

MACHINE = Path(__file__).with_name("machine.tsv")
PACKAGES = ("numpy", "scipy", "numba", "pandas", "scikit-learn", "scikit-image")
OF_R = ("mclust", "Amelia", "mice", "norm", "norm2", "SQUAREM", "turboEM")


@dataclass(frozen=True)
class Beside:
    """Ours and a peer's on the same work, in turn.

    Parameters
    ----------
    ours, theirs : float
        Median CPU seconds.
    ratio : float
        Median over the pairs of the peer's CPU seconds by ours.
    spread : str
        The lowest and the highest of these ratios.
    wall : float
        Median over the pairs of the ratio of wall times.
    """

    ours: float
    theirs: float
    ratio: float
    spread: str
    wall: float


def clocks() -> np.ndarray:
    """CPU seconds of this process and wall seconds."""
    return np.array((process_time(), perf_counter()))


def compared(spent: Sequence[tuple[np.ndarray, np.ndarray]]) -> Beside:
    """Of pairs of (CPU, wall) seconds, ours and the peer's."""
    seconds = np.array(spent)
    ratios = seconds[:, 1] / seconds[:, 0]
    cpu, wall = np.median(ratios, axis=0)
    ours, theirs = np.median(seconds[:, :, 0], axis=0)
    return Beside(float(ours), float(theirs), float(cpu), spread(ratios[:, 0]), float(wall))


def spread(ratios: Sequence[float] | np.ndarray) -> str:
    """Lowest and highest; nothing of one alone."""
    return f"{min(ratios):.3g} to {max(ratios):.3g}" if len(ratios) > 1 else ""


def alternated(ours: Callable[[], object], theirs: Callable[[], object], pairs: int, longest: float) -> Beside:
    """Both in turn, `pairs` times at most, until the peer has used `longest` CPU seconds."""
    spent: list[tuple[np.ndarray, np.ndarray]] = []
    while len(spent) < pairs and sum(pair[1][0] for pair in spent) < longest:
        times = []
        for run in (ours, theirs):
            began = clocks()
            run()
            times.append(clocks() - began)
        spent.append((times[0], times[1]))
    return compared(spent)


def in_own_process(module: str, *words: str) -> str:
    """The last line that a study prints in a process of its own, so that no case finds the memory that another left."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.rstrip("\n").splitlines()[-1]


def resident(line: str) -> float:
    """A line of the process's memory, MB: VmRSS now, VmHWM at most."""
    (row,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(f"{line}:")]
    return float(row.split()[1]) / 1024.0


def memory_now() -> float:
    """Resident memory, MB, from which the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak_above(run: Callable[[], object]) -> float:
    """How far the resident memory of this process rises during a call, MB."""
    before = memory_now()
    run()
    return resident("VmHWM") - before


def machine() -> pd.DataFrame:
    """The processor, its caches, and the versions of what was measured; what is not here is left out."""
    rows = {"processor": processor(), "cores": str(os.cpu_count()), "memory, GiB": f"{memory():.0f}", **caches()}
    rows |= {"vector instructions": ", ".join(flag for flag in ("avx2", "avx512f") if flag in flags())}
    rows |= {"system": f"{platform.system()} {platform.machine()}", "Python": platform.python_version()}
    for name in PACKAGES:
        rows[name] = metadata.version(name)
    for library in threadpool_info():
        if library["user_api"] == "blas":
            rows["BLAS of " + ("scipy" if "scipy" in library["filepath"] else "numpy")] = (
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
    """Write the table of the machine."""
    table = machine()
    table.to_csv(MACHINE, sep="\t", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())

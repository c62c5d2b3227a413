"""What the studies share: runs that alternate, a process for each case, memory of a call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np


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

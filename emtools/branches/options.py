"""Options that every branch has; light, so that an input is refused before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIMBING = ("tol", "max_passes", "seed", "threads", "executor")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that every branch has.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
        Root of all random numbers.
    threads : int
        Threads; cannot change a result.
    starts : int
        Number of starts.
    tol : float
        Estimated remaining gain, in nats, at which a start stops.
    max_passes : int
        Passes over the data that a start may take.
    algorithm : {"accelerated", "em"}
        The second is plain EM.
    executor : str
        Where the chunks are worked on; cannot change a result.
    checkpoint : Path, optional
        File from which an interrupted fit goes on.
    quiet : bool
        No progress line on a terminal.
    only_starts : (int, int), optional
        First and last start, from 1, to climb; nothing else is done then.
    starts_from : sequence of Path
        Files of starts that were climbed so.
    command : tuple of str
        Command line as typed, for the record.
    """

    out: Path
    seed: int = 0
    threads: int = 1
    starts: int = 1
    tol: float = 1e-6
    max_passes: int = 2000
    algorithm: str = "accelerated"
    executor: str = "threads"
    checkpoint: Path | None = None
    quiet: bool = False
    only_starts: tuple[int, int] | None = None
    starts_from: Sequence[Path] = ()
    command: tuple[str, ...] = ()

    @property
    def restarts(self) -> range:
        """Numbers, from 0, of the starts to climb here."""
        first, last = self.only_starts or (1, self.starts)
        return range(first - 1, last)

    @property
    def climbing(self) -> dict[str, Any]:
        """What every start of a fit is told, as arguments of ``fit``."""
        told = {name: getattr(self, name) for name in CLIMBING}
        return told | {"accelerate": self.algorithm == "accelerated"}

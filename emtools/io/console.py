"""What a person sees while a fit runs: a moving line on a terminal, and its verdict there and elsewhere."""

from __future__ import annotations

import math
import os
import shutil
import sys
from threading import Lock
from time import monotonic
from typing import TextIO

from emtools.engine.result import Pass

SECONDS = 0.1  # between two looks of the line
CLEAR = "\r\x1b[2K"


class Progress:
    """Reports passes as they are made, where standard error is a terminal; pass it to ``fit`` as `on_pass`.

    Parameters
    ----------
    label : str
        What is being fitted.
    starts : int
        Starts of the fit that is shown; 0 where that is not known before.
    quiet : bool
        Nothing but the verdict.
    stream : TextIO, optional
        Standard error by default.
    """

    def __init__(self, label: str, starts: int = 1, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.label, self.starts = label, starts
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty() and not quiet and os.environ.get("TERM") != "dumb"
        self.lock = Lock()
        self.passes = 0
        self.began = math.nan  # of the first pass: what comes before, such as reading, is not the speed of passes
        self.shown = -math.inf

    def __call__(self, row: Pass) -> None:
        with self.lock:
            now = monotonic()
            self.began = self.began if self.passes else now
            self.passes += 1
            if not self.live or now - self.shown < SECONDS:
                return
            self.shown = now
            of = f" of {self.starts}" if row.restart < self.starts else ""
            speed = f"{(self.passes - 1) / (now - self.began):.3g} passes/s, " if now > self.began else ""
            gap = f"{row.gap:.1e} nats to gain" if math.isfinite(row.gap) else "climbing"
            text = f"{self.label}: start {row.restart + 1}{of}, pass {row.number + 1}, {speed}{gap}"
            self.write(CLEAR + text[: self.columns() - 1])

    def columns(self) -> int:
        """Width of the terminal that standard error is, which standard output need not be."""
        try:
            found = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            found = 0
        return found or shutil.get_terminal_size().columns

    def write(self, text: str) -> None:
        """To the terminal at once."""
        print(text, end="", file=self.stream, flush=True)

    def close(self, verdict: str) -> None:
        """The last word, where the line was."""
        self.write(f"{CLEAR if self.live else ''}{self.label}: {verdict}\n")

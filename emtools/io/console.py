"""What a person sees while a fit runs: a moving line on a terminal, a plain log line elsewhere."""

from __future__ import annotations

import math
import sys
from threading import Lock
from time import monotonic
from typing import TextIO

from emtools.engine.result import Pass

TERMINAL_SECONDS = 0.1
LOG_SECONDS = 5.0


class Progress:
    """Reports passes as they are made; pass it to ``fit`` as `on_pass`.

    Parameters
    ----------
    label : str
        What is being fitted.
    stream : TextIO, optional
        Standard error by default.
    """

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self.label = label
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.lock = Lock()
        self.passes = 0
        self.shown = -math.inf
        self.best = -math.inf

    def __call__(self, row: Pass) -> None:
        with self.lock:
            self.passes += 1
            self.best = max(self.best, row.objective)
            now = monotonic()
            if now - self.shown < (TERMINAL_SECONDS if self.live else LOG_SECONDS):
                return
            self.shown = now
            gap = f"{row.gap:.1e} nats to go" if math.isfinite(row.gap) else "climbing"
            self.write(f"{self.label}: start {row.restart + 1}, pass {row.number + 1}, best {self.best:.4f}, {gap}")

    def write(self, text: str) -> None:
        """One line: over the last one on a terminal, below it elsewhere."""
        print(f"\r\x1b[2K{text}" if self.live else text, end="" if self.live else "\n", file=self.stream, flush=True)

    def close(self, verdict: str) -> None:
        """The last word."""
        self.write(f"{self.label}: {verdict}")
        if self.live:
            print(file=self.stream)

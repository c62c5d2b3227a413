"""The progress line of a command: on a terminal only, gone at the end, and without a trace in the results."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np

CLEAR = "\r\x1b[2K"


def on_a_terminal(command: list[str], folder: Path) -> str:
    """What a command writes to a terminal on standard error."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=folder, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            told += part
        os.close(ours)
    assert process.returncode == 0
    return told.decode().replace("\r\n", "\n")


def test_a_terminal_is_told_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.where(np.arange(400) // 100 % 2, 3.0, 0.0) + rng.normal(size=400)
    rows = (f"chr1\t{i}\t{i + 1}\t{value:.4f}\n" for i, value in enumerate(values))
    (tmp_path / "x.bedgraph").write_text("".join(rows))
    command = [
        sys.executable,
        "-m",
        "emtools",
        "hmm",
        "x.bedgraph",
        "--states",
        "2",
        "--starts",
        "2",
        "--out",
        "out",
    ]
    told = on_a_terminal(command, tmp_path)
    fits = [(tmp_path / "out" / "fit.json").read_bytes()]
    quiet = on_a_terminal([*command, "--quiet"], tmp_path)
    fits.append((tmp_path / "out" / "fit.json").read_bytes())
    assert f"{CLEAR}hmm: start 1 of 2, pass 1, " in told
    assert "\n".join(line.rpartition(CLEAR)[2] for line in told.split("\n")) == quiet
    assert "passes/s" not in quiet
    assert fits[0] == fits[1]

"""Killed with SIGKILL at random moments, a fit goes on from its checkpoint to the same bytes, in every file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest

KILLS = 20
PATIENCE = 30.0  # seconds to wait for a pass
RESUMED = 6  # of them at least must have left a checkpoint from which passes were saved


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def command(words: list[str], out: Path, passes: Path, kill_at: int | None = None, later: float = 0.0) -> int:
    """Run ``emtools`` in a child of this process, killed so many seconds after a pass; its exit status, -9 if killed.

    Each pass appends a letter to the file `passes`.
    """
    passes.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            from emtools.cli import main
            from emtools.engine import loop

            record = loop.Climber.record

            def counted(self, *rest):
                with passes.open("a") as file:
                    file.write(".")
                record(self, *rest)

            loop.Climber.record = counted
            with out.with_suffix(".log").open("a") as file, redirect_stderr(file):
                status = main([*words, "--out", str(out)])
        finally:
            os._exit(status)
    if kill_at is not None:
        deadline = time.monotonic() + PATIENCE
        while size(passes) < kill_at and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(later)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def drive(folder: Path, words: list[str], seconds: float, kills: int, seed: int) -> dict[str, int]:
    """Kill and resume; what happened. Runs in a process of its own, which has imported what children need."""
    from emtools.branches.hmm import fit as of_hmm  # noqa: F401
    from emtools.branches.impute import fit as of_impute  # noqa: F401
    from emtools.engine import checkpoint
    from emtools.plots import convergence  # noqa: F401

    checkpoint.SECONDS = seconds
    rng = random.Random(seed)
    whole, passes = folder / "whole", folder / "passes"
    assert command(words, whole, passes) in (0, 3)
    expected, n_passes = outputs(whole), size(passes)
    told = {"kills": 0, "resumed": 0, "saved": 0, "different": 0, "left": 0, "passes": n_passes}
    for trial in range(kills):
        out, kept = folder / f"{trial}", folder / f"{trial}.checkpoint"
        more = [*words, "--checkpoint", str(kept)]
        # Some fall into the certificate, or the writing of the outputs.
        later = rng.uniform(0.0, 0.3) if trial % 5 == 4 else rng.uniform(0.0, 0.005)
        told["kills"] += command(more, out, passes, rng.randint(0, n_passes), later) == -signal.SIGKILL
        resumed = kept.exists()
        if trial % 2:
            more += ["--threads", "2"]
        assert command(more, out, passes) in (0, 3)
        told["resumed"] += resumed
        told["saved"] += resumed and size(passes) < n_passes
        told["different"] += outputs(out) != expected
        told["left"] += len(list(folder.glob(f"{trial}.checkpoint*")))
    return told


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("branch", ["hmm", "impute"])
def test_killed_at_random_moments(tmp_path, branch):
    rng = np.random.default_rng(5)
    if branch == "hmm":
        letters = np.concatenate(
            [rng.choice(list("ACGT"), p=p, size=600) for p in ([0.3, 0.2] * 2, [0.2, 0.3] * 2) * 3]
        )
        (tmp_path / "in.fa").write_text(">a\n" + "".join(letters) + "\n")
        words = ["hmm", str(tmp_path / "in.fa"), "--states", "2", "--starts", "4", "--max-passes", "200"]
    else:
        rows = rng.normal(size=(250, 1)) + 0.5 * rng.normal(size=(250, 5))
        table = np.where(rng.random(rows.shape) < 0.5, "", rows.astype("U12"))
        (tmp_path / "in.csv").write_text("a,b,c,d,e\n" + "".join(",".join(row) + "\n" for row in table))
        words = ["impute", str(tmp_path / "in.csv"), "--starts", "3"]
    arguments = [sys.executable, __file__, str(tmp_path), json.dumps(words), "0.0", str(KILLS // 2), "7"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= KILLS // 2 - 2, told
    assert told["saved"] >= RESUMED // 2, told
    assert told["different"] == told["left"] == 0, told


if __name__ == "__main__":
    where, words, seconds, kills, seed = sys.argv[1:]
    print(json.dumps(drive(Path(where), json.loads(words), float(seconds), int(kills), int(seed))))

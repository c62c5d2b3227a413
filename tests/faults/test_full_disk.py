"""A full disk is one clear error, and leaves nothing behind; what an earlier fit wrote stays whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SIZES = (16, 200)  # kB; the results of each command take more
COMMANDS = {
    "impute": ["impute", "in.csv", "--columns", "a", "b", "--fill", "model"],
    "deconvolve": ["deconvolve", "in.csv", "--columns", "a", "c", "--components", "2", "--starts", "2"],
    "segment": ["segment", str(ROOT / "resources/nuclei.tif"), "--model", "mixture", "--starts", "2"],
    "hmm": ["hmm", "in.fa", "--states", "2", "--starts", "1", "--max-passes", "9"],
    "motif": ["motif", "in.fa", "--width", "6", "--starts", "1", "--untested"],
}

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: root"),
]


def write_inputs(folder: Path) -> None:
    """A table and a sequence file, small and real enough for every command."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60, 3)) + np.repeat([[0, 0, 0], [6, 3, 1]], 30, axis=0)
    text = [[f"{value:.4f}" for value in row] for row in rows]
    for row in range(0, 60, 7):
        text[row][1] = ""
    (folder / "in.csv").write_text("id,a,b,c\n" + "".join(f"p{i},{','.join(row)}\n" for i, row in enumerate(text)))
    letters = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(20)]
    records = [f">r{i}\n{s[:30]}TGACGTCA{s[38:]}\n" for i, s in enumerate(letters)]
    (folder / "in.fa").write_text("".join(records))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for a file system of few kB."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def mount(place: Path, size: int) -> None:
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
    options = f"size={size}k,mode=755"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")


def emtools(*words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: HDF5 does not recover from a disk that was full."""
    return subprocess.run([sys.executable, "-m", "emtools", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_one_error_and_a_clean_tree(name: str, disk: Path) -> None:
    for size in SIZES:
        mount(disk, size)
        out = disk / "results"
        told = emtools(*COMMANDS[name], "--out", str(out))
        assert told.returncode == 1, (size, told.stderr)
        assert "Exception ignored" not in told.stderr
        last = told.stderr.splitlines()[-1]
        assert last.startswith(f"emtools: error: {out}: there is no space left on the disk; make room"), last
        assert list(disk.iterdir()) == []


def test_an_earlier_fit_stays_whole(disk: Path) -> None:
    mount(disk, 4000)
    out = disk / "results"
    assert emtools(*COMMANDS["hmm"], "--out", str(out)).returncode in (0, 3)
    before = {path: path.read_bytes() for path in out.iterdir()}
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(b"\0" * (free - 2**16))
    assert emtools(*COMMANDS["hmm"], "--out", str(out), "--seed", "5").returncode == 1
    assert {path: path.read_bytes() for path in out.iterdir()} == before

"""Damaged files: only errors of our own come out of a reader, in a short time and with little memory.

The default run is a few files of each kind; ``make faults`` fuzzes for ``EMTOOLS_FUZZ_SECONDS`` in total (an hour). What was
found once lies in ``corpus/KIND/CASE/`` and is read here each time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.campaign import attempt, ring
from fuzz.damage import damage
from fuzz.targets import TARGETS, Target, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
CORPUS = sorted(path for path in (HERE / "corpus").glob("*/*") if path.is_dir())
SECONDS = float(os.environ.get("EMTOOLS_FUZZ_SECONDS", "3600"))
SEED = int(os.environ.get("EMTOOLS_FUZZ_SEED", "1"))
A_FEW = 6  # files of each kind in the default run
OF_TEXT = ("csv", "npx", "dictionary", "fasta", "bed", "bedgraph", "benchmark", "fit")


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """A reader that hangs is interrupted."""
    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", TARGETS)
def test_the_good_file_is_read(kind: str, tmp_path: Path) -> None:
    """Else the damaged ones would be refused for another reason than their damage."""
    target = TARGETS[kind]
    target.write(tmp_path / target.name)
    target.readers[0](tmp_path / target.name)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_few_damaged_files(kind: str, tmp_path: Path) -> None:
    target = TARGETS[kind]
    good = tmp_path / target.name
    target.write(good)
    for seed in range(A_FEW):
        for number, reader in enumerate(target.readers):
            copy = tmp_path / f"{seed}-{number}" / target.name
            copy.parent.mkdir()
            damage(good, copy, seed)
            assert attempt(reader, copy) is None, (seed, reader)


@pytest.mark.parametrize("case", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once(case: Path, tmp_path: Path) -> None:
    import shutil

    target = TARGETS[case.parent.name]
    for number, reader in enumerate(target.readers):
        shutil.copytree(case, tmp_path / str(number), symlinks=True)
        assert attempt(reader, tmp_path / str(number) / target.name) is None, reader


@pytest.mark.parametrize("kind", OF_TEXT)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes(kind: str, content: bytes, tmp_path: Path) -> None:
    target: Target = TARGETS[kind]
    path = tmp_path / target.name
    path.write_bytes(content)
    assert attempt(target.readers[0], path) is None


def test_a_reader_that_fails_is_found(tmp_path: Path) -> None:
    def careless(path: Path) -> None:
        int(path.read_text())

    path = tmp_path / "x"
    text("not a number")(path)
    assert "ValueError" in str(attempt(careless, path))


@pytest.mark.faults
@pytest.mark.parametrize("kind", TARGETS)
def test_long(kind: str) -> None:
    words = [sys.executable, str(HERE / "campaign.py"), kind, str(SECONDS / len(TARGETS)), str(SEED * 10**6)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-2000:]

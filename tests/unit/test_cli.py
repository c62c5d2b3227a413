"""The command line itself: it answers at once, and a wrong option is one line and exit status 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emtools.cli import build_parser, main, pin_threads

HEAVY = ("numpy", "pandas", "matplotlib", "anndata", "numba", "scanpy", "sklearn")


@pytest.mark.parametrize("statement", ["import emtools", "from emtools.cli import build_parser; build_parser()"])
def test_nothing_heavy_is_imported_before_the_arguments_are_read(statement):
    probe = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_load_on_use():
    import emtools

    assert emtools.fit.__module__ == "emtools.engine.starts"
    assert "fit" in dir(emtools)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = emtools.nonsense


@pytest.mark.parametrize("branch", ["impute", "deconvolve", "segment", "hmm", "motif"])
def test_help_shows_an_example_and_the_exit_status(branch, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([branch, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"emtools {branch}" in text.split("example:")[1]
    assert "3 finished but not converged" in text


@pytest.mark.parametrize(
    "words",
    [
        ["impute", "x.csv"],
        ["astrology", "x"],
        ["hmm", "x.fa", "--out", "r", "--states", "zero"],
        ["hmm", "x.fa", "--out", "r", "--states", "0"],
        ["hmm", "x.fa", "--out", "r", "--states", "2", "--tol", "-1"],
        ["hmm", "x.fa", "--out", "r", "--states", "2", "--tol", "nan"],
        ["motif", "x.fa", "--out", "r", "--width", "6", "--threads", "0"],
    ],
)
def test_wrong_options_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_threads_of_libraries_are_pinned_before_numpy(monkeypatch):
    import os

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "8")
    pin_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"

"""The suite keeps its own promises."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from conftest import ABSENT, changed, surroundings


def test_names_of_long_cases_are_those_of_tests(request: pytest.FixtureRequest) -> None:
    config = request.config
    if config.getoption("lf") or any("::" in argument for argument in config.args):
        pytest.skip("not all tests of each file are collected")
    assert config.stash[ABSENT] == []


def test_what_is_left_behind_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = surroundings()
    assert changed(before) == []
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    monkeypatch.delenv("PATH")
    monkeypatch.chdir(tmp_path)
    figure = plt.figure()
    assert changed(before) == ["$NUMBA_NUM_THREADS", "$PATH", "open figures", "working directory"]
    plt.close(figure)

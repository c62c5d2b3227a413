"""What the studies of speed share (benchmarks/timing.py), and the table of the machine (benchmarks/machine.py)."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.machine import machine
from benchmarks.timing import alternated, compared, peak_above, spread


def test_ratios_are_those_of_neighbours():
    pairs = [((1.0, 2.0), (8.0, 8.0)), ((2.0, 2.0), (12.0, 6.0)), ((1.0, 1.0), (7.0, 4.0))]
    took = compared([(np.array(ours), np.array(theirs)) for ours, theirs in pairs])
    assert (took.ours, took.theirs) == (1.0, 8.0)
    assert took.ratio == 7.0
    assert took.wall == 4.0
    assert took.spread == "6 to 8"


def test_one_ratio_has_no_spread():
    assert spread([3.0]) == ""
    assert spread([3.0, 2.5]) == "2.5 to 3"


def test_runs_alternate_until_the_peer_has_used_enough():
    ran = []
    alternated(lambda: ran.append("ours"), lambda: ran.append("theirs"), pairs=3, longest=60.0)
    assert ran == ["ours", "theirs"] * 3
    ran.clear()
    alternated(lambda: ran.append("ours"), lambda: [ran.append("theirs"), sum(range(300_000))], pairs=50, longest=1e-3)
    assert ran == ["ours", "theirs"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_a_call_is_what_it_adds():
    peak_above(lambda: np.ones(100))
    held = np.ones(2**20)  # is there before and after
    assert 60.0 < peak_above(lambda: np.ones(2**23)) < 90.0
    assert held.sum() == 2**20


def test_the_machine_is_told_with_versions_and_without_empty_lines():
    told = machine().set_index("what")["value"]
    assert told["numpy"] == np.__version__
    assert {"BLAS of numpy", "BLAS of scipy"} <= set(told.index)
    assert int(told["cores"]) >= 1
    assert (told.str.len() > 0).all()

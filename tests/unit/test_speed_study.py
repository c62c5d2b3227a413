"""The study of speed (benchmarks/impute_speed.py): time to a likelihood, and a table whose rows are run again one by one."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.impute_speed import KEYS, merged, seconds_to


@pytest.mark.parametrize(("loglik", "seconds"), [(-20.0, 1.0), (-5.0, 2.0), (-4.99, 3.0), (0.0, 3.0)])
def test_time_until_a_trace_reaches_a_likelihood_or_its_own_top(loglik, seconds):
    assert seconds_to([(1.0, -10.0), (2.0, -5.0), (3.0, -4.9), (4.0, -4.9)], loglik) == seconds


def test_a_row_that_is_run_again_replaces_its_own_and_no_other(tmp_path):
    path = tmp_path / "table.tsv"
    first = {"table": "a", "tool": "x", "criterion": "nan", "cpu_seconds": 1.5}
    merged(path, [first, {**first, "tool": "y"}], KEYS)
    merged(path, [{**first, "cpu_seconds": ">900"}], KEYS)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    assert dict(zip(table["tool"], table["cpu_seconds"], strict=True)) == {"y": "1.5", "x": ">900"}


@pytest.mark.parametrize(
    ("bound", "times", "kept"), [(">80", ">30.0", "98.2"), (">99", ">30.0", ">99"), (">80", ">44.0", ">80")]
)
def test_a_run_that_was_stopped_does_not_replace_figures_that_it_allows(tmp_path, bound, times, kept):
    path = tmp_path / "table.tsv"
    row = {"table": "a", "tool": "x", "criterion": "nan", "cpu_seconds": 98.2, "times_ours": 42.6}
    merged(path, [row], KEYS)
    merged(path, [{**row, "cpu_seconds": bound, "times_ours": times}], KEYS)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    assert list(table["cpu_seconds"]) == [kept]
    merged(path, [{**row, "cpu_seconds": ">1", "times_ours": ">0.1"}], KEYS)
    assert list(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)["cpu_seconds"]) == [kept]

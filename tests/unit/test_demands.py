"""The table of all demands (benchmarks/demands.py): each points at a column that is there, and is judged as it should be."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from benchmarks import demands
from benchmarks.__main__ import Study, missing
from benchmarks.demands import Demand, agrees, collect, number, told

TABLE = "n\tpeer\tratio\tours, s\n20000\tmclust\t34.4\t0.5\n100000\tmclust\t>9\t2.0\n"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    (tmp_path / "some.tsv").write_text(TABLE)
    monkeypatch.setattr(demands, "HERE", tmp_path)


@pytest.mark.parametrize(
    ("where", "column", "bound", "most", "met"),
    [
        ({"n": 20_000}, "ratio", 30.0, False, "yes"),
        ({"n": 20_000}, "ratio", 35.0, False, "no"),
        ({"n": 1e5, "peer": "mclust"}, "ratio", 9.0, False, "yes"),
        ({"n": 20_000}, "ours, s", 0.5, True, "yes"),
        ({"n": 100_000}, "ours, s", 1.9, True, "no"),
    ],
)
def test_a_figure_is_held_to_its_bound(stored, where, column, bound, most, met):
    row = told(Demand("branch", "task", "some", where, column, bound, most=most, why="because"))
    assert row["met"] == met
    assert row["why"] == ("" if met == "yes" else "because")


def test_spread_and_wall_stand_beside_a_ratio_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "some.tsv").write_text("n\tratio\tours_ns\tspread\twall\n5\t7\t3\t6 to 8\t6.5\n")
    monkeypatch.setattr(demands, "HERE", tmp_path)
    ratio, figure = (told(Demand("branch", "task", "some", {"n": 5}, column, 1.0)) for column in ("ratio", "ours_ns"))
    assert (ratio["spread"], ratio["wall"]) == ("6 to 8", "6.5")
    assert (figure["spread"], figure["wall"]) == ("", "")


def test_what_is_not_stored_is_left_out(stored):
    assert told(Demand("branch", "task", "other", {}, "ratio", 1.0)) is None
    assert told(Demand("branch", "task", "some", {"n": 5}, "ratio", 1.0)) is None


def test_a_study_is_told_without_folders():
    study = Study("some", ("--library", os.sep.join(["", "of", "peers"]), "--limit", "80"))
    assert study.name == "some --limit 80"
    assert Study("some", ("--programs", "")).name == "some"


def test_numbers_agree_by_size_and_words_by_letters():
    assert agrees("1e5", 100_000)
    assert not agrees("", 3)
    assert not agrees("1e-06", "1e-6")
    assert number(">243.1") == 243.1


def test_the_stored_table_is_what_the_studies_say():
    table = collect()
    kept = pd.read_csv(demands.RESULTS, sep="\t", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(table.astype(str), kept)
    assert set(table["branch"]) >= {"impute", "deconvolve", "segment", "hmm", "motif"}


def test_a_peer_is_sought_in_each_of_the_folders(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "a_peer").touch()
    study = Study(
        "some", ("--programs", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "programs")])), needs="a_peer"
    )
    assert not missing(study)
    assert missing(Study("some", ("--programs", str(tmp_path / "none")), needs="a_peer"))
    assert missing(Study("some", ("--programs", ""), needs="a_peer"))

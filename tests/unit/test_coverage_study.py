"""The stored study of coverage shows what is said of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

STUDY = pd.read_csv(Path(__file__).parents[2] / "benchmarks" / "impute_coverage.tsv", sep="\t")
SETTING = ["table", "n", "d", "mechanism", "share_masked", "estimates"]


def test_pooled_intervals_cover_as_those_of_complete_data_and_single_imputation_does_not():
    coverage = STUDY.pivot(index=SETTING, columns="method", values="coverage")
    assert len(coverage) >= 4
    for method in ("bootstrap", "posterior"):
        assert ((coverage[method] - coverage["complete data"]).abs() <= 0.03).all()
    slopes = coverage.xs("slopes", level="estimates")
    assert (slopes["single imputation"] < slopes["bootstrap"] - 0.03).all()


def test_slope_intervals_are_at_most_a_fifth_wider_where_a_tenth_is_missing():
    few = STUDY.query("share_masked <= 0.1 and estimates == 'slopes' and method in ('bootstrap', 'posterior')")
    assert len(few) >= 4
    assert (few["width_ratio"] <= 1.2).all()

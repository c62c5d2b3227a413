"""The figures and the page of an imputation: all there, readable for many markers, and true to the numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emtools.branches.impute.page import describe
from emtools.imputing.complete import impute
from emtools.imputing.diagnose import diagnose
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity, Log
from emtools.plots.impute import draw_all, evenly, smooth
from emtools.plots.impute_checks import beside_one_another, pairwise
from emtools.report.page import with_code

ALWAYS = ["missingness", "imputed", "overimputed", "correlations", "information", "shrinkage"]


def table(n, d, seed=0, gaps=0.15):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 1)) + rng.normal(size=(n, d))
    return values, np.where(rng.random((n, d)) < gaps, np.nan, values)


@pytest.fixture(scope="module")
def limited():
    """Three markers, one on a log scale with two limits, a batch, and two drawn tables."""
    rng = np.random.default_rng(3)
    truth, values = table(90, 3, 3)
    truth[:, 0], values[:, 0] = np.exp(truth[:, 0]), np.exp(values[:, 0])
    plate = rng.integers(0, 2, size=(90, 1)).astype(float)
    limit = np.where(plate[:, 0] == 1, 0.4, 0.3)
    upper = np.full(values.shape, np.inf)
    below = values[:, 0] < limit
    values[below, 0], upper[below, 0] = np.nan, limit[below]
    done = impute(
        Readings(values, None, upper),
        markers=("CRP", "IL6", "TNF"),
        units=("mg/l", "", ""),
        scales=(Log(), Identity(), Identity()),
        design=plate,
        design_names=("plate=2",),
        draws=2,
    )
    return done, diagnose(done), truth, int(below.sum())


@pytest.mark.rendered
def test_all_figures_and_the_page_of_a_table_with_limits(limited, tmp_path):
    done, found, truth, n_below = limited
    pictures = draw_all(done, found, truth, tmp_path)
    stems = [picture.stem for picture in pictures]
    assert stems == ["missingness", "imputed", "accuracy", "overimputed", "batches", *ALWAYS[3:]]
    assert all((tmp_path / f"{stem}.{end}").stat().st_size > 2000 for stem in stems for end in ("svg", "png"))
    assert not plt.get_fignums()
    assert f"{n_below} (" in pictures[0].caption
    assert np.isnan(found.markers["r_squared"]).tolist() == [True, False, False]
    assert "it has no R²" in pictures[3].caption
    page = describe(done, found, path=Path("t.tsv"), rows=[str(i) for i in range(90)], pictures=pictures)
    assumed, methods = " ".join(page.assumed), page.methods
    assert f"({n_below} below) counted with the probability of lying there" in assumed
    assert f"CRP ({n_below}, at 0.3 and 0.4)" in assumed
    assert "CRP on the natural logarithm" in assumed
    assert "Fixed effects: plate=2" in assumed
    assert "left blank" not in assumed
    assert "there are 2 tables" in methods
    assert "bootstrap" in methods
    assert "emtools pool" in methods
    assert page.facts["of these beyond a limit"] == str(n_below)
    assert [p.stem for p in page.pictures] == ["missingness", "imputed", "accuracy"]
    assert [p.stem for p in page.checks] == stems[3:]
    assert any("Little's test was not made" in text for text in page.belief)
    assert any("likelihood ratio" in text for text in page.belief)
    assert page.belief[0].startswith("In short: ")
    assert "entered the likelihood as censored" in page.quotable
    assert any("emtools transform" in text for text in page.following)
    assert any("Tobin" in reference for reference in page.references)
    assert any("Barnard" in reference for reference in page.references)
    assert {"batch_shifts.tsv", "completed.tsv", "diagnostics.tsv", "patterns.tsv"} <= set(page.files)
    assert page.tables[0].frame["unit"].tolist() == ["mg/l", "", ""]


@pytest.mark.parametrize("kind", ["normal", "t", "factors", "mixture"])
def test_the_page_names_the_model(kind):
    asked = {"factors": {"n_factors": 1}, "mixture": {"n_components": 2}}.get(kind, {})
    values = table(70, 3, 5)[1]
    done = impute(
        Readings(values), markers=("a", "b", "c"), scales=(Identity(),) * 3, kind=kind, certificate=False, **asked
    )
    page = describe(done, diagnose(done), path=Path("t.csv"), rows=[str(i) for i in range(70)])
    words = {
        "normal": "one multivariate normal distribution of 3 markers",
        "t": "one multivariate t distribution of 3 markers, whose degrees of freedom",
        "factors": "one factor model of 3 markers with 1 factor",
        "mixture": "a mixture of 2 multivariate normal distributions of 3 markers",
    }
    assert words[kind] in page.assumed[0]
    assert "left blank" in page.assumed[0]
    assert "draw several tables with --draws" in page.methods


@pytest.mark.slow
def test_four_hundred_markers_stay_readable(tmp_path):
    values = table(48, 400, 6, gaps=0.1)[1]
    done = impute(
        Readings(values),
        markers=[f"a protein with a rather long name {j}" for j in range(400)],
        scales=(Identity(),) * 400,
        kind="factors",
        n_factors=1,
        certificate=False,
        max_passes=5,
    )
    found = diagnose(done)
    pictures = {picture.stem: picture for picture in draw_all(done, found, None, tmp_path)}
    assert set(pictures) == {*ALWAYS, "heatmap"}
    captions = {
        "missingness": "of the 30 markers with most gaps",
        "imputed": "The 12 of",
        "correlations": "30 of 400 markers",
        "information": "The 30 of",
        "overimputed": " markers (line: their median",
    }
    for stem, words in captions.items():
        assert words in pictures[stem].caption
    for stem in pictures:
        high, wide = plt.imread(tmp_path / f"{stem}.png").shape[:2]
        assert high < 2000
        assert wide < 2200
    page = describe(done, found, path=Path("t.csv"), rows=[str(i) for i in range(48)], pictures=list(pictures.values()))
    assert len(page.tables[0].frame) == 400


def test_nothing_missing_is_said(tmp_path):
    truth, _ = table(50, 3, 7)
    done = impute(Readings(truth), markers=("a", "b", "c"), scales=(Identity(),) * 3)
    found = diagnose(done)
    pictures = {picture.stem: picture for picture in draw_all(done, found, None, tmp_path)}
    assert pictures["information"].caption == "Nothing is missing."
    page = describe(done, found, path=Path("t.csv"), rows=[str(i) for i in range(50)])
    assert page.lead == "Nothing is missing in 3 markers of 50 rows: the table is unchanged."
    assert "Little's test was not made: nothing is missing." in page.belief


def test_pairwise_correlations_are_those_of_the_rows_that_have_both():
    values = table(40, 3, 8, gaps=0.3)[1]
    ours = pairwise(values)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(values[:, [i, j]]).any(axis=1)
        assert ours[i, j] == pytest.approx(np.corrcoef(values[both][:, [i, j]].T)[0, 1], rel=1e-10)
    values[2:, 0] = np.nan
    assert np.isnan(pairwise(values)[0, 1])


def test_markers_that_go_together_stand_together():
    rng = np.random.default_rng(9)
    base = rng.normal(size=(300, 2))
    values = base[:, [0, 1, 0, 1, 0, 1]] + 0.3 * rng.normal(size=(300, 6))
    order = beside_one_another(np.corrcoef(values.T))
    assert {*(order[:3] % 2)} in ({0}, {1})


def test_densities_integrate_to_one_and_long_columns_are_thinned():
    at = np.linspace(-8, 8, 1601)
    points = np.random.default_rng(10).normal(size=20_000)
    assert np.trapezoid(smooth(at, points, np.full(points.size, 0.2)), at) == pytest.approx(1.0, rel=1e-3)
    assert not smooth(at, np.zeros(0), np.zeros(0)).any()
    assert evenly(points, 100).size == 100


def test_options_on_a_page_are_code_and_the_rest_is_escaped():
    assert str(with_code("a <b> with --log or `emtools pool`")) == (
        "a &lt;b&gt; with <code class='word'><span class='option'>--log</span></code> or <code class='word'>emtools pool</code>"
    )
    assert (
        str(with_code("--scale crp=none keeps it"))
        == "<code class='word'><span class='option'>--scale</span> crp=none</code> keeps it"
    )
    assert str(with_code("well--known x-y")) == "well--known x-y"
    assert "<code class='word long'>" in str(with_code("`emtools pool DIR --formula 'y ~ x'`"))  # may break on a phone

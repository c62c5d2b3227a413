"""Ridges towards what a wide table suggests: the estimate is its formula, and the choice is one by hidden cells."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.branches.impute.methods import towards_structure
from emtools.engine.chunks import total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.imputing import fitting, overimpute, targets
from emtools.imputing.choose import Comparison, best_factors, factor_model, held_out
from emtools.imputing.fitting import fit_table
from emtools.imputing.result import Fitted
from emtools.imputing.targets import WEIGHTS, TargetSearch, best_on_ladder, ridge_towards, thresholded
from emtools.kernels.readings import Readings
from emtools.models.normal import NormalParams


def decaying(n=50, d=110, seed=0):
    """Correlations of many strengths, as of genes: no few factors hold them. The table and its holes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7
    values = values @ rng.normal(size=(d, d)) + 0.1 * rng.normal(size=(n, d))
    values /= values.std(axis=0)
    return values, np.where(rng.random((n, d)) < 0.2, np.nan, values)


def error(fitted, values, table):
    filled, sd = fitted.model.conditional(fitted.params, Readings(table))
    return float(np.sqrt(np.mean((filled - values)[np.isfinite(sd)] ** 2)))


def test_the_ridge_on_complete_rows_is_its_formula():
    rng = np.random.default_rng(1)
    rows, target = rng.normal(size=(30, 4)), np.eye(4) + 0.5
    model = ridge_towards(target, 7.5)
    source = model.source(Readings(rows))
    start = NormalParams(np.zeros(4), np.eye(4))
    got = model.m_step(total_stats(model, source, start), start)
    away = rows - rows.mean(axis=0)
    np.testing.assert_allclose(got.covariance, (away.T @ away + 7.5 * target) / 37.5, rtol=1e-12)


@pytest.mark.parametrize(("first", "top"), [(0, 3), (2, 3), (4, 0), (2, 2)])
def test_a_ladder_is_climbed_to_its_top_and_no_further(first, top):
    tried = []

    def judge(value):
        tried.append(value)
        return -abs(value - top)

    assert best_on_ladder(range(6), first, judge) == top
    assert len(tried) == len(set(tried)) <= abs(first - top) + 3


def test_the_choice_has_the_score_that_it_tells():
    """The told score is that of its own parameters on the hidden cells, and beats all neighbours by weight."""
    comparison = Comparison(Readings(decaying()[1]))
    part = comparison.parts[0]
    choice = TargetSearch(comparison, 50).best()
    assert choice.cut in targets.CUTS
    assert choice.rows in WEIGHTS
    comparison.parts = [part]
    own = TargetSearch(comparison, 50).best()
    model = ridge_towards(thresholded(part.kept, own.cut), 50 * own.rows)
    assert own.score == pytest.approx(held_out(model, own.params, part) / part.n_cells, rel=1e-12)
    for weight in (w for w in WEIGHTS if w != own.rows):
        model = ridge_towards(thresholded(part.kept, own.cut), 50 * weight)
        score, _ = comparison.judge_each([model], [NormalParams(own.params.mean, own.params.covariance)], 8)
        assert score < own.score + 2e-3


def test_weights_of_a_large_table_are_told_apart(monkeypatch):
    """Each has the score of the EM image of its neighbour's end under that weight, which costs a pass and is not that end."""
    monkeypatch.setattr(targets, "LARGE", 1)
    comparison = Comparison(Readings(decaying()[1]))
    search = TargetSearch(comparison, 50)
    cut = search.best().cut
    tried = [score for (at, _), (score, _) in search.found.items() if at == cut]
    assert len(set(tried)) == len(tried) >= 3
    part, first = comparison.parts[0], WEIGHTS[targets.FIRST_OF_LARGE]
    target = thresholded(part.kept, cut)
    end, more = NormalParams(np.nanmean(part.kept.values, axis=0), target), []
    further = WEIGHTS[targets.FIRST_OF_LARGE + 1]
    for rows in [first] * targets.FIRST_PASSES + [further] * targets.FURTHER_PASSES:
        model = ridge_towards(target, 50 * rows)
        end = model.m_step(total_stats(model, model.source(part.kept), end), end)
        more.append(end)
    comparison.parts = [part]
    alone = TargetSearch(comparison, 50)
    for weight, params in ((first, more[targets.FIRST_PASSES - 1]), (rows, end)):
        assert alone.judge(cut, weight) == pytest.approx(held_out(model, params, part) / part.n_cells, rel=1e-9)


def test_a_ridge_towards_factors_keeps_what_they_leave():
    values, table = decaying()
    fitted = fit_table(Readings(table))
    assert fitted.kind == "normal"
    assert "towards the covariance of" in fitted.notices[1]
    assert np.linalg.eigvalsh(fitted.params.covariance)[0] > 0.0
    assert error(fitted, values, table) < 0.97 * error(fit_table(Readings(table), kind="factors"), values, table)
    again = fit_table(Readings(table))
    assert again.params.covariance.tobytes() == fitted.params.covariance.tobytes()


def test_the_factors_win_where_they_are_the_better_target():
    comparison = Comparison(Readings(decaying()[1]))
    factors = best_factors(comparison)
    model = factor_model(comparison.readings, factors.n_factors, factors.ridge)
    with_them = TargetSearch(comparison, 50).best([model.covariance(p) for p in factors.ends])
    without = TargetSearch(comparison, 50).best()
    assert with_them.cut is None
    assert with_them.score > max(without.score, factors.score)


def test_what_cannot_be_afforded_is_not_tried(monkeypatch):
    _, table = decaying()
    assert fitting.affordable(Readings(table))
    monkeypatch.setattr(fitting, "PASS", 1e6)
    assert not fitting.affordable(Readings(table))
    monkeypatch.setattr(fitting, "TargetSearch", lambda *_: pytest.fail("tried"))
    assert fit_table(Readings(table)).kind == "factors"


def test_a_brief_refit_under_a_strong_prior_forgets_as_a_long_one_does(monkeypatch):
    _, table = decaying(30, 40)
    model = ridge_towards(np.eye(40) + 0.3, 60.0)
    assert towards_structure(model)
    assert not towards_structure(ridge_towards(np.eye(40), 60.0))
    fitted = Fitted("normal", model, fit(model, model.source(Readings(table)), certificate=False), 60.0, ())
    masked = np.where(np.random.default_rng(2).random(table.shape) < 0.1, np.nan, table)
    long = overimpute.refit(fitted, Readings(masked), 0, 1)
    monkeypatch.setattr(overimpute, "LARGE", 1)
    brief = overimpute.refit(fitted, Readings(masked), 0, 1)
    np.testing.assert_allclose(brief.covariance, long.covariance, rtol=0.0, atol=0.02)
    assert np.abs(fitted.params.covariance - long.covariance).max() > 0.05


def test_a_climb_without_a_look_is_accelerated_where_it_is_asked_for():
    """A few differences halve the passes of a weak prior, end within the tolerance, and are not used without being asked for."""
    _, table = decaying(30, 60)
    model = ridge_towards(thresholded(Readings(table), 2.5), 3.0)
    source = model.source(Readings(table))
    start = NormalParams(np.nanmean(table, axis=0), model.prior.scale / 3.0)
    top = climb(model, source, start, tol=1e-7, look=False, order=3).objective
    plain, unasked, mixed = (
        climb(model, source, start, tol=1e-2, look=False, **more)
        for more in ({}, {"order": 3, "accelerate": False}, {"order": 3})
    )
    assert [row.objective for row in plain.trace] == [row.objective for row in unasked.trace]
    assert len(mixed.trace) < 0.6 * len(plain.trace)
    assert mixed.rate == pytest.approx(plain.rate, abs=0.05)
    for ended in (plain, mixed):
        assert ended.status is Status.CONVERGED
        assert -1e-6 < top - ended.objective < 1e-2

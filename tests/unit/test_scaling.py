"""Scales of markers with limits: the power by the censored likelihood of the whole table."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from emtools.imputing.complete import as_modelled, fill
from emtools.imputing.scaling import alone, ascend, limited_scales, log_slopes, of_power, powers, table_loglik, together
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity, Log
from emtools.models.censored_normal import CensoredNormal
from emtools.models.normal import NormalParams


def below(values, share=0.3):
    limits = np.quantile(values, share, axis=0)
    hidden = values < limits
    return Readings(np.where(hidden, np.nan, values), upper=np.where(hidden, limits, np.inf))


def above(values, share=0.3):
    limits = np.quantile(values, 1.0 - share, axis=0)
    hidden = values > limits
    return Readings(np.where(hidden, np.nan, values), lower=np.where(hidden, limits, -np.inf))


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5])
@pytest.mark.parametrize("hide", [below, above])
def test_one_marker_finds_the_power_that_it_was_made_with(power, hide):
    rng = np.random.default_rng(7)
    normal = 5.0 + rng.normal(size=(4000, 1))
    values = (
        np.exp(normal - 5.0)
        if power == 0.0
        else (normal if power > 0 else normal.max() + 1.0 - normal) ** (1.0 / power)
    )
    known = hide(values)
    assert powers(known, 0) == ((-2.0, 1.0) if hide is below else (0.0, 4.0))
    assert alone(known, 0) == pytest.approx(max(power, powers(known, 0)[0]), rel=0, abs=0.26)


def test_likelihoods_on_two_scales_are_those_of_the_same_table():
    """The density of a lognormal sample by its logarithms and the slopes equals that of scipy in its own units."""
    values = np.random.default_rng(1).lognormal(size=(50, 1))
    known = Readings(values)
    logs = np.log(values)
    expected = norm(logs.mean(), logs.std()).logpdf(logs).sum() - logs.sum()
    found = table_loglik(as_modelled(known, [Log()])) + log_slopes(Log(), values[:, 0])
    assert found == pytest.approx(expected, rel=1e-9, abs=0)
    scale = of_power(0.5, known, 0)
    step = 1e-6
    numeric = np.log((scale.forward(values + step) - scale.forward(values - step)) / (2 * step)).sum()
    assert log_slopes(scale, values[:, 0]) == pytest.approx(numeric, rel=1e-6, abs=0)


def test_markers_that_are_sums_on_one_scale_are_modelled_there():
    """A total and the logarithm of a part: each by itself would be bent, and go astray where both are beyond a limit."""
    rng = np.random.default_rng(2)
    rest, part = 10.0 + rng.normal(size=400), rng.gamma(9.0, 0.3, size=400)
    values = np.column_stack([rest + part + 0.1 * rng.normal(size=400), np.log(10.0 * part), rest])
    known = above(values)
    fixed = [Identity()] * 3
    first = {j: alone(known, j) for j in range(3)}
    found = together(known, fixed, first)
    assert found[1] >= first[1] + 1.0

    def error(chosen):
        scales = [of_power(chosen[j], known, j) for j in range(3)]
        scaled = as_modelled(known, scales)
        model = CensoredNormal(3)
        from emtools.engine.starts import fit

        filled = fill(
            model, fit(model, model.source(scaled), certificate=False).params, known, scaled, scales, 0
        ).values
        return np.sqrt(np.mean(((filled - values) / values.std(axis=0))[known.bounded] ** 2))

    assert error(found) < 0.9 * error(first)


def test_ascent_stays_within_ranges_and_stops_where_nothing_gains():
    found = ascend(
        lambda at: -10.0 * ((at[0] - 0.9) ** 2 + (at[1] - 9.0) ** 2), {0: 0.0, 1: 0.0}, {0: (-2, 4), 1: (0, 1)}
    )
    assert found == {0: 1.0, 1: 1.0}


def test_scales_that_were_named_and_markers_that_cannot_have_a_power_are_left_alone():
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.lognormal(size=200), rng.normal(size=200), rng.lognormal(size=200)])
    assert set(limited_scales(below(values), [None, None, Identity()])) == {0}


@pytest.mark.parametrize("unit", [1.0, 1000.0, 1e-6])
def test_the_unit_of_a_marker_changes_nothing(unit):
    values = np.random.default_rng(5).gamma(2.0, size=(300, 1))
    known, other = below(values), below(values * unit)
    assert alone(known, 0) == alone(other, 0)


def test_a_censored_cell_is_filled_with_its_mean_in_the_units_of_the_table():
    """Below a limit on the log scale: the mean of a truncated lognormal in closed form, not exp of the mean."""
    known = Readings(np.array([[np.nan], [np.nan]]), upper=np.array([[1.0], [np.inf]]))
    model, sd = CensoredNormal(1), 1.2
    params = NormalParams(np.array([0.3]), np.array([[sd**2]]))
    found = fill(model, params, known, as_modelled(known, [Log()]), [Log()], 0).values[:, 0]
    whole = np.exp(0.3 + sd**2 / 2)
    truncated = whole * norm.cdf(-0.3 / sd - sd) / norm.cdf(-0.3 / sd)
    assert found[1] == pytest.approx(whole, rel=1e-9, abs=0)
    assert found[0] == pytest.approx(truncated, rel=0.05, abs=0)  # 1,000 draws: 2 % is one standard error
    assert found[0] == pytest.approx(truncated, rel=0, abs=0.35 * abs(truncated - np.exp(-0.9)))

"""Scales of markers: increasing, inverted exactly, defined for every number that a model may draw."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emtools.errors import InputError
from emtools.kernels.scales import KINDS, Log, Logit, YeoJohnson, box_cox_of, scale_from_json, scale_of, word_of

RNG = np.random.default_rng(4)
SAMPLES = {
    "log-normal": RNG.lognormal(1.0, 1.0, 300),
    "heavy tails": RNG.standard_t(2, 300) * 5,
    "large": 1e6 + 1e4 * RNG.standard_normal(300),
    "tiny": 1e-9 * RNG.lognormal(0, 0.7, 300),
    "ties": RNG.integers(1, 6, 300).astype(float),
    "fraction": RNG.beta(0.4, 0.6, 300),
}


def allowed(kind, values):
    return not (
        (kind in ("log", "logit", "box-cox") and values.min() <= 0) or (kind == "logit" and values.max() >= 100)
    )


CASES = [(kind, name) for kind in KINDS for name in SAMPLES if allowed(kind, SAMPLES[name])]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_inverse_gives_back_what_was_observed(kind, name):
    values = np.append(SAMPLES[name], np.nan)
    scale = scale_of(kind, values)
    assert scale.name == kind
    again = scale.inverse(scale.forward(values))
    np.testing.assert_allclose(again, values, rtol=1e-12, atol=0)
    assert np.isnan(again[-1])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_scales_increase_far_beyond_the_data_and_stay_finite(kind, name):
    values = SAMPLES[name]
    scale = scale_of(kind, values)
    scaled = scale.forward(values)
    spread = scaled.std()
    grid = np.linspace(scaled.min() - 30 * spread, scaled.max() + 30 * spread, 2001)
    if kind == "logit":
        grid = np.linspace(-30, 30, 2001)
    back = scale.inverse(grid)
    assert np.isfinite(back).all()
    assert (np.diff(back) > 0).all()
    low, high = scale.support
    assert ((back > low) & (back < high)).all()
    near = np.abs(grid) < np.abs(scaled).max() + 3 * spread
    np.testing.assert_allclose(scale.forward(back)[near], grid[near], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_the_same_scale(kind):
    values = SAMPLES["fraction"]
    scale = scale_of(kind, values)
    again = scale_from_json(scale.as_json())
    assert again == scale
    np.testing.assert_array_equal(again.forward(values), scale.forward(values))
    with pytest.raises(InputError, match="no scale 'cube'"):
        scale_from_json({"name": "cube"})


def test_bounds_map_to_bounds():
    assert Log().forward(np.array([0.0, -3.0, np.inf])).tolist() == [-np.inf, -np.inf, np.inf]
    assert Logit(0, 100).forward(np.array([0.0, 100.0, 150.0])).tolist() == [-np.inf, np.inf, np.inf]
    for kind in ("rank-normal", "yeo-johnson", "none"):
        scale = scale_of(kind, SAMPLES["log-normal"])
        assert scale.forward(np.array([-np.inf, np.inf])).tolist() == [-np.inf, np.inf]
    assert scale_of("rank-normal", SAMPLES["log-normal"]).forward(np.array([0.0]))[0] == -np.inf


def test_rank_normal_gives_bloms_scores():
    values = np.array([3.0, 1.0, 2.0, 2.0, 10.0])
    scores = stats.norm.ppf((np.array([4, 1, 2.5, 2.5, 5]) - 0.375) / 5.25)
    np.testing.assert_allclose(scale_of("rank-normal", values).forward(values), scores, rtol=1e-14, atol=1e-15)


def test_yeo_johnson_is_that_of_scipy_and_its_power_the_most_likely():
    values = SAMPLES["log-normal"]
    scale = scale_of("yeo-johnson", values)
    wanted = stats.yeojohnson(values / scale.unit, scale.power)
    np.testing.assert_allclose(scale.forward(values), wanted, rtol=1e-12, atol=1e-13)
    assert scale.power == pytest.approx(stats.yeojohnson_normmax(values / scale.unit), abs=1e-6)
    mixed = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    for power in (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0):
        np.testing.assert_allclose(
            YeoJohnson(power, 1.0, -10, 10).forward(mixed), stats.yeojohnson(mixed, power), rtol=1e-13, atol=1e-15
        )


def test_the_power_does_not_depend_on_the_unit_of_the_table():
    values = SAMPLES["log-normal"]
    one, two = scale_of("yeo-johnson", values), scale_of("yeo-johnson", values * 2.0**-30)
    assert (one.power, one.unit) == (two.power, two.unit * 2.0**30)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("log", [1.0, 0.0, 2.0], "line 2: 0 has no logarithm; values above 0; take the marker out of --log"),
        ("log", [1.0, -1.0, 0.0], r"line 2: -1 has no logarithm \(and 1 more\)"),
        ("logit", [0.5, 1.0, 0.2], "line 2: 1 has no logit; values above 0 and below 1"),
        ("logit", [50.0, 120.0, 3.0], "line 2: 120 has no logit; values above 0 and below 100"),
        ("rank-normal", [1.0, 1.0, np.nan], "no two different values"),
        ("cube", [1.0, 2.0], "no scale 'cube'; one of none, log"),
        ("box-cox 9", [1.0, 2.0], "no scale 'box-cox 9'; .*box-cox and a power from -4 to 6"),
        ("box-cox 0.5", [1.0, 0.0], "line 2: 0 has no logarithm"),
        ("box-cox 0.5", [np.nan, np.nan], "no value above 0"),
    ],
)
def test_values_that_a_scale_does_not_allow_are_named(kind, values, message):
    with pytest.raises(InputError, match=message):
        scale_of(kind, np.array(values), at=lambda row: f"line {row + 1}", option="--log")


def test_a_word_gives_the_power_back():
    values = SAMPLES["log-normal"]
    fitted = scale_of("box-cox", values)
    assert scale_of(word_of(fitted), values) == fitted
    assert [word_of(scale_of(kind, values)) for kind in ("none", "log", "yeo-johnson")] == [
        "none",
        "log",
        "yeo-johnson",
    ]
    limits = np.array([values.min() / 8, -np.inf])
    assert scale_of("box-cox 0,5", values, limits=limits) == box_cox_of(np.append(values, limits[:1]), 0.5)


def test_a_draw_beyond_the_range_keeps_a_positive_marker_positive():
    values = np.array([0.1, 0.2, 0.4, 5.0, 9.0])
    scale = scale_of("rank-normal", values)
    far = scale.inverse(np.array([-4.0, -2.0, 4.0]))
    assert 0 < far[0] < far[1] < 0.1
    assert far[2] > 9.0


@pytest.mark.parametrize("power", [-1.0, 0.5, 1.0, 3.0])
def test_yeo_johnson_goes_on_with_the_slope_that_it_had(power):
    scale = YeoJohnson(power, 2.0, -3.0, 5.0)
    h = 1e-5
    for end in (scale.low, scale.high):
        before, at, after = scale.forward(np.array([end - h, end, end + h]))
        assert after - at == pytest.approx(at - before, rel=1e-4)

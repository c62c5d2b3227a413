"""Soft, hard, annealed and sampled shares against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.engine.protocol import Annealed, Sampled
from emtools.errors import InputError
from emtools.kernels.logspace import assign_rows
from emtools.models.assignment import generator, kind_of, shared_rows

JOINT = np.array([[0.1, 0.3, 0.05], [0.2, 0.2, 0.0], [0.02, 0.01, 0.5]])
WEIGHTS = np.array([2.0, 1.0, 0.5])


def log_joint():
    with np.errstate(divide="ignore"):
        return np.log(JOINT)


@pytest.mark.parametrize("power", [0.3, 1.0, 4.0])
def test_tempered_shares_by_definition(power):
    raised = JOINT**power
    expected = raised / raised.sum(axis=1, keepdims=True)
    entropies = [-sum(q * np.log(q) for q in row if q > 0.0) for row in expected]
    shares, loglik, entropy = assign_rows(log_joint(), WEIGHTS, power)
    np.testing.assert_allclose(shares, expected, rtol=1e-13, atol=1e-15)
    assert loglik == pytest.approx(WEIGHTS @ np.log(raised.sum(axis=1)) / power, rel=1e-13)
    assert entropy == pytest.approx(WEIGHTS @ entropies / power, rel=1e-13)


def test_the_best_takes_the_row_and_the_first_of_equals():
    shares, loglik, entropy = assign_rows(log_joint(), WEIGHTS, np.inf)
    np.testing.assert_array_equal(shares, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert loglik == pytest.approx(WEIGHTS @ np.log([0.3, 0.2, 0.5]), rel=1e-14)
    assert entropy == 0.0


def test_annealing_goes_from_even_to_hard():
    even = assign_rows(log_joint()[:1], np.ones(1), 1e-9)[0]
    np.testing.assert_allclose(even, 1 / 3, rtol=1e-7)
    cold, loglik, _ = assign_rows(log_joint()[[0, 2]], np.ones(2), 500.0)
    np.testing.assert_allclose(cold, [[0, 1, 0], [0, 0, 1]], atol=1e-12)
    assert loglik == pytest.approx(np.log(0.3 * 0.5), rel=1e-12)


def test_draws_have_the_shares_for_their_mean_and_their_variance():
    """A row of weight w stands for w units: drawn shares vary with variance p (1 - p) / w."""
    n, weight = 4000, 9.0
    joint = np.tile(log_joint()[:1], (n, 1))
    shares, loglik, entropy = assign_rows(joint, np.full(n, weight), rng=np.random.default_rng(1))
    p = JOINT[0] / JOINT[0].sum()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-14)
    assert (np.abs(shares.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / weight / n)).all()
    np.testing.assert_allclose(shares.var(axis=0), p * (1 - p) / weight, rtol=0.15)
    assert loglik == pytest.approx(weight * (shares * joint).sum(), rel=1e-12)
    assert entropy == 0.0


def test_part_of_a_weight_has_a_draw_of_its_own():
    shares, _, _ = assign_rows(np.zeros((500, 2)), np.full(500, 1.5), rng=np.random.default_rng(2))
    found = np.unique(shares[:, 0].round(12))
    np.testing.assert_allclose(found, [0.0, 1 / 3, 2 / 3, 1.0], atol=1e-12)
    none, loglik, _ = assign_rows(np.zeros((3, 2)), np.zeros(3), rng=np.random.default_rng(2))
    assert not none.any()
    assert loglik == 0.0


def test_an_impossible_row_makes_the_likelihood_minus_infinity_without_a_warning():
    joint = np.array([[-np.inf, -np.inf], [0.0, 0.0]])
    for rng in (None, np.random.default_rng(0)):
        assert assign_rows(joint, np.ones(2), rng=rng)[1] == -np.inf


@pytest.mark.parametrize("power", [0.5, 1.0, np.inf])
def test_an_impossible_row_of_weight_zero_counts_for_nothing(power):
    joint = np.array([[-np.inf, -np.inf], [-0.5, -2.0]])
    found, expected = (assign_rows(joint[rows], np.array([0.0, 3.0])[rows], power) for rows in ([0, 1], [1]))
    assert np.isfinite(found[0]).all()
    assert found[1:] == pytest.approx(expected[1:], rel=1e-14)


def test_what_a_chunk_draws_depends_on_its_seed_and_first_row_alone():
    draws = [
        generator(Sampled(seed), first).random() for seed, first in (((1, 2), 0), ((1, 2), 0), ((1, 2), 7), ((1, 3), 0))
    ]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_kinds_and_their_errors():
    assert [kind_of(a) for a in ("soft", "hard", Annealed(2.0), Sampled((1,)))] == [
        "soft",
        "hard",
        "annealed",
        "sampled",
    ]
    with pytest.raises(InputError, match="assign: 'firm'; one of soft, hard, annealed, sampled"):
        kind_of("firm")
    with pytest.raises(InputError, match="one of soft, sampled"):
        kind_of("hard", ("soft", "sampled"))
    for power in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="positive finite"):
            shared_rows(log_joint(), WEIGHTS, Annealed(power))

"""Drawn paths and the probability of stretches, against enumeration of every path."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.hmm_paths import draw_paths, filtered, window_logliks

SETS = ((0, 2), (1, 3))
CODES = np.array([0, 3, 4, 1, 1, 5, 0, 2, 6], dtype=np.uint8)  # 4 is not observed, 5 and 6 are sets
PARAMS = HMMParams(
    np.array([0.7, 0.3]), np.array([[0.8, 0.2], [0.35, 0.65]]), np.array([[0.4, 0.1, 0.2, 0.3], [0.1, 0.5, 0.3, 0.1]])
)
MODEL = CategoricalHMM(2, 4, partial=SETS)


def joint_of(codes, params=PARAMS):
    """Probability of letters and path together, for every path."""

    def emits(state, code):
        return 1.0 if code == 4 else sum(params.emission[state][list(SETS[code - 5] if code > 4 else (code,))])

    joint = {}
    for path in product(range(2), repeat=len(codes)):
        p = params.start[path[0]] * math.prod(params.transition[i, j] for i, j in pairwise(path))
        joint[path] = p * math.prod(emits(state, code) for state, code in zip(path, codes, strict=True))
    return joint


@pytest.mark.parametrize("size", [1, 2, 4, 9, 100])
def test_stretches_have_the_probability_of_enumeration(size):
    totals = [sum(joint_of(CODES[:n]).values()) for n in range(1, len(CODES) + 1)]
    ends = [*range(size, len(CODES), size), len(CODES)]
    logs = np.log([totals[end - 1] for end in ends])
    np.testing.assert_allclose(
        window_logliks(MODEL, PARAMS, CODES, size), np.diff([0.0, *logs]), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("size", [2, 100])
def test_paths_come_as_often_as_they_are_probable(size):
    """All paths of nine letters: chi-square of 40,000 draws against the enumerated probabilities."""
    n, joint = 40_000, joint_of(CODES)
    drawn = np.concatenate(
        [s for _, s in draw_paths(MODEL, PARAMS, CODES, n, np.random.default_rng(3), size)][::-1], axis=1
    )
    expected = np.array(list(joint.values())) * n / sum(joint.values())
    counts = np.bincount(drawn @ 2 ** np.arange(len(CODES))[::-1], minlength=len(joint))
    common = expected >= 5.0
    seen = np.append(counts[common], counts[~common].sum())
    due = np.append(expected[common], expected[~common].sum())
    square, freedom = float(((seen - due) ** 2 / due).sum()), len(seen) - 1
    assert freedom > 100
    assert abs(square - freedom) < 4.0 * math.sqrt(2.0 * freedom)


def test_stretches_join_where_states_must_alternate():
    """A path that may not stay is whole across the borders of stretches, and probabilities of zero do no harm."""
    params = HMMParams(np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 4), 0.25))
    drawn = np.concatenate(
        [s for _, s in draw_paths(MODEL, params, CODES, 50, np.random.default_rng(1), 2)][::-1], axis=1
    )
    assert (np.diff(drawn, axis=1) != 0).all()
    assert 10 < drawn[:, 0].sum() < 40


def test_repeated_states_are_drawn_as_their_posterior_is():
    model = CategoricalHMM(2, 4, partial=SETS, repeats=3)
    n = 20_000
    drawn = np.concatenate(
        [s for _, s in draw_paths(model, PARAMS, CODES, n, np.random.default_rng(2), 4)][::-1], axis=1
    )
    shares = model.posterior(PARAMS, CODES)[:, 1]
    np.testing.assert_allclose(drawn.mean(axis=0), shares, rtol=0, atol=4.0 * math.sqrt(0.25 / n))


def test_an_impossible_letter_is_named():
    params = HMMParams(np.array([1.0, 0.0]), np.eye(2), np.array([[0.5, 0.5, 0.0, 0.0], [0.25] * 4]))
    with pytest.raises(InputError, match="position 5"):
        filtered(MODEL, params, np.array([0, 1, 0, 1, 2], dtype=np.uint8), 2)

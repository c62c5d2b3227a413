"""Dice and object matching against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emtools.kernels.overlap import dice, match_objects


def test_dice_by_hand() -> None:
    a = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    b = np.array([[1, 1, 1], [1, 0, 0]], dtype=bool)
    assert dice(a, b) == pytest.approx(2 * 2 / (2 + 4), rel=1e-15)
    assert dice(a, ~a) == 0.0
    assert math.isnan(dice(a & False, a & False))


def test_objects_by_hand() -> None:
    true = np.zeros((6, 10), dtype=int)
    true[0:4, 0:4] = 5
    true[0:4, 6:10] = 2
    true[5, 0] = 9
    found = np.zeros_like(true)
    found[0:4, 0:3] = 1  # 12 of 16: IoU 0.75
    found[0:4, 6:8] = 2  # 8 of 16: IoU exactly one half, which is not above it
    found[5, 9] = 4  # nothing there
    result = match_objects(found, true)
    assert (result.n_predicted, result.n_true, result.n_matched) == (3, 3, 1)
    assert result.f1 == pytest.approx(1 / 3, rel=1e-15)
    assert match_objects(found, true, threshold=0.8).n_matched == 0


def test_two_halves_of_an_object_match_it_at_most_once() -> None:
    true = np.ones((4, 4), dtype=int)
    found = np.repeat([[1, 1, 1, 2]], 4, axis=0)
    assert match_objects(found, true).n_matched == 1
    assert match_objects(true, found).n_matched == 1


def test_numbers_and_gaps_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    true = np.kron(rng.permutation(np.arange(1, 17)).reshape(4, 4), np.ones((5, 5), dtype=int))
    assert match_objects(true * 1000, true).f1 == 1.0
    assert match_objects(np.roll(true, 1, axis=0), true).n_matched == 16
    assert match_objects(np.roll(true, 2, axis=0), true).n_matched == 0


def test_no_objects() -> None:
    nothing = np.zeros((3, 3), dtype=int)
    assert math.isnan(match_objects(nothing, nothing).f1)
    assert match_objects(nothing, nothing + 1).f1 == 0.0
    with pytest.raises(ValueError, match="threshold"):
        match_objects(nothing, nothing, threshold=0.3)

"""EM over grey levels is EM over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.errors import InputError
from emtools.kernels.levels import count_levels
from emtools.models.histogram import histogram
from emtools.models.mixture import GaussianMixture, MixtureParams, data_prior, kmeans

RNG = np.random.default_rng(7)
PLANE = np.where(
    RNG.random((300, 250)) < 0.25, RNG.normal(900, 150, (300, 250)), RNG.normal(300, 60, (300, 250))
).astype(np.uint16)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, bool])
@pytest.mark.parametrize("size", [1, 5, 4003])
def test_counts_are_those_of_a_naive_count(kind: type, size: int) -> None:
    low, high = (0, 2) if kind is bool else (max(np.iinfo(kind).min, -900), min(np.iinfo(kind).max, 5000))
    plane = RNG.integers(low, high, size).astype(kind)
    lowest, counts = count_levels(plane)
    levels, expected = np.unique(plane, return_counts=True)
    held = np.flatnonzero(counts)
    np.testing.assert_array_equal(lowest + held, levels.astype(np.int64))
    np.testing.assert_array_equal(counts[held], expected)
    assert counts[0] > 0
    assert counts[-1] > 0


def test_ends_of_sixteen_bits_count_and_axes_do_not_matter() -> None:
    assert count_levels(np.array([0, 65535], dtype=np.uint16))[1].shape == (65536,)
    assert count_levels(np.array([-32768, 32767], dtype=np.int16))[0] == -32768
    np.testing.assert_array_equal(count_levels(PLANE.T[::2])[1], count_levels(PLANE[:, ::2].copy())[1])


@pytest.mark.parametrize("family", ["full", "tied"])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("feature", [None, np.sqrt])
def test_every_parameter_equals_that_of_the_pixels(family: str, equal: bool, feature: object) -> None:
    levels = histogram(PLANE, feature)  # type: ignore[arg-type]
    assert levels.counts.sum() == PLANE.size
    pixels = PLANE.reshape(-1, 1).astype(np.float64)
    pixels = pixels if feature is None else np.sqrt(pixels)
    prior = data_prior(pixels, 2, family)  # type: ignore[arg-type]
    model = GaussianMixture(2, 1, family, prior=prior, equal_weights=equal, order_by=0)  # type: ignore[arg-type]
    low, high = np.quantile(pixels, [0.1, 0.9])
    variances = np.full((2, 1, 1), pixels.var())
    start = MixtureParams(np.full(2, 0.5), np.array([[low], [high]]), variances[0] if family == "tied" else variances)
    how = {"accelerate": False, "look": False, "max_passes": 60, "tol": 1e-300}
    ours, theirs = (climb(model, source, start, **how) for source in (levels.source, ArraySource(pixels)))  # type: ignore[arg-type]
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(ours.params, name), getattr(theirs.params, name), rtol=1e-12, atol=0)
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-12)
    assert len(ours.trace) >= 10
    assert len(ours.trace) == len(theirs.trace)
    table = model.responsibilities(ours.params, levels.values[:, None])
    spread = levels.spread(table, PLANE)
    assert spread.shape == (*PLANE.shape, 2)
    np.testing.assert_allclose(spread.reshape(-1, 2), model.responsibilities(theirs.params, pixels), atol=1e-12)


def test_hard_em_too() -> None:
    levels, model = histogram(PLANE), kmeans(3, 1, 0)
    start = MixtureParams(np.full(3, 1 / 3), np.array([[200.0], [500.0], [1000.0]]), np.ones(3))
    ours, theirs = (
        climb(model, source, start, assign="hard", tol=1e-9) for source in (levels.source, ArraySource(PLANE.ravel()))
    )
    np.testing.assert_allclose(ours.params.means, theirs.params.means, rtol=1e-12)


@pytest.mark.parametrize("plane", [PLANE / 2.0, np.array([0, 70_000]), np.array([], dtype=np.uint8)])
def test_what_has_no_histogram_is_refused(plane: np.ndarray) -> None:
    with pytest.raises(InputError, match="fit its pixels instead"):
        histogram(plane)

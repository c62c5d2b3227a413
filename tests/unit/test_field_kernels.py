"""Mean-field sweeps and the sums of a random field, against the same pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.kernels.field import POWERS, by_colour, field_moments, grid, illumination, sweep, sweep_readable, whole

SHAPES = [(7, 9), (8, 8), (1, 5), (6, 1), (2, 33)]


def field(shape: tuple[int, int], n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shares and log densities, shape (K, R, C)."""
    rng = np.random.default_rng(seed)
    shares = np.moveaxis(rng.dirichlet(np.ones(n_classes), shape), -1, 0)
    density = rng.normal(0.0, 3.0, (n_classes, *shape))
    return shares, density - density.max(axis=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_sweep_is_the_readable_one(shape: tuple[int, int], n_classes: int) -> None:
    shares, density = field(shape, n_classes)
    cut = by_colour(shares)
    np.testing.assert_array_equal(whole(cut, shape[1]), shares.astype(np.float32))
    sweep(cut, by_colour(density), 1.2, shape[1])
    wanted = sweep_readable(shares, density, 1.2)
    np.testing.assert_allclose(whole(cut, shape[1]), wanted, rtol=3e-6, atol=1e-7)
    assert np.abs(wanted - sweep_readable(shares, density, 0.0)).max() > 0.1 or min(shape) < 2


@pytest.mark.parametrize("shape", [*SHAPES, (30, 21)])
@pytest.mark.parametrize("n_sweeps", [2, 3, 5, 8, 9])
def test_sweeps_behind_one_another_leave_what_one_after_the_other_does(shape: tuple[int, int], n_sweeps: int) -> None:
    shares, density = field(shape, 3, seed=5)
    together, single, given = by_colour(shares), by_colour(shares), by_colour(density)
    sweep(together, given, 1.1, shape[1], n_sweeps)
    for _ in range(n_sweeps):
        sweep(single, given, 1.1, shape[1])
    np.testing.assert_array_equal(together, single)


def test_shares_far_apart_stay_finite() -> None:
    density = np.array([-200.0, -500.0, 0.0])[:, None, None] * np.ones((3, 5, 6))
    cut = by_colour(np.full((3, 5, 6), 1.0 / 3.0))
    sweep(cut, by_colour(density), 1.0, 6)
    np.testing.assert_allclose(whole(cut, 6)[2], 1.0, rtol=1e-6)
    assert np.isfinite(cut).all()


def test_tiles_with_a_halo_equal_the_whole_bit_for_bit() -> None:
    """After s sweeps a pixel knows of what lies up to 2 s away; tiles that begin on even pixels keep the checkerboard."""
    n_sweeps, shape = 3, (61, 75)
    shares, density = field(shape, 3, seed=4)
    cut, given = by_colour(shares), by_colour(density)
    for _ in range(n_sweeps):
        sweep(cut, given, 1.0, shape[1])
    untiled, halo = whole(cut, shape[1]), 2 * n_sweeps
    for size, exact in ((halo, True), (2, False)):
        tiled = np.empty_like(untiled)
        for top in range(0, shape[0], 20):
            for left in range(0, shape[1], 24):
                rows = slice(max(0, top - size), min(shape[0], top + 20 + size))
                columns = slice(max(0, left - size), min(shape[1], left + 24 + size))
                part, seen = by_colour(shares[:, rows, columns]), by_colour(density[:, rows, columns])
                width = columns.stop - columns.start
                for _ in range(n_sweeps):
                    sweep(part, seen, 1.0, width)
                inner = whole(part, width)[:, top - rows.start :, left - columns.start :][:, :20, :24]
                tiled[:, top : top + 20, left : left + 24] = inner
        assert np.array_equal(tiled, untiled) is exact


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_by_hand(shape: tuple[int, int]) -> None:
    shares, _ = field(shape, 3, seed=1)
    values = np.random.default_rng(2).normal(size=(2, *shape))
    powers, crossed, entropy, agreement = field_moments(values, 2.0 * shares, *grid(*shape))
    rows, columns = np.meshgrid(*grid(*shape), indexing="ij")
    for a in range(5):
        for b in range(5 - a):
            np.testing.assert_allclose(powers[:, a, b], (shares * rows**a * columns**b).sum(axis=(1, 2)), atol=1e-12)
            if a + b <= 2:
                wanted = np.einsum("dij,kij->dk", values, shares * rows**a * columns**b)
                np.testing.assert_allclose(crossed[:, :, a, b], wanted, atol=1e-12)
    assert entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-12)
    pairs = (shares[:, 1:] * shares[:, :-1]).sum() + (shares[:, :, 1:] * shares[:, :, :-1]).sum()
    assert agreement == pytest.approx(pairs, rel=1e-12, abs=1e-15)


def test_illumination_is_the_polynomial() -> None:
    bends = np.array([0.1, -0.2, 0.3, 0.05, -0.4])
    rows, columns = np.meshgrid(*grid(6, 9), indexing="ij")
    wanted = 1.0 + sum(c * rows**a * columns**b for c, (a, b) in zip(bends, POWERS[1:], strict=True))
    np.testing.assert_allclose(illumination(bends, *grid(6, 9)), wanted, rtol=1e-14)

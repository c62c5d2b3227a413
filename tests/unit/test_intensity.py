"""Noise, background and scale of a micrograph, on images where they are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from emtools.kernels.intensity import (
    EVEN,
    background_of,
    keener,
    levels_of,
    local_heights,
    noise_level,
    rounding_of,
    separated_means,
    stabilise,
    terms,
)
from emtools.segmenting.field import segment_planes, softened


def discs(shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return sum((rows - i) ** 2 + (columns - j) ** 2 < 80 for i in (15, 45, 75) for j in (15, 45, 75, 105)) > 0


def test_noise_is_found_beside_objects() -> None:
    rng = np.random.default_rng(0)
    for sd in (0.5, 20.0):
        assert noise_level(50.0 * discs() + rng.normal(100.0, sd, (90, 120))) == pytest.approx(sd, rel=0.2)


def test_background_bends_below_the_objects() -> None:
    wanted = np.array([30.0, 3.0, -2.0, 1.5, 0.5, -2.5])
    level = (terms(90, 120) @ wanted).reshape(90, 120)
    image = level + 40.0 * discs() + np.random.default_rng(0).normal(0.0, 1.0, level.shape)
    found, spread = background_of(image)
    assert np.abs((terms(90, 120) @ found).reshape(90, 120) - level).max() < 0.6
    assert spread == pytest.approx(1.0, rel=0.15)


def test_scale_is_straight_near_the_background_and_logarithmic_above() -> None:
    image = np.random.default_rng(0).normal(20.0, 0.5, (90, 120))
    image[discs()] += 200.0
    image[:, 60:][discs()[:, 60:]] += 200.0
    levels = levels_of(image)
    scaled = stabilise(image, levels)
    centres = discs() & (stabilise(image, levels) > 0)
    dim, bright = (np.median(scaled[:, part][centres[:, part]]) for part in (slice(0, 60), slice(60, None)))
    assert bright - dim == pytest.approx(np.log(2.0), abs=0.03)
    ground = ~binary_dilation(discs(), iterations=3)
    assert scaled[ground].std() < 2.0 / EVEN
    assert np.median(scaled[ground]) == pytest.approx(0.0, abs=0.02)


def test_background_cut_at_zero_is_no_noise_at_all() -> None:
    """Haze of one grey value beside a background that is 0 everywhere is not what is bright."""
    image = np.round(np.where(discs(), 60.0, 0.0) + (np.random.default_rng(0).random((90, 120)) < 0.3))
    levels = levels_of(image)
    assert levels.spread >= rounding_of(image) == pytest.approx(1.0 / np.sqrt(12.0))
    found = segment_planes(image[None], certificate=False).posterior[1] > 0.5
    assert 2.0 * (found & discs()).sum() / (found.sum() + discs().sum()) > 0.95


def test_blur_grows_with_the_noise_and_not_without_it() -> None:
    rng = np.random.default_rng(0)
    blurs = [levels_of(50.0 * discs() + rng.normal(20.0, sd, (90, 120))).blur for sd in (0.5, 10.0, 25.0)]
    assert blurs[0] == 0.5
    assert blurs[0] < blurs[1] < blurs[2] <= 3.0


def test_blur_of_outlines_is_for_small_objects() -> None:
    """It takes a fifth of their radius, but never more than finds them, nor so little that noise is most of what is left."""
    image = 50.0 * discs() + np.random.default_rng(0).normal(20.0, 40.0, (90, 120))
    levels = levels_of(image)
    assert levels.blur == 3.0
    assert keener(levels, 60.0).blur == 3.0
    assert keener(levels, 12.0).blur == pytest.approx(2.4)
    least = keener(levels, 1.0).blur
    assert 0.5 < least < 2.4
    left = levels.noise / np.sqrt(4.0 * np.pi * (least**2 + 0.25))  # after the blur of the optics, too
    assert left == pytest.approx(levels.typical / 6.0, rel=1e-9)


def test_rare_small_objects_under_noise_are_not_lost() -> None:
    """The blur that finds them makes them twice as large; a mean that was estimated would slide into the noise (37 times)."""
    rows, columns = np.mgrid[:240, :240]
    truth = sum((rows - i) ** 2 + (columns - j) ** 2 < 36 for i, j in ((40, 50), (150, 90), (100, 200), (200, 190))) > 0
    noise = np.random.default_rng(0).normal(0.0, 20.0, truth.shape)
    image = gaussian_filter(np.where(truth, 40.0, 0.0), 0.7) + 60.0 + noise
    found = segment_planes(np.round(image)[None], certificate=False).posterior[1] > 0.5
    assert 2.0 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.55
    assert found[truth].all()
    assert found.sum() < 2.5 * truth.sum()


@pytest.mark.parametrize("steep", [255.0, 1.0])
def test_an_image_of_two_grey_values_keeps_its_rims(steep: float) -> None:
    """No height is told from the rounding of grey values there, and none is as high as the least."""
    rows, columns = np.mgrid[:80, :100]
    truth = sum((rows - i) ** 2 + (columns - j) ** 2 <= 64 for i, j in ((20, 20), (20, 70), (60, 45))) > 0
    found = segment_planes(10.0 + steep * truth[None], certificate=False).posterior[1] > 0.5
    assert (found != truth).sum() < 0.03 * truth.sum()


def test_means_of_clusters_along_a_line() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.1, n) for m, n in ((0.0, 5000), (1.0, 400), (3.0, 100))])
    np.testing.assert_allclose(separated_means(values, 3), [0.0, 1.0, 3.0], atol=0.05)


@pytest.mark.parametrize("bright", [10.0, 60.0])
def test_dim_objects_are_found_beside_bright_ones(bright: float) -> None:
    """Two mitotic cells, many times brighter than the others, do not become the only objects."""
    image = np.random.default_rng(0).normal(20.0, 1.0, (90, 120)) + 12.0 * discs()
    image[10:21, 10:21] += 12.0 * bright
    found = segment_planes(image[None], certificate=False).posterior[1] > 0.5
    assert 2.0 * (found & discs()).sum() / (found.sum() + discs().sum()) > 0.85


def test_heights_are_those_of_the_objects_nearby() -> None:
    image = np.where(discs(), 8.0, 0.0)
    image[:, 90:] *= 0.25
    levels = replace(levels_of(image), first=0.5, typical=5.0)
    wide = ((0, 0), (0, 200))
    found = local_heights(np.pad(image, wide), np.pad(discs(), wide).astype(float), 3.0, levels)
    assert found[15, 15] == pytest.approx(8.0, rel=2e-2)
    assert found[15, 105] == pytest.approx(2.0, rel=2e-2)
    np.testing.assert_allclose(found[:, -50:], 5.0)
    assert local_heights(image, discs() & (image < 8.0), 3.0, replace(levels, first=4.0))[15, 105] == 4.0
    np.testing.assert_allclose(local_heights(image, np.full(image.shape, 0.5), 3.0, levels), 5.0)


@pytest.mark.parametrize(("blur", "noise"), [(0.7, 0.5), (2.0, 0.5), (2.0, 4.0)])
def test_borders_do_not_depend_on_the_brightness(blur: float, noise: float) -> None:
    """Dim discs and others four times as bright, equally large and blurred by the optics, have equal outlines."""
    heights = np.where(np.arange(120) < 60, 40.0, 160.0)
    image = gaussian_filter(discs() * heights, blur) + np.random.default_rng(0).normal(20.0, noise, (90, 120))
    found = segment_planes(np.round(image)[None], certificate=False).posterior[1] > 0.5
    dim, bright = (found[:, half].sum() / discs()[:, half].sum() for half in (slice(0, 60), slice(60, None)))
    assert bright / dim == pytest.approx(1.0, abs=0.08)
    assert 0.98 < dim <= bright < (1.04 if blur < 1.0 else 1.18)


def test_an_interrupted_second_fit_starts_anew(tmp_path: Path) -> None:
    """Its states are not taken for those of the first fit, which the file belongs to."""
    image = np.random.default_rng(0).poisson(20.0 + 30.0 * discs())[None]
    alone = segment_planes(image, certificate=False)
    passes: list[object] = []

    def stopped(*told: object) -> None:
        passes.append(told)
        if len(passes) > alone.fit.passes + 2:
            raise KeyboardInterrupt

    file = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        segment_planes(image, certificate=False, checkpoint=file, on_pass=stopped)
    np.testing.assert_array_equal(segment_planes(image, certificate=False, checkpoint=file).posterior, alone.posterior)


def test_nothing_but_the_image_decides() -> None:
    image = np.random.default_rng(0).poisson(20.0 + 30.0 * discs())
    a, b = segment_planes(image[None], seed=0), segment_planes(image[None], seed=7, threads=2)
    np.testing.assert_array_equal(a.posterior, b.posterior)
    assert a.fit.certificate is not None
    assert a.fit.certificate.kind == "maximum"
    assert a.fit.converged


def test_posteriors_are_tempered_by_four() -> None:
    shares = np.array([[[1.0]], [[0.0]]], dtype=np.float32) + np.array([[[-1e-4]], [[1e-4]]], dtype=np.float32)
    odds = (1e4 - 1.0) ** 0.25
    found = softened(np.tile(shares, (1, 12, 9)), 1.5)
    np.testing.assert_allclose(found[:, 5, 4], [odds / (1.0 + odds), 1.0 / (1.0 + odds)], rtol=1e-5)
    edge = np.zeros((2, 40, 9), dtype=np.float32)
    edge[0, :20], edge[1, 20:] = 1.0, 1.0
    np.testing.assert_allclose(
        softened(edge, 2.0)[1, 20], 0.5 + 0.5 * 0.1995, atol=1e-3
    )  # half the weight of the middle row


def test_dark_tail_is_not_turned_over() -> None:
    """The darkest pixels of all are background, whatever lies between."""
    rng = np.random.default_rng(0)
    image = rng.normal(100.0, 3.0, (90, 120)) + 60.0 * discs() - 40.0 * (rng.random((90, 120)) < 0.01)
    found = segment_planes(image[None], certificate=False).posterior[1] > 0.5
    assert not found[image < 75.0].any()

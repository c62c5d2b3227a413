"""Features of pixels, partitions to start from, and objects of a foreground."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.kernels import object_windows
from emtools.kernels.object_windows import measure_in_windows
from emtools.kernels.objects import measure_objects
from emtools.kernels.pixels import (
    brightness_partitions,
    fill_small_holes,
    pixel_features,
    renumber,
    root_intensity,
    separate_objects,
)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2)


def test_root_makes_poisson_variance_constant() -> None:
    rng = np.random.default_rng(0)
    for mean in (20.0, 200.0):
        assert root_intensity(rng.poisson(mean, (200, 200))).var() == pytest.approx(0.25, rel=0.05)
    assert root_intensity(np.array([[-4.0, 5.0]])).tolist() == [[0.0, 3.0]]


def test_features_are_in_pixel_order_and_blur_keeps_the_mean() -> None:
    planes = np.random.default_rng(1).integers(0, 255, (2, 20, 30)).astype(np.uint16)
    features = pixel_features(planes, 1.5)
    assert features.shape == (600, 4)
    np.testing.assert_allclose(features[:, 2], np.sqrt(planes[1].astype(float)).ravel(), rtol=1e-15)
    assert features[:, 1].var() < features[:, 0].var() / 4
    assert features[:, 1].mean() == pytest.approx(features[:, 0].mean(), rel=1e-10)


def test_partitions_rise_with_brightness_and_none_is_empty() -> None:
    brightness = np.random.default_rng(2).integers(0, 3, 50).astype(float)
    for k in (2, 3, 5):
        for partition in brightness_partitions(brightness, k, 8):
            assert np.bincount(partition, minlength=k).min() >= 1
            order = np.argsort(brightness, kind="stable")
            assert (np.diff(partition[order]) >= 0).all()


def test_touching_discs_are_separated_and_a_lone_one_is_not() -> None:
    shape = (60, 110)
    foreground = disc(shape, (30, 25), 14) | disc(shape, (30, 50), 14) | disc(shape, (30, 90), 12)
    objects = separate_objects(foreground, 30)
    assert objects.max() == 3
    assert len({int(objects[30, 18]), int(objects[30, 57]), int(objects[30, 90])}) == 3
    assert (objects > 0).sum() == foreground.sum()


def test_small_things_go_and_small_holes_are_filled() -> None:
    foreground = disc((40, 40), (20, 20), 12)
    foreground[20, 20] = False
    foreground[2, 2] = True
    objects = separate_objects(foreground, 30)
    assert objects.max() == 1
    assert objects[20, 20] == 1
    assert objects[2, 2] == 0
    ring = disc((40, 40), (20, 20), 15) & ~disc((40, 40), (20, 20), 10)
    assert not fill_small_holes(ring, 30)[20, 20]
    assert separate_objects(np.zeros((20, 20), dtype=bool), 30).max() == 0


def test_renumber_by_first_pixel() -> None:
    assert renumber(np.array([[0, 9], [4, 9]])).tolist() == [[0, 1], [2, 1]]
    assert renumber(np.array([[7, 7], [3, 7]])).tolist() == [[1, 1], [2, 1]]


def test_measurements_by_hand() -> None:
    objects = np.zeros((20, 20), dtype=np.int32)
    objects[2:6, 3:13] = 1
    plane = np.zeros((1, 20, 20))
    plane[0, 2:6, 3:13] = 7.0
    table = measure_objects(objects, plane, (objects > 0) * 0.75, (0.5, 0.5))
    assert table["area"].tolist() == [40.0]
    assert (table["centroid-0"][0], table["centroid-1"][0]) == (3.5, 7.5)
    assert table["intensity_mean-0"][0] == 7.0
    assert table["mean_posterior"][0] == pytest.approx(0.75, rel=1e-15)
    assert table["area_um2"][0] == pytest.approx(10.0, rel=1e-15)
    assert len(measure_objects(objects * 0, plane, plane[0])["label"]) == 0


@pytest.fixture
def pairs() -> np.ndarray:
    """Discs that touch two by two, at the edges and across every seam."""
    rng, shape = np.random.default_rng(0), (150, 190)
    found = np.zeros(shape, dtype=bool)
    for row in range(0, shape[0], 30):
        for column in range(0, shape[1], 30):
            middle = np.array([row, column]) + rng.uniform(4, 26, 2)
            angle, apart = rng.uniform(0, np.pi), rng.uniform(4, 7)
            for side in (-1, 1):
                centre = middle + side * apart * np.array([np.sin(angle), np.cos(angle)])
                found |= disc(shape, (centre[0], centre[1]), rng.uniform(4, 8))
    return found


@pytest.mark.parametrize("side", [17, 40])
def test_objects_are_the_same_in_windows(pairs: np.ndarray, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_windows, "BAND", 1000)
    whole = separate_objects(pairs, 12, side=1000)
    assert whole.max() > 50
    np.testing.assert_array_equal(separate_objects(pairs, 12, side=side), whole)


@pytest.mark.parametrize("side", [17, 64])
def test_measurements_are_the_same_in_windows(pairs: np.ndarray, side: int) -> None:
    objects = separate_objects(pairs, 12)
    rng = np.random.default_rng(4)
    planes, posterior = rng.integers(0, 60_000, (2, *pairs.shape)).astype(np.uint16), rng.random((3, *pairs.shape))
    whole = measure_objects(objects, planes, posterior[-1], (0.5, 0.5))
    parts = measure_in_windows(objects, planes, posterior, (0.5, 0.5), side)
    assert list(parts) == list(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values, err_msg=name)
    nothing = measure_in_windows(objects * 0, planes, posterior)
    assert len(nothing["label"]) == 0

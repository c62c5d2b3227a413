"""Figures keep within one or two columns of a journal with text of 7 pt and more, however many names they have to hold."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from workflow.browser import chromium, crowded, system_chromium
from workflow.test_runs import COLUMN, PAGE, smallest_text, width_of

from emtools.plots import style
from emtools.plots.deconvolve import draw_confusion, draw_proportions
from emtools.plots.deconvolve_bulk import draw_composition, draw_explained
from emtools.plots.hmm import Decoded, draw_parameters, draw_track
from emtools.plots.motif import draw_logo
from emtools.plots.segment import Outlined, Regions, draw_accuracy, draw_boundary, draw_overlay
from emtools.plots.segment_table import Panel, draw_planes

LONG = "a name that is as long as names get"


def confusion(folder: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 150, size=(22, 22)).astype(float)
    names = [f"{LONG} {i}" for i in range(22)]
    types = tuple(f"type_{i + 1}" for i in range(22))
    draw_confusion([("Gaussian mixture", counts, types), ("K-means", counts, types)], "truth", names, "cells", folder)


def proportions(folder: Path) -> None:
    shares = np.full(12, 1 / 12)
    samples = [f"{LONG} {i}" for i in range(20)]
    of_samples = {
        "sample": "donor",
        "samples": samples,
        "by_sample": np.tile(shares, (20, 1)),
        "n_by_sample": [99] * 20,
    }
    draw_proportions(shares, shares / 10, [f"{LONG} {i}" for i in range(12)], 999, "cells", folder, **of_samples)


def composition(folder: Path) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(9), size=48)
    names = [f"sample_{i:03d}" for i in range(48)]
    draw_composition(shares, shares / 2, 1.5 * shares, [f"type {i}" for i in range(9)], names, folder)
    draw_explained(np.linspace(0.7, 0.9, 48), np.linspace(0.1, 0.2, 48), names, folder, True)


def parameters(folder: Path) -> None:
    for k in (2, 8):
        model = SimpleNamespace(order=2)
        emission = np.random.default_rng(0).dirichlet(np.ones(64), size=k)
        params = SimpleNamespace(emission=emission, transition=np.full((k, k), 0.02) + np.eye(k) * (1 - 0.02 * k))
        letters = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
        draw_parameters(model, params, [f"S{i + 1}" for i in range(k)], letters, 3000, folder / str(k))


def logo(folder: Path) -> None:
    matrix = np.random.default_rng(0).dirichlet(np.ones(4), size=40)
    draw_logo(matrix, np.full(4, 0.25), matrix / 10, "N" * 40, 20, True, folder)


def segmentation(folder: Path) -> None:
    rng = np.random.default_rng(0)
    objects = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((9, 9), dtype=int))
    panels = [Outlined(f"method {i}: 115 objects\nDice 0.900, object F1 0.833", objects) for i in range(5)]
    draw_overlay(rng.random((36, 36)), panels, objects, (0.5, 0.5), folder, "")
    xs = np.linspace(0, 12, 30)
    joint = np.stack([-np.add.outer((xs - m) ** 2, (xs - m) ** 2) for m in (3.0, 7.0, 9.0)])
    regions = [Regions(f"GMM {word}, equal weights\nquadric", joint, np.array([[3.0, 3], [7, 7], [9, 9]]), np.tile(np.eye(2), (3, 1, 1))) for word in ("full", "tied", "diagonal", "spherical")]  # fmt: skip
    names = ("√intensity of the pixel", "√intensity of its surroundings (blurred)")
    draw_boundary(12 * rng.random((500, 2)), names, (xs, xs), regions, folder, "")
    table = [
        (f"GMM {word}, free weights", metric, 0.9) for word in ("full", "tied") for metric in ("Dice", "object F1")
    ]
    frame = pd.DataFrame(table, columns=["method", "metric", "value"])
    draw_accuracy(frame, ["Dice", "object F1"], 100, folder)


def planes(folder: Path) -> None:
    rng = np.random.default_rng(0)
    points, xs, k = rng.random((60, 2)), np.linspace(0, 1, 20), 16
    means = rng.random((k, 2))
    joint = -30 * (
        (xs[None, None, :] - means[:, 0, None, None]) ** 2 + (xs[None, :, None] - means[:, 1, None, None]) ** 2
    )
    classes = rng.integers(k, size=60)
    told = [Panel(method, scaling, (xs, xs), joint, means, [], classes, classes > 8) for method in ("K-means", "GMM full", "GMM diagonal") for scaling in ("raw", "z-scored", "log-z")]  # fmt: skip
    draw_planes(points, ("worst concave points", "mean fractal dimension"), told, 28, folder)


def track(folder: Path) -> None:
    rng = np.random.default_rng(0)
    codes, k = rng.integers(4, size=3000).astype(np.uint8), 12
    bounds, shares = np.linspace(0, 3000, k + 1).astype(int), rng.dirichlet(np.ones(k), size=100)
    item = Decoded("a_record", codes, bounds, np.arange(k, dtype=np.uint8), np.ones(k), np.ones(k), shares)
    draw_track([item], rng.dirichlet(np.ones(4), size=k), [f"state {i}" for i in range(k)], "ACGT", folder)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [planes, track, confusion, proportions, composition, parameters, logo, segmentation])
def test_a_full_figure_keeps_within_the_page_and_can_be_read(draw, tmp_path: Path) -> None:
    draw(tmp_path)
    figures = sorted(tmp_path.rglob("*.svg"))
    assert {path.name: width for path in figures if (width := width_of(path)) > PAGE} == {}
    assert {path.name: size for path in figures if (size := smallest_text(path)) < 7.0} == {}
    if system_chromium():
        with chromium() as browser:
            assert crowded(browser, figures) == {}


@pytest.mark.rendered
@pytest.mark.parametrize(("width", "limit"), [(style.COLUMN, COLUMN), (style.PAGE, PAGE)])
def test_a_figure_is_narrowed_until_its_names_are_within(width: float, limit: float, tmp_path: Path) -> None:
    with style.styled():
        figure, axis = style.plt.subplots(figsize=(width, 2))
        axis.set_yticks([0.5], [LONG])
        style.save(figure, tmp_path, style.Picture("long", "", ""))
    assert 0.95 * limit < width_of(tmp_path / "long.svg") <= limit


def test_no_size_of_text_is_below_seven_points() -> None:
    sizes = [
        value for key, value in style.STYLE.items() if re.search(r"(size|font\.size)$", key) and "figure" not in key
    ]
    assert min(sizes) >= 7


@pytest.mark.skipif(system_chromium() is None, reason="no Chromium on this machine")
def test_texts_over_one_another_and_beyond_the_edge_are_seen(tmp_path: Path) -> None:
    figure, axis = style.plt.subplots(figsize=(3, 2))
    axis.text(0.5, 0.5, "one")
    axis.text(0.52, 0.52, "other")
    axis.text(0.5, 0.1, "turned", rotation=60)  # its box overlaps, its letters do not
    axis.text(0.72, 0.2, "beside", rotation=60)
    axis.text(0.95, 0.8, "beyond the edge")
    figure.savefig(tmp_path / "bad.svg")
    style.plt.close(figure)
    with chromium() as browser:
        (faults,) = crowded(browser, [tmp_path / "bad.svg"]).values()
    assert faults == ["one | other", "cut: beyond the edge"]

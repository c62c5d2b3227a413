"""Figures as files: the same bytes, nothing cut off, drawn once each, in few colours that are right."""

from __future__ import annotations

import re
from io import StringIO

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure

from emtools.plots.convergence import draw_slope
from emtools.plots.deconvolve_checks import draw_selection
from emtools.plots.style import DPI, Picture, few_colors, hold, save, styled

pytestmark = pytest.mark.rendered

PICTURE = Picture("one", "A figure", "of a test")


def figure(layout):
    """Axes with a title, a legend outside of them and a text that leaves the figure."""
    made, axes = plt.subplots(1, 2, figsize=(3.0, 2.0), layout=layout)
    axes[0].plot([0, 1], [1, 3], label="a line")
    axes[1].imshow(np.arange(6.0).reshape(2, 3))
    axes[0].set_title("Left")
    made.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0))
    axes[1].text(1.1, 0.5, "far to the right", transform=axes[1].transAxes)
    if layout is None:
        made.tight_layout()
    return made


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_figure_has_the_same_bytes_twice_and_no_date(layout, tmp_path):
    for name in ("first", "second"):
        with styled():
            save(figure(layout), tmp_path / name, PICTURE)
    for ending in ("svg", "png"):
        first = (tmp_path / "first" / f"one.{ending}").read_bytes()
        assert first == (tmp_path / "second" / f"one.{ending}").read_bytes()
    assert "date" not in (tmp_path / "first/one.svg").read_text()
    with PIL.Image.open(tmp_path / "first/one.png") as image:
        assert set(image.info) == {"dpi"}
    assert not plt.get_fignums()


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_what_is_shown_is_what_matplotlib_by_itself_would_show(layout, tmp_path):
    """To three pixels, which text of another resolution is off by; and no edge cuts anything."""
    with styled():
        save(figure(layout), tmp_path, PICTURE)
        figure(layout).savefig(tmp_path / "own.png")
        figure(layout).savefig(tmp_path / "own.svg")
    plt.close("all")
    ours, theirs = (PIL.Image.open(tmp_path / name).convert("L") for name in ("one.png", "own.png"))
    assert np.abs(np.subtract(ours.size, theirs.size)).max() <= 3
    pixels = np.asarray(ours)
    assert min(edge.min() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])) == 255
    sizes = [
        [float(side) for side in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', path.read_text()).groups()]
        for path in (tmp_path / "one.svg", tmp_path / "own.svg")
    ]
    np.testing.assert_allclose(*sizes, rtol=0, atol=1.5)
    np.testing.assert_allclose(sizes[0], np.multiply(ours.size, 72 / DPI), rtol=0, atol=0.5)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_the_box_of_a_png_holds_the_text_of_an_svg(layout):
    """Text that is fitted to pixels is up to a twentieth of an inch narrower."""
    with styled():
        made, axes = plt.subplots(figsize=(3.0, 2.0), dpi=DPI, layout=layout)
        axes.set_yticks([0.0, 1.0], ["a name of some letters which is long and long again", "WAVE"])
        box = hold(made)
        made.dpi = 72
        drawn = made.get_tightbbox(RendererSVG(*made.bbox.size, StringIO(), image_dpi=72))
    np.testing.assert_allclose(drawn.extents, box.extents, rtol=0, atol=0.01)
    plt.close(made)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_figure_is_drawn_once_for_each_file(layout, tmp_path, monkeypatch):
    drawn = []
    own = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (drawn.append(type(renderer)), own(self, renderer))[1])
    with styled():
        save(figure(layout), tmp_path, PICTURE)
    assert len(drawn) == 2


def rgba(channels):
    return np.ascontiguousarray(np.dstack([channels, np.full(channels.shape[:2], 255, np.uint8)]))


def test_a_slope_that_is_down_in_one_pass_is_not_drawn_nor_named():
    below = np.array([1e-3, 1e-10, 1e-10])
    for rate, n_lines in ((0.3, 1), (3e-5, 0)):
        figure, axis = plt.subplots()
        draw_slope(axis, rate, below)
        assert len(axis.lines) == n_lines
        assert (axis.get_legend() is not None) == bool(n_lines)
        plt.close(figure)


@pytest.mark.parametrize(("icl", "edge"), [([-9.0, -5.0, -4.0], True), ([-9.0, -4.0, -5.0], False)])
def test_a_number_of_types_at_the_end_of_what_was_tried_is_said(icl, edge, tmp_path):
    told = {"criterion": "icl", "family": "VVV", "n_components": np.array([1, 2, 3]), "bic": icl, "icl": icl}
    picture = draw_selection(told | {"held_out": [np.nan] * 3}, 80, "cells", tmp_path)
    assert "80 cells" in picture.caption
    assert ("The largest number that was tried is the best, 3" in picture.caption) == edge


def test_up_to_256_colours_are_kept_as_they_are():
    channels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(few_colors(rgba(channels)).convert("RGB")), channels)


def test_of_many_colours_the_plain_ones_are_exact_and_none_is_far_off():
    rows, columns = np.mgrid[0:256, 0:256].astype(np.uint8)
    channels = np.dstack([rows, columns, rows ^ columns])
    channels[:, 200:] = (244, 246, 249)
    channels[:100, 240:] = (240, 244, 248)  # another plain area, of nearly the same colour
    image = few_colors(rgba(channels))
    found = np.asarray(image.convert("RGB")).astype(int)
    assert len(np.unique(np.asarray(image))) <= 256
    np.testing.assert_array_equal(found[:, 200:], channels[:, 200:])
    assert np.abs(found - channels).max() <= 40
    assert np.abs(found - channels).mean() <= 12

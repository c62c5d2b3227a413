"""One look for all figures, and the same bytes for the same figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

if "matplotlib.pyplot" not in sys.modules:  # a notebook that draws already keeps its backend
    matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import Formatter, LogFormatter
from matplotlib.transforms import Bbox

# Okabe & Ito (2008): told apart by all common kinds of colour vision; extended by dark shades.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#5B3A8C",
    "#7F7F7F", "#00494D", "#9C2A2A", "#3C6E1F", "#C9A26B", "#2B2B2B", "#A0D8C8", "#F0A8C8",
)  # fmt: skip
INK = "#1B1F24"
FAINT = "#B8BEC6"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DPI = 200  # of PNG
NOT_XML = bytes(set(range(32)) - set(b"\t\n\r"))  # which comments beside drawn names would hold
PLAIN = 0.03  # share of a picture from which a colour is kept as it is
COLUMN = 3.5  # inches: one column of a journal page (89 mm)
PAGE = 7.2  # two columns (183 mm); every figure keeps within one or the other, with text of 7 pt and more
MARGIN = 0.02  # around what is drawn, inches
MARK, LETTER = 0.45, 0.062  # of a legend: mark and what is around it, and a letter of 7 pt, inches
TURNS, LEAST = 6, 1.5  # looks at a figure that is too wide, and how narrow it may get, inches

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "savefig.bbox": "tight",
    "savefig.pad_inches": MARGIN,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "emtools",
    "text.hinting": "none",  # text of a PNG is as wide as that of an SVG
    "text.parse_math": False,  # a name with $ in it is a name
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
}


@dataclass(frozen=True)
class Picture:
    """A saved figure.

    Parameters
    ----------
    stem : str
        File name without ending; `stem`.svg and `stem`.png lie side by side.
    title : str
        A few words.
    caption : str
        What is drawn, with units and n, and what to conclude.
    """

    stem: str
    title: str
    caption: str


@contextmanager
def styled() -> Iterator[None]:
    """Draw inside this block."""
    with plt.rc_context(STYLE):
        yield


def tiled(count: int, most: int) -> tuple[int, int]:
    """Rows and columns of `count` panels on a page, at most so many beside one another and no row much shorter than another.

    Examples
    --------
    >>> tiled(2, 3), tiled(4, 3), tiled(9, 4)
    ((1, 2), (2, 2), (3, 3))
    """
    down = -(-count // most)
    return down, -(-count // down)


def abreast(words: Sequence[str], width: float) -> int:
    """Entries of a legend that stand beside one another in so many inches, at least one.

    Examples
    --------
    >>> (
    ...     abreast(["S1", "S2"], COLUMN),
    ...     abreast(["S1"] * 16, PAGE),
    ...     abreast(["a name of twenty-nine letters"] * 6, COLUMN),
    ... )
    (2, 12, 1)
    """
    return max(1, min(len(words), int(width / (MARK + LETTER * max(map(len, words))))))


class Decades(Formatter):
    """Labels of a logarithmic axis in plain letters, 10⁻³, in place of Matplotlib's formulas."""

    def __init__(self, formula: Formatter) -> None:
        self.formula = formula

    def set_axis(self, axis: Any) -> None:
        super().set_axis(axis)
        self.formula.set_axis(axis)

    def set_locs(self, locs: Any) -> None:
        self.formula.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = re.sub(r"^\$\\mathdefault\{(.*)\}\$$", r"\1", self.formula(x, pos)).replace(r"\times", "×")
        return re.sub(r"\^\{(-?\d+)\}", lambda power: power[1].translate(RAISED), text).replace("-", "−")


def plain_decades(figure: Figure) -> None:
    """Logarithmic axes without formulas, which `styled` turns off for the sake of names with ``$`` in them."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for part in (axis.major, axis.minor):
                if isinstance(part.formatter, LogFormatter):
                    part.formatter = Decades(part.formatter)
                    part.formatter.set_axis(axis)


def arrange(figure: Figure, **options: Any) -> None:
    """Lay a figure out; logarithmic axes get the labels that they will have first."""
    plain_decades(figure)
    figure.tight_layout(**options)


def hold(figure: Figure) -> Bbox:
    """Lay a figure out and narrow it until all that is drawn, names beside the axes too, keeps within one column, or else within a page.

    Returns what it covers then, in inches. With a constrained layout it keeps within its width by itself.
    """
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)  # else each `savefig` goes through all artists for its sake
    if isinstance(layout, ConstrainedLayoutEngine):
        return figure.get_tightbbox()
    limit = (COLUMN if figure.get_figwidth() <= COLUMN else PAGE) - 2 * MARGIN
    for _ in range(TURNS):
        box = figure.get_tightbbox()
        if box.width <= limit:
            return box
        figure.set_figwidth(max(figure.get_figwidth() - (box.width - limit) - MARGIN / 4, LEAST))
    return figure.get_tightbbox()


def save(figure: Figure, folder: Path, picture: Picture) -> Picture:
    """Write `figure` as SVG and PNG without dates, close it, and return `picture`."""
    folder.mkdir(parents=True, exist_ok=True)
    render(figure, folder / f"{picture.stem}.svg", folder / f"{picture.stem}.png")
    plt.close(figure)
    return picture


def render(figure: Figure, svg: Path, png: Path) -> None:
    """Write `figure` as SVG and PNG.

    It is laid out once, measured once, which holds for both as text has no hints that depend on pixels, and drawn once for each:
    `savefig` by itself would lay it out and go through it twice for each.
    """
    plain_decades(figure)
    with plt.rc_context(STYLE):
        figure.dpi = DPI
        page, (wide, high) = whole_pixels(hold(figure).padded(MARGIN))
        raw = BytesIO()
        figure.savefig(raw, format="raw", bbox_inches=page)
        drawn = BytesIO()
        figure.savefig(drawn, format="svg", bbox_inches=page, metadata={"Date": None, "Creator": None})
    svg.write_bytes(drawn.getvalue().translate(None, NOT_XML))
    pixels = np.frombuffer(raw.getbuffer(), np.uint8).reshape(high, wide, 4)
    few_colors(pixels).save(png, dpi=(DPI, DPI))


def whole_pixels(covered: Bbox) -> tuple[Bbox, tuple[int, int]]:
    """A box of as many whole pixels as `covered`, in inches, has, whatever the rounding; its width and height in pixels."""
    wide, high = (int(side * DPI) for side in covered.size)
    return Bbox.from_bounds(covered.x0, covered.y0, (wide + 0.5) / DPI, (high + 0.5) / DPI), (wide, high)


def few_colors(pixels: Any) -> PIL.Image.Image:
    """An opaque picture in at most 256 colours: about a third of the bytes of all of them.

    Colours of plain areas, three percent of the picture or more, are kept. The others are grouped so that none is far off, and
    each group has the most frequent one of its colours.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and an opacity that is not looked at.
    """
    packed = pixels.view("<u4")[..., 0] & 0xFFFFFF
    colors, counts = np.unique(packed, return_counts=True)
    channels = colors.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    if len(colors) > 256:
        rank = np.argsort(-counts, kind="stable")
        plain = int((counts >= PLAIN * packed.size).sum())
        line = PIL.Image.fromarray(channels[rank[plain:]][None])
        found = line.quantize(256 - plain, PIL.Image.Quantize.MAXCOVERAGE, dither=PIL.Image.Dither.NONE)
        group = np.concatenate([np.arange(plain) - plain, np.asarray(found)[0]])
        _, first, index = np.unique(group, return_index=True, return_inverse=True)
        colors, channels = colors[rank], channels[rank[first]]
    else:
        index = np.arange(len(colors))
    place = np.zeros(1 << 24, np.uint8)  # of each colour; memory is taken only where it is written or read
    place[colors] = index
    image = PIL.Image.fromarray(place[packed])
    image.putpalette(channels.tobytes())
    return image


def color_of(index: int) -> str:
    """Colour of component, state or class `index`."""
    return PALETTE[index % len(PALETTE)]

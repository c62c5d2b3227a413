"""One look for all figures, and the same bytes for the same figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

if "matplotlib.pyplot" not in sys.modules:  # a notebook that draws already keeps its backend
    matplotlib.use("agg")

import matplotlib.pyplot as plt
import PIL.Image
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import Formatter, LogFormatter

# Okabe & Ito (2008): told apart by all common kinds of colour vision; extended by dark shades.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#5B3A8C",
    "#7F7F7F", "#00494D", "#9C2A2A", "#3C6E1F", "#C9A26B", "#2B2B2B", "#A0D8C8", "#F0A8C8",
)  # fmt: skip
INK = "#1B1F24"
FAINT = "#B8BEC6"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
COLUMN = 3.5  # inches: one column of a journal page (89 mm)
PAGE = 7.2  # two columns (183 mm); every figure keeps within one or the other, with text of 7 pt and more
MARGIN = 0.02  # around what is drawn, inches
MARK, LETTER = 0.45, 0.062  # of a legend: mark and what is around it, and a letter of 7 pt, inches
TURNS, LEAST = 6, 1.5  # looks at a figure that is too wide, and how narrow it may get, inches

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
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


def hold(figure: Figure) -> None:
    """Narrow a figure until all that is drawn, names beside the axes too, keeps within one column, or else within a page."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return  # keeps within its figure by itself, when it is drawn
    limit = (COLUMN if figure.get_figwidth() <= COLUMN else PAGE) - 2 * MARGIN
    for _ in range(TURNS):
        over = figure.get_tightbbox().width - limit
        if over <= 0.0:
            return
        figure.set_figwidth(max(figure.get_figwidth() - over - MARGIN / 4, LEAST))


def save(figure: Figure, folder: Path, picture: Picture) -> Picture:
    """Write `figure` as SVG and PNG without dates, close it, and return `picture`.

    The PNG keeps 256 colours, chosen so that the frequent ones are exact and none is far off: about a third of the bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain_decades(figure)
    hold(figure)
    with plt.rc_context(STYLE):
        figure.savefig(folder / f"{picture.stem}.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(folder / f"{picture.stem}.png", metadata={"Software": None})
    plt.close(figure)
    with PIL.Image.open(folder / f"{picture.stem}.png") as opened:
        dots = opened.info.get("dpi")
        small = opened.convert("RGB").quantize(
            256, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1, dither=PIL.Image.Dither.NONE
        )
    small.save(folder / f"{picture.stem}.png", optimize=True, **({"dpi": dots} if dots else {}))
    return picture


def color_of(index: int) -> str:
    """Colour of component, state or class `index`."""
    return PALETTE[index % len(PALETTE)]

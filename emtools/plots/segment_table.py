"""Figures of a segmented table: boundaries in a plane of two features, agreement with known classes by scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.ndimage import gaussian_filter

from emtools.plots.style import INK, PAGE, PALETTE, Picture, abreast, arrange, color_of, save, styled

Floats = npt.NDArray[np.float64]

MOST_DOTS = 4000
FEWEST = 100  # rows of which a density is drawn
CELLS = 64
MARKERS = ("o", "s", "D", "^", "v")


@dataclass(frozen=True)
class Panel:
    """A fit in a plane of two features, in the units of the table.

    Parameters
    ----------
    method, scaling : str
        What was fitted to what.
    grids : (ndarray, ndarray), shapes (n_x,) and (n_y,)
        Where the classes were evaluated.
    log_joint : ndarray, shape (K, n_y, n_x)
        Log of weight times density of each class there, nats; the other features integrated out.
    means : ndarray, shape (K, 2)
        Centres of the classes.
    outlines : sequence of ndarray, shape (m, 2)
        One standard deviation around each; none for K-means.
    classes : ndarray of int, shape (n,)
        Class of each row by all features.
    wrong : ndarray of bool, shape (n,), or None
        Rows whose known class is not the one that their class mostly holds.
    """

    method: str
    scaling: str
    grids: tuple[Floats, Floats]
    log_joint: Floats
    means: Floats
    outlines: Sequence[Floats]
    classes: npt.NDArray[np.intp]
    wrong: npt.NDArray[np.bool_] | None


def draw_planes(
    points: Floats, names: tuple[str, ...], panels: Sequence[Panel], n_others: int, folder: Path
) -> Picture:
    """Rows in the plane of two features, with the boundary of every method, one row of panels a scaling.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        The two features, in the units of the table.
    names : (str, str)
        Their names.
    panels : sequence of Panel
        By scaling, then by method.
    n_others : int
        Features that are integrated out.
    folder : Path
        Where the figure goes.
    """
    scalings = list(dict.fromkeys(panel.scaling for panel in panels))
    methods = list(dict.fromkeys(panel.method for panel in panels))
    n_classes = len(panels[0].means)
    with styled():
        size = (min(2.75 * len(methods) + 0.4, PAGE), 2.55 * len(scalings) + 0.75)
        figure, axes = plt.subplots(len(scalings), len(methods), figsize=size, squeeze=False)
        for axis in axes.ravel():
            axis.set_axis_off()
        for panel in panels:
            row, column = scalings.index(panel.scaling), methods.index(panel.method)
            axis = axes[row, column]
            axis.set_axis_on()
            hard = next((p for p in panels if p.scaling == panel.scaling and not len(p.outlines)), None)
            fill_panel(axis, points, panel, None if hard is panel else hard)
            axis.set_title(f"{panel.method}, {panel.scaling}", fontsize=8)
            if row == len(scalings) - 1:
                axis.set_xlabel(names[0])
            if column == 0:
                axis.set_ylabel(names[1])
        marks = [
            Line2D([], [], marker="o", ls="none", ms=4, color=color_of(k), label=f"class {k + 1}")
            for k in range(n_classes)
        ]
        marks.append(Line2D([], [], color=INK, lw=1.6, label="boundary"))
        marks.append(Line2D([], [], color=INK, lw=1.0, ls=(0, (3, 2)), label="that of K-means"))
        if any(panel.wrong is not None for panel in panels):
            marks.append(Line2D([], [], marker="x", ls="none", ms=4, color=PALETTE[5], label="not as known"))
        beside = abreast([mark.get_label() for mark in marks], PAGE)
        arrange(figure, rect=(0, 0, 1, 1 - 0.2 * -(-len(marks) // beside) / size[1]))
        figure.legend(handles=marks, loc="upper left", ncols=beside, fontsize=7, columnspacing=1.2, handletextpad=0.4)
        others = (
            f" The classes were found in {n_others + 2} features; in this plane the {n_others} others are integrated out, so "
            "that dots may lie on the other side of a line."
            if n_others
            else ""
        )
        caption = (
            f"The {len(points):,} rows by the two features that together tell the classes of the answer best, coloured by class; grey "
            f"contours show their density, tints the class that each method gives there. Logarithmic axes where logarithms "
            f"were modelled; the highest hundredth of a feature may lie beyond the frame.{others} K-means (hard EM) cuts half-way between two means, and so depends on the units; a mixture "
            "draws a quadric (an ellipse, parabola or hyperbola) that follows the shape and the abundance of each class."
        )
        return save(figure, folder, Picture("boundary", "Hyperplane or quadric?", caption))


def fill_panel(axis: Any, points: Floats, panel: Panel, hard: Panel | None) -> None:
    """One panel: tints, density, rows, boundaries, classes."""
    xs, ys = panel.grids
    for grid, name in ((xs, "x"), (ys, "y")):
        even = np.allclose(np.diff(grid, 2), 0.0, atol=1e-9 * np.ptp(grid))
        if not even:
            getattr(axis, f"set_{name}scale")("log")
            ticks = getattr(axis, f"{name}axis")
            ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if grid[-1] < 200.0 * grid[0] else (1.0,)))
            ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ticks.set_minor_formatter(NullFormatter())
    for k, margin in enumerate(margins(panel)):
        if margin.max() > 0.0:
            axis.contourf(xs, ys, margin, levels=[0.0, np.inf], colors=[color_of(k)], alpha=0.16)
    if len(points) >= FEWEST:
        edges = [np.interp(np.linspace(0, 1, CELLS + 1), np.linspace(0, 1, len(grid)), grid) for grid in (xs, ys)]
        counts = gaussian_filter(np.histogram2d(points[:, 0], points[:, 1], bins=edges)[0], 2.0, mode="constant")
        middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
        levels = counts.max() * np.array([0.05, 0.15, 0.35, 0.65])
        axis.contour(*middles, counts.T, levels=levels, colors="#7A828C", linewidths=0.6)
    step = -(-len(points) // MOST_DOTS)
    shown = np.arange(0, len(points), step)
    colors = [color_of(int(k)) for k in panel.classes[shown]]
    axis.scatter(*points[shown].T, s=4, c=colors, alpha=0.6, linewidths=0, rasterized=True)
    if panel.wrong is not None:
        hit = shown[panel.wrong[shown]]
        axis.scatter(*points[hit].T, s=12, marker="x", c=PALETTE[5], linewidths=0.8, zorder=4)
    for one, style in ((panel, {"linewidths": 1.6}), (hard, {"linewidths": 1.0, "linestyles": [(0, (3, 2))]})):
        if one is not None:
            for margin in margins(one)[:-1]:
                if margin.min() < 0.0 < margin.max():
                    axis.contour(*one.grids, margin, levels=[0.0], colors=INK, zorder=5, **style)
    for k, mean in enumerate(panel.means):
        if len(panel.outlines):
            axis.plot(*panel.outlines[k].T, color=color_of(k), lw=1.2, zorder=4)
        axis.plot(*mean, marker="o", ms=6, mec="white", mew=1.0, color=color_of(k), ls="none", zorder=6)
    axis.set_xlim(xs[0], xs[-1])
    axis.set_ylim(ys[0], ys[-1])


def margins(panel: Panel) -> list[Floats]:
    """By how much each class is ahead of the best other, nats."""
    joint = panel.log_joint
    return [joint[k] - np.delete(joint, k, axis=0).max(axis=0) for k in range(len(joint))]


def draw_by_scaling(accuracy: pd.DataFrame, n: int, folder: Path) -> Picture:
    """Agreement with known classes, one dot per method and scaling.

    Parameters
    ----------
    accuracy : DataFrame
        Columns ``method, metric, value``; methods are named "K-means, raw" and the like.
    n : int
        Rows whose class is known.
    folder : Path
        Where the figure goes.
    """
    parts = accuracy["method"].str.rsplit(", ", n=1, expand=True)
    methods, scalings = list(dict.fromkeys(parts[0])), list(dict.fromkeys(parts[1]))
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 1.0 + 0.42 * len(scalings)), sharey=True)
        for axis, metric in zip(axes, ("accuracy", "ARI"), strict=True):
            for i, method in enumerate(methods):
                rows = accuracy[(parts[0] == method) & (accuracy["metric"] == metric)]
                places = [scalings.index(name) for name in parts[1][rows.index]]
                shift = 0.18 * (i - (len(methods) - 1) / 2)
                axis.plot(
                    rows["value"],
                    np.array(places) + shift,
                    MARKERS[i % len(MARKERS)],
                    color=color_of(i),
                    ms=6,
                    label=method,
                )
                for value, place in zip(rows["value"], places, strict=True):
                    axis.annotate(
                        f"{value:.3f}",
                        (value, place + shift),
                        (6, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=7,
                    )
            axis.set_yticks(range(len(scalings)), scalings)
            axis.set_ylim(len(scalings) - 0.5, -0.5)
            low = min(0.98, float(accuracy.loc[accuracy["metric"] == metric, "value"].min()))
            axis.set_xlim(low - 0.08 * (1.0 - low), 1.0 + 0.08 * (1.0 - low))
            axis.set_xlabel(metric)
            axis.grid(axis="x", lw=0.4, color="#D8DCE1")
            axis.set_axisbelow(True)
        arrange(figure, rect=(0, 0, 1, 1 - 0.28 / figure.get_figheight()))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper left", ncols=len(methods))
        caption = (
            f"Agreement with the known classes, which no fit has seen: the share of {n:,} rows that are right when each class stands "
            "for one known class, and the adjusted Rand index (0 by chance, 1 for equal partitions). The axes do not "
            "begin at 0."
        )
        return save(figure, folder, Picture("accuracy", "How close to the known classes?", caption))

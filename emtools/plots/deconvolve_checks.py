"""Figures on whether to believe types of cells: composition with intervals, number of types, reliability."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from emtools.plots.deconvolve import kind_of
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, Picture, arrange, color_of, save, styled

PANELS = 5  # across
LEAST_SHOWN = 15  # percentile of a criterion below which it is cut off
CRITERIA = {"bic": "BIC", "icl": "ICL", "held_out": "Held-out, per {}"}


def composition_figure(told: Mapping[str, Any], types: Sequence[str]) -> Figure:
    """Share of each type in each sample with its interval, one panel a type; a line is the mean over samples.

    Parameters
    ----------
    told : mapping
        ``uns['em']['by_sample']``.
    types : sequence of str
        Names, K of them.
    """
    names, n = [str(name) for name in told["samples"]], np.asarray(told["n"])
    shares, lower, upper = (100.0 * np.asarray(told[key]) for key in ("proportions", "lower", "upper"))
    across = min(PANELS, len(types))
    down = -(-len(types) // across)
    longest = max(len(name) for name in names)
    tall, width = 1.3, min(max(1.3, 0.16 * len(names) + 0.5), 2.4)
    with styled():
        size = (float(np.clip(0.5 + across * width, COLUMN, PAGE)), down * tall + 0.35 + 0.055 * longest)
        figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharex=True)
        places = np.arange(len(names))
        for k, axis in enumerate(axes.ravel()):
            if k >= len(types):
                axis.set_visible(False)
                continue
            color = color_of(k)
            axis.bar(places, shares[:, k], color=color, width=0.72, alpha=0.85)
            whiskers = np.abs([shares[:, k] - lower[:, k], upper[:, k] - shares[:, k]])
            axis.errorbar(places, shares[:, k], yerr=whiskers, fmt="none", ecolor=INK, lw=0.8, capsize=1.5)
            axis.axhline(100.0 * float(told["mean"][k]), color=INK, lw=0.7, ls=(0, (3, 2)))
            axis.set_title(wrapped(types[k], int(13 * width)), fontsize=7)
            axis.set_ylim(0, 1.05 * float(upper[:, k].max()))
            axis.set_xlim(-0.6, len(names) - 0.4)
            axis.tick_params(axis="x", length=0)
            last = k + across >= len(types)
            labels = [f"{name} ({size})" for name, size in zip(names, n, strict=True)]
            axis.set_xticks(places, labels if last else [], rotation=90)
            axis.tick_params(axis="x", labelbottom=last)
        for row in axes:
            row[0].set_ylabel("% of cells")
        figure.align_ylabels(axes[:, 0])
        arrange(figure, h_pad=0.6, w_pad=0.5)
        return figure


def wrapped(name: str, width: int) -> str:
    """A name on several lines, broken at blanks and slashes.

    Examples
    --------
    >>> wrapped("CD4+/CD45RO+ Memory", 12).split(chr(10))
    ['CD4+/CD45RO+', 'Memory']
    """
    lines = [""]
    for part in re.findall(r"[^\s/]+/?|/", name):
        joint = "" if lines[-1].endswith("/") or not lines[-1] else " "
        if lines[-1] and len(lines[-1] + joint + part) > width:
            lines.append(part)
        else:
            lines[-1] += joint + part
    return "\n".join(lines)


def draw_composition(told: Mapping[str, Any], types: Sequence[str], unit: str, folder: Path) -> Picture:
    """Write `composition_figure` into a folder, with its caption."""
    figure = composition_figure(told, types)
    for axis in figure.axes:
        if axis.get_ylabel():
            axis.set_ylabel(f"% of {unit}")
    several, kind = len(told["samples"]) > 1, kind_of(unit)
    caption = (
        f"Share of each {kind} in each {told['column']}, n in brackets, each of the {unit} counted by its probabilities. Whiskers: "
        f"95 % intervals, which hold the draw of the {unit} and the doubt about their {kind}s, not what is unknown about the "
        f"{kind}s themselves"
        + (
            f". Dashed: mean over the {len(told['samples'])}, each counted once. Axes differ."
            + (
                " Whether two groups of donors differ is told by the spread between donors, not by these whiskers."
                if unit == "cells"
                else ""
            )
            if several
            else "."
        )
    )
    return save(figure, folder, Picture("composition", f"How much in each {told['column']}", caption))


def selection_figure(told: Mapping[str, Any], unit: str = "cells") -> Figure:
    """Criteria against the number of types, the chosen one marked.

    Parameters
    ----------
    told : mapping
        ``uns['em']['selection']``.
    unit : str
        What a row is, in the plural.
    """
    counts = np.asarray(told["n_components"])
    shown = [key for key in CRITERIA if np.isfinite(np.asarray(told[key], dtype=np.float64)).any()]
    with styled():
        figure, axes = plt.subplots(1, len(shown), figsize=(COLUMN if len(shown) == 1 else PAGE, 2.2), squeeze=False)
        for axis, key in zip(axes[0], shown, strict=True):
            values = np.asarray(told[key], dtype=np.float64)
            best = int(np.nanargmax(values))
            mine = key == told["criterion"]
            color = color_of(0) if mine else FAINT
            axis.plot(counts, values, "-o", ms=3, color=color)
            axis.plot(counts[best], values[best], "o", ms=7, mfc="none", mec="#D55E00" if mine else INK, mew=1.2)
            axis.annotate(
                f"{counts[best]}",
                (counts[best], values[best]),
                xytext=(0, -12),
                textcoords="offset points",
                ha="center",
                weight="bold" if mine else "normal",
            )
            axis.set_title(CRITERIA[key].format(unit.removesuffix("s")) + (": chosen" if mine else ""))
            low, top = np.nanpercentile(values, LEAST_SHOWN), values[best]
            axis.set_ylim(low - 0.15 * (top - low), top + 0.12 * (top - low) if top > low else None)
            axis.set_xlabel(f"{kind_of(unit)}s")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0, 0].set_ylabel("nats, larger is better")
        arrange(figure)
        return figure


def draw_selection(told: Mapping[str, Any], n: int, unit: str, folder: Path) -> Picture:
    """Write `selection_figure` of `n` units into a folder, with its caption."""
    counts, chosen = np.asarray(told["n_components"]), np.asarray(told[told["criterion"]], dtype=np.float64)
    most, kind = int(counts.max()), kind_of(unit)
    edge = (
        f" The largest number that was tried is the best, {most}: a range of your own that goes further may find more "
        f"{kind}s."
        if len(counts) > 1 and counts[int(np.nanargmax(chosen))] == most
        else ""
    )
    caption = (
        f"Criteria for the number of {kind}s among {n:,} {unit}, from mixtures with free covariances; a ring is the best of "
        f"each.{edge} BIC grows on "
        f"until the density fits, and {unit} are not normal: it tends to split {kind}s. ICL also asks that the {kind}s be told "
        f"apart. A number chosen by any of them is a suggestion: look at the markers before you name a {kind}."
    )
    return save(selection_figure(told, unit), folder, Picture("selection", f"How many {kind}s", caption))


def reliability_figure(curves: Mapping[str, Any]) -> Figure:
    """Stated probability against frequency, one line for each way to judge.

    Parameters
    ----------
    curves : mapping of str to mapping
        ``certainty``, ``right``, ``n``, ``n_units``, ``error`` of each, as ``uns['em']['reliability']`` has them: a unit
        that several fits judged counts once for the whiskers.
    """
    with styled():
        figure, (axis, below) = plt.subplots(
            2, 1, figsize=(COLUMN, 3.6), height_ratios=(3.2, 1.0), sharex=True, layout="constrained"
        )
        axis.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (4, 2)), zorder=0)
        axis.text(0.2, 0.155, "as stated", rotation=40, ha="center", va="center", fontsize=7, color="#6B7280")
        wide = 0.085 / max(len(curves), 1)
        for i, (name, told) in enumerate(curves.items()):
            n = np.asarray(told["n"], dtype=np.float64)
            certainty, right = (np.asarray(told[key], dtype=np.float64) for key in ("certainty", "right"))
            held = n * min(1.0, told["n_units"] / max(n.sum(), 1.0))
            spread = 1.96 * np.sqrt(np.maximum(right * (1 - right), 0.25 / np.maximum(held, 1)) / held)
            low, high = np.minimum(spread, right), np.minimum(spread, 1 - right)
            axis.errorbar(
                certainty,
                right,
                yerr=np.maximum([low, high], 0.0),
                fmt="-o",
                ms=3.5,
                lw=1.2,
                elinewidth=0.7,
                color=color_of(i),
                label=f"{name}: error {float(told['error']):.3f}",
            )
            places = np.minimum(np.floor(certainty * 10), 9) / 10 + 0.0075 + wide * (i + 0.5)
            below.bar(places, n / n.sum() * 100, width=wide, color=color_of(i), alpha=0.85)
        axis.set(ylim=(0, 1.02), ylabel="fraction right")
        below.set(xlim=(0, 1), xlabel="stated probability", ylabel="% of cells")
        if curves:
            axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), handlelength=1.4)
        else:
            axis.text(0.5, 0.6, "no fit to a part of the data", ha="center")
        return figure


def draw_reliability(curves: Mapping[str, Any], unit: str, folder: Path) -> Picture:
    """Write `reliability_figure` into a folder, with its caption."""
    figure, kind = reliability_figure(curves), kind_of(unit)
    figure.axes[1].set_ylabel(f"% of {unit}")
    ways = {
        "other fits agree": f"{kind}s that fits to other {unit} give (no label was used: this is stability, not truth)",
        "hidden labels": f"labels that were hidden from the fit ({unit} of other folds)",
    }
    told = (
        "nothing, there being too few to fit to a part of them"
        if not curves
        else "; ".join(
            f"{ways.get(name, f'the known {name}, {kind}s matched to its groups one to one')}, n = {judges(curve, unit)}"
            for name, curve in curves.items()
        )
    )
    caption = (
        f"How often the most probable {kind} was right, by the probability stated. Right means: {told}. On the dashed line a "
        f"stated 80 % is right in 80 %; below it the probabilities are too sure. Whiskers: 95 %, by the {unit} of each bin; "
        f"bars: share of the {unit} in it. Error: mean distance from the line, by {unit}."
    )
    return save(figure, folder, Picture("reliability", "May the probabilities be believed?", caption))


def judges(curve: Mapping[str, Any], unit: str) -> str:
    """How many units were judged, and by how many fits where these are several.

    Examples
    --------
    >>> judges({"n": [60, 20], "n_units": 12}, "cells"), judges({"n": [9, 3], "n_units": 12}, "rows")
    ('12 cells, judged by 6.7 fits to others on average', '12 rows')
    """
    total, n_units = int(np.sum(curve["n"])), int(curve["n_units"])
    return f"{n_units:,} {unit}" + (
        f", judged by {total / n_units:.2g} fits to others on average" if total > n_units else ""
    )

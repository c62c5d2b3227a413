"""Figures of a mixture over cells: where the types lie, what they express, how much of each there is, are they right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.special import entr

from emtools.kernels.agreement import matching
from emtools.kernels.composition import Profiles
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, Picture, arrange, color_of, save, styled

Floats = npt.NDArray[np.float64]
FAINTEST = 0.12
RASTER_FROM = 400
TINY = 0.06
MOST_WRITTEN = 16
MOST_IN_QUESTION = 3
DIGIT = 0.068  # inches, of 7 pt, with what is between
SHORT = 4  # letters of a name that is its own mark
ACROSS = 90  # letters of a legend in one line
DOUBT = LinearSegmentedColormap.from_list("doubt", ["#D5D9DE", "#E69F00", "#B3400C", "#4A0D0D"])
HALO = [withStroke(linewidth=2.2, foreground="white")]


def kind_of(unit: str) -> str:
    """What a component is called: a type of cells, a group of anything else."""
    return "type" if unit == "cells" else "group"


def type_figure(
    points: Floats,
    axes_names: Sequence[str],
    types: Sequence[str],
    responsibilities: Floats,
    unit: str,
    shares: Floats | None = None,
) -> Figure:
    """Units on an embedding, coloured by type with opacity by certainty, beside their uncertainty.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Embedding.
    axes_names : sequence of str
        Names of its two axes.
    types : sequence of str
        Names of the types, K of them.
    responsibilities : ndarray, shape (n, K)
        Posterior probability of each type.
    unit : str
        What a row is, in the plural.
    shares : ndarray, shape (K,), optional
        Share of each type; by default the mean probability.
    """
    n = len(points)
    labels = responsibilities.argmax(axis=1)
    uncertainty = 1.0 - responsibilities.max(axis=1)
    size = float(np.clip(6000.0 / n, 1.5, 14.0))
    raster = n > RASTER_FROM
    shares = responsibilities.mean(axis=0) if shares is None else shares
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.1), width_ratios=(1.0, 1.16))
        colors = np.array([to_rgba(color_of(k)) for k in labels])
        chance = 1.0 / max(responsibilities.shape[1], 2)
        colors[:, 3] = FAINTEST + (1 - FAINTEST) * np.clip((1 - uncertainty - chance) / (1 - chance), 0, 1)
        left.scatter(*points.T, c=colors, s=size, lw=0, rasterized=raster)
        for k, (name, mark) in enumerate(zip(marked_names(types), marks(types), strict=True)):
            inside = points[labels == k]
            left.scatter([], [], color=color_of(k), s=16, label=f"{name} ({100 * shares[k]:.0f} %)")
            if len(inside):
                centre = np.median(inside, axis=0)
                spot = inside[((inside - centre) ** 2).sum(axis=1).argmin()]
                small = (np.ptp(inside, axis=0) < TINY * np.ptp(points, axis=0)).any()
                left.annotate(
                    mark,
                    spot,
                    xytext=(0, 9 if small else 0),
                    textcoords="offset points",
                    ha="center",
                    va="center",
                    weight="bold",
                    path_effects=HALO,
                )
        left.set_title(f"Most probable {kind_of(unit)}")
        handles, names = left.get_legend_handles_labels()
        question = np.exp(entr(responsibilities).sum(axis=1))
        order = np.argsort(question, kind="stable")
        shown = right.scatter(
            *points[order].T,
            c=question[order],
            cmap=DOUBT,
            vmin=1,
            vmax=MOST_IN_QUESTION,
            s=size,
            lw=0,
            rasterized=raster,
        )
        bar = figure.colorbar(shown, ax=right, extend="max", shrink=0.8, ticks=np.arange(1, MOST_IN_QUESTION + 1))
        bar.set_label(f"{kind_of(unit)}s in question, exp(entropy)")
        bar.outline.set_visible(False)
        right.set_title(f"Uncertainty ({100 * (uncertainty > 0.1).mean():.0f} % of {unit} less than 90 % sure)")
        for axis in (left, right):
            axis.set(xlabel=axes_names[0], ylabel=axes_names[1], xticks=[], yticks=[])
        arrange(figure)
        longest = max(len(name) for name in names)
        columns = min(len(types), max(1, ACROSS // (longest + 4)))
        figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, handletextpad=0.2)
        return figure


def draw_types(
    points: Floats,
    axes_names: Sequence[str],
    types: Sequence[str],
    responsibilities: Floats,
    unit: str,
    folder: Path,
    shares: Floats | None = None,
) -> Picture:
    """Write `type_figure`, whose arguments these are, into a folder, with its caption."""
    n, kind = len(points), kind_of(unit)
    figure = type_figure(points, axes_names, types, responsibilities, unit, shares)
    caption = (
        f"{n} {unit} at their {axes_names[0][:-1].strip()} coordinates. Left: colour is the most probable {kind}, "
        "opacity its probability (faint: undecided); in brackets, the share of all, each of the "
        f"{unit} counted by its probabilities. Right: between how many {kind}s each of the {unit} lies (1: sure of one, 2: torn "
        f"between two), the most uncertain on top; where {kind}s meet, do not lean on a single label."
    )
    return save(figure, folder, Picture("types", f"Which {kind}s, and how sure", caption))


def marks(types: Sequence[str]) -> list[str]:
    """A few letters for each type: its number where it is named PREFIX_number, its name where all are short, else its place.

    Examples
    --------
    >>> marks(["type_1", "type_2"]), marks(["B", "NK"]), marks(["CD19+ B", "CD4+/CD45RO+ Memory"])
    (['1', '2'], ['B', 'NK'], ['1', '2'])
    """
    numbers = [name.rpartition("_")[2] for name in types]
    if len(types) > 1 and all(number.isdigit() for number in numbers):
        return numbers
    if max(len(name) for name in types) <= SHORT:
        return list(types)
    return [str(k + 1) for k in range(len(types))]


def marked_names(types: Sequence[str]) -> list[str]:
    """Names with their marks in front, where these are not part of them.

    Examples
    --------
    >>> marked_names(["type_1", "type_2"]), marked_names(["CD19+ B", "CD4+/CD45RO+ Memory"])
    (['type_1', 'type_2'], ['1 CD19+ B', '2 CD4+/CD45RO+ Memory'])
    """
    return [
        name if name == mark or name.endswith(f"_{mark}") else f"{mark} {name}"
        for mark, name in zip(marks(types), types, strict=True)
    ]


def profile_figure(
    profiles: Profiles,
    genes: Sequence[str],
    chosen: Sequence[Sequence[int]],
    types: Sequence[str],
    unit: str,
    shown: Floats | None = None,
) -> tuple[Figure, str]:
    """The most telling genes of each type, a dot plot of expression that starts at zero, else a heat map; how to read it.

    Parameters
    ----------
    profiles : Profiles
        Profiles of K types.
    genes : sequence of str
        Names of the genes, G of them.
    chosen : sequence of sequences of int
        Genes to show for each type.
    types : sequence of str
        Names of the types.
    unit : str
        What a row is, in the plural.
    shown : ndarray, shape (G, K), optional
        Means to write into the cells of a heat map; by default those of `profiles`.
    """
    columns = [gene for group in chosen for gene in group]
    means = profiles.means[columns].T
    dots = profiles.lowest >= 0.0 and bool((profiles.fractions[columns] < 0.98).any())
    with styled():
        cell = 0.38 if not dots and len(columns) <= MOST_WRITTEN else 0.21
        longest = max(len(genes[g]) for g in columns)
        width = float(np.clip(2.0 + cell * len(columns), COLUMN, PAGE))
        figure, axis = plt.subplots(figsize=(width, max(1.5, 0.7 + 0.065 * longest) + 0.24 * len(types)))
        if dots:
            word, found = ("gene", "detected") if unit == "cells" else ("variable", "above 0")
            draw_dots(figure, axis, means, profiles.fractions[columns].T, found)
            how = (
                f"colour is the mean, scaled from the lowest (0) to the highest {kind_of(unit)} (1) for each {word}; the size "
                f"of a dot is the fraction of {unit} in which it was {found}"
            )
        else:
            written = means if shown is None else shown[columns].T
            draw_heat(figure, axis, means, profiles.spread[columns], written, kind_of(unit))
            kind = kind_of(unit)
            how = f"colour is the distance of the mean from the average {kind}, in standard deviations within {kind}s"
        axis.set_xticks(
            range(len(columns)),
            [genes[g] for g in columns],
            rotation=90,
            style="italic" if unit == "cells" else "normal",
        )
        axis.set_yticks(range(len(types)), types)
        axis.tick_params(length=0)
        edge = -0.5
        for group in chosen[:-1]:
            edge += len(group)
            if group and edge < len(columns) - 1:
                axis.axvline(edge, color=FAINT, lw=0.5, zorder=0 if dots else 2)
        arrange(figure)
        return figure, how


def draw_profiles(
    profiles: Profiles,
    genes: Sequence[str],
    chosen: Sequence[Sequence[int]],
    types: Sequence[str],
    unit: str,
    what: str,
    n: int,
    folder: Path,
    shown: Floats | None = None,
) -> Picture:
    """Write `profile_figure`, whose arguments these are, into a folder; `what` the values are, and of how many, for its caption."""
    figure, how = profile_figure(profiles, genes, chosen, types, unit, shown)
    word, kind = "genes" if unit == "cells" else "variables", kind_of(unit)
    blocks = len(chosen) == len(types) and sum(map(len, chosen)) < len(genes)
    caption = (
        (f"The most telling {word} of each {kind}, in the order of the {kind}s" if blocks else f"All {word}")
        + f" ({what}, each of the {n:,} {unit} weighted by its probability of the {kind}): {how}."
        + (f" A {kind} without a block of its own is told apart by no single one." if blocks else "")
        + " All values are in profiles.tsv."
    )
    title = f"What each {kind} expresses" if unit == "cells" else f"What marks each {kind}"
    return save(figure, folder, Picture("profiles", title, caption))


def draw_dots(figure: Any, axis: Any, means: Floats, fractions: Floats, found: str) -> None:
    low, high = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
    scaled = (means - low) / np.where(high > low, high - low, 1.0)
    rows, columns = np.indices(means.shape)
    largest = 62.0
    shown = axis.scatter(
        columns, rows, s=largest * fractions, c=scaled, cmap="Reds", vmin=0, vmax=1, ec=INK, lw=0.25, clip_on=False
    )
    axis.set(xlim=(-0.7, means.shape[1] - 0.3), ylim=(means.shape[0] - 0.4, -0.6))
    for fraction in (0.25, 0.5, 1.0):
        axis.scatter([], [], s=largest * fraction, color=FAINT, ec=INK, lw=0.25, label=f"{100 * fraction:.0f} %")
    axis.legend(title=f"{found} in", loc="upper left", bbox_to_anchor=(1.01, 1.02), title_fontsize=7, borderpad=0)
    inset = axis.inset_axes((1.03, 0.0, 0.018, 0.34))
    bar = figure.colorbar(shown, cax=inset, ticks=[0, 1])
    bar.set_label("scaled\nmean", rotation=0, ha="left", va="center", fontsize=7)
    bar.outline.set_visible(False)


def draw_heat(figure: Any, axis: Any, means: Floats, spread: Floats, written: Floats, kind: str) -> None:
    scaled = (means - np.nanmean(means, axis=0)) / np.where(spread > 0, spread, 1.0)
    limit = float(np.clip(np.nanmax(np.abs(scaled), initial=1.0), 1.0, 3.0))
    shown = axis.imshow(scaled, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    bar = figure.colorbar(shown, ax=axis, shrink=0.9, pad=0.02)
    bar.set_label(f"from the average {kind}, SD")
    bar.outline.set_visible(False)
    texts = [numbers(column) for column in written.T] if means.shape[1] <= MOST_WRITTEN else []
    for column, row in np.ndindex(len(texts), len(means)):
        tint = "white" if abs(scaled[row, column]) > 0.65 * limit else INK
        axis.text(column, row, texts[column][row], ha="center", va="center", fontsize=7, color=tint)
    for side in axis.spines.values():
        side.set_visible(False)


def number(value: float, more: int = 0) -> str:
    """Three digits and `more`, without an exponent where it would be longer."""
    return f"{value:.{more}f}" if 100 <= abs(value) < 1e5 else f"{value:.{3 + more}g}"


def numbers(values: Floats) -> list[str]:
    """Values of one variable with digits enough to tell the types apart, two more at most.

    Examples
    --------
    >>> numbers(np.array([2007.9, 2008.2])), numbers(np.array([3.51, 4.2]))
    (['2007.9', '2008.2'], ['3.51', '4.2'])
    """
    tries = [[number(float(v), more) for v in values] for more in range(3)]
    return max(tries, key=lambda texts: len(set(texts)))


def draw_proportions(
    shares: Floats,
    errors: Floats,
    types: Sequence[str],
    n: int,
    unit: str,
    folder: Path,
    *,
    whole: bool = False,
    sample: str | None = None,
    samples: Sequence[str] = (),
    by_sample: Floats | None = None,
    n_by_sample: Sequence[int] = (),
) -> Picture:
    """Share of each type with its standard error; beside it the composition of each sample.

    Parameters
    ----------
    shares, errors : ndarray, shape (K,)
        Shares and standard errors.
    types : sequence of str
        Names of the types.
    n : int
        Number of units.
    unit : str
        What a row is, in the plural.
    folder : Path
        Where the figure goes.
    whole : bool
        Whether the errors hold what is unknown about the types themselves, too.
    sample : str, optional
        Column that names the sample.
    samples : sequence of str
        Its groups, S of them.
    by_sample : ndarray, shape (S, K), optional
        Share of each type in each sample.
    n_by_sample : sequence of int
        Units of each sample.
    """
    with styled():
        panels = 1 if by_sample is None else 2
        height = 0.9 + 0.24 * max(len(types), len(samples) + 1)
        figure, axes = plt.subplots(1, panels, figsize=(COLUMN if panels == 1 else PAGE, height), squeeze=False)
        axis = axes[0, 0]
        rows = np.arange(len(types))
        axis.barh(rows, 100 * shares, color=[color_of(k) for k in rows], height=0.72)
        axis.errorbar(100 * shares, rows, xerr=100 * np.nan_to_num(errors), fmt="none", ecolor=INK, lw=0.8, capsize=2)
        for k in rows:
            axis.annotate(
                f"{100 * shares[k]:.1f}",
                (100 * (shares[k] + np.nan_to_num(errors[k])), k),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
        axis.set_yticks(rows, types if by_sample is None else marked_names(types))
        axis.invert_yaxis()
        axis.set_xlim(0, 112 * float((shares + np.nan_to_num(errors)).max()))
        axis.set_xlabel(f"% of {n} {unit}")
        axis.set_title(f"All {unit}" if panels == 2 else "Proportions")
        extra = ""
        if by_sample is not None:
            draw_stack(axes[0, 1], by_sample, types, samples, n_by_sample)
            axes[0, 1].set_title(f"By {sample}")
            axes[0, 1].set_xlabel(f"% of the {unit} of each")
            extra = f" Right: composition of each {sample}, n in brackets, colours as on the left."
        arrange(figure)
        kind = kind_of(unit)
        caption = (
            f"Share of each {kind}, each of the {n} {unit} counted by its probabilities. Whiskers: one standard error"
            + (
                ", from the observed information of all parameters."
                if whole
                else f" of sampling, with the {kind}s taken as fitted; what is unknown about the {kind}s comes on top."
            )
            + extra
        )
        return save(figure, folder, Picture("proportions", "How much of each", caption))


def draw_stack(
    axis: Any, by_sample: Floats, types: Sequence[str], samples: Sequence[str], n_by_sample: Sequence[int]
) -> None:
    rows = np.arange(len(samples))
    left = np.zeros(len(samples))
    height = 0.72 * min(1.0, 2.0 * len(samples) / len(types))
    for k, mark in enumerate(marks(types)):
        width = 100 * by_sample[:, k]
        axis.barh(rows, width, left=left, color=color_of(k), height=height, lw=0.4, ec="white")
        for row in rows[width > 6]:
            axis.text(
                left[row] + width[row] / 2,
                row,
                mark,
                ha="center",
                va="center",
                fontsize=7,
                path_effects=HALO,
            )
        left += width
    axis.set_yticks(rows, [f"{s} ({n})" for s, n in zip(samples, n_by_sample, strict=True)])
    axis.invert_yaxis()
    axis.set_xlim(0, 100)


def confusion_figure(
    tables: Sequence[tuple[str, Floats, Sequence[str]]], truth: str, names: Sequence[str], unit: str
) -> Figure:
    """Known groups against types, one panel a method, types in the order of their best match.

    Parameters
    ----------
    tables : sequence of (str, ndarray of shape (R, K), sequence of str)
        Method, counts, names of its columns.
    truth : str
        Column with the known groups.
    names : sequence of str
        Known groups, R of them.
    unit : str
        What a row is, in the plural.
    """
    with styled():
        cell = 0.27
        wide = max(cell * tables[0][1].shape[1], 1.2)
        margin = 0.9 + 0.062 * max(len(name) for name in names)
        numbered = [all(name.endswith(mark) for name, mark in zip(c, marks(c), strict=True)) for _, _, c in tables]
        longest = max(
            (len(name) for (_, _, c), plain in zip(tables, numbered, strict=True) if not plain for name in c), default=0
        )
        beside, high = margin + len(tables) * (wide + 0.25) + 0.6, 0.95 + cell * len(names) + 0.062 * longest
        down, across = (1, len(tables)) if beside <= 1.3 * PAGE else (len(tables), 1)
        size = (min(beside, PAGE) if down == 1 else PAGE, high * down)
        figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharey=True)
        totals = tables[0][1].sum(axis=1).astype(int)
        room = (size[0] - margin - 0.85) / across / tables[0][1].shape[1]
        written = DIGIT * len(f"{max(float(table.max()) for _, table, _ in tables):.0f}") < room
        for axis, (method, table, columns), plain in zip(axes.flat, tables, numbered, strict=True):
            rows, matched = matching(table)
            partner = dict(zip(matched.tolist(), rows.tolist(), strict=True))
            order = sorted(range(table.shape[1]), key=lambda k: (partner.get(k, len(names)), k))
            share = table[:, order] / np.maximum(table.sum(axis=1, keepdims=True), 1e-300)
            shown = axis.imshow(100 * share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
            for row, column in np.argwhere(table[:, order] > 0) if written else ():
                tint = "white" if share[row, column] > 0.55 else INK
                count = f"{table[row, order[column]]:.0f}"
                axis.text(column, row, count, ha="center", va="center", fontsize=7, color=tint)
            for column, k in enumerate(order):
                if k in partner and table[partner[k], k] > 0:
                    corner = (column - 0.5, partner[k] - 0.5)
                    axis.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=1.1, clip_on=False))
            shown_names = marks(columns) if plain else columns
            axis.set_xticks(range(len(order)), [shown_names[k] for k in order], rotation=0 if plain else 90)
            axis.set_yticks(range(len(names)), [f"{name} ({n})" for name, n in zip(names, totals, strict=True)])
            axis.tick_params(length=0)
            axis.set_title(method)
            axis.set_xlabel("cluster" if method == "K-means" else kind_of(unit))
            for side in axis.spines.values():
                side.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel(truth)
        arrange(figure)
        bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02)
        bar.set_label(f"% of the {unit} of a row")
        bar.outline.set_visible(False)
        return figure


def draw_confusion(
    tables: Sequence[tuple[str, Floats, Sequence[str]]], truth: str, names: Sequence[str], unit: str, folder: Path
) -> Picture:
    """Write `confusion_figure`, whose arguments these are, into a folder, with its caption."""
    caption = (
        f"Share (colour), and where there is room for them numbers, of {unit} of each known {truth} (rows, n in brackets) that fell into each {kind_of(unit)} (columns, numbered "
        "as elsewhere and put in the order of their best one-to-one match, outlined). A row spread over several "
        "columns was split; a column shared by several rows merged them. The mixture stands beside K-means, which "
        "is its limit of equal round clusters and hard assignment."
    )
    figure = confusion_figure(tables, truth, names, unit)
    return save(figure, folder, Picture("confusion", f"Do the {kind_of(unit)}s match what was known?", caption))

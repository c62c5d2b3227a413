"""Figures of imputation: what is missing, what was filled in, what filling in does to the spread, how close it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation
from emtools.kernels.gaussian import density
from emtools.kernels.imputation import normalised_rmse, sd_after_filling
from emtools.kernels.scales import told
from emtools.plots.impute_checks import (
    draw_batches,
    draw_correlations,
    draw_heatmap,
    draw_information,
    draw_overimputed,
    short,
)
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, save, styled, tiled

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

OBSERVED, FILLED, TRUTH, BEYOND = PALETTE[0], PALETTE[5], PALETTE[2], PALETTE[3]
MOST_PATTERNS = 24
MOST_PANELS = 12
MOST_MARKERS = 30
MOST_SMOOTHED, MOST_TICKS = 5_000, 400
GRID = 120
DECADES = 30.0  # ratio of the ends of a log axis beyond which it has ticks of its own
BACKING = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}
LONGEST_NAME, LONGEST_TICK = 24, 32
WIDE = 30  # markers from which the whole table is drawn
TRIES, MOST_TRIED = 50, 400  # conditional draws of cells beyond a limit, and rows with such cells that are drawn from


def draw_all(imputation: Imputation, diagnosis: Diagnosis, truth: Floats | None, folder: Path) -> list[Picture]:
    """All figures of an imputation, the answer first.

    Parameters
    ----------
    imputation, diagnosis
        The completed table and what is to be said of it.
    truth : ndarray, shape (n, d), optional
        The same table without gaps, in its units.
    folder : Path
        Where the figures go.
    """
    readings, scales = imputation.readings, imputation.scales
    d = len(imputation.markers)
    scaled = imputation.scaled.values[:, :d]
    words = [
        name if scale.name == "none" else f"{name} ({told(scale)})" if scale.name != "log" else f"log {name}"
        for name, scale in zip(imputation.markers, scales, strict=True)
    ]
    pictures: list[Picture | None] = [
        draw_missingness(readings.values, imputation.markers, folder, readings.bounded),
        draw_imputed(scaled, imputation.filled, imputation.sd, words, folder, limited(imputation)),
    ]
    if d >= WIDE:
        pictures.append(draw_heatmap(imputation, diagnosis, folder))
    if truth is not None:
        cells = ~readings.observed & ~np.isnan(truth)
        _, errors = normalised_rmse(truth, imputation.values, cells)
        ends = (imputation.lower, imputation.upper)
        logged = [scale.name == "log" for scale in scales]
        pictures.append(
            draw_accuracy(truth, imputation.values, *ends, cells, imputation.markers, errors, logged, folder)
        )
    pictures += [
        draw_overimputed(imputation, diagnosis, folder),
        draw_batches(diagnosis, folder),
        draw_correlations(imputation, diagnosis, folder),
        draw_information(imputation, diagnosis, folder),
        draw_shrinkage(
            words,
            np.sqrt(np.diagonal(diagnosis.covariance)[:d]),
            sd_after_filling(scaled, np.nanmean(scaled, axis=0)),
            imputation.filled.std(axis=0),
            len(imputation.filled),
            folder,
        ),
    ]
    return [picture for picture in pictures if picture is not None]


@dataclass(frozen=True)
class Limited:
    """Cells beyond a limit, on the scales of the model.

    Parameters
    ----------
    cells : ndarray of bool, shape (n, d)
        Which they are.
    lower, upper : ndarray, shape (n, d)
        Their bounds, infinite where there is none.
    rows : ndarray of int, shape (r,)
        Rows that were drawn from.
    tries : ndarray, shape (k, r, d)
        Conditional draws of these rows.
    """

    cells: Booleans
    lower: Floats
    upper: Floats
    rows: npt.NDArray[np.intp]
    tries: Floats


def limited(imputation: Imputation) -> Limited | None:
    """Cells beyond a limit and what the model says of them; None where there is none."""
    d, scaled = len(imputation.markers), imputation.scaled
    cells = scaled.bounded[:, :d]
    if not cells.any():
        return None
    low, high = scaled.bounds()
    rng = np.random.default_rng(TRIES)
    rows: npt.NDArray[np.intp] = np.flatnonzero((~scaled.observed[:, :d]).any(axis=1))
    if rows.size > MOST_TRIED:
        rows = np.sort(rng.permutation(rows)[:MOST_TRIED])
    some, fitted = scaled.take(rows), imputation.fitted
    tries = np.stack([fitted.model.draw(fitted.params, some, rng)[:, :d] for _ in range(TRIES)])
    return Limited(cells, low[:, :d], high[:, :d], rows, tries)


def panels(count: int) -> tuple[Any, list[Any]]:
    """A grid of `count` small axes."""
    down, across = tiled(count, 4 if count > 6 else 3)
    figure, axes = plt.subplots(down, across, figsize=(PAGE if count > 1 else COLUMN, 1.6 * down + 0.5), squeeze=False)
    for axis in axes.ravel()[count:]:
        axis.set_visible(False)
    return figure, list(axes.ravel()[:count])


def most_missing(values: Floats, most: int) -> list[int]:
    """Columns with gaps, those with most gaps first kept, in the order of the table."""
    gaps = np.isnan(values).sum(axis=0)
    order = [int(j) for j in np.argsort(-gaps, kind="stable") if gaps[j]]
    return sorted(order[:most])


def draw_missingness(values: Floats, markers: Sequence[str], folder: Path, bounded: Booleans | None = None) -> Picture:
    """Patterns of missingness with their number of rows, and the share missing in each marker.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    markers : sequence of str
        Names of the columns.
    folder : Path
        Where the figure goes.
    bounded : ndarray of bool, shape (n, d), optional
        Missing cells of which a limit is known.
    """
    n = len(values)
    gaps = np.isnan(values).astype(np.uint8)
    if bounded is not None:
        gaps[bounded] = 2
    shown = list(range(len(markers)))
    if len(markers) > MOST_MARKERS:
        shown = sorted(np.argsort(-(gaps > 0).sum(axis=0), kind="stable")[:MOST_MARKERS].tolist())
    patterns, counts = np.unique(gaps[:, shown], axis=0, return_counts=True)
    order = np.lexsort(((patterns > 0).sum(axis=1), -counts))[:MOST_PATTERNS]
    kept, rows = patterns[order], counts[order]
    with styled():
        wide, high = 0.32 * len(shown) + 2.2, 0.17 * len(kept) + 1.9
        figure, ((top, corner), (grid, bars)) = plt.subplots(
            2,
            2,
            figsize=(float(np.clip(wide, COLUMN, PAGE)), high),
            gridspec_kw={"width_ratios": [len(shown), 4], "height_ratios": [5, max(len(kept), 3)]},
        )
        corner.set_visible(False)
        share, limits = (100 * (gaps[:, shown] == kind).mean(axis=0) for kind in (1, 2))
        top.bar(range(len(shown)), share, color=FILLED, width=0.8)
        top.bar(range(len(shown)), limits, bottom=share, color=BEYOND, width=0.8)
        top.set_ylabel("missing (%)")
        top.set_xticks([])
        top.set_xlim(-0.5, len(shown) - 0.5)
        grid.pcolormesh(
            np.arange(len(shown) + 1) - 0.5,
            np.arange(len(kept) + 1) - 0.5,
            kept.astype(float),
            cmap=ListedColormap(["#DCE9F2", FILLED, BEYOND]),
            vmin=0,
            vmax=2,
            edgecolors="white",
            linewidth=0.8,
        )
        grid.set_ylim(len(kept) - 0.5, -0.5)
        names = [short(markers[j], LONGEST_TICK) for j in shown]
        grid.set_xticks(range(len(shown)), names, rotation=60, ha="right", rotation_mode="anchor")
        grid.set_yticks([])
        grid.set_ylabel("patterns")
        for side in ("left", "bottom"):
            grid.spines[side].set_visible(False)
        grid.tick_params(length=0)
        bars.barh(range(len(kept)), rows, color=FAINT, height=0.8)
        for place, count in enumerate(rows):
            bars.text(count, place, f" {count}", va="center", fontsize=7)
        bars.set_ylim(len(kept) - 0.5, -0.5)
        bars.set_xlim(0, rows.max() * 1.35)
        bars.set_yticks([])
        bars.set_xlabel("rows")
        bars.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        arrange(figure, h_pad=0.6, w_pad=0.6)
        purple = " or beyond a limit (purple)" if limits.any() else ""
        title = f"Missing (orange){purple} of each marker, and patterns"
        top.set_title(title, loc="left")  # after the layout, which would make room for it beside narrow axes
        which = f"the {len(kept)} commonest" if counts.max() > 1 else f"{len(kept)}"
        cut = f"; {which} of {len(counts)} are drawn" if len(counts) > len(kept) else ""
        if len(shown) < len(markers):
            cut += f", of the {len(shown)} markers with most gaps"
        n_missing, n_beyond = int((gaps == 1).sum()), int((gaps == 2).sum())
        beyond = f" and {n_beyond} ({100 * n_beyond / gaps.size:.1f} %) beyond a limit" if n_beyond else ""
        colors = "orange where a marker is missing" + (", purple where it is beyond a limit" if n_beyond else "")
        caption = (
            f"n = {n} rows and {len(markers)} markers; {n_missing} of {gaps.size} cells "
            f"({100 * n_missing / gaps.size:.1f} %) are missing{beyond}, in {len(counts)} "
            f"pattern{'s' * (len(counts) != 1)}{cut}. Below: "
            f"one line a pattern (commonest first), {colors}, with its number "
            "of rows. Markers that "
            "are missing together (orange blocks) share a cause, such as a panel that was not "
            "ordered: ask which before "
            "trusting that values are missing at random."
        )
        return save(figure, folder, Picture("missingness", "What is missing", caption))


def draw_imputed(
    values: Floats, filled: Floats, sd: Floats, names: Sequence[str], folder: Path, limits: Limited | None = None
) -> Picture:
    """Densities of observed and filled-in values of each marker; of the observed ones alone where nothing is missing.

    Parameters
    ----------
    values, filled, sd : ndarray, shape (n, d)
        On the scale of the model: with gaps, without, and conditional standard deviations of what was filled.
    names : sequence of str
        Axis labels.
    folder : Path
        Where the figure goes.
    limits : Limited, optional
        Cells beyond a limit.
    """
    shown = most_missing(values, MOST_PANELS) or list(range(min(len(names), MOST_PANELS)))
    with styled():
        figure, axes = panels(len(shown))
        for axis, j in zip(axes, shown, strict=True):
            gap = np.isnan(values[:, j])
            seen, guesses, spread = values[~gap, j], filled[gap, j], sd[gap, j]
            low = (guesses - 2.5 * spread).min(initial=seen.min())
            high = (guesses + 2.5 * spread).max(initial=seen.max())
            at = np.linspace(low, high, GRID)
            width = bandwidth(seen)
            density = smooth(at, seen, np.full(seen.size, width))
            tries = np.zeros(0)
            if limits is not None and limits.cells[:, j].any():
                tries = limits.tries[:, gap[limits.rows], j].ravel()
            points, around = (tries, np.zeros_like(tries)) if tries.size else (guesses, spread)
            believed = smooth(at, points, np.sqrt(around**2 + width**2))
            axis.fill_between(at, density, color=OBSERVED, alpha=0.25, lw=0)
            axis.plot(at, density, color=OBSERVED, lw=0.9)
            if guesses.size:
                axis.plot(at, believed, color=FILLED, ls="--", lw=1.1)
            top = max(density.max(), believed.max())
            ticks = evenly(guesses, MOST_TICKS)
            axis.plot(ticks, np.full(ticks.size, -0.07 * top), "|", color=FILLED, ms=5, mew=0.6)
            axis.set_xlim(low, high)
            if tries.size and limits is not None:
                shade(axis, limits, j)
            axis.set_ylim(-0.14 * top, 1.25 * top)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            axis.set_title(short(names[j], LONGEST_NAME), fontsize=8)
            axis.text(0.98, 0.97, f"{gap.sum()} filled", transform=axis.transAxes, ha="right", va="top", fontsize=7)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=OBSERVED, alpha=0.35, lw=0),
            plt.Line2D([], [], color=FILLED, ls="--"),
            plt.Line2D([], [], color=FILLED, marker="|", ls="none", ms=6),
        ]
        words = ["observed values", "what the missing ones may be", "the values filled in"]
        figure.supxlabel("value on the scale of the model, density above it", fontsize=8)
        arrange(figure, rect=(0, 0, 1, 1 - 0.22 / figure.get_figheight()))
        figure.legend(handles, words, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.0))
        n_gaps = int(np.isnan(values).any(axis=0).sum())
        cut = (
            f" The {len(shown)} of {n_gaps} incomplete markers with most gaps are drawn." if n_gaps > len(shown) else ""
        )
        if limits is not None:
            cut += (
                " Shaded: beyond a limit, darker where it is so for more cells; what is filled in there stays there, and "
                "dashed orange counts these cells in."
            )
        caption = (
            f"Per marker, n = {len(values):,} rows, on the scale of the model (natural logarithm where the title says log): density of the "
            "observed values (blue), distribution of the missing ones according to the model (dashed "
            "orange: the average of normals with their conditional means and SDs, smoothed as much as the blue is), and the values filled "
            "in (orange ticks: conditional means, so they lie closer together than the truth does). "
            "Where dashed orange is far "
            f"from blue, rows with gaps differ from the others in what was seen of them: look at these first.{cut}"
        )
        return save(figure, folder, Picture("imputed", "What was filled in", caption))


def evenly(points: Floats, most: int) -> Floats:
    """At most so many of them, evenly through their ranks."""
    return points if points.size <= most else np.sort(points)[np.linspace(0, points.size - 1, most).astype(int)]


def smooth(at: Floats, points: Floats, widths: Floats) -> Floats:
    """Density of normals about some points at each place; 0 for no points."""
    if not points.size:
        return np.zeros_like(at)
    if points.size > MOST_SMOOTHED:
        kept = np.argsort(points, kind="stable")[np.linspace(0, points.size - 1, MOST_SMOOTHED).astype(int)]
        points, widths = points[kept], widths[kept]
    return np.asarray(density(at[:, None], points, widths).mean(axis=1))


def bandwidth(seen: Floats) -> float:
    """Width of the kernel of a density by Scott's rule; of values that do not vary, a thousandth of their size."""
    sd = float(seen.std(ddof=1)) if seen.size > 1 else 0.0
    return sd * seen.size**-0.2 if sd else 1e-3 * max(float(np.abs(seen).max(initial=0.0)), 1e-3)


def shade(axis: Any, limits: Limited, j: int) -> None:
    """Where cells of marker `j` are known to lie, darker where there are more of them."""
    ends = np.column_stack([limits.lower[:, j], limits.upper[:, j]])[limits.cells[:, j]]
    spans, counts = np.unique(ends, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_PANELS]
    for (low, high), count in zip(spans[order], counts[order], strict=True):
        low, high = max(low, axis.get_xlim()[0]), min(high, axis.get_xlim()[1])
        axis.axvspan(low, high, color=BEYOND, alpha=0.08 + 0.17 * count / counts.sum(), lw=0, zorder=0)


def draw_shrinkage(
    markers: Sequence[str], model_sd: Floats, mean_filled_sd: Floats, filled_sd: Floats, n: int, folder: Path
) -> Picture:
    """Standard deviation of each marker over `n` rows after two ways of filling in, relative to the model's.

    Parameters
    ----------
    markers : sequence of str
        Names.
    model_sd, mean_filled_sd, filled_sd : ndarray, shape (d,)
        Of the model; of the table filled with column means; of the table filled with conditional means.
    """
    loss = 1 - mean_filled_sd / model_sd
    shown = sorted(np.argsort(-loss, kind="stable")[:MOST_MARKERS].tolist(), key=lambda j: loss[j])
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 0.19 * len(shown) + 1.15))
        for place, j in enumerate(shown):
            plain, filled = 100 * mean_filled_sd[j] / model_sd[j], 100 * filled_sd[j] / model_sd[j]
            axis.plot([plain, 100], [place, place], color=FAINT, lw=1.2, zorder=1)
            axis.scatter([plain], [place], color=FILLED, s=20, zorder=2)
            axis.scatter([filled], [place], facecolor="white", edgecolor=OBSERVED, s=20, zorder=3, linewidth=1.1)
        axis.axvline(100, color=INK, lw=0.8)
        axis.set_yticks(range(len(shown)), [short(markers[j], LONGEST_TICK) for j in shown])
        axis.set_ylim(-0.7, len(shown) - 0.3)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_xlabel("standard deviation (% of the model's estimate)")
        arrange(figure, rect=(0, 0, 1, 1 - 0.24 / figure.get_figheight()))
        handles = [
            plt.Line2D([], [], color=FILLED, marker="o", ls="none", ms=4),
            plt.Line2D([], [], color=OBSERVED, marker="o", mfc="white", ls="none", ms=4),
            plt.Line2D([], [], color=INK, lw=0.8),
        ]
        figure.legend(
            handles,
            ["column means", "completed table", "model (EM)"],
            ncols=3,
            loc="upper center",
            bbox_to_anchor=(0.5, 1),
        )
        worst = int(np.argmax(loss))
        finding = (
            f"Filling with means shrinks the spread, most for {markers[worst]} (by "
            f"{100 * loss[worst]:.0f} %). Any single "
            "filling understates spread: take standard deviations and correlations from parameters.tsv, not from the "
            "completed table."
            if loss[worst] > 1e-6
            else "Nothing is missing, so all three agree."
        )
        caption = (
            f"Standard deviation of each marker (n = {n:,} rows) after filling its gaps with the column mean (orange) "
            "and with the model's "
            "conditional means, as in the completed table (blue rings), in per cent of the model's estimate "
            f"(line at 100 %). {finding}"
        )
        return save(figure, folder, Picture("shrinkage", "What filling in does to the spread", caption))


def draw_accuracy(
    truth: Floats,
    filled: Floats,
    lower: Floats,
    upper: Floats,
    cells: npt.NDArray[np.bool_],
    markers: Sequence[str],
    errors: Floats,
    logged: Sequence[bool],
    folder: Path,
) -> Picture:
    """Filled-in values with their 95 % intervals against the truth, per marker.

    Parameters
    ----------
    truth, filled, lower, upper : ndarray, shape (n, d)
        In the units of the table.
    cells : ndarray of bool, shape (n, d)
        Masked cells whose truth is known.
    markers : sequence of str
        Names.
    errors : ndarray, shape (d,)
        Normalised error of each marker.
    logged : sequence of bool
        Whether a marker is drawn on log axes.
    """
    counts = cells.sum(axis=0)
    shown = sorted(int(j) for j in np.argsort(-counts, kind="stable")[:MOST_PANELS] if counts[j])
    with styled():
        figure, axes = panels(len(shown))
        for axis, j in zip(axes, shown, strict=True):
            c = cells[:, j]
            t, f, low, high = truth[c, j], filled[c, j], lower[c, j], upper[c, j]
            inside = (low <= t) & (t <= high)
            for mask, color in ((inside, OBSERVED), (~inside, FILLED)):
                axis.vlines(t[mask], low[mask], high[mask], color=color, lw=0.5, alpha=0.35)
                axis.scatter(t[mask], f[mask], s=5, color=color, lw=0, zorder=3)
            if logged[j]:
                axis.set_xscale("log")
                axis.set_yscale("log")
            for side, ends in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
                if logged[j] and ends[1] / ends[0] > DECADES:
                    continue
                side.set_major_locator(MaxNLocator(4))
                side.set_major_formatter(ScalarFormatter())
                side.set_minor_locator(NullLocator())
            axis.axline((t.min(), t.min()), (t.max(), t.max()), color=INK, lw=0.7, zorder=1)
            axis.set_title(short(markers[j], LONGEST_NAME), fontsize=8)
            axis.text(
                0.03, 0.97, f"error {errors[j]:.2f} SD", transform=axis.transAxes, va="top", fontsize=7, bbox=BACKING
            )
        figure.supxlabel("true value (units of the table)", fontsize=8)
        figure.supylabel("filled in, with 95 % interval", fontsize=8)
        arrange(figure)
        caption = (
            f"Each of {int(counts.sum())} masked cells: the value filled in against the truth, with its 95 % interval; "
            "orange where the interval misses the truth (about 5 % should). On the line: exact. A "
            "flat cloud means that the "
            "other markers say little about this one; the error is the normalised root mean square, and filling in the "
            "column mean gives about 1."
        )
        return save(figure, folder, Picture("accuracy", "How close to the truth", caption))

"""Figures of imputation: what is missing, what was filled in, what filling in does to the spread, how close it came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde, norm

from emtools.plots.style import FAINT, INK, PALETTE, Picture, save, styled

Floats = npt.NDArray[np.float64]

OBSERVED, FILLED, TRUTH = PALETTE[0], PALETTE[5], PALETTE[2]
MOST_PATTERNS = 24
MOST_PANELS = 12
MOST_MARKERS = 40
GRID = 200
BACKING = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}
LONGEST_NAME, LONGEST_TICK = 24, 32


def panels(count: int) -> tuple[Any, list[Any]]:
    """A grid of `count` small axes."""
    across = min(count, 4 if count > 6 else 3)
    down = -(-count // across)
    figure, axes = plt.subplots(down, across, figsize=(2.1 * across + 0.4, 1.75 * down + 0.4), squeeze=False)
    for axis in axes.ravel()[count:]:
        axis.set_visible(False)
    return figure, list(axes.ravel()[:count])


def short(name: str, most: int = LONGEST_NAME) -> str:
    """A name that fits over a panel: its two ends where it is long."""
    return name if len(name) <= most else f"{name[: most - 8]}…{name[-7:]}"


def most_missing(values: Floats, most: int) -> list[int]:
    """Columns with gaps, those with most gaps first kept, in the order of the table."""
    gaps = np.isnan(values).sum(axis=0)
    order = [int(j) for j in np.argsort(-gaps, kind="stable") if gaps[j]]
    return sorted(order[:most])


def draw_missingness(values: Floats, markers: Sequence[str], folder: Path) -> Picture:
    """Patterns of missingness with their number of rows, and the share missing in each marker.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    markers : sequence of str
        Names of the columns.
    """
    n = len(values)
    gaps = np.isnan(values)
    shown = list(range(len(markers)))
    if len(markers) > MOST_MARKERS:
        shown = sorted(np.argsort(-gaps.sum(axis=0), kind="stable")[:MOST_MARKERS].tolist())
    patterns, counts = np.unique(gaps[:, shown], axis=0, return_counts=True)
    order = np.lexsort((patterns.sum(axis=1), -counts))[:MOST_PATTERNS]
    kept, rows = patterns[order], counts[order]
    with styled():
        wide, high = 0.32 * len(shown) + 2.2, 0.17 * len(kept) + 1.9
        figure, ((top, corner), (grid, bars)) = plt.subplots(
            2,
            2,
            figsize=(min(max(wide, 3.8), 9.0), high),
            gridspec_kw={"width_ratios": [len(shown), 4], "height_ratios": [5, max(len(kept), 3)]},
        )
        corner.set_visible(False)
        share = 100 * gaps[:, shown].mean(axis=0)
        top.bar(range(len(shown)), share, color=FILLED, width=0.8)
        top.set_ylabel("missing (%)")
        top.set_xticks([])
        top.set_xlim(-0.5, len(shown) - 0.5)
        top.set_title("Missing (orange) of each marker, and patterns")
        grid.pcolormesh(
            np.arange(len(shown) + 1) - 0.5,
            np.arange(len(kept) + 1) - 0.5,
            kept.astype(float),
            cmap=ListedColormap(["#DCE9F2", FILLED]),
            vmin=0,
            vmax=1,
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
            bars.text(count, place, f" {count}", va="center", fontsize=6.5)
        bars.set_ylim(len(kept) - 0.5, -0.5)
        bars.set_xlim(0, rows.max() * 1.35)
        bars.set_yticks([])
        bars.set_xlabel("rows")
        bars.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        figure.tight_layout(h_pad=0.6, w_pad=0.6)
        cut = f"; the {len(kept)} commonest of {len(counts)} are drawn" if len(counts) > len(kept) else ""
        if len(shown) < len(markers):
            cut += f", of the {len(shown)} markers with most gaps"
        caption = (
            f"n = {n} rows and {len(markers)} markers; {int(gaps.sum())} of {gaps.size} cells "
            f"({100 * gaps.mean():.1f} %) are missing, in {len(counts)} pattern{'s' * (len(counts) != 1)}{cut}. Below: "
            "one line a pattern (commonest first), orange where a marker is missing, with its number "
            "of rows. Markers that "
            "are missing together (orange blocks) share a cause, such as a panel that was not "
            "ordered: ask which before "
            "trusting that values are missing at random."
        )
        return save(figure, folder, Picture("missingness", "What is missing", caption))


def draw_imputed(values: Floats, filled: Floats, sd: Floats, names: Sequence[str], folder: Path) -> Picture:
    """Densities of observed and filled-in values of each marker; of the observed ones alone where nothing is missing.

    Parameters
    ----------
    values, filled, sd : ndarray, shape (n, d)
        On the scale of the model: with gaps, without, and conditional standard deviations of what was filled.
    names : sequence of str
        Axis labels.
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
            kernel = gaussian_kde(seen)
            density = kernel(at)
            widths = np.sqrt(spread**2 + kernel.covariance[0, 0])
            believed = norm.pdf(at[:, None], guesses, widths).sum(axis=1) / max(guesses.size, 1)
            axis.fill_between(at, density, color=OBSERVED, alpha=0.25, lw=0)
            axis.plot(at, density, color=OBSERVED, lw=0.9)
            if guesses.size:
                axis.plot(at, believed, color=FILLED, ls="--", lw=1.1)
            top = max(density.max(), believed.max())
            axis.plot(guesses, np.full(guesses.size, -0.07 * top), "|", color=FILLED, ms=5, mew=0.6)
            axis.set_ylim(-0.14 * top, 1.25 * top)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            axis.set_title(short(names[j]), fontsize=8)
            axis.text(0.98, 0.97, f"{gap.sum()} filled", transform=axis.transAxes, ha="right", va="top", fontsize=6.5)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=OBSERVED, alpha=0.35, lw=0),
            plt.Line2D([], [], color=FILLED, ls="--"),
            plt.Line2D([], [], color=FILLED, marker="|", ls="none", ms=6),
        ]
        words = ["observed values", "what the missing ones may be", "the values filled in"]
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.22 / figure.get_figheight()))
        figure.legend(handles, words, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.0))
        n_gaps = int(np.isnan(values).any(axis=0).sum())
        cut = (
            f" The {len(shown)} of {n_gaps} incomplete markers with most gaps are drawn." if n_gaps > len(shown) else ""
        )
        caption = (
            "Per marker, on the scale of the model (natural logarithm where the title says log): density of the "
            "observed values (blue), distribution of the missing ones according to the model (dashed "
            "orange: the average of their conditional normals, smoothed as much as the blue is), and the values filled "
            "in (orange ticks: conditional means, so they lie closer together than the truth does). "
            "Where dashed orange is far "
            f"from blue, rows with gaps differ from the others in what was seen of them: look at these first.{cut}"
        )
        return save(figure, folder, Picture("imputed", "What was filled in", caption))


def draw_shrinkage(
    markers: Sequence[str], model_sd: Floats, mean_filled_sd: Floats, filled_sd: Floats, folder: Path
) -> Picture:
    """Standard deviation of each marker after two ways of filling in, relative to the maximum-likelihood one.

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
        figure, axis = plt.subplots(figsize=(4.6, 0.19 * len(shown) + 1.15))
        for place, j in enumerate(shown):
            plain, filled = 100 * mean_filled_sd[j] / model_sd[j], 100 * filled_sd[j] / model_sd[j]
            axis.plot([plain, 100], [place, place], color=FAINT, lw=1.2, zorder=1)
            axis.scatter([plain], [place], color=FILLED, s=20, zorder=2)
            axis.scatter([filled], [place], facecolor="white", edgecolor=OBSERVED, s=20, zorder=3, linewidth=1.1)
        axis.axvline(100, color=INK, lw=0.8)
        axis.set_yticks(range(len(shown)), [short(markers[j], LONGEST_TICK) for j in shown])
        axis.set_ylim(-0.7, len(shown) - 0.3)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_xlabel("standard deviation (% of the maximum-likelihood estimate)")
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.24 / figure.get_figheight()))
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
            "Standard deviation of each marker after filling its gaps with the column mean (orange) "
            "and with the model's "
            "conditional means, as in the completed table (blue rings), in per cent of the maximum-likelihood estimate "
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
            else:
                axis.xaxis.set_major_locator(MaxNLocator(4))
                axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.axline((t.min(), t.min()), (t.max(), t.max()), color=INK, lw=0.7, zorder=1)
            axis.set_title(short(markers[j]), fontsize=8)
            axis.text(
                0.03, 0.97, f"error {errors[j]:.2f} SD", transform=axis.transAxes, va="top", fontsize=6.5, bbox=BACKING
            )
        figure.supxlabel("true value (units of the table)", fontsize=8)
        figure.supylabel("filled in, with 95 % interval", fontsize=8)
        figure.tight_layout()
        caption = (
            f"Each of {int(counts.sum())} masked cells: the value filled in against the truth, with its 95 % interval; "
            "orange where the interval misses the truth (about 5 % should). On the line: exact. A "
            "flat cloud means that the "
            "other markers say little about this one; the error is the normalised root mean square, and filling in the "
            "column mean gives about 1."
        )
        return save(figure, folder, Picture("accuracy", "How close to the truth", caption))

"""Figures of whether to believe an imputation: calibration, correlations, information, batches, the table itself."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from scipy.special import bdtr

from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, abreast, arrange, color_of, save, styled

Floats = npt.NDArray[np.float64]

OBSERVED, FILLED, BEYOND = PALETTE[0], PALETTE[5], PALETTE[3]
GAP = "#C9CDD3"
MOST_MARKERS = 30
LOWEST = -0.5  # R² that is drawn
MOST_LEVELS = 6
WRITTEN = 12  # markers up to which correlations are written into their cells
ORDERED = 12  # markers beyond which they are put next to those they go with
LARGEST_MAP = 600  # rows and columns of the table that are drawn
FEWEST_PAIRS = 3
LONGEST_TICK = 32
BINS = 20


def short(name: str, most: int = 24) -> str:
    """A name that fits over a panel: its two ends where it is long."""
    return name if len(name) <= most else f"{name[: most - 8]}…{name[-7:]}"


def draw_nothing(picture: Picture, folder: Path) -> Picture:
    """A figure that says why there is none, so that the same files are there after every run."""
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8))
        axis.text(0.0, 0.5, "nothing to draw", va="center")
        axis.set_axis_off()
        return save(figure, folder, picture)


def draw_overimputed(imputation: Imputation, diagnosis: Diagnosis, folder: Path) -> Picture:
    """Calibration of predictions of observed cells, and how much of each marker the others tell."""
    cells, markers = diagnosis.overimputed, imputation.markers
    n = cells.pit.size
    title = "Observed values predicted as if they were missing"
    if not n:
        why = "No observed cell could be predicted by a fit that had not seen it, so calibration is not known."
        return draw_nothing(Picture("overimputed", title, why), folder)
    explained = diagnosis.markers["r_squared"].to_numpy(dtype=float)
    order = np.flatnonzero(np.isfinite(explained))
    order = order[np.argsort(explained[order], kind="stable")]
    each = order.size <= MOST_MARKERS
    with styled():
        high = max(3.6, 0.155 * order.size * each + 1.0)
        figure = plt.figure(figsize=(PAGE, high))
        across = figure.add_gridspec(1, 2, width_ratios=[1.0, 1.45])
        left = across[0, 0].subgridspec(2, 1, hspace=0.75)
        histogram, curve, bars = (
            figure.add_subplot(left[0, 0]),
            figure.add_subplot(left[1, 0]),
            figure.add_subplot(across[0, 1]),
        )
        bins = BINS if n >= 10 * BINS else 10
        counts, edges = np.histogram(cells.pit, bins=bins, range=(0.0, 1.0))
        below = bdtr(np.arange(n + 1.0), n, 1.0 / bins)
        low, top = np.searchsorted(below, (0.025, 0.975)) / n * bins
        histogram.axhspan(low, top, color=FAINT, alpha=0.5, lw=0)
        histogram.bar(edges[:-1], counts / n * bins, width=1.0 / bins, align="edge", color=OBSERVED, ec="white", lw=0.4)
        histogram.axhline(1.0, color=INK, lw=0.8)
        histogram.set_xlim(0, 1)
        histogram.set_xlabel("place of the truth in its prediction")
        histogram.set_ylabel("density")
        histogram.set_title("Calibration")
        levels = np.linspace(0.0, 1.0, 101)
        actual = np.array([cells.coverage(level) for level in levels])
        curve.plot([0, 100], [0, 100], color=INK, lw=0.8)
        curve.plot(100 * levels, 100 * actual, color=OBSERVED)
        for level in (0.5, 0.8, 0.95):
            curve.plot(100 * level, 100 * cells.coverage(level), "o", color=FILLED, ms=4)
        curve.set_xlabel("interval promised (%)")
        curve.set_ylabel("truth inside (%)")
        curve.set_xlim(0, 100)
        curve.set_ylim(0, 100)
        bars.set_visible(order.size > 0)
        if each:
            for place, j in enumerate(order):
                bars.plot([0, explained[j]], [place, place], color=FAINT, lw=1.2, zorder=1)
                bars.scatter([explained[j]], [place], s=16, color=OBSERVED, zorder=2, clip_on=False)
            bars.axvline(0, color=INK, lw=0.8)
            bars.set_xlim(max(min([0.0, *explained[order]]), LOWEST) - 0.05, 1.0)
            bars.set_ylim(-0.7, order.size - 0.3)
            bars.set_yticks(range(order.size), [short(markers[j], LONGEST_TICK) for j in order])
        else:
            bars.hist(np.clip(explained[order], LOWEST, 1.0), bins=BINS, color=OBSERVED, ec="white", lw=0.4)
            bars.axvline(float(np.median(explained[order])), color=FILLED)
            bars.set_ylabel("markers")
        bars.set_xlabel("R² of observed values predicted from the other markers")
        bars.set_title("Told by the others")
        arrange(figure)
        covered = [f"{100 * cells.coverage(level):.1f} %" for level in (0.5, 0.8, 0.95)]
        some = f"{n:,} of {cells.n_observed:,}" if n < cells.n_observed else f"All {n:,}"
        unseen = "by fits that had not seen them" if cells.n_fits else "by the fit, which no single cell moves"
        ranks = ""
        if imputation.readings.bounded.any():
            ranks = (
                " Of a marker with a limit of detection only values within the limit could be observed: its predictions are "
                "taken given that, and it has no R²."
            )
        if cells.unjudged:
            names = [markers[j] for j in cells.unjudged[:5] if j < len(markers)]
            ranks += (
                f" Not judged, for the limits of single values are not known where they differ by row or are not kept to: "
                f"{', '.join(names)}{', …' if len(cells.unjudged) > len(names) else ''}."
            )
        if order.size > 1:
            best, least = markers[order[-1]], markers[order[0]]
            whose = (
                f"most of {best} ({explained[order[-1]]:.2f}), least of {least} ({explained[order[0]]:.2f})"
                if each
                else f"of {order.size} markers (line: their median, {np.median(explained[order]):.2f}; worse than {LOWEST:g} "
                "counts as that)"
            )
            ranks += (
                f" Right: share of each marker's variance that the others foretell, {whose}; at 0 a filled value is no "
                "better than the marker's mean."
            )
        caption = (
            f"{some} observed cells were predicted from the rest of their rows {unseen}. Top left: where in "
            "its predictive distribution each true value fell; level bars within the grey band (95 %) mean that stated "
            "uncertainties are right, a hump that they are too wide, raised ends that they are too narrow. Below: intervals "
            f"of 50, 80 and 95 % (dots) held {', '.join(covered[:2])} and {covered[2]} of the true values.{ranks}"
        )
        return save(figure, folder, Picture("overimputed", title, caption))


def pairwise(values: Floats) -> Floats:
    """Correlation of each pair of columns over the rows that have both, shape (d, d); NaN for fewer than three."""
    seen = ~np.isnan(values)
    zero = np.where(seen, values - np.nanmean(values, axis=0), 0.0)
    ones = seen.astype(float)
    count = ones.T @ ones
    with np.errstate(invalid="ignore", divide="ignore"):
        first = zero.T @ ones / count
        square = (zero**2).T @ ones / count - first**2
        cross = zero.T @ zero / count - first * first.T
        found: Floats = cross / np.sqrt(square * square.T)
    found[count < FEWEST_PAIRS] = np.nan
    return np.clip(found, -1.0, 1.0)


def beside_one_another(correlation: Floats) -> npt.NDArray[np.intp]:
    """Order of columns in which those that go together stand together."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = 1.0 - np.abs(correlation)
    np.fill_diagonal(apart, 0.0)
    apart = np.clip(0.5 * (apart + apart.T), 0.0, None)
    return np.asarray(leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True)))


def draw_correlations(imputation: Imputation, diagnosis: Diagnosis, folder: Path) -> Picture:
    """Correlations according to the model beside those of the rows that have both."""
    d = len(imputation.markers)
    gaps = (~imputation.readings.observed).sum(axis=0)
    shown = np.sort(np.argsort(-gaps, kind="stable")[:MOST_MARKERS])
    ours = diagnosis.correlation[np.ix_(shown, shown)]
    if shown.size > ORDERED:
        shown = shown[beside_one_another(ours)]
        ours = diagnosis.correlation[np.ix_(shown, shown)]
    theirs = pairwise(imputation.scaled.values[:, shown])
    names = [short(imputation.markers[j], LONGEST_TICK) for j in shown]
    with styled():
        size = max((0.27 if len(shown) <= WRITTEN else 0.16) * len(shown), 1.6)
        room = 0.3 + 0.06 * max(map(len, names))
        wide = float(np.clip(size + room + 0.8, COLUMN, PAGE))
        figure, axis = plt.subplots(figsize=(wide, size + room + 0.3))
        colors = plt.get_cmap("RdBu_r").with_extremes(bad=GAP)
        table = np.where(np.triu(np.ones_like(ours, dtype=bool), 1), theirs, ours)
        np.fill_diagonal(table, 0.0)
        image = axis.imshow(table, cmap=colors, vmin=-1, vmax=1, interpolation="nearest")
        axis.axline((0, 0), slope=1, color=INK, lw=0.8)
        axis.set_title("Above: rows that have both", loc="right", fontsize=8)
        axis.set_xlabel("Below: model", loc="left", weight="bold")
        axis.set_xticks(range(len(shown)), names, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(shown)), names)
        axis.tick_params(length=0)
        if len(shown) <= WRITTEN:
            for i, j in np.argwhere(~np.eye(len(shown), dtype=bool) & np.isfinite(table)):
                ink = "white" if abs(table[i, j]) > 0.6 else INK
                text = f"{table[i, j]:.2f}".replace("0.", ".")
                axis.text(j, i, text, ha="center", va="center", fontsize=7, color=ink)
        for side in ("left", "bottom"):
            axis.spines[side].set_visible(False)
        arrange(figure)
        figure.colorbar(image, ax=axis, shrink=0.8, pad=0.02).set_label("correlation")
        apart = np.triu(np.abs(np.where(np.isnan(theirs), ours, theirs) - ours), 1)
        i, j = np.unravel_index(int(np.argmax(apart)), apart.shape)
        cut = f" {len(shown)} of {d} markers, those with most gaps." if len(shown) < d else ""
        order = " Markers that go together stand together." if len(shown) > ORDERED else ""
        unseen = " Grey: fewer than three rows have both." if np.isnan(theirs).any() else ""
        most = (
            f"They differ most for {imputation.markers[shown[i]]} and {imputation.markers[shown[j]]} "
            f"({ours[i, j]:.2f} and {theirs[i, j]:.2f}): "
            if apart.max() > 0.005
            else "They agree: "
        )
        if imputation.readings.bounded.any():
            unseen = f" Values beyond a limit count below only, which makes correlations there stronger.{unseen}"
        caption = (
            f"Correlations of the markers in {len(imputation.filled):,} rows, on the scales of the model: below the diagonal from the model, which uses every "
            "observed value at once; above it from the rows in which both were observed, pair by pair. "
            f"{most}a difference arises where rows with gaps are not like the others, and a large one asks whether "
            f"values are missing at random.{unseen}{order}{cut}"
        )
        return save(figure, folder, Picture("correlations", "How the markers go together", caption))


def draw_information(imputation: Imputation, diagnosis: Diagnosis, folder: Path) -> Picture:
    """Fraction of missing information per marker beside the share of its cells that is missing."""
    fraction = diagnosis.markers["missing_information"].to_numpy(dtype=float)
    gone = (~imputation.readings.observed).mean(axis=0)
    have = np.flatnonzero(np.isfinite(fraction) & (gone > 0))
    if not have.size:
        why = "It is not computed for this model." if gone.any() else "Nothing is missing."
        return draw_nothing(Picture("information", "What the gaps cost", why), folder)
    order = have[np.argsort(-fraction[have], kind="stable")][:MOST_MARKERS][::-1]
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 0.19 * len(order) + 1.15))
        for place, j in enumerate(order):
            axis.plot([100 * fraction[j], 100 * gone[j]], [place, place], color=FAINT, lw=1.2, zorder=1)
        axis.scatter(
            100 * fraction[order], range(len(order)), color=OBSERVED, s=20, zorder=3, label="missing information"
        )
        axis.scatter(
            100 * gone[order],
            range(len(order)),
            facecolor="white",
            edgecolor=FILLED,
            s=20,
            zorder=2,
            label="cells without a value",
        )
        axis.set_yticks(range(len(order)), [short(imputation.markers[j], LONGEST_TICK) for j in order])
        axis.set_ylim(-0.7, len(order) - 0.3)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_xlabel("share of the information, or of the cells (%)")
        arrange(figure, rect=(0, 0, 1, 1 - 0.24 / figure.get_figheight()))
        figure.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.0))
        worst = int(order[-1])
        draws = max(int(np.ceil(100 * fraction[worst])), 5)
        cut = (
            f" The {len(order)} of {have.size} incomplete markers that lose most are drawn."
            if len(order) < have.size
            else ""
        )
        caption = (
            "Share of the information about the mean of each marker that is missing (blue), beside the share of its "
            f"cells without a value (rings), of {len(imputation.filled):,} rows. Blue left of a ring: the other markers make up for part of the gaps. "
            f"{imputation.markers[worst]} loses most ({100 * fraction[worst]:.0f} %); as a rule take at least as many drawn "
            f"tables as this is per cent, here {draws}.{cut}"
        )
        return save(figure, folder, Picture("information", "What the gaps cost", caption))


def draw_batches(diagnosis: Diagnosis, folder: Path) -> Picture | None:
    """Shift of each marker with each column of the design, with 95 % intervals; None without a design."""
    if diagnosis.batch is None:
        return None
    shifts = diagnosis.batch.shifts
    strength = shifts.assign(z=(shifts["shift"] / shifts["se"]).abs()).groupby("column", sort=False)["z"].max()
    columns = [c for c in strength.index if c in set(strength.sort_values(ascending=False).index[:MOST_LEVELS])]
    largest = (
        shifts.assign(z=(shifts["shift"] / shifts["se"]).abs()).groupby("marker", sort=False)["z"].max().fillna(0.0)
    )
    kept = set(largest.sort_values(ascending=False, kind="stable").index[:MOST_MARKERS])
    markers = [m for m in largest.index if m in kept]
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, max(0.11 * len(markers) * (len(columns) + 1) + 1.1, 2.0)))
        step = 0.8 / max(len(columns), 1)
        for level, column in enumerate(columns):
            rows = shifts[shifts["column"] == column].set_index("marker").loc[markers]
            at = np.arange(len(markers))[::-1] + 0.4 - step * (level + 0.5)
            axis.errorbar(
                rows["shift"],
                at,
                xerr=1.96 * rows["se"],
                fmt="o",
                ms=3.2,
                lw=1.0,
                color=color_of(level),
                label=short(str(column), LONGEST_TICK),
            )
        axis.axvline(0, color=INK, lw=0.8)
        axis.set_yticks(np.arange(len(markers))[::-1], [short(m, LONGEST_TICK) for m in markers])
        axis.set_ylim(-0.7, len(markers) - 0.3)
        axis.set_xlabel("shift (SD of the marker within a level), with 95 % interval")
        beside = abreast([short(str(column), LONGEST_TICK) for column in columns], COLUMN)
        lines = -(-len(columns) // beside)
        arrange(figure, rect=(0, 0, 1, 1 - 0.2 * lines / figure.get_figheight()))
        figure.legend(ncols=beside, loc="upper center", bbox_to_anchor=(0.5, 1.0))
        moved = int((shifts["p_holm"] < 0.05).sum())
        test = diagnosis.batch
        words = (
            f"Together they matter: likelihood ratio {test.statistic:.1f} on {test.df} degrees of freedom, {show_p(test.p)}"
            if test.p < 0.05
            else f"Together they cannot be told from none: likelihood ratio {test.statistic:.1f} on {test.df} degrees of "
            f"freedom, {show_p(test.p)}"
            if test.p == test.p
            else f"There is no joint test, for {test.why_no_test}"
        )
        total = len(set(shifts["marker"]))
        cut = f" The {len(markers)} of {total} markers that shift most are drawn." if len(markers) < total else ""
        cut += f" {len(columns)} of {strength.size} columns are drawn." if len(columns) < strength.size else ""
        caption = (
            "How far each marker lies from the reference level in each batch or group, or moves per SD of a covariate. "
            f"{words}; {moved} of {len(shifts)} shifts differ from 0 after Holm's correction. The model takes these shifts "
            f"out, so that a filled value belongs to its own batch.{cut}"
        )
        return save(figure, folder, Picture("batches", "Batches and covariates", caption))


def show_p(p: float) -> str:
    """A p value for a sentence."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def draw_heatmap(imputation: Imputation, diagnosis: Diagnosis, folder: Path) -> Picture:
    """The whole table before and after, in SD from the mean of each marker."""
    d = len(imputation.markers)
    sd = np.sqrt(np.diagonal(diagnosis.covariance)[:d])
    whole = (imputation.filled - diagnosis.mean[:d]) / sd
    n = len(whole)
    rows = np.unique(np.linspace(0, n - 1, min(n, LARGEST_MAP)).astype(int))
    columns = np.unique(np.linspace(0, d - 1, min(d, LARGEST_MAP)).astype(int))
    part = whole[np.ix_(rows, columns)]
    left, _, right = np.linalg.svd(part - part.mean(axis=0), full_matrices=False)
    up, across = (
        np.argsort(left[:, 0], kind="stable"),
        beside_one_another(np.corrcoef(part.T)) if len(columns) > 2 else None,
    )
    across = np.argsort(right[0], kind="stable") if across is None else across
    part = part[np.ix_(up, across)]
    seen = imputation.readings.observed[np.ix_(rows[up], columns[across])]
    beyond = imputation.readings.bounded[np.ix_(rows[up], columns[across])]
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 3.4), sharey=True)
        colors = plt.get_cmap("RdBu_r").with_extremes(bad=GAP)
        options = {"vmin": -3, "vmax": 3, "cmap": colors, "interpolation": "nearest", "aspect": "auto"}
        axes[0].imshow(np.where(seen, part, np.nan), **options)
        if beyond.any():
            only = np.where(beyond, 1.0, np.nan)
            axes[0].imshow(only, cmap=ListedColormap([BEYOND]), interpolation="nearest", aspect="auto")
        image = axes[1].imshow(part, **options)
        for axis, title in zip(axes, ("As measured", "Completed"), strict=True):
            axis.set_title(title)
            axis.set_xlabel(f"{len(columns)} markers")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(f"{len(rows)} rows")
        arrange(figure)
        figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, extend="both").set_label("SD from the marker's mean")
        cut = ""
        if len(rows) < n or len(columns) < d:
            cut = f" {len(rows)} of {n} rows and {len(columns)} of {d} markers are drawn, evenly through the table."
        limits = ", purple: beyond a limit of detection" if beyond.any() else ""
        caption = (
            "The table in SD from the mean of each marker, markers that go together side by side, rows by their first "
            f"principal component. Left as measured (grey: missing{limits}), right with the gaps filled. Filled cells should "
            "continue the pattern around them, paler than it where the other markers say little; a block of one colour that "
            f"was grey before is a panel that some rows did not have.{cut}"
        )
        return save(figure, folder, Picture("heatmap", "The table before and after", caption))

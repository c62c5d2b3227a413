"""Figures of a motif: its logo, and where its sites lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import logomaker
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from emtools.kernels.conditioning import site_worth
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, save, styled

Floats = npt.NDArray[np.float64]

LETTER_COLORS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00", "U": "#D55E00"}
RESIDUES = {
    "KRH": "#0072B2",
    "DE": "#D55E00",
    "NQSTY": "#009E73",
    "AVLIMFW": "#1B1F24",
    "CGP": "#E69F00",
}  # by charge, polar, hydrophobic, the rest
RESIDUE_COLORS = {letter: color for group, color in RESIDUES.items() for letter in group}
CERTAINTY = LinearSegmentedColormap.from_list("certainty", ["#CFE3F1", "#0072B2", "#00304D"])
MOST_ROWS = 40
MOST_LANES = 6
MOST_BINS = 41
LONGEST_LABEL = 28
KNOWN = "#F4C77B"

RESIDUE = "aa"  # unit of a protein, which has no strands


@dataclass(frozen=True)
class Look:
    """What the figures of a motif are drawn in, and what they are called.

    Parameters
    ----------
    letters : str
        The alphabet, in the order of the matrix.
    unit : str
        Of a position.
    number : int
        Of the motif; files have it from the second on.
    name : str
        Of the motif, in titles; empty where there is one only.
    """

    letters: str = "ACGT"
    unit: str = "bp"
    number: int = 1
    name: str = ""

    def picture(self, stem: str, title: str, caption: str) -> Picture:
        """A figure of this motif."""
        file = stem if self.number == 1 else f"{stem}_{self.number}"
        return Picture(file, f"{title}: {self.name}" if self.name else title, caption)


PLAIN = Look()


@dataclass(frozen=True)
class Site:
    """A site among the results.

    Parameters
    ----------
    start : int
        Start in its stretch, 0-based.
    strand : {"+", "-"}
        Strand.
    posterior : float
        Probability that a site starts there, on either strand.
    """

    start: int
    strand: str
    posterior: float


@dataclass(frozen=True)
class Row:
    """A stretch that was searched, and what was found in it.

    Parameters
    ----------
    label, record : str
        What to call it; the record that it lies on.
    offset, length : int
        Where it starts in the record; its length in bp.
    sites : sequence of Site
        Its sites.
    known : sequence of (int, int)
        Known sites in the stretch, 0-based, half-open.
    """

    label: str
    record: str
    offset: int
    length: int
    sites: Sequence[Site]
    known: Sequence[tuple[int, int]] = ()


def information_errors(matrix: Floats, errors: Floats, frequencies: Floats) -> Floats:
    """Standard error of the information content of each position, bits, shape (width,).

    The number of sites that each position is worth is read from its standard errors, ``n = sum p (1 - p) / sum se**2``, which counts
    what the unknown places cost; then ``se**2 = sum p (log2(p / q) - I)**2 / n`` (delta method).

    Parameters
    ----------
    matrix, errors : ndarray, shape (width, 4)
        Letter probabilities and their standard errors.
    frequencies : ndarray, shape (4,)
        Background letter frequencies q.
    """
    n = site_worth(matrix, errors)
    logs = np.log2(matrix / frequencies)
    bits = (matrix * logs).sum(axis=1)
    found: Floats = np.sqrt((matrix * (logs - bits[:, None]) ** 2).sum(axis=1) / n)
    return found


def draw_logo(
    matrix: Floats, frequencies: Floats, errors: Floats | None, consensus: str, n_sites: int, both: bool, folder: Path,
    look: Look = PLAIN,
) -> Picture:  # fmt: skip
    """Sequence logo; with both strands also of the reverse complement.

    Parameters
    ----------
    matrix : ndarray, shape (width, n_letters)
        Letter probabilities.
    frequencies : ndarray, shape (n_letters,)
        Background letter frequencies.
    errors : ndarray, shape (width, n_letters), or None
        Standard errors of `matrix`.
    consensus : str
        IUPAC consensus.
    n_sites : int
        Sites that were found.
    both : bool
        Whether both strands were searched.
    folder : Path
        Where the figure goes.
    look : Look
        Letters, unit, and what the motif is called.
    """
    bits = (matrix * np.log2(matrix / frequencies)).sum(axis=1)
    spread = None if errors is None else information_errors(matrix, errors, frequencies)
    heights = matrix * bits[:, None]
    views = [("as found", heights), ("reverse complement", heights[::-1, ::-1])] if both else [("as found", heights)]
    width = len(matrix)
    with styled():
        size = (float(np.clip(1.2 + 0.27 * width, COLUMN, PAGE)), 1.55 * len(views) + 0.2)
        figure, axes = plt.subplots(len(views), 1, figsize=size, squeeze=False, sharey=True)
        for turn, (axis, (title, view)) in enumerate(zip(axes[:, 0], views, strict=True)):
            frame = pd.DataFrame(np.ascontiguousarray(view), columns=list(look.letters), index=np.arange(1, width + 1))
            logomaker.Logo(frame, ax=axis, color_scheme=LETTER_COLORS if len(look.letters) == 4 else RESIDUE_COLORS)
            if spread is not None:
                places, step = np.arange(1, width + 1), (-1 if turn else 1)
                axis.errorbar(
                    places, bits[::step], yerr=spread[::step], fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.5
                )
            axis.set_ylim(0.0, max(2.0, float((bits if spread is None else bits + spread).max())))
            axis.set_xlim(0.4, width + 0.6)
            step = 1 if width <= 30 else 5
            axis.set_xticks(np.arange(1, width + 1, step))
            axis.set_ylabel("information, bits")
            axis.set_title(title)
        axes[-1, 0].set_xlabel(f"position in the site, {look.unit}")
        arrange(figure)
        turned = (
            " Below, the same motif read on the other strand: both were searched and are one result." if both else ""
        )
        bars = (
            " Bars: one standard error of the height, from the curvature of the likelihood."
            if spread is not None
            else ""
        )
        caption = (
            f"Sequence logo of {n_sites} sites ({width} {look.unit}, consensus {consensus}). The height of a stack is the information "
            f"content of the position relative to the background letters (a letter that is always the same has about {np.log2(len(look.letters)):.2g} bits), "
            f"shared among the letters by their probability; {bits.sum():.1f} bits in all. Tall stacks are "
            f"the positions that matter.{bars}{turned}"
        )
        return save(figure, folder, look.picture("logo", "The motif", caption))


def draw_sites(rows: Sequence[Row], width: int, truth: bool, folder: Path, look: Look = PLAIN) -> Picture:
    """Where the sites lie: one line a sequence, or along the records where parts of them were searched.

    Parameters
    ----------
    rows : sequence of Row
        Stretches that were searched, in order.
    width : int
        Positions of a site, bp.
    truth : bool
        Whether known sites were given.
    folder : Path
        Where the figure goes.
    look : Look
        Letters, unit, and what the motif is called.
    """
    records = list(dict.fromkeys(row.record for row in rows))
    with styled():
        if len(rows) > len(records) and len(records) <= MOST_LANES:
            figure, caption = along_records(rows, records, width, look.unit)
        else:
            figure, caption = line_by_line(rows, width, look.unit)
        if truth:
            caption += " Shaded: known sites."
        return save(figure, folder, look.picture("sites", "The sites", caption))


def expected_centres(lengths: npt.NDArray[np.int64], width: int, edges: Floats) -> Floats:
    """Sites whose middle would lie between two edges, were each anywhere in its sequence alike, shape (n_edges - 1,).

    Parameters
    ----------
    lengths : ndarray of int64, shape (n_sites,)
        Length of the sequence that each site is in, bp.
    width : int
        Positions of a site, bp.
    edges : ndarray, shape (n_edges,)
        Distances from the middle of the sequence, bp, increasing.
    """
    reach, n = np.unique((lengths - width + 1) / 2, return_counts=True)
    inside = np.clip(edges[None, :], -reach[:, None], reach[:, None])
    expected: Floats = (n[:, None] * np.diff(inside, axis=1) / (2.0 * reach[:, None])).sum(axis=0)
    return expected


def draw_positions(rows: Sequence[Row], width: int, folder: Path, look: Look = PLAIN) -> Picture:
    """Histogram of the distance of each site from the middle of its sequence, beside what chance would give.

    Parameters
    ----------
    rows : sequence of Row
        Stretches that were searched.
    width : int
        Positions of a site, bp.
    folder : Path
        Where the figure goes.
    look : Look
        Letters, unit, and what the motif is called.
    """
    sites = [(row.length, site.start) for row in rows for site in row.sites]
    lengths, starts = np.array(sites, dtype=np.int64).reshape(-1, 2).T
    distances = starts + width / 2 - lengths / 2
    half = max(row.length for row in rows) / 2
    n_bins = int(np.clip(round(2.0 * np.sqrt(len(sites))), 5, MOST_BINS)) | 1
    edges = np.linspace(-half, half, n_bins + 1)
    counts, _ = np.histogram(distances, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 2.3))
        axis.bar(middles, counts, width=edges[1] - edges[0], color=PALETTE[0], edgecolor="white", lw=0.4)
        axis.plot(middles, expected_centres(lengths, width, edges), color=INK, lw=1.0, label="anywhere alike")
        axis.set_xlabel(f"middle of the site − middle of the sequence, {look.unit}")
        axis.set_ylabel("sites")
        axis.set_ylim(bottom=0.0, top=None if sites else 1.0)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(f"{len(sites)} sites along their sequences")
        axis.legend()
        arrange(figure)
        caption = (
            f"How far the middle of each of {len(sites)} sites lies from the middle of its sequence. The line is what would be seen were a site anywhere in its "
            "sequence alike; bars above it "
            + (
                "mark a place that the sequences share."
                if look.unit == RESIDUE
                else "in the middle are what peaks of ChIP-seq show, whose summit is at the bound place."
            )
        )
        return save(figure, folder, look.picture("positions", "Where in the sequence", caption))


def line_by_line(rows: Sequence[Row], width: int, unit: str) -> tuple[Any, str]:
    """One line a sequence, the most certain ones where there are many."""
    order = sorted(range(len(rows)), key=lambda i: -max([s.posterior for s in rows[i].sites], default=0.0))[:MOST_ROWS]
    shown = [rows[i] for i in sorted(order)]
    figure, axis = plt.subplots(figsize=(PAGE, 0.9 + 0.19 * max(4, len(shown))))
    longest = max(row.length for row in shown)
    for y, row in enumerate(shown):
        axis.plot([0, row.length], [y, y], color=FAINT, lw=1.0, zorder=1, solid_capstyle="butt")
        for low, high in row.known:
            axis.add_patch(Rectangle((low, y - 0.42), high - low, 0.84, color=KNOWN, lw=0, zorder=2))
        for site in row.sites:
            axis.add_patch(arrow(site.start, width, y, site.strand, CERTAINTY(site.posterior)))
    axis.set_yticks(range(len(shown)), [short(row.label) for row in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.set_xlim(-0.01 * longest, 1.01 * longest)
    axis.set_xlabel(f"position in the sequence, {unit} (the first is 0)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    n_called = sum(bool(row.sites) for row in rows)
    drawn = f"; the {len(shown)} most certain are drawn" if len(shown) < len(rows) else ""
    axis.set_title(f"Sites in {n_called} of {len(rows)} sequences{drawn}")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), CERTAINTY), ax=axis, fraction=0.025, pad=0.02, aspect=30)
    bar.set_label("posterior of the site")
    handles = [Patch(color=KNOWN, label="known site")] if any(row.known for row in rows) else []
    ways = ((">", "found"),) if unit == RESIDUE else ((">", "found, forward strand"), ("<", "found, reverse strand"))
    handles += [Line2D([], [], color=CERTAINTY(1.0), marker=way, lw=0, ms=5, label=label) for way, label in ways]
    arrange(figure)
    figure.legend(handles=handles, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0))
    part = f"the {len(shown)} most certain of " if len(shown) < len(rows) else ""
    caption = (
        f"One line is a sequence ({part}{len(rows)}); an arrow is a site of {width} {unit}"
        f"{'' if unit == RESIDUE else ' and points along the strand on which it reads as in the logo'}. Darker is more certain: the posterior probability that the site starts there."
    )
    return figure, caption


def short(label: str) -> str:
    """A label that leaves room for the figure."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def arrow(start: int, width: int, y: float, strand: str, color: Any) -> Any:
    """A pointed box over a site."""
    tip = min(0.35 * width, 6.0)
    low, high = float(start), float(start + width)
    corners = [(low, y - 0.27), (high - tip, y - 0.27), (high, y), (high - tip, y + 0.27), (low, y + 0.27)]
    if strand == "-":
        corners = [(low + high - x, v) for x, v in corners]
    return plt.Polygon(corners, closed=True, facecolor=color, edgecolor=INK, lw=0.4, zorder=3)


def along_records(rows: Sequence[Row], records: Sequence[str], width: int, unit: str) -> tuple[Any, str]:
    """Sites as stems along each record, up on the forward and down on the reverse strand."""
    figure, axes = plt.subplots(len(records), 1, figsize=(PAGE, 0.6 + 1.5 * len(records)), squeeze=False)
    n_called = sum(len(row.sites) for row in rows)
    for axis, record in zip(axes[:, 0], records, strict=True):
        here = [row for row in rows if row.record == record]
        axis.axhline(0.0, color=INK, lw=0.7)
        for row in here:
            axis.axvspan(row.offset / 1000, (row.offset + row.length) / 1000, color="#E9EDF1", lw=0, zorder=0)
            for low, high in row.known:
                axis.axvspan((row.offset + low) / 1000, (row.offset + high) / 1000, color=KNOWN, lw=0, zorder=1)
            for site in row.sites:
                height = site.posterior if site.strand == "+" else -site.posterior
                middle = (row.offset + site.start + width / 2) / 1000
                color = PALETTE[0] if site.strand == "+" else PALETTE[5]
                axis.plot([middle, middle], [0.0, height], color=color, lw=1.0, zorder=3)
                axis.plot([middle], [height], marker="o", ms=2.6, color=color, zorder=3)
        axis.set_ylim(-1.12, 1.12)
        axis.set_yticks([-1, -0.5, 0, 0.5, 1], ["1", "0.5", "0", "0.5", "1"])
        axis.set_ylabel("posterior")
        axis.set_title(record)
        axis.text(1.005, 0.75, "forward", transform=axis.transAxes, va="center", color=PALETTE[0], fontsize=7)
        axis.text(1.005, 0.25, "reverse", transform=axis.transAxes, va="center", color=PALETTE[5], fontsize=7)
    axes[-1, 0].set_xlabel("position in the record, kb" if unit == "bp" else f"position in the record, thousand {unit}")
    arrange(figure)
    caption = (
        f"The {n_called} sites of {width} {unit} found in {len(rows)} searched stretches (grey), along the record. A stem points "
        "up where the site reads as in the logo on the forward strand, down on the reverse; its length is the posterior "
        "probability that the site starts there. White parts of the record were not searched."
    )
    return figure, caption

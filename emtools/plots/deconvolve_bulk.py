"""Figures of mixtures: what each sample is made of, how well it is explained, the reference, how far genes are off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from emtools.plots.deconvolve_checks import wrapped
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, Picture, arrange, color_of, save, styled

Floats = npt.NDArray[np.float64]
MOST_NAMED = 48  # samples whose names are written
MOST_INTERVALS = 24  # samples whose intervals are drawn beside each other
MARKERS_EACH = 6
LETTERS = 22  # of a line above a panel


def draw_composition(
    fractions: Floats,
    lower: Floats,
    upper: Floats,
    types: Sequence[str],
    samples: Sequence[str],
    folder: Path,
    of: str = "cells",
) -> Picture:
    """Stacked bars of all samples, and below them each type with its 95 % intervals.

    Parameters
    ----------
    fractions, lower, upper : ndarray, shape (S, K)
        Estimates and ends of intervals.
    types, samples : sequence of str
        Names.
    folder : Path
        Where the figure goes.
    of : str
        What the fractions are of: cells or RNA.
    """
    n, k = fractions.shape
    named = n <= MOST_NAMED
    width = PAGE
    columns = min(k, int(width // 1.6))
    rows = -(-k // columns)
    with styled():
        figure = plt.figure(figsize=(width, 2.6 + 1.25 * rows), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(2.4, 1.25 * rows))
        axis = top.subplots()
        base = np.zeros(n)
        for j, name in enumerate(types):
            axis.bar(np.arange(n), fractions[:, j], bottom=base, width=0.86, color=color_of(j), label=name, lw=0)
            base += fractions[:, j]
        axis.set(ylim=(0, 1), xlim=(-0.6, n - 0.4), ylabel=f"fraction of {of}")
        axis.set_title("What each sample is made of")
        if named:
            axis.set_xticks(np.arange(n), samples, rotation=90)
        else:
            axis.set_xticks([])
            axis.set_xlabel(f"{n} samples")
        handles, labels = axis.get_legend_handles_labels()
        top.legend(handles[::-1], labels[::-1], loc="outside right upper")
        panels = bottom.subplots(rows, columns, squeeze=False, sharex=True)
        for j, panel in enumerate(panels.ravel()):
            if j >= k:
                panel.axis("off")
                continue
            order = np.arange(n) if n <= MOST_INTERVALS else np.argsort(fractions[:, j], kind="stable")
            panel.vlines(np.arange(n), lower[order, j], upper[order, j], color=color_of(j), lw=1.0, alpha=0.7)
            panel.plot(np.arange(n), fractions[order, j], "o", ms=2.2, color=INK)
            panel.set_title(wrapped(types[j], LETTERS), fontsize=7)
            panel.set(xlim=(-0.6, n - 0.4), ylim=(0, None))
            panel.set_xticks([])
            panel.tick_params(labelsize=7)
        order_words = "in the order above" if n <= MOST_INTERVALS else "from lowest to highest in each panel"
        bottom.supxlabel(f"samples, {order_words}", fontsize=7)
        bottom.supylabel(f"fraction of {of}", fontsize=7)
        caption = (
            f"Fractions of {of} in {n} samples. Below: every type on its own scale, dots are estimates, lines 95 % intervals, "
            f"samples {order_words}. Intervals count errors of the reference; where they reach zero the type may be absent."
        )
        return save(figure, folder, Picture("composition", "Composition of the samples", caption))


def draw_explained(correlation: Floats, errors: Floats, samples: Sequence[str], folder: Path, adapted: bool) -> Picture:
    """How well the reference explains each sample.

    Parameters
    ----------
    correlation : ndarray, shape (S,)
        Between logarithms of observed and expected expression.
    errors : ndarray, shape (S,)
        Median absolute difference of the logarithms (base 2).
    samples : sequence of str
        Names.
    folder : Path
        Where the figure goes.
    adapted : bool
        Whether factors of genes are in what is expected.
    """
    n = len(correlation)
    order = np.argsort(correlation, kind="stable")[::-1]
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, float(np.clip(0.6 + 0.16 * min(n, 40), 2.0, 7.0))))
        for axis, values, word in (
            (left, correlation, "correlation of logarithms"),
            (right, errors, "median error (log2)"),
        ):
            axis.plot(values[order], np.arange(n), "o", ms=3, color=color_of(0))
            axis.set(xlabel=word, yticks=[], ylim=(-0.7, n - 0.3))
            axis.grid(axis="x", color=FAINT, lw=0.4)
        left.set_xlim(min(0.5, float(correlation.min()) - 0.05), 1)
        right.set_xlim(0, max(1.08 * float(errors.max()), 1e-3))
        if n <= MOST_NAMED:
            left.set_yticks(np.arange(n), [samples[i] for i in order])
        left.set_title("How well each sample is explained")
        arrange(figure)
        caption = (
            f"Observed against expected expression of each of {n} samples{', factors of genes included' * adapted}. A sample far to the left of "
            "the others, where errors are large, has cells that the reference lacks, or is of another quality: mistrust its fractions."
        )
        return save(figure, folder, Picture("explained", "Fit of each sample", caption))


def draw_reference(
    profiles: Floats, chosen: Sequence[int], genes: Sequence[str], types: Sequence[str], folder: Path
) -> Picture:
    """Heat map of the genes that tell the types apart.

    Parameters
    ----------
    profiles : ndarray, shape (G, K)
        Mean expression per cell.
    chosen : sequence of int
        Genes to show.
    genes, types : sequence of str
        Names.
    folder : Path
        Where the figure goes.
    """
    shown = profiles[list(chosen)]
    shown = shown / np.maximum(shown.max(axis=1, keepdims=True), 1e-300)
    with styled():
        figure, axis = plt.subplots(
            figsize=(float(np.clip(1.2 + 0.13 * len(chosen), COLUMN, PAGE)), 0.9 + 0.2 * len(types))
        )
        image = axis.imshow(shown.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.set_yticks(np.arange(len(types)), types)
        axis.set_xticks(np.arange(len(chosen)), [genes[i] for i in chosen], rotation=90, fontsize=7, style="italic")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        bar = figure.colorbar(image, ax=axis, shrink=0.8, ticks=[0, 0.5, 1])
        bar.set_label("expression, highest type = 1")
        bar.outline.set_visible(False)
        axis.set_title("Genes that tell the types of the reference apart")
        caption = (
            "Mean expression per cell of the reference, each gene in parts of its highest type. Types that share their genes "
            "are hard to tell apart in a mixture, and their intervals are wide."
        )
        return save(figure, folder, Picture("reference", "Reference", caption))


def draw_factors(factors: Floats, means: Floats, folder: Path) -> Picture:
    """How far genes are off between bulk and reference.

    Parameters
    ----------
    factors, means : ndarray, shape (G,)
        Bulk over reference; mean expression in the bulk.
    folder : Path
        Where the figure goes.
    """
    logs = np.log2(np.maximum(factors, 1e-6))
    reach = float(np.clip(np.ceil(np.abs(logs).max(initial=0.0)), 2.0, 8.0))
    spread = float(np.median(np.abs(logs - np.median(logs))) * 1.4826)
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.5))
        left.hist(logs, bins=60, range=(-reach, reach), color=color_of(0))
        left.axvline(0, color=INK, lw=0.8)
        left.set(xlabel="log2 of bulk over reference", ylabel="genes")
        left.set_title("Factor of each gene")
        some = means > 0
        size = 5 if len(factors) < 1000 else 2
        right.plot(means[some], logs[some], ".", ms=size, color=color_of(0), alpha=0.5, rasterized=True, mew=0)
        right.axhline(0, color=INK, lw=0.8)
        right.set(xscale="log", xlabel="mean expression in the mixtures", ylabel="log2 factor", ylim=(-reach, reach))
        right.set_title("Factor by expression")
        arrange(figure)
        caption = (
            f"Factor by which each of {len(factors)} genes differs between mixtures and reference, the same in all samples "
            f"(spread {spread:.2f} in log2). Estimated jointly with the fractions and shrunk towards 1; a wide spread is "
            "normal between single-cell and bulk protocols."
        )
        return save(figure, folder, Picture("factors", "Platform factors", caption))

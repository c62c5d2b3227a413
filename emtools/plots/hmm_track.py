"""Figures of hidden states along values: the values with the states that they are called, and what the states emit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy.special import betainc, pdtr

from emtools.io.bedgraph import ValueTrack
from emtools.kernels.gaussian import density
from emtools.plots.hmm import BESIDE, STAYS, WRITTEN, draw_transitions, parameter_panels
from emtools.plots.style import FAINT, INK, PAGE, Picture, abreast, color_of, save, styled

MOST_POINTS = 8000
FEW_POINTS = 200  # up to which each is drawn larger
NEAR_POISSON = 1e-9  # dispersion times mean below which counts are Poisson
MOST_NAMED = 30
CROWDED = 0.02  # share of the width below which every second name stands lower


@dataclass(frozen=True)
class CalledTrack:
    """A track with its states.

    Parameters
    ----------
    track : ValueTrack
        Steps.
    path : ndarray of int, shape (T,)
        Most probable path.
    posterior : ndarray, shape (T, K)
        Probability of each state.
    """

    track: ValueTrack
    path: np.ndarray
    posterior: np.ndarray


def draw_values(called: Sequence[CalledTrack], table: pd.DataFrame, folder: Path, quantity: str = "value") -> Picture:
    """Values along the records, end to end, in the colour of their state; `quantity` names them."""
    values, path = (np.concatenate(parts) for parts in zip(*((i.track.values, i.path) for i in called), strict=True))
    n_seen = int(np.isfinite(values).sum())
    every = -(-len(values) // MOST_POINTS)
    ends = np.cumsum([len(item.track) for item in called])
    with styled():
        figure, axis = plt.subplots(figsize=(PAGE, 2.8), layout="constrained")
        for end in ends[:-1]:
            axis.axvline(end - 0.5, color=FAINT, lw=0.5, zorder=0)
        for k in range(len(table)):
            places = np.flatnonzero(path == k)[:: every if (path == k).sum() > MOST_POINTS // 10 else 1]
            axis.plot(
                places,
                values[places],
                ".",
                ms=2.2 if len(values) > FEW_POINTS else 4.5,
                color=color_of(k),
                rasterized=True,
            )
        for k, level in enumerate(table["level"]):
            axis.plot(np.arange(len(path)), np.where(path == k, level, np.nan), color=INK, lw=1.0)
        if len(called) <= MOST_NAMED:
            starts = np.concatenate([[0], ends[:-1]])
            names = [item.track.name for item in called]
            short = (
                [name.removeprefix("chr") for name in names] if all(name.startswith("chr") for name in names) else names
            )
            narrow = (ends - starts) < CROWDED * ends[-1]
            short = ["\n" * (i % 2 and bool(narrow[i])) + name for i, name in enumerate(short)]
            axis.set_xticks(
                (starts + ends) / 2, short, rotation=90 if len(short) > 1 and max(map(len, short)) > 3 else 0
            )
            axis.tick_params(axis="x", length=0)
        axis.set_xlim(-0.5, len(values) - 0.5)
        axis.set_xlabel(
            "chromosome" if called[0].track.name.startswith("chr") and len(called) > 1 else "record, step by step"
        )
        axis.set_ylabel(quantity)
        handles = [
            Line2D([], [], color=color_of(k), marker=".", ls="", label=f"{row.state} (level {row.level:.3g})")
            for k, row in enumerate(table.itertuples())
        ]
        figure.legend(
            handles=handles,
            loc="outside upper right",
            ncols=abreast([str(handle.get_label()) for handle in handles], PAGE - 0.3),
        )
        caption = (
            f"{n_seen:,} values of {len(called)} record{'s' * (len(called) != 1)}, step by step, in the colour of the most probable path; "
            "black, the level of the state. A run of one colour away from the others is a segment; a single "
            "point of another colour is one value as far out as such a segment, and by itself no proof of one."
        )
        return save(figure, folder, Picture("track", "States along the values", caption))


def count_law(level: float, dispersion: float, edges: np.ndarray) -> np.ndarray:
    """Probability of the counts between each two of `edges` under a negative binomial, or a Poisson where the dispersion is zero."""
    most = np.floor(edges)
    size = 1.0 / dispersion if dispersion * (1.0 + level) > NEAR_POISSON else np.inf
    with np.errstate(invalid="ignore"):
        below = pdtr(most, level) if np.isinf(size) else betainc(size, most + 1.0, size / (size + level))
    law: np.ndarray = np.diff(np.where(most < 0.0, 0.0, below))
    return law


def draw_levels(
    called: Sequence[CalledTrack], params: Any, table: pd.DataFrame, folder: Path, quantity: str = "value"
) -> Picture:
    """What each state emits over the values that it holds, and where it goes next; `quantity` names the values."""
    values, shares = (
        np.concatenate(parts) for parts in zip(*((i.track.values, i.posterior) for i in called), strict=True)
    )
    seen = np.isfinite(values)
    values, shares = values[seen], shares[seen]
    counts = not hasattr(params, "covariances")
    low, high = values.min(), values.max()
    edges = np.arange(low, high + 2) - 0.5 if counts and high - low <= 200 else np.linspace(low, high, 81)
    width, centres = edges[1] - edges[0], 0.5 * (edges[:-1] + edges[1:])
    with styled():
        figure, axes = parameter_panels(len(table), 1.6)
        bottom = np.zeros(len(centres))
        for k, row in enumerate(table.itertuples()):
            height = np.histogram(values, edges, weights=shares[:, k])[0]
            axes[0].bar(centres, height, width, bottom=bottom, color=color_of(k), lw=0)
            bottom = bottom + height
            if counts:
                law = count_law(row.level, getattr(row, "dispersion", 0.0), edges)
            else:
                law = width * density(centres, row.level, row.spread)
            axes[0].plot(centres, shares[:, k].sum() * law, color=INK, lw=0.8)
        axes[0].set_yscale("symlog", linthresh=1.0)
        axes[0].set_ylim(0, None)
        axes[0].set_xlabel(quantity)
        axes[0].set_ylabel("values in a bin")
        axes[0].set_title("Emissions")
        draw_transitions(axes[1], params, list(table["state"]), "step")
        here, there = ("Left", "Right") if len(table) <= BESIDE else ("Above", "Below")
        caption = (
            f"{here}: {len(values):,} values, shared out to the states by their posterior (colours); black, what each state is fitted to emit. Bars "
            f"far above a curve at its edge are outliers, or a state too few. {there}: probability of the next state (column) after each state "
            f"(row), per step{STAYS.format(unit='steps') * (len(table) <= WRITTEN)}."
        )
        return save(figure, folder, Picture("parameters", "What the states are", caption))

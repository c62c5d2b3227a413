"""Figures that every fit has: how the climb went, and where the starts ended."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from emtools.engine.result import Fit, Pass
from emtools.plots.style import FAINT, INK, PALETTE, Picture, save, styled

FLOOR = 1e-10
LONG = 8


def draw_convergence(fit: Fit[Any, Any], folder: Path) -> Picture:
    """Distance to the best objective reached, pass by pass, one line a start, beside the ends of the starts."""
    climbs: dict[int, list[Pass]] = defaultdict(list)
    for row in fit.trace:
        climbs[row.restart].append(row)
    with styled():
        many = len(fit.starts) > 1
        figure, axes = plt.subplots(1, 2 if many else 1, figsize=(7.2 if many else 3.8, 2.6), squeeze=False)
        draw_climbs(axes[0, 0], fit, climbs)
        if many:
            draw_starts(axes[0, 1], fit)
        figure.tight_layout()
        others = (
            f" Right: where each of {len(fit.starts)} starts ended; points on one level reached the same optimum."
            if many
            else ""
        )
        caption = (
            "Distance in nats of the objective from the top of the best hill (its last value plus its estimated "
            "remaining gain) against passes over the data, on a log axis; the dark line is the start that was kept. A "
            "straight descent is healthy; where it is level at its end, the climb only looked around before it was "
            f"called done. Crosses: longer steps that were tried and refused.{others}"
        )
        return save(figure, folder, Picture("convergence", "How it converged", caption))


def draw_climbs(axis: Any, fit: Fit[Any, Any], climbs: dict[int, list[Pass]]) -> None:
    top = fit.objective + (fit.gap if np.isfinite(fit.gap) else 0.0)
    floor = max(FLOOR, 4e-16 * abs(top), fit.gap if np.isfinite(fit.gap) else 0.0)
    kept = fit.best_restart
    for restart, rows in climbs.items():
        below = np.maximum(top - np.array([row.objective for row in rows]), floor)
        style = {"color": INK, "zorder": 3} if restart == kept else {"color": FAINT, "lw": 0.8}
        axis.semilogy(np.arange(1, len(rows) + 1), below, marker="." if len(rows) == 1 else None, **style)
        if restart == kept:
            axis.plot(len(rows), below[-1], "o", ms=4, color=INK, zorder=4, clip_on=False)
            refused = [i for i, row in enumerate(rows) if row.kind == "refused"]
            axis.plot([i + 1 for i in refused], below[refused], "x", ms=3.5, mew=0.8, color=PALETTE[5], zorder=5)
    longest = max(map(len, climbs.values()))
    if longest > LONG * len(climbs[kept]):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("passes over the data")
    axis.set_ylabel("nats below the top")
    axis.set_title("Climb")


def draw_starts(axis: Any, fit: Fit[Any, Any]) -> None:
    """Ends of the starts: circles where they converged, crosses where they did not."""
    below = {s.restart: max(fit.objective - s.objective, 0.0) for s in fit.starts if np.isfinite(s.objective)}
    lowest = max([below[s.restart] for s in fit.starts if s.optimum is not None] + [1e-2])
    best = [s for s in fit.starts if s.optimum == 1]
    other = [s for s in fit.starts if s.optimum is not None and s.optimum > 1]
    ended = [s for s in fit.starts if s.optimum is None]
    for starts, color, marker in ((best, PALETTE[2], "o"), (other, PALETTE[1], "o"), (ended, PALETTE[5], "x")):
        heights = [min(below.get(s.restart, lowest), lowest) for s in starts]
        axis.scatter([s.restart + 1 for s in starts], heights, c=color, marker=marker, s=22, zorder=3, clip_on=False)
    decades = 10.0 ** np.arange(-3, np.ceil(np.log10(lowest)) + 1)
    axis.set_yscale("symlog", linthresh=decades[0])
    axis.set_yticks([0.0, *decades], ["0", *(f"{tick:g}" for tick in decades)], minor=False)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(decades[-1], -decades[0] / 3)
    axis.set_xlabel("start")
    axis.set_ylabel("nats below the best start")
    note = f", {len(ended)} not converged (×)" if ended else ""
    axis.set_title(f"Starts: best in {len(best)} of {len(fit.starts)}{note}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))

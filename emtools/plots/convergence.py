"""The figure that every fit has: how the climb went, where the starts ended, and how much is missing."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from emtools.engine.certificate import VISIBLE, Certificate, Labels
from emtools.engine.result import Fit, Pass
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, save, styled

FLOOR = 1e-10
LONG = 8


def draw_convergence(fit: Fit[Any, Any], folder: Path, labels: Labels | None = None) -> Picture:
    """Climb, ends of the starts, and fractions of missing information, as far as the fit has them.

    Parameters
    ----------
    fit : Fit
        The fit.
    folder : Path
        Where convergence.svg and .png go.
    labels : mapping, optional
        For a parameter, the names along each of its axes.
    """
    climbs: dict[int, list[Pass]] = defaultdict(list)
    for row in fit.trace:
        climbs[row.restart].append(row)
    known = (
        fit.certificate
        if fit.certificate is not None and max(fit.certificate.spectrum, default=0.0) >= VISIBLE
        else None
    )
    panels = ["climb", *["starts"] * (len(fit.starts) > 1), *["missing"] * (known is not None)]
    rows = [["climb", "starts"], ["missing", "missing"]] if len(panels) == 3 else [panels]
    with styled():
        figure, axes = plt.subplot_mosaic(
            rows, figsize=(COLUMN if len(panels) == 1 else PAGE, 4.6 if len(panels) == 3 else 2.6)
        )
        left = draw_climbs(axes["climb"], fit, climbs)
        top = (
            "top of the best hill, its last value plus its estimated remaining gain"
            if np.isfinite(left)
            else "last pass of the start that was kept, its remaining gain not being known"
        )
        size = f" (n = {fit.stats.n:,.0f})" if fit.stats.n > 1 else ""
        parts = [
            f"Climb: distance in nats of the objective{size} from the {top}, "
            "against passes over the data; the dark line is the start that was kept, "
            "crosses are longer steps that were tried and refused. A straight descent is healthy; dashed is the slope of "
            "plain EM at the rate of this fit. Where the line is level at its end, the climb only looked around before it "
            "was called done."
        ]
        if "starts" in axes:
            draw_starts(axes["starts"], fit)
            parts.append(
                f"Starts: where each of {len(fit.starts)} ended; points on one level reached the same optimum. Many "
                "levels ask for more starts."
            )
        if known is not None:
            parts.append(draw_missing(axes["missing"], known, labels))
        arrange(figure)
        return save(figure, folder, Picture("convergence", "How it converged", " ".join(parts)))


def draw_climbs(axis: Any, fit: Fit[Any, Any], climbs: dict[int, list[Pass]]) -> float:
    """Distances from the top, or from the last pass where the remaining gain, which is returned, is not finite."""
    seen = fit.certificate
    gap = seen.gap if seen is not None and seen.kind != "unknown" else fit.gap  # as in fit.json
    ahead = gap if np.isfinite(gap) else 0.0
    top = fit.objective + ahead
    floor = max(FLOOR, 4e-16 * abs(top), ahead)
    kept = fit.best_restart
    for restart, rows in climbs.items():
        below = np.maximum(top - np.array([row.objective for row in rows]), floor)
        style = {"color": INK, "zorder": 3} if restart == kept else {"color": FAINT, "lw": 0.8}
        axis.semilogy(np.arange(1, len(rows) + 1), below, marker="." if len(rows) == 1 else None, **style)
        if restart == kept:
            axis.plot(len(rows), below[-1], "o", ms=4, color=INK, zorder=4, clip_on=False)
            refused = [i for i, row in enumerate(rows) if row.kind == "refused"]
            axis.plot([i + 1 for i in refused], below[refused], "x", ms=3.5, mew=0.8, color=PALETTE[5], zorder=5)
            draw_slope(axis, fit.certificate.rate if fit.certificate is not None else fit.rate, below)
    longest = max(map(len, climbs.values()))
    if longest > LONG * len(climbs[kept]):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("passes over the data")
    axis.set_ylabel(f"nats below the {'top' if np.isfinite(gap) else 'last pass'}")
    axis.set_title("Climb")
    return gap


def draw_slope(axis: Any, rate: float, below: np.ndarray) -> None:
    """The slope of plain EM, whose distance shrinks by the square of `rate` a pass; or a word where the climb is level."""
    if len(below) > 1 and below.min() == below.max():
        axis.annotate("begun at the top,\nafter a search", (0.5, 0.75), xycoords="axes fraction", ha="center")
        return
    near = int(np.argmax(below < 1.0)) if (below < 1.0).any() else 0
    last = int(np.argmax(below <= below.min()))
    if not 0.0 < rate < 1.0 or last - near < 1:
        return
    passes = np.arange(near, len(below))
    line = below[near] * rate ** (2.0 * (passes - near))
    kept = line >= below.min()
    if kept.sum() < 2:  # plain EM would be there in one pass
        return
    axis.plot(
        passes[kept] + 1, line[kept], "--", lw=1.0, color=PALETTE[0], zorder=2, label=f"plain EM, rate {rate:.3g}"
    )
    axis.legend(loc="upper right")


def draw_missing(axis: Any, certificate: Certificate, labels: Labels | None) -> str:
    """Fractions of missing information, largest first, and the caption."""
    shares = 100.0 * np.asarray(certificate.spectrum)
    axis.bar(np.arange(1, len(shares) + 1), shares, color=PALETTE[0], width=0.65)
    axis.set_ylim(0.0, max(100.0, float(shares.max())))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("direction, hardest to see first")
    axis.set_ylabel("missing information (%)")
    axis.set_title("Missing information")
    along = certificate.towards(labels)
    if along:
        parts = f"hardest: {along}".replace(" and ", " and\n").splitlines()
        words = "\n".join(textwrap.fill(part, 38) for part in parts)
        axis.annotate(words, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7)
    return (
        f"Missing information: the share that the data do not hold of what complete data would tell, direction by direction "
        f"(the {len(shares)} largest); {shares[0]:.3g} % along the first{f', mostly {along}' if along else ''}. Near 100 % "
        "the data hardly show that direction, and plain EM is slow."
    )


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

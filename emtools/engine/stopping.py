"""When to stop: the gain still to come, estimated from the trace, against a tolerance in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

FALL = 1e-12
ROUNDING = 1e-13
RATIOS = 3
TOL = 1e-6
VISIBLE = 100.0


class Status(StrEnum):
    """Why a climb ended. Only `CONVERGED` says that the top was reached."""

    CONVERGED = "converged"
    BUDGET = "budget"
    DECREASED = "decreased"
    NONFINITE = "nonfinite"
    DEGENERATE = "degenerate"


@dataclass(frozen=True)
class Remaining:
    """What a trace says about the top of its hill.

    Parameters
    ----------
    gap : float
        Estimated gain still to come in nats; infinite while the trace does not tell.
    rate : float
        Estimated linear rate of the parameters, the largest fraction of missing information;
        NaN while the trace does not tell.
    resolution : float
        Smallest certifiable gap in nats once the gains have sunk below what float64 can resolve; 0.0 before.
    """

    gap: float
    rate: float
    resolution: float = 0.0

    def within(self, tol: float) -> bool:
        """Whether the top is reached: to `tol`, or to what rounding leaves visible, `TOL` at best."""
        return self.gap < tol or (self.resolution > 0.0 and self.gap < max(TOL, self.resolution))


def fell(before: float, after: float) -> bool:
    """Whether the objective fell by more than rounding can explain."""
    return before - after > FALL * (1.0 + abs(before))


def remaining_gain(objectives: Sequence[float]) -> Remaining:
    """Gain still to come, by Aitken extrapolation with the largest of the last three ratios.

    Near a maximum the gain shrinks by the square of the rate r at each pass, so that the gains to
    come sum to ``gain * r² / (1 - r²)``. A gain within rounding ends the series.

    Parameters
    ----------
    objectives : sequence of float
        Objective in nats, one a pass.

    Returns
    -------
    Remaining

    References
    ----------
    Böhning et al. (1994), Ann. Inst. Statist. Math. 46, 373-388, doi:10.1007/BF01720593, eq. 8.
    """
    unknown = Remaining(math.inf, math.nan)
    if len(objectives) < 3:
        return unknown
    last = list(objectives[-(RATIOS + 2) :])
    floor = ROUNDING * (1.0 + abs(last[-1]))
    gains = [b - a for a, b in pairwise(last)]
    if max(gains[-2:]) <= floor:
        ratios = usable_ratios(objectives, floor)
        ratio = min(ratios[-1], fall_ratio(objectives, floor)) if ratios else 0.0
        gap = floor / (1.0 - ratio) if ratio < 1.0 else math.inf
        return Remaining(gap, math.sqrt(ratio), resolution=VISIBLE * floor)
    if len(gains) < RATIOS + 1:
        return unknown
    ratios = [b / a for a, b in pairwise(gains) if a > floor]
    if not ratios or max(ratios) >= 1.0 or gains[-1] < 0.0:
        return Remaining(math.inf, math.sqrt(ratios[-1]) if ratios and ratios[-1] > 0 else math.nan)
    ratio = max(0.0, *ratios)
    return Remaining(gains[-1] * ratio / (1.0 - ratio), math.sqrt(max(0.0, ratios[-1])))


def fall_ratio(objectives: Sequence[float], floor: float) -> float:
    """Largest ratio of successive gains that explains the last fall of a gain from above `floor` to below it.

    It is 0 in effect where hard assignment reaches its fixed point at once.
    """
    gains = [b - a for a, b in pairwise(objectives)]
    above = [gain for gain in gains if gain > floor]
    return floor / above[-1] if above else 0.0


def usable_ratios(objectives: Sequence[float], floor: float) -> list[float]:
    """Ratios of successive gains that rounding has not spoiled."""
    gains = [b - a for a, b in pairwise(objectives)]
    clear = 1e3 * floor
    return [b / a for a, b in pairwise(gains) if a > clear and b > clear and b < a]

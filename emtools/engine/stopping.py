"""When to stop: the gain still to come, estimated from the trace, against a tolerance in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

FALL = 1e-12  # fall of the objective, relative to 1 + |objective|, that rounding cannot explain
ROUNDING = 1e-13  # gain, relative to 1 + |objective|, that rounding can make: the floor
RATIOS = 3  # ratios of gains, of which the largest counts
TOL = 1e-6  # default tolerance, nats
VISIBLE = 2.0  # floors: smallest gap that is certified
CLEAR = 1e3  # floors: gain whose ratio to the next one can be trusted
BLOCK = 20  # passes whose gains are compared where single ones tell nothing
EPSILON = 1e-15  # gain over a block, relative to 1 + |objective|, of a trace at rest


class Status(StrEnum):
    """Why a climb ended. Only `CONVERGED` says that the top was reached."""

    CONVERGED = "converged"
    BUDGET = "budget"
    DECREASED = "decreased"
    NONFINITE = "nonfinite"
    DEGENERATE = "degenerate"
    SADDLE = "saddle"


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
        """Whether the top is reached: to `tol`, or to what rounding leaves visible."""
        return self.gap < max(tol, self.resolution)


def fell(before: float, after: float, more: float = 0.0) -> bool:
    """Whether the objective fell by more than rounding can explain, and than `more` nats of it that a model tells of."""
    return before - after > FALL * (1.0 + abs(before)) + more


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
        return remaining_below(objectives, floor)
    if len(gains) < RATIOS + 1:
        return unknown
    ratios = [b / a for a, b in pairwise(gains) if a > floor]
    if not ratios or max(ratios) >= 1.0 or gains[-1] < 0.0:
        return Remaining(math.inf, math.sqrt(ratios[-1]) if ratios and ratios[-1] > 0 else math.nan)
    ratio = max(0.0, *ratios)
    return Remaining(gains[-1] * ratio / (1.0 - ratio), math.sqrt(max(0.0, ratios[-1])))


def remaining_below(objectives: Sequence[float], floor: float) -> Remaining:
    """Gain still to come where a single gain no longer stands out of rounding.

    The decay seen while it did is carried on. Where it never did, gains over `BLOCK` passes are
    compared instead; a trace at rest, to the last bit, is at its end.

    Parameters
    ----------
    objectives : sequence of float
        Objective in nats, one a pass.
    floor : float
        Gain in nats that rounding can make.
    """
    gains = [b - a for a, b in pairwise(objectives)]
    clear = [i for i in range(1, len(gains)) if gains[i - 1] > gains[i] > CLEAR * floor]
    above = [gain for gain in gains if gain > floor]
    if clear:
        end, begin = clear[-1], clear[-BLOCK:][0] - 1
        ratio = min((gains[end] / gains[begin]) ** (1.0 / (end - begin)), floor / above[-1])
        gap = gains[end] * ratio ** (len(gains) - end) / (1.0 - ratio) if ratio < 1.0 else math.inf
    elif above or not any(gains[-2:]):
        ratio, gap = 0.0, floor
    elif len(gains) < 2 * BLOCK:
        return Remaining(math.inf, math.nan)
    else:
        recent, before = objectives[-1] - objectives[-1 - BLOCK], objectives[-1 - BLOCK] - objectives[-1 - 2 * BLOCK]
        resting = recent <= EPSILON * (1.0 + abs(objectives[-1]))
        block_ratio = 0.0 if resting else recent / before if before > 0.0 else math.inf
        ratio = min(1.0, block_ratio) ** (1.0 / BLOCK)
        gap = recent * block_ratio / (1.0 - block_ratio) if block_ratio < 1.0 else math.inf
    return Remaining(max(gap, floor), math.sqrt(ratio), resolution=VISIBLE * floor)

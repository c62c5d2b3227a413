"""Which values a natural parameter can take, seen from the model alone, and intervals that stay among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from emtools.engine.protocol import C, Floats, Model, P, S

Words = npt.NDArray[np.str_]

COVERED = 1.959963984540054  # standard normal deviate of a two-sided 95 % interval
# How far a packed parameter is moved to see what a natural one can become: times its own size, plus so many standard
# errors, and, whatever its unit, far outside of (-1, 1).
FAR = (0.5, 2.0, 4.0)
WIDE = (2.0, 10.0, 40.0)
OUTSIDE = (0.0, 3.0, 40.0)
BESIDE = 1e-9  # rounding of a range
REAL, POSITIVE, PROBABILITY, CORRELATION = "value", "log", "log odds", "Fisher z"


def scales(model: Model[P, S, C], packed: Floats, units: Floats) -> dict[str, Words]:
    """The scale on which an interval of each natural parameter is symmetric: its value, its log, log odds, Fisher's z.

    Each packed parameter is moved far to both sides: what never leaves (0, 1) is taken for a probability, (-1, 1)
    for a correlation, what never falls below 0 for a positive number.

    Parameters
    ----------
    packed : ndarray, shape (p,)
        Where the estimates are.
    units : ndarray, shape (p,)
        Standard error or so of each packed parameter; 0 where it is held.

    Returns
    -------
    dict of str to ndarray of str
        In the shapes of the natural parameters.
    """
    first = {name: np.asarray(value, dtype=np.float64) for name, value in model.natural(model.unpack(packed)).items()}
    low = {name: value.copy() for name, value in first.items()}
    high = {name: value.copy() for name, value in first.items()}
    with np.errstate(all="ignore"):
        for i in np.flatnonzero(units > 0.0):
            for far, wide, outside in zip(FAR, WIDE, OUTSIDE, strict=True):
                for side in (-1.0, 1.0):
                    moved = packed.copy()
                    moved[i] += side * (far * abs(packed[i]) + wide * units[i] + outside)
                    for name, value in model.natural(model.unpack(moved)).items():
                        low[name], high[name] = np.fmin(low[name], value), np.fmax(high[name], value)
    return {name: scale_of(low[name], high[name]) for name in first}


def scale_of(low: Floats, high: Floats) -> Words:
    """Scale of each parameter from the range that it was seen in."""
    within = high <= 1.0 + BESIDE
    result = np.full(low.shape, REAL, dtype="<U8")
    result[within & (low >= -1.0 - BESIDE)] = CORRELATION
    result[low >= 0.0] = POSITIVE
    result[within & (low >= 0.0)] = PROBABILITY
    return result


def intervals(values: Floats, errors: Floats, scale: Words) -> tuple[Floats, Floats]:
    """Lower and upper end of 95 % Wald intervals, symmetric on `scale`; NaN where there is no standard error.

    Parameters
    ----------
    values, errors : ndarray
        Estimates and their standard errors, in one shape and unit.
    scale : ndarray of str
        As from `scales`, in the same shape.

    Examples
    --------
    >>> low, high = intervals(np.array([0.9]), np.array([0.1]), np.array(["log odds"]))
    >>> low.round(3), high.round(3)
    (array([0.505]), array([0.988]))
    """
    values, errors = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    with np.errstate(all="ignore"):
        forms: dict[str, tuple[Floats, Floats, Callable[[Floats], Floats]]] = {
            REAL: (values, errors, np.positive),
            POSITIVE: (np.log(values), errors / values, np.exp),
            PROBABILITY: (logit(values), errors / (values * (1.0 - values)), expit),
            CORRELATION: (np.arctanh(values), errors / (1.0 - values**2), np.tanh),
        }
        low, high = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
        for word, (centre, error, back) in forms.items():
            here = scale == word
            low[here] = back(centre - COVERED * error)[here]
            high[here] = back(centre + COVERED * error)[here]
    known = np.isfinite(low) & np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)

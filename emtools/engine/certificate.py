"""Standard errors, remaining gain and missing information of a fit, from the contract of a model alone.

The score is the gradient of Q at its own point (Fisher's identity), so differences of Q, which cost no
pass over the data, give the score, and differences of the score give the observed information.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from emtools.engine.chunks import Map, in_turn, total_stats
from emtools.engine.protocol import C, Floats, Model, P, S, Source

INNER_STEP = 1e-2
OUTER_STEP = 3e-3
CURVATURE_ROUNDS = 4
EDGE = 30.0
SINGULAR = 1e-9


@dataclass(frozen=True)
class Certificate:
    """What the curvature of the likelihood says of a fit.

    Parameters
    ----------
    gap : float
        Gain still to come in nats, ½ gᵀ I⁻¹ g with score g and observed information I.
    worst_error : float
        Largest distance of a packed parameter from the top, in its standard errors.
    rate : float
        Largest fraction of missing information: top eigenvalue of the EM rate matrix.
    standard_errors : dict of str to ndarray
        Per natural parameter, in its own unit; NaN where it is held at an edge.
    n_held : int
        Packed parameters at an edge of their space (a probability of zero), held fixed.
    curved : bool
        Whether the observed information is positive definite: a maximum, and identified.
    """

    gap: float
    worst_error: float
    rate: float
    standard_errors: dict[str, Floats]
    n_held: int
    curved: bool

    @property
    def sentence(self) -> str:
        """What a reader should know of it."""
        if not self.curved and self.rate > 1:
            return f"This is a saddle, not a maximum (rate {self.rate:.4g} > 1): use more starts."
        if not self.curved:
            return "The likelihood is flat here: some parameters are not identified by these data."
        held = f" Held fixed at the edge of its range: {self.n_held} of the packed parameters." if self.n_held else ""
        missing = f"{100 * self.rate:.3g} % of the information on the worst direction is missing"
        return f"By the score, {self.gap:.1e} nats ({self.worst_error:.1e} standard errors) are left; {missing}.{held}"


def certify(model: Model[P, S, C], source: Source[C], params: P, chunk_map: Map = in_turn) -> Certificate:
    """Observed information at `params` by differences of the score, in 2p + 1 passes over the data.

    Parameters
    ----------
    model, source
        A model with soft assignment whose Q is smooth in the packed parameters, and its data.
    params : Params
        Parameters at or near a maximum of the objective.
    chunk_map : callable
        Ordered map over chunk numbers.

    Returns
    -------
    Certificate

    References
    ----------
    Oakes (1999), J. R. Stat. Soc. B 61, 479-482, doi:10.1111/1467-9868.00188, eq. 3; Dempster, Laird & Rubin (1977),
    J. R. Stat. Soc. B 39, 1-22, doi:10.1111/j.2517-6161.1977.tb01600.x, eq. 3.15 for the rate matrix.
    """
    packed = model.pack(params)
    stats = total_stats(model, source, params, "soft", chunk_map)
    unit, inside = curvature_units(model, stats, packed)
    free = np.flatnonzero(inside)

    def score_at(vector: Floats) -> Floats:
        at = model.unpack(vector)
        return slope(model, total_stats(model, source, at, "soft", chunk_map), vector, unit, free)

    here = score(model, stats, packed, unit, free)
    information = np.empty((free.size, free.size))
    complete = np.empty_like(information)
    for column, i in enumerate(free):
        shift = np.zeros_like(packed)
        shift[i] = OUTER_STEP * unit[i]
        information[:, column] = (score_at(packed - shift) - score_at(packed + shift)) / (2 * OUTER_STEP)
        up, down = (slope(model, stats, packed + sign * shift, unit, free) for sign in (1, -1))
        complete[:, column] = (down - up) / (2 * OUTER_STEP)
    information = (information + information.T) / 2
    complete = (complete + complete.T) / 2
    return read_curvature(model, packed, unit, free, here, information, complete)


def curvature_units(model: Model[P, S, C], stats: S, packed: Floats) -> tuple[Floats, np.ndarray]:
    """Complete-data standard error of each packed parameter, and whether it lies inside its space."""
    unit = 1e-3 * (1.0 + np.abs(packed))
    inside = np.isfinite(packed)
    for i in np.flatnonzero(inside):
        for _ in range(CURVATURE_ROUNDS):
            values = [value_of_q(model, stats, packed, int(i), float(step * unit[i])) for step in (-0.1, 0.0, 0.1)]
            curvature = -(values[0] - 2 * values[1] + values[2]) / (0.1 * unit[i]) ** 2
            if not math.isfinite(curvature) or curvature <= 0 or 1 / math.sqrt(curvature) > EDGE * (1 + abs(packed[i])):
                inside[i] = False
                break
            unit[i] = 1 / math.sqrt(curvature)
    return unit, inside


def value_of_q(model: Model[P, S, C], stats: S, packed: Floats, i: int, step: float) -> float:
    """Q plus log prior with packed parameter `i` moved by `step`."""
    moved = packed.copy()
    moved[i] += step
    at = model.unpack(moved)
    return model.expected_loglik(stats, at) + model.log_prior(at)


def score(model: Model[P, S, C], stats: S, packed: Floats, unit: Floats, free: np.ndarray) -> Floats:
    """Gradient of Q plus log prior at `packed`, in nats per complete-data standard error (five-point rule)."""
    result = np.empty(free.size)
    for row, i in enumerate(free):
        f = [value_of_q(model, stats, packed, int(i), float(k * INNER_STEP * unit[i])) for k in (-2, -1, 1, 2)]
        result[row] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * INNER_STEP)
    return result


def slope(model: Model[P, S, C], stats: S, packed: Floats, unit: Floats, free: np.ndarray) -> Floats:
    """`score` by the two-point rule, at half the cost: its error cancels where two slopes are subtracted."""
    result = np.empty(free.size)
    for row, i in enumerate(free):
        down, up = (value_of_q(model, stats, packed, int(i), float(k * INNER_STEP * unit[i])) for k in (-1, 1))
        result[row] = (up - down) / (2 * INNER_STEP)
    return result


def read_curvature(
    model: Model[P, S, C],
    packed: Floats,
    unit: Floats,
    free: np.ndarray,
    here: Floats,
    information: Floats,
    complete: Floats,
) -> Certificate:
    """Gap, rate and standard errors from score and information in units of complete-data standard errors."""
    natural = model.natural(model.unpack(packed))
    n_held = packed.size - free.size
    nowhere = {name: np.full(np.shape(value), math.nan) for name, value in natural.items()}
    if not free.size:
        return Certificate(math.nan, math.nan, math.nan, nowhere, n_held, curved=False)
    try:
        kept = linalg.eigh(information, complete, eigvals_only=True)
    except linalg.LinAlgError:
        return Certificate(math.nan, math.nan, math.nan, nowhere, n_held, curved=False)
    rate = float(1.0 - kept[0])
    if kept[0] < SINGULAR:
        return Certificate(math.nan, math.nan, rate, nowhere, n_held, curved=False)
    covariance = linalg.inv(information)
    step = covariance @ here
    errors = np.sqrt(np.diag(covariance))
    jacobian = natural_jacobian(model, packed, unit, free)
    standard_errors = {
        name: delta_errors(rows, covariance).reshape(np.shape(natural[name])) for name, rows in jacobian.items()
    }
    gap = 0.5 * float(here @ step)
    return Certificate(gap, float(np.abs(step / errors).max()), rate, standard_errors, n_held, curved=True)


def delta_errors(rows: Floats, covariance: Floats) -> Floats:
    """Standard errors by the delta method; NaN for a parameter that no free coordinate moves."""
    variances = np.einsum("ij,jk,ik->i", rows, covariance, rows)
    return np.where(np.abs(rows).max(axis=1) > 0, np.sqrt(np.maximum(variances, 0.0)), math.nan)


def natural_jacobian(model: Model[P, S, C], packed: Floats, unit: Floats, free: np.ndarray) -> dict[str, Floats]:
    """Change of each natural parameter per complete-data standard error of each free packed one."""

    def at(i: int, step: float) -> dict[str, Floats]:
        moved = packed.copy()
        moved[i] += step * unit[i]
        return {name: np.ravel(value) for name, value in model.natural(model.unpack(moved)).items()}

    pairs = [(at(i, -INNER_STEP), at(i, INNER_STEP)) for i in free]
    return {
        name: np.column_stack([(up[name] - down[name]) / (2 * INNER_STEP) for down, up in pairs])
        for name in pairs[0][0]
    }

"""Standard errors, remaining gain and missing information of a fit, from the contract of a model alone.

The score is the gradient of Q at its own point (Fisher's identity), so differences of Q, which cost no
pass over the data, give the score, and differences of the score give the observed information. All
steps are taken in units of complete-data standard errors along directions that Q makes uncorrelated,
so neither the units of the data nor collinear columns matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from emtools.engine.chunks import Map, in_turn, total_stats
from emtools.engine.protocol import C, Floats, Model, P, S, Source
from emtools.engine.result import Fit
from emtools.engine.stopping import Status

STEP = 2e-2  # of all differences, in complete-data standard errors
# Search for the unit of a coordinate: wanted second difference of Q in nats, factor of a step, steps at most.
PROBE = 1e-2
GROWTH = 4.0
PROBES = 120
# An edge: third difference over the second, and second difference over `PROBE`, above which Q is no parabola.
LOPSIDED = 3.0
WALL = 32.0
# Whitening: rounds at most, largest deviation from the identity that ends them, smallest relative eigenvalue used.
ROUNDS = 4
WHITE = 0.1
SMALLEST = 1e-5
FLAT = 1e-3  # share of the information left along a direction, below which it counts as not identified
# Error of such a share by rounding, per nat of Q, and the error beyond which nothing is said.
ROUNDING = 1e-11
UNRESOLVED = 1e-2
# With held coordinates: an error so small beside the largest value of its array belongs to what is held.
VANISHED = 1e-9
LEAKS = 1e-3  # share of a parameter's movement along unidentified directions that costs it its error


@dataclass(frozen=True)
class Certificate:
    """What the curvature of the likelihood says of a fit.

    Parameters
    ----------
    kind : {"maximum", "flat", "saddle", "unknown"}
        Whether the observed information is positive definite, singular (over 99.9 % missing along some
        direction), indefinite, or beyond what float64 resolves.
    gap : float
        Gain still to come in nats, ½ gᵀ I⁻¹ g with score g and observed information I, along what
        is identified; NaN at a saddle.
    worst_error : float
        Largest distance of a packed parameter from the top, in its standard errors.
    rate : float
        Largest fraction of missing information: top eigenvalue of the EM rate matrix; above 1 at a saddle.
    standard_errors : dict of str to ndarray
        Per natural parameter, in its own unit; NaN where it is held at an edge or not identified.
    n_held : int
        Packed parameters at an edge of their space (a probability of zero), held fixed.
    """

    kind: str
    gap: float
    worst_error: float
    rate: float
    standard_errors: dict[str, Floats]
    n_held: int

    @property
    def sentence(self) -> str:
        """What a reader should know of it."""
        held = f" {self.n_held} probabilities at the edge of their range were held fixed." if self.n_held else ""
        if self.n_held == 1:
            held = " One probability at the edge of its range was held fixed."
        match self.kind:
            case "saddle":
                return f"This is a saddle, not a maximum (rate {self.rate:.4g} > 1): use more starts."
            case "unknown":
                return "The curvature could not be computed, so there are no standard errors."
            case "flat":
                what = "The likelihood is flat here, or nearly: what has no standard error is not identified by these data."
                return f"{what}{held}"
        missing = f"{100 * self.rate:.3g} % of the information is missing about what is hardest to see"
        return f"By the score, {self.gap:.1e} nats ({self.worst_error:.1e} standard errors) are left; {missing}.{held}"


def judge(fit: Fit[P, S], certificate: Certificate) -> Fit[P, S]:
    """The fit with what its certificate adds to the verdict; a climb that ended on a saddle has not converged.

    A fit that did not converge keeps its verdict: away from the top the curvature tells nothing of it.
    """
    if not fit.converged:
        return fit
    verdict = f"{fit.verdict} {certificate.sentence}"
    if certificate.kind == "saddle":
        return replace(fit, status=Status.SADDLE, gap=math.nan, rate=certificate.rate, verdict=certificate.sentence)
    return replace(fit, verdict=verdict)


@dataclass(frozen=True)
class Frame:
    """Directions in the packed space in which steps are taken.

    Parameters
    ----------
    packed : ndarray, shape (p,)
        Where they start.
    directions : ndarray, shape (p, f)
        One a column, each a complete-data standard error long.
    """

    packed: Floats
    directions: Floats

    @property
    def n(self) -> int:
        """Number of directions."""
        return int(self.directions.shape[1])

    def moved(self, i: int, step: float) -> Floats:
        """Packed parameters after `step` along direction `i`."""
        return self.packed + step * self.directions[:, i]

    def at(self, packed: Floats) -> Frame:
        """The same directions from another place."""
        return replace(self, packed=packed)


def certify(model: Model[P, S, C], source: Source[C], params: P, chunk_map: Map = in_turn) -> Certificate:
    """Observed information at `params` by differences of the score, in 4p + 1 passes over the data.

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
    Oakes (1999), J. R. Stat. Soc. B 61, 479-482, doi:10.1111/1467-9868.00188; Dempster, Laird & Rubin (1977),
    J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 3 for the rate matrix.
    """
    packed = model.pack(params)
    stats = total_stats(model, source, params, "soft", chunk_map)
    units = [coordinate_unit(model, stats, packed, i) for i in range(packed.size)]
    free = [i for i, unit in enumerate(units) if unit is not None]
    n_held = packed.size - len(free)
    unknown = no_errors(model, params, n_held)
    noise = ROUNDING * (1.0 + abs(model.expected_loglik(stats, params)))
    if not free or noise > UNRESOLVED:
        return unknown
    start = np.zeros((packed.size, len(free)))
    start[free, range(len(free))] = [unit for unit in units if unit is not None]
    whitened = whiten(model, stats, Frame(packed, start))
    if whitened is None:
        return unknown
    frame, complete = whitened

    def score_at(vector: Floats) -> Floats:
        at = model.unpack(vector)
        return slope(model, total_stats(model, source, at, "soft", chunk_map), frame.at(vector))

    information = np.empty((frame.n, frame.n))
    for i in range(frame.n):
        far, near = (score_at(frame.moved(i, -k * STEP)) - score_at(frame.moved(i, k * STEP)) for k in (2, 1))
        information[:, i] = (8.0 * near - far) / (12.0 * STEP)
    information = (information + information.T) / 2.0
    if not np.isfinite(information).all():
        return unknown
    return read_information(model, params, frame, slope(model, stats, frame), information, complete, unknown, noise)


def no_errors(model: Model[P, S, C], params: P, n_held: int) -> Certificate:
    """A certificate that says nothing."""
    nothing = {name: np.full(np.shape(value), math.nan) for name, value in model.natural(params).items()}
    return Certificate("unknown", math.nan, math.nan, math.nan, nothing, n_held)


def q_at(model: Model[P, S, C], stats: S, packed: Floats) -> float:
    """Q plus log prior in nats; NaN outside the space."""
    with np.errstate(all="ignore"):
        at = model.unpack(packed)
        return model.expected_loglik(stats, at) + model.log_prior(at)


def coordinate_unit(model: Model[P, S, C], stats: S, packed: Floats, i: int) -> float | None:
    """Complete-data standard error of packed parameter `i`, or None at an edge of its space.

    The step is sought over which the second difference of Q is about `PROBE` nats, whatever the unit.
    At an edge Q is level on one side and a wall on the other: the wall is met within one step, where a
    parabola would fall no more than 16-fold, or the third difference outgrows the second.
    """
    if not math.isfinite(packed[i]):
        return None

    def q(step: float) -> float:
        moved = packed.copy()
        moved[i] += step
        return q_at(model, stats, moved)

    here = q(0.0)
    step, drop, grown = 1e-4 * (1.0 + abs(packed[i])), math.nan, False
    for _ in range(PROBES):
        drop = 2.0 * here - q(step) - q(-step)
        if math.isnan(drop):
            return None
        if drop > GROWTH * PROBE and not grown:
            step /= GROWTH
        elif drop < PROBE:
            step, grown = step * GROWTH, True
        else:
            break
    else:
        return None
    lopsided = abs(q(2 * step) - q(-2 * step) - 2.0 * (q(step) - q(-step)))
    if not drop < WALL * PROBE or not lopsided < LOPSIDED * drop:
        return None
    return float(step / math.sqrt(drop))


def slope(model: Model[P, S, C], stats: S, frame: Frame) -> Floats:
    """Gradient of Q plus log prior along each direction of `frame`, in nats per standard error."""
    result = np.empty(frame.n)
    for i in range(frame.n):
        up, down = (q_at(model, stats, frame.moved(i, step)) for step in (STEP, -STEP))
        result[i] = (up - down) / (2.0 * STEP)
    return result


def whiten(model: Model[P, S, C], stats: S, frame: Frame) -> tuple[Frame, Floats] | None:
    """Directions along which the complete-data information is near the identity, and that information."""
    for _ in range(ROUNDS):
        complete = np.empty((frame.n, frame.n))
        for i in range(frame.n):
            up, down = (slope(model, stats, frame.at(frame.moved(i, step))) for step in (STEP, -STEP))
            complete[:, i] = (down - up) / (2.0 * STEP)
        complete = (complete + complete.T) / 2.0
        if not np.isfinite(complete).all():
            return None
        if np.abs(complete - np.eye(frame.n)).max() < WHITE:
            return frame, complete
        values, vectors = linalg.eigh(complete)
        values = np.maximum(values, SMALLEST * values[-1])
        frame = replace(frame, directions=frame.directions @ (vectors / np.sqrt(values)))
    return None


def read_information(
    model: Model[P, S, C],
    params: P,
    frame: Frame,
    score: Floats,
    information: Floats,
    complete: Floats,
    unknown: Certificate,
    noise: float,
) -> Certificate:
    """Kind, gap, rate and standard errors from score and information along the directions of `frame`."""
    shares, vectors = linalg.eigh(information, complete)
    rate, flat = float(1.0 - shares[0]), max(FLAT, noise)
    if shares[0] < -flat:
        return replace(unknown, kind="saddle", rate=rate)
    seen = shares > flat
    lengths = 1.0 / np.sqrt(shares[seen])
    spread = vectors[:, seen] * lengths
    along = spread.T @ score
    gap = 0.5 * float(along @ along)
    packed_spread = frame.directions @ spread
    packed_errors = np.sqrt((packed_spread**2).sum(axis=1))
    moved = packed_errors > 0.0
    worst = float(np.max(np.abs(packed_spread @ along)[moved] / packed_errors[moved], initial=0.0))
    errors = {
        name: delta_errors(rows, spread, vectors[:, ~seen]).reshape(unknown.standard_errors[name].shape)
        for name, rows in natural_jacobian(model, frame).items()
    }
    if unknown.n_held:
        natural = model.natural(params)
        for name, error in errors.items():
            error[error < VANISHED * np.abs(natural[name]).max()] = math.nan
    return Certificate("maximum" if seen.all() else "flat", gap, worst, rate, errors, unknown.n_held)


def delta_errors(rows: Floats, spread: Floats, hidden: Floats) -> Floats:
    """Standard errors by the delta method; NaN for what does not move, or moves along a hidden direction."""
    errors: Floats = np.sqrt(((rows @ spread) ** 2).sum(axis=1))
    size = np.sqrt((rows**2).sum(axis=1))
    leak = np.sqrt(((rows @ hidden) ** 2).sum(axis=1))
    return np.where((size > 0.0) & (leak <= LEAKS * size), errors, math.nan)


def natural_jacobian(model: Model[P, S, C], frame: Frame) -> dict[str, Floats]:
    """Change of each natural parameter along each direction of `frame`."""

    def at(i: int, step: float) -> dict[str, Floats]:
        natural = model.natural(model.unpack(frame.moved(i, step)))
        return {name: np.ravel(value) for name, value in natural.items()}

    pairs = [(at(i, -STEP), at(i, STEP)) for i in range(frame.n)]
    names = pairs[0][0]
    return {name: np.column_stack([(up[name] - down[name]) / (2.0 * STEP) for down, up in pairs]) for name in names}

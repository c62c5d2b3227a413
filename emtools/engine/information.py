"""Score, complete-data and observed information of a model, by differences of Q and of the E-step alone.

The score is the gradient of Q at its own point (Fisher's identity). The missing information is the mixed
derivative of ``Q(b | a)`` over the parameters `b` that Q is a function of and those `a` of the E-step
(Oakes 1999); what is observed is the complete-data information less that. All steps are taken in units
of complete-data standard errors along directions that Q makes uncorrelated, so neither the units of the
data nor collinear columns matter. Only a change of `a` costs a pass over the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import linalg

from emtools.engine.chunks import Map, total_stats
from emtools.engine.protocol import C, Floats, Model, P, S, Source, packed_objectives
from emtools.engine.spectrum import units

Places = npt.NDArray[np.int64]

# Search for the unit of a coordinate: first step, wanted second difference of Q in nats, factor of a step, steps at most.
FIRST = 1e-4
PROBE = 1e-2
GROWTH = 4.0
PROBES = 120
BLOCK = 64  # coordinates whose units are sought side by side
# An edge: third difference over the second, and second difference over `PROBE`, above which Q is no parabola.
LOPSIDED = 3.0
WALL = 32.0
# Whitening: step, rounds at most, largest deviation from the identity that ends them, smallest relative eigenvalue used.
ROUGH = 2e-2
ROUNDS = 4
WHITE = 0.1
SMALLEST = 1e-5
# Rounding of Q: step so small that third differences are rounding, their variance in units of it, relative floor.
TINY = 1e-5
THIRD = 20.0
EPSILON = 2e-16
SAMPLED = 16  # directions along which rounding and symmetry are looked at
# Step of all differences that count, between these bounds: truncation h⁴ / `TRUNCATION` meets rounding / h².
TRUNCATION = 30.0
SHORTEST, LONGEST = 5e-3, 0.1
AMPLIFIED = 10.0  # error of an eigenvalue over that of a second difference
LARGEST_SOUGHT = 100  # parameters whose edges are looked for before a climb ends


@dataclass(frozen=True)
class Frame:
    """Directions in the packed space in which steps are taken.

    Parameters
    ----------
    packed : ndarray, shape (p,)
        Where they start.
    directions : ndarray, shape (p, f)
        One a column, each about a complete-data standard error long.
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

    def along(self, steps: Floats) -> Floats:
        """Packed parameters after `steps`, shape (f,), one along each direction."""
        return self.packed + self.directions @ steps

    def at(self, packed: Floats) -> Frame:
        """The same directions from another place."""
        return replace(self, packed=packed)


@dataclass(frozen=True)
class Curvature:
    """The objective around a point, along the directions of `frame`.

    Parameters
    ----------
    frame : Frame
        f directions, near-orthonormal in the complete-data information.
    held : tuple of int
        Packed parameters at an edge of their space, which no direction moves.
    score : ndarray, shape (f,)
        Gradient of the objective, nats per unit of a direction.
    complete, observed : ndarray, shape (f, f)
        Information of complete and of observed data.
    noise : float
        Error of a share of the information, by rounding and by what should be symmetric and is not.
    step : float
        Step of the differences.
    """

    frame: Frame
    held: tuple[int, ...]
    score: Floats
    complete: Floats
    observed: Floats
    noise: float
    step: float


def q_at(model: Model[P, S, C], stats: S, packed: Floats) -> float:
    """Q plus log prior in nats; NaN outside the space."""
    with np.errstate(all="ignore"):
        at = model.unpack(packed)
        return model.expected_loglik(stats, at) + model.log_prior(at)


def q_at_all(model: Model[P, S, C], stats: S, places: Floats) -> Floats:
    """Q plus log prior in nats at packed parameters, shape (m, p); NaN outside the space."""
    with np.errstate(all="ignore"):
        return packed_objectives(model, places)(stats, len(places))


def coordinate_units(model: Model[P, S, C], stats: S, packed: Floats) -> list[float | None]:
    """Complete-data standard error of each packed parameter, or None at an edge of its space.

    The step is sought over which the second difference of Q is about `PROBE` nats, whatever the unit.
    At an edge Q is level on one side and a wall on the other: the wall is met within one step, where a
    parabola would fall no more than 16-fold, or the third difference outgrows the second.
    """
    here = q_at(model, stats, packed)
    finite = np.flatnonzero(np.isfinite(packed))
    units: list[float | None] = [None] * packed.size
    for block in range(0, finite.size, BLOCK):
        for i, unit in units_of(model, stats, packed, finite[block : block + BLOCK], here):
            units[i] = unit
    return units


def units_of(
    model: Model[P, S, C], stats: S, packed: Floats, which: Places, here: float
) -> Iterator[tuple[int, float]]:
    """Those of the packed parameters `which` that are at no edge, and their units; `here` is Q at `packed`."""

    def q(which: Places, steps: Floats) -> Floats:
        places = np.repeat(packed[None], which.size, axis=0)
        places[np.arange(which.size), which] += steps
        return q_at_all(model, stats, places)

    def both(which: Places, steps: Floats) -> tuple[Floats, Floats]:
        ahead, back = np.split(q(np.tile(which, 2), np.concatenate([steps, -steps])), 2)
        return ahead, back

    steps, grown = FIRST * (1.0 + np.abs(packed[which])), np.zeros(which.size, dtype=bool)
    for _ in range(PROBES):
        if not which.size:
            return
        ahead, back = both(which, steps)
        drops = 2.0 * here - ahead - back
        shrink = (drops > GROWTH * PROBE) & ~grown
        grow = ~shrink & (drops < PROBE)
        done = ~(shrink | grow)
        found = np.flatnonzero(done & (drops < WALL * PROBE))
        far_ahead, far_back = both(which[found], 2.0 * steps[found])
        lopsided = np.abs(far_ahead - far_back - 2.0 * (ahead[found] - back[found]))
        for k in found[lopsided < LOPSIDED * drops[found]]:
            yield int(which[k]), float(steps[k] / math.sqrt(drops[k]))
        steps = np.where(shrink, steps / GROWTH, steps * GROWTH)[~done]
        which, grown = which[~done], (grown | grow)[~done]


def free_units(model: Model[P, S, C], stats: S, packed: Floats) -> Floats:
    """Complete-data standard error of each packed parameter; 0.0 for what is at an edge of its space.

    With more than ``LARGEST_SOUGHT`` parameters edges are not looked for, and the errors are rough.
    """
    if packed.size > LARGEST_SOUGHT:
        return units(model, stats, packed)
    return np.array([unit or 0.0 for unit in coordinate_units(model, stats, packed)])


def free_frame(model: Model[P, S, C], stats: S, packed: Floats) -> tuple[Frame, tuple[int, ...]]:
    """One direction a packed parameter, a complete-data standard error long; and those held at an edge."""
    units = coordinate_units(model, stats, packed)
    free = [i for i, unit in enumerate(units) if unit is not None]
    directions = np.zeros((packed.size, len(free)))
    directions[free, range(len(free))] = [unit for unit in units if unit is not None]
    return Frame(packed, directions), tuple(i for i, unit in enumerate(units) if unit is None)


def rounding(model: Model[P, S, C], stats: S, frame: Frame) -> float:
    """Error of Q in nats: what is left of third differences over steps so short that Q is a parabola.

    References
    ----------
    Moré & Wild (2011), SIAM J. Sci. Comput. 33, 1292-1314, doi:10.1137/100786125, section 4.
    """
    sampled = range(0, frame.n, max(1, frame.n // SAMPLED))
    places = np.array([frame.moved(i, k * TINY) for i in sampled for k in range(-3, 4)])
    values = q_at_all(model, stats, places).reshape(-1, 7)
    largest = float(np.mean(np.diff(values, 3) ** 2, axis=1).max(initial=0.0)) / THIRD
    return max(math.sqrt(largest), EPSILON * (1.0 + abs(q_at(model, stats, frame.packed))))


def best_step(error: float) -> float:
    """Step at which truncation and rounding of a mixed difference of fourth order are alike."""
    return min(max(math.pow(TRUNCATION * error, 1.0 / 6.0), SHORTEST), LONGEST)


def slope(model: Model[P, S, C], stats: S, frame: Frame, step: float) -> Floats:
    """Gradient of Q plus log prior along each direction of `frame`, by differences of sixth order."""
    ways = (step * k * sign for k in (1, 2, 3) for sign in (1, -1))
    values = [q_at_all(model, stats, frame.packed + way * frame.directions.T) for way in ways]
    one, two, three = values[0] - values[1], values[2] - values[3], values[4] - values[5]
    result: Floats = (45.0 * one - 9.0 * two + three) / (60.0 * step)
    return result


def mixed(function: Callable[[int, int], Floats], step: float) -> Floats:
    """Mixed second derivatives at 0 of functions of two numbers of steps, to fourth order.

    Differences over ``(±1, ±1)`` and ``(±2, ±2)`` steps, extrapolated by Richardson's rule.
    """
    near, far = (function(k, k) - function(k, -k) - function(-k, k) + function(-k, -k) for k in (1, 2))
    return (4.0 * near - far / 4.0) / (12.0 * step**2)


def complete_information(model: Model[P, S, C], stats: S, frame: Frame, step: float, rough: bool = False) -> Floats:
    """Negative second derivatives of Q plus log prior along the directions of `frame`, shape (f, f).

    With `rough`, to second order only, at a quarter of the cost: two values of Q a pair.
    """
    result = np.empty((frame.n, frame.n))
    ways = frame.directions.T
    if rough:
        here = 2.0 * q_at(model, stats, frame.packed)
        alone = both_ways(model, stats, frame.packed, step * ways) - here
        for i in range(frame.n):
            together = both_ways(model, stats, frame.packed, step * ways[i] + step * ways[:i]) - here
            result[i, :i] = result[:i, i] = (alone[i] + alone[:i] - together) / (2.0 * step**2)
            result[i, i] = -alone[i] / step**2
        return result
    for i in range(frame.n):

        def q(a: int, b: int, i: int = i) -> Floats:
            return q_at_all(model, stats, frame.packed + step * (a * ways[i] + b * ways[: i + 1]))

        result[i, : i + 1] = result[: i + 1, i] = -mixed(q, step)
    return result


def both_ways(model: Model[P, S, C], stats: S, packed: Floats, ways: Floats) -> Floats:
    """Q plus log prior some ways ahead and as far back, added."""
    return q_at_all(model, stats, packed + ways) + q_at_all(model, stats, packed - ways)


def whiten(
    model: Model[P, S, C], stats: S, frame: Frame, step: float, rough: bool = False
) -> tuple[Frame, Floats] | None:
    """Directions along which the complete-data information is near the identity, and that information.

    None where there are none. With `rough`, to second order only.
    """
    complete = complete_information(model, stats, frame, ROUGH, rough=True)
    for _ in range(ROUNDS):
        if not np.isfinite(complete).all():
            return None
        values, vectors = linalg.eigh(complete)
        values = np.maximum(values, SMALLEST * values[-1])
        frame = replace(frame, directions=frame.directions @ (vectors / np.sqrt(values)))
        complete = complete_information(model, stats, frame, step, rough)
        if np.abs(complete - np.eye(frame.n)).max() < WHITE:
            return frame, complete
    return None


def missing_information(
    model: Model[P, S, C], source: Source[C], frame: Frame, step: float, chunk_map: Map
) -> tuple[Floats, float]:
    """Missing information along the directions of `frame`, in 4f passes; and the largest asymmetry found.

    Where the E-step is the conditional expectation under the model of Q, the matrix is symmetric; that is looked
    at in `SAMPLED` of its rows, and of the others only one side is computed.
    """
    ways = (-2, -1, 1, 2)
    result = np.full((frame.n, frame.n), np.nan)
    every = max(1, frame.n // SAMPLED)
    with np.errstate(all="ignore"):
        values = {b: packed_objectives(model, frame.packed + b * step * frame.directions.T, prior=False) for b in ways}
        for i in range(frame.n):
            stats = {
                a: total_stats(model, source, model.unpack(frame.moved(i, a * step)), "soft", chunk_map) for a in ways
            }
            n = i + 1 if i % every else frame.n

            def q(a: int, b: int, stats: dict[int, S] = stats, n: int = n) -> Floats:
                return values[b](stats[a], n)

            result[i, :n] = mixed(q, step)
    other = np.where(np.isnan(result), result.T, result)
    both = np.where(np.isnan(result.T), result, result.T)
    return (other + both) / 2.0, float(np.abs(other - both).max(initial=0.0))


def curvature(
    model: Model[P, S, C],
    source: Source[C],
    stats: S,
    frame: Frame,
    held: tuple[int, ...],
    chunk_map: Map,
    unresolved: float,
) -> Curvature | None:
    """Score and information at `frame`, in 4f passes; None where float64 does not resolve them to `unresolved`.

    References
    ----------
    Oakes (1999), J. R. Stat. Soc. B 61, 479-482, doi:10.1111/1467-9868.00188, eq. 2.
    """
    error = rounding(model, stats, frame)
    step = best_step(error)
    noise = AMPLIFIED * error / step**2
    white = whiten(model, stats, frame, step) if noise < unresolved else None
    if white is None:
        return None
    frame, complete = white
    missing, asymmetry = missing_information(model, source, frame, step, chunk_map)
    noise = max(noise, asymmetry)
    if not (np.isfinite(complete).all() and np.isfinite(missing).all() and noise < unresolved):
        return None
    return Curvature(frame, held, slope(model, stats, frame, step), complete, complete - missing, noise, step)


def natural_jacobian(model: Model[P, S, C], frame: Frame, step: float) -> dict[str, Floats]:
    """Change of each natural parameter along each direction of `frame`, shape (entries, f), to fourth order."""

    def at(i: int, k: int) -> dict[str, Floats]:
        natural = model.natural(model.unpack(frame.moved(i, k * step)))
        return {name: np.ravel(value) for name, value in natural.items()}

    rows: list[dict[str, Floats]] = []
    with np.errstate(all="ignore"):
        for i in range(frame.n):
            far_down, down, up, far_up = (at(i, k) for k in (-2, -1, 1, 2))
            rows.append({n: (8.0 * (up[n] - down[n]) - (far_up[n] - far_down[n])) / (12.0 * step) for n in up})
    return {name: np.column_stack([row[name] for row in rows]) for name in rows[0]}


def gain_to_the_top(
    model: Model[P, S, C],
    source: Source[C],
    start: S,
    frame: Frame,
    spread: Floats,
    along: Floats,
    step: float,
    chunk_map: Map,
    limits: tuple[float, float, int],
) -> tuple[float, Floats, int]:
    """Gain to the top of the hill in nats, the way there along the directions, and passes spent.

    At small gaps the parabola is right. Else quasi-Newton steps from the information at the start, each seen by
    a pass, halved while they do not rise, until what is left is small beside the whole.

    Parameters
    ----------
    start
        Statistics where the frame starts.
    spread : ndarray, shape (f, r)
        Root of the inverse information along what is identified.
    along : ndarray, shape (r,)
        ``spread.T @ score`` at the start.
    limits : tuple (small, settled, most)
        Gap in nats below which no step is taken; share of the gain at which steps end; passes at most.

    References
    ----------
    Nocedal & Wright (2006), Numerical Optimization, 2nd ed., eq. 6.17, for the update of the inverse information.
    """
    small, settled, most = limits
    base = start.loglik + model.log_prior(model.unpack(frame.packed))
    place, pull, inverse = np.zeros(along.size), along, np.eye(along.size)
    gained, damping, spent = 0.0, 1.0, 0
    left = 0.5 * float(pull @ pull)
    while left > max(small, settled * gained) and spent < most:
        move = damping * (inverse @ pull)
        packed = frame.along(spread @ (place + move))
        spent += 1
        try:
            with np.errstate(all="ignore"):
                params = model.unpack(packed)
                stats = total_stats(model, source, params, "soft", chunk_map)
                rise = stats.loglik + model.log_prior(params) - base
        except (np.linalg.LinAlgError, ArithmeticError):
            rise = math.nan
        if not rise > gained:
            damping /= 2.0
            continue
        ahead = spread.T @ slope(model, stats, frame.at(packed), step)
        if not np.isfinite(ahead).all():
            break
        turn = pull - ahead
        if (bend := float(turn @ move)) > 0.0:
            keep = np.eye(along.size) - np.outer(move, turn) / bend
            inverse = keep @ inverse @ keep.T + np.outer(move, move) / bend
        place, pull, gained, damping = place + move, ahead, rise, 1.0
        left = 0.5 * float(pull @ inverse @ pull)
    return gained + left, spread @ (place + inverse @ pull), spent

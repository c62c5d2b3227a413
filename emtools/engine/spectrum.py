"""A look at the EM map around a point, in a few passes: its largest rates, and the way and gain to the top."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Map, Threads, in_turn
from emtools.engine.protocol import C, Floats, Model, P, S, packed_objective

Objective = Callable[[Sequence[Floats]], list[float]]  # Q plus log prior in nats, of some packed parameters each

STEP = 1e-4  # of differences of the EM map, in complete-data standard errors
PROBE = 1e-2  # second difference of Q, in nats, over which the length of a direction is measured
PROBES = 40
FIRST = 0.1  # length that is tried first
FARTHEST = 4  # times eight that a step grows or shrinks at once
SLOPE_STEP = 2e-2  # of differences of Q, in complete-data standard errors
SETTLED = 0.05  # relative change of the gap that ends the look
LEVEL = 1e-3  # distance from 1 within which a rate may be 1
DEPENDENT = 1e-8  # length of what is new in a direction, below which it adds nothing
EDGE_STEP = 0.1  # of differences of Q along a coordinate at an edge
NARROW = 0.01  # of that step, where a top lies within it
AT_TOP = 1e-3  # distance from such a top, in the packed coordinate, that is no way out
INVISIBLE = 1e-14  # slope along it, relative to 1 + |Q|, that rounding can make
LARGEST_PROBED = 500  # coordinates whose unit is measured one by one
THREADED = 2_000  # coordinates from which two values of Q are worth two threads


@dataclass(frozen=True)
class Look:
    """What a look at the EM map tells.

    Parameters
    ----------
    rates : ndarray, shape (m,)
        Largest eigenvalues of the EM rate matrix, as far as `passes` passes tell, descending.
    directions : ndarray, shape (p, m)
        Their directions in the packed space, each a complete-data standard error long.
    level : ndarray, shape (p, l)
        Directions along which the rate is 1, as far as one tells: the likelihood is level to second order there.
    way : ndarray, shape (p,)
        Estimated step to the top of the hill in the packed space.
    gap : float
        Estimated gain along it in nats; infinite where a rate is not below 1.
    passes : int
        Passes over the data that the look took.
    complete : bool
        Whether all directions were looked at, so that nothing is left to chance.
    """

    rates: Floats
    directions: Floats
    level: Floats
    way: Floats
    gap: float
    passes: int
    complete: bool

    @property
    def rate(self) -> float:
        """Largest rate found."""
        return float(self.rates[0]) if self.rates.size else 0.0


def units(model: Model[P, S, C], stats: S, packed: Floats) -> Floats:
    """Rough complete-data standard error of each packed parameter, without a pass over the data.

    From the second difference of Q along each coordinate; 1.0 for those beyond the first
    ``LARGEST_PROBED``, and along those where Q is level or not finite.

    Returns
    -------
    ndarray, shape (p,)
    """
    result = np.ones(packed.size)
    q = packed_objective(model, stats)
    with np.errstate(all="ignore"):
        here = q(packed)
        for i in range(min(packed.size, LARGEST_PROBED)):
            step = np.zeros(packed.size)
            step[i] = 1e-4 * (1.0 + abs(packed[i]))
            curvature = (2.0 * here - q(packed + step) - q(packed - step)) / step[i] ** 2
            if math.isfinite(curvature) and curvature > 0.0:
                result[i] = curvature**-0.5
    return result


def objective_of(model: Model[P, S, C], stats: S, size: int, chunk_map: Map) -> Objective:
    """Q plus log prior of given statistics, several values at once where threads are there and `size` is worth them."""
    q = packed_objective(model, stats)
    spread = chunk_map if isinstance(chunk_map, Threads) and size >= THREADED else in_turn

    def value(packed: Floats) -> float:
        with np.errstate(all="ignore"):
            return float(q(packed))

    return lambda places: spread(value, places)


def length_of(objective: Objective, here: float, packed: Floats, direction: Floats, guess: float = FIRST) -> float:
    """Factor that makes `direction` one complete-data standard error long, `guess` perhaps; 0.0 where Q, `here` at its
    place, is level or walled off."""
    step = guess * math.sqrt(PROBE)
    for _ in range(PROBES):
        up, down = objective([packed + step * direction, packed - step * direction])
        drop = 2.0 * here - up - down
        if PROBE / 100.0 <= drop <= 100.0 * PROBE:
            return step / math.sqrt(drop)
        step *= 8.0 ** leap(drop)
    return 0.0


def leap(drop: float) -> int:
    """How many times the step of a second difference `drop` is to grow eightfold, so that it comes near `PROBE`; below 0
    to shrink. What lies far off is not trusted: Q is no parabola there, or rounding is all of it."""
    if not math.isfinite(drop) or drop <= 0.0:
        return 1 if drop <= 0.0 else -1
    times = round(math.log(PROBE / drop) / (2.0 * math.log(8.0)))
    return max(-FARTHEST, min(FARTHEST, times)) or (1 if drop < PROBE else -1)


def slope_along(objective: Objective, here: float, packed: Floats, way: Floats, guess: float = FIRST) -> float:
    """Derivative of the objective, `here` at its place, along `way` in nats, by differences of Q at its own point (Fisher's
    identity).

    Near an edge of the space, Q is level on one side and a wall on the other: the step then ends before the wall.
    """
    step = SLOPE_STEP * length_of(objective, here, packed, way, guess)
    if step == 0.0:
        step = 1.0
        for _ in range(PROBES):
            up, down = objective([packed + step * way, packed - step * way])
            if abs(2.0 * here - up - down) < PROBE:
                break
            step /= 8.0
    ahead, behind, beyond, before = objective([packed + k * step * way for k in (1, -1, 2, -2)])
    near, far = ahead - behind, beyond - before
    slope = (8.0 * near - far) / (12.0 * step)
    return slope if math.isfinite(slope) else near / (2.0 * step)


def beyond_the_edge(
    objective: Objective, here: float, packed: Floats, held: npt.NDArray[np.bool_]
) -> tuple[float, Floats]:
    """Gain that coordinates at an edge still make on their way out, in nats, and a way that makes nearly all of it.

    What is at an edge fades like ``exp(-x)`` in the packed coordinate x, as a probability does on the scale of log
    odds: its slope is the gain to come. The gain is infinite where a slope leads back from the edge. Where both ways fall
    and the slope is next to none, the place is not on its way out but at a top, if a broad one: a dispersion that can
    hardly be told from none.
    """
    gain, way = 0.0, np.zeros(packed.size)
    visible = INVISIBLE * (1.0 + abs(here))
    for i in np.flatnonzero(held):
        step = np.zeros(packed.size)
        step[i] = EDGE_STEP
        up, down = (value - here for value in objective([packed + step, packed - step]))
        slope = (up - down) / (2.0 * EDGE_STEP)
        if not abs(slope) > visible:
            continue
        if up < 0.0 and down < 0.0:
            ahead, behind = objective([packed + NARROW * step, packed - NARROW * step])
            near, bend = (ahead - behind) / (2.0 * NARROW * EDGE_STEP), -(up + down) / EDGE_STEP**2
            if abs(near) < AT_TOP * bend:
                gain += abs(near)
                way[i] = near / bend
                continue
        outwards = -math.copysign(1.0, abs(up) - abs(down))
        if slope * outwards < 0.0:
            return math.inf, np.zeros(packed.size)
        gain += abs(slope)
        way[i] = outwards * max(1.0, math.log(abs(slope) / visible))
    return gain, way


def look(
    model: Model[P, S, C],
    stats: S,
    packed: Floats,
    image: Floats,
    unit: Floats,
    em_map: Callable[[Floats], Floats | None],
    limit: int,
    seed: int = 0,
    rate_change: float = math.inf,
    chunk_map: Map = in_turn,
) -> Look:
    """Krylov subspace of the EM map around a point, from its residual and a random direction.

    The residual ``f = image - packed`` holds what separates the point from the top, the random direction
    what a symmetric point hides. With J the Jacobian of the map, the way to the top is ``(I - J)^-1 f``
    and the gain along it half the slope of the objective along it.

    Parameters
    ----------
    model, stats
        The model, and its expected statistics at the point.
    packed, image : ndarray, shape (p,)
        The point and its EM image.
    unit : ndarray, shape (p,)
        Scale of each coordinate; 0.0 for those that are held where they are.
    em_map : callable
        Packed image of a packed point, one pass over the data; None where there is none.
    limit : int
        Passes at most, at least 1.
    seed : int
        Of the random direction.
    rate_change : float
        Change of the largest rate, relative to its distance from 1, that ends the look together with a settled gap.
    chunk_map : Map
        Values of Q are computed in its threads, if it has any.

    References
    ----------
    Saad (2011), Numerical Methods for Large Eigenvalue Problems, section 6.2 (Arnoldi); Dempster, Laird &
    Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 3 (rate matrix).
    """
    p = packed.size
    free = (unit > 0.0) & np.isfinite(packed) & np.isfinite(image)
    unit = np.where(free, unit, 0.0)
    per_unit = np.divide(1.0, unit, out=np.zeros(p), where=free)
    n_free = int(free.sum())
    residual = np.where(free, image - packed, 0.0) * per_unit
    rng = np.random.default_rng(np.random.SeedSequence([seed, p]))
    basis = np.zeros((p, 0))
    products = np.zeros((p, 0))
    queue = [residual, rng.standard_normal(p) * free]
    passes, gap, settled, length = 0, math.inf if n_free else 0.0, 0, 0.0
    objective = objective_of(model, stats, p, chunk_map)
    (here,) = objective([packed])
    edge_gain, edge_way = beyond_the_edge(objective, here, packed, ~free & np.isfinite(packed))
    rates, directions, way = np.zeros(0), np.zeros((p, 0)), residual * unit
    while passes < min(limit, n_free) and queue:
        fresh = queue.pop(0)
        size = float(np.linalg.norm(fresh))
        for _ in range(2):
            fresh = fresh - basis @ (basis.T @ fresh)
        new = float(np.linalg.norm(fresh))
        if not new > DEPENDENT * size:
            if not queue and basis.shape[1] < n_free:
                queue.append(rng.standard_normal(p) * free)
            continue
        direction = fresh / new
        length = length_of(objective, here, packed, direction * unit, length or FIRST)
        step = STEP * (length or 1.0)
        moved = em_map(packed + step * direction * unit)
        passes += 1
        if moved is None:
            continue
        product = np.where(free, moved - image, 0.0) * per_unit / step
        basis, products = np.column_stack([basis, direction]), np.column_stack([products, product])
        queue.append(product)
        values, vectors = np.linalg.eig(basis.T @ products)
        order = np.argsort(-values.real)
        before_rate = float(rates[0]) if rates.size else -math.inf
        rates = values.real[order]
        directions = np.real(basis @ vectors[:, order]) * unit[:, None]
        if rates[0] >= 1.0:
            gap = math.inf
            continue
        small = np.linalg.solve(np.eye(basis.shape[1]) - basis.T @ products, basis.T @ residual)
        way = (basis @ small) * unit
        guess = (length or FIRST) / max(float(np.linalg.norm(small)), DEPENDENT)
        slope = slope_along(objective, here, packed, way, guess) if way.any() else 0.0
        before, gap = gap, math.inf if math.isnan(slope) else max(0.0, 0.5 * slope)
        steady = not rates[0] - before_rate > rate_change * (1.0 - rates[0])
        settled = settled + 1 if abs(gap - before) <= SETTLED * gap and steady else 0
        if settled >= 4 and passes >= 8:
            break
    level = np.zeros((p, 0))
    if rates.size and rates[0] > 1.0 - LEVEL:
        _, singular, right = np.linalg.svd(basis.T @ products - np.eye(basis.shape[1]))
        level = (basis @ right[singular < LEVEL].T) * unit[:, None]
    for part in (directions, level):
        part *= [length_of(objective, here, packed, part[:, i], length or FIRST) for i in range(part.shape[1])]
    return Look(rates, directions, level, way + edge_way, gap + edge_gain, passes, basis.shape[1] == n_free)

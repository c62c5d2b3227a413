"""Curvature of a fit with many parameters: the EM map seen along a few directions, errors block by block.

The rate matrix J of EM is self-adjoint in the complete-data information C. With its eigenvectors u, each a
complete-data standard error long, the covariance of the estimates is the inverse of C, which costs no pass
over the data, plus ``Σ λ / (1 - λ) u uᵀ``. A Krylov subspace finds the largest λ; what lies outside of it
is given the mean rate of its block, from random directions. All of it is an estimate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, cast

import numpy as np
from scipy import linalg

from emtools.engine.chunks import Map, total_stats
from emtools.engine.information import ROUGH, Frame, best_step, natural_jacobian, q_at, rounding, whiten
from emtools.engine.protocol import C, Floats, Model, P, S, Source
from emtools.engine.spectrum import Look, look, objective_of, slope_along

PASSES = 25  # of the look at the EM map, at most
RATE_CHANGE = 0.01  # of the largest rate, relative to its distance from 1, at which it counts as settled
LOOKS = 4  # random directions for the mean rates of the blocks, two passes each
KEPT = 10  # directions of the subspace that enter the errors
HIGHEST = 0.999  # mean rate of a block, at most
WORST = 1e-3  # eigenvalue of the Gram matrix of the directions, relative to its first entry, at least
# Blocks: change of a natural parameter, relative to the largest of its array, that counts; sum of squared sizes, times p, at most;
# information shared with all else, in complete-data standard errors, that spoils one; looks at that.
MOVES = 1e-9
BUDGET = 12_000_000
COUPLED = 0.05
TRIALS = 3


@dataclass(frozen=True)
class Estimate:
    """What a few passes tell of the curvature.

    Parameters
    ----------
    look : Look
        Rates and gap; ways and directions in the free packed parameters.
    step_gain : float
        Gain of the next EM step in nats, roughly, and what is left uphill along rates above 1.
    directions : ndarray, shape (p, m)
        Directions of the rates in the whole packed space, each a complete-data standard error long.
    complete, errors : dict of str to ndarray, shape (entries,)
        Standard errors that complete data would give, and those of these data; NaN where they were not found.
    passes : int
        Passes over the data.
    """

    look: Look
    step_gain: float
    directions: Floats
    complete: dict[str, Floats]
    errors: dict[str, Floats]
    passes: int


@dataclass(frozen=True)
class Reduced(Generic[P, S, C]):
    """A model as a function of its free packed parameters, the others held."""

    model: Model[P, S, C]
    packed: Floats
    free: tuple[int, ...]

    def whole(self, vector: Floats) -> Floats:
        """All packed parameters."""
        full = self.packed.copy()
        full[list(self.free)] = vector
        return full

    def unpack(self, vector: Floats) -> P:
        """Parameters of the model."""
        return self.model.unpack(self.whole(vector))

    def expected_loglik(self, stats: S, params: P) -> float:
        """Q of the model."""
        return self.model.expected_loglik(stats, params)

    def log_prior(self, params: P) -> float:
        """Prior of the model."""
        return self.model.log_prior(params)


def estimate(
    model: Model[P, S, C],
    source: Source[C],
    stats: S,
    packed: Floats,
    units: Floats,
    chunk_map: Map,
    seed: int,
    errors: bool = True,
) -> Estimate | None:
    """Rates, gap and standard errors; None where there is no EM image.

    Parameters
    ----------
    stats
        Expected statistics at `packed`.
    packed, units : ndarray, shape (p,)
        Where; complete-data standard error of each packed parameter, or so, 0 where it is held.
    seed : int
        Root of the random directions.
    errors : bool
        Whether standard errors are looked for.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 3;
    Hutchinson (1990), Commun. Stat. Simul. 19, 433-450, doi:10.1080/03610919008812866, for the mean rates.
    """
    free = np.flatnonzero(units)
    reduced = Reduced(model, packed, tuple(free.tolist()))

    def em_image(params: P, expected: S) -> Floats:
        return model.pack(model.m_step(expected, params))[free]

    def em_map(vector: Floats) -> Floats | None:
        try:
            with np.errstate(all="ignore"):
                params = reduced.unpack(vector)
                image = em_image(params, total_stats(model, source, params, "soft", chunk_map))
        except (np.linalg.LinAlgError, ArithmeticError):
            return None
        return image if np.isfinite(image).all() else None

    image = em_image(model.unpack(packed), stats)
    if not np.isfinite(image).all():
        return None
    step_gain = 0.5 * float(np.sum(((image - packed[free]) / units[free]) ** 2))
    seen = look(
        cast("Any", reduced), stats, packed[free], image, units[free], em_map, PASSES, seed, RATE_CHANGE, chunk_map
    )
    directions = np.zeros((packed.size, seen.directions.shape[1]))
    directions[free] = seen.directions
    objective = objective_of(model, stats, packed.size, chunk_map)
    (here,) = objective([packed])
    for k in np.flatnonzero(seen.rates > 1.0):
        pull = slope_along(objective, here, packed, directions[:, k])
        step_gain += 0.5 * pull**2 / float(seen.rates[k] - 1.0)
    if errors:
        frame = Frame(packed, np.diag(units)[:, free])
        complete, observed, spent = block_errors(model, source, stats, frame, seen.rates, directions, chunk_map, seed)
    else:
        complete, spent = {n: np.full(np.size(v), np.nan) for n, v in model.natural(model.unpack(packed)).items()}, 0
        observed = complete
    return Estimate(seen, step_gain, directions, complete, observed, seen.passes + spent)


def blocks_of(model: Model[P, S, C], frame: Frame) -> list[tuple[list[int], set[tuple[str, int]]]]:
    """Directions that move the same rows of natural parameters together, and these rows, the smallest first.

    A row is a natural parameter and the first of its indices, or the whole of one with a single axis.
    """
    base = {n: np.asarray(v, dtype=np.float64) for n, v in model.natural(model.unpack(frame.packed)).items()}
    parent: dict[tuple[str, int], tuple[str, int]] = {}

    def root(row: tuple[str, int]) -> tuple[str, int]:
        while parent.setdefault(row, row) != row:
            row = parent[row]
        return row

    first: list[tuple[str, int] | None] = []
    for i in range(frame.n):
        with np.errstate(all="ignore"):
            after = model.natural(model.unpack(frame.moved(i, 1.0)))
        touched = []
        for name, value in base.items():
            change = np.abs(np.asarray(after[name]) - value) > MOVES * np.abs(value).max(initial=0.0)
            rows = (
                np.flatnonzero(change.any(axis=tuple(range(1, change.ndim))))
                if change.ndim > 1
                else [0] * bool(change.any())
            )
            touched += [(name, int(row)) for row in rows]
        for row in touched[1:]:
            parent[root(row)] = root(touched[0])
        first.append(touched[0] if touched else None)
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, start in enumerate(first):
        if start is not None:
            members[root(start)].append(i)
    found = [(columns, {row for row in list(parent) if root(row) == top}) for top, columns in members.items()]
    return sorted(found, key=lambda block: (len(block[0]), block[0]))


def cross(first: Callable[[Floats], float], packed: Floats, one: Floats, other: Floats, step: float) -> float:
    """Mixed second derivative of a function of packed parameters along two ways, to second order."""
    up, down = (first(packed + step * (one + k * other)) - first(packed + step * (-one + k * other)) for k in (1, -1))
    return (up - down) / (4.0 * step**2)


def block_errors(
    model: Model[P, S, C],
    source: Source[C],
    stats: S,
    frame: Frame,
    rates: Floats,
    directions: Floats,
    chunk_map: Map,
    seed: int,
) -> tuple[dict[str, Floats], dict[str, Floats], int]:
    """Standard errors of complete and of observed data by natural parameter, and passes spent.

    A block that shares information with the others, or is too large to look at, gets none.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, frame.n, 1]))
    step = best_step(rounding(model, stats, frame))
    natural = model.natural(model.unpack(frame.packed))
    variances = {name: np.full(np.size(value), np.nan) for name, value in natural.items()}
    whole = {name: variance.copy() for name, variance in variances.items()}

    def q(packed: Floats) -> float:
        return q_at(model, stats, packed)

    kept, left = [], BUDGET // frame.packed.size
    for columns, rows in blocks_of(model, frame):
        left -= len(columns) ** 2
        if left < 0:
            break
        own = Frame(frame.packed, frame.directions[:, columns])
        rest = np.delete(frame.directions, columns, axis=1)
        if any(
            abs(cross(q, frame.packed, own.directions @ signs(rng, own.n), rest @ signs(rng, rest.shape[1]), step))
            > COUPLED * own.n**0.5
            for _ in range(TRIALS)
        ):
            continue
        white = whiten(model, stats, own, ROUGH, rough=True)
        if white is None:
            continue
        own, information = white
        spread = own.directions @ linalg.cholesky(linalg.inv(information), lower=True)
        kept.append((Frame(frame.packed, spread), rows))
    if not kept:
        return whole, variances, 0

    ways = orthonormal(q, frame.packed, directions[:, (rates > 0.0) & (rates < 1.0)][:, :KEPT], step)
    top = rates[(rates > 0.0) & (rates < 1.0)][: ways.shape[1]]
    along = natural_jacobian(model, Frame(frame.packed, ways), step) if ways.shape[1] else {}
    mean_rates, spent = block_rates(
        model, source, q, frame.packed, [b for b, _ in kept], ways, top, step, rng, chunk_map
    )
    for (block, rows), rate in zip(kept, mean_rates, strict=True):
        for name, jacobian in natural_jacobian(model, block, step).items():
            shape = np.shape(natural[name])
            places = np.arange(jacobian.shape[0]).reshape(shape or (1,))
            mine = np.concatenate(
                [np.ravel(places[row] if len(shape) > 1 else places) for other, row in sorted(rows) if other == name]
                or [np.zeros(0, dtype=np.intp)]
            )
            whole[name][mine] = (jacobian[mine] ** 2).sum(axis=1)
            part = along[name][mine] ** 2 if along else np.zeros((mine.size, 0))
            bulk = np.maximum(whole[name][mine] - part.sum(axis=1), 0.0)
            variances[name][mine] = bulk / (1.0 - rate) + (part / (1.0 - top)).sum(axis=1)
    return {n: np.sqrt(v) for n, v in whole.items()}, {n: np.sqrt(v) for n, v in variances.items()}, spent


def signs(rng: np.random.Generator, n: int) -> Floats:
    """Random signs."""
    return rng.choice(np.array([-1.0, 1.0]), size=n)


def orthonormal(q: Callable[[Floats], float], packed: Floats, ways: Floats, step: float) -> Floats:
    """The ways made orthonormal in the information of `q`, the first kept as it is but for its length."""
    n = ways.shape[1]
    gram = np.array([[-cross(q, packed, ways[:, i], ways[:, j], step) for j in range(n)] for i in range(n)])
    gram = (gram + gram.T) / 2.0
    while n and not (np.isfinite(gram[:n, :n]).all() and linalg.eigvalsh(gram[:n, :n])[0] > WORST * gram[0, 0]):
        n -= 1
    if not n:
        return ways[:, :0]
    factor = linalg.cholesky(gram[:n, :n], lower=True)
    return np.asarray(linalg.solve_triangular(factor, ways[:, :n].T, lower=True).T, dtype=np.float64)


def block_rates(
    model: Model[P, S, C],
    source: Source[C],
    q: Callable[[Floats], float],
    packed: Floats,
    blocks: list[Frame],
    ways: Floats,
    rates: Floats,
    step: float,
    rng: np.random.Generator,
    chunk_map: Map,
) -> tuple[Floats, int]:
    """Mean fraction of missing information of each block apart from `ways`, and passes spent."""
    missing, there = np.zeros(len(blocks)), np.zeros(len(blocks))
    for _ in range(LOOKS):
        parts = [block.directions @ signs(rng, block.n) for block in blocks]
        way = np.sum(parts, axis=0)
        up, down = (
            total_stats(model, source, model.unpack(packed + k * step * way), "soft", chunk_map) for k in (1, -1)
        )

        def change(at: Floats, up: S = up, down: S = down) -> float:
            return q_at(model, up, at) - q_at(model, down, at)

        shared = np.array([-cross(q, packed, way, ways[:, k], step) for k in range(ways.shape[1])])
        for b, part in enumerate(parts):
            mine = np.array([-cross(q, packed, part, ways[:, k], step) for k in range(ways.shape[1])])
            slope = (change(packed + step * part) - change(packed - step * part)) / (4.0 * step**2)
            missing[b] += slope - float(mine @ (rates * shared))
            there[b] += blocks[b].n - float(mine @ mine)
    with np.errstate(all="ignore"):
        means = np.where(there > 0.0, missing / there, 0.0)
    clipped: Floats = np.clip(means, 0.0, HIGHEST)
    return clipped, 2 * LOOKS

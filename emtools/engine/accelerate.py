"""Longer steps than EM's, from the steps that EM has taken: SQUAREM first, then damped Anderson mixing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from emtools.engine.protocol import Floats

PLAIN_PASSES = 5  # of EM as it is: long steps from far away change the hill more often
SQUAREM_PASSES = 12
ORDER = 10  # differences that Anderson mixing remembers
# Damping of the mixing: 1 / (1 + GROWTH ** (PATIENCE - trust)) of the squared length of the undamped solution is
# kept; an accepted step adds one to the trust, a rejected one takes off as many as there are differences.
GROWTH = 1.2
PATIENCE = 10
DISTRUST = 2 * ORDER
# Refusals, less steps kept, after which SQUAREM takes over for some passes: on a plateau the residual grows, and
# mixing looks for the stationary point behind.
DOUBTS = 4
RETREAT = 8  # passes of the first retreat; each further one is twice as long until mixing holds again
WORTH = 1.01  # step ratio below which EM's own step is as good
SHORTEST = 2.0  # bounds of the step ratio of SQUAREM, and its growth after a step at the bound
LENGTHEN = 4.0
HALVINGS = 60
RANK = 1e-10  # smallest singular value used, relative to the largest


@dataclass
class Accelerator:
    """Proposals in the packed space; the loop keeps one only where the objective does not fall.

    Each call of `propose` gives the place ``x``, its EM image ``g`` and, where the map was taken as it is
    before, learns the difference of both. SQUAREM (scheme S3) is used for the first passes, where the map is
    far from linear, and then Anderson mixing with the damping of DAAREM, but with a sliding memory: restarts
    every ``ORDER`` steps took twice as many passes on the Poisson mixture of docs/design/acceleration.md.

    References
    ----------
    Varadhan & Roland (2008), Scand. J. Stat. 35, 335-353, doi:10.1111/j.1467-9469.2007.00585.x, eqs 8-10;
    Henderson & Varadhan (2019), J. Comput. Graph. Stat. 28, 834-846, doi:10.1080/10618600.2019.1594835,
    eqs 5-9; Anderson (1965), J. ACM 12, 547-560, doi:10.1145/321296.321305.
    """

    order: int = ORDER
    plain_left: int = field(default_factory=lambda: PLAIN_PASSES)
    squarem_left: int = field(default_factory=lambda: SQUAREM_PASSES)
    doubt: int = 0
    retreat: int = field(default_factory=lambda: RETREAT)
    longest: float = field(default_factory=lambda: LENGTHEN)
    taken: float = 0.0
    trust: int = 0
    unit: Floats | None = None
    before: tuple[Floats, Floats] | None = None
    anchor: tuple[Floats, Floats] | None = None
    moves: list[Floats] = field(default_factory=list)
    changes: list[Floats] = field(default_factory=list)

    def learn(self, x: Floats, residual: Floats) -> None:
        """Remember how the residual ``g - x`` changed with the last move."""
        if self.before is not None:
            self.moves.append(x - self.before[0])
            self.changes.append(residual - self.before[1])
            limit = min(self.order, x.size)
            del self.moves[:-limit], self.changes[:-limit]
        self.before = (x, residual)

    def propose(self, x: Floats, image: Floats, unit: Callable[[], Floats]) -> Floats | None:
        """The next place to try, or None for the EM image itself.

        Parameters
        ----------
        x, image : ndarray, shape (p,)
            Packed parameters and their EM image.
        unit : callable
            Gives the scale of each coordinate, shape (p,); asked when mixing.
        """
        residual = image - x
        self.learn(x, residual)
        if self.plain_left > 0:
            self.plain_left -= 1
            return None
        if self.squarem_left > 0:
            self.squarem_left -= 1
            proposal = self.squarem(x, image)
        else:
            self.unit = unit()
            proposal = self.mix(x, residual, 1.0 / (1.0 + GROWTH ** (PATIENCE - self.trust)))
        return proposal if proposal is not None and np.isfinite(proposal).all() else None

    def squarem(self, x: Floats, image: Floats) -> Floats | None:
        """Every second time, the squared extrapolation of the last two EM steps."""
        if self.anchor is None or not np.array_equal(self.anchor[1], x):
            self.anchor = (x, image)
            return None
        start, _ = self.anchor
        self.anchor = None
        first = x - start
        second = (image - x) - first
        length = float(np.linalg.norm(second))
        ratio = min(float(np.linalg.norm(first)) / length, self.longest) if length > 0.0 else 1.0
        self.taken = ratio
        return start + 2.0 * ratio * first + ratio * ratio * second if ratio > WORTH else None

    def mix(self, x: Floats, residual: Floats, kept: float) -> Floats | None:
        """Anderson mixing: the place where the remembered differences would cancel the residual.

        Parameters
        ----------
        x, residual : ndarray, shape (p,)
            Packed parameters, and their EM image minus them.
        kept : float
            Share of the squared length of the undamped solution that is kept; 1.0 for no damping.
        """
        if not self.moves:
            return None
        unit = self.unit if self.unit is not None else np.ones_like(x)
        changes, moves = np.array(self.changes), np.array(self.moves)
        scaled = changes / unit
        lengths = np.linalg.norm(scaled, axis=1)
        used = lengths > 0.0
        if not used.any():
            return None
        scaled = scaled[used] / lengths[used, None]
        weights = np.zeros(len(lengths))
        weights[used] = damped(scaled, residual / unit, kept) / lengths[used]
        mixed: Floats = x + residual - weights @ moves - weights @ changes
        return mixed

    def rate(self) -> float:
        """Largest rate of EM on the span of the remembered moves, by least squares; NaN where there is none."""
        if not self.moves:
            return math.nan
        moves, changes = np.array(self.moves), np.array(self.changes)
        lengths = np.linalg.norm(moves, axis=1)[:, None]
        if not lengths.all():
            return math.nan
        moves, changes = moves / lengths, changes / lengths
        inner = np.linalg.pinv(moves @ moves.T, rcond=RANK, hermitian=True) @ (moves @ changes.T)
        return 1.0 + float(np.linalg.eigvals(inner).real.max()) if np.isfinite(inner).all() else math.nan

    def accepted(self, kept: bool) -> None:
        """Learn whether the last proposal was kept."""
        if self.taken > 0.0:
            if not kept:
                self.longest = max(SHORTEST, self.taken / LENGTHEN)
            elif self.taken == self.longest:
                self.longest *= LENGTHEN
            self.taken = 0.0
            return
        self.trust = self.trust + 1 if kept else max(self.trust - max(1, len(self.moves)), -DISTRUST)
        self.doubt = max(0, self.doubt - 1) if kept else self.doubt + 1
        if self.doubt >= DOUBTS:
            self.squarem_left, self.doubt, self.anchor = self.retreat, 0, None
            self.retreat *= 2
        elif self.trust > ORDER:
            self.retreat = RETREAT

    def forget(self) -> None:
        """Start anew after a jump."""
        self.before = self.anchor = None
        self.moves, self.changes = [], []
        self.trust = 0


def damped(rows: Floats, target: Floats, kept: float) -> Floats:
    """Ridge solution of ``w @ rows = target`` whose squared length is `kept` of that of least squares.

    Parameters
    ----------
    rows : ndarray, shape (m, p)
        Of length one; m <= p.
    target : ndarray, shape (p,)
        Right-hand side.
    kept : float
        In (0, 1].

    Returns
    -------
    ndarray, shape (m,)
    """
    triangle = np.asarray(np.linalg.qr(np.vstack([rows, target]).T, mode="r"))
    left, values, right = np.linalg.svd(triangle[:, :-1], full_matrices=False)
    seen = values > RANK * values[0]
    left, values, right = left[:, seen], values[seen], right[seen]
    projected = left.T @ triangle[:, -1]
    weights = projected / values
    wanted = kept * float(weights @ weights)
    if kept < 1.0 and wanted > 0.0:
        low, high = 0.0, float(np.linalg.norm(projected * values)) / wanted**0.5
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            weights = values * projected / (values**2 + middle)
            low, high = (middle, high) if weights @ weights > wanted else (low, middle)
    solution: Floats = right.T @ weights
    return solution

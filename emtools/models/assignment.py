"""From the assignment that a caller asks for to the shares of the hidden values of a chunk."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from emtools.engine.protocol import Annealed, Assign, Floats, Sampled
from emtools.errors import InputError
from emtools.kernels.logspace import assign_rows

EVERY_KIND = ("soft", "hard", "annealed", "sampled")


def kind_of(assign: Assign, offered: Collection[str] = EVERY_KIND) -> str:
    """The kind of an assignment, ``"soft"``, ``"hard"``, ``"annealed"`` or ``"sampled"``.

    Raises
    ------
    InputError
        If it is not one of `offered`, or its power is not a positive finite number.
    """
    kind = assign if isinstance(assign, str) else type(assign).__name__.lower()
    if kind not in offered:
        raise InputError("assign", repr(assign), f"one of {', '.join(offered)}")
    if isinstance(assign, Annealed) and not 0.0 < assign.power < np.inf:
        raise InputError("assign", f"power {assign.power}", "a positive finite number")
    return kind


def generator(assign: Sampled, first: int) -> np.random.Generator:
    """What a chunk draws from: it depends on the seed and the number of its first unit alone."""
    return np.random.default_rng(np.random.SeedSequence([*assign.seed, first]))


def shared_rows(log_joint: Floats, weights: Floats, assign: Assign, first: int = 0) -> tuple[Floats, float, float]:
    """Shares of the hidden values of each row under any assignment, with log-likelihood and entropy.

    Parameters
    ----------
    log_joint : ndarray, shape (n, K)
        Log of the joint density of row and hidden value, in nats.
    weights : ndarray, shape (n,)
        Non-negative weight of each row.
    assign : Assign
        Any kind.
    first : int
        Number of the first row of the chunk.

    Returns
    -------
    shares : ndarray, shape (n, K)
        Of each row, not multiplied by its weight.
    loglik, entropy : float
        Nats; see `emtools.kernels.logspace.assign_rows`.

    Raises
    ------
    InputError
        If `assign` is unknown or its power is not a positive finite number.

    Examples
    --------
    >>> shares, loglik, entropy = shared_rows(np.log([[0.1, 0.3]]), np.ones(1), Annealed(2.0))
    >>> shares.round(3).tolist(), round(loglik, 3), round(entropy, 3)
    ([[0.1, 0.9]], -1.151, 0.163)
    """
    match kind_of(assign):
        case "hard":
            return assign_rows(log_joint, weights, power=np.inf)
        case "annealed":
            assert isinstance(assign, Annealed)
            return assign_rows(log_joint, weights, power=assign.power)
        case "sampled":
            assert isinstance(assign, Sampled)
            return assign_rows(log_joint, weights, rng=generator(assign, first))
        case _:
            return assign_rows(log_joint, weights)

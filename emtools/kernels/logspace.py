"""Sums of numbers kept as their logarithms."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NARROW = 7  # columns up to which numpy adds in their order too, so that the sum is the same


def across(ufunc: np.ufunc, values: Floats) -> Floats:
    """``ufunc.reduce(values, axis=-1)``; column by column where there are few, which takes a third of the time.

    Parameters
    ----------
    ufunc : numpy.ufunc
        ``np.add`` or ``np.maximum``.
    values : ndarray, shape (..., K)
        K at least 1.

    Returns
    -------
    ndarray, shape (...,)
    """
    few = 1 < values.shape[-1] <= NARROW
    if not few:
        return np.asarray(ufunc.reduce(values, axis=-1))
    result: Floats = reduce(ufunc, values.T if values.ndim < 3 else np.moveaxis(values, -1, 0))
    return result


def logsumexp_rows(log_values: Floats) -> Floats:
    """Log of the sum of exponentials along the last axis.

    Parameters
    ----------
    log_values : ndarray, shape (..., K)
        Logarithms; minus infinity stands for zero.

    Returns
    -------
    ndarray, shape (...,)
        Minus infinity where a whole row is zero.

    Examples
    --------
    >>> logsumexp_rows(np.array([[0.0, -np.inf], [-np.inf, -np.inf]])).tolist()
    [0.0, -inf]
    """
    return normalise_rows(log_values)[1]


def normalise_rows(log_values: Floats) -> tuple[Floats, Floats]:
    """Divide each row by its sum, in log space.

    The largest is taken off first, so that the shares sum to 1 to the last digit however large the logarithms are.

    Parameters
    ----------
    log_values : ndarray, shape (..., K)
        Logarithms of non-negative numbers.

    Returns
    -------
    log_shares : ndarray, shape (..., K)
        Logarithms of shares that sum to 1 along a row; NaN where all of it is zero.
    log_sums : ndarray, shape (...,)
        Logarithms of the sums of the rows.
    """
    highest = across(np.maximum, log_values)
    shift = np.where(np.isneginf(highest), 0.0, highest)
    shifted = log_values - shift[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rest = np.log(across(np.add, np.exp(shifted)))
        return shifted - log_rest[..., None], shift + log_rest


def entropy_rows(shares: Floats, log_shares: Floats) -> Floats:
    """Entropy of each row in nats; 0 log 0 is 0.

    Parameters
    ----------
    shares : ndarray, shape (n, K)
        Shares that sum to 1 along a row.
    log_shares : ndarray, shape (n, K)
        Their logarithms.

    Returns
    -------
    ndarray, shape (n,)
    """
    entropies: Floats = -np.einsum("...k,...k->...", shares, np.where(shares > 0.0, log_shares, 0.0))
    return entropies


def assign_rows(
    log_joint: Floats, weights: Floats, power: float = 1.0, rng: np.random.Generator | None = None
) -> tuple[Floats, float, float]:
    """Shares of K hidden values in each row, and the log-likelihood and entropy that go with them.

    With ``q = p**b / Σ p**b`` along a row, `loglik` is ``Σ w (1/b) log Σ p**b`` and `entropy` ``Σ w H(q) / b``, so that
    ``loglik == Σ w q log p + entropy``. The power 1 is the soft E-step. At infinity the first of the largest takes the
    row, its `loglik` is ``Σ w max log p``, and the entropy is 0.

    Parameters
    ----------
    log_joint : ndarray, shape (n, K)
        Log of the joint density p of row and hidden value, in nats.
    weights : ndarray, shape (n,)
        Non-negative weight of each row.
    power : float
        Inverse temperature b, above 0.
    rng : Generator, optional
        Draws hidden values from q instead: a row of weight w stands for its whole part of units, each with a draw of
        its own, and one draw for the rest. `loglik` is then ``Σ w s log p`` with the drawn shares s, the entropy 0.

    Returns
    -------
    shares : ndarray, shape (n, K)
        Rows sum to 1; drawn ones are zero where the weight is. A row of weight 0 that is impossible has equal shares.
    loglik : float
        Nats.
    entropy : float
        Nats.

    References
    ----------
    Neal & Hinton (1998), doi:10.1007/978-94-011-5014-9_12, eq. 7; Ueda & Nakano (1998),
    doi:10.1016/S0893-6080(97)00133-0, eqs 13-17; Celeux & Govaert (1992), doi:10.1016/0167-9473(92)90042-E, section 3.

    Examples
    --------
    >>> log_joint, one = np.log([[0.1, 0.3]]), np.ones(1)
    >>> assign_rows(log_joint, one)[0].round(3).tolist()
    [[0.25, 0.75]]
    >>> assign_rows(log_joint, one, power=np.inf)[0].tolist()
    [[0.0, 1.0]]
    """
    idle = weights == 0.0
    if idle.any():
        excluded = idle & np.isneginf(across(np.maximum, log_joint))
        log_joint = np.where(excluded[:, None], 0.0, log_joint)
    if power == np.inf:
        shares = np.zeros_like(log_joint)
        shares[np.arange(len(shares)), log_joint.argmax(axis=1)] = 1.0
        return shares, float(weights @ log_joint.max(axis=1)), 0.0
    log_shares, log_sums = normalise_rows(log_joint if power == 1.0 else power * log_joint)
    shares = np.exp(log_shares)
    if rng is None:
        return shares, float(weights @ log_sums) / power, float(weights @ entropy_rows(shares, log_shares)) / power
    if not np.isfinite(log_sums).all():
        return shares, float(weights @ log_sums), 0.0
    shares = draw_shares(shares, weights, rng)
    joint = np.where(shares > 0.0, log_joint, 0.0)
    return shares, float(weights @ np.einsum("nk,nk->n", shares, joint)), 0.0


def draw_shares(shares: Floats, weights: Floats, rng: np.random.Generator) -> Floats:
    """Shares (n, K) among the units of each row, drawn with probabilities `shares`; zero where the weight is."""
    chances = shares / shares.sum(axis=1, keepdims=True)
    whole = np.floor(weights)
    drawn = rng.multinomial(whole.astype(np.int64), chances).astype(np.float64)
    rest = weights - whole
    part = np.flatnonzero(rest)
    drawn[part] += rest[part, None] * rng.multinomial(1, chances[part])
    units = drawn.sum(axis=1, keepdims=True)
    drawn_shares: Floats = np.divide(drawn, units, out=np.zeros_like(drawn), where=units > 0.0)
    return drawn_shares


def log_or_minus_infinity(values: Floats) -> Floats:
    """Natural logarithm in which zero is minus infinity without a warning."""
    with np.errstate(divide="ignore"):
        log_values: Floats = np.log(values)
    return log_values

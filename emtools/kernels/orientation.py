"""Orientations of covariances: common axes, and rotations as unconstrained vectors. ``d`` features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GOLDEN = 0.6180339887498949


def common_axes(matrices: Floats) -> Floats:
    """Axes, as columns, of symmetric matrices (K, d, d) that commute; of their mixture where they do not.

    The weights of the mixture are fixed and irregular, so that eigenvalues that differ in one matrix do not meet in the sum.
    """
    weights = 0.5 + (GOLDEN * np.arange(1, len(matrices) + 1)) % 1.0
    traces = np.trace(matrices, axis1=1, axis2=2)
    mixed = np.einsum("k,kij->ij", weights / traces, matrices)
    if not np.isfinite(mixed).all():
        return np.full(mixed.shape, np.nan)
    return np.ascontiguousarray(np.linalg.eigh(mixed)[1])


def near_identity(axes: Floats) -> Floats:
    """The same axes as a rotation, each in the column of the feature that it lies closest to."""
    from scipy.optimize import linear_sum_assignment

    order = linear_sum_assignment(-(axes**2))[1]
    return in_signs(axes[:, order])


def in_signs(axes: Floats) -> Floats:
    """The same axes (d, d) with signs that make them a rotation without an eigenvalue of -1.

    The signs are chosen as ``I + D`` is eliminated, so that every pivot is at least 1: its determinant, which is 0 for
    a reflection, is then at least 1.

    Examples
    --------
    >>> in_signs(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    axes, left = axes.copy(), axes.copy()
    for i in range(len(axes)):
        if left[i, i] < 0.0:
            axes[:, i] *= -1.0
            left[:, i] *= -1.0
        left[i, i] += 1.0
        left[i + 1 :, i + 1 :] -= np.outer(left[i + 1 :, i] / left[i, i], left[i, i + 1 :])
    # A column that is not yet reached misses its own 1, which is added when its turn comes.
    return axes + 0.0


def rotation_entries(axes: Floats) -> Floats:
    """Free numbers of a rotation without an eigenvalue of -1: the lower triangle of S in ``D = (I - S)(I + S)⁻¹``.

    Parameters
    ----------
    axes : ndarray, shape (d, d)
        As from `in_signs`.

    Returns
    -------
    ndarray, shape (d * (d - 1) / 2,)

    References
    ----------
    Cayley (1846), J. Reine Angew. Math. 32, 119-123, doi:10.1515/crll.1846.32.119.
    """
    d = len(axes)
    skew = np.linalg.solve((axes + np.eye(d)).T, (np.eye(d) - axes).T).T
    entries: Floats = (0.5 * (skew - skew.T))[np.tri(d, k=-1, dtype=bool)]
    return entries


def cayley(entries: Floats, d: int) -> Floats:
    """Inverse of `rotation_entries`.

    Examples
    --------
    >>> cayley(np.array([-1.0]), 2).round(12).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    skew: Floats = np.zeros((d, d))
    skew[np.tri(d, k=-1, dtype=bool)] = entries
    turning = skew - skew.T
    return np.asarray(np.linalg.solve((np.eye(d) + turning).T, (np.eye(d) - turning).T).T, dtype=np.float64)

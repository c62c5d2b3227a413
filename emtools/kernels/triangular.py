"""Inverses of many small triangular matrices at once. ``K`` matrices, ``d`` rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def lower_inverses(factors: Floats) -> Floats:
    """``L⁻¹`` of each lower triangular L, by forward substitution.

    Parameters
    ----------
    factors : ndarray, shape (K, d, d)
        What is above the diagonal is not read; NaN and zeros on the diagonal give NaN or infinity.

    Returns
    -------
    ndarray, shape (K, d, d)
        Lower triangular.
    """
    inverses = np.zeros(factors.shape)
    for k in range(len(factors)):
        for j in range(factors.shape[1]):
            inverses[k, j, j] = np.divide(1.0, factors[k, j, j])
            for i in range(j + 1, factors.shape[1]):
                total = 0.0
                for m in range(j, i):
                    total += factors[k, i, m] * inverses[k, m, j]
                inverses[k, i, j] = np.divide(-total, factors[k, i, i])
    return inverses

"""Gaussian log densities through Cholesky factors, log-Cholesky packing and inverse-Wishart terms.

``n`` rows, ``d`` features, ``K`` components throughout.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

Floats = npt.NDArray[np.float64]

LOG_2PI = math.log(2.0 * math.pi)


def pack_cholesky(matrix: Floats) -> Floats:
    """Log-Cholesky vector of a covariance matrix.

    The lower triangle of ``L``, where ``matrix = L Lᵀ``, row by row, with logarithms on its
    diagonal: any real vector of this length is the vector of one positive definite matrix.

    Parameters
    ----------
    matrix : ndarray, shape (d, d)
        Symmetric and positive definite.

    Returns
    -------
    ndarray, shape (d * (d + 1) / 2,)

    Raises
    ------
    numpy.linalg.LinAlgError
        If `matrix` is not positive definite.

    References
    ----------
    Pinheiro & Bates (1996), Stat. Comput. 6, 289-296, doi:10.1007/BF00140873, section 2.2.

    Examples
    --------
    >>> pack_cholesky(np.array([[1.0, 2.0], [2.0, 5.0]])).tolist()
    [0.0, 2.0, 0.0]
    """
    factor = np.linalg.cholesky(matrix)
    np.fill_diagonal(factor, np.log(np.diagonal(factor)))
    vector: Floats = factor[np.tril_indices(len(factor))]
    return vector


def unpack_cholesky(vector: Floats) -> Floats:
    """Inverse of `pack_cholesky`.

    Parameters
    ----------
    vector : ndarray, shape (d * (d + 1) / 2,)
        Any finite values.

    Returns
    -------
    ndarray, shape (d, d)
        Symmetric and positive definite.
    """
    d = (math.isqrt(8 * len(vector) + 1) - 1) // 2
    factor = np.zeros((d, d))
    factor[np.tril_indices(d)] = vector
    np.fill_diagonal(factor, np.exp(np.diagonal(factor)))
    matrix: Floats = factor @ factor.T
    return matrix

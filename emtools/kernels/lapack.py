"""LAPACK without the lock of Python, which scipy's own wrappers hold: threads can then factorise side by side.

Matrices are float64 and lie column by column (the order of Fortran), lower triangles are read, and results replace them.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE, byref, c_char, c_int, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.extending import get_cython_function_address
from scipy.linalg import lapack

Floats = npt.NDArray[np.float64]

SMALL = 64  # rows of a matrix below which scipy's wrappers, which are quicker to call, hold the lock for a moment only
TILE = 32  # rows and columns of a matrix that are turned over together
# PLAIN: not transposed, and no diagonal of ones.
LOWER, UPPER, PLAIN, TURNED = c_char(b"L"), c_char(b"U"), c_char(b"N"), c_char(b"T")


def routine(name: str, n_arguments: int) -> Any:
    """A routine of the library that scipy brings; calls of ctypes let other threads run meanwhile."""
    return CFUNCTYPE(None, *[c_void_p] * n_arguments)(get_cython_function_address("scipy.linalg.cython_lapack", name))


dpotrf, dpotri, dtrtri, dtrtrs = routine("dpotrf", 5), routine("dpotri", 5), routine("dtrtri", 6), routine("dtrtrs", 10)


@njit(cache=True, nogil=True)
def lower_columns(matrix: Floats) -> Floats:
    """The lower triangle of a matrix, shape (d, d), turned over: row j of the result is column j, 0 before its diagonal."""
    d = len(matrix)
    turned = np.zeros((d, d))
    for top in range(0, d, TILE):
        for left in range(0, top + TILE, TILE):
            for i in range(top, min(top + TILE, d)):
                for j in range(left, min(left + TILE, i + 1)):
                    turned[j, i] = matrix[i, j]
    return turned


def call(function: Any, *arguments: Any) -> bool:
    """Call a routine whose last argument tells whether it failed; whether it did not."""
    info = c_int(0)
    function(*[a.ctypes.data if isinstance(a, np.ndarray) else byref(a) for a in arguments], byref(info))
    return info.value == 0


def factorise_columns(turned: Floats) -> bool:
    """Put the lower Cholesky factor L in the place of a matrix that `lower_columns` gave: ``turned.T`` is L then.

    Returns
    -------
    bool
        False where the matrix is not positive definite.
    """
    if len(turned) < SMALL:
        return not int(lapack.dpotrf(turned.T, lower=1, clean=0, overwrite_a=1)[1])
    n, stride = c_int(len(turned)), c_int(len(turned))
    return call(dpotrf, LOWER, n, turned, stride)


def solve_columns(factor: Floats, right: Floats, transposed: bool = False, by_row: bool = False) -> bool:
    """Put ``L⁻¹ B``, or ``L⁻ᵀ B``, in the place of B, for ``right.T`` = B.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        ``factor.T`` is L, or `factor` itself with `by_row`.
    right : ndarray, shape (m, d)
    transposed, by_row : bool

    Returns
    -------
    bool
        False where L is singular.
    """
    if len(factor) < SMALL:
        return not int(lapack.dtrtrs(factor.T, right.T, not by_row, transposed is not by_row, overwrite_b=1)[1])
    n, stride, columns = c_int(len(factor)), c_int(len(factor)), c_int(len(right))
    triangle, way = UPPER if by_row else LOWER, PLAIN if transposed is by_row else TURNED
    return call(dtrtrs, triangle, way, PLAIN, n, columns, factor, stride, right, stride)


def invert_factor(turned: Floats) -> bool:
    """Put L⁻¹ in the place of L, for ``turned.T`` = L; False where L is singular."""
    if len(turned) < SMALL:
        return not int(lapack.dtrtri(turned.T, lower=1, overwrite_c=1)[1])
    n, stride = c_int(len(turned)), c_int(len(turned))
    return call(dtrtri, LOWER, PLAIN, n, turned, stride)


def invert_from_factor(turned: Floats) -> bool:
    """Put the lower triangle of ``(L Lᵀ)⁻¹`` in the place of L, for ``turned.T`` = L; False where L is singular."""
    if len(turned) < SMALL:
        return not int(lapack.dpotri(turned.T, lower=1, overwrite_c=1)[1])
    n, stride = c_int(len(turned)), c_int(len(turned))
    return call(dpotri, LOWER, n, turned, stride)

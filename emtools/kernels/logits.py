"""Multinomial logistic regression: log probabilities of types that are linear in the columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emtools.kernels.logspace import normalise_rows

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

PASSES = 1000
FLATTEST = 1e-5  # largest slope, in nats, at which the climb ends


def fit_logits(values: Floats, codes: Codes, n_types: int, ridge: float = 1.0) -> Floats:
    """Coefficients of a ridge multinomial logistic regression, the intercepts last and free.

    ``Σ_i log p_i,code(i) - ridge / 2 Σ β²`` with ``p_i ∝ exp(β_0 + x_i β)`` is at its maximum.

    Parameters
    ----------
    values : ndarray, shape (m, d)
        Rows.
    codes : ndarray of int, shape (m,)
        Type of each, 0 to K - 1.
    n_types : int
        K.
    ridge : float
        Penalty, above 0, in the units of ``1 / β²``.

    Returns
    -------
    ndarray, shape (d + 1, K)
        Nats, and per unit of the columns.

    References
    ----------
    Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, eqs 4.17-4.19, 18.10-18.11.

    Examples
    --------
    >>> fit_logits(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, 0.1).round(2).tolist()
    [[-1.32, 1.32], [0.0, 0.0]]
    """
    from scipy.optimize import minimize

    design = np.column_stack([values, np.ones(len(values))])
    rows, shape = np.arange(len(codes)), (design.shape[1], n_types)
    penalty = np.full(shape, ridge)
    penalty[-1] = 0.0

    def loss(vector: Floats) -> tuple[float, Floats]:
        at = vector.reshape(shape)
        logs, _ = normalise_rows(design @ at)
        wrong = np.exp(logs)
        wrong[rows, codes] -= 1.0
        slope = design.T @ wrong + penalty * at
        return float(0.5 * (penalty * at**2).sum() - logs[rows, codes].sum()), slope.ravel()

    found = minimize(
        loss,
        np.zeros(design.shape[1] * n_types),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": PASSES, "gtol": FLATTEST, "ftol": 0.0},
    )
    coefficients: Floats = found.x.reshape(shape)
    return coefficients


def log_chances(coefficients: Floats, values: Floats) -> Floats:
    """Log probability of each type, shape (n, K), of rows (n, d)."""
    logs, _ = normalise_rows(values @ coefficients[:-1] + coefficients[-1])
    return logs

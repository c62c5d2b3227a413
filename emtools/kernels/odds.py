"""How much more likely a cell is to be missing than to be observed, given the rest of its row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

PASSES, SMALLEST = 50, 1e-8  # Newton steps of a logistic regression, and the largest of a step that ends them


def logistic(design: Floats, answer: Floats, weights: Floats, ridge: float = 1.0) -> Floats:
    """Coefficients of a ridge logistic regression by Newton's method, the intercept first and free, shape (d + 1,).

    ``Σ w (y η - log(1 + exp η)) - ridge / 2 Σ β²`` with ``η = β_0 + x β`` is at its maximum.

    Parameters
    ----------
    design : ndarray, shape (n, d)
        Of mean 0 and variance 1, or 0 throughout.
    answer : ndarray, shape (n,)
        0 or 1, both among the rows of positive weight.
    weights : ndarray, shape (n,)
        Weights of the rows.
    ridge : float
        Penalty, above 0.

    Returns
    -------
    ndarray, shape (d + 1,)

    References
    ----------
    le Cessie & van Houwelingen (1992), Appl. Stat. 41, 191-201, doi:10.2307/2347628.
    """
    x = np.column_stack([np.ones(len(design)), design])
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 0.0
    beta = np.zeros(x.shape[1])
    rate = float(weights @ answer / weights.sum())
    beta[0] = np.log(rate / (1.0 - rate))

    def height(at: Floats) -> float:
        eta = x @ at
        return float(weights @ (answer * eta - np.logaddexp(0.0, eta)) - 0.5 * penalty @ at**2)

    now = height(beta)
    for _ in range(PASSES):
        chance = expit(x @ beta)
        slope = x.T @ (weights * (answer - chance)) - penalty * beta
        bend = (x * (weights * chance * (1.0 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(bend + 1e-12 * np.eye(len(bend)), slope)
        while height(beta + step) < now and np.abs(step).max() > SMALLEST:
            step = 0.5 * step
        beta = beta + step
        now = height(beta)
        if np.abs(step).max() <= SMALLEST:
            break
    return beta


def missing_odds(filled: Floats, observed: Booleans, weights: Floats) -> Floats:
    """Odds of each cell being missing given the other columns of its row, shape (n, d).

    Weighed by them, observed cells stand for missing ones where gaps are missing at random: a logistic regression of the
    gaps of a column on the others.

    Parameters
    ----------
    filled : ndarray, shape (n, d)
        The table with its gaps filled.
    observed : ndarray of bool, shape (n, d)
    weights : ndarray, shape (n,)
        Weights of the rows.

    Returns
    -------
    ndarray, shape (n, d)
        0 in columns without gaps.

    References
    ----------
    Robins, Rotnitzky & Zhao (1994), J. Am. Stat. Assoc. 89, 846-866, doi:10.1080/01621459.1994.10476818;
    Shimodaira (2000), J. Stat. Plan. Inference 90, 227-244, doi:10.1016/S0378-3758(00)00115-4.
    """
    centre = weights @ filled / weights.sum()
    spread = np.sqrt(weights @ (filled - centre) ** 2 / weights.sum())
    z = (filled - centre) / np.where(spread > 0.0, spread, 1.0)
    odds = np.zeros(filled.shape)
    for j in range(filled.shape[1]):
        missing = (~observed[:, j]).astype(float)
        if 0.0 < weights @ missing < weights.sum():
            others = np.delete(z, j, axis=1)
            beta = logistic(others, missing, weights)
            odds[:, j] = np.exp(beta[0] + others @ beta[1:])
    return odds

"""Which features tell groups of rows apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST = 1e-12  # share of the variance left when a second feature knows the first


def telling_pair(values: Floats, shares: Floats) -> tuple[int, int]:
    """The two features in whose plane groups are easiest to tell, the first of them the better alone.

    What knowing the group takes from the entropy of a normal with the same moments,
    ``½ log|S| - Σ_k w_k ½ log|S_k|``: with one feature for the first, with both for the second.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows, d at least 2; every column varies.
    shares : ndarray, shape (n, K)
        Responsibilities, or 0 and 1.

    Returns
    -------
    (int, int)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat([0, 1], 200)
    >>> rows = rng.normal(size=(400, 3)) + np.outer(groups, [0.0, 3.0, 6.0])
    >>> telling_pair(rows, np.eye(2)[groups])
    (2, 1)
    """
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    counts = shares.sum(axis=0)
    held = counts > 0.0
    weights, n_features = counts[held] / counts.sum(), values.shape[1]
    single, paired = np.zeros(n_features), np.zeros((n_features, n_features))
    for weight, share in [(1.0, np.ones(len(values))), *zip(-weights, shares[:, held].T, strict=True)]:
        mean = share @ scaled / share.sum()
        covariance = (scaled - mean).T @ ((scaled - mean) * share[:, None]) / share.sum()
        variances = np.maximum(np.diagonal(covariance), LEAST)
        left = np.outer(variances, variances)
        single += 0.5 * weight * np.log(variances)
        paired += 0.5 * weight * np.log(np.maximum(left - covariance**2, LEAST * left))
    first = int(np.argmax(single))
    paired[:, first] = paired[first] = np.where(np.arange(n_features) == first, -np.inf, paired[first])
    return first, int(np.argmax(paired[first]))

"""How well conditioned components are, whatever the units of their columns, and how much they have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def conditions(weights: Floats, means: Floats, covariances: Floats) -> Floats:
    """Condition number of each covariance, columns in units of their SD under the mixture, shape (K,).

    With ``D = diag(Σ_k w_k (S_k + (m_k - m)(m_k - m)ᵀ))`` it is that of ``D^(-1/2) S_k D^(-1/2)``: it does not change with the
    units of the columns, and grows where columns go together within a component, or one of them hardly varies there.

    Parameters
    ----------
    weights, means, covariances : ndarray, shapes (K,), (K, d) and (K, d, d)
        Of the mixture.

    Examples
    --------
    >>> conditions(np.array([1.0]), np.zeros((1, 2)), np.array([[[1.0, 0.0], [0.0, 1e6]]]))
    array([1.])
    """
    apart = means - weights @ means
    spread = np.sqrt(weights @ (np.diagonal(covariances, axis1=1, axis2=2) + apart**2))
    values = np.linalg.eigvalsh(covariances / np.outer(spread, spread))
    return np.asarray(values[:, -1] / np.maximum(values[:, 0], np.finfo(float).tiny))


def known_units(values: Floats, shares: Floats, means: Floats, covariances: Floats) -> Floats:
    """Units of known component that the mean of each component is worth, shape (K,).

    The observed information about a mean, the rest being known, is ``Σ_i p_i S⁻¹ - Σ_i p_i (1 - p_i) S⁻¹ r_i r_iᵀ S⁻¹`` with
    ``r_i = x_i - m``; a unit of known component gives ``S⁻¹``. This is the trace of the first over that of the second, columns
    turned so that S is 1: ``Σ_i p_i (1 - (1 - p_i) r_iᵀ S⁻¹ r_i / d)``, at least 0.

    Parameters
    ----------
    values, shares : ndarray, shapes (n, d) and (n, K)
        Data and posterior probabilities.
    means, covariances : ndarray, shapes (K, d) and (K, d, d)
        Of the components.

    References
    ----------
    Louis (1982), J. R. Stat. Soc. B 44, 226-233, doi:10.1111/j.2517-6161.1982.tb01203.x, eq. 3.2.
    """
    found = np.zeros(len(means))
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        unit = np.sqrt(np.diagonal(covariance))
        variances, axes = np.linalg.eigh(covariance / np.outer(unit, unit))
        turned = ((values - mean) / unit) @ axes / np.sqrt(np.maximum(variances, np.finfo(float).tiny))
        p = shares[:, k]
        found[k] = (p - p * (1.0 - p) * (turned**2).mean(axis=1)).sum()
    return np.maximum(found, 0.0)


def most_alike(tables: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """For each row of probabilities the other row that overlaps most, and ``Σ min(p, q)``, shapes (K,).

    Examples
    --------
    >>> most_alike(np.array([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]]))
    (array([1, 0, 0]), array([0.6, 0.6, 0.5]))
    """
    shared = np.minimum(tables[:, None], tables[None]).sum(axis=-1)
    np.fill_diagonal(shared, -1.0)
    return shared.argmax(axis=1), shared.max(axis=1)


def site_worth(matrix: Floats, errors: Floats) -> Floats:
    """Known sites that each position of a motif is worth, ``Σ p (1 - p) / Σ se²``, shape (width,).

    Parameters
    ----------
    matrix, errors : ndarray, shape (width, 4)
        Letter probabilities and their standard errors, which count what the unknown places cost.
    """
    found: Floats = (matrix * (1.0 - matrix)).sum(axis=1) / np.maximum((errors**2).sum(axis=1), 1e-300)
    return found

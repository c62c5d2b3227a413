"""What each type of cell expresses, and how far that may be off, from labelled single cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
GROUPS = 20  # groups into which the cells of a type are dealt where donors do not make groups


@dataclass(frozen=True)
class Reference:
    """Profiles of K types in G genes.

    Parameters
    ----------
    types : tuple of str
        Names, K of them.
    profiles : ndarray, shape (G, K)
        Mean expression of a cell of each type.
    errors : ndarray, shape (G, K)
        Variance of that mean: between donors where there are at least three, else between cells.
    within : ndarray, shape (G, K)
        Variance between the cells of a type.
    deviations : ndarray, shape (R, G)
        For each group of cells (a donor, or a share of the cells) its mean minus that of its type, times its share of
        the cells of the type; their outer products add to the covariance of the mean.
    deviation_types : ndarray of int, shape (R,)
        Type of each group.
    n_cells : ndarray of int, shape (K,)
        Cells of each type.
    """

    types: tuple[str, ...]
    profiles: Floats
    errors: Floats
    within: Floats
    deviations: Floats
    deviation_types: Codes
    n_cells: Codes

    @property
    def sizes(self) -> Floats:
        """Mean total expression of a cell of each type, shape (K,)."""
        return np.asarray(self.profiles.sum(axis=0), dtype=np.float64)

    def of_genes(self, kept: Codes) -> Reference:
        """The same for some genes."""
        return Reference(
            self.types,
            self.profiles[kept],
            self.errors[kept],
            self.within[kept],
            self.deviations[:, kept],
            self.deviation_types,
            self.n_cells,
        )


def reference_from_cells(
    cells: Any, labels: Codes, types: tuple[str, ...], donors: Codes | None = None, seed: int = 0
) -> Reference:
    """Profiles from single cells.

    Parameters
    ----------
    cells : ndarray or scipy sparse matrix, shape (n, G)
        Expression on the scale of counts.
    labels : ndarray of int, shape (n,)
        Type of each cell; -1 leaves it out.
    types : tuple of str
        Names, K of them; each has at least two cells.
    donors : ndarray of int, shape (n,), optional
        Donor of each cell; -1 where it is not known.
    seed : int
        Deals the cells of a type into groups where donors do not.

    Returns
    -------
    Reference
    """
    matrix = sparse.csr_matrix(cells, dtype=np.float64)
    n_genes, n_types = matrix.shape[1], len(types)
    n_cells = np.bincount(labels[labels >= 0], minlength=n_types)
    sums, squares = (sum_by_code(part, labels, n_types) for part in (matrix, matrix.multiply(matrix).tocsr()))
    profiles = sums / n_cells[:, None]
    within = np.maximum(squares / n_cells[:, None] - profiles**2, 0.0) * (n_cells / np.maximum(n_cells - 1, 1))[:, None]
    errors = within / n_cells[:, None]
    rng = np.random.default_rng([seed, 4])
    deviations, owners = [], []
    for k in range(n_types):
        own = np.flatnonzero(labels == k)
        groups, by_donor = donor_groups(donors, own)
        if not by_donor:
            groups = rng.permutation(len(own)) % min(GROUPS, len(own))
        n_groups = int(groups.max()) + 1
        held = np.bincount(groups, minlength=n_groups)
        means = sum_by_code(matrix[own], groups, n_groups) / held[:, None]
        spread = (means - profiles[k]) * (held / len(own))[:, None] * np.sqrt(n_groups / (n_groups - 1))
        if by_donor:
            errors[k] = np.maximum(errors[k], (spread**2).sum(axis=0))
        deviations.append(spread)
        owners.append(np.full(n_groups, k, dtype=np.intp))
    together = np.concatenate(deviations) if deviations else np.zeros((0, n_genes))
    return Reference(types, profiles.T, errors.T, within.T, together, np.concatenate(owners), n_cells)


def donor_groups(donors: Codes | None, own: Codes) -> tuple[Codes, bool]:
    """Donor of each of the cells `own` as 0, 1, …, and whether at least three donors have one."""
    if donors is None:
        return own, False
    known, groups = np.unique(donors[own], return_inverse=True)
    return groups.astype(np.intp), len(known) >= 3 and bool((known >= 0).all())


def sum_by_code(matrix: Any, codes: Codes, n_codes: int) -> Floats:
    """Sum of the rows of a CSR matrix that share a code, shape (n_codes, G); rows of code -1 are left out."""
    kept = np.flatnonzero(codes >= 0)
    pick = sparse.csr_matrix((np.ones(len(kept)), (codes[kept], kept)), shape=(n_codes, matrix.shape[0]))
    return np.asarray((pick @ matrix).toarray(), dtype=np.float64)


def reference_from_profiles(profiles: Floats, types: tuple[str, ...], spread: float = 0.1) -> Reference:
    """Profiles of sorted cells or a signature matrix, of which no single cells are at hand.

    Parameters
    ----------
    profiles : ndarray, shape (G, K)
        Mean expression of each type.
    types : tuple of str
        Names, K of them.
    spread : float
        Relative standard error that each value is taken to have.
    """
    none = np.zeros((0, len(profiles)))
    errors = (spread * profiles) ** 2
    return Reference(
        types, profiles, errors, profiles.copy(), none, np.zeros(0, np.intp), np.zeros(len(types), np.intp)
    )

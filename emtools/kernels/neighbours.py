"""Groups of rows by who is near whom: links between near rows, and groups that few links leave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import eigh, qr, svd
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.spatial import KDTree

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

NEAREST = 15  # rows that a row is linked to, beside those linked to it
EVERYWHERE = 1e-6  # weight of a link between any two rows, so that groups without links still have an order
SMALL = 500  # rows up to which all eigenvectors are taken


def shared_links(values: Floats, nearest: int = NEAREST) -> sparse.csr_array:
    """Links between each row and its nearest ones, weighed by the share of their neighbours that the two have in common.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    nearest : int
        Rows that a row is linked to; fewer where there are fewer.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric, 0 to 1, none from a row to itself.

    References
    ----------
    Jarvis & Patrick (1973), IEEE Trans. Comput. C-22, 1025-1034, doi:10.1109/T-C.1973.223640; Levine et al. (2015), Cell 162,
    184-197, doi:10.1016/j.cell.2015.05.047 (the weights).
    """
    n = len(values)
    count = min(nearest + 1, n)
    found = np.asarray(KDTree(values).query(values, count)[1]).reshape(n, count)
    rows = np.repeat(np.arange(n), count)
    near = sparse.csr_array((np.ones(n * count), (rows, found.ravel())), shape=(n, n))
    common = (near @ near.T).tocsr()
    linked = (near + near.T).tocsr()
    linked.setdiag(0.0)
    linked.eliminate_zeros()
    linked.data[:] = 1.0
    shared = linked.multiply(common).tocsr()
    shared.data /= 2.0 * count - shared.data
    return shared


def spectral_groups(links: sparse.csr_array, n_groups: int) -> Codes:
    """K groups that few links leave (the normalised cut): leading eigenvectors, each row given to one by a pivoted QR.

    Parameters
    ----------
    links : csr_array, shape (n, n)
        Symmetric weights.
    n_groups : int
        K, at least 1 and below n.

    Returns
    -------
    ndarray of int, shape (n,)
        Groups 0 to K - 1, of which some may be empty.

    References
    ----------
    Shi & Malik (2000), IEEE Trans. Pattern Anal. 22, 888-905, doi:10.1109/34.868688, eq. 11; Damle, Minden & Ying (2019),
    Inf. Inference 8, 181-203, doi:10.1093/imaiai/iay008, algorithm 1.
    """
    n = links.shape[0]
    roots = np.sqrt(np.asarray(links.sum(axis=1)).ravel() + n * EVERYWHERE)
    if n <= SMALL:
        near = (links.toarray() + EVERYWHERE) / roots / roots[:, None]
        vectors = eigh(near, subset_by_index=(n - n_groups, n - 1))[1]
    else:

        def times(vector: Floats) -> Floats:
            scaled = vector.ravel() / roots
            product: Floats = (links @ scaled + EVERYWHERE * scaled.sum()) / roots
            return product

        first = np.random.default_rng(0).standard_normal(n)
        vectors = eigsh(LinearOperator((n, n), matvec=times, dtype=np.float64), n_groups, which="LA", v0=first)[1]
    vectors = vectors / roots[:, None]
    pivots = qr(vectors.T, mode="r", pivoting=True)[1][:n_groups]
    left, _, right = svd(vectors[pivots].T)
    groups: Codes = np.abs(vectors @ (left @ right)).argmax(axis=1)
    return groups


def kept_links(links: sparse.csr_array, groups: Codes, n_groups: int) -> Floats:
    """Share of the links of each group that stay within it, shape (K,); a group without links keeps none.

    Examples
    --------
    >>> pairs = sparse.csr_array(np.kron(np.eye(2), [[0.0, 1.0], [1.0, 0.0]]))
    >>> (
    ...     kept_links(pairs, np.array([0, 0, 1, 1]), 2).tolist(),
    ...     kept_links(pairs, np.array([0, 1, 1, 1]), 2).round(2).tolist(),
    ... )
    ([1.0, 1.0], [0.0, 0.67])
    """
    members = np.eye(n_groups)[groups]
    within = np.einsum("nk,nk->k", members, links @ members)
    total = np.asarray(links.sum(axis=1)).ravel() @ members
    shares: Floats = within / np.where(total > 0.0, total, 1.0)
    return shares

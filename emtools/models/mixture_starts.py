"""Rows to start a mixture from: a bounded sample of the data, and seeds far from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Floats, Source
from emtools.errors import InputError

SAMPLE_ROWS = 2**16
WARD_ROWS = 2_000


def sample_rows(data: Source[Rows], rng: np.random.Generator, n_features: int) -> tuple[Floats, Floats]:
    """Rows of positive weight, all of them or a random `SAMPLE_ROWS`, in the order of the data.

    Parameters
    ----------
    data : Source of Rows
        Data.
    rng : Generator
        Chooses where there are too many.
    n_features : int
        Columns d that the data must have.

    Returns
    -------
    values : ndarray, shape (n, d)
        Rows.
    weights : ndarray, shape (n,)
        Their weights.

    Raises
    ------
    InputError
        If the number of columns is wrong, a value is not finite, or no row has weight.
    """
    sizes = []
    for index in range(data.n_chunks):
        chunk = data.chunk(index)
        if chunk.values.shape[1] != n_features:
            raise InputError("data", f"{chunk.values.shape[1]} columns", f"{n_features}")
        if not np.isfinite(chunk.values).all():
            got = f"a value in chunk {index + 1} is not a finite number"
            raise InputError("data", got, "finite numbers", "impute or drop it")
        sizes.append(int((chunk.weights > 0.0).sum()))
    total = sum(sizes)
    if total == 0:
        raise InputError("weights", "all are zero", "at least one positive weight")
    every = total <= SAMPLE_ROWS
    chosen = np.arange(total) if every else np.sort(rng.choice(total, SAMPLE_ROWS, replace=False))
    edges = np.searchsorted(chosen, np.concatenate([[0], np.cumsum(sizes)]))
    values, weights, before = [], [], 0
    for index, size in enumerate(sizes):
        chunk = data.chunk(index)
        rows = np.flatnonzero(chunk.weights > 0.0)[chosen[edges[index] : edges[index + 1]] - before]
        values.append(chunk.values[rows])
        weights.append(chunk.weights[rows])
        before += size
    return np.concatenate(values), np.concatenate(weights)


def draw_seeds(
    values: Floats, weights: Floats, n_seeds: int, rng: np.random.Generator, strategy: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows to serve as seeds, and the nearest seed of each row.

    ``"kmeans++"`` draws each next seed with probability proportional to its squared distance from the
    seeds so far; ``"random"`` draws rows by weight. No two seeds are equal.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows, in units in which distances make sense.
    weights : ndarray, shape (n,)
        Positive weights.
    n_seeds : int
        Seeds, at most n.
    rng : Generator
        Source of randomness.
    strategy : {"kmeans++", "random"}
        How to draw.

    Returns
    -------
    seeds : ndarray of int, shape (n_seeds,)
        Rows.
    nearest : ndarray of int, shape (n,)
        Position in `seeds` of the nearest; the first of equals.

    Raises
    ------
    InputError
        If fewer than `n_seeds` rows differ.

    References
    ----------
    Arthur & Vassilvitskii (2007), SODA '07, 1027-1035, section 2.2.
    """
    seeds = np.empty(n_seeds, dtype=np.intp)
    nearest = np.zeros(len(values), dtype=np.intp)
    distance = np.full(len(values), np.inf)
    for k in range(n_seeds):
        apart = distance > 0.0
        spread = k > 0 and strategy != "random"
        chances = weights * distance if spread else np.where(apart, weights, 0.0)
        if not chances.any():
            remedy = "use fewer components"
            raise InputError("data", f"{k} distinct rows", f"at least one for each of {n_seeds} components", remedy)
        heights = np.cumsum(chances)
        drawn = int(np.searchsorted(heights, rng.uniform(0.0, heights[-1]), side="right"))
        seeds[k] = min(drawn, int(np.flatnonzero(chances)[-1]))
        to_seed = ((values - values[seeds[k]]) ** 2).sum(axis=1)
        nearer = to_seed < distance
        nearest[nearer] = k
        distance = np.where(nearer, to_seed, distance)
    return seeds, nearest


def ward_groups(values: Floats, n_groups: int, rng: np.random.Generator, most: int = WARD_ROWS) -> npt.NDArray[np.intp]:
    """Group of each row by Ward's hierarchical clustering of at most `most` rows, the others to the nearest mean.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows, in units in which distances make sense.
    n_groups : int
        Groups, at most n.
    rng : Generator
        Chooses the rows where there are too many, so that starts differ; else the groups are always the same.
    most : int
        Rows clustered; time and memory grow with its square.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    InputError
        If fewer than `n_groups` rows differ.

    References
    ----------
    Ward (1963), J. Am. Stat. Assoc. 58, 236-244, doi:10.1080/01621459.1963.10500845; as starts of mixtures, Fraley (1998),
    SIAM J. Sci. Comput. 20, 270-281, doi:10.1137/S1064827596311451.

    Examples
    --------
    >>> ward_groups(np.array([[0.0], [0.1], [5.0], [5.2]]), 2, np.random.default_rng(0)).tolist()
    [0, 0, 1, 1]
    """
    chosen = np.arange(len(values))
    if len(values) > most:
        chosen = np.sort(rng.choice(len(values), most, replace=False))
    sample = values[chosen]
    labels = np.zeros(1, dtype=np.intp)
    if len(sample) > 1:
        labels = hierarchy.fcluster(hierarchy.linkage(sample, "ward"), n_groups, "maxclust").astype(np.intp) - 1
    found = int(labels.max()) + 1
    if found < n_groups:
        expected = f"at least one for each of {n_groups} components"
        raise InputError("data", f"{found} distinct rows", expected, "use fewer components")
    means = np.stack([sample[labels == k].mean(axis=0) for k in range(n_groups)])
    distance = np.stack([((values - mean) ** 2).sum(axis=1) for mean in means], axis=1)
    groups: npt.NDArray[np.intp] = distance.argmin(axis=1)
    groups[chosen] = labels
    return groups


@dataclass(frozen=True)
class Groups:
    """Moments of rows in groups.

    Parameters
    ----------
    counts : ndarray, shape (K,)
        Weight of each group.
    means : ndarray, shape (K, d)
        Mean of each group.
    total : ndarray, shape (d, d)
        Covariance of all rows.
    within : ndarray, shape (d, d)
        Covariance about the means of the groups, pooled.
    """

    counts: Floats
    means: Floats
    total: Floats
    within: Floats


def group_moments(values: Floats, weights: Floats, groups: npt.NDArray[np.intp], n_groups: int) -> Groups:
    """Moments of rows (n, d) with `weights` (n,) in `groups` (n,), none of them empty."""
    centre = np.average(values, axis=0, weights=weights)
    deviations = values - centre
    shares = np.zeros((len(values), n_groups))
    shares[np.arange(len(values)), groups] = weights
    counts = shares.sum(axis=0)
    means = centre + shares.T @ deviations / counts[:, None]
    total = (deviations * weights[:, None]).T @ deviations / weights.sum()
    deviations = values - means[groups]
    within = (deviations * weights[:, None]).T @ deviations / weights.sum()
    return Groups(counts, means, total, within)

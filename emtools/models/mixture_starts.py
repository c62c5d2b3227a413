"""Rows to start a mixture from, seeds far from each other, and moves that merge two components and split a third."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Floats, Source
from emtools.engine.search import Move, Moves
from emtools.errors import InputError
from emtools.kernels.counts import as_dense, is_sparse
from emtools.kernels.logspace import log_or_minus_infinity, logsumexp_rows

SAMPLE_ROWS = 2**16
SAMPLE_VALUES = 2**22  # of sparse rows, which become dense: 2,097 rows of 2,000 features
WARD_ROWS = 2_000


def sample_rows(data: Source[Rows], rng: np.random.Generator, n_features: int) -> tuple[Floats, Floats]:
    """Rows of positive weight, all of them or a random `SAMPLE_ROWS`, in the order of the data; fewer where they are sparse.

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
        if not np.isfinite(chunk.values.data if is_sparse(chunk.values) else chunk.values).all():
            got = f"a value in chunk {index + 1} is not a finite number"
            raise InputError("data", got, "finite numbers", "impute or drop it")
        sizes.append(int((chunk.weights > 0.0).sum()))
    total = sum(sizes)
    if total == 0:
        raise InputError("weights", "all are zero", "at least one positive weight")
    most = min(SAMPLE_ROWS, max(1, SAMPLE_VALUES // n_features)) if is_sparse(chunk.values) else SAMPLE_ROWS
    chosen = np.arange(total) if total <= most else np.sort(rng.choice(total, most, replace=False))
    edges = np.searchsorted(chosen, np.concatenate([[0], np.cumsum(sizes)]))
    values, weights, before = [], [], 0
    for index, size in enumerate(sizes):
        chunk = data.chunk(index)
        rows = np.flatnonzero(chunk.weights > 0.0)[chosen[edges[index] : edges[index + 1]] - before]
        values.append(as_dense(chunk.values[rows]))
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
    from scipy.cluster import hierarchy

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


NEGLIGIBLE = 1e-2  # share of a row below which a component is split without it
LOCAL_PASSES, LOCAL_STARTS = 5, 3  # of the two halves of a component


def weighted_rows(shares: Floats, values: Floats, weights: Floats) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """Rows that a component holds, by number, and their values and weights."""
    rows = np.flatnonzero((shares > NEGLIGIBLE) & (weights > 0.0))
    return rows, values[rows], shares[rows] * weights[rows]


def merge_losses(model: Any, params: Any, values: Floats, weights: Floats, log_joint: Floats) -> dict[Any, float]:
    """Change of the objective when two components become the one of their moments, by pair (i, j), in nats."""
    one = replace(model, n_components=1, equal_weights=False)
    log_sums = logsumexp_rows(log_joint)
    shares = np.exp(log_joint - log_sums[:, None])
    priors = [one.log_prior(part(model, params, k)) for k in range(model.n_components)]
    losses = {}
    for i, j in combinations(range(model.n_components), 2):
        both = shares[:, i] + shares[:, j]
        try:
            merged = one.from_labels(values, both[:, None], weights)
        except InputError:
            continue
        log_weight = np.log(params.weights[i] + params.weights[j])
        log_merged = one.log_joint(merged, values)[:, 0] + log_weight - log_sums
        change = weights @ np.logaddexp(log_or_minus_infinity(np.clip(1.0 - both, 0.0, 1.0)), log_merged)
        losses[i, j] = float(change) + one.log_prior(merged) - priors[i] - priors[j]
    return losses


def part(model: Any, params: Any, k: int) -> Any:
    """One component of a mixture as a mixture of one."""
    covariances = params.covariances if model.layout == "tied" else params.covariances[k : k + 1]
    return replace(params, weights=np.ones(1), means=params.means[k : k + 1], covariances=covariances)


def best_split(
    model: Any, values: Floats, weights: Floats, rng: np.random.Generator
) -> tuple[float, Floats, int] | None:
    """Split the rows of a component in two: gain in nats, shares (n, 2), passes over these rows; None if it cannot be.

    The gain bounds that of the whole mixture from below, by Jensen's inequality. The first start cuts across the
    longest axis, the others draw two rows.
    """
    one, two = (replace(model, n_components=k, equal_weights=False) for k in (1, 2))
    try:
        whole = one.from_labels(values, np.ones((len(values), 1)), weights)
        before = float(weights @ one.log_joint(whole, values)[:, 0]) + one.log_prior(whole)
    except InputError:
        return None
    covariance = one.covariance_matrices(whole)[0]
    best, passes = None, 0
    for start in range(LOCAL_STARTS):
        try:
            if start == 0:
                labels = ((values - whole.means[0]) @ np.linalg.eigh(covariance)[1][:, -1] > 0.0).astype(np.intp)
            else:
                labels = draw_seeds(values / np.sqrt(np.diagonal(covariance)), weights, 2, rng, "kmeans++")[1]
            halves = two.from_labels(values, labels, weights)
        except InputError:
            continue
        for _ in range(LOCAL_PASSES):
            halves = two.m_step(two.e_step(halves, Rows(values, weights)), halves)
        stats = two.e_step(halves, Rows(values, weights))
        passes += LOCAL_PASSES + 2
        gain = stats.loglik + two.log_prior(halves) - before
        if np.isfinite(gain) and (best is None or gain > best[0]):
            best = (gain, two.responsibilities(halves, values))
    return None if best is None else (*best, passes)


def swap_moves(model: Any, params: Any, source: Source[Rows], rng: np.random.Generator) -> Moves[Any]:
    """Moves that merge two components and split a third, the most promising first.

    What merging loses is computed on all rows, what splitting gains by a few passes of EM over the rows of the component
    alone; on a sample of `SAMPLE_ROWS` rows where there are more. Each move is one M-step from the rearranged shares,
    so that it stays in the family. Passes are counted in rows times densities: those of halves see two of K components.

    Parameters
    ----------
    model : GaussianMixture
        Mixture.
    params : MixtureParams
        Where.
    source : Source of Rows
        Data.
    rng : Generator
        Draws the starts of the halves.

    References
    ----------
    Ueda, Nakano, Ghahramani & Hinton (2000), Neural Comput. 12, 2109-2128, doi:10.1162/089976600300015088; their
    criteria by correlation and local divergence are replaced by the objective itself.
    """
    values, weights = sample_rows(source, rng, model.n_features)
    scale, k = source.n_units / len(values), model.n_components
    log_joint = model.log_joint(params, values)
    shares = np.exp(log_joint - logsumexp_rows(log_joint)[:, None])
    losses = merge_losses(model, params, values, weights, log_joint)
    cost = 1.0 + 2.0 * len(losses) / k
    splits = {}
    for target in range(k):
        rows, mine, held = weighted_rows(shares[:, target], values, weights)
        found = best_split(model, mine, held, rng) if len(rows) > 1 else None
        if found is not None:
            gain, halves, passes = found
            splits[target] = (gain, rows, halves)
            cost += passes * 2.0 / k * len(rows) / len(values)

    def rearranged(pair: tuple[int, int], target: int) -> Any:
        moved, (_, rows, halves) = shares.copy(), splits[target]
        moved[:, pair[0]] += moved[:, pair[1]]
        moved[:, pair[1]] = 0.0
        moved[rows, pair[1]] = shares[rows, target] * halves[:, 0]
        moved[rows, target] = shares[rows, target] * halves[:, 1]
        return model.from_labels(values, moved, weights)

    moves = [
        Move(scale * (split[0] + loss), target, partial(rearranged, pair, target))
        for target, split in splits.items()
        for pair, loss in losses.items()
        if target not in pair
    ]
    return Moves(sorted(moves, key=lambda move: -move.promise), cost / scale)

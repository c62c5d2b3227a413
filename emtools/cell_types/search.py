"""One way to find K types that needs no tuning: K-means or links, then a tied mixture, then covariances shrunk to the tied one.

``n`` cells, ``d`` columns, ``K`` types throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import ArpackNoConvergence

from emtools.engine.chunks import ArraySource, Rows
from emtools.engine.loop import OnPass
from emtools.engine.protocol import Floats, Source
from emtools.engine.result import ONE_START, Fit
from emtools.engine.starts import fit, with_certificate
from emtools.errors import FitError, InputError
from emtools.kernels.neighbours import kept_links, shared_links, spectral_groups
from emtools.models.mixture import CovariancePrior, GaussianMixture, MixtureParams, data_prior, kmeans

Codes = npt.NDArray[np.intp]

DEFAULT = "shrunken"
SEARCHED_ROWS = 5_000
STARTS = 60
ROUGH = 1e-3  # nats a row at which the fits on the way stop
PASSES = 200
LEAST = 1e-12  # squared distance, over the largest square of a row, below which two rows are one
FEWER = 0.5  # of the links that types from compact groups lose, below which types from links are taken
LEAST_RIDGE = 1e-6  # of the variances, added to the scale of the prior


@dataclass(frozen=True)
class Search:
    """How `find_types` searches.

    Parameters
    ----------
    starts : int
        Starts of K-means.
    seed : int
        Root of all random numbers.
    threads : int
        Cannot change the result.
    tol : float
        Estimated remaining gain, in nats, at which the last fit stops.
    max_passes : int
        Passes that the last fit may take.
    accelerate : bool
        False for plain EM.
    executor : str
        Where chunks are worked on; cannot change the result.
    certificate : bool
        Whether to look at the curvature of the last fit.
    checkpoint : Path, optional
        File from which an interrupted last fit goes on.
    """

    starts: int = STARTS
    seed: int = 0
    threads: int = 1
    tol: float = 1e-6
    max_passes: int = 2000
    accelerate: bool = True
    executor: Any = "threads"
    certificate: bool = True
    checkpoint: Any = None


def nearest(values: Floats, centres: Floats) -> Codes:
    """Nearest of the centres (K, d) to each row (n, d), the first of equals."""
    squares = (centres**2).sum(axis=1)
    codes: Codes = (squares - 2.0 * values @ centres.T).argmin(axis=1)
    return codes


def greedy_seeds(values: Floats, n_seeds: int, rng: np.random.Generator) -> Codes:
    """Rows far from each other: of ``2 + log K`` rows drawn by k-means++, each time the one that leaves the least scatter.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows about the origin.
    n_seeds : int
        K.
    rng : Generator
        Source of randomness.

    Returns
    -------
    ndarray of int, shape (K,)

    Raises
    ------
    InputError
        If fewer than K rows differ.

    References
    ----------
    Arthur & Vassilvitskii (2007), SODA '07, 1027-1035, section 5 (several draws, the best kept).
    """
    squares = (values**2).sum(axis=1)
    n_draws = 2 + int(np.log(n_seeds))
    seeds = np.empty(n_seeds, dtype=np.intp)
    left = np.ones(len(values))
    for k in range(n_seeds):
        if not left.any():
            raise InputError(
                "cells", f"{k} distinct rows", f"at least one for each of {n_seeds} types", "ask for fewer types"
            )
        heights = np.cumsum(left)
        drawn = np.searchsorted(heights, rng.uniform(0.0, heights[-1], size=n_draws if k else 1), side="right")
        drawn = np.minimum(drawn, int(np.flatnonzero(left)[-1]))
        distances = squares[:, None] - 2.0 * values @ values[drawn].T + squares[drawn]
        distances[np.abs(distances) < LEAST * squares.max(initial=0.0)] = 0.0
        after = np.minimum(left[:, None], distances) if k else distances
        best = int(after.sum(axis=0).argmin())
        seeds[k], left = drawn[best], after[:, best]
    return seeds


def compact_groups(values: Floats, n_types: int, search: Search) -> Codes:
    """Groups of the best K-means of many starts, on at most `SEARCHED_ROWS` rows; the others to the nearest mean.

    Raises
    ------
    InputError
        If no start ended with K groups.
    """
    sample = values[searched_rows(len(values), search)]
    centre = sample.mean(axis=0)
    model = kmeans(n_types, values.shape[1], variance=float(sample.var(axis=0).mean()))
    shifted = sample - centre
    even = np.full(n_types, 1.0 / n_types)
    first = []
    for start in range(search.starts):
        seeds = greedy_seeds(shifted, n_types, np.random.default_rng(np.random.SeedSequence([search.seed, start])))
        first.append(MixtureParams(even, shifted[seeds], np.full(n_types, model.fixed_variance)))
    try:
        best = fit(
            model,
            ArraySource(shifted),
            init=first,
            assign="hard",
            tol=ROUGH,
            max_passes=PASSES,
            seed=search.seed,
            threads=search.threads,
            certificate=False,
        )
    except FitError as error:
        raise InputError(
            "cells", f"no {n_types} groups could be told apart ({error})", "", "ask for fewer types"
        ) from None
    return nearest(values - centre, best.params.means)


def searched_rows(n: int, search: Search) -> Codes:
    """Rows that groups are sought on: all of up to `SEARCHED_ROWS`, else as many drawn at random."""
    if n <= SEARCHED_ROWS:
        return np.arange(n)
    rng = np.random.default_rng(np.random.SeedSequence([search.seed, n]))
    return np.sort(rng.choice(n, SEARCHED_ROWS, replace=False))


def first_groups(values: Floats, n_types: int, search: Search) -> tuple[Codes, str]:
    """Groups of all rows to start from, and a sentence on them: compact ones, or those that few links between near rows leave.

    Both are given the shapes of the default mixture, roughly. Small types of their own beside a wide one are lost to K-means,
    which would rather halve the wide one; where types pass into each other, links cut anywhere. Links win where the types from
    them lose less than half (`FEWER`) as many links as those from compact groups.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Cells.
    n_types : int
        K.
    search : Search
        How.

    Returns
    -------
    groups : ndarray of int, shape (n,)
        0 to K - 1.
    origin : str
        Where they come from.
    """
    compact = compact_groups(values, n_types, search), f"It starts from the best of {search.starts} K-means."
    rows = searched_rows(len(values), search)
    sample = values[rows]
    if not 1 < n_types < len(sample):
        return compact
    links = shared_links(sample)

    def rough(groups: Codes) -> tuple[float, Codes]:
        """Links that types lose, in those of whole types, and types of all rows."""
        model, first = shaped(sample, groups, n_types, search)
        found = fit_on_the_way(model, ArraySource(sample), first, search)
        codes = model.log_joint(found.params, values).argmax(axis=1)
        return float((1.0 - kept_links(links, codes[rows], n_types)).sum()), codes

    try:
        groups = spectral_groups(links, n_types)
        if not np.bincount(groups, minlength=n_types).all():
            return compact
        lost, linked = rough(groups)
    except (FitError, ArpackNoConvergence):
        return compact
    whole = len(np.unique(linked)) == n_types
    if whole and lost < FEWER * rough(compact[0][rows])[0]:
        return linked, "It starts from groups of cells that few links between near cells leave."
    return compact


def shaped(values: Floats, groups: Codes, n_types: int, search: Search) -> tuple[GaussianMixture, MixtureParams]:
    """The default mixture, and where it starts: groups moved by a mixture with one covariance, to which it is shrunk."""
    n, d = values.shape
    total = np.cov(values.T, bias=True).reshape(d, d)
    tied = GaussianMixture(n_types, d, "tied", shrinkage(total, 2 * d + 1, 1))
    common = fit_on_the_way(tied, ArraySource(values), tied.from_labels(values, groups), search)
    model = GaussianMixture(n_types, d, "full", shrinkage(common.params.covariances, n, n_types))
    return model, model.from_labels(values, tied.responsibilities(common.params, values))


def shrinkage(within: Floats, n: int, n_types: int) -> CovariancePrior:
    """Prior under which each covariance is a mean of its own and that within types, the latter weighing n / K cells.

    ``Σ_k = (S_k + ν W) / (n_k + ν)`` with ν = n / K, at least the 2d + 1 that make it proper: a type of average size is
    half its own, a small one mostly W.

    Parameters
    ----------
    within : ndarray, shape (d, d)
        W, the covariance within types.
    n, n_types : int
        Cells and types.

    References
    ----------
    Friedman (1989), J. Am. Stat. Assoc. 84, 165-175, doi:10.1080/01621459.1989.10478752, eqs 16-17 (covariances of classes
    shrunk to the pooled one); as a prior, Fraley & Raftery (2007), doi:10.1007/s00357-007-0004-5, section 4.1.
    """
    d = len(within)
    strength = max(n / n_types, 2.0 * d + 1.0)
    ridged = within + LEAST_RIDGE * np.diag(np.diagonal(within))
    return CovariancePrior(strength - d - 1.0, strength * ridged)


def find_types(
    values: Floats, n_types: int, search: Search, on_pass: OnPass | None = None, family: str = DEFAULT
) -> Fit[Any, Any]:
    """The default mixture of K types, or one of a named family from the same start.

    K-means from many starts finds compact groups, links between near cells groups of any size (`first_groups`); a mixture
    with one covariance (the linear discriminant without labels) lets them take the shape that cells of one type have; the
    last fit frees the covariance of each type, shrunk to the common one (`shrinkage`).

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Cells.
    n_types : int
        K.
    search : Search
        How.
    on_pass : callable, optional
        Told of each pass of the last fit.
    family : str
        ``"shrunken"``, or a family of `GaussianMixture`, which gets the prior of `data_prior` and starts from K-means.

    Returns
    -------
    Fit
        Of a `GaussianMixture` with a prior.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(0.0, 1.0, (40, 2)), rng.normal(9.0, 1.0, (20, 2))])
    >>> find_types(values, 2, Search()).params.weights.round(2).tolist()
    [0.67, 0.33]
    """
    d = values.shape[1]
    if family == DEFAULT:
        groups, origin = first_groups(values, n_types, search)
        model, first = shaped(values, groups, n_types, search)
    else:
        groups, origin = compact_groups(values, n_types, search), f"It starts from the best of {search.starts} K-means."
        plain = GaussianMixture(n_types, d, family)  # type: ignore[arg-type]
        model = replace(plain, prior=data_prior(values, n_types, plain.layout))
        first = model.from_labels(values, groups)
    return fit_last(model, ArraySource(values), first, search, origin, on_pass)


def fit_on_the_way(model: Any, source: Source[Rows], first: MixtureParams, search: Search) -> Fit[Any, Any]:
    """A fit from which another one starts: it stops `ROUGH` nats a row below its top."""
    return fit(
        model,
        source,
        init=[first],
        tol=max(ROUGH * source.n_units, search.tol),
        max_passes=PASSES,
        seed=search.seed,
        threads=search.threads,
        certificate=False,
        look=search.certificate,
    )


def fit_last(
    model: Any, source: Source[Rows], first: MixtureParams, search: Search, origin: str, on_pass: OnPass | None
) -> Fit[Any, Any]:
    """The fit that is the answer, with all that `search` says of it; its verdict tells where it started (`origin`)."""
    fitted = fit(
        model,
        source,
        init=[first],
        tol=search.tol,
        max_passes=search.max_passes,
        seed=search.seed,
        threads=search.threads,
        accelerate=search.accelerate,
        executor=search.executor,
        checkpoint=search.checkpoint,
        certificate=False,
        look=search.certificate,
        on_pass=on_pass,
    )
    told = fitted.summary.replace(ONE_START, origin)
    fitted = replace(fitted, verdict=told, summary=told)
    return with_certificate(fitted, source, search.threads, errors=False) if search.certificate else fitted


def rougher(search: Search, starts: int, seed: int) -> Search:
    """The same search for a fit that only has to be about right."""
    return replace(search, starts=starts, seed=seed, tol=0.1, max_passes=PASSES, certificate=False, checkpoint=None)

"""Two mixtures crossed: the components of both, of which those that tell least apart are merged until half are left.

``n`` rows, ``d`` features, ``K`` components throughout.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Floats, Source
from emtools.engine.search import Crossed
from emtools.kernels import covariance_families as families
from emtools.kernels.logspace import normalise_rows
from emtools.models.mixture_starts import sample_rows

OWN = {"full": "VVV", "tied": "VVV", "diagonal": "VVI", "spherical": "VII"}


def crossed(model: Any, one: Any, two: Any, source: Source[Rows], rng: np.random.Generator) -> Crossed[Any]:
    """A mixture of K from the 2K components of two: pairs are merged, after each an EM step, while more than K are left.

    What one of them describes well and the other does not has components in the one alone; what both describe has
    twins, which cost nothing to merge. On a sample of rows where there are many. Passes are counted in rows times
    densities.

    Parameters
    ----------
    model : GaussianMixture
        Mixture of K.
    one, two : MixtureParams
        What is crossed.
    source : Source of Rows
        Data.
    rng : Generator
        Draws the sample.

    Returns
    -------
    Crossed

    Raises
    ------
    InputError
        If a component collapses on the way.

    References
    ----------
    Pernkopf & Bouchaffra (2005), IEEE Trans. Pattern Anal. 27, 1344-1348, doi:10.1109/TPAMI.2005.162, for mixtures
    crossed; Gribel & Vidal (2019), Pattern Recognit. 88, 569-583, doi:10.1016/j.patcog.2018.12.022, for K-means.
    """
    values, weights = sample_rows(source, rng, model.n_features)
    k, log_joint = model.n_components, np.column_stack([model.log_joint(p, values) for p in (one, two)])
    passes, params = 2.0, one
    for size in range(2 * k - 1, k - 1, -1):
        shares = np.exp(normalise_rows(log_joint)[0])
        i, j = least_loss(model, params, shares, values, weights)
        shares[:, i] += shares[:, j]
        smaller = replace(model, n_components=size)
        params = smaller.from_labels(values, np.delete(shares, j, axis=1), weights)
        if size > k:
            log_joint = smaller.log_joint(params, values)
            passes += size / k
    return Crossed(params, passes * len(values) / source.n_units)


def least_loss(model: Any, params: Any, shares: Floats, values: Floats, weights: Floats) -> tuple[int, int]:
    """The pair of components whose merger lowers the objective least, by a bound from their moments alone.

    With q merged, ``Q + log prior + entropy`` bounds the objective from below: what is lost is the fit of two
    covariances instead of one, and the entropy of the choice between the two. Components that share a covariance keep
    it; in families between, each is ranked by a covariance of its own.

    Parameters
    ----------
    model, params : GaussianMixture, MixtureParams
        Family, and parameters whose common covariance is kept where components share it.
    shares : ndarray, shape (n, K)
        Responsibilities.
    values, weights : ndarray, shape (n, d), (n,)
        Rows.
    """
    held = shares * weights[:, None]
    counts = np.maximum(held.sum(axis=0), np.finfo(np.float64).tiny)
    means = (held / counts).T @ values
    i, j = np.triu_indices(len(counts), 1)
    apart = means[i] - means[j]
    both, between = counts[i] + counts[j], counts[i] * counts[j] / (counts[i] + counts[j])
    if model.code in families.COMMON or model.fixed_variance is not None:
        common = model.covariance_matrices(params)[0]
        fit = -0.5 * between * np.einsum("pd,pd->p", apart, np.linalg.solve(common, apart.T).T)
    else:
        own = replace(model, n_components=len(counts), family=OWN[model.layout])
        scatters = own.moments(values, held, means, n=float(len(values)), loglik=np.nan, entropy=np.nan).second
        alone = best_fit(own, counts, scatters)
        outer = {"full": apart[:, :, None] * apart[:, None, :], "diagonal": apart**2}
        moved = outer.get(own.layout, (apart**2).sum(axis=1))
        merged = scatters[i] + scatters[j] + between.reshape(-1, *[1] * (moved.ndim - 1)) * moved
        fit = best_fit(own, both, merged) - alone[i] - alone[j]
    told = choice(weights, shares, counts)
    loss = fit + choice(weights, shares[:, i] + shares[:, j], both) - told[i] - told[j]
    loss = np.where(np.isnan(loss), -np.inf, loss)
    best = int(loss.argmax())
    return int(i[best]), int(j[best])


def choice(weights: Floats, shares: Floats, counts: Floats) -> Floats:
    """What weights and entropy add to the bound for each of some components, up to a common term, shape (K,).

    ``n_k log n_k - Σ_i w_i r_ik log r_ik``.
    """
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0.0)
    added: Floats = counts * np.log(counts) - weights @ (shares * logs)
    return added


def best_fit(model: Any, counts: Floats, scatters: Floats) -> Floats:
    """Q and log prior of components with the covariance that is best for their scatter, up to a common term, shape (K,)."""
    d, prior = model.n_features, model.prior
    divisors = counts * (d if model.layout == "spherical" else 1.0)
    if prior is not None:
        divisors = divisors + prior.added_counts(model.layout)
        scatters = scatters + prior.added_scatter(model.layout)
    covariances = scatters / divisors.reshape(-1, *[1] * (scatters.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        if model.layout == "full":
            log_sizes = np.linalg.slogdet(covariances)[1]
        else:
            log_sizes = np.log(covariances).reshape(len(counts), -1).sum(axis=1)
    fit: Floats = -0.5 * divisors * log_sizes
    return fit

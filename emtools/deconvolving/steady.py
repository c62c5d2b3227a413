"""The steady way: plain EM under two variance functions, averaged. It assumes nothing about platforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emtools.deconvolving.fractions import LARGER, Fractions, floored, fractions, inverted
from emtools.deconvolving.reference import Reference
from emtools.engine.chunks import ArraySource, Rows
from emtools.engine.protocol import Floats
from emtools.engine.starts import fit
from emtools.kernels.mixing import Pull, expected_counts
from emtools.models.bulk_mixture import BulkMixture, BulkParams

POWER = 1.5  # of the mean, to which the variance of the second fit is proportional; of the first it is 1
SECOND = 1.0 / 3.0  # weight of the second fit
LOW = 0.1  # of the average mean: what is added to the mean of a gene before it makes a weight
REWEIGHTED = 4  # times that the weights of the second fit follow its means
SHARED = 20  # passes for the shares of the classes of genes, amounts held


def steady(y: Floats, reference: Reference, scales: Floats, climbing: Mapping[str, Any]) -> Fractions:
    """Average of two EM fits, whose variances are proportional to the mean and to its power `POWER`.

    By how much the two differ beyond chance enters the standard errors.

    Parameters
    ----------
    y : ndarray, shape (G, S)
        Counts, each sample scaled to one total by `scales`.
    reference : Reference
        Of the same genes.
    scales : ndarray, shape (S,)
    climbing : mapping
        As in `fit`: ``tol``, ``max_passes``, ``seed``, ``threads``, ``accelerate``, ….

    References
    ----------
    Wedderburn (1974), Biometrika 61, 439-447, doi:10.1093/biomet/61.3.439 (quasi-likelihood of a variance function);
    Hoeting, Madigan, Raftery & Volinsky (1999), Stat. Sci. 14, 382-417, doi:10.1214/ss/1009212519, eq. 4 (variance of an
    average of models).
    """
    brief: Mapping[str, Any] = {**climbing, "certificate": False}
    profiles = reference.profiles
    model = BulkMixture(y.shape[1], len(reference.types), strengths=(np.inf,), dispersions=(1.0,))
    rows = np.hstack([y, profiles])
    fitted = fit(model, ArraySource(rows), **brief)
    second, weights = fitted.params, np.ones(len(y))
    for _ in range(REWEIGHTED):
        mean = expected_counts(second.amounts, profiles).mean(axis=1)
        weights = (mean + LOW * mean.mean()) ** (1.0 - POWER)
        weights *= mean.sum() / (weights @ mean)
        second = fit(model, ArraySource(rows, weights), init=[floored(second)], **brief).params
    one, two = fractions(fitted.params), fractions(second)
    total = fitted.params.amounts.sum(axis=1)
    average = (1.0 - SECOND) * one + SECOND * two
    n_types = len(reference.types)
    correction = len(y) / max(len(y) - n_types, 1)
    over_genes, over_cells, by_chance = (np.empty((y.shape[1], n_types, n_types)) for _ in range(3))
    for sample, (own, other) in enumerate(zip(fitted.params.amounts, second.amounts, strict=True)):
        genes, cells = moved_fractions(own, y[:, sample], reference, np.ones(len(y)))
        others, other_cells = moved_fractions(other, y[:, sample], reference, weights)
        over_genes[sample] = squared((1.0 - SECOND) * genes + SECOND * others) * correction
        over_cells[sample] = squared((1.0 - SECOND) * cells + SECOND * other_cells) * LARGER
        by_chance[sample] = squared(genes - others) * correction
    apart = one - two
    excess = np.maximum(apart**2 - np.einsum("skk->sk", by_chance), 0.0)
    apart = np.sign(apart) * np.sqrt(SECOND * (1.0 - SECOND) * excess)
    between = apart[:, :, None] * apart[:, None, :]
    pull = pull_of(BulkParams(average * total[:, None], fitted.params.shares), y, profiles)
    return Fractions(
        fitted,
        reference,
        profiles,
        y,
        scales,
        average * total[:, None],
        (over_genes + over_cells + between) * (total**2)[:, None, None],
        pull.factors,
        1.0 / pull.weight,
        np.sqrt(np.einsum("skk->sk", over_genes)),
        "steady",
        np.arange(len(y)),
    )


def squared(moves: Floats) -> Floats:
    """Covariance that independent moves (n, K) add up to, shape (K, K)."""
    return np.asarray(moves.T @ moves, dtype=np.float64)


def moved_fractions(own: Floats, y: Floats, reference: Reference, weights: Floats) -> tuple[Floats, Floats]:
    """By how much each gene, and each group of reference cells, moves the fractions of a sample (influence functions).

    Parameters
    ----------
    own : ndarray, shape (K,)
        Amounts: zero of ``Σ_g weights (y / mean - 1) profiles``.
    y, weights : ndarray, shape (G,)
        Counts of the sample, weights of the genes.
    reference : Reference

    Returns
    -------
    genes, cells : ndarray, shape (G, K) and (R, K)

    References
    ----------
    Hampel (1974), J. Am. Stat. Assoc. 69, 383-393, doi:10.1080/01621459.1974.10482962.
    """
    profiles = reference.profiles
    expected = expected_counts(own[None], profiles)[:, 0]
    slope = (weights / expected)[:, None] * profiles
    to_shares = inverted(slope.T @ profiles, own) @ (np.eye(len(own)) - own / own.sum()) / own.sum()
    genes = ((y - expected)[:, None] * slope) @ to_shares
    return genes, -(reference.deviations @ slope) * own[reference.deviation_types][:, None] @ to_shares


def pull_of(params: BulkParams, y: Floats, profiles: Floats) -> Pull:
    """Factors and noise of the genes at given amounts, by the classes of `BulkMixture`."""
    model = BulkMixture(y.shape[1], profiles.shape[1])
    shares = np.full(model.n_classes, 1.0 / model.n_classes)
    rows = Rows(np.hstack([y, profiles]), np.ones(len(y)))
    for _ in range(SHARED):
        held = BulkParams(params.amounts, shares)
        shares = model.m_step(model.e_step(held, rows), held).shares
    return model.pull(BulkParams(params.amounts, shares), y, profiles)[1]

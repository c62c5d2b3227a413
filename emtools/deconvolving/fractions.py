"""Fractions of types in mixtures: fit, profiles of the mixtures' own, and standard errors that count the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.deconvolving.reference import Reference
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.kernels.mixing import (
    adapted_profiles,
    amount_information,
    amount_scores,
    excess_scale,
    expected_counts,
    latent_expression,
)
from emtools.models.bulk_mixture import BulkMixture, BulkParams

ROUNDS = 16  # times that profiles follow the mixtures
PASSES = 10  # of EM between two of them
STILL = 1e-3  # largest change of a fraction at which they are left alone
FLOOR = 0.02  # of the mean profile: what a type is taken to express where no cell of it shows a gene
SIGNAL = 3.0  # standard errors above zero, in some type, at which a gene says something
LARGER = 5.0  # times its sampling variance that a reference is off: donors, protocols and states differ too
MOST_TOGETHER = 600  # amounts whose joint information is inverted


@dataclass(frozen=True)
class Fractions:
    """What S mixtures are made of.

    Parameters
    ----------
    fit : Fit
        Of `BulkMixture`, at the profiles below.
    reference : Reference
        Of the G genes used.
    profiles : ndarray, shape (G, K)
        Reference profiles after they followed the mixtures.
    counts : ndarray, shape (G, S)
        As modelled: each sample scaled to the median total.
    scales : ndarray, shape (S,)
        By which its counts were multiplied.
    amounts : ndarray, shape (S, K)
        Cells of each type, up to a factor of the sample.
    covariances : ndarray, shape (S, K, K)
        Of the amounts.
    factors, dispersions : ndarray, shape (G,)
        Of each gene: bulk over reference, and variance over mean.
    """

    fit: Fit[Any, Any]
    reference: Reference
    profiles: Floats
    counts: Floats
    scales: Floats
    amounts: Floats
    covariances: Floats
    factors: Floats
    dispersions: Floats

    def of_cells(self) -> tuple[Floats, Floats]:
        """Fraction of the cells that each type makes up, and standard errors, shape (S, K)."""
        return shares_of(self.amounts, self.covariances, np.ones(len(self.reference.types)))

    def of_rna(self) -> tuple[Floats, Floats]:
        """Fraction of the RNA (expression of the genes used) that each type makes up, and standard errors, shape (S, K)."""
        return shares_of(self.amounts, self.covariances, self.reference.sizes)

    def expression(self, sample: int) -> tuple[Floats, Floats]:
        """Counts of each gene in `sample` that come from each type, and standard deviations, shape (G, K).

        Latent normal expression with mean and variance from the reference; the variance of a type grows with its amount.
        """
        amounts = self.amounts[sample]
        means = self.factors[:, None] * amounts * self.profiles
        spreads = self.factors[:, None] ** 2 * amounts * self.reference.within
        noise = np.maximum(means.sum(axis=1), 1e-12)
        y = self.counts[:, sample]
        depth = excess_scale(y, means.sum(axis=1), spreads.sum(axis=1), noise)
        mean, variance = latent_expression(y, means, depth * spreads, noise)
        scale = self.scales[sample]
        return np.maximum(mean, 0.0) / scale, np.sqrt(variance) / scale


def shares_of(amounts: Floats, covariances: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """``amounts sizes`` as shares of their sum, with standard errors by the delta method, both of shape (S, K)."""
    sized = amounts * sizes
    total = sized.sum(axis=1, keepdims=True)
    shares = sized / total
    slope = (np.eye(len(sizes)) - shares[:, :, None]) * sizes / total[:, :, None]
    variances = np.einsum("ski,sij,skj->sk", slope, covariances, slope)
    return shares, np.sqrt(np.maximum(variances, 0.0))


def certainty_of(reference: Reference) -> tuple[Floats, Floats]:
    """Reference profiles without zeros, and the gamma shape of each value: squared mean over variance."""
    floor = FLOOR * reference.profiles.mean(axis=1, keepdims=True)
    profiles = np.maximum(reference.profiles, floor)
    return profiles, profiles**2 / (LARGER * reference.errors + floor**2)


def telling_genes(reference: Reference) -> npt.NDArray[np.intp]:
    """Positions of the genes that some type expresses at `SIGNAL` standard errors; all where these are too few."""
    signal = (reference.profiles > SIGNAL * np.sqrt(reference.errors)) & (reference.profiles > 0.0)
    kept = np.flatnonzero(signal.any(axis=1))
    return kept if len(kept) > 2 * len(reference.types) else np.flatnonzero((reference.profiles > 0.0).any(axis=1))


def deconvolve(counts: Floats, reference: Reference, **climbing: Any) -> Fractions:
    """Fractions of the types of `reference` in mixtures.

    Parameters
    ----------
    counts : ndarray, shape (S, G)
        Expression on the scale of counts; each sample and each gene of the reference has some.
    reference : Reference
        Of the same genes.
    climbing : optional
        As in `fit`: ``tol``, ``max_passes``, ``seed``, ``threads``, ``accelerate``, ….

    Returns
    -------
    Fractions
    """
    totals = counts.sum(axis=1)
    scales = np.median(totals) / totals
    y = np.ascontiguousarray((counts * scales[:, None]).T)
    model = BulkMixture(len(counts), len(reference.types))
    original, certainty = certainty_of(reference)
    profiles = original
    brief: Mapping[str, Any] = {**climbing, "max_passes": PASSES, "certificate": False}
    params = fit(model, ArraySource(np.hstack([y, profiles])), **brief).params
    for _ in range(ROUNDS):
        before = fractions(params)
        _, pull = model.pull(params, y, profiles)
        profiles = adapted_profiles(original, certainty, profiles, params.amounts, y, pull)
        params = fit(model, ArraySource(np.hstack([y, profiles])), init=[floored(params)], **brief).params
        if np.abs(fractions(params) - before).max() < STILL:
            break
    fitted = fit(
        model, ArraySource(np.hstack([y, profiles])), init=[floored(params)], **{**climbing, "certificate": False}
    )
    params = fitted.params
    _, pull = model.pull(params, y, profiles)
    covariances = amount_covariances(model, params, y, profiles, reference)
    dispersions = 1.0 / pull.weight
    return Fractions(fitted, reference, profiles, y, scales, params.amounts, covariances, pull.factors, dispersions)


def fractions(params: BulkParams) -> Floats:
    """Amounts as shares of their sum, shape (S, K)."""
    return np.asarray(params.amounts / params.amounts.sum(axis=1, keepdims=True), dtype=np.float64)


def floored(params: BulkParams) -> BulkParams:
    """The same with no amount so small that EM cannot raise it again."""
    return BulkParams(np.maximum(params.amounts, 1e-6 * params.amounts.max(axis=1, keepdims=True)), params.shares)


def amount_covariances(
    model: BulkMixture, params: BulkParams, counts: Floats, profiles: Floats, reference: Reference
) -> Floats:
    """Covariance of the amounts of each sample, shape (S, K, K): the sandwich over genes, plus what the cells of the
    reference would move.

    The sandwich ``I⁻¹ (Σ_g u_g u_gᵀ) I⁻¹`` holds whatever the variance of a gene, as long as genes are independent. The
    second part takes each group of reference cells (each donor) as one: its deviation moves the profiles of its type in
    all genes together, and thereby the amounts; as for the profiles, it is taken to be off by `LARGER` times its sampling
    variance.

    References
    ----------
    White (1982), Econometrica 50, 1-25, doi:10.2307/1912526, eq. 3.2; Liang & Zeger (1986), Biometrika 73, 13-22,
    doi:10.1093/biomet/73.1.13, eq. 7 (groups).
    """
    n_samples, n_types = params.amounts.shape
    _, pull = model.pull(params, counts, profiles)
    step = max(1, MOST_TOGETHER // n_types)
    n_genes = len(counts)
    correction = n_genes / max(n_genes - n_types, 1)
    result = np.zeros((n_samples, n_types, n_types))
    for first in range(0, n_samples, step):
        part = slice(first, min(first + step, n_samples))
        expected = expected_counts(params.amounts[part], profiles)
        information = amount_information(profiles, counts[:, part], expected, pull)
        scores = amount_scores(profiles, counts[:, part], expected, pull).reshape(n_genes, -1)
        inverse = inverted(information, params.amounts[part].ravel())
        covariance = inverse @ (correction * scores.T @ scores) @ inverse
        for s in range(part.stop - part.start):
            block = slice(s * n_types, (s + 1) * n_types)
            amounts = params.amounts[first + s]
            own = inverted(information[block, block], amounts)
            slope = (pull.held / expected[:, s])[:, None] * profiles
            moved = -(reference.deviations @ slope) * amounts[reference.deviation_types][:, None] @ own
            result[first + s] = covariance[block, block] + LARGER * moved.T @ moved
    return result


def inverted(information: Floats, amounts: Floats) -> Floats:
    """Inverse of an information matrix in units of the amounts; directions without information are left out."""
    unit = np.maximum(amounts, 1e-3 * amounts.max())
    values, vectors = np.linalg.eigh(information * np.outer(unit, unit))
    kept = values > 1e-10 * values.max()
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return np.asarray(inverse * np.outer(unit, unit), dtype=np.float64)

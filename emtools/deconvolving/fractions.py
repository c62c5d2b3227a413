"""Fractions of types in mixtures, as both ways of estimating them give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.deconvolving.reference import Reference
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.kernels.mixing import excess_scale, expected_counts, latent_expression
from emtools.models.bulk_mixture import BulkParams

FLOOR = 0.02  # of the mean profile: what a type is taken to express where no cell of it shows a gene
SIGNAL = 3.0  # standard errors above zero, in some type, at which a gene says something
LARGER = 5.0  # times its sampling variance that a reference is off: donors, protocols and states differ too


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
    over_genes : ndarray, shape (S, K)
        Part of the standard errors of the fractions that comes from the spread over genes, in the fit to all of them.
    way : str
        ``"steady"`` or ``"adapted"``.
    kept : ndarray of int, shape (G,)
        Positions of the genes used among those given.
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
    over_genes: Floats
    way: str
    kept: npt.NDArray[np.intp]

    def shares(self, sizes: Floats) -> tuple[Floats, Floats]:
        """``amounts sizes`` as shares of their sum, and standard errors, shape (S, K); `sizes` (K,) are taken as known."""
        return shares_of(self.amounts, self.covariances, sizes)

    def of_cells(self) -> tuple[Floats, Floats]:
        """Fraction of the cells that each type makes up, and standard errors, shape (S, K)."""
        return self.shares(np.ones(len(self.reference.types)))

    def of_rna(self) -> tuple[Floats, Floats]:
        """Fraction of the RNA (expression of the genes used) that each type makes up, and standard errors, shape (S, K)."""
        return self.shares(self.reference.sizes)

    def expected(self) -> Floats:
        """Counts that the fractions give, shape (G, S): with the factors of the genes where the way has them."""
        factors = self.factors[:, None] if self.way == "adapted" else np.ones((1, 1))
        return np.asarray(factors * expected_counts(self.amounts, self.profiles), dtype=np.float64)

    def together(self, sizes: Floats) -> tuple[Floats, Floats]:
        """Correlation of the errors of two of the `shares`, and standard error of their sum: medians over samples,
        shape (K, K) each.
        """
        slopes = share_slopes(self.amounts, sizes)
        covariances = slopes @ self.covariances @ slopes.transpose(0, 2, 1)
        variances = np.einsum("skk->sk", covariances)
        scale = np.sqrt(np.maximum(variances[:, :, None] * variances[:, None, :], 1e-300))
        sums = variances[:, :, None] + variances[:, None, :] + 2.0 * covariances
        return np.median(covariances / scale, axis=0), np.median(np.sqrt(np.maximum(sums, 0.0)), axis=0)

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
    slope = share_slopes(amounts, sizes)
    variances = np.einsum("ski,sij,skj->sk", slope, covariances, slope)
    return sized / sized.sum(axis=1, keepdims=True), np.sqrt(np.maximum(variances, 0.0))


def share_slopes(amounts: Floats, sizes: Floats) -> Floats:
    """Derivative of the shares of ``amounts sizes`` in each amount, shape (S, K, K)."""
    sized = amounts * sizes
    total = sized.sum(axis=1)[:, None, None]
    return np.asarray((np.eye(len(sizes)) - (sized[:, :, None] / total)) * sizes / total, dtype=np.float64)


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


def fractions(params: BulkParams) -> Floats:
    """Amounts as shares of their sum, shape (S, K)."""
    return np.asarray(params.amounts / params.amounts.sum(axis=1, keepdims=True), dtype=np.float64)


def floored(params: BulkParams) -> BulkParams:
    """The same with no amount so small that EM cannot raise it again."""
    return BulkParams(np.maximum(params.amounts, 1e-6 * params.amounts.max(axis=1, keepdims=True)), params.shares)


def inverted(information: Floats, amounts: Floats) -> Floats:
    """Inverse of an information matrix in units of the amounts; directions without information are left out."""
    unit = np.maximum(amounts, 1e-3 * amounts.max())
    values, vectors = np.linalg.eigh(information * np.outer(unit, unit))
    kept = values > 1e-10 * values.max()
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return np.asarray(inverse * np.outer(unit, unit), dtype=np.float64)

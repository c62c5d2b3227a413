"""Counts of mixtures of known profiles, gene by gene: how likely, where they come from, how sure the amounts are.

``S`` samples, ``K`` types, ``G`` genes, ``J`` classes of genes throughout. The expected count of a gene in a sample is
``gene factor * sum_k amounts[s, k] profiles[g, k]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlogy

Floats = npt.NDArray[np.float64]
LEAST = 1e-300  # stands for an expected count of zero


@dataclass(frozen=True)
class Classes:
    """Classes of genes: how far a gene may be off, and how noisy it is.

    Parameters
    ----------
    strengths : ndarray, shape (J,)
        Shape of the gamma distribution of mean 1 of the factor of a gene; its variance is 1 / strength. Infinite: no
        factor.
    dispersions : ndarray, shape (J,)
        Variance over mean of a count, given the factor; 1 is the Poisson distribution.
    """

    strengths: Floats
    dispersions: Floats


def expected_counts(amounts: Floats, profiles: Floats) -> Floats:
    """``sum_k amounts[s, k] profiles[g, k]``, shape (G, S), at least `LEAST`."""
    return np.maximum(profiles @ amounts.T, LEAST)


def log_evidence(counts: Floats, expected: Floats, classes: Classes) -> Floats:
    """Log density of the counts of a gene in each class, its factor integrated out.

    With ``w = 1 / dispersion``, ``a = strength``, ``Y`` and ``M`` the sums of counts y and expected counts m over
    samples, and the Poisson distribution replaced by the double exponential family, it is

    ``a log a - log Γ(a) + log Γ(a + wY) - (a + wY) log(a + wM) + Σ_s [wy log m - w(y log y - y) - ½ log dispersion]``.

    Parameters
    ----------
    counts, expected : ndarray, shape (G, S)
        Counts, at least 0, whole or not; expected counts, positive.
    classes : Classes
        J classes.

    Returns
    -------
    ndarray, shape (G, J)
        Nats, up to a term of the counts alone.

    References
    ----------
    Efron (1986), J. Am. Stat. Assoc. 81, 709-721, doi:10.1080/01621459.1986.10478327, eq. 2.10 (double Poisson).
    """
    a, weight = classes.strengths, 1.0 / classes.dispersions
    total, mass = counts.sum(axis=1)[:, None], expected.sum(axis=1)[:, None]
    fit = (xlogy(counts, expected) - xlogy(counts, counts) + counts).sum(axis=1)[:, None]
    free = np.isfinite(a)
    a = np.where(free, a, 1.0)
    shape = a + weight * total
    factored = a * np.log(a) - gammaln(a) + gammaln(shape) - shape * np.log(a + weight * mass)
    evidence: Floats = np.where(free, factored, -weight * mass) + weight * fit
    evidence -= 0.5 * counts.shape[1] * np.log(classes.dispersions)
    return evidence


@dataclass(frozen=True)
class Pull:
    """Expectations over the classes of a gene.

    Parameters
    ----------
    weight : ndarray, shape (G,)
        ``E[w]``, the weight of its counts.
    held : ndarray, shape (G,)
        ``E[w factor]``, the weight of its expected counts.
    curvature : ndarray, shape (G,)
        ``E[w² shape / rate²]``, the variance of ``w factor`` within classes.
    spread : ndarray, shape (G, 3)
        Variance of w, covariance of w and ``w E[factor]``, variance of ``w E[factor]`` over classes.
    """

    weight: Floats
    held: Floats
    curvature: Floats
    spread: Floats

    @property
    def factors(self) -> Floats:
        """Factor of each gene, shape (G,)."""
        return self.held / self.weight


def pulls(shares: Floats, counts: Floats, expected: Floats, classes: Classes) -> Pull:
    """Expected weights and factors.

    Parameters
    ----------
    shares : ndarray, shape (G, J)
        Posterior probability of each class.
    counts, expected : ndarray, shape (G, S)
        Counts and expected counts.
    classes : Classes
        J classes.
    """
    w = 1.0 / classes.dispersions
    free = np.isfinite(classes.strengths)
    strengths = np.where(free, classes.strengths, 1.0)
    shape = strengths + w * counts.sum(axis=1)[:, None]
    rate = strengths + w * expected.sum(axis=1)[:, None]
    factor = np.where(free, shape / rate, 1.0)
    weight, held = shares @ w, (shares * w * factor).sum(axis=1)
    spread = np.stack(
        [
            shares @ (w * w) - weight**2,
            (shares * w * w * factor).sum(axis=1) - weight * held,
            (shares * (w * factor) ** 2).sum(axis=1) - held**2,
        ],
        axis=1,
    )
    return Pull(weight, held, (shares * w * w * factor * free / rate).sum(axis=1), spread)


def origins(amounts: Floats, profiles: Floats, counts: Floats, expected: Floats, weights: Floats) -> Floats:
    """Weighted counts that come from each type: ``sum_g weights[g] y[g, s] amounts[s, k] profiles[g, k] / m[g, s]``.

    Parameters
    ----------
    amounts : ndarray, shape (S, K)
    profiles : ndarray, shape (G, K)
    counts, expected : ndarray, shape (G, S)
    weights : ndarray, shape (G,)

    Returns
    -------
    ndarray, shape (S, K)
    """
    return np.asarray(amounts * ((counts * (weights[:, None] / expected)).T @ profiles), dtype=np.float64)


def amount_scores(profiles: Floats, counts: Floats, expected: Floats, pull: Pull) -> Floats:
    """Derivative of the log density of each gene in each amount, shape (G, S, K)."""
    slope = pull.weight[:, None] * counts / expected - pull.held[:, None]
    return np.asarray(slope[:, :, None] * profiles[:, None, :], dtype=np.float64)


def amount_information(profiles: Floats, counts: Floats, expected: Floats, pull: Pull) -> Floats:
    """Observed information of the amounts, class shares held: minus the second derivatives, shape (S K, S K).

    References
    ----------
    Louis (1982), J. R. Stat. Soc. B 44, 226-233, doi:10.1111/j.2517-6161.1982.tb01203.x, eq. 3.1.
    """
    n_samples, n_types = counts.shape[1], profiles.shape[1]
    size = n_samples * n_types
    ratio = counts / expected
    tilted = (ratio[:, :, None] * profiles[:, None, :]).reshape(-1, size)
    plain = np.tile(profiles, n_samples)
    cross = tilted.T @ (pull.spread[:, 1, None] * plain)
    information = cross + cross.T - tilted.T @ (pull.spread[:, 0, None] * tilted)
    information -= plain.T @ ((pull.curvature + pull.spread[:, 2])[:, None] * plain)
    for s in range(n_samples):
        block = slice(s * n_types, (s + 1) * n_types)
        weights = pull.weight * ratio[:, s] / expected[:, s]
        information[block, block] += profiles.T @ (weights[:, None] * profiles)
    return np.asarray(information, dtype=np.float64)


def adapted_profiles(
    profiles: Floats, certainty: Floats, current: Floats, amounts: Floats, counts: Floats, pull: Pull
) -> Floats:
    """Profiles after the mixtures were seen: posterior means of gamma variables about those of the reference.

    With z the weighted counts that come from a type, ``profiles (certainty + Σ_s z) / (certainty + held Σ_s amounts
    profiles)``.

    Parameters
    ----------
    profiles : ndarray, shape (G, K)
        Reference.
    certainty : ndarray, shape (G, K)
        Shape of the gamma distribution of a profile value: squared mean over variance.
    current : ndarray, shape (G, K)
        Profiles by which counts are shared out.
    amounts : ndarray, shape (S, K)
    counts : ndarray, shape (G, S)
    pull : Pull
        Weights and factors of the genes.

    References
    ----------
    Chu, Wang, Pe'er & Danko (2022), Nat. Cancer 3, 505-517, doi:10.1038/s43018-022-00356-3 (a profile of the mixtures'
    own about the reference); conjugate update of a gamma mean.
    """
    ratio = counts / expected_counts(amounts, current)
    seen = pull.weight[:, None] * current * (ratio @ amounts)
    due = pull.held[:, None] * profiles * amounts.sum(axis=0)
    return np.asarray(profiles * (certainty + seen) / (certainty + due), dtype=np.float64)


def latent_expression(counts: Floats, means: Floats, variances: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of normal parts whose noisy sum was seen.

    ``x_k ~ N(means_k, variances_k)``, ``y ~ N(Σ_k x_k, noise)``: ``E[x_k | y] = means_k + variances_k / (Σ variances +
    noise) (y - Σ means)``.

    Parameters
    ----------
    counts : ndarray, shape (G,)
    means, variances : ndarray, shape (G, K)
    noise : ndarray, shape (G,)
        Positive.

    Returns
    -------
    mean, variance : ndarray, shape (G, K)

    Examples
    --------
    >>> mean, variance = latent_expression(*map(np.array, ([13.0], [[4.0, 6.0]], [[1.0, 1.0]], [1.0])))
    >>> mean.round(6).tolist(), variance.round(6).tolist()
    ([[5.0, 7.0]], [[0.666667, 0.666667]])
    """
    gain = variances / (variances.sum(axis=1) + noise)[:, None]
    mean = means + gain * (counts - means.sum(axis=1))[:, None]
    return mean, variances * (1.0 - gain)


def excess_scale(counts: Floats, means: Floats, spreads: Floats, noise: Floats) -> float:
    """Scale d at which ``Var(y) = noise + d spreads`` holds on average: a median of moments, at least 0.

    Parameters
    ----------
    counts, means, spreads, noise : ndarray, shape (G,)
        What was seen, what was expected, and the two parts of the variance.
    """
    used = spreads > 0.0
    if not used.any():
        return 0.0
    moments = ((counts - means)[used] ** 2 - noise[used]) / spreads[used]
    return max(float(np.median(moments)) / 0.4549, 0.0)

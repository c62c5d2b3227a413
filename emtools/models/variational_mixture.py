"""Variational Bayesian mixture of normals: coordinate ascent of the evidence bound, kept as EM.

The parameters are those of the posterior q(weights, means, precisions); the E-step finds q(z) for them, the M-step
finds them for q(z). With `loglik` = E[log p(x, z | θ)] + H(z) and `log_prior` = -KL(q(θ) || p(θ)), the objective is
the evidence lower bound (ELBO), and everything that holds of EM holds of it. It is no likelihood: its curvature is not
the information in the data, and the spread of the parameters is in the posterior itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import betaln, digamma, gammaln

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source
from emtools.errors import InputError
from emtools.kernels.gaussian import (
    LOG_2PI,
    cholesky_factors,
    half_log_determinants,
    pack_cholesky,
    trace_ratio,
    unpack_cholesky,
    whiten,
)
from emtools.kernels.logspace import normalise_rows
from emtools.models.assignment import EVERY_KIND, shared_rows
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_starts import draw_seeds, sample_rows
from emtools.models.mixture_values import MixtureStats

LOG_2, LOG_PI = math.log(2.0), math.log(math.pi)


@dataclass(frozen=True)
class VariationalPrior:
    """Prior of a variational mixture: Dirichlet or stick-breaking weights, a normal-Wishart for each component.

    Parameters
    ----------
    concentration : float
        Of the Dirichlet, or second parameter of each Beta(1, ·) stick; positive. Small values leave components empty.
    mean : ndarray, shape (d,)
        Where the means are expected, units of the data.
    mean_precision : float
        Rows that this expectation is worth, positive.
    degrees : float
        Degrees of freedom of the Wishart on each precision matrix, above d - 1.
    scale : ndarray, shape (d, d)
        Inverse of the scale matrix of the Wishart, squared units of the data: ``scale / degrees`` is a covariance.
    """

    concentration: float
    mean: Floats
    mean_precision: float
    degrees: float
    scale: Floats


def vague_prior(values: Floats, n_components: int) -> VariationalPrior:
    """A weak prior from the data: 1 / K, the mean, 1 row, d degrees and the covariance of the data.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Data, or a sample of them.
    n_components : int
        Components K.

    Returns
    -------
    VariationalPrior

    Raises
    ------
    InputError
        If a value is not finite or the covariance is singular.

    Examples
    --------
    >>> vague_prior(np.array([[0.0], [2.0], [4.0]]), 4)
    VariationalPrior(concentration=0.25, mean=array([2.]), mean_precision=1.0, degrees=1.0, scale=array([[4.]]))
    """
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError("data", f"array of shape {values.shape}", "at least two rows of finite numbers")
    deviations = values - values.mean(axis=0)
    covariance = deviations.T @ deviations / (len(values) - 1)
    if not np.isfinite(cholesky_factors(covariance)).all():
        raise InputError("data", "a singular covariance", "columns that vary and are not collinear", "drop a column")
    return VariationalPrior(1.0 / n_components, values.mean(axis=0), 1.0, float(values.shape[1]), covariance)


@dataclass(frozen=True)
class VariationalParams:
    """Posterior of the weights, means and precisions of K components.

    Parameters
    ----------
    concentration : ndarray, shape (K,) or (K - 1, 2)
        Of the Dirichlet; of each Beta stick where the weights break one.
    means : ndarray, shape (K, d)
        Expected means, units of the data.
    mean_precision : ndarray, shape (K,)
        Rows that each expected mean is worth.
    degrees : ndarray, shape (K,)
        Degrees of freedom of each Wishart.
    scales : ndarray, shape (K, d, d)
        Inverses of their scale matrices, squared units of the data.
    """

    concentration: Floats
    means: Floats
    mean_precision: Floats
    degrees: Floats
    scales: Floats


@dataclass(frozen=True)
class VariationalGaussianMixture:
    """Variational Bayesian mixture of K normals with full covariances in d features.

    Components that the data do not need are left empty. `loglik` is the part of the bound that belongs to the data,
    `log_prior` minus the Kullback-Leibler divergence of posterior from prior: the objective of a fit is the ELBO.

    Parameters
    ----------
    n_components : int
        Most components K, at least 1.
    n_features : int
        Features d, at least 1.
    prior : VariationalPrior
        See `vague_prior`.
    weights : {"dirichlet", "stick_breaking"}
        A Dirichlet, or a Dirichlet process truncated at K, whose last stick takes what is left.

    Raises
    ------
    InputError
        If a size or the prior cannot be used.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eqs 10.46-10.77; Blei & Jordan (2006), Bayesian Anal. 1,
    121-143, doi:10.1214/06-BA104, section 3 (stick-breaking).

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(0, 1, (60, 1)), rng.normal(8, 1, (40, 1))])
    >>> model = VariationalGaussianMixture(4, 1, vague_prior(values, 4))
    >>> result = fit(model, ArraySource(values), starts=5)
    >>> model.expected_weights(result.params).round(2).tolist()
    [0.6, 0.4, 0.0, 0.0]
    """

    n_components: int
    n_features: int
    prior: VariationalPrior
    weights: Literal["dirichlet", "stick_breaking"] = "dirichlet"

    name: ClassVar[str] = "variational_gaussian_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("kmeans++", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND
    errors: ClassVar[bool] = False

    def __post_init__(self) -> None:
        k, d, prior = self.n_components, self.n_features, self.prior
        if k < 1 or d < 1:
            raise InputError("mixture", f"{k} components in {d} features", "at least one of each")
        if self.weights not in ("dirichlet", "stick_breaking"):
            raise InputError("mixture", f"weights {self.weights!r}", "dirichlet or stick_breaking")
        if prior.mean.shape != (d,) or prior.scale.shape != (d, d):
            got = f"a mean of shape {prior.mean.shape} and a scale of shape {prior.scale.shape}"
            raise InputError("variational prior", got, f"shapes ({d},) and ({d}, {d})")
        if not np.isfinite(prior.mean).all() or not np.isfinite(cholesky_factors(prior.scale)).all():
            raise InputError("variational prior", "a mean or scale", "a finite mean and a positive definite scale")
        positive = (prior.concentration, prior.mean_precision, prior.degrees - (d - 1))
        if not all(0.0 < value < math.inf for value in positive):
            got = f"concentration {prior.concentration}, mean_precision {prior.mean_precision}, degrees {prior.degrees}"
            raise InputError("variational prior", got, f"positive finite numbers, degrees above {d - 1}")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        p = self.prior
        prior = {
            "concentration": p.concentration,
            "mean": p.mean,
            "mean_precision": p.mean_precision,
            "degrees": p.degrees,
            "scale": p.scale,
        }
        return {
            "n_components": self.n_components,
            "n_features": self.n_features,
            "prior": prior,
            "weights": self.weights,
        }

    @property
    def moments_of(self) -> GaussianMixture:
        """The mixture that sums the moments."""
        return GaussianMixture(self.n_components, self.n_features)

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> VariationalParams:
        """One M-step from rows given to the nearest of K seeds, far from each other (``"kmeans++"``) or not.

        Raises
        ------
        InputError
            If fewer than K rows differ, or a value is not finite.
        """
        values, weights = sample_rows(data, rng, self.n_features)
        spread = values.std(axis=0)
        scaled = (values - values.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
        seeds, nearest = draw_seeds(scaled, weights, self.n_components, rng, strategy)
        shares = np.zeros((len(values), self.n_components))
        shares[np.arange(len(values)), nearest] = weights
        stats = self.moments_of.moments(
            values, shares, values[seeds], n=float(weights.sum()), loglik=math.nan, entropy=math.nan
        )
        return self.posterior(stats)

    def expected_log_weights(self, params: VariationalParams) -> Floats:
        """``E[log π]``, shape (K,), nats (Bishop 2006, eq. 10.66; Blei & Jordan 2006, section 3.2)."""
        c = params.concentration
        if self.weights == "dirichlet":
            return np.asarray(digamma(c) - digamma(c.sum()))
        taken, left = (digamma(c) - digamma(c.sum(axis=1, keepdims=True))).T
        expected: Floats = np.append(taken, 0.0) + np.append(0.0, np.cumsum(left))
        return expected

    def expected_weights(self, params: VariationalParams) -> Floats:
        """``E[π]``, shape (K,)."""
        c = params.concentration
        if self.weights == "dirichlet":
            return np.asarray(c / c.sum())
        taken, left = (c / c.sum(axis=1, keepdims=True)).T
        shares: Floats = np.append(taken, 1.0) * np.append(1.0, np.cumprod(left))
        return shares

    def expected_log_precision(self, degrees: Floats, factors: Floats) -> Floats:
        """``E[log |Λ|]`` of Wisharts, from the Cholesky factors of their inverse scales (Bishop 2006, eq. 10.65)."""
        d = self.n_features
        halves = 0.5 * (np.asarray(degrees)[..., None] - np.arange(d))
        expected: Floats = digamma(halves).sum(axis=-1) + d * LOG_2 - 2.0 * half_log_determinants(factors)
        return expected

    def log_wishart_constant(self, degrees: Floats, factors: Floats) -> Floats:
        """Log of the normalising constant B of Wisharts (Bishop 2006, eq. B.79)."""
        d = self.n_features
        degrees = np.asarray(degrees)
        halves = 0.5 * (degrees[..., None] - np.arange(d))
        constant: Floats = (
            degrees * half_log_determinants(factors)
            - 0.5 * degrees * d * LOG_2
            - 0.25 * d * (d - 1) * LOG_PI
            - gammaln(halves).sum(axis=-1)
        )
        return constant

    def expected_constants(self, params: VariationalParams, factors: Floats) -> Floats:
        """What a row of each component adds to Q whatever its value, shape (K,), nats."""
        d = self.n_features
        of_precision = self.expected_log_precision(params.degrees, factors)
        return self.expected_log_weights(params) + 0.5 * (of_precision - d * LOG_2PI - d / params.mean_precision)

    def log_joint(self, params: VariationalParams, values: Floats) -> Floats:
        """``E_q(θ)[log p(x, z | θ)]`` of each row and component.

        Parameters
        ----------
        params : VariationalParams
            Posterior.
        values : ndarray, shape (n, d)
            Rows.

        Returns
        -------
        ndarray, shape (n, K)
            Nats (Bishop 2006, eq. 10.46 with 10.64).
        """
        factors = cholesky_factors(params.scales)
        table = np.empty((len(values), self.n_components))
        for k, (mean, factor) in enumerate(zip(params.means, factors, strict=True)):
            white = whiten(factor, values - mean)
            table[:, k] = -0.5 * params.degrees[k] * np.einsum("in,in->n", white, white)
        return table + self.expected_constants(params, factors)

    def responsibilities(self, params: VariationalParams, values: Floats) -> Floats:
        """Probability of each component given each row, shape (n, K), under q."""
        log_shares, _ = normalise_rows(self.log_joint(params, values))
        return np.asarray(np.exp(log_shares))

    def e_step(self, params: VariationalParams, chunk: Rows, assign: Assign = "soft") -> MixtureStats:
        """q(z) of `chunk` under any assignment, and its expected moments about ``params.means``.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        if chunk.values.shape[1] != self.n_features:
            raise InputError("data", f"{chunk.values.shape[1]} columns", f"{self.n_features}")
        log_joint = self.log_joint(params, chunk.values)
        shares, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        return self.moments_of.moments(
            chunk.values,
            shares * chunk.weights[:, None],
            params.means,
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=entropy,
        )

    def m_step(self, stats: MixtureStats, params: VariationalParams) -> VariationalParams:
        """The posterior that maximises the bound for these expected moments; it does not depend on `params`."""
        return self.posterior(stats)

    def posterior(self, stats: MixtureStats) -> VariationalParams:
        """Prior and expected moments put together (Bishop 2006, eqs 10.58-10.63; Blei & Jordan 2006, eqs 18-19)."""
        prior, counts = self.prior, stats.counts
        centres = stats.origin.points + stats.first / np.where(counts > 0.0, counts, 1.0)[:, None]
        centres = np.where(counts[:, None] > 0.0, centres, prior.mean)
        mean_precision = prior.mean_precision + counts
        away = prior.mean - centres
        shrink = prior.mean_precision / mean_precision
        scales = prior.scale + stats.scatters(centres)
        scales = scales + (shrink * counts)[:, None, None] * away[:, :, None] * away[:, None, :]
        concentration = prior.concentration + counts
        if self.weights == "stick_breaking":
            after = np.cumsum(counts[::-1])[::-1][1:]
            concentration = np.stack([1.0 + counts[:-1], prior.concentration + after], axis=1)
        return VariationalParams(
            concentration,
            centres + shrink[:, None] * away,
            mean_precision,
            prior.degrees + counts,
            0.5 * (scales + np.swapaxes(scales, 1, 2)),
        )

    def expected_loglik(self, stats: MixtureStats, params: VariationalParams) -> float:
        """``Σ_k counts_k c_k - ½ ν_k tr(scale_k⁻¹ S_k)`` in nats, S_k the scatter about the expected mean.

        c_k is what `expected_constants` gives: the expectation of the log density over q(θ), not a density at a point.
        """
        factors = cholesky_factors(params.scales)
        scatters = stats.scatters(params.means)
        traces = [trace_ratio(factor, scatter) for factor, scatter in zip(factors, scatters, strict=True)]
        return float(stats.counts @ self.expected_constants(params, factors) - 0.5 * params.degrees @ np.array(traces))

    def log_prior(self, params: VariationalParams) -> float:
        """``E[log p(θ)] - E[log q(θ)]``, minus the divergence of posterior from prior, nats (Bishop 2006, 10.72-10.77)."""
        return self.of_weights(params) + self.of_components(params)

    def of_weights(self, params: VariationalParams) -> float:
        """The part of `log_prior` that belongs to the weights."""
        prior, c = self.prior.concentration, params.concentration
        if self.weights == "dirichlet":
            k = self.n_components
            constants = gammaln(k * prior) - k * gammaln(prior) - gammaln(c.sum()) + gammaln(c).sum()
            return float(constants + (prior - c) @ self.expected_log_weights(params))
        logs = digamma(c) - digamma(c.sum(axis=1, keepdims=True))
        constants = (betaln(c[:, 0], c[:, 1]) - betaln(1.0, prior)).sum()
        return float(constants + ((np.array([1.0, prior]) - c) * logs).sum())

    def of_components(self, params: VariationalParams) -> float:
        """The part of `log_prior` that belongs to means and precisions."""
        prior, d, k = self.prior, self.n_features, self.n_components
        factors = cholesky_factors(params.scales)
        of_precision = self.expected_log_precision(params.degrees, factors)
        ratio = prior.mean_precision / params.mean_precision
        away = np.array(
            [whiten(f, (m - prior.mean)[None, :])[:, 0] for f, m in zip(factors, params.means, strict=True)]
        )
        spread = prior.mean_precision * params.degrees * (away**2).sum(axis=1)
        of_means = 0.5 * (d * np.log(ratio) + d - d * ratio - spread)
        own = self.log_wishart_constant(params.degrees, factors)
        common = self.log_wishart_constant(np.asarray(prior.degrees), cholesky_factors(prior.scale))
        traces = np.array([trace_ratio(factor, prior.scale) for factor in factors])
        of_wishart = 0.5 * (prior.degrees - params.degrees) * of_precision - 0.5 * params.degrees * (traces - d)
        return float(k * common - own.sum() + (of_means + of_wishart).sum())

    def pack(self, params: VariationalParams) -> Floats:
        """Logs of concentrations, precisions and degrees above d - 1; means; log-Cholesky vectors of the scales."""
        parts = [
            np.log(params.concentration).ravel(),
            np.log(params.mean_precision),
            np.log(params.degrees - (self.n_features - 1)),
            params.means.ravel(),
            pack_cholesky(params.scales).ravel(),
        ]
        return np.concatenate(parts)

    def unpack(self, vector: Floats) -> VariationalParams:
        """Inverse of `pack`."""
        k, d = self.n_components, self.n_features
        m = k if self.weights == "dirichlet" else 2 * (k - 1)
        concentration, precision, degrees, means, scales = np.split(vector, np.cumsum([m, k, k, k * d]))
        return VariationalParams(
            np.exp(concentration) if self.weights == "dirichlet" else np.exp(concentration).reshape(k - 1, 2),
            means.reshape(k, d),
            np.exp(precision),
            d - 1 + np.exp(degrees),
            unpack_cholesky(scales.reshape(k, -1)),
        )

    def natural(self, params: VariationalParams) -> dict[str, Floats]:
        """Expected weights and means, inverses of the expected precisions, and what is left of the posterior."""
        return {
            "weights": self.expected_weights(params),
            "means": params.means,
            "covariances": params.scales / params.degrees[:, None, None],
            "concentration": params.concentration,
            "mean_precision": params.mean_precision,
            "degrees": params.degrees,
        }

    def canonical(self, params: VariationalParams) -> VariationalParams:
        """Components by descending weight, then by their means; sticks have an order of their own and keep it."""
        if self.weights == "stick_breaking":
            return params
        order = np.lexsort((*params.means.T[::-1], -params.concentration))
        return VariationalParams(
            params.concentration[order],
            params.means[order],
            params.mean_precision[order],
            params.degrees[order],
            params.scales[order],
        )

    def degenerate(self, stats: MixtureStats, params: VariationalParams) -> str | None:
        """None: the bound lies below the evidence, which is finite under a proper prior; a component may be empty."""
        return None

"""Gaussian mixture in the fourteen covariance families; K-means is its hard limit with one fixed variance.

``n`` rows, ``d`` features, ``K`` components throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source
from emtools.engine.search import Crossed, Moves
from emtools.errors import InputError
from emtools.kernels import covariance_families as families
from emtools.kernels import gaussian
from emtools.kernels.logspace import log_or_minus_infinity, logsumexp_rows, normalise_rows
from emtools.kernels.mixture import hard_diagonal, soft_diagonal, soft_moments
from emtools.kernels.triangular import lower_inverses
from emtools.models.assignment import EVERY_KIND, shared_rows
from emtools.models.covariance_prior import CovariancePrior, data_prior
from emtools.models.mixture_crossing import crossed
from emtools.models.mixture_starts import draw_seeds, group_moments, sample_rows, swap_moves, ward_groups
from emtools.models.mixture_values import MixtureParams, MixtureStats, Origin

Family = Literal[
    "full", "tied", "diagonal", "spherical",
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
]  # fmt: skip
ALIASES = {"full": "VVV", "tied": "EEE", "diagonal": "VVI", "spherical": "VII"}

__all__ = ["CovariancePrior", "GaussianMixture", "MixtureParams", "MixtureStats", "data_prior", "kmeans"]

# Smallest variance of a component, in any direction, relative to that of the data.
COLLAPSED = 1e-12
# Share of the data's covariance in the covariance of a start, so that none is singular.
START_SHARE = 0.1


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture of K normals in d features.

    ``p(x) = Σ_k weights[k] N(x | means[k], covariances[k])``.

    Parameters
    ----------
    n_components : int
        Components K, at least 1.
    n_features : int
        Features d, at least 1.
    family : str
        What the covariances may be, in mclust's three letters for volume, shape and orientation (E equal, V varying,
        I none): EII, VII, EEI, VEI, EVI, VVI, EEE, VEE, EVE, VVE, EEV, VEV, EVV or VVV. "spherical" is VII,
        "diagonal" VVI, "tied" EEE and "full" VVV.
    prior : CovariancePrior, optional
        Part of the objective, so that no covariance can collapse.
    equal_weights : bool
        Hold every weight at 1 / K.
    fixed_variance : float, optional
        Hold the spherical variance at this value.
    order_by : int, optional
        Feature whose mean orders the components upwards; by default the largest weight is first.

    Raises
    ------
    InputError
        If a size, the family, the prior or the variance cannot be used.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x,
    section 4.3; Celeux & Govaert (1995), Pattern Recognit. 28, 781-793, doi:10.1016/0031-3203(94)00125-6,
    table 1; Bishop (2006), Pattern Recognition and Machine Learning, eqs 9.22-9.26.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> values = np.array([[0.0], [0.2], [0.4], [9.0], [9.2], [9.4]])
    >>> fitted = fit(GaussianMixture(2, 1, order_by=0), ArraySource(values), starts=3)
    >>> fitted.params.means.round(6).tolist()
    [[0.2], [9.2]]
    """

    n_components: int
    n_features: int
    family: Family = "full"
    prior: CovariancePrior | None = None
    equal_weights: bool = False
    fixed_variance: float | None = None
    order_by: int | None = None

    name = "gaussian_mixture"
    strategies = ("kmeans++", "random", "hierarchical")
    assigns = EVERY_KIND

    def __post_init__(self) -> None:
        if self.n_components < 1 or self.n_features < 1:
            got = f"{self.n_components} components in {self.n_features} features"
            raise InputError("mixture", got, "at least one of each")
        if self.code not in families.LAYOUTS:
            known = f"{', '.join(ALIASES)}, or one of mclust's {', '.join(families.LAYOUTS)}"
            raise InputError("mixture", f"family {self.family!r}", known)
        if self.order_by is not None and not 0 <= self.order_by < self.n_features:
            raise InputError("mixture", f"order_by {self.order_by}", f"a feature from 0 to {self.n_features - 1}")
        if self.fixed_variance is not None:
            if not 0.0 < self.fixed_variance < np.inf:
                raise InputError("mixture", f"fixed variance {self.fixed_variance}", "a positive finite number")
            if self.code != "VII" or self.prior is not None:
                raise InputError("mixture", "a fixed variance", "the spherical family without a prior")
        if self.prior is not None and not self.prior.usable(self.n_features):
            expected = f"a positive definite {self.n_features} by {self.n_features} scale, more degrees than features"
            got = f"{self.prior.degrees} degrees and a scale of shape {self.prior.scale.shape}"
            raise InputError("covariance prior", got, expected)

    @property
    def code(self) -> str:
        """The three letters of the family."""
        return ALIASES.get(self.family, self.family)

    @property
    def layout(self) -> families.Layout:
        """Shape in which the covariances and their scatters are kept."""
        return families.LAYOUTS[self.code]

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        prior = None if self.prior is None else {"degrees": self.prior.degrees, "scale": self.prior.scale}
        return {
            "n_components": self.n_components,
            "n_features": self.n_features,
            "family": self.family,
            "prior": prior,
            "equal_weights": self.equal_weights,
            "fixed_variance": self.fixed_variance,
            "order_by": self.order_by,
        }

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.n_free_weights + self.n_components * self.n_features + self.n_free_covariance

    @property
    def n_free_weights(self) -> int:
        """Weights that a fit may choose."""
        return 0 if self.equal_weights else self.n_components - 1

    @property
    def n_free_covariance(self) -> int:
        """Entries of the covariances that a fit may choose."""
        if self.fixed_variance is not None:
            return 0
        return families.n_free(self.code, self.n_components, self.n_features)

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> MixtureParams:
        """Parameters to start from.

        ``"kmeans++"`` draws seeds far from each other, gives each row to its nearest seed, and starts
        all components from the covariance within these groups; ``"random"`` draws rows as means and
        starts from the covariance of the data; ``"hierarchical"`` takes groups by Ward's method, always the same for at
        most 2,000 rows.

        Raises
        ------
        InputError
            If there are fewer rows than components, a value is not finite, or a feature is constant.
        """
        values, weights = sample_rows(data, rng, self.n_features)
        k = self.n_components
        if len(values) < k:
            raise InputError("data", f"{len(values)} rows", f"at least one for each of {k} components")
        centre = np.average(values, axis=0, weights=weights)
        spread = np.sqrt(np.average((values - centre) ** 2, axis=0, weights=weights))
        if self.fixed_variance is None and self.prior is None and not (spread > 0.0).all():
            column = int(np.argmin(spread > 0.0)) + 1
            raise InputError("data", f"feature {column} is constant", "features that vary", "drop it or set a prior")
        scale = np.ones_like(spread) if self.fixed_variance is not None else np.where(spread > 0.0, spread, 1.0)
        even = np.full(k, 1.0 / k)
        scaled = (values - centre) / scale
        if strategy == "hierarchical":
            groups = group_moments(values, weights, ward_groups(scaled, k, rng), k)
            centres = groups.means
        else:
            seeds, nearest = draw_seeds(scaled, weights, k, rng, strategy)
            groups = group_moments(values, weights, nearest, k)
            centres = values[seeds]
        if self.fixed_variance is not None:
            return MixtureParams(even, centres, np.full(k, self.fixed_variance))
        if strategy == "random":
            return MixtureParams(even, centres, self.as_family(self.with_prior(groups.total)))
        covariance = (1.0 - START_SHARE) * groups.within + START_SHARE * groups.total
        shares = even if self.equal_weights else groups.counts / groups.counts.sum()
        return MixtureParams(shares, groups.means, self.as_family(self.with_prior(covariance)))

    def moves(self, params: MixtureParams, source: Source[Rows], rng: np.random.Generator) -> Moves[MixtureParams]:
        """Moves for `emtools.engine.search.search`: two components are merged and a third is split."""
        return swap_moves(self, params, source, rng)

    def crossed(
        self, one: MixtureParams, two: MixtureParams, source: Source[Rows], rng: np.random.Generator
    ) -> Crossed[MixtureParams]:
        """For the same search: the components of both, merged until K are left."""
        return crossed(self, one, two, source, rng)

    def with_prior(self, covariance: Floats) -> Floats:
        """A covariance for a start, moved a little towards the prior where there is one, shape (d, d)."""
        if self.prior is None:
            return covariance
        mode = self.prior.scale / (self.prior.degrees + self.n_features + 1)
        return (1.0 - START_SHARE) * covariance + START_SHARE * mode

    def as_family(self, covariance: Floats) -> Floats:
        """The same (d, d) covariance for every component, in the family's shape."""
        k, d = self.n_components, self.n_features
        if self.layout == "full":
            return np.repeat(covariance[None], k, axis=0)
        if self.layout == "tied":
            return covariance
        if self.layout == "diagonal":
            return np.repeat(np.diagonal(covariance)[None], k, axis=0)
        return np.full(k, np.trace(covariance) / d)

    def log_joint(self, params: MixtureParams, values: Floats) -> Floats:
        """Log of weight times density, ``log p(x, k)``.

        Parameters
        ----------
        params : MixtureParams
            Parameters.
        values : ndarray, shape (n, d)
            Rows.

        Returns
        -------
        ndarray, shape (n, K)
            Nats; NaN where a covariance is not positive definite.
        """
        log_weights = log_or_minus_infinity(params.weights)
        means, covariances = params.means, params.covariances
        if self.layout == "full":
            log_density = gaussian.log_density_full(values, means, gaussian.cholesky_factors(covariances))
        elif self.layout == "tied":
            log_density = gaussian.log_density_tied(values, means, gaussian.cholesky_factors(covariances))
        else:
            variances = covariances if self.layout == "diagonal" else self.repeat_features(covariances)
            log_density = gaussian.log_density_diagonal(values, means, variances)
        return log_density + log_weights

    def repeat_features(self, variances: Floats) -> Floats:
        """Spherical variances (K,) as diagonal ones (K, d)."""
        return np.repeat(variances[:, None], self.n_features, axis=1)

    def responsibilities(self, params: MixtureParams, values: Floats) -> Floats:
        """Probability of each component given each row.

        Parameters
        ----------
        params : MixtureParams
            Parameters.
        values : ndarray, shape (n, d)
            Rows.

        Returns
        -------
        ndarray, shape (n, K)
            Rows sum to 1.

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eq. 9.23.
        """
        log_shares, _ = normalise_rows(self.log_joint(params, values))
        shares: Floats = np.exp(log_shares)
        return shares

    def e_step(self, params: MixtureParams, chunk: Rows, assign: Assign = "soft") -> MixtureStats:
        """Expected moments of `chunk` about ``params.means``.

        Hard assignment gives each row to its best component, the first of equals; its `loglik` is
        then the classification log-likelihood (Celeux & Govaert 1992, doi:10.1016/0167-9473(92)90042-E).
        """
        stats = self.compiled(params, chunk, assign)
        if stats is not None:
            return stats
        log_joint = self.log_joint(params, chunk.values)
        shares, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        return self.moments(
            chunk.values,
            shares * chunk.weights[:, None],
            params.means,
            loglik=loglik,
            entropy=entropy,
            n=float(chunk.weights.sum()),
        )

    def compiled(self, params: MixtureParams, chunk: Rows, assign: Assign) -> MixtureStats | None:
        """The E-step by `emtools.kernels.mixture`; None where it has none, or a covariance is not positive definite."""
        whole = self.layout in ("full", "tied")
        if assign != "soft" and (assign != "hard" or whole):
            return None
        k, d = params.means.shape
        constants = log_or_minus_infinity(params.weights) - 0.5 * d * gaussian.LOG_2PI
        rows = np.ascontiguousarray(chunk.values), np.ascontiguousarray(chunk.weights), params.means
        if whole:
            factors = gaussian.cholesky_factors(params.covariances.reshape(-1, d, d))
            if not np.isfinite(factors).all():
                return None
            inverses = np.repeat(lower_inverses(factors), k // len(factors), axis=0)
            results = soft_moments(*rows, inverses, constants - gaussian.half_log_determinants(factors))
        else:
            variances = params.covariances if self.layout == "diagonal" else self.repeat_features(params.covariances)
            if not (variances > 0.0).all():
                return None
            by_rows = soft_diagonal if assign == "soft" else hard_diagonal
            results = by_rows(*rows, 1.0 / np.sqrt(variances), constants - 0.5 * np.log(variances).sum(axis=1))
        loglik, entropy, counts, first, second = results
        if self.layout in ("tied", "spherical"):
            second = second.sum(axis=0 if self.layout == "tied" else 1)
        n, origin = float(chunk.weights.sum()), Origin(params.means, self.layout == "tied")
        return MixtureStats(n, loglik, entropy, counts, first, second, origin)

    def moments(
        self, values: Floats, shares: Floats, origin: Floats, *, n: float, loglik: float, entropy: float
    ) -> MixtureStats:
        """Statistics of rows (n, d) shared out by weights (n, K), about `origin` (K, d)."""
        k, d = origin.shape
        first = np.empty((k, d))
        second = np.zeros({"full": (k, d, d), "tied": (d, d), "diagonal": (k, d), "spherical": (k,)}[self.layout])
        for j in range(k):
            deviations = values - origin[j]
            shared = deviations * shares[:, j : j + 1]
            first[j] = shared.sum(axis=0)
            if self.layout == "full":
                second[j] = shared.T @ deviations
            elif self.layout == "tied":
                second += shared.T @ deviations
            elif self.layout == "diagonal":
                second[j] = np.einsum("nd,nd->d", shared, deviations)
            else:
                second[j] = np.einsum("nd,nd->", shared, deviations)
        if self.layout in ("full", "tied"):
            second = 0.5 * (second + np.swapaxes(second, -1, -2))
        return MixtureStats(
            n, loglik, entropy, shares.sum(axis=0), first, second, Origin(origin, self.layout == "tied")
        )

    def m_step(self, stats: MixtureStats, params: MixtureParams) -> MixtureParams:
        """Weights, means and covariances that maximise Q plus log prior.

        A component without any row keeps its mean, and without a prior its covariance too: Q does
        not depend on them.

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eqs 9.24-9.26; with a prior, Fraley &
        Raftery (2007), J. Classif. 24, 155-181, doi:10.1007/s00357-007-0004-5, section 4.1, without
        shrinkage of the means.
        """
        counts = stats.counts
        filled = counts > 0.0
        divisor = np.where(filled, counts, 1.0)
        means = np.where(filled[:, None], stats.origin.points + stats.first / divisor[:, None], params.means)
        weights = np.full(self.n_components, 1.0 / self.n_components)
        if not self.equal_weights:
            weights = counts / counts.sum()
        if self.fixed_variance is not None:
            return MixtureParams(weights, means, params.covariances)
        summed = stats.scatters(means)
        divisors = (
            counts.sum() if self.layout == "tied" else counts * (self.n_features if self.layout == "spherical" else 1)
        )
        if self.prior is not None:
            share = self.n_priors / (1 if self.layout == "tied" else self.n_components)
            summed = summed + share * self.prior.added_scatter(self.layout)
            divisors = divisors + share * self.prior.added_counts(self.layout)
        return MixtureParams(weights, means, families.maximise(self.code, summed, divisors, params.covariances))

    @property
    def n_priors(self) -> int:
        """Covariances that the prior sees: one where all components have the same."""
        return 1 if self.code in families.COMMON else self.n_components

    def expected_loglik(self, stats: MixtureStats, params: MixtureParams) -> float:
        """Q in nats.

        ``Σ_k counts[k] log weights[k] - ½ Σ_k (counts[k] (d log 2π + log|Σ_k|) + tr Σ_k⁻¹ S_k)``
        with S_k the scatter about ``params.means[k]`` (Bishop 2006, eq. 9.40).
        """
        d, counts = self.n_features, stats.counts
        used = counts > 0.0
        total = float((counts[used] * log_or_minus_infinity(params.weights[used])).sum())
        scatters = stats.scatters(params.means)
        if self.layout == "tied":
            factor = gaussian.cholesky_factors(params.covariances)
            return total + gaussian.expected_log_density(float(counts.sum()), scatters, factor)
        if self.layout == "full":
            factors = gaussian.cholesky_factors(params.covariances)
            logs = 2.0 * gaussian.half_log_determinants(factors) + d * gaussian.LOG_2PI
            return total - 0.5 * float(counts @ logs + gaussian.trace_ratios(factors, scatters).sum())
        variances = params.covariances
        per_component = d if self.layout == "spherical" else 1
        logs = per_component * np.log(variances)
        weighted = (counts * logs.T).sum() + (scatters / variances).sum()
        return total - 0.5 * (float(counts.sum()) * d * gaussian.LOG_2PI + float(weighted))

    def log_prior(self, params: MixtureParams) -> float:
        """Log density of the covariances under `prior`, without its constant, in nats."""
        if self.prior is None:
            return 0.0
        covariances = params.covariances if self.layout == "tied" else params.covariances[: self.n_priors]
        return self.prior.log_density(covariances, self.layout)

    def pack(self, params: MixtureParams) -> Floats:
        """Log ratios of the weights to the last, means, log-Cholesky or log variances; only what is free."""
        parts = [params.means.ravel()]
        if not self.equal_weights:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                parts.insert(0, np.log(params.weights[:-1] / params.weights[-1]))
        if self.fixed_variance is None:
            parts.append(families.pack(self.code, params.covariances))
        return np.concatenate(parts)

    def unpack(self, vector: Floats) -> MixtureParams:
        """Inverse of `pack`."""
        k, d, m = self.n_components, self.n_features, self.n_free_weights
        weights = np.full(k, 1.0 / k)
        if not self.equal_weights:
            log_weights = np.append(vector[:m], 0.0)
            weights = np.exp(log_weights - logsumexp_rows(log_weights))
        means = vector[m : m + k * d].reshape(k, d)
        rest = vector[m + k * d :]
        if self.fixed_variance is not None:
            covariances = np.full(k, self.fixed_variance)
        else:
            covariances = families.unpack(self.code, rest, k, d)
        return MixtureParams(weights, means, covariances)

    def natural(self, params: MixtureParams) -> dict[str, Floats]:
        """Weights, means and covariances; "variances" in the diagonal and spherical families."""
        word = "covariances" if self.layout in ("full", "tied") else "variances"
        return {"weights": params.weights, "means": params.means, word: params.covariances}

    def canonical(self, params: MixtureParams) -> MixtureParams:
        """Components by descending weight, or by ascending mean of feature `order_by`.

        Ties are broken by the means, then by descending weight, then by the entries of the covariances:
        components that agree in all of these are the same.
        """
        tied = self.layout == "tied"
        first = -params.weights if self.order_by is None else params.means[:, self.order_by]
        spread = np.empty((self.n_components, 0)) if tied else params.covariances.reshape(self.n_components, -1)
        order = np.lexsort((*spread.T[::-1], -params.weights, *params.means.T[::-1], first))
        covariances = params.covariances if tied else params.covariances[order]
        return MixtureParams(params.weights[order], params.means[order], covariances)

    def degenerate(self, stats: MixtureStats, params: MixtureParams) -> str | None:
        """Why the next M-step would leave a component without rows or without a covariance.

        A covariance has collapsed where its least variance, in the data's standard deviations, is
        below `COLLAPSED`: the likelihood is unbounded along that way (Day 1969, doi:10.1093/biomet/56.3.463).
        """
        if np.isnan(stats.counts).any():
            return "a covariance has collapsed: it is not positive definite"
        empty = np.flatnonzero(~(stats.counts > 0.0))
        if empty.size:
            return f"component {empty[0] + 1} of {self.n_components} has no rows left"
        if self.fixed_variance is not None or self.prior is not None:
            return None
        return self.collapsed(stats, self.m_step(stats, params).covariances)

    def collapsed(self, stats: MixtureStats, covariances: Floats) -> str | None:
        """Which of the covariances, in the family's shape, has no width in some direction, or None."""
        d, variances = self.n_features, self.total_variances(stats)
        variances = np.where(variances > 0.0, variances, 1.0)
        if self.layout in ("full", "tied"):
            matrices = covariances.reshape(-1, d, d) / np.sqrt(np.outer(variances, variances))
            if np.isfinite(gaussian.cholesky_factors(matrices - 2.0 * COLLAPSED * np.eye(d))).all():
                return None  # all are wide enough, which factors tell in a ninth of the time of eigenvalues
            whole = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
            least = np.where(whole, np.linalg.eigvalsh(np.where(whole[:, None, None], matrices, 0.0))[:, 0], 0.0)
        else:
            least = np.nan_to_num((covariances / variances).reshape(self.n_components, -1).min(axis=1))
        worst = int(np.argmin(least))
        if least[worst] > COLLAPSED:
            return None
        if self.code in families.COMMON:
            return "the common covariance has collapsed: features are collinear within the components"
        points = float(stats.counts[worst])
        needed = d + 1 if self.code in ("VVV", "EVV") else 2
        why = f"{needed} are needed" if points < needed else "which do not vary in every direction"
        return f"component {worst + 1} has collapsed on {points:.3g} points, {why}"

    def total_variances(self, stats: MixtureStats) -> Floats:
        """Variance of each feature over all rows (d,); in the spherical family their mean, 0-d."""
        points = stats.origin.points
        centre = points[0] + (stats.counts @ (points - points[0]) + stats.first.sum(axis=0)) / stats.counts.sum()
        squares = stats.squares(np.broadcast_to(centre, points.shape))
        per_value = stats.counts.sum() * (self.n_features if self.layout == "spherical" else 1)
        return np.asarray(squares / per_value)

    def covariance_matrices(self, params: MixtureParams) -> Floats:
        """Covariance matrix of each component, shape (K, d, d)."""
        if self.layout == "full":
            return params.covariances
        k, d = self.n_components, self.n_features
        if self.layout == "tied":
            return np.repeat(params.covariances[None], k, axis=0)
        variances = params.covariances if self.layout == "diagonal" else self.repeat_features(params.covariances)
        return variances[:, :, None] * np.eye(d)

    def from_labels(self, values: Floats, labels: npt.NDArray[Any], weights: Floats | None = None) -> MixtureParams:
        """Parameters by one M-step from a partition.

        Parameters
        ----------
        values : ndarray, shape (n, d)
            Rows.
        labels : ndarray, shape (n,) of int or (n, K) of float
            Component of each row in ``range(K)``, or responsibilities.
        weights : ndarray, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        MixtureParams

        Raises
        ------
        InputError
            If the labels have a wrong shape or range, or a component has no rows or a singular covariance.
        """
        labels = np.asarray(labels)
        n, k, d = len(values), self.n_components, self.n_features
        if labels.ndim == 1:
            if labels.shape != (n,) or labels.dtype.kind not in "iub" or labels.min() < 0 or labels.max() >= k:
                raise InputError("labels", f"array of shape {labels.shape}", f"{n} integers from 0 to {k - 1}")
            shares = np.zeros((n, k))
            shares[np.arange(n), labels] = 1.0
        else:
            shares = labels.astype(np.float64)
        if shares.shape != (n, k):
            raise InputError("labels", f"array of shape {shares.shape}", f"({n}, {k})")
        if weights is not None:
            shares = shares * weights[:, None]
        counts = shares.sum(axis=0)
        if not (counts > 0.0).all():
            empty = int(np.argmin(counts > 0.0)) + 1
            raise InputError("labels", f"component {empty} has no rows", "rows for every component")
        centre = values.mean(axis=0)
        origin = centre + shares.T @ (values - centre) / counts[:, None]
        stats = self.moments(values, shares, origin, n=float(counts.sum()), loglik=np.nan, entropy=np.nan)
        fixed = 1.0 if self.fixed_variance is None else self.fixed_variance
        before = self.as_family(fixed * np.eye(d))
        if self.code in families.GENERALISED and np.isfinite(stats.second).all():
            found = families.turned_from_many(self.code, stats.second, counts)
            before = found if np.isfinite(found).all() else before
        params = self.m_step(stats, MixtureParams(counts / counts.sum(), origin, before))
        if self.fixed_variance is None and self.prior is None:
            reason = self.collapsed(stats, params.covariances)
            if reason is not None:
                raise InputError("labels", reason, "a covariance in every component", "merge components or set a prior")
        return params

    def boundaries(self, params: MixtureParams) -> list[dict[str, Any]]:
        """Where two components are equally likely, for every pair.

        Returns
        -------
        list of dict
            ``first``, ``second`` (components), ``A`` (d, d), ``b`` (d,), ``c``: where
            ``xᵀAx + bᵀx + c`` is positive, `first` is the likelier. It is the log ratio of their joint
            densities in nats: a quadric, and a hyperplane (A = 0) where they share a covariance.
        """
        matrices = self.covariance_matrices(params)
        log_weights = log_or_minus_infinity(params.weights)
        pairs: list[dict[str, Any]] = []
        for i, j in combinations(range(self.n_components), 2):
            square, linear, constant = gaussian.quadric(
                (params.means[i], params.means[j]), (matrices[i], matrices[j]), (log_weights[i], log_weights[j])
            )
            pairs.append({"first": i, "second": j, "A": square, "b": linear, "c": constant})
        return pairs


def kmeans(n_components: int, n_features: int, order_by: int | None = None, variance: float = 1.0) -> GaussianMixture:
    """K-means: a mixture with equal weights and one fixed spherical variance, fitted with ``assign="hard"``.

    Its classification log-likelihood is ``-inertia / (2 variance)`` plus a constant, so the climb is
    that of Lloyd's algorithm.

    Parameters
    ----------
    n_components : int
        Clusters.
    n_features : int
        Features.
    order_by : int, optional
        Feature whose mean orders the clusters.
    variance : float
        Squared unit of the data in which the tolerance of a fit, in nats, is read; the clusters do
        not depend on it.

    Returns
    -------
    GaussianMixture

    References
    ----------
    Celeux & Govaert (1992), Comput. Stat. Data Anal. 14, 315-332, doi:10.1016/0167-9473(92)90042-E.
    """
    return GaussianMixture(
        n_components, n_features, "spherical", equal_weights=True, fixed_variance=variance, order_by=order_by
    )

"""Mixture of normals whose rows have gaps. ``n`` rows, ``d`` features, ``K`` components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from emtools.engine.protocol import Assign, Floats, Sampled, Source
from emtools.errors import InputError
from emtools.kernels.cell_mixtures import CellMixtures
from emtools.kernels.gaussian import LOG_2PI, cholesky_factors, cholesky_units
from emtools.kernels.incomplete import Conditioned, IncompleteRows, condition_rows
from emtools.kernels.logspace import log_or_minus_infinity, logsumexp_rows, normalise_rows
from emtools.kernels.patterns import PatternRows
from emtools.kernels.precision import NONE
from emtools.kernels.readings import Readings
from emtools.models.assignment import generator, kind_of, shared_rows
from emtools.models.covariance_prior import CovariancePrior, spread_prior
from emtools.models.incomplete_rows import IncompleteSource, blocks_of, check_width, sample_incomplete
from emtools.models.mixture import START_SHARE, GaussianMixture
from emtools.models.mixture_starts import draw_seeds, group_moments, ward_groups
from emtools.models.mixture_values import MixtureParams, MixtureStats, Origin


@dataclass(frozen=True)
class IncompleteMixture:
    """Mixture of K normals of rows of which any cells may be missing, at random.

    ``p(x_o) = Σ_k weights[k] N(x_o | means[k]_o, covariances[k]_oo)`` of the observed cells o of a row. One component is
    the multivariate normal of `emtools.models.normal`.

    Parameters
    ----------
    n_components : int
        Components K, at least 1.
    n_features : int
        Features d, at least 1.
    family : {"full", "tied"}
        A covariance for each component, or one for all.
    prior : CovariancePrior, optional
        Part of the objective, so that no covariance can collapse; see `incomplete_prior`. Any ``degrees`` above
        ``-d - 1`` will do.
    order_by : int, optional
        Feature whose mean orders the components upwards; by default the largest weight is first.
    labels : tuple of str
        Names of the features, for messages.

    Raises
    ------
    InputError
        If a size, the family or the prior cannot be used.

    References
    ----------
    Ghahramani & Jordan (1994), Adv. Neural Inf. Process. Syst. 6, 120-127, section 4; Hunt & Jorgensen (2003), Comput.
    Stat. Data Anal. 41, 429-440, doi:10.1016/S0167-9473(02)00190-1; Lin, Lee & Ho (2006), J. Multivar. Anal. 97,
    1177-1195, doi:10.1016/j.jmva.2005.10.006.

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> table = np.array([[0.0, 1.1], [0.2, 1.0], [0.4, 1.3], [9.0, 5.2], [9.2, np.nan], [9.4, 5.1]])
    >>> model = IncompleteMixture(2, 2, "tied", prior=incomplete_prior(table, 2, "tied"))
    >>> fitted = fit(model, model.source(Readings(table)), starts=3)
    >>> filled, sd = model.conditional(fitted.params, Readings(table))
    >>> bool(5.0 < filled[4, 1] < 5.3)
    True
    """

    n_components: int
    n_features: int
    family: Literal["full", "tied"] = "full"
    prior: CovariancePrior | None = None
    order_by: int | None = None
    labels: tuple[str, ...] = ()

    name: ClassVar[str] = "incomplete_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("kmeans++", "random", "hierarchical")
    assigns: ClassVar[tuple[str, ...]] = ("soft", "sampled")

    def __post_init__(self) -> None:
        if self.family not in ("full", "tied"):
            raise InputError("mixture", f"family {self.family!r}", "full or tied")
        GaussianMixture(self.n_components, self.n_features, self.family, order_by=self.order_by)
        if self.prior is None:
            return
        d, degrees, scale = self.n_features, self.prior.degrees, self.prior.scale
        if scale.shape != (d, d) or not degrees + d + 1 > 0 or not np.isfinite(cholesky_factors(scale)).all():
            expected = f"more than {-d - 1} degrees and a positive definite scale of shape ({d}, {d})"
            raise InputError("covariance prior", f"{degrees} degrees, scale of shape {scale.shape}", expected)

    @cached_property
    def complete(self) -> GaussianMixture:
        """The mixture of complete rows, without prior: Q of completed rows is its Q."""
        return GaussianMixture(self.n_components, self.n_features, self.family, order_by=self.order_by)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        prior = None if self.prior is None else {"degrees": self.prior.degrees, "scale": self.prior.scale}
        return {
            "n_components": self.n_components,
            "n_features": self.n_features,
            "family": self.family,
            "prior": prior,
            "order_by": self.order_by,
        }

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.complete.n_free_parameters

    @property
    def takes_bounds(self) -> bool:
        """False: bounds of cells are not used."""
        return False

    def label(self, column: int) -> str:
        """Name of a column, for messages."""
        return f"column {self.labels[column]!r}" if self.labels else f"column {column + 1}"

    def source(self, readings: Readings, weights: Floats | None = None) -> IncompleteSource:
        """Rows by pattern of missingness.

        Raises
        ------
        InputError
            If the table or the weights cannot be used.
        """
        check_width(readings.values, self.n_features)
        return IncompleteSource(readings.values, weights)

    def initial_params(self, data: Source[IncompleteRows], rng: np.random.Generator, strategy: str) -> MixtureParams:
        """Parameters to start from: those of `GaussianMixture.initial_params`, of rows with column means in their gaps.

        Variances are those of the observed values: filling with means shrinks them.

        Raises
        ------
        InputError
            If there are fewer different rows than components, or a column is constant.
        """
        values, weights = sample_incomplete(data, rng, self.n_features)
        k, seen = self.n_components, ~np.isnan(values)
        if len(values) < k:
            raise InputError("data", f"{len(values)} rows", f"at least one for each of {k} components")
        counts = seen * weights[:, None]
        centre = (counts * np.where(seen, values, 0.0)).sum(axis=0) / counts.sum(axis=0)
        deviations = np.where(seen, values - centre, 0.0)
        variances = (counts * deviations**2).sum(axis=0) / counts.sum(axis=0)
        if not (variances > 0.0).all():
            column = int(np.argmin(variances > 0.0))
            raise InputError("data", f"{self.label(column)} is constant", "columns that vary", "drop it")
        scaled = deviations / np.sqrt(variances)
        if strategy == "hierarchical":
            groups = group_moments(scaled, weights, ward_groups(scaled, k, rng), k)
            centres = groups.means
        else:
            seeds, nearest = draw_seeds(scaled, weights, k, rng, strategy)
            groups = group_moments(scaled, weights, nearest, k)
            centres = scaled[seeds]
        shares = np.full(k, 1.0 / k)
        correlations = groups.total
        if strategy != "random":
            shares, centres = groups.counts / groups.counts.sum(), groups.means
            correlations = (1.0 - START_SHARE) * groups.within + START_SHARE * groups.total
        correlations = correlations + np.diag(1.0 - np.diagonal(groups.total))
        correlations = (1.0 - START_SHARE) * correlations + START_SHARE * np.diag(np.diagonal(correlations))
        covariance = correlations * np.sqrt(np.outer(variances, variances))
        return MixtureParams(shares, centre + centres * np.sqrt(variances), self.complete.as_family(covariance))

    def given_components(
        self, params: MixtureParams, rows: PatternRows, variances: Floats | None = None
    ) -> tuple[list[Conditioned], Floats]:
        """The rows given what was observed of them and each component, and ``log p(x_o, k)``, shape (n, K).

        Conditional variances of the gaps go into `variances`, shape (K, n, d), where it is given.
        """
        matrices = self.complete.covariance_matrices(params)
        given, n_seen = [], rows.observed.sum(axis=1)[rows.pattern]
        log_joint = np.repeat(log_or_minus_infinity(params.weights)[None], len(rows.values), axis=0)
        for k, (mean, matrix) in enumerate(zip(params.means, matrices, strict=True)):
            one = condition_rows(rows, mean, matrix, variances=NONE if variances is None else variances[k])
            log_joint[:, k] -= 0.5 * (n_seen * LOG_2PI + one.log_observed + one.squared)
            given.append(one)
        return given, log_joint

    def e_step(self, params: MixtureParams, chunk: IncompleteRows, assign: Assign = "soft") -> MixtureStats:
        """Expected moments of the completed rows of each component about ``params.means``.

        A row adds its share times the conditional covariance of its gaps, a different one under each component.

        Raises
        ------
        InputError
            If the number of columns is wrong, or `assign` is not soft or sampled.

        References
        ----------
        Ghahramani & Jordan (1994), section 4.
        """
        kind_of(assign, self.assigns)
        check_width(chunk.values, self.n_features)
        given, log_joint = self.given_components(params, chunk.rows)
        shares, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        shared, n_gaps = shares * chunk.weights[:, None], chunk.n_gaps
        matrices = self.complete.covariance_matrices(params)
        rng = None
        if isinstance(assign, Sampled):
            rng = generator(replace(assign, seed=(*assign.seed, 1)), chunk.first)
        k, d = params.means.shape
        first, second = np.empty((k, d)), np.empty((k, d, d))
        for j, one in enumerate(given):
            held, (deviations, spread) = shared[:, j], (one.deviations, one.spread)
            used = held > 0.0
            if rng is not None:
                normals = np.where(chunk.gaps, rng.normal(size=chunk.values.shape), 0.0)
                deviations = condition_rows(chunk.rows, params.means[j], matrices[j], normals).deviations
                density = -0.5 * (n_gaps * LOG_2PI + one.log_left + np.square(normals).sum(axis=1))
                loglik += float(held[used] @ density[used])
            else:
                if k > 1:
                    spread = condition_rows(
                        replace(chunk.rows, weights=held.copy()), params.means[j], matrices[j]
                    ).spread
                entropy += 0.5 * float(held[used] @ (n_gaps * (1.0 + LOG_2PI) + one.log_left)[used])
            first[j] = held @ deviations
            second[j] = (deviations * held[:, None]).T @ deviations
            second[j] = 0.5 * (second[j] + second[j].T) + (spread if rng is None else 0.0)
        tied = self.family == "tied"
        return MixtureStats(
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=entropy,
            counts=shared.sum(axis=0),
            first=first,
            second=second.sum(axis=0) if tied else second,
            origin=Origin(params.means, tied),
        )

    def m_step(self, stats: MixtureStats, params: MixtureParams) -> MixtureParams:
        """Weights, means and covariances of the completed rows, see `GaussianMixture.m_step`; with a prior of ν degrees
        and scale Λ the covariances are ``(S + Λ) / (N + ν + d + 1)``."""
        found = self.complete.m_step(stats, params)
        if self.prior is None:
            return found
        counts = stats.counts.sum() if self.family == "tied" else stats.counts[:, None, None]
        summed = stats.scatters(found.means) + self.prior.added_scatter(self.family)
        return replace(found, covariances=summed / (counts + self.prior.added_counts(self.family)))

    def expected_loglik(self, stats: MixtureStats, params: MixtureParams) -> float:
        """Q in nats, that of the completed rows; see `GaussianMixture.expected_loglik`."""
        return self.complete.expected_loglik(stats, params)

    def log_prior(self, params: MixtureParams) -> float:
        """Log density of the covariances under `prior`, without its constant, in nats; 0.0 without one."""
        return 0.0 if self.prior is None else self.prior.log_density(params.covariances, self.family)

    def pack(self, params: MixtureParams) -> Floats:
        """Log ratios of the weights to the last, means, log-Cholesky vectors."""
        return self.complete.pack(params)

    def unpack(self, vector: Floats) -> MixtureParams:
        """Inverse of `pack`."""
        return self.complete.unpack(vector)

    def packed_units(self, params: MixtureParams) -> Floats:
        """Standard deviations for means and rows of the Cholesky factors, 1 for logarithms."""
        d, matrices = self.n_features, self.complete.covariance_matrices(params)
        variances = np.diagonal(matrices, axis1=1, axis2=2)
        of_means = np.sqrt(np.where(variances > 0.0, variances, 1.0)).ravel()
        of_factors = [cholesky_units(matrix) for matrix in params.covariances.reshape(-1, d, d)]
        return np.concatenate([np.ones(self.n_components - 1), of_means, *of_factors])

    def natural(self, params: MixtureParams) -> dict[str, Floats]:
        """Weights, means and covariances."""
        return self.complete.natural(params)

    def canonical(self, params: MixtureParams) -> MixtureParams:
        """Components by descending weight, or by ascending mean of feature `order_by`."""
        return self.complete.canonical(params)

    def degenerate(self, stats: MixtureStats, params: MixtureParams) -> str | None:
        """Why the next M-step would leave a component without rows or, where there is no prior, without a covariance."""
        found = self.complete.degenerate(stats, params)
        return None if self.prior is not None and (stats.counts > 0.0).all() else found

    def responsibilities(self, params: MixtureParams, readings: Readings) -> Floats:
        """Probability of each component given the values of each row, shape (n, K); the weights where there is none."""
        blocks, _ = blocks_of(readings.values, self.n_features)
        shares = np.repeat(params.weights[None], len(readings.values), axis=0)
        for block in blocks:
            shares[block.order] = np.exp(normalise_rows(self.given_components(params, block.rows)[1])[0])
        return shares

    def conditional(self, params: MixtureParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap given the values of its row, and its standard deviation.

        Means of the components by their probabilities given the row; the variance is the mean of their variances plus
        the variance of their means.

        Parameters
        ----------
        params : MixtureParams
        readings : Readings
            Table, shape (n, d).

        Returns
        -------
        filled : ndarray, shape (n, d)
            Observed values untouched, conditional means in the gaps; a row without any value gets the overall mean.
        sd : ndarray, shape (n, d)
            NaN where observed.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        filled, sd = readings.values.copy(), np.full(readings.values.shape, np.nan)
        for rows, gaps, shares, of_each, variances in self.filled_blocks(params, readings):
            middle = np.einsum("nk,knd->nd", shares, of_each)
            variance = np.einsum("nk,knd->nd", shares, variances + (of_each - middle) ** 2)
            filled[rows] = np.where(gaps, params.means[0] + middle, filled[rows])
            sd[rows] = np.where(gaps, np.sqrt(variance), np.nan)
        return filled, sd

    def filled_blocks(self, params: MixtureParams, readings: Readings) -> Iterator[tuple[Any, ...]]:
        """Some rows at a time: their numbers, gaps (n, d), probabilities of the components (n, K), and means less
        ``params.means[0]`` and variances of the gaps under each of them, (K, n, d)."""
        blocks, empty = blocks_of(readings.values, self.n_features)
        away = params.means - params.means[0]
        if empty.any():
            shape = (self.n_components, int(empty.sum()), self.n_features)
            variances = np.diagonal(self.complete.covariance_matrices(params), axis1=1, axis2=2)[:, None]
            shares = np.broadcast_to(params.weights, shape[1::-1])
            gaps = np.ones(shape[1:], dtype=bool)
            yield (
                np.flatnonzero(empty),
                gaps,
                shares,
                np.broadcast_to(away[:, None], shape),
                np.broadcast_to(variances, shape),
            )
        for block in blocks:
            variances = np.zeros((self.n_components, *block.values.shape))
            given, log_joint = self.given_components(params, block.rows, variances)
            of_each = np.stack([one.deviations + step for one, step in zip(given, away, strict=True)])
            yield block.order, block.gaps, np.exp(normalise_rows(log_joint)[0]), of_each, variances

    def cell_mixtures(self, params: MixtureParams, readings: Readings) -> CellMixtures:
        """The distribution of each gap given the values of its row."""
        cells = ~readings.observed
        shares, means, sds = np.zeros((3, self.n_components, *cells.shape))
        for rows, _, probabilities, of_each, variances in self.filled_blocks(params, readings):
            shares[:, rows] = probabilities.T[:, :, None]
            means[:, rows], sds[:, rows] = params.means[0] + of_each, np.sqrt(variances)
        return CellMixtures(cells, shares[:, cells], means[:, cells], sds[:, cells])

    def draw(self, params: MixtureParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with its gaps drawn: the component of each row given its values, then its gaps given both, (n, d)."""
        blocks, empty = blocks_of(readings.values, self.n_features)
        table, matrices = readings.values.copy(), self.complete.covariance_matrices(params)
        factors = cholesky_factors(matrices)
        chosen = rng.choice(self.n_components, size=int(empty.sum()), p=params.weights)
        noise = rng.normal(size=(len(chosen), self.n_features))
        table[empty] = params.means[chosen] + np.einsum("nij,nj->ni", factors[chosen], noise)
        for block in blocks:
            reached = np.cumsum(np.exp(normalise_rows(self.given_components(params, block.rows)[1])[0]), axis=1)
            heights = rng.random(len(reached)) * reached[:, -1]
            component = np.minimum((heights[:, None] >= reached).sum(axis=1), self.n_components - 1)
            normals = rng.normal(size=block.values.shape)
            for k, (mean, matrix) in enumerate(zip(params.means, matrices, strict=True)):
                mine = component == k
                completed = mean + condition_rows(block.rows, mean, matrix, normals).deviations
                table[block.order[mine]] = np.where(block.gaps, completed, block.values)[mine]
        return table

    def moments(self, params: MixtureParams) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d) of a row."""
        away = params.means - params.means[0]
        middle = params.weights @ away
        apart = away - middle
        within = np.einsum("k,kij->ij", params.weights, self.complete.covariance_matrices(params))
        return params.means[0] + middle, within + (apart * params.weights[:, None]).T @ apart

    def log_density(self, params: MixtureParams, readings: Readings) -> Floats:
        """Log density of the values of each row in nats, (n,); 0 where there is none."""
        blocks, _ = blocks_of(readings.values, self.n_features)
        densities = np.zeros(len(readings.values))
        for block in blocks:
            densities[block.order] = logsumexp_rows(self.given_components(params, block.rows)[1])
        return densities


def incomplete_prior(
    values: Floats,
    n_components: int,
    family: str = "full",
    weights: Floats | None = None,
    rows: float = 1.0,
    towards: Floats | None = None,
) -> CovariancePrior:
    """A weak prior for a mixture of a table with gaps, so that no component can collapse.

    A ridge worth some rows a component: each covariance becomes ``(S + λ V) / (N + λ)`` with V the variances of what is
    observed, or another covariance, over ``K^(2/d)``, the share of the volume that each component would have; in the tied
    family over 1.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing; at least one value in each column.
    n_components : int
        Components K.
    family : {"full", "tied"}
        Family of the mixture.
    weights : ndarray, shape (n,), optional
        Weights of the rows; a weight of 2 equals the row twice.
    rows : float
        Weight λ of the prior, above 0.
    towards : ndarray, shape (d, d), optional
        A covariance V of the table, positive definite; the variances of what is observed by default.

    Returns
    -------
    CovariancePrior

    Raises
    ------
    InputError
        If a column is constant.

    References
    ----------
    Fraley & Raftery (2007), J. Classif. 24, 155-181, doi:10.1007/s00357-007-0004-5, section 4.2, for the volume.

    Examples
    --------
    >>> prior = incomplete_prior(np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 3.0]]), 2)
    >>> prior.degrees, prior.scale.diagonal().round(2).tolist()
    (-2.0, [1.33, 0.5])
    """
    d = values.shape[1]
    share = 1.0 if family == "tied" else n_components ** (2.0 / d)
    scale = spread_prior(values, weights).scale if towards is None else towards
    return CovariancePrior(rows - d - 1.0, rows * scale / share)

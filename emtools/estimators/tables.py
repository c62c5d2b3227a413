"""Tables with gaps: imputation by the multivariate normal, and factor analysis, with scikit-learn's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emtools.estimators.shared import as_seed, checked, checked_rows, climb_to_top, merged, value_errors
from emtools.kernels.missing import group_rows, log_density_observed
from emtools.models.covariance_prior import CovariancePrior, spread_prior
from emtools.models.factor_analysis import FactorAnalysis
from emtools.models.factor_rows import FactorSource
from emtools.models.normal import MultivariateNormal, PatternSource

Floats = npt.NDArray[np.float64]


class EMImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill gaps with their expectation under the multivariate normal distribution that fits the table best.

    Parameters
    ----------
    sample_posterior : bool
        Draw what is filled in from its conditional distribution at the fitted parameters, instead of its mean: the
        spread of a column is then right, and several draws show what is uncertain.
    covariance_prior : "auto", "data", None or array of shape (d, d)
        Scale of an inverse-Wishart prior on the covariance. "data" is a weak one from the observed variances; None
        is maximum likelihood. "auto" takes the former where there are not more rows than columns, the latter else.
    degrees_of_freedom_prior : float, optional
        Degrees of freedom of an array `covariance_prior`; ``d + 2`` by default.
    tol : float
        Nats that may be left to gain when the climb ends.
    max_iter : int
        Passes over the data that it may take.
    certify : bool or "auto"
        Whether the curvature is looked at after the climb: standard errors and what is not identified.
    random_state : int, RandomState or None
        Source of the draws.

    Attributes
    ----------
    location_ : ndarray, shape (d,)
        Mean.
    covariance_ : ndarray, shape (d, d)
        Covariance.
    converged_, n_iter_, verdict_, certificate_, result_, n_features_in_
        As in `EMGaussianMixture`.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.1.

    Examples
    --------
    >>> X = np.array([[1.0, 2.0], [2.0, 4.5], [3.0, 5.5], [4.0, np.nan]])
    >>> EMImputer().fit_transform(X)[3].round(2).tolist()
    [4.0, 7.5]
    """

    def __init__(
        self,
        *,
        sample_posterior: bool = False,
        covariance_prior: Any = "auto",
        degrees_of_freedom_prior: float | None = None,
        tol: float = 1e-6,
        max_iter: int = 2000,
        certify: bool | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.sample_posterior = sample_posterior
        self.covariance_prior = covariance_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.tol = tol
        self.max_iter = max_iter
        self.certify = certify
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EMImputer:
        """Fit the distribution to a table.

        Parameters
        ----------
        X : array, shape (n, d)
            NaN where missing; at least one value in each column.
        y : None
            Ignored.
        sample_weight : array, shape (n,), optional
            Weights; a weight of 2 equals the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a column has no value or does not vary, or the likelihood has no maximum.
        """
        X, weights = checked(self, X, sample_weight, gaps=True)
        with value_errors():
            source = PatternSource(X, weights)
            self.model_ = MultivariateNormal(X.shape[1], prior=self.as_prior(X, weights))
        result = climb_to_top(self, self.model_, source)
        self.location_, self.covariance_ = result.params.mean, result.params.covariance
        return self

    def as_prior(self, values: Floats, weights: Floats) -> CovariancePrior | None:
        """The prior that `covariance_prior` stands for."""
        given, d = self.covariance_prior, values.shape[1]
        if given is None:
            return None
        if isinstance(given, str):
            if given not in ("auto", "data"):
                raise ValueError(f"covariance_prior: {given!r}; 'auto', 'data', None or an array is needed")
            used = values[(weights > 0.0) & ~np.isnan(values).all(axis=1)]
            enough = len(used) > d and len(np.unique(used, axis=0)) > d
            return None if given == "auto" and enough else spread_prior(values, weights)
        degrees = d + 2.0 if self.degrees_of_freedom_prior is None else float(self.degrees_of_freedom_prior)
        return CovariancePrior(degrees, np.asarray(given, dtype=np.float64))

    def transform(self, X: Any) -> Floats:
        """The table with its gaps filled, shape (n, d); a row without any value gets the means.

        Observed values stay as they are. With `sample_posterior` each gap gets a draw instead.
        """
        check_is_fitted(self)
        rows = checked_rows(self, X, gaps=True)
        filled, _ = self.model_.conditional(self.result_.params, rows)
        if self.sample_posterior:
            filled += self.draws(rows)
        return filled

    def draws(self, rows: Floats) -> Floats:
        """What conditional means lack to be draws, shape (n, d); 0 where observed."""
        rng = check_random_state(self.random_state)
        observed = ~np.isnan(rows)
        noise = np.zeros(rows.shape)
        empty = np.flatnonzero(~observed.any(axis=1))
        for of_pattern in [*group_rows(observed), *([empty] if empty.size else [])]:
            gaps = np.flatnonzero(~observed[of_pattern[0]])
            covariance = self.model_.conditional_covariance(self.result_.params, observed[of_pattern[0]])
            factor = np.linalg.cholesky(covariance[np.ix_(gaps, gaps)])
            noise[np.ix_(of_pattern, gaps)] = rng.standard_normal((len(of_pattern), gaps.size)) @ factor.T
        return noise

    def score_samples(self, X: Any) -> Floats:
        """Log density of what was observed of each row, shape (n,), nats."""
        check_is_fitted(self)
        return log_density_observed(checked_rows(self, X, gaps=True), self.location_, self.covariance_)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of what was observed of a row, nats."""
        return float(self.score_samples(X).mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class EMFactorAnalysis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Factor analysis of a table with gaps, by maximum likelihood from every observed value.

    Parameters
    ----------
    n_components : int
        Factors, fewer than columns.
    noise : {"diagonal", "isotropic"}
        A variance of the noise for each column, or one for all (probabilistic principal components).
    least_noise : float
        Lower bound of these variances as a share of the smallest variance of a column; 0 for none.
    tol : float
        Nats that may be left to gain when a climb ends; in scikit-learn, the change of the log-likelihood.
    max_iter : int
        Passes over the data that a start may take.
    n_init : int
        Starts; the best is kept.
    certify : bool or "auto"
        Whether the curvature is looked at after the climb.
    random_state : int, RandomState or None
        Source of the starts.

    Attributes
    ----------
    components_ : ndarray, shape (n_components, d)
        Loadings along principal axes, the largest first.
    noise_variance_ : ndarray, shape (d,)
        Variance of the noise.
    mean_ : ndarray, shape (d,)
        Mean.
    loglike_ : float
        Log-likelihood at these parameters, nats.
    converged_, n_iter_, verdict_, certificate_, result_, n_features_in_
        As in `EMGaussianMixture`.

    References
    ----------
    Rubin & Thayer (1982), Psychometrika 47, 69-76, doi:10.1007/BF02293851.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1)) * [2.0, 1.0, -1.0, 1.0] + 0.5 * rng.normal(size=(300, 4))
    >>> X[::7, 1] = np.nan
    >>> EMFactorAnalysis(1, random_state=0).fit(X).components_.round(1).tolist()
    [[2.0, 1.0, -1.0, 1.1]]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        noise: str = "diagonal",
        least_noise: float = 1e-3,
        tol: float = 1e-6,
        max_iter: int = 5000,
        n_init: int = 1,
        certify: bool | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.least_noise = least_noise
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.certify = certify
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EMFactorAnalysis:
        """Fit loadings and noise to a table; parameters and errors as in `EMImputer.fit`."""
        X, weights = checked(self, X, sample_weight, gaps=True)
        d = X.shape[1]
        if not 1 <= self.n_components < d:
            raise ValueError(f"n_components: {self.n_components}, with n_features={d}; 1 to n_features - 1 is needed")
        with value_errors():
            source = FactorSource(*merged(X, weights))
            least = self.least_noise * float(np.diagonal(spread_prior(X, weights).scale).min())
            self.model_ = FactorAnalysis(d, self.n_components, self.noise, least)  # type: ignore[arg-type]
        seed = as_seed(self.random_state)
        result = climb_to_top(self, self.model_, source, starts=self.n_init, seed=seed)
        params = result.params
        self.mean_, self.noise_variance_ = params.mean, params.noise
        self.components_ = self.model_.principal_axes(params).T
        self.loglike_ = result.loglik
        return self

    def transform(self, X: Any) -> Floats:
        """Expected factors of each row given what was observed of it, shape (n, n_components)."""
        check_is_fitted(self)
        return self.model_.scores(self.result_.params, checked_rows(self, X, gaps=True))[0]

    def get_covariance(self) -> Floats:
        """Covariance of the columns, shape (d, d)."""
        check_is_fitted(self)
        return self.model_.covariance(self.result_.params)

    def get_precision(self) -> Floats:
        """Inverse covariance of the columns, shape (d, d)."""
        return np.asarray(np.linalg.inv(self.get_covariance()))

    def score_samples(self, X: Any) -> Floats:
        """Log density of what was observed of each row, shape (n,), nats."""
        check_is_fitted(self)
        return log_density_observed(checked_rows(self, X, gaps=True), self.mean_, self.get_covariance())

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of what was observed of a row, nats."""
        return float(self.score_samples(X).mean())

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

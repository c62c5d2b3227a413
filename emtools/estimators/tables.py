"""Tables with gaps: imputation by the multivariate normal, and factor analysis, with scikit-learn's names."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from emtools.estimators.shared import (
    as_seed,
    checked,
    checked_rows,
    climb_to_top,
    leave_result,
    merged,
    value_errors,
    wanted,
)
from emtools.imputing.fitting import fit_table
from emtools.imputing.multiple import FIXED, draw
from emtools.kernels.missing import log_density_observed
from emtools.kernels.readings import Readings
from emtools.models.covariance_prior import spread_prior
from emtools.models.factor_analysis import FactorAnalysis
from emtools.models.factor_rows import FactorSource

Floats = npt.NDArray[np.float64]


def mark_of(X: Floats) -> tuple[int, int]:
    """By which a table is known again: its rows, and a checksum of its values."""
    return len(X), zlib.crc32(np.ascontiguousarray(np.where(np.isnan(X), np.nan, X)).tobytes())


class MVNImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill gaps with their expectation under the multivariate normal distribution that fits the table best.

    Parameters
    ----------
    kind : {"normal", "t", "factors", "mixture", "auto"}
        Distribution of the rows: normal, Student's t for outlying rows, normal with a few factors for very many
        columns, a mixture of normals, or the one that predicts held-out cells best.
    prior : {"auto", "none"} or float
        Weight of a ridge prior on the covariance, in rows; 0 or "none" is maximum likelihood. "auto" is that wherever
        it has an answer, and elsewhere the weight that predicts held-out cells best.
    n_factors, n_components : int, optional
        Factors of "factors", components of "mixture"; chosen by held-out likelihood by default.
    sample_posterior : bool
        Draw what is filled in from its conditional distribution at the fitted parameters, instead of its mean: the
        spread of a column is then right. `draw_tables` draws the parameters too.
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
    kind_ : str
        Distribution that was fitted.
    pseudo_rows_ : float
        Weight of the prior in rows.
    notices_ : tuple of str
        What was chosen and why, in sentences.
    fitted_ : Fitted
        What `emtools.imputing.multiple.draw` takes.
    converged_, n_iter_, verdict_, certificate_, result_, n_features_in_
        As in `EMGaussianMixture`.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.1.

    Examples
    --------
    >>> X = np.array([[1.0, 2.0], [2.0, 4.5], [3.0, 5.5], [4.0, np.nan]])
    >>> MVNImputer().fit_transform(X)[3].round(2).tolist()
    [4.0, 7.5]
    """

    def __init__(
        self,
        *,
        kind: str = "normal",
        prior: str | float = "auto",
        n_factors: int | None = None,
        n_components: int | None = None,
        sample_posterior: bool = False,
        tol: float = 1e-6,
        max_iter: int = 2000,
        certify: bool | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.kind = kind
        self.prior = prior
        self.n_factors = n_factors
        self.n_components = n_components
        self.sample_posterior = sample_posterior
        self.tol = tol
        self.max_iter = max_iter
        self.certify = certify
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MVNImputer:
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
            If a column has no value or does not vary, an option is unknown, or the likelihood has no maximum.
        """
        X, weights = checked(self, X, sample_weight, gaps=True)
        d = X.shape[1]
        with value_errors():
            certificate = wanted(self.certify, d * (d + 3) // 2)
            self.fitted_ = fit_table(
                Readings(X),
                labels=tuple(map(str, getattr(self, "feature_names_in_", ()))),
                kind=self.kind,
                prior=self.prior,
                n_factors=self.n_factors,
                n_components=self.n_components,
                weights=None if (weights == 1.0).all() else weights,
                seed=as_seed(self.random_state),
                tol=self.tol,
                max_passes=self.max_iter,
                certificate=certificate,
            )
        leave_result(self, self.fitted_.fit)
        self._fitted_to = mark_of(X)
        self.kind_, self.pseudo_rows_, self.notices_ = self.fitted_.kind, self.fitted_.pseudo_rows, self.fitted_.notices
        self.location_, self.covariance_ = self.fitted_.model.moments(self.fitted_.params)
        return self

    def transform(self, X: Any) -> Floats:
        """The table with its gaps filled, shape (n, d); a row without any value gets the means.

        Observed values stay as they are. With `sample_posterior` each gap gets a draw instead.
        """
        check_is_fitted(self)
        rows = Readings(checked_rows(self, X, gaps=True))
        model, params = self.fitted_.model, self.fitted_.params
        if self.sample_posterior:
            return model.draw(params, rows, np.random.default_rng(as_seed(self.random_state)))
        return model.conditional(params, rows)[0]

    def draw_tables(
        self, X: Any, m: int = 20, *, method: str = "bootstrap", threads: int = 1, sample_weight: Any = None
    ) -> tuple[Floats, ...]:
        """Completed tables for multiple imputation, to be analysed one by one and pooled.

        Parameters
        ----------
        X : array, shape (n, d)
            The table that was fitted, whose rows are resampled; with the parameters fixed, any.
        m : int
            Tables.
        method : {"bootstrap", "posterior", "parameters fixed"}
            See `emtools.imputing.multiple.draw`.
        threads : int
            Cannot change a number.
        sample_weight : array, shape (n,), optional
            Weights as in `fit`.

        Returns
        -------
        tuple of m arrays, shape (n, d)

        Raises
        ------
        ValueError
            If an argument cannot be used, or the table is not the one that was fitted.
        """
        check_is_fitted(self)
        rows = checked_rows(self, X, gaps=True)
        if method != FIXED and mark_of(rows) != self._fitted_to:
            raise ValueError(
                f"X: not the table that was fitted, to whose rows draws by {method!r} owe their parameters; fit this one, or "
                f"fill its gaps with transform, or with method={FIXED!r}"
            )
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        seed = as_seed(self.random_state)
        with value_errors():
            drawn = draw(self.fitted_, Readings(rows), m, seed, method=method, threads=threads, weights=weights)
            return drawn.tables

    def score_samples(self, X: Any) -> Floats:
        """Log density of what was observed of each row, shape (n,), nats."""
        check_is_fitted(self)
        return self.fitted_.model.log_density(self.fitted_.params, Readings(checked_rows(self, X, gaps=True)))

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
        """Fit loadings and noise to a table; parameters and errors as in `MVNImputer.fit`."""
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

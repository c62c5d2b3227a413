"""Variational Bayesian mixture with the parameters and attributes of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, DensityMixin

from emtools.engine.chunks import ArraySource
from emtools.estimators.mixture import STRATEGIES
from emtools.estimators.predictions import MixturePredictions
from emtools.estimators.shared import as_seed, checked, climb_to_top, merged, one_of, value_errors
from emtools.models.variational_mixture import VariationalGaussianMixture, VariationalPrior

Floats = npt.NDArray[np.float64]

KINDS = {"dirichlet_process": "stick_breaking", "dirichlet_distribution": "dirichlet"}


class EMBayesianGaussianMixture(MixturePredictions, DensityMixin, BaseEstimator):
    """Variational Bayesian Gaussian mixture: components that the data do not need are left empty.

    Parameters
    ----------
    n_components : int
        Most components.
    covariance_type : {"full"}
        Only full covariances are offered.
    tol : float
        Nats that the evidence bound may still gain when a climb ends; in scikit-learn, its change in one iteration.
    max_iter : int
        Passes over the data that a start may take.
    n_init : int
        Starts; the best is kept.
    init_params : {"k-means++", "random_from_data"}
        How seeds are drawn for a start.
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}
        Prior of the weights: a Dirichlet process truncated at `n_components`, or a Dirichlet.
    weight_concentration_prior : float, optional
        Its concentration; ``1 / n_components`` by default.
    mean_precision_prior : float, optional
        Rows that the prior of a mean is worth; 1 by default.
    mean_prior : array, shape (d,), optional
        Where means are expected; the mean of the data by default.
    degrees_of_freedom_prior : float, optional
        Of the Wishart prior of the precisions; d by default.
    covariance_prior : array, shape (d, d), optional
        Inverse of its scale matrix; by default the covariance of the data, or its diagonal where that is singular.
    random_state : int, RandomState or None
        Source of the starts.

    Attributes
    ----------
    weights_, means_, covariances_ : ndarray
        Expected weights and means, inverses of the expected precisions.
    weight_concentration_, mean_precision_, degrees_of_freedom_ : ndarray
        What is left of the posterior.
    lower_bound_ : float
        Evidence lower bound of the training data, nats, with all its constants.
    converged_, n_iter_, verdict_, certificate_, result_, n_features_in_
        As in `EMGaussianMixture`; there is no certificate, the posterior itself has the spread.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 10.2; Blei & Jordan (2006), Bayesian Anal. 1,
    121-143, doi:10.1214/06-BA104.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (60, 1)), rng.normal(8, 1, (40, 1))])
    >>> EMBayesianGaussianMixture(4, n_init=5, random_state=0).fit(X).weights_.round(1).max()
    np.float64(0.6)
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-6,
        max_iter: int = 2000,
        n_init: int = 1,
        init_params: str = "k-means++",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EMBayesianGaussianMixture:
        """Fit the posterior to rows; parameters and errors as in `EMGaussianMixture.fit`."""
        X, weights = checked(self, X, sample_weight)
        one_of("covariance_type", self.covariance_type, {"full": 0})
        kind = one_of("weight_concentration_prior_type", self.weight_concentration_prior_type, KINDS)
        strategy = one_of("init_params", self.init_params, STRATEGIES)
        values, weights = merged(X, weights)
        with value_errors():
            prior = self.as_prior(values, weights)
            self.model_ = VariationalGaussianMixture(self.n_components, values.shape[1], prior, kind)
        seed = as_seed(self.random_state)
        source = ArraySource(values, weights)
        result = climb_to_top(self, self.model_, source, starts=self.n_init, strategy=strategy, seed=seed)
        params, natural = result.params, self.model_.natural(result.params)
        self.weights_, self.means_, self.covariances_ = natural["weights"], natural["means"], natural["covariances"]
        self.weight_concentration_ = params.concentration
        self.mean_precision_, self.degrees_of_freedom_ = params.mean_precision, params.degrees
        self.lower_bound_ = result.objective
        return self

    def as_prior(self, values: Floats, weights: Floats) -> VariationalPrior:
        """The prior, with what is not given taken from the data."""
        d = values.shape[1]
        mean = np.average(values, axis=0, weights=weights)
        scale = self.covariance_prior
        if scale is None:
            deviations = values - mean
            scale = (deviations * weights[:, None]).T @ deviations / max(1.0, float(weights.sum()) - 1.0)
            if len(values) <= d:
                scale = np.diag(np.diagonal(scale))
        return VariationalPrior(
            concentration=float(given(self.weight_concentration_prior, 1.0 / self.n_components)),
            mean=np.asarray(given(self.mean_prior, mean), dtype=np.float64),
            mean_precision=float(given(self.mean_precision_prior, 1.0)),
            degrees=float(given(self.degrees_of_freedom_prior, d)),
            scale=np.asarray(scale, dtype=np.float64),
        )


def given(value: Any, default: Any) -> Any:
    """`value`, or `default` where it is None."""
    return default if value is None else value

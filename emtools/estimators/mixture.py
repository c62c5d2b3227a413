"""Gaussian mixture and K-means with the parameters and attributes of scikit-learn."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_is_fitted

from emtools.engine.chunks import ArraySource
from emtools.estimators.predictions import MixturePredictions
from emtools.estimators.shared import as_seed, checked, checked_rows, climb_to_top, merged, one_of, value_errors
from emtools.models.covariance_prior import CovariancePrior, data_prior
from emtools.models.mixture import GaussianMixture, kmeans
from emtools.models.mixture_values import MixtureParams

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

FAMILIES = {"full": "full", "tied": "tied", "diag": "diagonal", "spherical": "spherical"}
STRATEGIES = {"k-means++": "kmeans++", "random_from_data": "random"}


class EMGaussianMixture(MixturePredictions, DensityMixin, BaseEstimator):
    """Gaussian mixture with scikit-learn's parameters, and a verdict on its convergence.

    Parameters
    ----------
    n_components : int
        Components.
    covariance_type : {"full", "tied", "diag", "spherical"}
        What the covariances may be.
    tol : float
        Nats that may be left to gain when a climb ends. In scikit-learn it is the change of the mean log-likelihood
        in one iteration, which says nothing of the distance to the top: its 1e-3 on slow data ends nats away from it.
    max_iter : int
        Passes over the data that a start may take.
    n_init : int
        Starts; the best is kept.
    init_params : {"k-means++", "random_from_data"}
        How means are drawn for a start.
    weights_init, means_init, precisions_init : array, optional
        Parameters to start from, in the shapes of ``weights_``, ``means_`` and ``precisions_``.
    covariance_prior : "auto", "data", None or array of shape (d, d)
        Scale of an inverse-Wishart prior on each covariance, part of the objective. "data" is a weak one from the
        covariance of the data (Fraley & Raftery 2007), or its diagonal where that is singular; None is maximum likelihood. "auto" takes the former where
        there are too few distinct rows for maximum likelihood, the latter else. It stands in the place of
        scikit-learn's ``reg_covar``, which is added after each M-step, so that the climb can go down.
    degrees_of_freedom_prior : float, optional
        Degrees of freedom of an array `covariance_prior`; ``d + 2`` by default.
    certify : bool or "auto"
        Whether the curvature is looked at after the climb: standard errors, saddles, flat directions. Costs some
        passes for each parameter; "auto" does it where these are at most 30.
    random_state : int, RandomState or None
        Source of the starts.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
        As in scikit-learn, components by falling weight.
    converged_ : bool
        Whether the top was reached to `tol`.
    n_iter_ : int
        Passes of the best start.
    lower_bound_ : float
        Mean log-likelihood of a row of the training data, at these very parameters, in nats.
    verdict_ : str
        What to believe, in a sentence.
    certificate_ : Certificate or None
        Standard errors and what the curvature says.
    result_ : Fit
        Every pass of every start.
    n_features_in_ : int
        Features.

    References
    ----------
    Fraley & Raftery (2007), J. Classif. 24, 155-181, doi:10.1007/s00357-007-0004-5, section 4.2.

    Examples
    --------
    >>> X = np.array([[1.0], [1.2], [1.5], [1.9], [8.0], [8.3], [8.9]])
    >>> model = EMGaussianMixture(2, random_state=0).fit(X)
    >>> model.means_.ravel().round(2).tolist(), model.converged_, model.predict(X).tolist()
    ([1.4, 8.4], True, [0, 0, 0, 0, 1, 1, 1])
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
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        covariance_prior: Any = "auto",
        degrees_of_freedom_prior: float | None = None,
        certify: bool | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.covariance_prior = covariance_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.certify = certify
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EMGaussianMixture:
        """Fit the mixture to rows.

        Parameters
        ----------
        X : array, shape (n, d)
            Rows.
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
            If a parameter or the data cannot be used, or every start degenerates.
        """
        X, weights = checked(self, X, sample_weight)
        family = one_of("covariance_type", self.covariance_type, FAMILIES)
        strategy = one_of("init_params", self.init_params, STRATEGIES)
        values, weights = merged(X, weights)
        if len(values) < self.n_components:
            needed = f"at least n_components={self.n_components} distinct rows are needed"
            raise ValueError(f"X: n_samples={len(X)}, {len(values)} of them distinct; {needed}")
        with value_errors():
            prior = self.as_prior(values, weights, family)
            model = GaussianMixture(self.n_components, values.shape[1], family, prior)
            source = ArraySource(values, weights)
            seed = as_seed(self.random_state)
            init = self.given_starts(model, source, seed, strategy)
        result = climb_to_top(self, model, source, starts=self.n_init, strategy=strategy, init=init, seed=seed)
        params = result.params
        self.model_ = model
        self.weights_, self.means_, self.covariances_ = params.weights, params.means, params.covariances
        self.precisions_cholesky_, self.precisions_ = precisions(params.covariances, family)
        self.lower_bound_ = result.loglik / result.stats.n
        return self

    def as_prior(self, values: Floats, weights: Floats, family: str) -> CovariancePrior | None:
        """The prior that `covariance_prior` stands for."""
        given, d = self.covariance_prior, values.shape[1]
        if given is None:
            return None
        if isinstance(given, str):
            one_of("covariance_prior", given, {"auto": 0, "data": 0})
            needed = {"full": self.n_components * (d + 1), "tied": self.n_components + d}
            if given == "auto" and len(values) >= needed.get(family, 2 * self.n_components):
                return None
            singular = len(values) <= d and family in ("full", "tied")
            k = 1 if family == "tied" else self.n_components
            return data_prior(values, k, "diagonal" if singular else family, weights)
        degrees = d + 2.0 if self.degrees_of_freedom_prior is None else float(self.degrees_of_freedom_prior)
        return CovariancePrior(degrees, np.asarray(given, dtype=np.float64))

    def given_starts(
        self, model: GaussianMixture, source: ArraySource, seed: int, strategy: str
    ) -> list[MixtureParams]:
        """Starts of which some parameters are given; none where nothing is."""
        given = {
            "weights": self.weights_init,
            "means": self.means_init,
            "covariances": None if self.precisions_init is None else inverses(self.precisions_init, model.family),
        }
        given = {name: np.asarray(value, dtype=np.float64) for name, value in given.items() if value is not None}
        starts = []
        for number in range(self.n_init if given else 0):
            rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
            drawn = model.initial_params(source, rng, strategy)
            for name, value in given.items():
                expected = getattr(drawn, name).shape
                if value.shape != expected or not np.isfinite(value).all():
                    word = "precisions" if name == "covariances" else name
                    raise ValueError(
                        f"{word}_init: array of shape {value.shape}; finite values of shape {expected} are needed"
                    )
            starts.append(replace(drawn, **given))
        if "weights" in given and not (min(given["weights"]) > 0.0 and math.isclose(sum(given["weights"]), 1.0)):
            raise ValueError(
                "weights_init: values that are not positive or do not sum to 1; a probability of each component"
            )
        return starts

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on rows; lower is better."""
        densities = self.score_samples(X)
        return float(-2.0 * densities.sum() + self.model_.n_free_parameters * math.log(len(densities)))

    def aic(self, X: Any) -> float:
        """Akaike information criterion on rows; lower is better."""
        return float(-2.0 * self.score_samples(X).sum() + 2.0 * self.model_.n_free_parameters)


def inverses(matrices: Any, family: str) -> Floats:
    """Precisions from covariances or back, in the family's shape."""
    array = np.asarray(matrices, dtype=np.float64)
    inverted: Floats = np.linalg.inv(array) if family in ("full", "tied") else 1.0 / array
    return inverted


def precisions(covariances: Floats, family: str) -> tuple[Floats, Floats]:
    """Upper factors U with ``precision = U Uᵀ``, and precisions, in the family's shape."""
    if family not in ("full", "tied"):
        return 1.0 / np.sqrt(covariances), 1.0 / covariances
    factors = np.swapaxes(np.linalg.inv(np.linalg.cholesky(covariances)), -1, -2)
    return factors, factors @ np.swapaxes(factors, -1, -2)


class EMKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """K-means: the hard fit of a mixture of equal spheres, with scikit-learn's parameters.

    Parameters
    ----------
    n_clusters : int
        Clusters.
    init : "k-means++", "random" or array of shape (n_clusters, d)
        How centres are drawn for a start, or the centres.
    n_init : int
        Starts; the best is kept. 1 where centres are given.
    max_iter : int
        Passes over the data that a start may take.
    tol : float
        Gain that may be left when a climb ends, as a share of half the mean variance of a feature. In scikit-learn
        it is a movement of the centres.
    random_state : int, RandomState or None
        Source of the starts.

    Attributes
    ----------
    cluster_centers_ : ndarray, shape (n_clusters, d)
        Centres, in lexicographic order.
    labels_ : ndarray, shape (n,)
        Cluster of each row.
    inertia_ : float
        Weighted sum of squared distances from the centres.
    n_iter_, converged_, verdict_, certificate_, result_, n_features_in_
        As in `EMGaussianMixture`.

    References
    ----------
    Celeux & Govaert (1992), Comput. Stat. Data Anal. 14, 315-332, doi:10.1016/0167-9473(92)90042-E.

    Examples
    --------
    >>> X = np.array([[1.0], [1.2], [1.5], [8.0], [8.3]])
    >>> clusters = EMKMeans(2, random_state=0).fit(X)
    >>> clusters.labels_.tolist(), round(clusters.inertia_, 4)
    ([0, 0, 0, 1, 1], 0.1717)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EMKMeans:
        """Cluster rows; parameters and errors as in `EMGaussianMixture.fit`."""
        X, weights = checked(self, X, sample_weight)
        values, counts = merged(X, weights)
        d, k = values.shape[1], self.n_clusters
        if len(X) < k:
            raise ValueError(f"X: n_samples={len(X)}; at least n_clusters={k} rows are needed")
        if len(values) < k:
            told = f"X: {len(values)} distinct rows, fewer than n_clusters={k}: there will be {len(values)} clusters"
            warnings.warn(told, ConvergenceWarning, stacklevel=2)
            k = len(values)
        centre = np.average(values, axis=0, weights=counts)
        variance = float(np.average((values - centre) ** 2, axis=0, weights=counts).mean())
        with value_errors():
            model = kmeans(k, d, variance=variance or 1.0)
        init: list[MixtureParams] = []
        strategy = "kmeans++"
        if isinstance(self.init, str):
            strategy = one_of("init", self.init, {"k-means++": "kmeans++", "random": "random"})
        else:
            centres = np.asarray(self.init, dtype=np.float64)
            if centres.shape != (self.n_clusters, d) or not np.isfinite(centres).all():
                needed = f"finite centres of shape {(self.n_clusters, d)} are needed"
                raise ValueError(f"init: array of shape {centres.shape}; {needed}")
            init = [MixtureParams(np.full(k, 1.0 / k), centres[:k], np.full(k, model.fixed_variance))]
        source = ArraySource(values, counts)
        seed = as_seed(self.random_state)
        result = climb_to_top(
            self, model, source, starts=self.n_init, strategy=strategy, init=init, assign="hard", seed=seed
        )
        self.cluster_centers_ = result.params.means
        self.labels_ = self.predict(X)
        apart = X - self.cluster_centers_[self.labels_]
        self.inertia_ = float(weights @ (apart**2).sum(axis=1))
        return self

    def transform(self, X: Any) -> Floats:
        """Distance of each row from each centre, shape (n, n_clusters)."""
        check_is_fitted(self)
        distances: Floats = euclidean_distances(checked_rows(self, X), self.cluster_centers_)
        return distances

    def predict(self, X: Any) -> Integers:
        """The nearest centre of each row, shape (n,)."""
        labels: Integers = self.transform(X).argmin(axis=1)
        return labels

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Weighted sum of squared distances from the nearest centres, negative."""
        squares = self.transform(X).min(axis=1) ** 2
        return -float(squares.sum() if sample_weight is None else np.asarray(sample_weight) @ squares)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

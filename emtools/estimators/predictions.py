"""What a fitted mixture says of rows, the same for every face of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emtools.estimators.shared import checked_rows
from emtools.kernels.logspace import logsumexp_rows

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


class MixturePredictions:
    """Methods of a face that has ``model_`` with `log_joint`, ``result_``, ``weights_``, ``means_``, ``covariances_``."""

    model_: Any
    result_: Any
    weights_: Floats
    means_: Floats
    covariances_: Floats
    random_state: Any

    def log_joint(self, X: Any) -> Floats:
        """Log of weight times density of each component, shape (n, n_components), nats."""
        check_is_fitted(self)
        return self.model_.log_joint(self.result_.params, checked_rows(self, X))

    def predict(self, X: Any) -> Integers:
        """The likeliest component of each row, shape (n,)."""
        labels: Integers = self.log_joint(X).argmax(axis=1)
        return labels

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Integers:
        """`fit`, then `predict`."""
        return self.fit(X, y, sample_weight).predict(X)  # type: ignore[attr-defined,no-any-return]

    def predict_proba(self, X: Any) -> Floats:
        """Probability of each component given each row, shape (n, n_components)."""
        log_joint = self.log_joint(X)
        shares: Floats = np.exp(log_joint - logsumexp_rows(log_joint)[:, None])
        return shares

    def score_samples(self, X: Any) -> Floats:
        """Log density of each row, shape (n,), nats."""
        return logsumexp_rows(self.log_joint(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of the rows, nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> tuple[Floats, Integers]:
        """Rows drawn from the fitted mixture, and the component of each.

        Parameters
        ----------
        n_samples : int
            Rows, at least 1.

        Returns
        -------
        X : ndarray, shape (n_samples, d)
            Rows, component after component.
        y : ndarray, shape (n_samples,)
            Their components.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples: {n_samples}; at least 1 is needed")
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_)
        matrices = self.covariance_matrices()
        drawn = [rng.multivariate_normal(*of, size=n) for *of, n in zip(self.means_, matrices, counts, strict=True)]
        return np.concatenate(drawn), np.repeat(np.arange(len(counts)), counts)

    def covariance_matrices(self) -> Floats:
        """Covariance matrix of each component, shape (n_components, d, d)."""
        k, d = self.means_.shape
        if self.covariances_.shape == (k, d, d):
            return self.covariances_
        return np.asarray(self.model_.covariance_matrices(self.result_.params))

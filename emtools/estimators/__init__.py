"""scikit-learn faces of the models: fit, predict and score with its parameter names, and a verdict on convergence.

``tol`` is in nats that are left to gain, not in change per iteration; every face takes ``sample_weight``, in which
a weight of 2 equals the row twice; what a fit reports belongs to the parameters that it returns.
"""

from emtools.estimators.bayesian import EMBayesianGaussianMixture
from emtools.estimators.mixture import EMGaussianMixture, EMKMeans
from emtools.estimators.tables import EMFactorAnalysis, MVNImputer

__all__ = ["EMBayesianGaussianMixture", "EMFactorAnalysis", "EMGaussianMixture", "EMKMeans", "MVNImputer"]

"""Expectation-Maximization for what was not observed: one engine, five analyses.

The public names load on first use, so that ``import emtools`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "fit": "emtools.engine.starts",
    "Fit": "emtools.engine.result",
    "ArraySource": "emtools.engine.chunks",
    "ListSource": "emtools.engine.chunks",
    "Status": "emtools.engine.stopping",
    "EmtoolsError": "emtools.errors",
    "InputError": "emtools.errors",
    "FitError": "emtools.errors",
    "MultivariateNormal": "emtools.models.normal",
    "GaussianMixture": "emtools.models.mixture",
    "LaplaceUniform": "emtools.models.laplace_uniform",
    "CategoricalHMM": "emtools.models.hmm",
    "Motif": "emtools.models.motif",
    "FirstOrderMotif": "emtools.models.first_order_motif",
    "Linkage": "emtools.models.linkage",
    "ABO": "emtools.models.abo",
    "PoissonMixture": "emtools.models.count_mixture",
    "MultinomialMixture": "emtools.models.count_mixture",
    "NegativeBinomialMixture": "emtools.models.negative_binomial",
    "StudentT": "emtools.models.student_t",
    "SeriesSource": "emtools.engine.series",
    "GaussianHMM": "emtools.models.gaussian_hmm",
    "PoissonHMM": "emtools.models.poisson_hmm",
    "NegativeBinomialHMM": "emtools.models.negative_binomial_hmm",
    "FactorAnalysis": "emtools.models.factor_analysis",
    "VariationalGaussianMixture": "emtools.models.variational_mixture",
    "RandomField": "emtools.models.random_field",
    "segment_planes": "emtools.segmenting.field",
    "check_model": "emtools.testing",
    "write_report": "emtools.report.own",
    "EMGaussianMixture": "emtools.estimators",
    "EMBayesianGaussianMixture": "emtools.estimators",
    "EMKMeans": "emtools.estimators",
    "MVNImputer": "emtools.estimators",
    "EMFactorAnalysis": "emtools.estimators",
}

_PARTS = ("tl", "pl")

__all__ = ["__version__", *_HOME, *_PARTS]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"emtools.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

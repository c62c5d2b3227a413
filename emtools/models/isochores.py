"""Isochores: the five families of Bernardi as states of a hidden Markov model of the GC content of windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit, xlog1py, xlogy

from emtools.engine.protocol import Assign, Floats, Source
from emtools.engine.series import Series
from emtools.models.gaussian_hmm import GaussianHMM, GaussianHMMParams, GaussianHMMStats

FAMILIES = ("L1", "L2", "H1", "H2", "H3")
LIMITS = (37.0, 41.0, 46.0, 53.0)  # % GC between them; Costantini et al. (2006)
LEVELS = np.array([35.0, 39.0, 43.0, 49.0, 57.0])  # half way between two of which is a limit
STAYED, LEFT = 9.0, 1.0  # steps that the prior adds: isochores of ten windows, about 1 Mb in man
SPREAD = 2.0  # % GC; standard deviation at the start of a fit
NARROWEST = 1e-4  # % GC; windows that vary less about the levels are degenerate


@dataclass(frozen=True)
class IsochoreHMM:
    """Five states with levels that are fixed, one spread, and one probability of staying.

    A state is followed by each of the others alike. With one spread the likelier of two neighbouring families changes half way between their
    levels, which is where the literature draws the limit. Only the spread of windows within a family and the length of a stay are estimated.

    References
    ----------
    Costantini, Clay, Auletta & Bernardi (2006), Genome Res. 16, 536-541, doi:10.1101/gr.4910606 (families and limits). Bernardi et al. (1985),
    Science 228, 953-958, doi:10.1126/science.4001930.

    Examples
    --------
    >>> from emtools.engine.series import SeriesSource
    >>> from emtools.engine.starts import fit
    >>> series = np.array([36.1, 35.2, 36.0, 47.9, 48.1, 50.2, 41.9, 49.0])
    >>> fitted = fit(IsochoreHMM(), SeriesSource([series]), starts=1)
    >>> [FAMILIES[k] for k in fitted.model.viterbi(fitted.params, series)]
    ['L1', 'L1', 'L1', 'H2', 'H2', 'H2', 'H2', 'H2']
    """

    n_states: ClassVar[int] = len(FAMILIES)
    n_features: ClassVar[int] = 1
    n_free_parameters: ClassVar[int] = 2
    name: ClassVar[str] = "isochore_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("known",)
    assigns: ClassVar[tuple[str, ...]] = ("soft", "hard")

    @property
    def chain(self) -> GaussianHMM:
        """The model in which nothing is fixed."""
        return GaussianHMM(self.n_states, self.n_features, "diagonal")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"levels": LEVELS, "families": list(FAMILIES), "steps_stayed": STAYED, "steps_left": LEFT}

    def params(self, stay: float, variance: float) -> GaussianHMMParams:
        """All parameters from the two that are estimated."""
        k = self.n_states
        transition = np.full((k, k), (1.0 - stay) / (k - 1))
        np.fill_diagonal(transition, stay)
        return GaussianHMMParams(np.full(k, 1.0 / k), transition, LEVELS[:, None].copy(), np.full((k, 1), variance))

    def initial_params(self, data: Source[Series], rng: np.random.Generator, strategy: str) -> GaussianHMMParams:
        """Stays of the prior, and `SPREAD`."""
        return self.params(STAYED / (STAYED + LEFT), SPREAD**2)

    def e_step(self, params: GaussianHMMParams, chunk: Series, assign: Assign = "soft") -> GaussianHMMStats:
        """As `GaussianHMM.e_step`."""
        return self.chain.e_step(params, chunk, assign)

    def m_step(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> GaussianHMMParams:
        """``stay = (stayed + 9) / (steps + 10)``; the mean square about the level of the state for the variance, above 0."""
        stayed, steps = float(np.trace(stats.n_transition)), float(stats.n_transition.sum())
        count = float(stats.counts.sum())
        square = float(stats.scatters(params.means).sum())
        variance = max(square / count, (0.1 * NARROWEST) ** 2) if count > 0.0 else float(params.covariances[0, 0])
        return self.params((stayed + STAYED) / (steps + STAYED + LEFT), variance)

    def expected_loglik(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> float:
        return self.chain.expected_loglik(stats, params)

    def log_prior(self, params: GaussianHMMParams) -> float:
        stay = float(params.transition[0, 0])
        return float(xlogy(STAYED, stay) + xlog1py(LEFT, -stay))

    def pack(self, params: GaussianHMMParams) -> Floats:
        """Log-odds of staying and the log of the variance, shape (2,)."""
        away = (self.n_states - 1) * float(params.transition[0, 1])
        return np.array([math.log(float(params.transition[0, 0]) / away), math.log(float(params.covariances[0, 0]))])

    def unpack(self, vector: Floats) -> GaussianHMMParams:
        stay = float(expit(vector[0]))
        made = self.params(stay, math.exp(float(vector[1])))
        others = np.full_like(made.transition, float(expit(-vector[0])) / (self.n_states - 1))
        np.fill_diagonal(others, stay)
        return replace(made, transition=others)

    def natural(self, params: GaussianHMMParams) -> dict[str, Floats]:
        return {"stay": np.array(params.transition[0, 0]), "variance": np.array(params.covariances[0, 0])}

    def canonical(self, params: GaussianHMMParams) -> GaussianHMMParams:
        """As they are: the states have names."""
        return params

    def degenerate(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> str | None:
        """Windows that all lie on a level let the likelihood grow without bound; a family without windows is none of it."""
        if params.covariances[0, 0] < NARROWEST**2:
            return "every window lies on the level of a family"
        return None

    def posterior(self, params: GaussianHMMParams, values: npt.ArrayLike) -> Floats:
        """As `GaussianHMM.posterior`."""
        return self.chain.posterior(params, values)

    def viterbi(self, params: GaussianHMMParams, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """As `GaussianHMM.viterbi`."""
        return self.chain.viterbi(params, values)

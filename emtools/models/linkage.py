"""Genetic linkage: four cells of a multinomial, the first of them a sum of two, the classical first example of EM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import xlogy

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.logspace import log_or_minus_infinity
from emtools.models.assignment import EVERY_KIND
from emtools.models.counts import check_total, column_totals, pack_weights, split_cells, unpack_weights

COUNTS = (125.0, 18.0, 20.0, 34.0)
LOG_HALF, LOG_QUARTER = np.log(0.5), np.log(0.25)


@dataclass(frozen=True)
class LinkageParams:
    """Parameter of `Linkage`.

    Parameters
    ----------
    probability : float
        From 0 to 1: ``(1 - r)**2`` in coupling and ``r**2`` in repulsion, with recombination fraction r.
    """

    probability: float


@dataclass(frozen=True)
class LinkageStats(Stats):
    """Expected counts of `Linkage`; `n` counts animals.

    Parameters
    ----------
    linked : float
        Animals whose class has a probability in proportion to t.
    unlinked : float
        Animals whose class has one in proportion to 1 - t.
    constant : float
        The part of Q that t does not enter, in nats.
    """

    linked: float
    unlinked: float
    constant: float


@dataclass(frozen=True)
class Linkage:
    """Multinomial with cells ``1/2 + t/4, (1 - t)/4, (1 - t)/4, t/4``; a row of the data is a table of four counts.

    The first cell joins a class of probability 1/2 with one of t/4, which nobody can tell apart. Log-likelihoods leave
    out the multinomial coefficient.

    References
    ----------
    Rao (1973), Linear Statistical Inference and Its Applications, p. 369; Dempster, Laird & Rubin (1977),
    J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, eqs 1.1-1.4.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> fitted = fit(Linkage(), ArraySource(np.array([COUNTS])), tol=1e-10)
    >>> round(fitted.params.probability, 5), round(exact_maximum(*COUNTS), 5)
    (0.62682, 0.62682)
    """

    name: ClassVar[str] = "linkage"
    strategies: ClassVar[tuple[str, ...]] = ("random", "worst")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {}

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> LinkageParams:
        """``"random"`` draws t from 0.05 to 0.95; ``"worst"`` is 0.01, far from any likely maximum.

        Raises
        ------
        InputError
            If the data are not counts in four columns, or all are zero.
        """
        check_total(sum(float(column_totals(data.chunk(i), 4).sum()) for i in range(data.n_chunks)))
        return LinkageParams(float(rng.uniform(0.05, 0.95)) if strategy == "random" else 0.01)

    def e_step(self, params: LinkageParams, chunk: Rows, assign: Assign = "soft") -> LinkageStats:
        """Expected number in the hidden class of the first cell (Dempster, Laird & Rubin 1977, eq. 1.2).

        Raises
        ------
        InputError
            If the data are not counts in four columns, or `assign` is unknown.
        """
        counts = column_totals(chunk, 4)
        log_t, log_rest = log_or_minus_infinity(np.array([params.probability, 1.0 - params.probability]))
        log_joint = np.full((4, 2), -np.inf)
        log_joint[:, 0] = LOG_QUARTER + np.array([log_t, log_rest, log_rest, log_t])
        log_joint[0, 1] = LOG_HALF
        expected, loglik, entropy = split_cells(log_joint, counts, assign, chunk.first)
        quarter = expected[:, 0]
        constant = float(quarter.sum() * LOG_QUARTER + expected[0, 1] * LOG_HALF)
        linked, unlinked = float(quarter[0] + quarter[3]), float(quarter[1] + quarter[2])
        return LinkageStats(float(counts.sum()), loglik, entropy, linked, unlinked, constant)

    def m_step(self, stats: LinkageStats, params: LinkageParams) -> LinkageParams:
        """``t = linked / (linked + unlinked)`` (eq. 1.3); what was, where both are zero."""
        total = stats.linked + stats.unlinked
        return LinkageParams(stats.linked / total) if total > 0.0 else params

    def expected_loglik(self, stats: LinkageStats, params: LinkageParams) -> float:
        """``linked log t + unlinked log(1 - t) + constant`` in nats."""
        t = params.probability
        return float(xlogy(stats.linked, t) + xlogy(stats.unlinked, 1.0 - t)) + stats.constant

    def log_prior(self, params: LinkageParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: LinkageParams) -> Floats:
        """Log odds of t."""
        return pack_weights(np.array([params.probability, 1.0 - params.probability]))

    def unpack(self, vector: Floats) -> LinkageParams:
        """Inverse of `pack`."""
        return LinkageParams(float(unpack_weights(vector)[0]))

    def natural(self, params: LinkageParams) -> dict[str, Floats]:
        """The probability t."""
        return {"probability": np.array([params.probability])}

    def canonical(self, params: LinkageParams) -> LinkageParams:
        """`params`: there are no components to order."""
        return params

    def degenerate(self, stats: LinkageStats, params: LinkageParams) -> str | None:
        """None: the likelihood is at most 1."""
        return None


def exact_maximum(first: float, second: float, third: float, fourth: float) -> float:
    """The maximum in closed form: the score is a quadratic in t.

    ``first / (2 + t) - (second + third) / (1 - t) + fourth / t = 0``.

    Parameters
    ----------
    first, second, third, fourth : float
        Counts of the four cells, at least 0.

    Returns
    -------
    float
        The root from 0 to 1.

    Raises
    ------
    InputError
        If all counts are zero.
    """
    check = first + second + third + fourth
    if not check > 0.0:
        raise InputError("linkage", "every count is zero", "at least one count above zero")
    half = first - 2.0 * (second + third) - fourth
    return float((half + np.sqrt(half**2 + 8.0 * check * fourth)) / (2.0 * check))

"""Mixtures of known profiles: amounts of K types in S samples. The units are ``G`` genes, a row for each.

A gene has a factor of its own, by which bulk and reference differ (the platform), and noise of its own. Both are
integrated out: how far genes are off, and how noisy they are, is a mixture over fixed classes whose shares are estimated.
"""

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
from emtools.kernels.mixing import Classes, Pull, expected_counts, log_evidence, origins, pulls
from emtools.models.assignment import shared_rows
from emtools.models.counts import TINY, check_counts, pack_positive, pack_weights, unpack_positive, unpack_weights

STRENGTHS = (10.0, 30.0, 100.0, 1000.0)
DISPERSIONS = tuple(4.0**power for power in range(9))
LEAST_SHARE = 1e-3  # of a type in a start, of the largest
PRIOR_GENES = 0.5  # genes that each class has beforehand
PRIOR_COUNTS = 0.5  # weighted counts that each type has in each sample beforehand


@dataclass(frozen=True)
class BulkParams:
    """Parameters of `BulkMixture`.

    Parameters
    ----------
    amounts : ndarray, shape (S, K)
        Amount of each type in each sample, in units of its profile, at least 0.
    shares : ndarray, shape (J,)
        Share of the genes in each class; sum to 1.
    """

    amounts: Floats
    shares: Floats


@dataclass(frozen=True)
class BulkStats(Stats):
    """Expected sums of `BulkMixture`.

    Parameters
    ----------
    origins : ndarray, shape (S, K)
        Weighted counts of each sample that come from each type.
    exposures : ndarray, shape (S, K)
        ``sum_g E[weight factor] profiles``: weighted counts that a unit of a type would give.
    genes : ndarray, shape (J,)
        Expected genes in each class.
    """

    origins: Floats
    exposures: Floats
    genes: Floats


@dataclass(frozen=True)
class BulkMixture:
    """Counts of gene g in sample s of mean ``factor_g Σ_k amounts[s, k] profiles[g, k]``, variance ``dispersion_g`` × mean.

    The factor is gamma of mean 1 and shape ``strength``; a gene belongs to one class, a pair of strength and dispersion.
    A row of the data holds the S counts of a gene and behind them its K profile values.

    Parameters
    ----------
    n_samples, n_types : int
        S and K, at least 1.
    strengths, dispersions : tuple of float
        Positive; every pair is a class. An infinite strength is a gene without a factor.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x; Vardi, Shepp &
    Kaufman (1985), J. Am. Stat. Assoc. 80, 8-20, doi:10.1080/01621459.1985.10477119, eq. 2.13 (the amounts).

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> profiles = np.array([[8.0, 1.0], [1.0, 6.0], [2.0, 2.0], [5.0, 1.0]])
    >>> counts = profiles @ np.array([[30.0], [10.0]])
    >>> model = BulkMixture(1, 2, strengths=(1e6,), dispersions=(1.0,))
    >>> fitted = fit(model, ArraySource(np.hstack([counts, profiles])), certificate=False)
    >>> fitted.params.amounts.round(2).tolist()
    [[29.99, 10.11]]
    """

    n_samples: int
    n_types: int
    strengths: tuple[float, ...] = STRENGTHS
    dispersions: tuple[float, ...] = DISPERSIONS

    name: ClassVar[str] = "bulk_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("totals", "random")
    assigns: ClassVar[tuple[str, ...]] = ("soft",)

    def __post_init__(self) -> None:
        if self.n_samples < 1 or self.n_types < 1:
            raise InputError("mixture", f"{self.n_samples} samples of {self.n_types} types", "at least one of each")
        if not min(self.strengths, default=0.0) > 0.0 or not min(self.dispersions, default=0.0) > 0.0:
            raise InputError("classes", "a strength or dispersion is missing or not above zero", "positive numbers")

    @property
    def classes(self) -> Classes:
        """All pairs, strengths slowest."""
        return Classes(np.repeat(self.strengths, len(self.dispersions)), np.tile(self.dispersions, len(self.strengths)))

    @property
    def n_classes(self) -> int:
        return len(self.strengths) * len(self.dispersions)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {
            "n_samples": self.n_samples,
            "n_types": self.n_types,
            "strengths": [strength if np.isfinite(strength) else None for strength in self.strengths],
            "dispersions": list(self.dispersions),
        }

    def split(self, chunk: Rows) -> tuple[Floats, Floats]:
        """Counts (G, S) and profiles (G, K) of checked rows.

        Raises
        ------
        InputError
            If the number of columns is wrong, a value is negative or not finite, or a profile is zero throughout.
        """
        check_counts(chunk, self.n_samples + self.n_types, whole=False)
        counts, profiles = chunk.values[:, : self.n_samples], chunk.values[:, self.n_samples :]
        silent = ~(profiles > 0.0).any(axis=1)
        if silent.any():
            row = chunk.first + int(silent.argmax()) + 1
            raise InputError(f"row {row}", "no type expresses the gene", "a positive profile", "leave the gene out")
        return counts, profiles

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> BulkParams:
        """``"totals"``: every type gives the same number of counts; ``"random"``: a Dirichlet draw of these numbers.

        Raises
        ------
        InputError
            If the data do not fit the model, a sample has no count, or a type no expression.
        """
        totals, masses = np.zeros(self.n_samples), np.zeros(self.n_types)
        for index in range(data.n_chunks):
            chunk = data.chunk(index)
            counts, profiles = self.split(chunk)
            totals += chunk.weights @ counts
            masses += chunk.weights @ profiles
        for what, sums in (("sample", totals), ("type", masses)):
            if not (sums > 0.0).all():
                raise InputError(f"{what} {int(sums.argmin()) + 1}", "is zero throughout", "a positive total")
        parts = np.full((self.n_samples, self.n_types), 1.0 / self.n_types)
        if strategy == "random":
            parts = np.maximum(rng.dirichlet(np.ones(self.n_types), size=self.n_samples), LEAST_SHARE)
        return BulkParams(totals[:, None] * parts / masses, np.full(self.n_classes, 1.0 / self.n_classes))

    def posterior(self, params: BulkParams, counts: Floats, profiles: Floats) -> tuple[Floats, Floats]:
        """Expected counts (G, S), and log of share times density of each class (G, J), nats."""
        expected = expected_counts(params.amounts, profiles)
        return expected, log_or_minus_infinity(params.shares) + log_evidence(counts, expected, self.classes)

    def pull(self, params: BulkParams, counts: Floats, profiles: Floats) -> tuple[Floats, Pull]:
        """Expected counts (G, S), and the expected weight and factor of each gene."""
        expected, log_joint = self.posterior(params, counts, profiles)
        shares, _, _ = shared_rows(log_joint, np.ones(len(counts)), "soft", 0)
        return expected, pulls(shares, counts, expected, self.classes)

    def e_step(self, params: BulkParams, chunk: Rows, assign: Assign = "soft") -> BulkStats:
        """Weighted counts by origin, exposures and classes.

        Raises
        ------
        InputError
            As `split`, or if `assign` is not soft.
        """
        if assign != "soft":
            raise InputError("assign", f"{assign}", "soft")
        counts, profiles = self.split(chunk)
        expected, log_joint = self.posterior(params, counts, profiles)
        shares, loglik, _ = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        pull = pulls(shares, counts, expected, self.classes)
        held = (chunk.weights * pull.held) @ profiles
        stats = BulkStats(
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=0.0,
            origins=origins(params.amounts, profiles, counts, expected, chunk.weights * pull.weight),
            exposures=np.tile(held, (self.n_samples, 1)),
            genes=chunk.weights @ shares,
        )
        rest = loglik - self.expected_loglik(stats, params)
        return BulkStats(stats.n, loglik, rest, stats.origins, stats.exposures, stats.genes)

    def m_step(self, stats: BulkStats, params: BulkParams) -> BulkParams:
        """``amounts = (origins + ½) / exposures``; class shares from their genes and half a gene each."""
        shares = stats.genes + PRIOR_GENES
        return BulkParams((stats.origins + PRIOR_COUNTS) / stats.exposures, shares / shares.sum())

    def expected_loglik(self, stats: BulkStats, params: BulkParams) -> float:
        """``Σ origins log amounts - Σ exposures amounts + Σ genes log shares`` in nats, without terms free of parameters
        (these are in `entropy`).
        """
        amounts = xlogy(stats.origins, params.amounts) - stats.exposures * params.amounts
        return float(amounts.sum() + xlogy(stats.genes, params.shares).sum())

    def log_prior(self, params: BulkParams) -> float:
        """``½ Σ log shares + ½ Σ log amounts``: half a gene in each class, half a count of each type beforehand."""
        counts = PRIOR_COUNTS * np.log(np.maximum(params.amounts, TINY)).sum()
        return float(PRIOR_GENES * np.log(np.maximum(params.shares, TINY)).sum() + counts)

    def pack(self, params: BulkParams) -> Floats:
        """Log amounts and log odds of the class shares."""
        return np.concatenate([pack_positive(params.amounts), pack_weights(params.shares)])

    def unpack(self, vector: Floats) -> BulkParams:
        """Inverse of `pack`."""
        cut = self.n_samples * self.n_types
        amounts = unpack_positive(vector[:cut], (self.n_samples, self.n_types))
        return BulkParams(amounts, unpack_weights(vector[cut:]))

    def natural(self, params: BulkParams) -> dict[str, Floats]:
        """Amounts, and shares of the classes of genes."""
        return {"amounts": params.amounts, "shares": params.shares}

    def canonical(self, params: BulkParams) -> BulkParams:
        """As they are: types and classes have names."""
        return params

    def degenerate(self, stats: BulkStats, params: BulkParams) -> str | None:
        """None: the density is bounded."""
        return None

"""ABO blood groups: frequencies of the alleles A, B and O from counts of the phenotypes A, B, AB and O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import xlogy

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.kernels.logspace import log_or_minus_infinity
from emtools.models.assignment import EVERY_KIND
from emtools.models.counts import check_total, column_totals, pack_weights, split_cells, unpack_weights

LOG_2 = float(np.log(2.0))
# Alleles A, B, O of the genotypes AA, AO, BB, BO, AB, OO.
ALLELES = np.array(
    [[2.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
)
HETEROZYGOUS = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
# Genotypes behind the phenotypes A, B, AB, O, the second -1 where there is but one.
GENOTYPES = np.array([[0, 1], [2, 3], [4, -1], [5, -1]])


@dataclass(frozen=True)
class ABOParams:
    """Parameters of `ABO`.

    Parameters
    ----------
    allele : ndarray, shape (3,)
        Frequencies p, q, r of the alleles A, B and O; they sum to 1.
    """

    allele: Floats


@dataclass(frozen=True)
class ABOStats(Stats):
    """Expected counts of `ABO`; `n` counts people.

    Parameters
    ----------
    genotype : ndarray, shape (6,)
        People of the genotypes AA, AO, BB, BO, AB and OO.
    """

    genotype: Floats


@dataclass(frozen=True)
class ABO:
    """Allele frequencies of the ABO blood groups under Hardy-Weinberg proportions.

    Phenotype A joins the genotypes AA (p²) and AO (2pr), B joins BB (q²) and BO (2qr); AB is 2pq, O is r². A row of the
    data has the counts of A, B, AB and O. Log-likelihoods leave out the multinomial coefficient.

    References
    ----------
    Ceppellini, Siniscalco & Smith (1955), Ann. Hum. Genet. 20, 97-115
    (gene counting); Lange (2010), Numerical Analysis for Statisticians, section 13.4.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> fitted = fit(ABO(), ArraySource(np.array([[186.0, 38.0, 13.0, 284.0]])), tol=1e-10)
    >>> fitted.params.allele.round(4).tolist()
    [0.2136, 0.0501, 0.7363]
    """

    name: ClassVar[str] = "abo"
    strategies: ClassVar[tuple[str, ...]] = ("random", "even")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {}

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> ABOParams:
        """``"random"`` draws frequencies; ``"even"`` is a third each.

        Raises
        ------
        InputError
            If the data are not counts in four columns, or all are zero.
        """
        check_total(sum(float(column_totals(data.chunk(i), 4).sum()) for i in range(data.n_chunks)))
        return ABOParams(rng.dirichlet(np.full(3, 2.0)) if strategy == "random" else np.full(3, 1.0 / 3.0))

    def e_step(self, params: ABOParams, chunk: Rows, assign: Assign = "soft") -> ABOStats:
        """Expected number of people of each genotype, ``E[AO] = n_A 2r / (p + 2r)`` and the like.

        Raises
        ------
        InputError
            If the data are not counts in four columns, or `assign` is unknown.
        """
        counts = column_totals(chunk, 4)
        with np.errstate(invalid="ignore"):
            terms = np.where(ALLELES > 0.0, ALLELES * log_or_minus_infinity(params.allele), 0.0)
        log_genotype = terms.sum(axis=1) + LOG_2 * HETEROZYGOUS
        log_joint = np.where(GENOTYPES >= 0, log_genotype[GENOTYPES], -np.inf)
        expected, loglik, entropy = split_cells(log_joint, counts, assign, chunk.first)
        genotype = np.zeros(len(ALLELES))
        genotype[GENOTYPES[GENOTYPES >= 0]] = expected[GENOTYPES >= 0]
        return ABOStats(float(counts.sum()), loglik, entropy, genotype)

    def m_step(self, stats: ABOStats, params: ABOParams) -> ABOParams:
        """Each allele's share among those counted, two to a person."""
        counted = stats.genotype @ ALLELES
        return ABOParams(counted / counted.sum())

    def expected_loglik(self, stats: ABOStats, params: ABOParams) -> float:
        """``Σ alleles log frequency + log 2 · heterozygotes`` in nats."""
        counted = stats.genotype @ ALLELES
        return float(xlogy(counted, params.allele).sum() + LOG_2 * (stats.genotype @ HETEROZYGOUS))

    def log_prior(self, params: ABOParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: ABOParams) -> Floats:
        """Log odds of A against B and O, and of B against O."""
        return pack_weights(params.allele)

    def unpack(self, vector: Floats) -> ABOParams:
        """Inverse of `pack`."""
        return ABOParams(unpack_weights(vector))

    def natural(self, params: ABOParams) -> dict[str, Floats]:
        """Frequencies of A, B and O."""
        return {"allele": params.allele}

    def canonical(self, params: ABOParams) -> ABOParams:
        """`params`: there are no components to order."""
        return params

    def degenerate(self, stats: ABOStats, params: ABOParams) -> str | None:
        """None: the likelihood is at most 1."""
        return None

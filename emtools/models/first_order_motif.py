"""A motif in which each letter depends on the one before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from emtools.engine.chunks import Sequences
from emtools.engine.protocol import Assign, Floats, Source
from emtools.errors import InputError
from emtools.models.motif import DNA, Motif, MotifParams, MotifStats

STRENGTH = 20.0  # letters' worth of the base in the prior of the letters after each letter


@dataclass(frozen=True)
class FirstOrderParams:
    """Parameters of `FirstOrderMotif`.

    Parameters
    ----------
    occurrence : float
        As in `models.motif.MotifParams`.
    first : ndarray, shape (n_letters,)
        Letter probabilities at the first position of a site.
    transitions : ndarray, shape (width - 1, n_letters, n_letters)
        Letter probabilities at each further position (last axis), after each letter at the one before; they sum to 1.
    """

    occurrence: float
    first: Floats
    transitions: Floats

    @property
    def matrix(self) -> Floats:
        """Letter probabilities at each position, whatever is before: ``p[w + 1] = p[w] @ transitions[w]``, shape (width, n_letters)."""
        rows = [self.first]
        for table in self.transitions:
            rows.append(rows[-1] @ table)
        return np.array(rows)

    @property
    def scored(self) -> MotifParams:
        """The same as the E-step of `Motif` reads it, shape (width, n_letters, n_letters): the rows of the first position are alike."""
        first = np.broadcast_to(self.first, (1, *self.transitions.shape[1:]))
        return MotifParams(self.occurrence, np.concatenate([first, self.transitions]))


@dataclass(frozen=True)
class FirstOrderMotif:
    """A `Motif` whose letters depend on the letter before: an inhomogeneous Markov chain of order 1.

    Where sites lie, occurrence, strands, background, erased letters and the prior of places are those of `motif`; a site on the
    reverse strand is read as its reverse complement by the same tables. The letters after each letter have a Dirichlet
    prior about the letters of an independent motif, which is held fixed, so that the objective does not fall:

        transitions[w, a] = (counts[w + 1, a] + strength base[w + 1]) / (sum of counts[w + 1, a] + strength).

    Parameters
    ----------
    motif : Motif
        Everything else. No palindrome: then the chain would have to be its own reversal.
    base : ndarray, shape (width, n_letters)
        Letter probabilities of the motif with independent letters, above 0; its first position is not looked at.
    strength : float
        Letters' worth of the base that the prior adds after each letter, above 0.

    References
    ----------
    Siebert & Söding (2016), Nucleic Acids Res. 44, 6055-6069, doi:10.1093/nar/gkw521 (Bayesian Markov models). There the
    probabilities of order 0 follow those of order 1; here they are those that an independent motif was fitted to.

    Examples
    --------
    >>> from emtools.engine.chunks import SequenceSource
    >>> from emtools.engine.starts import fit
    >>> from emtools.models.motif import estimate_background
    >>> rng = np.random.default_rng(0)
    >>> sequences = [rng.integers(4, size=30).astype(np.uint8) for _ in range(40)]
    >>> for k, codes in enumerate(sequences):
    ...     codes[10:14] = [[0, 1, 0, 2], [3, 2, 0, 2]][k % 2]  # ACAG or TGAG
    >>> source = SequenceSource(sequences)
    >>> motif = Motif(4, estimate_background(source, 0), occurrence="oops", strands="one")
    >>> base = fit(motif, source, starts=5).params.matrix
    >>> fitted = fit(FirstOrderMotif(motif, base, strength=2.0), source)
    >>> fitted.model.dependence(fitted.params).round(1).tolist()
    [0.7, 0.0, 0.0]
    """

    motif: Motif
    base: Floats
    strength: float = STRENGTH

    name = "first_order_motif"
    strategies = ("independent", "random")

    def __post_init__(self) -> None:
        motif = self.motif
        if motif.n_letters != DNA:
            got = f"{motif.n_letters} letters, so {motif.n_letters * (motif.n_letters - 1)} probabilities a position"
            raise InputError("motif order", f"1 with {got}", "DNA or RNA: sites cannot teach so many")
        if motif.palindrome:
            raise InputError("motif order", "1 with a palindrome", "independent letters", "leave one of them out")
        shape = (motif.width, motif.n_letters)
        if self.base.shape != shape or not (self.base > 0.0).all():
            raise InputError("base", f"shape {self.base.shape}", f"shape {shape}, probabilities above 0")
        if not 0.0 < self.strength < math.inf:
            raise InputError("strength", str(self.strength), "above 0, so that no letter is ruled out")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {**self.motif.hyperparameters, "motif_order": 1, "strength": self.strength, "base": self.base}

    @property
    def assigns(self) -> tuple[str, ...]:
        """Kinds of assignment that the E-step offers."""
        return self.motif.assigns

    @property
    def prior_counts(self) -> Floats:
        """Letters that the prior adds, laid out as the counts; of the first position in its first row."""
        added = np.repeat(self.strength * self.base[:, None], self.motif.n_letters, axis=1)
        added[0] = 0.0
        added[0, 0] = self.motif.prior_counts
        return added

    def initial_params(self, data: Source[Sequences], rng: np.random.Generator, strategy: str) -> FirstOrderParams:
        """Start from independent letters, or from tables half drawn at random."""
        tables = np.repeat(self.base[:, None], self.motif.n_letters, axis=1)
        if strategy == "random":
            drawn = rng.dirichlet(np.ones(self.motif.n_letters), size=tables.shape[:2])
            tables = 0.5 * (tables + drawn)
        return FirstOrderParams(self.motif.first_rate(data, 0.5), tables[0, 0], tables[1:])

    def e_step(self, params: FirstOrderParams, chunk: Sequences, assign: Assign = "soft") -> MotifStats:
        return self.motif.e_step(params.scored, chunk, assign)

    def m_step(self, stats: MotifStats, params: FirstOrderParams) -> FirstOrderParams:
        counts = stats.counts + self.prior_counts
        first, rest = counts[0, 0], counts[1:]
        return FirstOrderParams(
            self.motif.best_rate(stats), first / first.sum(), rest / rest.sum(axis=2, keepdims=True)
        )

    def expected_loglik(self, stats: MotifStats, params: FirstOrderParams) -> float:
        return self.motif.expected_loglik(stats, params.scored)

    def log_prior(self, params: FirstOrderParams) -> float:
        value = float((self.prior_counts * np.log(params.scored.matrix)).sum())
        return value + float(self.motif.rate_prior(np.array(params.occurrence)))

    def pack(self, params: FirstOrderParams) -> Floats:
        """Log-ratios of the letters to the last one, row by row; before them the logit of the rate, if it is fitted."""
        rate = np.empty(0) if self.motif.held is not None else logit([params.occurrence])
        logs = np.log(np.concatenate([params.first[None], params.transitions.reshape(-1, self.motif.n_letters)]))
        return np.concatenate([rate, (logs[:, :-1] - logs[:, -1:]).ravel()])

    def unpack(self, vector: Floats) -> FirstOrderParams:
        rates, log_rows = self.unpack_all(vector[None])
        rows = np.exp(log_rows[0])
        return FirstOrderParams(float(rates[0]), rows[0], rows[1:].reshape(self.motif.width - 1, -1, rows.shape[1]))

    def unpack_all(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Occurrences, shape (m,), and logs of the rows of all tables, the first position's one before them, of packed parameters, (m, p)."""
        held, others = self.motif.held, self.motif.n_letters - 1
        rates = expit(vectors[:, 0]) if held is None else np.full(len(vectors), held)
        ratios = vectors[:, int(held is None) :].reshape(
            len(vectors), 1 + (self.motif.width - 1) * (others + 1), others
        )
        columns = [ratios[:, :, k] for k in range(others)]  # rows of three are too short to be summed quickly
        top = np.zeros(ratios.shape[:2])
        for column in columns:
            np.maximum(top, column, out=top)
        total = np.exp(-top)
        for column in columns:
            total += np.exp(column - top)
        last = -top - np.log(total)
        return rates, np.stack([*(column + last for column in columns), last], axis=2)

    def packed_objectives(self, vectors: Floats, prior: bool) -> Callable[[MotifStats, int], Floats]:
        """`expected_loglik`, and `log_prior` if wanted, at many packed parameters at once: `engine.protocol.packed_objectives`."""
        rates, log_rows = self.unpack_all(vectors)
        logs = log_rows.reshape(len(vectors), log_rows.shape[1] * log_rows.shape[2])

        def by_row(counts: Floats) -> Floats:
            return np.concatenate([counts[0, 0], counts[1:].ravel()])

        added = logs @ by_row(self.prior_counts) + self.motif.rate_prior(rates) if prior else np.zeros(len(vectors))

        def objectives(stats: MotifStats, n: int) -> Floats:
            values: Floats = stats.constant + logs[:n] @ by_row(stats.counts) + added[:n]
            return values + self.motif.rate_loglik(stats, rates[:n])

        return objectives

    def natural(self, params: FirstOrderParams) -> dict[str, Floats]:
        rate = {} if self.motif.held is not None else {"occurrence": np.array(params.occurrence)}
        tables = {"matrix": params.matrix, "transitions": params.transitions, "dependence": self.dependence(params)}
        return {**rate, **tables}

    def dependence(self, params: FirstOrderParams) -> Floats:
        """Mutual information of each letter with the one before it, bits, shape (width - 1,).

        ``I[w] = sum p[w, a] T[w, a, b] log2(T[w, a, b] / p[w + 1, b])``: what the one says of the other.
        """
        matrix = params.matrix
        logs = np.log2(params.transitions / matrix[1:, None])
        bits: Floats = np.einsum("wa,wab,wab->w", matrix[:-1], params.transitions, logs)
        return bits

    def canonical(self, params: FirstOrderParams) -> FirstOrderParams:
        """`params`: the base says which way round."""
        return params

    def degenerate(self, stats: MotifStats, params: FirstOrderParams) -> str | None:
        return self.motif.degenerate(stats, params.scored)

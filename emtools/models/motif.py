"""One motif in a set of sequences: OOPS, ZOOPS and any number of sites, one or both strands, Markov background."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, xlog1py, xlogy

from emtools.engine.chunks import Sequences, SequenceSource, weighted_sequences
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.logspace import log_or_minus_infinity
from emtools.kernels.motif import Hits, background_letters, count_words, expected_sites, log_mean_ratios
from emtools.kernels.placements import any_number, one_site
from emtools.kernels.places import place_weights
from emtools.kernels.windows import context_table

Occurrence = Literal["oops", "zoops", "anr"]
Strands = Literal["both", "one"]

DNA = 4
HIGHEST_ORDER = 5
LARGEST_TABLE = 2**20
WORDS = 64
SCORED_LETTERS = 100_000
WORD_MATCH = 0.55
OCCURRENCES = np.array([0.1, 0.3, 0.6, 0.9])
NO_ROOM = np.empty((2, 0))
ALL_FREE = np.empty(0)
WIDEST_FAST = 64  # bp; the product of more ratios may leave the range of numbers


@dataclass(frozen=True)
class Background:
    """Markov model of the sequence outside the sites, held fixed during a fit.

    Parameters
    ----------
    order : int
        Letters that the next one depends on, 0 to 5.
    log_table : ndarray, shape ((n_letters + 1)**order, n_letters)
        Log-probabilities in nats by context, as in `kernels.motif.background_letters`.
    frequencies : ndarray, shape (n_letters,)
        Letter probabilities of order 0.
    """

    order: int
    log_table: Floats
    frequencies: Floats

    @property
    def n_letters(self) -> int:
        """Size of the alphabet."""
        return len(self.frequencies)


def estimate_background(source: Source[Sequences], order: int, n_letters: int = DNA, both: bool = True) -> Background:
    """Markov background of `source`, each order shrunk to the one below it.

    ``p(a | c) = (n(c, a) + A p(a | c')) / (n(c) + A)`` with A letters in the alphabet and c' the context
    without its first letter; order 0 is shrunk to equal frequencies.

    Parameters
    ----------
    source : Source of Sequences
        Where it is counted.
    order : int
        0 to 5.
    n_letters : int
        Size of the alphabet.
    both : bool
        Whether reverse complements are counted too; DNA and RNA only.

    Returns
    -------
    Background

    Raises
    ------
    InputError
        If the order is out of range or too high for the alphabet.

    Examples
    --------
    >>> from emtools.engine.chunks import SequenceSource
    >>> source = SequenceSource([np.array([0, 0, 0, 0], dtype=np.uint8)])
    >>> estimate_background(source, 0).frequencies.round(3).tolist()
    [0.417, 0.083, 0.083, 0.417]
    """
    base = n_letters + 1
    if not 0 <= order <= HIGHEST_ORDER or base**order * n_letters > LARGEST_TABLE:
        raise InputError("background order", str(order), f"0 to {HIGHEST_ORDER}, and a small alphabet above 2")
    chunks = (source.chunk(i) for i in range(source.n_chunks))
    counts = sum(
        (count_words(chunk.codes, chunk.offsets, order, n_letters, both) for chunk in chunks),
        np.zeros((base**order, n_letters)),
    )
    table = np.full_like(counts, 1.0 / n_letters)
    fresh = base**order - 1
    for length in range(order + 1):
        block = base**length
        for context in np.ndindex(*(n_letters,) * length):
            row = fresh - (block - 1) + number_of(context, base)
            shorter = row if length == 0 else fresh - (block // base - 1) + number_of(context[1:], base)
            table[row] = (counts[row] + n_letters * table[shorter]) / (counts[row].sum() + n_letters)
    frequencies: Floats = table[fresh].copy()
    return Background(order, np.log(table), frequencies)


def number_of(digits: tuple[int, ...], base: int) -> int:
    """The number with these digits."""
    number = 0
    for digit in digits:
        number = number * base + digit
    return number


@dataclass(frozen=True)
class MotifParams:
    """Parameters of `Motif`.

    Parameters
    ----------
    occurrence : float
        Probability that a sequence has a site, 0 to 1; 1.0 under OOPS. Under ANR, that a site starts at a place where
        it could.
    matrix : ndarray, shape (width, n_letters)
        Letter probabilities at each position of a site; rows sum to 1. The E-step also takes those after each letter,
        shape (width, n_letters, n_letters), and gives counts of that shape: `models.first_order_motif`.
    """

    occurrence: float
    matrix: Floats


@dataclass(frozen=True)
class MotifStats(Stats):
    """Expected sufficient statistics of `Motif`.

    Parameters
    ----------
    n_rooms : float
        Sequences with a window in which a site can lie; under ANR, expected places at which a site could have started.
    n_sites : float
        Expected number of sites.
    counts : ndarray, shape (width, n_letters)
        Expected letters at each position of the sites.
    constant : float
        Part of the expected complete-data log-likelihood that depends on no parameter, in nats:
        background outside the sites, and the uniform prior of start and strand.
    """

    n_rooms: float
    n_sites: float
    counts: Floats
    constant: float


@dataclass(frozen=True)
class Sites:
    """The likeliest site of each sequence.

    Parameters
    ----------
    starts : ndarray of int64, shape (n_sequences,)
        0-based start in the sequence; -1 where there is no room.
    strands : ndarray of int64, shape (n_sequences,)
        0 forward, 1 reverse.
    posterior : ndarray, shape (n_sequences,)
        Probability that the site starts there, on either strand.
    any_site : ndarray, shape (n_sequences,)
        Probability that the sequence has a site.
    """

    starts: Hits
    strands: Hits
    posterior: Floats
    any_site: Floats


@dataclass(frozen=True)
class Motif:
    """A motif of fixed width with one site a sequence (OOPS), zero or one (ZOOPS), or any number (ANR).

    The log-likelihood is absolute: it includes the background, so that subtracting that of the
    background alone gives the log-likelihood ratio that MEME reports.

    Parameters
    ----------
    width : int
        Positions of a site, at least 2.
    background : Background
        Model of everything outside the sites.
    n_letters : int
        Size of the alphabet.
    occurrence : {"zoops", "oops", "anr"}
        Zero or one site a sequence, one, or any number that do not overlap (DNA and RNA).
    strands : {"both", "one"}
        Whether a site can lie on the reverse complement; both needs DNA or RNA.
    pseudocount : float
        Sites' worth of background letters that the Dirichlet prior adds at each position, above 0. Under
        ZOOPS, half of it is also added to the sequences with and to those without a site (Beta prior).
    rate : float, optional
        Occurrence that is held fixed. By default it is fitted, except under OOPS, where it is 1.
    palindrome : bool
        Tie the motif to its own reverse complement; needs both strands.

    References
    ----------
    Lawrence & Reilly (1990), Proteins 7, 41-51, doi:10.1002/prot.340070105 (OOPS, eq. 3-5).
    Bailey & Elkan (1995), Proc. Int. Conf. Intell. Syst. Mol. Biol. 3, 21-29 (ZOOPS, both strands, starts
    from words); pseudo-counts as in Bailey & Elkan (1995), Machine Learning 21, 51-80, doi:10.1007/BF00993379.
    """

    width: int
    background: Background
    n_letters: int = DNA
    occurrence: Occurrence = "zoops"
    strands: Strands = "both"
    pseudocount: float = 0.5
    rate: float | None = None
    palindrome: bool = False

    name = "motif"
    strategies = ("words", "random")

    def __post_init__(self) -> None:
        if self.width < 2:
            raise InputError("width", str(self.width), "at least 2")
        if not 0 < self.pseudocount < math.inf:
            raise InputError("pseudocount", str(self.pseudocount), "above 0, so that no letter is ruled out")
        if self.strands == "both" and self.n_letters != DNA:
            raise InputError("strands", f"both, with {self.n_letters} letters", "DNA or RNA for both strands")
        if self.occurrence == "anr" and (self.n_letters != DNA or self.width > WIDEST_FAST):
            raise InputError("occurrence", "anr", f"DNA or RNA and a width of at most {WIDEST_FAST}")
        if self.palindrome and not self.both:
            raise InputError("palindrome", "with one strand", "both strands: a palindrome lies on both at once")
        if self.rate is not None and not 0.0 < self.rate < 1.0:
            raise InputError("rate", str(self.rate), "between 0 and 1")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {
            "width": self.width,
            "occurrence": self.occurrence,
            "strands": self.strands,
            "pseudocount": self.pseudocount,
            "background_order": self.background.order,
            "background_frequencies": self.background.frequencies,
            **({} if self.rate is None else {"occurrence_held": self.rate}),
            **({"palindrome": True} if self.palindrome else {}),
        }

    @property
    def held(self) -> float | None:
        """Occurrence that is not fitted."""
        return 1.0 if self.occurrence == "oops" else self.rate

    @property
    def fast(self) -> bool:
        """Whether the E-step goes by words."""
        return self.n_letters == DNA and self.width <= WIDEST_FAST

    @property
    def both(self) -> bool:
        """Whether both strands are searched."""
        return self.strands == "both"

    @property
    def prior_counts(self) -> Floats:
        """Letters that the prior adds at each position, shape (n_letters,)."""
        added: Floats = self.pseudocount * self.background.frequencies
        return added

    def initial_params(self, data: Source[Sequences], rng: np.random.Generator, strategy: str) -> MotifParams:
        """Start from a random matrix, or from the best of some random words of the data.

        Words are scored by the log-likelihood that one E-step finds at their soft matrix, on at most
        about `SCORED_LETTERS` letters, at the best of a few occurrence rates.
        """
        if strategy == "random":
            matrix = rng.dirichlet(np.full(self.n_letters, 1.0), size=self.width)
            return MotifParams(self.first_rate(data, 0.5), self.tied(self.softened(matrix)))
        sample = draw_sequences(data, rng)
        words = draw_words(sample, self.width, self.n_letters, rng)
        if not len(words):
            raise InputError("sequences", "no window of known letters", f"at least one of {self.width} letters")
        log_background = self.log_background(sample)
        best, best_gain = MotifParams(1.0, self.word_matrix(words[0])), -math.inf
        for word in words:
            matrix = self.word_matrix(word)
            log_means, n_windows = log_mean_ratios(
                sample.codes, sample.offsets, log_background, np.log(matrix), self.both
            )
            log_means = log_means[n_windows > 0]
            for rate in (1.0,) if self.occurrence == "oops" else OCCURRENCES:
                gain = float(
                    np.logaddexp(log_or_minus_infinity(np.array(1.0 - rate)), math.log(rate) + log_means).sum()
                )
                if gain > best_gain:
                    best, best_gain = MotifParams(float(rate), matrix), gain
        return MotifParams(self.first_rate(data, best.occurrence), self.tied(best.matrix))

    def tied(self, values: Floats) -> Floats:
        """Mean of a matrix of the motif and what it is on the other strand, if the motif is a palindrome; else `values`."""
        mean: Floats = 0.5 * (values + values[::-1, ::-1]) if self.palindrome else values
        return mean

    def first_rate(self, data: Source[Sequences], share: float) -> float:
        """Occurrence to start from where a `share` of the sequences has a site."""
        if self.held is not None:
            return self.held
        if self.occurrence == "zoops":
            return share
        n_places = sum(data.chunk(i).codes.size for i in range(data.n_chunks))
        return min(0.5, share * data.n_units / max(1, n_places))

    def word_matrix(self, word: npt.NDArray[np.uint8]) -> Floats:
        """Matrix that prefers the letters of `word`, shape (width, n_letters)."""
        matrix = np.full((self.width, self.n_letters), (1.0 - WORD_MATCH) / (self.n_letters - 1))
        matrix[np.arange(self.width), word] = WORD_MATCH
        return matrix

    def softened(self, matrix: Floats) -> Floats:
        """`matrix` with a little background in it, so that no letter is ruled out."""
        mixed: Floats = 0.95 * matrix + 0.05 * self.background.frequencies
        return mixed

    def log_background(self, chunk: Sequences) -> Floats:
        """Background log-probability of each letter, shape (n_positions,), nats."""
        table = self.background.log_table
        logs: Floats = background_letters(chunk.codes, chunk.offsets, table, self.background.order, self.n_letters)
        return logs

    def background_loglik(self, source: Source[Sequences]) -> float:
        """Log-likelihood of `source` without any site, nats."""
        chunks = (source.chunk(i) for i in range(source.n_chunks))
        letters = ((chunk, self.log_background(chunk)) for chunk in chunks)
        return float(sum(chunk.weights @ np.add.reduceat(logs, chunk.offsets[:-1]) for chunk, logs in letters))

    def run_e_step(
        self, params: MotifParams, chunk: Sequences, hard: bool = False, places: Floats = NO_ROOM
    ) -> tuple[Floats, Floats, Hits, Floats]:
        """What the kernel returns for `chunk`: letters that are free with probability u stand in a window as if the background were 1 / u times as likely."""
        logs, log_free = self.log_background(chunk), np.log(free_letters(chunk))
        if log_free.size:
            logs = logs - log_free
        rate = np.array([params.occurrence, 1.0 - params.occurrence])
        log_site, log_no_site = log_or_minus_infinity(rate)
        totals, counts, best, posterior = expected_sites(
            chunk.codes,
            chunk.offsets,
            chunk.weights,
            logs,
            np.log(params.matrix),
            log_site,
            log_no_site,
            self.both,
            hard,
            self.place_weights(chunk, params.occurrence),
            places,
        )
        if log_free.size:
            totals[[1, 5]] += chunk.weights @ np.add.reduceat(log_free, chunk.offsets[:-1])
        return totals, counts, best, posterior

    def e_step(self, params: MotifParams, chunk: Sequences, assign: Assign = "soft") -> MotifStats:
        if assign == "hard" or not self.fast:
            totals, counts, _, _ = self.run_e_step(params, chunk, hard=assign == "hard")
        elif self.occurrence == "anr":
            totals, counts = self.place_sites(params, chunk, NO_ROOM)
        else:
            totals, counts = self.place_site(params, chunk, NO_ROOM)
        n, loglik, entropy, n_rooms, n_sites, constant = totals.tolist()
        return MotifStats(n, loglik, entropy, n_rooms, n_sites, counts, constant)

    @property
    def assigns(self) -> tuple[str, ...]:
        """Kinds of assignment that the E-step offers."""
        return ("soft",) if self.occurrence == "anr" else ("soft", "hard")

    def by_words(self, params: MotifParams, chunk: Sequences) -> tuple[Any, ...]:
        """Arguments of the kernels that go by words."""
        order = self.background.order
        table = context_table(self.background.log_table, order)
        return (
            *(chunk.codes, chunk.offsets, chunk.weights, table, order),
            *(params.matrix, params.occurrence, self.both, free_letters(chunk)),
            self.place_weights(chunk, params.occurrence),
        )

    def place_weights(self, chunk: Sequences, rate: float) -> Floats:
        """Prior weight of a site at each start, shape (n_positions,); empty where all are equal.

        Under ANR the occurrence times it is the probability that a site starts there, at most one half: the M-step has no such rate, which is held.
        """
        many = self.occurrence == "anr"
        if many and chunk.prior is not None and self.rate is None:
            raise InputError("rate", "None, with anr and a prior of places", "the occurrence that is held")
        weights = weights_of_places(chunk, self.width, self.n_letters, many)
        return np.minimum(weights, max(1.0, 0.5 / rate)) if many else weights

    def starts(self, params: MotifParams, chunk: Sequences) -> Floats:
        """Posterior probability that a site starts at each letter, by strand, shape (2, n_positions)."""
        places = np.zeros((2, chunk.codes.size))
        if not self.fast:
            self.run_e_step(params, chunk, places=places)
        elif self.occurrence == "anr":
            self.place_sites(params, chunk, places)
        else:
            self.place_site(params, chunk, places)
        return places

    def place_site(self, params: MotifParams, chunk: Sequences, places: Floats) -> tuple[Floats, Floats]:
        """Totals and letters under OOPS and ZOOPS, by words; `places` is filled as in `starts` where it has room."""
        arguments: tuple[Any, ...] = (*self.by_words(params, chunk), places)
        totals, counts, failed = one_site(*arguments)
        for i in failed:
            low, high = chunk.offsets[i : i + 2]
            free, prior = (None if values is None else values[low:high] for values in (chunk.free, chunk.prior))
            part = chunk.codes[low:high], np.array([0, high - low]), chunk.weights[i : i + 1]
            here = np.zeros((2, high - low if places.size else 0))
            more, letters, _, _ = self.run_e_step(params, Sequences(*part, free=free, prior=prior), places=here)
            totals, counts = totals + more, counts + letters
            if places.size:
                places[:, low:high] = here
        return totals, counts

    def place_sites(self, params: MotifParams, chunk: Sequences, posterior: Floats) -> tuple[Floats, Floats]:
        """Totals and letters under ANR; `posterior` is filled as in `starts` where it has room."""
        arguments: tuple[Any, ...] = (*self.by_words(params, chunk), posterior)
        totals, counts = any_number(*arguments)
        return totals, counts

    def m_step(self, stats: MotifStats, params: MotifParams) -> MotifParams:
        counts = self.tied(stats.counts + self.prior_counts)
        return MotifParams(self.best_rate(stats), counts / counts.sum(axis=1, keepdims=True))

    def best_rate(self, stats: MotifStats) -> float:
        """Occurrence that maximises Q + log prior."""
        if self.held is not None:
            return self.held
        return (stats.n_sites + self.pseudocount / 2) / (stats.n_rooms + self.pseudocount)

    def rate_loglik(self, stats: MotifStats, rates: Floats) -> Floats:
        """What Q has of occurrences, nats."""
        none = self.occurrence == "oops"
        return np.zeros_like(rates) if none else binomial_log(stats.n_sites, stats.n_rooms - stats.n_sites, rates)

    def rate_prior(self, rates: Floats) -> Floats:
        """What the log prior has of occurrences, nats."""
        held = self.held is not None
        return np.zeros_like(rates) if held else binomial_log(self.pseudocount / 2, self.pseudocount / 2, rates)

    def expected_loglik(self, stats: MotifStats, params: MotifParams) -> float:
        value = stats.constant + float((stats.counts * np.log(params.matrix)).sum())
        return value + float(self.rate_loglik(stats, np.array(params.occurrence)))

    def log_prior(self, params: MotifParams) -> float:
        value = float((self.prior_counts * np.log(params.matrix)).sum())
        return value + float(self.rate_prior(np.array(params.occurrence)))

    def pack(self, params: MotifParams) -> Floats:
        """Log-ratios of the letters to the last one, row by row; before them the logit of the rate, if it is fitted.

        Of a palindrome the first half of the rows; of a row in the middle, where A = T and C = G, the logit of A + T.
        """
        half, odd = divmod(self.width, 2) if self.palindrome else (self.width, 0)
        log_matrix = np.log(params.matrix[:half])
        rate = np.empty(0) if self.held is not None else logit([params.occurrence])
        middle = logit([2.0 * params.matrix[half, 0]]) if odd else np.empty(0)
        return np.concatenate([rate, (log_matrix[:, :-1] - log_matrix[:, -1:]).ravel(), middle])

    def unpack(self, vector: Floats) -> MotifParams:
        rates, matrices = self.unpack_all(vector[None])
        return MotifParams(float(rates[0]), matrices[0])

    def unpack_all(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Occurrences, shape (m,), and matrices, shape (m, width, n_letters), of packed parameters, shape (m, p)."""
        n, fitted = len(vectors), self.held is None
        rates = expit(vectors[:, 0]) if self.held is None else np.full(n, self.held)
        half, odd = divmod(self.width, 2) if self.palindrome else (self.width, 0)
        end = vectors.shape[1] - odd
        logs = np.zeros((n, half, self.n_letters))
        logs[:, :, :-1] = vectors[:, int(fitted) : end].reshape(n, half, self.n_letters - 1)
        powers = np.exp(logs - np.maximum.reduce(logs, axis=2, keepdims=True))
        matrices = powers / np.add.reduce(powers, axis=2, keepdims=True)
        if self.palindrome:
            weak, strong = 0.5 * expit(vectors[:, end:]), 0.5 * expit(-vectors[:, end:])
            middle = np.stack([weak, strong, strong, weak], axis=2)
            matrices = np.concatenate([matrices, middle, matrices[:, ::-1, ::-1]], axis=1)
        return rates, matrices

    def packed_objectives(self, vectors: Floats, prior: bool) -> Callable[[MotifStats, int], Floats]:
        """`expected_loglik`, and `log_prior` if wanted, at many packed parameters at once: `engine.protocol.packed_objectives`."""
        rates, matrices = self.unpack_all(vectors)
        logs = np.log(matrices).reshape(len(vectors), self.width * self.n_letters)
        added = np.zeros(len(vectors))
        if prior:
            added += logs @ np.tile(self.prior_counts, self.width)
            added += self.rate_prior(rates)

        def objectives(stats: MotifStats, n: int) -> Floats:
            values: Floats = stats.constant + logs[:n] @ stats.counts.ravel() + added[:n]
            return values + self.rate_loglik(stats, rates[:n])

        return objectives

    def natural(self, params: MotifParams) -> dict[str, Floats]:
        rate = {} if self.held is not None else {"occurrence": np.array(params.occurrence)}
        return {**rate, "matrix": params.matrix}

    def information(self, params: MotifParams) -> Floats:
        """Relative entropy of each position to the background letter frequencies, bits, shape (width,)."""
        bits: Floats = (params.matrix * np.log2(params.matrix / self.background.frequencies)).sum(axis=1)
        return bits

    def corrected_information(self, params: MotifParams, n_sites: float) -> float:
        """Information of the whole motif less what `n_sites` sites of random letters would show, bits.

        ``sum(information) - width (n_letters - 1) / (2 n_sites ln 2)``; Schneider et al. (1986), appendix,
        doi:10.1016/0022-2836(86)90165-8.
        """
        spurious = self.width * (self.n_letters - 1) / (2.0 * max(n_sites, 1.0) * math.log(2.0))
        return float(self.information(params).sum()) - spurious

    def locating_bits(self, lengths: npt.NDArray[np.int64]) -> float:
        """Information that it takes to single out one place in a sequence, mean over sequences, bits.

        ``log2(strands × windows)``: a motif with less information cannot point to its own sites.

        Parameters
        ----------
        lengths : ndarray of int64, shape (n_sequences,)
            Lengths of the sequences, at least `width`.

        References
        ----------
        Schneider et al. (1986), J. Mol. Biol. 188, 415-431, doi:10.1016/0022-2836(86)90165-8 (R_frequency).
        """
        return float(np.log2((2 if self.both else 1) * (lengths - self.width + 1)).mean())

    def canonical(self, params: MotifParams) -> MotifParams:
        """With both strands, the orientation with more G and T than C and A: the other is the same distribution."""
        if not self.both:
            return params
        excess = float((params.matrix[:, :2] - params.matrix[::-1, :1:-1]).sum())
        return params if excess <= 0.0 else MotifParams(params.occurrence, reverse_complement(params.matrix))

    def degenerate(self, stats: MotifStats, params: MotifParams) -> str | None:
        """The prior keeps the objective finite; a motif without sites is not one."""
        if stats.n_sites < 1.0 <= stats.n_rooms:
            where = "places" if self.occurrence == "anr" else "sequences"
            return f"the motif has {stats.n_sites:.2g} sites in {stats.n_rooms:.6g} {where}"
        return None

    def sites(self, params: MotifParams, source: Source[Sequences]) -> Sites:
        """The likeliest site of each sequence of `source`, in its order."""
        parts = [self.run_e_step(params, source.chunk(i))[2:] for i in range(source.n_chunks)]
        best = np.concatenate([part[0] for part in parts])
        posterior = np.concatenate([part[1] for part in parts])
        return Sites(best[:, 0], best[:, 1], posterior[:, 0], posterior[:, 1])


def free_letters(chunk: Sequences | SequenceSource) -> Floats:
    """Probability that each letter is free, shape (n_positions,); empty where all are."""
    return ALL_FREE if chunk.free is None else chunk.free


def weights_of_places(chunk: Sequences | SequenceSource, width: int, n_letters: int, many: bool) -> Floats:
    """As `Motif.place_weights`, without a bound; of `many` sites they do not add up to the same in each sequence."""
    if chunk.prior is None:
        return ALL_FREE
    weights: Floats = place_weights(chunk.codes, chunk.offsets, chunk.prior, width, n_letters, not many)
    return weights


def binomial_log(n_with: float, n_without: float, rate: Floats) -> Floats:
    """``n_with log(rate) + n_without log(1 - rate)``; 0 log 0 is 0."""
    logs: Floats = np.asarray(xlogy(n_with, rate) + xlog1py(n_without, -rate), dtype=np.float64)
    return logs


def reverse_complement(matrix: Floats) -> Floats:
    """The matrix of the same sites read on the other strand, shape (width, 4)."""
    turned: Floats = np.ascontiguousarray(matrix[::-1, ::-1])
    return turned


def has_room(codes: npt.NDArray[np.uint8], width: int, n_letters: int = DNA) -> bool:
    """Whether `width` letters in a row were observed."""
    unknown = np.flatnonzero(codes >= n_letters)
    edges = np.concatenate([[-1], unknown, [codes.size]])
    return bool((np.diff(edges) > width).any())


def draw_sequences(data: Source[Sequences], rng: np.random.Generator) -> Sequences:
    """All sequences of positive weight, or about `SCORED_LETTERS` letters of random ones, in one chunk; all letters free."""
    chunks = weighted_sequences(data)
    total = sum(chunk.codes.size for chunk in chunks)
    share = min(1.0, SCORED_LETTERS / total)
    pieces = []
    for chunk in chunks:
        chosen = rng.random(len(chunk.weights)) < share
        pieces += [
            chunk.codes[chunk.offsets[i] : chunk.offsets[i + 1]] for i in np.flatnonzero(chosen | (share == 1.0))
        ]
    if not pieces:
        pieces = [chunks[0].codes[chunks[0].offsets[0] : chunks[0].offsets[1]]]
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return Sequences(np.concatenate(pieces), offsets, np.ones(len(pieces)))


def draw_words(sample: Sequences, width: int, n_letters: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """At most `WORDS` windows of known letters at random places, shape (n_words, width)."""
    n = sample.codes.size
    if n < width:
        return np.empty((0, width), dtype=np.uint8)
    unknown = np.concatenate([[0], np.cumsum(sample.codes >= n_letters)])
    free = unknown[width:] == unknown[:-width]
    ends = np.repeat(sample.offsets[1:], np.diff(sample.offsets))
    places = np.flatnonzero(free & (np.arange(n - width + 1) + width <= ends[: n - width + 1]))
    chosen = rng.choice(places, size=min(WORDS, places.size), replace=False)
    words: npt.NDArray[np.uint8] = sample.codes[chosen[:, None] + np.arange(width)]
    return words

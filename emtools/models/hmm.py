"""Hidden Markov model over letters: Baum-Welch, Viterbi training, posterior decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit, xlogy

from emtools.engine.chunks import Map, Sequences, in_turn, weighted_sequences
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.markov import POSSIBLE, best_counts, best_path, counts_in_windows, log_table, posterior
from emtools.kernels.words import expected_counts_by_words, expected_counts_in_logs

Codes = npt.NDArray[np.uint8]
Path = npt.NDArray[np.uint8]

MOST_STATES = 100
TINY = 1e-300  # stands for a probability of zero in the packed vector
NUCLEOTIDES = 4
GC = (1, 2)
SHORTEST_WINDOW = 20
MOST_WINDOWS = 20_000
WEIGHT_OF_START = 200.0


@dataclass(frozen=True)
class HMMParams:
    """Parameters of `CategoricalHMM`.

    Parameters
    ----------
    start : ndarray, shape (K,)
        Probability of each state at the first letter of a sequence.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    emission : ndarray, shape (K, L)
        Probability of each letter (column) in each state (row).
    """

    start: Floats
    transition: Floats
    emission: Floats


@dataclass(frozen=True)
class HMMStats(Stats):
    """Expected counts of `CategoricalHMM`; `n` counts sequences.

    Parameters
    ----------
    n_start : ndarray, shape (K,)
        Sequences that start in each state.
    n_transition : ndarray, shape (K, K)
        Steps from each state (row) to each state (column).
    n_emission : ndarray, shape (K, L)
        Observed letters (columns) emitted in each state (row).
    """

    n_start: Floats
    n_transition: Floats
    n_emission: Floats


@dataclass(frozen=True)
class CategoricalHMM:
    """Hidden Markov model whose states emit one letter each.

    A letter that was not observed (code ``n_letters``) has probability 1 in every state: it is summed out.

    Parameters
    ----------
    n_states : int
        Number of states K, 1 to 100.
    n_letters : int
        Size of the alphabet L, 1 to 254.
    pseudocount : float
        Added to every expected count: a Dirichlet(1 + pseudocount) prior on the start, each row of the
        transitions and each row of the emissions. 0.0 is maximum likelihood.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), doi:10.1214/aoms/1177697196. Rabiner (1989),
    doi:10.1109/5.18626, eqs. 40a-40c and 109-111 (several sequences). Churchill (1989),
    doi:10.1016/S0092-8240(89)80049-7, for DNA.

    Examples
    --------
    >>> import numpy as np
    >>> model = CategoricalHMM(n_states=2, n_letters=4)
    >>> sticky = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> params = HMMParams(np.array([0.5, 0.5]), sticky, np.array([[0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]]))
    >>> model.viterbi(params, np.array([0, 3, 4, 0, 0, 1, 2, 1, 1], dtype=np.uint8)).tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 1]
    """

    n_states: int
    n_letters: int
    pseudocount: float = 0.0

    name: ClassVar[str] = "categorical_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("composition", "random")

    def __post_init__(self) -> None:
        if not 1 <= self.n_states <= MOST_STATES:
            raise InputError("states", str(self.n_states), f"1 to {MOST_STATES}")
        if not 1 <= self.n_letters <= 254:
            raise InputError("letters", str(self.n_letters), "1 to 254")
        if not 0.0 <= self.pseudocount < math.inf:
            raise InputError("pseudocount", str(self.pseudocount), "a number of at least 0")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_states": self.n_states, "n_letters": self.n_letters, "pseudocount": self.pseudocount}

    @property
    def n_free_parameters(self) -> int:
        """Free parameters: each distribution of m outcomes has m - 1."""
        return (1 + self.n_states) * (self.n_states - 1) + self.n_states * (self.n_letters - 1)

    def initial_params(self, data: Source[Sequences], rng: np.random.Generator, strategy: str) -> HMMParams:
        """Start values.

        ``"composition"`` cuts the sequences into windows of a random length, takes K of them that differ
        (drawn as k-means++ draws its centres), gives every window to the one whose letters suit it best, and reads
        emissions and transitions from that. ``"random"`` draws emissions and the expected length of a stay.
        """
        k = self.n_states
        for chunk in weighted_sequences(data):
            self.check_codes(chunk.codes)
        counts, lengths, first, n_total = window_counts(data, self.n_letters, rng)
        overall = (counts.sum(axis=0) + 1.0) / (counts.sum() + self.n_letters)
        shape = 1.0 + 20.0 * self.n_letters * overall
        start = rng.dirichlet(np.full(k, 10.0))
        if strategy == "random" or k == 1:
            stay = math.exp(rng.uniform(math.log(10.0), math.log(max(20.0, n_total / (2.0 * k)))))
            away = np.full(k, 1.0 / stay)
            emission = rng.dirichlet(shape, size=k)
        else:
            labels = nearest_window(counts, overall, k, rng)
            pooled = np.zeros((k, self.n_letters))
            np.add.at(pooled, labels, counts)
            share = np.minimum(1.0, WEIGHT_OF_START / np.maximum(pooled.sum(axis=1, keepdims=True), 1.0))
            emission = np.array([rng.dirichlet(1.0 + row) for row in pooled * share])
            switched = (labels[1:] != labels[:-1]) & ~first[1:]
            n_leave = np.bincount(labels[:-1][switched], minlength=k)
            n_stay = np.bincount(labels, weights=lengths, minlength=k)
            away = np.clip((n_leave + 1.0) / (n_stay + 1.0), 1e-6, 0.2)
        others = rng.dirichlet(np.full(max(k - 1, 1), 5.0), size=k)
        transition = np.diag(1.0 - away)
        for i in range(k):
            transition[i, np.arange(k) != i] = away[i] * others[i, : k - 1]
        return HMMParams(start, transition / transition.sum(axis=1, keepdims=True), emission)

    def extended_emission(self, params: HMMParams) -> Floats:
        """Emissions with a last column of ones, for letters not observed; shape (K, L + 1)."""
        return np.concatenate([params.emission, np.ones((self.n_states, 1))], axis=1)

    def e_step(self, params: HMMParams, chunk: Sequences, assign: Assign = "soft") -> HMMStats:
        """Expected counts of starts, transitions and emissions; counts along the best path where hard.

        Raises
        ------
        InputError
            If a code is too large, or a sequence has probability zero.
        """
        return self.e_step_in_parts(params, chunk, assign, in_turn)

    def e_step_in_parts(self, params: HMMParams, chunk: Sequences, assign: Assign, parts: Map) -> HMMStats:
        """`e_step`, the two halves of each sequence by a map, which cannot change a bit of the result."""
        self.check_codes(chunk.codes)
        arguments = (chunk.codes, chunk.offsets, chunk.weights, params.start, params.transition)
        entropy = 0.0
        if assign == "soft":
            n_start, n_transition, n_emission, loglik, entropy, sequence, position = expected_counts_by_words(
                *arguments, self.extended_emission(params), parts
            )
        else:
            n_start, n_transition, n_emission, loglik, sequence, position = best_counts(
                *arguments, self.extended_emission(params)
            )
        if position != POSSIBLE:
            raise impossible(f"sequence {chunk.first + sequence + 1}", position)
        n = float(chunk.weights.sum())
        return HMMStats(n, loglik, entropy, n_start, n_transition, n_emission[:, : self.n_letters].copy())

    def m_step(self, stats: HMMStats, params: HMMParams) -> HMMParams:
        """Expected counts plus pseudo-count, normalised; a row without any count stays as it was."""
        return HMMParams(
            shares(stats.n_start[None, :], self.pseudocount, params.start[None, :])[0],
            shares(stats.n_transition, self.pseudocount, params.transition),
            shares(stats.n_emission, self.pseudocount, params.emission),
        )

    def expected_loglik(self, stats: HMMStats, params: HMMParams) -> float:
        return float(
            xlogy(stats.n_start, params.start).sum()
            + xlogy(stats.n_transition, params.transition).sum()
            + xlogy(stats.n_emission, params.emission).sum()
        )

    def log_prior(self, params: HMMParams) -> float:
        tables = (params.start, params.transition, params.emission)
        return float(sum(xlogy(self.pseudocount, table).sum() for table in tables))

    def pack(self, params: HMMParams) -> Floats:
        """Of each distribution, the log-odds of every outcome against all that come after it.

        An outcome of probability zero is one number far out, whichever it is; the others do not feel it.
        """
        tables = (params.start[None, :], params.transition, params.emission)
        return np.concatenate([to_log_odds(table).ravel() for table in tables])

    def unpack(self, vector: Floats) -> HMMParams:
        k, letters = self.n_states, self.n_letters
        cuts = np.cumsum([k - 1, k * (k - 1)])
        start, transition, emission = np.split(vector, cuts)
        return HMMParams(
            from_log_odds(start.reshape(1, k - 1))[0],
            from_log_odds(transition.reshape(k, k - 1)),
            from_log_odds(emission.reshape(k, letters - 1)),
        )

    def natural(self, params: HMMParams) -> dict[str, Floats]:
        return {"start": params.start, "transition": params.transition, "emission": params.emission}

    def canonical(self, params: HMMParams) -> HMMParams:
        """States by ascending G + C where the alphabet has 4 letters, else by descending first emission.

        Ties are broken by the emissions, then the probability of staying, then that of the start, then the
        sorted probabilities of leaving and of arriving, each descending; only states that agree in all of
        these stay in the order given.
        """
        emission, transition = params.emission, params.transition
        first = emission[:, GC].sum(axis=1) if self.n_letters == NUCLEOTIDES else -emission[:, 0]
        leaving, arriving = np.sort(transition, axis=1), np.sort(transition, axis=0).T
        falling = np.column_stack([emission, np.diagonal(transition), params.start, leaving, arriving])
        order = np.lexsort((*-falling.T[::-1], first))
        return HMMParams(params.start[order], params.transition[np.ix_(order, order)], params.emission[order])

    def degenerate(self, stats: HMMStats, params: HMMParams) -> str | None:
        """None: the likelihood of letters is at most 1."""
        return None

    def posterior(self, params: HMMParams, codes: Codes) -> Floats:
        """Probability of each state at each letter given all letters.

        Parameters
        ----------
        params : HMMParams
            Parameters.
        codes : ndarray of uint8, shape (T,)
            Letter codes; ``n_letters`` where not observed.

        Returns
        -------
        ndarray, shape (T, K)
            Rows sum to 1.

        Raises
        ------
        InputError
            If the sequence is empty, a code is too large, or it has probability zero.
        """
        self.check_codes(codes)
        arguments = (params.start, params.transition, self.extended_emission(params))
        shares, position = posterior(np.array(codes), *arguments)
        if position != POSSIBLE:
            shares, *_, position = expected_counts_in_logs(codes, np.array([0, codes.size]), np.ones(1), *arguments)
        if position != POSSIBLE:
            raise impossible("sequence", position)
        return shares

    def viterbi(self, params: HMMParams, codes: Codes) -> Path:
        """The most probable path of states.

        Parameters and errors as in `posterior`.

        Returns
        -------
        ndarray of uint8, shape (T,)
            State at each letter, from 0.
        """
        self.check_codes(codes)
        log_start = log_table(params.start[None, :])[0]
        path, _, position = best_path(
            np.array(codes), log_start, log_table(params.transition), log_table(self.extended_emission(params))
        )
        if position != POSSIBLE:
            raise impossible("sequence", position)
        return path

    def check_codes(self, codes: Codes) -> None:
        """Refuse what would be read beyond the emission table."""
        if codes.dtype != np.uint8 or not codes.size:
            raise InputError("sequence", f"{codes.size} codes of type {codes.dtype}", "at least one, of type uint8")
        if codes.max() > self.n_letters:
            raise InputError(
                "sequence",
                f"letter code {codes.max()}",
                f"0 to {self.n_letters - 1}; {self.n_letters} for not observed",
            )


def impossible(where: str, position: int) -> InputError:
    """The error for a letter that no reachable state emits."""
    return InputError(
        f"{where}, position {position + 1}",
        "these parameters give the sequence up to this letter a probability of zero",
        "a path of states that can emit it",
        "use a pseudocount above 0 or other parameters",
    )


def shares(counts: Floats, pseudocount: float, old: Floats) -> Floats:
    """Rows of `counts` plus `pseudocount`, normalised; rows of `old` where there is no count."""
    raised = counts + pseudocount
    totals = raised.sum(axis=1, keepdims=True)
    result: Floats = np.where(totals > 0.0, raised / np.where(totals > 0.0, totals, 1.0), old)
    return result


def to_log_odds(table: Floats) -> Floats:
    """Log-odds of each outcome against the sum of those after it, shape (n, m - 1) from (n, m)."""
    tails = np.cumsum(table[:, ::-1], axis=1)[:, ::-1]
    log_odds: Floats = np.log(np.maximum(table[:, :-1], TINY)) - np.log(np.maximum(tails[:, 1:], TINY))
    return log_odds


def from_log_odds(log_odds: Floats) -> Floats:
    """Inverse of `to_log_odds`; zero where it met a zero."""
    ones = np.ones((len(log_odds), 1))
    left = np.concatenate([ones, np.cumprod(expit(-log_odds), axis=1)], axis=1)
    values = np.concatenate([expit(log_odds), ones], axis=1) * left
    values[values < 10.0 * TINY] = 0.0
    table: Floats = values / values.sum(axis=1, keepdims=True)
    return table


def window_counts(
    data: Source[Sequences], n_letters: int, rng: np.random.Generator
) -> tuple[Floats, Floats, npt.NDArray[np.bool_], int]:
    """Letters in windows of a random length, over the sequences of positive weight.

    Returns
    -------
    counts : ndarray, shape (n_windows, L)
        Observed letters of each kind in each window.
    lengths : ndarray, shape (n_windows,)
        Letters of each window, observed or not.
    first : ndarray of bool, shape (n_windows,)
        Whether a window is the first of its sequence.
    n_total : int
        Letters in all these sequences.
    """
    chunks = weighted_sequences(data)
    n_total = sum(chunk.codes.size for chunk in chunks)
    longest = max(int(np.diff(chunk.offsets).max()) for chunk in chunks)
    top = max(SHORTEST_WINDOW + 1.0, longest / 20.0)
    width = max(math.exp(rng.uniform(math.log(SHORTEST_WINDOW), math.log(top))), n_total / MOST_WINDOWS)
    tables, sizes, firsts = [], [], []
    for chunk in chunks:
        lengths = np.diff(chunk.offsets)
        n_windows = np.maximum(1, np.round(lengths / width)).astype(np.int64)
        table = counts_in_windows(chunk.codes, chunk.offsets, n_windows, n_letters)
        tables.append(table[:, :n_letters].astype(np.float64))
        sizes.append(table.sum(axis=1).astype(np.float64))
        is_first = np.zeros(len(table), dtype=np.bool_)
        is_first[np.cumsum(n_windows) - n_windows] = True
        firsts.append(is_first)
    return np.concatenate(tables), np.concatenate(sizes), np.concatenate(firsts), n_total


def nearest_window(counts: Floats, overall: Floats, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Label of each window: the one of `k` drawn windows whose composition gives its letters the most probability.

    The next centre is drawn with probability proportional to what the centres so far lose on a window,
    as in k-means++ (Arthur & Vassilvitskii 2007) with the multinomial log-likelihood for the distance.
    """
    strength = counts.sum(axis=1, keepdims=True) ** 0.5 + 1.0
    composition = (counts + strength * overall) / (counts.sum(axis=1, keepdims=True) + strength)
    own = (counts * np.log(composition)).sum(axis=1)
    chosen = [int(rng.integers(len(counts)))]
    scores = [counts @ np.log(composition[chosen[0]])]
    while len(chosen) < k:
        loss = np.maximum(own - np.max(scores, axis=0), 0.0)
        total = loss.sum()
        draw = rng.choice(len(counts), p=loss / total) if total > 0.0 else rng.integers(len(counts))
        chosen.append(int(draw))
        scores.append(counts @ np.log(composition[chosen[-1]]))
    labels: npt.NDArray[np.int64] = np.argmax(scores, axis=0)
    return labels

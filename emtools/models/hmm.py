"""Hidden Markov model over letters: Baum-Welch, Viterbi training, posterior decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, xlogy

from emtools.engine.chunks import Map, Sequences, in_turn
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.markov import POSSIBLE, best_counts, best_path, log_table, messages, smooth, steps_of
from emtools.kernels.words import Steps, expected_counts_by_words, expected_counts_in_logs
from emtools.models.hmm_durations import (
    folded_transitions,
    leaving,
    unfolded_start,
    unfolded_transition,
    with_advances,
)
from emtools.models.hmm_starts import draw_emission, draw_transition, nearest_window, window_counts

Codes = npt.NDArray[np.uint8]
Path = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Topology = Literal["free", "left-right", "banded"]

MOST_STATES = 100
MOST_STEPS = 2**15  # numbers of the letters with those before them
PIECE = 2**16  # letters of a piece of posteriors
PARTS = ("start", "transition", "emission")
TINY = 1e-300  # stands for a probability of zero in the packed vector
NUCLEOTIDES = 4
SETTLING = 200  # steps of a chain of letters towards its stationary shares
GC = (1, 2)


@dataclass(frozen=True)
class HMMParams:
    """Parameters of `CategoricalHMM`.

    Parameters
    ----------
    start : ndarray, shape (K,)
        Probability of each state at the first letter of a sequence.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    emission : ndarray, shape (K, L), or (K, L ** order, L) where the order is above 0
        Probability of each letter (last axis) in each state (first axis), given the letters before it (as the digits of the
        middle axis, the one before last).
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
    n_emission : ndarray, shape that of the emissions
        Letters emitted in each state; one that is partly observed is shared out among those that it may be.
    n_advance : ndarray, shape (K,)
        Steps to the next of a row of repeated states; empty where states are not repeated.
    """

    n_start: Floats
    n_transition: Floats
    n_emission: Floats
    n_advance: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class CategoricalHMM:
    """Hidden Markov model whose states emit one letter each.

    A letter that was not observed (code ``n_letters``) has probability 1 in every state: it is summed out. One of which a
    set is known that it belongs to (code ``n_letters + 1`` for the first of ``partial``) has the sum of their probabilities.

    With an order above 0 a state emits a letter given the ``order`` letters before it. The likelihood is that of the letters before
    which so many were observed, given the others: the first letters of a sequence, and those behind a letter that was not
    observed, or partly, are conditioned on. The states go on through them.

    Parameters
    ----------
    n_states : int
        Number of states K, 1 to 100.
    n_letters : int
        Size of the alphabet L, 1 to 254.
    pseudocount : float
        Added to every expected count: a Dirichlet(1 + pseudocount) prior on the start, each row of the
        transitions and each row of the emissions. 0.0 is maximum likelihood.
    order : int
        Letters that an emission depends on, at least 0; L ** (order + 1) is at most 32,768.
    partial : tuple of tuples of int
        Sets of letters that codes above L stand for, each letter below L.
    topology : {"free", "left-right", "banded"}
        Which states may follow: all; the same and later ones, from the first state on; or the same and its neighbours.
    fixed : tuple of {"start", "transition", "emission"}
        Parts that stay as in ``held``.
    held : HMMParams, optional
        Values of what is fixed. Where given, its zeros stay zero, and states keep its order.
    repeats : int
        States in a row that stand for each, emit alike and are left alike: a stay has at least so many letters, and a negative
        binomial length. K times it is at most 100; above 1 it needs two states. A sequence starts in any of a row, as it does
        in the long run, and in the first of it where left-right.

    Raises
    ------
    InputError
        If a number is out of range, or ``held`` has another shape or is absent where something is fixed.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), doi:10.1214/aoms/1177697196. Rabiner (1989),
    doi:10.1109/5.18626, eqs. 40a-40c and 109-111 (several sequences), section IV.A (left-right). Churchill (1989),
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
    order: int = 0
    partial: tuple[tuple[int, ...], ...] = ()
    topology: Topology = "free"
    fixed: tuple[str, ...] = ()
    held: HMMParams | None = None
    repeats: int = 1

    name: ClassVar[str] = "categorical_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("composition", "random")

    def __post_init__(self) -> None:
        if not 1 <= self.n_states <= MOST_STATES:
            raise InputError("states", str(self.n_states), f"1 to {MOST_STATES}")
        if not 1 <= self.n_letters <= 254:
            raise InputError("letters", str(self.n_letters), "1 to 254")
        if not 0.0 <= self.pseudocount < math.inf:
            raise InputError("pseudocount", str(self.pseudocount), "a number of at least 0")
        power = min(self.order, MOST_STEPS.bit_length()) + 1  # of two letters that is too many, and soon computed
        if self.order < 0 or self.n_letters**power * (1 + len(self.partial)) > MOST_STEPS:
            most = int(math.log(MOST_STEPS / (1 + len(self.partial))) / math.log(max(2, self.n_letters))) - 1
            raise InputError("order", str(self.order), f"0 to {most} for {self.n_letters} letters")
        if self.n_letters + len(self.partial) > 254 or any(
            not group or not set(group) <= set(range(self.n_letters)) for group in self.partial
        ):
            raise InputError("partial", str(self.partial), f"sets of letters below {self.n_letters}")
        if self.topology not in ("free", "left-right", "banded"):
            raise InputError("topology", repr(self.topology), "free, left-right or banded")
        if not 1 <= self.repeats <= MOST_STATES // self.n_states or (self.repeats > 1 and self.n_states < 2):
            need = f"1 to {MOST_STATES // self.n_states}" if self.n_states > 1 else "1, or two states"
            raise InputError("repeats", str(self.repeats), need)
        if not set(self.fixed) <= set(PARTS) or (self.fixed and self.held is None):
            raise InputError("fixed", str(self.fixed), f"some of {', '.join(PARTS)}, and their values in held")
        if self.held is not None and self.shapes != {name: getattr(self.held, name).shape for name in PARTS}:
            raise InputError("held", "parameters of another shape", str(self.shapes))

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        told: dict[str, Any] = {"n_states": self.n_states, "n_letters": self.n_letters, "pseudocount": self.pseudocount}
        more = {"order": self.order, "topology": self.topology, "fixed": list(self.fixed)}
        more |= {"repeats": self.repeats} if self.repeats > 1 else {}
        return told | {name: value for name, value in more.items() if value not in (0, "free", [])}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each natural parameter."""
        k, contexts = self.n_states, (self.n_letters**self.order,) * (self.order > 0)
        return {"start": (k,), "transition": (k, k), "emission": (k, *contexts, self.n_letters)}

    @cached_property
    def allowed(self) -> dict[str, Mask]:
        """What may be above zero: tables with one row for each distribution."""
        k = self.n_states
        ahead = np.arange(k) - np.arange(k)[:, None]
        first = np.arange(k)[None, :] == 0
        follow = {"free": ahead > -k, "left-right": ahead >= 0, "banded": np.abs(ahead) <= 1}[self.topology]
        masks = {
            "start": first if self.topology == "left-right" else np.ones((1, k), dtype=np.bool_),
            "transition": follow,
            "emission": np.ones((k * self.n_letters**self.order, self.n_letters), dtype=np.bool_),
        }
        if self.held is not None:
            masks = {name: mask & (getattr(self.held, name).reshape(mask.shape) > 0.0) for name, mask in masks.items()}
        return masks

    @property
    def free(self) -> tuple[str, ...]:
        """Parts that are estimated."""
        return tuple(name for name in PARTS if name not in self.fixed)

    @property
    def n_free_parameters(self) -> int:
        """Free parameters: each distribution of m outcomes that may be has m - 1."""
        return int(sum((self.allowed[name].sum(axis=1) - 1).sum() for name in self.free))

    @property
    def steps(self) -> Steps:
        """How letters are numbered together with those before them."""
        n_contexts = self.n_letters**self.order
        n_whole = n_contexts * self.n_letters
        return Steps(self.n_letters, n_whole, n_whole + 1 + n_contexts * len(self.partial))

    def steps_of(self, codes: Codes, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Each letter together with those before it, shape (n_total,); of order 0, the letters as they are."""
        if not self.order:
            return codes
        return steps_of(codes, offsets, self.n_letters, len(self.partial), self.order)

    def initial_params(self, data: Source[Sequences], rng: np.random.Generator, strategy: str) -> HMMParams:
        """Start values.

        ``"composition"`` cuts the sequences into windows of a random length, takes K of them that differ
        (drawn as k-means++ draws its centres), gives every window to the one whose letters suit it best, and reads
        emissions and transitions from that. ``"random"`` draws emissions and the expected length of a stay.
        """
        k = self.n_states
        counts, lengths, first, place, n_total = window_counts(data, self, rng)
        overall = (counts.sum(axis=0) + 1.0) / (counts.sum() + self.steps.n_whole)
        start = rng.dirichlet(np.full(k, 10.0))
        if strategy == "random" or k == 1:
            stay = math.exp(rng.uniform(math.log(10.0), math.log(max(20.0, n_total / (2.0 * k)))))
            away = np.full(k, 1.0 / stay)
            emission = draw_emission(overall, k, self.n_letters, rng)
        else:
            labels = nearest_window(counts, overall, k, rng)
            if self.topology != "free":
                mean_place = np.bincount(labels, place, k) / np.maximum(np.bincount(labels, minlength=k), 1)
                labels = np.argsort(np.argsort(mean_place, kind="stable"))[labels]
            pooled = np.zeros((k, self.steps.n_whole))
            np.add.at(pooled, labels, counts)
            emission = draw_emission(pooled, k, self.n_letters, rng)
            switched = (labels[1:] != labels[:-1]) & ~first[1:]
            n_leave = np.bincount(labels[:-1][switched], minlength=k)
            n_stay = np.bincount(labels, weights=lengths, minlength=k)
            away = np.clip((n_leave + 1.0) / (n_stay + 1.0), 1e-6, 0.2)
        away = np.minimum(self.repeats * away, np.maximum(away, 0.5))
        drawn = {"start": start, "transition": draw_transition(away, rng), "emission": emission}
        kept = {} if self.held is None else {name: getattr(self.held, name) for name in self.fixed}
        tables = {name: drawn[name].reshape(mask.shape) * mask for name, mask in self.allowed.items()}
        return self.assemble({name: t / t.sum(axis=1, keepdims=True) for name, t in tables.items()} | kept)

    def assemble(self, tables: Mapping[str, Floats]) -> HMMParams:
        """Parameters from tables of their sizes."""
        return HMMParams(**{name: tables[name].reshape(shape) for name, shape in self.shapes.items()})

    @property
    def entries(self) -> int:
        """Of a row of repeated states, those in which a sequence may start."""
        return 1 if self.topology == "left-right" else self.repeats

    def unfolded(self, params: HMMParams, assign: Assign = "soft") -> tuple[Floats, Floats, Floats]:
        """Start, transitions and `extended_emission` of the states that a path goes through: K times `repeats`, those of a row side by side."""
        emission = self.extended_emission(params, assign)
        if self.repeats == 1:
            return params.start, params.transition, emission
        start = unfolded_start(params.start, self.repeats, self.entries == 1)
        transition = unfolded_transition(params.transition, self.repeats)
        return start, transition, np.repeat(emission, self.repeats, axis=0)

    def extended_emission(self, params: HMMParams, assign: Assign = "soft") -> Floats:
        """Probability of what each step's code stands for in each state, shape (K, steps); best letters where hard."""
        table = params.emission.reshape(self.n_states, -1, self.n_letters)
        among = np.sum if assign == "soft" else np.max
        columns = [table.reshape(self.n_states, -1), np.ones((self.n_states, 1))]
        if self.partial:
            sets = [among(table[:, :, list(group)], axis=2) for group in self.partial]
            columns.append(np.stack(sets, axis=2).reshape(self.n_states, -1))
        return np.concatenate(columns, axis=1)

    def shared_out(self, n_steps: Floats, params: HMMParams, assign: Assign) -> tuple[Floats, float]:
        """Expected letters from expected steps, and the entropy of those that were partly observed, in nats.

        What a set was counted is shared among its letters as their probabilities are; the most probable one has it where hard.
        """
        counts = n_steps[:, : self.steps.n_whole].reshape(self.n_states, -1, self.n_letters).copy()
        table, entropy = params.emission.reshape(counts.shape), 0.0
        seen = n_steps[:, self.steps.n_whole + 1 :].reshape(*counts.shape[:2], len(self.partial))
        for i, group in enumerate(self.partial):
            letters = table[:, :, list(group)]
            if assign == "soft":
                totals = letters.sum(axis=2, keepdims=True)
                portions = letters / np.where(totals > 0.0, totals, 1.0)
            else:
                portions = np.eye(len(group))[np.argmax(letters, axis=2)]
            counts[:, :, list(group)] += seen[:, :, i, None] * portions
            entropy -= float((seen[:, :, i, None] * xlogy(portions, portions)).sum())
        return counts.reshape(params.emission.shape), entropy

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
        steps = self.steps_of(chunk.codes, chunk.offsets)
        start, transition, emission = self.unfolded(params, assign)
        arguments, entropy = (steps, chunk.offsets, chunk.weights, start, transition), 0.0
        if assign == "soft":
            n_start, n_transition, n_steps, loglik, entropy, sequence, position = expected_counts_by_words(
                *arguments, emission, parts, self.steps
            )
        else:
            n_start, n_transition, n_steps, loglik, sequence, position = best_counts(*arguments, emission)
        if position != POSSIBLE:
            raise impossible(f"sequence {chunk.first + sequence + 1}", position)
        n_advance = np.empty(0)
        if self.repeats > 1:
            k, row = self.n_states, self.repeats
            n_transition, n_advance = folded_transitions(n_transition, row)
            n_start, n_steps = n_start.reshape(k, row).sum(axis=1), n_steps.reshape(k, row, -1).sum(axis=1)
        n_emission, unseen = self.shared_out(n_steps, params, assign)
        n = float(chunk.weights.sum())
        return HMMStats(n, loglik, entropy + unseen, n_start, n_transition, n_emission, n_advance)

    def counts_of(self, name: str, stats: HMMStats, params: HMMParams) -> Floats:
        """Counts of a part with pseudo-counts, a row for each of its distributions."""
        mask = self.allowed[name]
        counts: Floats = getattr(stats, f"n_{name}").reshape(mask.shape) + self.pseudocount * mask
        if name == "transition" and self.repeats > 1:
            return with_advances(counts, stats.n_advance, params.transition)
        return counts

    def m_step(self, stats: HMMStats, params: HMMParams) -> HMMParams:
        """Expected counts plus pseudo-count, normalised; a row without any count stays as it was, and what is fixed."""
        tables = {name: getattr(params, name) for name in PARTS}
        for name in self.free:
            old = tables[name].reshape(self.allowed[name].shape)
            tables[name] = shares(self.counts_of(name, stats, params), 0.0, old)
        return self.assemble(tables)

    def expected_loglik(self, stats: HMMStats, params: HMMParams) -> float:
        repeated = 0.0
        if self.repeats > 1:
            along = xlogy(stats.n_advance, leaving(params.transition)).sum()
            repeated = float(along - stats.n_start.sum() * math.log(self.entries))
        return repeated + float(
            xlogy(stats.n_start, params.start).sum()
            + xlogy(stats.n_transition, params.transition).sum()
            + xlogy(stats.n_emission, params.emission).sum()
        )

    def log_prior(self, params: HMMParams) -> float:
        total = 0.0
        for name in self.free:
            mask = self.allowed[name]
            total += float(xlogy(self.pseudocount * mask, getattr(params, name).reshape(mask.shape)).sum())
        return total

    def pack(self, params: HMMParams) -> Floats:
        """Of each free distribution, the log-odds of every outcome against all that come after it.

        An outcome of probability zero is one number far out, whichever it is; the others do not feel it. One that must be zero
        has no number.
        """
        return np.concatenate([np.empty(0), *(pack_rows(getattr(params, n), self.allowed[n]) for n in self.free)])

    def unpack(self, vector: Floats) -> HMMParams:
        sizes = [int((self.allowed[name].sum(axis=1) - 1).sum()) for name in self.free]
        ends = np.cumsum([0, *sizes])
        tables = {name: getattr(self.held, name) for name in self.fixed}
        for name, begin, end in zip(self.free, ends[:-1], ends[1:], strict=True):
            tables[name] = unpack_rows(vector[begin:end], self.allowed[name])
        return self.assemble(tables)

    def packed_errors(self, stats: HMMStats, params: HMMParams) -> Floats:
        """Complete-data standard error of each packed parameter: of log-odds of a share v among n, 1 / sqrt(n v (1 - v))."""
        errors = [np.empty(0)]
        for name in self.free:
            mask = self.allowed[name]
            counts = self.counts_of(name, stats, params)
            for n, p, may in zip(counts, getattr(params, name).reshape(mask.shape), mask, strict=True):
                n_left, p_left = (np.cumsum(row[may][::-1])[::-1] for row in (n, p))
                share = p[may][:-1] / np.maximum(p_left[:-1], TINY)
                errors.append(np.maximum(n_left[:-1] * share * (1.0 - share), TINY) ** -0.5)
        return np.concatenate(errors)

    def natural(self, params: HMMParams) -> dict[str, Floats]:
        return {"start": params.start, "transition": params.transition, "emission": params.emission}

    def composition(self, params: HMMParams) -> Floats:
        """Share of each letter in what each state would emit for ever, shape (K, L)."""
        table = params.emission.reshape(self.n_states, -1, self.n_letters)
        n_contexts = table.shape[1]
        if not self.order:
            return table[:, 0]
        shares = np.full((self.n_states, n_contexts), 1.0 / n_contexts)
        for _ in range(SETTLING):
            after = (shares[:, :, None] * table).reshape(self.n_states, self.n_letters, n_contexts)
            shares = 0.5 * (shares + after.sum(axis=1))
        return np.asarray((shares[:, :, None] * table).sum(axis=1))

    def canonical(self, params: HMMParams) -> HMMParams:
        """States by ascending G + C where the alphabet has 4 letters, else by descending first emission.

        Ties are broken by the emissions, then the probability of staying, then that of the start, then the
        sorted probabilities of leaving and of arriving, each descending; only states that agree in all of
        these stay in the order given. Banded states may only be turned round; others whose order means something stay as they are.
        """
        if self.held is not None or self.topology == "left-right":
            return params
        emission, transition = params.emission.reshape(self.n_states, -1), params.transition
        composition = self.composition(params)
        first = composition[:, GC].sum(axis=1) if self.n_letters == NUCLEOTIDES else -composition[:, 0]
        leaving, arriving = np.sort(transition, axis=1), np.sort(transition, axis=0).T
        falling = np.column_stack([emission, np.diagonal(transition), params.start, leaving, arriving])
        order = np.lexsort((*-falling.T[::-1], first))
        if self.topology == "banded":
            ranks = np.argsort(order)
            order = np.arange(self.n_states)[:: -1 if ranks[-1] < ranks[0] else 1]
        return HMMParams(params.start[order], transition[np.ix_(order, order)], params.emission[order])

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
        return np.concatenate([piece for _, piece in self.posterior_pieces(params, codes)])

    def posterior_pieces(self, params: HMMParams, codes: Codes, size: int = PIECE) -> Iterator[tuple[int, Floats]]:
        """`posterior` of at most ``size`` letters at a time: the first letter of a piece, and its rows.

        Holds two numbers a state and piece beside the piece. Where probabilities underflow, logarithms for the whole sequence take over.
        """
        self.check_codes(codes)
        whole = np.array([0, codes.size])
        steps = self.steps_of(np.array(codes), whole)
        start, transition, emission = self.unfolded(params)
        ahead = messages(steps, transition, emission, size)
        predicted, rows = start, np.empty((min(size, steps.size), len(start)))
        for index, begin in enumerate(range(0, steps.size, size)):
            piece = steps[begin : begin + size]
            after, position = smooth(piece, predicted, transition, emission, ahead[index], rows)
            if position != POSSIBLE:
                break
            yield begin, self.by_state(rows[: piece.size].copy())
            predicted = after
        else:
            return
        shares, *_, position = expected_counts_in_logs(steps, whole, np.ones(1), start, transition, emission)
        if position != POSSIBLE:
            raise impossible("sequence", position)
        for later in range(begin, steps.size, size):
            yield later, self.by_state(shares[later : later + size])

    def by_state(self, rows: Floats) -> Floats:
        """Probabilities of the repeated states summed to those of the states, shape (T, K)."""
        return rows if self.repeats == 1 else rows.reshape(len(rows), self.n_states, self.repeats).sum(axis=2)

    def viterbi(self, params: HMMParams, codes: Codes) -> Path:
        """The most probable path of states.

        Parameters and errors as in `posterior`.

        Returns
        -------
        ndarray of uint8, shape (T,)
            State at each letter, from 0.
        """
        self.check_codes(codes)
        start, transition, emission = self.unfolded(params)
        steps = self.steps_of(np.array(codes), np.array([0, codes.size]))
        path, _, position = best_path(steps, log_table(start[None, :])[0], log_table(transition), log_table(emission))
        if position != POSSIBLE:
            raise impossible("sequence", position)
        return path // np.uint8(self.repeats)

    def check_codes(self, codes: Codes) -> None:
        """Refuse what would be read beyond the emission table."""
        if codes.dtype != np.uint8 or not codes.size:
            raise InputError("sequence", f"{codes.size} codes of type {codes.dtype}", "at least one, of type uint8")
        if codes.max() > self.n_letters + len(self.partial):
            sets = f", above it for {len(self.partial)} sets" if self.partial else ""
            raise InputError(
                "sequence",
                f"letter code {codes.max()}",
                f"0 to {self.n_letters - 1}; {self.n_letters} for not observed{sets}",
            )


def impossible(where: str, position: int) -> InputError:
    """The error for a letter that no reachable state emits."""
    return InputError(
        f"{where}, position {position + 1}",
        "these parameters give the sequence up to this letter a probability of zero",
        "a path of states that can emit it",
        "use a pseudocount above 0 or other parameters",
    )


def shares(counts: Floats, pseudocount: float | Floats, old: Floats) -> Floats:
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


def pack_rows(table: Floats, allowed: Mask) -> Floats:
    """`to_log_odds` of what each row may hold, end to end."""
    rows = table.reshape(allowed.shape)
    if allowed.all():
        return to_log_odds(rows).ravel()
    return np.concatenate([to_log_odds(row[mask][None, :])[0] for row, mask in zip(rows, allowed, strict=True)])


def unpack_rows(vector: Floats, allowed: Mask) -> Floats:
    """Inverse of `pack_rows`."""
    n, m = allowed.shape
    if allowed.all():
        return from_log_odds(vector.reshape(n, m - 1))
    table, cuts = np.zeros((n, m)), np.cumsum(allowed.sum(axis=1) - 1)
    for row, mask, odds in zip(table, allowed, np.split(vector, cuts[:-1]), strict=True):
        row[mask] = from_log_odds(odds[None, :])[0]
    return table

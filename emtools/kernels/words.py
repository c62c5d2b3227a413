"""Hidden Markov chains over letters, a word of letters at a time: exact expected counts of Baum-Welch.

The steps of a chain are matrices ``T_x[i, j] = transition[i, j] emission[j, x]``; those of a word are multiplied once, into a
table, and both sweeps go over words. Where a letter is emitted given those before it, a step is a letter with these, and what
follows it in a word is told by one more letter. The gradient of each word's matrix is summed in a table of the same shape, from
which the expected uses of each ``T_x`` are had by going back through the products. Each sequence is cut in the middle: one
half is swept forward and the other backward until they meet, then each is swept out again with what the other brought, so
that the halves may run at once. Nothing is approximate. What `emtools.kernels.markov` does letter by letter is the oracle, and
does the work where this one meets a number too small to go on with, and `emtools.kernels.chain` where that one does.

Of a half, only the vector before every `BLOCK`-th word is kept; those between are computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from scipy.special import xlogy

from emtools.kernels.chain import expected_states
from emtools.kernels.markov import POSSIBLE, expected_counts, log_table
from emtools.kernels.vectors import Emit, cg, plain

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.unsignedinteger[Any]]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint16]
Half = tuple[Words, Offsets, Floats]
Map = Callable[[Callable[[int], Any], Sequence[int]], list[Any]]

MOST_STATES = 16
BLOCK = 64  # words from one vector that is kept to the next
OFTEN = 16  # words at most between two looks at the scale
ROOM = 2**14  # numbers in a table of words: 128 KiB
WORTH = 8  # letters for each number of work on the table
LEAST = 1e-200  # a vector whose sum fell below this is not trusted
FALL = 1e-150  # what the scale may lose from one look to the next
LEAST_PRODUCT = 1e-250  # of the positive numbers of a word's matrix
ODDS = 1e100  # between two halves that disagree: beyond, not trusted
TINY = 1e-300
LOST = 2**40  # stands for the exponent of a vector that is not trusted
LN2 = math.log(2.0)
ROUNDING = 1e-15  # of the log-likelihood: a smaller entropy cannot be told from none


class Steps(NamedTuple):
    """How the codes of steps are numbered.

    Parameters
    ----------
    n_letters : int
        Size of the alphabet; the step that follows is ``(step * n_letters + letter) % n_whole``.
    n_whole : int
        Steps whose letter, and the letters before that it is emitted given, were observed: a power of ``n_letters``.
    n : int
        Steps in all: the others are not words.
    """

    n_letters: int
    n_whole: int
    n: int


def padded(n_states: int) -> int:
    """Numbers in the vector that holds a number of each state."""
    return max(2, 1 << (n_states - 1).bit_length())


def lane(e: Emit, vector: Any, index: int) -> Any:
    """One lane in every lane."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), e.lanes), [index] * e.lanes)
    return e.builder.shuffle_vector(vector, ir.Constant(e.vector, ir.Undefined), mask)


def times_matrix(e: Emit, n_states: int, vector: Any, table: Any, base: Any) -> Any:
    """A row vector times the matrix that lies at `base`: even and odd rows summed apart, which halves the wait."""
    sums: list[Any] = [None, None]
    for i in range(n_states):
        row, share, half = e.load(table, e.at(base, i * e.lanes)), lane(e, vector, i), i % 2
        sums[half] = e.builder.fmul(share, row) if sums[half] is None else e.multiply_add(share, row, sums[half])
    return sums[0] if sums[1] is None else e.builder.fadd(sums[0], sums[1])


def base_of(e: Emit, n_states: int, words: Any, index: Any) -> Any:
    """Where the matrix of a word begins."""
    word = e.builder.zext(e.builder.load(e.builder.gep(words, [index])), ir.IntType(64))
    return e.builder.mul(word, e.whole(n_states * e.lanes))


def carry_emitted(
    typingctx: Any, shape: Any, words: Any, at: Any, step: Any, n: Any, table: Any, vectors: Any, place: Any
) -> Any:
    signature = types.void(shape, words, types.intp, types.intp, types.intp, table, vectors, types.intp)
    n_states = shape.count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments, padded(n_states))
        words, table, vectors = (e.data(i) for i in (1, 5, 6))
        at, step, n, place = (arguments[i] for i in (2, 3, 4, 7))
        vector = cg.alloca_once_value(builder, e.load(vectors, place))
        with cg.for_range(builder, n) as loop:
            base = base_of(e, n_states, words, builder.add(at, builder.mul(step, loop.index)))
            moved = times_matrix(e, n_states, builder.load(vector), table, base)
            builder.store(moved, vector)
            after = builder.add(loop.index, e.whole(1))
            e.store(moved, vectors, e.at(place, e.lanes, after))
        return context.get_dummy_value()

    return signature, generate


def carry_readable(
    shape: tuple[int, ...], words: Words, at: int, step: int, n: int, table: Floats, vectors: Floats, place: int
) -> None:
    """Row vectors after each of `n` words, written one after another behind the one at `place`."""
    k, width = len(shape), padded(len(shape))
    for i in range(n):
        base = int(words[at + step * i]) * k * width
        matrix = table[base : base + k * width].reshape(k, width)
        here = place + i * width
        vectors[here + width : here + 2 * width] = vectors[here : here + k] @ matrix


def collect_emitted(
    typingctx: Any, shape: Any, words: Any, at: Any, step: Any, n: Any, share: Any,
    table: Any, vectors: Any, place: Any, gradient: Any, coming: Any,
) -> Any:  # fmt: skip
    whole = types.intp
    signature = types.void(shape, words, whole, whole, whole, types.float64, table, vectors, whole, gradient, coming)
    n_states = shape.count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e, b = Emit(context, builder, signature, arguments, padded(n_states)), builder
        words, table, vectors, gradient, coming = (e.data(i) for i in (1, 6, 7, 9, 10))
        at, step, n, place = (arguments[i] for i in (2, 3, 4, 8))
        share = e.spread(arguments[5])
        vector = cg.alloca_once_value(b, e.load(coming, e.whole(0)))
        with cg.for_range(b, n) as loop:
            index = b.sub(b.sub(n, e.whole(1)), loop.index)
            base = base_of(e, n_states, words, b.add(at, b.mul(step, index)))
            before = b.fmul(e.load(vectors, e.at(place, e.lanes, index)), share)
            after = b.load(vector)
            for i in range(n_states):
                row = e.at(base, i * e.lanes)
                e.store(e.multiply_add(lane(e, before, i), after, e.load(gradient, row)), gradient, row)
            b.store(times_matrix(e, n_states, after, table, base), vector)
        e.store(b.load(vector), coming, e.whole(0))
        return context.get_dummy_value()

    return signature, generate


def collect_readable(
    shape: tuple[int, ...], words: Words, at: int, step: int, n: int, share: float,
    table: Floats, vectors: Floats, place: int, gradient: Floats, coming: Floats,
) -> None:  # fmt: skip
    """Go back over `n` words: add ``share`` times the outer products of what lies before and what comes, to the gradient.

    ``coming`` is what comes from behind the last word, and becomes what comes from behind the first.
    """
    k, width = len(shape), padded(len(shape))
    for i in range(n - 1, -1, -1):
        part = slice(int(words[at + step * i]) * k * width, (int(words[at + step * i]) + 1) * k * width)
        before = share * vectors[place + i * width : place + i * width + k]
        gradient[part] += np.outer(before, coming).ravel()
        coming[:] = coming[:k] @ table[part].reshape(k, width)


carry: Any = carry_readable if plain else intrinsic(carry_emitted)
collect: Any = collect_readable if plain else intrinsic(collect_emitted)


@njit(cache=True, nogil=True)
def first_of(steps: Steps, length: int) -> int:
    """Number of the first word of ``length`` steps: behind the steps themselves and all shorter words."""
    if length == 1:
        return 0
    first, size = steps.n, steps.n_whole
    for _ in range(2, length):
        size *= steps.n_letters
        first += size
    return first


@njit(cache=True, nogil=True)
def words_of(codes: Codes, offsets: Offsets, side: int, steps: Steps, shape: tuple[int, ...]) -> tuple[Words, Offsets]:
    """Words of a half of each sequence behind its first letter, end to end, and where those of each begin.

    Half 0 is that before the middle letter, half 1 that from there on. As many whole steps in a row as `shape` is long are one
    word, numbered as digits are from `first_of` on; any other step is by itself.
    """
    length = len(shape)
    words = np.empty(codes.size // 2 + offsets.size, dtype=np.uint16)
    cuts = np.zeros(offsets.size, dtype=np.int64)
    first = first_of(steps, length)
    n_letters, n_whole = np.int64(steps.n_letters), np.int64(steps.n_whole)
    letter_of = np.arange(steps.n) % n_letters
    n = 0
    for s in range(offsets.size - 1):
        middle = (offsets[s] + 1 + offsets[s + 1]) // 2
        t = offsets[s] + 1 if side == 0 else middle
        end = middle if side == 0 else offsets[s + 1]
        while t < end:
            number, highest = np.int64(0), n_whole
            if t + length <= end:
                number = highest = np.int64(codes[np.uint64(t)])
                for i in range(1, length):
                    step = np.int64(codes[np.uint64(t + i)])
                    number = number * n_letters + (step if n_letters == n_whole else letter_of[step])
                    highest = max(highest, step)
            if highest < n_whole:
                words[n] = first + number
                t += length
            else:
                words[n] = codes[t]
                t += 1
            n += 1
        cuts[s + 1] = n
    return words[:n], cuts


def word_length(n_states: int, steps: Steps, size: int, log_smallest: float) -> int:
    """Steps of a word: as many as a table in cache, the work on it and the smallest positive step allow."""
    length, n_words, numbers = 1, steps.n_whole, n_states * padded(n_states)
    while True:
        n_words *= steps.n_letters
        if n_words * numbers > ROOM or n_words * n_states * (length + 1) * WORTH > size:
            return length
        if (length + 1) * log_smallest < math.log(LEAST_PRODUCT):
            return length
        length += 1


@njit(cache=True, nogil=True)
def step_tables(transition: Floats, emission: Floats, steps: Steps, length: int, width: int) -> Floats:
    """Matrices of words of 1 to ``length`` steps, shape (n, K, width): those of m + 1 steps behind those of m.

    The first are the steps, whole or not; then come words of 2 whole steps, of 3, ….
    """
    k, n_letters = len(transition), steps.n_letters
    tables = np.zeros((max(steps.n, first_of(steps, length + 1)), k, width))
    for x in range(steps.n):
        for i in range(k):
            for j in range(k):
                tables[x, i, j] = transition[i, j] * emission[j, x]
    n_words = steps.n_whole
    for m in range(2, length + 1):
        short, at = first_of(steps, m - 1), first_of(steps, m)
        n_words *= n_letters
        for word in range(n_words):
            out, head, last = tables[at + word], tables[short + word // n_letters], tables[word % steps.n_whole]
            for i in range(k):
                for h in range(k):
                    share = head[i, h]
                    for j in range(width):
                        out[i, j] += share * last[h, j]
    return tables


@njit(cache=True, nogil=True)
def hand_down(tables: Floats, gradients: Floats, steps: Steps, length: int) -> None:
    """Add the gradient of each word's matrix to those of its head and of its last step, the longest words first.

    ``gradients`` has the shape of ``tables``.
    """
    k, n_letters = tables.shape[1], steps.n_letters
    for m in range(length, 1, -1):
        short, at = first_of(steps, m - 1), first_of(steps, m)
        for word in range(steps.n_whole * n_letters ** (m - 1)):
            own, head, last = gradients[at + word], short + word // n_letters, word % steps.n_whole
            for i in range(k):
                for h in range(k):
                    total = 0.0
                    share = tables[head, i, h]
                    for j in range(k):
                        total += own[i, j] * tables[last, h, j]
                        gradients[last, h, j] += share * own[i, j]
                    gradients[head, i, h] += total


@njit(cache=True, nogil=True)
def rescale(vectors: Floats, place: int, width: int) -> int:
    """Divide a vector by the power of two that brings its sum to between 1/2 and 1, and return its exponent."""
    total = 0.0
    for j in range(place, place + width):
        total += vectors[j]
    if not (LEAST < total < 1.0 / LEAST):
        return LOST
    _, power = math.frexp(total)
    factor = math.ldexp(1.0, -power)
    for j in range(place, place + width):
        vectors[j] *= factor
    return power


@njit(cache=True, nogil=True)
def move(source: Floats, at: int, target: Floats, place: int, n: int) -> None:
    """Copy `n` numbers; slices would compile for seconds."""
    for i in range(n):
        target[place + i] = source[at + i]


@njit(cache=True, nogil=True)
def half_of(cuts: Offsets, s: int, side: int) -> tuple[int, int, int]:
    """First word, direction and number of words of a half: 0 forward to the middle, 1 backward to it."""
    n = cuts[s + 1] - cuts[s]
    return (cuts[s], 1, n) if side == 0 else (cuts[s + 1] - 1, -1, n)


@njit(cache=True, nogil=True)
def go(
    shape: tuple[int, ...],
    words: Words,
    at: int,
    step: int,
    n: int,
    often: int,
    table: Floats,
    vectors: Floats,
    powers: Offsets,
) -> int:
    """Vectors after each of at most `BLOCK` words, rescaled every ``often``; the sum of the exponents, or `LOST`."""
    width = vectors.size // (BLOCK + 1)
    total = 0
    for group in range(0, n, often):
        size = min(often, n - group)
        carry(shape, words, at + step * group, step, size, table, vectors, group * width)
        powers[group // often] = rescale(vectors, (group + size) * width, width)
        if powers[group // often] == LOST:
            return LOST
        total += powers[group // often]
    return total


@njit(cache=True, nogil=True)
def sweep_in(
    shape: tuple[int, ...],
    words: Words,
    cuts: Offsets,
    side: int,
    often: int,
    table: Floats,
    origins: Floats,
    kept: Floats,
    exponents: Offsets,
) -> tuple[Floats, bool]:
    """Vectors of each sequence at its middle, from its end of a side, and whether all can be trusted.

    ``origins``, shape (n_sequences, width), holds the vectors at the ends. ``kept`` receives the vector before every
    `BLOCK`-th word; ``exponents`` the powers of two that the vectors at the middle were divided by.
    """
    width = origins.shape[1]
    vectors = np.empty((BLOCK + 1) * width)
    powers = np.zeros(BLOCK, dtype=np.int64)
    ends = np.empty(origins.shape)
    mark = 0
    for s in range(len(origins)):
        at, step, n = half_of(cuts, s, side)
        move(origins[s], 0, vectors, 0, width)
        exponents[s] = rescale(vectors, 0, width)
        if exponents[s] == LOST:
            return ends, False
        for done in range(0, n, BLOCK):
            move(vectors, 0, kept[mark], 0, width)
            size = min(BLOCK, n - done)
            power = go(shape, words, at + step * done, step, size, often, table, vectors, powers)
            if power == LOST:
                return ends, False
            exponents[s] += power
            move(vectors, size * width, vectors, 0, width)
            mark += 1
        move(vectors, 0, ends[s], 0, width)
    return ends, True


@njit(cache=True, nogil=True)
def sweep_out(
    shape: tuple[int, ...],
    words: Words,
    cuts: Offsets,
    side: int,
    often: int,
    table: Floats,
    other_table: Floats,
    kept: Floats,
    brought: Floats,
    weights: Floats,
    gradient: Floats,
) -> tuple[Floats, bool]:
    """Vectors that arrive at the end of a side from the middle, and whether all can be trusted.

    ``brought``, shape (n_sequences, width), is what the other half left at the middle; ``other_table`` holds the transposes of
    the matrices in ``table``; ``gradient`` receives the weighted gradient of each.
    """
    width = brought.shape[1]
    vectors = np.empty((BLOCK + 1) * width)
    powers = np.zeros(BLOCK, dtype=np.int64)
    coming = np.empty(width)
    arrived = np.empty(brought.shape)
    mark = 0
    for s in range(len(brought)):
        at, step, n = half_of(cuts, s, side)
        move(brought[s], 0, coming, 0, width)
        n_blocks = (n + BLOCK - 1) // BLOCK
        for block in range(n_blocks - 1, -1, -1):
            done = block * BLOCK
            size = min(BLOCK, n - done)
            move(kept[mark + block], 0, vectors, 0, width)
            go(shape, words, at + step * done, step, size, often, table, vectors, powers)
            evidence = 0.0
            for j in range(width):
                evidence += vectors[size * width + j] * coming[j]
            share = weights[s] / evidence if evidence > 0.0 else math.inf
            for group in range((size - 1) // often, -1, -1):
                first = group * often
                if not share < ODDS * weights[s] + TINY:
                    return arrived, False
                share = math.ldexp(share, -int(powers[group]))
                collect(
                    shape, words, at + step * (done + first), step, min(often, size - first), share,
                    other_table, vectors, first * width, gradient, coming,
                )  # fmt: skip
                power = rescale(coming, 0, width)
                if power == LOST:
                    return arrived, False
                share = math.ldexp(share, int(power))
        mark += n_blocks
        move(coming, 0, arrived[s], 0, width)
    return arrived, True


@njit(cache=True, nogil=True)
def looks(tables: Floats, n_states: int) -> int:
    """Words from one look at the scale to the next: a power of two, such that no more than `FALL` is lost between them."""
    smallest = 1.0
    for table in tables:
        for i in range(n_states):
            row = column = 0.0
            for j in range(n_states):
                row += table[i, j]
                column += table[j, i]
            smallest = min(smallest, row if row > 0.0 else 1.0, column if column > 0.0 else 1.0)
    often = OFTEN
    while often > 1 and often * math.log(smallest) < math.log(FALL):
        often //= 2
    return often


def in_turn(function: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
    """One after another."""
    return [function(item) for item in items]


def expected_counts_by_words(
    codes: Codes,
    offsets: Offsets,
    weights: Floats,
    start: Floats,
    transition: Floats,
    emission: Floats,
    both: Map = in_turn,
    steps: Steps | None = None,
) -> tuple[Floats, Floats, Floats, float, float, int, int]:
    """Expected starts, transitions and emissions over many sequences.

    Parameters
    ----------
    codes, offsets, weights, start, transition, emission
        As in `emtools.kernels.markov.expected_counts`.
    both : Map
        Ordered map over the two halves of the sequences; the result is the same to the last bit for each.
    steps : Steps, optional
        How the codes are numbered; by default as letters, the last of them not observed.

    Returns
    -------
    n_start, n_transition, n_emission : ndarray, shapes (K,), (K, K) and that of ``emission``
    loglik, entropy : float
    sequence, position : int
        As in `emtools.kernels.markov.expected_counts`. The entropy is what the log-likelihood exceeds the expected
        log-probability of letters and path by, at the same parameters.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 19-25 and 37-40, for products of matrices.
    """
    arguments = (codes, offsets, weights, start, transition, emission)
    counts = try_words(*arguments, both, steps) if start.size <= MOST_STATES else None
    if counts is None:
        plainly = expected_counts(*arguments)
        return plainly if plainly[-1] == POSSIBLE else expected_counts_in_logs(*arguments)[1:]
    n_start, n_transition, n_emission, loglik = counts
    expected = sum(
        float(xlogy(count, table).sum())
        for count, table in ((n_start, start), (n_transition, transition), (n_emission, emission))
    )
    entropy = loglik - expected
    seen = entropy > ROUNDING * abs(loglik)
    return n_start, n_transition, n_emission, loglik, entropy if seen else 0.0, POSSIBLE, POSSIBLE


def expected_counts_in_logs(
    codes: Codes, offsets: Offsets, weights: Floats, start: Floats, transition: Floats, emission: Floats
) -> tuple[Floats, Floats, Floats, Floats, float, float, int, int]:
    """Posterior, shape (n_total, K), and expected counts with logarithms throughout: slow, and no path is too improbable.

    For what underflows in `emtools.kernels.markov`; what is impossible here is impossible.
    """
    shares, n_start, n_transition, loglik, entropy, sequence, position = expected_states(
        log_table(emission).T[codes], offsets, weights, start, transition
    )
    weighed = (shares * np.repeat(weights, np.diff(offsets))[:, None]).T
    n_emission = np.array([np.bincount(codes, row, emission.shape[1]) for row in weighed])
    return shares, n_start, n_transition, n_emission, loglik, entropy, sequence, position


def try_words(
    codes: Codes,
    offsets: Offsets,
    weights: Floats,
    start: Floats,
    transition: Floats,
    emission: Floats,
    both: Map,
    steps: Steps | None = None,
) -> tuple[Floats, Floats, Floats, float] | None:
    """Expected counts and log-likelihood; None where a number got too small to go on with."""
    k, n_steps, width = start.size, emission.shape[1], padded(start.size)
    steps = steps or Steps(n_steps - 1, n_steps - 1, n_steps)
    log_smallest = sum(math.log(table[table > 0.0].min(initial=1.0)) for table in (transition, emission))
    length = word_length(k, steps, codes.size, log_smallest)
    tables = step_tables(transition, emission, steps, length, width)
    turned = np.zeros_like(tables)
    turned[:, :, :k] = tables[:, :, :k].transpose(0, 2, 1)
    often, shape = looks(tables, k), (0,) * k
    first_letters = codes[offsets[:-1]]
    origins = np.zeros((2, len(weights), width))
    origins[0, :, :k] = start * emission[:, first_letters].T
    origins[1, :, :k] = 1.0
    exponents = np.zeros((2, len(weights)), dtype=np.int64)
    pair = tables.ravel(), turned.ravel()

    def come(side: int) -> tuple[Floats, bool, Half]:
        words, cuts = words_of(codes, offsets, side, steps, (0,) * length)
        kept = np.empty((int((-(-np.diff(cuts) // BLOCK)).sum()), width))
        ends, trusted = sweep_in(shape, words, cuts, side, often, pair[side], origins[side], kept, exponents[side])
        return ends, trusted, (words, cuts, kept)

    gradients = np.zeros((2, tables.size))

    def leave(side: int) -> tuple[Floats, bool]:
        (words, cuts, kept), ends = met[side][2], met[1 - side][0]
        return sweep_out(
            shape, words, cuts, side, often, pair[side], pair[1 - side], kept, ends, weights, gradients[side]
        )

    met = both(come, (0, 1))
    if not all(trusted for _, trusted, _ in met):
        return None
    evidence = (met[0][0] * met[1][0]).sum(axis=1)
    if not (evidence * ODDS > 1.0).all():
        return None
    loglik = float(weights @ (np.log(evidence) + LN2 * exponents.sum(axis=0)))
    parted = both(leave, (0, 1))
    if not all(trusted for _, trusted in parted):
        return None
    gradient = gradients[0].reshape(tables.shape)
    gradient[:, :, :k] += gradients[1].reshape(tables.shape)[:, :, :k].transpose(0, 2, 1)
    hand_down(tables, gradient, steps, length)
    uses = gradient[:n_steps, :, :k] * tables[:n_steps, :, :k]
    first = origins[0] * parted[0][0]
    first = first[:, :k] * (weights / first.sum(axis=1))[:, None]
    n_emission = uses.sum(axis=1).T.copy()
    np.add.at(n_emission.T, first_letters, first)
    n_start, n_transition = first.sum(axis=0), uses.sum(axis=0)
    finite = all(np.isfinite(count).all() for count in (n_start, n_transition, n_emission))
    return (n_start, n_transition, n_emission, loglik) if finite else None

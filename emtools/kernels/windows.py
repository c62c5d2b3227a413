"""Likelihood ratios of all windows of DNA sequences by products of word tables, and sums over windows by word.

The ratio of a window is the product of a table entry for every word of its letters and of a factor that does not depend
on the motif: one over its background probability, and how free it is. Words have four letters, so that the tables of
a motif and those of its sums lie in the first cache; both strands of a word lie side by side and are multiplied at
once. Expected letters are summed by word and taken apart at the end. Sequences are taken a few at a time (a block).
Where a letter of a site depends on the one before it (a matrix of three axes), each word begins with the last letter of the one before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from emtools.kernels.places import weigh_factors
from emtools.kernels.vectors import WEIGHED, Emit, cg, plain

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Room = tuple[Codes, Floats, Floats, Floats, Floats, Floats]

LETTERS = 4
WORD = 4  # letters of a word: one byte
LINKED = WORD - 1  # letters from one word to the next where words share a letter
ENTRIES = LETTERS**WORD
GROUP = 5  # words that are multiplied in one go
BLOCK = 1024  # letters, at least, of the sequences that are taken together
LONGEST_CONTEXT = 5
PAD = 64  # room that whole vectors may run over


@njit(cache=True, nogil=True)
def word_tables(matrix: Floats, table: Floats, order: int) -> Floats:
    """Probability of every word at every place in the motif, over that by the background where this is of order 0.

    Parameters
    ----------
    matrix : ndarray, shape (width, 4) or (width, 4, 4)
        Letter probabilities at each position of a site; with three axes, those after each letter (the second axis), of which the
        first position has none: its rows are alike.
    table, order
        As from `context_table`; letters that the next one depends on.

    Returns
    -------
    ndarray, shape (n_words, 256, 2)
        By word of the window (``n_words = ceil(width / 4)``; with three axes ``ceil((width - 1) / 3)``), number of the word (its first
        letter the highest digit) and strand; letters beyond the window, and those of the word before, count as 1.
    """
    width = matrix.shape[0]
    step, n_words = (LINKED, -(-(width - 1) // LINKED)) if matrix.ndim == 3 else (WORD, -(-width // WORD))
    tables = np.ones((n_words, ENTRIES, 2))
    for q in range(n_words):
        for code in range(ENTRIES):
            before = 0
            for place in range(min(WORD, width - q * step)):
                letter = (code >> (2 * (WORD - 1 - place))) & 3
                w = q * step + place
                factor = table[0, letter] if order == 0 else 1.0
                if matrix.ndim == 2:
                    tables[q, code, 0] *= factor * matrix[w, letter]
                    tables[q, code, 1] *= factor * matrix[width - 1 - w, 3 - letter]
                elif place or not w:
                    tables[q, code, 0] *= factor * matrix[w, before, letter]
                    tables[q, code, 1] *= factor * matrix[width - w, 3 - letter, 3 - before] if w else factor
                    if w == width - 1:
                        tables[q, code, 1] *= matrix[0, 0, 3 - letter]
                before = letter
    return tables


@njit(cache=True, nogil=True)
def letters_of_words(sums: Floats, matrix: Floats, table: Floats, order: int) -> tuple[Floats, float]:
    """Expected letters at each position of the sites from sums by word; their log-probability by a background of order 0, negative.

    Parameters
    ----------
    sums : ndarray, shape (n_words, 256, 2)
        Expected number of sites with each word, laid out as in `word_tables`.
    matrix, table, order
        As there.

    Returns
    -------
    counts : ndarray, shape of `matrix`
        With three axes by the letter before; those of the first position in its first row.
    written : float
        Nats; 0.0 if the order is above 0.
    """
    width, step = matrix.shape[0], LINKED if matrix.ndim == 3 else WORD
    counts, written = np.zeros(matrix.shape), 0.0
    for q in range(sums.shape[0]):
        for code in range(ENTRIES):
            before = 0
            for place in range(min(WORD, width - q * step)):
                letter = (code >> (2 * (WORD - 1 - place))) & 3
                w = q * step + place
                if matrix.ndim == 2:
                    counts[w, letter] += sums[q, code, 0]
                    counts[width - 1 - w, 3 - letter] += sums[q, code, 1]
                elif place or not w:
                    counts[w, before, letter] += sums[q, code, 0]
                    if w:
                        counts[width - w, 3 - letter, 3 - before] += sums[q, code, 1]
                    if w == width - 1:
                        counts[0, 0, 3 - letter] += sums[q, code, 1]
                if order == 0 and (matrix.ndim == 2 or place or not w):
                    written += (sums[q, code, 0] + sums[q, code, 1]) * table[1, letter]
                before = letter
    return counts, written


def entry(e: Emit, words: Any, index: Any, word: Any, step: int) -> Any:
    """Where both strands of a word lie in a table: the one that begins `word` words, of which each moves on by `step`, behind letter `index`."""
    place = e.builder.add(index, e.builder.mul(word, e.whole(step)))
    code = e.builder.zext(e.builder.load(e.builder.gep(words, [place])), ir.IntType(64))
    return e.builder.mul(e.builder.add(e.builder.mul(word, e.whole(ENTRIES)), code), e.whole(2))


def for_each_size(e: Emit, count: Any, n: Any, body: Any) -> None:
    """``body(words, index)`` for every index below n, as a loop of its own for each number of words up to `GROUP`."""
    for size in range(1, GROUP + 1):
        with (
            e.builder.if_then(e.builder.icmp_signed("==", count, e.whole(size))),
            cg.for_range(e.builder, n) as loop,
        ):
            body(size, loop.index)


def multiplier(fresh: bool, step: int) -> Any:
    """Intrinsic that multiplies the ratios of windows with table entries: those of `factors` first if `fresh`, else what is there.

    Each word begins `step` letters behind the one before.
    """

    def emitted(
        typingctx: Any, words: Any, n: Any, tables: Any, first: Any, count: Any, factors: Any, ratios: Any
    ) -> Any:
        signature = types.void(words, types.intp, tables, types.intp, types.intp, factors, ratios)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments, 2)
            words, tables, factors, ratios = (e.data(i) for i in (0, 2, 5, 6))
            n, first, count = (arguments[i] for i in (1, 3, 4))

            def body(size: int, index: Any) -> None:
                at = builder.mul(index, e.whole(2))
                value = e.each(factors, index) if fresh else e.load(ratios, at)
                for k in range(size):
                    value = builder.fmul(value, e.load(tables, entry(e, words, index, e.at(first, k), step)))
                e.store(value, ratios, at)

            for_each_size(e, count, n, body)
            return context.get_dummy_value()

        return signature, generate

    def readable(words: Codes, n: int, tables: Floats, first: int, count: int, factors: Floats, ratios: Floats) -> None:
        """For each of n windows, both strands: the factor, or the ratio so far, times the entries of `count` words from `first` on."""
        by_word, pairs = tables.reshape(-1, ENTRIES, 2), ratios[: 2 * n].reshape(n, 2)
        if fresh:
            pairs[:] = factors[:n, None]
        for q in range(first, first + count):
            pairs *= by_word[q, words[step * q : step * q + n]]

    return readable if plain else intrinsic(emitted)


def adder(step: int) -> Any:
    """Intrinsic that adds the ratios of windows to sums by word; each word begins `step` letters behind the one before."""

    def emitted(
        typingctx: Any, words: Any, at: Any, n: Any, ratios: Any, scale: Any, first: Any, count: Any, logs: Any,
        sums: Any, weighed: Any,
    ) -> Any:  # fmt: skip
        whole = types.intp
        signature = types.void(words, whole, whole, ratios, types.float64, whole, whole, logs, sums, weighed)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments, 2)
            words, ratios, logs, sums, weighed = (e.data(i) for i in (0, 3, 7, 8, 9))
            at, n, scale, first, count = (arguments[i] for i in (1, 2, 4, 5, 6))
            total, factor = e.sum(), e.spread(scale)

            def body(size: int, index: Any) -> None:
                index = builder.add(at, index)
                share = builder.fmul(e.load(ratios, builder.mul(index, e.whole(2))), factor)
                e.add_product_to(total, share, e.each(logs, index))
                for k in range(size):
                    place = entry(e, words, index, e.at(first, k), step)
                    e.store(builder.fadd(e.load(sums, place), share), sums, place)

            for_each_size(e, count, n, body)
            e.flush(total, weighed, e.whole(0))
            return context.get_dummy_value()

        return signature, generate

    return partial(add_readable, step=step) if plain else intrinsic(emitted)


def add_readable(
    words: Codes, at: int, n: int, ratios: Floats, scale: float, first: int, count: int, logs: Floats,
    sums: Floats, weighed: Floats, step: int,
) -> None:  # fmt: skip
    """Add the scaled ratios of n windows from `at` on, both strands, to the entries of `count` words from `first` on.

    ``weighed`` gets the sum of their products with `logs` added, by strand. Each word begins `step` letters behind the one before.
    """
    by_word, shares = sums.reshape(-1, ENTRIES, 2), scale * ratios[2 * at : 2 * (at + n)].reshape(n, 2)
    for q in range(first, first + count):
        np.add.at(by_word[q], words[at + step * q : at + step * q + n], shares)
    weighed[:2] += logs[at : at + n] @ shares


def total_emitted(typingctx: Any, values: Any, at: Any, n: Any) -> Any:
    signature = types.float64(values, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments, 2)
        values, (at, n) = e.data(0), arguments[1:]
        four = builder.sdiv(n, e.whole(4))
        sums = [e.sum() for _ in range(4)]
        with cg.for_range(builder, four) as loop:
            for k, slot in enumerate(sums):
                e.add_to(slot, e.load(values, builder.add(at, e.at(e.whole(2 * k), 8, loop.index))))
        with cg.for_range(builder, builder.sub(n, builder.mul(four, e.whole(4)))) as loop:
            index = builder.add(builder.mul(four, e.whole(4)), loop.index)
            e.add_to(sums[0], e.load(values, builder.add(at, builder.mul(index, e.whole(2)))))
        loaded = [builder.load(slot) for slot in sums]
        pair = builder.fadd(builder.fadd(loaded[0], loaded[1]), builder.fadd(loaded[2], loaded[3]))
        low, high = (builder.extract_element(pair, ir.Constant(ir.IntType(32), k)) for k in range(2))
        return builder.fadd(low, high)

    return signature, generate


def total_readable(values: Floats, at: int, n: int) -> float:
    """Sum of n pairs of values from `at` on."""
    return float(values[at : at + 2 * n].sum())


def look_up_emitted(typingctx: Any, words: Any, n: Any, by_word: Any, by_log: Any, inverse: Any, logs: Any) -> Any:
    signature = types.void(words, types.intp, by_word, by_log, inverse, logs)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments, 2)
        words, by_word, by_log, inverse, logs = (e.data(i) for i in (0, 2, 3, 4, 5))
        with cg.for_range(builder, arguments[1]) as loop:
            at = builder.mul(loop.index, e.whole(2))
            word = builder.zext(builder.load(builder.gep(words, [at])), ir.IntType(64))
            place = builder.mul(word, e.whole(2))
            e.store(e.load(by_word, place), inverse, e.at(at, 2))
            e.store(e.load(by_log, place), logs, e.at(at, 2))
        return context.get_dummy_value()

    return signature, generate


def look_up_readable(words: Codes, n: int, by_word: Floats, by_log: Floats, inverse: Floats, logs: Floats) -> None:
    """For n words, every second one, what tables hold of their last two letters, into the places of these."""
    for table, out in ((by_word, inverse), (by_log, logs)):
        out[2 : 2 + 2 * n] = table.reshape(-1, 2)[words[: 2 * n : 2]].ravel()


multiply_fresh, multiply_on, add_by_word = multiplier(True, WORD), multiplier(False, WORD), adder(WORD)
multiply_fresh_linked, multiply_on_linked, add_by_linked_word = (
    multiplier(True, LINKED),
    multiplier(False, LINKED),
    adder(LINKED),
)
look_up: Any = look_up_readable if plain else intrinsic(look_up_emitted)
total_pairs: Any = total_readable if plain else intrinsic(total_emitted)


def context_table(log_table: Floats, order: int) -> Floats:
    """A background table whose contexts are numbers of three bits a letter, for letters with less than a full context.

    Parameters
    ----------
    log_table : ndarray, shape (5**order, 4)
        As in `kernels.motif.background_letters`.

    Returns
    -------
    ndarray, shape (2, 8**order * 4)
        One over the probability of a letter after a context, and minus its log; the letter is the lowest digit.
    """
    logs = np.asarray(log_table).reshape((LETTERS + 1,) * order + (LETTERS,))
    wide = np.zeros((8,) * order + (LETTERS,))
    wide[(slice(0, LETTERS + 1),) * order] = logs
    flat = wide.ravel()
    return np.stack([np.exp(-flat), -flat])


@njit(cache=True, nogil=True)
def full_contexts(table: Floats, order: int) -> Floats:
    """The same for every number of four letters (six above order 3), of which the first ones may be beyond the context.

    Below order 3, for the last two of the four.

    Returns
    -------
    ndarray, shape (2, 512), (2, 256) or (2, 4096)
    """
    n_letters, told = WORD if order < WORD else LONGEST_CONTEXT + 1, 2 if order < WORD - 1 else 1
    full = np.empty((2, told * LETTERS**n_letters))
    for k in range(full.shape[1]):
        number = k // told >> 2 * (told - 1 - k % told)
        wide = 0
        for back in range(order, 0, -1):
            wide = wide << 3 | (number >> (2 * back)) & 3
        for part in range(2):
            full[part, k] = table[part, wide << 2 | number & 3]
    return full


@njit(cache=True, nogil=True)
def spell(codes: Codes, low: int, n: int, words: Codes) -> None:
    """Number of the word that starts at each of n letters from `low` on; letters behind the end count as A."""
    total = codes.size
    whole = min(n, total - low - WORD + 1)
    part = codes[low:]
    for j in range(whole):
        words[j] = (part[j] & 3) << 6 | (part[j + 1] & 3) << 4 | (part[j + 2] & 3) << 2 | (part[j + 3] & 3)
    words[max(whole, 0) : n] = 0
    for j in range(max(whole, 0), n):
        for k in range(min(WORD, total - low - j)):
            words[j] |= (part[j + k] & 3) << (2 * (WORD - 1 - k))
    words[n : n + PAD] = 0  # as far as the words of a window reach


@njit(cache=True, nogil=True)
def letter_factors(
    codes: Codes, offsets: Offsets, first: int, last: int, words: Codes, table: Floats, full: Floats, order: int,
    inverse: Floats, logs: Floats,
) -> bool:  # fmt: skip
    """One over the background probability of each letter, and minus its log; whether every letter was observed.

    Parameters
    ----------
    codes, offsets
        As in `kernels.motif.background_letters`; four letters.
    first, last : int
        The sequences of the block: `first` to before `last`.
    words : ndarray of uint8
        As from `spell`.
    table, full, order
        As from `context_table` and `full_contexts`; letters that the next one depends on.
    inverse, logs : ndarray, shape (at least the letters of the block,)
        Out; 1.0 and 0.0 where the letter was not observed. Of order 0 only the logs are of use: the rest is in the tables.
    """
    low, high = offsets[first], offsets[last]
    n = high - low
    by_word, by_log = full[0], full[1]
    if order < WORD - 1:
        look_up(words, max(0, n - 2) // 2, by_word, by_log, inverse, logs)
        if n % 2 and n >= WORD:
            end = 2 * np.int64(words[n - WORD]) + 1
            inverse[n - 1], logs[n - 1] = by_word[end], by_log[end]
    elif order == WORD - 1:
        for j in range(n - 3):
            number = np.uint64(words[j])
            inverse[j + 3], logs[j + 3] = by_word[number], by_log[number]
    else:
        for j in range(n - LONGEST_CONTEXT):
            number = np.uint64(words[j]) << np.uint64(4) | np.uint64(words[j + 2] & 15)
            inverse[j + LONGEST_CONTEXT], logs[j + LONGEST_CONTEXT] = by_word[number], by_log[number]
    known, part = True, codes[low:high]
    for j in range(n):
        known &= part[j] < LETTERS
    unknown, fresh = np.int64(LETTERS), np.int64(0)
    for _ in range(order):
        fresh = fresh << 3 | unknown
    keep = np.int64(8**order - 1)
    for i in range(first, last):
        context = fresh
        length = offsets[i + 1] - offsets[i]
        start = offsets[i] - low
        partly = max(order, LONGEST_CONTEXT - start)
        for j in range(start, start + (min(length, partly) if known else length)):
            letter = np.int64(codes[low + j])
            if letter >= unknown:
                context = fresh
                inverse[j], logs[j] = 1.0, 0.0
                continue
            inverse[j], logs[j] = table[0, context << 2 | letter], table[1, context << 2 | letter]
            context = (context << 3 | letter) & keep
    return known


@njit(cache=True, nogil=True)
def discount_letters(free: Floats, order: int, inverse: Floats, logs: Floats) -> None:
    """Multiply `inverse` by `free` and add its log to `logs`; of order 0, whose tables hold the background, they become these."""
    n = free.size
    if order == 0:
        inverse[:n], logs[:n] = 1.0, 0.0
    for j in range(n):
        if free[j] < 1.0:
            inverse[j] *= free[j]
            logs[j] += np.log(free[j])


def joiner(product: bool) -> Any:
    """Intrinsic that joins values at equal distances and some in a row, by product or sum."""

    def emitted(
        typingctx: Any, out: Any, n: Any, values: Any, step: Any, count: Any, others: Any, first: Any, more: Any
    ) -> Any:
        whole = types.intp
        signature = types.void(out, whole, values, whole, whole, others, whole, whole)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments, WEIGHED)
            out, values, others = (e.data(i) for i in (0, 2, 5))
            n, step, count, first, more = (arguments[i] for i in (1, 3, 4, 6, 7))
            joined = cg.alloca_once(builder, e.vector)

            def join(value: Any) -> None:
                so_far = builder.load(joined)
                builder.store(builder.fmul(so_far, value) if product else builder.fadd(so_far, value), joined)

            steps = builder.sdiv(builder.add(n, e.whole(WEIGHED - 1)), e.whole(WEIGHED))
            with cg.for_range(builder, steps) as loop:
                at = builder.mul(loop.index, e.whole(WEIGHED))
                builder.store(e.load(values, at), joined)
                with cg.for_range(builder, builder.sub(count, e.whole(1))) as inner:
                    join(e.load(values, builder.add(at, builder.mul(step, e.at(inner.index, 1)))))
                with cg.for_range(builder, more) as inner:
                    join(e.load(others, builder.add(at, builder.add(first, inner.index))))
                e.store(builder.load(joined), out, at)
            return context.get_dummy_value()

        return signature, generate

    def readable(
        out: Floats, n: int, values: Floats, step: int, count: int, others: Floats, first: int, more: int
    ) -> None:
        """``out[j]``, for j < n rounded up to `WEIGHED`, is ``values[j + step i]`` for i < count and ``others[j + first + i]`` for
        i < more, joined; `out` may be `values`."""
        n = -(-n // WEIGHED) * WEIGHED
        parts = [values[step * i : step * i + n] for i in range(count)]
        parts += [others[first + i : first + i + n] for i in range(more)]
        out[:n] = np.prod(parts, axis=0) if product else np.sum(parts, axis=0)

    return readable if plain else intrinsic(emitted)


multiply_runs, add_runs = joiner(True), joiner(False)


@njit(cache=True, nogil=True)
def over_windows(inverse: Floats, logs: Floats, n: int, width: int, factors: Floats, log_factors: Floats) -> None:
    """Products of `width` of `inverse` and sums of `width` of `logs` from each of n places on: those of a few, then of runs of these.

    Parameters
    ----------
    inverse, logs : ndarray, shape (at least n + width + PAD,)
        What lies beyond n is overwritten, and counts as 1.0 and 0.0.
    factors, log_factors : ndarray, shape (at least n + width + PAD,)
        Out.
    """
    inverse[n : n + width + PAD] = 1.0
    logs[n : n + width + PAD] = 0.0
    few, least = 1, width + 1
    for size in range(2, width + 1):
        loads = size + width // size + width % size
        if loads < least:
            few, least = size, loads
    runs, rest = width // few, width % few
    multiply_runs(factors, n + width, inverse, 1, few, inverse, 0, 0)
    multiply_runs(factors, n, factors, few, runs, inverse, few * runs, rest)
    add_runs(log_factors, n + width, logs, 1, few, logs, 0, 0)
    add_runs(log_factors, n, log_factors, few, runs, logs, few * runs, rest)


@njit(cache=True, nogil=True)
def room_for(offsets: Offsets, width: int) -> Room:
    """Empty arrays for any block: words; letters' inverse and logs; windows' factors, logs and ratios (by window and strand)."""
    longest = BLOCK
    for i in range(offsets.size - 1):
        longest = max(longest, BLOCK + offsets[i + 1] - offsets[i])
    size = longest + 2 * width + PAD
    return (
        np.empty(size, dtype=np.uint8), np.empty(size), np.empty(size),
        np.empty(size), np.empty(size), np.empty(2 * size),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def end_of_block(offsets: Offsets, first: int) -> int:
    """The sequence behind the last one of the block that begins with `first`."""
    last = first + 1
    while last < offsets.size - 1 and offsets[last] - offsets[first] < BLOCK:
        last += 1
    return last


@njit(cache=True, nogil=True)
def rate_block(
    codes: Codes, offsets: Offsets, first: int, last: int, matrix: Floats, tables: Floats,
    table: Floats, full: Floats, order: int, free: Floats, prior: Floats,
    room: Room, outside: Floats,
) -> bool:  # fmt: skip
    """Likelihood ratio motif : background of every window of a block, into the last of `room`; whether every letter was observed.

    `outside` gets the background log-probability of each sequence. Where `free` is not empty, the ratio and its factor are those times the product of `free` over the
    letters of the window; where `prior` is not empty, times that of their start. The ratio, its factor and the log of that are 0.0 where a letter of the window was not observed; windows that reach beyond the end
    of their sequence hold no meaning.
    """
    words, inverse, logs, factors, log_factors, ratios = room
    width, low = matrix.shape[0], offsets[first]
    n = offsets[last] - low
    spell(codes, low, n, words)
    known = letter_factors(codes, offsets, first, last, words, table, full, order, inverse, logs)
    for i in range(first, last):
        start, length = offsets[i] - low, offsets[i + 1] - offsets[i]
        total = total_pairs(logs, start, length // 2)
        outside[i - first] = -(total + logs[start + length - 1] if length % 2 else total)
    if free.size:
        discount_letters(free[low : low + n], order, inverse, logs)
    if order == 0 and not free.size:
        factors[:n] = 1.0
        log_factors[:n] = 0.0
    else:
        over_windows(inverse, logs, n, width, factors, log_factors)
    if not known:
        run = 0
        for j in range(n - 1, -1, -1):
            run = run + 1 if codes[low + j] < LETTERS else 0
            if run < width:
                factors[j], log_factors[j] = 0.0, 0.0
    if prior.size:
        weigh_factors(prior[low : low + n], factors, log_factors)
    flat, n_words = tables.ravel(), tables.shape[0]
    if matrix.ndim == 3:
        multiply_fresh_linked(words, n, flat, 0, min(GROUP, n_words), factors, ratios)
        for q in range(GROUP, n_words, GROUP):
            multiply_on_linked(words, n, flat, q, min(GROUP, n_words - q), factors, ratios)
    else:
        multiply_fresh(words, n, flat, 0, min(GROUP, n_words), factors, ratios)
        for q in range(GROUP, n_words, GROUP):
            multiply_on(words, n, flat, q, min(GROUP, n_words - q), factors, ratios)
    return known


@njit(cache=True, nogil=True)
def add_shares(at: int, n: int, scale: float, room: Room, matrix: Floats, sums: Floats, weighed: Floats) -> None:
    """Add the ratios of n windows of a block from `at` on, times `scale`, to sums by word (flat).

    The first two of `weighed` get the sum of their products with the log of their factor added, by strand.
    """
    words, _, _, _, log_factors, ratios = room
    n_words = sums.size // (2 * ENTRIES)
    if matrix.ndim == 3:
        add_by_linked_word(words, at, n, ratios, scale, 0, min(GROUP, n_words), log_factors, sums, weighed)
        for q in range(GROUP, n_words, GROUP):
            add_by_linked_word(words, at, n, ratios, scale, q, min(GROUP, n_words - q), log_factors, sums, weighed[2:])
    else:
        add_by_word(words, at, n, ratios, scale, 0, min(GROUP, n_words), log_factors, sums, weighed)
        for q in range(GROUP, n_words, GROUP):
            add_by_word(words, at, n, ratios, scale, q, min(GROUP, n_words - q), log_factors, sums, weighed[2:])

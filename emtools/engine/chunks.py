"""Chunk sources and the reduction over them: one fixed tree, so threads cannot change a bit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from emtools.engine.protocol import Assign, C, Floats, Model, P, S, Source
from emtools.errors import InputError

Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")


class Map(Protocol):
    """A map over items that keeps their order."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]: ...


VALUES_PER_CHUNK = 2**19
REAL = "fiub"  # kinds of numpy types that are cast to float64
AHEAD = 2  # chunks a worker may have waiting


@dataclass(frozen=True)
class Rows:
    """A chunk of a table.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        One unit a row; a CSR array where the source keeps rows sparse.
    weights : ndarray, shape (n,)
        Non-negative weight of each row; a weight of 2 equals the row twice.
    first : int
        Number of the first row among all.
    """

    values: Floats
    weights: Floats
    first: int = 0


def check_weights(weights: Floats | None, n_units: int) -> Floats:
    """The weights of `n_units` units, shape (n_units,): 1 where None.

    Raises
    ------
    InputError
        If a weight is negative or not finite, all are zero, or their number is wrong.
    """
    checked = np.ones(n_units) if weights is None else np.asarray(weights, dtype=np.float64)
    if checked.shape != (n_units,) or not np.isfinite(checked).all() or (checked < 0).any():
        raise InputError("weights", f"array of shape {checked.shape}", f"{n_units} finite values >= 0")
    if not checked.any():
        raise InputError("weights", "all are zero", "at least one positive weight")
    return checked


class ArraySource:
    """Rows of an array, cut into chunks of about `VALUES_PER_CHUNK` values.

    Parameters
    ----------
    values : array, shape (n, d)
        Data of any real type, kept as it is: a chunk is cast to float64 when it is read. A 1-d array is one column.
    weights : array, shape (n,), optional
        Non-negative weights; 1 by default.
    chunk_rows : int, optional
        Rows per chunk, for tests.

    Raises
    ------
    InputError
        If there is no row, the values are no numbers, a weight is negative or not finite, all are zero, or their
        number is wrong.
    """

    def __init__(self, values: npt.NDArray[Any], weights: Floats | None = None, chunk_rows: int | None = None) -> None:
        array = np.asarray(values)
        if array.dtype.kind not in REAL:
            raise InputError("data", f"values of type {array.dtype}", "numbers")
        self.values: npt.NDArray[Any] = array[:, None] if array.ndim == 1 else array
        if self.values.ndim != 2 or not self.values.size:
            raise InputError("data", f"array of shape {array.shape}", "a table with at least one row and column")
        n, d = self.values.shape
        self.weights = None if weights is None else check_weights(weights, n)
        self.chunk_rows = chunk_rows or max(1, VALUES_PER_CHUNK // d)
        # Made once: fresh pages for each pass were a quarter of a pass over one feature.
        self.even = np.ones(0 if weights is not None else min(n, self.chunk_rows))

    @property
    def n_units(self) -> int:
        return len(self.values)

    @property
    def n_chunks(self) -> int:
        return -(-len(self.values) // self.chunk_rows)

    def chunk(self, index: int) -> Rows:
        rows = slice(index * self.chunk_rows, (index + 1) * self.chunk_rows)
        values: Floats = self.values[rows].astype(np.float64, copy=False)
        return Rows(values, self.even[: len(values)] if self.weights is None else self.weights[rows], rows.start)


class ListSource(Generic[C]):
    """Chunks that are already in memory.

    Parameters
    ----------
    chunks : sequence of C
        At least one chunk.
    n_units : int
        Units in all of them.
    """

    def __init__(self, chunks: Sequence[C], n_units: int) -> None:
        self.chunks = list(chunks)
        self.n_units = n_units

    @property
    def n_chunks(self) -> int:
        return len(self.chunks)

    def chunk(self, index: int) -> C:
        return self.chunks[index]


LETTERS_PER_CHUNK = 2**20


@dataclass(frozen=True)
class Sequences:
    """A chunk of sequences of letter codes, end to end.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n_total,)
        Letter codes; the number of letters of the alphabet where a letter was not observed.
    offsets : ndarray of int64, shape (n_sequences + 1,)
        Sequence `i` is ``codes[offsets[i]:offsets[i + 1]]``.
    weights : ndarray, shape (n_sequences,)
        Non-negative weight of each sequence; a weight of 2 equals the sequence twice.
    first : int
        Number of the first sequence among all, for messages.
    free : ndarray, shape (n_total,), or None
        Probability that nothing found before covers each letter, above 0; None for 1 everywhere.
    prior : ndarray, shape (n_total,), or None
        Weight of each letter in the prior of where something lies, above 0; None for equal ones.
    """

    codes: Codes
    offsets: Offsets
    weights: Floats
    first: int = 0
    free: Floats | None = None
    prior: Floats | None = None


class SequenceSource:
    """Sequences of letter codes, cut into chunks at sequence ends.

    Parameters
    ----------
    sequences : sequence of ndarray of uint8
        At least one, each with at least one letter.
    weights : array, shape (n_sequences,), optional
        Non-negative weights; 1 by default.
    chunk_letters : int
        A chunk ends with the sequence that reaches this number of letters.
    free, prior : ndarray, shape (n_total,), optional
        As in `Sequences`, over all sequences end to end.

    Raises
    ------
    InputError
        If there is no sequence, one is empty, a weight is negative or not finite, all are zero, or their
        number is wrong.
    """

    def __init__(
        self,
        sequences: Sequence[Codes],
        weights: Floats | None = None,
        chunk_letters: int = LETTERS_PER_CHUNK,
        free: Floats | None = None,
        prior: Floats | None = None,
    ) -> None:
        n = len(sequences)
        lengths = np.array([len(codes) for codes in sequences], dtype=np.int64)
        if not n or not lengths.all():
            got = f"sequence {int(np.argmin(lengths)) + 1} is empty" if n else "no sequence"
            raise InputError("sequences", got, "at least one, each with at least one letter")
        self.weights = check_weights(weights, n)
        self.codes = np.concatenate([np.asarray(codes, dtype=np.uint8) for codes in sequences])
        self.offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        cuts, filled = [0], 0
        for i, length in enumerate(lengths.tolist(), start=1):
            filled += length
            if filled >= chunk_letters or i == n:
                cuts.append(i)
                filled = 0
        self.cuts = cuts
        self.free = free
        self.prior = prior

    def __getitem__(self, number: int) -> Codes:
        return self.codes[self.offsets[number] : self.offsets[number + 1]]

    @property
    def n_units(self) -> int:
        return len(self.weights)

    @property
    def n_chunks(self) -> int:
        return len(self.cuts) - 1

    def chunk(self, index: int) -> Sequences:
        first, last = self.cuts[index], self.cuts[index + 1]
        offsets = self.offsets[first : last + 1]
        here = slice(offsets[0], offsets[-1])
        free, prior = (None if values is None else values[here] for values in (self.free, self.prior))
        return Sequences(self.codes[here], offsets - offsets[0], self.weights[first:last], first, free, prior)

    def drawn(self, numbers: npt.NDArray[np.int64]) -> SequenceSource:
        """Some of the sequences, each of weight 1, in this order."""
        free, prior = (
            None if values is None else np.concatenate([values[self.offsets[i] : self.offsets[i + 1]] for i in numbers])
            for values in (self.free, self.prior)
        )
        return SequenceSource([self[i] for i in numbers], free=free, prior=prior)


def weighted_sequences(data: Source[Sequences]) -> list[Sequences]:
    """The sequences of positive weight by chunk; a chunk without any is left out.

    Numbers for messages (`Sequences.first`) are those of the chunks, before anything is left out.

    Raises
    ------
    InputError
        If no sequence has weight.
    """
    parts = []
    for chunk in (data.chunk(index) for index in range(data.n_chunks)):
        used, lengths = chunk.weights > 0, np.diff(chunk.offsets)
        if used.all():
            parts.append(chunk)
        elif used.any():
            offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths[used])])
            letters = np.repeat(used, lengths)
            free, prior = (None if values is None else values[letters] for values in (chunk.free, chunk.prior))
            parts.append(Sequences(chunk.codes[letters], offsets, chunk.weights[used], chunk.first, free, prior))
    if not parts:
        raise InputError("weights", "all are zero", "at least one positive weight")
    return parts


def tree_sum(items: Iterable[S]) -> S:
    """Sum in a balanced tree whose shape depends on the number of items alone.

    Items are added as they come, so that no more than one partial sum for each level of the tree is held.

    Parameters
    ----------
    items : iterable of Stats
        At least one.

    Returns
    -------
    Stats

    Examples
    --------
    >>> tree_sum(range(1, 8))
    28
    """
    waiting: list[tuple[int, S]] = []
    for item in items:
        total, height = item, 0
        while waiting and waiting[-1][0] == height:
            total, height = waiting.pop()[1] + total, height + 1
        waiting.append((height, total))
    total = waiting.pop()[1]
    while waiting:
        total = waiting.pop()[1] + total
    return total


@dataclass(frozen=True)
class ChunkStep(Generic[P, S, C]):
    """The E-step of one chunk by its number: what an executor runs, here or in another process."""

    model: Model[P, S, C]
    source: Source[C]
    params: P
    assign: Assign

    def __call__(self, index: int) -> S:
        return self.on(self.source.chunk(index))

    def on(self, chunk: C, parts: Map | None = None) -> S:
        """The E-step of a chunk that was read already; over a map of its parts where the model offers that.

        Such a model has a method ``e_step_in_parts(params, chunk, assign, parts)`` whose result does not depend on `parts`.
        """
        inside = getattr(self.model, "e_step_in_parts", None) if parts is not None else None
        if inside is None:
            return self.model.e_step(self.params, chunk, self.assign)
        stats: S = inside(self.params, chunk, self.assign, parts)
        return stats


def is_read(source: Source[C]) -> bool:
    """Whether a chunk of `source` takes time to get, so that a thread should read ahead: its attribute ``reads``."""
    return bool(getattr(source, "reads", False))


def in_window(submit: Callable[[T], Any], items: Iterable[T], limit: int) -> Iterator[Any]:
    """Results of jobs in the order of `items`, with no more than `limit` jobs waiting beside the one that is taken.

    Parameters
    ----------
    submit : callable
        Starts the job of an item and returns a future, with ``result()`` and ``cancel()``.
    items : iterable
        Items.
    limit : int
        At least 0.
    """
    window: deque[Any] = deque()
    try:
        for item in items:
            window.append(submit(item))
            if len(window) > limit:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        for future in window:
            future.cancel()


def read_ahead(source: Source[C], indices: Sequence[int]) -> Iterator[C]:
    """Chunks in order, those of a file read by a thread of their own, at most `AHEAD` before the one in use."""
    if not is_read(source) or len(indices) < 2:
        yield from map(source.chunk, indices)
        return
    with ThreadPoolExecutor(1) as reader:
        yield from in_window(lambda index: reader.submit(source.chunk, index), indices, AHEAD)


class InTurn:
    """Work in the calling thread."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        return [function(item) for item in items]

    def sums(self, step: ChunkStep[P, S, C], indices: Sequence[int]) -> Iterator[S]:
        """Statistics of each chunk, in order."""
        return map(step.on, read_ahead(step.source, indices))


in_turn = InTurn()


class Turns(Generic[T, R]):
    """Jobs that threads take in turn, the thread that wants their results among them.

    A thread that waits for others and is woken by each of their results costs more than a short job, so the caller works
    too and waits only for what another thread has begun.

    Parameters
    ----------
    job : callable
        What is done with an item.
    items : sequence
        Items.
    limit : int
        Results that may wait for their turn, at least 1.
    """

    def __init__(self, job: Callable[[T], R], items: Sequence[T], limit: int) -> None:
        self.job = job
        self.items = items
        self.futures: dict[int, Future[R]] = {number: Future() for number in range(len(items))}
        self.left = iter(range(len(items)))
        self.room = Semaphore(limit)

    def take(self) -> bool:
        """Do the next item, there being room for its result; False where none is left."""
        number = next(self.left, None)
        if number is None:
            return False
        future = self.futures[number]
        try:
            future.set_result(self.job(self.items[number]))
        except BaseException as error:  # raised where the result is taken
            future.set_exception(error)
        return True

    def help(self) -> None:
        """Take turns until none is left: what each further thread runs."""
        while self.room.acquire() and self.take():
            pass
        self.room.release()

    def results(self, pool: ThreadPoolExecutor, helpers: int) -> Iterator[R]:
        """Results in the order of the items."""
        helping = [pool.submit(self.help) for _ in range(min(helpers, len(self.items) - 1))]
        try:
            for number in range(len(self.items)):
                while not self.futures[number].done() and self.room.acquire(blocking=False) and self.take():
                    pass
                yield self.futures.pop(number).result()
                self.room.release()
        finally:
            self.left = iter(())
            self.room.release(helpers + 1)
            for helper in helping:
                helper.cancel()


class Threads:
    """Work in threads; one more reads ahead where chunks come from a file.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        The threads, as many; where the calling one works too, one of them rests.
    threads : int
        Their number, the calling one counted.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self.pool = pool
        self.threads = threads

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        return list(Turns(function, items, max(1, len(items))).results(self.pool, self.threads - 1))

    def sums(self, step: ChunkStep[P, S, C], indices: Sequence[int]) -> Iterator[S]:
        """Statistics of each chunk, in order; at most `AHEAD` chunks a thread are read or summed before their turn.

        Where there are fewer chunks than threads and the model can sum a chunk in parts, these are shared instead.
        """
        limit = AHEAD * self.threads
        if len(indices) < self.threads and hasattr(step.model, "e_step_in_parts"):
            yield from (step.on(chunk, self) for chunk in read_ahead(step.source, indices))
            return
        if not is_read(step.source):
            yield from Turns(step, indices, limit).results(self.pool, self.threads - 1)
            return
        with ThreadPoolExecutor(1) as reader:

            def submit(index: int) -> Future[S]:
                read: Future[C] = reader.submit(step.source.chunk, index)
                return self.pool.submit(lambda: step.on(read.result()))

            yield from in_window(submit, indices, limit)


@contextmanager
def workers(threads: int) -> Iterator[InTurn | Threads]:
    """A map over `threads` threads that keeps the order of its items."""
    if threads <= 1:
        yield in_turn
        return
    with ThreadPoolExecutor(threads) as pool:
        yield Threads(pool, threads)


def total_stats(
    model: Model[P, S, C], source: Source[C], params: P, assign: Assign = "soft", chunk_map: Map = in_turn
) -> S:
    """One pass over the data: the total of the expected statistics at `params`.

    Parameters
    ----------
    model, source
        What is fitted to what.
    params : Params
        Parameters of the E-step.
    assign : Assign
        Assignment of the E-step.
    chunk_map : Map
        Ordered map over chunk numbers. One that has a method ``sums(step, indices)``, as those of
        `emtools.engine.executors.executor` have, gives the statistics one after another, in blocks whose size is a
        power of two, and they are added as they come.

    Returns
    -------
    Stats
        The same to the last bit for every executor: the sum has the shape of a balanced tree over the chunks.
    """
    step, indices = ChunkStep(model, source, params, assign), range(source.n_chunks)
    sums = getattr(chunk_map, "sums", None)
    parts: Iterable[S] = chunk_map(step, indices) if sums is None else sums(step, indices)
    return tree_sum(parts)

"""Where the chunks of a pass are worked on: this thread, threads, processes, or the workers of a Dask cluster.

Every executor adds chunks in the same tree, so that the total has the same bits wherever it was made.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal

from emtools.engine.chunks import AHEAD, ChunkStep, Map, R, T, in_turn, in_window, tree_sum, workers
from emtools.engine.protocol import Assign, C, Model, P, S, Source
from emtools.errors import EmtoolsError, InputError

Kind = Literal["serial", "threads", "processes"]
KINDS = ("serial", "threads", "processes")

CONNECT = 20  # seconds to wait for a scheduler
LARGEST_BLOCK = 16  # chunks that a worker adds before it sends their sum
BLOCKS_PER_WORKER = 4  # at least, so that none is idle at the end of a pass
SHIPMENTS = 4  # pairs of model and source that stay ready
UNWARNED = "1 TB"  # size of a shipment from which Dask may warn


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the Dask scheduler at `address`, closed at the end.

    Raises
    ------
    InputError
        If Dask is absent or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("executor", "distributed is not installed", "Dask", "pip install 'emtools[dask]'") from error
    try:
        client = Client(address, timeout=CONNECT)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(
            "executor", f"no answer from {address} ({error})", "the address of a Dask scheduler"
        ) from error
    with client:
        yield client


@contextmanager
def executor(kind: Kind | Any = "threads", n_workers: int = 1) -> Iterator[Map]:
    """A map over chunk numbers for `emtools.engine.loop.climb`, `total_stats` and `certify`.

    BLAS runs on one thread meanwhile, here and in every worker: its sums may depend on the number of its threads.

    Parameters
    ----------
    kind : {"serial", "threads", "processes"}, address of a Dask scheduler, or distributed.Client
        Where the chunks are worked on. The workers of a client must see the files of the source under the same paths.
    n_workers : int
        Threads or processes, at least 1; a client has workers of its own.

    Yields
    ------
    Map

    Raises
    ------
    InputError
        If `kind` is none of these, or `n_workers` is below 1.

    Notes
    -----
    Processes are spawned, so a script that asks for them must do so under ``if __name__ == "__main__":``. A Dask
    worker that dies loses nothing: the cluster gives its blocks, and the model and source that it held, to others.

    Examples
    --------
    >>> import numpy as np
    >>> from emtools.engine.chunks import ArraySource, total_stats
    >>> from emtools.models.mixture import GaussianMixture
    >>> model, source = GaussianMixture(2, 1), ArraySource(np.arange(12.0), chunk_rows=3)
    >>> params = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    >>> with executor("threads", 2) as chunk_map:
    ...     in_threads = total_stats(model, source, params, chunk_map=chunk_map)
    >>> in_threads.loglik == total_stats(model, source, params).loglik
    True
    """
    if isinstance(kind, str) and "://" in kind:
        with connected(kind) as client, executor(client) as chunk_map:
            yield chunk_map
        return
    is_client = not isinstance(kind, str) and hasattr(kind, "scheduler_info") and not kind.asynchronous
    if n_workers < 1 or not (is_client or kind in KINDS):
        got = f"{kind!r} with {n_workers} workers"
        raise InputError(
            "executor", got, "'serial', 'threads', 'processes' or a synchronous distributed.Client, and one worker"
        )
    with one_blas_thread:
        if is_client:
            yield Cluster(kind)
        elif kind == "processes":
            with TemporaryDirectory(prefix="emtools-") as folder, spawned(n_workers) as pool:
                yield Processes(pool, n_workers, Path(folder))
        else:
            with workers(1 if kind == "serial" else n_workers) as pool:
                yield pool


@cache
def blas_libraries() -> Any:
    """What sets the threads of the BLAS libraries of this process; found once, since that takes 10 ms."""
    import scipy.linalg  # noqa: F401  so that its library is among them
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


class OneBlasThread:
    """BLAS on one thread while anybody is in it, in whichever thread, and as before when the last one leaves."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.limit: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.limit = blas_libraries().limit(limits=1, user_api="blas")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.limit.restore_original_limits()


one_blas_thread = OneBlasThread()


def pin_blas() -> None:
    """BLAS on one thread for good; what a process does first."""
    one_blas_thread.__enter__()


@contextmanager
def spawned(n_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share nothing with this one; whatever waits is dropped at the end."""
    pool = ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=pin_blas)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def cut_blocks(indices: Sequence[int], n_workers: int) -> list[range]:
    """Chunk numbers from 0 in blocks of one size, the largest power of two that leaves every worker a few.

    The sum of such a block is a node of the tree over all chunks, so its size cannot change the total.
    """
    n, size = len(indices), 1
    while 2 * size * BLOCKS_PER_WORKER * n_workers <= n and size < LARGEST_BLOCK:
        size *= 2
    return [range(begin, min(begin + size, n)) for begin in range(0, n, size)]


@dataclass(frozen=True)
class Job:
    """The E-step of a block of chunks, without the model and source, which its worker has.

    Parameters
    ----------
    params : Params
        Parameters of this pass.
    assign : Assign
        Assignment of this pass.
    block : range
        Chunk numbers.
    """

    params: Any
    assign: Assign
    block: range

    def run(self, pair: tuple[Any, Any]) -> Any:
        """Sum of the statistics of the block, given model and source."""
        return tree_sum(in_turn.sums(ChunkStep(*pair, self.params, self.assign), self.block))


@lru_cache(maxsize=1)
def loaded(path: Path) -> tuple[Any, Any]:
    """Model and source from the file that the parent wrote; the last one stays."""
    with open(path, "rb") as file:
        pair: tuple[Any, Any] = pickle.load(file)
    return pair


def run_from_file(path: Path, job: Job) -> Any:
    """What a process of `Processes` runs."""
    return job.run(loaded(path))


class Processes:
    """Work in processes of this machine. Model and source reach each of them once.

    Parameters
    ----------
    pool : ProcessPoolExecutor
        The processes.
    n_workers : int
        Their number.
    folder : Path
        Where shipments are written.
    """

    def __init__(self, pool: ProcessPoolExecutor, n_workers: int, folder: Path) -> None:
        self.pool = pool
        self.n_workers = n_workers
        self.folder = folder
        self.shipments = Shipments(self.write)
        self.written = 0

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Function and items must be picklable."""
        with broken_pool_named():
            return list(self.pool.map(function, items))

    def sums(self, step: ChunkStep[P, S, C], indices: Sequence[int]) -> Iterator[S]:
        """Statistics of blocks of chunks, in order."""
        path = self.shipments.of(step.model, step.source)

        def submit(block: range) -> Future[Any]:
            return self.pool.submit(run_from_file, path, Job(step.params, step.assign, block))

        with broken_pool_named():
            yield from in_window(submit, cut_blocks(indices, self.n_workers), AHEAD * self.n_workers)

    def write(self, model: Any, source: Any) -> Path:
        """Write a shipment."""
        path = self.folder / f"{self.written}.pickle"
        self.written += 1
        try:
            with open(path, "wb") as file:
                pickle.dump((model, source), file, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            got = f"{model.name} or its data cannot be sent to a process ({error})"
            raise InputError("executor", got, "", "define the model at the top of a module, or use threads") from error
        return path


@contextmanager
def broken_pool_named() -> Iterator[None]:
    """A failure that a person can act on, where a process was killed."""
    try:
        yield
    except BrokenProcessPool as error:
        got = "a worker process ended before its work did (killed, or the start of the script is not guarded)"
        remedy = "use fewer workers, and call fit under if __name__ == '__main__'"
        raise EmtoolsError("executor", got, "", remedy) from error


@contextmanager
def lost_cluster_named(*more: type[Exception]) -> Iterator[None]:
    """A failure that a person can act on, where a scheduler went away or a task took worker after worker with it."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    lost: tuple[type[BaseException], ...] = (KilledWorker, CommClosedError, CancelledError, *more)
    try:
        yield
    except lost as error:
        if isinstance(error, KilledWorker):
            got, remedy = "several workers were killed at the same work", "give workers more memory"
        else:
            got, remedy = "the connection to the Dask scheduler was lost", "start it again"
        raise EmtoolsError("executor", got, "", f"{remedy}; with --checkpoint the same command goes on") from error


class Shipments:
    """Pairs of model and source that the workers can get, the last few of them.

    Parameters
    ----------
    send : callable
        ``send(model, source)`` makes a pair available and returns what a worker needs to get it.
    """

    def __init__(self, send: Callable[[Any, Any], Any]) -> None:
        self.send = send
        self.sent: list[tuple[Any, Any, Any]] = []

    def of(self, model: Model[P, S, C], source: Source[C]) -> Any:
        """What a worker needs to get this pair; sent on first use."""
        for known_model, known_source, shipment in self.sent:
            if known_model is model and known_source is source:
                return shipment
        shipment = self.send(model, source)
        self.sent = [*self.sent[1 - SHIPMENTS :], (model, source, shipment)]
        return shipment


def as_pair(model: Any, source: Any) -> tuple[Any, Any]:
    """A task whose result is its arguments: lost with its worker, it is simply run again."""
    return model, source


def run_on_worker(pair: tuple[Any, Any], job: Job) -> Any:
    """What a worker of a cluster runs."""
    with one_blas_thread:
        return job.run(pair)


class Cluster:
    """Work on the workers of a Dask cluster.

    Model and source are the result of a task that every other task depends on: the scheduler copies it from worker to
    worker, and runs the task again where all copies are lost.

    Parameters
    ----------
    client : distributed.Client
        Stays open at the end.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.shipments = Shipments(self.submit_pair)

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Function and items must be picklable."""
        with lost_cluster_named():
            return self.client.gather(self.client.map(function, items, pure=False))  # type: ignore[no-any-return]

    def sums(self, step: ChunkStep[P, S, C], indices: Sequence[int]) -> Iterator[S]:
        """Statistics of blocks of chunks, in order."""

        def submit(block: range) -> Any:
            return self.client.submit(run_on_worker, pair, Job(step.params, step.assign, block), pure=False)

        with lost_cluster_named(OSError):  # which nothing but the connection raises here
            threads = max(1, sum(self.client.nthreads().values()))
        with lost_cluster_named():
            pair = self.shipments.of(step.model, step.source)
            yield from in_window(submit, cut_blocks(indices, threads), AHEAD * threads)

    def submit_pair(self, model: Any, source: Any) -> Any:
        """Send a shipment."""
        import dask

        with dask.config.set({"distributed.admin.large-graph-warning-threshold": UNWARNED}):
            return self.client.submit(as_pair, model, source, pure=False)

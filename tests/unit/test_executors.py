"""Whatever works on the chunks, the total has the same bits; nothing is lost when a worker dies."""

from __future__ import annotations

import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from emtools.engine.chunks import AHEAD, ArraySource, ListSource, Rows, in_window, total_stats, tree_sum, workers
from emtools.engine.executors import LARGEST_BLOCK, Cluster, OneBlasThread, Processes, Shipments, cut_blocks, executor
from emtools.engine.protocol import Stats
from emtools.engine.starts import fit
from emtools.errors import EmtoolsError, InputError
from emtools.io.fitfile import fit_record, write_record
from emtools.io.rows import rows_source
from emtools.models.mixture import GaussianMixture
from emtools.models.normal import MultivariateNormal, PatternSource


def groups(n=4000, d=5, k=3, scale=2.0):
    rng = np.random.default_rng(2)
    return rng.normal(scale=scale, size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def bits(stats):
    """Every number of the statistics of a mixture, as bytes."""
    plain = (stats.n, stats.loglik, stats.entropy)
    return pickle.dumps(plain) + b"".join(a.tobytes() for a in (stats.counts, stats.first, stats.second))


def mixture(folder):
    """A model, a source on disk in 37 chunks, and parameters."""
    values = groups()
    np.save(folder / "rows.npy", values.astype(np.float32))
    source = rows_source(folder / "rows.npy", np.tile([1.0, 2.0, 0.5, 0.0], 1000), chunk_rows=110)
    assert source.n_chunks == 37
    model = GaussianMixture(3, 5)
    return model, source, model.initial_params(source, np.random.default_rng(0), "kmeans++")


def recursive_tree(items):
    """Pairs, pairs of pairs and so on; what is left over joins at the end."""
    if len(items) == 1:
        return items[0]
    half = 2 ** math.ceil(math.log2(len(items)) - 1)
    return recursive_tree(items[:half]) + recursive_tree(items[half:])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 37, 64, 100])
def test_the_tree_has_one_shape_whatever_the_blocks(n):
    rng = np.random.default_rng(n)
    items = [Stats(1.0, value, 0.0) for value in rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, size=n)]
    expected = recursive_tree(items)
    assert tree_sum(iter(items)) == expected
    for n_workers in (1, 2, 3):
        blocks = cut_blocks(range(n), n_workers)
        assert [i for block in blocks for i in block] == list(range(n))
        assert len(blocks[0]) <= LARGEST_BLOCK
        assert tree_sum(tree_sum(items[i] for i in block) for block in blocks) == expected
    if n == 100:
        assert tree_sum(items).loglik != sum(item.loglik for item in items), "the order cannot be seen in these numbers"


@dataclass(frozen=True)
class Counting(Stats):
    """Statistics that know how many of their kind are alive."""

    alive = 0
    most = 0

    def __post_init__(self):
        Counting.alive += 1
        Counting.most = max(Counting.most, Counting.alive)

    def __del__(self):
        Counting.alive -= 1


class CountingModel:
    name = "counting"

    def e_step(self, params, chunk, assign="soft"):
        return Counting(1.0, 0.0, 0.0)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_statistics_of_all_chunks_are_never_held_at_once(threads):
    Counting.alive = Counting.most = 0
    source = ListSource(list(range(1024)), 1024)
    with workers(threads) as pool:
        assert total_stats(CountingModel(), source, None, chunk_map=pool).n == 1024
    assert Counting.most <= 10 + 3 + 2 * AHEAD * threads


@pytest.mark.parametrize("threads", [2, 3])
def test_the_calling_thread_works_too_and_results_keep_their_order(threads):
    def job(item):
        time.sleep(0.002 * (item % 3))
        return item, threading.current_thread() is threading.main_thread()

    with workers(threads) as pool:
        done = pool(job, range(30))
        assert pool(job, []) == []
        assert pool(job, [7]) == [(7, True)]
    assert [item for item, _ in done] == list(range(30))
    assert {here for _, here in done} == {True, False}


def test_a_failure_of_any_thread_is_raised_by_the_caller_and_ends_the_others():
    begun = []

    def job(item):
        begun.append(item)
        time.sleep(0.001)
        if item == 5:
            raise ValueError("five")
        return item

    with workers(2) as pool, pytest.raises(ValueError, match="five"):
        pool(job, range(1000))
    assert len(begun) < 50


def test_work_within_work_ends_where_all_threads_are_taken():
    with workers(2) as pool:
        got = pool(lambda i: sum(pool(lambda j: 10 * i + j, range(5))), range(8))
    assert got == [50 * i + 10 for i in range(8)]


def test_jobs_wait_in_a_window_and_are_cancelled_after_a_failure():
    class Job:
        def __init__(self, item):
            self.item, self.cancelled = item, False
            made.append(self)

        def result(self):
            if self.item == 5:
                raise ValueError("five")
            return self.item

        def cancel(self):
            self.cancelled = True

    made: list[Job] = []
    for taken, result in enumerate(in_window(Job, range(5), 3)):
        assert result == taken
        assert len(made) <= taken + 4
    made.clear()
    with pytest.raises(ValueError, match="five"):
        list(in_window(Job, range(100), 3))
    assert [job.item for job in made if job.cancelled] == [6, 7, 8]
    assert len(made) == 9


@contextmanager
def local_cluster():
    """Two workers that are processes of their own, and a client."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client, local


@pytest.fixture(scope="module")
def cluster():
    """A client of two workers that nobody kills."""
    with local_cluster() as (client, _):
        yield client


@pytest.fixture(scope="module")
def processes():
    """Two processes."""
    with executor("processes", 2) as pool:
        assert isinstance(pool, Processes)
        yield pool


@pytest.fixture(scope="module")
def chunk_maps(cluster, processes):
    """Every executor by name."""
    with (
        executor("serial") as serial,
        executor("threads", 2) as two,
        executor("threads", 4) as four,
        executor(cluster) as dask,
    ):
        yield {"serial": serial, "2 threads": two, "4 threads": four, "processes": processes, "Dask": dask}


def test_every_executor_gives_the_same_bits(tmp_path, chunk_maps):
    model, source, params = mixture(tmp_path)
    plain = tree_sum([model.e_step(params, source.chunk(i)) for i in range(source.n_chunks)])
    totals = {"plain": bits(plain)}
    for name, chunk_map in chunk_maps.items():
        totals[name] = bits(total_stats(model, source, params, chunk_map=chunk_map))
        assert bits(total_stats(model, source, params, chunk_map=chunk_map)) == totals[name], "second pass"
    assert len(set(totals.values())) == 1, [name for name, value in totals.items() if value != totals["plain"]]
    fewer = rows_source(tmp_path / "rows.npy", source.weights, chunk_rows=400)
    assert bits(total_stats(model, fewer, params)) != totals["plain"], "the order cannot be seen in these numbers"


def test_a_model_that_uses_blas_too(chunk_maps):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(900, 40)) @ rng.normal(size=(40, 40))
    values[rng.random(values.shape) < 0.03] = np.nan
    source, model = PatternSource(values, chunk_patterns=20), MultivariateNormal(40)
    params = model.m_step(total_stats(model, source, start := model.initial_params(source, rng, "moments")), start)
    totals = []
    for chunk_map in chunk_maps.values():
        stats = total_stats(model, source, params, chunk_map=chunk_map)
        totals.append((stats.loglik, stats.entropy, stats.first.tobytes(), stats.second.tobytes()))
    assert len(set(totals)) == 1


def test_model_and_source_are_sent_once(tmp_path, processes):
    model, source, params = mixture(tmp_path)
    before = processes.written
    for _ in range(3):
        total_stats(model, source, params, chunk_map=processes)
    assert processes.written == before + 1
    total_stats(replace(model), source, params, chunk_map=processes)
    assert processes.written == before + 2
    assert processes(abs, [-1, 2, -3]) == [1, 2, 3]


def test_old_shipments_are_forgotten():
    sent = []
    shipments = Shipments(lambda model, source: sent.append(model) or len(sent))
    models = [object() for _ in range(6)]
    assert [shipments.of(m, None) for m in models] == [1, 2, 3, 4, 5, 6]
    assert shipments.of(models[5], None) == 6
    assert shipments.of(models[0], None) == 7


def test_what_cannot_be_sent_is_named(processes):
    source = ArraySource(groups(50))
    model = GaussianMixture(2, 5)
    params = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    source.secret = lambda: None
    with pytest.raises(InputError, match=r"cannot be sent to a process.*use threads"):
        total_stats(model, source, params, chunk_map=processes)


class Deadly(ListSource):
    """A source that ends the process that reads it."""

    def chunk(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_one_clear_error():
    with executor("processes", 1) as pool, pytest.raises(EmtoolsError, match="a worker process ended") as caught:
        total_stats(CountingModel(), Deadly([0], 1), None, chunk_map=pool)
    assert "\n" not in str(caught.value)
    assert not pool.folder.exists()


def test_an_error_of_a_source_arrives_as_it_is(tmp_path, chunk_maps):
    values = groups(400)
    values[333, 2] = np.nan
    np.save(tmp_path / "rows.npy", values)
    source, model = rows_source(tmp_path / "rows.npy", chunk_rows=50), GaussianMixture(2, 5)
    params = model.initial_params(ArraySource(groups(400)), np.random.default_rng(0), "kmeans++")
    for chunk_map in chunk_maps.values():
        with pytest.raises(InputError, match="row 334, column 3 is nan"):
            total_stats(model, source, params, chunk_map=chunk_map)


@pytest.mark.parametrize("wrong", [("astrology", 1), ("threads", 0), (None, 1)])
def test_wrong_executors_are_refused(wrong):
    with pytest.raises(InputError, match="executor"), executor(*wrong):
        pass


def blas_threads():
    from threadpoolctl import threadpool_info

    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def blas_threads_of(_):
    return blas_threads()


def test_blas_runs_on_one_thread_and_as_before_afterwards(processes):
    from threadpoolctl import threadpool_limits

    outer = OneBlasThread()
    with threadpool_limits(2, user_api="blas"):
        with outer, outer:
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        assert processes(blas_threads_of, [0]) == [{1}]
        assert blas_threads() == {2}
    with executor("threads", 2):
        assert blas_threads() == {1}


class Slow(ArraySource):
    """Chunks that take long enough for a worker to be killed while it has one."""

    def chunk(self, index):
        time.sleep(0.02)
        return super().chunk(index)


def fit_json(fitted, folder):
    """The bytes of fit.json."""
    record = fit_record(fitted, branch="mixture", inputs=[], command=["emtools"])
    write_record(record, folder / "fit.json")
    return (folder / "fit.json").read_bytes()


def test_fit_json_has_the_same_bytes_for_every_executor(tmp_path, cluster):
    np.save(tmp_path / "rows.npy", groups(1500, d=2, k=2).astype(np.float32))
    source, model = rows_source(tmp_path / "rows.npy", chunk_rows=170), GaussianMixture(2, 2)
    assert source.n_chunks == 9
    kinds = [("serial", 1), ("threads", 1), ("threads", 2), ("threads", 4), ("processes", 2), (cluster, 1)]
    written = [fit_json(fit(model, source, executor=kind, threads=threads), tmp_path) for kind, threads in kinds]
    assert b'"converged"' in written[0]
    assert b'"standard_error' in written[0] or b'"se"' in written[0]
    assert len(set(written)) == 1


def is_dead(pid):
    """Whether a process has ended."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize("lost", ["one", pytest.param("both", marks=pytest.mark.slow)])
def test_a_dask_worker_killed_in_mid_fit_loses_nothing(lost, tmp_path):
    """Where both are killed, model and source are lost with them, and two other workers join."""
    values = groups(2000)
    model, slow = GaussianMixture(3, 5), Slow(values, chunk_rows=60)
    quick = ArraySource(values, chunk_rows=60)
    options = {"init": [model.initial_params(quick, np.random.default_rng(0), "kmeans++")], "max_passes": 6}
    undisturbed = fit(model, quick, certificate=False, **options)
    with local_cluster() as (client, local):
        victims = list(client.run(os.getpid).values())[: 2 if lost == "both" else 1]

        def kill():
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            if lost == "both":
                local.scale(4)

        def on_pass(row):
            if row.number == 1:
                threading.Timer(0.1, kill).start()

        disturbed = fit(model, slow, certificate=False, executor=client, on_pass=on_pass, **options)
        assert all(map(is_dead, victims)), "nobody was killed"
    assert disturbed.passes > 3
    assert fit_json(disturbed, tmp_path) == fit_json(undisturbed, tmp_path)


@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_cluster_that_is_lost_is_one_clear_error(lost):
    distributed = pytest.importorskip("distributed")
    errors = {
        "workers": distributed.KilledWorker("task", None, 3),
        "scheduler": distributed.client.FutureCancelledError("task", "scheduler-connection-lost"),
    }
    client = MagicMock()
    client.gather.side_effect = errors[lost]
    with pytest.raises(EmtoolsError, match=f"{lost}? .*with --checkpoint the same command goes on"):
        Cluster(client)(len, [()])
    client.nthreads.side_effect = OSError("Timed out trying to connect")
    with pytest.raises(EmtoolsError, match="the connection to the Dask scheduler was lost"):
        list(Cluster(client).sums(None, [0]))


def test_a_dask_collection_on_its_own_workers(cluster):
    da = pytest.importorskip("dask.array")
    values = groups(600)
    source, model = rows_source(da.from_array(values, chunks=(50, 5))), GaussianMixture(2, 5)
    params = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    with executor(cluster) as chunk_map:
        got = total_stats(model, source, params, chunk_map=chunk_map)
    assert bits(got) == bits(total_stats(model, ArraySource(values, chunk_rows=50), params))
    with pytest.raises(InputError, match=r"Dask array: it is persisted on a cluster.*before persist\(\)"):
        rows_source(da.from_array(values, chunks=(50, 5)).persist())


SCRIPT = """
import numpy as np
from emtools.engine.chunks import total_stats
from emtools.engine.executors import executor
from emtools.io.fitfile import fit_record, write_record
from emtools.io.rows import rows_source
from emtools.models.mixture import GaussianMixture

class Own(GaussianMixture):
    pass

if __name__ == "__main__":
    source = rows_source("rows.npy", chunk_rows=40)
    model = Own(2, 5)
    params = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    with executor("processes", 2) as pool:
        print(total_stats(model, source, params, chunk_map=pool).loglik == total_stats(model, source, params).loglik)
"""


def test_processes_work_from_a_script(tmp_path):
    np.save(tmp_path / "rows.npy", groups(300))
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr
    assert done.stderr == ""


def test_one_chunk_and_64_agree_after_a_whole_fit():
    values = groups(6400, scale=4.0) + 50.0
    model = GaussianMixture(3, 5)
    start = model.initial_params(ArraySource(values), np.random.default_rng(0), "kmeans++")
    one, many = (
        fit(model, ArraySource(values, chunk_rows=c), init=[start], tol=1e-9, certificate=False) for c in (6400, 100)
    )
    assert many.model is model
    assert one.loglik == pytest.approx(many.loglik, rel=1e-12, abs=0.0)
    assert_close(one.params, many.params, 1e-12)


def assert_close(one, two, rtol):
    """Every array of two parameters, relative to its largest value."""
    for name in one.__dataclass_fields__:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(two, name))
        np.testing.assert_allclose(a, b, rtol=0.0, atol=rtol * np.abs(a).max(), err_msg=name)


def test_a_weighted_fit_is_the_replicated_fit():
    values, times = groups(1500, scale=4.0) + 50.0, np.random.default_rng(3).integers(0, 4, size=1500)
    model = GaussianMixture(3, 5)
    start = model.initial_params(ArraySource(values), np.random.default_rng(0), "kmeans++")
    sources = ArraySource(values, times.astype(float)), ArraySource(np.repeat(values, times, axis=0))
    weighted, replicated = (fit(model, source, init=[start], tol=1e-9, certificate=False) for source in sources)
    assert weighted.loglik == pytest.approx(replicated.loglik, rel=1e-12, abs=0.0)
    assert_close(weighted.params, replicated.params, 1e-12)


OFFSET = 1e8  # standard deviations


def shifted(values):
    """The table moved by `OFFSET` standard deviations of each column, and what the rounding of that leaves near 0."""
    far = values + OFFSET * np.nanstd(values, axis=0)
    return far, far - OFFSET * np.nanstd(values, axis=0)


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical"])
def test_an_offset_of_1e8_standard_deviations_costs_no_likelihood(family):
    far, near = shifted(groups(2000))
    assert 1e-9 < np.abs(near - groups(2000)).max() < 1e-6, "what float64 holds at this offset"
    model = GaussianMixture(3, 5, family)
    start = model.initial_params(ArraySource(near), np.random.default_rng(0), "kmeans++")
    moved = replace(start, means=start.means + OFFSET * np.nanstd(groups(2000), axis=0))
    at_home, away = (fit(model, ArraySource(x), init=[p], certificate=False) for x, p in ((near, start), (far, moved)))
    assert at_home.converged
    assert away.converged
    assert away.loglik == pytest.approx(at_home.loglik, rel=0.0, abs=1e-6)
    own = fit(model, ArraySource(far), certificate=False)
    assert math.isfinite(own.loglik)
    assert own.loglik == pytest.approx(fit(model, ArraySource(near), certificate=False).loglik, rel=0.0, abs=1e-6)


def test_an_offset_costs_the_normal_with_gaps_nothing_either():
    values = groups(600) @ np.random.default_rng(1).normal(size=(5, 5))
    values[np.random.default_rng(2).random(values.shape) < 0.2] = np.nan
    far, near = shifted(values)
    at_home, away = (fit(MultivariateNormal(5), PatternSource(table), certificate=False) for table in (near, far))
    assert at_home.converged
    assert away.converged
    assert away.loglik == pytest.approx(at_home.loglik, rel=0.0, abs=1e-6)


def test_rows_in_any_memory_order_give_the_same_bits():
    values = groups(700)
    model = GaussianMixture(3, 5)
    params = model.initial_params(ArraySource(values), np.random.default_rng(0), "kmeans++")
    ones = np.ones(700)
    plain, columns = (model.e_step(params, Rows(v, ones)) for v in (values, np.asfortranarray(values)))
    assert bits(plain) == bits(columns)
    wide = np.repeat(values, 2, axis=1)[:, ::2]
    assert bits(model.e_step(params, Rows(wide, ones))) == bits(plain)


def test_the_examples_of_the_how_to_run(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs/howto/big_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), "big_data.md", "exec"), {"__name__": "__main__"})
    verdict, in_threads, on_dask = capsys.readouterr().out.splitlines()
    assert verdict.startswith("Converged")
    assert in_threads == on_dask

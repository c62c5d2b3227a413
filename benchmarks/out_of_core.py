"""Fits of tables that stay on disk, beside the same rows in memory: ``python -m benchmarks.out_of_core``.

The fit from disk has a process of its own, whose peak resident memory is read at its end (``growth_mb``: above that at the smallest
size). Then come passes at the parameters that made the rows, which cost the same for each row at any size: the median is what
``cpu_to_smallest`` tells. The pages of the file are dropped from the cache of the system before each pass, where it lets us. Another
process alternates passes over disk and memory, so that a busy machine slows both: the median ratio of neighbours is what to quote.
Beside a table that is too large for memory, its first rows are held in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from emtools.engine.chunks import total_stats
from emtools.engine.executors import executor
from emtools.engine.loop import climb
from emtools.engine.tables import TableSource
from emtools.io.rows import rows_source
from emtools.models.mixture import GaussianMixture, MixtureParams

MILLIONS = (0.2, 2.0, 20.0)
IN_MEMORY = 5_000_000  # rows, at most
FEATURES, GROUPS = 30, 10
PASSES, PAIRS, THREADS = 2, 3, 2
ENOUGH = 2.0  # CPU seconds of passes over a small file
BLOCK = 100_000  # rows made at a time
TABLE = Path(__file__).with_name("out_of_core.tsv")


def truth() -> tuple[MixtureParams, np.ndarray]:
    """Overlapping groups, each with a covariance of its own, and the matrices that give rows these."""
    rng = np.random.default_rng(6)
    centres = rng.normal(scale=1.5, size=(GROUPS, FEATURES))
    mixing = np.eye(FEATURES) + 0.15 * rng.normal(size=(GROUPS, FEATURES, FEATURES))
    weights = np.full(GROUPS, 1.0 / GROUPS)
    return MixtureParams(weights, centres, mixing.swapaxes(1, 2) @ mixing), mixing


def write_rows(path: Path, n: int) -> None:
    """Rows of the groups, as float32."""
    params, mixing = truth()
    rng = np.random.default_rng(7)
    centres, mixing = params.means.astype(np.float32), mixing.astype(np.float32)
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, FEATURES)}
        np.lib.format.write_array_header_2_0(file, header)
        for begin in range(0, n, BLOCK):
            size = min(BLOCK, n - begin)
            rows = rng.standard_normal((size, FEATURES), dtype=np.float32)
            group = rng.integers(GROUPS, size=size)
            for k in range(GROUPS):
                rows[group == k] = rows[group == k] @ mixing[k] + centres[k]
            rows.tofile(file)
        file.flush()
        os.fsync(file.fileno())


def drop_pages(path: Path) -> None:
    """Ask the system to forget the pages of a file, so that the next pass reads the disk."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cpu_seconds() -> float:
    """CPU seconds of this process so far, reading included."""
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def fit_from_disk(path: Path) -> dict[str, float]:
    """A fit of a few passes: peak memory of this process; then CPU seconds per row of a pass."""
    model, source = prepare(path)
    with executor("threads", THREADS) as chunk_map:
        drop_pages(path)
        start = model.initial_params(source, np.random.default_rng(1), "kmeans++")
        done = climb(
            model,
            source,
            start,
            max_passes=PASSES,
            accelerate=False,
            chunk_map=chunk_map,
            on_pass=lambda _: drop_pages(path),
        )
        peak = getrusage(RUSAGE_SELF).ru_maxrss / 2**20
        spent: list[float] = []
        params = truth()[0]
        while len(spent) < PAIRS or sum(spent) < ENOUGH:
            drop_pages(path)
            began = cpu_seconds()
            model.m_step(total_stats(model, source, params, chunk_map=chunk_map), params)
            spent.append(cpu_seconds() - began)
    return {"peak_gib": peak, "cpu": float(np.median(spent)) / source.n_units, "loglik": done.loglik}


def alternate(path: Path) -> dict[str, float]:
    """Passes over disk and memory in turn: median ratios of their times per row."""
    (model, disk), params = prepare(path), truth()[0]
    memory = rows_source(np.array(np.load(path, mmap_mode="r")[:IN_MEMORY]))
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    total = {}
    with executor("threads", THREADS) as chunk_map:
        for _ in range(PAIRS):
            for on_disk, source in ((True, disk), (False, memory)):
                drop_pages(path)
                began = perf_counter(), cpu_seconds()
                total[on_disk] = total_stats(model, source, params, chunk_map=chunk_map).loglik
                wall[on_disk].append((perf_counter() - began[0]) / source.n_units)
                cpu[on_disk].append((cpu_seconds() - began[1]) / source.n_units)
    if disk.n_units == memory.n_units and total[True] != total[False]:
        raise SystemExit("disk and memory give different log-likelihoods")
    ratios = {
        name: float(np.median(np.array(seconds[True]) / np.array(seconds[False])))
        for name, seconds in (("wall_to_memory", wall), ("cpu_to_memory", cpu))
    }
    return {**ratios, "memory_cpu": min(cpu[False])}


def prepare(path: Path) -> tuple[GaussianMixture, TableSource]:
    """Model and rows; what is compiled on first use is compiled."""
    model = GaussianMixture(GROUPS, FEATURES)
    warm = rows_source(np.random.default_rng(0).normal(size=(1000, FEATURES)))
    start = model.initial_params(warm, np.random.default_rng(0), "kmeans++")
    model.m_step(model.e_step(start, warm.chunk(0)), start)
    return model, rows_source(path)


def in_fresh_process(path: Path, task: str) -> dict[str, float]:
    """`fit_from_disk` or `alternate` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.out_of_core", "--task", task, str(path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Write the table, or do one task of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=tuple(TASKS), help="one task on the file that is named")
    parser.add_argument("--millions", type=float, nargs="+", default=list(MILLIONS), help="sizes in million rows")
    parser.add_argument("--folder", type=Path, help="where the rows are written; a temporary folder by default")
    parser.add_argument("path", type=Path, nargs="?")
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](options.path)))
        return
    lines = ["rows\tpeak_gib\tgrowth_mb\twall_to_memory\tcpu_to_memory\tcpu_to_smallest\tloglik"]
    smallest: dict[str, float] = {}
    with TemporaryDirectory(prefix="emtools-", dir=options.folder) as folder:
        for n in (int(millions * 1e6) for millions in options.millions):
            path = Path(folder) / "rows.npy"
            write_rows(path, n)
            done = {**in_fresh_process(path, "alternate"), **in_fresh_process(path, "disk")}
            path.unlink()
            smallest = smallest or done
            to_smallest = done["cpu"] / smallest["cpu"]
            ratios = [f"{r:.3f}" for r in (done["wall_to_memory"], done["cpu_to_memory"], to_smallest)]
            memory = [f"{done['peak_gib']:.3f}", f"{1024 * (done['peak_gib'] - smallest['peak_gib']):.0f}"]
            lines.append("\t".join([str(n), *memory, *ratios, f"{done['loglik']:.12g}"]))
            print(lines[-1], done, os.getloadavg(), flush=True)
            TABLE.write_text("\n".join(lines) + "\n")


TASKS = {"disk": fit_from_disk, "alternate": alternate}

if __name__ == "__main__":
    main()

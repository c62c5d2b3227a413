"""Fits of tables that stay on disk, beside fits of the same rows in memory: ``python -m benchmarks.out_of_core``.

Every fit has a process of its own, whose peak resident memory is read at its end. The pages of the file are dropped
from the cache of the system before each pass, where it lets us. Times are the best of a few passes and rounds, disk and
memory in turn, so that a busy machine slows both; only their ratios are to be quoted. Beside a table that is too large
for memory, its first rows are fitted in memory.
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

MILLIONS = (1.0, 5.0, 20.0)
IN_MEMORY = 5_000_000  # rows, at most
FEATURES, GROUPS = 30, 10
PASSES, ROUNDS, THREADS = 3, 2, 2
BLOCK = 100_000  # rows made at a time
TABLE = Path(__file__).with_name("out_of_core.tsv")


def write_rows(path: Path, n: int) -> None:
    """Rows of overlapping groups, each with a covariance of its own, as float32."""
    rng = np.random.default_rng(6)
    centres = rng.normal(scale=1.5, size=(GROUPS, FEATURES)).astype(np.float32)
    mixing = np.eye(FEATURES) + 0.15 * rng.normal(size=(GROUPS, FEATURES, FEATURES))
    mixing = mixing.astype(np.float32)
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


def fit_once(path: Path, where: str) -> dict[str, float]:
    """Fit the rows of `path` from ``"disk"`` or ``"memory"``: what this process needed."""
    from emtools.engine.executors import executor
    from emtools.engine.loop import climb
    from emtools.engine.result import Pass
    from emtools.io.rows import rows_source
    from emtools.models.mixture import GaussianMixture

    model = GaussianMixture(GROUPS, FEATURES)
    warm = rows_source(np.random.default_rng(0).normal(size=(1000, FEATURES)))
    model.e_step(model.initial_params(warm, np.random.default_rng(0), "kmeans++"), warm.chunk(0))

    source = rows_source(path if where == "disk" else np.array(np.load(path, mmap_mode="r")[:IN_MEMORY]))
    start = model.initial_params(source, np.random.default_rng(1), "kmeans++")
    wall, cpu = [], []

    def cpu_seconds() -> float:
        used = getrusage(RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def on_pass(row: Pass) -> None:
        wall.append(perf_counter() - began[0])
        cpu.append(cpu_seconds() - began[1])
        if where == "disk":
            drop_pages(path)
        began[:] = [perf_counter(), cpu_seconds()]

    if where == "disk":
        drop_pages(path)
    began = [perf_counter(), cpu_seconds()]
    with executor("threads", THREADS) as chunk_map:
        done = climb(model, source, start, max_passes=PASSES, accelerate=False, chunk_map=chunk_map, on_pass=on_pass)
    return {
        "peak_gib": getrusage(RUSAGE_SELF).ru_maxrss / 2**20,
        "wall": min(wall) / source.n_units,
        "cpu": min(cpu) / source.n_units,
        "loglik": done.loglik,
        "passes": len(wall),
    }


def in_fresh_process(path: Path, where: str) -> dict[str, float]:
    """`fit_once` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.out_of_core", "--fit", where, str(path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(millions: float, folder: Path) -> list[dict[str, object]]:
    """Rows of the table for one size."""
    path, n = folder / "rows.npy", int(millions * 1e6)
    write_rows(path, n)
    runs: dict[str, list[dict[str, float]]] = {"disk": [], "memory": []}
    for _ in range(ROUNDS):
        for kind, done in runs.items():
            done.append(in_fresh_process(path, kind))
            print(kind, n, done[-1], os.getloadavg(), file=sys.stderr, flush=True)
    path.unlink()
    if n <= IN_MEMORY and len({run["loglik"] for done in runs.values() for run in done}) != 1:
        raise SystemExit(f"{n} rows: disk and memory give different log-likelihoods")
    return [
        {
            "rows": min(n, IN_MEMORY) if kind == "memory" else n,
            "kept_on": kind,
            "peak_gib": round(max(run["peak_gib"] for run in done), 3),
            "wall": min(run["wall"] for run in done),
            "cpu": min(run["cpu"] for run in done),
            "loglik": done[0]["loglik"],
        }
        for kind, done in runs.items()
    ]


def main() -> None:
    """Write the table, or one fit of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", choices=("disk", "memory"), help="one fit of the file that is named")
    parser.add_argument("--millions", type=float, nargs="+", default=list(MILLIONS), help="sizes in million rows")
    parser.add_argument("--folder", type=Path, help="where the rows are written; a temporary folder by default")
    parser.add_argument("path", type=Path, nargs="?")
    options = parser.parse_args()
    if options.fit:
        print(json.dumps(fit_once(options.path, options.fit)))
        return
    lines = ["rows\tkept_on\tpeak_gib\twall_to_memory\tcpu_to_memory\tloglik"]
    with TemporaryDirectory(prefix="emtools-", dir=options.folder) as folder:
        for millions in options.millions:
            disk, memory = measure(millions, Path(folder))
            for row in (disk, memory):
                ratios = [f"{row[kind] / memory[kind]:.3f}" for kind in ("wall", "cpu")]  # type: ignore[operator]
                told = [row["rows"], row["kept_on"], row["peak_gib"], *ratios, f"{row['loglik']:.12g}"]
                lines.append("\t".join(map(str, told)))
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()

"""The normal with gaps against R's and scikit-learn's: ``python -m benchmarks.impute_speed``.

CPU seconds of one thread, set-up of the table included and reading it left out, each in a process of its own. Ours is
fitted before and after each peer, so that a busy machine slows both: the ratio to the mean of the two is what to quote,
once for our whole fit (``times_ours``) and once for our time until the trace reaches the log-likelihood that the peer ends
with (``times_same``). The log-likelihood of every answer is computed by one function. A peer that runs long is stopped
(``--limit``): its seconds and ratios are then lower bounds, which do not replace stored figures that they allow. Rows that are not run again stay in the table. With ``--rows``
the same model is fitted to Parquet files that stay on disk, with ``--walls`` on one thread and two.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RLIMIT_CPU, RUSAGE_SELF, getrusage, setrlimit
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.timing import clocks, memory_now, resident, spread
from emtools.engine.chunks import total_stats
from emtools.engine.executors import executor
from emtools.engine.loop import climb
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource

SIZES = ("10000x20", "2000x200", "100000x50")
SMALL = 250_000  # values, up to which peers are also run to a tighter criterion than their own
SHARE = 0.2  # missing
RIGHT = 1e-3  # nats that an answer may lack
LIMIT = 300  # CPU seconds
ROUNDS, QUICK = 5, 3.0  # repeats of a peer that takes fewer seconds
MILLIONS = (1.0, 3.0, 10.0)
STREAMED, PIECE = 10, 100_000  # columns, rows made at a time
PASSES = 5
TABLE = Path(__file__).with_name("impute_speed.tsv")
STREAMING = Path(__file__).with_name("impute_streaming.tsv")
WALLS = Path(__file__).with_name("impute_threads.tsv")
KEYS = ["table", "tool", "criterion"]
FIGURES = ("cpu_seconds", "times_ours", "times_same", "nats_short", "spread", "wall", "peak_mb")
SCRIPT = Path(__file__).with_name("impute_peers.R")
# Peer, its own criterion, and tighter ones; NaN where it has none.
PEERS: dict[str, tuple[float, ...]] = {
    "norm": (1e-4, 1e-6, 1e-7, 1e-8),
    "norm2": (1e-5, 1e-7),
    "amelia": (1e-4, 1e-6),
    "bootstrap": (1e-4,),
    "mice": (np.nan,),
    "sklearn": (1e-3,),
}
LONG = {"norm": "norm, em.norm", "norm2": "norm2, emNorm", "amelia": "Amelia, EM of the table"}
LONG |= {"bootstrap": "Amelia, EM of a bootstrap sample, one imputation"}
LONG |= {"mice": "mice, norm, one imputation of 5 sweeps", "sklearn": "scikit-learn IterativeImputer"}


def make_table(n: int, d: int) -> np.ndarray:
    """Correlated rows with gaps at random."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * rng.normal(size=(n, d))
    holes = rng.random((n, d)) < SHARE
    holes[holes.all(axis=1), 0] = False
    values[holes] = np.nan
    return values


def warm_up() -> None:
    """Compile what is compiled on first use, rare and frequent patterns."""
    table = make_table(200, 4)
    model, source = MultivariateNormal(4), PatternSource(table)
    climb(model, source, model.initial_params(source, np.random.default_rng(0), "moments"), max_passes=2)
    rare = PatternSource(make_table(40, 12))
    twelve = MultivariateNormal(12)
    twelve.e_step(twelve.initial_params(rare, np.random.default_rng(0), "moments"), rare.chunk(0))


def run_ours(values: np.ndarray, threads: int) -> tuple[NormalParams, dict[str, Any]]:
    """A fit from set-up to the top, without the certificate."""
    warm_up()
    before = memory_now()
    with executor("threads", threads) as chunk_map:
        began, wall = process_time(), perf_counter()
        model, source = MultivariateNormal(values.shape[1]), PatternSource(values)
        start = model.initial_params(source, np.random.default_rng(0), "moments")
        trace: list[tuple[float, float]] = []
        top = climb(
            model,
            source,
            start,
            chunk_map=chunk_map,
            on_pass=lambda row: trace.append((process_time() - began, row.objective)),
        )
        told = {"cpu": process_time() - began, "wall": perf_counter() - wall, "passes": len(top.trace), "trace": trace}
        told["memory"] = resident("VmHWM") - before
        passes = []
        for _ in range(PASSES):
            began = perf_counter()
            total_stats(model, source, top.params, chunk_map=chunk_map)
            passes.append(perf_counter() - began)
    return top.params, {**told, "pass_wall": min(passes), "version": "", "note": str(top.status)}


def run_sklearn(values: np.ndarray) -> tuple[NormalParams, dict[str, Any]]:
    """IterativeImputer as it is, and the moments of the table that it fills."""
    import sklearn
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    warnings.simplefilter("ignore")
    before, began = memory_now(), clocks()
    filled = IterativeImputer(random_state=0).fit_transform(values)
    cpu, wall = clocks() - began
    told = {"cpu": cpu, "wall": wall, "memory": resident("VmHWM") - before, "version": sklearn.__version__}
    return NormalParams(filled.mean(axis=0), np.cov(filled.T, bias=True)), told


def worker(task: str, path: Path, answer: Path, threads: int) -> None:
    """One Python task on a stored table; parameters to `answer`, figures to stdout."""
    values = np.load(path)
    params, told = run_ours(values, threads) if task == "ours" else run_sklearn(values)
    np.concatenate([params.mean, params.covariance.ravel()]).tofile(answer)
    print(json.dumps(told))


def in_process(command: list[str], limit: int) -> tuple[str, str]:
    """Output and, where it failed or was stopped, why."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    bound: Callable[[], None] = lambda: setrlimit(RLIMIT_CPU, (limit, limit))  # noqa: E731
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=bound)
    if done.returncode == 0:
        return done.stdout, ""
    if done.returncode in (-9, -24):
        return "", f"stopped after {limit} CPU s"
    lines = done.stderr.strip().splitlines()
    return "", f"failed: {lines[-1][:80] if lines else done.returncode}"


def seconds_to(trace: list[tuple[float, float]], loglik: float) -> float:
    """CPU seconds until a trace reaches a log-likelihood, or its own highest where that is lower."""
    enough = min(loglik, max(objective for _, objective in trace))
    return next(seconds for seconds, objective in trace if objective >= enough)


class Runner:
    """Tasks on one table."""

    def __init__(self, values: np.ndarray, folder: Path, limit: int, library: str | None) -> None:
        self.values, self.folder, self.limit, self.library = values, folder, limit, library
        self.path, self.answer = folder / "table.npy", folder / "answer.bin"
        np.save(self.path, values)
        values.T.astype(np.float64).tofile(folder / "table.bin")
        self.model, self.source = MultivariateNormal(values.shape[1]), PatternSource(values)

    @property
    def stopped(self) -> str:
        """What is told of a run that reached the limit."""
        return f"stopped after {self.limit} CPU s"

    def python(self, task: str, threads: int = 1) -> tuple[dict[str, Any], str]:
        """A task of this module."""
        command = [sys.executable, "-m", "benchmarks.impute_speed", "--task", task, "--threads", str(threads)]
        out, why = in_process([*command, str(self.path), str(self.answer)], self.limit)
        return (json.loads(out) if out else {}), why

    def r(self, peer: str, criterion: float) -> tuple[dict[str, Any], str]:
        """A task of the R script."""
        n, d = self.values.shape
        command = ["Rscript", str(SCRIPT), peer, str(self.folder / "table.bin"), str(n), str(d), f"{criterion:g}"]
        out, why = in_process([*command, str(self.answer), *([self.library] if self.library else [])], self.limit)
        if not out:
            return {}, why
        version, *figures = out.split()[-4:]
        return {"version": version, **dict(zip(("cpu", "wall", "memory"), map(float, figures), strict=True))}, why

    def loglik(self) -> float:
        """Log-likelihood of the last answer; NaN where its covariance is not positive definite."""
        d = self.values.shape[1]
        answer = np.fromfile(self.answer)
        if len(answer) != d * (d + 1) or not np.isfinite(answer).all():
            return np.nan
        covariance = answer[d:].reshape(d, d)
        params = NormalParams(answer[:d], 0.5 * (covariance + covariance.T))
        return float(total_stats(self.model, self.source, params).loglik)


def compare(runner: Runner, peers: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of the table for one size."""
    n, d = runner.values.shape
    name = f"{n} x {d}, {SHARE:.0%} missing"
    told, _ = runner.python("ours")
    best = runner.loglik()
    row: dict[str, Any] = {"table": name, "tool": "emtools", "criterion": "1e-06 nats"}
    row |= {"cpu_seconds": round(told["cpu"], 3), "times_ours": 1.0, "times_same": 1.0, "nats_short": 0.0}
    row |= {"spread": "", "wall": 1.0, "peak_mb": round(told["memory"], 1)}
    yield {**row, "note": f"{told['passes']} passes, {told['note']}"}
    for peer in peers:
        for criterion in PEERS[peer][: None if n * d <= SMALL else 1]:
            yield {
                "table": name,
                "tool": LONG[peer],
                "criterion": f"{criterion:g}",
                **beside(runner, peer, criterion, best),
            }


def beside(runner: Runner, peer: str, criterion: float, best: float) -> dict[str, Any]:
    """One peer, ours before and after each of its runs; `best` is our log-likelihood."""
    ours, theirs, short, note = [runner.python("ours")[0]], [], math.nan, ""
    while len(theirs) < ROUNDS and (not theirs or theirs[-1]["cpu"] < QUICK):
        runner.answer.unlink(missing_ok=True)
        told, note = runner.python(peer) if peer == "sklearn" else runner.r(peer, criterion)
        if note and note != runner.stopped:
            return {**dict.fromkeys(FIGURES, ""), "note": note}
        theirs.append({"cpu": runner.limit, "wall": runner.limit} if note else told)
        short = math.nan if note else best - runner.loglik()
        ours.append(runner.python("ours")[0])
    loglik = best if math.isnan(short) else best - short
    for one in ours:
        one["same"] = seconds_to(one["trace"], loglik)
    times, same, wall = (
        [2.0 * peer[clock] / (ours[k][what] + ours[k + 1][what]) for k, peer in enumerate(theirs)]
        for clock, what in (("cpu", "cpu"), ("cpu", "same"), ("wall", "wall"))
    )
    if note:
        least = (f">{runner.limit}", f">{times[0]:.1f}", f">{same[0]:.1f}", "", "", f">{wall[0]:.1f}", "")
        return {**dict(zip(FIGURES, least, strict=True)), "note": note}
    word = "right" if abs(short) < RIGHT else "short of the top" if abs(short) < 1.0 else "not the maximum"
    middle = [float(np.median(ratios)) for ratios in (times, same, wall)]
    return {
        "cpu_seconds": round(float(np.median([one["cpu"] for one in theirs])), 3),
        "times_ours": round(middle[0], 1), "times_same": round(middle[1], 1), "nats_short": f"{short:.3g}", "spread": spread(times),
        "wall": round(middle[2], 1), "peak_mb": round(told["memory"], 1), "note": f"{word}, {told['version']}",
    }  # fmt: skip


def walls(runner: Runner) -> dict[str, Any]:
    """Wall seconds of a fit on one thread and two, each the least of some runs that alternate."""
    n, d = runner.values.shape
    runs = [[runner.python("ours", threads)[0]["wall"] for threads in (1, 2)] for _ in range(ROUNDS)]
    one, two = np.min(runs, axis=0)
    return {
        "table": f"{n} x {d}",
        "one_thread": round(one, 4),
        "two_threads": round(two, 4),
        "times": round(one / two, 2),
    }


def says_less(row: dict[str, str], old: pd.DataFrame, key: tuple[str, ...]) -> bool:
    """Whether a row of lower bounds is one that the stored figures of the same key keep."""
    if not row.get("cpu_seconds", "").startswith(">") or key not in old.index:
        return False
    stored = old.loc[[key]].iloc[-1]
    figures = ("cpu_seconds", "times_ours")
    bounds = [(stored.get(name, ""), row.get(name, ">0").lstrip(">")) for name in figures]
    return all(told and float(told.lstrip(">")) >= float(bound) for told, bound in bounds)


def merged(path: Path, rows: list[dict[str, Any]], keys: list[str]) -> None:
    """Write rows at the end of a table, and take those with the same keys out of it."""
    table = pd.DataFrame(rows).astype(str)
    if path.exists():
        old = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).set_index(keys)
        table = table[[not says_less(row, old, tuple(row[key] for key in keys)) for row in table.to_dict("records")]]
        table = pd.concat([pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False), table]).fillna("")
        table = table[[name for name in table if name != "note"] + ["note"] * ("note" in table)]
    table.drop_duplicates(keys, keep="last").to_csv(path, sep="\t", index=False)


def write_parquet(path: Path, n: int) -> None:
    """Rows with gaps, made and written piece by piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(STREAMED, STREAMED)) / np.sqrt(STREAMED)
    names = [f"x{j}" for j in range(STREAMED)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for begin in range(0, n, PIECE):
            size = min(PIECE, n - begin)
            rows = rng.standard_normal((size, STREAMED)) @ mixing + 0.5 * rng.standard_normal((size, STREAMED)) + 3.0
            rows[rng.random(rows.shape) < SHARE] = np.nan
            writer.write_table(pa.table([pa.array(column.astype(np.float32)) for column in rows.T], schema=schema))


def stream(path: Path, threads: int, most: int) -> dict[str, Any]:
    """A fit of a Parquet file, to the top or for some passes: CPU seconds in all and a pass, peak memory."""
    from emtools.io.rows import rows_source

    warm_up()
    source: Any = rows_source(path, missing=True)
    model = MultivariateNormal(STREAMED)
    began = process_time()
    with executor("threads", threads) as chunk_map:
        start = model.initial_params(source, np.random.default_rng(0), "moments")
        top = climb(model, source, start, chunk_map=chunk_map, max_passes=most)
    used, passes = process_time() - began, len(top.trace)
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 2**20
    told = {"cpu": used, "cpu_pass": used / (passes + 1), "passes": passes, "peak_gib": peak, "loglik": top.loglik}
    return {**told, "status": str(top.status)}


def streaming(millions: list[float], folder: Path, threads: int, most: int) -> None:
    """Write, fit and delete a Parquet file of each size."""
    lines = ["rows\tcolumns\tpasses\tcpu_pass_to_smallest_a_row\tpeak_gib\tloglik\tstatus"]
    smallest = None
    for n in (int(million * 1e6) for million in millions):
        path = folder / "rows.parquet"
        write_parquet(path, n)
        command = [sys.executable, "-m", "benchmarks.impute_speed", "--task", "stream", "--threads", str(threads)]
        command += ["--passes", str(most)]
        out, why = in_process([*command, str(path)], 10 * LIMIT)
        path.unlink()
        if why:
            raise SystemExit(why)
        told = json.loads(out)
        a_row = told["cpu_pass"] / n
        smallest = smallest or a_row
        figures = [str(n), str(STREAMED), str(told["passes"]), f"{a_row / smallest:.3f}", f"{told['peak_gib']:.3f}"]
        lines.append("\t".join([*figures, f"{told['loglik']:.12g}", told["status"]]))
        print(lines[-1], told, flush=True)
        STREAMING.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Compare, or do one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="such as 10000x20")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=tuple(PEERS))
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds of one run")
    parser.add_argument("--library", help="R library that holds norm and norm2")
    parser.add_argument("--rows", type=float, nargs="*", help="millions of rows from Parquet instead")
    parser.add_argument("--walls", action="store_true", help="wall time on one thread and two instead")
    parser.add_argument("--passes", type=int, default=2000, help="most passes of a fit of such a file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where tables are written; a temporary folder by default")
    parser.add_argument("--task", choices=("ours", "sklearn", "stream"), help="one task on the files that are named")
    parser.add_argument("paths", type=Path, nargs="*")
    options = parser.parse_args()
    if options.task == "stream":
        print(json.dumps(stream(options.paths[0], options.threads, options.passes)))
        return
    if options.task:
        worker(options.task, *options.paths, options.threads)
        return
    with TemporaryDirectory(prefix="emtools-", dir=options.folder) as folder:
        if options.rows is not None:
            streaming(options.rows or list(MILLIONS), Path(folder), options.threads, options.passes)
            return
        for size in options.sizes:
            n, d = (int(part) for part in size.split("x"))
            runner = Runner(make_table(n, d), Path(folder), options.limit, options.library)
            rows = [walls(runner)] if options.walls else compare(runner, options.peers)
            for row in rows:
                print(row, flush=True)
                merged(WALLS if options.walls else TABLE, [row], ["table"] if options.walls else KEYS)


if __name__ == "__main__":
    main()

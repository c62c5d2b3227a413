"""Baum-Welch over letters against hmmlearn's scaled C++: ``python -m benchmarks.hmm_speed --library FOLDER``.

CPU nanoseconds of one thread per base and pass (E-step and M-step), each run in a process of its own, from equal
parameters on equal letters; ours before and after the peer, so that a busy machine slows both: the ratio to the mean of the two
is what to quote. The log-likelihoods at the same parameters, before each M-step, stand beside (``apart``: largest relative
difference), and how much the passes raise the peak of memory above what the letters take. hmmlearn is not among our
requirements: FOLDER is where ``pip install --target FOLDER hmmlearn`` put it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.models.hmm import CategoricalHMM, HMMParams

STATES = (2, 4, 8)
SIZES = {"1 x 1,000,000": (1, 10**6), "1 x 10,000,000": (1, 10**7), "10,000 x 200": (10_000, 200)}
PASSES, PEER_PASSES = 5, 2
STAY = 500
TABLE = Path(__file__).with_name("hmm_speed.tsv")
KEYS = ["letters", "states", "row"]


def make_params(k: int, seed: int) -> HMMParams:
    """States that stay for hundreds of letters, of different compositions."""
    rng = np.random.default_rng([seed, k])
    away = rng.dirichlet(np.ones(k), size=k) / STAY
    return HMMParams(
        rng.dirichlet(np.ones(k) * 5),
        away + (1.0 - 1.0 / STAY) * np.eye(k),
        rng.dirichlet(np.full(4, 8.0), size=k),
    )


def make_letters(n_sequences: int, length: int, k: int) -> list[np.ndarray]:
    """Sequences whose states stay as `make_params` says."""
    rng = np.random.default_rng(7)
    params, total = make_params(k, 1), n_sequences * length
    stays = rng.geometric(1.0 / STAY, size=2 * total // STAY + 100)
    states = np.repeat(rng.integers(k, size=len(stays)).astype(np.uint8), stays)[:total]
    codes = np.empty(total, dtype=np.uint8)
    for state in range(k):
        (here,) = np.nonzero(states == state)
        codes[here] = rng.choice(4, size=len(here), p=params.emission[state])
    return list(codes.reshape(n_sequences, length))


def resident(line: str) -> float:
    """A line of the process's memory, MB: VmRSS now, VmHWM at most."""
    (row,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(f"{line}:")]
    return float(row.split()[1]) / 1024.0


def memory_now() -> float:
    """Resident memory, MB, from which the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def run_ours(sequences: list[np.ndarray], k: int) -> dict[str, Any]:
    """Our passes; the first compiles and is not counted."""
    model, params = CategoricalHMM(k, 4), make_params(k, 2)
    total_stats(model, SequenceSource([sequences[0][:20_000]]), params)
    source = SequenceSource(sequences)
    before, logliks, used = memory_now(), [], []
    for _ in range(PASSES):
        began = process_time()
        stats = total_stats(model, source, params)
        params = model.m_step(stats, params)
        used.append(process_time() - began)
        logliks.append(stats.loglik)
    return {"cpu": float(np.mean(used[1:])), "logliks": logliks, "memory": resident("VmHWM") - before}


def run_peer(sequences: list[np.ndarray], k: int) -> dict[str, Any]:
    """hmmlearn, ``implementation="scaling"``."""
    import hmmlearn
    from hmmlearn.hmm import CategoricalHMM as Peer

    start = make_params(k, 2)
    lengths = [len(codes) for codes in sequences]
    letters = np.concatenate(sequences).astype(np.int64)[:, None]
    model = Peer(
        k,
        n_features=4,
        implementation="scaling",
        params="ste",
        init_params="",
        n_iter=PEER_PASSES,
        tol=-np.inf,
    )
    model.startprob_, model.transmat_, model.emissionprob_ = start.start, start.transition, start.emission
    before, began = memory_now(), process_time()
    model.fit(letters, lengths)
    used = (process_time() - began) / PEER_PASSES
    return {
        "cpu": used,
        "logliks": list(model.monitor_.history),
        "memory": resident("VmHWM") - before,
        "version": hmmlearn.__version__,
    }


def worker(task: str, size: str, k: int) -> None:
    """One task; its figures to stdout."""
    sequences = make_letters(*SIZES[size], k)
    print(json.dumps(run_ours(sequences, k) if task == "ours" else run_peer(sequences, k)))


def in_process(task: str, size: str, k: int, library: str) -> dict[str, Any]:
    """A task in a process of its own."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": library, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "benchmarks.hmm_speed", "--worker", task, "--size", size, "--states", str(k)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def n_letters(size: str) -> int:
    n, length = SIZES[size]
    return n * length


def against_peer(size: str, k: int, library: str) -> dict[str, Any]:
    """Ours, hmmlearn, ours."""
    first, peer, second = (in_process(task, size, k, library=library) for task in ("ours", "hmmlearn", "ours"))
    ours, scale = (first["cpu"] + second["cpu"]) / 2, 1e9 / n_letters(size)
    apart = max(abs(a / b - 1.0) for a, b in zip(first["logliks"], peer["logliks"], strict=False))
    return {
        "row": f"hmmlearn {peer['version']}",
        "ours_ns": round(ours * scale, 2),
        "peer_ns": round(peer["cpu"] * scale, 1),
        "times": round(peer["cpu"] / ours, 1),
        "ours_mb": round(first["memory"], 1),
        "peer_mb": round(peer["memory"], 1),
        "apart": f"{apart:.1e}",
    }


def store(row: dict[str, Any]) -> None:
    """Put a row in the table, in the place of one with the same keys."""
    table = pd.DataFrame([row])
    if TABLE.exists():
        old = pd.read_csv(TABLE, sep="\t", dtype={"states": int})
        table = pd.concat([old, table], ignore_index=True).drop_duplicates(KEYS, keep="last")
    table = table.sort_values(KEYS, key=lambda c: c.map(list(SIZES).index) if c.name == "letters" else c)
    table.to_csv(TABLE, sep="\t", index=False)
    print("\t".join(f"{k}={v}" for k, v in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default="", help="folder that holds hmmlearn")
    parser.add_argument("--size", choices=list(SIZES))
    parser.add_argument("--states", type=int, choices=STATES)
    parser.add_argument("--worker", choices=["ours", "hmmlearn"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker, asked.size, asked.states)
        return
    for k in STATES if asked.states is None else (asked.states,):
        for size in SIZES if asked.size is None else (asked.size,):
            store({"letters": size, "states": k, **against_peer(size, k, asked.library)})


if __name__ == "__main__":
    main()

"""Baum-Welch over letters against hmmlearn's scaled C++ and pomegranate: ``python -m benchmarks.hmm_speed --library FOLDER``.

CPU nanoseconds of one thread per base and pass (E-step and M-step), each run in a process of its own, from equal
parameters on equal letters; ours before and after the peer, so that a busy machine slows both: the ratio to the mean of the two
is what to quote (``spread``: those to each of the two; ``wall``: that of wall times, on a quiet machine). The log-likelihoods at the same parameters, before each M-step, stand beside (``apart``: largest relative
difference), and how much the passes raise the peak of memory above what the letters take. hmmlearn is not among our
requirements: FOLDER is where ``pip install --target FOLDER hmmlearn`` put it. So with ``--peer pomegranate``: it takes sequences of one
length all at once, and a long one letter by letter, so that a shorter one is read; its states may end a sequence, hence only the first
log-likelihoods are of one model. With ``--walls`` ours on one thread and two, with ``--long`` ours over 100 million letters beside 10 million, and there beside the letter-by-letter kernel, which keeps every letter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.timing import clocks, memory_now, resident, spread
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.executors import executor
from emtools.kernels.markov import forward
from emtools.models.hmm import CategoricalHMM, HMMParams

STATES = (2, 4, 8)
SIZES = {"1 x 1,000,000": (1, 10**6), "1 x 10,000,000": (1, 10**7), "10,000 x 200": (10_000, 200)}
LONG = {"1 x 100,000,000": (1, 10**8)}
SHORT = {"1 x 100,000": (1, 10**5)}
ALL = SHORT | SIZES | LONG
PEERS = {"hmmlearn": (tuple(SIZES), STATES), "pomegranate": (("1 x 100,000", "10,000 x 200"), (2, 4))}
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


def run_ours(sequences: list[np.ndarray], k: int, threads: int, passes: int) -> dict[str, Any]:
    """Our passes; the first compiles and is not counted."""
    model, params = CategoricalHMM(k, 4), make_params(k, 2)
    total_stats(model, SequenceSource([sequences[0][:20_000]]), params)
    source = SequenceSource(sequences)
    before, logliks, used = memory_now(), [], []
    with executor("threads", threads) as chunk_map:
        for _ in range(passes):
            began = clocks()
            stats = total_stats(model, source, params, chunk_map=chunk_map)
            params = model.m_step(stats, params)
            used.append(clocks() - began)
            logliks.append(stats.loglik)
    digest = float(np.sum(model.pack(params)))
    cpu, wall = np.mean(used[1:] or used, axis=0)  # the first pass compiles
    return {
        "cpu": float(cpu),
        "wall": float(wall),
        "least_wall": float(min(seconds[1] for seconds in used)),
        "logliks": logliks,
        "memory": resident("VmHWM") - before,
        "digest": digest.hex(),
    }


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
    before, began = memory_now(), clocks()
    model.fit(letters, lengths)
    cpu, wall = (clocks() - began) / PEER_PASSES
    return {
        "cpu": cpu,
        "wall": wall,
        "logliks": list(model.monitor_.history),
        "memory": resident("VmHWM") - before,
        "version": hmmlearn.__version__,
    }


def run_pomegranate(sequences: list[np.ndarray], k: int) -> dict[str, Any]:
    """pomegranate, all sequences at once. Its ends are states too: only its first log-likelihood is of our model, less log K a sequence."""
    import pomegranate
    import torch
    from pomegranate.distributions import Categorical
    from pomegranate.hmm import DenseHMM

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    start = make_params(k, 2)
    letters = torch.from_numpy(np.stack(sequences).astype(np.int64)[:, :, None])
    model = DenseHMM([Categorical(row[None]) for row in start.emission], edges=start.transition, starts=start.start)
    before, began, logliks = memory_now(), clocks(), []
    for _ in range(PEER_PASSES):
        logliks.append(float(model.summarize(letters).sum()))
        model.from_summaries()
    cpu, wall = (clocks() - began) / PEER_PASSES
    return {
        "cpu": cpu,
        "wall": wall,
        "logliks": [logliks[0] + len(sequences) * np.log(k)],
        "memory": resident("VmHWM") - before,
        "version": pomegranate.__version__,
    }


def run_plain(sequences: list[np.ndarray], k: int) -> dict[str, Any]:
    """The forward sweep of the readable kernel, for the log-likelihood alone."""
    params = make_params(k, 2)
    emission = CategoricalHMM(k, 4).extended_emission(params)
    total, before = 0.0, memory_now()
    for codes in sequences:
        total += forward(codes, params.start, params.transition, emission, np.empty((len(codes), k)))[0]
    return {"logliks": [total], "memory": resident("VmHWM") - before}


def worker(task: str, size: str, k: int, threads: int) -> None:
    """One task; its figures to stdout."""
    sequences = make_letters(*ALL[size], k)
    passes = 3 if size in LONG else PASSES
    told = {
        "ours": lambda: run_ours(sequences, k, threads, passes),
        "plain": lambda: run_plain(sequences, k),
        "hmmlearn": lambda: run_peer(sequences, k),
        "pomegranate": lambda: run_pomegranate(sequences, k),
    }
    print(json.dumps(told[task]()))


def in_process(task: str, size: str, k: int, threads: int = 1, library: str = "") -> dict[str, Any]:
    """A task in a process of its own."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": library, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "benchmarks.hmm_speed", "--worker", task, "--size", size, "--states", str(k)]
    done = subprocess.run(
        [*command, "--threads", str(threads)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def n_letters(size: str) -> int:
    n, length = ALL[size]
    return n * length


def against_peer(name: str, size: str, k: int, library: str) -> dict[str, Any]:
    """Ours, the peer, ours."""
    first, peer, second = (in_process(task, size, k, library=library) for task in ("ours", name, "ours"))
    ours, scale = (first["cpu"] + second["cpu"]) / 2, 1e9 / n_letters(size)
    apart = max(abs(a / b - 1.0) for a, b in zip(first["logliks"], peer["logliks"], strict=False))
    return {
        "row": f"{name} {peer['version']}",
        "ours_ns": round(ours * scale, 2),
        "peer_ns": round(peer["cpu"] * scale, 1),
        "times": round(peer["cpu"] / ours, 1),
        "spread": spread([peer["cpu"] / one["cpu"] for one in (first, second)]),
        "wall": round(2.0 * peer["wall"] / (first["wall"] + second["wall"]), 1),
        "ours_mb": round(first["memory"], 1),
        "peer_mb": round(peer["memory"], 1),
        "apart": f"{apart:.1e}",
    }


def two_threads(size: str, k: int) -> dict[str, Any]:
    """Wall time of one thread by that of two, both best of the passes; the same bits or an error."""
    one, two = in_process("ours", size, k), in_process("ours", size, k, threads=2)
    if one["digest"] != two["digest"] or one["logliks"] != two["logliks"]:
        raise SystemExit(f"{size}, {k} states: two threads give other bits")
    return {
        "row": "2 threads, wall",
        "ours_ns": round(two["least_wall"] * 1e9 / n_letters(size), 2),
        "times": round(one["least_wall"] / two["least_wall"], 2),
    }


def over_a_long_one(k: int) -> list[dict[str, Any]]:
    """100 million letters beside 10 million, time and memory; at 10 million the log-likelihood of the sweep that keeps every letter."""
    (long,), short = LONG, "1 x 10,000,000"
    small, plain, large = in_process("ours", short, k), in_process("plain", short, k), in_process("ours", long, k)
    rows = [
        {
            "letters": size,
            "row": row,
            "ours_ns": round(ours["cpu"] * 1e9 / n_letters(size), 2),
            "ours_mb": round(ours["memory"], 1),
        }
        for size, row, ours in ((short, "kernel by letters", small), (long, "a tenth of it", large))
    ]
    rows[0]["apart"] = f"{abs(small['logliks'][0] / plain['logliks'][0] - 1.0):.1e}"
    rows[0]["peer_mb"] = round(plain["memory"], 1)
    rows[1]["times"] = round(rows[0]["ours_ns"] / rows[1]["ours_ns"], 2)
    return rows


def store(row: dict[str, Any]) -> None:
    """Put a row in the table, in the place of one with the same keys."""
    table = pd.DataFrame([row])
    if TABLE.exists():
        old = pd.read_csv(TABLE, sep="\t", dtype={"states": int})
        table = pd.concat([old, table], ignore_index=True).drop_duplicates(KEYS, keep="last")
    table = table.sort_values(KEYS, key=lambda c: c.map(list(ALL).index) if c.name == "letters" else c)
    table.to_csv(TABLE, sep="\t", index=False)
    print("\t".join(f"{k}={v}" for k, v in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=list(PEERS), default="hmmlearn")
    parser.add_argument("--library", default="", help="folders that hold the peer")
    parser.add_argument("--walls", action="store_true", help="one thread and two instead of the peer")
    parser.add_argument("--long", action="store_true", help="10 and 100 million letters instead of the peer")
    parser.add_argument("--size", choices=list(ALL))
    parser.add_argument("--states", type=int, choices=STATES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", choices=["ours", *PEERS, "plain"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker, asked.size, asked.states, asked.threads)
        return
    sizes, states = PEERS[asked.peer]
    for k in states if asked.states is None else (asked.states,):
        if asked.long:
            for row in over_a_long_one(k):
                store({"states": k, **row})
            continue
        for size in sizes if asked.size is None else (asked.size,):
            row = two_threads(size, k) if asked.walls else against_peer(asked.peer, size, k, asked.library)
            store({"letters": size, "states": k, **row})


if __name__ == "__main__":
    main()

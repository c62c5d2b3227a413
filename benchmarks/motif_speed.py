"""CPU seconds of a search and of one E-step: ``python -m benchmarks.motif_speed [--largest N]``.

The CTCF matrix of JASPAR is planted in 70 % of random sequences of 100 bp; both strands, every sequence used, background of order 2,
one thread. "pass" is one E-step in ns per position, both strands, beside the letter-by-letter one in log space on the same parameters;
motif_passes.tsv has it by width, background order and occurrence.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.motif_accuracy import Sites, matrices, nucleotide_f1, plant
from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.models.motif import Motif, MotifParams, estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.search import Terms, search, settle

STORED = Path(__file__).with_name("motif_speed.tsv")
PASSES = Path(__file__).with_name("motif_passes.tsv")
RUNS = (
    (1_000, (15, 15)),
    (1_000, (8, 20)),
    (10_000, (8, 20)),
    (50_000, (8, 20)),
    (200_000, (8, 20)),
    (1_000_000, (8, 20)),
)
LENGTH = 100


def planted(n: int) -> tuple[list[np.ndarray], Sites]:
    """Random sequences with the motif in most of them, and where."""
    rng = np.random.default_rng(n)
    genome = rng.integers(4, size=n * LENGTH).astype(np.uint8)
    return plant(matrices("judged")["CTCF"], 0.7, n, LENGTH, genome, rng)


def searched(source: SequenceSource, widths: tuple[int, int]) -> tuple[Motif, MotifParams, Sites, float]:
    """The motif found, its sites, and CPU seconds of a whole search."""
    began = process_time()
    background = estimate_background(source, 2)
    terms = Terms(widths)
    model, start = settle(source, background, terms, search(source, background, terms))
    params = climb(model, source, start).params
    calls = call_sites(model, params, source)
    seconds = process_time() - began
    found = [(int(i), int(s), int(s) + model.width) for i, s in zip(calls.sequence, calls.start, strict=True)]
    return model, params, found, seconds


def measured(n: int, widths: tuple[int, int]) -> dict[str, Any]:
    """One run."""
    sequences, known = planted(n)
    source = SequenceSource(sequences)
    model, params, found, seconds = searched(source, widths)
    chunk = source.chunk(0)
    fast = min(timed(lambda: model.e_step(params, chunk)) for _ in range(5))
    slow = timed(lambda: model.run_e_step(params, chunk))
    return {
        "sequences": n, "widths": f"{widths[0]}-{widths[1]}", "cpu_s": round(seconds, 2), "us_per_sequence": round(1e6 * seconds / n, 1),
        "width": model.width, "f1": round(nucleotide_f1(found, known), 3), "pass_ns": round(1e9 * fast / chunk.codes.size, 2),
        "by_letter_ns": round(1e9 * slow / chunk.codes.size, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def passes() -> pd.DataFrame:
    """ns per position of an E-step, both strands, and how many times longer letter by letter takes."""
    rng = np.random.default_rng(0)
    source = SequenceSource([rng.integers(4, size=LENGTH).astype(np.uint8) for _ in range(5_000)])
    chunk, rows = source.chunk(0), []
    for order in (0, 2):
        background = estimate_background(source, order)
        for width in (8, 15, 20):
            matrix = 0.95 * rng.dirichlet(np.full(4, 0.3), size=width) + 0.0125
            row: dict[str, Any] = {"order": order, "width": width}
            for occurrence, rate in (("zoops", 0.3), ("anr", 0.003)):
                model, params = (
                    Terms((width, width), occurrence).model(width, background, rate),
                    MotifParams(rate, matrix),
                )  # type: ignore[arg-type]
                model.e_step(params, chunk)
                seconds = min(timed(lambda: model.e_step(params, chunk)) for _ in range(9))  # noqa: B023
                row[f"{occurrence}_ns"] = round(1e9 * seconds / chunk.codes.size, 2)
            slow = min(timed(lambda: model.run_e_step(params, chunk)) for _ in range(2))  # noqa: B023
            rows.append(row | {"by_letter_ns": round(1e9 * slow / chunk.codes.size, 1)})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def timed(run: Any) -> float:
    """CPU seconds of one call."""
    began = process_time()
    run()
    return process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest = parser.parse_args().largest
    measured(200, (8, 20))  # compiles
    passes().to_csv(PASSES, sep="\t", index=False)
    for n, widths in RUNS:
        if n <= largest:
            row = measured(n, widths)
            print(row, flush=True)
            table = pd.concat([pd.read_csv(STORED, sep="\t"), pd.DataFrame([row])])
            table = table.drop_duplicates(["sequences", "widths"], keep="last")
            table.sort_values(["sequences", "widths"]).to_csv(STORED, sep="\t", index=False)


if __name__ == "__main__":
    main()

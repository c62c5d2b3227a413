"""Paths of states drawn from their distribution: how many segments there are, and how long, with what is not known about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.branches.hmm.decode import Chain
from emtools.io.fasta import Record
from emtools.io.intervals import zipped_text
from emtools.models.hmm import HMMParams
from emtools.models.hmm_paths import STRETCH, draw_paths
from emtools.report.page import Table

PATHS = "sampled_segments.tsv.gz"
SUMMARY = "sampled.tsv"
FEWEST = 20  # paths before an interval is given
STREAM = 31  # tells these random numbers from those of the starts
MOST_NUMBERS = 2**22  # of the states of a stretch of all paths
TITLE = "Segments of drawn paths"
CAPTION = (
    "Whole paths drawn with the probability that each has given the letters and the fitted parameters, which are taken as known: the mean "
    "over paths{interval}. The most probable path hides what is short and uncertain, and is seldom like those drawn."
)
REFERENCE = "Scott (2002) J. Am. Stat. Assoc. 97, 337–351, doi:10.1198/016214502753479464 (paths drawn backward)"
FILES = {
    PATHS: "segments of each drawn path: number of the path, record, 0-based half-open start and end, state",
    SUMMARY: "segments, share of letters and mean length of a segment of each state over the drawn paths",
}

Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


def runs_of(chain: Chain, params: HMMParams, codes: np.ndarray, n_paths: int, rng: np.random.Generator) -> list[Runs]:
    """Starts, ends and groups of the runs of each drawn path of a record."""
    groups = np.array(chain.group_of)
    starts: list[list[np.ndarray]] = [[] for _ in range(n_paths)]
    names: list[list[np.ndarray]] = [[] for _ in range(n_paths)]
    for begin, states in draw_paths(
        chain.model, params, codes, n_paths, rng, max(1, min(STRETCH, MOST_NUMBERS // n_paths))
    ):
        for path, row in enumerate(groups[states]):
            firsts = np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1])
            starts[path].append(firsts + begin)
            names[path].append(row[firsts])
    return [joined(s[::-1], n[::-1], len(codes)) for s, n in zip(starts, names, strict=True)]


def joined(starts: Sequence[np.ndarray], names: Sequence[np.ndarray], n: int) -> Runs:
    """The runs of a path from those of its stretches: two that meet with one name are one."""
    begins, groups = np.concatenate(starts), np.concatenate(names)
    kept = np.concatenate([[True], groups[1:] != groups[:-1]])
    return begins[kept], np.append(begins[kept][1:], n), groups[kept]


def sample(
    chain: Chain, params: HMMParams, records: Sequence[Record], n_paths: int, seed: int, folder: Path
) -> tuple[pd.DataFrame, Table]:
    """Draw paths, write their segments and the summary; the summary, and the table of the page."""
    n_groups, n_total = len(chain.groups), sum(len(record.codes) for record in records)
    counts, letters = np.zeros((n_paths, n_groups)), np.zeros((n_paths, n_groups))
    with zipped_text(folder / PATHS) as text:
        text.write("path\trecord\tstart\tend\tstate\n")
        for number, record in enumerate(records):
            rng = np.random.default_rng(np.random.SeedSequence([seed, STREAM, number]))
            for path, (starts, ends, groups) in enumerate(runs_of(chain, params, record.codes, n_paths, rng)):
                counts[path] += np.bincount(groups, minlength=n_groups)
                letters[path] += np.bincount(groups, ends - starts, n_groups)
                text.writelines(lines(path + 1, record.name, starts, ends, [chain.groups[g] for g in groups.tolist()]))
    summary = pd.DataFrame(rows(chain.groups, counts, letters, n_total))
    summary.to_csv(folder / SUMMARY, sep="\t", index=False, float_format="%.6g")
    interval = ", and what lies between 2.5 and 97.5 % of them" * (n_paths >= FEWEST)
    return summary, Table(f"{TITLE} ({n_paths:,})", CAPTION.format(interval=interval), summary.map(readable))


def lines(path: int, record: str, starts: np.ndarray, ends: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Runs of a path as lines of the file."""
    for start, end, name in zip(starts.tolist(), ends.tolist(), names, strict=True):
        yield f"{path}\t{record}\t{start}\t{end}\t{name}\n"


def rows(names: Sequence[str], counts: np.ndarray, letters: np.ndarray, n_total: int) -> Iterator[dict[str, object]]:
    """Mean and interval of what each state has over the paths; of mean lengths, over the paths that have it at all."""
    for k, name in enumerate(names):
        here = counts[:, k] > 0
        row: dict[str, object] = {"state": name}
        for what, values in (
            ("segments", counts[:, k]),
            ("share of letters, %", 100.0 * letters[:, k] / n_total),
            ("mean segment, letters", letters[here, k] / counts[here, k]),
        ):
            row[what] = float(values.mean()) if len(values) else float("nan")
            if len(counts) >= FEWEST:
                low, high = (
                    np.quantile(values, [0.025, 0.975], method="inverted_cdf") if len(values) else (float("nan"),) * 2
                )
                row |= {f"{what}, 2.5 %": float(low), f"{what}, 97.5 %": float(high)}
        yield row


def readable(value: object) -> object:
    """A number as a person reads it."""
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

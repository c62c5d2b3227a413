"""States along the records, piece by piece: what is written of them, and what is kept for figures and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from emtools.io.fasta import Record
from emtools.io.intervals import FULL_SCORE, Interval, Track, bedgraph, zipped_text
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.plots.hmm import MOST_BINS, MOST_RECORDS, Decoded, rgb_of

SIGNS = {"forward": "+", "reverse": "-"}  # strand of a group that lies on one


@dataclass(frozen=True)
class Chain:
    """A model and what its states are called.

    Parameters
    ----------
    model : CategoricalHMM
        The model.
    states : sequence of str
        Name of each state.
    groups : sequence of str
        Names of what is called: the states, or sets of them.
    group_of : sequence of int
        Group of each state.
    init : tuple of HMMParams
        Where a fit starts; empty for starts of its own.
    what, reference : str
        What the states emit, for the methods, and its source; empty for a free model.
    """

    model: CategoricalHMM
    states: Sequence[str]
    groups: Sequence[str]
    group_of: Sequence[int]
    init: tuple[HMMParams, ...] = ()
    what: str = ""
    reference: str = ""

    @property
    def sorted(self) -> bool:
        """Whether states are numbered by what they emit; others have an order of their own (`CategoricalHMM.canonical`)."""
        return not self.init and self.model.topology == "free"

    @property
    def membership(self) -> np.ndarray:
        """1 where a state belongs to a group, shape (K, groups)."""
        return np.eye(len(self.groups))[list(self.group_of)]


def without_first(codes: np.ndarray, n_letters: int, n: int) -> np.ndarray:
    """The letters, where the first ``n`` of every run of observed ones, and codes of several letters, are not observed."""
    kept = np.minimum(codes, n_letters)
    seen = kept < n_letters
    since = np.arange(len(kept)) - np.maximum.accumulate(np.where(seen, -1, np.arange(len(kept))))
    kept[since <= n] = n_letters
    return kept


class Posteriors:
    """Gzipped TSV of the probability of each group at each letter."""

    def __init__(self, text: TextIO, names: Sequence[str]) -> None:
        self.text = text
        self.format = "\t%d" + "\t%.5f" * len(names) + "\n"
        text.write("\t".join(["record", "position", *names]) + "\n")

    def add(self, record: str, begin: int, rows: np.ndarray) -> None:
        """Rows of a record from the letter `begin` on."""
        form = record.replace("%", "%%") + self.format
        self.text.writelines(form % (begin + i, *shares) for i, shares in enumerate(rows.tolist()))


@dataclass(frozen=True)
class Sinks:
    """Files that receive probabilities as they come."""

    table: Posteriors
    tracks: Sequence[Track]

    def add(self, record: str, begin: int, rows: np.ndarray) -> None:
        """Rows of a record from the letter `begin` on."""
        self.table.add(record, begin, rows)
        for track, column in zip(self.tracks, rows.T, strict=True):
            track.add(record, begin, column)


@contextmanager
def sinks(folder: Path, names: Sequence[str]) -> Iterator[Sinks]:
    """The files of a fit, to write."""
    with ExitStack() as stack:
        table = Posteriors(stack.enter_context(zipped_text(folder / "posteriors.tsv.gz")), names)
        tracks = [
            stack.enter_context(bedgraph(folder / f"posterior_{name}.bedgraph.gz", f"P({name})", rgb_of(k)))
            for k, name in enumerate(names)
        ]
        yield Sinks(table, tracks)


def decode_all(chain: Chain, params: HMMParams, records: Sequence[Record], folder: Path) -> list[Decoded]:
    """States of every record; their probabilities go to files in `folder`, and are never held whole."""
    longest = sorted(range(len(records)), key=lambda i: -len(records[i].codes))[:MOST_RECORDS]
    with sinks(folder, chain.groups) as files:
        return [decode(chain, params, r, files, MOST_BINS * (i in longest)) for i, r in enumerate(records)]


def decode(chain: Chain, params: HMMParams, record: Record, files: Sinks, most_bins: int) -> Decoded:
    """States of a record."""
    n, membership = len(record.codes), chain.membership
    path = np.array(chain.group_of, dtype=np.uint8)[chain.model.viterbi(params, record.codes)]
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(path)) + 1, [n]])
    edges = np.linspace(0, n, min(most_bins, n) + 1).astype(np.int64)
    sums, expected = np.zeros(len(bounds) - 1), np.zeros(len(chain.states))
    bins = np.zeros((len(edges) - 1, len(chain.groups)))
    for begin, states in chain.model.posterior_pieces(params, record.codes):
        rows = states @ membership
        files.add(record.name, begin, rows)
        expected += states.sum(axis=0)
        places = np.arange(begin, begin + len(rows))
        add_up(sums, bounds, places, rows[places - begin, path[places]])
        for column, values in zip(bins.T, rows.T, strict=True):
            add_up(column, edges, places, values)
    widths = np.maximum(np.diff(edges), 1)[:, None]
    return Decoded(
        record.name, record.codes, bounds, path[bounds[:-1]], sums / np.diff(bounds), expected, bins / widths
    )


def add_up(sums: np.ndarray, bounds: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Add values at letters to the sum of the stretch between two bounds that each lies in."""
    if not len(sums):
        return
    first, last = np.searchsorted(bounds, places[[0, -1]], side="right") - 1
    index = np.searchsorted(bounds[first : last + 1], places, side="right") - 1
    sums[first : last + 1] += np.bincount(index, values, last + 1 - first)


def segments_of(item: Decoded, names: Sequence[str]) -> list[Interval]:
    """Runs of one state along the best path."""
    runs = zip(
        item.bounds[:-1].tolist(), item.bounds[1:].tolist(), item.called.tolist(), item.scores.tolist(), strict=True
    )
    return [
        Interval(
            item.name, begin, end, names[state], round(FULL_SCORE * score), SIGNS.get(names[state], "."), rgb_of(state)
        )
        for begin, end, state, score in runs
    ]

"""How many sites, and how wide: the completed evidence of a set of placed sites against the background alone.

With the letter probabilities and the occurrence integrated out, the evidence of sites that are laid down is a product of
Dirichlet-multinomials and a beta-binomial (the collapsed form of Liu 1994, doi:10.1080/01621459.1994.10476829, eq. 3.1),
and its logarithm is a sum over sites, one after another. Taking the placement as data instead of summing it out is the
integrated completed likelihood (Biernacki et al. 2000, doi:10.1109/34.865189): weak sites pay for the choice of their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.kernels.motif import background_letters, best_windows
from emtools.kernels.placements import best_placements
from emtools.kernels.windows import context_table
from emtools.models.motif import DNA, Background, free_letters, weights_of_places

STRENGTH = 2.0  # letters' worth of background in the Dirichlet prior of a column
TOLL = 0.02  # nats a site that a column must be worth: a background that has learnt the motif is wrong beside it
HALF_A_SITE = 0.5  # of the beta prior of the occurrence, on both sides

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Placed:
    """Windows as sites, the likeliest first.

    Parameters
    ----------
    sequence, start, strand : ndarray of int64, shape (n_sites,)
        Number of the sequence; 0-based start in it; 0 forward, 1 reverse.
    log_ratio : ndarray, shape (n_sites,)
        Log-likelihood ratio to the background, nats, decreasing.
    """

    sequence: Ints
    start: Ints
    strand: Ints
    log_ratio: Floats

    def first(self, n: int) -> Placed:
        """The `n` likeliest."""
        return Placed(self.sequence[:n], self.start[:n], self.strand[:n], self.log_ratio[:n])


@dataclass(frozen=True)
class Choice:
    """Sites and columns that the evidence prefers.

    Parameters
    ----------
    n_sites : int
        The likeliest sites that are kept.
    first, width : int
        First column relative to the window (may be negative), and columns.
    evidence : float
        Log of the evidence over that of the background alone, nats.
    counts : ndarray, shape (width, n_letters)
        Letters of the kept sites by column.
    """

    n_sites: int
    first: int
    width: int
    evidence: float
    counts: Floats


@dataclass(frozen=True)
class Scene:
    """Sequences and background, with what every evaluation needs.

    Parameters
    ----------
    source : SequenceSource
        Sequences; weights are not looked at.
    background : Background
        Held fixed.
    both : bool
        Both strands.
    many : bool
        Any number of sites a sequence, instead of one at most.
    palindrome : bool
        Columns are chosen in pairs, as far from the middle on either side.
    table : ndarray
        Of the background, as `kernels.windows.context_table` makes it; empty unless there are four letters.
    log_background : ndarray, shape (n_positions,)
        Log-probability of each letter by the background, less that of being free; nats.
    n_windows, weights, means : dict
        What `windows`, `places` and `mean_weight` have found, by width.
    """

    source: SequenceSource
    background: Background
    both: bool
    many: bool
    palindrome: bool
    table: Floats
    log_background: Floats
    n_windows: dict[int, Ints]
    weights: dict[int, Floats]
    means: dict[int, float]

    @classmethod
    def of(
        cls, source: SequenceSource, background: Background, both: bool, many: bool, palindrome: bool = False
    ) -> Scene:
        """Prepare."""
        codes, offsets, n_letters = source.codes, source.offsets, background.n_letters
        table = context_table(background.log_table, background.order) if n_letters == DNA else np.empty((2, 0))
        logs = background_letters(codes, offsets, background.log_table, background.order, n_letters)
        if source.free is not None:
            logs = logs - np.log(source.free)
        return cls(source, background, both, many, palindrome, table, logs, {}, {}, {})

    def windows(self, width: int) -> Ints:
        """Windows of each sequence in which every letter was observed, shape (n_sequences,)."""
        if width not in self.n_windows:
            codes, offsets = self.source.codes, self.source.offsets
            places = np.arange(codes.size)
            unknown = np.concatenate([[-1], np.where(codes < self.background.n_letters, -1, places)])
            latest = np.maximum(np.maximum.accumulate(unknown)[1:], np.repeat(offsets[:-1], np.diff(offsets)) - 1)
            self.n_windows[width] = np.add.reduceat((places - latest >= width).astype(np.int64), offsets[:-1])
        return self.n_windows[width]

    def places(self, width: int) -> Floats:
        """Prior weight of a site at each start, shape (n_positions,), mean 1 over those that a site can have; empty where all are equal."""
        if width not in self.weights:
            weights = weights_of_places(self.source, width, self.background.n_letters, self.many)
            self.means[width] = float(weights[weights > 0.0].mean()) if self.many and (weights > 0.0).any() else 1.0
            self.weights[width] = weights / self.means[width]
        return self.weights[width]

    def mean_weight(self, width: int) -> float:
        """What `places` were divided by: under any number of sites the model, which sees a chunk, does not, and its rate holds it."""
        self.places(width)
        return self.means[width]

    def place(self, matrix: Floats) -> Placed:
        """The best windows of each sequence under `matrix`, the likeliest first; windows less likely than background are left out."""
        codes, offsets, order = self.source.codes, self.source.offsets, self.background.order
        prior = self.places(len(matrix))
        if self.background.n_letters == DNA:
            free, most = free_letters(self.source), codes.size if self.many else 1
            arguments: tuple[Any, ...] = (self.both, free, prior, most, 0.0)
            found = best_placements(codes, offsets, self.table, order, np.ascontiguousarray(matrix), *arguments)
        else:
            found = best_windows(codes, offsets, self.log_background, np.log(matrix), self.both, prior, 0.0)
        sequence, start, strand, logs = found
        best = np.argsort(-logs, kind="stable")
        return Placed(sequence[best], start[best], strand[best], logs[best])

    def letters(self, placed: Placed, width: int, reach: int) -> tuple[npt.NDArray[np.uint8], Floats]:
        """Letters of the windows and of `reach` more on either side, on the strand of the site, and their background.

        Returns
        -------
        letters : ndarray of uint8, shape (n_sites, width + 2 reach)
            `n_letters` or more where not observed or beyond the sequence.
        log_background : ndarray of the same shape
            Nats; 0.0 there.
        """
        offsets, n_letters = self.source.offsets, self.background.n_letters
        low, high = offsets[placed.sequence], offsets[placed.sequence + 1]
        at = (low + placed.start)[:, None] + np.arange(-reach, width + reach)
        inside = (at >= low[:, None]) & (at < high[:, None])
        at = np.where(inside, at, 0)
        letters = np.where(inside, self.source.codes[at], n_letters).astype(np.uint8)
        logs = np.where(letters < n_letters, self.log_background[at], 0.0)
        turned = placed.strand == 1
        complement = np.array([3, 2, 1, 0, *[DNA] * 252], dtype=np.uint8)
        letters[turned] = complement[letters[turned]][:, ::-1]
        logs[turned] = logs[turned][:, ::-1]
        return letters, logs

    def choose(self, placed: Placed, width: int, widths: tuple[int, int], fewest: int) -> Choice:
        """The number of sites and the columns with the highest evidence, one after the other, twice.

        Parameters
        ----------
        placed : Placed
            Candidates, the likeliest first.
        width : int
            Positions of the windows.
        widths : (int, int)
            Fewest and most columns.
        fewest : int
            Sites at least.
        """
        reach = 0 if widths == (width, width) else min(width, widths[1])
        reach = max(reach, width // 3)
        letters, logs = self.letters(placed, width, reach)
        gains = column_gains(letters, logs, self.background.frequencies)
        prior = self.placing(placed, width)
        first, last = reach, reach + width
        n = len(placed.start)
        for _ in range(2):
            path = np.cumsum(gains[:, first:last].sum(axis=1)) + prior
            low = min(max(fewest, 1), len(path)) - 1
            n = low + 1 + int(np.argmax(path[low:]))
            columns = gains[:n].sum(axis=0) - TOLL * n
            first, last = (middle_span if self.palindrome else best_span)(columns, *widths)
        evidence = float(gains[:n, first:last].sum() + prior[n - 1])
        kept = letters[:n, first:last]
        counts = np.stack([(kept == letter).sum(axis=0) for letter in range(self.background.n_letters)], axis=1).astype(
            np.float64
        )
        return Choice(n, first - reach, last - first, evidence, counts)

    def placing(self, placed: Placed, width: int) -> Floats:
        """Log prior probability of the first 1, 2, … placements: which sequences or places, where, on which strand; nats."""
        starts = self.windows(width)
        strands = 2 if self.both else 1
        n = np.arange(1, len(placed.start) + 1)
        rooms = float(starts.sum()) if self.many else float(np.count_nonzero(starts))
        held = betaln(n + HALF_A_SITE, np.maximum(rooms - n, 0.0) + HALF_A_SITE) - betaln(HALF_A_SITE, HALF_A_SITE)
        free = betaln(HALF_A_SITE, rooms + HALF_A_SITE) - betaln(HALF_A_SITE, HALF_A_SITE)
        places = np.full(len(n), np.log(strands)) if self.many else np.log(strands * starts[placed.sequence])
        prior = self.places(width)
        if prior.size:
            places = places - np.log(prior[self.source.offsets[placed.sequence] + placed.start])
        logs: Floats = held - free - np.cumsum(places)
        return logs


def column_gains(letters: npt.NDArray[np.uint8], logs: Floats, frequencies: Floats) -> Floats:
    """What each letter adds to the log evidence of its column over the background, given those above it; nats.

    ``log (c[a] + A p[a]) / (n + A) - log p0`` with the counts c of the n letters above and A = `STRENGTH`: the sum down a column is
    its Dirichlet-multinomial evidence. A letter that was not observed adds nothing.

    Returns
    -------
    ndarray, shape (n_sites, n_columns)
    """
    gains = np.zeros(letters.shape)
    above = np.zeros(letters.shape)
    for letter in range(len(frequencies)):
        here = letters == letter
        count = np.cumsum(here, axis=0) - here
        above += count
        gains += np.where(here, np.log(count + STRENGTH * frequencies[letter]), 0.0)
    gains -= np.where(letters < len(frequencies), np.log(above + STRENGTH) + logs, 0.0)
    return gains


def best_span(columns: Floats, fewest: int, most: int) -> tuple[int, int]:
    """First and last + 1 of the contiguous columns with the largest sum."""
    total = np.concatenate([[0.0], np.cumsum(columns)])
    best, span = -np.inf, (0, fewest)
    for width in range(fewest, min(most, len(columns)) + 1):
        sums = total[width:] - total[:-width]
        at = int(np.argmax(sums))
        if sums[at] > best:
            best, span = float(sums[at]), (at, at + width)
    return span


def middle_span(columns: Floats, fewest: int, most: int) -> tuple[int, int]:
    """The same among the spans as far from the first column as from the last."""
    spans = [(first, len(columns) - first) for first in range(len(columns) // 2 + 1)]
    spans = [span for span in spans if fewest <= span[1] - span[0] <= most]
    sums = [float(columns[first:last].sum()) for first, last in spans]
    return spans[int(np.argmax(sums))]

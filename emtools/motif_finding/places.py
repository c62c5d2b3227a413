"""Where sites lie before any is found: about the middle of each sequence, or where a track is high."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.motif_finding.erasing import UNSEEN

NARROWEST = 10.0  # letters; of the normal distributions about the middle, each twice as wide as the one before
WIDEST = 0.25  # of the sequence
SHORTEST = int(
    NARROWEST / WIDEST
)  # letters of a sequence, below which no place of it is nearer the middle than another
EVEN = 0.1  # share of a track that is spread evenly: no place is ruled out


def central_weights(n: int) -> Floats:
    """Weight of each letter of a sequence of `n` for sites about its middle, mean 1.

    The mean of an even distribution and of normal ones about the middle, with standard deviations of `NARROWEST` letters, twice that, and so on
    up to `WIDEST` of the sequence: how far from the middle sites lie need not be known.

    Examples
    --------
    >>> central_weights(80)[[0, 20, 40]].round(2).tolist()
    [0.41, 0.84, 1.95]
    >>> central_weights(39).tolist() == [1.0] * 39
    True
    """
    away = np.abs(np.arange(n) - (n - 1) / 2.0)
    weights, spread, count = np.ones(n), NARROWEST, 1
    while spread <= WIDEST * n:
        bell = np.exp(-0.5 * (away / spread) ** 2)
        weights += bell / bell.mean()
        spread, count = 2.0 * spread, count + 1
    return weights / count


def track_weights(parts: Sequence[Floats], known: npt.NDArray[np.bool_]) -> list[Floats]:
    """Weights of letters from values of a track, mean 1 over those observed; a letter without a value has the mean of the others.

    Parameters
    ----------
    parts : sequence of ndarray
        Values of each sequence, 0 or more and, where a letter was observed, one at least above 0; NaN where there is none.
    known : ndarray, shape (n_positions,)
        Whether each letter was observed: a site overlaps no other.

    Examples
    --------
    >>> known = np.array([True, True, False, True])
    >>> track_weights([np.array([0.0, 3.0, 0.0]), np.array([np.nan])], known)[0].round(2).tolist()
    [0.1, 1.9, 0.1]
    """
    values = np.concatenate(parts)
    values = values / np.nanmax(values[known])
    even = np.nanmean(values[known])
    weights = (1.0 - EVEN) * (np.where(np.isnan(values), even, values) / even) + EVEN
    return np.split(weights, np.cumsum([len(part) for part in parts])[:-1])


def place_prior(
    lengths: Sequence[int], central: bool, track: Sequence[Floats] | None, known: npt.NDArray[np.bool_] | None = None
) -> Floats | None:
    """Weight of each letter of all sequences end to end, shape (n_positions,), mean 1 over those observed; None where all weigh the same.

    Parameters
    ----------
    lengths : sequence of int
        Of the sequences.
    central : bool
        Whether sites lie about the middle of their sequences.
    track : sequence of ndarray, or None
        As in `track_weights`.
    known : ndarray, shape (n_positions,), optional
        As there; all by default.

    Raises
    ------
    InputError
        If sites are to lie about the middle of sequences that are all too short for it.
    """
    if not central and track is None:
        return None
    if central and max(lengths, default=0) < SHORTEST:
        got = f"no sequence has {SHORTEST} letters"
        raise InputError("--central", got, "sequences whose middle means something", "leave it out")
    known = np.ones(sum(lengths), dtype=bool) if known is None else known
    parts = [np.ones(n) for n in lengths] if track is None else track_weights(track, known)
    if central:
        parts = [part * central_weights(n) for part, n in zip(parts, lengths, strict=True)]
    weights = np.concatenate(parts)
    prior: Floats = weights / weights[known].mean()
    return prior


def where_probable(source: SequenceSource, n_letters: int) -> SequenceSource | None:
    """The same sequences, with the letters that weigh less than the mean of those observed in their sequence as letters that were not observed; None where there are none."""
    if source.prior is None:
        return None
    known = source.codes < n_letters
    sums, counts = (
        np.add.reduceat(values, source.offsets[:-1]) for values in (source.prior * known, known.astype(np.int64))
    )
    means = np.repeat(sums / np.maximum(counts, 1), np.diff(source.offsets))
    low = known & (source.prior < (1.0 - 1e-9) * means)
    if not low.any():
        return None
    rest = copy(source)
    rest.codes = np.where(low, UNSEEN, source.codes).astype(np.uint8)
    return rest

"""Where sites lie before any is found: about the middle of each sequence, or where a track is high."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.motif_finding.erasing import UNSEEN

NARROWEST = 10.0  # letters; of the normal distributions about the middle, each twice as wide as the one before
WIDEST = 0.25  # of the sequence
EVEN = 0.1  # share of a track that is spread evenly: no place is ruled out


def central_weights(n: int) -> Floats:
    """Weight of each letter of a sequence of `n` for sites about its middle, mean 1.

    The mean of an even distribution and of normal ones about the middle, with standard deviations of `NARROWEST` letters, twice that, and so on
    up to `WIDEST` of the sequence: how far from the middle sites lie need not be known.

    Examples
    --------
    >>> central_weights(80)[[0, 20, 40]].round(2).tolist()
    [0.34, 0.63, 2.41]
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


def track_weights(parts: Sequence[Floats]) -> list[Floats]:
    """Weights of letters from values of a track, mean 1 over all; a letter without a value has the mean of the others.

    Parameters
    ----------
    parts : sequence of ndarray
        Values of each sequence, 0 or more and at least one above 0; NaN where there is none.

    Examples
    --------
    >>> track_weights([np.array([0.0, 3.0]), np.array([np.nan])])[0].round(2).tolist()
    [0.1, 1.9]
    """
    values = np.concatenate(parts)
    values = values / np.nanmax(values)
    even = np.nanmean(values)
    weights = (1.0 - EVEN) * (np.where(np.isnan(values), even, values) / even) + EVEN
    return np.split(weights, np.cumsum([len(part) for part in parts])[:-1])


def place_prior(lengths: Sequence[int], central: bool, track: Sequence[Floats] | None) -> Floats | None:
    """Weight of each letter of all sequences end to end, shape (n_positions,), mean 1; None where all weigh the same.

    Parameters
    ----------
    lengths : sequence of int
        Of the sequences.
    central : bool
        Whether sites lie about the middle of their sequences.
    track : sequence of ndarray, or None
        As in `track_weights`.
    """
    if not central and track is None:
        return None
    parts = [np.ones(n) for n in lengths] if track is None else track_weights(track)
    if central:
        parts = [part * central_weights(n) for part, n in zip(parts, lengths, strict=True)]
    weights = np.concatenate(parts)
    prior: Floats = weights / weights.mean()
    return prior


def where_probable(source: SequenceSource) -> SequenceSource | None:
    """The same sequences, with the letters that weigh less than the mean of their sequence as letters that were not observed; None where there are none."""
    if source.prior is None:
        return None
    lengths = np.diff(source.offsets)
    means = np.add.reduceat(source.prior, source.offsets[:-1]) / lengths
    low = source.prior < (1.0 - 1e-9) * np.repeat(means, lengths)
    if not low.any():
        return None
    rest = copy(source)
    rest.codes = np.where(low, UNSEEN, source.codes).astype(np.uint8)
    return rest

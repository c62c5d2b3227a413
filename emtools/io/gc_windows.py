"""GC content of windows of sequences, as a track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emtools.io.bedgraph import ValueTrack
from emtools.io.fasta import Record

FEWEST_KNOWN = 0.5  # of a window's letters, below which its GC is not told


def gc_windows(records: Sequence[Record], width: int) -> list[ValueTrack]:
    """% GC of the known letters of windows of `width` letters from the first on; NaN where fewer than half of as many are known.

    Records without a window that is told are left out.

    Examples
    --------
    >>> record = Record("a", "", np.array([1, 2, 0, 3, 1, 1, 4, 4, 4, 1], dtype=np.uint8))
    >>> gc_windows([record], 4)[0].values.tolist()
    [50.0, 100.0, nan]
    """
    tracks = []
    for record in records:
        starts = np.arange(0, len(record.codes), width)
        strong = np.add.reduceat(((record.codes == 1) | (record.codes == 2)).astype(np.int64), starts)
        known = np.add.reduceat((record.codes < 4).astype(np.int64), starts)
        values = np.where(known >= FEWEST_KNOWN * width, 100.0 * strong / np.maximum(known, 1), np.nan)
        if np.isfinite(values).any():
            ends = np.minimum(starts + width, len(record.codes))
            tracks.append(ValueTrack(record.name, starts, ends, values))
    return tracks

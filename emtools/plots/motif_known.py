"""Figure of found motifs beside the known ones that they resemble most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import logomaker
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from emtools.plots.motif import LETTER_COLORS, RESIDUE_COLORS, Look
from emtools.plots.style import COLUMN, PAGE, Picture, arrange, save, styled

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aligned:
    """A found motif and a known one.

    Parameters
    ----------
    name, known : str
        What they are called.
    matrix, other : ndarray, shape (width, n_letters)
        Letter probabilities, of the known one on the strand that was aligned.
    offset : int
        Position of the found motif, 0-based, at which the known one begins.
    q : float
        Of the match.
    """

    name: str
    known: str
    matrix: Floats
    other: Floats
    offset: int
    q: float


def heights(matrix: Floats, frequencies: Floats) -> Floats:
    """Heights of the letters of a logo, bits: probability times relative entropy of the position; shape (width, n_letters)."""
    logs = np.log2(np.where(matrix > 0.0, matrix, 1.0) / np.where(matrix > 0.0, frequencies, 1.0))
    tall: Floats = matrix * np.maximum((matrix * logs).sum(axis=1, keepdims=True), 0.0)
    return tall


def draw_known(pairs: Sequence[Aligned], frequencies: Floats, look: Look, folder: Path) -> Picture:
    """Each pair of logos, the known one above, position below position.

    Parameters
    ----------
    pairs : sequence of Aligned
        At least one.
    frequencies : ndarray, shape (n_letters,)
        Background letter frequencies.
    look : Look
        Letters and unit.
    folder : Path
        Where the figure goes.
    """
    colors = LETTER_COLORS if len(look.letters) == 4 else RESIDUE_COLORS
    widest = max(max(len(pair.matrix), pair.offset + len(pair.other)) - min(0, pair.offset) for pair in pairs)
    with styled():
        size = (float(np.clip(1.2 + 0.27 * widest, COLUMN, PAGE)), 2.6 * len(pairs) + 0.2)
        figure, axes = plt.subplots(2 * len(pairs), 1, figsize=size, squeeze=False)
        for pair, (above, below) in zip(pairs, axes[:, 0].reshape(-1, 2), strict=True):
            low = min(1, pair.offset + 1) - 0.6
            high = max(len(pair.matrix), pair.offset + len(pair.other)) + 0.6
            for axis, matrix, first in ((above, pair.other, pair.offset + 1), (below, pair.matrix, 1)):
                tall = heights(matrix, frequencies)
                frame = pd.DataFrame(tall, columns=list(look.letters), index=np.arange(first, first + len(matrix)))
                logomaker.Logo(frame, ax=axis, color_scheme=colors)
                axis.set_xlim(low, high)
                axis.set_ylim(0.0, max(2.0, float(tall.sum(axis=1).max())))
                axis.set_ylabel("bits")
            above.set_xticks([])
            below.xaxis.set_major_locator(MaxNLocator(integer=True))
            above.set_title(f"{pair.known} (q = {pair.q:.2g})")
            below.set_title(f"{pair.name}, found here")
        axes[-1, 0].set_xlabel(f"position in the found motif, {look.unit}")
        arrange(figure)
        caption = (
            "Each motif that was found, below the known one that it resembles most, as they are aligned (the known one turned to the other strand where that fits better). "
            "Heights are bits relative to the background letters. q: share of false ones to be expected among matches as good."
        )
        return save(figure, folder, Picture("known", "Beside known motifs", caption))

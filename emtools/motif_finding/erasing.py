"""Taking out what was found, so that the next motif is sought in the rest: probabilistic erasing.

Every letter has a probability to be free of the sites of the motifs found before. The sites of the next motif are discounted by the product of it
over their letters: its likelihood is that of the sequences and of the event that its sites overlap none of the earlier ones, were the letters
free or not independently of each other. Bailey & Elkan (1994), Proc. Int. Conf. Intell. Syst. Mol. Biol. 2, 28-36; MEME takes the largest
posterior for the sum over the sites that cover a letter, and the least free letter for the product.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.models.motif import Motif, MotifParams

LEAST_FREE = (
    1e-4  # a letter is never free with less: no sequence becomes impossible, and products stay in the range of numbers
)
TAKEN = 0.5
UNSEEN = 255  # code of a letter that was not observed, in any alphabet


def coverage(starts: Floats, width: int) -> Floats:
    """Probability that a site covers each letter, shape (n_positions,).

    Parameters
    ----------
    starts : ndarray, shape (n_positions,)
        Probability that a site starts at each letter; sites do not overlap each other or reach beyond the end of their sequence.
    width : int
        Letters of a site.

    Examples
    --------
    >>> coverage(np.array([0.0, 0.25, 0.5, 0.0, 0.0]), 2).tolist()
    [0.0, 0.25, 0.75, 0.5, 0.0]
    """
    total = np.concatenate([[0.0], np.cumsum(starts)])
    covered: Floats = total[1:] - np.concatenate([np.zeros(width), total[1:-width]])[: len(starts)]
    return covered


def erase(source: SequenceSource, model: Motif, params: MotifParams) -> SequenceSource:
    """The same sequences, each letter free with the probability that it was times that no site of this motif covers it.

    Parameters
    ----------
    source : SequenceSource
        What the motif was found in.
    model, params
        The motif.
    """
    chunks = (source.chunk(i) for i in range(source.n_chunks))
    covered = np.concatenate([coverage(model.starts(params, chunk).sum(axis=0), model.width) for chunk in chunks])
    before = 1.0 if source.free is None else source.free
    rest = copy(source)
    rest.free = np.clip(before * (1.0 - covered), LEAST_FREE, 1.0)
    return rest


def masked(source: SequenceSource) -> SequenceSource:
    """The same sequences with the letters that are more probably taken than free as letters that were not observed; the others all free."""
    if source.free is None:
        return source
    rest = copy(source)
    rest.codes, rest.free = np.where(source.free < TAKEN, UNSEEN, source.codes).astype(np.uint8), None
    return rest

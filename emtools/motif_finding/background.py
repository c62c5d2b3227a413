"""Order of the background: as high as the letters can teach it, and not so high that it learns the motif."""

from __future__ import annotations

from emtools.errors import InputError
from emtools.models.motif import DNA

LETTERS_PER_PROBABILITY = 200
HIGHEST_OF_OWN = 2  # where the background is learnt from the searched sequences, which hold the motif
HIGHEST = 5


def choose_order(n_letters: int, control: bool, alphabet: int = DNA) -> int:
    """The highest order with at least `LETTERS_PER_PROBABILITY` letters for each of its 4**(order + 1) probabilities.

    Parameters
    ----------
    n_letters : int
        Letters that the background is learnt from.
    control : bool
        Whether they are others than the searched ones: then up to `HIGHEST`, otherwise up to `HIGHEST_OF_OWN`, because words of the
        motif are among the words of the searched sequences.
    alphabet : int
        Letters of the alphabet; the order is 0 where they are not four.

    Examples
    --------
    >>> choose_order(1890, control=False), choose_order(100_000, control=False), choose_order(4_600_000, control=True)
    (0, 2, 5)
    """
    if n_letters < 1:
        raise InputError("background", "no letter", "at least one known letter")
    order = 0
    if alphabet != DNA:
        return order
    while order < (HIGHEST if control else HIGHEST_OF_OWN):
        if n_letters < LETTERS_PER_PROBABILITY * 4 ** (order + 2):
            break
        order += 1
    return order

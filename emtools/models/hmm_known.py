"""Hidden Markov models of DNA that are known from the literature, ready to be fitted to a genome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emtools.models.hmm import CategoricalHMM, HMMParams

# Durbin, Eddy, Krogh & Mitchison (1998), Biological Sequence Analysis, section 3.1: probability of each letter (column) after
# each letter (row, A C G T), within and outside CpG islands, from 48 human islands.
WITHIN = np.array(
    [
        [0.180, 0.274, 0.426, 0.120],
        [0.171, 0.368, 0.274, 0.188],
        [0.161, 0.339, 0.375, 0.125],
        [0.079, 0.355, 0.384, 0.182],
    ]
)
OUTSIDE = np.array(
    [
        [0.300, 0.205, 0.285, 0.210],
        [0.322, 0.298, 0.078, 0.302],
        [0.248, 0.246, 0.298, 0.208],
        [0.177, 0.239, 0.292, 0.292],
    ]
)
ISLAND, SEA = 1_000.0, 100_000.0  # letters that a stay within and outside an island lasts at the start of a fit
SWITCH = np.array([[1.0 - 1.0 / SEA, 1.0 / SEA], [1.0 / ISLAND, 1.0 - 1.0 / ISLAND]])
GROUPS = ("outside", "island")


@dataclass(frozen=True)
class Known:
    """A ready-made model.

    Parameters
    ----------
    model : CategoricalHMM
        With what is fixed.
    params : HMMParams
        Where a fit starts.
    states : tuple of str
        Name of each state.
    groups : tuple of str
        Names of what is called.
    group_of : tuple of int
        Group of each state.
    what : str
        What it is, for the methods.
    reference : str
        Source.
    """

    model: CategoricalHMM
    params: HMMParams
    states: tuple[str, ...]
    groups: tuple[str, ...]
    group_of: tuple[int, ...]
    what: str
    reference: str


def known(name: str, pseudocount: float = 0.0, partial: tuple[tuple[int, ...], ...] = ()) -> Known:
    """A model by its name.

    ``"cpg"`` has two states that emit each letter given the one before by the published tables, which are fixed: the lengths of islands
    and of what lies between are estimated. It is the model of eight states whose jumps between tables do not depend on the letter.
    ``"cpg-8"`` is that with a state for each letter and table, whose emissions are fixed and whose 64 transitions are estimated
    from the published tables on.

    Parameters
    ----------
    name : {"cpg", "cpg-8"}
        Which.
    pseudocount, partial
        As in `CategoricalHMM`.

    References
    ----------
    Durbin, Eddy, Krogh & Mitchison (1998), Biological Sequence Analysis, ISBN 978-0-521-62971-3, sections 3.1 and 3.2.

    Examples
    --------
    >>> known("cpg").params.emission[1, 1].round(3).tolist()
    [0.171, 0.368, 0.274, 0.188]
    """
    tables = np.stack([OUTSIDE, WITHIN])
    tables = tables / tables.sum(axis=2, keepdims=True)
    even = np.array([0.5, 0.5])
    book = "Durbin, Eddy, Krogh & Mitchison (1998) Biological Sequence Analysis, Cambridge University Press, chapter 3"
    if name == "cpg":
        params = HMMParams(even, SWITCH, tables)
        what = (
            "the letter given the one before, by the published tables within and outside CpG islands, which were fixed"
        )
        held = CategoricalHMM(2, 4, pseudocount, order=1, partial=partial, fixed=("emission",), held=params)
        return Known(held, params, GROUPS, GROUPS, (0, 1), what, f"{book} (CpG islands)")
    transition = np.einsum("st,txy->sxty", SWITCH, tables).reshape(8, 8)
    params = HMMParams(np.repeat(even, 4) / 4.0, transition, np.tile(np.eye(4), (2, 1)))
    what = "one letter for certain, within (+) or outside (-) CpG islands, with transitions estimated from the published tables on"
    states = tuple(f"{letter}{sign}" for sign in "-+" for letter in "ACGT")
    held = CategoricalHMM(8, 4, pseudocount, partial=partial, fixed=("emission",), held=params)
    return Known(held, params, states, GROUPS, (0,) * 4 + (1,) * 4, what, f"{book} (CpG islands, eight states)")

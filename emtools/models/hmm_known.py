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

LETTERS = "ACGT"
# Shares of A, C, G and T at the first, second and third place of a codon at the start of a fit: purines first and pyrimidines
# last, as Shepherd (1981) found them in genes of all kinds. All that is asked of them is to tell the places and the strands apart.
PLACES = np.array([[0.30, 0.20, 0.35, 0.15], [0.25, 0.25, 0.25, 0.25], [0.18, 0.32, 0.22, 0.28]])
STOPS = ("TAA", "TAG", "TGA")
GENE, BETWEEN = 900.0, 200.0  # letters that a stay within and outside a gene lasts at the start of a fit
CODON_COUNT = 1.0  # pseudo-count where none is asked for: some words of three letters are rare
STRANDS = ("noncoding", "forward", "reverse")


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


def known(
    name: str, pseudocount: float | None = None, partial: tuple[tuple[int, ...], ...] = (), letters: str = LETTERS
) -> Known:
    """A model by its name.

    ``"coding"`` has a state outside genes and one for each place of a codon on either strand, which follow each other in a ring; each emits a
    letter given the two before it. What ends a gene is no codon of it: three emissions on the forward strand and three on
    the reverse are zero and stay so. All else is estimated, with a pseudo-count of 1 where none is asked for.
    ``"cpg"`` has two states that emit each letter given the one before by the published tables, which are fixed: the lengths of islands
    and of what lies between are estimated. It is the model of eight states whose jumps between tables do not depend on the letter.
    ``"cpg-8"`` is that with a state for each letter and table, whose emissions are fixed and whose 64 transitions are estimated
    from the published tables on.

    Parameters
    ----------
    name : {"cpg", "cpg-8", "coding"}
        Which.
    pseudocount : float, optional
        As in `CategoricalHMM`; by default 1 of ``"coding"``, 0 of the others.
    partial
        As in `CategoricalHMM`.
    letters : str
        A, C, G, and T or U, as the description has them.

    References
    ----------
    Durbin, Eddy, Krogh & Mitchison (1998), Biological Sequence Analysis, ISBN 978-0-521-62971-3, sections 3.1 and 3.2.
    Krogh, Mian & Haussler (1994), Nucleic Acids Res. 22, 4768-4778, doi:10.1093/nar/22.22.4768 (genes by rings of codons). Shepherd (1981),
    Proc. Natl. Acad. Sci. 78, 1596-1600, doi:10.1073/pnas.78.3.1596.

    Examples
    --------
    >>> known("cpg").params.emission[1, 1].round(3).tolist()
    [0.171, 0.368, 0.274, 0.188]
    """
    if name == "coding":
        return coding(CODON_COUNT if pseudocount is None else pseudocount, partial, letters)
    pseudocount = pseudocount or 0.0
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


def coding(pseudocount: float, partial: tuple[tuple[int, ...], ...], letters: str) -> Known:
    """Outside genes, the places 1, 2, 3 of a codon, and the places 3, 2, 1 of one on the other strand, as a reader of this one meets them."""
    on, off = 3.0 / GENE, 1.0 / BETWEEN
    transition = np.zeros((7, 7))
    transition[0, [0, 1, 4]] = 1.0 - off, off / 2.0, off / 2.0
    transition[[1, 2, 4, 5], [2, 3, 5, 6]] = 1.0
    transition[3, [1, 0, 4]] = 1.0 - on, on / 2.0, on / 2.0
    transition[6, [4, 0, 1]] = 1.0 - on, on / 2.0, on / 2.0
    places = [np.full(4, 0.25), *PLACES, *(place[::-1] for place in PLACES[::-1])]
    emission = np.repeat(np.array(places)[:, None, :], len(LETTERS) ** 2, axis=1)
    for word in STOPS:
        places_of = [LETTERS.index(letter) for letter in word]
        turned = [len(LETTERS) - 1 - place for place in reversed(places_of)]
        for state, (first, second, third) in ((3, places_of), (6, turned)):
            emission[state, first * len(LETTERS) + second, third] = 0.0
    emission /= emission.sum(axis=2, keepdims=True)
    params = HMMParams(np.full(7, 1.0 / 7.0), transition, emission)
    held = CategoricalHMM(7, 4, pseudocount, order=2, partial=partial, held=params)
    what = (
        "the letter given the two before it: one outside genes and one for each place of a codon on either strand, in rings of three without a stop "
        f"codon in frame ({', '.join(STOPS).replace(LETTERS[-1], letters[-1])})"
    )
    book = "Krogh, Mian & Haussler (1994) Nucleic Acids Res. 22, 4768–4778, doi:10.1093/nar/22.22.4768 (genes by rings of codons)"
    states = ("noncoding", "forward_1", "forward_2", "forward_3", "reverse_3", "reverse_2", "reverse_1")
    return Known(held, params, states, STRANDS, (0, 1, 1, 1, 2, 2, 2), what, book)

"""Which known motifs a found one resembles: Tomtom's p-values of the best alignment of their columns, by memelite."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emtools.engine.protocol import Floats
from emtools.errors import InputError

FEW = 25  # known motifs below which the p-values hang on which they are: their columns are the background


@dataclass(frozen=True)
class Match:
    """The best alignment of a found motif with a known one.

    Parameters
    ----------
    known : int
        Number of the known motif.
    p, q : float
        Probability that the best alignment with columns drawn from the known motifs is as good; the same
        corrected for the number of known motifs (Benjamini-Hochberg).
    offset : int
        Position of the found motif, 0-based and maybe negative, at which the known one begins.
    overlap : int
        Positions aligned.
    turned : bool
        Whether the known motif was read on the other strand.
    """

    known: int
    p: float
    q: float
    offset: int
    overlap: int
    turned: bool


def best_matches(found: Sequence[Floats], known: Sequence[Floats], both: bool) -> list[list[Match]]:
    """Every known motif beside each found one, the best first.

    Parameters
    ----------
    found, known : sequence of ndarray, shape (width, n_letters)
        Letter probabilities.
    both : bool
        Whether a motif and its reverse complement are one.

    Returns
    -------
    list of list of Match
        For each of `found`, as many as `known`.

    Raises
    ------
    InputError
        If memelite is absent.

    References
    ----------
    Gupta et al. (2007), Genome Biol. 8, R24, doi:10.1186/gb-2007-8-2-r24 (Tomtom). Benjamini & Hochberg (1995), J. R. Stat. Soc. B
    57, 289-300, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    try:
        from memelite import tomtom
    except ModuleNotFoundError as absent:
        raise InputError(
            "--known", f"it needs {absent.name}, which is absent", "", "pip install 'emtools[known]'"
        ) from absent
    from scipy.stats import false_discovery_control  # slow to import, and needed with --known alone

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="tomtom was given")
        p_values, _, offsets, overlaps, strands = tomtom(
            [np.ascontiguousarray(matrix.T) for matrix in found],
            [np.ascontiguousarray(matrix.T) for matrix in known],
            n_target_bins=None,
            reverse_complement=both,
            n_jobs=1,
        )
    answers = []
    for p, offset, overlap, strand in zip(p_values, offsets, overlaps, strands, strict=True):
        p = np.clip(p, 0.0, 1.0)
        q = false_discovery_control(p)
        answers.append(
            [
                Match(int(k), float(p[k]), float(q[k]), -int(offset[k]), int(overlap[k]), bool(strand[k]))
                for k in np.argsort(p, kind="stable")
            ]
        )
    return answers

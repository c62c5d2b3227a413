"""Is it real: a motif found in one half of the sequences, sought in the other half and in shuffles of it; and a p-value for each site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.kernels.motif import best_windows
from emtools.kernels.placements import best_placements
from emtools.kernels.shuffles import shuffle_pairs
from emtools.kernels.windows import context_table
from emtools.models.motif import (
    DNA,
    Background,
    Motif,
    MotifParams,
    estimate_background,
    free_letters,
    has_room,
    weights_of_places,
)
from emtools.motif_finding.dependence import climbed
from emtools.motif_finding.erasing import masked
from emtools.motif_finding.search import Candidate, Terms, search, settle

SHUFFLES = 9  # of each sequence
MOST_TESTED = 2000  # sequences held out at most
LOWEST, HIGHEST, LEVEL = -4.0, 8.0, 0.5  # nats; range and steps of the score of a sequence
KEPT_ORDER = 1  # of a background, of which the shuffles keep all counts
STEP = 0.01  # nats; grid of scores of a site


@dataclass(frozen=True)
class Significance:
    """What the held-out half says.

    Parameters
    ----------
    p : float
        Probability of scores as high as those of the originals, were originals and shuffles alike.
    n_tested, n_with : int
        Held-out sequences; those with a window more probably a site than not.
    share_shuffled : float
        Share of their shuffles with one.
    """

    p: float
    n_tested: int
    n_with: int
    share_shuffled: float


def shuffled_pieces(
    codes: npt.NDArray[np.uint8], rng: np.random.Generator, n_letters: int = DNA
) -> npt.NDArray[np.uint8]:
    """`codes` with every stretch of known letters shuffled, of four letters with its pairs of neighbours kept."""
    out = codes.copy()
    known = np.concatenate([[False], codes < n_letters, [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    for low, high in edges.reshape(-1, 2):
        if n_letters == DNA:
            out[low:high] = shuffle_pairs(codes[low:high], rng.random(4 * (high - low) + 64), DNA)
        else:
            out[low:high] = rng.permutation(codes[low:high])
    return out


def halves(source: SequenceSource, seed: int) -> tuple[SequenceSource, SequenceSource | None, np.random.Generator]:
    """A random half of the sequences, in which the motif is found anew; at most `MOST_TESTED` of the others, if any; what draws further."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 17]))
    order = rng.permutation(source.n_units)
    half = source.n_units // 2
    parts = [np.sort(order[half:]), np.sort(order[:half])[:MOST_TESTED]]
    return source.drawn(parts[0]), source.drawn(parts[1]) if len(parts[1]) else None, rng


def background_of_test(half: SequenceSource, background: Background, own: bool, both: bool) -> Background:
    """The background of the test, which must not tell the originals of the held-out sequences from their shuffles.

    One of order 0 or 1 knows letters and pairs alone, which the shuffles keep, and so does one from other sequences; one of a higher
    order that was learnt from all that is searched (`own`) is learnt again, from the half in which the motif is found.
    """
    if not own or background.order <= KEPT_ORDER:
        return background
    return estimate_background(half, background.order, background.n_letters, both)


def held_out_test(
    source: SequenceSource,
    background: Background,
    terms: Terms,
    seed: int,
    seeds: int,
    ended: Mapping[int, Candidate] | None = None,
    own: bool = True,
) -> Significance:
    """Find a motif in a random half of the sequences and count the others, and shuffles of each, that have a site.

    The score of a sequence is the log posterior odds of its best window, from `LOWEST` to `HIGHEST` nats in steps of `LEVEL`. Were the sequences of
    the held-out half no more than shuffles of themselves, each of the `SHUFFLES` + 1 versions would be the original with equal
    probability, whatever the motif: the sum of scores is then a sum of independent draws, and its upper tail is exact. Given the versions of every
    sequence, P(p <= a) is at most a for every a.

    Parameters
    ----------
    source : SequenceSource
        At least two sequences. Where motifs were found before, letters that they more probably cover than not are not observed in
        originals and shuffles, and the others are as free in both as in the search.
    background : Background
        As in the search.
    terms : Terms
        As in the search.
    seed, seeds : int
        Root of the halves and the shuffles; starts of the search.
    ended : mapping, optional
        As in `search`, on the half of `halves` with `background_of_test`.
    own : bool
        Whether the background was learnt from `source`.
    """
    half_source, other, rng = halves(source, seed)
    if other is None:
        return Significance(1.0, 0, 0, 0.0)
    background = background_of_test(half_source, background, own, terms.both)
    open_to_all = masked(other)
    sequences = [open_to_all[i] for i in range(other.n_units)]
    narrow = terms.widths[0]
    learnt = masked(half_source)
    if not any(has_room(learnt[i], narrow, background.n_letters) for i in range(learnt.n_units)):
        return Significance(1.0, len(sequences), 0, 0.0)
    found = search(half_source, background, terms, seed, seeds, ended)
    model, params = settle(half_source, background, terms, found, seed)
    if terms.order:
        params = climbed(model, params, half_source)
    return tested(model, params, background, sequences, other, rng)


def tested(
    model: Motif,
    params: MotifParams,
    background: Background,
    sequences: list[npt.NDArray[np.uint8]],
    known: SequenceSource | None,
    rng: np.random.Generator,
) -> Significance:
    """What sequences say of a motif that does not come from them, beside shuffles of themselves.

    Parameters
    ----------
    model, params, background
        The motif and what it stands against; none may depend on which version of a sequence is the original.
    sequences : list of ndarray of uint8
        Letters that were not observed split what is shuffled.
    known : SequenceSource, optional
        As in `best_odds`.
    rng : numpy.random.Generator
        What the shuffles are drawn with.
    """
    versions = [best_odds(model, params, background, sequences, known)]
    for _ in range(SHUFFLES):
        shuffles = [shuffled_pieces(codes, rng, background.n_letters) for codes in sequences]
        versions.append(best_odds(model, params, background, shuffles, known))
    odds = np.array(versions)
    levels = np.round((np.clip(odds, LOWEST, HIGHEST) - LOWEST) / LEVEL).astype(np.int64)
    n_with, share = int((odds[0] >= 0.0).sum()), float((odds[1:] >= 0.0).mean())
    return Significance(upper_tail(levels), len(sequences), n_with, share)


def best_odds(
    model: Motif,
    params: MotifParams,
    background: Background,
    sequences: list[npt.NDArray[np.uint8]],
    known: SequenceSource | None = None,
) -> Floats:
    """Log posterior odds of the best window of each sequence against no site, nats; minus infinity without a window.

    What is known of letters, which are free and how probable a site is there, is that of `known`: alike for a sequence and its shuffles.
    """
    free, prior = (None, None) if known is None else (known.free, known.prior)
    source = SequenceSource(sequences, free=free, prior=prior)
    weights = weights_of_places(source, model.width, background.n_letters, model.occurrence == "anr")
    if background.n_letters == DNA:
        table = context_table(background.log_table, background.order)
        arguments: tuple[Any, ...] = (params.matrix, model.both, free_letters(source), weights, 1, -math.inf)
        found, _, _, logs = best_placements(source.codes, source.offsets, table, background.order, *arguments)
    else:
        chunks = (source.chunk(i) for i in range(source.n_chunks))
        outside = np.concatenate([model.log_background(chunk) for chunk in chunks])
        if free is not None:
            outside = outside - np.log(free)
        found, _, _, logs = best_windows(
            source.codes, source.offsets, outside, np.log(params.matrix), model.both, weights, -math.inf
        )
    starts = np.diff(source.offsets)[found] - model.width + 1
    places = (2 if model.both else 1) * (np.ones(len(found)) if model.occurrence == "anr" else starts)
    rate = min(params.occurrence, 0.9)
    odds = np.full(len(sequences), -math.inf)
    odds[found] = logs + math.log(rate / (1.0 - rate)) - np.log(places)
    return odds


def upper_tail(levels: npt.NDArray[np.int64]) -> float:
    """Probability that one level of each column, drawn at random, sum up to at least the sum of the first row.

    Parameters
    ----------
    levels : ndarray of int64, shape (n_versions, n_sequences)
        Scores in steps, 0 or more.

    Examples
    --------
    >>> upper_tail(np.array([[2, 1], [0, 1]]))
    0.5
    """
    n_versions = len(levels)
    mass = np.ones(1)
    for column in levels.T:
        wider = np.zeros(mass.size + int(column.max()))
        for level, n in zip(*np.unique(column, return_counts=True), strict=True):
            wider[level : level + mass.size] += n / n_versions * mass
        mass = wider
    return float(min(1.0, mass[int(levels[0].sum()) :].sum()))


def site_p_values(matrix: Floats, frequencies: Floats, scores: Floats) -> Floats:
    """Probability that a random window scores at least as much, for each score; letters are drawn independently.

    The distribution is taken on a grid of `STEP` nats (Staden 1989, CABIOS 5, 89-96), every position rounded up and every score down, so
    that the p-value is never too small; where the score of a letter depends on the one before it, for each last letter apart.

    Parameters
    ----------
    matrix : ndarray, shape (width, n_letters) or (width, n_letters, n_letters)
        Letter probabilities of the motif; with three axes those after each letter, as in `models.motif.MotifParams`.
    frequencies : ndarray, shape (n_letters,)
        Letter probabilities of the background.
    scores : ndarray, shape (n_sites,)
        ``sum log(matrix / frequencies)`` over the letters of a site, nats.

    Returns
    -------
    ndarray, shape (n_sites,)
    """
    n_letters = len(frequencies)
    after = matrix if matrix.ndim == 3 else matrix[:, None]
    steps = np.ceil(np.log(after / frequencies) / STEP).astype(np.int64)
    lows = steps.min(axis=(1, 2))
    masses = np.ones((1, 1))
    for table, low in zip(steps, lows, strict=True):
        wider = np.zeros((n_letters, masses.shape[1] + int(table.max() - low)))
        for mass, row in zip(masses, table - low, strict=False):
            for letter, (step, p) in enumerate(zip(row, frequencies, strict=True)):
                wider[letter, step : step + mass.size] += p * mass
        masses = wider if matrix.ndim == 3 else wider.sum(axis=0, keepdims=True)
    tail = np.concatenate([np.cumsum(masses.sum(axis=0)[::-1])[::-1], [0.0]])
    at = np.floor(scores / STEP).astype(np.int64) - int(lows.sum())
    values: Floats = np.minimum(1.0, tail[np.clip(at, 0, tail.size - 1)])
    return values

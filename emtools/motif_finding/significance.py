"""Is it real: a motif found in one half of the sequences, sought in the other half and in shuffles of it; and a p-value for each site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.kernels.shuffles import shuffle_pairs
from emtools.models.motif import DNA, Background, Motif, MotifParams
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.search import RELEASE_PASSES, Terms, release, search

SHUFFLES = 9  # of each sequence
MOST_TESTED = 2000  # sequences held out at most
STEP = 0.01  # nats; grid of scores of a site


@dataclass(frozen=True)
class Significance:
    """What the held-out half says.

    Parameters
    ----------
    p : float
        Probability of as many sequences with a site or more, were originals and shuffles alike.
    n_tested, n_with : int
        Held-out sequences; those with a site.
    share_shuffled : float
        Share of their shuffles with a site.
    """

    p: float
    n_tested: int
    n_with: int
    share_shuffled: float


def shuffled_pieces(codes: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """`codes` with every stretch of known letters shuffled, its pairs of neighbours kept."""
    out = codes.copy()
    known = np.concatenate([[False], codes < DNA, [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    for low, high in edges.reshape(-1, 2):
        out[low:high] = shuffle_pairs(codes[low:high], rng.random(4 * (high - low) + 64), DNA)
    return out


def held_out_test(source: SequenceSource, background: Background, terms: Terms, seed: int, seeds: int) -> Significance:
    """Find a motif in a random half of the sequences and count the others, and shuffles of each, that have a site.

    Were the sequences of the held-out half no more than shuffles of themselves, each would be any of the `SHUFFLES` + 1
    versions with equal probability, whatever the motif: the number of originals with a site is then a sum of independent
    indicators of known probability (Poisson-binomial), and its upper tail is exact. Versions are counted with the motif as found.

    Parameters
    ----------
    source : SequenceSource
        At least two sequences.
    background : Background
        As in the search.
    terms : Terms
        As in the search.
    seed, seeds : int
        Root of the halves and the shuffles; starts of the search.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 17]))
    order = rng.permutation(source.n_units)
    half = source.n_units // 2
    parts = [np.sort(order[half:]), np.sort(order[:half])[:MOST_TESTED]]
    learn, tested = ([source.codes[source.offsets[i] : source.offsets[i + 1]] for i in part] for part in parts)
    if not tested:
        return Significance(1.0, 0, 0, 0.0)
    found = search(SequenceSource(learn), background, terms, seed, seeds)
    if not found:
        return Significance(1.0, len(tested), 0, 0.0)
    params = found[0].params
    model = release(SequenceSource(learn), background, terms, found[0])
    params = climb(model, SequenceSource(learn), params, max_passes=RELEASE_PASSES).params
    versions = [has_site(model, params, tested)]
    for _ in range(SHUFFLES):
        versions.append(has_site(model, params, [shuffled_pieces(codes, rng) for codes in tested]))
    hits = np.array(versions)
    n_with = int(hits[0].sum())
    return Significance(upper_tail(hits.mean(axis=0), n_with), len(tested), n_with, float(hits[1:].mean()))


def has_site(model: Motif, params: MotifParams, sequences: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.bool_]:
    """Which sequences have a site, shape (n_sequences,)."""
    present = np.zeros(len(sequences), dtype=bool)
    present[call_sites(model, params, SequenceSource(sequences)).sequence] = True
    return present


def upper_tail(probabilities: Floats, at_least: int) -> float:
    """Probability that at least so many of independent events with these probabilities occur.

    Examples
    --------
    >>> round(upper_tail(np.array([0.5, 0.5, 0.5]), 2), 12)
    0.5
    """
    uncertain = probabilities[(probabilities > 0.0) & (probabilities < 1.0)]
    needed = at_least - int(np.count_nonzero(probabilities >= 1.0))
    mass = np.zeros(len(uncertain) + 1)
    mass[0] = 1.0
    for i, p in enumerate(uncertain):
        mass[1 : i + 2] = mass[1 : i + 2] * (1.0 - p) + mass[: i + 1] * p
        mass[0] *= 1.0 - p
    return float(min(1.0, mass[max(0, needed) :].sum()))


def site_p_values(matrix: Floats, frequencies: Floats, scores: Floats) -> Floats:
    """Probability that a random window scores at least as much, for each score; letters are drawn independently.

    The distribution is taken on a grid of `STEP` nats (Staden 1989, CABIOS 5, 89-96), every column rounded up and every score down, so
    that the p-value is never too small.

    Parameters
    ----------
    matrix : ndarray, shape (width, 4)
        Letter probabilities of the motif.
    frequencies : ndarray, shape (4,)
        Letter probabilities of the background.
    scores : ndarray, shape (n_sites,)
        ``sum log(matrix / frequencies)`` over the letters of a site, nats.

    Returns
    -------
    ndarray, shape (n_sites,)
    """
    steps = np.ceil(np.log(matrix / frequencies) / STEP).astype(np.int64)
    lows = steps.min(axis=1)
    mass = np.ones(1)
    for column, low in zip(steps, lows, strict=True):
        wider = np.zeros(mass.size + int(column.max() - low))
        for step, p in zip(column - low, frequencies, strict=True):
            wider[step : step + mass.size] += p * mass
        mass = wider
    tail = np.concatenate([np.cumsum(mass[::-1])[::-1], [0.0]])
    at = np.floor(scores / STEP).astype(np.int64) - int(lows.sum())
    values: Floats = np.minimum(1.0, tail[np.clip(at, 0, mass.size)])
    return values

"""Starts of hidden Markov models over letters: windows of different composition."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Sequences, weighted_sequences
from emtools.engine.protocol import Floats, Source
from emtools.kernels.markov import counts_in_windows
from emtools.kernels.words import Steps

SHORTEST_WINDOW = 20
MOST_WINDOWS = 20_000
WEIGHT_OF_START = 200.0
PRECISION_OF_RANDOM = 20.0


class Letters(Protocol):
    """What of a model the windows need."""

    @property
    def steps(self) -> Steps: ...

    def steps_of(
        self, codes: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.unsignedinteger[Any]]: ...

    def check_codes(self, codes: npt.NDArray[np.uint8]) -> None: ...


def draw_emission(counts: Floats, k: int, n_letters: int, rng: np.random.Generator) -> Floats:
    """Emissions, shape (K, contexts, L): around the letters of each state, or around those of all.

    ``counts`` has shape (K, steps), or (steps,) with shares of all letters.
    """
    if counts.ndim == 1:
        rows = counts.reshape(-1, n_letters)
        shapes = 1.0 + PRECISION_OF_RANDOM * n_letters * rows / rows.sum(axis=1, keepdims=True)
        return np.stack([rng.dirichlet(shape, size=k) for shape in shapes], axis=1)
    most = WEIGHT_OF_START * counts.shape[1] / n_letters
    share = np.minimum(1.0, most / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))
    rows = (counts * share).reshape(-1, n_letters)
    return np.array([rng.dirichlet(1.0 + row) for row in rows]).reshape(k, -1, n_letters)


def draw_transition(away: Floats, rng: np.random.Generator) -> Floats:
    """Transitions, shape (K, K), of states that are left with the probabilities ``away``."""
    k = len(away)
    others = rng.dirichlet(np.full(max(k - 1, 1), 5.0), size=k)
    transition = np.diag(1.0 - away)
    for i in range(k):
        transition[i, np.arange(k) != i] = away[i] * others[i, : k - 1]
    return transition


def window_counts(
    data: Source[Sequences], letters: Letters, rng: np.random.Generator
) -> tuple[Floats, Floats, npt.NDArray[np.bool_], Floats, int]:
    """Letters in windows of a random length, over the sequences of positive weight.

    Returns
    -------
    counts : ndarray, shape (n_windows, steps)
        Observed letters of each kind, with the letters before them, in each window.
    lengths : ndarray, shape (n_windows,)
        Letters of each window, observed or not.
    first : ndarray of bool, shape (n_windows,)
        Whether a window is the first of its sequence.
    place : ndarray, shape (n_windows,)
        Where in its sequence a window lies, 0 to 1.
    n_total : int
        Letters in all these sequences.
    """
    chunks = weighted_sequences(data)
    n_total = sum(chunk.codes.size for chunk in chunks)
    longest = max(int(np.diff(chunk.offsets).max()) for chunk in chunks)
    top = max(SHORTEST_WINDOW + 1.0, longest / 20.0)
    width = max(math.exp(rng.uniform(math.log(SHORTEST_WINDOW), math.log(top))), n_total / MOST_WINDOWS)
    tables, sizes, firsts, places = [], [], [], []
    steps = letters.steps
    for chunk in chunks:
        letters.check_codes(chunk.codes)
        lengths = np.diff(chunk.offsets)
        n_windows = np.maximum(1, np.round(lengths / width)).astype(np.int64)
        codes = letters.steps_of(chunk.codes, chunk.offsets)
        table = counts_in_windows(codes, chunk.offsets, n_windows, steps.n)
        tables.append(table[:, : steps.n_whole].astype(np.float64))
        sizes.append(table.sum(axis=1).astype(np.float64))
        is_first = np.zeros(len(table), dtype=np.bool_)
        begins = np.cumsum(n_windows) - n_windows
        is_first[begins] = True
        firsts.append(is_first)
        places.append((np.arange(len(table)) - np.repeat(begins, n_windows)) / np.repeat(n_windows, n_windows))
    parts = (np.concatenate(part) for part in (tables, sizes, firsts, places))
    counts, lengths, first, place = parts
    return counts, lengths, first, place, n_total


def nearest_window(counts: Floats, overall: Floats, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Label of each window: the one of `k` drawn windows whose composition gives its letters the most probability.

    The next centre is drawn with probability proportional to what the centres so far lose on a window,
    as in k-means++ (Arthur & Vassilvitskii 2007) with the multinomial log-likelihood for the distance.
    """
    strength = counts.sum(axis=1, keepdims=True) ** 0.5 + 1.0
    composition = (counts + strength * overall) / (counts.sum(axis=1, keepdims=True) + strength)
    own = (counts * np.log(composition)).sum(axis=1)
    chosen = [int(rng.integers(len(counts)))]
    scores = [counts @ np.log(composition[chosen[0]])]
    while len(chosen) < k:
        loss = np.maximum(own - np.max(scores, axis=0), 0.0)
        total = loss.sum()
        draw = rng.choice(len(counts), p=loss / total) if total > 0.0 else rng.integers(len(counts))
        chosen.append(int(draw))
        scores.append(counts @ np.log(composition[chosen[-1]]))
    labels: npt.NDArray[np.int64] = np.argmax(scores, axis=0)
    return labels

"""Letters under a hidden Markov model, stretch by stretch: how probable each stretch is given those before it, and paths drawn.

Both go over logarithms of the filtered probabilities, of which only those before each stretch are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from emtools.engine.protocol import Floats
from emtools.kernels.chain import NOTHING, drawn_back, forward
from emtools.kernels.markov import POSSIBLE, log_table
from emtools.models.hmm import CategoricalHMM, Codes, HMMParams, impossible

STRETCH = 2**14  # letters


@dataclass(frozen=True)
class Filtered:
    """A sequence whose stretches can be swept again, one by one.

    Parameters
    ----------
    rows : ndarray, shape (T,)
        Code of each letter with those before it.
    log_emission, log_transition : ndarray, shapes (K, codes) and (K, K)
        Logarithms of the probabilities of the states that a path goes through; nats.
    log_predicted : ndarray, shape (n_stretches, K)
        ``log p(z_t | x_1..x_{t-1})`` of the first letter t of each stretch.
    logliks : ndarray, shape (n_stretches,)
        ``log p(x_a..x_b | x_1..x_{a-1})`` of each stretch, nats; their sum is the log-likelihood.
    size : int
        Letters of a stretch; the last holds what is left.
    """

    rows: npt.NDArray[np.unsignedinteger]
    log_emission: Floats
    log_transition: Floats
    log_predicted: Floats
    logliks: Floats
    size: int

    def sweep(self, number: int, log_alpha: Floats) -> Floats:
        """Fill `log_alpha` with the filtered log-probabilities of a stretch, and give it back as long as the stretch is."""
        rows = self.rows[number * self.size : (number + 1) * self.size]
        forward(self.log_emission.T[rows], self.log_predicted[number], self.log_transition, log_alpha)
        return log_alpha[: rows.size]


def filtered(model: CategoricalHMM, params: HMMParams, codes: Codes, size: int) -> Filtered:
    """Go over a sequence once.

    Parameters
    ----------
    model, params
        Model and its parameters.
    codes : ndarray of uint8, shape (T,)
        Letter codes, as in `CategoricalHMM.posterior`.
    size : int
        Letters of a stretch.

    Raises
    ------
    InputError
        If the sequence is empty, a code is too large, or it has probability zero.
    """
    model.check_codes(codes)
    start, transition, emission = model.unfolded(params)
    log_emission, log_transition = log_table(emission), log_table(transition)
    rows = model.steps_of(np.array(codes), np.array([0, codes.size]))
    n_stretches = -(-rows.size // size)
    predicted, logliks = np.empty((n_stretches, len(start))), np.empty(n_stretches)
    log_alpha = np.empty((min(size, rows.size), len(start)))
    coming = log_table(start[None, :])[0]
    for number, begin in enumerate(range(0, rows.size, size)):
        stretch = rows[begin : begin + size]
        predicted[number] = coming
        logliks[number], _, position = forward(log_emission.T[stretch], coming, log_transition, log_alpha)
        if position != POSSIBLE:
            raise impossible("sequence", begin + position)
        coming = logsumexp(log_alpha[stretch.size - 1][:, None] + log_transition, axis=0)
    return Filtered(rows, log_emission, log_transition, predicted, logliks, size)


def window_logliks(model: CategoricalHMM, params: HMMParams, codes: Codes, size: int) -> Floats:
    """``log p(window | letters before it)`` of each window of `size` letters, nats, shape (n_windows,); their sum is the log-likelihood.

    Parameters and errors as in `filtered`. Rabiner (1989), doi:10.1109/5.18626, eq. 103.
    """
    return filtered(model, params, codes, size).logliks


def draw_paths(
    model: CategoricalHMM, params: HMMParams, codes: Codes, n_paths: int, rng: np.random.Generator, size: int = STRETCH
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Paths of states drawn from their distribution given all letters, from the last stretch to the first.

    Forward filtering, backward sampling: a state is drawn given the one behind it and the letters up to it, so that every path comes with the
    probability that it has.

    Parameters
    ----------
    model, params, codes, size
        As in `filtered`.
    n_paths : int
        Paths, independent of each other.
    rng : numpy.random.Generator
        What is drawn with.

    Yields
    ------
    begin : int
        First letter of a stretch.
    states : ndarray of int64, shape (n_paths, letters of the stretch)
        From 0.

    References
    ----------
    Scott (2002), J. Am. Stat. Assoc. 97, 337-351, doi:10.1198/016214502753479464, eq. 9.

    Examples
    --------
    >>> model = CategoricalHMM(n_states=2, n_letters=2)
    >>> params = HMMParams(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 2), 0.5))
    >>> codes = np.array([0, 1, 1], dtype=np.uint8)
    >>> [states.tolist() for _, states in draw_paths(model, params, codes, 2, np.random.default_rng(0))]
    [[[0, 1, 0], [0, 1, 0]]]
    """
    found = filtered(model, params, codes, size)
    log_alpha = np.empty((min(size, found.rows.size), found.log_transition.shape[0]))
    following = [NOTHING] * n_paths
    for number in range(len(found.logliks) - 1, -1, -1):
        alpha = found.sweep(number, log_alpha)
        states = np.empty((n_paths, len(alpha)), dtype=np.int64)
        for path, after in zip(states, following, strict=True):
            drawn_back(alpha, found.log_transition, rng.random(len(alpha)), after, path)
        following = states[:, 0].tolist()
        yield number * size, states // model.repeats

"""Hidden Markov chains over any emission: forward-backward, entropy of the path and Viterbi, in log space.

What was observed enters as a table of log densities, shape (T, K), in nats: a row of zeros is a place where nothing
was observed. State probabilities are kept as logarithms and summed as numbers; a sum so small that a term of it may
have vanished is taken again about its own largest term, so that no distance between an observation and the states can
make a path disappear. `emtools.kernels.markov` does the same for letters, faster.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.markov import POSSIBLE, log_table

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
Path = npt.NDArray[np.int64]

# A sum of products of probabilities below this may have lost a term that matters.
SMALL = 1e-200
NOTHING = -1  # stands for the state behind the last row


@njit(cache=True, nogil=True)
def log_sum_of(one: Floats, two: Floats) -> float:
    """``log Σ exp(one + two)`` about the largest term; minus infinity where every term is zero."""
    highest = -math.inf
    for i in range(one.size):
        highest = max(highest, one[i] + two[i])
    if highest == -math.inf:
        return highest
    total = 0.0
    for i in range(one.size):
        total += math.exp(one[i] + two[i] - highest)
    return highest + math.log(total)


@njit(cache=True, nogil=True)
def forward(
    log_emission: Floats, log_start: Floats, log_transition: Floats, log_alpha: Floats
) -> tuple[float, float, int]:
    """Filtered log-probabilities, log-likelihood and entropy of the path, in one sweep.

    With ``log_alpha[t, j] = log p(z_t = j | x_1..x_t)`` and q_ij = p(z_{t-1} = i | z_t = j, x_<t), the entropy follows
    H_t(j) = sum_i q_ij (H_{t-1}(i) - log q_ij); it uses neither the backward sweep nor the expected counts.

    Parameters
    ----------
    log_emission : ndarray, shape (T, K)
        Log density of each observation in each state; minus infinity where the state cannot emit it.
    log_start, log_transition : ndarray, shapes (K,) and (K, K)
        Logarithms of the probabilities; row: state, column: next state.
    log_alpha : ndarray, shape (T or more, K)
        Receives the filtered log-probabilities.

    Returns
    -------
    loglik, entropy : float
        In nats; minus infinity and 0 where the series is impossible.
    position : int
        First observation that no reachable state emits; `POSSIBLE` where there is none.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 19-21. Hernando, Crespi & Cybenko (2005),
    doi:10.1109/TIT.2005.850223, the recursion of section III.
    """
    n, n_states = log_emission.shape
    transition = np.exp(log_transition)
    path_entropy = np.zeros(n_states)
    carried = np.zeros(n_states)
    alpha = np.zeros(n_states)
    predicted = log_start.copy()
    loglik = 0.0
    for t in range(n):
        if t > 0:
            for j in range(n_states):
                total = 0.0
                for i in range(n_states):
                    total += alpha[i] * transition[i, j]
                careful = total < SMALL
                predicted[j] = log_sum_of(log_alpha[t - 1], log_transition[:, j]) if careful else math.log(total)
                carried[j] = 0.0
                for i in range(n_states):
                    log_share = log_alpha[t - 1, i] + log_transition[i, j] - predicted[j]
                    if log_share > -math.inf and predicted[j] > -math.inf:
                        share = math.exp(log_share) if careful else alpha[i] * transition[i, j] / total
                        carried[j] += share * (path_entropy[i] - log_share)
            path_entropy, carried = carried, path_entropy
        highest = -math.inf
        for j in range(n_states):
            log_alpha[t, j] = predicted[j] + log_emission[t, j]
            highest = max(highest, log_alpha[t, j])
        if highest == -math.inf:
            return -math.inf, 0.0, t
        total = 0.0
        for j in range(n_states):
            alpha[j] = math.exp(log_alpha[t, j] - highest)
            total += alpha[j]
        scale = highest + math.log(total)
        for j in range(n_states):
            log_alpha[t, j] -= scale
            alpha[j] /= total
        loglik += scale
    entropy = 0.0
    for j in range(n_states):
        if log_alpha[n - 1, j] > -math.inf:
            entropy += math.exp(log_alpha[n - 1, j]) * (path_entropy[j] - log_alpha[n - 1, j])
    return loglik, entropy, POSSIBLE


@njit(cache=True, nogil=True)
def backward(
    log_emission: Floats,
    log_transition: Floats,
    log_alpha: Floats,
    weight: float,
    n_start: Floats,
    n_transition: Floats,
    posterior: Floats,
) -> None:
    """Posterior of one series, and its expected counts added, from its filtered log-probabilities.

    Parameters
    ----------
    log_emission, log_transition
        As in `forward`.
    log_alpha : ndarray, shape (T or more, K)
        What `forward` left.
    weight : float
        Weight of the series.
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Receive the weighted expected counts.
    posterior : ndarray, shape (T, K)
        Receives p(z_t | x).

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 25, 27 and 37.
    """
    n, n_states = log_emission.shape
    transition = np.exp(log_transition)
    log_beta = np.zeros(n_states)
    log_ahead = np.empty(n_states)
    ahead = np.empty(n_states)
    reach = np.empty(n_states)
    for j in range(n_states):
        posterior[n - 1, j] = math.exp(log_alpha[n - 1, j])
    for t in range(n - 2, -1, -1):
        highest = -math.inf
        for j in range(n_states):
            log_ahead[j] = log_emission[t + 1, j] + log_beta[j]
            highest = max(highest, log_ahead[j])
        for j in range(n_states):
            log_ahead[j] -= highest
            ahead[j] = math.exp(log_ahead[j])
        top = -math.inf
        for i in range(n_states):
            reach[i] = 0.0
            for j in range(n_states):
                reach[i] += transition[i, j] * ahead[j]
            log_beta[i] = log_sum_of(log_transition[i], log_ahead) if reach[i] < SMALL else math.log(reach[i])
            top = max(top, log_alpha[t, i] + log_beta[i])
        total = 0.0
        for i in range(n_states):
            posterior[t, i] = math.exp(log_alpha[t, i] + log_beta[i] - top)
            total += posterior[t, i]
        for i in range(n_states):
            posterior[t, i] /= total
            if posterior[t, i] == 0.0:
                continue
            share = weight * posterior[t, i]
            for j in range(n_states):
                if reach[i] < SMALL:
                    n_transition[i, j] += share * math.exp(log_transition[i, j] + log_ahead[j] - log_beta[i])
                else:
                    n_transition[i, j] += share * transition[i, j] * ahead[j] / reach[i]
    for i in range(n_states):
        n_start[i] += weight * posterior[0, i]


@njit(cache=True, nogil=True)
def expected_states(
    log_emission: Floats, offsets: Offsets, weights: Floats, start: Floats, transition: Floats
) -> tuple[Floats, Floats, Floats, float, float, int, int]:
    """Posterior of the states, expected starts and transitions over many series.

    Parameters
    ----------
    log_emission : ndarray, shape (n_total, K)
        Series end to end.
    offsets : ndarray of int64, shape (n_series + 1,)
        Series `i` is ``log_emission[offsets[i]:offsets[i + 1]]``; none is empty.
    weights : ndarray, shape (n_series,)
        Non-negative weights; a series of weight 0 is not looked at.
    start, transition : ndarray, shapes (K,) and (K, K)
        Probabilities.

    Returns
    -------
    posterior : ndarray, shape (n_total, K)
        p(z_t | x), not weighted; 0 in a series of weight 0.
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Weighted expected counts.
    loglik, entropy : float
        Weighted sums in nats; minus infinity and 0 where a series is impossible.
    series, position : int
        Series that is impossible and its first observation that no reachable state emits; `POSSIBLE` for none.
    """
    n_states = start.size
    longest = 0
    for s in range(weights.size):
        longest = max(longest, offsets[s + 1] - offsets[s])
    log_alpha = np.empty((longest, n_states))
    log_start = log_table(start.reshape(1, -1))[0]
    log_transition = log_table(transition)
    posterior = np.zeros(log_emission.shape)
    n_start = np.zeros(n_states)
    n_transition = np.zeros((n_states, n_states))
    loglik = entropy = 0.0
    for s in range(weights.size):
        if weights[s] == 0.0:
            continue
        rows = log_emission[offsets[s] : offsets[s + 1]]
        value, spread, position = forward(rows, log_start, log_transition, log_alpha)
        if position != POSSIBLE:
            return posterior, n_start, n_transition, -math.inf, 0.0, s, position
        share = posterior[offsets[s] : offsets[s + 1]]
        backward(rows, log_transition, log_alpha, weights[s], n_start, n_transition, share)
        loglik += weights[s] * value
        entropy += weights[s] * spread
    return posterior, n_start, n_transition, loglik, entropy, POSSIBLE, POSSIBLE


@njit(cache=True, nogil=True)
def best_states(
    log_emission: Floats, offsets: Offsets, weights: Floats, start: Floats, transition: Floats
) -> tuple[Path, Floats, Floats, float, int, int]:
    """The most probable path of each series (Viterbi) and the counts along it.

    Parameters and returns as in `expected_states`, with ``path``, shape (n_total,), for the posterior and without the
    entropy; one of the paths where several are equally probable, -1 in a series of weight 0.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 104-105.
    """
    n_states = start.size
    log_start = log_table(start.reshape(1, -1))[0]
    log_transition = log_table(transition)
    path = np.full(len(log_emission), -1, dtype=np.int64)
    origin = np.zeros((len(log_emission), n_states), dtype=np.uint8)
    n_start = np.zeros(n_states)
    n_transition = np.zeros((n_states, n_states))
    best = np.empty(n_states)
    before = np.empty(n_states)
    loglik = 0.0
    for s in range(weights.size):
        if weights[s] == 0.0:
            continue
        first, end = offsets[s], offsets[s + 1]
        for t in range(first, end):
            highest = -math.inf
            for j in range(n_states):
                value = log_start[j]
                if t > first:
                    value = -math.inf
                    for i in range(n_states):
                        candidate = before[i] + log_transition[i, j]
                        if candidate > value:
                            value = candidate
                            origin[t, j] = i
                best[j] = value + log_emission[t, j]
                highest = max(highest, best[j])
            if highest == -math.inf:
                return path, n_start, n_transition, -math.inf, s, t - first
            best, before = before, best
        path[end - 1] = np.argmax(before)
        loglik += weights[s] * before[path[end - 1]]
        for t in range(end - 1, first, -1):
            path[t - 1] = origin[t, path[t]]
            n_transition[path[t - 1], path[t]] += weights[s]
        n_start[path[first]] += weights[s]
    return path, n_start, n_transition, loglik, POSSIBLE, POSSIBLE


@njit(cache=True, nogil=True)
def drawn_back(log_alpha: Floats, log_transition: Floats, uniforms: Floats, following: int, path: Path) -> None:
    """Draw the states of a stretch, from its last row to its first, from their conditional distribution.

    p(z_t | z_{t+1}, x_1..x_t) is proportional to the filtered probability times the transition.

    Parameters
    ----------
    log_alpha : ndarray, shape (T, K)
        Filtered log-probabilities, as `forward` leaves them.
    log_transition : ndarray, shape (K, K)
        Logarithms of the probabilities.
    uniforms : ndarray, shape (T,)
        From 0 to 1, what is drawn with.
    following : int
        State of the row behind the stretch; `NOTHING` at the end of the series.
    path : ndarray of int64, shape (T,)
        Receives the states.

    References
    ----------
    Scott (2002), J. Am. Stat. Assoc. 97, 337-351, doi:10.1198/016214502753479464, eq. 9.
    """
    n, n_states = log_alpha.shape
    for t in range(n - 1, -1, -1):
        after = path[t + 1] if t < n - 1 else following
        log_shares = log_alpha[t].copy()
        if after != NOTHING:
            log_shares += log_transition[:, after]
        shares = np.exp(log_shares - log_shares.max())
        height = uniforms[t] * shares.sum()
        state, reached = 0, shares[0]
        while state < n_states - 1 and not height < reached:
            state += 1
            reached += shares[state]
        while shares[state] == 0.0:
            state -= 1
        path[t] = state


@njit(cache=True, nogil=True)
def drawn_states(
    log_emission: Floats, offsets: Offsets, weights: Floats, start: Floats, transition: Floats, uniforms: Floats
) -> tuple[Path, Floats, Floats, float, int, int]:
    """One path of each series, drawn from its conditional distribution, and the counts along it.

    Parameters and returns as in `best_states`; ``uniforms``, shape (n_total,), from 0 to 1, are what is drawn with.
    States are drawn from the last to the first, as `drawn_back` does.
    """
    n_states = start.size
    log_start = log_table(start.reshape(1, -1))[0]
    log_transition = log_table(transition)
    path = np.full(len(log_emission), -1, dtype=np.int64)
    log_alpha = np.empty(log_emission.shape)
    n_start = np.zeros(n_states)
    n_transition = np.zeros((n_states, n_states))
    loglik = 0.0
    for s in range(weights.size):
        if weights[s] == 0.0:
            continue
        first, end = offsets[s], offsets[s + 1]
        rows = log_emission[first:end]
        _, _, position = forward(rows, log_start, log_transition, log_alpha[first:end])
        if position != POSSIBLE:
            return path, n_start, n_transition, -math.inf, s, position
        drawn_back(log_alpha[first:end], log_transition, uniforms[first:end], NOTHING, path[first:end])
        value = log_start[path[first]] + rows[0, path[first]]
        for t in range(first + 1, end):
            value += log_transition[path[t - 1], path[t]] + rows[t - first, path[t]]
            n_transition[path[t - 1], path[t]] += weights[s]
        n_start[path[first]] += weights[s]
        loglik += weights[s] * value
    return path, n_start, n_transition, loglik, POSSIBLE, POSSIBLE

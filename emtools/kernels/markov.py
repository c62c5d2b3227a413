"""Hidden Markov chains over letters: scaled forward-backward, entropy of the path, Viterbi.

Everywhere ``emission`` has shape (K, n): a column for each code, such as that of a letter not observed, which holds ones.
Nothing here holds more than the (T, K) array of one sequence; posteriors and best paths hold that of a piece.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.unsignedinteger[Any]]
Offsets = npt.NDArray[np.int64]
Path = npt.NDArray[np.uint8]

POSSIBLE = -1
BLOCK = 256
PIECE = 2**14  # letters between two places whose best log-probabilities are kept


@njit(cache=True, nogil=True)
def steps_of(codes: Codes, offsets: Offsets, n_letters: int, n_partial: int, order: int) -> Codes:
    """Code of each letter together with the ``order`` letters before it.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n_total,)
        Letters below L; L where not observed; above it, one of ``n_partial`` sets that the letter is one of.
    offsets : ndarray of int64, shape (n_sequences + 1,)
        Sequence `i` is ``codes[offsets[i]:offsets[i + 1]]``.
    n_letters, n_partial, order : int
        L, sets, and letters before.

    Returns
    -------
    ndarray of uint16, shape (n_total,)
        ``context * L + letter`` with the letters before as the digits of ``context``; L ** (order + 1) where the letter or one
        of those was not observed; behind it ``context * n_partial + set``.
    """
    n_contexts = n_letters**order
    unseen = n_contexts * n_letters
    steps = np.empty(codes.size, dtype=np.uint16)
    for s in range(offsets.size - 1):
        context = run = np.int64(0)
        for t in range(offsets[s], offsets[s + 1]):
            letter = np.int64(codes[np.uint64(t)])
            step = context * n_letters + letter
            whole = run >= order
            if letter < n_letters:
                steps[t] = step if whole else unseen
                context = step - n_contexts * np.int64(codes[np.uint64(t - order)]) if whole else step
                run += 1
            else:
                known = whole and letter > n_letters
                steps[t] = unseen + context * n_partial + letter - n_letters if known else unseen
                context = run = np.int64(0)
    return steps


@njit(cache=True, nogil=True)
def counts_in_windows(codes: Codes, offsets: Offsets, n_windows: Offsets, n_codes: int) -> Offsets:
    """Codes of each kind, shape (windows in all, n_codes), where each sequence is cut into ``n_windows`` equal pieces."""
    counts = np.zeros((n_windows.sum(), n_codes), dtype=np.int64)
    before = 0
    for s in range(n_windows.size):
        length = offsets[s + 1] - offsets[s]
        for t in range(length):
            counts[before + t * n_windows[s] // length, codes[offsets[s] + t]] += 1
        before += n_windows[s]
    return counts


@njit(cache=True, nogil=True)
def log_table(table: Floats) -> Floats:
    """Logarithm of a table of probabilities; minus infinity for zero."""
    logs = np.full(table.shape, -np.inf)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            if table[i, j] > 0.0:
                logs[i, j] = math.log(table[i, j])
    return logs


@njit(cache=True, nogil=True)
def forward(
    codes: Codes, start: Floats, transition: Floats, emission: Floats, alpha: Floats
) -> tuple[float, float, int]:
    """Filtered state probabilities, log-likelihood and entropy of the path, in one sweep.

    The scale factors are c_t = p(x_t | x_<t), so that the log-likelihood is the sum of their logarithms. The
    entropy follows H_t(j) = sum_i q_ij (H_{t-1}(i) - log q_ij), with q_ij = p(z_{t-1} = i | z_t = j, x_<t),
    and uses neither the backward sweep nor the expected counts.

    Parameters
    ----------
    codes : ndarray of unsigned integers, shape (T,)
        Below n.
    start : ndarray, shape (K,)
        Probability of each state at the first letter.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    emission : ndarray, shape (K, n)
        Probability of what each code stands for in each state.
    alpha : ndarray, shape (T or more, K)
        Receives p(z_t | x_1..x_t).

    Returns
    -------
    loglik : float
        Log-likelihood in nats; minus infinity where the sequence is impossible.
    entropy : float
        Entropy of p(z | x) in nats.
    position : int
        First letter that no reachable state emits; `POSSIBLE` where there is none.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 19-21, 91-92, 103. Hernando, Crespi & Cybenko (2005),
    doi:10.1109/TIT.2005.850223, the recursion of section III.
    """
    n_states = start.size
    surprise = np.zeros((n_states, n_states))
    for i in range(n_states):
        for j in range(n_states):
            if transition[i, j] > 0.0:
                surprise[i, j] = -transition[i, j] * math.log(transition[i, j])
    path_entropy = np.zeros(n_states)
    predicted = start.copy()
    carried = np.zeros(n_states)

    loglik = block = 0.0
    for t in range(codes.size):
        letter = codes[t]
        if t > 0:
            for j in range(n_states):
                predicted[j] = carried[j] = 0.0
            for i in range(n_states):
                share = alpha[t - 1, i]
                if share > 0.0:
                    spread = share * (path_entropy[i] - math.log(share))
                    for j in range(n_states):
                        predicted[j] += share * transition[i, j]
                        carried[j] += spread * transition[i, j] + share * surprise[i, j]
        scale = 0.0
        for j in range(n_states):
            alpha[t, j] = predicted[j] * emission[j, letter]
            scale += alpha[t, j]
        inverse = 1.0 / scale if scale > 0.0 else math.inf
        if inverse == math.inf:
            return -math.inf, 0.0, t
        for j in range(n_states):
            alpha[t, j] *= inverse
            if t > 0 and predicted[j] > 0.0:
                path_entropy[j] = carried[j] / predicted[j] + math.log(predicted[j])
        block += math.log(scale)
        if t % BLOCK == 0:
            loglik += block
            block = 0.0

    entropy = 0.0
    last = codes.size - 1
    for j in range(n_states):
        if alpha[last, j] > 0.0:
            entropy += alpha[last, j] * (path_entropy[j] - math.log(alpha[last, j]))
    return loglik + block, entropy, POSSIBLE


@njit(cache=True, nogil=True)
def backward(
    codes: Codes,
    transition: Floats,
    emission: Floats,
    alpha: Floats,
    weight: float,
    n_start: Floats,
    n_transition: Floats,
    n_emission: Floats,
) -> int:
    """Add the expected counts of one sequence, from its filtered probabilities.

    The backward variable is normalised by itself, so that it cannot overflow where `alpha` is tiny.

    Parameters
    ----------
    codes, transition, emission
        As in `forward`.
    alpha : ndarray, shape (T or more, K)
        What `forward` left; receives p(z_t | x), the posterior.
    weight : float
        Weight of the sequence.
    n_start, n_transition, n_emission : ndarray, shapes (K,), (K, K), (K, n)
        Receive the weighted expected counts. ``n_transition`` is still to be multiplied by ``transition``.

    Returns
    -------
    int
        Position where the probabilities underflow; `POSSIBLE` where they do not.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 37-40 and 95.
    """
    n_states = transition.shape[0]
    ahead = np.empty(n_states)
    reach = np.empty(n_states)
    beta = np.ones(n_states)
    last = codes.size - 1
    for i in range(n_states):
        n_emission[i, codes[last]] += weight * alpha[last, i]
    for t in range(last - 1, -1, -1):
        letter = codes[t + 1]
        for j in range(n_states):
            ahead[j] = emission[j, letter] * beta[j]
        evidence = norm = 0.0
        for i in range(n_states):
            total = 0.0
            for j in range(n_states):
                total += transition[i, j] * ahead[j]
            reach[i] = total
            evidence += alpha[t, i] * total
            norm += total
        share = weight / evidence if evidence > 0.0 else math.inf
        if share == math.inf:
            return t
        letter = codes[t]
        for i in range(n_states):
            part = alpha[t, i] * share
            for j in range(n_states):
                n_transition[i, j] += part * ahead[j]
            n_emission[i, letter] += part * reach[i]
            alpha[t, i] *= reach[i] / evidence
            beta[i] = reach[i] / norm
    for i in range(n_states):
        n_start[i] += weight * alpha[0, i]
    return POSSIBLE


@njit(cache=True, nogil=True)
def expected_counts(
    codes: Codes, offsets: Offsets, weights: Floats, start: Floats, transition: Floats, emission: Floats
) -> tuple[Floats, Floats, Floats, float, float, int, int]:
    """Expected starts, transitions and emissions over many sequences.

    Parameters
    ----------
    codes : ndarray of unsigned integers, shape (n_total,)
        Sequences end to end.
    offsets : ndarray of int64, shape (n_sequences + 1,)
        Sequence `i` is ``codes[offsets[i]:offsets[i + 1]]``; none is empty.
    weights : ndarray, shape (n_sequences,)
        Non-negative weights.
    start, transition, emission
        As in `forward`.

    Returns
    -------
    n_start, n_transition, n_emission : ndarray, shapes (K,), (K, K), (K, n)
        Weighted expected counts.
    loglik, entropy : float
        Weighted sums in nats; minus infinity and 0 where a sequence is impossible.
    sequence, position : int
        Sequence that is impossible and its first letter that no reachable state emits; `POSSIBLE` for none.
    """
    n_states = start.size
    longest = 0
    for s in range(weights.size):
        longest = max(longest, offsets[s + 1] - offsets[s])
    alpha = np.empty((longest, n_states))
    n_start = np.zeros(n_states)
    n_transition = np.zeros((n_states, n_states))
    n_emission = np.zeros(emission.shape)
    loglik = entropy = 0.0
    for s in range(weights.size):
        letters = codes[offsets[s] : offsets[s + 1]]
        value, spread, position = forward(letters, start, transition, emission, alpha)
        if position == POSSIBLE:
            position = backward(letters, transition, emission, alpha, weights[s], n_start, n_transition, n_emission)
        if position != POSSIBLE:
            return n_start, n_transition, n_emission, -math.inf, 0.0, s, position
        loglik += weights[s] * value
        entropy += weights[s] * spread
    for i in range(n_states):
        for j in range(n_states):
            n_transition[i, j] = n_transition[i, j] * transition[i, j] if transition[i, j] > 0.0 else 0.0
    return n_start, n_transition, n_emission, loglik, entropy, POSSIBLE, POSSIBLE


@njit(cache=True, nogil=True)
def messages(codes: Codes, transition: Floats, emission: Floats, size: int) -> Floats:
    """What the letters behind each piece say of the state at its last letter, shape (pieces, K); rows sum to 1.

    A row is NaN where the probabilities underflow. A piece has ``size`` letters, the last one what is left.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eq. 25.
    """
    n_states = transition.shape[0]
    kept = np.empty(((codes.size + size - 1) // size, n_states))
    beta = np.full(n_states, 1.0 / n_states)
    reach = np.empty(n_states)
    for t in range(codes.size - 1, -1, -1):
        if t == codes.size - 1 or (t + 1) % size == 0:
            kept[t // size] = beta
        norm = 0.0
        for i in range(n_states):
            total = 0.0
            for j in range(n_states):
                total += transition[i, j] * emission[j, codes[t]] * beta[j]
            reach[i] = total
            norm += total
        for i in range(n_states):
            beta[i] = reach[i] / norm if norm > 0.0 else math.nan
    return kept


@njit(cache=True, nogil=True)
def smooth(
    codes: Codes, predicted: Floats, transition: Floats, emission: Floats, message: Floats, alpha: Floats
) -> tuple[Floats, int]:
    """Posterior of the states in a piece of a sequence.

    Parameters
    ----------
    codes, transition, emission
        As in `forward`.
    predicted : ndarray, shape (K,)
        Probability of each state at the first letter given all before the piece.
    message : ndarray, shape (K,)
        What `messages` says at its last letter.
    alpha : ndarray, shape (T or more, K)
        Receives p(z_t | x); rows sum to 1.

    Returns
    -------
    ndarray, shape (K,)
        What ``predicted`` is to the next piece.
    int
        First letter that no reachable state emits, or where the probabilities underflow; `POSSIBLE` where there is none.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 25-27.
    """
    n_states = transition.shape[0]
    _, _, position = forward(codes, predicted, transition, emission, alpha)
    after = np.zeros(n_states)
    if position != POSSIBLE:
        return after, position
    for i in range(n_states):
        for j in range(n_states):
            after[j] += alpha[codes.size - 1, i] * transition[i, j]
    beta, reach = message.copy(), np.empty(n_states)
    for t in range(codes.size - 1, -1, -1):
        evidence = norm = 0.0
        for i in range(n_states):
            alpha[t, i] *= beta[i]
            evidence += alpha[t, i]
        inverse = 1.0 / evidence if evidence > 0.0 else math.inf
        if not inverse < math.inf:
            return after, t
        for i in range(n_states):
            alpha[t, i] *= inverse
            total = 0.0
            for j in range(n_states):
                total += transition[i, j] * emission[j, codes[t]] * beta[j]
            reach[i] = total
            norm += total
        for i in range(n_states):
            beta[i] = reach[i] / norm if norm > 0.0 else math.nan
    return after, POSSIBLE


@njit(cache=True, nogil=True)
def best_piece(
    codes: Codes,
    begin: int,
    end: int,
    log_start: Floats,
    log_transition: Floats,
    log_emission: Floats,
    before: Floats,
    origin: Path,
) -> int:
    """Go over the letters from ``begin`` to ``end``: the first that no reachable state emits, or `POSSIBLE`.

    ``before``, shape (K,), holds the best log-probability of each state at the letter before the first, and receives that at the last; row t of
    ``origin`` receives the best state before each state at letter ``begin + t``.
    """
    n_states = log_start.size
    best = np.empty(n_states)
    for t in range(begin, end):
        highest = -math.inf
        for j in range(n_states):
            if t == 0:
                value = log_start[j]
            else:
                value = -math.inf
                for i in range(n_states):
                    candidate = before[i] + log_transition[i, j]
                    if candidate > value:
                        value = candidate
                        origin[t - begin, j] = i
            best[j] = value + log_emission[j, codes[t]]
            highest = max(highest, best[j])
        if highest == -math.inf:
            return t
        for j in range(n_states):
            before[j] = best[j]
    return POSSIBLE


@njit(cache=True, nogil=True)
def best_path(codes: Codes, log_start: Floats, log_transition: Floats, log_emission: Floats) -> tuple[Path, float, int]:
    """The most probable path of states (Viterbi); one of them where several are equally probable.

    Only the best log-probabilities before every `PIECE`-th letter are kept; those between are computed again.

    Parameters
    ----------
    codes : ndarray of unsigned integers, shape (T,)
        Below n.
    log_start, log_transition, log_emission : ndarray, shapes (K,), (K, K), (K, n)
        Logarithms of the probabilities; at most 255 states.

    Returns
    -------
    path : ndarray of uint8, shape (T,)
        State at each letter.
    loglik : float
        Log-probability of letters and path together, in nats.
    position : int
        First letter that no reachable state emits; `POSSIBLE` where there is none.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 104-105.
    """
    n, n_states = codes.size, log_start.size
    n_pieces = (n + PIECE - 1) // PIECE
    kept = np.empty((n_pieces, n_states))
    origin = np.zeros((min(n, PIECE), n_states), dtype=np.uint8)
    path = np.zeros(n, dtype=np.uint8)
    before = np.zeros(n_states)
    for piece in range(n_pieces):
        for j in range(n_states):  # assigning the row takes two seconds to compile
            kept[piece, j] = before[j]
        begin, end = piece * PIECE, min(n, (piece + 1) * PIECE)
        position = best_piece(codes, begin, end, log_start, log_transition, log_emission, before, origin)
        if position != POSSIBLE:
            return path, -math.inf, position
    path[n - 1] = np.argmax(before)
    loglik = before[path[n - 1]]
    for piece in range(n_pieces - 1, -1, -1):
        begin, end = piece * PIECE, min(n, (piece + 1) * PIECE)
        if piece < n_pieces - 1:
            best_piece(codes, begin, end, log_start, log_transition, log_emission, kept[piece], origin)
        for t in range(end - 1, max(begin, 1) - 1, -1):
            path[t - 1] = origin[t - begin, path[t]]
    return path, loglik, POSSIBLE


@njit(cache=True, nogil=True)
def best_counts(
    codes: Codes, offsets: Offsets, weights: Floats, start: Floats, transition: Floats, emission: Floats
) -> tuple[Floats, Floats, Floats, float, int, int]:
    """Counts along the most probable path of each sequence: hard assignment (Viterbi training).

    Parameters and returns as in `expected_counts`, without the entropy.
    """
    n_states = start.size
    n_start = np.zeros(n_states)
    n_transition = np.zeros((n_states, n_states))
    n_emission = np.zeros(emission.shape)
    log_start = log_table(start.reshape(1, -1))[0]
    log_transition = log_table(transition)
    log_emission = log_table(emission)
    loglik = 0.0
    for s in range(weights.size):
        letters = codes[offsets[s] : offsets[s + 1]]
        path, value, position = best_path(letters, log_start, log_transition, log_emission)
        if position != POSSIBLE:
            return n_start, n_transition, n_emission, -math.inf, s, position
        loglik += weights[s] * value
        n_start[path[0]] += weights[s]
        for t in range(letters.size):
            n_emission[path[t], letters[t]] += weights[s]
            if t > 0:
                n_transition[path[t - 1], path[t]] += weights[s]
    return n_start, n_transition, n_emission, loglik, POSSIBLE, POSSIBLE

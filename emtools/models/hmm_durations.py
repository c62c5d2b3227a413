"""States that last: each is a row of states that emit alike, of which one after the other is left.

With R of them, each left with probability 1 - s at a letter, a stay lasts R letters and as many more as R geometric draws add up to: it
is negative binomial, with mean R / (1 - s) and variance R s / (1 - s)², and never shorter than R. Rabiner (1989), doi:10.1109/5.18626,
section IV.D, on durations; Durbin, Eddy, Krogh & Mitchison (1998), Biological Sequence Analysis, section 3.4.
"""

from __future__ import annotations

import numpy as np

from emtools.engine.protocol import Floats


def leaving(transition: Floats) -> Floats:
    """Probability of leaving each state at a letter, shape (K,)."""
    others: Floats = (transition * (1.0 - np.eye(len(transition)))).sum(axis=1)
    return others


def unfolded_start(start: Floats, repeats: int, at_first: bool) -> Floats:
    """Start of each of the repeated states, shape (K R,): the first of its row, or any of them, as in the long run."""
    shares = np.eye(repeats)[0] if at_first else np.full(repeats, 1.0 / repeats)
    return np.outer(start, shares).ravel()


def unfolded_transition(transition: Floats, repeats: int) -> Floats:
    """Transitions among the repeated states, shape (K R, K R): stay, go on to the next of the row, or from its last to another state's first."""
    k = len(transition)
    table = np.zeros((k, repeats, k, repeats))
    others = transition * (1.0 - np.eye(k))
    table[:, -1, :, 0] = others
    for state in range(k):
        for place in range(repeats):
            table[state, place, state, place] = transition[state, state]
            if place < repeats - 1:
                table[state, place, state, place + 1] = others[state].sum()
    return table.reshape(k * repeats, k * repeats)


def folded_transitions(counts: Floats, repeats: int) -> tuple[Floats, Floats]:
    """Steps from state to state, shape (K, K), and those to the next of the row, shape (K,), from steps among the repeated states."""
    k = len(counts) // repeats
    table = counts.reshape(k, repeats, k, repeats)
    within = np.einsum("krks->krs", table)
    steps = table[:, -1, :, 0] * (1.0 - np.eye(k)) + np.diag(np.einsum("krr->k", within))
    return steps, np.einsum("krr->k", within[:, :-1, 1:])


def with_advances(counts: Floats, n_advance: Floats, transition: Floats) -> Floats:
    """Counts of a row of transitions in which going on along the row is leaving, shared among the next states as these were counted.

    The multinomial that they belong to has its top where ``stay log s + (advance + leave) log(1 - s) + sum leave_j log q_j`` has it.
    """
    apart = 1.0 - np.eye(len(counts))
    others = counts * apart
    others = np.where(others.sum(axis=1, keepdims=True) > 0.0, others, transition * apart)
    totals = others.sum(axis=1)
    portions = others / np.where(totals > 0.0, totals, 1.0)[:, None]
    return counts + n_advance[:, None] * portions

"""States in a row that stand for one: stays with a shortest length, against enumeration of every path."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from emtools.engine.chunks import Sequences, SequenceSource
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.models.hmm import CategoricalHMM, HMMParams, HMMStats

SEQUENCES = [[0, 1, 1, 0, 1, 2], [2, 0, 1], [1], [0, 0, 1, 1, 0]]  # 2 is not observed
ROW = 3


def model_of(topology="free", **more):
    return CategoricalHMM(2, 2, topology=topology, repeats=ROW, **more)


def params_of(topology="free"):
    last = [0.0, 1.0] if topology == "left-right" else [0.3, 0.7]
    start = [1.0, 0.0] if topology == "left-right" else [0.6, 0.4]
    return HMMParams(np.array(start), np.array([[0.55, 0.45], last]), np.array([[0.8, 0.2], [0.25, 0.75]]))


def step(params, before, after):
    """Probability of one place of a row after another, by words: stay, go on, or leave from the last place to a first one."""
    (state, place), (following, at) = before, after
    stay = params.transition[state, state]
    if before == after:
        return stay
    if state == following:
        return 1.0 - stay if at == place + 1 else 0.0
    return params.transition[state, following] if place == ROW - 1 and at == 0 else 0.0


def enumerate_paths(params, sequence, first_only):
    """Probability of letters and path together, for every path of (state, place) pairs."""
    joint = {}
    for path in product(product(range(2), range(ROW)), repeat=len(sequence)):
        state, place = path[0]
        p = params.start[state] * (float(place == 0) if first_only else 1.0 / ROW)
        for before, after in pairwise(path):
            p *= step(params, before, after)
        for (state, _), letter in zip(path, sequence, strict=True):
            p *= params.emission[state, letter] if letter < 2 else 1.0
        if p > 0.0:
            joint[path] = p
    return joint


def chunk_of(sequences):
    codes = np.array([letter for sequence in sequences for letter in sequence], dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
    return Sequences(codes, offsets, np.ones(len(sequences)))


@pytest.mark.parametrize("topology", ["free", "left-right"])
def test_counts_likelihood_posterior_and_path_are_those_of_all_paths(topology):
    model, params = model_of(topology), params_of(topology)
    stats = model.e_step(params, chunk_of(SEQUENCES))
    loglik = entropy = 0.0
    n_start, n_transition, n_advance, n_emission = np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2))
    for sequence in SEQUENCES:
        joint = enumerate_paths(params, sequence, topology == "left-right")
        total = sum(joint.values())
        loglik += math.log(total)
        shares = np.zeros((len(sequence), 2))
        for path, p in joint.items():
            share = p / total
            entropy -= share * math.log(share)
            n_start[path[0][0]] += share
            for before, after in pairwise(path):
                if before[0] == after[0] and before[1] != after[1]:
                    n_advance[before[0]] += share
                else:
                    n_transition[before[0], after[0]] += share
            for t, ((state, _), letter) in enumerate(zip(path, sequence, strict=True)):
                shares[t, state] += share
                if letter < 2:
                    n_emission[state, letter] += share
        codes = np.array(sequence, dtype=np.uint8)
        np.testing.assert_allclose(model.posterior(params, codes), shares, rtol=0, atol=1e-12)
        best = max(joint, key=joint.get)
        assert joint[best] == pytest.approx(
            max(p for path, p in joint.items() if [s for s, _ in path] == model.viterbi(params, codes).tolist())
        )
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-10)
    for name, expected in (
        ("start", n_start),
        ("transition", n_transition),
        ("advance", n_advance),
        ("emission", n_emission),
    ):
        np.testing.assert_allclose(getattr(stats, f"n_{name}"), expected, rtol=0, atol=1e-12)
    assert model.expected_loglik(stats, params) + stats.entropy == pytest.approx(loglik, rel=1e-12)


@pytest.mark.parametrize("pseudocount", [0.0, 0.7])
def test_m_step_is_the_top_of_what_is_expected(pseudocount):
    model, params = model_of(pseudocount=pseudocount), params_of()
    stats = model.e_step(params, chunk_of(SEQUENCES))
    top = model.m_step(stats, params)

    def height(transition):
        here = HMMParams(top.start, transition, top.emission)
        return model.expected_loglik(stats, here) + model.log_prior(here)

    highest = height(top.transition)
    for state in range(2):
        for by in (-1e-3, 1e-3):
            moved = top.transition.copy()
            moved[state] += np.array([by, -by])
            assert height(moved) < highest


def test_a_state_that_is_never_left_keeps_its_next_states():
    """Steps along the row with none out of it: the probability of leaving is theirs, and where to is as it was."""
    model = CategoricalHMM(3, 2, repeats=2)
    old = HMMParams(
        np.full(3, 1 / 3), np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]), np.full((3, 2), 0.5)
    )
    counts = np.zeros((3, 3)) + np.diag([6.0, 4.0, 4.0])
    stats = HMMStats(1.0, 0.0, 0.0, np.ones(3), counts, np.ones((3, 2)), np.array([2.0, 1.0, 1.0]))
    np.testing.assert_allclose(model.m_step(stats, old).transition[0], [0.75, 0.15, 0.10], rtol=1e-12)


def draw_stays(n, stay, row, rng):
    """Letters of stays of the given shape, in turn of two states that emit 0 and 1 for the most part."""
    lengths = row + rng.negative_binomial(row, 1.0 - stay, size=n)
    states = np.repeat(np.arange(n) % 2, lengths)
    return np.where(rng.random(len(states)) < 0.9, states, 1 - states).astype(np.uint8)


def test_lengths_are_recovered_and_preferred():
    rng = np.random.default_rng(5)
    codes = draw_stays(300, 0.9, 4, rng)
    source = SequenceSource([codes])
    fits = [fit(CategoricalHMM(2, 2, repeats=row), source, starts=2, seed=1) for row in (1, 4)]
    assert fits[1].loglik > fits[0].loglik + 20.0
    np.testing.assert_allclose(np.diag(fits[1].params.transition), 0.9, atol=0.02)


@pytest.mark.parametrize(("states", "repeats"), [(2, 0), (2, 51), (1, 2)])
def test_impossible_numbers_of_repeats_are_refused(states, repeats):
    with pytest.raises(InputError, match="repeats"):
        CategoricalHMM(states, 4, repeats=repeats)

"""Chains a word at a time against the kernel that goes letter by letter, and where they must not be trusted."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emtools.engine.chunks import SequenceSource, total_stats, workers
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.kernels import words
from emtools.kernels.markov import expected_counts
from emtools.kernels.words import Steps, expected_counts_by_words, in_turn, try_words, word_length, words_of
from emtools.models.hmm import CategoricalHMM, HMMParams


def make_case(k, n_letters, lengths, seed=0, missing=0.01, stay=0.9):
    """Codes, offsets, weights and parameters."""
    rng = np.random.default_rng([seed, k])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.integers(n_letters, size=offsets[-1]).astype(np.uint8)
    codes[rng.random(codes.size) < missing] = n_letters
    transition = stay * np.eye(k) + (1.0 - stay) * rng.dirichlet(np.ones(k), size=k)
    emission = np.column_stack([rng.dirichlet(np.full(n_letters, 3.0), size=k), np.ones(k)])
    return codes, offsets, rng.uniform(0.5, 2.0, len(lengths)), rng.dirichlet(np.ones(k)), transition, emission


def assert_equal_counts(ours, theirs, rtol=1e-11):
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-12)
    assert ours[3] == pytest.approx(theirs[3], rel=1e-13)
    assert ours[4] == pytest.approx(theirs[4], rel=1e-10, abs=1e-13 * abs(theirs[3]) + 1e-12)
    assert ours[5:] == theirs[5:]


@pytest.mark.parametrize(
    ("k", "n_letters", "lengths"),
    [
        (1, 4, [3000]),
        (2, 4, [1, 2, 3, 5, 6, 7, 8, 9000]),
        (3, 4, [20_000, 1]),
        (4, 4, [40_000, 30, 2000]),
        (3, 20, [30_000]),
        (8, 4, [70_000]),
        (16, 4, [9000, 9000]),
        (17, 4, [500]),
    ],
)
def test_words_equal_letters(k, n_letters, lengths):
    case = make_case(k, n_letters, lengths)
    assert k > words.MOST_STATES or try_words(*case, in_turn) is not None
    assert_equal_counts(expected_counts_by_words(*case), expected_counts(*case))


def test_words_are_as_long_as_they_should_be():
    """The cases above reach tables of words, not letters alone."""
    letters, after_two = Steps(4, 4, 5), Steps(4, 64, 65)
    assert [word_length(k, letters, 10**7, -7.0) for k in (2, 4, 8, 16)] == [6, 5, 4, 3]
    assert [word_length(k, after_two, 10**7, -7.0) for k in (2, 4, 8)] == [4, 3, 2]
    assert word_length(3, letters, 20_000, -7.0) > 2
    assert word_length(2, letters, 100, -7.0) == 1
    assert word_length(2, letters, 10**7, -460.0) == 1


def test_letters_not_observed_break_words():
    codes = np.array([0, 1, 2, 3, 0, 4, 1, 1, 1, 2, 3], dtype=np.uint8)
    halves = [words_of(codes, np.array([0, 9, 10, 11]), side, Steps(4, 4, 5), (0, 0)) for side in (0, 1)]
    first = 5
    assert halves[0][0].tolist() == [first + 4 * 1 + 2, first + 4 * 3 + 0]
    assert halves[1][0].tolist() == [4, first + 4 * 1 + 1, 1]
    assert [cuts.tolist() for _, cuts in halves] == [[0, 2, 2, 2], [0, 3, 3, 3]]


def test_nearly_unidentifiable_chain():
    """States that hardly differ and hardly ever change: what one end says reaches the other."""
    case = list(make_case(3, 4, [60_000], stay=1.0 - 1e-7))
    case[5] = np.column_stack([0.25 + 1e-4 * np.random.default_rng(1).normal(size=(3, 4)), np.ones(3)])
    case[5][:, :4] /= case[5][:, :4].sum(axis=1, keepdims=True)
    assert_equal_counts(expected_counts_by_words(*case), expected_counts(*case), rtol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_runs_of_one_word(missing):
    case = list(make_case(3, 4, [432_770], missing=missing))
    case[0][case[0] < 4] = 0
    assert_equal_counts(expected_counts_by_words(*case), expected_counts(*case), rtol=1e-9)


def test_tiny_probabilities_stay_exact():
    """Rates of 1e-60 make words shorter; 1e-200 leaves letters; neither loses a path."""
    for tiny in (1e-60, 1e-120, 1e-200):
        case = list(make_case(2, 4, [30_000], missing=0.0))
        case[4] = np.array([[1.0 - tiny, tiny], [0.25, 0.75]])
        case[3] = np.array([1.0 - tiny, tiny])
        case[5][0] = [1.0 - 3 * tiny, tiny, tiny, tiny, 1.0]
        assert_equal_counts(expected_counts_by_words(*case), expected_counts(*case), rtol=1e-9)


def test_improbable_letters_are_not_lost():
    """500 letters of probability 1e-100 each under the only path there is."""
    emission = np.array([[1.0 - 1e-100, 1e-100, 1.0], [1.0 - 2e-100, 2e-100, 1.0]])
    codes = np.array([0] * 500 + [1] * 500, dtype=np.uint8)
    case = codes, np.array([0, 1000]), np.ones(1), np.array([1.0, 0.0]), np.eye(2), emission
    counts = expected_counts_by_words(*case)
    assert counts[3] == pytest.approx(500 * math.log(1e-100), rel=1e-12)
    np.testing.assert_allclose(counts[2][0], [500, 500, 0], rtol=1e-12)


def test_the_only_path_is_found_however_improbable():
    """A state that cannot be reached emits 500 letters 1e100 times better each: letter by letter that underflows."""
    emission = np.array([[1.0 - 1e-100, 1e-100, 1.0], [0.5, 0.5, 1.0]])
    codes = np.array([0] * 500 + [1] * 500, dtype=np.uint8)
    case = codes, np.array([0, 1000]), np.full(1, 2.0), np.array([1.0, 0.0]), np.eye(2), emission
    assert expected_counts(*case)[-1] != words.POSSIBLE
    counts = expected_counts_by_words(*case)
    assert counts[3] == pytest.approx(2 * 500 * math.log(1e-100), rel=1e-12)
    np.testing.assert_allclose(counts[2], [[1000, 1000, 0], [0, 0, 0]], rtol=1e-12)
    params = HMMParams(case[3], case[4], emission[:, :2])
    np.testing.assert_array_equal(CategoricalHMM(2, 2).posterior(params, codes), np.tile([1.0, 0.0], (1000, 1)))


def test_halves_that_disagree_go_letter_by_letter():
    """State 1 is forced at the end and all but ruled out before: no number may be trusted, nothing may be NaN."""
    emission = np.array([[1.0, 0.0, 1.0], [1e-12, 1.0 - 1e-12, 1.0]])
    transition = np.eye(2)
    codes = np.array([0] * 20 + [1] * 20, dtype=np.uint8)
    case = codes, np.array([0, 40]), np.ones(1), np.array([0.5, 0.5]), transition, emission
    counts = expected_counts_by_words(*case)
    assert_equal_counts(counts, expected_counts(*case))
    np.testing.assert_allclose(counts[0], [0.0, 1.0], atol=1e-12)


def test_an_impossible_letter_is_found_by_letters():
    emission = np.array([[0.5, 0.5, 0.0, 1.0], [0.5, 0.5, 0.0, 1.0]])
    codes = np.zeros(5000, dtype=np.uint8)
    codes[3210] = 2
    case = codes, np.array([0, 1000, 5000]), np.ones(2), np.full(2, 0.5), np.full((2, 2), 0.5), emission
    assert try_words(*case, in_turn) is None
    assert expected_counts_by_words(*case)[5:] == (1, 2210)
    params = HMMParams(case[3], case[4], emission[:, :3])
    with pytest.raises(InputError, match="sequence 2, position 2211"):
        total_stats(CategoricalHMM(2, 3), SequenceSource([codes[:1000], codes[1000:]]), params)


def test_threads_give_the_same_bits():
    case = make_case(4, 4, [50_001, 20, 1])
    with ThreadPoolExecutor(2) as pool:
        ours = expected_counts_by_words(*case, lambda function, items: list(pool.map(function, items)))
    for one, other in zip(ours, expected_counts_by_words(*case), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_long_sequence_uses_two_threads(monkeypatch):
    """One chunk, one start: the threads are within the sequence, and the fit has the same bits."""
    codes = make_case(2, 4, [5000])[0]
    one, two = (fit(CategoricalHMM(2, 4), SequenceSource([codes]), seed=3, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.model.pack(one.params), two.model.pack(two.params))
    assert [row.objective for row in one.trace] == [row.objective for row in two.trace]
    maps = []
    whole = CategoricalHMM.e_step_in_parts
    monkeypatch.setattr(CategoricalHMM, "e_step_in_parts", lambda *given: (maps.append(given[-1]), whole(*given))[1])
    with workers(2) as pool:
        total_stats(one.model, SequenceSource([codes]), one.params, chunk_map=pool)
    assert maps == [pool]


@pytest.mark.parametrize("k", [1, 2, 3, 8, 16])
def test_readable_versions_say_the_same(k):
    rng = np.random.default_rng(k)
    width, n = words.padded(k), 7
    size = k * width
    table = np.zeros((5, k, width))
    table[:, :, :k] = rng.random((5, k, k))
    table = table.ravel()
    found = rng.integers(5, size=3 * n).astype(np.uint16)
    ours, theirs = np.zeros((2, (n + 1) * width))
    ours[:k] = theirs[:k] = rng.random(k)
    shape = (0,) * k
    carry_compiled(shape, found, 2, 2, n, table, ours)
    words.carry_readable(shape, found, 2, 2, n, table, theirs, 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    gradients, comings = np.zeros((2, 5 * size)), np.zeros((2, width))
    comings[:, :k] = rng.random(k)
    collect_compiled(shape, found, 2, 2, n, 0.3, table, ours, gradients[0], comings[0])
    words.collect_readable(shape, found, 2, 2, n, 0.3, table, ours, 0, gradients[1], comings[1])
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-13)
    np.testing.assert_allclose(comings[0], comings[1], rtol=1e-13)


@words.njit
def carry_compiled(shape, found, at, step, n, table, vectors):
    words.carry(shape, found, at, step, n, table, vectors, 0)


@words.njit
def collect_compiled(shape, found, at, step, n, share, table, vectors, gradient, coming):
    words.collect(shape, found, at, step, n, share, table, vectors, 0, gradient, coming)

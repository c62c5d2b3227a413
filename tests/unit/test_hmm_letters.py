"""Letters given those before them, letters partly observed, and states that may not follow: against enumeration."""

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.kernels.markov import expected_counts, steps_of
from emtools.kernels.words import Steps, expected_counts_by_words, in_turn, try_words
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.hmm_known import OUTSIDE, WITHIN, known

L, N = 3, 3
SETS = ((0, 2), (1, 2))  # codes 4 and 5
SEQUENCES = [[0, 1, 2, 0, 4], [N, 5], [2], [1, N, 0, 2, 1, 0], [4, 5, 1, 1], [5, 0, 0, 4, 1]]


def codes(values):
    return np.array(values, dtype=np.uint8)


def random_tables(k, order, seed):
    """Exact parameters in hundredths, with a zero, and the same as numbers."""
    rng = np.random.default_rng([k, order, seed])

    def row(m):
        cuts = np.sort(rng.choice(np.arange(1, 100), m - 1, replace=False))
        return [Fraction(int(v), 100) for v in np.diff([0, *cuts, 100])]

    start, transition = row(k), [row(k) for _ in range(k)]
    transition[0] = [Fraction(1, 4), Fraction(3, 4), *[Fraction(0)] * (k - 2)]
    emission = [[row(L) for _ in range(L**order)] for _ in range(k)]
    shape = (k, L) if order == 0 else (k, L**order, L)
    return (start, transition, emission), HMMParams(
        np.array(start, dtype=float),
        np.array(transition, dtype=float),
        np.array(emission, dtype=float).reshape(shape),
    )


def choices(sequence, t, order):
    """The letters that may be at a place and their context, or what is conditioned on."""
    before = sequence[max(0, t - order) : t]
    if len(before) < order or any(letter >= L for letter in before) or sequence[t] == N:
        return None, [None]
    context = 0
    for letter in before:
        context = context * L + letter
    return context, [sequence[t]] if sequence[t] < L else list(SETS[sequence[t] - L - 1])


def brute_force(exact, sequence, order, best=False):
    """Log-likelihood, entropy, counts and posterior over all paths and letters; the highest term where `best`."""
    start, transition, emission = exact
    k = len(start)
    places = [choices(sequence, t, order) for t in range(len(sequence))]
    joint = {}
    for path in product(range(k), repeat=len(sequence)):
        chain = start[path[0]]
        for i, j in pairwise(path):
            chain *= transition[i][j]
        for letters in product(*(options for _, options in places)):
            p = chain
            for state, (context, _), letter in zip(path, places, letters, strict=True):
                p *= 1 if letter is None else emission[state][context][letter]
            joint[path, letters] = p
    if best:
        return max(joint.values())
    total = sum(joint.values())
    n_emission, shares = np.zeros((k, L**order, L)), np.zeros((len(sequence), k))
    n_transition, entropy = np.zeros((k, k)), []
    for (path, letters), p in joint.items():
        share = float(p / total)
        entropy.append(-share * math.log(share) if share else 0.0)
        for i, j in pairwise(path):
            n_transition[i, j] += share
        for t, (state, (context, _), letter) in enumerate(zip(path, places, letters, strict=True)):
            shares[t, state] += share
            if letter is not None:
                n_emission[state, context, letter] += share
    loglik = math.log(total.numerator) - math.log(total.denominator)
    return loglik, math.fsum(entropy), n_transition, n_emission, shares


@pytest.mark.parametrize(("k", "order"), [(2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (2, 3)])
def test_counts_equal_enumeration(k, order):
    exact, params = random_tables(k, order, 1)
    model = CategoricalHMM(k, L, order=order, partial=SETS)
    stats = total_stats(model, SequenceSource([codes(s) for s in SEQUENCES]), params)
    told = [brute_force(exact, sequence, order) for sequence in SEQUENCES]
    assert stats.loglik == pytest.approx(math.fsum(t[0] for t in told), rel=1e-12, abs=1e-13)
    assert stats.entropy == pytest.approx(math.fsum(t[1] for t in told), rel=1e-12)
    np.testing.assert_allclose(stats.n_transition, sum(t[2] for t in told), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        stats.n_emission, sum(t[3] for t in told).reshape(params.emission.shape), rtol=1e-12, atol=1e-14
    )
    assert stats.loglik == pytest.approx(model.expected_loglik(stats, params) + stats.entropy, rel=1e-12)
    for sequence, one in zip(SEQUENCES, told, strict=True):
        np.testing.assert_allclose(model.posterior(params, codes(sequence)), one[4], rtol=1e-12, atol=1e-14)
        pieces = list(model.posterior_pieces(params, codes(sequence), size=2))
        assert [begin for begin, _ in pieces] == list(range(0, len(sequence), 2))
        np.testing.assert_allclose(np.concatenate([rows for _, rows in pieces]), one[4], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1])
def test_hard_assignment_is_the_best_path_with_the_best_letters(order):
    exact, params = random_tables(3, order, 2)
    model = CategoricalHMM(3, L, order=order, partial=SETS)
    for sequence in SEQUENCES:
        hard = total_stats(model, SequenceSource([codes(sequence)]), params, "hard")
        best = brute_force(exact, sequence, order, best=True)
        assert hard.loglik == pytest.approx(math.log(best), rel=1e-12, abs=1e-13)
        assert hard.loglik == pytest.approx(model.expected_loglik(hard, params), rel=1e-12, abs=1e-13)


def test_a_set_of_all_letters_is_a_letter_not_observed():
    _, params = random_tables(2, 0, 3)
    model = CategoricalHMM(2, L, partial=((0, 1, 2),))
    one, other = (total_stats(model, SequenceSource([codes([0, 1, code, 2, 2])]), params).loglik for code in (N, N + 1))
    assert one == pytest.approx(other, rel=1e-13)


@pytest.mark.parametrize(("k", "order"), [(2, 1), (4, 1), (8, 1), (2, 2), (3, 3), (4, 0)])
def test_words_of_steps_equal_letters(k, order):
    rng = np.random.default_rng([k, order])
    letters = rng.integers(4, size=60_000).astype(np.uint8)
    strange = rng.random(letters.size) < 0.003
    letters[strange] = rng.integers(4, 7, size=strange.sum())
    offsets = np.array([0, 1, 5, 2000, 2001, letters.size])
    model = CategoricalHMM(k, 4, order=order, partial=((0, 2), (1, 3)))
    emission = model.extended_emission(
        HMMParams(np.full(k, 1 / k), np.eye(k), rng.dirichlet(np.full(4, 3.0), size=(k, 4**order)).squeeze())
    )
    transition = 0.9 * np.eye(k) + 0.1 * rng.dirichlet(np.ones(k), size=k)
    steps = model.steps_of(letters, offsets)
    case = steps, offsets, rng.uniform(0.5, 2.0, 5), np.full(k, 1 / k), transition, emission
    ours, theirs = expected_counts_by_words(*case, in_turn, model.steps), expected_counts(*case)
    assert try_words(*case, in_turn, model.steps) is not None
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-11)
    assert ours[3] == pytest.approx(theirs[3], rel=1e-13)
    assert ours[4] == pytest.approx(theirs[4], rel=1e-9)


def test_steps_are_letters_with_those_before():
    letters = codes([0, 1, 2, 3, 0, 4, 1, 1, 5, 2, 2, 3])
    steps = steps_of(letters, np.array([0, 7, 12]), 4, 1, 1)
    assert steps.tolist() == [16, 1, 6, 11, 12, 16, 16, 16, 17 + 1, 16, 10, 11]
    assert CategoricalHMM(2, 4, order=1, partial=((0, 2),)).steps == Steps(4, 16, 21)


@pytest.mark.parametrize("order", [1, 2])
def test_planted_dependence_on_the_letter_before_is_found(order):
    """Two states of equal composition: one all but avoids CG. No model of order 0 can tell them apart."""
    rng = np.random.default_rng(order)
    even, shy = np.full((4, 4), 0.25), np.full((4, 4), 0.25)
    shy[1], shy[0] = [0.32, 0.32, 0.04, 0.32], [0.18, 0.18, 0.46, 0.18]
    states = np.repeat(np.arange(60) % 2, 500)
    letters = np.zeros(states.size, dtype=np.uint8)
    for t in range(1, states.size):
        letters[t] = rng.choice(4, p=(even, shy)[states[t]][letters[t - 1]])
    model = CategoricalHMM(2, 4, order=order)
    result = fit(model, SequenceSource([letters]), starts=4, seed=1, certificate=False)
    assert result.converged
    path = model.viterbi(result.params, letters)
    right = (path == states).mean()
    assert max(right, 1.0 - right) > 0.9
    assert result.params.emission.shape == (2, 4**order, 4)
    assert model.pack(result.params).size == model.n_free_parameters == 3 + 2 * 4**order * 3


def test_standard_errors_given_the_letter_before_equal_the_numerical_hessian():
    rng = np.random.default_rng(3)
    truth = HMMParams(
        np.array([0.6, 0.4]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        np.array([[[0.8, 0.2], [0.3, 0.7]], [[0.2, 0.8], [0.6, 0.4]]]),
    )
    sequences = []
    for _ in range(60):
        state, letter, out = rng.choice(2, p=truth.start), 0, []
        for _ in range(60):
            letter = rng.choice(2, p=truth.emission[state, letter])
            out.append(letter if rng.random() > 0.02 else 3)
            state = rng.choice(2, p=truth.transition[state])
        sequences.append(codes(out))
    model, source = CategoricalHMM(2, 2, order=1, partial=((0, 1),)), SequenceSource(sequences)
    top = climb(model, source, truth, tol=1e-11)
    seen = certify(model, source, top.params)
    assert seen.kind == "maximum"

    def natural(packed):
        return np.concatenate([v.ravel() for v in model.natural(model.unpack(packed)).values()])

    def loglik(packed):
        return total_stats(model, source, model.unpack(packed)).loglik

    at, eye = model.pack(top.params), np.eye(model.n_free_parameters)
    slopes = np.array([(natural(at + 1e-5 * e) - natural(at - 1e-5 * e)) / 2e-5 for e in eye]).T
    hessians = []
    for h in (0.02, 0.04):
        corners = [
            [(at + h * (a * eye[i] + b * eye[j])) for a in (1, -1) for b in (1, -1)]
            for i in range(len(at))
            for j in range(len(at))
        ]
        values = np.array([[loglik(c) for c in four] for four in corners])
        hessians.append(
            ((values[:, 0] - values[:, 1] - values[:, 2] + values[:, 3]) / (4 * h * h)).reshape(len(at), -1)
        )
    curved = (4 * hessians[0] - hessians[1]) / 3
    covariance = slopes @ np.linalg.inv(-curved) @ slopes.T
    found = np.concatenate([seen.standard_errors[name].ravel() for name in ("start", "transition", "emission")])
    np.testing.assert_allclose(found, np.sqrt(np.diag(covariance)), rtol=1e-4)


@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
@pytest.mark.parametrize("topology", ["left-right", "banded"])
def test_states_that_may_not_follow_never_do(topology, pseudocount):
    rng = np.random.default_rng(1)
    shares = 0.1 + 0.6 * np.eye(4)[[2, 0, 3, 1]]
    sequences = [np.concatenate([rng.choice(4, size=80, p=row) for row in shares]).astype(np.uint8) for _ in range(3)]
    model = CategoricalHMM(4, 4, pseudocount, topology=topology)
    result = fit(model, SequenceSource(sequences), starts=4, seed=2)
    assert result.converged
    i, j = np.indices((4, 4))
    may = j >= i if topology == "left-right" else abs(i - j) <= 1
    assert not result.params.transition[~may].any()
    assert model.unpack(model.pack(result.params)).transition[~may].sum() == 0.0
    assert model.pack(result.params).size == model.n_free_parameters
    if topology == "left-right":
        np.testing.assert_array_equal(result.params.start, [1, 0, 0, 0])
        assert model.n_free_parameters == 3 + 2 + 1 + 4 * 3
        path = model.viterbi(result.params, sequences[0])
        assert (np.diff(path.astype(int)) >= 0).all()
        assert (path == np.repeat(np.arange(4), 80)).mean() > 0.9
    else:
        assert model.n_free_parameters == 3 + 1 + 2 + 2 + 1 + 4 * 3
        turned = HMMParams(
            result.params.start[::-1], result.params.transition[::-1, ::-1], result.params.emission[::-1]
        )
        np.testing.assert_array_equal(model.canonical(turned).emission, result.params.emission)


def test_what_is_fixed_stays_and_is_no_parameter():
    held = HMMParams(
        np.array([0.5, 0.5]),
        np.array([[0.9, 0.1], [0.1, 0.9]]),
        np.array([[0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]]),
    )
    rng = np.random.default_rng(0)
    letters = np.concatenate([rng.choice(4, size=300, p=row) for row in held.emission[[0, 1, 0]]]).astype(np.uint8)
    model, source = CategoricalHMM(2, 4, fixed=("emission", "start"), held=held), SequenceSource([letters])
    result = fit(model, source, init=[held])
    assert result.converged
    np.testing.assert_array_equal(result.params.emission, held.emission)
    np.testing.assert_array_equal(result.params.start, held.start)
    assert model.n_free_parameters == model.pack(result.params).size == 2
    assert set(result.certificate.standard_errors) == {"start", "transition", "emission"}
    assert np.isnan(result.certificate.standard_errors["emission"]).all()
    whole = climb(CategoricalHMM(2, 4), source, held)
    assert whole.loglik > result.loglik > total_stats(model, source, held).loglik


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": -1}, "order.*0 to 6"),
        ({"order": 9}, "order.*0 to 6"),
        ({"partial": ((0, 4),)}, "sets of letters below 4"),
        ({"partial": ((),)}, "sets of letters below 4"),
        ({"topology": "ring"}, "left-right"),
        ({"fixed": ("emission",)}, "held"),
        ({"fixed": ("colour",)}, "start, transition, emission"),
        ({"held": HMMParams(np.ones(1), np.ones((1, 1)), np.full((1, 4), 0.25))}, "another shape"),
    ],
)
def test_what_cannot_be_built_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        CategoricalHMM(2, 4, **options)


def test_codes_beyond_the_sets_are_refused():
    _, params = random_tables(2, 0, 1)
    with pytest.raises(InputError, match=r"letter code 6.*for 2 sets"):
        CategoricalHMM(2, L, partial=SETS).posterior(params, codes([0, 6]))


def test_two_states_of_order_one_are_the_eight_states_of_the_book():
    """With jumps that do not depend on the letter, given the first letter."""
    two, eight = known("cpg"), known("cpg-8")
    rng = np.random.default_rng(4)
    letters = codes(rng.integers(4, size=5000))
    small, large = (total_stats(k.model, SequenceSource([letters]), k.params) for k in (two, eight))
    assert large.loglik == pytest.approx(small.loglik + math.log(0.25), rel=1e-12)
    shares = eight.model.posterior(eight.params, letters)
    assert (shares[np.arange(5000), letters] + shares[np.arange(5000), letters + 4]).min() > 1 - 1e-12
    within = shares[:, 4:].sum(axis=1)
    np.testing.assert_allclose(two.model.posterior(two.params, letters)[:, 1], within, rtol=1e-9, atol=1e-12)


def test_tables_of_the_book_are_its_own():
    """The depleted CG outside islands, and rows that sum to 1 to the book's rounding."""
    for table in (WITHIN, OUTSIDE):
        np.testing.assert_allclose(table.sum(axis=1), 1.0, atol=1.1e-3)
    assert OUTSIDE[1, 2] == 0.078
    assert WITHIN[1, 2] == 0.274

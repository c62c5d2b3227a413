"""The hidden Markov model against enumeration with exact fractions and against a naive log-space rewrite."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.chunks import ListSource, SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.engine.spectrum import units
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io.fasta import read_fasta
from emtools.models.hmm import CategoricalHMM, HMMParams

N = 3
SHORT = [[0, 1, 2, 0, 0], [N], [2], [1, N, N, 2, 1, 0], [N, 0, 2, 2]]


def codes(values):
    return np.array(values, dtype=np.uint8)


def tenths(rows):
    """Distributions in tenths, exact as fractions and nearest as floats."""
    exact = [[Fraction(v, 10) for v in row] for row in rows]
    assert all(sum(row) == 1 for row in exact)
    return exact


TWO = tenths([[7, 3]]), tenths([[8, 2], [3, 7]]), tenths([[5, 3, 2], [1, 1, 8]])
THREE_WITH_ZEROS = (
    tenths([[6, 0, 4]]),
    tenths([[5, 5, 0], [0, 7, 3], [2, 2, 6]]),
    tenths([[6, 3, 1], [2, 7, 1], [0, 4, 6]]),
)


def params_of(exact):
    start, transition, emission = (np.array(table, dtype=float) for table in exact)
    return HMMParams(start[0], transition, emission)


def enumerate_paths(exact, sequence):
    """Joint probability of every path with the letters, as a fraction."""
    (start,), transition, emission = exact
    joint = {}
    for path in product(range(len(start)), repeat=len(sequence)):
        p = start[path[0]]
        for i, j in pairwise(path):
            p *= transition[i][j]
        for state, letter in zip(path, sequence, strict=True):
            p *= emission[state][letter] if letter != N else 1
        joint[path] = p
    return joint


def brute_force(exact, sequences):
    """Log-likelihood, entropy and expected counts by summing over all paths."""
    (start,), _, emission = exact
    k, n_letters = len(start), len(emission[0])
    n_start, n_transition, n_emission = np.zeros(k), np.zeros((k, k)), np.zeros((k, n_letters))
    logliks, entropies = [], []
    for sequence in sequences:
        joint = enumerate_paths(exact, sequence)
        total = sum(joint.values())
        logliks.append(math.log(total.numerator) - math.log(total.denominator))
        for path, p in joint.items():
            share = float(p / total)
            if share == 0.0:
                continue
            entropies.append(-share * math.log(share))
            n_start[path[0]] += share
            for i, j in pairwise(path):
                n_transition[i, j] += share
            for state, letter in zip(path, sequence, strict=True):
                if letter != N:
                    n_emission[state, letter] += share
    return math.fsum(logliks), math.fsum(entropies), n_start, n_transition, n_emission


@pytest.mark.parametrize("exact", [TWO, THREE_WITH_ZEROS], ids=["two", "three_with_zeros"])
def test_expected_counts_equal_enumeration(exact):
    params = params_of(exact)
    model = CategoricalHMM(len(params.start), 3)
    stats = total_stats(model, SequenceSource([codes(s) for s in SHORT]), params)
    loglik, entropy, n_start, n_transition, n_emission = brute_force(exact, SHORT)
    assert stats.loglik == pytest.approx(loglik, rel=1e-13)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12)
    np.testing.assert_allclose(stats.n_start, n_start, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(stats.n_transition, n_transition, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(stats.n_emission, n_emission, rtol=1e-12, atol=1e-14)
    assert stats.n == len(SHORT)


@pytest.mark.parametrize("exact", [TWO, THREE_WITH_ZEROS], ids=["two", "three_with_zeros"])
@pytest.mark.parametrize("sequence", SHORT, ids=str)
def test_viterbi_and_posterior_equal_enumeration(exact, sequence):
    params = params_of(exact)
    model = CategoricalHMM(len(params.start), 3)
    joint = enumerate_paths(exact, sequence)
    best = max(joint.values())
    path = model.viterbi(params, codes(sequence))
    assert joint[tuple(path.tolist())] == best
    hard = total_stats(model, SequenceSource([codes(sequence)]), params, "hard")
    assert hard.loglik == pytest.approx(math.log(best), rel=1e-13)
    total = sum(joint.values())
    shares = np.zeros((len(sequence), len(params.start)))
    for states, p in joint.items():
        for t, state in enumerate(states):
            shares[t, state] += float(p / total)
    np.testing.assert_allclose(model.posterior(params, codes(sequence)), shares, rtol=1e-12, atol=1e-14)


def log_space(params, sequence):
    """Forward-backward with logarithms and whole arrays: slow, and every line is its equation."""
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(params.start), np.log(params.transition)
        log_emission = np.log(np.column_stack([params.emission, np.ones(len(params.start))]))[:, sequence].T
    n, k = len(sequence), len(params.start)
    log_alpha, log_beta = np.zeros((n, k)), np.zeros((n, k))
    log_alpha[0] = log_start + log_emission[0]
    for t in range(1, n):
        log_alpha[t] = np.logaddexp.reduce(log_alpha[t - 1][:, None] + log_transition, axis=0) + log_emission[t]
    for t in range(n - 2, -1, -1):
        log_beta[t] = np.logaddexp.reduce(log_transition + log_emission[t + 1] + log_beta[t + 1], axis=1)
    loglik = np.logaddexp.reduce(log_alpha[-1])
    posterior = np.exp(log_alpha + log_beta - loglik)
    pairs = np.exp(log_alpha[:-1, :, None] + log_transition + (log_emission[1:] + log_beta[1:])[:, None, :] - loglik)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = posterior[0] * np.log(posterior[0])
        later = pairs * np.log(pairs / posterior[:-1, :, None])
    entropy = -np.nansum(first) - np.nansum(later)
    return loglik, entropy, posterior, pairs.sum(axis=0)


@pytest.mark.parametrize(("k", "n_letters", "length"), [(2, 4, 3000), (3, 4, 700), (5, 20, 400), (1, 4, 50)])
def test_scaled_recursions_equal_log_space(k, n_letters, length):
    rng = np.random.default_rng(k)
    params = HMMParams(
        rng.dirichlet(np.ones(k)),
        0.9 * np.eye(k) + 0.1 * rng.dirichlet(np.ones(k), size=k),
        rng.dirichlet(np.ones(n_letters), size=k),
    )
    sequence = codes(rng.integers(n_letters + 1, size=length))
    model = CategoricalHMM(k, n_letters)
    stats = total_stats(model, SequenceSource([sequence]), params)
    loglik, entropy, posterior, n_transition = log_space(params, sequence)
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-10, abs=1e-10)
    n_emission = np.array([posterior[sequence == letter].sum(axis=0) for letter in range(n_letters)]).T
    np.testing.assert_allclose(stats.n_transition, n_transition, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(stats.n_emission, n_emission, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(stats.n_start, posterior[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(model.posterior(params, sequence), posterior, rtol=1e-9, atol=1e-14)


def log_space_path(params, sequence):
    """Log-probability of the best path, by logarithms and whole arrays."""
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(params.start), np.log(params.transition)
        log_emission = np.log(np.column_stack([params.emission, np.ones(len(params.start))]))[:, sequence].T
    best = log_start + log_emission[0]
    for row in log_emission[1:]:
        best = (best[:, None] + log_transition).max(axis=0) + row
    return best.max()


def test_best_path_and_gradient_equal_log_space():
    """The best path has the best log-probability; differences of the naive log-likelihood are the counts (Fisher)."""
    rng = np.random.default_rng(8)
    params = HMMParams(
        rng.dirichlet(np.ones(3)),
        0.9 * np.eye(3) + 0.1 * rng.dirichlet(np.ones(3), size=3),
        rng.dirichlet(np.ones(4), 3),
    )
    sequence, model = codes(rng.integers(5, size=600)), CategoricalHMM(3, 4)
    stats = total_stats(model, SequenceSource([sequence]), params)
    path = model.viterbi(params, sequence)
    with np.errstate(divide="ignore"):
        log_emission = np.log(np.column_stack([params.emission, np.ones(3)]))
    found = math.log(params.start[path[0]]) + log_emission[path, sequence].sum()
    found += np.log(params.transition[path[:-1], path[1:]]).sum()
    assert found == pytest.approx(log_space_path(params, sequence), rel=1e-13)
    step = 1e-5
    for name, counts in (("transition", stats.n_transition), ("emission", stats.n_emission)):
        table = getattr(params, name)
        for i, j in np.ndindex(table.shape):
            values = []
            for sign in (1, -1):
                moved = table.copy()
                moved[i, j] *= math.exp(sign * step)
                values.append(log_space(replace(params, **{name: moved}), sequence)[0])
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(counts[i, j], rel=1e-6, abs=1e-5)


def test_unequal_scales_stay_finite():
    """A letter of probability 1e-200 in the likely state, over and over, neither underflows nor gives NaN."""
    params = HMMParams(
        np.array([1.0 - 1e-12, 1e-12]),
        np.array([[1.0 - 1e-9, 1e-9], [1e-9, 1.0 - 1e-9]]),
        np.array([[1.0 - 1e-200, 1e-200], [1e-200, 1.0 - 1e-200]]),
    )
    sequence = codes([0] * 500 + [1] * 500 + [0, 1] * 200)
    stats = total_stats(CategoricalHMM(2, 2), SequenceSource([sequence]), params)
    loglik, entropy, _, n_transition = log_space(params, sequence)
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-6, abs=1e-12)
    np.testing.assert_allclose(stats.n_transition, n_transition, rtol=1e-9, atol=1e-12)


def test_all_unobserved_says_nothing():
    params = params_of(TWO)
    model = CategoricalHMM(2, 3)
    stats = total_stats(model, SequenceSource([codes([N] * 40)]), params)
    assert stats.loglik == pytest.approx(0.0, abs=1e-13)
    assert not stats.n_emission.any()
    np.testing.assert_array_equal(model.m_step(stats, params).emission, params.emission)


def test_impossible_letter_is_an_error_with_sequence_and_position():
    params = HMMParams(np.array([1.0]), np.array([[1.0]]), np.array([[0.5, 0.5, 0.0]]))
    model = CategoricalHMM(1, 3)
    source = SequenceSource([codes([0, 1]), codes([1, 1, 0, 2, 1])], chunk_letters=1)
    for assign in ("soft", "hard"):
        with pytest.raises(InputError, match="sequence 2, position 4"):
            total_stats(model, source, params, assign)
    for call in (model.posterior, model.viterbi):
        with pytest.raises(InputError, match=r"position 4.*pseudocount"):
            call(params, codes([1, 1, 0, 2, 1]))


def test_impossible_state_change_is_an_error():
    params = HMMParams(np.array([1.0, 0.0]), np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0]]))
    with pytest.raises(InputError, match="position 3"):
        CategoricalHMM(2, 2).posterior(params, codes([0, 0, 1]))


@pytest.mark.parametrize(
    ("arguments", "words"), [((0, 4), "states"), ((101, 4), "states"), ((2, 0), "letters"), ((2, 4, -1.0), "pseudo")]
)
def test_numbers_out_of_range_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        CategoricalHMM(*arguments)


def test_codes_beyond_the_alphabet_are_refused():
    with pytest.raises(InputError, match="letter code 5"):
        CategoricalHMM(2, 3).posterior(params_of(TWO), codes([0, 5]))
    with pytest.raises(InputError, match="int64"):
        CategoricalHMM(2, 3).viterbi(params_of(TWO), np.array([0, 1]))


@pytest.mark.parametrize("row", [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
def test_zeros_survive_packing(row):
    params = HMMParams(np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.25, 0.75]]), np.array([row, [0.1, 0.2, 0.7]]))
    model = CategoricalHMM(2, 3)
    packed = model.pack(params)
    assert len(packed) == model.n_free_parameters
    assert np.isfinite(packed).all()
    again = model.unpack(packed)
    for name in ("start", "transition", "emission"):
        np.testing.assert_allclose(getattr(again, name), getattr(params, name), rtol=1e-12, atol=0)


def test_one_letter_and_more_states_than_letters():
    model = CategoricalHMM(4, 2)
    result = fit(model, SequenceSource([codes([1])]), starts=3, seed=1)
    assert result.converged
    assert result.loglik == pytest.approx(0.0, abs=1e-9)
    assert all(np.isfinite(v).all() for v in model.natural(result.params).values())


def test_pseudocount_is_the_mode_of_its_prior():
    """One state: the posterior mode is (count + a) / (total + a L)."""
    sequence = codes([0, 0, 1, N, 2, 0])
    result = fit(CategoricalHMM(1, 3, pseudocount=2.0), SequenceSource([sequence]))
    np.testing.assert_allclose(result.params.emission, [[5 / 11, 3 / 11, 3 / 11]], rtol=1e-12)


def simulate(params, length, rng):
    states = np.zeros(length, dtype=int)
    states[0] = rng.choice(len(params.start), p=params.start)
    for t in range(1, length):
        states[t] = rng.choice(len(params.start), p=params.transition[states[t - 1]])
    letters = [rng.choice(params.emission.shape[1], p=params.emission[s]) for s in states]
    return states, codes(letters)


@pytest.mark.parametrize("strategy", CategoricalHMM.strategies)
def test_planted_states_are_found(strategy):
    truth = HMMParams(
        np.array([0.5, 0.5]),
        np.array([[0.99, 0.01], [0.02, 0.98]]),
        np.array([[0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]]),
    )
    states, letters = simulate(truth, 6000, np.random.default_rng(4))
    model = CategoricalHMM(2, 4)
    source = SequenceSource([letters])
    result = fit(model, source, starts=5, strategy=strategy, seed=2)
    assert result.converged
    assert result.loglik >= climb(model, source, truth).loglik - 1e-4
    np.testing.assert_allclose(result.params.emission, truth.emission, atol=0.04)
    assert (model.viterbi(result.params, letters) == states).mean() > 0.95


def test_states_are_ordered_by_gc():
    params = HMMParams(
        np.array([0.3, 0.7]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        np.array([[0.1, 0.4, 0.4, 0.1], [0.4, 0.1, 0.1, 0.4]]),
    )
    ordered = CategoricalHMM(2, 4).canonical(params)
    np.testing.assert_array_equal(ordered.start, [0.7, 0.3])
    np.testing.assert_array_equal(ordered.transition, [[0.8, 0.2], [0.1, 0.9]])
    np.testing.assert_array_equal(ordered.emission[0], params.emission[1])


def test_chunks_end_with_sequences():
    sequences = [codes([0] * n) for n in (5, 1, 7, 2)]
    source = SequenceSource(sequences, chunk_letters=6)
    chunks = [source.chunk(i) for i in range(source.n_chunks)]
    assert [chunk.offsets.tolist() for chunk in chunks] == [[0, 5, 6], [0, 7], [0, 2]]
    assert [chunk.first for chunk in chunks] == [0, 2, 3]
    assert source.n_units == 4


@pytest.mark.parametrize(
    ("sequences", "weights", "words"),
    [
        ([], None, "no sequence"),
        ([[0], []], None, "sequence 2 is empty"),
        ([[0]], [-1.0], "weights"),
        ([[0]], [1.0, 1.0], "weights"),
        ([[0]], [np.nan], "weights"),
        ([[0], [1]], [0.0, 0.0], "all are zero"),
    ],
)
def test_bad_sequences_are_refused(sequences, weights, words):
    with pytest.raises(InputError, match=words):
        SequenceSource([codes(s) for s in sequences], None if weights is None else np.array(weights))


@pytest.mark.parametrize("strategy", CategoricalHMM.strategies)
@pytest.mark.parametrize("chunk_letters", [1, 150, 10_000])
def test_starts_do_not_see_sequences_of_weight_zero(strategy, chunk_letters):
    rng = np.random.default_rng(6)
    sequences = [codes(rng.integers(2, size=100)) for _ in range(6)]
    unused = [codes(np.full(length, 3)) for length in (400, 30)]
    mixed = [unused[0], *sequences[:4], unused[1], *sequences[4:]]
    weights = np.array([0.0, 1, 1, 1, 1, 0.0, 1, 1])
    model = CategoricalHMM(2, 4)
    sources = (SequenceSource(sequences), SequenceSource(mixed, weights, chunk_letters))
    ours, theirs = (model.initial_params(source, np.random.default_rng(2), strategy) for source in sources)
    np.testing.assert_array_equal(model.pack(ours), model.pack(theirs))


def test_starts_without_any_weight_are_refused():
    chunk = SequenceSource([codes([0, 1])]).chunk(0)
    source = ListSource([replace(chunk, weights=np.zeros(1))], 1)
    with pytest.raises(InputError, match="all are zero"):
        CategoricalHMM(2, 4).initial_params(source, np.random.default_rng(0), "composition")


EVEN = np.full((3, 4), 0.25)
STAY = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]])
SAME_STAY = np.array([[0.8, 0.15, 0.05], [0.12, 0.8, 0.08], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize(
    ("n_letters", "start", "transition", "emission"),
    [
        (4, np.full(3, 1 / 3), STAY, np.array([[0.4, 0.1, 0.2, 0.3], [0.3, 0.1, 0.2, 0.4], [0.4, 0.2, 0.1, 0.3]])),
        (3, np.full(3, 1 / 3), STAY, np.array([[0.4, 0.1, 0.5], [0.4, 0.5, 0.1], [0.4, 0.2, 0.4]])),
        (4, np.full(3, 1 / 3), STAY, EVEN),
        (4, np.array([0.2, 0.5, 0.3]), SAME_STAY, EVEN),
        (4, np.full(3, 1 / 3), SAME_STAY, EVEN),
    ],
    ids=["emission", "emission_of_three_letters", "staying", "start", "leaving"],
)
def test_states_that_tie_are_ordered_by_what_is_left(n_letters, start, transition, emission):
    model = CategoricalHMM(3, n_letters)
    first = model.canonical(HMMParams(start, transition, emission))
    for labels in permutations(range(3)):
        order = list(labels)
        relabelled = HMMParams(start[order], transition[np.ix_(order, order)], emission[order])
        np.testing.assert_array_equal(model.pack(model.canonical(relabelled)), model.pack(first))


def second_differences(function, at, units, step):
    """Hessian in `units` by central differences, extrapolated from two steps."""
    p = len(at)

    def once(h):
        table = np.empty((p, p))
        for i in range(p):
            for j in range(i, p):
                corners = [
                    function(at + a * h * units * np.eye(p)[i] + b * h * units * np.eye(p)[j])
                    for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
                ]
                table[i, j] = table[j, i] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * h * h)
        return table

    return (4.0 * once(step) - once(2.0 * step)) / 3.0


def test_standard_errors_equal_the_numerical_hessian():
    truth = HMMParams(
        np.array([0.6, 0.4]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        np.array([[0.45, 0.1, 0.1, 0.35], [0.1, 0.4, 0.4, 0.1]]),
    )
    rng = np.random.default_rng(3)
    model, source = CategoricalHMM(2, 4), SequenceSource([simulate(truth, 50, rng)[1] for _ in range(60)])
    top = climb(model, source, truth, tol=1e-11)
    seen = certify(model, source, top.params)
    assert seen.kind == "maximum"

    def natural(packed):
        return np.concatenate([v.ravel() for v in model.natural(model.unpack(packed)).values()])

    at, step = model.pack(top.params), 1e-5
    slopes = np.array([(natural(at + step * e) - natural(at - step * e)) / (2 * step) for e in np.eye(len(at))]).T
    units = np.full(len(at), 0.1)
    curved = second_differences(lambda v: total_stats(model, source, model.unpack(v)).loglik, at, units, 0.3)
    covariance = slopes @ np.linalg.inv(-curved / np.outer(units, units)) @ slopes.T
    found = np.concatenate([seen.standard_errors[name].ravel() for name in ("start", "transition", "emission")])
    np.testing.assert_allclose(found, np.sqrt(np.diag(covariance)), rtol=1e-4)


GENOME = Path(__file__).parents[2] / "resources" / "lambda.fa"


def climb_both_ways(seed):
    """A start on the lambda genome, by plain EM and accelerated."""
    (record,) = read_fasta(GENOME)
    model, source = CategoricalHMM(3, 4), SequenceSource([record.codes])
    first = model.initial_params(source, np.random.default_rng([seed, 77]), model.strategies[seed % 2])
    return [climb(model, source, first, accelerate=on) for on in (False, True)]


def test_rounding_at_an_edge_takes_no_passes():
    """A transition fades; the slope of Q along it is one unit in the last place of Q, which once took five looks."""
    plain, quick = climb_both_ways(6)
    assert quick.objective == pytest.approx(plain.objective, abs=1e-6)
    assert len(quick.trace) <= 1.3 * len(plain.trace)


def test_parameters_that_fade_do_not_hold_up_the_others():
    """Start and transitions fade to zero all the way: measured in fixed units they kept mixing from seeing the rest."""
    plain, quick = climb_both_ways(11)
    assert quick.objective == pytest.approx(plain.objective, abs=1e-6)
    assert 4 * len(quick.trace) < len(plain.trace)


def test_errors_of_packed_parameters_are_those_of_differences():
    rng = np.random.default_rng(2)
    model, source = CategoricalHMM(3, 4, 0.5, topology="banded"), SequenceSource([codes(rng.integers(4, size=900))])
    params = model.initial_params(source, rng, "random")
    stats = total_stats(model, source, params)
    at_top = model.m_step(stats, params)
    np.testing.assert_allclose(model.packed_errors(stats, at_top), units(model, stats, model.pack(at_top)), rtol=1e-3)


def test_a_long_path_in_pieces_is_the_whole_one():
    """Over several pieces of 16,384 letters: the log-probability of the path equals that of the best one."""
    rng = np.random.default_rng(9)
    params = HMMParams(
        np.array([0.5, 0.5]),
        np.array([[0.99, 0.01], [0.02, 0.98]]),
        np.array([[0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]]),
    )
    model, sequence = CategoricalHMM(2, 4), codes(rng.integers(5, size=3 * 16_384 + 7))
    path = model.viterbi(params, sequence)
    log_emission = np.log(np.column_stack([params.emission, np.ones(2)]))
    found = math.log(params.start[path[0]]) + log_emission[path, sequence].sum()
    found += np.log(params.transition[path[:-1], path[1:]]).sum()
    assert found == pytest.approx(log_space_path(params, sequence), rel=1e-12)
    pieces = np.concatenate([rows for _, rows in model.posterior_pieces(params, sequence, 5000)])
    np.testing.assert_allclose(model.posterior(params, sequence), pieces, rtol=1e-12, atol=1e-14)

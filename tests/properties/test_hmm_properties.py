"""What must hold for any chain and any letters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.models.hmm import CategoricalHMM, HMMParams

L = 3
LETTERS = st.lists(st.integers(0, L), min_size=1, max_size=30)


@st.composite
def chains(draw):
    """Parameters with zeros here and there, never a row of zeros, every letter possible in the first state."""
    k = draw(st.integers(1, 4))

    def rows(n, m, least):
        weights = np.array(draw(st.lists(st.integers(0, 5), min_size=n * m, max_size=n * m)), dtype=float)
        table = weights.reshape(n, m)
        table[:, 0] += least
        table[0] += 0.5
        return table / table.sum(axis=1, keepdims=True)

    return HMMParams(rows(1, k, 1.0)[0], rows(k, k, 1.0), rows(k, L, 1.0))


def stats_of(params, sequences, assign="soft"):
    source = SequenceSource([np.array(s, dtype=np.uint8) for s in sequences])
    return total_stats(CategoricalHMM(len(params.start), L), source, params, assign)


@settings(max_examples=60, deadline=None)
@given(chains(), st.lists(LETTERS, min_size=1, max_size=4))
def test_counts_add_up_and_the_bound_is_tight(params, sequences):
    stats = stats_of(params, sequences)
    n_total = sum(map(len, sequences))
    n_observed = sum(letter < L for s in sequences for letter in s)
    assert stats.n_start.sum() == pytest.approx(len(sequences), rel=1e-12)
    assert stats.n_transition.sum() == pytest.approx(n_total - len(sequences), rel=1e-12, abs=1e-12)
    assert stats.n_emission.sum() == pytest.approx(n_observed, rel=1e-12, abs=1e-12)
    q = CategoricalHMM(len(params.start), L).expected_loglik(stats, params)
    assert stats.loglik == pytest.approx(q + stats.entropy, rel=1e-11, abs=1e-11)
    assert stats_of(params, sequences, "hard").loglik <= stats.loglik + 1e-10


@settings(max_examples=60, deadline=None)
@given(chains(), LETTERS, st.integers(1, 5))
def test_unobserved_letters_at_the_end_change_nothing(params, letters, n_more):
    assert stats_of(params, [letters + [L] * n_more]).loglik == pytest.approx(
        stats_of(params, [letters]).loglik, rel=1e-12, abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(chains(), LETTERS)
def test_posterior_is_a_distribution_and_its_letters_are_the_counts(params, letters):
    model = CategoricalHMM(len(params.start), L)
    codes = np.array(letters, dtype=np.uint8)
    shares = model.posterior(params, codes)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12, atol=0)
    stats = stats_of(params, [letters])
    for letter in range(L):
        np.testing.assert_allclose(
            shares[codes == letter].sum(axis=0), stats.n_emission[:, letter], rtol=1e-11, atol=1e-12
        )

"""Agreement, profiles and shares against naive rewrites and scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from emtools.kernels.agreement import (
    adjusted_rand,
    contingency,
    majority_accuracy,
    matched_accuracy,
    normalised_information,
    one_hot,
)
from emtools.kernels.composition import (
    Profiles,
    effective_counts,
    principal_axes,
    share_errors,
    telling,
    type_profiles,
)


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_that_of_scikit_learn_and_of_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 90)
    found = np.where(rng.random(90) < 0.6, truth, rng.integers(0, 5, 90))
    table = contingency(truth, one_hot(found, 5))
    assert table.sum() == 90
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(truth, found), rel=1e-12)
    assert normalised_information(table) == pytest.approx(normalized_mutual_info_score(truth, found), rel=1e-12)
    best = max(sum(table[i, order[i]] for i in range(4)) for order in permutations(range(5), 4))
    assert matched_accuracy(table) == pytest.approx(best / 90, rel=1e-15)
    majority = sum(max(np.sum((found == k) & (truth == g)) for g in range(4)) for k in range(5))
    assert majority_accuracy(table) == pytest.approx(majority / 90, rel=1e-15)


def test_agreement_at_its_ends() -> None:
    same = np.diag([5.0, 3.0, 2.0])
    assert adjusted_rand(same) == normalised_information(same) == matched_accuracy(same) == 1.0
    one = np.array([[5.0], [3.0]])
    assert adjusted_rand(one) == normalised_information(one) == 0.0
    assert adjusted_rand(np.array([[4.0]])) == 1.0


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_profiles_are_weighted_means(kind: type) -> None:
    rng = np.random.default_rng(1)
    values = rng.poisson(0.7, (50, 7)).astype(np.float32)
    weights = rng.dirichlet(np.ones(3), 50)
    found = type_profiles(kind(values), weights)
    for gene in range(7):
        for k in range(3):
            mean = sum(weights[i, k] * float(values[i, gene]) for i in range(50)) / weights[:, k].sum()
            above = sum(weights[i, k] for i in range(50) if values[i, gene] > 0) / weights[:, k].sum()
            assert found.means[gene, k] == pytest.approx(mean, rel=1e-12)
            assert found.fractions[gene, k] == pytest.approx(above, rel=1e-12)
    within = [
        np.sqrt(sum(weights[i, k] * (values[i, 0] - found.means[0, k]) ** 2 for i in range(50) for k in range(3)) / 50)
    ]
    assert found.spread[0] == pytest.approx(within[0], rel=1e-6)
    assert found.lowest == 0.0


def test_a_type_without_weight_has_no_profile() -> None:
    found = type_profiles(np.ones((4, 2)), np.array([[1.0, 0.0]] * 4))
    assert np.isnan(found.means[:, 1]).all()
    assert (found.means[:, 0] == 1.0).all()


def test_telling_genes_are_those_that_were_planted() -> None:
    means = np.ones((9, 3))
    means[4, 0] = means[7, 1] = means[2, 2] = 5.0
    profiles = Profiles(means, np.ones((9, 3)), np.r_[np.ones(8), 0.0], 0.0)
    assert telling(profiles, np.array([0.5, 0.3, 0.2]), 2) == [[4], [7], [2]]


def test_errors_of_shares() -> None:
    certain = one_hot(np.repeat([0, 1, 2], [50, 30, 20]), 3)
    p = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(share_errors(certain), np.sqrt(p * (1 - p) / 100), rtol=1e-12)
    np.testing.assert_allclose(effective_counts(certain), [50, 30, 20], rtol=1e-12)
    blurred = 0.8 * certain + 0.2 * p
    assert (share_errors(blurred) > share_errors(certain) * 1.1).all()
    assert np.isnan(share_errors(np.full((10, 2), 0.5))).all()
    assert (share_errors(np.ones((10, 1))) == 0.0).all()


def test_errors_of_shares_are_the_spread_over_repeats() -> None:
    rng = np.random.default_rng(5)
    n, density = 400, lambda x, m: np.exp(-0.5 * (x - m) ** 2)
    shares, errors = [], []
    for _ in range(200):
        x = np.where(rng.random(n) < 0.3, 0.0, 2.0) + rng.standard_normal(n)
        p = 0.5
        for _ in range(60):
            r = p * density(x, 0) / (p * density(x, 0) + (1 - p) * density(x, 2))
            p = r.mean()
        shares.append(p)
        errors.append(share_errors(np.column_stack([r, 1 - r]))[0])
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.15)


def test_principal_axes_have_the_variances_of_the_covariance() -> None:
    values = np.random.default_rng(2).standard_normal((40, 3)) * [3.0, 1.0, 0.2]
    scores = principal_axes(values, 2)
    top = np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1][:2]
    np.testing.assert_allclose(scores.var(axis=0), top, rtol=1e-10)
    assert principal_axes(values[:, :1], 2).shape == (40, 2)

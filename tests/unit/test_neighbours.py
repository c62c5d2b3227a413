"""Links between near rows and groups that few links leave, against brute force, scikit-learn and plain cases."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from emtools.kernels import neighbours
from emtools.kernels.neighbours import kept_links, shared_links, spectral_groups


def rings(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rings, one within the other, which no means tell apart."""
    rng = np.random.default_rng(1)
    codes = np.repeat([0, 1], n)
    angle = rng.uniform(0.0, 2.0 * np.pi, 2 * n)
    radius = 1.0 + 2.0 * codes + 0.1 * rng.standard_normal(2 * n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), codes


def test_weights_are_shares_of_common_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=(30, 3))
    distances = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    near = [set(np.argsort(row)[:6].tolist()) for row in distances]
    expected = np.zeros((30, 30))
    for i in range(30):
        for j in range(30):
            if i != j and (i in near[j] or j in near[i]):
                expected[i, j] = len(near[i] & near[j]) / len(near[i] | near[j])
    np.testing.assert_allclose(shared_links(values, 5).toarray(), expected, rtol=1e-12, atol=0)
    assert shared_links(values[:4]).shape == (4, 4)  # fewer rows than neighbours
    alike = shared_links(np.zeros((40, 2)))  # nothing but equal rows
    assert np.isfinite(alike.toarray()).all()
    assert alike.diagonal().sum() == 0.0


@pytest.mark.parametrize("n", [100, 400])
def test_groups_that_no_means_tell_apart(n: int) -> None:
    values, codes = rings(n)
    links = shared_links(values)
    assert adjusted_rand_score(codes, spectral_groups(links, 2)) == 1.0
    assert kept_links(links, codes, 2).min() > 0.99 > kept_links(links, (values[:, 0] > 0).astype(int), 2).max()


def test_groups_are_scikit_learns_and_the_same_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(240, 4)) + 3.0 * rng.normal(size=(4, 4))[rng.integers(0, 4, 240)]
    links = shared_links(values)
    found = spectral_groups(links, 4)
    dense = links.toarray() + neighbours.EVERYWHERE
    theirs = SpectralClustering(4, affinity="precomputed", assign_labels="cluster_qr", random_state=0).fit_predict(
        dense
    )
    assert adjusted_rand_score(theirs, found) == 1.0
    monkeypatch.setattr(neighbours, "SMALL", 10)
    assert adjusted_rand_score(spectral_groups(links, 4), found) == 1.0


def test_a_group_of_its_own_keeps_all_its_links() -> None:
    links = sparse.csr_array(np.kron(np.eye(3), np.ones((4, 4)) - np.eye(4)))
    codes = np.repeat([0, 1, 2], 4)
    assert kept_links(links, codes, 4).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert adjusted_rand_score(spectral_groups(links, 3), codes) == 1.0
    np.testing.assert_allclose(kept_links(links, np.arange(12) % 2, 2), 1 / 3, rtol=1e-12)

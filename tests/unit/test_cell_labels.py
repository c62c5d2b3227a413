"""The pool of a mixture and a logistic regression on labels, and where types start from."""

import anndata
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import emtools
from emtools.cell_types.labels import believe_labels, best_powers, chances_of, fit_labelled
from emtools.cell_types.reproduce import tempered
from emtools.cell_types.search import Search, compact_groups, find_types
from emtools.kernels.logspace import normalise_rows

SEARCH = Search(seed=0, certificate=False)


def one_within_another() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A narrow type in the middle of a wide one: a mixture tells them apart, a plane does not; a fifth is labelled."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 200)
    values = rng.normal(size=(400, 6)) * np.where(codes == 0, 0.3, 3.0)[:, None]
    return values, codes, np.where(np.arange(400) % 5 == 0, codes, -1)


def test_powers_by_which_labels_were_drawn_are_found() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = 8.0 * rng.normal(size=(20_000, 3)), normalise_rows(rng.normal(size=(20_000, 3)))[0]
    chances = tempered(0.25 * ours + 0.8 * theirs, 1.0)
    codes = (rng.random((20_000, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    assert best_powers(ours, theirs, codes) == pytest.approx((0.25, 0.8), rel=0.06)
    chances = tempered(1.5 * theirs, 1.0)
    codes = (rng.random((20_000, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    power, weight = best_powers(ours, theirs, codes)
    assert power < 0.01
    assert weight == pytest.approx(1.5, rel=0.06)
    assert best_powers(ours[:1], theirs[:1], theirs[:1].argmax(axis=1))[1] < 2.0  # one label does not make it sure


def test_the_pool_leans_on_the_mixture_where_no_plane_parts_types() -> None:
    values, codes, shown = one_within_another()
    fitted = fit_labelled(values, shown, 2, SEARCH)
    log_joint = fitted.model.log_joint(fitted.params, values)
    evidence, trust = believe_labels(values, shown, 2, log_joint, SEARCH)
    right, regression = (
        (found.argmax(axis=1) == codes)[shown < 0].mean() for found in (evidence, chances_of(values, shown, 2, values))
    )
    assert right > 0.88
    assert regression < 0.75
    assert 1.0 <= trust.temperature < 10.0
    pooled = log_joint / trust.temperature + trust.logistic_weight * chances_of(values, shown, 2, values)
    np.testing.assert_allclose(evidence, pooled, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_pool_leans_on_the_regression_where_types_are_no_normals() -> None:
    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1], 300)
    values = rng.normal(size=(600, 6)) * [6.0, 6.0, 0.5, 0.5, 0.5, 0.5]
    values[:, 0] += np.where(codes == 1, rng.choice([-25.0, 25.0], 600), 0.0)  # one type on both sides of the other
    values[:, 2] += 0.9 * np.where(codes == 1, 1.0, -1.0)
    adata = anndata.AnnData(np.abs(values) / 10.0)
    adata.obsm["X_pca"] = values
    adata.obs["some"] = np.where(np.arange(600) % 5 == 0, np.array(["a", "b"], dtype=object)[codes], None)
    emtools.tl.mixture(adata, labels="some")
    told = adata.uns["em"]
    assert told["logistic_weight"] > 0.2
    hidden = adata.obs["some"].isna().to_numpy()
    right = (adata.obs["em_type"] == np.array(["a", "b"])[codes])[hidden].mean()
    certainty = adata.obsm["em_responsibilities"].to_numpy().max(axis=1)[hidden].mean()
    assert right > 0.96
    assert certainty == pytest.approx(right, abs=0.04)


def test_small_types_beside_a_large_one_are_found_by_links() -> None:
    rng = np.random.default_rng(5)
    codes = np.repeat([0, 1, 2], [400, 15, 15])
    values = rng.normal(size=(430, 3)) + np.array([[20.0, 0, 0], [0, 0, 0], [0, 5, 0]])[codes]
    assert (
        adjusted_rand_score(codes, compact_groups(values, 3, SEARCH)) < 0.5
    )  # the large one halved, the small ones joined
    fitted = find_types(values, 3, SEARCH)
    assert adjusted_rand_score(codes, fitted.model.log_joint(fitted.params, values).argmax(axis=1)) == 1.0
    assert "few links between near cells leave" in fitted.verdict


def test_compact_groups_stay_where_links_are_not_far_ahead() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(300, 2)) + np.repeat([[0.0, 0], [6, 0], [0, 6]], 100, axis=0)
    assert "the best of 60 K-means" in find_types(values, 3, SEARCH).verdict

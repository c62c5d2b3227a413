"""The scikit-learn faces: scikit-learn's own checks, agreement with it at the same optimum, weights, gaps."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from emtools.estimators import EMBayesianGaussianMixture, EMFactorAnalysis, EMGaussianMixture, EMKMeans, MVNImputer
from emtools.imputing.pooling import pool

FACES = [EMGaussianMixture(), EMBayesianGaussianMixture(), EMKMeans(), MVNImputer(), EMFactorAnalysis()]


@parametrize_with_checks(FACES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(3)
    return rng.permutation(
        np.concatenate([rng.normal(size=(80, 2)), [4, 1] + rng.normal(size=(60, 2)) @ [[1, 0.5], [0, 1]]])
    )


@pytest.fixture(scope="module")
def gappy():
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(150, 1))
    table = factor @ [[2.0, -1.0, 1.0, 0.5]] + rng.normal(size=(150, 4)) * [0.5, 1.0, 0.8, 1.0] + [1.0, 0.0, -3.0, 10.0]
    table[rng.random(table.shape) < 0.2] = np.nan
    return table


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_mixture_agrees_with_scikit_learn_at_the_same_optimum(groups, kind):
    theirs = GaussianMixture(2, covariance_type=kind, tol=1e-13, max_iter=10_000, reg_covar=0, n_init=3, random_state=0)
    theirs.fit(groups)
    ours = EMGaussianMixture(
        2,
        covariance_type=kind,
        tol=1e-12,
        weights_init=theirs.weights_,
        means_init=theirs.means_,
        precisions_init=theirs.precisions_,
    ).fit(groups)
    order = np.argsort(-theirs.weights_)
    assert ours.converged_
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        one, two = getattr(ours, name), getattr(theirs, name)
        two = two if kind == "tied" and name not in ("weights_", "means_") else two[order]
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ours.predict(groups), np.argsort(order)[theirs.predict(groups)])
    np.testing.assert_allclose(ours.predict_proba(groups), theirs.predict_proba(groups)[:, order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.score_samples(groups), theirs.score_samples(groups), rtol=1e-5, atol=1e-6)
    for criterion in ("score", "bic", "aic"):
        assert getattr(ours, criterion)(groups) == pytest.approx(getattr(theirs, criterion)(groups), rel=1e-9)
    assert ours.lower_bound_ == pytest.approx(ours.score(groups), rel=1e-11)


def test_mixture_is_higher_than_scikit_learn_at_its_defaults_and_says_so(groups):
    ours = EMGaussianMixture(2, n_init=3, random_state=0).fit(groups)
    theirs = GaussianMixture(2, random_state=0).fit(groups)
    assert ours.score(groups) >= theirs.score(groups) - 1e-9
    assert "onverged" in ours.verdict_
    assert ours.certificate_.kind == "maximum"
    assert np.isfinite(ours.certificate_.standard_errors["means"]).all()


def test_a_budget_is_not_convergence(groups):
    with pytest.warns(ConvergenceWarning, match="Not converged"):
        fitted = EMGaussianMixture(2, max_iter=2, random_state=0, certify=False).fit(groups)
    assert not fitted.converged_
    assert fitted.certificate_ is None


def test_draws_have_the_moments_of_the_mixture(groups):
    fitted = EMGaussianMixture(2, random_state=1).fit(groups)
    rows, labels = fitted.sample(20_000)
    np.testing.assert_allclose(np.bincount(labels) / 20_000, fitted.weights_, rtol=0, atol=0.02)
    for k in range(2):
        np.testing.assert_allclose(rows[labels == k].mean(axis=0), fitted.means_[k], rtol=0, atol=0.06)
        np.testing.assert_allclose(np.cov(rows[labels == k].T), fitted.covariances_[k], rtol=0, atol=0.1)


def test_a_prior_stands_in_for_too_few_rows():
    few = np.random.default_rng(0).normal(size=(6, 8))
    assert EMGaussianMixture(random_state=0).fit(few).model_.prior is not None
    with pytest.raises(ValueError, match="collapsed"):
        EMGaussianMixture(covariance_prior=None).fit(few)
    assert (
        EMGaussianMixture(covariance_prior=np.eye(8), degrees_of_freedom_prior=9.0).fit(few).model_.prior.degrees == 9.0
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"covariance_type": "diagonal"}, "covariance_type: 'diagonal'"),
        ({"init_params": "kmeans"}, "init_params: 'kmeans'"),
        ({"covariance_prior": "weak"}, "covariance_prior: 'weak'"),
        ({"means_init": [[0.0, 1.0]]}, "means_init"),
        ({"weights_init": [0.7, 0.7]}, "weights_init"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"n_components": 200}, "n_components=200"),
    ],
)
def test_unusable_parameters_of_the_mixture_are_named(groups, changes, words):
    with pytest.raises(ValueError, match=words):
        EMGaussianMixture(**{"n_components": 2, **changes}).fit(groups)


def test_posterior_agrees_with_scikit_learn_at_the_same_optimum(groups):
    told = {"weight_concentration_prior_type": "dirichlet_distribution", "random_state": 0, "n_init": 5}
    ours = EMBayesianGaussianMixture(3, tol=1e-10, **told).fit(groups)
    theirs = BayesianGaussianMixture(n_components=3, tol=1e-12, max_iter=20_000, reg_covar=0.0, **told).fit(groups)
    order = np.argsort(-theirs.weight_concentration_)
    for name in ("weight_concentration_", "mean_precision_", "degrees_of_freedom_", "means_", "covariances_"):
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name)[order], rtol=2e-3, atol=2e-3, err_msg=name
        )
    np.testing.assert_allclose(ours.predict_proba(groups), theirs.predict_proba(groups)[:, order], rtol=0, atol=1e-4)
    assert ours.score(groups) == pytest.approx(theirs.score(groups), abs=1e-5)
    assert ours.sample(10)[0].shape == (10, 2)


def test_clusters_agree_with_scikit_learn_from_the_same_centres(groups):
    centres = groups[:3]
    ours = EMKMeans(3, init=centres).fit(groups)
    theirs = KMeans(3, init=centres, n_init=1, tol=0.0, max_iter=1000).fit(groups)
    order = np.lexsort(theirs.cluster_centers_.T[::-1])
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_[order], rtol=1e-10)
    np.testing.assert_array_equal(ours.labels_, np.argsort(order)[theirs.labels_])
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-12)
    assert ours.score(groups) == pytest.approx(-ours.inertia_, rel=1e-12)
    np.testing.assert_allclose(ours.transform(groups), theirs.transform(groups)[:, order], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "face",
    [EMGaussianMixture(2, random_state=0), EMBayesianGaussianMixture(3, random_state=0), EMKMeans(3, random_state=0)],
)
def test_weights_are_repeated_rows(groups, face):
    counts = np.random.default_rng(1).integers(0, 4, size=len(groups))
    repeated = np.repeat(groups, counts, axis=0)[::-1]
    one = clone(face).fit(groups, sample_weight=counts)
    two = clone(face).fit(repeated)
    np.testing.assert_array_equal(one.predict(groups), two.predict(groups))
    assert one.score(groups) == pytest.approx(two.score(groups), rel=1e-13)


@pytest.mark.parametrize("face", [MVNImputer(), EMFactorAnalysis(1, noise="isotropic", random_state=0)])
def test_weights_are_repeated_rows_of_tables(gappy, face):
    counts = np.random.default_rng(1).integers(0, 4, size=len(gappy))
    one = clone(face).set_params(tol=1e-8).fit(gappy, sample_weight=counts)
    two = clone(face).set_params(tol=1e-8).fit(np.repeat(gappy, counts, axis=0))
    np.testing.assert_allclose(one.transform(gappy), two.transform(gappy), rtol=1e-4, atol=1e-3)
    assert one.score(gappy) == pytest.approx(two.score(gappy), rel=1e-9)


def test_imputer_fills_in_conditional_means_and_keeps_the_rest(gappy):
    imputer = MVNImputer(tol=1e-10).fit(gappy)
    filled = imputer.transform(gappy)
    seen = ~np.isnan(gappy)
    np.testing.assert_array_equal(filled[seen], gappy[seen])
    row = int(np.flatnonzero(seen.sum(axis=1) == 2)[0])
    o, m = np.flatnonzero(seen[row]), np.flatnonzero(~seen[row])
    S, mu = imputer.covariance_, imputer.location_
    expected = mu[m] + S[np.ix_(m, o)] @ np.linalg.solve(S[np.ix_(o, o)], gappy[row, o] - mu[o])
    np.testing.assert_allclose(filled[row, m], expected, rtol=1e-10)
    assert imputer.get_feature_names_out(list("abcd")).tolist() == list("abcd")


def test_draws_restore_the_spread_that_means_shrink(gappy):
    table = np.tile(gappy, (40, 1))
    mean = MVNImputer().fit(gappy)
    drawn = clone(mean).set_params(sample_posterior=True, random_state=2).fit(gappy)
    wanted = np.sqrt(np.diagonal(mean.covariance_))
    np.testing.assert_allclose(drawn.transform(table).std(axis=0), wanted, rtol=0.03)
    assert (mean.transform(table).std(axis=0) < 0.98 * wanted).any()
    np.testing.assert_array_equal(drawn.transform(gappy), drawn.transform(gappy))
    empty = drawn.transform(np.full((4000, 4), np.nan))
    np.testing.assert_allclose(np.cov(empty.T), mean.covariance_, rtol=0, atol=0.08 * mean.covariance_.max())


def test_imputer_names_what_it_cannot_use(gappy):
    table = gappy.copy()
    table[:, 2] = np.nan
    with pytest.raises(ValueError, match="column 2: no value"):
        MVNImputer().fit(table)
    with pytest.raises(ValueError, match="CRP: no value"):
        MVNImputer().fit(pd.DataFrame(table, columns=["age", "IL6", "CRP", "TNF"]))
    with pytest.raises(ValueError, match="prior: 'some'"):
        MVNImputer(prior="some").fit(gappy)
    with pytest.raises(ValueError, match="kind: 'gamma'"):
        MVNImputer(kind="gamma").fit(gappy)
    with pytest.raises(ValueError, match="method 'jackknife'"):
        MVNImputer().fit(gappy).draw_tables(gappy, 2, method="jackknife")


def test_imputer_keeps_the_names_of_the_columns(gappy):
    frame = pd.DataFrame(gappy, columns=list("abcd"), index=[f"p{k}" for k in range(len(gappy))])
    imputer = MVNImputer().set_output(transform="pandas").fit(frame)
    filled = imputer.transform(frame)
    assert (list(filled.columns), list(filled.index)) == (list("abcd"), list(frame.index))
    np.testing.assert_array_equal(filled.to_numpy(), MVNImputer().fit_transform(gappy))
    new = imputer.transform(frame.iloc[[3]])
    np.testing.assert_array_equal(new.to_numpy(), filled.iloc[[3]].to_numpy())


def test_a_ridge_draws_correlations_to_zero_and_is_said(gappy):
    free, ridge = MVNImputer(prior="none").fit(gappy), MVNImputer(prior=50).fit(gappy)
    assert (free.pseudo_rows_, ridge.pseudo_rows_) == (0.0, 50.0)
    assert abs(ridge.covariance_[0, 1]) < 0.9 * abs(free.covariance_[0, 1])
    few = MVNImputer().fit(gappy[:4])
    assert few.pseudo_rows_ > 0.0
    assert "no finite maximum" in few.notices_[0]


@pytest.mark.parametrize(
    "options", [{"kind": "t"}, {"kind": "factors", "n_factors": 1}, {"kind": "mixture", "n_components": 2}]
)
def test_imputer_of_other_kinds(gappy, options):
    imputer = MVNImputer(**options, random_state=1).fit(gappy)
    filled, seen = imputer.transform(gappy), ~np.isnan(gappy)
    assert imputer.kind_ == options["kind"]
    np.testing.assert_array_equal(filled[seen], gappy[seen])
    # The rows are normal with one factor, so that all kinds say about the same.
    np.testing.assert_allclose(filled, MVNImputer().fit_transform(gappy), rtol=0, atol=1.5)
    assert np.isfinite(imputer.score(gappy))
    assert imputer.covariance_.shape == (4, 4)


def test_tables_are_drawn_of_the_table_that_was_fitted(gappy):
    imputer = MVNImputer(random_state=0).fit(gappy)
    frame = pd.DataFrame(gappy, columns=[f"x{j}" for j in range(gappy.shape[1])])
    named = MVNImputer(random_state=0).fit(frame)
    np.testing.assert_array_equal(
        named.draw_tables(frame.copy(), 1)[0], imputer.draw_tables(gappy.copy(order="F"), 1)[0]
    )
    for other in (gappy[:20], gappy[::-1], gappy + 1.0):
        for method in ("bootstrap", "posterior"):
            with pytest.raises(ValueError, match="not the table that was fitted"):
                imputer.draw_tables(other, 2, method=method)
        assert np.isfinite(imputer.draw_tables(other, 1, method="parameters fixed")[0]).all()


def test_imputer_draws_tables_for_pooling(gappy):
    imputer = MVNImputer(random_state=3).fit(gappy)
    tables = imputer.draw_tables(gappy, 20)
    seen = ~np.isnan(gappy)
    assert all((table[seen] == gappy[seen]).all() for table in tables)
    means = np.array([table.mean(axis=0) for table in tables])
    pooled = pool(means, [table.var(axis=0, ddof=1) / len(table) for table in tables], len(gappy) - 1)
    np.testing.assert_allclose(pooled.error, imputer.certificate_.standard_errors["mean"], rtol=0.25)
    again = imputer.draw_tables(gappy, 20, threads=2)
    assert all(one.tobytes() == two.tobytes() for one, two in zip(tables, again, strict=True))
    assert (imputer.draw_tables(gappy, 1, method="posterior")[0] != tables[0]).any()


def test_factor_analysis_agrees_with_scikit_learn_where_nothing_is_missing():
    rng = np.random.default_rng(8)
    table = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=(300, 6)) * [1, 0.6, 0.8, 1, 0.7, 1.2]
    ours = EMFactorAnalysis(2, tol=1e-10, random_state=0).fit(table)
    theirs = FactorAnalysis(2, tol=1e-12, max_iter=50_000, svd_method="lapack").fit(table)
    np.testing.assert_allclose(ours.get_covariance(), theirs.get_covariance(), rtol=0, atol=2e-4)
    np.testing.assert_allclose(ours.noise_variance_, theirs.noise_variance_, rtol=0, atol=2e-4)
    assert ours.score(table) == pytest.approx(theirs.score(table), abs=1e-8)
    one, two = (face.transform(table) @ face.components_ for face in (ours, theirs))
    np.testing.assert_allclose(one, two, rtol=0, atol=2e-3)


@pytest.mark.parametrize("face", [*FACES, EMGaussianMixture(2, covariance_type="tied", random_state=3)])
def test_clone_and_pickle(groups, face):
    fitted = clone(face).set_params(
        **({"n_clusters": 3, "random_state": 0} if "n_clusters" in face.get_params() else {})
    )
    fitted.fit(groups)
    again = pickle.loads(pickle.dumps(fitted))
    method = "predict" if hasattr(fitted, "predict") else "transform"
    np.testing.assert_array_equal(getattr(again, method)(groups), getattr(fitted, method)(groups))
    assert again.verdict_ == fitted.verdict_
    assert not hasattr(clone(fitted), "result_")


def test_pipeline_and_grid_search(groups, gappy):
    search = GridSearchCV(
        EMGaussianMixture(random_state=0, certify=False),
        {"n_components": [1, 2], "covariance_type": ["full", "tied"]},
        cv=3,
    ).fit(groups)
    assert search.best_params_["n_components"] == 2
    target = np.nan_to_num(gappy[:, 0])
    pipe = make_pipeline(MVNImputer(), StandardScaler(), LinearRegression()).fit(gappy[:, 1:], target)
    assert pipe.score(gappy[:, 1:], target) > 0.3


def test_importing_the_package_stays_light():
    code = (
        "import emtools, sys; print(sorted({'sklearn', 'scipy', 'numba', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saddles_are_not_convergence(groups):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = EMGaussianMixture(2, means_init=np.tile(groups.mean(axis=0), (2, 1))).fit(groups)
    top = EMGaussianMixture(2, n_init=3, random_state=0).fit(groups)
    stepped_off = fitted.score(groups) > top.score(groups) - 1e-3
    assert stepped_off or (not fitted.converged_ and any(w.category is ConvergenceWarning for w in caught))

"""Gaussian mixture: naive density loops, closed forms, and the traps of offsets, weights and collapse."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource, Rows, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import FitError, InputError
from emtools.models.mixture import COLLAPSED, CovariancePrior, GaussianMixture, MixtureParams, data_prior, kmeans

FAMILIES = ("full", "tied", "diagonal", "spherical")


def clouds(n=90, d=3, seed=0, apart=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=n)
    centres = apart * rng.normal(size=(3, d))
    return centres[labels] + rng.normal(size=(n, d)) * (1.0 + labels[:, None]), labels


def naive_log_joint(model, params, values):
    """Weight times density by the textbook formula with an explicit inverse and determinant."""
    matrices = model.covariance_matrices(params)
    out = np.empty((len(values), model.n_components))
    for i, x in enumerate(values):
        for k in range(model.n_components):
            deviation = x - params.means[k]
            form = sum(
                deviation[a] * np.linalg.inv(matrices[k])[a, b] * deviation[b]
                for a in range(len(x))
                for b in range(len(x))
            )
            norm = math.sqrt((2 * math.pi) ** len(x) * np.linalg.det(matrices[k]))
            out[i, k] = math.log(params.weights[k]) - 0.5 * form - math.log(norm)
    return out


def naive_m_step(family, values, shares):
    """Weighted means and covariances row by row."""
    n, d = values.shape
    counts = shares.sum(axis=0)
    means = np.array([sum(shares[i, k] * values[i] for i in range(n)) / counts[k] for k in range(len(counts))])
    scatters = np.zeros((len(counts), d, d))
    for k in range(len(counts)):
        for i in range(n):
            deviation = values[i] - means[k]
            scatters[k] += shares[i, k] * np.outer(deviation, deviation)
    covariances = {
        "full": scatters / counts[:, None, None],
        "tied": scatters.sum(axis=0) / n,
        "diagonal": np.diagonal(scatters, axis1=1, axis2=2) / counts[:, None],
        "spherical": np.trace(scatters, axis1=1, axis2=2) / counts / d,
    }[family]
    return counts / n, means, covariances


@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_equals_naive_loops(family):
    values, labels = clouds(40)
    model = GaussianMixture(3, 3, family)
    params = model.from_labels(values, labels)
    expected = naive_log_joint(model, params, values)
    np.testing.assert_allclose(model.log_joint(params, values), expected, rtol=1e-11, atol=1e-11)
    joint = np.exp(expected)
    shares = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.responsibilities(params, values), shares, rtol=1e-10, atol=1e-14)
    stats = total_stats(model, ArraySource(values, chunk_rows=7), params)
    assert stats.loglik == pytest.approx(np.log(joint.sum(axis=1)).sum(), rel=1e-12)
    new = model.m_step(stats, params)
    for ours, theirs in zip(
        (new.weights, new.means, new.covariances), naive_m_step(family, values, shares), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_component_is_the_sample_mean_and_covariance(family):
    values, _ = clouds()
    result = fit(GaussianMixture(1, 3, family), ArraySource(values))
    covariance = np.cov(values.T, bias=True)
    expected = {
        "full": covariance[None],
        "tied": covariance,
        "diagonal": np.diag(covariance)[None],
        "spherical": np.array([np.trace(covariance) / 3]),
    }[family]
    np.testing.assert_allclose(result.params.means[0], values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.params.covariances, expected, rtol=1e-11)
    if family == "full":
        top = -0.5 * len(values) * (3 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + 3)
        assert result.loglik == pytest.approx(top, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_offset_of_a_hundred_million_deviations_costs_nothing(family):
    """Values on a grid of 2^-10, so that the offset itself rounds nothing; raw moments would lose every digit."""
    values, labels = clouds()
    values = np.round(values * 1024) / 1024
    model = GaussianMixture(3, 3, family)
    offset = np.array([2.0**27, -(2.0**27), 2.0**28])
    near, far = (
        climb(model, ArraySource(x), model.from_labels(x, labels), max_passes=60) for x in (values, values + offset)
    )
    spread = values.std()
    assert offset.min() / spread < -1e7
    assert far.loglik == pytest.approx(near.loglik, rel=1e-7)
    np.testing.assert_allclose(far.params.covariances, near.params.covariances, rtol=1e-5, atol=1e-6)
    raw = ((values + offset) ** 2).mean(axis=0) - (values + offset).mean(axis=0) ** 2
    assert np.abs(raw / values.var(axis=0) - 1).max() > 0.1, "negative control: raw moments should be useless here"


@pytest.mark.parametrize("family", FAMILIES)
def test_tight_far_components_keep_their_covariance(family):
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 50)
    values = np.array([[0.0, 0.0], [1e5, -1e5]])[labels] + rng.normal(size=(100, 2))
    model = GaussianMixture(2, 2, family, order_by=0)
    result = fit(model, ArraySource(values), starts=3, tol=1e-13, parameter_tol=1e-12)
    _, means, covariances = naive_m_step(family, values, np.eye(2)[labels])
    np.testing.assert_allclose(result.params.means, means, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(result.params.covariances, covariances, rtol=1e-8)


def test_weights_are_replication_for_a_whole_fit():
    values, labels = clouds()
    counts = np.random.default_rng(3).integers(0, 4, size=len(values))
    model = GaussianMixture(3, 3)
    start = model.from_labels(values, labels, counts.astype(float))
    repeated = np.repeat(values, counts, axis=0)
    again = model.from_labels(repeated, np.repeat(labels, counts))
    np.testing.assert_allclose(start.covariances, again.covariances, rtol=1e-12)
    one = climb(model, ArraySource(values, counts.astype(float)), start)
    two = climb(model, ArraySource(repeated), again)
    assert one.loglik == pytest.approx(two.loglik, rel=1e-11)
    ours = model.initial_params(ArraySource(values, counts.astype(float)), np.random.default_rng(0), "kmeans++")
    theirs = model.initial_params(ArraySource(repeated), np.random.default_rng(0), "kmeans++")
    np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-12)


def test_a_component_on_too_few_points_is_degenerate_and_never_wins():
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(size=(60, 2)), [[8.0, 8.0], [8.1, 8.3]]])
    labels = np.repeat([0, 1], [60, 2])
    model = GaussianMixture(2, 2)
    good = model.from_labels(values, rng.integers(0, 2, size=62))
    narrow = MixtureParams(np.array([0.97, 0.03]), np.array([[0.0, 0.0], [8.05, 8.15]]), np.stack([np.eye(2)] * 2))
    ended = climb(model, ArraySource(values), narrow)
    assert ended.status is Status.DEGENERATE
    assert "component 2 has collapsed on 2 points, 3 are needed" in ended.reason
    result = fit(model, ArraySource(values), init=[narrow, good])
    assert result.best_restart == 1
    with pytest.raises(FitError, match="collapsed"):
        fit(model, ArraySource(values), init=[narrow])
    prior = GaussianMixture(2, 2, prior=data_prior(values, 2, "full"))
    held = climb(prior, ArraySource(values), narrow)
    assert held.status is Status.CONVERGED
    assert labels[prior.responsibilities(held.params, values).argmax(axis=1) == 1].all()


@pytest.mark.parametrize("family", FAMILIES)
def test_prior_is_in_the_objective_and_its_mode_is_closed_form(family):
    values, _ = clouds()
    n, d = values.shape
    prior = CovariancePrior(7.0, np.diag([1.0, 2.0, 3.0]) + 0.5)
    model = GaussianMixture(1, d, family, prior=prior)
    result = fit(model, ArraySource(values))
    deviations = values - values.mean(axis=0)
    scatter = deviations.T @ deviations
    expected = {
        "full": (scatter + prior.scale)[None] / (n + 7 + d + 1),
        "tied": (scatter + prior.scale) / (n + 7 + d + 1),
        "diagonal": np.diag(scatter + prior.scale)[None] / (n + 7 + 2),
        "spherical": np.array([(np.trace(scatter) + 2.5) / (n * d + 7 + 2)]),
    }[family]
    np.testing.assert_allclose(result.params.covariances, expected, rtol=1e-11)
    if family == "full":
        inverse = np.linalg.inv(result.params.covariances[0])
        log_det = np.linalg.slogdet(result.params.covariances[0])[1]
        by_hand = -0.5 * (7 + d + 1) * log_det - 0.5 * np.trace(inverse @ prior.scale)
        assert result.objective - result.loglik == pytest.approx(by_hand, rel=1e-10)


def test_kmeans_objective_is_the_inertia():
    values, _ = clouds(apart=6.0)
    for variance in (1.0, 4.0):
        model = kmeans(3, 3, variance=variance)
        result = fit(model, ArraySource(values), assign="hard", starts=5)
        labels = model.responsibilities(result.params, values).argmax(axis=1)
        inertia = ((values - result.params.means[labels]) ** 2).sum()
        constant = len(values) * (math.log(3) + 1.5 * math.log(2 * math.pi * variance))
        assert result.loglik == pytest.approx(-inertia / (2 * variance) - constant, rel=1e-12)
        for k in range(3):
            np.testing.assert_allclose(result.params.means[k], values[labels == k].mean(axis=0), rtol=1e-12)
    assert model.n_free_parameters == 9


def test_an_empty_cluster_is_said_and_keeps_its_mean():
    values = np.array([[0.0], [1.0], [2.0], [3.0]])
    model = kmeans(2, 1)
    start = MixtureParams(np.full(2, 0.5), np.array([[1.0], [50.0]]), np.ones(2))
    stats = total_stats(model, ArraySource(values), start, "hard")
    assert model.m_step(stats, start).means.tolist() == [[1.5], [50.0]]
    ended = climb(model, ArraySource(values), start, assign="hard")
    assert ended.status is Status.DEGENERATE
    assert ended.reason == "component 2 of 2 has no rows left"


def test_boundaries_are_the_sign_of_the_log_ratio():
    values, labels = clouds()
    for family in FAMILIES:
        model = GaussianMixture(3, 3, family)
        params = model.from_labels(values, labels)
        joint = model.log_joint(params, values)
        pairs = model.boundaries(params)
        assert [(p["first"], p["second"]) for p in pairs] == [(0, 1), (0, 2), (1, 2)]
        for p in pairs:
            score = np.einsum("ni,ij,nj->n", values, p["A"], values) + values @ p["b"] + p["c"]
            np.testing.assert_allclose(score, joint[:, p["first"]] - joint[:, p["second"]], rtol=1e-8, atol=1e-8)
            assert (family == "tied") == (not p["A"].any())
    model = kmeans(2, 2)
    (pair,) = model.boundaries(model.from_labels(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([0, 1])))
    assert (pair["A"].tolist(), pair["b"].tolist(), pair["c"]) == ([[0, 0], [0, 0]], [-2.0, 0.0], 2.0)


def test_canonical_order_by_weight_or_by_a_feature():
    params = MixtureParams(np.array([0.2, 0.5, 0.3]), np.array([[1.0, 9.0], [2.0, 8.0], [3.0, 7.0]]), np.arange(1.0, 4))
    model = GaussianMixture(3, 2, "spherical")
    assert model.canonical(params).weights.tolist() == [0.5, 0.3, 0.2]
    assert model.canonical(params).covariances.tolist() == [2.0, 3.0, 1.0]
    ordered = GaussianMixture(3, 2, "spherical", order_by=1).canonical(params)
    assert ordered.means[:, 1].tolist() == [7.0, 8.0, 9.0]


def test_data_prior_is_proper_for_collinear_features_and_scales_with_them():
    values, _ = clouds()
    collinear = np.column_stack([values, values[:, 0] + values[:, 1]])
    result = fit(
        GaussianMixture(3, 4, prior=data_prior(collinear, 3, "full")),
        ArraySource(collinear),
        starts=2,
        certificate=False,
    )
    assert result.converged
    one, two = data_prior(values, 3, "full"), data_prior(values * 10, 3, "full")
    np.testing.assert_allclose(two.scale, 100 * one.scale, rtol=1e-12)
    with pytest.raises(InputError, match="feature 2 is constant"):
        data_prior(np.array([[1.0, 5.0], [2.0, 5.0]]), 2, "full")


def test_collinear_features_without_a_prior_are_degenerate():
    values, _ = clouds()
    collinear = np.column_stack([values, values[:, 0] + values[:, 1]])
    for family in ("full", "tied"):
        with pytest.raises(FitError, match="collapsed"):
            fit(GaussianMixture(2, 4, family), ArraySource(collinear))


def test_input_that_cannot_be_used_is_named():
    values, labels = clouds()
    bad = values.copy()
    bad[3, 1] = np.nan
    cases = [
        (lambda: fit(GaussianMixture(2, 3), ArraySource(bad)), "not a finite number"),
        (lambda: fit(GaussianMixture(2, 2), ArraySource(values)), "3 columns; 2"),
        (lambda: fit(GaussianMixture(9, 3), ArraySource(values[:5])), "5 rows"),
        (lambda: fit(kmeans(3, 1), ArraySource(np.array([1.0, 1.0, 2.0, 2.0]))), "2 distinct rows"),
        (lambda: fit(GaussianMixture(2, 3), ArraySource(values * [1, 0, 1])), "feature 2 is constant"),
        (lambda: fit(GaussianMixture(2, 3), ArraySource(values, np.zeros(len(values)))), "all are zero"),
        (lambda: GaussianMixture(0, 3), "0 components"),
        (lambda: GaussianMixture(2, 3, "round"), "family 'round'"),
        (lambda: GaussianMixture(2, 3, order_by=3), "order_by 3"),
        (lambda: GaussianMixture(2, 3, fixed_variance=1.0), "spherical"),
        (lambda: kmeans(2, 3, variance=0.0), "positive"),
        (lambda: GaussianMixture(2, 3, prior=CovariancePrior(5.0, np.zeros((3, 3)))), "positive definite"),
        (lambda: GaussianMixture(2, 3, prior=CovariancePrior(1.0, np.eye(3))), "degrees"),
        (lambda: GaussianMixture(2, 3).from_labels(values, labels), "integers from 0 to 1"),
        (lambda: GaussianMixture(4, 3).from_labels(values, labels), "component 4 has no rows"),
        (lambda: GaussianMixture(3, 3).from_labels(values, labels[:5]), "integers"),
        (
            lambda: GaussianMixture(2, 3).from_labels(values, np.arange(90) // 88),
            "component 2 has collapsed on 2 points",
        ),
        (lambda: GaussianMixture(2, 3, "tied").from_labels(values * [1, 0, 1], labels % 2), "common covariance"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()


def test_rows_are_sampled_where_there_are_too_many(monkeypatch):
    from emtools.models import mixture_starts

    monkeypatch.setattr(mixture_starts, "SAMPLE_ROWS", 20)
    values = np.arange(100.0)[:, None]
    weights = (np.arange(100) % 3 > 0).astype(float)
    rows, kept = mixture_starts.sample_rows(ArraySource(values, weights, chunk_rows=7), np.random.default_rng(0), 1)
    assert rows.shape == (20, 1)
    assert (np.diff(rows[:, 0]) > 0).all()
    assert (rows[:, 0] % 3 > 0).all()
    assert (kept == 1).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order_by", [None, 0])
def test_components_that_tie_in_weight_and_mean_are_ordered_by_covariance(family, order_by):
    model = GaussianMixture(3, 2, family, order_by=order_by)
    matrices = np.array([[[2.0, 0.5], [0.5, 1.0]], [[2.0, -0.5], [-0.5, 1.0]], [[1.0, 0.0], [0.0, 2.0]]])
    diagonals = np.array([[2.0, 1.0], [2.0, 0.5], [1.0, 3.0]])
    covariances = {"full": matrices, "tied": matrices[0], "diagonal": diagonals, "spherical": diagonals[:, 1]}[family]
    weights = np.full(3, 1 / 3) if order_by is None else np.array([0.5, 0.3, 0.2])
    means = np.ones((3, 2))
    first = model.canonical(MixtureParams(weights, means, covariances))
    for labels in permutations(range(3)):
        order = list(labels)
        moved = covariances if family == "tied" else covariances[order]
        again = model.canonical(MixtureParams(weights[order], means[order], moved))
        np.testing.assert_array_equal(again.weights, first.weights)
        np.testing.assert_array_equal(again.covariances, first.covariances)


def test_the_tied_prior_is_that_of_one_component_and_says_so():
    values, _ = clouds()
    one, tied, full = (data_prior(values, k, family).scale for k, family in ((1, "full"), (3, "tied"), (3, "full")))
    np.testing.assert_array_equal(tied, one)
    np.testing.assert_allclose(full, one / 3 ** (2 / 3), rtol=1e-13)
    assert data_prior.__doc__ is not None
    assert "tied family uses K = 1" in data_prior.__doc__


def test_rows_without_any_weight_are_refused_by_the_source():
    with pytest.raises(InputError, match="all are zero"):
        ArraySource(np.zeros((2, 1)), np.zeros(2))


def test_hierarchical_starts_are_groups_by_ward_and_do_not_depend_on_the_seed():
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(c, 0.3, (20, 2)) for c in (0.0, 5.0, 10.0)])
    model = GaussianMixture(3, 2, order_by=0)
    one, two = (
        model.initial_params(ArraySource(values), np.random.default_rng(seed), "hierarchical") for seed in (0, 1)
    )
    np.testing.assert_array_equal(model.pack(one), model.pack(two))
    means = np.sort(one.means, axis=0)
    expected = values.reshape(3, 20, 2).mean(axis=1)
    np.testing.assert_allclose(means, expected, rtol=1e-12)
    hard = kmeans(3, 2, order_by=0)
    result = fit(hard, ArraySource(values), assign="hard", strategy="hierarchical")
    np.testing.assert_allclose(result.params.means, expected, rtol=1e-12)
    with pytest.raises(InputError, match="2 distinct rows"):
        model.initial_params(ArraySource(np.repeat([[0.0, 1.0], [2.0, 3.0]], 5, axis=0)), rng, "hierarchical")


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical"])
def test_squares_about_a_place_are_the_diagonal_of_the_scatters_of_all_components(family):
    rng = np.random.default_rng(4)
    model, values = GaussianMixture(3, 4, family), rng.normal(size=(60, 4)) + 5.0
    params = model.from_labels(values, np.arange(60) % 3)
    stats = model.e_step(params, Rows(values, rng.random(60)))
    place = np.broadcast_to(rng.normal(size=4), (3, 4))
    scatters = stats.scatters(place)
    wanted = {
        "full": lambda: np.einsum("kdd->d", scatters),
        "tied": lambda: np.diagonal(scatters),
        "diagonal": lambda: scatters.sum(axis=0),
        "spherical": lambda: scatters.sum(),
    }[family]()
    np.testing.assert_allclose(stats.squares(place), wanted, rtol=1e-12)
    assert stats.scatters(stats.origin.points) is stats.second


@pytest.mark.parametrize(("least", "fallen"), [(1e-6, False), (3.0, False), (1.5, False), (0.7, True), (-1.0, True)])
def test_a_covariance_has_collapsed_where_its_least_variance_is_below_the_bound_and_not_above(least, fallen):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(400, 3))
    model = GaussianMixture(2, 3)
    stats = model.e_step(model.from_labels(values, np.arange(400) % 2), Rows(values, np.ones(400)))
    scale = np.sqrt(model.total_variances(stats))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    narrow = (turn * [1.0, 0.5, least if least == 1e-6 else least * COLLAPSED]) @ turn.T
    covariances = np.stack([np.eye(3), narrow]) * np.outer(scale, scale)
    reason = model.collapsed(stats, covariances)
    assert (reason is not None) == fallen
    assert not fallen or "component 2" in reason

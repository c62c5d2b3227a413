"""Sizes, condition and the bound of the free energy on the pages: each against a direct computation."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from emtools.branches.segment.field import energy_of
from emtools.engine.chunks import ArraySource, ListSource, SequenceSource
from emtools.engine.starts import fit
from emtools.kernels.conditioning import conditions, known_units, most_alike, site_worth
from emtools.kernels.field_bound import chain_sum, field_bound
from emtools.models.hmm import CategoricalHMM
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_values import MixtureParams
from emtools.models.random_field import Plane, RandomField
from emtools.report.components import mixture_sizes, motif_sizes, state_sizes
from emtools.report.energy import sentence, strip
from emtools.segmenting.field import upper_bound


def test_condition_is_that_of_the_covariance_in_units_of_the_whole_and_knows_no_units() -> None:
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 4, 4))
    covariances, means, weights = roots @ roots.transpose(0, 2, 1), rng.normal(size=(3, 4)), np.array([0.2, 0.3, 0.5])
    whole = sum(w * (s + np.outer(m, m)) for w, s, m in zip(weights, covariances, means, strict=True))
    whole -= np.outer(weights @ means, weights @ means)
    scale = np.diag(np.diag(whole) ** -0.5)
    direct = [np.linalg.cond(scale @ s @ scale) for s in covariances]
    np.testing.assert_allclose(conditions(weights, means, covariances), direct, rtol=1e-9)
    units = np.array([1.0, 1e3, 1e-6, 42.0])
    turned = conditions(weights, means * units + 7.0, covariances * np.outer(units, units))
    np.testing.assert_allclose(turned, direct, rtol=1e-6)


def test_what_a_mean_is_worth_knows_no_units() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(500, 6)) + np.repeat([[0.0], [1.5]], 250, axis=0)
    roots = rng.normal(size=(2, 6, 6))
    covariances, means = roots @ roots.transpose(0, 2, 1) + np.eye(6), np.repeat([[0.0], [1.5]], 6, axis=1)
    shares = rng.dirichlet([1.0, 1.0], size=500)
    direct = known_units(values, shares, means, covariances)
    units = np.array([1.0, 1e-2, 1e8, 1.0, 1e-6, 1.0])
    turned = known_units(values * units, shares, means * units, covariances * np.outer(units, units))
    np.testing.assert_allclose(turned, direct, rtol=1e-6)
    assert (direct > 10.0).all()


def by_differences(values: np.ndarray, params: MixtureParams, k: int) -> float:
    """Information about the mean of a component, as the likelihood falls away from it, in units of a row that is known."""

    def loglik(mean: np.ndarray) -> float:
        means = np.array([mean if j == k else other for j, other in enumerate(params.means)])
        parts = [
            np.log(w) - 0.5 * (((values - m) ** 2 / v).sum(axis=1) + np.log(2 * np.pi * v).sum())
            for w, m, v in zip(params.weights, means, params.covariances, strict=True)
        ]
        return float(np.logaddexp(*parts).sum())

    found = []
    for variance, step in zip(params.covariances[k], np.eye(2), strict=True):
        step = 1e-3 * np.sqrt(variance) * step
        around = [loglik(params.means[k] + turn * step) for turn in (-1.0, 0.0, 1.0)]
        found.append((2.0 * around[1] - around[0] - around[2]) / 1e-6)
    return float(np.mean(found))


def test_sizes_of_a_mixture_are_sums_over_its_rows() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 2)) + np.repeat([[0, 0], [2.5, 1]], 150, axis=0)
    fitted = fit(GaussianMixture(2, 2, "diagonal"), ArraySource(values), starts=2)
    model, params = fitted.model, fitted.params
    joint = np.stack(
        [
            np.log(w) - 0.5 * (((values - m) ** 2 / v).sum(axis=1) + np.log(2 * np.pi * v).sum())
            for w, m, v in zip(params.weights, params.means, params.covariances, strict=True)
        ]
    )
    shares = (np.exp(joint) / np.exp(joint).sum(axis=0)).T
    matrices = model.covariance_matrices(params)
    table = mixture_sizes(
        ["a", "b"], values, model.responsibilities(params, values), params.weights, params.means, matrices, "rows"
    )
    frame = table.frame
    np.testing.assert_allclose(frame["expected rows"], shares.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(frame["expected rows"], fitted.stats.counts, rtol=1e-6)
    effective = [by_differences(values, params, k) for k in range(2)]
    np.testing.assert_allclose(frame["effective rows"], effective, rtol=1e-5)
    np.testing.assert_allclose(frame["rows for each free number"], np.array(effective) / 5, rtol=1e-5)
    assert (frame["effective rows"] < frame["expected rows"]).all()
    assert "none is near singular" in table.caption
    flat = mixture_sizes(
        ["a", "b"], values, shares, params.weights, params.means, matrices * np.array([[1, 0], [0, 1e-9]]), "rows"
    )
    assert "is nearly flat" in flat.caption


def test_sizes_of_states_are_sums_over_all_paths() -> None:
    """Every path of a short sequence, by enumeration."""
    codes = np.array([0, 1, 1, 0, 2, 3, 2], dtype=np.uint8)
    fitted = fit(
        CategoricalHMM(2, 4, pseudocount=0.5), SequenceSource([codes]), seed=3, max_passes=4, certificate=False
    )
    start, transition, emission = fitted.params.start, fitted.params.transition, fitted.params.emission
    held, visits, total = np.zeros(2), np.zeros(2), 0.0
    for path in itertools.product(range(2), repeat=len(codes)):
        weight = start[path[0]] * emission[path[0], codes[0]]
        for (i, j), letter in zip(itertools.pairwise(path), codes[1:], strict=True):
            weight *= transition[i, j] * emission[j, letter]
        total += weight
        for k, run in itertools.groupby(path):
            held[k] += weight * len(list(run))
            visits[k] += weight
    counted = fitted.stats.n_emission.sum(axis=1)
    frame = state_sizes(["A", "B"], fitted.stats, counted, emission, "letters").frame
    np.testing.assert_allclose(frame["expected letters"], held / total, rtol=1e-9)
    np.testing.assert_allclose(frame["expected visits"], visits / total, rtol=1e-9)
    shared = sum(min(p, q) for p, q in zip(*emission, strict=True))
    np.testing.assert_allclose(frame["overlap with it"], [shared, shared], rtol=1e-12)
    assert list(frame["most alike"]) == ["B", "A"]


def test_the_state_most_alike_is_the_one_that_shares_most() -> None:
    nearest, overlap = most_alike(np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]]))
    assert nearest.tolist() == [2, 2, 0]
    np.testing.assert_allclose(overlap, [0.9, 0.5, 0.9])


def test_more_states_than_letters_have_no_condition() -> None:
    stats = SimpleNamespace(n_start=np.ones(3), n_transition=np.eye(3))
    table = state_sizes("ABC", stats, np.ones(3), np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]]), "letters")
    assert "condition number of the table of emissions is inf" in table.caption


def test_sites_whose_place_is_known_are_worth_as_many_as_there_are() -> None:
    matrix = np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    errors = np.sqrt(matrix * (1 - matrix) / 40.0)  # of 40 sites, each counted as one
    np.testing.assert_allclose(site_worth(matrix, errors), [40.0, 40.0], rtol=1e-12)
    stats = SimpleNamespace(n_sites=41.5, n_rooms=60.0)
    table = motif_sizes(stats, matrix, 2.0 * errors, 39)
    assert table.frame["value"].round(6).tolist() == [41.5, 39.0, 10.0, 10.0, 7.0]
    assert "here at position 1" in table.caption


def summed(log_density: np.ndarray, coupling: float) -> float:
    """Log of the sum over all labellings of a grid."""
    k, n_rows, n_columns = log_density.shape
    rows, columns = np.indices((n_rows, n_columns))
    weights = []
    for labels in itertools.product(range(k), repeat=n_rows * n_columns):
        z = np.reshape(labels, (n_rows, n_columns))
        agree = (z[1:] == z[:-1]).sum() + (z[:, 1:] == z[:, :-1]).sum()
        weights.append(log_density[z, rows, columns].sum() + coupling * agree)
    return float(np.logaddexp.reduce(weights))


@pytest.mark.parametrize(("k", "shape"), [(2, (3, 3)), (2, (2, 5)), (3, (2, 3))])
@pytest.mark.parametrize("coupling", [0.0, 0.4, 1.25])
def test_the_sum_over_all_labellings_is_within_the_bound(k: int, shape: tuple[int, int], coupling: float) -> None:
    rng = np.random.default_rng(k)
    for spread in (0.0, 1.0, 6.0):
        density = spread * rng.normal(size=(k, *shape)) - 3.0
        exact = summed(density, coupling)
        bound = field_bound(density, coupling)
        assert bound >= exact - 1e-9
        if coupling == 0.0:
            assert bound == pytest.approx(exact, abs=1e-9)


def test_a_chain_is_summed_exactly() -> None:
    rng = np.random.default_rng(5)
    for k, length in ((2, 7), (3, 5)):
        density = 2.0 * rng.normal(size=(k, 1, length))
        assert chain_sum(density, 0.8) == pytest.approx(summed(density, 0.8), abs=1e-9)
    two = rng.normal(size=(2, 2, 4))
    apart = sum(summed(two[:, i : i + 1], 1.1) for i in range(2))
    assert chain_sum(two, 1.1) == pytest.approx(apart, abs=1e-9)


def test_the_free_energy_of_a_field_and_its_bound_enclose_the_log_likelihood() -> None:
    rng = np.random.default_rng(7)
    values = np.array([[[0.0, 0.1, 1.0], [0.2, 0.9, 1.1], [0.0, 1.2, 0.8]]]) + 0.3 * rng.normal(size=(1, 3, 3))
    model = RandomField(2, 1, coupling=0.8, lit=False)
    fitted = fit(model, ListSource([Plane(values)], 1), certificate=False)
    exact = summed(model.log_density(fitted.params, Plane(values)), 0.8)
    told = energy_of(SimpleNamespace(fit=fitted, values=values))
    assert fitted.loglik < exact < told["upper_bound"]
    assert told["gap"] == pytest.approx(told["upper_bound"] - fitted.loglik)
    assert told["gap_per_unit"] == pytest.approx(told["gap"] / 9)


def test_the_bound_of_two_images_is_that_of_both() -> None:
    rng = np.random.default_rng(8)
    planes = [Plane(np.round(rng.normal(size=(1, 3, n))) + 0.2 * rng.normal(size=(1, 3, n)), n - 3) for n in (3, 4)]
    model = RandomField(2, 1, coupling=0.8, lit=False)
    fitted = fit(model, ListSource(planes, 2), certificate=False)
    exact = [summed(model.log_density(fitted.params, plane), 0.8) for plane in planes]
    upper = [upper_bound(fitted, [plane]) for plane in planes]
    assert fitted.loglik < sum(exact)
    assert all(e < u for e, u in zip(exact, upper, strict=True))
    assert upper_bound(fitted, planes) == pytest.approx(sum(upper))


def record_of(name: str, **extra: object) -> dict[str, object]:
    trace = [{"objective": None}, {"objective": -300.0}, {"objective": -200.0}]
    return {"model": {"name": name}, "trace": trace, "objective": -200.0, "gap": 1e-7, "extra": extra}


def test_the_page_says_whether_the_free_energy_is_the_log_likelihood() -> None:
    assert "the gap (Kullback–Leibler) is 0" in sentence(record_of("gaussian_mixture"))
    assert "unknown divergence" in sentence(record_of("random_field"))
    assert "three cells or more" in sentence(record_of("censored_normal"))
    known = record_of("random_field", free_energy={"upper_bound": -190.0, "gap": 10.0, "gap_per_unit": 0.1})
    assert "by 10 nats at most (0.1 a pixel)" in sentence(known)
    assert strip(record_of("gaussian_mixture")) == []
    bars = strip(known)
    assert [bar.nats for bar in bars] == [100.0, 10.0, 1e-7]
    assert [bar.nats for bar in strip(known | {"gap": None})] == [100.0, 10.0]  # no bar of 0 for what is not known
    np.testing.assert_allclose([bar.width for bar in bars], [100.0, 1000 / 11, 200 / 11])  # of 11 decades

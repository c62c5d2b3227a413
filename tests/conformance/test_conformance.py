"""Every model faces the same examiners. Each checks one promise of ``emtools.engine.protocol.Model``."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from conformance.cases import CASES

from emtools.engine.certificate import certify
from emtools.engine.chunks import in_turn, total_stats, tree_sum, workers
from emtools.engine.starts import fit
from emtools.engine.stopping import FALL, Status
from emtools.io.fitfile import plain

PASSES = 25
LARGEST_CHECKED = 20


@pytest.fixture(params=sorted(CASES), scope="module")
def case(request):
    return CASES[request.param]()


def start(case, seed=0):
    """Data-driven parameters moved off their place a little, so that nothing is at a stationary point."""
    source = case.source(1)
    return case.model.initial_params(source, np.random.default_rng(seed), case.model.strategies[0])


def inner(case, passes=2, seed=0):
    """Parameters after a few soft passes: inside the space and not converged."""
    params = start(case, seed)
    source = case.source(1)
    for _ in range(passes):
        params = case.model.m_step(total_stats(case.model, source, params), params)
    return params


def numbers(stats):
    """All floats of the statistics that are plain numbers or arrays."""
    values = [getattr(stats, f.name) for f in fields(stats)]
    return [np.asarray(v, dtype=float) for v in values if isinstance(v, (int, float, np.ndarray))]


def assert_same_stats(one, two, rtol=1e-11):
    for a, b in zip(numbers(one), numbers(two), strict=True):
        scale = max(1.0, float(np.abs(a).max(initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def test_params_and_stats_are_frozen(case):
    params = start(case)
    assert is_dataclass(params)
    assert params.__dataclass_params__.frozen
    stats = total_stats(case.model, case.source(1), params)
    assert stats.__dataclass_params__.frozen


def test_statistics_add_over_chunks_in_any_order(case):
    params = inner(case)
    for assign in case.assigns:
        whole = total_stats(case.model, case.source(1), params, assign)
        split = case.source(4)
        assert split.n_chunks > 1
        assert_same_stats(whole, total_stats(case.model, split, params, assign))
        backwards = [case.model.e_step(params, split.chunk(i), assign) for i in reversed(range(split.n_chunks))]
        assert_same_stats(whole, tree_sum(backwards))


def test_loglik_is_expected_loglik_plus_entropy(case):
    params = start(case)
    source = case.source(4)
    for _ in range(PASSES):
        stats = total_stats(case.model, source, params)
        whole = case.model.expected_loglik(stats, params) + stats.entropy
        assert stats.loglik == pytest.approx(whole, rel=1e-11, abs=1e-11)
        params = case.model.m_step(stats, params)


def test_hard_assignment_has_no_entropy(case):
    if "hard" not in case.assigns:
        pytest.skip("the model offers soft assignment only")
    params = inner(case)
    stats = total_stats(case.model, case.source(1), params, "hard")
    assert stats.entropy == 0.0
    assert stats.loglik == pytest.approx(case.model.expected_loglik(stats, params), rel=1e-11, abs=1e-11)
    assert stats.loglik <= total_stats(case.model, case.source(1), params).loglik + 1e-9


def test_plain_map_climbs(case):
    for assign in case.assigns:
        for seed in range(3):
            params, before = start(case, seed), -math.inf
            source = case.source(4)
            for _ in range(PASSES):
                stats = total_stats(case.model, source, params, assign)
                objective = stats.loglik + case.model.log_prior(params)
                assert objective >= before - FALL * (1 + abs(objective))
                before = objective
                if case.model.degenerate(stats, params) is not None:
                    break
                params = case.model.m_step(stats, params)
        assert math.isfinite(before)


def test_m_step_is_the_top_of_q_plus_prior(case):
    model, rng = case.model, np.random.default_rng(1)
    old = inner(case)
    stats = total_stats(model, case.source(1), old)
    new = model.m_step(stats, old)

    def value(params):
        return model.expected_loglik(stats, params) + model.log_prior(params)

    assert value(new) >= value(old) - 1e-9
    if not case.m_step_maximises:
        return
    packed, top = model.pack(new), value(new)
    for size in (1e-1, 1e-3):
        for _ in range(20):
            direction = rng.normal(size=packed.size)
            other = model.unpack(packed + size * direction / np.linalg.norm(direction))
            assert value(other) <= top + 1e-10 * (1 + abs(top))


def gradient(function, at, step=1e-5):
    """Central differences of a function of a vector."""
    columns = []
    for i in range(at.size):
        shift = np.zeros_like(at)
        shift[i] = step
        columns.append((function(at + shift) - function(at - shift)) / (2 * step))
    return np.array(columns)


def test_score_is_the_gradient_of_q_at_its_own_point(case):
    """Fisher's identity: an E-step that drops a term, or a Q that is not its own, breaks it."""
    if not case.smooth:
        pytest.skip("the likelihood has corners")
    model, source = case.model, case.source(1)
    params = inner(case)
    packed = model.pack(params)
    stats = total_stats(model, source, params)
    score = gradient(lambda v: total_stats(model, source, model.unpack(v)).loglik, packed)
    from_q = gradient(lambda v: model.expected_loglik(stats, model.unpack(v)), packed)
    assert np.abs(score).max() > 1e-4, "the case is at a stationary point: nothing is tested"
    np.testing.assert_allclose(from_q, score, rtol=1e-5, atol=1e-5 * np.abs(score).max())


def hessian(function, at, step=1e-3):
    """Second differences of a function of a vector, fourth order along each axis pair."""
    offsets, factors = (-2, -1, 1, 2), (1 / 12, -8 / 12, 8 / 12, -1 / 12)

    def slope(vector):
        shifts = np.eye(at.size) * step
        return np.array(
            [sum(f * function(vector + o * s) for o, f in zip(offsets, factors, strict=True)) for s in shifts]
        )

    shifts = np.eye(at.size) * step
    rows = [sum(f * slope(at + o * s) for o, f in zip(offsets, factors, strict=True)) for s in shifts]
    result = np.array(rows) / step**2
    return (result + result.T) / 2


def test_standard_errors_are_those_of_the_numerical_hessian(case):
    """The certificate never sees the likelihood: it works from Q and the score alone."""
    if not case.smooth:
        pytest.skip("the likelihood has corners")
    model, source = case.model, case.source(1)
    params = fit(model, source, starts=3, tol=1e-10, max_passes=5000, seed=1).params
    packed = model.pack(params)
    if packed.size > LARGEST_CHECKED:
        pytest.skip(f"{packed.size} parameters: the double differences take too long")
    certificate = certify(model, source, params)
    if certificate.n_held:
        pytest.skip("the maximum lies at an edge")
    assert certificate.kind == "maximum"

    def objective(vector):
        at = model.unpack(vector)
        return total_stats(model, source, at).loglik + model.log_prior(at)

    covariance = np.linalg.inv(-hessian(objective, packed))
    for name, value in model.natural(params).items():
        rows = gradient(lambda v, name=name: np.ravel(model.natural(model.unpack(v))[name]), packed).reshape(
            packed.size, -1
        )
        expected = np.sqrt(np.maximum(np.einsum("pi,pq,qi->i", rows, covariance, rows), 0.0))
        errors = np.ravel(certificate.standard_errors[name])
        free = np.isfinite(errors)
        np.testing.assert_allclose(errors[free], expected[free], rtol=2e-3, err_msg=name)
        assert errors.shape == np.ravel(value).shape
        assert (expected[~free] < 1e-8 * expected.max(initial=1e-30)).all()
    complete = -hessian(lambda v: q_plus_prior(model, total_stats(model, source, params), v), packed)
    missing = np.linalg.eigvals(np.eye(packed.size) - np.linalg.solve(complete, np.linalg.inv(covariance)))
    assert certificate.rate == pytest.approx(missing.real.max(), abs=2e-3)
    assert certificate.gap < 1e-6


def q_plus_prior(model, stats, vector):
    at = model.unpack(vector)
    return model.expected_loglik(stats, at) + model.log_prior(at)


def test_pack_and_unpack_are_inverse(case):
    params = inner(case)
    packed = case.model.pack(params)
    assert packed.ndim == 1
    assert packed.dtype == np.float64
    again = case.model.pack(case.model.unpack(packed))
    np.testing.assert_allclose(again, packed, rtol=1e-9, atol=1e-9)
    source = case.source(1)
    one = total_stats(case.model, source, params).loglik
    assert total_stats(case.model, source, case.model.unpack(packed)).loglik == pytest.approx(one, rel=1e-10)


def test_weights_equal_replication(case):
    if case.weighted is None or case.replicated is None:
        pytest.skip("the model takes no weights")
    params = inner(case)
    for assign in case.assigns:
        one = total_stats(case.model, case.weighted(), params, assign)
        assert_same_stats(one, total_stats(case.model, case.replicated(), params, assign), rtol=1e-11)


def test_canonical_order_is_the_same_distribution_and_stays(case):
    params = inner(case)
    ordered = case.model.canonical(params)
    source = case.source(1)
    loglik = total_stats(case.model, source, params).loglik
    assert total_stats(case.model, source, ordered).loglik == pytest.approx(loglik, rel=1e-12)
    np.testing.assert_array_equal(case.model.pack(case.model.canonical(ordered)), case.model.pack(ordered))


def test_threads_do_not_change_a_bit(case):
    params = inner(case)
    source = case.source(4)
    alone = total_stats(case.model, source, params, chunk_map=in_turn)
    with workers(3) as pool:
        together = total_stats(case.model, source, params, chunk_map=pool)
    for a, b in zip(numbers(alone), numbers(together), strict=True):
        np.testing.assert_array_equal(a, b)


def test_starts_depend_on_the_seed_alone(case):
    source = case.source(1)
    for strategy in case.model.strategies:
        one, two = (case.model.initial_params(source, np.random.default_rng(5), strategy) for _ in range(2))
        np.testing.assert_array_equal(case.model.pack(one), case.model.pack(two))


def test_fit_reports_the_number_of_its_parameters(case):
    for assign in case.assigns:
        result = fit(case.model, case.source(1), starts=2, assign=assign, seed=3, max_passes=400)
        assert result.status in (Status.CONVERGED, Status.BUDGET)
        stats = total_stats(case.model, case.source(1), result.params, assign)
        assert stats.loglik == pytest.approx(result.loglik, rel=1e-11)
        assert result.objective == pytest.approx(result.loglik + case.model.log_prior(result.params), rel=1e-11)
        assert result.trace[-1].restart == 1
        assert len(result.starts) == 2


def test_names_and_hyperparameters_go_into_json(case):
    params = inner(case)
    assert case.model.name
    natural = case.model.natural(params)
    assert natural
    assert all(np.isfinite(np.asarray(v)).all() for v in natural.values())
    json.dumps(plain({**dict(case.model.hyperparameters), **natural}), allow_nan=False)


def test_a_wrong_statistic_is_noticed(case):
    """Negative control: the identity fails when the entropy is off by a thousandth."""
    params = inner(case)
    stats = total_stats(case.model, case.source(1), params)
    spoiled = replace(stats, entropy=stats.entropy + 1e-3 * (1 + abs(stats.loglik)))
    assert spoiled.loglik != pytest.approx(
        case.model.expected_loglik(spoiled, params) + spoiled.entropy, rel=1e-11, abs=1e-11
    )

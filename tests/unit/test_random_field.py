"""The random field against enumeration, against the plain mixture, and on what it was made for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.chunks import ArraySource, ListSource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.kernels.field import grid, illumination, whole
from emtools.models.mixture import GaussianMixture, MixtureParams
from emtools.models.random_field import FieldParams, Plane, RandomField

PLAIN = {"accelerate": False, "look": False, "certificate": False}


def fitted(model: RandomField, *planes: Plane, **more: object) -> Fit:
    return fit(model, ListSource(planes, len(planes)), **(PLAIN | more))


def scene(shape: tuple[int, int] = (60, 80), seed: int = 0) -> tuple[Floats, Floats, np.ndarray]:
    """Discs of mean 2 on a ground of mean 0, noise 0.7, darker below: values, gain and truth."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    truth = sum((rows - i) ** 2 + (columns - j) ** 2 < 60 for i in (12, 34, 50) for j in (12, 36, 64)) > 0
    gain = illumination(np.array([-0.2, 0.1, -0.15, 0.0, 0.0]), *grid(*shape))
    return 2.0 * gain * truth + np.random.default_rng(seed).normal(0.0, 0.7, shape), gain, truth


def enumerated(values: Floats, params: FieldParams, coupling: float) -> tuple[float, float]:
    """Log-likelihood of a small image by all its labellings, and the log of the constant of the prior."""
    joint, prior = [], []
    n_classes, (n_rows, n_columns) = len(params.means), values.shape
    variance = params.variances[0]
    for labels in product(range(n_classes), repeat=values.size):
        z = np.array(labels).reshape(values.shape)
        agreement = (z[1:] == z[:-1]).sum() + (z[:, 1:] == z[:, :-1]).sum()
        mean = params.means[z, 0] * illumination(params.bends[0], *grid(n_rows, n_columns))
        density = -0.5 * ((values - mean) ** 2 / variance + np.log(2.0 * np.pi * variance)).sum()
        prior.append(coupling * agreement)
        joint.append(prior[-1] + density)
    log_z = float(np.logaddexp.reduce(prior))
    return float(np.logaddexp.reduce(joint)) - log_z, log_z


@pytest.mark.parametrize("coupling", [0.0, 0.6, 1.0])
def test_bound_is_below_the_likelihood_and_climbs(coupling: float) -> None:
    values = np.array([[0.1, 0.4, 2.2], [-0.3, 1.6, 1.9], [0.2, 1.1, 2.4]])
    model = RandomField(2, 1, coupling)
    found = fitted(model, Plane(values[None]), max_passes=40, tol=1e-9)
    climbed = np.diff([row.objective for row in found.trace])
    assert (climbed > -1e-9).all()
    assert climbed[0] > 1e-3
    loglik, log_z = enumerated(values, found.params, coupling)
    bound = found.loglik - log_z
    assert bound <= loglik + 1e-9
    assert loglik - bound < 1.0, "of nine pixels"
    if coupling == 0.0:
        assert bound == pytest.approx(loglik, abs=1e-9)


def test_objective_is_the_bound_of_its_own_shares() -> None:
    values, _, _ = scene()
    model = RandomField(2, 1)
    params = model.initial_params(ListSource([Plane(values[None])], 1), np.random.default_rng(0), "quantiles")
    stats = model.e_step(params, Plane(values[None]))
    shares = whole(stats.memory.shares[0], values.shape[1]).astype(np.float64)
    shares /= shares.sum(axis=0)
    agreement = (shares[:, 1:] * shares[:, :-1]).sum() + (shares[:, :, 1:] * shares[:, :, :-1]).sum()
    logs = np.log(np.where(shares > 0.0, shares, 1.0))
    wanted = (shares * (model.log_density(params, Plane(values[None])) - logs)).sum() + model.coupling * agreement
    assert stats.loglik == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("lit", "known"), [(True, None), (False, None), (True, (0.0, 1.0, 2.5)), (False, (0.0, 1.0, 2.5))]
)
def test_m_step_is_the_top_of_q(lit: bool, known: tuple[float, ...] | None) -> None:
    values, _, _ = scene()
    plane = Plane(np.stack([values, np.random.default_rng(1).normal(values, 0.3)]))
    model = RandomField(3, 2, lit=lit, order_by=1, known_means=known)
    params = model.initial_params(ListSource([plane], 1), np.random.default_rng(0), "quantiles")
    stats = model.e_step(params, plane)
    best = model.m_step(stats, params)
    packed, top = model.pack(best), model.expected_loglik(stats, best) + model.log_prior(best)
    assert len(packed) == model.n_free_parameters
    assert known is None or best.means[:, 1].tolist() == list(known)
    np.testing.assert_allclose(model.unpack(packed).means, best.means, rtol=1e-15)
    assert top > model.expected_loglik(stats, params) + model.log_prior(params)
    for i in range(len(packed)):
        for step in (1e-4, -1e-4):
            moved = packed.copy()
            moved[i] += step
            at = model.unpack(moved)
            assert model.expected_loglik(stats, at) + model.log_prior(at) < top


def test_given_neighbours_and_no_illumination_are_the_plain_mixture() -> None:
    values = scene()[0]
    model, mixture = RandomField(2, 1, lit=False), GaussianMixture(2, 1, "tied", equal_weights=True, order_by=0)
    plane = Plane(values[None], given=np.full((2, *values.shape), np.log(0.5)))
    params = fitted(model, plane, tol=1e-9).params
    same = MixtureParams(np.full(2, 0.5), params.means, params.variances[:, None])
    ours = certify(model, ListSource([plane], 1), params)
    theirs = certify(mixture, ArraySource(values.ravel()[:, None]), same)
    assert ours.kind == theirs.kind == "maximum"
    np.testing.assert_allclose(ours.standard_errors["means"], theirs.standard_errors["means"], rtol=1e-5)
    np.testing.assert_allclose(ours.standard_errors["variances"], theirs.standard_errors["covariances"][0], rtol=1e-5)
    stats = model.e_step(params, plane)
    assert stats.loglik == pytest.approx(mixture.e_step(same, ArraySource(values.ravel()).chunk(0)).loglik, rel=1e-10)


def test_end_of_the_climb_is_the_top_given_the_neighbours() -> None:
    values, gain, truth = scene()
    model, plane = RandomField(2, 1), Plane(values[None])
    found = fitted(model, plane)
    assert found.converged
    certificate = certify(model, ListSource([model.neighbours(found.params.memory, plane)], 1), found.params)
    assert certificate.kind == "maximum"
    assert certificate.gap < 1e-6
    fitted_gain = model.gains(found.params, plane)[0]
    scale = found.params.means[1, 0] / 2.0
    assert np.abs(fitted_gain * scale - gain)[truth].max() < 0.15
    shares = whole(found.params.memory.shares[0], values.shape[1])
    alone = (np.abs(values) > np.abs(values - 2.0 * gain)) != truth
    assert ((shares[1] > 0.5) != truth).mean() < 0.5 * alone.mean(), "neighbours halve the errors of the best threshold"


def test_images_of_a_batch_share_their_classes() -> None:
    planes = [Plane(scene(seed=i)[0][None], number=i) for i in range(3)]
    found = fitted(RandomField(2, 1), *planes)
    assert sorted(found.params.memory.shares) == [0, 1, 2]
    again = fitted(RandomField(2, 1), *planes, threads=2)
    np.testing.assert_array_equal(found.params.means, again.params.means)
    for i in range(3):
        np.testing.assert_array_equal(found.params.memory.shares[i], again.params.memory.shares[i])


def test_classes_ascend_and_keep_their_shares() -> None:
    params = FieldParams(np.array([[2.0], [1.0]]), np.ones(1), np.zeros((1, 5)))
    values = scene()[0]
    model = RandomField(2, 1)
    stats = model.e_step(params, Plane(values[None]))
    ordered = model.canonical(model.m_step(stats, params))
    assert ordered.means[0, 0] < ordered.means[1, 0]
    np.testing.assert_array_equal(ordered.memory.shares[0][:, 0], stats.memory.shares[0][:, 1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"coupling": 2.0}, "one class takes the whole image"),
        ({"n_components": 1}, "two classes"),
        ({"order_by": 1}, "0 to 0"),
        ({"known_means": (1.0, 0.0)}, "2, ascending"),
        ({"known_means": (0.0, 1.0, 2.0)}, "2, ascending"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RandomField(**({"n_components": 2, "n_channels": 1} | arguments))

"""M-steps and unconstrained vectors of the fourteen covariance families, against differences of their objective."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.kernels import covariance_families as families


def problem(code, k, d, seed=0):
    """Scatters and divisors in the layout of a family, and covariances to start from."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, d, 2 * d))
    counts = rng.uniform(10.0, 40.0, size=k)
    full = root @ root.transpose(0, 2, 1) * counts[:, None, None]
    match families.LAYOUTS[code]:
        case "tied":
            return full.sum(axis=0), np.asarray(counts.sum()), np.eye(d)
        case "full":
            return full, counts, np.repeat(np.eye(d)[None], k, axis=0)
        case "diagonal":
            return np.einsum("kii->ki", full), counts, np.ones((k, d))
    return np.trace(full, axis1=1, axis2=2), counts * d, np.ones(k)


def objective(code, scatters, divisors, vector, k, d):
    covariances = families.unpack(code, vector, k, d)
    if covariances.ndim >= 2 and families.LAYOUTS[code] in ("full", "tied"):
        ratio = np.linalg.solve(covariances, scatters)
        logs = np.linalg.slogdet(covariances)[1]
        return -0.5 * ((divisors * logs).sum() + np.trace(ratio, axis1=-2, axis2=-1).sum())
    weights = divisors[:, None] if covariances.ndim == 2 else divisors
    return -0.5 * ((weights * np.log(covariances)).sum() + (scatters / covariances).sum())


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("code", families.LAYOUTS)
def test_the_m_step_is_stationary_and_packs_into_its_free_numbers(code, k, d):
    scatters, divisors, before = problem(code, k, d)
    found = families.maximise(code, scatters, divisors, before)
    vector = families.pack(code, found)
    assert vector.size == families.n_free(code, k, d)
    np.testing.assert_allclose(families.unpack(code, vector, k, d), found, rtol=0.0, atol=1e-11 * np.abs(found).max())
    step = 1e-5 * np.eye(vector.size)
    values = [objective(code, scatters, divisors, vector + s * e, k, d) for e in step for s in (1.0, -1.0)]
    slopes = np.diff(np.reshape(values, (-1, 2)), axis=1) / 2e-5
    np.testing.assert_allclose(slopes, 0.0, atol=1e-5)


@pytest.mark.parametrize("code", families.LAYOUTS)
def test_any_vector_is_a_member(code):
    vector = np.random.default_rng(3).normal(size=families.n_free(code, 3, 4))
    made = families.unpack(code, vector, 3, 4)
    again = families.unpack(code, families.pack(code, made), 3, 4)
    np.testing.assert_allclose(again, made, rtol=0.0, atol=1e-11 * np.abs(made).max())


@pytest.mark.parametrize("code", ["VEE", "EVE", "VVE", "EEV", "VEV", "EVV"])
def test_families_are_nested_in_the_full_one(code):
    scatters, divisors, before = problem(code, 3, 4)
    top = np.linalg.slogdet(families.maximise("VVV", scatters, divisors, before))[1] @ divisors
    found = families.maximise(code, scatters, divisors, before)
    assert np.linalg.slogdet(found)[1] @ divisors > top

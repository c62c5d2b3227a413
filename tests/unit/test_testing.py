"""`check_model`: what it derives from data, what it says of sound models, and of broken ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from emtools import CategoricalHMM, GaussianMixture, InputError, check_model
from emtools.engine.chunks import ArraySource, ListSource, Rows, SequenceSource
from emtools.models.mixture import MixtureParams
from emtools.testing import EXAMINATIONS, ModelError, derive

FAST = tuple(name for name in EXAMINATIONS if name not in ("errors", "sampled", "ascent"))


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(2)
    return np.concatenate([rng.normal(size=(30, 1)), 3.0 + 0.7 * rng.normal(size=(20, 1))])


class Sound(GaussianMixture):
    """At module level, so that it can be pickled."""


class WrongMStep(GaussianMixture):
    def m_step(self, stats, params):
        after = super().m_step(stats, params)
        return MixtureParams(after.weights, after.means + 0.02, after.covariances)


class WrongEntropy(GaussianMixture):
    def e_step(self, params, chunk, assign="soft"):
        stats = super().e_step(params, chunk, assign)
        return replace(stats, entropy=1.001 * stats.entropy)


class Unweighted(GaussianMixture):
    def e_step(self, params, chunk, assign="soft"):
        return super().e_step(params, replace(chunk, weights=np.ones(len(chunk.values))), assign)


class WrongResponsibilities(GaussianMixture):
    def log_joint(self, params, values):
        return super().log_joint(params, values) * 1.01

    def compiled(self, params, chunk, assign):
        raise NotImplementedError


class InPlace(GaussianMixture):
    def m_step(self, stats, params):
        after = super().m_step(stats, params)
        params.means[:] = after.means
        return after


class Raises(GaussianMixture):
    def canonical(self, params):
        raise ZeroDivisionError("no order")


@dataclass
class Loose:
    """Parameters that are not frozen."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class NotFrozen(GaussianMixture):
    def initial_params(self, data, rng, strategy):
        params = super().initial_params(data, rng, strategy)
        return Loose(params.weights, params.means, params.covariances)


def test_a_sound_model_keeps_every_promise(values):
    report = check_model(Sound(2, 1), values)
    assert report.broken == ()
    assert str(report).startswith("gaussian_mixture: 20 promises kept, 0 broken")


@pytest.mark.parametrize(
    ("model", "broken", "place"),
    [
        (WrongMStep(2, 1), "top", "the M-step"),
        (WrongEntropy(2, 1), "identity", "loglik or entropy of the E-step"),
        (Unweighted(2, 1), "weights", "weights out of a statistic"),
        (InPlace(2, 1), "pure", "changes its arguments"),
        (NotFrozen(2, 1), "frozen", "not a frozen dataclass"),
    ],
)
def test_a_defect_is_named_with_its_place(values, model, broken, place):
    with pytest.raises(ModelError) as caught:
        check_model(model, values, only=FAST)
    assert broken in caught.value.report.broken
    headline = str(caught.value).splitlines()[1]
    assert place in headline
    assert EXAMINATIONS[broken].promise in str(caught.value)


def test_what_a_model_raises_is_a_finding(values):
    with pytest.raises(ModelError, match="raised ZeroDivisionError: no order"):
        check_model(Raises(2, 1), values, only=("canonical", "pack"))
    with pytest.raises(ModelError, match="raised NotImplementedError"):
        check_model(WrongResponsibilities(2, 1), values, only=("identity",))


def test_a_generalised_m_step_need_not_be_the_top(values):
    class Half(GaussianMixture):
        def m_step(self, stats, params):
            after = super().m_step(stats, params)
            return MixtureParams(params.weights, after.means, params.covariances)

    with pytest.raises(ModelError):
        check_model(Half(2, 1, "tied"), values, only=("top",))
    assert check_model(Half(2, 1, "tied"), values, only=("top",), maximises=False).broken == ()


def test_an_unknown_examination_is_refused(values):
    with pytest.raises(InputError, match="examination 'speed'"):
        check_model(Sound(2, 1), values, only=("speed",))


def test_what_is_derived_from_rows(values):
    whole, split, weighted, replicated = derive(ArraySource(values, np.full(50, 0.5), chunk_rows=7))
    assert (whole.n_chunks, split.n_chunks) == (1, 4)
    assert weighted.weights.min() == 0.0
    assert weighted.weights.sum() == replicated.weights.sum()
    np.testing.assert_array_equal(np.unique(replicated.weights), [0.5])


def test_what_is_derived_from_sequences_and_from_chunks_of_unknown_kind(values):
    sequences = [np.array([0, 1, 2, 1], dtype=np.uint8)[:n] for n in (4, 2, 3, 4, 1, 4)]
    whole, split, weighted, replicated = derive(SequenceSource(sequences))
    assert whole.n_chunks == 1 < split.n_chunks
    assert weighted.weights.sum() == replicated.n_units
    source = ListSource(["a", "b"], 2)
    assert derive(source) == (source, source, None, None)
    assert check_model(CategoricalHMM(2, 3), SequenceSource(sequences), only=("additive", "weights")).broken == ()


def test_too_little_data_leaves_promises_unexamined():
    report = check_model(
        Sound(1, 1), ListSource([Rows(np.array([[0.0], [1.0], [3.0]]), np.ones(3))], 3), only=("weights",)
    )
    assert "no weights are given" in str(report)


@pytest.mark.parametrize(
    ("model", "said"), [(GaussianMixture, "the class GaussianMixture"), (object(), "object without name")]
)
def test_what_is_no_model_is_refused_in_one_line(values, model, said):
    with pytest.raises(InputError, match=said) as caught:
        check_model(model, values)
    assert "\n" not in str(caught.value)

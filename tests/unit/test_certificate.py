"""Standard errors, rate and gap against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from emtools.engine.certificate import Entry, Move, certify, judge
from emtools.engine.chunks import ArraySource, SequenceSource, total_stats
from emtools.engine.information import complete_information as second_derivatives
from emtools.engine.information import free_frame
from emtools.engine.result import Climb, write_verdict
from emtools.engine.spectrum import length_of
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.io.fitfile import fit_record
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.linkage import COUNTS, Linkage, LinkageParams, exact_maximum
from emtools.models.mixture import GaussianMixture, MixtureParams
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource
from emtools.report.page import Estimate, estimate_rows, show_beside, show_interval, show_value

FAITHFUL = Path(__file__).parents[1] / "reference" / "faithful.tsv"
MLE = exact_maximum(*COUNTS)


def observed_information(t):
    a, b, c, d = COUNTS
    return a / (2 + t) ** 2 + (b + c) / (1 - t) ** 2 + d / t**2


def complete_information(t):
    a, b, c, d = COUNTS
    hidden = a * t / (2 + t)
    return (hidden + d) / t**2 + (b + c) / (1 - t) ** 2


def test_rough_second_derivatives_are_those_of_the_fine_ones_to_second_order():
    """All of them: along one direction, along two, and along directions that share information."""
    rows = np.random.default_rng(0).normal(size=(60, 3)) @ np.array(
        [[1.0, 0.9, 0.0], [0.0, 1.0, -0.5], [0.0, 0.0, 2.0]]
    )
    rows[::4, 1] = np.nan
    model, source = MultivariateNormal(3), PatternSource(rows)
    found = fit(model, source, certificate=False)
    packed = model.pack(found.params)
    stats = total_stats(model, source, found.params)
    frame = free_frame(model, stats, packed)[0]
    frame = replace(frame, directions=frame.directions @ (np.eye(frame.n) + 0.3 * np.tri(frame.n)))
    fine = second_derivatives(model, stats, frame, 2e-2)
    assert (fine > 0.3).any()
    assert (fine < -0.3).any()
    np.testing.assert_allclose(second_derivatives(model, stats, frame, 2e-2, rough=True), fine, rtol=0.0, atol=5e-3)


def linkage_certificate(t):
    return certify(Linkage(), ArraySource(np.array([COUNTS])), LinkageParams(t))


def test_standard_error_is_that_of_the_observed_information():
    certificate = linkage_certificate(MLE)
    assert certificate.kind == "maximum"
    assert certificate.n_held == 0
    expected = 1 / math.sqrt(observed_information(MLE))
    assert certificate.standard_errors["probability"][0] == pytest.approx(expected, rel=1e-4)


def test_rate_is_the_missing_share_of_the_complete_information():
    expected = 1 - observed_information(MLE) / complete_information(MLE)
    assert linkage_certificate(MLE).rate == pytest.approx(expected, rel=1e-5)


def test_gap_is_the_gain_still_to_come():
    def loglik(t):
        return Linkage().e_step(LinkageParams(t), ArraySource(np.array([COUNTS])).chunk(0)).loglik

    for off in (1e-2, 1e-3, -1e-3):
        certificate = linkage_certificate(MLE + off)
        assert certificate.gap == pytest.approx(loglik(MLE) - loglik(MLE + off), rel=0.05)
    certificate = linkage_certificate(MLE + 1e-3)
    assert certificate.worst_error == pytest.approx(1e-3 * math.sqrt(observed_information(MLE)), rel=0.01)


def normal_certificate(values):
    source = PatternSource(values)
    return certify(MultivariateNormal(values.shape[1]), source, fit(MultivariateNormal(values.shape[1]), source).params)


def test_errors_do_not_depend_on_the_unit():
    values = np.random.default_rng(0).normal(size=(100, 2))
    values -= values.mean(axis=0)
    errors = [normal_certificate(values * unit).standard_errors["mean"] / unit for unit in (1e-4, 1.0, 1e4)]
    np.testing.assert_allclose(errors[0], values.std(axis=0) / 10.0, rtol=1e-5)
    np.testing.assert_allclose(errors[1:], [errors[0]] * 2, rtol=1e-6)


@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_collinear_columns_keep_their_standard_errors(noise):
    rng = np.random.default_rng(0)
    first = rng.normal(size=200)
    values = np.column_stack([first, first + noise * rng.normal(size=200), rng.normal(size=200)])
    certificate = normal_certificate(values)
    assert certificate.kind == "maximum"
    np.testing.assert_allclose(certificate.standard_errors["mean"], values.std(axis=0) / 200**0.5, rtol=1e-4)


def test_what_was_never_observed_together_has_no_standard_error():
    values = np.random.default_rng(2).multivariate_normal([5, 5, 5], np.eye(3) / 2 + 0.5, size=300)
    values[:150, 1] = values[150:, 2] = np.nan
    certificate = normal_certificate(values)
    assert certificate.kind == "flat"
    errors = certificate.standard_errors["covariance"]
    assert np.isnan(errors[1, 2])
    assert np.isfinite(np.delete(errors.ravel(), [5, 7])).all()


def test_a_climb_that_ends_on_a_saddle_has_not_converged():
    rng = np.random.default_rng(3)
    source = SequenceSource([rng.integers(3, size=50).astype(np.uint8) for _ in range(10)])
    model = CategoricalHMM(2, 3)
    start = HMMParams(np.full(2, 0.5), np.full((2, 2), 0.5), np.full((2, 3), 1 / 3))
    saddle = start
    for _ in range(5):
        saddle = model.m_step(total_stats(model, source, saddle), saddle)
    climbed = fit(model, source, init=[start])
    certificate = certify(model, source, saddle)
    assert certificate.kind == "saddle"
    assert certificate.rate > 1.01
    judged = judge(climbed, certificate)
    assert judged.status is Status.SADDLE
    assert not judged.converged
    assert "saddle" in judged.verdict


def test_a_verdict_tells_what_is_left_once_and_by_the_score():
    rng = np.random.default_rng(2)
    values = np.vstack((rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 4.0))
    source = ArraySource(values)
    done = fit(GaussianMixture(2, 2), source, starts=2, seed=1)
    assert done.verdict.count("nats") == 1
    assert f"By the score, {done.certificate.gap:.1e} nats" in done.verdict
    numbers = done.loglik, done.objective, math.inf, done.rate
    ended = Climb(0, done.params, done.stats, Status.BUDGET, "", *numbers, done.trace)
    told = write_verdict(ended, done.starts)
    short = replace(done, status=Status.BUDGET, verdict=told, summary=told)
    judged = judge(short, done.certificate)
    assert judged.status is Status.BUDGET
    assert f"was reached with {done.certificate.gap:.1e} nats left by the score; raise" in judged.verdict
    away = replace(done.certificate, kind="climbing", gap=0.73)
    assert "was reached with about 0.73 nats left by the score; raise" in judge(short, away).verdict
    rough = replace(away, method="krylov estimate")
    assert "was reached with about 0.73 nats left by the score (an estimate); raise" in judge(short, rough).verdict
    for unseen in (replace(away, gap=math.nan), replace(away, kind="saddle")):
        assert "an unknown number of nats left" in judge(short, unseen).verdict


def test_what_is_left_far_from_the_top_is_in_the_verdict_and_in_the_file_and_true():
    rng = np.random.default_rng(0)
    source = ArraySource(np.vstack((rng.normal(size=(100, 2)), rng.normal(size=(60, 2)) + 2.0)))
    model = GaussianMixture(2, 2)
    begun = [fit(model, source, starts=1, max_passes=1, certificate=False).params]
    top = fit(model, source, init=begun, tol=1e-9, certificate=False)
    short = fit(model, source, init=begun, max_passes=20)
    assert short.certificate.kind == "climbing"
    record = fit_record(short, branch="deconvolve", inputs=[], command=[])
    assert record["gap"] == short.certificate.gap == pytest.approx(top.objective - short.objective, rel=0.02)
    assert f"with about {record['gap']:.2g} nats left by the score" in record["verdict"]


def test_a_held_zero_has_no_standard_error():
    codes = [np.array([0, 1, 0, 1, 1, 0, 0, 1, 2, 0] * 5, dtype=np.uint8)]
    source = SequenceSource(codes)
    model = CategoricalHMM(1, 4)
    certificate = certify(model, source, fit(model, source).params)
    emission = certificate.standard_errors["emission"][0]
    shares = np.array([25, 20, 5]) / 50
    np.testing.assert_allclose(emission[:3], np.sqrt(shares * (1 - shares) / 50), rtol=1e-4)
    assert np.isnan(emission[3])
    assert certificate.n_held == 1
    assert certificate.kind == "boundary"
    assert [entry.called() for entry in certificate.held] == ["emission [1, 4]"]
    assert "Held fixed at the edge of its range: emission [1, 4]." in certificate.sentence


def test_errors_and_spectrum_against_closed_forms_to_nine_digits():
    certificate = linkage_certificate(MLE)
    observed, complete = observed_information(MLE), complete_information(MLE)
    missing = 1 - observed / complete
    assert certificate.rate == pytest.approx(missing, rel=0, abs=1e-9)
    np.testing.assert_allclose(certificate.spectrum, [missing], rtol=0, atol=1e-9)
    np.testing.assert_allclose(certificate.standard_errors["probability"], observed**-0.5, rtol=1e-9, atol=0)
    np.testing.assert_allclose(certificate.complete_errors["probability"], complete**-0.5, rtol=1e-9, atol=0)
    np.testing.assert_allclose(certificate.missing["probability"], missing, rtol=0, atol=1e-9)
    assert certificate.passes == 5


def test_intervals_stay_in_the_range_of_their_parameter():
    certificate = linkage_certificate(MLE)
    assert certificate.scale["probability"].tolist() == ["log odds"]
    half = 1.959963984540054 / math.sqrt(observed_information(MLE)) / (MLE * (1 - MLE))
    odds = math.log(MLE / (1 - MLE))
    expected = [1 / (1 + math.exp(-(odds + side * half))) for side in (-1, 1)]
    ends = [certificate.lower["probability"][0], certificate.upper["probability"][0]]
    np.testing.assert_allclose(ends, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_scales_of_a_mixture_are_seen_in_any_unit(unit):
    values = np.loadtxt(FAITHFUL, skiprows=1) * unit
    model, source = GaussianMixture(2, 2), ArraySource(values)
    params = fit(model, source, starts=2, seed=1, certificate=False).params
    scale = certify(model, source, params).scale
    assert (scale["weights"] == "log odds").all()
    assert (scale["means"] == "value").all()
    assert (np.diagonal(scale["covariances"], axis1=1, axis2=2) == "log").all()
    assert (scale["covariances"][:, 0, 1] == "value").all()


def gaps(model, source, params, passes):
    """True gain still to come, and the certificate, along a plain climb."""
    path = [params]
    for _ in range(5000):
        path.append(model.m_step(total_stats(model, source, path[-1]), path[-1]))
    heights = [total_stats(model, source, path[i]).loglik for i in (*passes, -1)]
    return [(heights[-1] - height, certify(model, source, path[i])) for i, height in zip(passes, heights, strict=False)]


def assert_gaps_are_true(pairs):
    near = [(true, seen.gap) for true, seen in pairs if 1e-9 < true < 0.05]
    assert len(near) >= 3
    np.testing.assert_allclose([gap for _, gap in near], [true for true, _ in near], rtol=0.1, atol=0)
    assert all(seen.kind == "climbing" for true, seen in pairs if true > 0.06)
    assert all(seen.kind == "maximum" for true, seen in pairs if true < 0.04)


def test_gap_of_a_normal_with_missing_values_along_the_climb():
    values = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 2]], size=40)
    values[:10, 0] = values[10:22, 1] = np.nan
    model, source = MultivariateNormal(2), PatternSource(values)
    start = model.initial_params(source, np.random.default_rng(0), "moments")
    assert_gaps_are_true(gaps(model, source, start, (0, 1, 2, 3, 5, 8, 12)))


def test_gap_of_overlapping_components_along_the_climb():
    values = np.concatenate([np.random.default_rng(0).normal(centre, 1.0, size=150) for centre in (0.0, 2.5)])
    model, source = GaussianMixture(2, 1), ArraySource(values)
    start = MixtureParams(np.array([0.6, 0.4]), np.array([[-0.5], [3.0]]), np.array([[[1.0]], [[1.0]]]))
    assert_gaps_are_true(gaps(model, source, start, (0, 20, 120, 160, 200, 240, 300, 400)))


def test_two_components_made_equal_are_flat_and_named():
    source = ArraySource(np.loadtxt(FAITHFUL, skiprows=1))
    one = fit(GaussianMixture(1, 2, "tied"), source).params
    double = MixtureParams(np.array([0.7, 0.3]), np.repeat(one.means, 2, axis=0), one.covariances)
    certificate = certify(GaussianMixture(2, 2, "tied"), source, double)
    assert certificate.kind == "flat"
    np.testing.assert_allclose(certificate.spectrum[:3], 1.0, rtol=0, atol=1e-7)
    named = {entry.name for entry in certificate.flat}
    assert named == {"weights", "means"}
    assert "Not identified by these data: weights [1], weights [2], means [1, 1] and 3 more." in certificate.sentence
    assert np.isnan(certificate.standard_errors["weights"]).all()
    assert np.isfinite(certificate.standard_errors["covariances"]).all()


def test_a_saddle_says_which_way_is_up():
    """One normal split in two: along the first axis the data have two humps, and the rate is above 1."""
    values = np.column_stack([np.repeat([-1.0, 1.0], 50), np.tile([-1.0, 0.0, 1.0, 0.0], 25)])
    values += 0.3 * np.random.default_rng(0).normal(size=values.shape)
    values = np.concatenate([values, -values])
    source, model = ArraySource(values), GaussianMixture(2, 2, "spherical")
    one = fit(GaussianMixture(1, 2, "spherical"), source).params
    split = MixtureParams(np.full(2, 0.5), np.repeat(one.means, 2, axis=0), np.repeat(one.covariances, 2))
    certificate = certify(model, source, split)
    assert certificate.kind == "saddle"
    # Without skewness the two means part by the variance along the principal axis over that of the model at each pass.
    expected = np.linalg.eigvalsh(np.cov(values.T, bias=True))[-1] / one.covariances[0]
    assert certificate.rate == pytest.approx(expected, rel=1e-7)
    assert {(move.name, move.index[1]) for move in certificate.direction} == {("means", 0)}
    assert "means [1, 1] against means [2, 1]" in certificate.sentence
    heights = []
    for step in (0.0, 0.3):
        moved = model.unpack(model.pack(split) + step * certificate.along)
        heights.append(total_stats(model, source, moved).loglik)
    assert heights[1] > heights[0] + 0.01


def test_labels_name_the_direction():
    entry = Move("means", (0, 1), 1.0)
    assert entry.called({"means": [["blast", "mono"], ["CRP", "IL6"]]}) == "means [blast, IL6]"
    assert Entry("location", ()).called() == "location"


@cache
def crowded():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(size=(150, 2)) @ rng.normal(size=(2, 2)) + 2 * rng.normal(size=2) for _ in "abc"]
    )
    model, source = GaussianMixture(3, 2), ArraySource(values, chunk_rows=120)
    return model, source, fit(model, source, starts=3, seed=1, tol=1e-8, certificate=False).params


def test_the_estimate_for_many_parameters_is_near_the_certificate_and_says_so():
    model, source, params = crowded()
    exact, guess = certify(model, source, params), certify(model, source, params, limit=0)
    assert exact.method == "observed information"
    assert guess.method == "krylov estimate"
    assert "an estimate" in guess.sentence
    assert guess.kind == exact.kind == "maximum"
    assert guess.passes <= 34 < exact.passes
    assert guess.rate == pytest.approx(exact.rate, abs=0.01)
    for name, errors in exact.standard_errors.items():
        np.testing.assert_allclose(guess.complete_errors[name], exact.complete_errors[name], rtol=1e-2, atol=0)
        np.testing.assert_allclose(guess.standard_errors[name], errors, rtol=0.15, atol=0)
        assert np.abs(guess.standard_errors[name] / errors - 1).max() < (errors / exact.complete_errors[name]).max() - 1
    again = certify(model, source, params, limit=0)
    np.testing.assert_array_equal(again.standard_errors["means"], guess.standard_errors["means"])


def test_what_lies_outside_of_the_subspace_is_inflated_too(monkeypatch):
    """Without the inflation the mean ratio is 0.83; one estimate rests on a few probes, so five are averaged."""
    monkeypatch.setattr("emtools.engine.estimate.KEPT", 1)
    model, source, params = crowded()
    exact, packed = certify(model, source, params), model.pack(params)
    ratios = []
    for seed in range(5):
        nearby = packed * (1.0 + 1e-13 * np.random.default_rng(seed).normal(size=packed.size))
        guess = certify(model, source, model.unpack(nearby), limit=0)
        ratios += [np.ravel(guess.standard_errors[n] / error) for n, error in exact.standard_errors.items()]
    assert np.concatenate(ratios).mean() == pytest.approx(1.0, abs=0.05)


def test_the_estimate_of_the_gap_and_of_a_saddle():
    model, source, params = crowded()
    packed = model.pack(params)
    off = model.unpack(packed + 0.001)
    exact, guess = certify(model, source, off), certify(model, source, off, limit=0)
    assert 1e-4 < exact.gap < 0.05
    assert guess.gap == pytest.approx(exact.gap, rel=0.1)
    one = fit(GaussianMixture(1, 2), source).params
    split = MixtureParams(np.full(3, 1 / 3), np.repeat(one.means, 3, axis=0), np.repeat(one.covariances, 3, axis=0))
    exact, guess = certify(model, source, split), certify(model, source, split, limit=0)
    assert exact.kind == guess.kind == "saddle"
    assert guess.rate == pytest.approx(exact.rate, rel=0.01)


def test_a_model_too_large_for_errors_still_has_its_rate(monkeypatch):
    monkeypatch.setattr("emtools.engine.certificate.MOST", 5)
    model, source, params = crowded()
    certificate = certify(model, source, params)
    assert certificate.method == "krylov estimate"
    assert np.isnan(certificate.standard_errors["means"]).all()
    assert certificate.rate == pytest.approx(certify(model, source, params, limit=0).rate, abs=0.02)


class WrongScatter(MultivariateNormal):
    """An E-step that believes half of the covariance: its statistics are not the expectation of its Q."""

    def e_step(self, params, chunk, assign="soft"):
        weaker = params.covariance * (0.5 + 0.5 * np.eye(len(params.mean)))
        return super().e_step(NormalParams(params.mean, weaker), chunk, assign)


def test_an_e_step_that_is_no_expectation_is_not_certified():
    values = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 2]], size=40)
    values[:10, 0] = np.nan
    source = PatternSource(values)
    params = fit(MultivariateNormal(2), source).params
    certificate = certify(WrongScatter(2), source, params)
    assert certificate.kind == "unknown"
    assert math.isnan(certificate.rate)


def test_the_record_and_the_page_hold_the_certificate():
    values = np.random.default_rng(0).multivariate_normal([5, 5], [[1, 0.6], [0.6, 2]], size=40)
    values[:10, 0] = np.nan
    model, source = MultivariateNormal(2), PatternSource(values)
    fitted = fit(model, source)
    certificate = fitted.certificate
    labels = {"mean": [["CRP", "IL6"]]}
    record = fit_record(fitted, branch="impute", inputs=[], command=[], labels=labels)
    seen = record["certificate"]
    assert (seen["kind"], seen["method"], seen["n_held"]) == ("maximum", "observed information", 0)
    assert seen["spectrum"][0] == seen["rate"] == record["rate"] == certificate.rate
    assert seen["direction"][0].keys() == {"parameter", "share"}
    assert seen["passes"] == 21
    mean = record["parameters"]["mean"]
    assert mean["interval"] == "value"
    assert record["parameters"]["covariance"]["interval"] == [["log", "value"], ["value", "log"]]
    assert mean["missing"] == certificate.missing["mean"].tolist()
    assert mean["se_complete"][0] < mean["se"][0]
    row = estimate_rows(record)[0]
    assert row.name == "mean [CRP]"
    assert (row.lower, row.upper, row.missing) == (mean["lower"][0], mean["upper"][0], mean["missing"][0])
    assert show_interval(row) == f"{row.lower:.4g} to {row.upper:.4g}"


def test_numbers_near_one_are_shown_apart():
    row = Estimate("p", 0.9998844, 6.8e-5, "probability", 0.999633, 0.999964)
    assert show_interval(row) == "0.99963 to 0.99996"
    assert show_beside(row.value, row.se) == "0.999884"
    assert show_interval(Estimate("p", 1.0, None, "probability")) == ""


@pytest.mark.parametrize("guess", [0.1, 1e-6, 1e5])
@pytest.mark.parametrize("length", [1e-9, 0.1, 3.0, 1e9])
def test_the_length_of_a_direction_is_found_in_a_few_values_of_q(length, guess):
    """Q is a parabola of that width, with rounding like that of a sum of 1e5 nats, and a wall far out."""
    asked = []

    def objective(places):
        asked.extend(places)
        return [-1e5 - 0.5 * float(x[0] / length) ** 2 if abs(x[0]) < 1e3 * length else math.nan for x in places]

    found = length_of(objective, -1e5, np.zeros(2), np.array([1.0, 0.0]), guess)
    assert found == pytest.approx(length, rel=1e-4)
    assert len(asked) <= 2 * (1 if abs(math.log10(length / guess)) <= 0.5 else 14)
    assert length_of(lambda places: [-1e5 for _ in places], -1e5, np.zeros(2), np.ones(2), guess) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(16490.3, "16490"), (12310.0, "12310"), (552.5, "552.5"), (0.001234567, "0.001235"), (2.5e7, "2.5e+07")],
)
def test_a_number_of_a_table_has_four_digits_and_no_exponent_up_to_ten_million(value, text):
    assert show_value(value) == text

"""Every fit and certificate against the 30-digit references of exact.json, which know nothing of emtools (exact.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp
from reference import exact

from emtools.engine.certificate import certify
from emtools.engine.chunks import ArraySource, SequenceSource
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.models.abo import ABO, ABOParams
from emtools.models.count_mixture import PoissonMixture, PoissonParams
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.laplace_uniform import LaplaceUniform
from emtools.models.linkage import Linkage, LinkageParams
from emtools.models.mixture import GaussianMixture, MixtureParams
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource
from emtools.models.student_t import StudentT, StudentTParams

HERE = Path(__file__).parent
EXACT = json.loads((HERE / "exact.json").read_text(encoding="utf-8"))["problems"]

LOGLIK = 1e-10  # relative
MLE = 1e-7  # standard errors
RATE = 1e-6  # absolute
ERRORS = 1e-5  # relative
GAP = 0.1  # relative, once the true gap is below `GAP_BELOW` nats
GAP_BELOW = (0.05, 1e-2, 1e-4, 1e-7)
# The hill from Murray's saddle to a maximum is 0.059 nats high in all; near its foot no quadratic tells its height.
GAP_BELOW_MURRAY = (4e-3, 1e-4, 1e-7)


@dataclass(frozen=True)
class Reference:
    """How emtools meets a problem of exact.json.

    Parameters
    ----------
    model, source : Any
        Of emtools.
    start : Any
        Parameters to start from.
    """

    model: Any
    source: Any
    start: Any


def table(name: str) -> np.ndarray:
    return np.array(EXACT[name]["data"], dtype=float)


def linkage() -> Reference:
    return Reference(Linkage(), ArraySource(table("linkage")[None]), LinkageParams(0.1))


def abo() -> Reference:
    return Reference(ABO(), ArraySource(table("abo")[None]), ABOParams(np.array([0.4, 0.4, 0.2])))


def london_times() -> Reference:
    days = table("london_times")
    start = PoissonParams(np.array([0.5, 0.5]), np.array([[0.5], [4.0]]))
    return Reference(PoissonMixture(2, 1), ArraySource(np.arange(len(days), dtype=float)[:, None], days), start)


def cauchy(expanded: bool) -> Reference:
    values = table("cauchy")
    start = StudentTParams(np.array([10.0]), np.array([[1000.0]]), 1.0)
    return Reference(StudentT(1, 1.0, expanded), ArraySource(values[:, None]), start)


def bivariate(name: str, start: NormalParams) -> Reference:
    return Reference(MultivariateNormal(2), PatternSource(table(name)), start)


def apple_crop() -> Reference:
    return bivariate("apple_crop", NormalParams(np.array([10.0, 60.0]), np.diag([50.0, 50.0])))


def murray(sign: float) -> NormalParams:
    return NormalParams(np.array([0.3, -0.2]), np.array([[1.0, 0.4 * sign], [0.4 * sign, 2.0]]))


def old_faithful() -> Reference:
    values = np.loadtxt(HERE / "faithful.tsv", skiprows=1)
    start = MixtureParams(
        np.array([0.5, 0.5]), np.array([[4.0, 75.0], [2.5, 60.0]]), np.array([np.diag([1.0, 90.0])] * 2)
    )
    return Reference(GaussianMixture(2, 2), ArraySource(values), start)


def hmm() -> Reference:
    sequences = [np.array(["ACGTN".index(letter) for letter in word], np.uint8) for word in EXACT["hmm"]["data"]]
    emission = np.array([[0.4, 0.2, 0.1, 0.3], [0.2, 0.3, 0.4, 0.1]])
    start = HMMParams(np.array([0.5, 0.5]), np.array([[0.8, 0.2], [0.2, 0.8]]), emission)
    return Reference(CategoricalHMM(2, 4), SequenceSource(sequences), start)


REFERENCES: dict[str, Callable[[], Reference]] = {
    "linkage": linkage,
    "abo": abo,
    "london_times": london_times,
    "cauchy": lambda: cauchy(False),
    "cauchy_expanded": lambda: cauchy(True),
    "apple_crop": apple_crop,
    "murray_positive": lambda: bivariate("murray_positive", murray(1.0)),
    "murray_negative": lambda: bivariate("murray_negative", murray(-1.0)),
    "old_faithful": old_faithful,
    "hmm": hmm,
}


def numbers(value: Any) -> np.ndarray:
    """Strings of exact.json as floats, NaN for none."""
    return np.array(value, dtype=object).astype(float)


@cache
def fitted(name: str) -> tuple[Reference, Any]:
    reference = REFERENCES[name]()
    top = fit(
        reference.model, reference.source, init=[reference.start], tol=1e-12, parameter_tol=1e-12, max_passes=100_000
    )
    return reference, top


@cache
def certified(name: str) -> Any:
    reference, top = fitted(name)
    return certify(reference.model, reference.source, top.params)


def deviations(name: str, natural: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest distance of each natural parameter from the reference, in its standard errors."""
    known = EXACT[name]
    away = {}
    for own, value in natural.items():
        distance = np.abs(value - numbers(known["parameters"][own]).reshape(np.shape(value)))
        errors = numbers(known["standard_errors"][own]).reshape(np.shape(value))
        away[own] = float(np.max(distance / errors))
    return away


@pytest.mark.parametrize("name", REFERENCES)
def test_log_likelihood(name):
    top = fitted(name)[1]
    assert top.converged
    assert top.loglik == pytest.approx(float(EXACT[name]["loglik"]), rel=LOGLIK, abs=0.0)


@pytest.mark.parametrize("name", REFERENCES)
def test_maximum_likelihood_estimate(name):
    reference, top = fitted(name)
    away = deviations(name, reference.model.natural(top.params))
    assert max(away.values()) < MLE, away


@pytest.mark.parametrize("name", REFERENCES)
def test_rate(name):
    assert certified(name).rate == pytest.approx(float(EXACT[name]["rate"]), rel=0.0, abs=RATE)


@pytest.mark.parametrize("name", REFERENCES)
def test_standard_errors(name):
    for own, errors in certified(name).standard_errors.items():
        known = numbers(EXACT[name]["standard_errors"][own])
        np.testing.assert_allclose(errors, known.reshape(errors.shape), rtol=ERRORS, atol=0.0, err_msg=own)


@pytest.mark.parametrize("name", REFERENCES)
def test_gap_is_the_true_gain_to_come(name):
    """Along plain EM, at the first point below each level."""
    reference, top = REFERENCES[name](), float(EXACT[name]["loglik"])
    levels = list(GAP_BELOW_MURRAY if name.startswith("murray") else GAP_BELOW)
    points = []

    def look(state: Any) -> None:
        left = top - state.point.objective
        if levels and left < levels[0]:
            points.append((left, state.point.params))
            levels[:] = [level for level in levels if level < left]

    climb(
        reference.model, reference.source, reference.start, accelerate=False, tol=1e-9, on_state=look, max_passes=9999
    )
    assert points
    for left, params in points:
        said = certify(reference.model, reference.source, params)
        assert said.gap == pytest.approx(left, rel=GAP, abs=0.0)


def test_murrays_saddle_by_its_rate():
    """Zero correlation is a fixed point; its rate is 16 / 15."""
    saddle = EXACT["murray_saddle"]
    params = NormalParams(numbers(saddle["parameters"]["mean"]), numbers(saddle["parameters"]["covariance"]))
    said = certify(MultivariateNormal(2), PatternSource(table("murray_saddle")), params)
    assert said.kind == "saddle"
    assert said.rate == pytest.approx(float(saddle["rate"]), rel=0.0, abs=RATE)
    assert float(saddle["rate"]) == pytest.approx(16 / 15, rel=1e-14)


def test_laplace_uniform():
    """Starts at pairs of bounds in the outer quarters find the profiled maximum, corners included."""
    known = EXACT["laplace_uniform"]
    model, source = LaplaceUniform(), ArraySource(table("laplace_uniform"))
    top = fit(model, source, init=model.profile_starts(source), tol=1e-12, parameter_tol=1e-12)
    assert top.loglik == pytest.approx(float(known["loglik"]), rel=LOGLIK, abs=0.0)
    for name, value in model.natural(top.params).items():
        error = known["standard_errors"][name]
        tolerance = MLE * float(error) if error else 0.0
        assert value[0] == pytest.approx(float(known["parameters"][name]), rel=0.0, abs=tolerance), name


@dataclass(frozen=True)
class HeldPlaces(LaplaceUniform):
    """Laplace + Uniform with location and bounds held: what is left, weight and scale, is smooth."""

    places: tuple[float, float, float] = (0.0, 0.0, 1.0)
    smooth = True

    def pack(self, params):
        return super().pack(params)[[0, 2]]

    def unpack(self, vector):
        location, lower, upper = self.places
        return super().unpack(np.array([vector[0], location, vector[1], lower, upper]))

    def natural(self, params):
        return {name: value for name, value in super().natural(params).items() if name in ("weight", "scale")}


def test_rate_and_errors_of_laplace_uniform_given_its_corners():
    known = EXACT["laplace_uniform"]
    places = tuple(float(known["parameters"][name]) for name in ("location", "lower", "upper"))
    model, source = HeldPlaces(places), ArraySource(table("laplace_uniform"))
    top = fit(model, source, init=[model.unpack(np.array([0.0, 2.0]))], tol=1e-12, parameter_tol=1e-12)
    said = certify(model, source, top.params)
    assert said.rate == pytest.approx(float(known["rate"]), rel=0.0, abs=RATE)
    for name, error in said.standard_errors.items():
        assert error[0] == pytest.approx(float(known["standard_errors"][name]), rel=ERRORS), name


def test_closed_forms():
    """What can be solved by hand: the linkage score is quadratic, and Murray's maxima are at a correlation of 1/2."""
    with mp.workdps(40):
        linkage = mp.mpf(EXACT["linkage"]["parameters"]["probability"])
        assert abs(linkage - (15 + mp.sqrt(53809)) / 394) < mp.mpf(10) ** -29
        size = EXACT["apple_crop"]["parameters"]["mean"][0]
        assert abs(mp.mpf(size) - mp.mpf(265) / 18) < mp.mpf(10) ** -27
    for name, sign in (("murray_positive", 1), ("murray_negative", -1)):
        covariance = EXACT[name]["parameters"]["covariance"]
        assert numbers(covariance) == pytest.approx(np.array([[8, 4 * sign], [4 * sign, 8]]) / 3, rel=1e-15)


@pytest.mark.parametrize("name", ["linkage", "abo", "cauchy", "cauchy_expanded", "murray_saddle"])
def test_the_stored_numbers_are_those_of_the_script(name):
    with mp.workdps(exact.DIGITS):
        again = exact.solve(exact.PROBLEMS[name]())
    assert {key: again[key] for key in ("loglik", "rate", "parameters", "standard_errors")} == {
        key: EXACT[name][key] for key in ("loglik", "rate", "parameters", "standard_errors")
    }

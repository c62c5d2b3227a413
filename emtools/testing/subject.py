"""What is examined, what an examination is, and the differences that examinations take."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import total_stats
from emtools.engine.information import coordinate_units
from emtools.engine.protocol import Annealed, Assign

Floats = npt.NDArray[np.float64]

EXACT = 1e-11  # relative difference of sums that are equal but for rounding
STEP = 1e-2  # of differences, in complete-data standard errors


class NotExaminedError(Exception):
    """Why an examination does not apply."""


@dataclass(frozen=True)
class Subject:
    """A model and the data that it is examined on.

    Parameters
    ----------
    model : Model
        The model.
    whole : Source
        Data, best in one chunk.
    split : Source, optional
        The same data in several chunks.
    weighted, replicated : Source, optional
        Two sources that must give the same statistics: units with small integer weights, and units repeated.
    assigns : tuple of str
        Assignments that the model offers.
    smooth : bool
        Whether Q and the log-likelihood are differentiable in the packed parameters.
    maximises : bool
        False for a generalised M-step, which only has to raise Q.
    """

    model: Any
    whole: Any
    split: Any = None
    weighted: Any = None
    replicated: Any = None
    assigns: tuple[str, ...] = ("soft", "hard")
    smooth: bool = True
    maximises: bool = True

    @property
    def pieces(self) -> Any:
        """The data in several chunks where there are such, else as they are."""
        return self.whole if self.split is None else self.split

    def start(self, seed: int = 0) -> Any:
        """Parameters to start from."""
        return self.model.initial_params(self.whole, np.random.default_rng(seed), self.model.strategies[0])

    def inner(self) -> Any:
        """Parameters after two passes: inside the space and not at the top."""
        params = self.start()
        for _ in range(2):
            params = self.model.m_step(self.stats(params), params)
        return params

    def stats(self, params: Any, assign: Assign = "soft") -> Any:
        """Total statistics of the data."""
        return total_stats(self.model, self.whole, params, assign)

    def objective(self, packed: Floats) -> float:
        """Log-likelihood plus log prior at packed parameters, in nats."""
        params = self.model.unpack(packed)
        return float(self.stats(params).loglik + self.model.log_prior(params))

    def q_plus_prior(self, stats: Any, params: Any) -> float:
        """What an M-step maximises, in nats."""
        return float(self.model.expected_loglik(stats, params) + self.model.log_prior(params))

    def units(self, stats: Any, packed: Floats) -> Floats:
        """Complete-data standard error of each packed parameter; NaN at an edge."""
        found = coordinate_units(self.model, stats, packed)
        return np.array([math.nan if unit is None else unit for unit in found])


Check = Callable[[Subject], Iterator[str]]


@dataclass(frozen=True)
class Examination:
    """One promise and how it is put to the test.

    Parameters
    ----------
    name : str
        One word.
    promise : str
        What a model promises.
    place : str
        Where to look when it does not hold.
    check : callable
        Yields a sentence for each breach; raises `NotExaminedError` where there is nothing to examine.
    """

    name: str
    promise: str
    place: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """What an examination found.

    Parameters
    ----------
    examination : Examination
        Which one.
    broken : str or None
        How the promise is broken.
    skipped : str or None
        Why it was not examined.
    """

    examination: Examination
    broken: str | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        name = self.examination.name
        if self.broken is not None:
            told = (f"BROKEN  {name}: {self.examination.promise}", self.broken, f"look at: {self.examination.place}")
            return "\n        ".join(told)
        return f"kept    {name}" if self.skipped is None else f"not examined  {name}: {self.skipped}"


EXAMINATIONS: dict[str, Examination] = {}


def examination(name: str, place: str) -> Callable[[Check], Check]:
    """Enter a check; the first line of its docstring is the promise."""

    def enter(check: Check) -> Check:
        EXAMINATIONS[name] = Examination(name, (check.__doc__ or "").splitlines()[0].rstrip("."), place, check)
        return check

    return enter


def numbers(stats: Any) -> dict[str, Floats]:
    """Fields of the statistics that are plain numbers or arrays."""
    values = {f.name: getattr(stats, f.name) for f in fields(stats)}
    return {k: np.asarray(v, dtype=np.float64) for k, v in values.items() if isinstance(v, (int, float, np.ndarray))}


def difference(one: Any, two: Any, tolerance: float = EXACT) -> str | None:
    """The field in which two statistics differ most beyond a relative tolerance, with the figures."""
    worst, told = tolerance, None
    for (name, a), b in zip(numbers(one).items(), numbers(two).values(), strict=True):
        if a.shape != b.shape:
            return f"{name} has shapes {a.shape} and {b.shape}"
        scale = max(1.0, float(np.abs(a).max(initial=0.0)))
        apart = float(np.max(np.abs(a - b), initial=0.0)) / scale
        if not apart <= worst:
            worst, told = apart, f"{name} differs by {apart:.1e} relative (tolerance {tolerance:.0e})"
    return told


def fingerprint(value: Any) -> Any:
    """A value that two objects share exactly if all their numbers are equal bit by bit."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if is_dataclass(value):
        return tuple(fingerprint(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, (tuple, list)):
        return tuple(map(fingerprint, value))
    return pickle.dumps(value)


def assignments(names: tuple[str, ...]) -> list[Assign]:
    """Assignments of each kind in `names` whose statistics are expectations or a fixed choice: none drawn."""
    kinds: dict[str, list[Assign]] = {"soft": ["soft"], "hard": ["hard"], "annealed": [Annealed(0.4), Annealed(3.0)]}
    return [assign for name in names for assign in kinds.get(name, [])]


def identity_gap(model: Any, stats: Any, params: Any) -> float:
    """``|loglik - Q - entropy|`` relative to ``1 + |loglik|``."""
    whole = model.expected_loglik(stats, params) + stats.entropy
    return float(abs(stats.loglik - whole) / (1.0 + abs(stats.loglik)))


def gradient(function: Callable[[Floats], float], at: Floats, units: Floats, step: float = STEP) -> Floats:
    """Fourth-order differences along each finite unit, per unit."""
    slopes = []
    for i in np.flatnonzero(np.isfinite(units)):
        shift = np.zeros_like(at)
        shift[i] = step * units[i]
        near, far = (function(at + k * shift) - function(at - k * shift) for k in (1, 2))
        slopes.append((8.0 * near - far) / (12.0 * step))
    return np.array(slopes)


def hessian(function: Callable[[Floats], float], at: Floats, units: Floats, step: float = 4 * STEP) -> Floats:
    """Second differences along pairs of units, per unit squared; two steps, extrapolated to fourth order."""
    p = at.size

    def second(i: int, j: int, h: float) -> float:
        one, two = np.zeros(p), np.zeros(p)
        one[i], two[j] = h * units[i], h * units[j]
        if i == j:
            return (function(at + one) + function(at - one) - 2.0 * middle) / h**2
        mixed = function(at + one + two) - function(at + one - two) - function(at - one + two)
        return (mixed + function(at - one - two)) / (4.0 * h**2)

    middle = function(at)
    result = np.empty((p, p))
    for i in range(p):
        for j in range(i + 1):
            coarse, fine = second(i, j, step), second(i, j, step / 2.0)
            result[i, j] = result[j, i] = (4.0 * fine - coarse) / 3.0
    return result

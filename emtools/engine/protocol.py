"""What the engine asks of a model: an E-step with additive statistics and an M-step over their total."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Annealed:
    """Expectation under the conditional distribution raised to a power and normalised.

    With power b the E-step reports ``loglik = (1/b) log sum p**b`` and ``entropy = H / b``, so that
    ``loglik == expected_loglik(stats, params) + entropy`` holds and the M-step climbs `loglik`.

    Parameters
    ----------
    power : float
        Inverse temperature, above 0; 1 is the soft E-step, and hard assignment is its limit at infinity.

    References
    ----------
    Ueda & Nakano (1998), Neural Netw. 11, 271-282, doi:10.1016/S0893-6080(97)00133-0, eqs 13-17.
    """

    power: float


@dataclass(frozen=True)
class Sampled:
    """One draw of what was not observed instead of its expectation (stochastic EM).

    The statistics are those of a hard assignment at the drawn values: `loglik` is Q, `entropy` is 0.

    Parameters
    ----------
    seed : tuple of int
        What a chunk draws from is ``SeedSequence([*seed, chunk.first])``, so that threads cannot change it.

    References
    ----------
    Celeux & Diebolt (1985), Comput. Stat. Q. 2, 73-82.
    """

    seed: tuple[int, ...]


Assign = Literal["soft", "hard"] | Annealed | Sampled


@dataclass(frozen=True)
class Online:
    """A pass in which parameters follow every chunk: the statistics are a running mean that forgets.

    After chunk t the mean moves by ``(t + 1) ** -forgetting`` towards the statistics of the chunk, so that
    chunks should be alike: rows in random order.

    Parameters
    ----------
    forgetting : float
        In (0.5, 1].

    References
    ----------
    Cappé & Moulines (2009), J. R. Stat. Soc. B 71, 593-613, doi:10.1111/j.1467-9868.2009.00698.x, eq. 14.
    """

    forgetting: float = 0.6


@dataclass(frozen=True)
class Incremental:
    """A pass in which parameters follow every chunk: its old statistics give way to the new ones.

    Holds the statistics of every chunk. Raises the objective's lower bound at each chunk.

    References
    ----------
    Neal & Hinton (1998), in Learning in Graphical Models, 355-368, doi:10.1007/978-94-011-5014-9_12, section 4.
    """


Warm = Assign | Online | Incremental


@dataclass(frozen=True)
class Stats:
    """Expected sufficient statistics of some units; those of two chunks add.

    A model subclasses it with its own fields (floats or arrays of fixed shape); a field that
    merges in another way defines ``__add__`` in its own type.

    Parameters
    ----------
    n : float
        Sum of the weights of the units.
    loglik : float
        Observed-data log-likelihood in nats at the parameters of the E-step. Under hard
        assignment, the log-likelihood of the data with its best assignment.
    entropy : float
        Entropy in nats of the conditional distribution of what was not observed; 0.0 under hard
        assignment. ``loglik == expected_loglik(stats, params) + entropy`` at the E-step's own
        parameters (Neal & Hinton 1998, eq. 7).
    """

    n: float
    loglik: float
    entropy: float

    def __add__(self, other: Self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def scaled(self, factor: float) -> Self:
        """The statistics of `factor` times as many units: every field times `factor`.

        A field that scales in another way (an origin, a sample) defines ``scaled`` in its own type.
        """
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return type(self)(**{n: v.scaled(factor) if hasattr(v, "scaled") else v * factor for n, v in values})


P = TypeVar("P")
S = TypeVar("S", bound=Stats)
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
C_contra = TypeVar("C_contra", contravariant=True)


class Source(Protocol[C_co]):
    """Data in chunks whose number and size depend on the data alone; can be read again and again."""

    @property
    def n_chunks(self) -> int:
        """Number of chunks, at least 1."""
        ...

    @property
    def n_units(self) -> int:
        """Number of independent units (rows, sequences, …)."""
        ...

    def chunk(self, index: int) -> C_co:
        """Chunk `index`, in ``range(n_chunks)``."""
        ...


class Model(Protocol[P, S, C_contra]):
    """The contract of a model. `P` is a frozen value, `S` a `Stats`, `C_contra` a chunk of data.

    Hyperparameters (number of components, covariance family, priors) are fields of the model.
    """

    @property
    def name(self) -> str:
        """One word for fit.json, such as ``"gaussian_mixture"``."""
        ...

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """What fixes the model, as JSON values."""
        ...

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names that `initial_params` understands; the first is the default."""
        ...

    def initial_params(self, data: Source[C_contra], rng: np.random.Generator, strategy: str) -> P:
        """Parameters to start from; only `rng` makes two calls differ."""
        ...

    def e_step(self, params: P, chunk: C_contra, assign: Assign = "soft") -> S:
        """Expected sufficient statistics of `chunk` under `params`."""
        ...

    def m_step(self, stats: S, params: P) -> P:
        """Parameters that maximise ``expected_loglik(stats, ·) + log_prior(·)``; frozen parts come from `params`."""
        ...

    def expected_loglik(self, stats: S, params: P) -> float:
        """Q in nats: expected complete-data log-likelihood of `params`, from the statistics alone."""
        ...

    def log_prior(self, params: P) -> float:
        """Log prior density in nats up to a constant; 0.0 for maximum likelihood."""
        ...

    def pack(self, params: P) -> Floats:
        """Parameters as one unconstrained vector (log-Cholesky, log-ratio, log)."""
        ...

    def unpack(self, vector: Floats) -> P:
        """Inverse of `pack`."""
        ...

    def natural(self, params: P) -> dict[str, Floats]:
        """Parameters by name as a person reads them, as arrays."""
        ...

    def canonical(self, params: P) -> P:
        """The same distribution with its components in a fixed order; `params` itself where there are none."""
        ...

    def degenerate(self, stats: S, params: P) -> str | None:
        """Why these parameters head for an infinite likelihood, or None."""
        ...


def assigns_of(model: Any) -> tuple[str, ...]:
    """Kinds of assignment that a model offers: its attribute ``assigns``, by default soft and hard."""
    return getattr(model, "assigns", ("soft", "hard"))


def is_smooth(model: Any) -> bool:
    """Whether Q and the EM map are differentiable: the attribute ``smooth`` of the model, by default True."""
    return bool(getattr(model, "smooth", True))


def has_errors(model: Any) -> bool:
    """Whether standard errors from the curvature mean anything: the attribute ``errors``, by default True."""
    return bool(getattr(model, "errors", True))


def packed_units(model: Any, params: Any) -> Floats | float:
    """Units in which a change of packed parameters is measured: the method ``packed_units`` of the model, or 1."""
    return model.packed_units(params) if hasattr(model, "packed_units") else 1.0


def packed_errors(model: Any, stats: Any, params: Any) -> Floats | None:
    """Complete-data standard error of each packed parameter: the method ``packed_errors`` of the model, or None.

    Worth writing where parameters may fade to an edge: theirs grow without end, and differences of Q cannot tell how far.
    """
    return np.asarray(model.packed_errors(stats, params)) if hasattr(model, "packed_errors") else None


def rounding(model: Any, stats: Any, params: Any) -> float:
    """Nats by which rounding can move the objective, beside what its own size makes of it: the method ``rounding`` of the
    model, or 0."""
    return float(model.rounding(stats, params)) if hasattr(model, "rounding") else 0.0


def packed_objective(model: Model[P, S, C], stats: S) -> Callable[[Floats], float]:
    """Q plus log prior of given statistics in nats, as a function of packed parameters.

    The method ``packed_objective`` of the model, which may be cheaper than going through its parameters, where there is
    one and it returns a function.
    """
    own: Callable[[Floats], float] | None = (
        model.packed_objective(stats) if hasattr(model, "packed_objective") else None
    )
    if own is not None:
        return own

    def through_parameters(packed: Floats) -> float:
        at = model.unpack(packed)
        return model.expected_loglik(stats, at) + model.log_prior(at)

    return through_parameters


def packed_objectives(model: Model[P, S, C], places: Floats, prior: bool = True) -> Callable[[S, int], Floats]:
    """Q of given statistics in nats, plus log prior if wanted, at the first n of many packed parameters, shape (m, p).

    The method ``packed_objectives`` of the model, worth writing where Q costs less than going through the parameters of one
    place after another; else that.
    """
    if hasattr(model, "packed_objectives"):
        own: Callable[[S, int], Floats] = model.packed_objectives(places, prior)
        return own
    points = [model.unpack(place) for place in places]
    added = [model.log_prior(point) if prior else 0.0 for point in points]

    def one_by_one(stats: S, n: int) -> Floats:
        return np.array([model.expected_loglik(stats, at) + more for at, more in zip(points[:n], added, strict=False)])

    return one_by_one

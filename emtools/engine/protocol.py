"""What the engine asks of a model: an E-step with additive statistics and an M-step over their total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Assign = Literal["soft", "hard"]


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

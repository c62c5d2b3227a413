"""The models under examination. Adding a model means adding one function that returns a `Case`, marked ``@case``.

A case is small (a pass takes milliseconds) and its likelihood is not trivial: several components, missing cells, weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.engine.chunks import ArraySource


@dataclass(frozen=True)
class Case:
    """What the examiners need.

    Parameters
    ----------
    model : Model
        The model.
    source : callable
        ``source(n)`` gives the same data in about n chunks (n = 1 and n = 4 are used).
    weighted, replicated : callable, optional
        Two sources that must give the same statistics: small integer weights, and units repeated.
    assigns : tuple of str
        Assignments that the model offers.
    smooth : bool
        Whether Q and the log-likelihood are differentiable in the packed parameters.
    m_step_maximises : bool
        False for a generalised M-step, which only has to raise Q.
    """

    model: Any
    source: Callable[[int], Any]
    weighted: Callable[[], Any] | None = None
    replicated: Callable[[], Any] | None = None
    assigns: tuple[str, ...] = ("soft", "hard")
    smooth: bool = True
    m_step_maximises: bool = True


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    """Enter a case under the name of its function."""
    CASES[make.__name__] = make
    return make


def weighted_rows(values: np.ndarray, counts: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The pair (weighted, replicated) for a table."""
    return lambda: ArraySource(values, counts.astype(float)), lambda: ArraySource(np.repeat(values, counts, axis=0))


@case
def linkage() -> Case:
    from conformance.linkage import COUNTS, Linkage

    table = np.array([COUNTS, [30, 5, 4, 9], [61, 8, 11, 16], [14, 2, 2, 5]])
    weighted, replicated = weighted_rows(table, np.array([1, 3, 2, 1]))
    return Case(Linkage(), lambda n: ArraySource(table, chunk_rows=4 // n), weighted, replicated)

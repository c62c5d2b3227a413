"""What a fit returns: parameters, the number that belongs to them, why it stopped, and every pass on the way."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from emtools.engine.protocol import Assign, Floats, Model, P, S
from emtools.engine.stopping import Status

SAME_OPTIMUM = 1e-3
LEFT = re.compile(r": about \S+ nats are left on this hill")  # in a verdict, where no certificate tells it better
AT_BUDGET = re.compile(r"(?<= with )(about \S+|an unknown number of) nats left")
SLOW = 0.99  # fraction of missing information from which a verdict says "slow"

ONE_START = "One start only: other optima were not looked for."


@dataclass(frozen=True)
class Pass:
    """One pass over the data.

    Parameters
    ----------
    restart : int
        Start that the pass belongs to.
    number : int
        Passes of this start before this one.
    objective : float
        Log-likelihood plus log prior in nats at the parameters before the M-step.
    gain : float
        Rise of the objective since the pass before, in nats; NaN at the first.
    gap : float
        Estimated gain still to come, in nats.
    parameter_change : float
        Largest change of a packed parameter since the pass before; NaN at the first.
    seconds : float
        Wall time of the pass.
    kind : {"step", "refused", "look", "warm"}
        Whether the pass was kept, a proposal that lowered the objective, one that only looked at the map
        around the point, or part of a warm-up. All but the last carry the objective of the point that is kept.
    """

    restart: int
    number: int
    objective: float
    gain: float
    gap: float
    parameter_change: float
    seconds: float
    kind: str = "step"


@dataclass(frozen=True)
class Event:
    """A stationary point that a climb left.

    Parameters
    ----------
    number : int
        Pass at which it was left.
    kind : {"saddle", "flat"}
        Whether a rate above 1 showed it, or a rate of 1 with a rise further out.
    rate : float
        Largest eigenvalue of the EM rate matrix there.
    along : tuple of str
        What moved most, natural parameters by name and index.
    """

    number: int
    kind: str
    rate: float
    along: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f" along {' and '.join(self.along)}" if self.along else ""
        name = "saddle" if self.kind == "saddle" else "level saddle"
        return f"{name} (rate {self.rate:.4g}) left at pass {self.number + 1}{what}"


@dataclass(frozen=True)
class Climb(Generic[P, S]):
    """One start and where it ended. `stats` and `loglik` belong to `params`."""

    restart: int
    params: P
    stats: S
    status: Status
    reason: str
    loglik: float
    objective: float
    gap: float
    rate: float
    trace: tuple[Pass, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Start:
    """A row of the table of starts.

    Parameters
    ----------
    restart : int
        Number of the start.
    strategy : str
        How its first parameters were made.
    status : Status
        Why it ended.
    objective : float
        Where it ended, in nats.
    passes : int
        Passes it took.
    optimum : int or None
        Optimum that it reached, 1 for the best; None where it did not converge. Starts within
        1e-3 nats of one another, or twice the tolerance, count as one optimum.
    saddles : int
        Saddles that it left on its way.
    """

    restart: int
    strategy: str
    status: Status
    objective: float
    passes: int
    optimum: int | None
    saddles: int = 0


@dataclass(frozen=True)
class Optimum:
    """A row of the map of optima.

    Parameters
    ----------
    number : int
        1 for the best.
    objective : float
        In nats.
    hits : int
        Starts that reached it.
    first : int
        The first of these.
    apart : float
        Largest difference of a packed parameter from the best optimum, both in canonical order, in complete-data
        standard errors.
    """

    number: int
    objective: float
    hits: int
    first: int
    apart: float


@dataclass(frozen=True)
class Fit(Generic[P, S]):
    """The best of several starts, and all of them.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    params : Params
        Parameters in canonical order.
    stats : Stats
        Expected statistics at `params`.
    status : Status
        Why the best start ended.
    verdict : str
        One sentence for a reader.
    loglik, objective : float
        In nats, at `params`; they differ by the log prior.
    gap : float
        Estimated gain still to come, in nats.
    rate : float
        Linear rate of the climb near its end: largest fraction of missing information, as the
        trace shows it.
    passes : int
        Passes over the data, all starts together.
    trace : tuple of Pass
        Every pass of every start.
    starts : tuple of Start
        One row per start.
    assign : Assign
        Assignment at the end of the climb.
    seed : int
        Root of all random numbers.
    summary : str
        The verdict without what the certificate adds.
    certificate : Certificate or None
        Standard errors and missing information; None for hard assignment and models with corners.
    optima : tuple of Optimum
        Map of the optima reached.
    events : tuple of Event
        Saddles that the best start left on its way.
    """

    model: Any
    params: P
    stats: S
    status: Status
    verdict: str
    loglik: float
    objective: float
    gap: float
    rate: float
    passes: int
    trace: tuple[Pass, ...]
    starts: tuple[Start, ...]
    assign: Assign
    seed: int
    summary: str = ""
    certificate: Any = None
    optima: tuple[Optimum, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the best start reached its top."""
        return self.status is Status.CONVERGED

    @property
    def unseen(self) -> float:
        """Chance that one more start would reach an optimum not yet seen; NaN for one start."""
        return unseen_mass(self.starts)

    @property
    def best_restart(self) -> int:
        """Number of the start whose parameters these are."""
        return next(
            s.restart for s in self.starts if s.objective == self.objective and s.status is not Status.DEGENERATE
        )


def number_optima(objectives: list[float | None], same: float = SAME_OPTIMUM) -> list[int | None]:
    """Number the optima from the best down, one for all within `same` nats of its best; None stays None."""
    order = sorted((i for i, value in enumerate(objectives) if value is not None), key=lambda i: -objectives[i])  # type: ignore[operator]
    ids: list[int | None] = [None] * len(objectives)
    current, top = 0, 0.0
    for i in order:
        value = objectives[i]
        assert value is not None
        if current == 0 or top - value > same:
            current, top = current + 1, value
        ids[i] = current
    return ids


def unseen_mass(starts: Sequence[Start]) -> float:
    """Probability that another start reaches an optimum not seen before: the share of optima seen once.

    References
    ----------
    Good (1953), Biometrika 40, 237-264, doi:10.1093/biomet/40.3-4.237, eq. 9.
    """
    hits = Counter(s.optimum for s in starts if s.optimum is not None)
    return sum(n == 1 for n in hits.values()) / hits.total() if hits.total() > 1 else math.nan


def map_optima(
    model: Model[P, S, Any], climbs: Sequence[Climb[P, S]], starts: Sequence[Start], best: P, unit: Floats
) -> tuple[Optimum, ...]:
    """The optima that the starts reached, and how far they lie from the best.

    Parameters
    ----------
    model : Model
        Puts components in order, and packs.
    climbs, starts : sequence
        The starts and their table.
    best : Params
        Best parameters in canonical order.
    unit : ndarray, shape (p,)
        Complete-data standard error of each packed parameter.
    """
    found: dict[int, list[Climb[P, S]]] = {}
    for end, start in zip(climbs, starts, strict=True):
        if start.optimum is not None:
            found.setdefault(start.optimum, []).append(end)
    packed = model.pack(best)
    rows = []
    for number, ends in sorted(found.items()):
        with np.errstate(invalid="ignore"):
            top = max(ends, key=lambda end: end.objective)
            there = model.pack(model.canonical(top.params))
            apart = np.where(there == packed, 0.0, np.abs(there - packed) / unit)
        rows.append(Optimum(number, top.objective, len(ends), ends[0].restart, float(apart.max(initial=0.0))))
    return tuple(rows)


def write_verdict(best: Climb[P, S], starts: tuple[Start, ...]) -> str:
    """One sentence: did it converge, how far is the top, did other starts agree."""
    passes = len(best.trace)
    match best.status:
        case Status.CONVERGED:
            slow = ", slow" if best.rate > SLOW else ""
            text = f"Converged{slow}, in {passes} passes: about {max(best.gap, 1e-16):.1g} nats are left on this hill"
        case Status.BUDGET:
            left = f"about {best.gap:.2g} nats" if best.gap < float("inf") else "an unknown number of nats"
            text = f"Not converged: the budget of {passes} passes was reached with {left} left; raise --max-passes"
        case Status.DECREASED:
            text = f"Not converged: the objective fell, which exact EM cannot do ({best.reason})"
        case Status.NONFINITE:
            text = f"Not converged: a value stopped being finite ({best.reason})"
        case Status.DEGENERATE:
            text = f"Degenerate: {best.reason}"
        case Status.SADDLE:
            text = f"Not converged: the climb ended on a saddle ({best.reason})"
    if best.events:
        text = f"{text}, after a {'; a '.join(map(str, best.events))}"
    return f"{text}. {tell_starts(starts)}"


def tell_starts(starts: tuple[Start, ...]) -> str:
    """One sentence: did the starts agree."""
    if len(starts) == 1:
        return ONE_START
    optima = max((s.optimum or 0 for s in starts), default=0)
    if not optima:
        return f"None of the {len(starts)} starts converged."
    counts = Counter(s.status for s in starts)
    if optima == 1 and counts[Status.CONVERGED] == len(starts):
        return f"All {len(starts)} starts agree."
    hits = sum(s.optimum == 1 for s in starts)
    told = [f"{optima} {'optimum' if optima == 1 else 'optima'} found, the best in {hits} of {len(starts)} starts"]
    out_of_passes = counts[Status.BUDGET]
    if out_of_passes:
        told.append(f"{out_of_passes} ran out of passes")
    spoiled = len(starts) - out_of_passes - counts[Status.CONVERGED]
    if spoiled:
        told.append(f"{spoiled} start{'s' * (spoiled != 1)} set aside as unusable")
    unseen = unseen_mass(starts)
    if unseen > 0.0:
        told.append(f"another start would find a new one with a chance of about {unseen:.2g}")
    return f"{'; '.join(told)}."

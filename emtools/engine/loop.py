"""The one loop: E at the parameters, test, then M, so that what is reported belongs to what is returned."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter

import numpy as np

from emtools.engine.chunks import Map, in_turn, total_stats
from emtools.engine.protocol import Assign, C, Floats, Model, P, S, Source
from emtools.engine.result import Climb, Pass
from emtools.engine.stopping import TOL, Remaining, Status, fell, remaining_gain

OnPass = Callable[[Pass], None]


def largest_change(before: Floats, after: Floats) -> float:
    """Largest absolute difference of two packed vectors; equal infinities do not differ."""
    with np.errstate(invalid="ignore"):
        difference = np.where(before == after, 0.0, np.abs(after - before))
    return float(difference.max(initial=0.0))


def climb(
    model: Model[P, S, C],
    source: Source[C],
    start: P,
    *,
    assign: Assign = "soft",
    tol: float = TOL,
    parameter_tol: float = math.inf,
    max_passes: int = 2000,
    restart: int = 0,
    chunk_map: Map = in_turn,
    on_pass: OnPass | None = None,
) -> Climb[P, S]:
    """Climb from one start until the estimated remaining gain is below `tol`.

    Parameters
    ----------
    model, source
        What is fitted to what.
    start : Params
        First parameters.
    assign : {"soft", "hard"}
        Expectation, or the single best assignment.
    tol : float
        Remaining gain in nats at which to stop.
    parameter_tol : float
        Largest change of a packed parameter at which to stop; both must hold.
    max_passes : int
        Budget in passes over the data, at least 1.
    restart : int
        Number of the start, for the trace.
    chunk_map : callable
        Ordered map over chunk numbers.
    on_pass : callable, optional
        Called with each `Pass`.

    Returns
    -------
    Climb
        After a fall or a value that is not finite, with the parameters before it.
    """
    params = start
    trace: list[Pass] = []
    objectives: list[float] = []
    kept: tuple[P, S, float, float] | None = None
    packed = model.pack(params)
    remaining = Remaining(math.inf, math.nan)
    change = math.nan

    def ended(status: Status, reason: str = "") -> Climb[P, S]:
        p, s, loglik, objective = kept if kept is not None else (params, stats, stats.loglik, math.nan)
        return Climb(restart, p, s, status, reason, loglik, objective, remaining.gap, remaining.rate, tuple(trace))

    for number in range(max_passes):
        began = perf_counter()
        stats = total_stats(model, source, params, assign, chunk_map)
        objective = stats.loglik + model.log_prior(params)
        if not math.isfinite(objective):
            return ended(Status.NONFINITE, f"objective {objective} at pass {number}")
        if objectives and fell(objectives[-1], objective):
            return ended(Status.DECREASED, f"by {objectives[-1] - objective:.3g} nats at pass {number}")
        gain = objective - objectives[-1] if objectives else math.nan
        objectives.append(objective)
        remaining = remaining_gain(objectives)
        kept = (params, stats, stats.loglik, objective)
        row = Pass(restart, number, objective, gain, remaining.gap, change, perf_counter() - began)
        trace.append(row)
        if on_pass is not None:
            on_pass(row)
        reason = model.degenerate(stats, params)
        if reason is not None:
            return ended(Status.DEGENERATE, reason)
        if remaining.within(tol) and not change > parameter_tol:
            return ended(Status.CONVERGED)
        params = model.m_step(stats, params)
        packed, before = model.pack(params), packed
        change = largest_change(before, packed)
        if math.isnan(change):
            return ended(Status.NONFINITE, f"parameters after pass {number}")
    return ended(Status.BUDGET)

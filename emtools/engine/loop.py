"""The one loop: E at the parameters, test, then M, so that what is reported belongs to what is returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Generic

import numpy as np

from emtools.engine.accelerate import Accelerator
from emtools.engine.chunks import Map, in_turn, total_stats, tree_sum
from emtools.engine.defects import culprit
from emtools.engine.information import LARGEST_SOUGHT, free_units
from emtools.engine.protocol import (
    Assign,
    C,
    Floats,
    Incremental,
    Model,
    Online,
    P,
    S,
    Source,
    Warm,
    is_smooth,
    packed_errors,
    packed_units,
    rounding,
)
from emtools.engine.result import Climb, Event, Pass
from emtools.engine.spectrum import Look, look, units
from emtools.engine.stopping import ROUNDING, TOL, VISIBLE, Remaining, Status, fell, remaining_gain
from emtools.errors import EmtoolsError

OnPass = Callable[[Pass], None]
OnState = Callable[["State[P, S]"], None]

LOOK_PASSES = 12  # passes that a look at the EM map may take before "converged" is said
FIRST_RATE = 0.99  # rate that is assumed until a look has been taken
NEARBY = 1e-3  # gain of Q by an EM step, in nats, above which a place is far from stationary whatever the tolerance
SADDLE = 1e-3  # a rate beyond 1 by more is a saddle; within it, the likelihood is flat to second order
STEPS_OFF = (1.0, -1.0, 0.25, -0.25)  # steps from a saddle, in complete-data standard errors
# The same where the likelihood is level to second order, directions tried, and EM steps that follow.
LEVEL_STEP = 8.0
LEVEL_DIRECTIONS = 3
STALLED = 1e-4  # gain of one of these steps, relative to what they still lack, that ends them
FOLLOWING = 25
MOST_STEPS_OFF = 5
# Passes in a row that must find the end near where no look can be taken: a slow part of the climb may hide behind a
# fast one, and shows once that has died down.
CONFIRM = 4
LARGEST_MEASURED = 60  # parameters whose scale is measured by differences of Q
MOVED = 1e-3  # smallest scale, relative to the median, that is read from moves
REST = 20  # kept passes without a gain beyond rounding, after which a look is taken whatever the residual


def largest_change(before: Floats, after: Floats, units: Floats | float = 1.0) -> float:
    """Largest absolute difference of two packed vectors, in `units`; equal infinities do not differ."""
    with np.errstate(invalid="ignore"):
        difference = np.where(before == after, 0.0, np.abs(after - before) / units)
    return float(difference.max(initial=0.0))


@dataclass(frozen=True)
class Point(Generic[P, S]):
    """A place in the parameter space and what one pass over the data tells of it."""

    params: P
    packed: Floats
    stats: S
    objective: float


@dataclass
class State(Generic[P, S]):
    """All that a climb needs to go on: what a checkpoint holds.

    Parameters
    ----------
    point : Point or None
        Where it stands; None before the first pass.
    params, packed : Params, ndarray
        Where the next pass is taken.
    proposed : bool
        Whether that is a proposal, which may be refused, or the EM image of `point`.
    accelerator : Accelerator or None
        None for plain EM.
    trace, events, objectives : list
        Passes, what happened on the way, and the objective of each kept pass.
    remaining : Remaining
        What is known of the gain to come.
    rate : float
        Largest rate that a look has found.
    bar : float
        Gain of Q by an EM step, in nats, below which a look is taken.
    change : float
        Largest change of a packed parameter by the last EM step.
    unit : ndarray or None
        Scale of each packed parameter.
    memory, turns : list of Stats, int
        Of online and incremental passes.
    wait : int
        Passes before which no look is taken but for the bar: as many again as the looks have taken.
    near : int
        Passes in a row after which the end seemed near.
    safe : tuple or None
        The point before the first proposal that was kept, its EM image, and the lengths of `trace` and `objectives`.
    """

    params: P
    packed: Floats
    accelerator: Accelerator | None
    bar: float
    point: Point[P, S] | None = None
    image: tuple[P, Floats] | None = None
    proposed: bool = False
    trace: list[Pass] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    remaining: Remaining = field(default_factory=lambda: Remaining(math.inf, math.nan))
    rate: float = math.nan
    change: float = math.nan
    unit: Floats | None = None
    memory: list[S] = field(default_factory=list)
    turns: int = 0
    wait: int = 0
    near: int = 0
    safe: tuple[Point[P, S], tuple[P, Floats], int, int] | None = None


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
    accelerate: bool = True,
    look: bool = True,
    order: int = 0,
    warm: Sequence[Warm] = (),
    state: State[P, S] | None = None,
    on_state: OnState[P, S] | None = None,
) -> Climb[P, S]:
    """Climb from one start until the estimated remaining gain is below `tol`.

    A smooth model under soft assignment is accelerated in its packed space; a proposal is kept only where the
    objective does not fall. Before such a climb is called converged, the EM map is looked at around its end
    (`emtools.engine.spectrum`): the gain to come is read from the map itself, and from a saddle the climb steps off.

    Parameters
    ----------
    model, source
        What is fitted to what.
    start : Params
        First parameters.
    assign : Assign
        Expectation, or the single best assignment.
    tol : float
        Remaining gain in nats at which to stop.
    parameter_tol : float
        Largest change of a packed parameter by an EM step at which to stop; both must hold.
    max_passes : int
        Budget in passes over the data, at least 1.
    restart : int
        Number of the start, for the trace.
    chunk_map : callable
        Ordered map over chunk numbers.
    on_pass : callable, optional
        Called with each `Pass`.
    accelerate : bool
        False for plain EM.
    look : bool
        False for a climb that ends by its trace alone, without a look around the end: cheaper where many small fits
        start near their ends.
    order : int
        Differences that a climb without a look remembers, which is then accelerated by Anderson mixing from its second
        pass: worth it where a pass is dear and EM is slow. 0 for plain EM.
    warm : sequence of Warm
        What the first passes do, which need not climb: annealing, draws (stochastic EM), online or incremental EM.
        The last pass of the budget is never one of them, since what they report belongs to no single place.
    state : State, optional
        Where an interrupted climb stood.
    on_state : callable, optional
        Called with the `State` between passes.

    Returns
    -------
    Climb
        After a fall or a value that is not finite, with the parameters before it.
    """
    smooth = look and assign == "soft" and is_smooth(model)
    warm = tuple(warm)[: max_passes - 1]
    climber = Climber(model, source, assign, tol, parameter_tol, max_passes, restart, chunk_map, on_pass, smooth)
    if state is None:
        accelerator = Accelerator() if accelerate and smooth else None
        if accelerate and order and not look and assign == "soft" and is_smooth(model):
            accelerator = Accelerator(order, plain_left=1, squarem_left=0)
        bar = first_bar(tol)
        state = State(start, model.pack(start), accelerator, bar)
    while True:
        ended = climber.warm_up(state, warm[len(state.trace)]) if len(state.trace) < len(warm) else climber.step(state)
        if ended is not None:
            return ended
        if on_state is not None:
            on_state(state)


@dataclass(frozen=True)
class Climber(Generic[P, S, C]):
    """What stays the same during a climb; the arguments of `climb`."""

    model: Model[P, S, C]
    source: Source[C]
    assign: Assign
    tol: float
    parameter_tol: float
    max_passes: int
    restart: int
    chunk_map: Map
    on_pass: OnPass | None
    smooth: bool

    def evaluate(self, params: P, packed: Floats) -> Point[P, S]:
        """One pass over the data."""
        stats = total_stats(self.model, self.source, params, self.assign, self.chunk_map)
        return Point(params, packed, stats, stats.loglik + self.model.log_prior(params))

    def record(self, state: State[P, S], kind: str, objective: float, gain: float, began: float) -> None:
        """Enter a pass into the trace."""
        number = len(state.trace)
        seconds = perf_counter() - began
        row = Pass(self.restart, number, objective, gain, state.remaining.gap, state.change, seconds, kind)
        state.trace.append(row)
        if self.on_pass is not None:
            self.on_pass(row)

    def end(self, state: State[P, S], status: Status, reason: str = "") -> Climb[P, S]:
        point = state.point
        assert point is not None
        trace, events = tuple(state.trace), tuple(state.events)
        objective = point.objective if math.isfinite(point.objective) else math.nan
        gap, rate = state.remaining.gap, state.remaining.rate
        arguments = (self.restart, point.params, point.stats, status, reason, point.stats.loglik, objective)
        return Climb(*arguments, gap, rate, trace, events)

    def spent(self, state: State[P, S]) -> bool:
        """Whether the budget is used up."""
        return len(state.trace) >= self.max_passes

    def warm_up(self, state: State[P, S], warm: Warm) -> Climb[P, S] | None:
        """A pass that need not climb."""
        began = perf_counter()
        if isinstance(warm, Online | Incremental):
            stats, params = self.chunk_by_chunk(state, warm)
        else:
            stats = total_stats(self.model, self.source, state.params, warm, self.chunk_map)
            params = self.model.m_step(stats, state.params)
        state.point = Point(state.params, state.packed, stats, stats.loglik + self.model.log_prior(state.params))
        self.record(state, "warm", state.point.objective, math.nan, began)
        if not math.isfinite(state.point.objective):
            return self.end(state, Status.NONFINITE, f"objective {state.point.objective} in the warm-up")
        state.params, state.packed = params, self.model.pack(params)
        return None

    def chunk_by_chunk(self, state: State[P, S], warm: Online | Incremental) -> tuple[S, P]:
        """A pass with an M-step after each chunk; its statistics, each at the parameters of its turn."""
        model, source, params, memory = self.model, self.source, state.params, state.memory
        if isinstance(warm, Incremental) and not memory:
            memory.extend(model.e_step(params, source.chunk(i)) for i in range(source.n_chunks))
            return tree_sum(memory), model.m_step(tree_sum(memory), params)
        for i in range(source.n_chunks):
            stats = model.e_step(params, source.chunk(i))
            if isinstance(warm, Incremental):
                memory[i] = stats
                params = model.m_step(tree_sum(memory), params)
            elif stats.n > 0.0:
                state.turns += 1
                weight = (state.turns + 1.0) ** -warm.forgetting if memory else 1.0
                fresh = stats.scaled(weight * source.n_units / stats.n)
                memory[:] = [memory[0].scaled(1.0 - weight) + fresh if memory else fresh]
                params = model.m_step(memory[0], params)
        return tree_sum(memory), params

    def step(self, state: State[P, S]) -> Climb[P, S] | None:
        """One pass and what follows from it; the `Climb` where it ends."""
        began = perf_counter()
        if state.proposed:
            return self.try_proposal(state, began)
        point = self.evaluate(state.params, state.packed)
        number = len(state.trace)
        before = state.point
        first = not state.objectives
        down = before is not None and self.falls(before, point)
        lost = not math.isfinite(point.objective) or down
        if lost and not first and state.safe is not None:
            return self.go_back(state, began)
        if not math.isfinite(point.objective):
            if first:
                state.point = point
                reason = self.model.degenerate(point.stats, point.params)
                if reason is not None:
                    return self.end(state, Status.DEGENERATE, reason)
            return self.end(state, Status.NONFINITE, f"objective {point.objective} at pass {number}")
        if not first and before is not None and down:
            fall = before.objective - point.objective
            why = culprit(self.model, before.stats, before.params, state.params)
            return self.end(state, Status.DECREASED, f"by {fall:.3g} nats at pass {number}; {why}")
        return self.arrive(state, point, began)

    def falls(self, before: Point[P, S], after: Point[P, S]) -> bool:
        """Whether the objective fell beyond rounding; what the model tells of that is asked for only where it may matter."""
        if not fell(before.objective, after.objective):
            return False
        return fell(before.objective, after.objective, rounding(self.model, before.stats, before.params))

    def go_back(self, state: State[P, S], began: float) -> Climb[P, S] | None:
        """Undo all proposals that were kept, and go on without acceleration.

        They can lead to where the likelihood is computed with large errors, a nearly singular covariance, so that EM
        itself falls after them; or to a collapsing component where EM alone would have found a sound hill.
        """
        assert state.safe is not None
        state.point, state.image, passes, kept = state.safe
        state.trace[passes:] = [
            replace(row, kind="refused", objective=state.point.objective, gain=0.0) for row in state.trace[passes:]
        ]
        del state.objectives[kept:]
        state.accelerator = state.safe = None
        state.rate, state.remaining = math.nan, Remaining(math.inf, math.nan)
        state.params, state.packed = state.image
        self.record(state, "refused", state.point.objective, 0.0, began)
        return self.end(state, Status.BUDGET) if self.spent(state) else None

    def try_proposal(self, state: State[P, S], began: float) -> Climb[P, S] | None:
        """Take a proposal, or go back and take the EM image instead."""
        assert state.point is not None
        assert state.image is not None
        point = self.attempt(state.packed)
        state.proposed = False
        kept = point is not None and not point.objective < state.point.objective
        if state.accelerator is not None:
            state.accelerator.accepted(kept)
        if point is not None and kept:
            state.safe = state.safe or (state.point, state.image, len(state.trace), len(state.objectives))
            return self.arrive(state, point, began, sound=True)
        self.record(state, "refused", state.point.objective, 0.0, began)
        state.params, state.packed = state.image
        return self.end(state, Status.BUDGET) if self.spent(state) else None

    def attempt(self, packed: Floats) -> Point[P, S] | None:
        """A pass at a place that may lie outside the space; None there, and where a component collapses."""
        with np.errstate(all="ignore"):
            try:
                params = self.model.unpack(packed)
                point = self.evaluate(params, packed)
                if not math.isfinite(point.objective) or self.model.degenerate(point.stats, params) is not None:
                    return None
            except (EmtoolsError, ArithmeticError, np.linalg.LinAlgError):
                return None
        return point

    def arrive(self, state: State[P, S], point: Point[P, S], began: float, sound: bool = False) -> Climb[P, S] | None:
        """Keep a point: test it, unless it is known to be `sound`, and choose where the next pass is taken."""
        gain = point.objective - state.objectives[-1] if state.objectives else math.nan
        state.point = point
        state.objectives.append(point.objective)
        reason = None if sound else self.model.degenerate(point.stats, point.params)
        if reason is not None and state.safe is not None:
            return self.go_back(state, began)
        if reason is None:
            params = self.model.m_step(point.stats, point.params)
            state.image = (params, self.model.pack(params))
            state.change = largest_change(point.packed, state.image[1], packed_units(self.model, point.params))
        rise = self.estimate(state) if reason is None else math.nan
        self.record(state, "step", point.objective, gain, began)
        if reason is not None:
            return self.end(state, Status.DEGENERATE, reason)
        if math.isnan(state.change):
            return self.end(state, Status.NONFINITE, f"parameters after pass {len(state.trace) - 1}")
        if not self.smooth:
            near = state.remaining.within(self.tol) and not state.change > self.parameter_tol
            state.near = state.near + 1 if near else 0
            if state.near >= CONFIRM or (near and (state.change == 0.0 or self.settled(state))):
                return self.end(state, Status.CONVERGED)
        elif self.worth_a_look(state, rise):
            ended = self.take_a_look(state, rise)
            if ended is not None or state.proposed or state.point is not point:
                return ended
        if self.spent(state):
            return self.end(state, Status.BUDGET)
        self.choose_next(state)
        return None

    def estimate(self, state: State[P, S]) -> float:
        """Update what is known of the gain to come; the rise of Q by the EM step, in nats."""
        assert state.point is not None
        assert state.image is not None
        if state.accelerator is None:
            state.remaining = remaining_gain(state.objectives)
        elif not self.smooth:  # mixing gains by fits and starts, which pairs of passes even out, at no rate of EM's own
            state.remaining = replace(remaining_gain(state.objectives[::-2][::-1]), rate=state.accelerator.rate())
        if self.settled(state):
            state.remaining = Remaining(0.0, 0.0)
        if not self.smooth:
            return math.nan
        point, model = state.point, self.model
        here = model.expected_loglik(point.stats, point.params) + model.log_prior(point.params)
        there = model.expected_loglik(point.stats, state.image[0]) + model.log_prior(state.image[0])
        rise = abs(there - here)
        if state.accelerator is not None and math.isfinite(state.rate) and state.rate < 1.0:
            state.remaining = Remaining(rise / (1.0 - state.rate), state.rate)
        return rise

    def settled(self, state: State[P, S]) -> bool:
        """Whether a hard pass has given no value away: the place is its own image but for rounding, in numbers and in Q."""
        if self.assign != "hard" or state.point is None or state.image is None:
            return False
        point, (params, packed) = state.point, state.image
        if state.change > 0.0 and largest_change(point.packed, packed) > ROUNDING * np.abs(point.packed).max(
            initial=0.0
        ):
            return False
        rise = self.model.expected_loglik(point.stats, params) - self.model.expected_loglik(point.stats, point.params)
        return abs(rise) <= ROUNDING * (1.0 + abs(point.objective))

    def worth_a_look(self, state: State[P, S], rise: float) -> bool:
        """Whether the end may be near: an EM step gains next to nothing, or the objective is at rest."""
        if state.change > self.parameter_tol:
            return False
        if rise < state.bar:
            return True
        if len(state.trace) < state.wait:
            return False
        near = state.accelerator is None and state.remaining.within(self.tol)
        return near or rise < ROUNDING * (1.0 + abs(state.objectives[-1])) / 10.0 or self.at_rest(state)

    def at_rest(self, state: State[P, S]) -> bool:
        """Whether the objective has not risen beyond rounding for many kept passes, or the EM image is the point."""
        recent = state.objectives[-REST:]
        still = len(recent) == REST and recent[-1] - recent[0] <= ROUNDING * (1.0 + abs(recent[-1]))
        return still or state.change <= ROUNDING

    def take_a_look(self, state: State[P, S], rise: float) -> Climb[P, S] | None:
        """Look at the EM map: end here, go on along the way that it shows, or step off a saddle."""
        point, image = state.point, state.image
        assert point is not None
        assert image is not None
        left = self.max_passes - len(state.trace)
        if left < 1:
            return self.end(state, Status.BUDGET)
        seen = self.look_around(state, min(LOOK_PASSES, left))
        state.rate = seen.rate
        resolution = VISIBLE * ROUNDING * (1.0 + abs(point.objective))
        state.remaining = Remaining(seen.gap, seen.rate, resolution)
        unsure = seen.passes == left and not seen.complete
        if seen.rate > 1.0 - SADDLE and len(state.events) < MOST_STEPS_OFF:
            ended = self.step_off(state, seen)
            if ended is not None or state.point is not point:
                return ended
            unsure = self.spent(state)
        if unsure:
            return self.end(state, Status.BUDGET)
        state.wait = len(state.trace) + sum(row.kind == "look" for row in state.trace)
        if seen.rate > 1.0 + SADDLE:
            if self.at_rest(state):
                return self.end(state, Status.SADDLE, f"rate {seen.rate:.4g}")
            state.bar /= 4.0
            return self.end(state, Status.BUDGET) if self.spent(state) else None
        if seen.rate >= 1.0 - SADDLE and not math.isfinite(seen.gap):
            state.remaining = Remaining(rise / SADDLE, seen.rate, resolution)
        if state.remaining.within(self.tol):
            return self.end(state, Status.CONVERGED)
        if self.spent(state):
            return self.end(state, Status.BUDGET)
        gap = state.remaining.gap
        state.bar = min(state.bar / 4.0, rise * self.tol / (2.0 * gap) if math.isfinite(gap) else math.inf)
        if state.accelerator is not None and np.isfinite(seen.way).all():
            state.packed, state.proposed = point.packed + seen.way, True
        return None

    def look_around(self, state: State[P, S], limit: int) -> Look:
        """Take a look, its passes entered into the trace."""
        point, image = state.point, state.image
        assert point is not None
        assert image is not None

        def em_map(packed: Floats) -> Floats | None:
            began = perf_counter()
            there = self.attempt(packed)
            self.record(state, "look", point.objective, 0.0, began)
            if there is None:
                return None
            return self.image_of(there)

        few = point.packed.size <= LARGEST_SOUGHT
        unit = free_units(self.model, point.stats, point.packed) if few else self.scale(state, point)
        return look(self.model, point.stats, point.packed, image[1], unit, em_map, limit, chunk_map=self.chunk_map)

    def image_of(self, point: Point[P, S]) -> Floats | None:
        """Packed EM image of a place that may lie far from the climb; None where there is none."""
        with np.errstate(all="ignore"):
            try:
                moved = self.model.pack(self.model.m_step(point.stats, point.params))
            except (EmtoolsError, ArithmeticError, np.linalg.LinAlgError):
                return None
        return moved if np.isfinite(moved).all() else None

    def step_off(self, state: State[P, S], seen: Look) -> Climb[P, S] | None:
        """Leave a stationary point along the directions that a look found not to fall, if something higher lies there.

        Where a rate is above 1, the better one of both ways is taken. Where it is 1, the likelihood is level to second
        order, and may rise only once the other parameters have followed: some EM steps are taken beside it.
        """
        start = state.point
        assert start is not None
        best: Point[P, S] | None = None
        if seen.rate > 1.0 + SADDLE:
            found = [self.beyond(state, step * seen.directions[:, 0], 0) for step in STEPS_OFF]
            best = max((point for point in found if point is not None), key=lambda point: point.objective, default=None)
        for i in range(min(seen.level.shape[1], LEVEL_DIRECTIONS)):
            if best is None:
                best = self.beyond(state, LEVEL_STEP * seen.level[:, i], FOLLOWING)
        if best is None:
            return None
        moved = best.packed - start.packed
        kind = "saddle" if seen.rate > 1.0 + SADDLE else "flat"
        state.events.append(Event(len(state.trace) - 1, kind, seen.rate, what_moved(self.model, start.packed, moved)))
        state.safe = None
        if state.accelerator is not None:
            state.accelerator.forget()
        state.bar = first_bar(self.tol)
        state.rate, state.remaining = math.nan, Remaining(math.inf, math.nan)
        state.objectives.clear()
        return self.resume_from(state, best)

    def beyond(self, state: State[P, S], way: Floats, following: int) -> Point[P, S] | None:
        """A place higher than the present one, at the end of `way` or at most `following` EM steps after; else None."""
        start = state.point
        assert start is not None
        floor = start.objective + max(self.tol, 10.0 * ROUNDING * (1.0 + abs(start.objective)))
        packed, before = start.packed + way, -math.inf
        for _ in range(following + 1):
            if self.spent(state):
                return None
            began = perf_counter()
            there = self.attempt(packed)
            self.record(state, "look", start.objective, 0.0, began)
            if there is None or there.objective > floor:
                return there
            if there.objective - before < STALLED * (floor - there.objective):
                return None
            before, image = there.objective, self.image_of(there)
            if image is None:
                return None
            packed = image
        return None

    def resume_from(self, state: State[P, S], point: Point[P, S]) -> Climb[P, S] | None:
        """Go on from a point that a look has found."""
        state.point = point
        state.objectives.append(point.objective)
        params = self.model.m_step(point.stats, point.params)
        state.image = (params, self.model.pack(params))
        state.params, state.packed, state.proposed = params, state.image[1], False
        return self.end(state, Status.BUDGET) if self.spent(state) else None

    def scale(self, state: State[P, S], point: Point[P, S]) -> Floats:
        """Scale of each packed parameter: its complete-data standard error, or how far it has moved where Q is dear."""
        assert state.image is not None
        own = packed_errors(self.model, point.stats, point.params)
        if own is not None:
            return own
        if point.packed.size <= LARGEST_MEASURED:
            return units(self.model, point.stats, point.packed)
        moves = state.accelerator.moves if state.accelerator is not None else []
        return usual_move([*moves, state.image[1] - point.packed])

    def choose_next(self, state: State[P, S]) -> None:
        """Where the next pass is taken: a longer step where the accelerator proposes one, else the EM image."""
        point, image = state.point, state.image
        assert point is not None
        assert image is not None
        state.params, state.packed = image
        if state.accelerator is None:
            return
        if state.accelerator.squarem_left == 0 and (state.unit is None or hasattr(self.model, "packed_errors")):
            state.unit = self.scale(state, point)
        proposal = state.accelerator.propose(point.packed, image[1], partial(unit_of, state))
        if proposal is not None:
            state.packed, state.proposed = proposal, True


def first_bar(tol: float) -> float:
    """Gain of Q by an EM step, in nats, below which the first look is taken."""
    return min(0.5 * tol * (1.0 - FIRST_RATE), NEARBY)


def usual_move(moves: Sequence[Floats]) -> Floats:
    """Root mean square of the moves of each packed parameter, and no less than a thousandth of their median."""
    with np.errstate(invalid="ignore"):
        sizes: Floats = np.nan_to_num(np.sqrt(np.mean(np.square(moves), axis=0)), posinf=0.0)
    middle = float(np.median(sizes))
    return np.maximum(sizes, MOVED * middle) if middle > 0.0 else np.ones_like(sizes)


def what_moved(model: Model[P, S, C], packed: Floats, moved: Floats, most: int = 2) -> tuple[str, ...]:
    """Names of the natural parameters that a small step along `moved` changes most, relative to their size."""
    here, there = model.natural(model.unpack(packed)), model.natural(model.unpack(packed + 1e-3 * moved))
    changes = []
    for name, value in here.items():
        size = np.abs(value).max(initial=0.0) or 1.0
        symmetric = value.ndim >= 2 and np.array_equal(value, np.swapaxes(value, -1, -2))
        for index in np.ndindex(np.shape(value)):
            if symmetric and index[-1] < index[-2]:
                continue
            label = f"{name} [{', '.join(str(i + 1) for i in index)}]" if index else name
            changes.append((float(np.abs(there[name][index] - value[index]) / size), label))
    changes.sort(key=lambda change: -change[0])
    return tuple(label for change, label in changes[:most] if change > 0.1 * changes[0][0])


def unit_of(state: State[P, S]) -> Floats:
    """Scale of each packed parameter."""
    assert state.unit is not None
    return state.unit

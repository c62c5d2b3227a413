"""Search for a high hill: short runs from many starts, crossed with each other, then moves, kept where they climb.

One start is a lottery. A model that has ``crossed(one, two, source, rng)`` makes one place of the better parts of two,
and one that has ``moves(params, source, rng)`` says how its parameters may be rearranged (a mixture: merge two
components and split a third) and what each rearrangement promises. The search crosses the ends of its short runs, tries
the most promising moves from the best, keeps what climbs, and from a place that no move betters it takes a step down and
climbs again elsewhere: an iterated local search. It knows nothing else of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from emtools.engine.chunks import Map, in_turn
from emtools.engine.loop import climb
from emtools.engine.protocol import C, Model, P, S, Source
from emtools.engine.result import Climb
from emtools.engine.stopping import Status
from emtools.errors import EmtoolsError, InputError

Chunk = TypeVar("Chunk", contravariant=True)

USABLE = (Status.CONVERGED, Status.BUDGET)
RUNS, RUN_PASSES = 20, 10  # short runs before the first move
LOOK_PASSES, TRIAL_PASSES = 4, 8  # of a trial: before it is given up, and after
TRIALS, PER_TARGET = 12, 2  # moves tried from one place, and of them with the same target
SETTLED = 0.5  # gain to come, in nats, at which a trial ends; what climbs by less has not climbed
SAME = 0.7  # nats within which two places are the same hill
POOR, SHORT, BEHIND = 80.0, 30.0, 30.0  # nats: promise not worth a trial; short of the place to beat; after a look
BRED = 0.5  # share of the budget in which places are crossed, before the first move
LOWEST = 5.0  # nats below the present hill of the next one
WARMTH, CHOICES = 15.0, 40  # a step down is drawn among so many, with chances that fall by e in so many nats
STALE = 0.3  # share of the budget without a gain after which another short run is taken up


@dataclass(frozen=True)
class Move(Generic[P]):
    """A rearrangement of parameters.

    Parameters
    ----------
    promise : float
        Change of the objective that is expected, in nats.
    target : int
        What is changed, so that trials can differ.
    make : callable
        Gives the parameters.
    """

    promise: float
    target: int
    make: Callable[[], P]


@dataclass(frozen=True)
class Moves(Generic[P]):
    """Moves from a place, the most promising first, and the passes over the data that it took to find them."""

    moves: Sequence[Move[P]]
    passes: float


@dataclass(frozen=True)
class Crossed(Generic[P]):
    """Parameters made from those of two places, and the passes over the data that it took to make them."""

    params: P
    passes: float


class Movable(Protocol[P, Chunk]):
    """A model that offers moves."""

    def moves(self, params: P, source: Source[Chunk], rng: np.random.Generator) -> Moves[P]:
        """Moves from `params`."""
        ...

    def crossed(self, one: P, two: P, source: Source[Chunk], rng: np.random.Generator) -> Crossed[P]:
        """Parameters that have the better parts of `one` and of `two`."""
        ...


def offers_moves(model: Any) -> bool:
    """Whether a model has the methods ``moves`` and ``crossed``."""
    return hasattr(model, "moves") and hasattr(model, "crossed")


@dataclass
class Searcher(Generic[P, S, C]):
    """What a search has spent, and what it may still spend.

    Parameters
    ----------
    model, source
        What is fitted to what.
    budget : float
        Passes over the data.
    rng : Generator
        Source of randomness.
    chunk_map : Map
        Ordered map over chunks.
    spent : float
        Passes so far.
    known : list of float
        Objectives of the hills that have been left.
    """

    model: Model[P, S, C]
    source: Source[C]
    budget: float
    rng: np.random.Generator
    chunk_map: Map = in_turn
    spent: float = 0.0
    known: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the budget is used up."""
        return self.spent >= self.budget

    def run(self, params: P, passes: int, tol: float = 1e-3) -> Climb[P, S] | None:
        """A few passes of plain EM; None where they end badly."""
        ended = climb(self.model, self.source, params, max_passes=passes, tol=tol, accelerate=False, look=False,
                      chunk_map=self.chunk_map)  # fmt: skip
        self.spent += len(ended.trace)
        return ended if ended.status in USABLE else None

    def start(self, strategy: str) -> Climb[P, S] | None:
        """A short run."""
        return self.run(self.model.initial_params(self.source, self.rng, strategy), RUN_PASSES)

    def taken(self, move: Move[P], passes: int) -> Climb[P, S] | None:
        """A few passes after a move; None where it cannot be taken."""
        try:
            return self.run(move.make(), passes, SETTLED)
        except EmtoolsError:
            return None

    def was_left(self, objective: float) -> bool:
        """Whether this is a hill that has been left."""
        return any(abs(objective - other) < SAME for other in self.known)

    def trial(self, move: Move[P], here: float, floor: float) -> Climb[P, S] | None:
        """What a move leads to; None where it does not climb above `here` on a new hill."""
        first = self.taken(move, LOOK_PASSES)
        if first is None or first.objective < max(here, floor) - BEHIND:
            return None
        ended = self.run(first.params, TRIAL_PASSES, SETTLED)
        if ended is None or self.was_left(ended.objective) or not ended.objective > here + SETTLED:
            return None
        return ended

    def cross(self, one: Climb[P, S], two: Climb[P, S]) -> Climb[P, S] | None:
        """A few passes from what two places make together; None where they make nothing."""
        try:
            made = cast("Movable[P, C]", self.model).crossed(one.params, two.params, self.source, self.rng)
        except EmtoolsError:
            return None
        self.spent += made.passes
        return self.run(made.params, TRIAL_PASSES, SETTLED)

    def breed(self, places: list[Climb[P, S]], budget: float) -> list[Climb[P, S]]:
        """Cross places, drawn at random, while passes are left; what is higher than the lower parent takes its place."""
        places = list(places)
        while len(places) > 1 and self.spent < budget:
            i, j = (int(x) for x in self.rng.choice(len(places), 2, replace=False))
            low, child = min(i, j, key=lambda x: places[x].objective), self.cross(places[i], places[j])
            if child is None or any(abs(child.objective - other.objective) < SAME for other in places):
                places.pop(low)
            elif child.objective > places[low].objective:
                places[low] = child
        return sorted(places, key=lambda place: -place.objective)

    def ascend(self, place: Climb[P, S], floor: float = -np.inf) -> tuple[Climb[P, S], Moves[P] | None]:
        """Take moves that climb until none does; the place, and the moves from there, None where the budget ended."""
        while not self.done:
            found = cast("Movable[P, C]", self.model).moves(place.params, self.source, self.rng)
            self.spent += found.passes
            better, tried, targets = None, 0, dict[int, int]()
            for move in found.moves:
                hopeless = move.promise < -POOR or place.objective + move.promise < floor - SHORT
                if self.done or tried >= TRIALS or hopeless:
                    break
                if targets.get(move.target, 0) >= PER_TARGET:
                    continue
                targets[move.target] = targets.get(move.target, 0) + 1
                tried += 1
                better = self.trial(move, place.objective, floor)
                if better is not None:
                    break
            if better is None:
                return place, None if self.done else found
            place = better
        return place, None


def search(
    model: Model[P, S, C],
    source: Source[C],
    budget: int,
    *,
    seed: Sequence[int] = (0,),
    chunk_map: Map = in_turn,
) -> tuple[P, int]:
    """Parameters on a high hill, and the passes over the data that it took to find them.

    Parameters
    ----------
    model, source
        What is fitted to what; the model must offer moves.
    budget : int
        Passes over the data: the search ends with the trial that reaches them.
    seed : sequence of int
        Root of the random numbers.
    chunk_map : Map
        Ordered map over chunks.

    Raises
    ------
    InputError
        If the model offers no moves.

    References
    ----------
    Biernacki, Celeux & Govaert (2003), Comput. Stat. Data Anal. 41, 561-575, doi:10.1016/S0167-9473(02)00163-9, for the
    short runs; Ueda, Nakano, Ghahramani & Hinton (2000), Neural Comput. 12, 2109-2128, doi:10.1162/089976600300015088,
    for moves that merge two and split one; Lourenço, Martin & Stützle (2003), Handbook of Metaheuristics, 320-353,
    doi:10.1007/0-306-48056-5_11, for steps down.
    """
    if not offers_moves(model):
        raise InputError("search", f"the model {model.name}", "a model that offers moves", "use several starts instead")
    s = Searcher(model, source, float(budget), np.random.default_rng(np.random.SeedSequence(seed)), chunk_map)
    names = model.strategies[:2]
    runs = [s.start(names[i % len(names)]) for i in range(RUNS) if not s.done]
    left = sorted((run for run in runs if run is not None), key=lambda run: -run.objective)
    if not left:
        return model.initial_params(source, s.rng, names[0]), int(s.spent)
    left = s.breed(left, BRED * budget)
    here, around = s.ascend(left.pop(0))
    best, refused, gained = here, set[tuple[int, int]](), s.spent
    s.known.append(here.objective)
    while around is not None and not s.done:
        if s.spent - gained > STALE * budget and left:
            here, around = s.ascend(left.pop(0))
            gained = s.spent
        else:
            keys = [(round(here.objective), round(move.promise)) for move in around.moves[:CHOICES]]
            open_ = [i for i, key in enumerate(keys) if key not in refused]
            if not open_:
                break
            promises = np.array([around.moves[i].promise for i in open_])
            chances = np.exp((promises - promises.max()) / WARMTH)
            chosen = open_[int(s.rng.choice(len(open_), p=chances / chances.sum()))]
            refused.add(keys[chosen])
            down = s.taken(around.moves[chosen], TRIAL_PASSES)
            if down is None or s.was_left(down.objective):
                continue
            there, near = s.ascend(down, here.objective)
            if there.objective > here.objective + SETTLED:
                gained = s.spent
            if there.objective > here.objective - LOWEST or near is None:
                here, around = there, near
            else:
                s.known.append(there.objective)
                continue
        s.known.append(here.objective)
        best = max(best, here, key=lambda place: place.objective)
    return best.params, int(np.ceil(s.spent))

"""Many starts, the best kept, all of them reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

import numpy as np

from emtools.engine.certificate import LIMIT, Certificate, certify, judge
from emtools.engine.checkpoint import Checkpoint
from emtools.engine.chunks import Map, in_turn, total_stats
from emtools.engine.executors import executor as make_executor
from emtools.engine.loop import OnPass, State, climb
from emtools.engine.protocol import (
    Annealed,
    Assign,
    C,
    Incremental,
    Model,
    Online,
    P,
    S,
    Sampled,
    Source,
    Warm,
    assigns_of,
    has_errors,
    is_smooth,
)
from emtools.engine.result import (
    SAME_OPTIMUM,
    Climb,
    Event,
    Fit,
    Pass,
    Start,
    map_optima,
    number_optima,
    write_verdict,
)
from emtools.engine.search import offers_moves
from emtools.engine.search import search as find_hill
from emtools.engine.spectrum import units
from emtools.engine.stopping import TOL, Status
from emtools.errors import FitError, InputError

USABLE = (Status.CONVERGED, Status.BUDGET)
WARM = ("annealed", "sampled", "online", "incremental")
SAME_END = 1e-9  # difference of log-likelihoods, relative to 1 + |log-likelihood|, that another processor can make
COLDEST = 0.2  # first power of annealing
SHORT_PASSES = 10
SIDEWAYS = (0.25, -0.25)  # steps from a saddle that the certificate has found, in complete-data standard errors
ROUNDS = 3  # further climbs at most where the certificate sees a way up that the climb did not


@dataclass(frozen=True)
class Plan(Generic[P, S, C]):
    """Arguments of `fit` that every start shares."""

    model: Model[P, S, C]
    source: Source[C]
    strategy: str
    init: Sequence[P]
    seed: int
    warm: str | None
    warm_passes: int

    def first(self, restart: int) -> P:
        """First parameters of a start."""
        if self.init:
            return self.init[restart]
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, restart]))
        return self.model.initial_params(self.source, rng, self.strategy)

    def warming(self, restart: int) -> list[Warm]:
        """What the first passes of a start do."""
        passes = range(self.warm_passes)
        match self.warm:
            case "annealed":
                return [Annealed(COLDEST ** (1.0 - k / self.warm_passes)) for k in passes]
            case "sampled":
                return [Sampled((self.seed, restart, k)) for k in passes]
            case "online":
                return [Online() for _ in passes]
            case "incremental":
                return [Incremental() for _ in passes]
        return []


def fit(
    model: Model[P, S, C],
    source: Source[C],
    *,
    starts: int = 1,
    strategy: str | None = None,
    init: Sequence[P] = (),
    assign: Assign = "soft",
    tol: float = TOL,
    parameter_tol: float = math.inf,
    max_passes: int = 2000,
    seed: int = 0,
    threads: int = 1,
    on_pass: OnPass | None = None,
    accelerate: bool = True,
    short_runs: int = 0,
    warm: str | None = None,
    warm_passes: int = 10,
    executor: Any = "threads",
    checkpoint: Path | str | None = None,
    certificate: bool = True,
    look: bool = True,
    order: int = 0,
    search: int = 0,
    ended: Mapping[int, Climb[P, S]] | None = None,
) -> Fit[P, S]:
    """Fit `model` to `source` from several starts and keep the best usable one.

    Parameters
    ----------
    model : Model
        What is fitted.
    source : Source
        Data that it is fitted to.
    starts : int
        Number of starts, at least 1; ignored where `init` is given.
    strategy : str, optional
        One of ``model.strategies``; by default its first.
    init : sequence of Params, optional
        Parameters to start from instead.
    assign : Assign
        Expectation, or the single best assignment (as K-means does).
    tol : float
        Estimated remaining gain, in nats, at which a start stops.
    parameter_tol : float
        Largest change of a packed parameter by an EM step at which a start stops; both must hold.
    max_passes : int
        Passes over the data that a start may take.
    seed : int
        Start `i` draws from ``SeedSequence([seed, i])``, so its result does not depend on the others.
    threads : int
        Workers over chunks, or over starts where there is one chunk, or within that chunk where there is one start; cannot
        change the result.
    on_pass : callable, optional
        Called with each `Pass`, from the thread that made it.
    accelerate : bool
        False for plain EM. Hard assignment and models with corners are never accelerated.
    short_runs : int
        Runs of ten passes of plain EM from as many starts, of which the best `starts` go on; 0 for none (Biernacki,
        Celeux & Govaert 2003, doi:10.1016/S0167-9473(02)00163-9, "em-EM").
    warm : {"annealed", "sampled", "online", "incremental"}, optional
        What the first `warm_passes` passes of each start do: powers of the conditional distribution that rise to 1,
        draws instead of expectations (stochastic EM), or an M-step after each chunk.
    warm_passes : int
        At least 1.
    executor : {"serial", "threads", "processes"} or distributed.Client
        Where the chunks are worked on; cannot change the result.
    checkpoint : path, optional
        File from which an interrupted fit goes on, to the same bytes; deleted when the fit is done. Only read your
        own: it is a pickle, though one from which nothing but values is read.
    certificate : bool
        Whether to read standard errors and missing information from the curvature at the end.
    look : bool
        False for a climb that ends by its trace alone: cheaper where a pass is dear.
    order : int
        Differences that Anderson mixing remembers in a climb without a look; 0 for plain EM there.
    search : int
        Passes that each start may first spend on a search for a high hill, `emtools.engine.search.search`; 0 for none.
        The model must offer moves.
    ended : mapping of int to Climb, optional
        Ends of starts that were climbed elsewhere, by `climb_starts`; the others are climbed here.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If `strategy` is unknown or a number is out of range, or the checkpoint or the best end belongs to another fit.
    FitError
        If no start ended with usable parameters.
    """
    strategy = strategy or model.strategies[0]
    if strategy not in model.strategies:
        raise InputError("starts", f"strategy {strategy!r}", f"one of {', '.join(model.strategies)}")
    count = len(init) or starts
    if (
        count < 1
        or max_passes < 1
        or not tol > 0
        or not parameter_tol > 0
        or warm_passes < 1
        or min(short_runs, search) < 0
    ):
        raise InputError("fit", f"starts={count}, max_passes={max_passes}, tol={tol}", "positive numbers")
    check_assignment(model, assign, warm)
    if search and not offers_moves(model):
        raise InputError("fit", f"search={search} for {model.name}", "a model that offers moves", "use several starts")
    plan = Plan(model, source, strategy, init, seed, warm, warm_passes)
    limits: dict[str, Any] = {"assign": assign, "tol": tol, "parameter_tol": parameter_tol, "max_passes": max_passes}
    limits |= {"look": look, "order": order}

    with make_executor(executor, threads) as pool:
        chunk_map, start_map = maps_of(pool, source, count, executor)
        run: Callable[..., Climb[P, S]] = partial(
            climb, model, source, chunk_map=chunk_map, on_pass=on_pass, accelerate=accelerate, **limits
        )
        n_short = 0
        if short_runs > count and not init:
            plan, n_short = after_short_runs(plan, count, short_runs, assign, start_map, chunk_map)
        saved, resumed = None, {}
        if checkpoint is not None:
            identity = (
                model.name,
                dict(model.hyperparameters),
                strategy,
                limits,
                accelerate,
                seed,
                warm,
                warm_passes,
                search,
            )
            package = type(model).__module__.split(".")[0]
            shape = (count, short_runs, source.n_units, source.n_chunks)
            first = [model.pack(params).tolist() for params in init]
            saved = Checkpoint(Path(checkpoint), (*identity, *shape, first), package)
            resumed = saved.load()
            with saved.blamed():
                held = held_of(model, resumed)
            check_data(model, source, assign, held, chunk_map, Path(checkpoint))
            run = partial(run, on_pass=on_pass and partial(tell_outside, on_pass, saved))

        searched: list[int] = []
        elsewhere = ended or {}

        def one(restart: int) -> Climb[P, S]:
            if restart in elsewhere:
                return elsewhere[restart]
            before = resumed.get(restart)
            if isinstance(before, Climb):
                return before
            on_state = None if saved is None else partial(saved.save, restart)
            if before is not None:
                start = before.params
            elif search and not init:
                start, passes = find_hill(model, source, search, seed=(seed, restart), chunk_map=chunk_map)
                searched.append(passes)
            else:
                start = plan.first(restart)
            more: dict[str, Any] = {"state": before, "on_state": on_state, "warm": plan.warming(restart)}
            with saved.blamed(restart) if saved is not None and before is not None else nullcontext():
                ended: Climb[P, S] = run(start, restart=restart, **more)
            if saved is not None:
                saved.save(restart, ended, now=True)
            return ended

        climbs: list[Climb[P, S]] = start_map(one, range(count))
        usable = [c for c in climbs if c.status in USABLE] or [c for c in climbs if c.status is Status.SADDLE]
        if not usable:
            if saved is not None:
                saved.remove()
            reasons = "; ".join(dict.fromkeys(c.reason for c in climbs if c.reason))
            raise FitError(
                "fit", f"none of {count} starts is usable ({reasons})", "", "use fewer components or a prior"
            )
        best = max(usable, key=lambda c: (c.objective, -c.restart))
        seen = None
        chunk_map, run = pool, partial(run, chunk_map=pool)
        if best.restart in elsewhere:
            best = with_stats(model, source, best, assign, chunk_map)
        if certificate and assign == "soft" and is_smooth(model) and has_errors(model):
            best, seen = certified(model, source, best, run, chunk_map, tol, seed, max_passes)
            climbs = [best if c.restart == best.restart else c for c in climbs]
        params = model.canonical(best.params)
        stats = best.stats if params is best.params else total_stats(model, source, params, assign, chunk_map)

    strategy = f"search of {search} passes" if search and not init else strategy
    name = "given" if init else f"{strategy}, best of {short_runs} short runs" if n_short else strategy
    table = summarise(climbs, name, max(SAME_OPTIMUM, 2.0 * tol))
    several = len(climbs) > 1 and is_smooth(model)
    unit = units(model, stats, model.pack(params)) if several else np.ones(model.pack(params).size)
    fitted = Fit(
        model=model,
        params=params,
        stats=replace(stats, loglik=best.loglik),
        status=best.status,
        verdict=write_verdict(best, table),
        summary=write_verdict(best, table),
        loglik=best.loglik,
        objective=best.objective,
        gap=best.gap,
        rate=best.rate,
        passes=n_short + sum(searched) + sum(len(c.trace) for c in climbs),
        trace=tuple(row for c in climbs for row in c.trace),
        starts=table,
        assign=assign,
        seed=seed,
        certificate=seen,
        events=best.events,
        optima=map_optima(model, climbs, table, params, unit),
    )
    if saved is not None:
        saved.remove()
    return fitted if seen is None else judge(fitted, seen)


def maps_of(pool: Map, source: Source[Any], count: int, executor: Any) -> tuple[Map, Map]:
    """The maps over chunks and over starts, one of which has the workers."""
    wide = source.n_chunks > 1 or count == 1 or executor != "threads"
    return (pool, in_turn) if wide else (in_turn, pool)


def climb_starts(
    model: Model[P, S, C],
    source: Source[C],
    restarts: Sequence[int],
    *,
    init: Sequence[P] = (),
    seed: int = 0,
    threads: int = 1,
    executor: Any = "threads",
    **climbing: Any,
) -> list[Climb[P, S]]:
    """Some of the starts of a fit, for `fit` to take as `ended`: a start has the same bits wherever it is climbed.

    Parameters
    ----------
    model, source, init, seed, threads, executor
        As in `fit`; starts by the first strategy of the model.
    restarts : sequence of int
        Numbers of the starts, from 0.
    **climbing
        Of `emtools.engine.loop.climb`.
    """
    plan = Plan(model, source, model.strategies[0], init, seed, None, 0)
    with make_executor(executor, threads) as pool:
        chunk_map, start_map = maps_of(pool, source, len(restarts), executor)
        run: Callable[..., Climb[P, S]] = partial(climb, model, source, chunk_map=chunk_map, **climbing)
        return start_map(lambda restart: run(plan.first(restart), restart=restart), restarts)


def with_stats(
    model: Model[P, S, C], source: Source[C], end: Climb[P, S], assign: Assign, chunk_map: Map
) -> Climb[P, S]:
    """An end that was reached elsewhere, with its statistics, by one pass that also shows whether it is of these data.

    Processors differ in the last bits of exponentials, so that the two log-likelihoods need not be the same to the last.

    Raises
    ------
    InputError
        If its log-likelihood is not that of these data.
    """
    try:
        stats = total_stats(model, source, end.params, assign, chunk_map)
        apart = abs(stats.loglik - end.loglik)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        got = f"parameters that are none of this model ({error})"
        raise InputError(f"start {end.restart + 1}", got, "an end of this fit", "climb it anew") from error
    if not apart <= SAME_END * (1.0 + abs(stats.loglik)):
        got = f"a log-likelihood of {end.loglik}, {stats.loglik} with these data"
        raise InputError(f"start {end.restart + 1}", got, "an end on these data", "climb it anew")
    return replace(end, stats=stats)


def check_assignment(model: Any, assign: Assign, warm: str | None) -> None:
    """Refuse what the model does not offer.

    Raises
    ------
    InputError
        If `assign` or `warm` is unknown to the model.
    """
    offered = assigns_of(model)
    asked = {Annealed: "annealed", Sampled: "sampled"}.get(type(assign), assign)
    if asked not in offered or (warm in ("annealed", "sampled") and warm not in offered):
        wrong = asked if asked not in offered else warm
        raise InputError("fit", f"assignment {wrong!r}", f"one of {', '.join(offered)} for {model.name}")
    if warm is not None and warm not in WARM:
        raise InputError("fit", f"warm {warm!r}", f"one of {', '.join(WARM)}")


def tell_outside(on_pass: OnPass, saved: Checkpoint, row: Pass) -> None:
    """Call `on_pass`, whose errors are no fault of a checkpoint."""
    try:
        on_pass(row)
    except Exception:
        saved.gone_on.add(row.restart)
        raise


def held_of(model: Model[P, S, C], resumed: Mapping[int, Any]) -> tuple[P, float] | None:
    """Parameters of a checkpoint with their log-likelihood; raises of many kinds where its states are not what a fit has left."""
    held = None
    for before in resumed.values():
        require_sizes(model, before.params)
        points = (before.point, before.safe and before.safe[0]) if isinstance(before, State) else (before,)
        for point in points:
            if point is not None:
                require_sizes(model, point.params)
        if isinstance(before, Climb):
            write_verdict(before, summarise([before], "", SAME_OPTIMUM))
        first = points[0]
        if held is None and first is not None and math.isfinite(first.stats.loglik):
            held = None if any(row.kind == "warm" for row in before.trace) else (first.params, first.stats.loglik)
    return held


def check_data(
    model: Model[P, S, C],
    source: Source[C],
    assign: Assign,
    held: tuple[P, float] | None,
    chunk_map: Map,
    path: Path,
) -> None:
    """Refuse a checkpoint whose log-likelihood is not that of these data, by one pass.

    Raises
    ------
    InputError
        If it differs.
    """
    if held is None:
        return
    params, loglik = held
    now = total_stats(model, source, params, assign, chunk_map).loglik
    if now != loglik:
        got = f"a log-likelihood of {loglik}, {now} with these data"
        raise InputError(str(path), got, "the checkpoint of these data", "delete it to start anew")


def require_sizes(model: Model[P, S, C], params: P) -> None:
    """Raise ValueError where arrays of parameters do not have the sizes that the model gives them: kernels would read beyond."""
    with np.errstate(all="ignore"):
        made = model.unpack(model.pack(params))
    for name, value in vars(made).items():
        found = getattr(params, name)
        if np.shape(found) != np.shape(value) or np.asarray(found).dtype != np.asarray(value).dtype:
            raise ValueError(f"{name} of another size or type")


def after_short_runs(
    plan: Plan[P, S, C], count: int, short_runs: int, assign: Assign, start_map: Map, chunk_map: Map
) -> tuple[Plan[P, S, C], int]:
    """The plan that goes on from the best of many short runs, and the passes that these took."""

    def brief(restart: int) -> Climb[P, S]:
        first = plan.first(restart)
        short: dict[str, Any] = {"max_passes": SHORT_PASSES, "accelerate": False, "chunk_map": chunk_map}
        return climb(plan.model, plan.source, first, assign=assign, restart=restart, **short)

    runs = start_map(brief, range(short_runs))
    usable = sorted((c for c in runs if c.status in USABLE), key=lambda c: (-c.objective, c.restart))
    chosen = [c.params for c in (usable or runs)[:count]]
    chosen += [plan.first(short_runs + i) for i in range(count - len(chosen))]
    return replace(plan, init=chosen), sum(len(c.trace) for c in runs)


def certified(
    model: Model[P, S, C],
    source: Source[C],
    best: Climb[P, S],
    run: Callable[..., Climb[P, S]],
    chunk_map: Map,
    tol: float,
    seed: int,
    max_passes: int,
) -> tuple[Climb[P, S], Certificate]:
    """The best climb with the certificate of its parameters in canonical order; it goes on where that sees a way up.

    All its passes together stay within `max_passes`.
    """
    seen = certify(model, source, model.canonical(best.params), chunk_map, seed=seed)
    for round_ in range(ROUNDS):
        short = seen.kind == "climbing" or seen.gap > 2.0 * max(tol, best.gap)
        ahead = len(best.trace)
        if best.status is not Status.CONVERGED or not (short or seen.kind == "saddle") or ahead >= max_passes:
            break
        on = model.canonical(best.params)
        if seen.kind == "saddle" and seen.along.size:
            packed = model.pack(on)
            ways = [model.unpack(packed + step * seen.along) for step in SIDEWAYS]
            on = max(ways, key=lambda p: total_stats(model, source, p, "soft", chunk_map).loglik + model.log_prior(p))
        more = run(on, restart=best.restart, tol=tol / 10.0 ** (round_ + 1), max_passes=max_passes - ahead)
        if more.status not in USABLE or more.objective < best.objective:
            break
        left = (Event(ahead, "saddle", seen.rate),) if seen.kind == "saddle" else ()
        later = tuple(replace(event, number=event.number + ahead) for event in more.events)
        trace = best.trace + tuple(replace(row, number=row.number + ahead) for row in more.trace)
        best = replace(more, trace=trace, events=best.events + left + later)
        seen = certify(model, source, model.canonical(best.params), chunk_map, seed=seed)
    return best, seen


def with_certificate(
    fitted: Fit[P, S], source: Source[C], threads: int = 1, errors: bool = True, limit: int = LIMIT
) -> Fit[P, S]:
    """The fit with the certificate of its parameters, for one that was made without; `errors` and `limit` as in `certify`."""
    model = fitted.model
    if fitted.assign != "soft" or not (is_smooth(model) and has_errors(model)):
        return fitted
    with make_executor("threads", threads) as pool:
        seen = certify(model, source, fitted.params, pool, seed=fitted.seed, limit=limit, errors=errors)
    return judge(replace(fitted, certificate=seen), seen)


def summarise(climbs: Sequence[Climb[P, S]], strategy: str, same: float) -> tuple[Start, ...]:
    """Table of starts with the optimum that each reached."""
    optima = number_optima([c.objective if c.status is Status.CONVERGED else None for c in climbs], same)
    return tuple(
        Start(c.restart, strategy, c.status, c.objective, len(c.trace), optimum, len(c.events))
        for c, optimum in zip(climbs, optima, strict=True)
    )


def join(first: Fit[P, S], second: Fit[P, S], strategy: str) -> Fit[P, S]:
    """Two fits of one model to one source as one fit, the starts of the second numbered on.

    Parameters
    ----------
    first, second : Fit
        The fits; the better one gives the parameters, the first where they are equal.
    strategy : str
        How the starts of the second were made, for the table.

    Returns
    -------
    Fit
    """
    shift = len(first.starts)
    better, ahead = (second, shift) if second.objective > first.objective else (first, 0)
    later = tuple(replace(s, restart=s.restart + shift, strategy=strategy) for s in second.starts)
    optima = number_optima([s.objective if s.status is Status.CONVERGED else None for s in first.starts + later])
    starts = tuple(replace(s, optimum=optimum) for s, optimum in zip(first.starts + later, optima, strict=True))
    trace = first.trace + tuple(replace(row, restart=row.restart + shift) for row in second.trace)
    restart = better.best_restart + ahead
    climb_of_best = Climb(
        restart,
        better.params,
        better.stats,
        better.status,
        "",
        better.loglik,
        better.objective,
        better.gap,
        better.rate,
        tuple(row for row in trace if row.restart == restart),
    )
    verdict = write_verdict(climb_of_best, starts)
    joined = replace(better, verdict=verdict, summary=verdict, passes=len(trace), trace=trace, starts=starts, optima=())
    return joined if joined.certificate is None else judge(joined, joined.certificate)

"""Many starts, the best kept, all of them reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from emtools.engine.chunks import in_turn, total_stats, workers
from emtools.engine.loop import OnPass, climb
from emtools.engine.protocol import Assign, C, Model, P, S, Source
from emtools.engine.result import SAME_OPTIMUM, Climb, Fit, Start, number_optima, write_verdict
from emtools.engine.stopping import TOL, Status
from emtools.errors import FitError, InputError

USABLE = (Status.CONVERGED, Status.BUDGET)


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
) -> Fit[P, S]:
    """Fit `model` to `source` from several starts and keep the best usable one.

    Parameters
    ----------
    model, source
        What is fitted to what.
    starts : int
        Number of starts, at least 1; ignored where `init` is given.
    strategy : str, optional
        One of ``model.strategies``; by default its first.
    init : sequence of Params, optional
        Parameters to start from instead.
    assign : {"soft", "hard"}
        Expectation, or the single best assignment (as K-means does).
    tol : float
        Estimated remaining gain, in nats, at which a start stops.
    parameter_tol : float
        Largest change of a packed parameter at which a start stops; both must hold.
    max_passes : int
        Passes over the data that a start may take.
    seed : int
        Start `i` draws from ``SeedSequence([seed, i])``, so its result does not depend on the others.
    threads : int
        Threads over chunks, or over starts where there is one chunk; cannot change the result.
    on_pass : callable, optional
        Called with each `Pass`, from the thread that made it.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If `strategy` is unknown or a number is out of range.
    FitError
        If no start ended with usable parameters.
    """
    strategy = strategy or model.strategies[0]
    if strategy not in model.strategies:
        raise InputError("starts", f"strategy {strategy!r}", f"one of {', '.join(model.strategies)}")
    count = len(init) or starts
    if count < 1 or max_passes < 1 or not tol > 0 or not parameter_tol > 0:
        raise InputError("fit", f"starts={count}, max_passes={max_passes}, tol={tol}", "positive numbers")

    with workers(threads) as pool:
        wide = source.n_chunks > 1
        chunk_map, start_map = (pool, in_turn) if wide else (in_turn, pool)

        def one(restart: int) -> Climb[P, S]:
            rng = np.random.default_rng(np.random.SeedSequence([seed, restart]))
            first = init[restart] if init else model.initial_params(source, rng, strategy)
            run = partial(climb, assign=assign, tol=tol, parameter_tol=parameter_tol, max_passes=max_passes)
            return run(model, source, first, restart=restart, chunk_map=chunk_map, on_pass=on_pass)

        climbs: list[Climb[P, S]] = start_map(one, range(count))
        table = summarise(climbs, "given" if init else strategy, max(SAME_OPTIMUM, 2.0 * tol))
        usable = [c for c in climbs if c.status in USABLE]
        if not usable:
            reasons = "; ".join(dict.fromkeys(c.reason for c in climbs if c.reason))
            raise FitError(
                "fit", f"none of {count} starts is usable ({reasons})", "", "use fewer components or a prior"
            )
        best = max(usable, key=lambda c: (c.objective, -c.restart))
        params = model.canonical(best.params)
        stats = best.stats if params is best.params else total_stats(model, source, params, assign, chunk_map)

    return Fit(
        model=model,
        params=params,
        stats=replace(stats, loglik=best.loglik),
        status=best.status,
        verdict=write_verdict(best, table),
        loglik=best.loglik,
        objective=best.objective,
        gap=best.gap,
        rate=best.rate,
        passes=sum(len(c.trace) for c in climbs),
        trace=tuple(row for c in climbs for row in c.trace),
        starts=table,
        assign=assign,
        seed=seed,
    )


def summarise(climbs: Sequence[Climb[P, S]], strategy: str, same: float) -> tuple[Start, ...]:
    """Table of starts with the optimum that each reached."""
    optima = number_optima([c.objective if c.status is Status.CONVERGED else None for c in climbs], same)
    return tuple(
        Start(c.restart, strategy, c.status, c.objective, len(c.trace), optimum)
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
    return replace(better, verdict=verdict, passes=len(trace), trace=trace, starts=starts)

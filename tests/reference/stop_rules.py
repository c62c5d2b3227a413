"""Where the default stop rules of other packages end plain EM: ``cd tests && python -m reference.stop_rules [starts]``.

The rules are applied to the trace of plain EM on slow_problems.py, each with the parameters that its package would
return: scikit-learn's GaussianMixture (change of the mean log-likelihood of a row below 1e-3, then one more M-step),
mclust (relative change below 1e-5) and hmmlearn (rise below 1e-2 nats, then one more M-step). Their limits on
iterations (100, none, 10) are not applied. scikit-learn (test_passes.py) and mclust 6.0.0 (its `em` on
slow_overlap.tsv, five starts) stop at the same pass with the same nats left. Printed is a Markdown table of nats left
and standard errors off, median and worst of the starts.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from reference.slow_problems import PROBLEMS, SlowProblem


@dataclass(frozen=True)
class Rule:
    """When a package stops.

    Parameters
    ----------
    name : str
        Package and tolerance.
    stops : callable
        ``stops(before, after, n)``: two log-likelihoods in turn, and the rows.
    more : int
        Steps of EM from the parameters of the second to those returned.
    """

    name: str
    stops: Callable[[float, float, float], bool]
    more: int


RULES = (
    Rule("scikit-learn, 1e-3 a row", lambda before, after, n: abs(after - before) / n < 1e-3, 1),
    Rule("mclust, 1e-5 relative", lambda before, after, n: abs(after - before) / (1.0 + abs(after)) < 1e-5, 0),
    Rule("hmmlearn, 1e-2", lambda before, after, n: after - before < 1e-2, 1),
)


class Stopped(Exception):
    """Every rule has stopped."""


@dataclass(frozen=True)
class End:
    """Where a rule stops one start: passes taken, nats left, and the worst distance in standard errors."""

    passes: int
    left: float
    errors: float


def ends(problem: SlowProblem, start: Any, top: dict[str, np.ndarray], errors: dict[str, np.ndarray]) -> list[End]:
    """Where each rule stops plain EM from one start."""
    from emtools.engine.loop import climb

    model = problem.model
    places: list[tuple[float, Any]] = []
    found: dict[int, int] = {}

    def look(state: Any) -> None:
        places.append((state.point.objective, state.point.params))
        t = len(places) - 1
        for i, rule in enumerate(RULES):
            if i not in found and t and rule.stops(places[t - 1][0], places[t][0], state.point.stats.n):
                found[i] = t + rule.more
        if len(found) == len(RULES) and t >= max(found.values()):
            raise Stopped

    with contextlib.suppress(Stopped):
        climb(model, problem.source, start, tol=1e-14, max_passes=20_000, accelerate=False, on_state=look)
    result = []
    for i in range(len(RULES)):
        loglik, params = places[found[i]]
        natural = model.natural(model.canonical(params))
        off = max(float(np.max(np.abs(natural[name] - top[name]) / errors[name])) for name in top)
        result.append(End(found[i] + 1, problem.maximum - loglik, off))
    return result


def rows(name: str, n_starts: int) -> list[str]:
    """Rows of the table for one problem."""
    from emtools.engine.certificate import certify
    from emtools.engine.starts import fit

    problem = PROBLEMS[name]()
    top = fit(problem.model, problem.source, init=problem.starts[:1], tol=1e-11, max_passes=50_000)
    assert abs(top.loglik - problem.maximum) < 1e-9
    errors = certify(problem.model, problem.source, top.params).standard_errors
    natural = problem.model.natural(top.params)
    by_start = [ends(problem, start, natural, errors) for start in problem.starts[:n_starts]]
    lines = []
    for i, rule in enumerate(RULES):
        passes, left, off = (
            np.array([getattr(e[i], field) for e in by_start]) for field in ("passes", "left", "errors")
        )
        cells = [
            problem.title,
            rule.name,
            f"{np.median(passes):.0f}",
            f"{np.median(left):.2g} / {left.max():.2g}",
            f"{np.median(off):.2g} / {off.max():.2g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    n_starts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("| problem | rule | passes | nats left | standard errors off |\n|---|---|---|---|---|")
    for name in PROBLEMS:
        print("\n".join(rows(name, n_starts)), flush=True)
    print(f"\nPasses are medians, the others median / worst of {n_starts} starts.")


if __name__ == "__main__":
    main()

"""What is left where a climb is called converged: ``cd tests && python -m reference.called_converged [starts]``.

Every reference of test_exact.py and every slow problem, from random starts (a thousand by default; some minutes). A
climb at the default tolerance that says converged goes on to 1e-12 nats; what it still gains there was left. Printed
is a Markdown table; the exit status is 1 if a climb that was called converged had more than 1e-6 nats left, or ended
at Murray's saddle.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from reference.slow_problems import PROBLEMS
from reference.test_exact import EXACT, REFERENCES

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.engine.stopping import Status
from emtools.models.laplace_uniform import LaplaceUniform

PROMISED = 1e-6  # nats


@dataclass(frozen=True)
class Tally:
    """What became of the starts of one problem.

    Parameters
    ----------
    statuses : Counter
        How they ended.
    left : list of float
        Nats left where converged was said.
    said : list of float
        Nats that the climb said were left there.
    n_top : int
        Converged starts within 1e-5 nats of the best.
    """

    statuses: Counter[str]
    left: list[float]
    said: list[float]
    n_top: int


def ended(model: Any, source: Any, starts: list[Any]) -> Tally:
    """Climb from each start, and on from where converged was said; by plain EM where that gains much."""
    statuses: Counter[str] = Counter()
    left, said, tops = [], [], []
    for start in starts:
        end = climb(model, source, start)
        statuses[str(end.status)] += 1
        if end.status is not Status.CONVERGED:
            continue
        top = climb(model, source, end.params, tol=1e-12, max_passes=5000)
        if top.objective - end.objective > PROMISED:
            top = climb(model, source, end.params, tol=1e-12, max_passes=50_000, accelerate=False)
        left.append(top.objective - end.objective)
        said.append(end.gap)
        tops.append(end.objective)
    return Tally(statuses, left, said, sum(top > max(tops) - 1e-5 for top in tops))


def drawn(name: str, count: int) -> tuple[Any, Any, list[Any]]:
    """Model, data and random starts of a problem."""
    seeds = np.random.SeedSequence(3).spawn(count)
    if name == "laplace_uniform":
        model, source = LaplaceUniform(), ArraySource(np.array(EXACT[name]["data"], dtype=float))
        return model, source, [model.initial_params(source, np.random.default_rng(s), "profile") for s in seeds]
    if name in PROBLEMS and name not in REFERENCES:
        slow = PROBLEMS[name]()
        return slow.model, slow.source, slow.starts[:count]
    reference = REFERENCES[name]()
    model, source = reference.model, reference.source
    return model, source, [model.initial_params(source, np.random.default_rng(s), "random") for s in seeds]


def main() -> int:
    names = list(dict.fromkeys([*REFERENCES, "laplace_uniform", *PROBLEMS]))
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    saddle = float(EXACT["murray_saddle"]["loglik"])
    print("| problem | ended | at the best | most nats left | said there |\n|---|---|---|---|---|")
    bad, n_starts = False, 0
    for name in names:
        model, source, starts = drawn(name, -(-total // len(names)))
        n_starts += len(starts)
        tally = ended(model, source, starts)
        worst = int(np.argmax(tally.left)) if tally.left else -1
        most = tally.left[worst] if tally.left else 0.0
        bad |= most > PROMISED
        if name.startswith("murray"):
            best = float(EXACT[name]["loglik"])
            bad |= tally.n_top != len(tally.left) or best - saddle < PROMISED
        statuses = ", ".join(f"{count} {status}" for status, count in tally.statuses.most_common())
        said = f"{tally.said[worst]:.1e}" if tally.said else "nothing"
        print(f"| {name} | {statuses} | {tally.n_top} | {most:.1e} | {said} |", flush=True)
    print(f"\n{n_starts} starts.")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())

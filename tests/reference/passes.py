"""Passes to within 1e-8 nats of the maximum: ours, plain EM and R's SQUAREM, from the same hundred starts.

``cd tests && python -m reference.passes`` measures ours (a minute) and prints a Markdown table for the docs; with
``--plain`` plain EM is measured too (ten minutes). Counts lie in passes.json, those of R in squarem.json (squarem.R).
A pass is one E-step over the data, refused proposals and looks at the EM map included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reference.slow_problems import MAXIMUM, NEAR, PROBLEMS, SlowProblem

HERE = Path(__file__).parent
MOST = 6000  # passes of plain EM at most
TOL = 1e-9  # nats: tighter than `NEAR`, so that a climb cannot stop before it
WITHIN = {"london_times": (60, 100), "overlap": (110, 150), "missing": (100, None)}  # median, 95th percentile


class Reached(Exception):
    """Plain EM is near the top."""


def passes_to(climb_trace: Sequence[Any], top: float, near: float = NEAR) -> int | None:
    """Passes until the objective is within `near` nats of `top`, that pass included; None where it never is.

    Parameters
    ----------
    climb_trace : sequence of Pass
        Of one start.
    top : float
        Objective in nats: of the maximum, or of where this start ends.
    """
    return next((i + 1 for i, row in enumerate(climb_trace) if row.objective >= top - near), None)


def ours(problem: SlowProblem) -> list[int | None]:
    from emtools.engine.loop import climb

    ends = [climb(problem.model, problem.source, start, tol=TOL) for start in problem.starts]
    return [passes_to(end.trace, problem.maximum) for end in ends]


def plain(problem: SlowProblem) -> list[int | None]:
    from emtools.engine.loop import climb

    counts: list[int | None] = []
    for start in problem.starts:
        rows: list[Any] = []

        def stop_near(row: Any, rows: list[Any] = rows) -> None:
            # Where the gain is lost in rounding the loop looks around: no passes of EM.
            if row.kind == "look":
                return
            rows.append(row)
            if row.objective >= problem.maximum - NEAR:
                raise Reached

        with contextlib.suppress(Reached):
            climb(problem.model, problem.source, start, tol=1e-14, max_passes=MOST, accelerate=False, on_pass=stop_near)
        counts.append(passes_to(rows, problem.maximum))
    return counts


def spread(counts: Sequence[int | None]) -> str:
    """Median, 95th percentile and how many never came near, if any."""
    there = [count for count in counts if count is not None]
    lost = len(counts) - len(there)
    text = f"{np.median(there):.0f} / {np.percentile(there, 95):.0f}" if there else "never"
    return f"{text} ({lost} never)" if lost and there else text


def table(measured: dict[str, dict[str, list[int | None]]]) -> str:
    """Markdown: one row per problem, cells of median / 95th percentile."""
    squarem = json.loads((HERE / "squarem.json").read_text())
    of_r = {(row["problem"], row["control"]): row for row in squarem["results"]}
    lines = [
        f"| problem | EM | SQUAREM {squarem['SQUAREM']}, default | its falls | monotone | emtools | most beside EM |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in MAXIMUM:
        counts = measured[name]
        default, monotone = of_r[name, "default"], of_r[name, "monotone"]
        falls = f"{default['n_falls']} in {default['n_runs_with_falls']} runs, up to {default['largest_fall']:.2g} nats"
        pairs = zip(counts["emtools"], counts["plain"], strict=True)
        share = max(mine / em for mine, em in pairs if mine is not None and em is not None)
        cells = [
            PROBLEMS[name]().title,
            spread(counts["plain"]),
            spread(default["passes"]),
            falls if default["n_falls"] else "none",
            spread(monotone["passes"]),
            spread(counts["emtools"]),
            f"{100.0 * share:.2g} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.append("Median / 95th percentile of 100 starts; last column: largest share of EM's passes from one start.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain", action="store_true", help="measure plain EM again")
    parser.add_argument("--problem", choices=list(PROBLEMS), action="append", help="only this problem")
    arguments = parser.parse_args()
    path = HERE / "passes.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.problem or PROBLEMS:
        problem = PROBLEMS[name]()
        known = measured.setdefault(name, {})
        if arguments.plain or "plain" not in known:
            known["plain"] = plain(problem)
            path.write_text(json.dumps(measured) + "\n")
        known["emtools"] = ours(problem)
        path.write_text(json.dumps(measured) + "\n")
    print(table(measured))


if __name__ == "__main__":
    main()

"""The study of acceleration (benchmarks/engine_speed.py): what is told of one method on one problem."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.engine_speed import by_us, merged, summary
from tests.reference.slow_problems import NEAR, PROBLEMS


def test_a_start_that_ends_elsewhere_counts_as_never_and_in_no_median():
    rows = [(True, 30, 40, 0.1, -5.0), (True, 50, 90, 0.3, -5.0 - 5e-9), (False, 3, 4, 9.0, np.nan)]
    told = summary(pd.DataFrame(rows, columns=["there", "passes", "steps", "seconds", "loglik"]), -5.0)
    assert told["never"] == 1
    assert (told["passes"], told["passes_95"], told["steps"], told["cpu_ms"]) == (40.0, 49, 65.0, 200.0)
    assert told["nats_short"] == "5.0e-09"


def test_our_climbs_are_counted_to_the_first_pass_that_is_near():
    problem = PROBLEMS["london_times"]()
    (row,) = by_us(problem, 1).to_dict("records")
    assert row["there"]
    assert row["passes"] < 100
    assert problem.maximum - row["loglik"] < NEAR


def test_rows_of_a_peer_that_is_not_here_stay_in_their_problem():
    stored = pd.DataFrame(
        [("London Times", "emtools", 9.0), ("London Times", "peer", 8.0), ("Normal, 40 % missing", "emtools", 7.0)]
    )
    rows = pd.DataFrame([("London Times", "emtools", 1.0), ("Three overlapping normals", "emtools", 2.0)])
    for table in (stored, rows):
        table.columns = ["problem", "method", "passes"]
    assert merged(rows, stored)["passes"].tolist() == [1.0, 8.0, 2.0, 7.0]

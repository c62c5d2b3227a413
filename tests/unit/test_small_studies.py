"""The studies of speed on small sizes: both sides must give the same answers; how long they take is not looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benchmarks import (
    engine_speed,
    field_speed,
    hmm_speed,
    impute_speed,
    kmeans_speed,
    mixture_fits,
    mixture_speed,
    motif_speed,
    out_of_core,
)
from emtools.models.mixture import GaussianMixture
from tests.reference.slow_problems import PROBLEMS

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """Studies start processes of their own by module; BLAS has one thread, as in the whole run."""
    monkeypatch.chdir(ROOT)
    with threadpool_limits(1):
        yield


def by_header(header: str, cells: list[str]) -> dict[str, str]:
    return dict(zip(header.split("\t"), cells, strict=True))


@pytest.mark.parametrize("size", [(2_000, 4, 3), (3_000, 10, 8)])
def test_kmeans_ends_with_the_inertia_of_scikit_learn(size):
    row = by_header(kmeans_speed.HEADER, kmeans_speed.case(*size).split("\t"))
    assert float(row["inertia, ours"]) == pytest.approx(float(row["inertia, scikit-learn"]), rel=1e-9)


@pytest.mark.parametrize("family", list(mixture_speed.KINDS))
@pytest.mark.parametrize(("kind", "bound"), [("float64", 1e-10), ("float32", 1e-4)])
def test_a_pass_of_a_mixture_has_the_log_likelihood_of_scikit_learn(family, kind, bound):
    row = by_header(mixture_speed.HEADER, mixture_speed.case(3_000, 5, 3, family, kind, 1.5))
    assert float(row["difference"]) < bound


def test_a_fit_of_a_mixture_is_as_high_as_scikit_learn():
    values, start = mixture_fits.rows_and_start(2_000, 4, 3)
    row = mixture_fits.row(
        GaussianMixture(3, 4), values, start, mixture_fits.scikit_learn(1e-4)
    )  # ends in an error if lower
    assert len(row) == len(mixture_fits.HEADER.split("\t")) - 5


@pytest.mark.parametrize("n_classes", field_speed.CLASSES)
def test_a_sweep_of_the_field_gives_the_shares_of_numpy(n_classes):
    assert float(field_speed.measured(64, n_classes)["difference"]) < 1e-5


@pytest.mark.parametrize("n_states", hmm_speed.STATES)
def test_a_pass_over_letters_has_the_log_likelihood_of_the_readable_sweep(n_states):
    sequences = hmm_speed.make_letters(4, 5_000, n_states)
    ours = hmm_speed.run_ours(sequences, n_states, 1, 1)["logliks"][0]
    assert ours == pytest.approx(hmm_speed.run_plain(sequences, n_states)["logliks"][0], rel=1e-12)


def test_no_peer_finds_a_higher_top_of_the_normal(tmp_path):
    runner = impute_speed.Runner(impute_speed.make_table(400, 6), tmp_path, 60, None)
    rows = list(impute_speed.compare(runner, ["sklearn"]))
    assert rows[0]["note"].endswith("converged")
    assert float(rows[1]["nats_short"]) > -1e-6


def test_the_planted_motif_is_found():
    assert motif_speed.measured(300, (8, 20))["f1"] > 0.85


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_the_engine_reaches_the_top_of_a_slow_problem(name):
    problem = PROBLEMS[name]()
    climbs = engine_speed.by_us(problem, 2)
    assert climbs["there"].all()
    assert (climbs["loglik"] > problem.maximum - 1e-8).all()


def test_a_stream_has_the_log_likelihood_of_the_rows_in_memory(tmp_path):
    out_of_core.write_rows(tmp_path / "rows.npy", 30_000)
    assert np.isfinite(
        list(out_of_core.alternate(tmp_path / "rows.npy").values())
    ).all()  # ends in an error if they differ

"""Isochores: limits where the literature has them, the M-step by hand, windows of letters, and phage lambda from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emtools.branches.hmm import track
from emtools.branches.hmm.track_types import Options
from emtools.cli import build_parser, main
from emtools.commands.sequences import route_hmm
from emtools.engine.chunks import total_stats
from emtools.engine.series import SeriesSource
from emtools.engine.starts import fit
from emtools.io.fasta import Record
from emtools.io.gc_windows import gc_windows
from emtools.io.intervals import read_bed
from emtools.models.isochores import FAMILIES, LEFT, LEVELS, LIMITS, STAYED, IsochoreHMM

GENOME = Path("resources/lambda.fa")


@pytest.mark.parametrize("variance", [0.5, 9.0])
def test_the_likelier_family_changes_at_the_limits(variance):
    model = IsochoreHMM()
    params = model.params(0.9, variance)
    for k, limit in enumerate(LIMITS):
        below, above = (model.viterbi(params, np.array([limit + by])) for by in (-0.01, 0.01))
        assert (FAMILIES[below[0]], FAMILIES[above[0]]) == FAMILIES[k : k + 2]


def test_the_m_step_is_the_share_of_stays_and_the_mean_square():
    rng = np.random.default_rng(1)
    series = [rng.normal(np.repeat([36.0, 48.0, 55.0], 6), 1.0), rng.normal(40.0, 1.5, size=5)]
    series[0][3] = np.nan
    model, source = IsochoreHMM(), SeriesSource(series)
    params = model.params(0.8, 4.0)
    stats = total_stats(model, source, params)
    shares = np.concatenate([model.posterior(params, values) for values in series])
    values = np.concatenate(series)
    seen = ~np.isnan(values)
    square = (shares * (values[:, None] - LEVELS) ** 2)[seen].sum()
    after = model.m_step(stats, params)
    assert after.covariances[:, 0].tolist() == pytest.approx([square / seen.sum()] * 5, rel=1e-12)
    stayed = np.trace(stats.n_transition)
    assert stats.n_transition.sum() == pytest.approx(21.0)
    assert after.transition[2, 2] == pytest.approx((stayed + STAYED) / (21.0 + STAYED + LEFT), rel=1e-12)
    assert after.means.ravel().tolist() == LEVELS.tolist()


def test_spread_and_stay_are_found_again():
    rng = np.random.default_rng(3)
    series = []
    for _ in range(30):
        states = [int(rng.integers(5))]
        while len(states) < 60:
            states.append(
                states[-1] if rng.random() < 0.88 else int(rng.choice([k for k in range(5) if k != states[-1]]))
            )
        series.append(rng.normal(LEVELS[states], 1.2))
    fitted = fit(IsochoreHMM(), SeriesSource(series), starts=1)
    assert fitted.converged
    assert fitted.params.transition[0, 0] == pytest.approx(0.88, abs=0.025)
    assert np.sqrt(fitted.params.covariances[0, 0]) == pytest.approx(1.2, abs=0.06)


def test_windows_on_the_levels_are_degenerate():
    model = IsochoreHMM()
    params = model.params(0.9, 1e-9)
    assert "level" in model.degenerate(total_stats(model, SeriesSource([np.array([35.0])]), params), params)


def test_windows_of_letters_count_what_is_known():
    codes = np.array([1, 1, 0, 3, 1, 2, 4, 0, 4, 4, 4, 1, 1, 1, 0], dtype=np.uint8)
    first, second = gc_windows(
        [Record("a", "", codes), Record("n", "", np.full(9, 4, np.uint8)), Record("b", "", codes[:4])], 4
    )
    np.testing.assert_allclose(first.values, [50.0, 200.0 / 3.0, np.nan, 200.0 / 3.0])
    assert first.ends.tolist() == [4, 8, 12, 15]
    assert (second.name, second.values.tolist()) == ("b", [50.0])


def test_the_arms_of_lambda(tmp_path):
    """The left arm is the GC-rich one; Skalka, Burgi & Hershey (1968)."""
    out = tmp_path / "out"
    assert main(["hmm", str(GENOME), "--model", "isochores", "--bin", "2000", "--out", str(out), "--quiet"]) == 0
    segments = read_bed(out / "segments.bed")
    assert [(s.name, s.start, s.end) for s in segments[:2]] == [("H3", 0, 22_000), ("L2", 22_000, 28_000)]
    assert {s.name for s in segments[2:]} == {"H1", "H2"}
    assert segments[-1].end == 48_502
    record = json.loads((out / "fit.json").read_text())
    assert set(record["parameters"]) == {"stay", "variance"}
    assert record["parameters"]["variance"]["se"] > 0.0
    assert {name: part["unit"] for name, part in record["parameters"].items()} == {
        "stay": "probability",
        "variance": "(% GC)²",
    }
    table = pd.read_csv(out / "posteriors.tsv.gz", sep="\t")
    assert list(table.columns) == ["record", "start", "end", "value", *FAMILIES]
    page = (out / "report.html").read_text()
    assert "Costantini" in page
    assert "ascending level" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "0 windows of 100,000 letters"),
        (("--bin", "6000"), "8 windows of 6,000 letters"),
        (("--states", "3"), "--states: given with --model isochores"),
        (("--sample", "5"), "--sample: given with --model isochores"),
        (("--pseudocount", "1"), "--pseudocount: given with --model isochores"),
        (("--bin", "2000", "--only-starts", "1-2"), "one start"),
    ],
)
def test_what_isochores_do_not_know_is_refused(words, message, tmp_path, capsys):
    assert main(["hmm", str(GENOME), "--model", "isochores", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("emtools: error: ")
    assert error.count("\n") == 0
    assert message in error


@pytest.mark.parametrize("model", ["isochores", "cpg", "coding"])
def test_starts_that_a_ready_made_model_does_not_have_are_told(model, capsys):
    def told(*words):
        chosen = route_hmm(vars(build_parser().parse_args(["hmm", str(GENOME), "--out", "out", *words])))
        return chosen["starts"], capsys.readouterr().err

    line = f"hmm: --model {model} has one start, from what is known of it; --starts 5 is not used\n"
    assert told("--model", model) == told("--model", model, "--starts", "1") == (1, "")
    assert told("--model", model, "--starts", "5") == (1, line)
    assert (told("--states", "2"), told("--states", "2", "--starts", "5")) == ((10, ""), (5, ""))


def test_the_page_has_the_limits_of_the_model():
    for text in (
        track.KNOWN,
        track.methods(
            Options(input=GENOME, out=Path("o"), states=(5, 5), model="isochores"), IsochoreHMM(), 1000, None
        ),
    ):
        assert ", ".join(f"{limit:g}" for limit in LIMITS[:-1]) + f" and {LIMITS[-1]:g} %" in text


def test_windows_that_all_lie_on_a_level_are_one_clear_error(tmp_path, capsys):
    path = tmp_path / "flat.fa"
    path.write_text(">a\n" + ("G" * 35 + "A" * 65) * 40 + "\n")
    assert main(["hmm", str(path), "--bin", "100", "--model", "isochores", "--out", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert (
        f"{path}: none of 1 starts is usable (every window lies on the level of a family); use another --bin" in error
    )
    assert "components" not in error
    assert not (tmp_path / "out").exists()

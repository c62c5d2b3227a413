"""``emtools show``: a fit.json in the terminal, in the numbers of the file and with the exit status of the fit."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from emtools.cli import main
from emtools.engine.chunks import ArraySource
from emtools.engine.starts import fit
from emtools.models.mixture import GaussianMixture
from emtools.report.own import write_report
from emtools.report.show import BARS, climb_of, estimates_of, number

HEAVY = ("numpy", "pandas", "matplotlib", "jinja2", "scipy")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A real fit of two states."""
    folder = tmp_path_factory.mktemp("show")
    (folder / "a.fa").write_text(">a\n" + "AATATTA" * 30 + "GCCGGCG" * 30 + "ATTATAT" * 30 + "\n")
    assert main(["hmm", str(folder / "a.fa"), "--states", "2", "--starts", "3", "--out", str(folder / "fit")]) == 0
    return folder / "fit"


def test_a_fit_is_shown_with_its_verdict_and_every_number(fitted, capsys):
    assert main(["show", str(fitted)]) == 0
    text = capsys.readouterr().out
    record = json.loads((fitted / "fit.json").read_text())
    assert text.startswith("✓ hmm: categorical hmm · 2 states, fitted to ")
    assert " ".join(text.split()).count(" ".join(record["verdict"].split())) == 1
    assert " ".join(text.split()).count(record["answer"]) == 1
    assert text.index("2 hidden states divide a") < text.index("Converged")
    assert f"{record['loglik']:,.4f} nats" in text
    rows = list(estimates_of(record))
    assert len(rows) == 2 + 4 + 8
    for row in rows:
        assert sum(line.startswith(f"  {row[0]}  ") for line in text.splitlines()) == 1
    value, se = record["parameters"]["emission"]["value"][1][2], record["parameters"]["emission"]["se"][1][2]
    shown = next(row for row in rows if row[0] == "emission [S2, G]")
    assert abs(float(shown[1]) - value) <= 0.05 * se
    assert float(shown[2]) == pytest.approx(se, rel=0.05)


def test_a_folder_and_its_file_are_the_same(fitted, capsys):
    main(["show", str(fitted)])
    folder = capsys.readouterr().out
    main(["show", str(fitted / "fit.json")])
    assert capsys.readouterr().out == folder


def test_the_exit_status_is_that_of_the_fit(fitted, tmp_path, capsys):
    record = json.loads((fitted / "fit.json").read_text()) | {"status": "budget"}
    (tmp_path / "fit.json").write_text(json.dumps(record))
    assert main(["show", str(fitted), str(tmp_path)]) == 3
    text = capsys.readouterr().out
    assert "\n\n✗ hmm" in text
    assert " ".join(text.split()).count(record["answer"]) == 1  # of the fit that converged


def test_columns_that_no_number_has_are_left_out_and_said(fitted, tmp_path, capsys):
    record = json.loads((fitted / "fit.json").read_text())
    for parameter in record["parameters"].values():
        parameter.update(dict.fromkeys(("se", "lower", "upper")))
    (tmp_path / "fit.json").write_text(json.dumps(record))
    main(["show", str(tmp_path)])
    text = capsys.readouterr().out
    assert "  This fit has no standard errors.\n" in text
    assert "95 % interval" not in text
    main(["show", str(fitted)])
    text = capsys.readouterr().out
    assert "no standard errors" not in text
    assert "95 % interval" in text


def test_many_estimates_are_cut_and_said(fitted, tmp_path, capsys):
    record = json.loads((fitted / "fit.json").read_text())
    record["parameters"]["many"] = {"value": list(range(100)), "se": None, "shape": [100]}
    (tmp_path / "fit.json").write_text(json.dumps(record))
    main(["show", str(tmp_path)])
    short = capsys.readouterr().out
    assert f"… and {114 - 24} more: emtools show --all" in short
    assert "many [11]" not in short
    main(["show", "--all", str(tmp_path)])
    assert "many [100]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "se", "text"),
    [
        (0.9997741609, 0.0001316, "0.99977"),
        (256.93, 4.9, "256.9"),
        (7277.3, 693.0, "7,277"),
        (1.0, None, "1"),
        (1.0, 0.0, "1"),
        (None, None, ""),
        (3.2559e-14, 1e-14, "3.256e-14"),
        (12, None, "12"),
    ],
)
def test_digits_follow_the_standard_error(value, se, text):
    assert number(value, se) == text


def test_the_climb_falls_from_left_to_right():
    heights = [-(10.0**-i) for i in range(9)]
    record = {
        "objective": heights[-1],
        "gap": 0.0,
        "starts": [{"restart": 0, "objective": heights[-1], "optimum": 1}],
        "trace": [{"restart": 0, "objective": height} for height in heights],
    }
    bars = [BARS.index(bar) for bar in climb_of(record).split()[0]]
    assert bars[0] == len(BARS) - 1
    assert bars[-1] == 0
    assert bars == sorted(bars, reverse=True)
    assert "1.0e+00 → 1.0e-10 nats below the top" in climb_of(record)
    assert "1.0e+00 → 9.0e-08 nats below the last pass" in climb_of(record | {"gap": None})
    assert climb_of(record | {"trace": record["trace"][-2:], "gap": None}) == ""
    assert climb_of(record | {"trace": record["trace"][-1:]}) == ""
    assert climb_of(record | {"trace": record["trace"][-1:] * 5}) == ""


@pytest.mark.parametrize("certificate", [True, False])
def test_a_climb_whose_top_is_not_known_is_measured_from_its_last_pass(certificate, tmp_path, capsys):
    rng = np.random.default_rng(0)
    source = ArraySource(np.vstack((rng.normal(size=(100, 2)), rng.normal(size=(60, 2)) + 4.0)))
    short = fit(GaussianMixture(2, 2), source, starts=1, max_passes=3, certificate=certificate)
    write_report(short, tmp_path, lead="Two groups of points.")
    record = json.loads((tmp_path / "fit.json").read_text())
    assert record["answer"] == "Two groups of points."
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["show", str(tmp_path)]) == 3
    shown = capsys.readouterr().out
    assert record["answer"] in page
    assert record["answer"] not in shown
    assert (record["gap"] is None) != certificate
    if not certificate:
        assert 'data-gap=""' in page
        assert "from the last pass of the start that was kept" in page
        assert "nats below the last pass, log axis" in shown
        assert "an unknown number of nats left" in page
    else:
        assert f'data-gap="{record["gap"]}"' in page
        assert "from the top of the best hill" in page
        assert "nats below the top, log axis" in shown


def test_what_is_no_fit_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "fit.json").write_text("{")
    assert main(["show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"emtools: error: {tmp_path / 'fit.json'}: not JSON")


def test_a_terminal_without_unicode_still_shows(fitted):
    done = subprocess.run(
        [sys.executable, "-m", "emtools", "show", str(fitted)],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        check=True,
    )
    assert b"log-likelihood" in done.stdout


def test_nothing_heavy_is_imported(fitted):
    probe = f"import sys; from emtools.cli import main; main(['show', {str(fitted)!r}]); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

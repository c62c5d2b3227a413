"""``emtools impute`` from end to end: what it writes, and one clear line and nothing left for every bad input."""

from __future__ import annotations

import csv
import gzip
import json
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emtools.cli import main
from emtools.imputing.advice import what_to_know
from emtools.io.outputs import OWN
from emtools.io.tables import read_table
from emtools.plots.impute import draw_accuracy, draw_imputed, short

OUTPUTS = {
    "fit.json",
    "report.html",
    "convergence.svg",
    "convergence.png",
    "conditional_sd.tsv",
    "imputed_cells.tsv",
    "parameters.tsv",
    "missingness.svg",
    "missingness.png",
    "imputed.svg",
    "imputed.png",
    "shrinkage.svg",
    "shrinkage.png",
    "overimputed.svg",
    "overimputed.png",
    "correlations.svg",
    "correlations.png",
    "information.svg",
    "information.png",
    "diagnostics.tsv",
    "patterns.tsv",
    "dictionary.tsv",
    "imputed.tsv",
    "model.npz",
}


def make_tables(folder, n=60):
    """A TSV with gaps and its truth: three correlated markers (one log-normal), an id and a column of text."""
    rng = np.random.default_rng(4)
    base = rng.normal(size=(n, 1))
    markers = base + 0.6 * rng.normal(size=(n, 3))
    truth = pd.DataFrame(markers.round(4), columns=["crp", "il6", "tnf"])
    truth["crp"] = np.exp(markers[:, 0]).round(5)
    truth.insert(0, "patient", [f"P{i}" for i in range(n)])
    truth["site"] = rng.choice(["north", "south"], size=n)
    gaps = rng.random((n, 3)) < 0.2
    gaps[-1] = True
    table = truth.copy()
    table[["crp", "il6", "tnf"]] = truth[["crp", "il6", "tnf"]].mask(gaps)
    table.to_csv(folder / "gaps.tsv", sep="\t", index=False)
    truth.to_csv(folder / "truth.tsv", sep="\t", index=False)
    return folder / "gaps.tsv", folder / "truth.tsv"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    gaps, truth = make_tables(folder)
    words = [
        "impute",
        str(gaps),
        "--id",
        "patient",
        "--log",
        "crp",
        "--truth",
        str(truth),
        "--out",
        str(folder / "out"),
    ]
    assert main(words) == 0
    return folder, gaps, truth


def test_all_files_are_there(done):
    made = {path.name for path in (done[0] / "out").iterdir()} - {".outputs.json"}
    assert made == OUTPUTS | {"completed.tsv", "accuracy.tsv", "accuracy.svg", "accuracy.png"}
    assert set(json.loads((done[0] / "out" / "fit.json").read_text())["outputs"]) == made
    assert all(OWN.fullmatch(name) for name in made)


def test_a_run_without_truth_takes_the_accuracy_of_the_earlier_one_away(tmp_path, capsys):
    gaps, truth = make_tables(tmp_path)
    out = tmp_path / "out"
    words = ["impute", str(gaps), "--id", "patient", "--out", str(out)]
    assert main([*words, "--truth", str(truth)]) == 0
    (out / "notes.txt").write_text("mine")
    assert main(words) == 0
    assert {path.name for path in out.iterdir()} == OUTPUTS | {"completed.tsv", "notes.txt"} | {".outputs.json"}
    assert "of the earlier fit: accuracy.png, accuracy.svg, accuracy.tsv" in capsys.readouterr().err


def test_a_huge_seed_works(done):
    folder, gaps, truth = done
    words = ["impute", str(gaps), "--id", "patient", "--truth", str(truth), "--out", str(folder / "huge")]
    assert main([*words, "--seed", str(10**30)]) == 0
    assert json.loads((folder / "huge" / "fit.json").read_text())["seed"] == 10**30


def test_packed_table_comes_back_packed(done, tmp_path):
    folder, gaps, truth = done
    for path in (gaps, truth):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=3))
    words = ["impute", str(tmp_path / "gaps.tsv.gz"), "--id", "patient", "--log", "crp"]
    assert main([*words, "--truth", str(tmp_path / "truth.tsv.gz"), "--out", str(tmp_path / "out")]) == 0
    packed = (tmp_path / "out" / "completed.tsv.gz").read_bytes()
    assert gzip.decompress(packed) == (folder / "out" / "completed.tsv").read_bytes()
    assert packed[4:8] == bytes(4)
    assert "completed.tsv.gz" in (tmp_path / "out" / "report.html").read_text()


def test_values_below_zero_and_codes_are_told_once(tmp_path, capsys):
    rng = np.random.default_rng(2)
    base = rng.normal(size=120)
    table = pd.DataFrame(
        {
            "crp": np.exp(1.5 * base + 0.3 * rng.normal(size=120)).round(3),
            "il6": (base + 0.3 * rng.normal(size=120)).round(3),
            "year": rng.integers(1950, 2010, size=120),
            "stage": rng.integers(1, 5, size=120),
            "platelets": rng.integers(150, 400, size=120),
        }
    )
    table.loc[:30, "crp"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    codes = "only a few different whole numbers, or years, yet modelled as normal: year, stage; where"
    below = "below 0 although every observed value is above it: crp ("
    for words, told in (
        ([], (True, True)),
        (["--log", "crp"], (True, False)),
        (["--columns", "crp", "il6", "year"], (False, True)),
    ):
        assert main(["impute", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), *words]) == 0
        err, page = capsys.readouterr().err, (tmp_path / "out" / "report.html").read_text()
        for text in (err, page):
            assert (text.count(codes), text.count(below)) == told


def test_long_names_are_shortened_at_their_middle():
    assert short("tnf") == "tnf"
    name = short("log mean arterial blood pressure (mmHg)")
    assert len(name) == 24
    assert name.startswith("log mean")
    assert name.endswith("(mmHg)")


def test_long_names_stay_over_their_panels(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 3))
    names = [f"serum concentration of marker number {j} in mg/dl" for j in range(3)]
    kept = []
    monkeypatch.setattr("emtools.plots.impute.save", lambda figure, folder, picture: kept.append(figure))
    cells = np.ones((30, 3), dtype=bool)
    draw_accuracy(truth, truth, truth - 1, truth + 1, cells, names, np.ones(3), [False] * 3, tmp_path)
    draw_imputed(np.where(rng.random((30, 3)) < 0.3, np.nan, truth), truth, np.full((30, 3), 1e-3), names, tmp_path)
    for figure in kept:
        figure.canvas.draw()
        boxes = [axis._left_title.get_window_extent() for axis in figure.axes]
        assert all(one.x1 < two.x0 for one, two in pairwise(boxes))
    dashed = [line.get_ydata() for axis in kept[1].axes for line in axis.lines if line.get_linestyle() == "--"]
    blue = [axis.lines[0].get_ydata() for axis in kept[1].axes]
    assert len(dashed) == 3
    for one, two in zip(dashed, blue, strict=True):
        assert one.max() < 3 * two.max()
    plt.close("all")


def test_observed_cells_are_untouched_and_gaps_are_filled(done):
    folder, gaps, _ = done
    with open(gaps, newline="") as one, open(folder / "out" / "completed.tsv", newline="") as two:
        before, after = (list(csv.reader(file, delimiter="\t")) for file in (one, two))
    assert before[0] == after[0]
    n_filled = 0
    for old, new in zip(before, after, strict=True):
        for a, b in zip(old, new, strict=True):
            assert a == b or (a == "" and float(b) is not None)
            n_filled += a != b
    cells = pd.read_csv(folder / "out" / "imputed_cells.tsv", sep="\t")
    assert len(cells) == n_filled > 20
    assert (cells["lower"] < cells["value"]).all()
    assert (cells["value"] < cells["upper"]).all()
    assert set(cells.loc[cells["column"] == "crp", "scale"]) == {"log"}
    assert (cells.loc[cells["column"] == "crp", "lower"] > 0).all()


def test_conditional_sd_is_empty_where_observed(done):
    folder, gaps, _ = done
    table = pd.read_csv(gaps, sep="\t")[["crp", "il6", "tnf"]]
    sd = pd.read_csv(folder / "out" / "conditional_sd.tsv", sep="\t", index_col="row")
    assert sd.index[0] == "P0"
    np.testing.assert_array_equal(sd.notna().to_numpy(), table.isna().to_numpy())


def test_record_and_parameters_agree(done):
    folder = done[0] / "out"
    record = json.loads((folder / "fit.json").read_text())
    parameters = pd.read_csv(folder / "parameters.tsv", sep="\t")
    assert record["status"] == "converged"
    assert record["parameters"]["mean"]["labels"] == [["crp", "il6", "tnf"]]
    np.testing.assert_allclose(parameters["mean"], record["parameters"]["mean"]["value"], rtol=1e-14)
    np.testing.assert_allclose(parameters["sd"] ** 2, np.diag(record["parameters"]["covariance"]["value"]), rtol=1e-13)
    assert np.isfinite(record["parameters"]["mean"]["se"]).all()


def test_accuracy_beats_the_mean_and_counts_only_masked_cells(done):
    folder, gaps, truth = done
    scores = pd.read_csv(folder / "out" / "accuracy.tsv", sep="\t").set_index(["method", "metric"])["value"]
    assert scores["EM", "NRMSE"] < 0.85 * scores["column mean", "NRMSE"]
    masked = pd.read_csv(gaps, sep="\t").isna().to_numpy().sum()
    assert scores["EM", "masked cells"] == masked
    known = pd.read_csv(truth, sep="\t")["il6"]
    filled = pd.read_csv(folder / "out" / "completed.tsv", sep="\t")["il6"]
    hidden = pd.read_csv(gaps, sep="\t")["il6"].isna()
    wanted = np.sqrt(((filled - known)[hidden] ** 2).mean()) / known.std()
    assert scores["EM", "NRMSE il6"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.rendered
def test_threads_and_repetition_give_the_same_bytes(done):
    folder, gaps, truth = done
    first = folder / "out"
    words = ["impute", str(gaps), "--id", "patient", "--log", "crp", "--truth", str(truth)]
    assert main([*words, "--out", str(folder / "again"), "--threads", "3"]) == 0
    for path in first.iterdir():
        assert path.read_bytes() == (folder / "again" / path.name).read_bytes(), path.name


def test_table_without_gaps_is_returned_as_it_is(tmp_path):
    _, truth = make_tables(tmp_path)
    assert main(["impute", str(truth), "--id", "patient", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "completed.tsv").read_bytes() == truth.read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS | {"completed.tsv"} | {".outputs.json"}
    assert "Nothing is missing" in (tmp_path / "out" / "report.html").read_text()


def test_too_few_passes_are_status_3_and_notices_are_told(done, capsys):
    folder, gaps, _ = done
    out = folder / "short"
    assert main(["impute", str(gaps), "--id", "patient", "--out", str(out), "--max-passes", "3"]) == 3
    assert json.loads((out / "fit.json").read_text())["status"] == "budget"
    said, page = capsys.readouterr().err, (out / "report.html").read_text()
    for text in (said, page):
        assert "1 row without any value (row P59): filled with the means" in text
        assert "left alone, not numeric: site" in text


def test_what_the_model_cannot_know_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("n,a,b,c\n1,1,,3\n2,2,,1\n3,,5,2\n4,,4,7\n5,,,\n")
    table = read_table(path)
    counted, apart = what_to_know(table.readings, table.markers, table.rows)
    assert counted == "n only counts the rows and is modelled as a marker: name it with --id"
    assert apart.startswith(
        "a and b are never observed in one row: the data do not identify their covariance; read it as"
    )
    table = read_table(path, id_column="n")
    empty, _ = what_to_know(table.readings, table.markers, table.rows)
    assert empty == "1 row without any value (row 5): filled with the means"


def test_a_marker_that_a_plate_lacks_is_told(tmp_path, capsys):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"]).assign(plate=["P1", "P2", "P3"] * 20)
    frame.loc[frame["plate"] == "P2", "b"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    main(["impute", str(tmp_path / "t.csv"), "--batch", "plate", "--fill", "model", "--out", str(tmp_path / "out")])
    assert "no value of b where plate is P2: the data do not tell how" in capsys.readouterr().err
    shifts = pd.read_csv(tmp_path / "out" / "batch_shifts.tsv", sep="\t").set_index(["marker", "column"])
    missing = shifts.index[shifts["se"].isna()].tolist()
    assert missing == [("b", "plate=P2")]
    assert json.loads((tmp_path / "out" / "fit.json").read_text())["extra"]["diagnosis"]["batch"]["df"] == 5


ROWS = "".join(f"P{i},{i % 7},{(i * i) % 11 + 0.5},{(3 * i) % 5}\n" for i in range(12))
GOOD = "patient,a,b,c\n" + ROWS
TWIN = "a,b,c\n" + "".join(f"{i % 7},{i % 7},{(i * i) % 11}\n" for i in range(12)) + ",3,4\n2,,5\n"


@pytest.mark.parametrize(
    ("text", "options", "wanted"),
    [
        (None, [], "no such file"),
        ("", [], "the file is empty"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", [], "not text"),
        (GOOD, ["--id", "subject"], "no column 'subject'"),
        (GOOD, ["--columns", "a", "CRP"], "no column 'CRP'"),
        (GOOD, ["--id", "patient", "--log", "a"], "line 2, column 'a': 0 has no logarithm"),
        (GOOD, ["--id", "patient", "--log", "CRP"], "no marker 'CRP'"),
        (GOOD, ["--columns", "patient", "a"], "'P0' is not a number"),
        ("patient,a,b\nP1,1,\nP2,2,\nP3,3,\n", ["--columns", "a", "b"], "column 'b' is missing in all 3 rows"),
        ("patient,a,b\nP1,1,4\nP2,2,4\nP3,3,4\n", ["--columns", "a", "b"], "column 'b' is constant"),
        (GOOD, ["--scale", "a=sqrt"], "no scale 'sqrt'"),
        (GOOD, ["--id", "patient", "--scale", "b=box-cox 7"], "no scale 'box-cox 7'"),
        (
            GOOD.replace("P3,3,9.5", "P3,3,<0"),
            ["--id", "patient", "--scale", "b=log"],
            "'b': no value beyond the limit 0 has a place on",
        ),
        (GOOD, ["--scale", "a"], "--scale: 'a'; COLUMN=VALUE"),
        (GOOD, ["--scale", "CRP=log"], "no marker 'CRP'"),
        (GOOD, ["--lod", "CRP=1"], "no column 'CRP'"),
        (GOOD, ["--lod", "a=CRP_lod"], "'CRP_lod' is neither a number nor a column"),
        (GOOD, ["--lod", "a=nan"], "limit of column 'a': nan is no limit"),
        (GOOD, ["--upper-limit", "a=inf"], "limit of column 'a': inf is no limit"),
        (GOOD, ["--id", "patient", "--lod", "patient=1"], "column 'patient' is not a marker"),
        (GOOD, ["--lod", "a=1", "--lod", "a=2"], "--lod: 1.0 and 2.0 for 'a'; one limit"),
        (
            GOOD,
            ["--lod", "a=2", "--upper-limit", "a=1"],
            "'a': the limit of detection, 2, is not below the upper limit, 1",
        ),
        (
            GOOD,
            ["--lod", "a=b", "--upper-limit", "a=5"],
            "line 5, column 'a': the limit of detection, 9.5, is not below",
        ),
        (GOOD, ["--log", "b", "--scale", "b=logit"], "--scale: logit for 'b', which is --log too; one scale"),
        (GOOD, ["--scale", "b=log", "b=none"], "--scale: none for 'b', which is log in --scale too; one scale"),
        (GOOD, ["--factors", "2"], "--factors: given with --model normal, which has none; --model factors or auto"),
        (GOOD, ["--components", "2", "--model", "factors"], "--components: given with --model factors"),
        (GOOD, ["--model", "t", "--draws", "5", "--draw-method", "posterior"], "posterior with --model t"),
        (GOOD, ["--batch", "plate"], "no column 'plate'"),
        (GOOD.replace("P3,3,", "P3,<3,"), ["--model", "t"], "column 'a': the value lies beyond a limit of detection"),
        (GOOD.replace("P3,3,", "P3,three,"), [], "line 5, column 'a': 'three' is not a number"),
        (GOOD.replace("P3,3,", "P3,inf,"), [], "'inf' is infinite"),
        (GOOD.replace("P3,", "P2,"), ["--id", "patient"], "the id 'P2' stands at line 4 too"),
        (GOOD.replace("patient,a,b,c", "patient,a,b,a"), [], "the name 'a' stands over columns 2 and 4"),
        ("a,b\n1,2\n", [], "1 row"),
        (GOOD, ["--id", "patient", "--truth", "TRUTH:"], "no such file"),
        (GOOD, ["--id", "patient", "--truth", "TRUTH:" + GOOD], "no cell is known here that the table lacks"),
        (
            GOOD.replace("P3,3,", "P3,,"),
            ["--id", "patient", "--truth", "TRUTH:" + GOOD.replace("P4,4,", "P4,5,")],
            "line 6, column 'a': 5 where the table has 4",
        ),
        (
            GOOD.replace("P3,3,", "P3,,"),
            ["--id", "patient", "--truth", "TRUTH:" + GOOD.replace("patient,a,b", "patient,A,b")],
            "no column 'a'; one of 'patient', 'A', 'b', 'c'; check --truth",
        ),
        (
            GOOD.replace("P3,3,", "P3,,"),
            ["--id", "patient", "--truth", "TRUTH:" + GOOD.replace("P3,", "Q3,")],
            "row 'P3' is not in it",
        ),
        (GOOD.replace("P3,3,", "P3,,"), ["--truth", "TRUTH:" + GOOD.replace("P0,0,0.5,0\n", "")], "11 rows where"),
    ],
)
def test_every_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, text, options, wanted):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    truth = tmp_path / "truth.csv"
    words = []
    for word in options:
        if word.startswith("TRUTH:"):
            if word != "TRUTH:":
                truth.write_text(word.removeprefix("TRUTH:"))
            word = str(truth)
        words.append(word)
    before = sorted(tmp_path.iterdir())
    assert main(["impute", str(path), "--out", str(tmp_path / "out"), *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("emtools: error:")]
    assert len(said) == 1
    assert wanted in said[0]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n1\n3\n\n2\n5\n", "a is the only marker"),
        ("patient,a,b,c\n" + ROWS.replace("P3,3,", "P3,<0.5,"), "known only to lie beyond a limit: a (1 below)"),
        ("patient,a,b,c,d\n" + ROWS.replace("\n", ",\n"), "d"),
        ("patient,a,b,c,d\n" + ROWS.replace("\n", ",4\n"), "d"),
        ("a,b,c\n1,2,4\n3,4,4.5\n5,1,4\n", "a ridge prior worth"),
        (TWIN, "b = a: the columns depend on one another exactly"),
    ],
)
def test_hard_tables_are_answered_and_told(tmp_path, capsys, text, told):
    (tmp_path / "t.csv").write_text(text)
    main(["impute", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")])
    assert told in capsys.readouterr().err
    assert (tmp_path / "out" / "completed.csv").exists()


def test_new_rows_get_what_the_fit_gave_them(done, tmp_path, capsys):
    folder, gaps, _ = done
    words = ["transform", str(gaps), "--model", str(folder / "out" / "model.npz"), "--id", "patient"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "completed.tsv").read_bytes() == (folder / "out" / "completed.tsv").read_bytes()
    (tmp_path / "other.csv").write_text("crp,il6\n1,2\n")
    assert main(["transform", str(tmp_path / "other.csv"), *words[2:4], "--out", str(tmp_path / "x")]) == 2
    assert "no column 'tnf'" in capsys.readouterr().err
    (tmp_path / "model.npz").write_bytes((folder / "out" / "model.npz").read_bytes()[:300])
    assert main([*words[:3], str(tmp_path / "model.npz"), "--out", str(tmp_path / "x")]) == 2
    assert "not a stored model" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("model", ["normal", "t", "factors", "mixture"])
def test_every_model_fills_draws_and_is_stored(tmp_path, model):
    gaps, _ = make_tables(tmp_path)
    more = ["--components", "2"] if model == "mixture" else ["--factors", "1"] if model == "factors" else []
    words = ["impute", str(gaps), "--id", "patient", "--log", "crp", "--covariates", "site", "--model", model, *more]
    assert main([*words, "--draws", "2", "--out", str(tmp_path / "out"), "--tol", "1e-5"]) == 0
    tables = [pd.read_csv(tmp_path / "out" / f"completed{stem}.tsv", sep="\t") for stem in ("", "_1", "_2")]
    assert not any(table.isna().any(axis=None) for table in tables)
    assert (tables[1]["tnf"] != tables[2]["tnf"]).any()
    assert set(json.loads((tmp_path / "out" / "fit.json").read_text())["extra"]["design"]) <= {
        "site=north",
        "site=south",
    }
    words = ["transform", str(gaps), "--model", str(tmp_path / "out" / "model.npz"), "--id", "patient"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    again = pd.read_csv(tmp_path / "new" / "completed.tsv", sep="\t")
    pd.testing.assert_frame_equal(again, tables[0], rtol=1e-9)


def limited_table(folder, n=150):
    """A lognormal marker below limits of two plates, a normal one above a limit, and a third."""
    rng = np.random.default_rng(6)
    base = rng.normal(size=n)
    table = pd.DataFrame(
        {"crp": np.exp(base), "il6": base + 0.5 * rng.normal(size=n), "tnf": base + rng.normal(size=n)}
    )
    truth, plate = table.round(4), np.where(np.arange(n) % 2, "one", "two")
    limit = np.where(plate == "one", 0.5, 0.8)
    cells = truth.astype(object)
    cells["crp"] = [f"<{low}" if value < low else value for value, low in zip(truth["crp"], limit, strict=True)]
    cells["il6"] = [">1.2" if value > 1.2 else value for value in truth["il6"]]
    cells["plate"] = plate
    cells.to_csv(folder / "limits.csv", index=False)
    return truth, limit


def test_limits_hold_and_ask_for_a_power(tmp_path, capsys):
    truth, limit = limited_table(tmp_path)
    out = tmp_path / "out"
    words = ["impute", str(tmp_path / "limits.csv"), "--batch", "plate", "--draws", "3", "--out"]
    assert main([*words, str(out)]) == 0
    said = capsys.readouterr().err
    assert (
        "scales that describe values and limits better: crp (power 0.25); --scale crp=none keeps it as measured" in said
    )
    below, above = truth["crp"] < limit, truth["il6"] > 1.2
    for stem in ("completed", "completed_1", "completed_2", "completed_3"):
        filled = pd.read_csv(out / f"{stem}.csv")
        assert (filled["crp"][below] <= limit[below]).all()
        assert (filled["il6"][above] >= 1.2).all()
        np.testing.assert_array_equal(filled["crp"][~below], truth["crp"][~below])
    cells = pd.read_csv(out / "imputed_cells.tsv", sep="\t")
    assert set(cells["known"]) == {"< 0.5", "< 0.8", "> 1.2"}
    ends = cells[["lower", "value", "upper"]].to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()
    scales = pd.read_csv(out / "dictionary.tsv", sep="\t").set_index("column")["scale"]
    assert scales[["crp", "il6"]].tolist() == ["box-cox 0.25", "none"]
    again = ["impute", str(tmp_path / "limits.csv"), "--dictionary", str(out / "dictionary.tsv"), "--out"]
    assert main([*again, str(tmp_path / "again")]) == 0
    assert "modelled on" not in capsys.readouterr().err
    for name in ("dictionary.tsv", "imputed_cells.tsv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    assert main([*words, str(tmp_path / "as_is"), "--scale", "crp=none"]) == 0
    assert json.loads((tmp_path / "as_is" / "fit.json").read_text())["extra"]["scales"]["crp"] == "none"


def test_mixtures_share_in_the_filling_where_they_are_closer(tmp_path, capsys):
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 2, size=300)
    bent = pd.DataFrame({"x": x, "y": np.abs(x) + 0.1 * rng.normal(size=300)}).round(4)
    bent[rng.random(bent.shape) < 0.2] = np.nan
    bent.to_csv(tmp_path / "bent.csv", index=False)
    for fill, named in (("best", "stacked_normal"), ("model", "multivariate_normal")):
        words = ["impute", str(tmp_path / "bent.csv"), "--out", str(tmp_path / fill), "--fill", fill]
        assert main(words) == 0
        record = json.loads((tmp_path / fill / "fit.json").read_text())
        assert record["extra"]["filled_by"] == named
        assert record["model"]["name"] == "multivariate_normal"
        assert ("A filled value is what mixtures of up to 8 normals expect" in capsys.readouterr().err) == (
            fill == "best"
        )
        assert (record["extra"]["share_of_mixtures"] > 0.5) == (fill == "best")
        page = (tmp_path / fill / "report.html").read_text()
        for words in ("Stacked regressions", "The share was learnt on", "of the way from the conditional means"):
            assert (words in page) == (fill == "best")
    one, two = (json.loads((tmp_path / fill / "fit.json").read_text())["parameters"] for fill in ("best", "model"))
    assert one == two

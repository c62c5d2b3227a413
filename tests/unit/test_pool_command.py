"""``emtools pool``: regressions on stored completed tables against R, the files it writes, and what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emtools.branches import pool as command
from emtools.errors import InputError
from emtools.imputing.pooling import pool
from emtools.imputing.regression import regress, with_quotes
from emtools.io.frames import completed_tables, read_frame

MICE = json.loads((Path(__file__).parents[1] / "reference" / "mice_pool.json").read_text(encoding="utf-8"))
STORED = [case for case in MICE["cases"] if "tables" in case]


def frames_of(case):
    return [pd.DataFrame(rows, columns=case["columns"]) for rows in case["tables"]]


@pytest.mark.parametrize("case", STORED, ids=lambda case: case["name"])
def test_regressions_are_those_of_r(case):
    found = regress(frames_of(case), case["formula"], case["family"])
    assert list(found.terms) == [term.replace("(Intercept)", "Intercept") for term in case["terms"]]
    np.testing.assert_allclose(found.estimates, case["estimates"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.variances, case["variances"], rtol=1e-8, atol=1e-12)
    assert found.complete_df == case["dfcom"]
    pooled = pool(found.estimates, found.variances, found.complete_df)
    np.testing.assert_allclose(pooled.missing, case["fmi"], rtol=1e-6)


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    n = 60
    whole = pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "age": rng.integers(30, 80, size=n),
            "alk.phos": rng.lognormal(5.0, 0.4, size=n),
            "sex": rng.choice(["f", "m"], size=n),
            "stage": rng.integers(1, 5, size=n).astype(float),
        }
    )
    whole["bili"] = 0.02 * whole["age"] + np.log(whole["alk.phos"]) + rng.normal(size=n)
    whole.loc[:2, "stage"] = np.nan
    return [whole.assign(bili=whole["bili"] + 0.2 * rng.normal(size=n)) for _ in range(4)]


@pytest.fixture
def folder(tmp_path, tables):
    for number, table in enumerate(tables, 1):
        table.to_csv(tmp_path / f"completed_{number}.csv", index=False)
    return tmp_path


def go(folder, formula, **more):
    return command.run(command.Options(input=folder, formula=formula, out=folder / "out", **more))


def test_the_answer_is_written_and_shown(folder, tables, capsys):
    assert go(folder, "bili ~ age + log(alk.phos) + C(stage)", command=("emtools", "pool")) == 0
    frame = pd.read_csv(folder / "out" / "pooled.tsv", sep="\t")
    record = json.loads((folder / "out" / "pooled.json").read_text(encoding="utf-8"))
    assert frame["term"].tolist()[-2:] == ["age", "log(alk.phos)"]
    complete = [table.dropna() for table in tables]
    design = [
        np.column_stack(
            [
                np.ones(len(t)),
                *((t["stage"] == k).astype(float) for k in (2, 3, 4)),
                t["age"],
                np.log(t["alk.phos"]),
            ]
        )
        for t in complete
    ]
    slopes = [np.linalg.lstsq(x, t["bili"], rcond=None)[0] for x, t in zip(design, complete, strict=True)]
    np.testing.assert_allclose(frame["estimate"], np.mean(slopes, axis=0), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(frame["b"], np.var(slopes, axis=0, ddof=1), rtol=1e-6)
    assert (record["n_rows"], record["n_left_out"], len(record["tables"])) == (57, 3, 4)
    assert record["terms"][-1]["dfcom"] == 57 - 6
    shown = capsys.readouterr().out
    assert "log(alk.phos)" in shown
    assert "3 of 60 rows left out" in shown
    assert "4 completed tables" in shown


def test_levels_of_a_binary_outcome_are_ordered_as_words(folder, tables):
    assert go(folder, "sex ~ age", family="binomial") == 0
    record = json.loads((folder / "out" / "pooled.json").read_text(encoding="utf-8"))
    assert record["outcome"] == "sex = m"
    assert "no variable of the formula was imputed" in " ".join(record["notices"])
    by_number = regress([t.assign(sex=(t["sex"] == "m") * 1.0) for t in tables], "sex ~ age", "binomial")
    np.testing.assert_allclose(record["terms"][1]["estimate"], by_number.estimates[0, 1], rtol=1e-10)


@pytest.mark.parametrize("ending", [".tsv", ".parquet"])
def test_formats(tmp_path, tables, ending):
    for number, table in enumerate(tables, 1):
        path = tmp_path / f"completed_{number}{ending}"
        table.to_parquet(path) if ending == ".parquet" else table.to_csv(path, sep="\t", index=False)
    frames = [read_frame(path) for path in completed_tables(tmp_path)]
    for frame, table in zip(frames, tables, strict=True):
        pd.testing.assert_frame_equal(frame, table, check_dtype=False, rtol=1e-15)


def test_olinks_long_tables_become_one_row_a_sample(tmp_path):
    rng = np.random.default_rng(3)
    npx, age = rng.normal(4.0, 1.0, size=(30, 3)), rng.integers(30, 80, size=30)
    truth = []
    for number in (1, 2, 3):
        npx[:5, 0] = rng.normal(4.0, 1.0, size=5)
        truth.append(pd.DataFrame(npx, columns=["IL6", "MCP-3", "TNF"]).assign(age=age))
        lines = [
            (f"A{i}", f"OID{j}", name, f"{npx[i, j]:.17g}".replace(".", ","), age[i], f"P{j // 2}")
            for i in range(30)
            for j, name in enumerate(("IL6", "MCP-3", "TNF"))
        ]
        lines.append(("Plate_Control", "OID0", "IL6", "9,5", 0, "P0"))
        columns = ["SampleID", "OlinkID", "Assay", "NPX", "age", "Panel"]
        frame = pd.DataFrame(lines, columns=columns).assign(Imputed=0)
        frame.to_csv(tmp_path / f"completed_{number}.csv", sep=";", index=False)
    assert go(tmp_path, "IL6 ~ age + Q('MCP-3') + TNF") == 0
    found = json.loads((tmp_path / "out" / "pooled.json").read_text(encoding="utf-8"))
    wanted = regress(truth, "IL6 ~ age + Q('MCP-3') + TNF")
    assert found["n_rows"] == 30
    np.testing.assert_allclose([t["estimate"] for t in found["terms"]], wanted.estimates.mean(axis=0), rtol=1e-12)


def test_the_completed_layer_of_an_anndata_file_is_read_and_starred_numbers_are_numbers(tmp_path):
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(4)
    whole = rng.normal(size=(12, 2))
    gaps = whole.copy()
    gaps[0, 0] = np.nan
    names = pd.DataFrame(index=["a", "b"])
    table = anndata.AnnData(gaps, obs=pd.DataFrame(index=[f"r{i}" for i in range(12)]), var=names)
    table.layers["completed"] = whole
    table.write_h5ad(tmp_path / "completed_1.h5ad")
    np.testing.assert_array_equal(read_frame(tmp_path / "completed_1.h5ad")[["a", "b"]], whole)
    path = tmp_path / "completed_1.csv"
    path.write_text("well,IL6,note\nA1,*3.5,*\nA2,4,b\n", encoding="utf-8")
    frame = read_frame(path)
    assert frame["IL6"].tolist() == [3.5, 4.0]
    assert frame["note"].tolist() == ["*", "b"]


@pytest.mark.parametrize(
    ("formula", "family", "words"),
    [
        ("bili ~ albumin", "gaussian", "no column 'albumin'; one of id, age, alk.phos"),
        ("bili", "gaussian", "an outcome, ~ and what it depends on"),
        ("bili ~ age +* sex", "gaussian", "cannot be read"),
        ("bili ~ age + I(2 * age)", "gaussian", r"I\(2 \* age\) is a linear combination"),
        ("bili ~ id", "gaussian", "60 rows for 60 coefficients"),
        ("sex ~ I(sex == 'm')", "binomial", "tell the outcome apart"),
        ("bili ~ age", "binomial", "'bili' is .* somewhere; 0 and 1"),
        ("sex ~ age", "gaussian", "'sex' has 2 levels; numbers"),
        ("I(bili - 100) ~ age", "poisson", "negative"),
        ("log(bili - bili) ~ age", "gaussian", "infinite"),
        ("age ~ age", "gaussian", "exactly"),
        ("bili ~ 0", "gaussian", "'bili ~ 0' has no coefficient; at least one"),
        ("I(age > 0) ~ bili", "binomial", "every row"),
    ],
)
def test_formulas_that_cannot_be_used(folder, formula, family, words):
    with pytest.raises(InputError, match=words) as caught:
        go(folder, formula, family=family)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


def test_coefficients_of_other_names_are_not_pooled():
    first = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0, 5.0, 7.0], "x": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]})
    second = first.assign(x=[1.0, 1.0, 1.0, 3.0, 3.0, 3.0])
    with pytest.raises(InputError, match=r"C\(x\)\[T\.3\.0\] is a coefficient in completed table 2, not in table 1"):
        regress([first, second], "y ~ C(x)")
    with pytest.raises(InputError, match=r"C\(x\)\[T\.2\.0\] is a coefficient in completed table 1, not in table 2"):
        regress([first, second.assign(x=1.0)], "y ~ C(x)")


def test_coefficients_in_another_order_are_pooled_by_name():
    table = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0, 5.0, 7.0, 2.0, 8.0], "x": list("abcabcab")})
    one, other = (table.assign(x=pd.Categorical(table.x, categories=list(letters))) for letters in ("abc", "acb"))
    found = regress([one, other], "y ~ x")
    np.testing.assert_allclose(found.estimates[1], found.estimates[0], rtol=1e-12)


def test_codes_for_a_missing_value_add_up():
    commands = argparse.ArgumentParser().add_subparsers()
    chosen = command.add_parser(commands).parse_args(
        ["results", "--formula", "y ~ x", "--out", "out", "--missing", "-9", "--missing", "ND", "QNS"]
    )
    assert chosen.missing == ["-9", "ND", "QNS"]


def test_missing_tables_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        completed_tables(tmp_path / "nowhere")
    (folder / "completed_2.csv").unlink()
    with pytest.raises(InputError, match="completed_2 is absent of 4 tables"):
        completed_tables(folder)
    for number in (3, 4):
        (folder / f"completed_{number}.csv").unlink()
    with pytest.raises(InputError, match=r"1 completed table .*--draws 20"):
        completed_tables(folder)


def test_two_formats_of_one_table_are_refused(folder, tables):
    tables[0].to_csv(folder / "completed_1.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=r"completed_1\.tsv: completed_1\.csv is there too"):
        completed_tables(folder)


def test_ten_tables_are_in_order_of_their_numbers(tmp_path, tables):
    for number in range(1, 12):
        tables[0].to_csv(tmp_path / f"completed_{number}.csv", index=False)
    assert [path.stem for path in completed_tables(tmp_path)] == [f"completed_{k}" for k in range(1, 12)]


def test_quotes_are_put_around_odd_names_only():
    names = ["alk.phos", "age", "class", "0.5"]
    assert with_quotes("age ~ alk.phos + class", names) == "age ~ Q('alk.phos') + Q('class')"
    assert with_quotes("age ~ Q('alk.phos') * 0.5", names) == "age ~ Q('alk.phos') * 0.5"
    assert with_quotes("age ~ xalk.phos", names) == "age ~ xalk.phos"


def test_the_parser_reads_the_options():
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    told = parser.parse_args(["pool", "run", "--formula", "a ~ b", "--out", "there", "--family", "poisson"])
    assert (told.module, told.formula, told.family, told.level) == ("emtools.branches.pool", "a ~ b", "poisson", 0.95)
    with pytest.raises(SystemExit):
        parser.parse_args(["pool", "run", "--formula", "a ~ b", "--out", "there", "--level", "95"])

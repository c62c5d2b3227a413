"""Tables in and out: what was observed comes back byte for byte, whatever the separator, encoding or decimal sign."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emtools.errors import InputError
from emtools.io.delimited import find_separator, split_cells
from emtools.io.tables import read_table, write_completed, write_flags
from emtools.kernels.readings import Readings

PLAIN = "name,a,b\nx,1.50,2\ny,,3.25\nz,-4e-1,\n"


def put(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_rows_and_text_columns(tmp_path):
    table = read_table(put(tmp_path, PLAIN), id_column="name")
    assert table.markers == ("a", "b")
    assert table.rows == ("x", "y", "z")
    np.testing.assert_array_equal(table.values, [[1.5, 2], [np.nan, 3.25], [-0.4, np.nan]])
    assert read_table(put(tmp_path, PLAIN)).notices == ("left alone, not numeric: name",)


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("t.csv", PLAIN.encode(), PLAIN.replace("y,,", "y,7.25,").replace("e-1,\n", "e-1,7.25\n").encode()),
        ("t.tsv", b"a\tb\r\n1.0\t NA \r\n2.50\t+3\r\n-\t4\r\n", b"a\tb\r\n1.0\t7.25\r\n2.50\t+3\r\n7.25\t4\r\n"),
        ("t.csv", b'\xef\xbb\xbf"a";b\n1,5;2\n;0,25\n\n3;\n', b'\xef\xbb\xbf"a";b\n1,5;2\n7,25;0,25\n\n3;7,25\n'),
        ("t.csv", b'"a,1",b\n1,"2"\n"",4\n3,5', b'"a,1",b\n1,"2"\n7.25,4\n3,5'),
        ("t.csv", b'a,b\n"1,5","2"\n"2,5",\n,"3"\n', b'a,b\n"1,5","2"\n"2,5","7,25"\n"7,25","3"\n'),
        ("t.txt", "\ufeffa|µ\n1|2\n|3\n4|5\n".encode("utf-16-le"), "\ufeffa|µ\n1|2\n7.25|3\n4|5\n".encode("utf-16-le")),
        ("t.csv", "a,µ\n1,2\n,3\n4,5\n".encode("cp1252"), "a,µ\n1,2\n7.25,3\n4,5\n".encode("cp1252")),
        ("t.tsv", b"a b\tc\nr1\t1\t2\nr2\t\t3\nr3\t4\t5\n", b"a b\tc\nr1\t1\t2\nr2\t7.25\t3\nr3\t4\t5\n"),
        (
            "t.csv",
            b'a,b,note\n1,2,"two\nlines, ""q"""\n,3,x\n5,6,y\n',
            b'a,b,note\n1,2,"two\nlines, ""q"""\n7.25,3,x\n5,6,y\n',
        ),
    ],
)
def test_only_missing_cells_change(tmp_path, name, raw, wanted):
    table = read_table(put(tmp_path, raw, name), missing=["-"])
    filled = np.where(np.isnan(table.values), 7.25, table.values)
    out = write_completed(table, filled, tmp_path)
    assert out.name == f"completed.{name[2:]}"
    assert out.read_bytes() == wanted


def test_codes_are_text_or_numbers(tmp_path):
    table = read_table(put(tmp_path, "a,b\n-9.0,1\n2,<LOD\n3,4\n5,NaN\n"), missing=["-9", "<LOD"])
    np.testing.assert_array_equal(table.values, [[np.nan, 1], [2, np.nan], [3, 4], [5, np.nan]])


def test_parquet_keeps_types_and_what_was_observed(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    source = pa.table(
        {
            "id": ["p", "q", "r"],
            "a": pa.array([1, None, 3], pa.int64()),
            "b": pa.array([0.1, float("nan"), 0.3], pa.float32()),
            "c": pa.array([5, 6, 7], pa.int16()),
        }
    )
    pq.write_table(source, tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", id_column="id")
    assert table.markers == ("a", "b", "c")
    filled = np.where(np.isnan(table.values), 7.25, table.values)
    again = pq.read_table(write_completed(table, filled, tmp_path))
    assert again.column("a").to_pylist() == [1.0, 7.25, 3.0]
    assert again.schema.field("b").type == pa.float32()
    assert again.column("b").take([0, 2]).equals(source.column("b").take([0, 2]))
    assert again.column("c").equals(source.column("c"))
    assert again.column("id").equals(source.column("id"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\nx,3\n4,5\n", r"line 3, column 'a': 'x' is not a number"),
        ("a,b\n1,2\ninf,3\n4,5\n", r"line 3, column 'a': 'inf' is infinite"),
        ("a,b\n1,2\n1e999,3\n4,5\n", r"line 3, column 'a': '1e999' is infinite"),
        ("a,b\n1,2\n2,1e300\n4,\n", r"column 'b' has values up to 1e\+300 and a range of 1e\+300"),
        ("a,b\n1,-1e308\n2,1e308\n4,\n", r"column 'b' has values up to 1e\+308 and a range of inf"),
        (b"\x1f\x8b\x08\x00broken", r"t.csv: is a damaged gzip file"),
        ("a,b\n1,2e-150\n2,1e-150\n4,\n", r"column 'b' has values up to 2e-150"),
        ("a,b\n1,1e15\n2,1000000000000001\n4,\n", r"column 'b' varies by 1 around 1e\+15"),
        ("a,b,a\n1,2,3\n2,3,4\n", r"the name 'a' stands over columns 1 and 3"),
        ("a,,c\n1,2,3\n2,3,4\n", r"column 2 has no name"),
        ("a,b\n1,2\n", r"1 row; at least 2 rows"),
        ("1.5,2\n3,4\n5,6\n", r"the first line holds numbers; names of the columns there"),
        ("a,b\n", r"a header but no row"),
        (" \n\n", r"no text in it"),
        ("a,b\n1,2\n3\n4,5\n", r"line 3: 1 cells where the header has 2"),
        ('a,b\n1,"2\n3,4\n', r"line 2: a double quote is opened and never closed"),
        ("x,y\nred,blue\ngreen,red\n", r"0 numeric columns to model \(none\)"),
        ("a;b\n1,5;2.5\n3;4\n", r"column 'a': '1,5' is ambiguous \(other cells have a decimal point\)"),
        ("a\tb\n1,500\t2\n3\t4\n", r"'1,500' is ambiguous \(it may be a decimal comma or a thousands separator\)"),
        (b"PK\x03\x04\x00\x00,1\n2,3", r"the content is not text"),
    ],
)
def test_hostile_tables_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(put(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_column": "nope"}, r"no column 'nope'; one of 'name', 'a', 'b'; check --id"),
        ({"columns": ["a", "CRP"]}, r"no column 'CRP'.*--columns"),
        ({"columns": ["a", "a"]}, r"'a' is named twice"),
        ({"columns": ["name", "a"], "id_column": "name"}, r"'name' is the id column"),
        ({"columns": ["name", "a"]}, r"column 'name': 'x' is not a number \(and 2 more cells\)"),
    ],
)
def test_wrong_columns_are_named(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        read_table(put(tmp_path, PLAIN), **options)


def test_ids_must_differ(tmp_path):
    with pytest.raises(InputError, match=r"line 4, column 'name': the id 'x' stands at line 2 too"):
        read_table(put(tmp_path, PLAIN.replace("z,", "x,")), id_column="name")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.xls", "save the sheet as .xlsx or CSV"),
        ("t.parquet", "not Parquet"),
        ("t", "ending is 'absent'"),
        ("t.gz", "ending is '.gz'"),
    ],
)
def test_other_formats_are_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_table(put(tmp_path, PLAIN, name))


def test_separator_is_the_one_that_cuts_lines_alike():
    assert find_separator(["a;b", "1,5;2,5", "1;2"]) == ";"
    assert find_separator(["a,b", "1,5", "2,3"]) == ","
    assert find_separator(["a b\tc", "x, y\t2"]) == "\t"
    assert split_cells('"a,b",c', ",") == ['"a,b"', "c"]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.tuples(*[st.none() | st.floats(-1e12, 1e12, allow_subnormal=False)] * 2), min_size=4, max_size=12
    ),
    separator=st.sampled_from([",", "\t", ";"]),
)
def test_numbers_survive_reading_and_writing(tmp_path_factory, values, separator):
    rows = [(1.0, 2.0), (3.0, 4.0), *values]
    lines = [separator.join("" if v is None else repr(v) for v in row) for row in rows]
    folder = tmp_path_factory.mktemp("t")
    table = read_table(put(folder, "a" + separator + "b\n" + "\n".join(lines) + "\n"))
    wanted = np.array(rows, dtype=float)
    np.testing.assert_array_equal(table.values, wanted)
    again = read_table(write_completed(table, np.where(np.isnan(wanted), 0.5, wanted), folder))
    np.testing.assert_array_equal(again.values, np.where(np.isnan(wanted), 0.5, wanted))


LUMINEX = (
    "well,IL6 (pg/mL),TNF,CRP,CRP_lod\n"
    "A1,<0.5,OOR <,2.5,0.8\n"
    "A2,1.25,*3.5,<LOD,0.8\n"
    "A3,>100,OOR >,ND,0.9\n"
    "A4,≤ 0.4,***,4,0.9\n"
    "A5,7,2,0.5,0.9\n"
    "A6,9,12.5,6,\n"
)


def test_limits_become_bounds_and_their_reading_is_told(tmp_path):
    table = read_table(put(tmp_path, LUMINEX), id_column="well", below_codes=["ND"], upper_limit={"TNF": 50})
    assert table.markers == ("IL6 (pg/mL)", "TNF", "CRP")
    assert table.units == ("pg/mL", "", "")
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(table.values[:, 0], [nan, 1.25, nan, nan, 7, 9])
    np.testing.assert_array_equal(table.values[:, 1], [nan, 3.5, nan, nan, 2, 12.5])
    np.testing.assert_array_equal(table.values[:, 2], [2.5, nan, nan, 4, 0.5, 6])
    lower, upper = table.readings.bounds()
    np.testing.assert_array_equal(upper[[0, 3], 0], [0.5, 0.4])
    np.testing.assert_array_equal(lower[[2, 2, 3], [0, 1, 1]], [100, 50, -inf])
    np.testing.assert_array_equal(upper[[0, 3, 1, 2], [1, 1, 2, 2]], [2, inf, 0.8, 0.9])
    told = "\n".join(table.notices)
    assert "TNF: 1 cell below a limit that is not given, read as below the smallest value (2): set lod" in told
    assert "TNF: 1 cell '***' (read as missing)" in told
    assert "TNF: 1 cell '*' before a number" in told
    assert (
        "known only to lie beyond a limit: IL6 (pg/mL) (2 below, 1 above), TNF (1 below, 1 above), CRP (2 below)"
        in told
    )
    assert "taken for limits of the marker that the name begins with, row by row: CRP_lod" in told
    assert "values below their limit of detection are kept as reported: CRP (1)" in told
    strict = read_table(put(tmp_path, LUMINEX), id_column="well", below_codes=["ND"], below_lod="censor")
    assert np.isnan(strict.values[4, 2])
    assert strict.readings.bounds()[1][4, 2] == 0.9


def test_a_limit_is_a_gap_in_the_output(tmp_path):
    table = read_table(put(tmp_path, "a;b\n<0,5;2\n1,25;>3\n4;2,5\n"))
    assert table.readings.bounds()[1][0, 0] == 0.5
    out = write_completed(table, np.where(np.isnan(table.values), 0.375, table.values), tmp_path)
    assert out.read_bytes() == b"a;b\n0,375;2\n1,25;0,375\n4;2,5\n"


def test_columns_that_do_not_vary_are_left_out_told_and_unchanged(tmp_path):
    text = "a,b,c,d,e\n1,,7,1,\n2,NA,7,3,5\n4,,7,,\n,,7,2,\n"
    table = read_table(put(tmp_path, text))
    assert table.markers == ("a", "d")
    (told,) = table.notices
    assert told == (
        "left out of the model and unchanged in the output: b (missing in all 4 rows), c (constant (7)), "
        "e (a value in only one of 4 rows)"
    )
    out = write_completed(table, np.where(np.isnan(table.values), 0.5, table.values), tmp_path)
    assert out.read_bytes() == b"a,b,c,d,e\n1,,7,1,\n2,NA,7,3,5\n4,,7,0.5,\n0.5,,7,2,\n"
    assert [entry.role for entry in table.dictionary.entries] == ["marker", "leave", "leave", "marker", "leave"]
    for name, message in (("b", "is missing in all 4 rows"), ("c", r"is constant \(7\)"), ("e", "has a value in only")):
        with pytest.raises(InputError, match=f"column '{name}' {message}.*leave it out with --columns"):
            read_table(put(tmp_path, text), columns=["a", name])


def test_one_marker_is_a_table_too_and_its_poverty_is_told(tmp_path):
    table = read_table(put(tmp_path, "a\n1\n\n3\n"))
    assert table.markers == ("a",)
    assert table.notices == ("a is the only marker, and nothing else tells of its gaps: each is filled with its mean",)


def test_new_rows_may_be_one_and_need_not_vary(tmp_path):
    table = read_table(put(tmp_path, "a,b\n,7\n"), columns=["a", "b"], new_rows=True)
    np.testing.assert_array_equal(table.values, [[np.nan, 7]])


def test_zeros_and_piles_are_taken_as_measured_and_told(tmp_path):
    rng = np.random.default_rng(0)
    zeros = np.where(rng.random(40) < 0.3, 0.0, rng.lognormal(size=40).round(3))
    floor = np.maximum(rng.normal(5, 1, 40).round(3), 4.5)
    lines = [f"{a},{b},{c:.3f}" for a, b, c in zip(zeros, floor, rng.normal(size=40), strict=True)]
    table = read_table(put(tmp_path, "z,f,n\n" + "\n".join(lines) + "\n"))
    np.testing.assert_array_equal(table.values[:, 0], zeros)
    told = "\n".join(table.notices)
    assert f"many zeros in markers that are never below 0: z ({(zeros == 0).sum()} of 40); they are taken as me" in told
    assert f"share the smallest value: f ({(floor == 4.5).sum()} of 40 are 4.5); they are taken as measured" in told
    assert "share the largest" not in told
    again = read_table(put(tmp_path, "z,f,n\n" + "\n".join(lines) + "\n"), below_codes=["0"], lod={"z": 0.05})
    assert again.readings.bounded[:, 0].sum() == (zeros == 0).sum()
    assert (again.readings.bounds()[1][zeros == 0, 0] == 0.05).all()


def test_covariates_and_batches(tmp_path):
    text = "a,b,sex,age,plate\n1,2,F,50,1\n2,4,M,NA,2\n3,3,,61,2\n"
    table = read_table(put(tmp_path, text), covariates=["sex", "age"], batch="plate")
    assert table.markers == ("a", "b")
    assert table.covariates["sex"].tolist() == ["F", "M", None]
    np.testing.assert_array_equal(table.covariates["age"], [50, np.nan, 61])
    assert table.covariates["plate"].tolist() == ["1", "2", "2"]
    with pytest.raises(InputError, match=r"--batch: 'sex' is in --covariates too"):
        read_table(put(tmp_path, text), covariates=["sex"], batch="sex")
    with pytest.raises(InputError, match=r"no column 'centre'.*check --covariates"):
        read_table(put(tmp_path, text), covariates=["centre"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n2026-03-01,3\n4,5\n", r"line 3, column 'a': '2026-03-01' is a date.*a spreadsheet turned it"),
        ("a,b\n1,2\n01-Mar,3\n4,5\n", r"line 3, column 'a': '01-Mar' is a date"),
        ("a,b\n1,2\n1-2,3\n4,5\n", r"line 3, column 'a': '1-2' is a range"),
        ("a,b\n1,2\n3;4\n4,5\n", r"line 3: 1 cells where the header has 2"),
        ("a,b\n1,2\n1_000,3\n4,5\n", r"line 3, column 'a': '1_000' is not a number"),
        ("a,b\n1,2\n<,3\n4,inf\n", r"line 4, column 'b': 'inf' is infinite"),
    ],
)
def test_more_hostile_tables_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(put(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_gene_names_that_became_dates_are_told(tmp_path):
    table = read_table(put(tmp_path, "id,1-Mar,2-Sep,TP53\nx,1,2,3\ny,2,3,5\nz,4,1,2\n"), id_column="id")
    assert any("'1-Mar', '2-Sep'; a spreadsheet makes them of gene names" in notice for notice in table.notices)


def test_flags_have_the_shape_of_the_markers(tmp_path):
    table = read_table(put(tmp_path, PLAIN), id_column="name")
    assert write_flags(table, tmp_path).read_text() == "row\ta\tb\nx\t0\t0\ny\t1\t0\nz\t0\t1\n"


def test_text_columns_of_parquet_keep_their_text(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    source = pa.table({"a": ["1.50", "<0.5", None, "3"], "b": pa.array([1, None, 2, 3], pa.float64())})
    pq.write_table(source, tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.readings.bounds()[1][1, 0] == 0.5
    again = pq.read_table(write_completed(table, np.where(np.isnan(table.values), 0.25, table.values), tmp_path))
    assert again.column("a").to_pylist() == ["1.50", "0.25", "0.25", "3"]
    pq.write_table(source, tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-40])
    with pytest.raises(InputError, match="the content is not Parquet"):
        read_table(tmp_path / "cut.parquet")


CELLS = st.one_of(st.floats(-1e9, 1e9).map(repr), st.sampled_from(["", "NA", " 7 ", '"2.5"', "<0.5", ">= 3", "0"]))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["x", "", '"two;\nlines"'])), min_size=1, max_size=8),
    separator=st.sampled_from([",", "\t", ";", "|"]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_nothing_filled_gives_the_same_bytes(tmp_path_factory, rows, separator, ending, last, mark):
    lines = [separator.join(row) for row in [("a", "b", "note"), ("1", "2", "x"), ("2.5", "-3", "y"), *rows]]
    raw = mark + (ending.join(lines) + ending * last).encode()
    folder = tmp_path_factory.mktemp("t")
    table = read_table(put(folder, raw), columns=["a", "b"])
    out = write_completed(
        dataclasses.replace(table, readings=Readings(np.zeros_like(table.values))), table.values, folder
    )
    assert out.read_bytes() == raw
    filled = np.where(np.isnan(table.values), 0.5, table.values)
    again = read_table(write_completed(table, filled, folder, "completed_2"), columns=["a", "b"])
    np.testing.assert_array_equal(again.values, filled)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_lines_above_the_header_are_passed_over_and_come_back(tmp_path, separator):
    above = ["Software Version;3.5.1", "", "Plate;P01;;", "a title, with commas;;;"]
    rows = ["id;CRP;IL6;note", "a;1.5;2;x", "b;;3;y", "c;2.5;4.5;z"]
    above = [above[3], *above[:3]]
    text = "\r\n".join([*above, *rows]).replace(",", " " if separator == "," else ",").replace(";", separator)
    table = read_table(put(tmp_path, text))
    assert table.markers == ("CRP", "IL6")
    assert any("the header was taken from line 5" in notice for notice in table.notices)
    np.testing.assert_array_equal(table.values, [[1.5, 2.0], [np.nan, 3.0], [2.5, 4.5]])
    made = write_completed(table, np.nan_to_num(table.values, nan=7.0), tmp_path)
    assert made.read_bytes().decode() == text.replace(f"b{separator}{separator}", f"b{separator}7{separator}")


def test_lines_above_a_narrow_table_are_no_header(tmp_path):
    text = "Plate,P1,\nRun at,noon,\nid,CRP,IL6\na,1.5,2\nb,,3\nc,2.5,4.5\n"
    table = read_table(put(tmp_path, text))
    assert table.markers == ("CRP", "IL6")
    assert any("the header was taken from line 3" in notice for notice in table.notices)
    assert write_completed(table, np.nan_to_num(table.values, nan=7.0), tmp_path).read_text() == text.replace(
        ",,", ",7,"
    )


def test_a_header_with_a_name_too_few_is_still_an_error(tmp_path):
    for rows in ("P1,2,3\nP2,3,4\n", "P1,NA,<1\nP2,3,4\n"):
        with pytest.raises(InputError, match="column 3 has no name"):
            read_table(put(tmp_path, "id,CRP,\n" + rows))
    with pytest.raises(InputError, match="column 2 has no name"):
        read_table(put(tmp_path, "a,,c\n1,2,3\n2,3,4\n"))
    with pytest.raises(InputError, match="3 cells where the header has 2"):
        read_table(put(tmp_path, "a,b\n1,2\n1,2,3\n"))


def test_limits_of_a_row_that_was_never_measured_are_not_asked(tmp_path):
    rows = "".join(f"P{i},{1 + i % 5},0.5,10,{i * i % 7}\n" for i in range(12))
    table = read_table(put(tmp_path, f"id,CRP,CRP_lod,CRP_uloq,x\n{rows}P99,,0,0,3\n"), id_column="id")
    assert table.markers == ("CRP", "x")
    with pytest.raises(InputError, match="line 14, column 'CRP': the limit of detection, 0, is not below"):
        read_table(put(tmp_path, f"id,CRP,CRP_lod,CRP_uloq,x\n{rows}P99,1,0,0,3\n"), id_column="id")

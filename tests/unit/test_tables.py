"""Tables in and out: what was observed comes back byte for byte, whatever the separator, encoding or decimal sign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emtools.errors import InputError
from emtools.io.delimited import find_separator, split_cells
from emtools.io.tables import read_table, write_completed

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

"""Names of the columns of a table at first sight, whatever its separator and encoding."""

from __future__ import annotations

import gzip

import pytest

from emtools.io.headers import table_columns
from emtools.io.tables import read_table


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("t.csv", b"id,a,b\n1,2,3\n2,3,5\n"),
        ("t.csv", b"\xef\xbb\xbfid;a;b\n1;2,5;3\n2;3,5;5\n"),
        ("t.tsv", b"id\ta\tb\r\n1\t2\t3\r\n2\t1\t1\r\n"),
        ("t.txt", "id|a|µ\n1|2|3\n2|3|4\n".encode("utf-16")),
        ("t.csv", "id,a,µ\n1,2,3\n2,3,4\n".encode("cp1252")),
        ("t.csv", b'"id","a, b","c"\n1,2,3\n2,3,4\n'),
        ("t.csv.gz", gzip.compress(b"id;a\n1;2\n2;3\n", mtime=0)),
        ("t.csv", b"id,a\n" + b"12345,1.5\n" * 9000 + b"1,2\n"),
    ],
)
def test_names_are_those_that_the_reader_finds(tmp_path, name, raw):
    path = tmp_path / name
    path.write_bytes(raw)
    table = read_table(path)
    assert table_columns(path) == tuple(entry.column for entry in table.dictionary.entries)


def test_formats_whose_columns_are_made_while_reading_have_none(tmp_path):
    path = tmp_path / "npx.csv"
    path.write_text("SampleID;Assay;NPX\nS1;IL6;2,5\nS2;IL6;3,5\n")
    assert table_columns(path) is None
    assert table_columns(tmp_path / "t.xlsx") is None

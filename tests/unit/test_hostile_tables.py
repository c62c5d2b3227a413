"""Tables as they should not be: each is one clear line and nothing written, or the right answer."""

from __future__ import annotations

import os

import numpy as np
import openpyxl
import pytest

from emtools.cli import main
from emtools.errors import InputError
from emtools.imputing.advice import nines
from emtools.io.tables import read_table

HEAD = "id,a,b,c"
BASE = [["P0", "1.5", "2.5", "30"], ["P1", "2.5", "", "45"], ["P2", "0.5", "3.5", "10"], ["P3", "", "1", "25"], ["P4", "4", "6.5", "75"]]  # fmt: skip
VALUES = np.array([[1.5, 2.5, 30.0], [2.5, np.nan, 45.0], [0.5, 3.5, 10.0], [np.nan, 1.0, 25.0], [4.0, 6.5, 75.0]])


def table(*, head=HEAD, cell=None, rows=BASE, separator=",", end="\n"):
    lines = [list(row) for row in rows]
    if cell is not None:
        lines[2][cell[0]] = cell[1]
    return end.join([head.replace(",", separator), *(separator.join(row) for row in lines)]) + end


def read(tmp_path, text, name="t.csv", **asked):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **asked)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + table().encode(),
        table().encode("utf-16"),
        table(end="\r").encode(),
        table(end="\r\n").encode(),
        table(separator=";"),
        table(separator="\t"),
        table(separator=";").replace(".", ","),
        table(cell=(1, "0.5\N{NO-BREAK SPACE}")),
        table(cell=(1, "+0.5")),
        table(cell=(1, '" 0.5 "')),
        table(cell=(0, '"P\n2"')),
        table().replace("P1,2.5,,", "P1,2.5,NA  ,"),
        table().replace("P1,2.5,,", "P1,2.5,NA\N{NO-BREAK SPACE},"),
        table().replace("P1,2.5,,", "P1,2.5,\N{NO-BREAK SPACE},"),
        table().replace("\n", "\n\n"),
        table(rows=[["", "mg/L", "(ng/mL)", "%"], *BASE]),
        "made by x\n\n" + table(),
        "sep=;\n" + table(separator=";"),
        table(head="id,\N{MICRO SIGN}g,b,c").encode("cp1252"),
        table(head='id,"a\n(mg)",b,c'),
    ],
)
def test_the_values_are_right(tmp_path, text):
    found = read(tmp_path, text)
    np.testing.assert_array_equal(found.values, VALUES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(cell=(1, "1e400")), "line 4, column 'a': '1e400' is infinite"),
        (table(cell=(1, "-inf")), "line 4, column 'a': '-inf' is infinite"),
        (table(cell=(1, "1e200")), r"column 'a' has values up to 1e\+200 .*change its unit"),
        (table(cell=(1, "high")), "line 4, column 'a': 'high' is not a number"),
        (table(cell=(1, "12-Mar")), "'12-Mar' is a date"),
        (table(cell=(1, '"0,5"')), "'0,5' is ambiguous"),
        (table(cell=(3, "1'234.5")), "has a thousands separator"),
        (table(cell=(3, "1 234.5")), "has a thousands separator"),
        (table(cell=(3, "1\N{NO-BREAK SPACE}234.5")), "has a thousands separator"),
        (table(cell=(3, '"1,234.5"')), "has a thousands separator"),
        (table(cell=(3, "10 %")), r"has '%' behind the number.*'CRP \(%\)'"),
        (table(cell=(3, "10 mg/L")), "has 'mg/L' behind the number"),
        (table(cell=(3, "1_000")), "'1_000' is not a number"),
        (table(head="id,a,a,c"), "the name 'a' stands over columns 2 and 3"),
        (table(head="id,a,,c"), "column 3 has no name"),
        (table() + "P9,1\n", "line 7: 2 cells where the header has 4"),
        (table().replace("P2,", '"P2,'), "line 4: a double quote is opened and never closed"),
        (table().encode().replace(b"P2", b"P\x002"), "the content is not text"),
        (table().encode("utf-16-le"), "the content is not text"),
        (table().encode("utf-32"), "the content is not text"),
        ("\n".join(",".join(row[1:]) for row in BASE), "the first line holds numbers"),
        (",".join(f"c{k}" for k in range(10**6)) + "\n", "there is a header but no row"),
        (table(rows=BASE[:1]), "1 row; at least 2 rows"),
        (table(rows=[[row[0], "", "", ""] for row in BASE]), "0 numeric columns to model"),
        ("<html><table></table></html>", "there is a header but no row"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_ids_that_occur_twice_or_are_empty(tmp_path):
    for word, message in (("P1", "the id 'P1' stands at line 3 too"), ("", "")):
        if message:
            with pytest.raises(InputError, match=message):
                read(tmp_path, table(cell=(0, word)), id_column="id")
    with pytest.raises(InputError, match="more than one id is empty"):
        read(tmp_path, table(rows=[*BASE, ["", "1", "2", "3"], ["", "2", "3", "4"]]), id_column="id")


def test_numbers_with_their_unit_in_each_cell_are_told(tmp_path):
    found = read(tmp_path, table(rows=[[*row[:3], f"{row[3]}%"] for row in BASE]))
    assert found.markers == ("a", "b")
    assert any("left alone, each cell has '%' behind the number" in notice for notice in found.notices)


def test_codes_of_nines_are_told():
    column = np.array([[1.0], [2.0], [3.5], [-99.0], [2.5]])
    assert "a (-99)" in nines(column, ["a"])[0]
    assert nines(np.abs(column[:3]), ["a"]) == []
    assert nines(np.array([[98.0], [99.0], [97.0], [90.0]]), ["a"]) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "empty"])
def test_inputs_that_are_no_files(tmp_path, capsys, kind):
    path = tmp_path / "in.csv"
    words = {"folder": "is a folder", "pipe": "is a pipe", "nothing": "no such file", "empty": "the file is empty"}
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "nothing": lambda: None, "empty": path.touch}[kind]()
    assert main(["impute", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words[kind] in said[0]
    assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be(tmp_path, capsys):
    path, out = tmp_path / "in.csv", tmp_path / "out"
    path.write_text(table())
    out.write_text("mine")
    assert main(["impute", str(path), "--out", str(out)]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["impute", str(path), "--out", str(out / "deeper")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    if os.geteuid():  # root writes everywhere
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        assert main(["impute", str(path), "--out", str(closed / "out")]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_workbooks_of_one_column_and_with_merged_cells(tmp_path):
    book = openpyxl.Workbook()
    for value in ("CRP", 1.5, None, 2.5, 4.0):
        book.active.append([value])
    book.active["A3"].value = None
    book.save(tmp_path / "one.xlsx")
    found = read_table(tmp_path / "one.xlsx")
    assert found.markers == ("CRP",)
    book = openpyxl.Workbook()
    for row in [["id", "a", "b"], ["P0", 1, 2], ["P1", 2, 3], ["P2", 4, 4]]:
        book.active.append(row)
    book.active.merge_cells("B3:B4")
    book.save(tmp_path / "merged.xlsx")
    with pytest.raises(InputError, match="the cells B3:B4 are merged"):
        read_table(tmp_path / "merged.xlsx")

"""Workbooks: the table is found, its oddities are named, and what was not filled keeps its bytes."""

from __future__ import annotations

import re
import zipfile
from datetime import datetime

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.io.tables import read_table, write_completed

openpyxl = pytest.importorskip("openpyxl")


def book(tmp_path, rows, name="t.xlsx", title="Plate 1", change=None):
    made = openpyxl.Workbook()
    page = made.active
    page.title = title
    for row in rows:
        page.append(row)
    if change is not None:
        change(made, page)
    path = tmp_path / name
    made.save(path)
    made.close()
    return path


PLAIN = [["patient", "CRP (mg/L)", "IL6"], ["P1", 1.5, 2], ["P2", None, 3.25], ["P3", 4, None], ["P4", 2.75, 7]]


def cells_of(path, sheet):
    with zipfile.ZipFile(path) as file:
        text = file.read(sheet).decode()
    return {m.group(1): m.group() for m in re.finditer(r'<c r="([A-Z]+\d+)".*?(?:/>|</c>)', text)}


def test_values_units_and_what_comes_back(tmp_path):
    def more(made, page):
        page["B2"].number_format = "0.000"
        other = made.create_sheet("Notes")
        other["A1"] = "untouched"

    path = book(tmp_path, PLAIN, change=more)
    table = read_table(path, id_column="patient")
    assert table.markers == ("CRP (mg/L)", "IL6")
    assert table.units == ("mg/L", "")
    assert table.rows == ("P1", "P2", "P3", "P4")
    np.testing.assert_array_equal(table.values, [[1.5, 2], [np.nan, 3.25], [4, np.nan], [2.75, 7]])
    assert any("'Notes' too: choose with --sheet" in notice for notice in table.notices)
    out = write_completed(table, np.where(np.isnan(table.values), 0.1 + 0.2, table.values), tmp_path, "completed_1")
    assert out.name == "completed_1.xlsx"
    before, after = cells_of(path, "xl/worksheets/sheet1.xml"), cells_of(out, "xl/worksheets/sheet1.xml")
    assert {name for name in after if after[name] != before.get(name)} == {"B3", "C4"}
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(out) as two:
        assert one.namelist() == two.namelist()
        changed = {name for name in one.namelist() if one.read(name) != two.read(name)}
    assert changed == {"xl/worksheets/sheet1.xml", "xl/styles.xml"}
    again = openpyxl.load_workbook(out)
    assert again["Plate 1"]["B3"].value == 0.1 + 0.2
    assert again["Plate 1"]["B3"].fill.fgColor.rgb == "FFFFF2CC"
    assert again["Plate 1"]["B2"].fill.fill_type is None
    assert again["Plate 1"]["B2"].number_format == "0.000"
    again.close()
    np.testing.assert_array_equal(
        read_table(out, id_column="patient").values, np.where(np.isnan(table.values), 0.1 + 0.2, table.values)
    )


def test_without_gaps_the_file_keeps_every_part(tmp_path):
    path = book(tmp_path, [["a", "b"], [1, 2], [2, 3.5], [4, 1]])
    table = read_table(path)
    out = write_completed(table, table.values, tmp_path)
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(out) as two:
        assert all(one.read(name) == two.read(name) for name in one.namelist())
    first = out.read_bytes()
    assert write_completed(table, table.values, tmp_path).read_bytes() == first


def test_a_title_empty_rows_and_an_empty_column_are_passed_over(tmp_path):
    rows = [
        ["Experiment 12"],
        [],
        [None, "id", None, "a", "b"],
        [None, 1, None, 2.5, "<0,5"],
        [],
        [None, 2, None, 3, 1.5],
    ]
    rows += [[None, 3, None, 4.5, 2.5]]
    path = book(tmp_path, rows, change=lambda made, page: page.merge_cells("A1:E1"))
    table = read_table(path, id_column="id")
    assert table.markers == ("a", "b")
    assert table.readings.upper[0, 1] == 0.5
    assert np.isnan(table.values[0, 1])
    assert table.at(1, 0).endswith("sheet 'Plate 1', row 6, column 'a'")
    assert any("what stands above it was left alone" in notice for notice in table.notices)
    out = write_completed(table, np.where(np.isnan(table.values), 0.25, table.values), tmp_path)
    page = openpyxl.load_workbook(out)["Plate 1"]
    assert (page["E4"].value, page["A1"].value, page["D6"].value) == (0.25, "Experiment 12", 3)


def test_numbers_stored_as_text_and_errors_are_told(tmp_path):
    rows = [["a", "b"], ["1.5", 2], [2.5, "#DIV/0!"], [3, 4], [5, 6]]
    table = read_table(book(tmp_path, rows))
    np.testing.assert_array_equal(table.values[:2], [[1.5, 2], [2.5, np.nan]])
    assert any("stored as text were read as numbers: a (1)" in notice for notice in table.notices)
    assert any("#DIV/0! (read as missing)" in notice for notice in table.notices)


def with_cache(path, values):
    """Write values beside formulas, as a spreadsheet does when it saves."""
    with zipfile.ZipFile(path) as file:
        parts = {item.filename: file.read(item) for item in file.infolist()}
    text = parts["xl/worksheets/sheet1.xml"].decode()
    for cell, value in values.items():
        text, n = re.subn(rf'(<c r="{cell}"[^>]*>)(<f>.*?</f>)<v ?/>', rf"\1\2<v>{value}</v>", text)
        if not n:
            text, n = re.subn(rf'(<c r="{cell}"[^>]*>)(<f>.*?</f>)<v></v>', rf"\1\2<v>{value}</v>", text)
        assert n == 1
    parts["xl/worksheets/sheet1.xml"] = text.encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, raw in parts.items():
            file.writestr(name, raw)
    return path


def test_formulas_are_read_as_last_calculated_and_stay(tmp_path):
    rows = [["a", "b", "ratio"], [1, 2, "=A2/B2"], [3, None, 0.25], [4, 5, "=A4/B4"]]
    path = with_cache(book(tmp_path, rows), {"C2": "0.5", "C4": "0.8"})
    table = read_table(path)
    np.testing.assert_array_equal(table.values[:, 2], [0.5, 0.25, 0.8])
    out = write_completed(table, np.where(np.isnan(table.values), 9.0, table.values), tmp_path)
    np.testing.assert_array_equal(read_table(out).values[:, 2], [0.5, 0.25, 0.8])
    assert openpyxl.load_workbook(out).active["C4"].value == "=A4/B4"


def test_a_formula_without_a_value_is_named(tmp_path):
    path = book(tmp_path, [["a", "b"], [1, 2], [3, "=A3*2"], [4, 5]])
    with pytest.raises(InputError, match=r"row 3, column 'b': '=A3\*2' is a formula without a stored value.*calculate"):
        read_table(path)


@pytest.mark.parametrize(
    ("rows", "change", "options", "message"),
    [
        (
            [["a", "b"], [1, 2], [datetime(2026, 3, 1), 3], [4, 5]],
            None,
            {},
            r"row 3, column 'a': '2026-03-01.*is a date",
        ),
        (PLAIN, lambda made, page: page.merge_cells("B2:B3"), {}, r"the cells B2:B3 are merged.*unmerge"),
        (PLAIN, None, {"sheet": "Nope"}, r"no sheet 'Nope'; one of 'Plate 1'; check --sheet"),
        ([], None, {}, r"all sheets are empty"),
        ([["a", "b", None], [1, 2, 3], [2, 3, 4]], None, {}, r"column C: has no name"),
        ([["a", "b", "a"], [1, 2, 3], [2, 3, 4]], None, {}, r"column C: the name 'a' stands over column A too"),
        ([["a", "b"], [1, 2]], None, {}, r"1 row; at least 2 rows"),
    ],
)
def test_hostile_sheets_are_named(tmp_path, rows, change, options, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(book(tmp_path, rows, change=change), **options)
    assert "\n" not in str(caught.value)


def test_damaged_workbooks_are_named(tmp_path):
    whole = book(tmp_path, PLAIN).read_bytes()
    for raw, message in (
        (whole[: len(whole) // 2], "no workbook, or cut short"),
        (b"a,b\n1,2\n3,4\n", "no workbook, or cut short"),
        (b"\xd0\xcf\x11\xe0" + bytes(512), "an old or locked workbook"),
    ):
        path = tmp_path / "bad.xlsx"
        path.write_bytes(raw)
        with pytest.raises(InputError, match=message):
            read_table(path)


def test_flipped_bytes_give_a_table_or_one_line(tmp_path):
    whole = book(tmp_path, PLAIN).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.xlsx"
    told = []
    for _ in range(60):
        raw = bytearray(whole)
        for at in rng.integers(0, len(raw), 3):
            raw[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(raw))
        try:
            read_table(path)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 20
    assert not any("\n" in line for line in told)


def test_a_gene_that_became_a_date_is_told(tmp_path):
    path = book(tmp_path, [["id", datetime(2026, 3, 1), "TP53"], [1, 2.5, 3], [2, 3, 5], [3, 1, 1.5]])
    told = read_table(path, id_column="id").notices
    assert any("'2026-03-01'" in notice and "MARCHF1" in notice for notice in told)


def test_a_shared_formula_that_is_overwritten_leaves_the_others_their_values(tmp_path):
    path = book(tmp_path, [["a", "b"], [1, 2], [3, 4], [4, 6], [5, 1]])
    with zipfile.ZipFile(path) as file:
        parts = {item.filename: file.read(item) for item in file.infolist()}
    text = parts["xl/worksheets/sheet1.xml"].decode()
    text = re.sub(
        r'<c r="B2"[^>]*>.*?</c>', '<c r="B2" t="e"><f t="shared" ref="B2:B3" si="0">1/0</f><v>#DIV/0!</v></c>', text
    )
    text = re.sub(r'<c r="B3"[^>]*>.*?</c>', '<c r="B3"><f t="shared" si="0"/><v>4</v></c>', text)
    parts["xl/worksheets/sheet1.xml"] = text.encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, raw in parts.items():
            file.writestr(name, raw)
    table = read_table(path)
    out = write_completed(table, np.where(np.isnan(table.values), 9.5, table.values), tmp_path)
    page = openpyxl.load_workbook(out).active
    assert [page[f"B{row}"].value for row in (2, 3, 4)] == [9.5, 4, 6]


def test_a_header_of_two_rows_with_merged_cells_is_read_by_its_second(tmp_path):
    book = openpyxl.Workbook()
    page = book.active
    page.append(["Serum markers, March", None, None, None, None, None])
    page.append(["Patient", "Visit", "Day 0", None, "Day 7", None])
    page.append([None, None, "CRP (mg/L)", "IL6", "CRP (mg/L)", "TNF"])
    for k in range(6):
        page.append([f"P{k}", datetime(2021, 3, k + 1), 1.5 + k * k, None if k == 2 else 2.0 + k, 3.0 - k, k % 4])
    for reference in ("A1:F1", "A2:A3", "B2:B3", "C2:D2", "E2:F2"):
        page.merge_cells(reference)
    book.save(tmp_path / "two.xlsx")
    table = read_table(tmp_path / "two.xlsx", id_column="Patient")
    assert table.markers == ("Day 0 CRP (mg/L)", "IL6", "Day 7 CRP (mg/L)", "TNF")
    assert table.values.shape == (6, 4)
    assert any("rows 2 and 3" in notice for notice in table.notices)
    made = write_completed(table, np.nan_to_num(table.values, nan=9.5), tmp_path)
    assert openpyxl.load_workbook(made).active["D6"].value == 9.5

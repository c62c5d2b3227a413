"""Olink's wide export, as text and as a workbook: read by samples and assays, and written back cell by cell."""

from __future__ import annotations

import numpy as np
import openpyxl
import pandas as pd
import pytest

from emtools.errors import InputError
from emtools.io.frames import read_frame
from emtools.io.tables import read_table, write_completed

ROWS = [
    ["NPX data", "NPX Manager 3.3"],
    ["Demo"],
    ["Panel", "INF", "INF", "CVD", "INF", "INF", "INF", "CVD", "CVD"],
    ["Assay", "IL6", "TNF", "IL6", "Inc Ctrl 1", "Plate ID", "QC Warning", "Plate ID", "QC Warning"],
    ["Uniprot ID", "P1", "P2", "P1", "", "", "", "", ""],
    ["OlinkID", "OID1", "OID2", "OID3", "OID9", "", "", "", ""],
    [],
    ["S1", 2.25, 1.0, 0.5, 3.0, "P1", "Pass", "P7", "Pass"],
    ["S2", 1.2, 3.5, None, 3.0, "P2", "Warning", "P7", "Pass"],
    ["S3", None, 2.75, 0.25, 3.0, "P2", "Pass", "P7", "Warning"],
    ["Neg Control", 9.9, 9.9, 9.9, 3.0, "P2", "Pass", "P7", "Pass"],
    ["S4", 4.75, -0.5, 1.5, 3.0, "P1", "Pass", "P7", "Pass"],
    [],
    ["LOD", 1.5, 0.25, 0.4, None, "P1", "", "", ""],
    ["LOD", 1.8, 0.75, 0.4, None, "P2", "", "", ""],
    ["Missing Data freq.", 0.25, 0.0, 0.5, None, "", "", "", ""],
    ["Normalization", "Intensity", "Intensity", "Intensity", "", "", "", "", ""],
]
VALUES = [[2.25, 1.0, 0.5], [1.2, 3.5, np.nan], [np.nan, 2.75, 0.25], [4.75, -0.5, 1.5]]


def as_line(cells, decimal=",", separator=";"):
    return separator.join(
        "" if c is None else str(c).replace(".", decimal) if not isinstance(c, str) else c for c in cells
    )


def put(tmp_path, ending, rows=ROWS):
    path = tmp_path / f"wide{ending}"
    if ending == ".xlsx":
        book = openpyxl.Workbook()
        for cells in rows:
            book.active.append([None if cell == "" else cell for cell in cells])
        book.save(path)
    else:
        path.write_bytes(("\r\n".join(map(as_line, rows)) + "\r\n").encode("utf-8-sig"))
    return path


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_samples_assays_limits_and_plates(tmp_path, ending):
    table = read_table(put(tmp_path, ending), batch="Plate ID (INF)", below_lod="censor")
    assert table.markers == ("IL6_OID1", "TNF", "IL6_OID3")
    assert table.rows == ["S1", "S2", "S3", "S4"]
    assert table.units == ("NPX (log2)",) * 3
    assert table.covariates["Plate ID (INF)"].tolist() == ["P1", "P2", "P2", "P1"]
    wanted = np.array(VALUES)
    below = [(1, 0, 1.8), (2, 2, 0.4), (3, 1, 0.25)]
    for row, marker, limit in below:
        wanted[row, marker] = np.nan
        assert table.readings.upper[row, marker] == limit
    np.testing.assert_array_equal(table.values, wanted)
    assert table.readings.bounded.sum() == len(below)
    told = "\n".join(table.notices)
    assert "Olink's wide export: 4 samples × 3 assays" in told
    assert "1 control samples are left out of the model: Neg Control" in told
    assert "3 values of samples with a warning of quality control are kept" in told


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_only_gaps_change_and_warnings_can_be_blanked(tmp_path, ending):
    source = put(tmp_path, ending)
    table = read_table(source, warned="blank")
    np.testing.assert_array_equal(np.isnan(table.values).sum(axis=0), [2, 1, 2])
    table = read_table(source)
    filled = np.where(np.isnan(table.values), 1.125, table.values)
    made = write_completed(table, filled, tmp_path)
    frame = read_frame(made)
    assert frame["IL6_OID1"].tolist() == [2.25, 1.2, 1.125, 4.75]
    assert frame["SampleID"].tolist() == ["S1", "S2", "S3", "S4"]
    if ending == ".csv":
        before, after = source.read_bytes().splitlines(), made.read_bytes().splitlines()
        assert [k for k, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [8, 9]
        assert after[9] == b"S3;1,125;2,75;0,25;3,0;P2;Pass;P7;Warning"
    else:
        old, new = (pd.read_excel(path, header=None).to_numpy() for path in (source, made))
        changed = [(i, j) for i, j in np.argwhere((old != new) & ~(pd.isna(old) & pd.isna(new))).tolist()]
        assert changed == [(8, 3), (9, 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows[:7], *rows[12:]], "no sample stands in it"),
        (lambda rows: [*rows[:13], ["LOD", "high", 0.25, 0.4], *rows[15:]], "the limit 'high' is not a number"),
        (lambda rows: [*rows[:8], ["", 1.2, 3.5, None], *rows[9:]], "no sample is named"),
        (lambda rows: [*rows[:8], ["S2", "1e400", 3.5, None], *rows[9:]], "'1e400' is infinite"),
    ],
)
def test_hostile_exports_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(put(tmp_path, ".csv", change(ROWS)))
    assert "\n" not in str(caught.value)

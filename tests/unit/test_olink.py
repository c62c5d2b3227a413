"""Olink's long format: pivoted, told of, and written back line by line."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.io.tables import read_table, write_completed

HEADER = "SampleID;SampleType;OlinkID;UniProt;Assay;Panel;PlateID;QC_Warning;LOD;NPX"
LINES = [
    "S1;SAMPLE;OID1;P1;IL6;INF;plate1;PASS;1,5;2,25",
    "S1;SAMPLE;OID2;P2;TNF;INF;plate1;PASS;0,5;1,00",
    "S2;SAMPLE;OID1;P1;IL6;INF;plate2;PASS;1,8;1,20",
    "S2;SAMPLE;OID2;P2;TNF;INF;plate2;WARN;0,7;3,50",
    "S3;SAMPLE;OID1;P1;IL6;INF;plate2;PASS;1,8;NA",
    "S3;SAMPLE;OID2;P2;TNF;INF;plate2;PASS;0,7;2,75",
    "S4;SAMPLE;OID1;P1;IL6;INF;plate1;PASS;1,5;4,75",
    "CTRL;CONTROL;OID1;P1;IL6;INF;plate1;PASS;1,5;9,99",
]


def put(tmp_path, lines=LINES, header=HEADER, name="npx.csv"):
    path = tmp_path / name
    path.write_bytes(("\r\n".join([header, *lines]) + "\r\n").encode())
    return path


def test_samples_by_assays_with_plates_limits_and_words(tmp_path):
    table = read_table(put(tmp_path), batch="PlateID")
    assert table.rows == ("S1", "S2", "S3", "S4")
    assert table.markers == ("IL6", "TNF")
    assert table.units == ("NPX (log2)",) * 2
    np.testing.assert_array_equal(table.values, [[2.25, 1.0], [1.2, 3.5], [np.nan, 2.75], [4.75, np.nan]])
    assert table.covariates["PlateID"].tolist() == ["plate1", "plate2", "plate2", "plate1"]
    assert table.batches == ("PlateID",)
    told = "\n".join(table.notices)
    assert "1 control samples are left out of the model: CTRL" in told
    assert "1 pairs of sample and assay have no line" in told
    assert "1 values have a warning of quality control of the sample and are kept" in told
    assert "values below their limit of detection are kept as reported: IL6 (1)" in told


def test_values_below_the_limit_of_their_plate_can_count_as_below_it(tmp_path):
    table = read_table(put(tmp_path), below_lod="censor")
    assert np.isnan(table.values[1, 0])
    assert table.readings.upper[1, 0] == 1.8
    assert table.readings.bounded.sum() == 1


def test_values_with_a_warning_can_be_blanked(tmp_path):
    table = read_table(put(tmp_path), warned="blank")
    assert np.isnan(table.values[1, 1])
    assert any("were blanked and are filled" in notice for notice in table.notices)


def test_lines_come_back_with_flags_and_new_ones_for_absent_pairs(tmp_path):
    table = read_table(put(tmp_path))
    filled = np.where(np.isnan(table.values), 1.125, table.values)
    text = write_completed(table, filled, tmp_path).read_bytes().decode()
    lines = text.split("\r\n")
    assert lines[0] == HEADER + ";Imputed"
    assert lines[1:5] == [line + ";0" for line in LINES[:4]]
    assert lines[5] == "S3;SAMPLE;OID1;P1;IL6;INF;plate2;PASS;1,8;1,125;1"
    assert lines[8] == LINES[7] + ";0"
    assert lines[9] == "S4;SAMPLE;OID2;P2;TNF;INF;plate1;;;1,125;1"
    assert lines[10:] == [""]
    again = read_table(put(tmp_path, lines[1:-1], lines[0], "again.csv"))
    np.testing.assert_array_equal(again.values, filled)


def test_controls_are_known_by_their_names_where_no_column_says_so(tmp_path):
    header = HEADER.replace(";SampleType", "")
    lines = [line.replace(";SAMPLE;", ";").replace(";CONTROL;", ";") for line in LINES]
    lines = [line.replace("CTRL;", "CONTROL_SAMPLE_AS 1;") for line in lines]
    lines += [f"S{k};OID7;INC;Incubation control 1;INF;plate1;PASS;0,1;{k},5" for k in range(1, 5)]
    table = read_table(put(tmp_path, lines, header))
    assert table.rows == ("S1", "S2", "S3", "S4")
    assert table.markers == ("IL6", "TNF")
    told = "\n".join(table.notices)
    assert "1 control samples are left out of the model: CONTROL_SAMPLE_AS 1" in told
    assert "1 control assays are left out of the model: Incubation control 1" in told


def test_a_sample_that_stands_twice_makes_two_rows(tmp_path):
    more = [line.replace("plate1", "plate2").replace("2,25", "2,5") for line in LINES[:2]]
    table = read_table(put(tmp_path, [*LINES, *more]))
    assert table.rows == ("S1", "S2", "S3", "S4", "S1 (2)")
    np.testing.assert_array_equal(table.values[4], [2.5, 1.0])
    assert any("1 samples stand more than once and make a row each time: S1" in notice for notice in table.notices)


def test_an_assay_on_two_panels_keeps_both(tmp_path):
    more = [
        f"{s};SAMPLE;OID9;P1;IL6;CARD;plate7;PASS;1,0;{v}" for s, v in (("S1", "3,0"), ("S2", "1,5"), ("S3", "2,5"))
    ]
    table = read_table(put(tmp_path, [*LINES, *more]), batch=["PlateID_INF"])
    assert table.markers == ("IL6_OID1", "TNF", "IL6_OID9")
    assert table.covariates["PlateID_INF"].tolist() == ["plate1", "plate2", "plate2", "plate1"]


def test_parquet_keeps_its_columns_and_gains_flags(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [line.replace(",", ".").split(";") for line in LINES]
    columns = dict(zip(HEADER.split(";"), (list(column) for column in zip(*rows, strict=True)), strict=True))
    columns["LOD"] = [float(text) for text in columns["LOD"]]
    columns["NPX"] = pa.array([None if text == "NA" else float(text) for text in columns["NPX"]], pa.float64())
    source = pa.table(columns)
    pq.write_table(source, tmp_path / "npx.parquet")
    table = read_table(tmp_path / "npx.parquet")
    again = pq.read_table(write_completed(table, np.where(np.isnan(table.values), 1.125, table.values), tmp_path))
    assert again.column("Imputed").to_pylist() == [False] * 4 + [True] + [False] * 3 + [True]
    assert again.column("NPX").to_pylist() == [2.25, 1.0, 1.2, 3.5, 1.125, 2.75, 4.75, 9.99, 1.125]
    assert again.column("Assay").to_pylist()[-1] == "TNF"
    assert again.select(["SampleID", "LOD"]).slice(0, 8).equals(source.select(["SampleID", "LOD"]))


def test_hostile_long_tables_are_named(tmp_path):
    with pytest.raises(InputError, match=r"line 3, column 'NPX': 'high' is not a finite number"):
        read_table(put(tmp_path, [LINES[0], LINES[1].replace("1,00", "high"), *LINES[2:]]))
    with pytest.raises(InputError, match="no line of a sample is left beside controls"):
        read_table(put(tmp_path, [LINES[-1], LINES[-1]]))

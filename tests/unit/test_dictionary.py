"""The data dictionary: written, corrected by a person, handed back."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.io.dictionary import FIELDS, Dictionary, Entry, read_dictionary, write_dictionary
from emtools.io.tables import read_table

TEXT = (
    "patient,plate,sex,CRP (mg/L),IL6,IL6_lod,note\n"
    "P1,1,F,1.5,0,0.5,a\n"
    "P2,1,M,<0.4,2.25,0.5,b\n"
    "P3,2,F,-9,3,0.8,c\n"
    "P4,2,,4,0.25,0.8,\n"
    "P5,2,M,>50,5,0.8,e\n"
)


def put(tmp_path, text=TEXT, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_again(tmp_path):
    entries = (
        Entry("CRP (mg/L)", "marker", "number", "mg/L", "log", ("-9", "x y"), ("ND",), (">>",), 0.1 + 0.2, "CRP_u"),
        Entry('odd "name"\tof two\nlines', "leave", "text", note="; , | µ"),
        Entry("b", "batch", "category", "", "", n_observed=3, n_missing=1, n_below=0, n_above=2, min=-1e-7, max=1e300),
    )
    path = write_dictionary(Dictionary(entries, {}), tmp_path / "dictionary.tsv")
    again = read_dictionary(path)
    assert again.entries == entries
    assert write_dictionary(again, tmp_path / "again.tsv").read_bytes() == path.read_bytes()
    assert path.read_text(encoding="utf-8").split("\n")[0] == "\t".join(FIELDS)


def test_the_dictionary_of_a_table_gives_the_same_table(tmp_path):
    path = put(tmp_path)
    first = read_table(path, id_column="patient", covariates=["sex"], batch="plate", missing=["-9"])
    entry = first.dictionary.of("CRP (mg/L)")
    assert (entry.unit, entry.n_observed, entry.n_missing, entry.n_below, entry.n_above) == ("mg/L", 2, 1, 1, 1)
    assert (entry.min, entry.max) == (1.5, 4.0)
    assert first.dictionary.of("IL6").lod == "IL6_lod"
    assert first.dictionary.of("IL6_lod").note == "limits of IL6, row by row"
    assert [e.role for e in first.dictionary.entries] == [
        "id", "batch", "covariate", "marker", "marker", "leave", "leave"
    ]  # fmt: skip
    written = write_dictionary(first.dictionary, tmp_path / "dictionary.tsv")
    again = read_table(path, dictionary=written, missing=["-9"])
    np.testing.assert_array_equal(again.values, first.values)
    for one, two in zip(again.readings.bounds(), first.readings.bounds(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (again.rows, again.markers, again.units) == (first.rows, first.markers, first.units)
    assert again.covariates.equals(first.covariates)
    assert again.dictionary.entries == first.dictionary.entries


def test_a_person_corrects_it(tmp_path):
    lines = [
        "column;role;scale;missing_codes;below_codes;lod;type;unit",
        "patient;id;;;;;;",
        "plate;batch;;;;;;",
        "sex;covariate;;;;;binary;",
        "CRP (mg/L);marker;log;-9|-8;;0,2;;g/L",
        "IL6;marker;;;0;IL6_lod;;pg/mL",
    ]
    table = read_table(put(tmp_path), dictionary=put(tmp_path, "\n".join(lines) + "\n", "d.csv"))
    assert table.markers == ("CRP (mg/L)", "IL6")
    assert (table.units, table.scales) == (("g/L", "pg/mL"), ("log", ""))
    assert np.isnan(table.values[0, 1])
    lower, upper = table.readings.bounds()
    assert (upper[0, 1], upper[1, 0], lower[4, 0]) == (0.5, 0.4, 50.0)
    assert upper[2, 0] == np.inf
    assert table.covariates["plate"].tolist() == ["1", "1", "2", "2", "2"]
    assert table.covariates["sex"].tolist() == ["F", "M", "F", None, "M"]


def test_ranges_are_read_where_the_type_says_so(tmp_path):
    path = put(tmp_path, "a,b\n1,0.5-1.0\n2,3\n4,5\n3,-2 - -1\n")
    with pytest.raises(InputError, match=r"line 2, column 'b': '0.5-1.0' is a range.*type 'interval'"):
        read_table(path)
    table = read_table(path, dictionary=put(tmp_path, "column\trole\ttype\nb\tmarker\tinterval\n", "d.tsv"))
    lower, upper = table.readings.bounds()
    assert (lower[0, 1], upper[0, 1], lower[3, 1], upper[3, 1]) == (0.5, 1.0, -2.0, -1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("column\trole\tcolour\na\tmarker\tred\n", r"d.tsv, header: no field 'colour'; some of column, role"),
        ("column\ttype\na\tnumber\n", r"d.tsv, header: there is no field 'role'"),
        ("column\trole\na\tmarkr\n", r"d.tsv, line 2, field role: 'markr'; one of id, marker"),
        ("column\trole\ttype\na\tmarker\tfloat\n", r"line 2, field type: 'float'; one of number, interval"),
        ("column\trole\tscale\na\tmarker\tln\n", r"line 2, field scale: no scale 'ln'; one of none, log"),
        ("column\trole\tscale\na\tmarker\tbox-cox nan\n", r"line 2, field scale: no scale 'box-cox nan'; one of none"),
        ("column\trole\tscale\na\tmarker\tbox-cox 0.5 1\n", r"field scale: no scale 'box-cox 0.5 1'"),
        ("column\trole\tscale\na\tmarker\tlog 0.5\n", r"field scale: no scale 'log 0.5'"),
        ("column\trole\tn_below\na\tmarker\tfew\n", r"line 2, field n_below: 'few'; a whole number or nothing"),
        ("column\trole\tmax\na\tmarker\tfew\n", r"line 2, field max: 'few'; a number or nothing"),
        ("column\trole\na\tmarker\na\tleave\n", r"line 3: column 'a' has a line already"),
        ("column\trole\na\tid\nb\tid\n", r"line 3: 'a' and 'b' both have the role id"),
        ("column\trole\tlod\tupper_limit\na\tmarker\t5\t2\n", r"line 2, column 'a': lod 5 and upper_limit 2"),
        ("column\trole\ttype\na\tmarker\tcategory\n", r"line 2, column 'a': role marker and type category"),
        ("column\trole\na\tmarker\nc\tmarker\n", r"d.tsv, line 3: .*t.csv has no column 'c'; columns of the table"),
        ("column\trole\tlod\na\tmarker\tb_lod\n", r"'b_lod' is neither a number nor a column"),
    ],
)
def test_wrong_dictionaries_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(put(tmp_path, "a,b\n1,2\n2,3\n3,5\n"), dictionary=put(tmp_path, text, "d.tsv"))
    assert "\n" not in str(caught.value)

"""The contract of a table, format by format: in, filled, out, and read again by whatever comes next.

For each format: observed cells come back bit for bit, no gap is left, the file that was read is untouched, a stored model
fills the same rows alike, and `emtools pool` sees samples by markers. Beside it stand `check_estimator`
(test_estimators.py), the same bytes for any number of threads and new rows through the commands (test_impute_cli.py).
"""

from __future__ import annotations

import gzip

import numpy as np
import openpyxl
import pandas as pd
import pytest

from emtools.imputing.complete import fill, impute
from emtools.imputing.store import read_model, write_model
from emtools.io.frames import read_frame
from emtools.io.outputs import sha256
from emtools.io.tables import read_table, write_completed
from emtools.kernels.scales import Identity

NAMES = ("IL6", "TNF", "CRP")


def values():
    rng = np.random.default_rng(11)
    whole = rng.normal(size=(40, 1)) + 0.7 * rng.normal(size=(40, 3)) + 5.0
    whole[rng.random(whole.shape) < 0.15] = np.nan
    return whole.round(6)  # openpyxl keeps 16 digits


def text_table(path, separator=",", decimal="."):
    rows = [separator.join(("id", *NAMES, "site"))]
    for i, row in enumerate(values()):
        cells = ["" if v != v else repr(float(v)).replace(".", decimal) for v in row]
        rows.append(separator.join((f"S{i}", *cells, "north")))
    raw = ("\r\n".join(rows) + "\r\n").encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def frame():
    made = pd.DataFrame(values(), columns=NAMES)
    made.insert(0, "id", [f"S{i}" for i in range(40)])
    return made


def workbook(path):
    book = openpyxl.Workbook()
    book.active.append(["A title"])
    book.active.append(["id", *NAMES])
    for i, row in enumerate(values().tolist()):
        book.active.append([f"S{i}", *(None if v != v else v for v in row)])
    book.save(path)


def annotated(path):
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame({"site": ["north"] * 40}, index=[f"S{i}" for i in range(40)])
    anndata.AnnData(values(), obs=obs, var=pd.DataFrame(index=list(NAMES))).write_h5ad(path)


def olink_long(path):
    lines = ["SampleID;OlinkID;Assay;Panel;NPX"]
    for i, row in enumerate(values()):
        lines += [
            f"S{i};OID{j};{n};INF;{'NA' if v != v else repr(float(v))}"
            for j, (n, v) in enumerate(zip(NAMES, row, strict=True))
        ]
    path.write_text("\n".join(lines) + "\n")


def olink_wide_rows():
    top = [["NPX data"], ["Demo"], ["Panel", "INF", "INF", "INF"], ["Assay", *NAMES], ["Uniprot ID", "P1", "P2", "P3"]]
    body = [[f"S{i}", *(None if v != v else v for v in row)] for i, row in enumerate(values().tolist())]
    return [*top, ["OlinkID", "O1", "O2", "O3"], [], *body, [], ["LOD", 0.5, 0.5, 0.5], ["Missing Data freq.", 0, 0, 0]]


def olink_wide_text(path):
    lines = [
        ";".join("" if c is None else c if isinstance(c, str) else repr(c) for c in row) for row in olink_wide_rows()
    ]
    path.write_text("\n".join(lines) + "\n")


def olink_wide_workbook(path):
    book = openpyxl.Workbook()
    for row in olink_wide_rows():
        book.active.append(row)
    book.save(path)


FORMATS = {
    "table.csv": text_table,
    "table.tsv": lambda path: text_table(path, "\t"),
    "comma.csv": lambda path: text_table(path, ";", ","),
    "packed.csv.gz": text_table,
    "table.parquet": lambda path: frame().to_parquet(path),
    "table.xlsx": workbook,
    "table.h5ad": annotated,
    "olink_long.csv": olink_long,
    "olink_wide.csv": olink_wide_text,
    "olink_wide.xlsx": olink_wide_workbook,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_goes_in_and_comes_out(tmp_path, name):
    source = tmp_path / name
    FORMATS[name](source)
    before = sha256(source)
    table = read_table(source)
    assert table.markers == NAMES
    np.testing.assert_array_equal(table.values, values())
    done = impute(table.readings, markers=table.markers, scales=(Identity(),) * 3, draws=2)
    (tmp_path / "out").mkdir()
    paths = [write_completed(table, done.values, tmp_path / "out", sd=done.sd)]
    paths += [
        write_completed(table, drawn, tmp_path / "out", f"completed_{k}") for k, drawn in enumerate(done.draws, 1)
    ]
    seen = ~np.isnan(values())
    for path, held in zip(paths, (done.values, *done.draws), strict=True):
        again = read_frame(path)[list(NAMES)].to_numpy()
        assert path.suffixes == source.suffixes
        assert len(again) == 40
        np.testing.assert_array_equal(again[seen], values()[seen])
        np.testing.assert_allclose(again, held, rtol=1e-9, atol=0.0)
    assert sha256(source) == before
    write_model(tmp_path / "model.npz", done, {})
    stored = read_model(tmp_path / "model.npz")
    new = read_table(source, columns=stored.markers, new_rows=True)
    np.testing.assert_array_equal(
        fill(stored.model, stored.params, new.readings, new.readings, stored.scales, 0).values, done.values
    )

"""What is fuzzed: a small good file of each kind, and the readers that get its damaged copies."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import openpyxl
import pandas as pd
import PIL.Image
import tifffile
import zarr

ROOT = Path(__file__).parents[2]
CSV = "id;plate;CRP (mg/L);IL6;il6_lod\nP1;a;1,5;<0,5;0,5\nP2;a;2,5;;0,5\nP3;b;ND;3,5;0,7\nP4;b;>100;1,25;0,7\nP5;b;0,25;7;0,7\n"
NPX = "SampleID;SampleType;OlinkID;UniProt;Assay;Panel;PlateID;QC_Warning;LOD;NPX\n" + "".join(
    f"S{i};SAMPLE;OID{j};P{j};{name};INF;plate{i % 2};PASS;0,5;{i + 0.25 * j:.2f}\n".replace(".", ",")
    for i in range(5)
    for j, name in enumerate(("IL6", "TNF", "CRP"))
)
FASTA = ">chr1 first\nACGTNNACGTTGACGTCAACGT\nACGTAA\n>chr2\nTTGACGTCATT\n"
BED = "track name=x\nchr1\t2\t8\tS1\t500\t+\t2\t8\t255,0,0\nchr2\t0\t11\tS2\t1000\t-\n"
BEDGRAPH = (
    "track type=bedGraph\nchr1\t0\t10\t0.5\nchr1\t10\t20\t-1e-3\nchr1\t40\t50\t2\nchr2\t5\t15\tnan\nchr2\t15\t25\t7\n"
)
BENCHMARK = "s\th:m:s\tmax_rss\tcpu_time\n33.79\t0:00:33\t222.62\t1234.5\n"
MEME = "MEME version 5\n\nALPHABET= ACGT\n\nMOTIF M1 first\nletter-probability matrix: alength= 4 w= 2 nsites= 9\n0.5 0 0.5 0\n0.25 0.25 0.25 0.25\n"
JASPAR = ">MA1.1 one\nA [ 8 1 ]\nC [ 0 1 ]\nG [ 1 7 ]\nT [ 1 1 ]\n"
CONFIG = """seed: 1
results: out
samples: {hmm: sheet.tsv}
impute:
  lab: {input: a.csv, id: id, columns: [CRP (mg/L), IL6], lod: ["IL6=il6_lod"], scale: ["*=log"], missing: [ND]}
deconvolve:
  groups: {input: "impute:lab", id: id, columns: [IL6, CRP (mg/L)], components: 2-3}
hmm:
  long: {input: a.fa, states: 2, tol: 1.0e-5}
motif:
  sites: {input: a.fa, regions: "hmm:long", width: 6-8, starts: 2}
"""
SHEET = "entry\tinput\tstates\tstarts\nvisit1\ta.fa\t2\t3\nvisit2\ta.fa\t3\t\n"
FIT = {
    "schema": "emtools-fit-1", "branch": "hmm", "model": {"name": "categorical_hmm", "n_states": 2}, "status": "converged",
    "verdict": "converged", "loglik": -12.5, "objective": -12.5, "gap": 1e-9, "rate": 0.5,
    "certificate": {"kind": "maximum", "gap": 1e-9}, "n_units": 3, "passes": 9,
    "parameters": {"start": {"value": [0.5, 0.5], "se": [0.1, None], "lower": [0.1, None], "upper": [0.9, None],
                             "interval": "logit", "shape": [2], "unit": "probability", "labels": [["S1", "S2"]]}},
    "accuracy": [{"method": "ours", "metric": "ARI", "value": 0.9}], "extra": {},
    "starts": [{"restart": 0, "strategy": "a", "status": "converged", "objective": -12.5, "passes": 9, "optimum": 1, "saddles": 0}],
    "optima": [{"objective": -12.5}],
    "trace": [{"restart": 0, "pass": i, "kind": "em", "objective": -20.0 + i, "gain": 1.0, "gap": 1.0, "parameter_change": 0.1}
              for i in range(3)],
    "inputs": [{"path": "a.fa", "sha256": "0" * 64}], "seed": 0, "versions": {"python": "3.11"}, "command": ["emtools", "hmm"],
    "outputs": ["fit.json", "report.html"],
}  # fmt: skip


WIDE = """NPX data;NPX Manager 3.3
Panel;INF;INF;CVD;INF;INF
Assay;IL6;TNF;IL6;Plate ID;QC Warning
Uniprot ID;P1;P2;P1;;
OlinkID;OID1;OID2;OID3;;

S1;2,25;1,0;0,5;P1;Pass
S2;1,2;3,5;;P2;Warning
S3;;2,75;0,25;P2;Pass

LOD;1,5;0,25;0,4;P1;
LOD;1,8;0,75;0,4;P2;
"""
RNA = "type\trna\nB\t1.5\nT cell\t0.5\n"
COMPLETED = "id,age,CRP,stage\n" + "".join(f"P{i},{20 + 3 * i % 17},{{0}}{i % 5}.{i}{{1}},{i % 3}\n" for i in range(12))


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Parameters
    ----------
    name : str
        Name of the good file, or of a folder whose files are damaged one at a time.
    write : callable
        Writes it into a folder.
    readers : sequence of callables
        Each takes the path.
    """

    name: str
    write: Callable[[Path], Any]
    readers: Sequence[Callable[[Path], Any]]


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(
        gzip.compress(content.encode(), mtime=0) if path.suffix == ".gz" else content.encode()
    )


def cells() -> anndata.AnnData:
    rng = np.random.default_rng(3)
    counts = rng.poisson(3, size=(12, 5)).astype(np.float32)
    obs = pd.DataFrame(
        {"kind": pd.Categorical(list("xyz") * 4), "age": np.arange(12.0)}, index=[f"c{i}" for i in range(12)]
    )
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
    adata.obsm["X_pca"] = counts[:, :2]
    adata.layers["counts"] = counts
    return adata


def few_counts(path: Path) -> None:
    """Cells by rows of what is not nought, with columns that may be absent."""
    import scipy.sparse

    adata = cells()
    adata.X = scipy.sparse.csr_matrix(adata.X)
    adata.layers["counts"] = adata.X.tocsc()
    adata.obs["n"] = pd.array([1, None] * 6, dtype="Int64")
    adata.obs["sure"] = pd.array([True, None, False] * 4, dtype="boolean")
    adata.write_h5ad(path, compression="gzip")


def grey() -> np.ndarray:
    rng = np.random.default_rng(8)
    mask = np.zeros((24, 20), dtype=bool)
    mask[4:12, 4:15] = True
    return rng.poisson(20 + 100 * mask).astype(np.uint16)


def workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [
        ["id", "CRP", "IL6"],
        ["", "mg/L", "%"],
        *[[f"P{i}", 1.5 * i, None if i == 2 else i**2] for i in range(5)],
    ]:
        book.active.append(row)
    book.active["C8"] = "=B8*2"
    book.save(path)


def ome_zarr(path: Path) -> None:
    from emtools.io.ome_zarr import write_ome_zarr

    write_ome_zarr(path, grey()[None].astype(np.float32), {"objects": grey() // 50}, (0.5, 0.5), ("DNA",))


def stored_array(path: Path) -> None:
    zarr.save_array(str(path), grey().astype(np.float64))


def cells_zarr(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells().write_zarr(path)


def checkpoint(path: Path) -> None:
    """A checkpoint as a killed fit leaves it."""
    from emtools.engine import checkpoint as module

    seconds, module.SECONDS = module.SECONDS, 0.0
    with suppress(InterruptedError):
        fit_of_rows(path, 8)
    module.SECONDS = seconds


def fit_of_rows(path: Path, last: int | None = None) -> None:
    from emtools.engine.chunks import ArraySource
    from emtools.engine.starts import fit
    from emtools.models.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-2, 1, (30, 1)), rng.normal(2, 1, (30, 1))])

    def on_pass(row: Any) -> None:
        if row.number == last:
            raise InterruptedError

    fit(
        GaussianMixture(2, 1),
        ArraySource(values),
        starts=2,
        seed=1,
        max_passes=9,
        checkpoint=path,
        on_pass=on_pass,
        certificate=False,
    )


def model(path: Path) -> None:
    from emtools.cli import main

    table = path.with_name("to_fit.csv")
    rng = np.random.default_rng(1)
    table.write_text("a,b\n" + "".join(f"{a:.3f},{b:.3f}\n" for a, b in rng.normal(size=(30, 2))) + ",1\n")
    assert main(["impute", str(table), "--out", str(path.with_name("fitted")), "--fill", "model"]) in (0, 3)
    shutil.copy(path.with_name("fitted") / "model.npz", path)
    shutil.rmtree(path.with_name("fitted"))


def project(path: Path) -> None:
    """A folder with a config, a sample sheet and what they name."""
    path.mkdir()
    for name, content in (("config.yaml", CONFIG), ("sheet.tsv", SHEET), ("a.csv", CSV), ("a.fa", FASTA)):
        (path / name).write_text(content)


def plan(folder: Path) -> None:
    import os

    from emtools.io.config import make_plan
    from emtools.io.config_text import read_yaml

    before = Path.cwd()
    os.chdir(folder)
    try:
        config = read_yaml(Path("config.yaml"))
        if isinstance(config, dict):
            for entry in make_plan(config, "config.yaml", ROOT / "workflow/schemas").entries:
                assert entry.product.startswith(f"{entry.out}/")
                assert ".." not in Path(entry.out).parts
    finally:
        os.chdir(before)


def as_table(path: Path) -> None:
    from emtools.io.tables import read_table

    read_table(path, missing=["ND"])


def as_units(path: Path) -> None:
    from emtools.io.unit_table import read_unit_table

    read_unit_table(path)


def as_features(path: Path) -> None:
    from emtools.io.feature_table import read_features

    read_features(path)


def as_expression(path: Path) -> None:
    from emtools.io.bulk import read_expression

    read_expression(path, "cells")


def as_genes(path: Path) -> None:
    from emtools.io.bulk import read_markers

    read_markers(path)


def as_dictionary(path: Path) -> None:
    from emtools.io.dictionary import read_dictionary

    read_dictionary(path)


def as_anndata(path: Path) -> None:
    from emtools.io.cells import load_anndata

    load_anndata(path)


def as_cells(path: Path) -> None:
    from emtools.io.cells import cells_of, load_anndata

    cells_of(load_anndata(path), "X_pca")


def as_rows(path: Path) -> None:
    from emtools.io.rows import rows_source

    key = "X" if path.suffix == ".h5ad" else None
    source = rows_source(path, key=key, missing=True)
    for index in range(min(source.n_chunks, 50)):
        source.chunk(index)


def as_image(path: Path) -> None:
    from emtools.io.config import is_large
    from emtools.io.images import read_image

    is_large(path)
    read_image(path)


def as_labels(path: Path) -> None:
    from emtools.io.images import read_labels

    read_labels(path, (24, 20))


def as_fasta(path: Path) -> None:
    from emtools.io.fasta import read_fasta

    read_fasta(path)


def as_motifs(path: Path) -> None:
    from emtools.io.motif_files import read_motifs

    read_motifs(path, "ACGT")


def as_bed(path: Path) -> None:
    from emtools.io.intervals import read_bed

    read_bed(path, {"chr1": 28, "chr2": 11})


def as_track(path: Path) -> None:
    from emtools.branches.hmm.track_input import steps_of
    from emtools.branches.hmm.track_types import Options

    for width in (None, 10, 3):
        steps_of(Options(input=path, out=path, states=(2, 2), bin=width))


def as_costs(path: Path) -> None:
    from emtools.report.run import cost_of

    cost_of(path)


def bigwig(path: Path) -> None:
    import pybigtools

    rows = [("chr1", i, i + 5, i / 7) for i in range(0, 100, 5)] + [("chr2", 3, 9, 1.5)]
    pybigtools.open(str(path), "w").write({"chr1": 200, "chr2": 50}, iter(rows))


def sniffed(kind: Any) -> Callable[[Path], None]:
    def sniff_it(path: Path) -> None:
        from emtools.io.sniff import sniff

        sniff(path, kind)

    return sniff_it


def header(path: Path) -> None:
    from emtools.io.headers import table_columns

    table_columns(path)


def proposed(path: Path) -> None:
    from emtools.io.proposal import look

    look([path])


def shown(path: Path) -> None:
    from emtools.report.show import Options, run

    with redirect_stdout(StringIO()):
        run(Options(fits=[path], all=True))


def summarised(path: Path) -> None:
    from emtools.report.run import Options, run

    run(Options(fits=[path], out=path.parent / "summary"))


def as_model(path: Path) -> None:
    from emtools.imputing.store import read_model

    read_model(path)


def resumed(path: Path) -> None:
    fit_of_rows(path)


def as_forged_checkpoint(path: Path) -> None:
    """With the hash of what it holds now, so that damage goes as far as the states, and the fit goes on from them."""
    from emtools.engine import checkpoint as module

    kept = module.Checkpoint(path, (), "emtools")
    with suppress(*module.DAMAGED):
        key, states, _ = kept.read(path.read_bytes())
        path.write_bytes(pickle.dumps((key, states, module.digest_of(states)), protocol=5))
    fit_of_rows(path)


def starts(path: Path) -> None:
    """Ends of starts as a job of its own writes them."""
    from emtools.branches.hmm.input import run

    path.with_name("to_fit.fa").write_text(FASTA)
    run(replace(of_starts(path), only_starts=(1, 2), starts_from=(), out=path.with_name("part")))
    shutil.copy(path.with_name("part") / "starts.json", path)
    shutil.rmtree(path.with_name("part"))


def of_starts(path: Path) -> Any:
    from emtools.branches.hmm.types import Options

    fasta = path.with_name("to_fit.fa")
    fasta.write_text(FASTA)
    return Options(input=fasta, states=(2, 2), starts=2, max_passes=5, out=path, starts_from=[path])


def as_starts(path: Path) -> None:
    from emtools.io.start_files import as_climb, read_ends
    from emtools.models.hmm import HMMParams

    ends = read_ends(of_starts(path))
    assert ends is not None
    for part in {part for part, _ in ends.records}:
        ends.of(part, lambda record, restart: as_climb(record, restart, HMMParams), 2)


def as_forged_starts(path: Path) -> None:
    """With the hash of what it holds now, so that more than the hash is looked at."""
    from emtools.io.start_files import digest_of

    with suppress(ValueError, RecursionError, AttributeError, TypeError):
        content = json.loads(path.read_bytes())
        content.pop("sha256", None)
        path.write_text(json.dumps({**content, "sha256": digest_of(content)}))
    as_starts(path)


def wide_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    for line in WIDE.replace(",", ".").split("\n"):
        cells = line.split(";")
        book.active.append([float(cell) if cell.replace(".", "").isdigit() else cell or None for cell in cells])
    book.save(path)


def long_parquet(path: Path) -> None:
    """Olink's long export."""
    pd.read_csv(StringIO(NPX), sep=";", decimal=",").to_parquet(path)


def stored_columns(path: Path) -> None:
    """A table that is read chunk by chunk."""
    pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40, dtype=np.int32)}).to_parquet(path, row_group_size=9)


def as_rna(path: Path) -> None:
    from emtools.io.bulk import read_rna_per_cell

    read_rna_per_cell(path)


def as_regions(path: Path) -> None:
    from emtools.io.fasta import Record
    from emtools.io.regions import cut, read_regions

    records = [Record(name, "", np.zeros(n, dtype=np.uint8)) for name, n in (("chr1", 28), ("chr2", 11))]
    for piece in cut(records, read_regions(path, records, None), 7):
        assert 0 < len(piece.codes) <= 7


def completed(path: Path) -> None:
    """Completed tables as `emtools impute --draws` leaves them."""
    path.mkdir()
    for number, mark in ((1, ""), (2, "*")):
        (path / f"completed_{number}.csv").write_text(COMPLETED.format(mark, number))


def pooled(path: Path) -> None:
    from emtools.branches.pool import Options, run

    with redirect_stdout(StringIO()):
        run(Options(input=path, formula="CRP ~ age + C(stage)", out=path.parent / "pooled"))


def transformed(path: Path) -> None:
    """A model that can be read fills new rows, or says why not."""
    from emtools.branches.transform import Options, run

    (path.parent / "new.csv").write_text("a,b\n,1\n0.5,\n,\n")
    run(Options(input=path.parent / "new.csv", model=path, out=path.parent / "filled"))


def letters(path: Path) -> None:
    """The fit.json of hidden states of letters."""
    from emtools.branches.hmm.input import run

    run(replace(of_starts(path), starts_from=(), out=path.with_name("letters")))
    shutil.copy(path.with_name("letters") / "fit.json", path)
    shutil.rmtree(path.with_name("letters"))


def as_other(path: Path) -> None:
    from emtools.branches.hmm.against import read_other
    from emtools.branches.hmm.types import Options
    from emtools.io.fasta import read_fasta

    path.with_name("to_score.fa").write_text(FASTA)
    records = read_fasta(path.with_name("to_score.fa"))
    read_other(Options(input=path, out=path, states=(2, 2), against=path), records, [0, 1])


def results(path: Path) -> None:
    """A run with its manifest, and a fit that tells what it wrote."""
    from emtools.io.outputs import staged
    from emtools.io.provenance import Options, run

    fit = {**FIT, "outputs": ["fit.json", "parameters.tsv"]}
    with staged(path / "hmm/long") as folder:
        (folder / "fit.json").write_text(json.dumps(fit))
        (folder / "parameters.tsv").write_text("a\t1\n")
    run(Options(fits=[path / "hmm/long/fit.json"], out=path))


def verified(path: Path) -> None:
    from emtools.io.provenance import Options, run

    with redirect_stdout(StringIO()):
        run(Options(results=path))


def replaced(path: Path) -> None:
    """A later fit takes away what the earlier tells of, and nothing beside it."""
    from emtools.io.outputs import staged

    for beside in (path.parent / "report.html", path / "report.html", path / "hmm/long/mine.tsv"):
        beside.write_text("mine")
    with staged(path / "hmm/long") as folder:
        (folder / "fit.json").write_text(json.dumps(FIT))
    for beside in (path.parent / "report.html", path / "report.html", path / "hmm/long/mine.tsv"):
        assert beside.read_text() == "mine"


TABLE = (as_table, header, as_units, as_features, proposed)
TARGETS = {
    "csv": Target("t.csv", text(CSV), (*TABLE, sniffed("table"), as_expression, as_genes, as_dictionary)),
    "csv_gz": Target("t.csv.gz", text(CSV), (as_table, header, as_expression, proposed)),
    "npx": Target("npx.csv", text(NPX), (as_table, header)),
    "wide": Target("wide.csv", text(WIDE), (as_table, header)),
    "wide_xlsx": Target("wide.xlsx", wide_workbook, (as_table,)),
    "npx_parquet": Target("npx.parquet", long_parquet, (as_table, header)),
    "row_groups": Target("rows.parquet", stored_columns, (as_rows, as_table)),
    "completed": Target("run", completed, (pooled,)),
    "rna": Target("rna.tsv", text(RNA), (as_rna,)),
    "dictionary": Target("d.tsv", text("column\trole\tunit\tscale\tlod\nCRP\tmarker\tmg/L\tlog\t0.5\nid\tid\t\t\t\n"), (as_dictionary,)),
    "xlsx": Target("t.xlsx", workbook, (as_table, as_units, as_features, proposed)),
    "parquet": Target("t.parquet", lambda path: pd.DataFrame({"a": [1.5, None, 3, 4], "b": ["x", "y", None, "z"], "c": [1, 2, 3, 4]}).to_parquet(path), (as_table, as_units, as_rows)),
    "h5ad": Target("c.h5ad", lambda path: cells().write_h5ad(path), (as_table, as_features, as_expression, as_cells, as_rows, proposed)),
    "few_counts": Target("f.h5ad", few_counts, (as_features, as_expression, as_cells, as_rows, proposed)),
    "cells_zarr": Target("c.zarr", cells_zarr, (as_cells,)),
    "tiff": Target("i.tif", lambda path: tifffile.imwrite(path, grey(), compression="zlib"), (as_image, as_labels, sniffed("image"), proposed)),
    "ome_tiff": Target("i.ome.tif", lambda path: tifffile.imwrite(path, np.stack([grey(), grey().T.reshape(24, 20)]), metadata={"axes": "CYX", "PhysicalSizeX": 0.5}, photometric="minisblack"), (as_image, proposed)),
    "png": Target("i.png", lambda path: PIL.Image.fromarray(grey().astype(np.uint8)).save(path), (as_image, as_labels, proposed)),
    "ome_zarr": Target("i.zarr", ome_zarr, (as_image,)),
    "npy": Target("a.npy", lambda path: np.save(path, grey().astype(np.float64)), (as_rows,)),
    "zarr": Target("a.zarr", stored_array, (as_rows,)),
    "fasta": Target("s.fa", text(FASTA), (as_fasta, sniffed("fasta"), proposed)),
    "fasta_gz": Target("s.fa.gz", text(FASTA), (as_fasta, sniffed("fasta"))),
    "bed": Target("s.bed", text(BED), (as_bed, as_regions)),
    "bed_gz": Target("s.bed.gz", text(BED), (as_bed, sniffed("bed"))),
    "bedgraph": Target("t.bedgraph", text(BEDGRAPH), (as_track,)),
    "bedgraph_gz": Target("t.bedgraph.gz", text(BEDGRAPH), (as_track,)),
    **({"bigwig": Target("t.bw", bigwig, (as_track,))} if find_spec("pybigtools") else {}),
    "benchmark": Target("b.tsv", text(BENCHMARK), (as_costs,)),
    "meme": Target("m.meme", text(MEME), (as_motifs, sniffed("motifs"))),
    "jaspar": Target("m.jaspar", text(JASPAR), (as_motifs, sniffed("motifs"))),
    "fit": Target("fit.json", text(json.dumps(FIT)), (shown, summarised)),
    "model": Target("model.npz", model, (as_model, transformed)),
    "letters": Target("fit.json", letters, (as_other,)),
    "results": Target("results", results, (verified, replaced)),
    "starts": Target("starts.json", starts, (as_starts, as_forged_starts)),
    "checkpoint": Target("fit.checkpoint", checkpoint, (resumed, as_forged_checkpoint)),
    "config": Target("project", project, (plan,)),
}  # fmt: skip

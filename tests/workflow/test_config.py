"""Wrong configurations: each gives one line with file, key and remedy, before any job."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

import emtools.io.config
from emtools.cli import build_parser, main
from emtools.errors import InputError
from emtools.io.config import BRANCHES, FILES, make_plan
from emtools.io.config_text import read_yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow" / "schemas"
NUCLEI = (ROOT / "resources" / "nuclei.tif").read_bytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small table, sequences and an image-like file."""
    monkeypatch.chdir(tmp_path)
    Path("markers.csv").write_text("id,CRP,IL6\n1,2.0,\n2,,3.0\n")
    Path("genome.fa").write_text(">one\nACGTACGT\n")
    Path("regions.bed").write_text("one\t0\t4\n")
    Path("cells.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    return tmp_path


def plan(text: str) -> Any:
    return make_plan(yaml.safe_load(text) or {}, "config.yaml", SCHEMAS)


WRONG = {
    "unknown key": (
        "impute: {a: {input: markers.csv, start: 3}}",
        "config.yaml: impute.a.start: unknown key; known here: ",
        "did you mean starts?",
    ),
    "unknown branch": ("imptue: {a: {input: markers.csv}}", "config.yaml: imptue: unknown key", "did you mean impute?"),
    "missing key": ("hmm: {a: {input: genome.fa}}", "config.yaml: hmm.a: the key states is missing", "add states"),
    "string for a number": (
        "hmm: {a: {input: genome.fa, states: 2, starts: '2'}}",
        "config.yaml: hmm.a.starts: '2' is a string; an integer is needed",
        "write 2 without quotes",
    ),
    "string for a number or a range": (
        "hmm: {a: {input: genome.fa, states: '2'}}",
        "config.yaml: hmm.a.states: '2' is not a range; a whole number, or two such as 1-4",
        "write 2 without quotes",
    ),
    "words for a range": ("hmm: {a: {input: genome.fa, states: 2, order: few}}", "order: 'few' is not a range", ""),
    "order too high": ("hmm: {a: {input: genome.fa, states: 2, order: 4}}", "order: 4 is too large; at most 3", ""),
    "bins of letters": (
        "hmm: {a: {input: genome.fa, states: 2, bin: 100}}",
        "hmm.a.bin: given with sequences (FASTA); it is for values",
        "leave it out",
    ),
    "a billion jobs": (
        "hmm: {a: {input: genome.fa, states: 2, starts: 1000000000, scatter: 1}}",
        "hmm.a.scatter: 1,000,000,000 starts, 1 a job",
        "let a job climb more starts",
    ),
    "neither states nor model": ("hmm: {a: {input: genome.fa, order: 1}}", "the key states is missing", "add states"),
    "states beside a model": ("hmm: {a: {input: genome.fa, states: 2, model: cpg}}", "states", ""),
    "1e-9 is a string": (
        "hmm: {a: {input: genome.fa, states: 2, tol: 1e-9}}",
        "config.yaml: hmm.a.tol: '1e-9' is a string; a number is needed",
        "write 1.0e-9",
    ),
    "fraction for a count": (
        "hmm: {a: {input: genome.fa, states: 2, starts: 2.5}}",
        "config.yaml: hmm.a.starts: 2.5 is a number; an integer is needed",
        "",
    ),
    "true for a count": ("hmm: {a: {input: genome.fa, states: yes}}", "states: True is true or false; an integer", ""),
    "zero": ("hmm: {a: {input: genome.fa, states: 0}}", "states: 0 is too small; at least 1", ""),
    "infinite tolerance": ("hmm: {a: {input: genome.fa, states: 2, tol: .inf}}", "tol: inf is too large", ""),
    "word for a list": ("impute: {a: {input: markers.csv, log: CRP}}", "log: 'CRP' is a string; a list", "write [CRP]"),
    "unknown choice": (
        "deconvolve: {a: {input: cells.h5ad, components: 2, family: ful}}",
        "family: 'ful' is not known; one of shrunken, full, tied, diagonal, spherical, EII",
        "did you mean full?",
    ),
    "no number of types": (
        "deconvolve: {a: {input: cells.h5ad}}",
        "config.yaml: deconvolve.a: components and labels are missing; one of them",
        "add components",
    ),
    "a range without an end": (
        "deconvolve: {a: {input: cells.h5ad, components: 9-}}",
        "components: '9-' is not a number of types; such as 8, 5-15 or auto",
        "change it",
    ),
    "numeric entry name": (
        "hmm: {1: {input: genome.fa, states: 2}}",
        "config.yaml: hmm.1: the key is an integer",
        "quote",
    ),
    "name with a slash": ("hmm: {../a: {input: genome.fa, states: 2}}", "the name '../a' cannot be used", "rename"),
    "an option as a word": ("impute: {a: {input: markers.csv, id: --out}}", "impute.a.id: '--out' cannot be used", ""),
    "braces": ("impute: {a: {input: '{x}.csv'}}", "config.yaml: impute.a.input: '{x}.csv' cannot be used", ""),
    "missing file": (
        "impute: {a: {input: nowhere.csv}}",
        "config.yaml: impute.a.input: nowhere.csv: no such file; a table file",
        "check the path",
    ),
    "no such column": (
        "impute: {a: {input: markers.csv, log: [CPR]}}",
        "config.yaml: impute.a.log: markers.csv has no column 'CPR'; its columns are id, CRP, IL6",
        "did you mean CRP?",
    ),
    "no such column upstream": (
        "{impute: {a: {input: markers.csv}}, deconvolve: {b: {input: 'impute:a', components: 2, columns: [TNF]}}}",
        "config.yaml: deconvolve.b.columns: impute:a has no column 'TNF'",
        "",
    ),
    "unknown entry": (
        "{impute: {a: {input: markers.csv}}, deconvolve: {b: {input: 'impute:aa', components: 2}}}",
        "config.yaml: deconvolve.b.input: there is no entry impute:aa; entries are impute:a",
        "try impute:a",
    ),
    "unknown demo": ("impute: {a: {input: 'demo:iris'}}", "impute.a.input: no demo set 'iris'; one of pbmc68k", ""),
    "wrong kind of product": (
        "{impute: {a: {input: markers.csv}}, hmm: {b: {input: 'impute:a', states: 2}}}",
        "config.yaml: hmm.b.input: impute:a is a table file; track or fasta is needed",
        "",
    ),
    "mixtures without a reference": (
        "deconvolve: {a: {input: cells.h5ad, components: 2, donor: patient}}",
        "config.yaml: deconvolve.a.donor: given without reference",
        "add reference or remove it",
    ),
    "cells and mixtures at once": (
        "deconvolve: {a: {input: markers.csv, reference: cells.h5ad, labels: type, components: 2}}",
        "config.yaml: deconvolve.a: 'components' is not known; one of input, reference, labels",
        "",
    ),
    "a word for true": (
        "deconvolve: {a: {input: markers.csv, reference: cells.h5ad, labels: type, rna: please}}",
        "config.yaml: deconvolve.a.rna: 'please' is a string; true or false is needed",
        "",
    ),
    "scattered without a number": (
        "hmm: {a: {input: genome.fa, states: 2, scatter: 1}}",
        "config.yaml: hmm.a.scatter: given without starts",
        "add starts or remove it",
    ),
    "scattered where starts look at one another": (
        "impute: {a: {input: markers.csv, starts: 4, scatter: 1}}",
        "config.yaml: impute.a.scatter: its starts are not climbed in jobs of their own; for hmm (of a number of states) and motif alone",
        "remove it",
    ),
    "scattered into nothing": (
        "motif: {a: {input: genome.fa, width: 4, starts: 4, scatter: 0}}",
        "config.yaml: motif.a.scatter: 0 is too small; at least 1",
        "raise it",
    ),
    "a ready-made model scattered": (
        "hmm: {a: {input: genome.fa, model: cpg, starts: 4, scatter: 1}}",
        "config.yaml: hmm.a: 'scatter' is not known; one of input, model",
        "",
    ),
    "isochores with letters": (
        "hmm: {a: {input: genome.fa, model: isochores, sample: 5}}",
        "config.yaml: hmm.a: 'sample' is not known; one of input, model, bin",
        "",
    ),
    "bins of islands": (
        "hmm: {a: {input: genome.fa, model: cpg, bin: 5}}",
        "config.yaml: hmm.a: 'bin' is not known; one of input, model",
        "",
    ),
    "isochores against a model of letters": (
        "hmm: {a: {input: genome.fa, model: isochores, against: fit.json}}",
        "config.yaml: hmm.a: 'against' is not known; one of input, model, bin",
        "",
    ),
    "windows of log-odds against nothing": (
        "hmm: {a: {input: genome.fa, states: 2, odds_window: 500}}",
        "config.yaml: hmm.a.odds_window: given without against",
        "add against or remove it",
    ),
    "against a file that is no fit": (
        "hmm: {a: {input: genome.fa, states: 2, against: markers.csv}}",
        "config.yaml: hmm.a.against: ",
        "fit.json of an earlier run",
    ),
    "against a fit that is not there": (
        "hmm: {a: {input: genome.fa, states: 2, against: results/b/fit.json}}",
        "config.yaml: hmm.a.against: results/b/fit.json: no such file",
        "",
    ),
    "against an analysis of another kind": (
        "{motif: {b: {input: genome.fa, width: 4}}, hmm: {a: {input: genome.fa, states: 2, against: 'motif:b'}}}",
        "config.yaml: hmm.a.against: motif:b is a bed file; fit is needed",
        "",
    ),
    "against itself": (
        "hmm: {a: {input: genome.fa, states: 2, against: 'hmm:a'}}",
        "entries wait for one another: hmm:a → hmm:a",
        "give one of them a file",
    ),
    "negative seed": ("{seed: -1, hmm: {a: {input: genome.fa, states: 2}}}", "seed: -1 is too small; at least 0", ""),
    "seed below 0 in an entry": (
        "hmm: {a: {input: genome.fa, states: 2, seed: -1}}",
        "config.yaml: hmm.a.seed: -1 is too small; at least 0",
        "raise it",
    ),
    "more states than the model takes": (
        "hmm: {a: {input: genome.fa, states: 500}}",
        "config.yaml: hmm.a.states: 500 is too large; at most 100",
        "lower it",
    ),
    "circle": (
        "impute: {a: {input: 'impute:b'}, b: {input: 'impute:a'}}",
        "entries wait for one another: impute:a → impute:b → impute:a",
        "give one of them a file",
    ),
    "itself": ("impute: {a: {input: 'impute:a'}}", "entries wait for one another: impute:a → impute:a", ""),
    "nothing to do": ("seed: 1", "config.yaml: no analysis is named", ""),
    "a list of entries": ("impute: [a, b]", "config.yaml: impute: ['a', 'b'] is a list; a mapping", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_config_gives_one_line(here: Path, case: str) -> None:
    text, start, remedy = WRONG[case]
    with pytest.raises(InputError) as caught:
        plan(text)
    line = str(caught.value)
    assert start in line
    assert remedy in line
    assert "\n" not in line
    assert line.startswith("config.yaml: ")


BROKEN = {
    "empty FASTA": ("hmm", "x.fa", b"", "the file is empty"),
    "blank FASTA": ("hmm", "x.fa", b"\n\n", "there is nothing in the file"),
    "table as FASTA": ("hmm", "x.fa", b"a,b\n1,2\n", "does not begin with '>'"),
    "half a gzip": ("hmm", "x.fa.gz", gzip.compress(b">a\n" + b"ACGT" * 9999, mtime=0)[:40], "cannot be read"),
    "text named .h5ad": ("deconvolve", "x.h5ad", b"a,b\n1,2\n", "is not HDF5 in spite of its name"),
    "truncated TIFF": ("segment", "x.tif", b"II*\0\xff\xff\0\0" + bytes(99), "is cut short at 107 bytes"),
    "TIFF without its last pixels": ("segment", "x.tif", NUCLEI[:-9], f"is cut short at {len(NUCLEI) - 9} bytes"),
    "text named .tif": ("segment", "x.tif", b"hello, I am text", "is not TIFF in spite of its name"),
    "folder": ("impute", "x", None, "is a folder"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_is_seen_before_any_job(here: Path, case: str) -> None:
    branch, name, content, found = BROKEN[case]
    if content is None:
        Path(name).mkdir()
    else:
        Path(name).write_bytes(content)
    options = {"hmm": {"states": 2}, "deconvolve": {"components": 2}}.get(branch, {})
    with pytest.raises(InputError, match=f"config.yaml: {branch}.a.input: {name}: {found}"):
        make_plan({branch: {"a": {"input": name, **options}}}, "config.yaml", SCHEMAS)


def test_good_config_becomes_command_lines(here: Path) -> None:
    made = plan(
        "{seed: 7, results: out, impute: {a: {input: markers.csv, id: id, log: [CRP, IL6], missing: [-9, NK]}},"
        " hmm: {g: {input: genome.fa, states: 2, seed: 3}},"
        " motif: {m: {input: genome.fa, width: 4, regions: 'hmm:g', truth: regions.bed}}}"
    )
    impute, hmm, motif = made.entries
    assert impute.words == ("--id", "id", "--log", "CRP", "IL6", "--missing", "-9", "NK")
    assert (impute.seed, impute.product) == (7, "out/impute/a/completed.csv")
    assert (hmm.seed, hmm.product) == (3, "out/hmm/g/segments.bed")
    assert dict(motif.files) == {"input": "genome.fa", "regions": "out/hmm/g/segments.bed", "truth": "regions.bed"}
    assert "--regions out/hmm/g/segments.bed" in " ".join(motif.words)
    for entry in made.entries:
        build_parser().parse_args([entry.branch, entry.files["input"], "--out", entry.out, *entry.words])


def test_a_pseudocount_of_zero_is_passed_on(here: Path) -> None:
    """Of the model of genes it is not the default."""
    (entry,) = plan("hmm: {g: {input: genome.fa, model: coding, pseudocount: 0}}").entries
    assert entry.words == ("--model", "coding", "--pseudocount", "0")


def test_priors_of_places_and_windows_of_isochores_are_passed_on(here: Path) -> None:
    (here / "in.bedgraph").write_text("a\t0\t4\t1\n")
    text = "hmm: {g: {input: genome.fa, model: isochores, bin: 500}}\nmotif: {m: {input: genome.fa, width: 6, central: true, prior: in.bedgraph, motif_order: 1}}"
    chain, motif = plan(text).entries
    assert chain.words == ("--model", "isochores", "--bin", "500")
    assert "--central" in motif.words
    assert "--motif-order 1" in " ".join(motif.words)  # the rule has more outputs then
    assert dict(motif.files)["prior"] == "in.bedgraph"
    for entry in (chain, motif):
        build_parser().parse_args([entry.branch, entry.files["input"], "--out", entry.out, *entry.words])


def test_a_model_to_compare_with_is_the_fit_of_another_entry_or_a_file(here: Path) -> None:
    Path("fit.json").write_text("{}")
    text = "hmm: {a: {input: genome.fa, model: cpg, against: 'hmm:b', odds_window: 500}, b: {input: genome.fa, states: 1, against: fit.json}}"
    a, b = plan(text).entries
    assert dict(a.files) == {"input": "genome.fa", "against": "results/hmm/b/fit.json"}
    assert a.words == ("--model", "cpg", "--against", "results/hmm/b/fit.json", "--odds-window", "500")
    assert b.words == ("--states", "1", "--against", "fit.json")
    for entry in (a, b):
        build_parser().parse_args([entry.branch, entry.files["input"], "--out", entry.out, *entry.words])
    Path("in.bedgraph").write_text("a\t0\t4\t1\n")
    with pytest.raises(InputError, match=r"hmm\.a\.against: given with values"):
        plan("hmm: {a: {input: in.bedgraph, states: 2, against: fit.json}}")


def test_starts_become_jobs_whose_options_do_not_count_them(here: Path) -> None:
    text = "hmm: {g: {input: genome.fa, states: 2, starts: %d, scatter: 2, max_passes: 9}}"
    (four,), (five,) = plan(text % 4).entries, plan(text % 5).entries
    folder = "results/starts/hmm/g"
    assert four.ends == (f"{folder}/1-2/starts.json", f"{folder}/3-4/starts.json")
    assert five.ends == (*four.ends, f"{folder}/5-5/starts.json")
    assert four.start_words == five.start_words == ("--states", "2", "--max-passes", "9")
    assert five.words == ("--states", "2", "--starts", "5", "--max-passes", "9", "--starts-from", *five.ends)
    build_parser().parse_args(["hmm", "genome.fa", "--out", "out", *four.start_words, "--only-starts", "5-5"])
    assert plan(text.replace("scatter: 2, ", "") % 4).entries[0].ends == ()


def test_mixtures_become_a_command_line_and_their_product_an_input(here: Path) -> None:
    Path("sheet.tsv").write_text(
        "entry\tinput\treference\tlabels\trna\nb\tmarkers.csv\tcells.h5ad\ttype\tfalse\n"
        "c\tmarkers.csv\tmarkers.csv\t\ttrue\n"
    )
    made = plan(
        "{samples: {deconvolve: sheet.tsv}, deconvolve: {a: {input: markers.csv, reference: 'demo:pbmc68k_reduced',"
        " labels: type, rna: true}, d: {input: 'deconvolve:a', components: 2},"
        " e: {input: markers.csv, reference: markers.csv, rna_per_cell: markers.csv},"
        " f: {input: markers.csv, reference: markers.csv, rna_per_cell: reference}}}"
    )
    a, d, e, f, b, c = made.entries
    assert a.words == ("--reference", "results/inputs/pbmc68k_reduced.h5ad", "--labels", "type", "--rna")
    assert d.files["input"] == "results/deconvolve/a/mixtures.h5ad"
    assert b.words == ("--reference", "cells.h5ad", "--labels", "type")
    assert c.words == ("--reference", "markers.csv", "--rna")
    assert e.files["rna_per_cell"] == "markers.csv"
    assert e.words == ("--reference", "markers.csv", "--rna-per-cell", "markers.csv")
    assert "rna_per_cell" not in f.files
    assert f.words == ("--reference", "markers.csv", "--rna-per-cell", "reference")
    for entry in made.entries:
        build_parser().parse_args([entry.branch, entry.files["input"], "--out", entry.out, *entry.words])


def test_tables_are_segmented_and_objects_chained(here: Path) -> None:
    Path("x.tif").write_bytes(NUCLEI)
    made = plan(
        "{segment: {a: {input: x.tif}, b: {input: 'segment:a', order_by: area}, c: {input: markers.csv, truth: id},"
        " d: {input: 'impute:e', scaling: log-z}, f: {input: 'segment:c', columns: [posterior_1, uncertainty]}},"
        " impute: {e: {input: markers.csv, id: id}}, deconvolve: {g: {input: 'segment:c', components: 2}}}"
    )
    entries = {entry.name: entry for entry in made.entries}
    assert [entries[name].tabular for name in "abcdf"] == [False, True, True, True, True]
    assert entries["b"].files["input"] == "results/segment/a/objects.h5ad"
    assert entries["b"].product == "results/segment/b/classes.h5ad"
    assert dict(entries["c"].files) == {"input": "markers.csv"}
    assert entries["c"].words == ("--truth", "id")
    assert entries["d"].files["input"] == "results/impute/e/completed.csv"
    assert entries["f"].files["input"] == entries["g"].files["input"] == "results/segment/c/classes.csv"
    for entry in made.entries:
        build_parser().parse_args([entry.branch, entry.files["input"], "--out", entry.out, *entry.words])
    with pytest.raises(InputError, match=r"segment\.c\.truth: markers.csv has no column 'kind'"):
        plan("{segment: {c: {input: markers.csv, truth: kind}}}")


def test_a_folder_of_images_is_one_entry(here: Path) -> None:
    Path("plate").mkdir()
    for name in ("plate/b.tif", "plate/a.tif"):
        Path(name).write_bytes(NUCLEI)
    Path("x.tif").write_bytes(NUCLEI)
    made = plan("{segment: {p: {input: plate, components: 3}, x: {input: x.tif}, q: {input: 'segment:p'}}}")
    entries = {entry.name: entry for entry in made.entries}
    assert entries["p"].images == ["plate/a.tif", "plate/b.tif"]
    assert (entries["x"].images, entries["q"].images) == ([], [])
    assert entries["q"].files["input"] == entries["p"].product == "results/segment/p/objects.h5ad"
    tifffile.imwrite("large.tif", np.random.default_rng(0).integers(0, 9, (4100, 4100), dtype=np.uint8))
    large = plan("{segment: {a: {input: large.tif}, b: {input: large.tif, model: mixture}}}").entries
    assert [entry.images for entry in large] == [["large.tif"], []]
    with pytest.raises(InputError, match=r"segment\.p\.truth: given with a folder of images"):
        plan("{segment: {p: {input: plate, truth: x.tif}}}")
    Path("plate/b.tif").write_bytes(NUCLEI[:-9])
    with pytest.raises(InputError, match=r"segment\.p\.input: plate/b\.tif: is cut short"):
        plan("{segment: {p: {input: plate}}}")
    Path("none").mkdir()
    with pytest.raises(InputError, match=r"segment\.p\.input: none: holds no image"):
        plan("{segment: {p: {input: none}}}")


def test_demo_config_is_good(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["check", "config/config.yaml"]) == 0
    assert "2 impute, 2 deconvolve, 2 segment, 1 hmm, 2 motif" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "- a", "\t", "3"])
def test_broken_yaml_gives_one_line(here: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.yaml").write_text(text)
    assert main(["check", "broken.yaml", "--schemas", str(SCHEMAS)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("emtools: error: broken.yaml")
    assert line.count("\n") == 1


def test_check_works_from_any_folder_of_a_copy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("impute: {a: {input: markers.csv}}")
    assert main(["check", "mine.yaml"]) == 0
    assert "mine.yaml is good: 1 impute" in capsys.readouterr().err


def test_check_without_the_schemas_says_where_to_run_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emtools.io.config, "__file__", str(here / "site-packages" / "emtools" / "io" / "config.py"))
    Path("mine.yaml").write_text("impute: {a: {input: markers.csv}}")
    assert main(["check", "mine.yaml"]) == 2
    line = capsys.readouterr().err
    assert "run the command in the repository, or name its workflow/schemas with --schemas" in line
    assert line.count("\n") == 1


def test_packed_table_keeps_its_ending(here: Path) -> None:
    Path("markers.csv.gz").write_bytes(gzip.compress(Path("markers.csv").read_bytes()))
    (entry,) = plan("impute: {a: {input: markers.csv.gz, id: id}}").entries
    assert entry.product == "results/impute/a/completed.csv.gz"


def test_sample_sheet_adds_entries(here: Path) -> None:
    Path("sheet.tsv").write_text("entry\tinput\tlog\tstarts\na\tmarkers.csv\tCRP,IL6\t3\nb\tmarkers.csv\t\t\n")
    made = plan("samples: {impute: sheet.tsv}")
    assert [entry.words for entry in made.entries] == [("--log", "CRP", "IL6", "--starts", "3"), ()]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("entry\tinput\tstart\na\tmarkers.csv\t3\n", "sheet.tsv: line 2: start: unknown key"),
        ("entry\tinput\tstates\na\tmarkers.csv\t3\n", "sheet.tsv: line 2: states: unknown key"),
        ("entry\tinput\tstarts\na\tmarkers.csv\tmany\n", "sheet.tsv: line 2: starts: 'many' is a string; an integer"),
        ("entry\tinput\na\t\n", "sheet.tsv: line 2: the key input is missing"),
        ("entry\tinput\na\tmarkers.csv\na\tmarkers.csv\n", "sheet.tsv: line 3: there is already an entry impute.a"),
        ("entry\tinput\na\tmarkers.csv\textra\n", "sheet.tsv: line 2"),
        ("entry\tinput\na\tnowhere.csv\n", "sheet.tsv: line 2, input: nowhere.csv: no such file"),
    ],
)
def test_wrong_sample_sheet_gives_one_line(here: Path, rows: str, line: str) -> None:
    Path("sheet.tsv").write_text(rows)
    with pytest.raises(InputError) as caught:
        plan("samples: {impute: sheet.tsv}")
    assert str(caught.value).startswith(line)


# Where a job writes, runs and goes on from is the workflow's and the profile's business.
NOT_IN_CONFIG = {"help", "out", "quiet", "traceback", "executor", "checkpoint", "only_starts", "starts_from"}
OF_THE_WORKFLOW = {"scatter"}  # jobs to make, not an option of a command


@pytest.mark.parametrize("text", ["a:\t1\n", "a: b\t\nc: d\n"], ids=["after a colon", "after a value"])
def test_a_tab_at_which_snakemake_stops_is_told(text: str, here: Path) -> None:
    from snakemake.common.configfile import load_configfile
    from snakemake.exceptions import WorkflowError

    Path("c.yaml").write_text(text)
    with pytest.raises(WorkflowError):
        load_configfile("c.yaml")
    with pytest.raises(InputError, match=r"c\.yaml: line 1: not YAML.*'\\t'"):
        read_yaml(Path("c.yaml"))


@pytest.mark.parametrize("word", ["2024-13-45", "!!timestamp abc", "!!int x", "!!bool maybe", "&a [*a, 2024-13-45]"])
def test_a_value_that_is_not_what_its_form_says_is_told(word: str, here: Path) -> None:
    Path("c.yaml").write_text(f"results: results\nseed: {word}\n")
    with pytest.raises(
        InputError, match=r"c\.yaml: line 2: '.*' has the form of a date or a number, but is none; mend"
    ):
        read_yaml(Path("c.yaml"))


def test_long_text_that_begins_with_a_digit_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = "10 donors were measured" + " twice" * 300
    path.write_text(f"note: {text}\n")
    assert read_yaml(path) == {"note": text}


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "1" + ":59" * 4000, "9" * 5000, "!!int " + "0x" + "f" * 5000])
def test_a_number_too_long_to_write_is_told(number: str, here: Path) -> None:
    """Python refuses to write more than 4,300 digits, also where a message shows them."""
    Path("c.yaml").write_text(f"results: results\nseed: {number}\n")
    with pytest.raises(
        InputError, match=r"c\.yaml: line 2: '.*\.\.\. is a number of [\d,]+ characters; at most 1,000; mend"
    ):
        read_yaml(Path("c.yaml"))
    Path("c.yaml").write_text(f"seed: 1\nresults: '{'9' * 5000}'\n")
    assert read_yaml(Path("c.yaml")) == {"seed": 1, "results": "9" * 5000}


def test_json_is_read_as_snakemake_reads_it(here: Path) -> None:
    from snakemake.common.configfile import load_configfile

    Path("c.yaml").write_text(text := '{\n\t"seed":\t1,\n\t"tol":\t1e-3\n}\n')
    assert read_yaml(Path("c.yaml")) == load_configfile("c.yaml") == {"seed": 1, "tol": 0.001}
    Path("c.yaml").write_text(text.replace("tol", "seed"))
    with pytest.raises(InputError, match="line 3: the key 'seed' stands twice"):
        read_yaml(Path("c.yaml"))


@pytest.mark.parametrize("branch", BRANCHES)
def test_config_keys_are_the_command_line_options(branch: str) -> None:
    subparsers = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    options = {action.dest for action in subparsers.choices[branch]._actions} - NOT_IN_CONFIG
    keys = set(read_yaml(SCHEMAS / "config.schema.yaml")["$defs"][branch]["properties"])
    assert keys - OF_THE_WORKFLOW == options
    sheet = set(read_yaml(SCHEMAS / "samples.schema.yaml")["properties"])
    assert options <= sheet
    assert set(FILES[branch]) <= keys


def test_every_object_of_the_schemas_is_closed() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node.get("additionalProperties") is not None, node
                assert node["additionalProperties"] is False or "$ref" in node["additionalProperties"]
            for child in node.values():
                walk(child)

    walk(read_yaml(SCHEMAS / "config.schema.yaml"))
    walk(read_yaml(SCHEMAS / "samples.schema.yaml"))


def test_every_key_is_documented() -> None:
    text = (ROOT / "config" / "README.md").read_text()
    schema = read_yaml(SCHEMAS / "config.schema.yaml")
    keys = set(schema["properties"]).union(*(schema["$defs"][branch]["properties"] for branch in BRANCHES))
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []

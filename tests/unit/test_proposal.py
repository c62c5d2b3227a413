"""``emtools init`` looks into files of your own and writes a config that is good as it stands."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from emtools.cli import main
from emtools.io.ome_zarr import write_ome_zarr
from emtools.io.proposal import SAYABLE, Proposal, as_batch, scalar, skewness, unique


def write_inputs(folder):
    """Six files of six shapes, small enough to be fitted in seconds."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    values = np.exp(rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3)))
    text = [[f"{v:.3f}".replace(".", ",") for v in row] for row in values]
    for row in range(0, 60, 7):
        text[row][1] = ""
    lines = [f"P{i};{'ab'[i % 2]};{';'.join(row)}" for i, row in enumerate(text)]
    (folder / "lab results (2024).csv").write_text("patient;arm;CRP (mg/L);IL6;TNF\n" + "\n".join(lines) + "\n")
    groups = rng.normal(size=(80, 2)) + np.repeat([[0, 0], [8, 8]], 40, axis=0)
    frame = pd.DataFrame(groups, columns=["height", "weight"]).assign(subject_id=np.arange(80) + 100)
    frame.to_excel(folder / "whole.xlsx", index=False)
    letters = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(24)]
    planted = [s[:20] + "TGACGTCA" + s[28:] for s in letters]
    (folder / "peaks.fa").write_text("".join(f">p{i}\n{s}\n" for i, s in enumerate(planted)))
    protein = "".join(rng.choice(list("LLLLIVFWDEKR"), 300)) + "".join(rng.choice(list("DEKRDEKRLQN"), 300))
    (folder / "protein.faa").write_text(f">one\n{protein}\n")
    image = rng.poisson(20, size=(48, 48)).astype(np.uint16)
    image[8:20, 8:20] += 200
    image[28:40, 26:40] += 200
    tifffile.imwrite(folder / "dots.tif", image)
    cells = rng.normal(size=(90, 6)).astype(np.float32) + np.repeat(np.eye(3, 6) * 9, 30, axis=0).astype(np.float32)
    adata = anndata.AnnData(cells, obs=pd.DataFrame({"kind": list("xyz") * 30}, index=[f"c{i}" for i in range(90)]))
    adata.obsm["X_pca"] = cells[:, :3]
    adata.write_h5ad(folder / "cells.h5ad")
    (folder / "notes.docx").write_text("nothing")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("own") / "my data")


def test_every_shape_finds_its_branch(data, tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    assert main(["init", str(data), "--out", str(out)]) == 0
    config = yaml.safe_load(out.read_text())
    assert config["impute"] == {"lab_results_2024": {"input": str(data / "lab results (2024).csv"), "id": "patient"}}
    assert config["deconvolve"] == {
        "cells": {"input": str(data / "cells.h5ad"), "components": "auto"},
        "whole": {"input": str(data / "whole.xlsx"), "id": "subject_id", "components": "1-5"},
    }
    assert config["motif"]["peaks"]["width"] == 12
    assert config["hmm"]["protein"] == {"input": str(data / "protein.faa"), "states": 2, "alphabet": "protein"}
    assert config["segment"] == {"dots": {"input": str(data / "dots.tif")}}
    text = out.read_text()
    assert '# columns: ["CRP (mg/L)", IL6, TNF]' in text
    assert "# covariates: [arm]" in text
    assert "# labels: kind" in text
    assert f"# not used: {data / 'notes.docx'}" in text
    assert "snakemake --cores all --configfile" in capsys.readouterr().out


def test_proposals_are_keys_that_the_config_knows(data, tmp_path):
    out = tmp_path / "mine.yaml"
    main(["init", str(data), "--out", str(out)])
    keys = ("columns", "log", "covariates", "draws", "truth", "sample", "pixel_size", "strands", "pseudocount")
    taken = [
        line.replace("# ", "", 1) if line.strip(" #").startswith(keys) else line
        for line in out.read_text().splitlines()
    ]
    bold = tmp_path / "bold.yaml"
    bold.write_text("\n".join(taken) + "\n")
    assert yaml.safe_load(bold.read_text())["impute"]["lab_results_2024"]["covariates"] == ["arm"]
    assert main(["check", str(bold)]) == 0


def test_a_config_is_not_replaced(data, tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    out.write_text("seed: 7\n")
    assert main(["init", str(data), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "seed: 7\n"


@pytest.mark.parametrize("what", ["nothing", "unknown", "broken"])
def test_what_cannot_be_used_is_said_and_nothing_is_written(what, tmp_path, capsys):
    folder = tmp_path / "d"
    folder.mkdir()
    path = {"nothing": folder, "unknown": folder / "a.docx", "broken": folder / "a.csv"}[what]
    if what != "nothing":
        path.write_text("a,b\n1,2\n1,2,3\n")
    assert main(["init", str(path), "--out", str(tmp_path / "o.yaml")]) == 2
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "o.yaml").exists()


def test_one_short_record_among_sites_does_not_make_the_motif_narrow(tmp_path):
    path = tmp_path / "sites.fa"
    path.write_text(">short\nA\n" + "".join(f">p{i}\n{'ACGTTGCA' * 4}\n" for i in range(12)))
    assert main(["init", str(path), "--out", str(tmp_path / "o.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "o.yaml").read_text())["motif"]["sites"]["width"] == 12


@pytest.mark.parametrize("named", [True, False])
def test_a_store_of_ome_zarr_is_an_image(named, tmp_path):
    folder = tmp_path / "d"
    store = folder / "a.ome.zarr"
    names = ["darker", "brighter"]
    posteriors = np.random.default_rng(0).random((2, 20, 20), dtype=np.float32)
    write_ome_zarr(store, posteriors, {"objects": np.ones((20, 20), dtype=np.uint16)}, None, names)
    (folder / "other.zarr").mkdir()
    (folder / "other.zarr" / "zarr.json").write_text("{}")
    assert main(["init", str(store if named else folder), "--out", str(tmp_path / "o.yaml")]) == 0
    text = (tmp_path / "o.yaml").read_text()
    assert yaml.safe_load(text)["segment"] == {"a": {"input": str(store)}}
    assert ("# not used: " in text) is not named


@pytest.mark.parametrize(("levels", "states", "tried"), [(2, 2, None), (3, 3, "2-3"), (9, 3, "2-5")])
def test_no_more_states_of_a_track_are_proposed_than_it_has_values(levels, states, tried, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    drawn = np.random.default_rng(0).binomial(levels - 1, np.repeat([0.2, 0.8, 0.2], 100))
    assert len(set(drawn)) == levels
    lines = [f"c\t{10 * i}\t{10 * i + 10}\t{value}\n" for i, value in enumerate([*drawn, "NA"])]
    (folder / "good.bedgraph").write_text("".join(lines))
    (folder / "flat.bedgraph").write_text("c\t0\t10\t1\nc\t10\t20\t1\nc\t20\t30\tNA\n")
    out = tmp_path / "mine.yaml"
    assert main(["init", str(folder), "--out", str(out)]) == 0
    text = out.read_text()
    assert yaml.safe_load(text)["hmm"] == {"good": {"input": str(folder / "good.bedgraph"), "states": states}}
    assert re.findall(r"# states: (\S+)", text) == ([tried] if tried else [])
    assert f"# not used: {folder / 'flat.bedgraph'}: every value is the same" in text
    command = ["hmm", str(folder / "good.bedgraph"), "--states", str(states), "--out", str(tmp_path / "fit")]
    assert levels > 2 or main(command) == 0


def test_files_of_a_folder_that_cannot_be_run_are_named_with_the_reason(tmp_path, capsys):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "good.csv").write_text("a,b\n1,2\n2,\n3,4\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.warns(UserWarning, match="not unique"):
        twice = anndata.AnnData(np.ones((3, 2), np.float32), obs=pd.DataFrame(index=["c1", "c2", "c1"]))
    twice.write_h5ad(folder / "twice.h5ad")
    out = tmp_path / "mine.yaml"
    assert main(["init", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert list(yaml.safe_load(out.read_text())["impute"]) == ["good"]
    for name, why in (
        ("ragged.csv", "line 3: 3 cells"),
        ("photo.jpg", "save what it was made from as TIFF"),
        ("twice.h5ad", "1 cell names occur more than once (c1)"),
    ):
        for text in (said, out.read_text()):
            (line,) = [line for line in text.splitlines() if "not used" in line and name in line]
            assert why in line


@pytest.mark.parametrize(("header", "branch"), [("", "deconvolve"), ("", "impute"), ("{id}", "impute")])
def test_a_column_of_names_that_a_config_cannot_name_is_left_out(header, branch, tmp_path):
    """As R's write.csv writes it: the header of the names of the rows is empty."""
    path, out = tmp_path / "rows.csv", tmp_path / "mine.yaml"
    gap = "NA" if branch == "impute" else "2"
    path.write_text(f'"{header}","a","b"\n"One",1,2\n"Two",2,{gap}\n"Three",3,5\n"Four",5,4\n')
    assert main(["init", str(path), "--out", str(out)]) == 0
    entry = yaml.safe_load(out.read_text())[branch]["rows"]
    assert entry.keys() <= {"input", "components"}
    assert main(["check", str(out)]) == 0


def test_a_folder_within_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "d" / "images").mkdir(parents=True)
    (tmp_path / "d" / ".hidden").mkdir()
    (tmp_path / "d" / "good.csv").write_text("a,b\n1,2\n2,\n3,4\n")
    assert main(["init", str(tmp_path / "d"), "--out", str(tmp_path / "mine.yaml")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "not used" in line]
    assert [line.split(": ", 2)[2] for line in lines] == [
        f"{tmp_path / 'd' / 'images'}: a folder within a folder; name it on the command line too"
    ]


def test_outside_the_repository_the_command_names_its_workflow(tmp_path, capsys, monkeypatch):
    (tmp_path / "good.csv").write_text("a,b\n1,2\n2,\n3,4\n")
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    assert main(["init", str(tmp_path / "good.csv"), "--out", str(tmp_path / "in.yaml")]) == 0
    assert "; snakemake --cores all --configfile " in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert main(["init", "good.csv", "--out", "out.yaml"]) == 0
    workflow = str(root / "workflow" / "Snakefile")
    said = shlex.split(capsys.readouterr().out.partition("; ")[2])
    assert said == ["snakemake", "--snakefile", workflow, "--cores", "all", "--configfile", "out.yaml"]


def test_images_of_a_folder_that_are_alike_are_one_batch(tmp_path):
    rng = np.random.default_rng(1)
    plate = tmp_path / "plate_7"
    plate.mkdir()
    for well in ("A01", "A02", "B01", "B02"):
        tifffile.imwrite(plate / f"{well}.tif", rng.poisson(20, size=(24, 24)).astype(np.uint16))
    (plate / "layout.csv").write_text("well,dose\nA01,1\nA02,\nB01,2\nB02,3\n")
    out = tmp_path / "mine.yaml"
    assert main(["init", str(plate), "--out", str(out)]) == 0
    config = yaml.safe_load(out.read_text())
    assert config["segment"] == {"plate_7": {"input": str(plate)}}
    assert list(config["impute"]) == ["layout"]
    assert "plate_7:   # 4 images alike, each 24 × 24 pixels (intensity)" in out.read_text()
    tifffile.imwrite(plate / "C01.tif", rng.poisson(20, size=(24, 30)).astype(np.uint16))
    out.unlink()
    assert main(["init", str(plate), "--out", str(out)]) == 0
    assert list(yaml.safe_load(out.read_text())["segment"]) == ["A01", "A02", "B01", "B02", "C01"]


def test_images_beside_their_masks_are_no_batch(tmp_path):
    folder = tmp_path / "wells"
    folder.mkdir()
    for name in ("A01", "A01_mask", "A02", "A02_mask"):
        tifffile.imwrite(folder / f"{name}.tif", np.arange(576, dtype=np.uint8).reshape(24, 24))
    out = tmp_path / "mine.yaml"
    assert main(["init", str(folder), "--out", str(out)]) == 0
    assert list(yaml.safe_load(out.read_text())["segment"]) == ["A01", "A01_mask", "A02", "A02_mask"]


def test_planes_of_one_image_in_several_files_are_no_batch(tmp_path, monkeypatch):
    names = [tmp_path / f"c{i}.ome.tif" for i in range(4)]
    alike = ("intensity", (4, 24, 24))
    planes = [Proposal("segment", name, "an image", {}, [], alike, tuple(names)) for name in names]
    for name in names:
        name.touch()
    assert as_batch(tmp_path, planes) == planes
    alone = [replace(plane, files=(plane.path,)) for plane in planes]
    assert [found.path for found in as_batch(tmp_path, alone)] == [tmp_path]


def test_names_are_those_that_the_config_allows(tmp_path):
    taken = set()
    names = [unique(tmp_path / name, taken) for name in ("a b.csv", "a_b.tsv", "2024.csv", "µ.csv", "-.csv", "x.fa.gz")]
    assert names == ["a_b", "a_b_2", "data_2024", "data", "data_2", "x"]


@pytest.mark.parametrize(
    "text", ["yes", "1e5", "a: b", "# x", 'say "hi"', "naïve", "{x}", "0.5", "./a/b.csv", "../x", "/a", "~"]
)
def test_a_scalar_reads_back_as_the_same_text(text):
    assert yaml.safe_load(f"key: {scalar(text)}") == {"key": text}


def test_skewness_of_known_values():
    assert skewness(np.array([1.0, 2.0, 3.0, np.nan])) == 0.0
    assert skewness(np.array([1.0, 1.0, 4.0])) == pytest.approx(2**-0.5)
    assert skewness(np.array([-1.0, 1.0, 4.0])) == 0.0


def test_names_of_entries_are_short_and_differ_by_more_than_case():
    taken = set()
    names = [unique(Path(f), taken) for f in ("Lab.csv", "lab.tsv", f"{'a' * 300}.csv", f"{'A' * 300}.csv")]
    assert names == ["Lab", "lab_2", "a" * 90, "A" * 90 + "_2"]


def test_names_that_are_proposed_are_those_that_the_schema_takes():
    schema = yaml.safe_load((Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml").read_text())
    assert schema["$defs"]["word"]["pattern"] == rf"^{SAYABLE.pattern}$(?!\n)"

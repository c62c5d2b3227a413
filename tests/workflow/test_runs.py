"""Snakemake plans what it must and no more: on a clean tree, after a touch, after a deletion."""

from __future__ import annotations

import html
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from about_the_run import ABOUT_THE_RUN
from unit.test_proposal import write_inputs
from workflow.browser import check_run, chromium, crowded, system_chromium

ROOT = Path(__file__).parents[2]
COLUMN, PAGE = 89.01, 183.01  # mm: one and two columns of a journal
ONE_COLUMN = ("information", "positions", "reliability", "shrinkage")  # of the demo
HOME = ("Snakefile", "workflow", "config", "resources")
DEMO = {
    "deconvolve_pbc_patients",
    "deconvolve_pbmc",
    "hmm_lambda",
    "impute_diabetes",
    "impute_pbc",
    "motif_crp",
    "motif_lambda_regions",
    "segment_breast_cancer",
    "segment_nuclei",
}
ODD = "o'ther $(touch pwned) ; x.fa"
TINY = f"""
hmm:
  genome: {{input: genome.fa, states: 2, starts: 2}}
  short: {{input: "{ODD}", states: 2, starts: 1, max_passes: 2}}
motif:
  regions: {{input: genome.fa, regions: "hmm:genome", window: 60, width: 6, starts: 2}}
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` with nothing on the path but the system."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def planned(folder: Path, *arguments: str) -> set[str]:
    """Rules that a dry run would execute."""
    run = snakemake(folder, "--dry-run", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    table = re.search(r"^Job stats:\n.*\n-.*\n((?:.+\n)+?)total ", run.stdout + run.stderr, flags=re.M)
    return {line.split()[0] for line in table.group(1).splitlines()} if table else set()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git holds of the workflow, without results."""
    folder = tmp_path_factory.mktemp("clone")
    for name in HOME:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".snakemake", "__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def test_clean_tree_plans_all_branches_from_both_folders(clone: Path) -> None:
    from_root = planned(clone)
    from_workflow = planned(clone / "workflow")
    assert from_root >= DEMO | {"demo", "summary", "multiqc", "manifest"}
    assert from_root - {"everything"} == from_workflow - {"all"}
    assert not (clone / "results").exists()


def test_wrong_config_stops_snakemake_with_one_line(clone: Path) -> None:
    """The lines of all kinds of wrong configs are those of test_config.py."""
    (clone / "wrong.yaml").write_text("impute: {a: {input: resources/pbc.csv, id: patient}}")
    run = snakemake(clone, "--cores", "1", "--configfile", "wrong.yaml")
    assert run.returncode == 1
    line = "impute.a.id: resources/pbc.csv has no column 'patient'"
    assert run.stderr.startswith(f"emtools: error: wrong.yaml: {line}"), run.stderr
    assert run.stderr.count("\n") == 1
    assert not (clone / "results").exists()


@pytest.fixture(scope="module")
def finished(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three small analyses: a chain of two, and one that has no passes to converge in. Takes a minute."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(1)
    for name in ("genome.fa", ODD):
        halves = [rng.choice(list("ACGT"), 900, p=p) for p in ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])]
        (folder / name).write_text(f">one\n{''.join(np.concatenate(halves))}\n")
    (folder / "config.yaml").write_text(TINY)
    run = snakemake(folder, *where(clone), "--cores", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_a_folder_of_images_is_one_job(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    for name in "ab":
        shutil.copy(ROOT / "resources/nuclei.tif", tmp_path / "plate" / f"{name}.tif")
    (tmp_path / "config.yaml").write_text("segment: {plate: {input: plate, smallest: 40}}")
    assert planned(tmp_path, *where(clone)) >= {"segment_plate", "summary"}
    told = snakemake(tmp_path, *where(clone), "--dry-run", "--printshellcmds").stdout
    assert "emtools segment plate --out results/segment/plate --seed 0 --threads 1 --smallest 40" in told


def where(clone: Path) -> tuple[str, ...]:
    return ("--snakefile", str(clone / "Snakefile"), "--configfile", "config.yaml")


@pytest.mark.slow
def test_second_run_has_nothing_to_do(clone: Path, finished: Path) -> None:
    run = snakemake(finished, *where(clone), "--cores", "1")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


OF_THE_RUN = (
    "runs.tsv",
    "index.html",
    "multiqc/emtools_fits_mqc.json",
    "multiqc/emtools_traces_mqc.json",
    "multiqc/multiqc_report.html",
    "manifest.json",
    "ro-crate-metadata.json",
)


def test_a_fit_that_was_lost_or_failed_is_planned_though_the_page_of_the_run_is_there(
    clone: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.fa").write_text(">a\n" + "ACGT" * 50 + "\n")
    (tmp_path / "config.yaml").write_text(
        "hmm:\n  kept: {input: in.fa, states: 2}\n  gone: {input: in.fa, states: 2}\n"
    )
    kept = tmp_path / "results" / "hmm" / "kept"
    for path in (kept / "fit.json", *(tmp_path / "results" / name for name in OF_THE_RUN)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert planned(tmp_path, *where(clone)) >= {"hmm_kept", "hmm_gone", "summary"}, (
        "figures of the one, all of the other"
    )
    for name in ("report.html", "parameters.tsv", "posteriors.tsv.gz", "segments.bed"):
        (kept / name).write_text("")
    for stem in ("track", "parameters", "convergence"):
        for kind in ("svg", "png"):
            (kept / f"{stem}.{kind}").write_text("")
    for name in ("kept/fit.json", *(f"../{name}" for name in OF_THE_RUN)):
        os.utime(tmp_path / "results" / "hmm" / name)
    found = planned(tmp_path, *where(clone))
    assert "hmm_gone" in found
    assert "hmm_kept" not in found


LOOKING = """
import sys
from snakemake.output_index import OutputIndex
from snakemake.io import _IOFile
looks, patterns = [], []
find, match = OutputIndex.match_producers, _IOFile.match
OutputIndex.match_producers = lambda self, file: looks.append(file) or find(self, file)
_IOFile.match = lambda self, file: patterns.append(file) or match(self, file)
from snakemake.cli import main
try:
    main(sys.argv[1:])
finally:
    print("looks", len(looks), "patterns", len(patterns))
"""


def test_planning_looks_up_each_fit_once(clone: Path, tmp_path: Path) -> None:
    """Of a thousand entries the looks were most of the time: one for each output, three for each fit."""
    many = 40
    (tmp_path / "in.fa").write_text(">a\n" + "ACGT" * 50 + "\n")
    entries = "".join(f"  e{i}: {{input: in.fa, states: 2}}\n" for i in range(many))
    (tmp_path / "config.yaml").write_text(f"hmm:\n{entries}")
    words = ["--dry-run", "--quiet", "all", "--cores", "1", *where(clone)]
    told = subprocess.run(
        [sys.executable, "-c", LOOKING, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    looks, patterns = map(int, re.findall(r"looks (\d+) patterns (\d+)", told.stdout)[0])
    assert many <= looks <= many + 20
    assert many <= patterns <= 2 * many + 40


@pytest.mark.slow
def test_odd_file_names_never_reach_the_shell_unquoted(finished: Path) -> None:
    assert (finished / "results" / "hmm" / "short" / "fit.json").is_file()
    assert not (finished / "pwned").exists()


@pytest.mark.slow
def test_page_of_the_run_leads_to_everything(finished: Path) -> None:
    results = finished / "results"
    html = (results / "index.html").read_text()
    links = set(re.findall(r'(?:href|src)="([^"#:]+)"', html))
    assert links >= {f"{name}/report.html" for name in ("hmm/genome", "hmm/short", "motif/regions")}
    assert "multiqc/multiqc_report.html" in links
    missing = [link for link in links if not (results / link).is_file()]
    assert missing in ([], ["snakemake_report.html"])


@pytest.mark.slow
def test_changed_input_reruns_only_what_depends_on_it(clone: Path, finished: Path) -> None:
    reports = {"summary", "multiqc", "manifest", "everything"}
    for name, expected in (
        (ODD, {"hmm_short"}),
        ("genome.fa", {"hmm_genome", "motif_regions"}),
    ):
        path = finished / name
        before, times = path.read_bytes(), path.stat()
        path.write_bytes(before + b"ACGT\n")
        assert planned(finished, *where(clone)) - reports == expected
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned(finished, *where(clone)) == set()


@pytest.mark.slow
def test_touched_input_reruns_only_what_depends_on_it(clone: Path, finished: Path) -> None:
    path = finished / "genome.fa"
    times = path.stat()
    os.utime(path)
    profile = str(clone / "workflow" / "profiles" / "default")
    touched = planned(finished, *where(clone), "--workflow-profile", profile)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert touched == {"hmm_genome", "motif_regions", "summary", "multiqc", "manifest", "everything"}


@pytest.mark.slow
def test_deleted_output_is_made_again_alone(clone: Path, finished: Path) -> None:
    results = finished / "results"
    lost = results / "hmm" / "short" / "convergence.svg"
    content = lost.read_bytes()
    others = [path for name in ("hmm/genome", "motif") for path in (results / name).rglob("*") if path.is_file()]
    times = [path.stat().st_mtime_ns for path in others]
    lost.unlink()
    assert planned(finished, *where(clone)) == {"hmm_short", "summary", "multiqc", "manifest", "everything"}
    run = snakemake(finished, *where(clone), "--cores", "1", str(lost.relative_to(finished)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert lost.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in others] == times


@pytest.mark.slow
def test_unconverged_fit_ends_the_run_well_and_shouts(finished: Path) -> None:
    html = (finished / "results" / "index.html").read_text()
    assert "1 of 3 fits did not converge" in html
    rows = (finished / "results" / "runs.tsv").read_text().splitlines()
    assert [row.split("\t")[2] for row in rows if row.startswith("not converged")] == ["short"]
    multiqc = (finished / "results" / "multiqc" / "multiqc_report.html").read_text()
    assert "not converged" in multiqc


@pytest.mark.slow
def test_failing_command_fails_the_run(clone: Path, finished: Path) -> None:
    (finished / "letters.fa").write_text(">one\nACGT!!\n")
    (finished / "fail.yaml").write_text("results: fail\nhmm: {bad: {input: letters.fa, states: 2}}\n")
    run = snakemake(finished, "--snakefile", str(clone / "Snakefile"), "--configfile", "fail.yaml", "--cores", "1")
    assert run.returncode == 1
    assert "letters.fa" in (finished / "fail" / "logs" / "hmm" / "bad.log").read_text()
    assert not (finished / "fail" / "index.html").exists()
    assert not list((finished / "fail" / "hmm").rglob("*.*"))


def smallest_text(figure: Path) -> float:
    """Points of the smallest text in a figure of matplotlib, whose glyphs have 100 units to the point; of exponents their base."""
    scales = re.findall(r'<g [^>]*transform="[^"]*scale\(([\d.]+) -', figure.read_text(encoding="utf-8"))
    return min((100.0 * float(scale) for scale in scales), default=math.inf)


UNITS = "rows|cells|letters|values|pixels|units|sites|sequences|searched|masked|observed|annotated"
COUNTED = re.compile(rf"n = [\d,]+|n in brackets|[\d,]+ (of the )?({UNITS}|×)|a sequence \(\d+\)")


def captions_of(page: Path) -> list[str]:
    """Captions of the figures of a page."""
    found = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page.read_text(encoding="utf-8"), re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split()) for text in found]


def width_of(figure: Path) -> float:
    """Width of an SVG figure, mm."""
    (points,) = re.findall(r'<svg [^>]*?\bwidth="([\d.]+)pt"', figure.read_text(encoding="utf-8")[:2000])
    return float(points) * 25.4 / 72


@pytest.mark.slow
def test_shell_lines_typed_outside_snakemake_make_the_same_bytes(clone: Path, finished: Path, tmp_path: Path) -> None:
    for name in ("genome.fa", ODD, "config.yaml"):
        shutil.copy(finished / name, tmp_path / name)
    told = snakemake(tmp_path, *where(clone), "--dry-run", "--printshellcmds").stdout
    lines = re.findall(r"^ *Shell command: (emtools .*)$", told, flags=re.M)  # MultiQC's page has the time in it
    assert len(lines) == 5, told
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for line in lines:
        (log,) = re.findall(r"> (\S+) 2>&1", line)
        (tmp_path / log).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)

    def contents(folder: Path) -> dict[str, bytes]:
        about = (*ABOUT_THE_RUN, "fail")
        found = {str(p.relative_to(folder)): p for p in (folder / "results").rglob("*") if p.is_file()}
        return {n: p.read_bytes() for n, p in found.items() if not n.removeprefix("results/").startswith(about)}

    assert contents(tmp_path) == contents(finished)


@pytest.mark.slow
def test_demo_runs_whole_and_then_rests(clone: Path) -> None:
    profile = ("--workflow-profile", str(clone / "workflow" / "profiles" / "default"))
    run = snakemake(clone, *profile)
    assert run.returncode == 0, run.stdout + run.stderr
    report = snakemake(clone, *profile, "--report", "results/snakemake_report.html")
    assert report.returncode == 0, report.stdout + report.stderr
    results = clone / "results"
    for name in ("index.html", "runs.tsv", "multiqc/multiqc_report.html", "snakemake_report.html"):
        assert (results / name).stat().st_size > 0
    rows = (results / "runs.tsv").read_text().splitlines()
    assert len(rows) == 1 + len(DEMO)
    assert "not converged" not in "".join(rows)
    links = re.findall(r'(?:href|src)="([^"#:]+)"', (results / "index.html").read_text())
    assert [link for link in links if not (results / link).is_file()] == []
    again = snakemake(clone, *profile)
    assert "Nothing to be done" in again.stdout + again.stderr
    pages = [path for path in results.rglob("report.html") if path.stat().st_size > 1_400_000]
    assert pages == []
    captions = [text for page in results.rglob("report.html") for text in captions_of(page)]
    assert len(captions) > 40
    climbs = [text for text in captions if text.startswith("How it converged")]  # of one sequence: no n to tell
    assert [text for text in captions if text not in climbs and not COUNTED.search(text)] == []
    figures = sorted(results.rglob("*.svg"))
    assert len(figures) > 40
    assert {path: size for path in figures if (size := smallest_text(path)) < 7.0} == {}
    widths = {path: width_of(path) for path in figures}
    assert {path: width for path, width in widths.items() if width > PAGE} == {}
    assert {path: width for path, width in widths.items() if path.stem in ONE_COLUMN and width > COLUMN} == {}
    if system_chromium():
        with chromium() as browser:
            assert crowded(browser, figures) == {}
        assert check_run(results).enlarged == len(DEMO)


@pytest.mark.slow
def test_a_proposed_config_runs_at_once(clone: Path, tmp_path: Path) -> None:
    data = write_inputs(tmp_path / "my data")
    config = tmp_path / "mine.yaml"
    subprocess.run([sys.executable, "-m", "emtools", "init", data, "--out", config], check=True)
    run = snakemake(clone, "--cores", "2", "--configfile", str(config), "--directory", str(tmp_path / "run"))
    assert run.returncode == 0, run.stdout + run.stderr
    fits = {path.parent.name for path in (tmp_path / "run" / "results").glob("*/*/fit.json")}
    assert fits == {"lab_results_2024", "cells", "whole", "peaks", "protein", "dots"}

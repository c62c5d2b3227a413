"""Outputs appear whole or not at all, and the record of a fit is the same bytes for the same fit."""

from __future__ import annotations

import io
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from emtools.branches.finish import recorded_command
from emtools.engine.chunks import ArraySource
from emtools.engine.result import Pass
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io import console
from emtools.io.config import PRODUCTS
from emtools.io.console import Progress
from emtools.io.fitfile import fit_record, plain, write_record
from emtools.io.outputs import OWN, RECORD, require_file, require_target, staged
from emtools.models.linkage import COUNTS, Linkage


def break_off(out):
    """Write half of the results and fail."""
    with staged(out) as folder:
        (folder / "table.tsv").write_text("half")
        raise RuntimeError


def test_files_appear_when_the_block_ends(tmp_path):
    out = tmp_path / "new" / "results"
    with staged(out) as folder:
        (folder / "fit.json").write_text("{}")
        (folder / "table.tsv").write_text("a")
        assert list(out.iterdir()) == [folder]
    assert sorted(path.name for path in out.iterdir()) == ["fit.json", "table.tsv"]


def test_files_of_one_folder_may_be_written_at_once_and_what_a_killed_run_left_goes(tmp_path):
    names = ("a.tsv", "a.tsv-b", "b.tsv")
    with staged(tmp_path, names[0]) as first, staged(tmp_path, names[1]) as second, staged(tmp_path, names[2]) as third:
        for folder, name in zip((first, second, third), names, strict=True):
            (folder / name).write_text(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "a.tsv-b", "b.tsv"]
    left = tmp_path / first.name
    left.mkdir()
    with staged(tmp_path, seal="b.tsv"):
        assert left.exists()
    with staged(tmp_path, seal="a.tsv"):
        assert not left.exists()


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "fit.json").write_text("kept")
    for out in (tmp_path / "fresh", old):
        with pytest.raises(RuntimeError):
            break_off(out)
    assert not (tmp_path / "fresh").exists()
    assert [path.name for path in old.iterdir()] == ["fit.json"]
    assert (old / "fit.json").read_text() == "kept"


def write_store(out, chunks):
    """A run that writes a store."""
    with staged(out) as folder:
        for chunk in chunks:
            (folder / "a.zarr" / chunk).parent.mkdir(parents=True, exist_ok=True)
            (folder / "a.zarr" / chunk).write_text(chunk)
        (folder / "fit.json").write_text(json.dumps({"outputs": ["fit.json", "a.zarr"]}))


def test_a_store_appears_whole_in_place_of_the_one_before(tmp_path, monkeypatch, capsys):
    write_store(tmp_path, ["0/0", "0/1", ".zgroup"])
    write_store(tmp_path, ["0/0", ".zattrs"])
    assert {path.name for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()} == {"0", ".zattrs"}
    assert capsys.readouterr().err == "", "it was replaced, not removed"
    moves = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda one, two: (moves.append(Path(two).name), replace(one, two)))
    write_store(tmp_path, ["0/0", "0/1", ".zgroup"])
    assert moves == ["a.zarr", "fit.json"], "one step for the store, the seal last"


def write_run(out, names):
    """An earlier fit that wrote `names`."""
    with staged(out) as folder:
        for name in names:
            (folder / name).write_text("run")
        (folder / "fit.json").write_text(json.dumps({"outputs": sorted([*names, "fit.json"])}))


def test_what_an_earlier_fit_left_goes_and_strangers_stay(tmp_path, capsys):
    write_run(tmp_path, ["accuracy.tsv", "confusion.svg", "proportions_by_sample.tsv", "types.svg"])
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "accuracy.png").write_text("not listed, so not of that fit")
    write_run(tmp_path, ["types.svg"])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("accuracy.png", "fit.json", "notes.txt", "types.svg"),
        RECORD,
    }
    assert capsys.readouterr().err.endswith("accuracy.tsv, confusion.svg, proportions_by_sample.tsv\n")
    with pytest.raises(RuntimeError):
        break_off(tmp_path)
    assert (tmp_path / "types.svg").is_file()


def test_what_an_earlier_fit_left_goes_where_a_workflow_removed_its_fit(tmp_path):
    """Snakemake deletes the outputs that a rule declares before it runs the rule again; figures by number are not among them."""
    write_run(tmp_path, ["logo.svg", "logo_2.svg", "logo_3.svg", "posterior_S2.bedgraph.gz", "report.html"])
    (tmp_path / "logo_4.svg").write_text("mine")
    for name in ("fit.json", "logo.svg", "report.html"):
        (tmp_path / name).unlink()
    write_run(tmp_path, ["logo.svg", "logo_2.svg", "report.html"])
    left = {"logo.svg", "logo_2.svg", "logo_4.svg", "report.html", "fit.json", RECORD}
    assert OWN.fullmatch(RECORD)
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_file_of_ones_own_under_the_name_of_an_output_stays(tmp_path):
    """The record alone is left of a fit whose files were moved away."""
    write_run(tmp_path, ["segments.bed", "types.svg"])
    for name in ("fit.json", "segments.bed", "types.svg"):
        (tmp_path / name).unlink()
    (tmp_path / "segments.bed").write_text("mine")
    write_run(tmp_path, ["types.svg"])
    assert (tmp_path / "segments.bed").read_text() == "mine"


def test_a_record_without_hashes_removes_nothing(tmp_path):
    (tmp_path / "accuracy.tsv").write_text("mine")
    (tmp_path / RECORD).write_text('{"outputs": ["accuracy.tsv"]}')
    write_run(tmp_path, ["types.svg"])
    assert (tmp_path / "accuracy.tsv").read_text() == "mine"


def test_what_is_no_fit_removes_nothing_the_next_time(tmp_path):
    for name in ("completed.csv", "completed.tsv"):
        with staged(tmp_path) as folder:
            (folder / name).write_text("new rows")
    assert {path.name for path in tmp_path.iterdir()} == {"completed.csv", "completed.tsv"}


def test_a_folder_under_the_name_of_an_output_is_refused_before_a_file_moves(tmp_path):
    write_run(tmp_path, ["segments.bed"])
    (tmp_path / "segments.bed").unlink()
    (tmp_path / "segments.bed").mkdir()
    before = (tmp_path / "fit.json").read_bytes()
    with pytest.raises(InputError, match="is a folder where a file goes"):
        write_run(tmp_path, ["segments.bed", "types.svg"])
    assert (tmp_path / "fit.json").read_bytes() == before
    assert not (tmp_path / "types.svg").exists()


@pytest.mark.parametrize("record", ["fit.json", RECORD])
@pytest.mark.parametrize(
    "listed",
    [
        '{"outputs": ["../accuracy.tsv", "notes.txt", "..", "", 3, "sub/accuracy.tsv", "completed.d"]}',
        '{"outputs": {"accuracy.tsv": 1}}',
        '{"outputs": "accuracy.tsv"}',
        '["accuracy.tsv"]',
        "{",
        "[" * 100_000,
    ],
)
def test_an_odd_record_removes_nothing_else(tmp_path, listed, record):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "completed.d").mkdir()
    strangers = [tmp_path / "accuracy.tsv", out / "notes.txt", out / "sub" / "accuracy.tsv", out / "accuracy.tsv"]
    for path in strangers:
        path.write_text("mine")
    (out / record).write_text(listed)
    write_run(out, ["types.svg"])
    assert all(path.read_text() == "mine" for path in strangers)
    assert (out / "completed.d").is_dir()


def test_other_commands_remove_nothing(tmp_path):
    write_run(tmp_path, ["accuracy.tsv"])
    with staged(tmp_path, seal="index.html") as folder:
        (folder / "index.html").write_text("page")
    assert (tmp_path / "accuracy.tsv").is_file()


ROOT = Path(__file__).parents[2]


def test_every_output_that_the_workflow_knows_is_an_own_name():
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    names = set(re.findall(r"\{entry\.out\}/([\w.]+)", text)) | {name for _, name in PRODUCTS.values()}
    for name in names - {"completed"}:
        assert OWN.fullmatch(name), name
    stems = set()
    for branch in PRODUCTS:
        rule = (ROOT / "workflow" / "rules" / f"{branch}.smk").read_text()
        rule = re.sub(r"memory\(.*\)", "", rule)
        stems |= set(re.findall(r'(\w+)="', rule)) | set(re.findall(r'\{"(\w+)": "', rule))
    assert {"convergence", "accuracy", "overlay", "logo", "track", "imputed"} <= stems
    for stem in stems - {"fit", "page"}:
        assert OWN.fullmatch(f"{stem}.svg"), stem
        assert OWN.fullmatch(f"{stem}.png"), stem


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    require_target(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("emtools.io.outputs.tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match=r"results: cannot be written \(Permission denied\); choose another --out"):
        require_target(tmp_path / "new" / "results")


def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="choose another --out folder"), staged(tmp_path / "file"):
        pass


def test_required_file(tmp_path):
    (tmp_path / "empty").touch()
    for path, found in ((tmp_path, "is a folder"), (tmp_path / "none", "no such file"), (tmp_path / "empty", "empty")):
        with pytest.raises(InputError, match=found):
            require_file(path, "FASTA")


def test_record_is_the_same_bytes_for_the_same_fit(tmp_path):
    data = tmp_path / "data.tsv"
    data.write_text("1\n")
    for name, threads in (("a", 1), ("b", 3)):
        result = fit(Linkage(), ArraySource(np.array([COUNTS])), starts=4, seed=2, threads=threads)
        record = fit_record(result, branch="test", inputs=[data], command=["emtools", "test"])
        write_record(record, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = json.loads((tmp_path / "a").read_text())
    assert read == record
    assert read["status"] == "converged"
    assert read["parameters"]["probability"]["shape"] == [1]
    assert len(read["trace"]) == read["passes"]
    assert len(read["starts"]) == 4
    assert read["inputs"][0]["sha256"].startswith("4355a46b")


def test_plain_holds_no_nan():
    assert plain({"a": np.array([1.0, math.nan]), "b": math.inf, "c": np.int64(3)}) == {
        "a": [1.0, None],
        "b": None,
        "c": 3,
    }


def test_recorded_command_leaves_out_threads_and_folder():
    words = ["emtools", "hmm", "x.fa", "--threads", "4", "--quiet", "--out=results", "--seed", "1", "--out", "y"]
    assert recorded_command(words) == ["emtools", "hmm", "x.fa", "--seed", "1"]


def test_the_speed_of_passes_counts_from_the_first(monkeypatch):
    times = iter([100.0, 100.5, 102.0, 103.0])
    monkeypatch.setattr(console, "monotonic", lambda: next(times))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    rows = [Pass(0, n, -1.0, 0.0, math.inf, math.nan, 0.0) for n in range(3)]
    told = told_by_progress(Terminal(), *rows)
    assert "pass 2, 2 passes/s, climbing" in told
    assert "pass 3, 1 passes/s, climbing" in told
    monkeypatch.setenv("TERM", "dumb")
    assert told_by_progress(Terminal(), rows[0]) == "hmm: Converged.\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told_by_progress(stream, *rows, quiet=False, label="hmm"):
    progress = Progress(label, 3, quiet, stream)
    for row in rows:
        progress(row)
    progress.close("Converged.")
    return stream.getvalue()


def test_progress_is_a_moving_line_on_a_terminal_and_a_verdict_elsewhere(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    rows = [Pass(1, 6, -10.0, math.nan, 3.2e-4, math.nan, 0.0), Pass(1, 7, -9.0, 1.0, 1e-4, math.nan, 0.0)]
    first, line, last = told_by_progress(Terminal(), *rows).split(
        "\r\x1b[2K"
    )  # the second comes a moment later: not drawn
    assert first == ""
    assert line == "hmm: start 2 of 3, pass 7, 3.2e-04 nats to gain"
    assert last == "hmm: Converged.\n"
    assert told_by_progress(io.StringIO(), *rows) == "hmm: Converged.\n"
    assert told_by_progress(Terminal(), *rows, quiet=True) == "hmm: Converged.\n"
    monkeypatch.setenv("COLUMNS", "20")
    assert told_by_progress(Terminal(), rows[0], label="deconvolve").split("\x1b[2K")[1] == "deconvolve: start 2\r"

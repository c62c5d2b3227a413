"""Starts in jobs of their own: the bytes of one command, and no more work than new starts ask for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from about_the_run import ABOUT_THE_RUN
from workflow.test_runs import clone, planned, snakemake, where  # noqa: F401

from emtools.cli import main
from emtools.engine.result import Climb, Event, Pass
from emtools.engine.stopping import Status
from emtools.io.start_files import as_climb, as_record
from emtools.models.motif import MotifParams

ROOT = Path(__file__).parents[2]
CONFIG = """
hmm:
  genome: {{input: genome.fa, states: 2, starts: {starts}, scatter: 1, max_passes: 40}}
motif:
  regions: {{input: genome.fa, regions: "hmm:genome", window: 60, width: 6, starts: 2, untested: true}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sequences in which a word is planted, and a track of values."""
    rng = np.random.default_rng(3)
    halves = [rng.choice(list("ACGT"), 400, p=p) for p in ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])]
    (tmp_path / "genome.fa").write_text(f">one\n{''.join(np.concatenate(halves))}\n")
    letters = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(20)]
    (tmp_path / "sites.fa").write_text("".join(f">r{i}\n{s[:20]}TGACGTCA{s[28:]}\n" for i, s in enumerate(letters)))
    values = np.concatenate([rng.poisson(3.0, 60), rng.poisson(9.0, 60)])
    (tmp_path / "track.bedgraph").write_text("".join(f"c\t{i}\t{i + 1}\t{v}\n" for i, v in enumerate(values)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Where orders are compared, on letters that all of them score, the last fit is to all letters, and its starts are climbed there.
COMMANDS = {
    "letters": ("hmm genome.fa --states 2 --max-passes 200 --starts 3", []),
    "states": ("hmm genome.fa --states 1-2 --max-passes 30 --starts 3", []),
    "orders": ("hmm genome.fa --states 2 --order 0-1 --max-passes 30 --starts 3", [0, 1, 2]),
    "values": ("hmm track.bedgraph --states 1-2 --starts 3", []),
    "counts": ("hmm track.bedgraph --states 2 --emission poisson --starts 3", []),
    "spread counts": ("hmm track.bedgraph --states 2 --emission negative-binomial --bin 2 --starts 3", []),
    "two motifs": ("motif sites.fa --width 6-8 --motifs 2 --untested --starts 3", None),  # the second is sought here
    "motif": ("motif sites.fa --width 6-8 --starts 3", [0]),  # the last climb, from the best of the search
}
QUICK = ("letters", "motif")
LAST = "results/motif/regions/report.html"  # the analysis that waits for the other one


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def climbed_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the starts that a command climbs itself, as they begin."""
    from emtools.engine import starts
    from emtools.motif_finding import search

    begun: list[int] = []
    first = starts.Plan.first

    def counted(self: Any, restart: int) -> Any:
        begun.append(restart)
        return first(self, restart)

    climb_seeds = search.climb_seeds

    def counted_seeds(*arguments: Any) -> Any:
        begun.extend(arguments[-1])
        return climb_seeds(*arguments)

    monkeypatch.setattr(starts.Plan, "first", counted)
    monkeypatch.setattr(search, "climb_seeds", counted_seeds)
    return begun


@pytest.mark.rendered
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in COMMANDS]
)
def test_the_same_bytes_scattered_and_not(here: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words, anew = COMMANDS[name][0].split(), COMMANDS[name][1]
    whole = main([*words, "--out", "whole"])
    assert main([*words, "--out", "late", "--only-starts", "3", "--threads", "2"]) == 0
    assert main([*words[:-2], "--out", "early", "--only-starts", "1-2"]) == 0
    begun = climbed_here(monkeypatch)
    assert main([*words, "--out", "gathered", "--starts-from", "late/starts.json", "early/starts.json"]) == whole
    assert anew is None or begun == anew
    assert contents(here / "gathered") == contents(here / "whole")


def test_an_end_comes_back_with_the_same_bits() -> None:
    row = Pass(0, 0, -1.0 / 3.0, math.nan, math.inf, 0.1, 2.5, "refused")
    events = (Event(1, "flat", 1.0 + 2**-52, ("means [1, 2]",)),)
    params = MotifParams(0.1 + 0.2, np.random.default_rng(0).random((3, 4)))
    end = Climb(0, params, None, Status.BUDGET, "why", -0.1, -0.3, 1e-300, math.nan, (row,) * 2, events)
    back = as_climb(json.loads(json.dumps(as_record(end))), 7, MotifParams)
    assert back.params.occurrence == params.occurrence
    np.testing.assert_array_equal(back.params.matrix, params.matrix)
    again = [replace(row, restart=7, number=number, seconds=0.0) for number in range(2)]
    assert repr(back) == repr(replace(end, restart=7, params=back.params, trace=tuple(again)))


@pytest.mark.rendered
def test_starts_that_no_file_has_are_climbed_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = COMMANDS["letters"][0].split()
    main([*words, "--out", "whole"])
    main([*words, "--out", "part", "--only-starts", "2"])
    begun = climbed_here(monkeypatch)
    main([*words, "--out", "gathered", "--starts-from", "part/starts.json"])
    assert begun == [0, 2]
    assert contents(here / "gathered") == contents(here / "whole")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def change_a_digit(path: Path) -> None:
    text = path.read_text()
    at = text.index('"loglik": ') + len('"loglik": -')
    path.write_text(text[:at] + ("2" if text[at] == "1" else "1") + text[at + 1 :])


def of_another_version(path: Path) -> None:
    from emtools.io.start_files import digest_of

    content = json.loads(path.read_text())
    content["versions"]["emtools"] = "0.0.1"
    content["sha256"] = digest_of({key: value for key, value in content.items() if key != "sha256"})
    path.write_text(json.dumps(content))


def of_another_shape(path: Path) -> None:
    from emtools.io.start_files import digest_of

    content = json.loads(path.read_text())
    del content["ends"][0]["trace"]
    content["sha256"] = digest_of({key: value for key, value in content.items() if key != "sha256"})
    path.write_text(json.dumps(content))


def of_other_letters(path: Path) -> None:
    genome = path.parents[1] / "genome.fa"
    genome.write_text(genome.read_text().replace("ACG", "ACC"))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "not a file of starts, or cut off"),
    "changed": (change_a_digit, "its content is not what was written"),
    "version": (of_another_version, "made by emtools 0.0.1; this is 0"),
    "shape": (of_another_shape, "not laid out as starts ('trace')"),
    "input": (of_other_letters, "made from another input"),
    "absent": (Path.unlink, "no such file"),
    "empty": (lambda path: path.write_text(""), "the file is empty"),
    "deep": (lambda path: path.write_text("[" * 100_000), "not a file of starts, or cut off"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_file_of_something_else_is_refused(here: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = COMMANDS["letters"][0].split()
    assert main([*words, "--out", "part", "--only-starts", "1-3"]) == 0
    damage, message = DAMAGES[name]
    damage(here / "part" / "starts.json")
    capsys.readouterr()
    assert main([*words, "--out", "gathered", "--starts-from", "part/starts.json"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"emtools: error: part/starts.json: {message}"), told
    assert told.count("\n") == 1
    assert not (here / "gathered").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--states 3 --starts 3 --starts-from part/starts.json",
            "part/starts.json: made with states (2, 2), not (3, 3)",
        ),
        ("--states 2 --starts 2 --only-starts 2 --starts-from part/starts.json", "--only-starts: with --starts-from"),
        ("--states 2 --starts 2 --only-starts 2 --checkpoint c", "--only-starts: with --starts-from or --checkpoint"),
        ("--model cpg --only-starts 1", "--only-starts: with --model"),
    ],
)
def test_options_that_do_not_go_together(
    here: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            "hmm",
            "genome.fa",
            "--states",
            "2",
            "--starts",
            "1",
            "--max-passes",
            "9",
            "--out",
            "part",
            "--only-starts",
            "1",
        ]
    )
    capsys.readouterr()
    assert main(["hmm", "genome.fa", "--max-passes", "9", "--out", "out", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(f"emtools: error: {message}")
    assert not (here / "out").exists()


def counts(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs of each rule that a dry run plans."""
    told = snakemake(folder, "--dry-run", *arguments).stdout
    table = re.search(r"^Job stats:\n.*\n-.*\n((?:.+\n)+?)total ", told, flags=re.M)
    assert table is not None, told
    return {line.split()[0]: int(line.split()[1]) for line in table[1].splitlines()}


def results(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith((*ABOUT_THE_RUN, "starts"))}


@pytest.mark.slow
def test_more_starts_run_the_new_ones_alone(clone: Path, here: Path) -> None:  # noqa: F811
    config = here / "config.yaml"
    config.write_text(CONFIG.format(starts=4))
    after = {"summary": 1, "multiqc": 1, "manifest": 1, "everything": 1, "hmm_genome": 1, "motif_regions": 1}
    assert counts(here, *where(clone)) == {"starts_hmm_genome": 4, **after}
    run_all(clone, here)
    assert planned(here, LAST, *where(clone)) == set()

    config.write_text(CONFIG.format(starts=6))
    assert counts(here, *where(clone)) == {"starts_hmm_genome": 2, **after}
    run_all(clone, here)
    (here / "results").rename(here / "scattered")
    config.write_text(CONFIG.format(starts=6).replace("scatter: 1, ", ""))
    run_all(clone, here)
    assert results(here / "results") == results(here / "scattered")


def run_all(clone: Path, here: Path) -> None:  # noqa: F811
    run = snakemake(here, *where(clone), "--cores", "2", LAST)
    assert run.returncode == 0, run.stdout + run.stderr

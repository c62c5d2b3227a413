"""What a run was made of is written down, and every byte that changed since is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emtools.cli import main
from emtools.io.outputs import RECORD

SHA = "0" * 64


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two analyses, one of which reads the product of the other, as a run leaves them."""
    from emtools.io.outputs import sha256

    monkeypatch.chdir(tmp_path)
    out = tmp_path / "results"
    Path("in put.fa").write_text(">a\nACGT\n")
    Path("config.yaml").write_text("hmm: {one: {input: in put.fa, states: 2}}\n")
    made = {"hmm/one": ["segments.bed"], "motif/two": ["sites.bed", "logo.png"]}
    read = {"hmm/one": ["in put.fa"], "motif/two": ["in put.fa", "results/hmm/one/segments.bed"]}
    for name, files in made.items():
        folder = out / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text(f"{name} {file}\n")
        record = {
            "inputs": [{"path": path, "sha256": sha256(Path(path))} for path in read[name]],
            "command": ["emtools", name.split("/")[0], "in put.fa"],
            "seed": 0,
            "status": "converged",
            "versions": {"python": "3.11"},
        }
        (folder / "fit.json").write_text(json.dumps(record))
    (out / "motif/two/store.zarr/c").mkdir(parents=True)
    (out / "motif/two/store.zarr/c/0").write_bytes(b"\1\2")
    (out / "benchmarks/hmm").mkdir(parents=True)
    (out / "benchmarks/hmm/one.tsv").write_text("s\tcpu_time\n1.5\t1.25\n")
    (out / "index.html").write_text("<html>")
    assert manifest() == 0
    return out


def manifest() -> int:
    fits = ["results/hmm/one/fit.json", "results/motif/two/fit.json"]
    return main(["manifest", *fits, "--config", "config.yaml", "--out", "results"])


def test_everything_is_written_down(results: Path) -> None:
    told = json.loads((results / "manifest.json").read_text())
    assert set(told["files"]) == {
        "hmm/one/fit.json",
        "hmm/one/segments.bed",
        "index.html",
        "motif/two/fit.json",
        "motif/two/logo.png",
        "motif/two/sites.bed",
        "motif/two/store.zarr/c/0",
    }
    assert [item["path"] for item in told["inputs"]] == ["in put.fa", "results/hmm/one/segments.bed"]
    assert told["config"][0]["path"] == "config.yaml"
    one, two = told["analyses"]
    assert (one["seconds"], one["cpu_seconds"], one["command"][:2]) == (1.5, 1.25, ["emtools", "hmm"])
    assert "seconds" not in two
    assert {"python", "numpy", "emtools"} <= set(told["versions"])


def test_nothing_but_the_times_differs_when_it_is_written_again(results: Path) -> None:
    before = json.loads((results / "manifest.json").read_text())
    assert manifest() == 0
    after = json.loads((results / "manifest.json").read_text())
    assert before | {"made": ""} == after | {"made": ""}


def test_the_record_that_a_fit_keeps_for_itself_is_no_result(results: Path) -> None:
    before = json.loads((results / "manifest.json").read_text())["files"]
    (results / "hmm" / "one" / RECORD).write_text("{}")
    assert manifest() == 0
    assert json.loads((results / "manifest.json").read_text())["files"] == before


def test_the_crate_has_what_the_specification_requires(results: Path) -> None:
    """RO-Crate 1.1: the descriptor, the root with name, description, date and licence, and every part described once."""
    crate = json.loads((results / "ro-crate-metadata.json").read_text())
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert all("@type" in entity for entity in entities.values())
    head = entities["ro-crate-metadata.json"]
    assert head["@type"] == "CreativeWork"
    assert head["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities[head["about"]["@id"]]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= set(root)
    assert {part["@id"] for part in root["hasPart"]} == {i for i, e in entities.items() if e["@type"] == "File"}
    for entity in entities.values():
        for value in entity.values():
            for link in value if isinstance(value, list) else [value]:
                if isinstance(link, dict) and entity is not head:
                    assert link["@id"] in entities, link
    actions = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert [action["description"] for action in actions] == ["emtools hmm 'in put.fa'", "emtools motif 'in put.fa'"]


def test_an_untouched_run_is_verified(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "results"]) == 0
    assert "✓ 7 files, 2 inputs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("results/motif/two/logo.png", "motif/two/logo.png: has other bytes"),
        ("results/motif/two/store.zarr/c/0", "motif/two/store.zarr/c/0: has other bytes"),
        ("results/index.html", "index.html: has other bytes"),
        ("in put.fa", "in put.fa: was changed since it was read"),
        ("config.yaml", "config.yaml: was changed since it was read"),
        ("results/hmm/one/segments.bed", "results/hmm/one/segments.bed: was changed since it was read"),
    ],
)
def test_a_changed_byte_is_found_and_named(
    name: str, said: str, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.chdir("/")  # from anywhere
    assert main(["verify", str(results)]) == 1
    assert said in capsys.readouterr().out.splitlines()


def test_what_is_gone_or_cut_is_found(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "motif/two/logo.png").unlink()
    (results / "motif/two/sites.bed").write_text("")
    assert main(["verify", "results"]) == 1
    told = capsys.readouterr().out
    assert "motif/two/logo.png: is gone" in told
    assert "motif/two/sites.bed: has 0 bytes in place of 20" in told


def test_results_without_their_inputs_are_verified_and_that_is_told(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path / "sent" / "results")
    (results / "mine.txt").write_text("")
    (tmp_path / "sent/results/hmm/one/note.txt").write_text("mine")
    assert main(["verify", str(tmp_path / "sent/results")]) == 0
    told = capsys.readouterr().out
    assert "in put.fa: is not here any more, so it was not looked at" in told
    assert "hmm/one/note.txt: is not in the manifest" in told


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "{",
        '{"schema": "emtools-manifest-1"}',
        '{"schema": "emtools-manifest-1", "started_in": "..", "config": [], "inputs": [], "analyses": [], '
        '"files": {"../in put.fa": {"bytes": 8, "sha256": ""}}}',
    ],
)
def test_what_is_no_manifest_is_refused(content: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "manifest.json").write_text(content)
    assert main(["verify", "results"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fit_from_elsewhere_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(results / "hmm/one", "elsewhere")
    assert main(["manifest", "elsewhere/fit.json", "--out", "results"]) == 2
    assert "does not lie in results" in capsys.readouterr().err

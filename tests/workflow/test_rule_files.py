"""Every rule says what a cluster must know, the workflow is a module of another one, and its shell lines can be typed."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow.test_runs import clone, planned, snakemake  # noqa: F401

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "Snakefile", ROOT / "workflow/Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
WANTED = ("input", "log", "benchmark", "conda", "threads", "resources", "params", "message", "shell")
MODULE = """
module em:
    snakefile: "{folder}/workflow/Snakefile"
    config: {{"hmm": {{"one": {{"input": "in.fa", "states": 2}}}}, "results": "there"}}


use rule * from em as em_*


rule mine:
    default_target: True
    input:
        rules.em_all.input,
"""


def rules_of(path: Path) -> dict[str, str]:
    """Text of each rule by its name, or by its line where a loop names it."""
    lines = path.read_text().splitlines()
    found = {}
    for at, line in enumerate(lines):
        head = re.match(r"(\s*)(?:rule|checkpoint)\s*(\w*):$", line)
        if head:
            deep = len(head[1])
            ends = (
                i
                for i in range(at + 1, len(lines))
                if lines[i].strip() and len(lines[i]) - len(lines[i].lstrip()) <= deep
            )
            found[head[2] or f"line {at + 1}"] = "\n".join(lines[at + 1 : next(ends, len(lines))])
    return found


def keywords(rule: str) -> set[str]:
    deep = min(len(line) - len(line.lstrip()) for line in rule.splitlines() if line.strip())
    return set(re.findall(rf"^ {{{deep}}}(\w+):", rule, flags=re.M))


RULES = {f"{path.name}: {name}": text for path in FILES for name, text in rules_of(path).items()}


def test_all_rules_are_seen() -> None:
    assert len(RULES) >= 13
    assert not [name for name, text in RULES.items() if "run" in keywords(text) or "script" in keywords(text)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_is_not_local_says_what_a_cluster_must_know(name: str) -> None:
    found = keywords(RULES[name])
    if "localrule" in found:
        assert "shell" not in found
        return
    wanted = set(WANTED) - ({"input"} if name.endswith(": demo") else set())
    assert wanted <= found, wanted - found
    for resource in ("mem_mb=", "runtime="):
        assert resource in RULES[name]
    assert "> {log:q} 2>&1" in RULES[name]
    unquoted = re.findall(r"\{(?!log|output|input|params|wildcards|threads)", RULES[name].split("shell:")[1])
    assert not unquoted
    for place in re.findall(r"\{((?:log|output|input|params|wildcards)[^}]*)\}", RULES[name].split("shell:")[1]):
        assert place.endswith(":q") or place == "params.seed", place


def test_the_parser_sees_what_is_missing() -> None:
    text = next(text for name, text in RULES.items() if name == "report.smk: summary")
    assert "benchmark" not in keywords(text.replace("    benchmark:", "    # benchmark:"))


def test_another_workflow_uses_this_one_as_a_module(clone: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "in.fa").write_text(">a\n" + "ACGT" * 50 + "\n")
    (tmp_path / "Snakefile").write_text(MODULE.format(folder=clone))
    assert planned(tmp_path) == {"em_hmm_one", "em_summary", "em_multiqc", "em_manifest", "mine"}


@pytest.mark.parametrize("outer", ["__use_yte__: true\nmine: 1\n", "mine: 1\nmine: 2\n"], ids=["evaluated", "twice"])
def test_the_config_of_a_workflow_around_this_one_is_its_own(clone: Path, tmp_path: Path, outer: str) -> None:  # noqa: F811
    (tmp_path / "in.fa").write_text(">a\n" + "ACGT" * 50 + "\n")
    (tmp_path / "outer.yaml").write_text(outer)
    (tmp_path / "Snakefile").write_text('configfile: "outer.yaml"\n' + MODULE.format(folder=clone))
    assert "em_hmm_one" in planned(tmp_path)


def test_a_module_that_is_given_no_config_reads_one_that_must_be_plain(clone: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "outer.yaml").write_text("mine: 1\nmine: 2\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("seed: 1\nseed: 2\n")
    module = re.sub(r"    config:.*\n", "", MODULE.format(folder=clone))
    (tmp_path / "Snakefile").write_text('configfile: "outer.yaml"\n' + module)
    run = snakemake(tmp_path, "--dry-run")
    assert run.returncode == 1
    assert "emtools: error: config/config.yaml: line 2: the key 'seed' stands twice" in run.stdout + run.stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "workflow/profiles").glob("*/config.yaml")), ids=lambda path: path.parent.name
)
def test_profiles_are_known_to_snakemake(path: Path) -> None:
    """Every key of a profile is an option of Snakemake or of its executor."""
    from snakemake.cli import get_argument_parser

    content = yaml.safe_load(path.read_text())
    options = {option.lstrip("-") for action in get_argument_parser()._actions for option in action.option_strings}
    executor = content.get("executor", "")
    unknown = [key for key in content if key not in options and not key.startswith(f"{executor}-")]
    assert not unknown or not executor, unknown
    assert {"mem_mb", "disk_mb", "runtime"} <= set(content["default-resources"])


def test_the_containers_have_what_the_environment_has() -> None:
    docker, apptainer = (ROOT / name for name in ("Dockerfile", "workflow/envs/emtools.def"))
    for text in (docker.read_text(), apptainer.read_text()):
        assert "pip install --no-cache-dir --require-hashes -r requirements.lock" in text
        assert "pip install --no-cache-dir --no-deps --no-build-isolation ." in text
        for name in re.findall(
            r"\b(requirements\.lock|pyproject\.toml|README\.md|LICENSE|Snakefile|workflow|config|resources)\b", text
        ):
            assert (ROOT / name).exists()
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert set(catalog["usage"]) == {"mandatory-flags", "software-stack-deployment", "report"}


class Inputs(list[str]):
    """Input files of a rule, of which Snakemake knows the size."""

    size_mb = 7.0


def functions_of(path: Path, *names: str) -> dict[str, Any]:
    """Plain functions of a file of rules."""
    chosen = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) in names]
    found: dict[str, Any] = {"os": os}
    exec(compile(ast.Module(chosen, []), str(path), "exec"), found)
    return found


def test_memory_grows_with_the_size_of_all_inputs_and_doubles_on_each_retry(tmp_path: Path) -> None:
    ours = functions_of(ROOT / "workflow/rules/common.smk", "memory", "megabytes")
    here = Inputs(str(tmp_path / name) for name in ("a", "b"))
    for path, size in zip(here, (2**20, 2**19), strict=True):
        Path(path).write_bytes(bytes(size))
    assert ours["megabytes"](here) == 1.5
    assert ours["megabytes"](Inputs()) == 0.0
    assert ours["megabytes"](Inputs([*here, str(tmp_path / "elsewhere")])) == Inputs.size_mb
    asked = ours["memory"](100, 20)
    assert [asked(None, here, attempt) for attempt in (1, 2, 3)] == [130, 260, 520]


def test_of_a_track_of_which_little_is_kept_a_twentieth_counts(tmp_path: Path) -> None:
    from snakemake.iocontainers import InputFiles

    paths = [str(tmp_path / name) for name in ("peaks.fa", "genome.bw")]
    for path in paths:
        Path(path).write_bytes(bytes(2**20))
    given = InputFiles(fromdict=dict(zip(("input", "prior"), paths, strict=True)))
    needed = functions_of(ROOT / "workflow/rules/common.smk", "memory", "megabytes")["memory"](800, 400, light="prior")
    assert needed(None, given, 1) == 800 + 400 + 20
    assert needed(None, InputFiles(fromdict={"input": paths[0]}), 2) == 2 * (800 + 400)

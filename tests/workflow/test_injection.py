"""Names that would do harm in a shell, a path, a template, a page or a figure: refused in one line, or run rightly."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from emtools.cli import main
from emtools.errors import InputError
from emtools.io.config import make_plan
from emtools.io.image_folder import list_images

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow/schemas"
SCRIPT = "<script>alert(1)</script>"
ATTACKS = (
    "; rm -rf x", "$(touch pwned)", "`touch pwned`", "a'b", 'a"b', "a\nb", "a\n", "a\r", "a\0b", "../up", "a/../../b", "/etc/x", "a/b", ".",
    "..", "{wildcard}", "{input}", "-rf", "--out=x", SCRIPT, "a b", "ü", "", "a&b", "a|b", "\x1b[2J", "a\u2028b", "%s", "a*", "a" * 101,
)  # fmt: skip
# In the header of a table: legal there, and deadly where it is not quoted.
COLUMNS = (
    SCRIPT,
    "$\\frac{$",
    "a;touch pwned",
    "x $(touch pwned)",
    'it\'s "q"',
    "{wildcard}",
    "<b onmouseover=x>",
    "ü µ%",
)
OPTIONS = ["<img src=x onerror=alert(1)>", "b;touch pwned", "$(touch pwned)", "it's", 'say "x"', "$\\alpha", "&amp;"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.fa").write_text(">a\nACGT\n")
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_odd_name_of_an_analysis_gets_through(attack: str, here: Path) -> None:
    config = {"hmm": {attack: {"input": "in.fa", "states": 2}}}
    with pytest.raises(InputError) as error:
        make_plan(config, "config.yaml", SCHEMAS)
    assert "\n" not in str(error.value)
    sheet = here / "sheet.tsv"
    sheet.write_text(f"entry\tinput\tstates\n{attack}\tin.fa\t2\n", newline="")
    with pytest.raises(InputError):
        make_plan({"samples": {"hmm": "sheet.tsv"}}, "config.yaml", SCHEMAS)


@pytest.mark.parametrize("attack", ["../up", "a/../../b", "..", "a/..", "{x}", "-x", "a\n", "a\0", ""])
def test_results_stay_where_they_may(attack: str, here: Path) -> None:
    with pytest.raises(InputError, match="results"):
        make_plan({"results": attack, "hmm": {"a": {"input": "in.fa", "states": 2}}}, "config.yaml", SCHEMAS)


@pytest.mark.parametrize("attack", ["-x", "--out=x", "{wildcard}", "a\nb", "a\n", "a\0b", "\x1b[2J", ""])
@pytest.mark.parametrize("key", ["id", "columns", "input", "batch", "missing"])
def test_no_value_is_an_option_a_wildcard_or_two_lines(attack: str, key: str, here: Path) -> None:
    (here / "in.csv").write_text("a,b\n1,2\n3,4\n")
    options = {"input": "in.csv", key: [attack] if key in ("columns", "missing") else attack}
    with pytest.raises(InputError):
        make_plan({"impute": {"a": options}}, "config.yaml", SCHEMAS)


def test_names_that_only_begin_with_dots_are_names(here: Path) -> None:
    for good in ("..results", "a/..b", "a.b/c..d", "/abs/olute"):
        plan = make_plan({"results": good, "hmm": {"a": {"input": "in.fa", "states": 2}}}, "config.yaml", SCHEMAS)
        assert plan.entries[0].out == f"{good}/hmm/a"


@pytest.mark.parametrize(
    ("config", "sheet", "words"),
    [
        ("hmm: {a: &x {input: in.fa, states: 2}, a: *x}", None, "line 1: the key 'a' stands twice"),
        ("hmm:\n  a:\n    input: no.fa\n    states: 2\n    input: in.fa\n", None, "line 5: the key 'input' stands twice"),
        ("hmm: {Visit: {input: in.fa, states: 2}, visit: {input: in.fa, states: 2}}", None, "visit.*by case alone"),
        ("samples: {hmm: s.tsv}\nhmm: {V: {input: in.fa, states: 2}}", "entry\tinput\tstates\nv\tin.fa\t2\n", "s.tsv: line 2.*case alone"),
        ("samples: {hmm: s.tsv}", "entry\tinput\tstates\tinput\nv\tno.fa\t2\tin.fa\n", "s.tsv: line 1: the column 'input' stands there twice"),
        ("seed: 1\n__use_yte__: true\nhmm: {a: {input: in.fa, states: '?print(1)'}}", None, "line 2: __use_yte__.*runs what"),
        ("hmm: " + "[" * 100_000, None, "line 1: more than 50 levels deep"),
        ("%YAML 1.3\n---\nseed: 1\nseed: 2\n", None, "line 4: the key 'seed' stands twice"),  # libyaml stops at line 1
    ],
    ids=["entries", "keys", "case", "case in a sheet", "columns", "evaluated", "depth", "version"],
)  # fmt: skip
def test_nothing_is_lost_behind_a_second_one(
    config: str, sheet: str | None, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "c.yaml").write_text(config)
    if sheet:
        (here / "s.tsv").write_text(sheet)
    assert main(["check", "c.yaml", "--schemas", str(SCHEMAS)]) == 2
    assert re.search(words, capsys.readouterr().err)


def test_one_mapping_may_serve_two_entries(here: Path) -> None:
    (here / "c.yaml").write_text("hmm: {a: &x {input: in.fa, states: 2}, b: {<<: *x, starts: 2}, c: *x}\n")
    assert main(["check", "c.yaml", "--schemas", str(SCHEMAS)]) == 0


def test_the_workflow_refuses_a_second_key_too(here: Path) -> None:
    from workflow.test_runs import HOME, snakemake

    for name in HOME:
        (here / name).symlink_to(ROOT / name)
    (here / "c.yaml").write_text("hmm: {a: {input: in.fa, states: 2}, a: {input: in.fa, states: 3}}\n")
    run = snakemake(here, "-n", "--cores", "1", "--configfile", "c.yaml")
    assert run.returncode == 1
    assert "emtools: error: c.yaml: line 1: the key 'a' stands twice in one mapping" in run.stdout + run.stderr


def test_control_characters_reach_no_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fuzz.targets import FIT

    odd = "x\x1b[2Jy\x1b]0;z\x07"
    fit = {**FIT, "verdict": odd, "inputs": [{"path": odd, "sha256": "0" * 64}], "model": {"name": odd}}
    (here / "run/hmm/a").mkdir(parents=True)
    (here / "run/hmm/a/fit.json").write_text(json.dumps(fit))
    (here / odd).write_text("")
    assert main(["show", "run/hmm/a"]) == 0
    assert main(["hmm", odd, "--states", "2", "--out", "out"]) == 2
    assert main(["manifest", "run/hmm/a/fit.json", "--out", "run"]) == 0
    assert main(["verify", "run"]) == 1
    told = capsys.readouterr()
    assert told.out.count("x\\x1b[2Jy\\x1b]0;z\\x07") == 4
    assert "\x1b" not in told.out + told.err
    assert "\x07" not in told.out + told.err


def test_names_that_are_no_text_are_refused_before_a_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "images").mkdir()
    (here / "images/a.tif").write_bytes(b"")
    os.link("images/a.tif", b"images/b\xff.tif")
    assert main(["impute", os.fsdecode(b"b\xff.csv"), "--out", "out"]) == 2
    assert main(["segment", "images", "--out", "out"]) == 2
    assert capsys.readouterr().err.count("a name that is not text in UTF-8; rename the file") == 2


@pytest.mark.parametrize("name", ["...tif", "..tif"])
def test_no_image_has_its_results_elsewhere(name: str, here: Path) -> None:
    with pytest.raises(InputError, match="would have its results in"):
        list_images([here / "a.tif", here / name])


def write_table(path: Path, names: tuple[str, ...] | list[str]) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(60, len(names))) + 4 * np.repeat([0, 1], 30)[:, None]
    cells = [[f"{value:.4f}" for value in row] for row in values]
    for row in range(0, 60, 5):
        cells[row][row % len(names)] = ""
    head = ["id", *('"' + name.replace('"', '""') + '"' for name in names)]
    rows = [[f'"{SCRIPT}{i}"', *row] for i, row in enumerate(cells)]
    path.write_text("\n".join("\t".join(row) for row in (head, *rows)) + "\n")


def harmless(folder: Path) -> None:
    """No page holds a tag of ours, and nothing was run."""
    pages = [*folder.rglob("*.html"), *folder.rglob("*.svg")]
    assert pages
    for page in pages:
        text = page.read_text()
        assert SCRIPT not in text, page
        assert not re.search(r"<(img src=x|b onmouseover)", text), page
    assert not list(folder.parent.rglob("pwned"))


@pytest.mark.rendered
@pytest.mark.parametrize("branch", ["impute", "deconvolve", "segment"])
def test_columns_of_any_name_are_shown_as_text(branch: str, here: Path) -> None:
    write_table(here / "ü b; $(x)'.tsv", COLUMNS)
    words = [branch, "ü b; $(x)'.tsv", "--out", "out", "--id", "id"]
    more = {
        "impute": ["--fill", "model"],
        "deconvolve": ["--components", "2", "--starts", "2", "--columns", *COLUMNS[:3]],
        "segment": ["--starts", "2"],
    }
    if branch != "impute":  # they want complete rows
        lines = (here / "ü b; $(x)'.tsv").read_text().splitlines()
        (here / "ü b; $(x)'.tsv").write_text("\n".join(line for line in lines if "\t\t" not in f"{line}\t") + "\n")
    assert main([*words, *more[branch]]) in (0, 3)
    harmless(here / "out")
    assert main(["summary", "out/fit.json", "--out", "page"]) == 0
    assert SCRIPT not in (here / "page/index.html").read_text()


@pytest.mark.rendered
@pytest.mark.parametrize("branch", ["hmm", "motif"])
def test_headers_of_any_name_are_shown_as_text(branch: str, here: Path) -> None:
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(16)]
    names = [f"{SCRIPT};touch${{IFS}}pwned{i}" for i in range(8)] + [f"$(touch)$\\frac{i}{{" for i in range(8)]
    (here / "x y.fa").write_text(
        "".join(f">{n} d\n{s[:30]}TGACGTCA{s[38:]}\n" for n, s in zip(names, letters, strict=True))
    )
    more = {
        "hmm": ["--states", "2", "--starts", "1", "--max-passes", "5"],
        "motif": ["--width", "8", "--starts", "1", "--untested"],
    }
    assert main([branch, "x y.fa", "--out", "out", *more[branch]]) in (0, 3)
    harmless(here / "out")


@pytest.mark.slow
def test_the_workflow_runs_them_rightly(tmp_path: Path) -> None:
    from workflow.test_runs import HOME, snakemake

    home = tmp_path / "wörk flow; $(touch pwned) 'x'"
    home.mkdir()
    for name in HOME:
        source = ROOT / name
        ignored = shutil.ignore_patterns(".snakemake", "__pycache__")
        shutil.copytree(source, home / name, ignore=ignored) if source.is_dir() else shutil.copy(source, home / name)
    data = home / "d ü `touch pwned`"
    data.mkdir()
    write_table(data / "t'a\"ble.tsv", OPTIONS)
    import yaml

    options = {
        "input": str((data / "t'a\"ble.tsv").relative_to(home)),
        "id": "id",
        "columns": OPTIONS,
        "missing": ["$(touch pwned)", "'"],
    }
    (home / "c onfig.yaml").write_text(
        yaml.safe_dump({"impute": {"x": options | {"fill": "model"}}}, allow_unicode=True)
    )
    run = snakemake(home, "--cores", "1", "--configfile", "c onfig.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    harmless(home / "results")
    assert not list(tmp_path.rglob("*pwned"))[1:]  # the folder itself
    assert main(["verify", str(home / "results")]) == 0


@pytest.mark.rendered
def test_names_are_no_formulas_and_decades_are_plain(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    from emtools.plots.style import Picture, save, styled

    with styled():
        figure, axis = plt.subplots()
        axis.set(xscale="log", title="$\\frac{$")
        axis.plot([1e-3, 1e4], [0, 1])
    save(figure, tmp_path, Picture("a", "", ""))
    told = re.findall("<!-- (.*) -->", (tmp_path / "a.svg").read_text())
    assert {"$\\frac{$", "10⁻²", "10⁴"} <= set(told), told


@pytest.mark.rendered
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_figures_are_xml_whatever_the_names(tmp_path: Path) -> None:
    import xml.etree.ElementTree as tree

    import matplotlib.pyplot as plt

    from emtools.plots.style import Picture, save, styled

    with styled():
        figure, axis = plt.subplots()
        axis.set(title="a\x1b[2J\x01--><script>")
    save(figure, tmp_path, Picture("a", "", ""))
    assert "script" not in {element.tag for element in tree.parse(tmp_path / "a.svg").iter()}


def test_aliases_that_multiply_are_refused_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = [f"l{i}: &l{i} {{{', '.join(f'k{j}: *l{i - 1}' for j in range(10))}}}" for i in range(1, 12)]
    (here / "bomb.yaml").write_text("l0: &l0 {x: 1}\n" + "\n".join(levels) + "\nhmm: *l11\n")
    assert main(["check", "bomb.yaml", "--schemas", str(SCHEMAS)]) == 2
    assert capsys.readouterr().err.count("\n") == 1

"""Pages of docs/: their code runs, their commands are ones that the command line takes, their links lead somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from emtools.cli import build_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "config" / "README.md"]
MADE = {"benchmarks.md", "config.md", "data.md", "changelog.md", "contributing.md"}  # by docs/_site/hooks.py
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.M | re.S)
ELSEWHERE = ("new_model.md",)  # run by test_howtos.py, with the module that it writes


def blocks(page: Path, *languages: str) -> list[str]:
    """Code blocks of a page in some languages."""
    return [code for language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def named(pages: list[Path]) -> list[str]:
    """Pages as paths from the root, to name the cases."""
    return [path.relative_to(ROOT).as_posix() for path in pages]


def commands(page: Path) -> list[list[str]]:
    """Words of each ``emtools`` command of a page, without what a shell would take out."""
    lines = [
        line
        for code in blocks(page, "", "console")
        for line in code.replace("\\\n", " ").splitlines()
        if re.match(r"(\$ )?(\.venv/bin/)?emtools ", line)
    ]
    found = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words[1 : words.index("|")] if "|" in words else words[1:] for words in found]


@pytest.mark.parametrize("name", named([p for p in PAGES if blocks(p, "pycon") and p.name not in (*ELSEWHERE, "README.md")]))  # fmt: skip
def test_examples_of_a_page_run_and_say_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks(ROOT / name, "pycon"))
    example = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert len(example.examples) > 5
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    assert "".join(told) == ""


def test_code_of_the_page_on_size_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for code in blocks(DOCS / "howto" / "big_data.md", "python"):
        exec(compile(code, "big_data.md", "exec"), names)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # scanpy and anndata warn of their own ways
def test_code_of_the_page_on_cell_types_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emtools.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["demo", "pbmc68k_reduced", "--out", "pbmc.h5ad"]) == 0
    (code,) = blocks(DOCS / "howto" / "deconvolve.md", "python")
    try:
        exec(compile(code, "deconvolve.md", "exec"), {})
    finally:
        plt.close("all")  # scanpy shows its figures and leaves them open
    assert (tmp_path / "typed.h5ad").is_file()


def test_every_block_of_python_is_run_by_a_test() -> None:
    pages = {page.name for page in PAGES if blocks(page, "python")}
    assert pages == {"README.md", "new_model.md", "big_data.md", "deconvolve.md"}


@pytest.mark.parametrize("name", named([page for page in PAGES if commands(page)]))
def test_commands_of_a_page_are_ones_that_the_command_line_takes(name: str) -> None:
    parser = build_parser()
    for words in commands(ROOT / name):
        try:
            parser.parse_args(words)
        except SystemExit as stop:
            pytest.fail(f"{name}: emtools {shlex.join(words)}: {stop}")


@pytest.mark.parametrize("name", named(PAGES))
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in link]
    dead = [
        link
        for link in filter(None, links)
        if not (page.parent / link).exists()
        and Path(link).name not in MADE
        and not (page.parent.name == "tutorials" and link.startswith("out/"))
        and "`" not in link
        and "/" in link + "/" * link.endswith(".md")
    ]
    assert dead == []


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r": (\S+\.md)$", nav, flags=re.M))
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} | MADE


def test_equations_become_mathml() -> None:
    sys.path.insert(0, str(DOCS / "_site"))
    try:
        from equations import with_equations
        from hooks import with_breaks, with_options
    finally:
        sys.path.pop(0)
    html = with_equations('<p>as <span class="arithmatex">\\(\\mu_k &lt; 1\\)</span> says</p>')
    assert html.startswith('<p>as <span class="eq"><math')
    assert "<msub><mi>&#x003BC;</mi><mi>k</mi></msub>" in html
    assert "arithmatex" not in html
    with pytest.raises(ValueError, match=r"not understood in an equation: \\arg x"):
        with_equations('<span class="arithmatex">\\(\\arg x\\)</span>')
    html = with_breaks("<td>1.5e-16, doi:10.1000/a-b</td><p>1e-16</p>")
    assert html == "<td>1.5e\N{NON-BREAKING HYPHEN}16, doi:10.1000/<wbr>a-b</td><p>1e-16</p>"
    html = with_options("<code>emtools impute --draws 5 a-b</code> -x <pre><code><span>a</span> --draws</code></pre>")
    assert html.count('<span class="option">') == html.count('<span class="option">--draws</span> 5 a-b') == 1

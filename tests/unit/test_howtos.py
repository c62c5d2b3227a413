"""The how-to of a new model runs as it stands, and the model is short; so does the README. The other pages: test_docs.py."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def blocks(language: str, name: str = "new_model.md") -> list[str]:
    text = (HOWTO / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def failures(name: str) -> str:
    """What the examples of a how-to say that it does not."""
    example = doctest.DocTestParser().get_doctest("\n".join(blocks("pycon", name)), {}, name, name, 0)
    assert len(example.examples) > 5
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    return "".join(told)


def test_the_model_has_fewer_than_forty_lines_of_code():
    (code,) = blocks("python")
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) < 40


# distributed leaves sockets of the in-process cluster to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_howto_runs(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    (code,) = blocks("python")
    (tmp_path / "lifetimes.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert failures("new_model.md") == ""
    finally:
        sys.modules.pop("lifetimes", None)


def test_the_readme_runs_and_its_links_lead_somewhere():
    root = HOWTO.parents[1]
    text = (root / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    (shown,) = re.findall(r"^```pycon\n(.*?)^```", text, flags=re.M | re.S)
    names: dict[str, object] = {}
    exec(code, names)
    told: list[str] = []
    doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(shown, names, "README", None, 0), out=told.append)
    assert "".join(told) == ""
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (root / link).exists()] == []
    models = {path.name for path in (root / "docs" / "models").glob("*.md")}
    assert models == {Path(link).name for link in links if "/models/" in link}

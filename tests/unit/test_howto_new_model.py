"""The how-to of a new model runs as it stands, and its model is short."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "howto" / "new_model.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.M | re.S)


def test_the_model_has_fewer_than_forty_lines_of_code():
    (code,) = blocks("python")
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    body = [line for line in lines if not line.startswith(("from ", "import "))]
    assert len(body) < 40


# distributed leaves sockets of the in-process cluster to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_howto_runs(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    (code,) = blocks("python")
    (tmp_path / "lifetimes.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    example = doctest.DocTestParser().get_doctest("\n".join(blocks("pycon")), {}, "new_model.md", "new_model.md", 0)
    assert len(example.examples) > 20
    told: list[str] = []
    try:
        done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    finally:
        sys.modules.pop("lifetimes", None)
    assert done.failed == 0, "".join(told)

"""Examples in docstrings and in the README run, and say what they show."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import emtools

MODULES = sorted(module.name for module in pkgutil.walk_packages(emtools.__path__, "emtools."))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(import_module(name)).failed == 0


def test_some_modules_have_examples():
    finder = doctest.DocTestFinder()
    examples = sum(len(test.examples) for name in MODULES for test in finder.find(import_module(name)))
    assert examples > 20


def test_readme_example(capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.M | re.S)
    exec(compile(block, "README.md", "exec"), {})
    assert "Converged" in capsys.readouterr().out

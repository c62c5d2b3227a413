"""``emtools doctor`` names what is absent or too old, and its exit status says whether something is to mend."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from emtools import doctor
from emtools.cli import main


def pretend(monkeypatch: pytest.MonkeyPatch, **others: str | None) -> None:
    """Other versions of packages; None: absent."""

    def found(name: str) -> str:
        if name not in others:
            return version(name)
        if others[name] is None:
            raise PackageNotFoundError(name)
        return str(others[name])

    monkeypatch.setattr(doctor, "version", found)


def test_all_is_well_here(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "✗" not in text
    assert f"✓ {'numpy':<40}{version('numpy')}" in text
    assert "pytest" not in text  # not for users


def test_a_needed_package_that_is_absent_or_too_old(monkeypatch, capsys):
    pretend(monkeypatch, scipy=None, pandas="1.5.3", numba="0.61.0rc1")
    assert main(["doctor"]) == 1
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line[:3] in ("  ✗", "  ✓")}
    assert "not here; pip install 'emtools'" in lines["scipy"]
    assert "1.5.3; <3,>=2.2 is needed" in lines["pandas"]
    assert lines["numba"].startswith("  ✓")


def test_an_optional_package_that_is_absent_is_no_fault(monkeypatch, capsys):
    pretend(monkeypatch, openpyxl=None)
    assert main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "openpyxl" in line]
    assert line.endswith("not here; pip install 'emtools[excel]'")
    assert line.startswith("  ·")


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "none"))
    line = doctor.cache()
    assert line.well is None
    assert "NUMBA_CACHE_DIR" in line.remedy

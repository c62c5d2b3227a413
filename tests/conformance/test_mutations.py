"""The conformance suite is itself put to the test: see ``tests/mutations.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_injected_defect_is_caught():
    script = Path(__file__).parents[1] / "mutations.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

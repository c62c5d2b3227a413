"""Kernels with vector registers of the width that this machine does not have: 8 numbers (AVX-512) where it has 4, and 4 where it has 8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emtools.kernels.vectors import LANES

ROOT = Path(__file__).parents[2]
OTHER = 12 - LANES
KERNELS = [f"tests/unit/test_{name}.py" for name in ("mixture_kernel", "mixture", "mixture_rows", "mixture_selection", "field_kernels", "words", "motif")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("files", [KERNELS, ["tests/reference"]], ids=["kernels", "references"])
def test_all_pass_with_registers_of_another_width(files, tmp_path):
    environment = {**os.environ, "EMTOOLS_LANES": str(OTHER), "NUMBA_CACHE_DIR": str(tmp_path)}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    width = [sys.executable, "-c", "from emtools.kernels.vectors import LANES; print(LANES)"]
    told = subprocess.run(width, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(told.stdout) == OTHER
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout

"""The profile for any batch system, with a submit command that runs its job on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "workflow/profiles/generic"
SUBMIT = """#!/bin/bash
echo "$(basename "$0") $*" >> "$TOLD"
script="${@: -1}"
setsid bash "$script" > /dev/null 2>&1 < /dev/null &
echo "job $!"
"""
# What the profile says, and what its comments say to write instead.
TEXT = (PROFILE / "config.yaml").read_text()
COMMANDS = {
    "bsub": re.findall(r"^cluster-generic-submit-cmd: (bsub .*)$", TEXT, flags=re.M),
    "qsub of PBS": re.findall(r"^#   (qsub .*-l select.*)$", TEXT, flags=re.M),
    "qsub of Grid Engine": re.findall(r"^#   (qsub .*-pe smp.*)$", TEXT, flags=re.M),
}
ASKED = {
    "bsub": "bsub -J hmm_a -n 1 -M 80[0-9] -W 20 -oo cluster.log",
    "qsub of PBS": "qsub -N hmm_a -l select=1:ncpus=1:mem=80[0-9]mb -l walltime=00:20:00 -j oe -o cluster.log",
    "qsub of Grid Engine": "qsub -N hmm_a -cwd -pe smp 1 -l h_vmem=80[0-9]M -j y -o cluster.log",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_goes_through_the_submit_command(name: str, tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    letters = np.random.default_rng(0).choice(list("ACGT"), 300)
    (tmp_path / "in.fa").write_text(f">a\n{''.join(letters)}\n")
    (tmp_path / "config.yaml").write_text("hmm: {a: {input: in.fa, states: 1, starts: 1}}")
    commands = tmp_path / "bin"
    commands.mkdir()
    for command in ("bsub", "qsub"):
        (commands / command).write_text(SUBMIT)
        (commands / command).chmod(0o755)
    (said,) = COMMANDS[name]
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
    words += ["--workflow-profile", str(PROFILE), "--cluster-generic-submit-cmd", said, "--latency-wait", "5"]
    environment = {**os.environ, "PATH": f"{commands}:/usr/bin:/bin", "TOLD": str(tmp_path / "told")}
    run = subprocess.run(
        [*words, "results/hmm/a/report.html"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (told,) = (tmp_path / "told").read_text().splitlines()
    assert re.match(ASKED[name], told), told
    assert (tmp_path / "results/hmm/a/fit.json").is_file()

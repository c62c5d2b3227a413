"""The workflow on a real SLURM: two nodes on this host, started by slurm.sh beside; root only, `make cluster`."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from about_the_run import ABOUT_THE_RUN

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("slurm.sh")
HOME = ("Snakefile", "workflow", "config", "resources")
NODES = 2
PATIENCE = 300.0  # seconds to wait for a job to begin
# Two jobs that do not wait for one another, and one that waits for the first.
SMALL = """
hmm:
  lambda: {input: resources/lambda.fa, states: 2, starts: 4}
impute:
  pbc: {input: resources/pbc.csv, id: id, columns: [age, bili, albumin, copper]}
motif:
  regions: {input: resources/lambda.fa, regions: "hmm:lambda", window: 200, width: 8, starts: 2}
"""
SCATTERED = SMALL.replace("starts: 4", "starts: 4, scatter: 2")
FIRST = ("results/impute/pbc/report.html", "results/hmm/lambda/report.html")  # fits that wait for no other
# These, with what they wait for, are all.
FITS = ("results/impute/pbc/report.html", "results/motif/regions/report.html")
TOO_LITTLE = 300  # MB, for a job and the two Snakemakes around it

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("slurmctld", path="/usr/sbin") is None,
        reason="needs root and SLURM: tests/cluster/slurm.sh install",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SLURM is up, and down afterwards."""
    folder = tmp_path_factory.mktemp("slurm") / "state"
    folder.parent.chmod(0o755)
    for parent in folder.parents:  # the daemons have users of their own
        if parent.owner() == "root" and parent.is_relative_to(tmp_path_factory.getbasetemp().parent):
            parent.chmod(parent.stat().st_mode | 0o011)
    try:
        subprocess.run([SCRIPT, "up", folder, str(NODES)], check=True, timeout=300)
        yield
    finally:
        subprocess.run([SCRIPT, "down", folder], check=False, timeout=120)


def home(folder: Path, config: str | None = None) -> Path:
    """What git holds of the workflow, with another config where given."""
    for name in HOME:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".snakemake", "__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    if config is not None:
        (folder / "config" / "config.yaml").write_text(config)
    return folder


def start(folder: Path, *arguments: str, slurm: bool = True) -> subprocess.Popen[str]:
    """Snakemake at work in `folder`."""
    often = ["--slurm-init-seconds-before-status-checks", "5"]
    profile = ["--workflow-profile", "workflow/profiles/slurm", *often] if slurm else ["--cores", str(NODES)]
    environment = {**os.environ, "PATH": "/usr/bin:/bin:/usr/sbin", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *profile, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(running: subprocess.Popen[str], seconds: float = 1200.0) -> str:
    """What it said; it must end well."""
    said, _ = running.communicate(timeout=seconds)
    assert running.returncode == 0, said
    return said


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every result."""
    results = folder / "results"
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file() and not str(name := path.relative_to(results)).startswith(ABOUT_THE_RUN)
    }


def await_(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Until `what` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def accounts(fields: str) -> list[list[str]]:
    """`fields` of all jobs, in order of submission, from SLURM's accounting."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format", fields]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("|") for line in said.splitlines()]


def history(folder: Path) -> dict[str, list[str]]:
    """How the jobs of each rule in `folder` ended, in order of submission."""
    states: dict[str, list[str]] = {}
    for state, where, comment in accounts("State,WorkDir,Comment"):
        if Path(where) == folder:
            states.setdefault(comment.removeprefix("rule_"), []).append(state)
    return states


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the small run on this machine."""
    folder = home(tmp_path_factory.mktemp("local") / "small", SMALL)
    finish(start(folder, *FITS, slurm=False))
    return hashes(folder)


def test_jobs_beyond_their_memory_and_their_time_get_more(tmp_path, expected):
    folder = home(tmp_path / "more", SMALL)
    little = ["hmm_lambda:runtime=attempt", f"impute_pbc:mem_mb={TOO_LITTLE} * attempt * attempt"]
    running = start(folder, "--set-resources", *little, "--", *FIRST)
    pattern = "emtools hmm .*--out results/hmm/lambda"

    def jobs() -> list[int]:
        found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout.split()
        return [pid for pid in map(int, found) if Path(f"/proc/{pid}/cwd").resolve() == folder]

    await_(jobs)
    for pid in jobs():  # it hangs, as a job does whose file system is gone
        os.kill(pid, signal.SIGSTOP)
    finish(running)
    parts = ("impute/", "hmm/")
    assert hashes(folder) == {name: found for name, found in expected.items() if name.startswith(parts)}
    assert history(folder)["impute_pbc"] == ["FAILED", "COMPLETED"]
    assert history(folder)["hmm_lambda"] == ["TIMEOUT", "COMPLETED"]
    (log,) = (folder / ".snakemake" / "slurm_logs" / "rule_impute_pbc").iterdir()
    assert "exceeded memory limit" in log.read_text()


def test_snakemake_killed_and_resumed_with_starts_as_jobs(tmp_path, expected):
    folder = home(tmp_path / "killed", SCATTERED)
    running = start(folder, *FITS)
    await_(lambda: "RUNNING" in [state for states in history(folder).values() for state in states])
    running.kill()
    running.communicate()
    finish(start(folder, "--unlock"))
    finish(start(folder, *FITS))
    found = hashes(folder)
    ends = {name for name in found if name.startswith("starts/")}
    assert ends == {f"starts/hmm/lambda/{some}/starts.json" for some in ("1-2", "3-4")}
    assert {name: hash_ for name, hash_ in found.items() if name not in ends} == expected


def test_the_demo_has_the_same_bytes_as_here(tmp_path):
    here, there = home(tmp_path / "here"), home(tmp_path / "there")
    finish(start(here, slurm=False))
    finish(start(there))
    assert hashes(there) == hashes(here)
    assert {node for node, where in accounts("NodeList,WorkDir") if Path(where) == there} == {"node1", "node2"}

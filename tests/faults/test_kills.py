"""SIGKILL at random moments, of jobs, of Snakemake and of Dask workers: every run ends with the bytes of an undisturbed one.

``make faults`` does ``EMTOOLS_KILLS`` kills (200), many of them within one run, which is resumed until it ends; only those
that hit a process that lived are counted. Snakemake tries a killed job again (``RETRIES``), for its own start is what costs most,
and is started anew where it was killed itself. ``EMTOOLS_KILLS_DEMO=1`` takes the demo instead of a small run of all branches,
``EMTOOLS_KILLS_SECONDS`` ends early (the 200 may be done in parts, by ``EMTOOLS_KILLS_SEED``), and
``EMTOOLS_KILLS_UNDISTURBED`` names a folder that keeps the undisturbed run for other parts.
After each kill, and after each end of Snakemake, nothing half made may be called complete: where a fit.json stands, all that
it came with has the bytes of the undisturbed run.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from about_the_run import ABOUT_THE_RUN
from faults.test_full_disk import write_inputs

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("EMTOOLS_KILLS", "200"))
SEED = int(os.environ.get("EMTOOLS_KILLS_SEED", "1"))
DEMO = bool(os.environ.get("EMTOOLS_KILLS_DEMO"))
SECONDS = float(os.environ.get("EMTOOLS_KILLS_SECONDS", "inf"))  # after which a part of the 200 ends
UNDISTURBED = os.environ.get("EMTOOLS_KILLS_UNDISTURBED")
OFTEN = 8 if DEMO else 12  # kills in the time of an undisturbed run, about; a fit takes more of it in the demo
VICTIMS = ("job",) * 10 + (
    "snakemake",
    "snakemake alone",
)  # the death of Snakemake costs a start, and so time for others
RETRIES = 20  # of a job within one session
OF_WORKERS = 3  # in one run: Dask gives up a task whose workers died more often
CONFIG = """
impute: {table: {input: in.csv, columns: [a, b], fill: model}}
deconvolve: {groups: {input: "impute:table", columns: [a, b], components: 2, starts: 2}}
segment: {classes: {input: in.csv, columns: [a, c], starts: 2}}
hmm: {states: {input: in.fa, states: 2, starts: 2, scatter: 1, max_passes: 9}}
motif: {sites: {input: in.fa, regions: "hmm:states", width: 6, starts: 1, untested: true}}
"""
BRANCHES = ("impute", "deconvolve", "segment", "hmm", "motif")

pytestmark = pytest.mark.faults


def snakemake(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """The workflow on one core; its jobs are in a session of their own, so that none outlives the test."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
    profile = ["--workflow-profile", str(ROOT / "workflow/profiles/default"), "--cores", "1"]
    profile += ["--retries", str(RETRIES), *more]
    with (folder / "snakemake.log").open("ab") as log:
        return subprocess.Popen([*words, *profile], cwd=folder, stdout=log, stderr=log, start_new_session=True)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every result."""
    results = folder / "results"
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file() and not str(name := path.relative_to(results)).startswith(ABOUT_THE_RUN)
    }


def home(folder: Path) -> Path:
    folder.mkdir()
    write_inputs(folder)
    (folder / "resources").symlink_to(ROOT / "resources")
    (folder / "config.yaml").write_text((ROOT / "config/config.yaml").read_text() if DEMO else CONFIG)
    return folder


def jobs(folder: Path) -> list[int]:
    """Processes of ``emtools`` that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if (process / "cwd").resolve() == folder and any(word.endswith(b"/emtools") for word in words):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def strike(pid: int) -> bool:
    """Kill a process; whether it lived."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def half_made(folder: Path, expected: dict[str, str]) -> list[str]:
    """Results that are not what they must be beside a fit.json, or the page of the run, that stands."""
    wrong: list[str] = []
    for branch in BRANCHES:
        for fit in (folder / "results" / branch).glob("*/fit.json"):
            try:
                names = json.loads(fit.read_text())["outputs"]
            except FileNotFoundError:  # Snakemake removes it, the first of all, before a job runs anew
                continue
            told = [str(fit.with_name(name).relative_to(folder / "results")) for name in names]
            keys = [key for key in expected if key in told or any(key.startswith(f"{name}/") for name in told)]
            wrong += [name for name in told if not any(key == name or key.startswith(f"{name}/") for key in keys)]
            wrong += [key for key in keys if digest(folder / "results" / key) != expected[key] and fit.exists()]
    return wrong


def digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def test_killed_at_random_moments(tmp_path: Path) -> None:
    whole = Path(UNDISTURBED) if UNDISTURBED else tmp_path / "whole"
    if not (whole / "lasts").exists():
        began = time.monotonic()
        assert snakemake(home(whole)).wait() == 0, (whole / "snakemake.log").read_text()
        (whole / "lasts").write_text(f"{time.monotonic() - began:.1f}")
    lasts, expected = float((whole / "lasts").read_text()), hashes(whole)
    assert len(expected) > 60

    rng = random.Random(SEED)
    told = {"job": 0, "snakemake": 0, "snakemake alone": 0}
    runs, sessions, began = 0, 0, time.monotonic()
    folder, code = home(tmp_path / "0"), 0
    while sum(told.values()) < KILLS and time.monotonic() - began < SECONDS:
        running = snakemake(folder)
        sessions += 1
        for victim, struck in kill_at_random(running, folder, rng, lasts):
            told[victim] += struck
            assert half_made(folder, expected) == [], (victim, folder)
            if sum(told.values()) >= KILLS:
                break
        code = running.wait()
        assert half_made(folder, expected) == []
        if code == 0:
            assert hashes(folder) == expected
            assert list(folder.rglob(".writing-*")) == []
            runs += 1
            folder = home(tmp_path / str(runs))
        elif code < 0:  # with a job that goes on beside its second run, where Snakemake died alone
            shutil.rmtree(folder / ".snakemake/locks", ignore_errors=True)  # as --unlock does, which takes a start
        print(f"{sum(told.values())} kills {told} in {sessions} sessions, {runs} runs came to their end", flush=True)
    if code != 0:
        assert snakemake(folder).wait() == 0, (folder / "snakemake.log").read_text()[-3000:]
        assert hashes(folder) == expected
        assert list(folder.rglob(".writing-*")) == []
        runs += 1
    print(f"at the end {runs} runs; undisturbed, one takes {lasts:.0f} s")


def kill_at_random(
    running: subprocess.Popen[bytes], folder: Path, rng: random.Random, lasts: float
) -> Iterator[tuple[str, bool]]:
    """Kill jobs, and at the last Snakemake itself, while it works; who was meant, and whether it lived."""
    while running.poll() is None:
        until = time.monotonic() + rng.expovariate(OFTEN / lasts)
        while time.monotonic() < until and running.poll() is None:
            time.sleep(0.02)
        victim, at_work = rng.choice(VICTIMS), jobs(folder)
        if running.poll() is None and (at_work or victim != "job"):
            yield victim, strike(rng.choice(at_work) if victim == "job" else running.pid)
            if victim == "snakemake":
                for pid in at_work:
                    strike(pid)
            if victim != "job":
                return


def command_of(folder: Path, seed: int) -> list[str]:
    """A fit of hidden states in `folder` that takes some seconds."""
    write_inputs(folder)
    words = [sys.executable, "-m", "emtools", "hmm", str(folder / "in.fa"), "--states", "3", "--starts", "3"]
    return [*words, "--max-passes", "60", "--seed", str(seed)]


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("seed", range(max(1, KILLS // (10 * OF_WORKERS))))
def test_workers_killed_at_random_moments(seed: int, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    words = command_of(tmp_path, seed)
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run([*words, "--out", here], capture_output=True, check=False)
    rng, struck = random.Random(seed), 0
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        (tmp_path / "log").open("w") as log,
    ):
        running = subprocess.Popen([*words, "--out", there, "--executor", cluster.scheduler_address], stderr=log)
        for _ in range(OF_WORKERS):
            time.sleep(rng.uniform(1.0, 3.0))
            alive = [nanny.pid for nanny in cluster.workers.values() if nanny.pid is not None]
            struck += running.poll() is None and bool(alive) and strike(rng.choice(alive))
        running.wait()
    assert running.returncode in (0, 3), (tmp_path / "log").read_text()
    assert files(here) == files(there)
    print(f"{struck} workers killed while the command ran")


SCHEDULER = """
import sys

from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("seed", range(max(1, KILLS // 100)))
def test_a_scheduler_killed_is_one_error_and_the_fit_goes_on(seed: int, tmp_path: Path) -> None:
    """With another scheduler, from its checkpoint."""
    pytest.importorskip("distributed")
    words = command_of(tmp_path, seed)
    here, there, kept = tmp_path / "here", tmp_path / "there", tmp_path / "checkpoint"
    subprocess.run([*words, "--out", here], capture_output=True, check=False)
    (tmp_path / "scheduler.py").write_text(SCHEDULER)
    told = []
    for wait in (random.Random(seed).uniform(0.0, 1.0), None):
        cluster = [sys.executable, str(tmp_path / "scheduler.py")]
        with subprocess.Popen(cluster, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as scheduler:
            assert scheduler.stdout is not None
            address = scheduler.stdout.readline().strip()
            command = [*words, "--out", str(there), "--executor", address, "--checkpoint", str(kept)]
            running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            if wait is not None:
                while not kept.exists() and running.poll() is None:
                    time.sleep(0.01)
                time.sleep(wait)
                scheduler.kill()
            told.append(running.communicate()[1])
        if wait is not None:
            assert running.returncode == 1, told
            last = told[0].splitlines()[-1]
            assert last.startswith("emtools: error: executor: the connection to the Dask scheduler was lost"), told
            assert "Traceback" not in told[0]
            assert not there.exists()
            assert kept.exists()
            assert list(tmp_path.glob(".writing-*")) == []
    assert running.returncode in (0, 3), told
    assert files(here) == files(there)

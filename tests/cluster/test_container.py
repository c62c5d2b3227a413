"""The steps of the Dockerfile in a root where nothing but Debian's smallest system is; root only, `make cluster`.

Debian's own Python stands in for the image of the first line. Settings of pip in the environment go along.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_PYTHON = (
    "apt-get -qq update && apt-get -qq install --no-install-recommends python3-venv ca-certificates >/dev/null"
)
COMMANDS = (
    "emtools --help",
    "emtools impute /opt/emtools/resources/pbc.csv --id id --columns age bili albumin --out /data/impute",
    "emtools hmm /opt/emtools/resources/lambda.fa --states 2 --starts 2 --out /data/hmm",
    "snakemake --snakefile /opt/emtools/Snakefile --configfile /data/config.yaml --workflow-profile none --cores 1",
)
CONFIG = """
impute: {pbc: {input: /opt/emtools/resources/pbc.csv, id: id, columns: [age, bili, albumin]}}
deconvolve: {groups: {input: "impute:pbc", id: id, columns: [age, bili, albumin], components: 2, starts: 2}}
"""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("debootstrap") is None,
        reason="needs root, and the package debootstrap",
    ),
]


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with what follows it."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def inside(root: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a root of its own, with /proc while it lasts: its mounts and processes end with it."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment |= {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" sh -ec "$1"'
    words = [*alone, "sh", "-ec", script, str(root), command]
    return subprocess.run(words, env=environment | more, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's smallest system, with Python."""
    root = tmp_path_factory.mktemp("bare") / "root"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], check=True, capture_output=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    done = inside(root, WITH_PYTHON + " && python3 -m venv /usr/local", DEBIAN_FRONTEND="noninteractive")
    assert done.returncode == 0, done.stderr
    certificate = os.environ.get("PIP_CERT")
    if certificate:
        (root / certificate.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(certificate, root / certificate.lstrip("/"))
    return root


def test_the_steps_of_the_dockerfile(root: Path) -> None:
    folder, environment = "/", {}
    for kind, what in steps():
        if kind == "ENV":
            environment |= dict(pair.split("=", 1) for pair in what.split())
        elif kind == "WORKDIR":
            folder = what
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            *names, target = what.split()
            place = (root / folder.lstrip("/")) / target
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
                else:
                    shutil.copy(ROOT / name, place)
        elif kind == "RUN":
            done = inside(root, f"cd {folder} && {what}", **environment)
            assert done.returncode == 0, (what, done.stdout[-3000:], done.stderr[-3000:])
        else:
            assert kind in ("FROM", "CMD"), kind
    (root / "data/config.yaml").write_text(CONFIG)
    for command in COMMANDS:
        done = inside(root, f"cd {folder} && {command}", **environment)
        assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
    here = {path.parent.name for path in (root / "data").glob("**/fit.json")}
    assert here == {"impute", "hmm", "pbc", "groups"}

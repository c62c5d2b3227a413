"""Outputs appear whole or not at all: written in a scratch folder beside the target, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emtools.errors import InputError

SEAL = "fit.json"


@contextmanager
def staged(out: Path, seal: str = SEAL) -> Iterator[Path]:
    """A scratch folder whose files move into `out` when the block ends without an error.

    The file `seal` goes first and comes last: where it stands, the other files belong to it.
    """
    target = Path(out)
    try:
        target.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=target))
    except OSError as error:
        raise InputError(
            str(out), f"cannot be written ({error.strerror})", "", "choose another --out folder"
        ) from error
    try:
        yield scratch
        (target / seal).unlink(missing_ok=True)
        made = [path.relative_to(scratch) for path in sorted(scratch.rglob("*")) if path.is_file()]
        for name in sorted(made, key=lambda path: path.name == seal):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch / name, target / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not any(target.iterdir()):
            target.rmdir()


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path, kind: str) -> Path:
    """`path`, if it is a file with something in it.

    Raises
    ------
    InputError
        If there is no such file, it is a folder, or it is empty.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        raise InputError(str(path), found, f"a {kind} file", "check the path")
    if path.stat().st_size == 0:
        raise InputError(str(path), "the file is empty", f"a {kind} file", "check how it was made")
    return path

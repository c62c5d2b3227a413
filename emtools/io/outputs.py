"""Outputs appear whole or not at all: written in a scratch folder beside the target, then renamed."""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emtools.errors import EmtoolsError, InputError

SEAL = "fit.json"
RECORD = ".outputs.json"  # what a fit wrote, with hashes; a workflow removes its fit.json before it runs again
LONGEST_NAME = 255
FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_SEAL = 40  # letters of its name that the scratch folder carries
FIGURES = (
    "accuracy|batches|boundary|composition|confusion|convergence|correlations|dependence|detail|explained|factors|heatmap|imputed|known"
    "|information|levels|logo|missingness|overimputed|overlay|parameters|positions|posterior|profiles|proportions|reference|reliability"
    "|selection|shares|sheet|shrinkage|sites|track|types"
)
OWN = re.compile(
    rf"fit\.json|{re.escape(RECORD)}|report\.html|({FIGURES}|(dependence|logo|positions|sites)_\d+)\.(svg|png)|accuracy\.tsv|parameters\.tsv"
    r"|completed(_\d+)?\..+|conditional_sd\.tsv|imputed(_cells)?\.tsv|model\.npz"
    r"|(batch_shifts|dependence|diagnostics|dictionary|images|log_odds|matches|models|patterns|sampled)\.tsv"
    r"|cells\.(h5ad|zarr)|mixtures\.h5ad|fractions\.csv|proportions(_by_sample)?\.tsv|profiles\.tsv"
    r"|(labels|posteriors|instances)\.ome\.tif|objects\.(csv|h5ad|geojson)|segmentation\.ome\.zarr|classes\.(csv|h5ad)|boundaries\.json"
    r"|sampled_segments\.tsv\.gz|log_odds\.bedgraph\.gz|segments\.bed|posteriors\.tsv\.gz|posterior_(S\d+|outside|island|noncoding|forward|reverse)\.bedgraph\.gz|motifs\.(meme|jaspar|transfac)|motif(_\d+)?\.ihbcp|sites\.(bed|gff3)",
    re.IGNORECASE,
)


@contextmanager
def staged(out: Path, seal: str = SEAL) -> Iterator[Path]:
    """A scratch folder whose files move into `out` when the block ends without an error.

    The file `seal` goes first and comes last: where it stands, the other files belong to it. What an earlier fit left
    in `out` goes with it, as its fit.json tells, or `RECORD` of files that are still as they were; files that no fit wrote stay.

    Raises
    ------
    EmtoolsError
        If `out` cannot be written to, holds a folder where a file goes, or the disk is full.
    """
    target = Path(out)
    try:
        target.mkdir(parents=True, exist_ok=True)
        mine = f".writing-{seal[:LONGEST_SEAL]}"
        for left in target.iterdir():  # by a run that was killed; others may be writing other files beside this one
            if left.name.rpartition("-")[0] == mine:
                shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{mine}-", dir=target))
    except OSError as error:
        raise InputError(
            str(out), f"cannot be written ({error.strerror})", "", "choose another --out folder"
        ) from error
    try:
        with quiet_when_full():
            yield scratch
        stores = [Path(path.name) for path in sorted(scratch.glob("*.zarr"))]  # moved in one step each
        within = [path.relative_to(scratch) for path in sorted(scratch.rglob("*")) if path.is_file()]
        made = stores + [path for path in within if Path(path.parts[0]) not in stores]
        stale = [name for name in earlier_outputs(target) if Path(name) not in made] if seal == SEAL else []
        if Path(SEAL) in made:
            made[:0] = write_outputs(scratch, made)
        for name in made:
            if name not in stores and (target / name).is_dir():
                raise InputError(str(target / name), "is a folder where a file goes", "", "choose another --out folder")
        (target / seal).unlink(missing_ok=True)
        for name in (*map(Path, stale), *stores):
            if (target / name).is_dir():
                shutil.rmtree(target / name)
            (target / name).unlink(missing_ok=True)
        if stale:
            print(f"emtools: removed from {out}, of the earlier fit: {', '.join(stale)}", file=sys.stderr)
        for name in sorted(made, key=lambda path: path.name == seal):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch / name, target / name)
    except Exception as error:
        if is_full(error):
            if "h5py" in sys.modules:  # HDF5 crashes at the end of a process in which a disk was full
                atexit.register(leave)
            remedy = "make room, or choose another --out folder; nothing was written"
            raise EmtoolsError(str(out), "there is no space left on the disk", "", remedy) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not any(target.iterdir()):
            target.rmdir()


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk or a quota is full; HDF5 says it in words alone."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def quiet_when_full() -> Iterator[None]:
    """Keep HDF5 from telling of each part of a file, as it lets go of it, that a full disk could not take it."""
    hooks = sys.excepthook, sys.unraisablehook

    def report(kind: Any, error: BaseException, trace: Any) -> None:
        if not is_full(error):
            hooks[0](kind, error, trace)

    def ignore(unraisable: Any) -> None:
        if not is_full(unraisable.exc_value):
            hooks[1](unraisable)

    sys.excepthook, sys.unraisablehook = report, ignore
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks


def leave() -> None:
    """End the process as a full disk ends it, without what libraries do at its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EmtoolsError.exit_code)


def write_outputs(scratch: Path, made: Sequence[Path]) -> list[Path]:
    """Write `RECORD` of what is `made`; its name, or none where there is nothing that a later fit would not replace."""
    names = sorted(str(name) for name in made if OWN.fullmatch(str(name)) and str(name) != SEAL)
    hashes = {name: sha256(scratch / name) for name in names if (scratch / name).is_file()}
    if not hashes:
        return []
    (scratch / RECORD).write_text(json.dumps({"outputs": hashes}, indent=0) + "\n", encoding="utf-8")
    return [Path(RECORD)]


def earlier_outputs(folder: Path) -> list[str]:
    """Files that the fit.json in `folder` tells of, or else its `RECORD` if they are as it says; only names of our own outputs."""
    listed, hashes = told_by(folder / SEAL), None
    if not isinstance(listed, list):
        listed = hashes = told_by(folder / RECORD)
        if not isinstance(hashes, dict):
            return []
    told = {name for name in listed if isinstance(name, str) and OWN.fullmatch(name) and Path(name).name == name}
    there = sorted(told & files_in(folder))
    if hashes is None:
        return there
    return [name for name in there if (folder / name).is_file() and sha256(folder / name) == hashes[name]]


def told_by(record: Path) -> Any:
    """What a file says of the outputs beside it; None where it says nothing."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))["outputs"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def files_in(folder: Path) -> set[str]:
    """Names of the files and zarr stores of a folder, without `RECORD`."""
    return {path.name for path in folder.iterdir() if path.is_file() or path.suffix == ".zarr"} - {RECORD}


def require_target(out: Path, inputs: Sequence[Path] = ()) -> None:
    """Raise where results cannot go to `out`, before anything is read.

    Parameters
    ----------
    out : Path
        Folder for the results; need not be there yet, and is not made.
    inputs : sequence of Path
        Files that will be read.

    Raises
    ------
    InputError
        If `out` cannot be made or written to, or an input lies in it under the name of an output.
    """
    remedy = "choose another --out folder"
    try:
        if max((len(os.fsencode(part)) for part in out.parts), default=0) > LONGEST_NAME:
            raise InputError(str(out)[:60] + "…", f"a name has more than {LONGEST_NAME} bytes", "", remedy)
        there = out
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise InputError(str(there), "is not a folder", f"a folder for {out}" if there != out else "", remedy)
        Path(tempfile.mkdtemp(prefix=".writing-", dir=there)).rmdir()
    except OSError as error:
        raise InputError(str(out), f"cannot be written ({error.strerror})", "", remedy) from error
    folder = out.resolve()
    for path in inputs:
        places = {path.resolve(), path.parent.resolve() / path.name}
        if any(place.parent == folder and OWN.fullmatch(place.name) for place in places):
            raise InputError(str(path), "lies where an output goes and may be overwritten", "", remedy)


def sha256(path: Path) -> str:
    """Hash of a file's bytes; of a folder, of the names and hashes of its files."""
    if path.is_dir():
        listed = [f"{file.relative_to(path)} {sha256(file)}\n" for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256("".join(listed).encode()).hexdigest()
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
    if not os.path.isfile(path):  # False of a name that no disk can hold, where the method raises
        found = (
            "is a folder"
            if os.path.isdir(path)
            else "is a pipe or a device"
            if os.path.exists(path)
            else "no such file"
        )
        raise InputError(str(path), found, f"a {kind} file", "check the path")
    if path.stat().st_size == 0:
        raise InputError(str(path), "the file is empty", f"a {kind} file", "check how it was made")
    return path

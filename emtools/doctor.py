"""``emtools doctor``: what is installed here, what the machine gives, and which optional parts are there."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from emtools import __version__

NOT_FOR_USERS = ("dev",)
MEMORY = 2**31  # bytes that the demo can do with
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Options:
    """Nothing to choose."""

    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A finding: `well` is False where something that is needed is not there, None where it is only worth knowing."""

    what: str
    found: str
    well: bool | None = None
    remedy: str = ""


def run(options: Options) -> int:
    """Print the findings; 1 where something that is needed is not there."""
    del options
    groups = {
        f"emtools {__version__}": list(machine()),
        "needed packages": list(packages(None)),
        "optional parts": [line for extra in extras() for line in packages(extra)],
    }
    for title, lines in groups.items():
        print(title)
        for line in lines:
            sign = {True: "✓", False: "✗", None: "·"}[line.well]
            print(f"  {sign} {line.what:<40}{line.found}" + (f"; {line.remedy}" if line.remedy else ""))
    faults = [line for lines in groups.values() for line in lines if line.well is False]
    print(f"{len(faults)} of them to mend" if faults else "all that is needed is there")
    return 1 if faults else 0


def machine() -> Iterator[Line]:
    """Python, processors, memory, where compiled kernels are kept."""
    yield Line("Python", f"{platform.python_version()}, {sys.executable}", sys.version_info >= (3, 11), "")
    yield Line("system", platform.platform())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Line("processors", f"{usable} to use of {os.cpu_count()}; --threads is 1 unless you say more")
    total = memory()
    if total is not None:
        small = total < MEMORY
        yield Line("memory", f"{total / GIB:.1f} GiB", None if small else True, "little for the demo" if small else "")
    yield cache()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        if variable in os.environ:
            yield Line(variable, f"{os.environ[variable]}; the commands set it to --threads")
    for tool, use in (("snakemake", "the workflow"), ("sbatch", "SLURM")):
        beside = Path(sys.executable).with_name(tool)
        where = str(beside) if beside.is_file() else shutil.which(tool)
        yield Line(tool, where or f"not here; only {use} needs it")


def memory() -> int | None:
    """Bytes of memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def cache() -> Line:
    """Whether compiled kernels can be kept, so that only the first fit waits for the compiler."""
    import emtools.kernels

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(emtools.kernels.__file__).parent)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Line("compiled kernels", f"kept in {folder}", True)
    except OSError:
        return Line(
            "compiled kernels", f"{folder} cannot be written", None, "set NUMBA_CACHE_DIR, or each fit compiles"
        )


def extras() -> list[str]:
    """Names of the optional parts that a user may want."""
    names = metadata("emtools").get_all("Provides-Extra") or []
    return [name for name in names if name not in NOT_FOR_USERS]


def packages(extra: str | None) -> Iterator[Line]:
    """The packages that emtools asks for: by itself, or for the optional part `extra`."""
    for requirement in map(Requirement, requires("emtools") or ()):
        marker, always = requirement.marker, {"extra": ""}
        wanted = marker is None or marker.evaluate({"extra": extra or ""})
        if not wanted or (extra is not None and (marker is None or marker.evaluate(always))):
            continue
        name = requirement.name if extra is None else f"{extra}: {requirement.name}"
        needed = f"{requirement.specifier} is needed"
        remedy = f"pip install 'emtools{f'[{extra}]' if extra else ''}'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Line(name, "not here", False if extra is None else None, remedy)
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Line(name, found, fits, "" if fits else f"{needed}; {remedy}")

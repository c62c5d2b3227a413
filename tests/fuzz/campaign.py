"""Damaged files through the readers of one kind: ``python tests/fuzz/campaign.py KIND SECONDS SEED [COUNT]``.

Only errors of our own may come out, within a time and a memory that a small file deserves. Prints a line for each find and, last,
how many files were read; the files of the finds are kept where ``EMTOOLS_FUZZ_FINDS`` says.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

PATIENCE = 20  # seconds for a file of a few kB
ROOM = 2**30  # bytes of address space beyond what stands when the campaign begins
HEAVY = 300 * 2**10  # kB that the resident size may grow by one file


class Hang(BaseException):
    """A reader that does not come to an end."""


def ring(*_: object) -> None:
    raise Hang


def attempt(reader, path: Path) -> str | None:
    """What came out that must not; None where all is well."""
    from emtools.errors import EmtoolsError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(PATIENCE)
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(path)
    except EmtoolsError:
        pass
    except Hang:
        return "hang"
    except BaseException as error:  # the point of the exercise
        place = [f for f in traceback.extract_tb(error.__traceback__) if "/emtools/" in f.filename]
        where = f"{Path(place[-1].filename).name}:{place[-1].name}" if place else "?"
        return f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:110]}"
    finally:
        signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"memory grew by {grown // 1024} MB" if grown > HEAVY else None


def limit_memory() -> None:
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, resource.RLIM_INFINITY))


def main(kind: str, seconds: float, seed: int, count: int) -> int:
    from fuzz.damage import damage
    from fuzz.targets import TARGETS

    target = TARGETS[kind]
    signal.signal(signal.SIGALRM, ring)
    finds: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        good, first = Path(scratch) / target.name, Path(scratch) / "first" / target.name
        target.write(good)
        first.parent.mkdir()
        target.write(first)
        for reader in target.readers:  # what they import is not what a file costs
            attempt(reader, first)
        limit_memory()
        began, done = time.monotonic(), 0
        while done < count and time.monotonic() - began < seconds:
            for reader in target.readers:
                folder = Path(scratch) / "damaged"
                folder.mkdir()
                damage(good, folder / target.name, seed + done)
                found = attempt(reader, folder / target.name)
                if found:
                    key = f"{reader.__name__}: {found}"
                    if key not in finds:
                        print(f"{kind} seed {seed + done} {key}", flush=True)
                        keep = os.environ.get("EMTOOLS_FUZZ_FINDS")
                        if keep:
                            shutil.rmtree(Path(keep) / kind / f"{seed + done}-{reader.__name__}", ignore_errors=True)
                            shutil.copytree(
                                folder, Path(keep) / kind / f"{seed + done}-{reader.__name__}", symlinks=True
                            )
                    finds[key] = finds.get(key, 0) + 1
                shutil.rmtree(folder)
            done += 1
    print(f"{kind}: {done} files, {len(finds)} finds, {time.process_time():.0f} CPU s")
    return 1 if finds else 0


if __name__ == "__main__":
    where, long, first, *most = sys.argv[1:]
    sys.exit(main(where, float(long), int(first), int(most[0]) if most else 10**9))

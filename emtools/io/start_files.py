"""Ends of starts in files: climbed in jobs of their own (`--only-starts`), gathered by the command that chooses (`--starts-from`).

A file says what it was made of, by which versions and with which options, and carries a hash of all it holds. It is JSON,
whose numbers come back with the same bits.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from emtools.engine.result import Climb, Event, Pass
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.io.fitfile import package_versions
from emtools.io.outputs import require_file, sha256, staged

SCHEMA = "emtools-starts-1"
NAME = "starts.json"
HASH = "sha256 "
ANEW = "make it anew with --only-starts"
# Options that say where and which starts, not what a start is.
ABOUT_THE_RUN = (
    *("out", "threads", "executor", "checkpoint", "quiet", "command"),
    *("starts", "only_starts", "starts_from"),
    *("sample", "against", "odds_window"),  # of hidden states: what is made of the best end
    *("name", "truth", "known", "motifs"),  # of motifs: what is made of the end, and what comes after it
)
Record = dict[str, Any]
T = TypeVar("T")


@dataclass
class Ends:
    """Ends of starts by part of a command, such as the number of states, and number of the start from 0.

    Parameters
    ----------
    origin : dict
        What they were made of; `origin_of`.
    records : dict
        From part and start to the end, as JSON values.
    places : dict
        From part and start to the file, where it came from one.
    """

    origin: Record
    records: dict[tuple[str, int], Record] = field(default_factory=dict)
    places: dict[tuple[str, int], Path] = field(default_factory=dict)

    def add(self, part: str, climbs: Iterable[Climb[Any, Any]]) -> None:
        """Keep the ends of some starts."""
        self.records |= {(part, climb.restart): as_record(climb) for climb in climbs}

    def of(self, part: str, made: Callable[[Record, int], T], count: int) -> dict[int, T]:
        """The ends of the first `count` starts of a part that there are.

        Parameters
        ----------
        part : str
            Part of the command.
        made : callable
            Makes an end of its record and the number of its start.
        count : int
            Starts asked for.

        Raises
        ------
        InputError
            If one is not laid out as such an end.
        """
        found = {}
        for restart in range(count):
            if (part, restart) in self.records:
                with laid_out(self.places.get((part, restart))):
                    found[restart] = made(self.records[part, restart], restart)
        return found

    def climbs(self, part: str, kind: type, count: int) -> dict[int, Climb[Any, Any]]:
        """The same of ends that `add` has kept, of parameters of the class `kind`; `fit` takes their statistics anew."""
        return self.of(part, lambda record, restart: as_climb(record, restart, kind), count)

    def write(self, out: Path) -> None:
        """Write all of them as `NAME` into the folder `out`."""
        ends: list[Record] = [
            {"part": part, "start": start, **end} for (part, start), end in sorted(self.records.items())
        ]
        content = {"schema": SCHEMA, **self.origin, "ends": ends}
        with staged(out, seal=NAME) as folder:
            text = json.dumps({**content, "sha256": digest_of(content)}, indent=1)
            (folder / NAME).write_text(text + "\n", encoding="utf-8")
        print(f"emtools: {len(ends)} ends of starts in {out / NAME}", file=sys.stderr)


def origin_of(options: Any) -> Record:
    """What a start depends on: versions, and options, of files their hashes."""
    told = {}
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name not in ABOUT_THE_RUN:
            told[item.name] = HASH + sha256(value) if isinstance(value, Path) else str(value)
    return {"versions": package_versions(), "options": told}


def read_ends(options: Any) -> Ends | None:
    """The ends that ``--starts-from`` names; none yet where there is ``--only-starts``; None without either.

    Raises
    ------
    InputError
        If a file is absent, damaged, or of another input, version or command.
    """
    if options.only_starts is not None:
        if options.starts_from or options.checkpoint is not None:
            raise InputError("--only-starts", "with --starts-from or --checkpoint", "one of them", "leave one out")
    elif not options.starts_from:
        return None
    ends = Ends(origin_of(options))
    for path in options.starts_from:
        for end in read_file(path, ends.origin):
            with laid_out(path):
                key = str(end.pop("part")), int(end.pop("start"))
            ends.records[key], ends.places[key] = end, path
    return ends


def read_file(path: Path, origin: Record) -> list[Record]:
    """Records of a file, if it is whole and of this command."""
    try:
        content = json.loads(require_file(path, "starts (JSON)").read_text(encoding="utf-8"))
        whole = content.pop("sha256") == digest_of(content)
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(str(path), "not a file of starts, or cut off", f"a {NAME}", ANEW) from error
    if not whole:
        raise InputError(str(path), "its content is not what was written", f"a {NAME}", ANEW)
    if content.get("schema") != SCHEMA:
        raise InputError(str(path), f"the schema is {content.get('schema')!r}", SCHEMA, ANEW)
    with laid_out(path):
        for kind in ("versions", "options"):
            ours, theirs = origin[kind], content[kind]
            for name in {**ours, **theirs}:
                if ours.get(name) != theirs.get(name):
                    raise InputError(str(path), made_otherwise(kind, name, theirs.get(name), ours.get(name)), "", ANEW)
        return list(content["ends"])


def made_otherwise(kind: str, name: str, theirs: Any, ours: Any) -> str:
    """What differs between the command that made a file and this one."""
    if kind == "versions":
        return f"made by {name} {theirs}; this is {ours}"
    if str(ours).startswith(HASH) and str(theirs).startswith(HASH):
        return f"made from another {name.replace('_', ' ')}"
    return f"made with {name.replace('_', ' ')} {theirs}, not {ours}"


@contextmanager
def laid_out(path: Path | None) -> Iterator[None]:
    """A failure that names the file, where what it holds is not laid out as it must be."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(str(path), f"not laid out as starts ({error})", f"a {NAME}", ANEW) from error


def digest_of(content: Mapping[str, Any]) -> str:
    """Hash of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def as_record(climb: Climb[Any, Any]) -> Record:
    """An end as JSON values; without times, and without statistics, which belong to the data."""
    return {
        "params": {item.name: np.asarray(getattr(climb.params, item.name)).tolist() for item in fields(climb.params)},
        "status": climb.status.value,
        "reason": climb.reason,
        **{name: float(getattr(climb, name)) for name in ("loglik", "objective", "gap", "rate")},
        "trace": [[row.objective, row.gain, row.gap, row.parameter_change, row.kind] for row in climb.trace],
        "events": [[event.number, event.kind, event.rate, list(event.along)] for event in climb.events],
    }


def as_climb(record: Mapping[str, Any], restart: int, kind: type) -> Climb[Any, Any]:
    """What `as_record` wrote, of the start `restart`, with parameters of the class `kind`."""
    values = {name: np.array(value, dtype=np.float64) for name, value in record["params"].items()}
    trace = tuple(
        Pass(restart, number, float(objective), float(gain), float(gap), float(change), 0.0, str(what))
        for number, (objective, gain, gap, change, what) in enumerate(record["trace"])
    )
    events = tuple(
        Event(int(number), what, float(rate), tuple(map(str, along))) for number, what, rate, along in record["events"]
    )
    return Climb(
        restart,
        kind(**{name: value if value.ndim else value.item() for name, value in values.items()}),
        None,
        Status(record["status"]),
        str(record["reason"]),
        *(float(record[name]) for name in ("loglik", "objective", "gap", "rate")),
        trace,
        events,
    )

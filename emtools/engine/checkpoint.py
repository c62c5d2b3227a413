"""What a fit has done so far, on disk: written whole or not at all, read only by the fit that it belongs to."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np

from emtools.errors import InputError

SECONDS = 5.0  # between two writings at least
# What a checkpoint is made of, beside values of emtools and of the model's own package: nothing here runs a command.
PIECES = {
    "builtins": {"complex", "float", "frozenset", "object", "set", "slice"},
    "collections": {"OrderedDict", "deque"},
    "copyreg": {"_reconstructor", "__newobj__"},
    "types": {"SimpleNamespace"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
}  # fmt: skip

# What reading bytes that are no pickle, or half of one, may raise.
DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
# What a state that was altered on purpose, with the right hash, may raise in a fit. Lack of memory and of workers is not its.
STRANGE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


class Reader(pickle.Unpickler):
    """Reads arrays, plain values, and classes of emtools and of the package of the model; no function but numpy's own of arrays."""

    def __init__(self, file: io.BufferedIOBase, package: str) -> None:
        super().__init__(file)
        self.packages = ("emtools", package)

    def find_class(self, module: str, name: str) -> Any:
        if name in PIECES.get(module, ()):
            return super().find_class(module, name)
        # A name with dots leads through a module to what it imports, such as os.system.
        if module.split(".")[0] in self.packages and "." not in name:
            value = super().find_class(module, name)
            if isinstance(value, type) and value.__module__ == module:
                return value
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a checkpoint")


@dataclass
class Checkpoint:
    """States of all starts of one fit.

    Parameters
    ----------
    path : Path
        File; written beside and renamed, so that it is whole at any moment.
    identity : object
        What fixes the fit besides its data, with a stable ``repr``.
    package : str
        Top-level package of the model.
    """

    path: Path
    identity: object
    package: str
    states: dict[int, bytes] = field(default_factory=dict)
    taken: dict[int, float] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    written: float = -1e9
    gone_on: set[int] = field(default_factory=set)

    @property
    def key(self) -> str:
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
            return hashlib.sha256(repr(self.identity).encode()).hexdigest()

    def load(self) -> dict[int, Any]:
        """States of an interrupted fit by start; empty where there is no file.

        Raises
        ------
        InputError
            If the file is not a checkpoint, is damaged, belongs to another fit, or could not be written.
        """
        self.prepare()
        if not self.path.exists():
            return {}
        remedy = "choose another file, or delete this one to start anew"
        try:
            key, states, digest = self.read(self.path.read_bytes())
            if digest != digest_of(states):
                raise ValueError("its bytes are not those that were written")
            found = {start: self.read(state) for start, state in states.items()} if key == self.key else {}
        except OSError as error:
            raise unusable(self.path, error) from error
        except DAMAGED as error:
            raise InputError(str(self.path), f"unreadable ({error})", "a checkpoint of this fit", remedy) from error
        if key != self.key:
            raise InputError(str(self.path), "the checkpoint of another fit", "one of this model and options", remedy)
        self.states = dict(states)
        return found

    @contextmanager
    def blamed(self, start: int | None = None) -> Iterator[None]:
        """What goes on from states of the file: where they make it fail, for no fit has left them so, is one clear error.

        Raises
        ------
        InputError
            If anything is raised inside that comes of a value of another kind, size or type, unless a pass of this start has been made
            from its state, so that the fault lies elsewhere.
        """
        try:
            yield
        except STRANGE as error:
            if start in self.gone_on:
                raise
            got = f"states with which a fit cannot go on ({type(error).__name__}: {str(error)[:80]})"
            raise InputError(str(self.path), got, "a checkpoint of this fit", "delete it to start anew") from error

    def read(self, content: bytes) -> Any:
        return Reader(io.BytesIO(content), self.package).load()

    def prepare(self) -> None:
        """Clear away what a killed fit left half written, and see to it that a file can be written here."""
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for half in self.path.parent.glob(f"{escape(self.path.name)}.*.tmp"):
                half.unlink(missing_ok=True)
            self.beside.touch()
            self.beside.unlink()
        except OSError as error:
            raise unusable(self.path, error) from error

    @property
    def beside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")

    def save(self, start: int, state: Any, *, now: bool = False) -> None:
        """Remember a state if it is time, or `now`; and write all of them if it is time.

        A start makes bytes of its own state, in its own thread: the others change theirs meanwhile.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        self.gone_on.add(start)
        if not now and monotonic() - self.taken.get(start, -math.inf) < SECONDS:
            return
        content = pickle.dumps(state, protocol=5)
        with self.lock:
            self.states[start], self.taken[start] = content, monotonic()
            if monotonic() - self.written < SECONDS:
                return
            try:
                with self.beside.open("wb") as file:
                    pickle.dump((self.key, self.states, digest_of(self.states)), file, protocol=5)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(self.beside, self.path)
            except OSError as error:
                raise unusable(self.path, error) from error
            self.written = monotonic()

    def remove(self) -> None:
        """Delete the file of a fit that is done."""
        self.path.unlink(missing_ok=True)


def digest_of(states: dict[int, bytes]) -> str:
    """Hash of all states, by which a byte that changed on disk is found."""
    digest = hashlib.sha256()
    for start, state in sorted(states.items()):
        digest.update(b"%d %d " % (start, len(state)) + state)
    return digest.hexdigest()


def unusable(path: Path, error: OSError) -> InputError:
    """What to say of a place where no checkpoint can be kept."""
    return InputError(str(path), f"cannot be used ({error.strerror})", "a file for --checkpoint", "choose another one")

"""What a fit has done so far, on disk: written whole or not at all, read only by the fit that it belongs to."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from emtools.errors import InputError

SECONDS = 5.0  # between two writings at least
SAFE = ("emtools", "numpy", "builtins", "collections", "copyreg", "enum", "types", "pathlib")
UNSAFE_BUILTINS = (
    "eval",
    "exec",
    "compile",
    "open",
    "__import__",
    "getattr",
    "setattr",
    "delattr",
    "input",
    "breakpoint",
)


class Reader(pickle.Unpickler):
    """Reads values of numpy, emtools and the module of the model, and nothing that runs a command."""

    def __init__(self, file: io.BufferedIOBase, package: str) -> None:
        super().__init__(file)
        self.packages = (*SAFE, package)

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] not in self.packages or (module == "builtins" and name in UNSAFE_BUILTINS):
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a checkpoint")
        return super().find_class(module, name)


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
    states: dict[int, Any] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    written: float = -1e9

    @property
    def key(self) -> str:
        return hashlib.sha256(repr(self.identity).encode()).hexdigest()

    def load(self) -> dict[int, Any]:
        """States of an interrupted fit by start; empty where there is no file.

        Raises
        ------
        InputError
            If the file is not a checkpoint, is damaged, or belongs to another fit.
        """
        if not self.path.exists():
            return {}
        remedy = "delete it to start anew"
        try:
            with self.path.open("rb") as file:
                key, states = Reader(file, self.package).load()
        except (
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            TypeError,
            AttributeError,
            ImportError,
            IndexError,
        ) as error:
            raise InputError(str(self.path), f"unreadable ({error})", "a checkpoint of this fit", remedy) from error
        if key != self.key:
            raise InputError(str(self.path), "the checkpoint of another fit", "one of this model and options", remedy)
        self.states = dict(states)
        return self.states

    def save(self, start: int, state: Any, *, now: bool = False) -> None:
        """Remember a state, and write all of them if it is time."""
        with self.lock:
            self.states[start] = state
            if not now and monotonic() - self.written < SECONDS:
                return
            beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
            with beside.open("wb") as file:
                pickle.dump((self.key, self.states), file, protocol=5)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
            self.written = monotonic()

    def remove(self) -> None:
        """Delete the file of a fit that is done."""
        self.path.unlink(missing_ok=True)

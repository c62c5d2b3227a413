"""Typed failures. Each carries where it happened, what was found, what is needed and what to do."""

from __future__ import annotations


class EmtoolsError(Exception):
    """A failure that a person can act on.

    Parameters
    ----------
    where : str
        File, column, record or configuration key.
    got : str
        What was found there.
    expected : str
        What is needed, in a few words; may be empty.
    remedy : str
        What the reader should do; may be empty.
    """

    exit_code = 1

    def __init__(self, where: str, got: str, expected: str = "", remedy: str = "") -> None:
        self.where = where
        self.got = got
        self.expected = expected
        self.remedy = remedy
        super().__init__(where, got, expected, remedy)

    def __str__(self) -> str:
        parts = [part for part in (self.got, self.expected, self.remedy) if part]
        return " ".join(f"{self.where}: {'; '.join(parts)}".split())


class InputError(EmtoolsError):
    """The input or an option cannot be used as it is (exit code 2)."""

    exit_code = 2


class FitError(EmtoolsError):
    """No start of a fit gave a usable result (exit code 3)."""

    exit_code = 3

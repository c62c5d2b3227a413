"""Typed failures. Each carries where it happened, what was found, what is needed and what to do."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """Text of others as a terminal may have it: control characters, which could move or recolour it, are told by their code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
        return printable(" ".join(f"{self.where}: {'; '.join(parts)}".split()))


class InputError(EmtoolsError):
    """The input or an option cannot be used as it is (exit code 2)."""

    exit_code = 2


def require_text(names: Iterable[str]) -> None:
    """Raise for a name of bytes that are no text, which no page or table could hold."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(name, "a name that is not text in UTF-8", "", "rename the file") from error


class FitError(EmtoolsError):
    """No start of a fit gave a usable result (exit code 3)."""

    exit_code = 3

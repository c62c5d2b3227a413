"""What a cell of a table says: a number, a limit that the value lies beyond, that it is missing, or nothing known."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "."))
NOT_AVAILABLE = frozenset(("***", "---", "oor"))  # Luminex: not measured, set aside, out of range on an unnamed side
ERRORS = frozenset(("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
GROUPED = re.compile(r"[+-]?\d{1,3}(?:(?:[' \u2019\u00a0\u2009\u202f]\d{3})+([.,]\d+)?|(,\d{3})+\.\d+|(\.\d{3})+,\d+)")
WITH_UNIT = re.compile(r"(?:<=?|>=?|[≤≥~])?\s*[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?\s*(%|[^\W\d_][\w/µμ^%. -]*)")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
BELOW, ABOVE = re.compile(r"(?:<=?|=<|[≤⩽])\s*"), re.compile(r"(?:>=?|=>|[≥⩾])\s*")
BELOW_WORD = re.compile(r"(?:(?:<=?|=<|[≤⩽])\s*(?:l?lo[dqb])?|oor\s*<)", re.IGNORECASE)
ABOVE_WORD = re.compile(r"(?:(?:>=?|=>|[≥⩾])\s*(?:u?lo[dq])?|oor\s*>)", re.IGNORECASE)
SPAN = re.compile(r"(.*?\d)\s*(?:-|–|—|\.\.|to)\s*([+-]?[\d.,].*)")
MONTHS = "jan|feb|mar|mrz|mär|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez"
DATE = re.compile(
    rf"\d{{4}}-\d\d-\d\d([ T].*)?|\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{1,2}}[-. ]({MONTHS})\.?([- ]\d{{2,4}})?"
    rf"|({MONTHS})\.?[- ]\d{{1,4}}",
    re.IGNORECASE,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What one cell says.

    Parameters
    ----------
    value : float
        NaN where it is not known.
    lower, upper : float
        Bounds of an unknown value, infinite where there is none.
    side : str
        "below" or "above" where the cell says so without a number of its own, else empty.
    remark : str
        A word on a cell that was read in a way that the reader should know.
    """

    value: float = math.nan
    lower: float = -math.inf
    upper: float = math.inf
    side: str = ""
    remark: str = ""


UNKNOWN = Said()


@dataclass(frozen=True)
class Rules:
    """How the cells of one column are read.

    Parameters
    ----------
    decimal : str
        "." or ",".
    missing, below, above : sequence of str
        Codes for a value that is missing, below the limit of detection, above the upper limit.
    spans : bool
        Whether "0.5-1.0" is a value between the two.
    """

    decimal: str = "."
    missing: Sequence[str] = ()
    below: Sequence[str] = ()
    above: Sequence[str] = ()
    spans: bool = False


def is_code(cell: str, codes: Sequence[str]) -> bool:
    """Whether a cell is one of the codes, as text or as the same number."""
    if cell in codes:
        return True
    if not codes or not NUMBER.fullmatch(cell):
        return False
    return any(NUMBER.fullmatch(code) and float(code) == float(cell) for code in codes)


def is_missing(cell: str, codes: Sequence[str]) -> bool:
    """Whether a cell says that its value is missing."""
    return cell.lower() in MISSING or is_code(cell, codes)


def as_number(text: str, decimal: str) -> float | None:
    """A number in the decimal sign of the table; None where the text is no finite number."""
    if decimal == "," and COMMA_NUMBER.fullmatch(text):
        text = text.replace(",", ".")
    if not NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def what_it_says(cell: str, rules: Rules) -> Said | None:
    """What a cell says, None where it cannot be read.

    Parameters
    ----------
    cell : str
        Without quotes and outer blanks.
    rules : Rules
        How its column is read.

    Examples
    --------
    >>> what_it_says("<0,5", Rules(decimal=",")).upper
    0.5
    >>> what_it_says("OOR <", Rules()).side
    'below'
    >>> what_it_says("n.d.", Rules()) is None
    True
    """
    if is_missing(cell, rules.missing):
        return UNKNOWN
    if is_code(cell, rules.below):
        return Said(side="below")
    if is_code(cell, rules.above):
        return Said(side="above")
    value = as_number(cell, rules.decimal)
    if value is not None:
        return Said(value)
    lower_case = cell.lower()
    if lower_case in NOT_AVAILABLE:
        return Said(remark=f"{cell!r} (read as missing)")
    if lower_case in ERRORS:
        return Said(remark=f"{cell} (read as missing)")
    if BELOW_WORD.fullmatch(cell):
        return Said(side="below")
    if ABOVE_WORD.fullmatch(cell):
        return Said(side="above")
    for sign in (BELOW, ABOVE):
        mark = sign.match(cell)
        limit = as_number(cell[mark.end() :], rules.decimal) if mark else None
        if limit is not None:
            return Said(upper=limit) if sign is BELOW else Said(lower=limit)
    if cell.startswith("*"):
        value = as_number(cell[1:].strip(), rules.decimal)
        return None if value is None else Said(value, remark="'*' before a number (extrapolated; read as the number)")
    return between(cell, rules) if rules.spans else None


def between(cell: str, rules: Rules) -> Said | None:
    """The two ends of "0.5-1.0"."""
    ends = SPAN.fullmatch(cell)
    if ends is None:
        return None
    low, high = (as_number(end.strip(), rules.decimal) for end in ends.groups())
    return Said(lower=low, upper=high) if low is not None and high is not None and low < high else None


def number_part(cell: str) -> str:
    """A cell without the sign of a limit, to look for its decimal sign."""
    for sign in (BELOW, ABOVE):
        mark = sign.match(cell)
        if mark:
            return cell[mark.end() :]
    return cell


def why_not_a_number(cell: str) -> tuple[str, str]:
    """What a cell is that cannot be read as a number, and what to do beside the general advice."""
    if INFINITE.fullmatch(cell) or NUMBER.fullmatch(cell):
        return "is infinite", "blank the cell if it is unknown"
    if cell.startswith("="):
        return "is a formula without a stored value", "open the workbook, let it calculate, and save it"
    if DATE.fullmatch(cell):
        return (
            "is a date",
            "format the column as numbers and type the value again (a spreadsheet turned it into a date)",
        )
    if GROUPED.fullmatch(cell):
        return "has a thousands separator", "export it again without thousands separators"
    if WITH_UNIT.fullmatch(cell):
        unit = WITH_UNIT.fullmatch(cell)
        assert unit is not None
        return (
            f"has {unit[1]!r} behind the number",
            f"write the unit into the name of the column, as in 'CRP ({unit[1]})', and numbers alone into the cells",
        )
    if SPAN.fullmatch(cell) and between(cell, Rules(spans=True)) is not None:
        return "is a range", "give the column the type 'interval' in the dictionary"
    return "is not a number", ""

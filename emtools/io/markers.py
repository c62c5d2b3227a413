"""One column of a table as readings: values, bounds of what lies beyond a limit, and what to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import (
    COMMA_NUMBER,
    NUMBER,
    THOUSANDS,
    Rules,
    Said,
    is_missing,
    number_part,
    what_it_says,
    why_not_a_number,
)
from emtools.io.sheets import Columns, Numbers

LARGEST, SMALLEST = 1e100, 1e-100
DIGITS_LEFT = 1e-10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Marker:
    """Readings of one marker.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN unless observed.
    lower, upper : ndarray, shape (n,)
        Bounds of what was not observed.
    remarks : tuple of str
        Half sentences on cells that the reader should know of.
    """

    values: Floats
    lower: Floats
    upper: Floats
    remarks: tuple[str, ...] = ()

    @property
    def unbounded(self) -> bool:
        """Whether no limit is known of any cell."""
        return self.lower.strides == (0,) == self.upper.strides or not (
            np.isfinite(self.lower).any() or np.isfinite(self.upper).any()
        )

    def counts(self) -> tuple[int, int, int, int]:
        """Cells of which nothing is known, below a limit, above one, and between two."""
        gaps = np.isnan(self.values)
        n_gaps = int(gaps.sum())
        if self.unbounded:
            return n_gaps, 0, 0, 0
        low, high = np.isfinite(self.lower) & gaps, np.isfinite(self.upper) & gaps
        between = int((low & high).sum())
        below, above = int(high.sum()) - between, int(low.sum()) - between
        return n_gaps - below - above - between, below, above, between


def find_decimal(sheet: Columns, positions: Sequence[int]) -> str:
    """Decimal point or comma, from all columns that look numeric.

    Raises
    ------
    InputError
        If both occur, or commas could as well separate thousands.
    """
    commas: list[tuple[int, int]] = []
    points = False
    clear = False
    for position in positions:
        column = sheet.cells[position]
        if isinstance(column, Numbers):
            continue
        if "," not in "\n".join(column):
            points = points or any("." in cell and NUMBER.fullmatch(number_part(cell)) for cell in column)
            continue
        cells = [number_part(cell) for cell in column]
        held = [row for row, cell in enumerate(column) if not is_missing(cell, sheet.codes)]
        with_comma = [row for row in held if "," in cells[row] and COMMA_NUMBER.fullmatch(cells[row])]
        thousands = [row for row in held if THOUSANDS.fullmatch(cells[row])]
        plain = sum(bool(NUMBER.fullmatch(cells[row])) for row in held)
        if 2 * (plain + len(set(with_comma) | set(thousands))) < len(held):
            continue
        points = points or any("." in cells[row] and NUMBER.fullmatch(cells[row]) for row in held)
        commas += [(row, position) for row in sorted(set(with_comma) | set(thousands))]
        clear = clear or any(row not in thousands for row in with_comma)
    if not commas:
        return "."
    row, position = commas[0]
    cell = sheet.cells[position][row]
    if points or not clear:
        why = "other cells have a decimal point" if points else "it may be a decimal comma or a thousands separator"
        raise InputError(
            sheet.at(row, position),
            f"{cell!r} is ambiguous ({why})",
            "one decimal sign in the whole table and no thousands separators",
            "export it again with decimal points",
        )
    return ","


def read_numbers(cells: Sequence[str], decimal: str) -> tuple[Floats, list[int]]:
    """Plain numbers of a column, NaN elsewhere, and the rows that need a closer look."""
    if isinstance(cells, Numbers):
        return cells.values.copy(), np.flatnonzero(np.isinf(cells.values)).tolist()
    values = np.full(len(cells), np.nan)
    held = [row for row, cell in enumerate(cells) if cell]
    texts = [cells[row] for row in held]
    together = "\n".join(texts)
    if decimal == "," and "," in together:
        texts = [text.replace(",", ".") for text in texts]
    odd: list[int] = []
    try:
        values[held] = list(map(float, texts))
    except ValueError:
        for row, text in zip(held, texts, strict=True):
            try:
                values[row] = float(text)
            except ValueError:
                odd.append(row)
    odd += [row for row in np.flatnonzero(~np.isfinite(values)).tolist() if cells[row]]
    odd += [row for row in held if "_" in cells[row]] if "_" in together else []
    rows = sorted(set(odd))
    values[rows] = np.nan
    return values, rows


def is_numeric_code(code: str) -> bool:
    """Whether a code is a number, and so meets cells that say the same number."""
    return NUMBER.fullmatch(code) is not None


def read_marker(
    sheet: Columns,
    position: int,
    rules: Rules,
    *,
    asked: bool,
    lod: float | Floats | None = None,
    upper_limit: float | Floats | None = None,
    censor: bool = False,
    remedy: str = "choose markers with --columns",
) -> Marker | None:
    """Readings of a column; None for a column of text that nobody asked for.

    Parameters
    ----------
    sheet : Columns
        The table.
    position : int
        Which of its columns.
    rules : Rules
        How its cells are read.
    asked : bool
        Whether it was asked for by name.
    lod, upper_limit : float or ndarray, shape (n,), optional
        Limits of detection and of quantification, for cells that say "below" or "above" without a number, and for
        values beyond them where `censor` is set; NaN in rows without one.
    censor : bool
        Whether values beyond a limit count as beyond it and no more.
    remedy : str
        What helps where a cell cannot be read.

    Raises
    ------
    InputError
        If cells of a column of numbers cannot be read.
    """
    cells = sheet.cells[position]
    values, odd = read_numbers(cells, rules.decimal)
    sides: dict[str, list[int]] = {"below": [], "above": []}
    for side, codes in (("missing", rules.missing), ("below", rules.below), ("above", rules.above)):
        numeric = [float(code) for code in codes if is_numeric_code(code)]
        hit = np.flatnonzero(np.isin(values, numeric)) if numeric else np.empty(0, dtype=np.intp)
        values[hit] = np.nan
        if side != "missing":
            sides[side] += hit.tolist()
    shape = values.shape
    lower, upper = np.broadcast_to(-np.inf, shape), np.broadcast_to(np.inf, shape)
    if odd or sides["below"] or sides["above"] or censor:
        lower, upper = lower.copy(), upper.copy()
    known: dict[str, Said | None] = {}
    remarks: dict[str, int] = {}
    bad: list[int] = []
    n_read = int(np.isfinite(values).sum()) + len(sides["below"]) + len(sides["above"])
    for row in odd:
        cell = cells[row]
        if cell not in known:
            known[cell] = what_it_says(cell, rules)
        said = known[cell]
        if said is None:
            bad.append(row)
            continue
        values[row], lower[row], upper[row] = said.value, said.lower, said.upper
        if said.side:
            sides[said.side].append(row)
        if said.remark:
            remarks[said.remark] = remarks.get(said.remark, 0) + 1
        n_read += said.value == said.value or said.side != "" or np.isfinite(said.lower) or np.isfinite(said.upper)
    if bad and not asked and n_read < len(bad):
        return None
    if bad:
        refuse(sheet, bad[0], position, len(bad) - 1, remedy)
    told = [f"{count} cell{'s' * (count != 1)} {remark}" for remark, count in remarks.items()]
    for side, bound, limit in (("below", upper, lod), ("above", lower, upper_limit)):
        told += without_number(values, bound, sides[side], side, limit)
    if censor:
        told += beyond(values, upper, lod, "below") + beyond(values, lower, upper_limit, "above")
    return Marker(values, lower, upper, tuple(told))


def refuse(sheet: Columns, row: int, position: int, more: int, remedy: str) -> None:
    """Raise for a cell that cannot be read."""
    cell = sheet.cells[position][row]
    what, advice = why_not_a_number(cell)
    others = f" (and {more} more cells)" if more else ""
    raise InputError(
        sheet.at(row, position),
        f"{cell[:40]!r} {what}{others}",
        "a finite number" if what == "is infinite" else "numbers, limits such as <0.5, and missing codes only",
        advice or f"mend the cell, declare it with --missing '{cell[:40]}', or {remedy}",
    )


def without_number(
    values: Floats, bound: Floats, rows: Sequence[int], side: str, limit: float | Floats | None
) -> list[str]:
    """Bounds of cells that say "below" or "above" without a number: the limit of their row, else the extreme value."""
    if not rows:
        return []
    at = np.array(rows)
    bound[at] = np.nan if limit is None else np.broadcast_to(limit, values.shape)[at]
    lacking = at[~np.isfinite(bound[at])]
    seen = values[np.isfinite(values)]
    nothing = np.inf if side == "below" else -np.inf
    bound[lacking] = nothing if not seen.size else seen.min() if side == "below" else seen.max()
    if not lacking.size:
        return []
    extreme = "smallest" if side == "below" else "largest"
    shown = f" ({bound[lacking[0]]:g})" if seen.size else ""
    setting = "lod" if side == "below" else "upper_limit"
    cells = f"{lacking.size} cell{'s' * (lacking.size != 1)}"
    if not seen.size:
        return [f"{cells} {side} a limit that is not given, read as missing: set {setting} in the dictionary"]
    return [
        f"{cells} {side} a limit that is not given, read as {side} the {extreme} value{shown}: set {setting} in the "
        "dictionary"
    ]


def beyond(values: Floats, bound: Floats, limit: float | Floats | None, side: str) -> list[str]:
    """Values beyond a limit become bounds."""
    if limit is None:
        return []
    each = np.broadcast_to(limit, values.shape)
    with np.errstate(invalid="ignore"):
        hit = values < each if side == "below" else values > each
    bound[hit] = each[hit]
    values[hit] = np.nan
    if not hit.any():
        return []
    return [f"{int(hit.sum())} value{'s' * (int(hit.sum()) != 1)} {side} the limit read as no more than that"]


def why_not_modelled(values: Floats) -> str:
    """Why a column cannot be modelled: nothing or too little varies in it; empty where it can.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN unless observed.
    """
    seen = values[~np.isnan(values)]
    if not seen.size:
        return f"missing in all {values.size} rows"
    if seen.size == 1:
        return f"a value in only one of {values.size} rows"
    if seen.min() == seen.max():
        return f"constant ({seen.min():g})"
    return ""


def require_range(sheet: Columns, name: str, values: Floats) -> None:
    """Raise where a column varies too little or is too large for double precision."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    size, spread, where = max(abs(low), abs(high)), high - low, str(sheet.path)
    if size > LARGEST or spread < SMALLEST:
        got = f"column {name!r} has values up to {size:g} and a range of {spread:g}"
        raise InputError(where, got, f"values below {LARGEST:g} that vary by more than {SMALLEST:g}", "change its unit")
    if spread < DIGITS_LEFT * size:
        got = f"column {name!r} varies by {spread:g} around {np.nanmean(values):g}"
        raise InputError(where, got, f"variation above {DIGITS_LEFT:g} of the size", "subtract a constant from it")


def refuse_unmodelled(sheet: Columns, name: str, reason: str) -> None:
    """Raise for a column that was asked for and does not vary."""
    verb = {"m": "is ", "c": "is ", "a": "has "}[reason[0]]
    got, needed = f"column {name!r} {verb}{reason}", "at least 2 different values are needed"
    raise InputError(str(sheet.path), got, needed, "leave it out with --columns")


def marker_values(sheet: Columns, position: int, decimal: str, asked: bool) -> Floats | None:
    """Values of a column for a model that cannot use limits; None for a column of text that nobody asked for.

    Raises
    ------
    InputError
        If a cell cannot be read or is a limit, or the column does not vary.
    """
    marker = read_marker(sheet, position, Rules(decimal, sheet.codes), asked=asked)
    if marker is None:
        return None
    limited = np.flatnonzero(np.isnan(marker.values) & (np.isfinite(marker.lower) | np.isfinite(marker.upper)))
    if limited.size:
        row = int(limited[0])
        cell = sheet.cells[position][row][:40]
        more = f" (and {limited.size - 1} more cells)" if limited.size > 1 else ""
        raise InputError(
            sheet.at(row, position),
            f"{cell!r} is a detection limit, which this model cannot use{more}",
            "numbers and missing codes only",
            "fill it first (emtools impute), or choose columns with --columns",
        )
    reason = why_not_modelled(marker.values)
    if reason:
        refuse_unmodelled(sheet, sheet.header[position], reason)
    require_range(sheet, sheet.header[position], marker.values)
    return marker.values

"""Filled cells put back into a file of any format, with everything else as it was."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.io.annotated import Annotated, write_annotated
from emtools.io.delimited import Delimited
from emtools.io.excel import Workbook, write_workbook
from emtools.io.olink import Olink, flag_name, lines_like

if TYPE_CHECKING:
    import pyarrow

DIGITS = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Filled:
    """Cells to write.

    Parameters
    ----------
    gaps : ndarray of bool, shape (n, d)
        Those that were filled.
    values, sd : ndarray, shape (n, d)
        Values without gaps, and standard deviations of what was filled; `sd` may be None.
    positions : sequence of int
        Place of each of the d markers among the columns.
    decimal : str
        "." or ",".
    """

    gaps: npt.NDArray[np.bool_]
    values: Floats
    sd: Floats | None
    positions: Sequence[int]
    decimal: str

    def cells(self) -> dict[tuple[int, int], float]:
        """Filled values by row and column of the file."""
        rows, markers = np.nonzero(self.gaps)
        columns = np.asarray(self.positions, dtype=np.intp)[markers]
        return dict(
            zip(zip(rows.tolist(), columns.tolist(), strict=True), self.values[self.gaps].tolist(), strict=True)
        )


def write_content(content: Any, filled: Filled, target: Path) -> None:
    """Write a file as it was read, with its gaps filled.

    Parameters
    ----------
    content : Delimited, Workbook, Annotated, Olink or pyarrow.Table
        The file.
    filled : Filled
        Cells.
    target : Path
        File to write.
    """
    if isinstance(content, Delimited):
        changes = {place: number_text(value, filled.decimal, content) for place, value in filled.cells().items()}
        write_text(content.with_cells(changes), target)
    elif isinstance(content, Workbook):
        write_workbook(content, filled.cells(), target)
    elif isinstance(content, Annotated):
        write_annotated(content, filled.positions, filled.gaps, filled.values, filled.sd, target)
    elif isinstance(content, Olink):
        write_olink(content, filled, target)
    else:
        write_arrow(content, filled, target)


def write_text(raw: bytes, target: Path) -> None:
    """Text, packed where the name says so."""
    target.write_bytes(gzip.compress(raw, mtime=0) if target.suffix == ".gz" else raw)


def number_text(value: float, decimal: str, content: Delimited) -> str:
    """A filled value with `DIGITS` significant digits, in the decimal sign of the table."""
    text = format(value, f".{DIGITS}g")
    text = text if decimal == "." else text.replace(".", decimal)
    return f'"{text}"' if content.separator in text else text


def write_arrow(content: pyarrow.Table, filled: Filled, target: Path) -> None:
    """A Parquet file; columns of integers with gaps become numbers, columns of text stay text."""
    import pyarrow.parquet

    for marker in np.flatnonzero(filled.gaps.any(axis=0)).tolist():
        rows = np.flatnonzero(filled.gaps[:, marker])
        content = with_values(content, filled.positions[marker], rows, filled.values[rows, marker])
    pyarrow.parquet.write_table(content, target)


def with_values(content: pyarrow.Table, position: int, rows: npt.NDArray[np.intp], values: Floats) -> pyarrow.Table:
    """An Arrow table with numbers in some rows of a column."""
    import pyarrow

    kinds = pyarrow.types
    field, old = content.schema.field(position), content.column(position)
    if kinds.is_floating(field.type) or kinds.is_integer(field.type) or kinds.is_decimal(field.type):
        kind = field.type if kinds.is_floating(field.type) else pyarrow.float64()
        numbers = np.array(old.cast(kind, safe=False).to_numpy())
        unknown = np.array(old.is_null().to_numpy())
        numbers[rows], unknown[rows] = values, False
        column = pyarrow.array(numbers, kind, mask=unknown)
    else:
        kind = pyarrow.string()
        texts = old.cast(kind).to_pylist()
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            texts[row] = format(value, f".{DIGITS}g")
        column = pyarrow.array(texts, kind)
    return content.set_column(position, pyarrow.field(field.name, kind, metadata=field.metadata), column)


def write_olink(source: Olink, filled: Filled, target: Path) -> None:
    """The long table with NPX filled, a column of flags, and lines for samples and assays that had none."""
    by_line: dict[int, float] = {}
    added: list[tuple[int, int, float]] = []
    for row, marker in np.argwhere(filled.gaps).tolist():
        assay, value = filled.positions[marker] - source.first, float(filled.values[row, marker])
        line = int(source.lines[row, assay])
        if line >= 0:
            by_line[line] = value
        else:
            added.append((row, assay, value))
    like = lines_like(source, [(row, assay) for row, assay, _ in added]) if added else []
    new = [(texts, value) for texts, (_, _, value) in zip(like, added, strict=True)]
    if isinstance(source.long, Workbook):
        write_workbook(source.long, {(line, source.value): value for line, value in by_line.items()}, target)
    elif isinstance(source.long, Delimited):
        write_text(long_text(source, source.long, by_line, new), target)
    else:
        write_long_arrow(source, by_line, new, target)


def long_text(
    source: Olink, text: Delimited, by_line: dict[int, float], new: Sequence[tuple[dict[int, str], float]]
) -> bytes:
    """The text of a long table."""
    changes = {(line, source.value): number_text(value, source.decimal, text) for line, value in by_line.items()}
    rows = []
    for texts, value in new:
        cells = [texts.get(place, "") for place in range(len(text.header))]
        cells[source.value] = format(value, f".{DIGITS}g").replace(".", source.decimal)
        rows.append([*cells, "1"])
    flags = ["1" if line in by_line else "0" for line in range(len(text.cells))]
    return text.with_column(flag_name(text.header), flags, changes, rows)


def write_long_arrow(
    source: Olink, by_line: dict[int, float], new: Sequence[tuple[dict[int, str], float]], target: Path
) -> None:
    """A long table as Parquet."""
    import pyarrow
    import pyarrow.parquet

    rows = np.array(sorted(by_line), dtype=np.intp)
    content = with_values(source.long, source.value, rows, np.array([by_line[row] for row in rows.tolist()]))
    flags = np.zeros(content.num_rows, dtype=bool)
    flags[rows] = True
    content = content.append_column(flag_name(content.column_names), pyarrow.array(flags))
    if new:
        columns = []
        for place, field in enumerate(content.schema):
            if place == source.value:
                columns.append(pyarrow.array([value for _, value in new]).cast(field.type))
            elif place == len(content.schema) - 1:
                columns.append(pyarrow.array([True] * len(new)))
            else:
                texts = pyarrow.array([texts.get(place) or None for texts, _ in new], pyarrow.string())
                columns.append(texts.cast(field.type))
        content = pyarrow.concat_tables([content, pyarrow.table(columns, schema=content.schema)])
    pyarrow.parquet.write_table(content, target)

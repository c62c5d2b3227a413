"""Names in the header of a table, from its first bytes."""

from __future__ import annotations

from pathlib import Path

from emtools.io.delimited import SNIFFED_LINES, find_separator, split_cells, unquote
from emtools.io.olink import is_olink
from emtools.io.sniff import HEAD, TEXT, bare_suffix, read_head


def table_columns(path: Path) -> tuple[str, ...] | None:
    """Names in the header of a delimited table; None where the format is another, or turned before it is read."""
    if bare_suffix(path) not in TEXT:
        return None
    head = read_head(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
    else:
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            cut = error.start >= HEAD - 4
            text = head.decode("utf-8-sig" if cut else "cp1252", errors="replace")
    lines = [line for line in text.splitlines()[:SNIFFED_LINES] if line.strip()]
    if not lines:
        return ()
    whole = lines[:-1] if len(head) == HEAD and len(lines) > 1 else lines
    names = tuple(unquote(cell) for cell in split_cells(lines[0], find_separator(whole)))
    return None if is_olink(names) else names

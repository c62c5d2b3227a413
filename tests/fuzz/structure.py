"""Damage to what a file means: fields of tables, tags of images, columns of Parquet, values of arrays, keys of a config."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIELDS = (
    "", " ", "0", "-1", "1e400", "-1e308", "1e-320", "nan", "inf", "9" * 30, "9223372036854775807", "4294967296", "1_000", "٣", "½",
    "1,5", "1.5.2", "<5", ">5", "<", "TRUE", "null", "NA", "id", "x" * 3000, "é", "\u202e", "a\0b", "../x", "'", '"', '""', "=1+1", "#", ">",
    "0x10", "1e5", "1-2", "2024-01-01", "-", "+", "\ufeff", "chr1", "chr2", "S1", "A", "1 2",
)  # fmt: skip
XML = (
    "", "0", "-1", "1", "99999999", "4294967296", "9" * 40, "A1", "XFD1048576", "A0", "1A", "A1:XFD1048576", "s", "str", "inlineStr", "b", "e",
    "d", "n", "nan", "x" * 3000, "&#0;", "&bad;", "../../../etc/passwd", "/xl/worksheets/sheet1.xml", "float", "uint64", "complex", "XYCZT", "YX",
)  # fmt: skip
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
LENGTHS = (0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def fields(text: str, rng: random.Random) -> str:
    """Lines and fields taken out, doubled, swapped or replaced."""
    lines = text.split("\n")
    mark = max(";\t,= ", key=text.count)
    at = rng.randrange(len(lines))
    parts = lines[at].split(mark)
    one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(12):
        case 0:
            del lines[at]
            return "\n".join(lines)
        case 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
            return "\n".join(lines)
        case 2:
            to = rng.randrange(len(lines))
            lines[at], lines[to] = lines[to], lines[at]
            return "\n".join(lines)
        case 3:  # a column of all lines
            made = [line.split(mark) for line in lines]
            value = rng.choice(FIELDS)
            for row in made[rng.randrange(2) :]:
                if one < len(row):
                    row[one] = value
            return "\n".join(mark.join(row) for row in made)
        case 4:
            made = [line.split(mark) for line in lines]
            for row in made:
                if one < len(row):
                    del row[one]
            return "\n".join(mark.join(row) for row in made)
        case 5:
            parts[one] = parts[other]
        case 6:
            parts *= rng.choice((2, 300))
        case 7:
            del parts[one]
        case 8:
            return "\n".join(lines[:at] + [lines[at]] * rng.choice((3, 3000)) + lines[at:])
        case _:
            parts[one] = rng.choice(FIELDS)
    lines[at] = mark.join(parts)
    return "\n".join(lines)


def markup(text: str, rng: random.Random) -> str:
    """XML with a value of an attribute, a text or an element replaced, taken out or doubled."""
    values = list(re.finditer(r'"[^"]*"|(?<=>)[^<]+(?=<)', text))
    elements = list(re.finditer(r"<(\w[\w:]*)\b[^>]*?(?:/>|>[^<]*</\1>)", text))
    case = rng.randrange(10)
    if case == 0:
        return re.sub(r"(<\?xml.*?\?>)?", lambda found: found[0] + BOMB + "]>", text, count=1).replace(">0<", ">&i;<")
    if case < 4 and elements:
        chosen = rng.choice(elements)
        return text[: chosen.start()] + chosen[0] * rng.choice((0, 0, 2, 500)) + text[chosen.end() :]
    if values:
        chosen = rng.choice(values)
        value = rng.choice(XML)
        return text[: chosen.start()] + (f'"{value}"' if chosen[0][0] == '"' else value) + text[chosen.end() :]
    return text


def in_zip(path: Path, rng: random.Random, change: Callable[[str, bytes, random.Random], bytes]) -> None:
    """One part of an archive changed, with its check sum."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    chosen = rng.choice(list(parts))
    parts[chosen] = change(chosen, parts[chosen], rng)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def array(values: np.ndarray, rng: random.Random) -> np.ndarray:
    """Another type, shape or value."""
    with np.errstate(all="ignore"):
        match rng.randrange(10):
            case 0:
                kind = rng.choice(("i1", "u8", "f2", "f4", "c16", "S3", "U4", "?", "M8[s]", ">f8", "V4"))
                try:
                    return values.astype(kind)
                except (ValueError, TypeError):
                    return np.zeros(values.shape, kind)
            case 1:
                return values.reshape(-1)
            case 2:
                return values[..., None]
            case 3:
                return values[:0]
            case 4:
                return values.T
            case 5:
                return np.concatenate([values.reshape(-1)] * 2)
            case 6:
                return np.zeros((0, 5))
            case _:
                changed = values.copy().reshape(-1)
                if changed.size:
                    odd = rng.choice((0, -1, 1e300, float("nan"), float("inf"), 2**31, 2**62, 255))
                    try:
                        changed[rng.randrange(changed.size)] = odd
                    except (OverflowError, ValueError, TypeError):
                        changed[:] = changed[0]
                return changed.reshape(values.shape)


def npy(_: str, data: bytes, rng: random.Random) -> bytes:
    """An array in the form of numpy; the words in it are JSON."""
    from fuzz.damage import damaged_tree

    values = np.load(io.BytesIO(data))
    if values.dtype.kind == "U" and not values.ndim:
        values = np.asarray(json.dumps(damaged_tree(json.loads(str(values)), rng)))
    else:
        values = array(values, rng)
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def parquet(path: Path, rng: random.Random) -> None:
    """A table of other types, names or sizes, or with other words of pandas about it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from fuzz.damage import damaged_tree

    table = pq.read_table(path)
    at = rng.randrange(table.num_columns)
    n = table.num_rows
    odd = (
        lambda: pa.array([[1.5]] * n),
        lambda: pa.array([{"a": 1}] * n),
        lambda: pa.array([b"\xff\xfe"] * n),
        lambda: pa.nulls(n),
        lambda: pa.array(["x"] * n).dictionary_encode(),
        lambda: pa.array([2**63 - 1] * n),
        lambda: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda: pa.array([0] * n, pa.timestamp("ns", "UTC")),
        lambda: pa.array([10**9] * n, pa.time64("us")),
        lambda: pa.array([-(2**62)] * n, pa.timestamp("us")),
        lambda: pa.array([1] * n, pa.duration("s")),
        lambda: pa.array([0] * n, pa.date32()),
        lambda: pa.array([1] * n).cast(pa.decimal128(38, 10)),
        lambda: pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
        lambda: pa.array([True] * n),
        lambda: pa.array([float("inf")] * n, pa.float32()),
        lambda: pa.array([1.5] * n).cast(pa.float16()),
        lambda: pa.array(["\ud800x".encode("utf-16", "surrogatepass").decode("utf-16", "replace")] * n),
    )
    match rng.randrange(6):
        case 0:
            table = table.rename_columns(
                [
                    rng.choice(("", "a", "a.b", "\n", "x" * 3000, "{x}", table.column_names[0])) if i == at else name
                    for i, name in enumerate(table.column_names)
                ]
            )
        case 1:
            about = dict(table.schema.metadata or {})
            if b"pandas" in about:
                about[b"pandas"] = json.dumps(damaged_tree(json.loads(about[b"pandas"]), rng)).encode()
            table = table.replace_schema_metadata(about)
        case 2:
            table = rng.choice((table.slice(0, 0), table.select([]), pa.concat_tables([table] * 50)))
        case _:
            table = table.set_column(at, table.column_names[at], rng.choice(odd)())
    pq.write_table(
        table,
        path,
        row_group_size=rng.choice((1, 9, 1000)),
        compression=rng.choice(("none", "snappy", "gzip", "zstd", "brotli")),
    )


def tiff(data: bytes, rng: random.Random) -> bytes:
    """An entry of a directory of tags with another tag, type, count or value, a chain that runs in a circle, other words."""
    changed = bytearray(data)
    places, seen = [], set()
    (at,) = struct.unpack_from("<I", changed, 4)
    while at and at + 2 <= len(changed) and at not in seen:
        seen.add(at)
        (count,) = struct.unpack_from("<H", changed, at)
        places += [at + 2 + 12 * entry for entry in range(count)]
        last = at + 2 + 12 * count
        (at,) = struct.unpack_from("<I", changed, last)
    place = rng.choice(places)
    tag, form, count, value = struct.unpack_from("<HHII", changed, place)
    tags = (
        254,
        256,
        257,
        258,
        259,
        262,
        273,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        330,
        338,
        339,
        347,
        32997,
        50838,
    )
    match rng.randrange(7):
        case 0:
            tag = rng.choice(tags)
        case 1:
            form = rng.choice((0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 16, 18, 99))
        case 2:
            count = rng.choice(LENGTHS)
        case 3 if tag == 270:
            words = (
                markup(bytes(changed[value : value + count]).decode("latin-1"), rng).encode("latin-1", "replace")
                + b"\0"
            )
            value, count = len(changed), len(words)
            changed += words
        case 4:
            struct.pack_into("<I", changed, last, rng.choice((place - 2, 4, 8, 2**31)))
        case _:
            value = rng.choice((*LENGTHS, 5, 8, 32773, 32946, 34925, 50000))
    struct.pack_into("<HHII", changed, place, tag, form, count, value)
    return bytes(changed)


def streams(data: bytes, rng: random.Random) -> bytes:
    """What is packed by zlib within a file changed, where it still fits into its place."""
    from fuzz.damage import damaged

    found = []
    for start in [match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data)]:
        packed = zlib.decompressobj()
        try:
            inner = packed.decompress(data[start:], 2**20)
        except zlib.error:
            continue
        if packed.eof and inner:
            found.append((start, len(data) - start - len(packed.unused_data), inner))
    if not found:
        return damaged(data, rng)
    start, length, inner = rng.choice(found)
    if rng.random() < 0.5:
        changed = bytearray(inner)
        struct.pack_into(
            "<I", changed, rng.randrange(0, max(1, len(inner) - 3), 4) % max(1, len(inner) - 3), rng.choice(LENGTHS)
        )
        inner = bytes(changed)
    else:
        inner = damaged(inner, rng)
    again = zlib.compress(inner, 9)
    return (
        data[:start] + again + data[start + len(again) :]
        if len(again) > length
        else data[:start] + again.ljust(length, b"\0") + data[start + length :]
    )


def header(data: bytes, rng: random.Random) -> bytes:
    """A number among the first of a file, where sizes and offsets stand."""
    changed = bytearray(data)
    form = rng.choice(("<H", "<I", "<Q"))
    at = 2 * rng.randrange(min(300, len(data) - 8) // 2)
    struct.pack_into(form, changed, at, rng.choice((*LENGTHS, 2**40, 2**63)) % 2 ** (8 * struct.calcsize(form)))
    return bytes(changed)


def config(path: Path, rng: random.Random) -> None:
    """A key or value of a config changed, in YAML that may repeat itself."""
    import yaml
    from fuzz.damage import damaged_tree

    tree = yaml.safe_load(path.read_text())
    chosen: Any = tree
    for _ in range(rng.randrange(1, 4)):
        if isinstance(chosen, dict) and chosen:
            key = rng.choice(list(chosen))
            if rng.random() < 0.3:
                new = rng.choice(
                    (
                        "x",
                        "",
                        1,
                        None,
                        True,
                        1.5,
                        "../x",
                        "a b",
                        "{x}",
                        "input",
                        "seed",
                        "e" * 300,
                        "é",
                        "a:b",
                        "__use_yte__",
                    )
                )
                chosen[new] = chosen.pop(key)
                break
            if not isinstance(chosen[key], (dict, list)):
                chosen[key] = rng.choice(
                    (
                        *FIELDS,
                        [],
                        {},
                        [[1]],
                        {"a": 1},
                        2**70,
                        -(2**70),
                        float("nan"),
                        ["a"] * 2000,
                        "impute:lab",
                        "hmm:long",
                        "motif:sites",
                        "demo:x",
                        "a.fa",
                    )
                )
                break
            chosen = chosen[key]
        else:
            tree = damaged_tree(tree, rng)
            break
    made = yaml.safe_dump(tree, sort_keys=False)
    match rng.randrange(12):
        case 0:
            made += "\nmore: " + "[" * 2000
        case 1:
            made = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n" + made
        case 2:
            made += "\n---\nseed: 3\n"
        case 3:
            made = fields(made, rng)
        case 4:
            made = "&x\n" + made + "more: *x\n"
        case 5:
            made = made.replace(
                "seed: 1",
                rng.choice(
                    (
                        "seed: 0o17",
                        "seed: 1:30",
                        "seed: 2001-01-01",
                        "seed: !!binary aGk=",
                        "seed: !!set {a}",
                        "<<: {seed: 2}",
                        "? [a]\n: 1",
                    )
                ),
            )
    path.write_text(made)


def checkpoint(path: Path, rng: random.Random) -> None:
    """A value somewhere in the states of a checkpoint changed, with the right hash."""
    from emtools.engine import checkpoint as module

    kept = module.Checkpoint(path, (), "emtools")
    key, states, _ = kept.read(path.read_bytes())
    chosen = rng.choice(list(states))
    state = kept.read(states[chosen])
    node, key_of, below = None, None, state
    for _ in range(rng.randrange(1, 8)):
        inside = (
            list(enumerate(below))
            if isinstance(below, (list, tuple))
            else list(vars(below).items())
            if hasattr(below, "__dict__")
            else []
        )
        if not inside:
            break
        node, (key_of, below) = below, rng.choice(inside)
    odd = (
        None,
        -1,
        0,
        2**40,
        1e300,
        float("nan"),
        float("-inf"),
        "x",
        (),
        [],
        {},
        np.zeros(0),
        np.zeros((3, 1)),
        np.zeros(2, "i4"),
    )
    changed = array(below, rng) if isinstance(below, np.ndarray) and rng.random() < 0.6 else rng.choice(odd)
    if isinstance(node, list):
        node[key_of] = changed
    elif node is not None and not isinstance(node, tuple):
        object.__setattr__(node, key_of, changed)
    else:
        state = changed
    states[chosen] = pickle.dumps(state, protocol=5)
    path.write_bytes(pickle.dumps((key, states, module.digest_of(states)), protocol=5))


def damage_structure(path: Path, rng: random.Random) -> bool:
    """Whether a way is known to damage what the file at `path` means, which is done."""
    data = path.read_bytes()
    if path.suffix == ".npz":
        in_zip(path, rng, npy)
    elif path.suffix == ".npy":
        path.write_bytes(npy("", data, rng))
    elif data.startswith(b"PK\x03\x04"):
        in_zip(path, rng, lambda _, part, chance: markup(part.decode(), chance).encode("utf-8", "replace"))
    elif data.startswith(b"PAR1"):
        parquet(path, rng)
    elif data.startswith(b"II*\0"):
        path.write_bytes(streams(data, rng) if rng.random() < 0.2 else tiff(data, rng))
    elif path.suffix == ".checkpoint":
        checkpoint(path, rng)
    elif path.suffix == ".bw":
        path.write_bytes(rng.choice((streams, header))(data, rng))
    elif path.suffix == ".yaml":
        config(path, rng)
    elif data.startswith((b"\x1f\x8b", b"\x89PNG", b"\x89HDF", b"{")) or not data:
        return False
    else:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return False
        path.write_bytes(fields(text, rng).encode("utf-8", "surrogatepass"))
    return True

"""Damage to a file: flipped bytes, cuts, splices, odd words, and the same inside of what is packed."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.structure import damage_structure

WORDS = (
    b"", b"0", b"-1", b"1e400", b"NaN", b"inf", b"-0.0", b"9" * 30, b"1e-320", b"<", b">", b"<0,5", b"'", b'"', b",", b";", b"\t",
    b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"=1+1", b"{x}", b"$(id)", b"../..", b"true", b"null",
    b"[]", b"{}", b": ", b"- ", b"&a", b"*a", b"!!python/object/apply:os.system [x]", "µ".encode(), "\u2028".encode(), b"A" * 5000,
)  # fmt: skip
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
VALUES = (
    None,
    True,
    -1,
    0,
    1e300,
    "",
    "x",
    [],
    {},
    [[]],
    {"a": None},
    "9" * 400,
    "\u2028<script>",
    "../../x",
    "/etc/passwd",
    "a\0b",
    10**12,
    2**70,
    [10**12, 10**12],
    [-1, 3],
    {"a": {"a": {"a": []}}},
    [None],
    float("nan"),
)


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def drop(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 8, 40))]


def repeat(data: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(data))
    piece = data[first : first + rng.choice((1, 4, 30, 200))]
    at = rng.randrange(len(data))
    data[at:at] = piece * rng.choice((1, 2, 20))


def word(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + rng.choice((0, 1, 4))] = rng.choice(WORDS)


def number(data: bytearray, rng: random.Random) -> None:
    """A number that a header may hold, over what stands there."""
    size, form = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    at = rng.randrange(len(data))
    packed = struct.pack(rng.choice("<>") + form, rng.choice(NUMBERS) % 2 ** (8 * size))
    data[at : at + size] = packed


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip,
    flip,
    cut,
    drop,
    repeat,
    word,
    word,
    number,
    number,
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` after a few damages."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if changed:
            rng.choice(DAMAGES)(changed, rng)
    return bytes(changed)


def unpacked(path: Path, rng: random.Random) -> None:
    """Damage inside gzip, a zip archive, the chunks of a PNG or JSON, with check sums that are right again."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        path.write_bytes(gzip.compress(damaged(gzip.decompress(data), rng), mtime=0))
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        chosen = rng.choice(list(parts))
        parts[chosen] = damaged(parts[chosen], rng)
        if rng.random() < 0.1:
            del parts[chosen]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
    elif data.startswith(b"\x89PNG"):
        path.write_bytes(damaged_png(data, rng))
    elif data.startswith(b"{"):
        path.write_text(json.dumps(damaged_tree(json.loads(data), rng)))
    else:
        path.write_bytes(damaged(data, rng))


def damaged_png(data: bytes, rng: random.Random) -> bytes:
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    chosen = rng.randrange(len(chunks))
    kind, body = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(damaged(zlib.decompress(body), rng))
    else:
        body = damaged(body, rng) if body else b"x"
    chunks[chosen] = (kind, body)
    whole = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(whole)


def damaged_tree(tree: Any, rng: random.Random) -> Any:
    """JSON with one value replaced, taken out or doubled."""
    node = tree
    while True:
        if not isinstance(node, (dict, list)) or not node:
            return rng.choice(VALUES)
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        match rng.randrange(5):
            case 0:
                del node[key]
            case 1 if isinstance(node, list):
                node.append(node[key])
            case _:
                node[key] = rng.choice(VALUES)
        return tree


def damage_hdf5(path: Path, rng: random.Random) -> None:
    """A node taken out, an attribute changed, or a dataset of another type or shape in place of one."""
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        node = file[rng.choice(names)]
        match rng.randrange(8):
            case 0:
                del file[node.name]
            case 2 | 3 if isinstance(node, h5py.Dataset) and node.size and node.dtype.kind in "iuf":
                values = node[...].reshape(-1)
                odd = rng.choice((-1, 0, 1, 3, 10**6, 2**31 - 1, 2**62, float("nan"), float("-inf"), 1e300))
                try:
                    with np.errstate(all="ignore"):
                        values[rng.randrange(values.size)] = odd
                except (OverflowError, ValueError):
                    values[:] = values[::-1]
                node[...] = values.reshape(node.shape)
            case 4:
                name, parent = node.name, node.parent
                other = rng.choice(names)
                attributes = dict(node.attrs)
                del file[name]
                match rng.randrange(5):
                    case 0:
                        file[name] = h5py.SoftLink(rng.choice(("/nowhere", name, f"/{other}", "/")))
                    case 1:
                        file[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "none.h5", path.name)), "/X")
                    case 2 if other in file:
                        file[name] = file[other]
                    case 3:
                        parent.create_dataset(name, data=np.zeros(12, [("a", "f8"), ("b", "S2")])).attrs.update(
                            attributes
                        )
                    case _:
                        parent.create_group(name).attrs.update(attributes)
            case 5 if isinstance(node, h5py.Dataset) and node.dtype.kind in "iufb":
                name, parent, attributes = node.name, node.parent, dict(node.attrs)
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    values = node[()].astype(rng.choice(("u4", "u8", "i2", "i1", ">i4", "f8", "f2", "?", "S3")))
                del file[name]
                parent.create_dataset(name, data=values).attrs.update(attributes)
            case 1 if len(node.attrs):
                key = rng.choice(list(node.attrs))
                if rng.random() < 0.3:
                    del node.attrs[key]
                else:
                    node.attrs[key] = rng.choice(
                        ("x", -1, 2**40, 1.5, np.zeros(3), [b"\xff"], "csr_matrix", "nullable-integer")
                    )
            case _:
                name, parent = node.name, node.parent
                attributes = dict(node.attrs)
                del file[name]
                other = rng.choice(
                    (0, "x", np.zeros((2, 3)), np.full(12, np.nan), [b"\xff\xfe"] * 12, np.zeros((0, 5)), np.arange(12))
                )
                if rng.random() < 0.2:
                    made = parent.create_dataset(name, shape=(10**6, 10**6), chunks=(10, 10), dtype="f8")
                else:
                    made = parent.create_dataset(name, data=other)
                made.attrs.update(attributes)


def damage(good: Path, copy: Path, seed: int) -> None:
    """A copy of a file or folder, damaged in a way that `seed` alone decides."""
    rng = random.Random(seed)
    if good.is_dir():
        shutil.copytree(good, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        chosen = rng.choice(files)
        if rng.random() < 0.1:
            chosen.unlink()
            match rng.randrange(4):
                case 0:
                    chosen.mkdir()
                case 1:
                    chosen.symlink_to(chosen.name)
                case 2:
                    chosen.symlink_to(rng.choice(files))
            return
        if rng.random() < 0.6 and damage_structure(chosen, rng):
            return
        unpacked(chosen, rng) if rng.random() < 0.5 else chosen.write_bytes(damaged(chosen.read_bytes(), rng))
        return
    shutil.copy(good, copy)
    if copy.suffix == ".h5ad" and rng.random() < 0.6:
        damage_hdf5(copy, rng)
    elif rng.random() < 0.5 and damage_structure(copy, rng):
        return
    elif rng.random() < 0.5:
        unpacked(copy, rng)
    else:
        copy.write_bytes(damaged(copy.read_bytes(), rng))

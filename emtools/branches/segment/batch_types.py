"""What the modules of ``emtools segment`` for a batch pass to one another: options, and the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emtools.branches.options import RunOptions
from emtools.branches.segment.types import RGB
from emtools.errors import InputError
from emtools.io.images import Image, read_image
from emtools.io.outputs import sha256

IMAGES = "images"  # folder of the folders of the images


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools segment`` for a batch; the fields are those of the command line.

    Parameters
    ----------
    inputs : tuple of Path
        Images, and folders of images; or one large image.
    components : int
        Number of classes K, 2 to 16.
    channel : int or None
        Channel, from 0, whose mean orders the classes; the first that varies by default.
    smallest : int
        Area in pixels of the smallest object kept.
    pixel_size : float or None
        Side of a pixel in µm; from the files by default.
    """

    inputs: tuple[Path, ...]
    components: int = 2
    channel: int | None = None
    smallest: int = 30
    pixel_size: float | None = None


@dataclass(frozen=True)
class Member:
    """An image of the batch, without its pixels: name, file, hash, and which channels vary."""

    name: str
    image: Image
    sha: str
    varied: tuple[bool, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    grey: bool


class Batch:
    """The images of a batch, read one at a time; the last one is held.

    Parameters
    ----------
    found : mapping of str to Path
        Files by name.
    pixel_size : float or None
        Instead of what the files say.

    Raises
    ------
    InputError
        If a file cannot be read, or does not match the others.
    """

    def __init__(self, found: Mapping[str, Path], pixel_size: float | None) -> None:
        self.pixel_size = pixel_size
        self.held: tuple[str, Image] | None = None
        self.members: list[Member] = []
        repeated: list[str] = []
        for name, path in found.items():
            image = self.read(name, path)
            if any(is_repeat(image, member.image) for member in self.members):
                repeated.append(path.name)
                continue
            values = image.values
            varied = tuple(bool(plane.min() < plane.max()) for plane in values)
            grey = image.channels == RGB and bool((values == values[:1]).all())
            n_rows, n_columns = values.shape[1:]
            bare = replace(image, values=values[:, :0, :0].copy())
            self.members.append(
                Member(name, bare, "".join(map(sha256, image.sources)), varied, (n_rows, n_columns), values.dtype, grey)
            )
            require_alike(self.members[0], self.members[-1])
        grey = all(member.grey for member in self.members)
        any_varied = np.array([member.varied for member in self.members]).any(axis=0)
        self.kept = [0] if grey else np.flatnonzero(any_varied).tolist()
        if not any_varied.any():
            raise InputError(str(path.parent), "no image of the batch varies", "images that vary", "check the exposure")
        first = self.members[0].image.channels
        self.channels = ("grey",) if grey else tuple(first[i] for i in self.kept)
        dropped = [first[i] for i in range(len(first)) if not any_varied[i]]
        self.notes = [f"channels that vary in no image are not used: {', '.join(dropped)}"] if dropped else []
        if repeated:
            self.notes.append(f"left out, since images before them hold the same planes: {', '.join(repeated)}")

    def read(self, name: str, path: Path) -> Image:
        """An image as it is in its file."""
        if self.held is None or self.held[0] != name:
            self.held = None
            self.held = (name, read_image(path, self.pixel_size, flat=True))
        return self.held[1]

    def load(self, number: int) -> Image:
        """An image with the channels that are used."""
        member = self.members[number]
        image = self.read(member.name, member.image.path)
        if image.values.dtype != member.dtype or image.values.shape[1:] != member.shape:
            raise InputError(str(member.image.path), "was changed while it was worked on", "", "run it again")
        values = image.values if len(self.kept) == len(image.values) else image.values[self.kept]
        return replace(image, values=values, channels=self.channels, positions=tuple(self.kept))


def is_repeat(image: Image, other: Image) -> bool:
    """Whether two files are one image whose planes lie in several; a link or copy of a whole image counts as another."""
    in_others = bool(image.files or other.files)
    return in_others and {p.resolve() for p in image.sources} == {p.resolve() for p in other.sources}


def require_alike(first: Member, other: Member) -> None:
    """Refuse an image that cannot share a model with the first of its batch.

    Raises
    ------
    InputError
        If their channels or the types of their values differ.
    """
    told = [
        f"{len(m.varied)} channel{'s' * (len(m.varied) > 1)} ({', '.join(m.image.channels)})" for m in (first, other)
    ]
    if first.image.channels != other.image.channels:
        raise InputError(
            str(other.image.path), told[1], f"{told[0]}, as in {first.image.path}", "give one batch images of one kind"
        )
    if first.dtype != other.dtype:
        raise InputError(
            str(other.image.path), f"values of type {other.dtype}", f"{first.dtype}, as in {first.image.path}",
            "save them alike, or segment them one by one",
        )  # fmt: skip

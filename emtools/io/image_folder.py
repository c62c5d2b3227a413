"""Which files are the images of a batch; light, so that a folder is refused before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emtools.errors import InputError, require_text

STORES = (".zgroup", ".zattrs", "zarr.json")  # files that a folder of zarr has
ENDINGS = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".btf", ".png", ".ome.zarr", ".zarr")


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr store."""
    return any((path / mark).is_file() for mark in STORES)


def is_batch(paths: Sequence[Path]) -> bool:
    """Whether several images are named, or a folder of them."""
    return len(paths) > 1 or (paths[0].is_dir() and not is_store(paths[0]))


def stem_of(path: Path) -> str:
    """Name of an image without its ending."""
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)] or path.name


def list_images(paths: Sequence[Path]) -> dict[str, Path]:
    """Images of a batch by name, in the order of their names.

    Parameters
    ----------
    paths : sequence of Path
        Images, and folders of images; other files of a folder, its hidden files and its folders are left alone.

    Raises
    ------
    InputError
        If a folder holds no image, two images have one name, or a name is none that a folder can have.
    """
    listed: list[Path] = []
    for path in paths:
        if not is_batch([path]):
            listed.append(path)
            continue
        inside = [p for p in path.iterdir() if p.name.lower().endswith(ENDINGS) and not p.name.startswith(".")]
        inside = [p for p in inside if not p.is_dir() or is_store(p)]
        if not inside:
            raise InputError(str(path), "holds no image", f"files named {', '.join(ENDINGS)}", "check the folder")
        require_text(p.name for p in inside)
        listed += inside
    found: dict[str, Path] = {}
    for path in sorted(listed, key=lambda p: (stem_of(p), str(p))):
        name = stem_of(path)
        if name in (".", ".."):
            raise InputError(str(path), f"would have its results in {name}", "a name of letters", "rename it")
        twin = next((other for other in found if other.casefold() == name.casefold()), None)
        if twin is not None:
            raise InputError(
                str(path), f"has the name of {found[twin]}", "one image of each name in a batch", "rename one of them"
            )
        found[name] = path
    return found

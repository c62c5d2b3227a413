"""``emtools segment``: an image, many images with one model, or a table of features."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from emtools.commands.parsing import branch_parser, positive, positive_real, whole
from emtools.errors import InputError
from emtools.io.image_folder import is_batch
from emtools.io.sniff import TABLES, bare_suffix

FEATURES = (*TABLES, ".h5ad")
OF_TABLES = ("columns", "id", "layer", "order_by", "scaling")
OF_IMAGES = {"model": "field", "weights": "equal", "channel": None, "smooth": 1.0, "smallest": 30, "pixel_size": None}


def add_segment(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools segment``."""
    segment = branch_parser(
        branches,
        "segment",
        "INPUT…",
        "segment an image, many images or a folder of them with one model, or a table of features",
        "emtools segment nuclei.tif --out results/nuclei --components 2\n"
        "  emtools segment plate/ --out results/plate\n"
        "  emtools segment nuclei.csv --out results/nuclei --truth diagnosis",
        3,
    )
    segment.add_argument(
        "--model",
        choices=("field", "mixture"),
        default="field",
        help="what gives the answer: a random field under a smooth illumination (default), or a mixture of single pixels",
    )
    segment.add_argument(
        "--components", type=whole(2, 16), default=2, metavar="K", help="number of classes (default 2)"
    )
    segment.add_argument(
        "--family",
        choices=("full", "tied", "diagonal", "spherical"),
        default=None,
        help="covariances of the mixture (default: tied for an image, full for a table)",
    )
    segment.add_argument(
        "--weights",
        choices=("equal", "free"),
        default="equal",
        help="class weights of the mixture; free ones follow abundance (default equal)",
    )
    segment.add_argument(
        "--channel",
        type=int,
        default=None,
        metavar="C",
        help="channel that orders the classes and decides which is brightest, from 0 (default: the first that varies)",
    )
    segment.add_argument(
        "--smooth",
        type=positive_real,
        default=1.0,
        metavar="PIXELS",
        help="sigma of the blurred feature of the mixture (default 1)",
    )
    segment.add_argument(
        "--smallest", type=positive, default=30, metavar="PIXELS", help="smallest object kept (default 30)"
    )
    segment.add_argument(
        "--pixel-size",
        type=positive_real,
        default=None,
        metavar="UM",
        help="size of a pixel in µm (default: from the file)",
    )
    segment.add_argument(
        "--truth",
        metavar="IMAGE|COLUMN",
        help="label image with the true objects; of a table, the column of known classes",
    )
    add_feature_table(segment)


def add_feature_table(segment: argparse.ArgumentParser) -> None:
    """Options of ``emtools segment`` for a table of features."""
    table = segment.add_argument_group("table of features (CSV, TSV, Parquet, Excel, AnnData) in place of an image")
    table.add_argument(
        "--columns", nargs="+", action="extend", metavar="COLUMN", help="features (default: all numeric columns)"
    )
    table.add_argument("--id", metavar="COLUMN", help="column that names the rows")
    table.add_argument("--layer", metavar="NAME", help="of an AnnData file (default: X)")
    table.add_argument(
        "--order-by", metavar="COLUMN", help="feature whose mean numbers the classes (default: the first)"
    )
    table.add_argument(
        "--scaling",
        choices=("raw", "z-scored", "log-z"),
        default=None,
        help="of the fit that is the answer; all three are shown (default z-scored)",
    )


def route_segment(chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of the one of the two kinds of `segment` that the ending of the input asks for.

    Raises
    ------
    InputError
        If options of the other kind are given.
    """
    paths = chosen["input"]
    chosen = chosen | {"input": paths[0]}
    if is_batch(paths):
        return route_batch(chosen, tuple(paths))
    table = bare_suffix(paths[0]) in FEATURES
    foreign: dict[str, Any] = OF_IMAGES if table else dict.fromkeys(OF_TABLES)
    given = [f"--{key.replace('_', '-')}" for key, default in foreign.items() if chosen[key] != default]
    if given:
        raise InputError(
            ", ".join(given),
            f"given with {'a table' if table else 'an image'}",
            f"it is for {'images' if table else 'tables'}",
            "leave it out or see emtools segment --help",
        )
    kept = {key: value for key, value in chosen.items() if key not in foreign}
    if table:
        ours = {"family": kept["family"] or "full", "scaling": kept["scaling"] or "z-scored"}
        return kept | ours | {"module": "emtools.branches.segment.table_input"}
    truth = kept["truth"]
    return kept | {"family": kept["family"] or "tied", "truth": None if truth is None else Path(truth)}


def route_batch(chosen: dict[str, Any], paths: tuple[Path, ...]) -> dict[str, Any]:
    """Options of `segment` for many images.

    Raises
    ------
    InputError
        If an option is given that a batch does not have.
    """
    alone: dict[str, Any] = {**dict.fromkeys(OF_TABLES), **OF_IMAGES, "family": None, "truth": None}
    of_batch = ("channel", "smallest", "pixel_size")
    given = [
        f"--{key.replace('_', '-')}" for key, default in alone.items() if key not in of_batch and chosen[key] != default
    ]
    if given:
        raise InputError(
            ", ".join(given), "given with several images", "it is for one image or a table", "leave it out"
        )
    kept = {key: value for key, value in chosen.items() if key not in alone or key in of_batch}
    kept.pop("input")
    return kept | {"inputs": paths, "module": "emtools.branches.segment.batch_input"}

"""``emtools deconvolve``: cells, and mixtures of known types."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from emtools.commands.parsing import branch_parser, positive
from emtools.errors import InputError

FAMILIES = (
    "shrunken", "full", "tied", "diagonal", "spherical",
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
)  # fmt: skip
OF_CELLS = (
    "components",
    "criterion",
    "family",
    "layer",
    "representation",
    "dimensions",
    "columns",
    "id",
    "log",
    "sample",
    "truth",
    "prefix",
)
OF_MIXTURES = ("reference", "markers", "donor", "rna", "rna_per_cell")
CELLS_GIVEN = {"family": "shrunken", "prefix": "type", "criterion": "icl"}


def components(text: str) -> int | str | range:
    """Reader of a number of types, of LOW-HIGH, or of "auto"."""
    low, dash, high = text.partition("-")
    if text == "auto":
        return text
    if not (dash and low):
        return positive(text)
    first, last = positive(low), positive(high)
    if last < first:
        raise argparse.ArgumentTypeError(f"{text} has its larger end first")
    return range(first, last + 1)


def add_deconvolve(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools deconvolve``."""
    deconvolve = branch_parser(
        branches,
        "deconvolve",
        "INPUT",
        "find cell types and their expression (Gaussian mixture on AnnData, or on the rows of a table), or, with "
        "--reference, what mixtures of known types are made of",
        "emtools deconvolve cells.h5ad --out results/cells --components 8 --sample donor",
        60,
    )
    deconvolve.add_argument(
        "--components",
        type=components,
        metavar="K",
        help="number of types; LOW-HIGH or auto (1-20) to have it chosen; not with --reference",
    )
    deconvolve.add_argument(
        "--criterion",
        choices=("icl", "bic", "held_out"),
        default="icl",
        help="by what the number is chosen (default icl)",
    )
    deconvolve.add_argument(
        "--family",
        choices=FAMILIES,
        default="shrunken",
        help="covariances: shrunken, each type its own, shrunk to a common one (default); full, tied, diagonal or spherical",
        metavar="FAMILY",
    )
    deconvolve.add_argument(
        "--representation", default=None, metavar="KEY", help="key of obsm, or X (default X_pca, computed where absent)"
    )
    deconvolve.add_argument(
        "--dimensions",
        type=positive,
        default=None,
        metavar="D",
        help="use the first D columns (default: 10 of X_pca, all of X)",
    )
    deconvolve.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        default=None,
        metavar="NAME",
        help="variables of X, or columns of a table (default: all)",
    )
    deconvolve.add_argument(
        "--layer", metavar="NAME", help="layer in place of X, or raw (default: raw for the profiles, X for the model)"
    )
    deconvolve.add_argument("--id", default=None, metavar="COLUMN", help="of a table: column that names the rows")
    deconvolve.add_argument(
        "--log",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="of a table: columns modelled on the log scale",
    )
    deconvolve.add_argument(
        "--sample", default=None, metavar="OBS", help="obs or table column with the donor or sample, for proportions"
    )
    deconvolve.add_argument(
        "--truth", default=None, metavar="OBS", help="obs or table column with known types, to measure the agreement"
    )
    deconvolve.add_argument(
        "--labels",
        metavar="OBS",
        help="obs column with the type of some cells, which the others follow; with --reference, that of its cells",
    )
    deconvolve.add_argument(
        "--prefix", default="type", metavar="WORD", help="types are named WORD_1, WORD_2, … (default type)"
    )
    mixtures = deconvolve.add_argument_group("bulk or spatial mixtures, given labelled cells or profiles")
    mixtures.add_argument(
        "--reference",
        type=Path,
        metavar="CELLS",
        help="AnnData of labelled cells, or a table of profiles (genes by types); INPUT then holds mixtures to take apart",
    )
    mixtures.add_argument(
        "--markers", type=Path, metavar="FILE", help="use these genes only: one a line, or a table with a column gene"
    )
    mixtures.add_argument("--donor", metavar="OBS", help="obs column of the reference with the donor, where several")
    mixtures.add_argument(
        "--rna", action="store_true", help="report fractions of the RNA instead of fractions of the cells"
    )
    mixtures.add_argument(
        "--rna-per-cell",
        metavar="FILE",
        help="table of the relative RNA content of a cell of each type (type, number), or reference for the mean total of its "
        "cells (raw counts): fractions of RNA and of cells are then both given with intervals",
    )


def route_deconvolve(chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of the one of the two kinds of `deconvolve` that is asked for.

    Raises
    ------
    InputError
        If options of the other kind are given, or one of its own is missing.
    """
    mixtures = chosen["reference"] is not None
    foreign = OF_CELLS if mixtures else OF_MIXTURES
    found = [name for name in foreign if chosen[name] not in (None, [], False, CELLS_GIVEN.get(name))]
    given = [f"--{name.replace('_', '-')}" for name in found]
    if given:
        where = "with" if mixtures else "without"
        raise InputError(
            ", ".join(given), f"given {where} --reference", "", "leave it out or see emtools deconvolve --help"
        )
    if not mixtures and chosen["components"] is None and chosen["labels"] is None:
        raise InputError("--components", "is missing", "the number of types, or auto", "see emtools deconvolve --help")
    if (
        not mixtures
        and chosen["criterion"] != CELLS_GIVEN["criterion"]
        and isinstance(chosen["components"], int | None)
    ):
        got = "--labels" if chosen["components"] is None else f"--components {chosen['components']}"
        raise InputError(
            "--criterion", f"given with {got}, so that no number is chosen", "--components auto", "leave it out"
        )
    if not mixtures and chosen["prefix"] != CELLS_GIVEN["prefix"] and chosen["labels"] is not None:
        raise InputError("--prefix", "given with --labels, whose names the types get", "one of them", "leave it out")
    kept = {key: value for key, value in chosen.items() if key not in foreign}
    return kept | ({"module": "emtools.branches.deconvolve.bulk_input"} if mixtures else {})

"""``emtools impute`` and ``emtools transform``."""

from __future__ import annotations

import argparse
from pathlib import Path

from emtools.commands.parsing import OUT, branch_parser, positive, positive_real, target, whole


def prior(text: str) -> str | float:
    """Reader of "auto", "none" or a weight in rows."""
    return text if text in ("auto", "none") else positive_real(text)


def add_impute(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools impute``."""
    impute = branch_parser(
        branches,
        "impute",
        "TABLE",
        "fill missing biomarker values, those beyond a limit of detection among them",
        "emtools impute markers.tsv --out results/markers --id patient --log CRP ferritin --batch plate --draws 20",
        1,
    )
    impute.set_defaults(tol=1e-12, module="emtools.branches.impute.fit")
    table = impute.add_argument_group("table")
    table.add_argument("--id", metavar="COLUMN", help="column that names the rows; kept, never imputed")
    table.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="markers to model (default: all numeric columns)",
    )
    table.add_argument(
        "--covariates",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="numbers or categories that enter as fixed effects",
    )
    table.add_argument("--batch", metavar="COLUMN", help="plate or batch of each row; enters as a fixed effect")
    table.add_argument(
        "--missing",
        nargs="+",
        action="extend",
        default=[],
        metavar="CODE",
        help="codes for a missing value beside blanks and NA",
    )
    table.add_argument(
        "--lod",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=LIMIT",
        help="limit of detection, a number or a column of limits",
    )
    table.add_argument(
        "--upper-limit",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=LIMIT",
        help="upper limit of quantification, likewise",
    )
    table.add_argument(
        "--dictionary", type=Path, metavar="FILE", help="data dictionary: a corrected dictionary.tsv of an earlier run"
    )
    table.add_argument("--sheet", metavar="NAME", help="of an Excel workbook (default: the only one)")
    table.add_argument("--layer", metavar="NAME", help="of an AnnData file (default: X)")
    table.add_argument(
        "--below-lod",
        choices=("keep", "censor"),
        default="keep",
        help="values that the file reports below their limit, as Olink does: use them as they are, or as '< limit' "
        "(default keep)",
    )
    table.add_argument(
        "--below-codes",
        nargs="+",
        action="extend",
        default=[],
        metavar="CODE",
        help="codes for a value below its limit, such as ND",
    )
    table.add_argument(
        "--qc-warnings",
        choices=("keep", "blank"),
        default="keep",
        help="Olink values with a warning of quality control: use them, or leave them out and fill them (default keep)",
    )
    table.add_argument("--truth", type=Path, metavar="TABLE", help="the same table without gaps, to measure the error")
    model = impute.add_argument_group("model")
    model.add_argument(
        "--model",
        choices=("normal", "t", "factors", "mixture", "auto"),
        default="normal",
        help="t: for outlying rows; factors: for thousands of markers; mixture: for groups of rows; auto: by held-out "
        "likelihood (default normal)",
    )
    model.add_argument(
        "--log", nargs="+", action="extend", default=[], metavar="COLUMN", help="markers modelled on the log scale"
    )
    model.add_argument(
        "--scale",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=SCALE",
        help="log, logit, rank-normal, yeo-johnson, box-cox, 'box-cox 0.25' or none; * for all other markers",
    )
    model.add_argument(
        "--prior",
        type=prior,
        default="auto",
        metavar="ROWS",
        help="weight of a ridge prior in rows, none, or auto: only where the likelihood has no maximum (default auto)",
    )
    model.add_argument("--factors", type=positive, metavar="Q", help="factors (default: by held-out likelihood)")
    model.add_argument("--components", type=positive, metavar="K", help="components of the mixture (default likewise)")
    answers = impute.add_argument_group("answers")
    answers.add_argument(
        "--fill",
        choices=("best", "model"),
        default="best",
        help="best: the conditional mean of the normal, drawn towards that of mixtures of normals as far as hidden cells say "
        "that it comes closer; model: of the model alone (default best)",
    )
    answers.add_argument(
        "--draws", type=whole(0), default=0, metavar="M", help="completed tables drawn for `emtools pool` (default 0)"
    )
    answers.add_argument(
        "--draw-method", choices=("bootstrap", "posterior"), default="bootstrap", help="how (default bootstrap)"
    )


def add_transform(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools transform``."""
    transform = branches.add_parser(
        "transform",
        help="fill the gaps of new rows with the model of an earlier run",
        description="Fill the gaps of new rows with the model of an earlier run of emtools impute; nothing is fitted.",
        epilog="example:\n  emtools transform new.tsv --model results/markers/model.npz --out results/new --id patient",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    transform.set_defaults(module="emtools.branches.transform")
    transform.add_argument("input", metavar="TABLE", type=Path)
    transform.add_argument("--model", type=Path, required=True, metavar="FILE", help="model.npz of the run")
    transform.add_argument("--out", metavar="DIR", type=target, required=True, help=OUT)
    transform.add_argument("--id", metavar="COLUMN", help="column that names the rows")
    transform.add_argument(
        "--missing", nargs="+", action="extend", default=[], metavar="CODE", help="codes for a missing value"
    )
    transform.add_argument(
        "--lod", nargs="+", action="extend", default=[], metavar="COLUMN=LIMIT", help="as in emtools impute"
    )
    transform.add_argument(
        "--upper-limit", nargs="+", action="extend", default=[], metavar="COLUMN=LIMIT", help="likewise"
    )
    transform.add_argument("--sheet", metavar="NAME", help="of an Excel workbook")
    transform.add_argument("--layer", metavar="NAME", help="of an AnnData file")
    transform.add_argument("--seed", type=whole(0), default=0, help="root of all random numbers (default 0)")
    transform.add_argument("--traceback", action="store_true", help="show where in the code an error arose")

"""The command line: ``emtools <branch> INPUT --out DIR``. Nothing heavy is imported before the arguments are read."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from emtools import __version__
from emtools.branches.pool import add_parser as add_pool
from emtools.errors import EmtoolsError, InputError
from emtools.io.image_folder import is_batch
from emtools.io.outputs import require_target
from emtools.io.sniff import TABLES, bare_suffix

EXITS = "exit status: 0 converged; 3 finished but not converged; 2 bad input or options; 1 anything else"
OUT = "folder for the results; those of an earlier fit there are replaced, other files stay"
FAMILIES = (
    "shrunken", "full", "tied", "diagonal", "spherical",
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
)  # fmt: skip
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; see {self.prog} --help\n")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Reader of integers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(
                f"{number} is not {f'at least {low}' if high is None else f'in {low} to {high}'}"
            )
        return number

    return read


positive = whole(1)


def width_range(text: str) -> tuple[int, int]:
    """A width, or the fewest and the most positions with a hyphen between."""
    first, hyphen, last = text.partition("-")
    narrow = whole(2)(first)
    wide = whole(2)(last) if hyphen else narrow
    if wide < narrow:
        raise argparse.ArgumentTypeError(f"{text}: the smaller number comes first")
    return narrow, wide


def real(low: float, inclusive: bool = False) -> Callable[[str], float]:
    """Reader of finite numbers above `low`, or at least `low`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if number < low or (number == low and not inclusive):
            raise argparse.ArgumentTypeError(f"{text} is not {'at least' if inclusive else 'above'} {low:g}")
        return number

    return read


positive_real = real(0)


def target(text: str) -> Path:
    """A path to write to."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def branch_parser(
    branches: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    source: str,
    what: str,
    example: str,
    starts: int,
) -> argparse.ArgumentParser:
    """A sub-command with the options that every branch has."""
    parser = branches.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}\n\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # one spelling of an option, so that fit.json has one command
    )
    parser.set_defaults(module=f"emtools.branches.{name}")
    several = {"nargs": "+"} if source.endswith("…") else {}
    parser.add_argument("input", metavar=source.rstrip("…"), type=Path, **several)
    parser.add_argument("--out", metavar="DIR", type=target, required=True, help=OUT)
    common = parser.add_argument_group("fit")
    common.add_argument("--seed", type=whole(0), default=0, help="root of all random numbers (default 0)")
    common.add_argument("--threads", type=positive, default=1, help="threads; cannot change a result (default 1)")
    common.add_argument("--starts", type=positive, default=starts, help=f"number of starts (default {starts})")
    common.add_argument(
        "--tol", type=positive_real, default=1e-6, help="remaining gain to stop at, nats (default %(default)g)"
    )
    common.add_argument("--max-passes", type=positive, default=2000, help="passes a start may take (default 2000)")
    common.add_argument(
        "--algorithm", choices=("accelerated", "em"), default="accelerated", help="em: plain EM (default %(default)s)"
    )
    common.add_argument(
        "--executor",
        metavar="WHERE",
        default="threads",
        help="threads (default), processes, or the address of a Dask scheduler; cannot change a result",
    )
    common.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="file from which an interrupted fit goes on, to the same bytes"
    )
    common.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return parser


def add_helpers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Commands around the fits: demo inputs, the page of a run, a look at a config."""
    demo = commands.add_parser("demo", help="write a real data set to try a command on")
    demo.set_defaults(module="emtools.io.demo")
    demo.add_argument("name", metavar="NAME", help="pbmc68k_reduced, diabetes, diabetes_masked or breast_cancer")
    demo.add_argument("--out", metavar="FILE", type=target, required=True, help="file to write")

    summary = commands.add_parser("summary", help="one page for a run of many fits, and tables for MultiQC")
    summary.set_defaults(module="emtools.report.run")
    summary.add_argument("fits", metavar="FIT.json", nargs="+", type=Path, help="fit.json of each fit")
    summary.add_argument("--out", metavar="DIR", type=target, required=True, help="folder for index.html and runs.tsv")
    summary.add_argument("--multiqc", metavar="FILE", help="MultiQC report to link to, seen from DIR")
    summary.add_argument("--snakemake", metavar="FILE", help="Snakemake report to link to, seen from DIR")

    show = commands.add_parser("show", help="show fits in the terminal: verdict, climb, estimates")
    show.set_defaults(module="emtools.report.show")
    show.add_argument("fits", metavar="FIT", nargs="+", type=Path, help="fit.json, or the folder that holds it")
    show.add_argument("--all", action="store_true", help="every estimate, however many there are")

    doctor = commands.add_parser("doctor", help="what is installed here, and which optional parts are there")
    doctor.set_defaults(module="emtools.doctor")

    init = commands.add_parser(
        "init",
        help="write a commented config of the workflow for data of your own",
        epilog="example:\n  emtools init data --out mine.yaml\n  snakemake --cores all --configfile mine.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    init.set_defaults(module="emtools.io.proposal")
    init.add_argument("data", metavar="DATA", nargs="+", type=Path, help="tables, h5ad, images, FASTA; or their folder")
    init.add_argument("--out", metavar="FILE", type=target, required=True, help="config to write; none is replaced")

    check = commands.add_parser("check", help="check a workflow config without running anything")
    check.set_defaults(module="emtools.io.config")
    check.add_argument("config", metavar="CONFIG", type=Path, help="YAML file")
    check.add_argument("--schemas", metavar="DIR", type=Path, help="default: workflow/schemas of the repository")
    for parser in (demo, summary, show, doctor, init, check):
        parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")


def add_impute(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools impute``, ``transform`` and ``pool``."""
    impute = branch_parser(
        branches,
        "impute",
        "TABLE",
        "fill missing biomarker values, those beyond a limit of detection among them",
        "emtools impute markers.tsv --out results/markers --id patient --log CRP ferritin --batch plate --draws 20",
        1,
    )
    impute.set_defaults(tol=1e-12)
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
    add_pool(branches)


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


def prior(text: str) -> str | float:
    """Reader of "auto", "none" or a weight in rows."""
    return text if text in ("auto", "none") else positive_real(text)


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


def build_parser() -> argparse.ArgumentParser:
    """All sub-commands."""
    parser = Parser(
        prog="emtools",
        description="Expectation-Maximization for what was not observed, with word on whether to believe the answer.",
        epilog=EXITS,
    )
    parser.add_argument("--version", action="version", version=f"emtools {__version__}")
    branches = parser.add_subparsers(dest="branch", metavar="COMMAND", required=True)

    add_impute(branches)

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
        help="channel that orders the classes and decides which is brightest, from 0 (default: the first)",
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

    hmm = branch_parser(
        branches,
        "hmm",
        "FASTA",
        "find hidden states in sequences (Baum-Welch)",
        "emtools hmm genome.fa --out results/genome --states 2",
        10,
    )
    hmm.add_argument("--states", type=whole(1, 100), required=True, metavar="K", help="number of hidden states")
    hmm.add_argument("--alphabet", choices=("dna", "rna", "protein"), default="dna", help="letters (default dna)")
    hmm.add_argument(
        "--pseudocount",
        type=real(0, inclusive=True),
        default=0.0,
        metavar="A",
        help="Dirichlet pseudo-count of every probability (default 0)",
    )

    motif = branch_parser(
        branches,
        "motif",
        "FASTA",
        "find a sequence motif and its sites (OOPS, ZOOPS or any number a sequence)",
        "emtools motif peaks.fa --out results/peaks --width 12",
        50,
    )
    motif.add_argument(
        "--width",
        type=width_range,
        default=(6, 20),
        metavar="W|A-B",
        help="width of the motif, bp, or a range (default 6-20)",
    )
    motif.add_argument(
        "--occurrence",
        choices=("oops", "zoops", "anr"),
        default="zoops",
        help="one site a sequence, zero or one (default), or any number",
    )
    motif.add_argument("--strands", choices=("both", "one"), default="both", help="strands searched (default both)")
    motif.add_argument(
        "--background-order",
        type=int,
        choices=range(6),
        default=None,
        metavar="M",
        help="order of the Markov background, 0 to 5 (default: by the number of letters)",
    )
    motif.add_argument(
        "--background",
        type=Path,
        metavar="FASTA",
        help="learn the background from these sequences, not the searched ones",
    )
    motif.add_argument(
        "--untested", action="store_true", help="leave out the E-value, which takes as long as the search"
    )
    motif.add_argument("--name", default="motif", help="name of the motif in the files (default motif)")
    motif.add_argument("--regions", type=Path, metavar="BED", help="search these regions of the FASTA")
    motif.add_argument("--region-name", default=None, metavar="NAME", help="use only the regions with this name")
    motif.add_argument(
        "--window", type=positive, default=None, metavar="BP", help="cut long regions into windows of this length"
    )
    motif.add_argument("--truth", type=Path, metavar="BED", help="known sites, to measure what was found")

    add_helpers(branches)
    return parser


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
OF_MIXTURES = ("reference", "markers", "donor", "rna")
CELLS_GIVEN = {"family": "shrunken", "prefix": "type", "criterion": "icl"}


def route_deconvolve(chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of the one of the two kinds of `deconvolve` that is asked for.

    Raises
    ------
    InputError
        If options of the other kind are given, or one of its own is missing.
    """
    mixtures = chosen["reference"] is not None
    foreign = OF_CELLS if mixtures else OF_MIXTURES
    given = [f"--{name}" for name in foreign if chosen[name] not in (None, [], False, CELLS_GIVEN.get(name))]
    if given:
        where = "with" if mixtures else "without"
        raise InputError(
            ", ".join(given), f"given {where} --reference", "", "leave it out or see emtools deconvolve --help"
        )
    if not mixtures and chosen["components"] is None and chosen["labels"] is None:
        raise InputError("--components", "is missing", "the number of types, or auto", "see emtools deconvolve --help")
    kept = {key: value for key, value in chosen.items() if key not in foreign}
    return kept | ({"module": "emtools.branches.deconvolve_bulk"} if mixtures else {})


FEATURES = (*TABLES, ".h5ad")
OF_TABLES = ("columns", "id", "layer", "order_by", "scaling")
OF_IMAGES = {"model": "field", "weights": "equal", "channel": None, "smooth": 1.0, "smallest": 30, "pixel_size": None}


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
        return kept | ours | {"module": "emtools.branches.segment_table"}
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
    return kept | {"inputs": paths, "module": "emtools.branches.segment_batch"}


def pin_threads() -> None:
    """One thread for BLAS and OpenMP; ours are our own. Must come before numpy is imported."""
    for name in POOLS:
        os.environ[name] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit status; see the epilog of the help.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = vars(build_parser().parse_args(words))
    pin_threads()
    branch = chosen.pop("branch")
    traceback = chosen.pop("traceback", False)
    try:
        if branch == "deconvolve":
            chosen = route_deconvolve(chosen)
        if branch == "segment":
            chosen = route_segment(chosen)
        name = chosen.pop("module")
        if name.startswith("emtools.branches."):
            given = [value for key, value in chosen.items() if key != "out" and isinstance(value, Path)]
            given += chosen.get("inputs", ())
            require_target(chosen["out"], given)
        module = import_module(name)
        return int(module.run(module.Options(**chosen, command=("emtools", *words))))
    except EmtoolsError as error:
        if traceback:
            raise
        print(f"emtools: error: {error}", file=sys.stderr)
        return error.exit_code


def entry() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()

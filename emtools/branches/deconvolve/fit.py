"""``emtools deconvolve``: cell types, what they express and how much of each, by a Gaussian mixture."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from emtools.branches.deconvolve.page import Found, describe, draw
from emtools.branches.deconvolve.types import Options
from emtools.branches.finish import finish
from emtools.cell_types.answer import Kept, Question, Typed, answer, keep
from emtools.cell_types.represent import doubts, expression_of, represented
from emtools.cell_types.reproduce import Reliability, reliability
from emtools.cell_types.search import Search, compact_groups
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.cells import Cells, Labels, is_zarr, labels_of, write_anndata
from emtools.io.console import Progress
from emtools.io.outputs import staged
from emtools.io.unit_table import UnitTable
from emtools.kernels.agreement import (
    adjusted_rand,
    contingency,
    majority_accuracy,
    matched_accuracy,
    matching,
    normalised_information,
    one_hot,
)
from emtools.kernels.composition import effective_counts

OURS = "Gaussian mixture"


def analyse(options: Options, content: UnitTable | AnnData) -> int:
    """Fit what was read, write; the exit code."""
    given = given_by(options, content)
    cells, labels = given.cells, given.labels
    judged = None if cells.truth is None else unlabelled(cells.truth, labels)
    search = Search(
        starts=options.starts,
        seed=options.seed,
        threads=options.threads,
        tol=options.tol,
        max_passes=options.max_passes,
        accelerate=options.algorithm == "accelerated",
        executor=options.executor,
        checkpoint=options.checkpoint,
    )
    question = Question(
        n_types=options.components,
        criterion=options.criterion,
        family=options.family,
        labels=labels,
        prefix=options.prefix,
        search=search,
    )
    progress = Progress(f"deconvolve {options.input.name}", 0, options.quiet)
    typed = answer(cells, question, progress)
    kept = keep(given.adata, cells, typed, given.expression, given.source, given.in_units)
    progress.close(typed.fitted.summary)
    tables = (
        {} if judged is None else truth_tables(typed, judged, compact_groups(cells.values, len(typed.types), search))
    )
    found = Found(
        name=options.input.name,
        cells=cells,
        typed=typed,
        kept=kept,
        genes=tuple(str(name) for name in given.adata.var_names),
        unit=given.unit,
        log=tuple(options.log),
        tables=tables,
        accuracy=None if judged is None else accuracy_table(typed, judged, tables),
        curves=curves(typed, labels, judged),
        notes=notices(given),
        labels=None if labels is None else labels.column,
    )
    for note in found.notes:
        print(f"deconvolve: {note}", file=sys.stderr)
    with staged(options.out) as folder:
        written = f"cells.{'zarr' if is_zarr(options.input) else 'h5ad'}"
        write_anndata(given.adata, folder / written)
        shares = share_table(typed)
        shares.to_csv(folder / "proportions.tsv", sep="\t", index=False)
        samples = sample_table(typed, kept)
        if samples is not None:
            samples.to_csv(folder / "proportions_by_sample.tsv", sep="\t", index=False)
        frame = pd.DataFrame(kept.means, columns=list(typed.types))
        frame.insert(0, "gene" if given.unit == "cells" else "variable", found.genes)
        frame.to_csv(folder / "profiles.tsv", sep="\t", index=False)
        page = describe(found, shares, samples, written, draw(found, folder))
        square = [cells.dimensions, cells.dimensions]
        axes = {"weights": [typed.types], "means": [typed.types, cells.dimensions]}
        layout = typed.fitted.model.mixture.layout if labels is not None else typed.fitted.model.layout
        axes["covariances"] = square if layout == "tied" else [typed.types, *square]
        axes["variances"] = [typed.types, cells.dimensions] if layout == "diagonal" else [typed.types]
        return finish(
            folder,
            typed.fitted,
            page,
            options,
            branch="deconvolve",
            inputs=[options.input],
            labels=axes,
            units={} if given.unit == "cells" else {"means": "SD", "covariances": "SD²", "variances": "SD²"},
            accuracy=found.accuracy,
        )


@dataclass(frozen=True)
class Given:
    """What the input says.

    Parameters
    ----------
    adata : AnnData
        Everything that came with it.
    cells : Cells
        What is modelled, with samples and known types.
    labels : Labels or None
        Known types that the others follow.
    expression : matrix, shape (n, G)
        What types are described by.
    source : str
        Where it lies.
    unit : str
        What a row is, in the plural.
    in_units : callable or None
        Takes means of the expression to the units of the input.
    """

    adata: AnnData
    cells: Cells
    labels: Labels | None
    expression: Any
    source: str
    unit: str
    in_units: Any = None


def given_by(options: Options, content: UnitTable | AnnData) -> Given:
    """What is modelled, as `emtools.tl.mixture` would take it."""
    if isinstance(content, UnitTable):
        return Given(content.adata, content.cells, None, content.modelled, "X", "rows", content.in_units)
    adata, where = content, str(options.input)
    raw = True if options.layer == "raw" and "raw" not in adata.layers else None
    layer = None if raw else options.layer
    cells = represented(adata, options.representation, options.dimensions, options.columns, layer, raw, where)
    sample = labels_of(adata, options.sample, "--sample", where)
    cells = replace(cells, sample=sample, truth=labels_of(adata, options.truth, "--truth", where))
    labels = labels_of(adata, options.labels, "--labels", where)
    expression, source = expression_of(adata, layer, raw)
    return Given(adata, cells, labels, expression, source, "cells")


def notices(given: Given) -> tuple[str, ...]:
    """What the reader should know of the input before believing the answer."""
    cells = given.cells
    notes = doubts(cells, given.expression, given.source) if given.unit == "cells" else []
    if cells.sample is not None and (n_without := int((cells.sample.codes < 0).sum())):
        notes.append(
            f"{n_without} of {len(cells.names)} {given.unit} have no {cells.sample.column} and count in no row of "
            "proportions_by_sample.tsv"
        )
    return tuple(notes)


def unlabelled(truth: Labels, labels: Labels | None) -> Labels:
    """The known types without those of cells whose label was given.

    Raises
    ------
    InputError
        If none are left.
    """
    codes = truth.codes if labels is None else np.where(labels.codes >= 0, -1, truth.codes)
    if not (codes >= 0).any():
        raise InputError("--truth", "every cell with a known type has a label", "some without", "leave --truth out")
    return replace(truth, codes=codes)


def share_table(typed: Typed) -> pd.DataFrame:
    """One row per type."""
    weights = typed.posterior
    assigned = np.bincount(typed.responsibilities.argmax(axis=1), minlength=len(typed.types))
    return pd.DataFrame(
        {
            "type": typed.types,
            "proportion": typed.shares,
            "standard_error": typed.share_errors,
            "n_expected": weights.sum(axis=0),
            "n_effective": effective_counts(weights),
            "n_assigned": assigned,
            "reproducibility": typed.trust.by_type,
        }
    )


def sample_table(typed: Typed, kept: Kept) -> pd.DataFrame | None:
    """One row per sample and type; None without samples."""
    told = kept.samples
    if not told:
        return None
    n_types, taken = len(typed.types), ("type", "proportion", "lower", "upper", "n_expected", "n")
    column = told["column"] if told["column"] not in taken else "sample"
    return pd.DataFrame(
        {
            column: np.repeat(told["samples"], n_types),
            "type": np.tile(np.array(typed.types, dtype=object), len(told["samples"])),
            "proportion": told["proportions"].ravel(),
            "lower": told["lower"].ravel(),
            "upper": told["upper"].ravel(),
            "n_expected": (told["proportions"] * told["n"][:, None]).ravel(),
            "n": np.repeat(told["n"], n_types),
        }
    )


def truth_tables(typed: Typed, truth: Labels, rivals: npt.NDArray[np.intp]) -> dict[str, Floats]:
    """Counts of known groups against types, for each method."""
    known, n_types = truth.codes >= 0, len(typed.types)
    methods = {OURS: typed.responsibilities.argmax(axis=1), "K-means": rivals}
    tables = {}
    for name, found in methods.items():
        table = np.zeros((len(truth.names), n_types))
        counted = contingency(truth.codes[known], one_hot(found[known], n_types))
        table[: len(counted)] = counted
        tables[name] = table
    return tables


def accuracy_table(typed: Typed, truth: Labels, tables: dict[str, Floats]) -> pd.DataFrame:
    """Agreement with the known groups, units without one left out."""
    rows: list[tuple[str, str, float]] = []
    for method, counts in tables.items():
        rows += [
            (method, "ARI", adjusted_rand(counts)),
            (method, "NMI", normalised_information(counts)),
            (method, "matched accuracy", matched_accuracy(counts)),
            (method, "majority accuracy", majority_accuracy(counts)),
        ]
    curve = truth_curve(typed, truth, tables[OURS])
    known = truth.codes >= 0
    rows.append((OURS, "mean certainty", float(typed.responsibilities[known].max(axis=1).mean())))
    rows.append((OURS, "calibration error", curve.error))
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def truth_curve(typed: Typed, truth: Labels, table: Floats) -> Reliability:
    """How often a type was the known group that it is matched to, by its stated probability."""
    rows, columns = matching(table)
    partner = np.full(table.shape[1], -1)
    partner[columns] = rows
    known = truth.codes >= 0
    weights = typed.responsibilities[known]
    right = partner[weights.argmax(axis=1)] == truth.codes[known]
    return reliability(weights.max(axis=1), right.astype(np.float64))


def curves(typed: Typed, labels: Labels | None, truth: Labels | None) -> dict[str, Reliability]:
    """Curves of reliability by what they were measured with."""
    found: dict[str, Reliability] = {}
    if typed.trust.curve is not None:
        found["other fits agree" if labels is None else "hidden labels"] = typed.trust.curve
    if truth is not None:
        known = truth.codes >= 0
        table = contingency(truth.codes[known], one_hot(typed.responsibilities.argmax(axis=1)[known], len(typed.types)))
        found[truth.column] = truth_curve(typed, truth, table)
    return found

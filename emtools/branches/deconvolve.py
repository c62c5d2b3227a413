"""``emtools deconvolve``: cell types, what they express and how much of each, by a Gaussian mixture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from emtools.branches.finish import finish
from emtools.branches.options import RunOptions
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.io.cells import (
    Cells,
    Labels,
    annotate,
    expression_of,
    load_anndata,
    looks_like_counts,
    read_cells,
    require_independent,
    require_prefix,
    require_size,
    write_anndata,
)
from emtools.io.console import Progress
from emtools.io.outputs import staged
from emtools.io.unit_table import UnitTable, is_table, read_unit_table
from emtools.kernels.agreement import (
    adjusted_rand,
    contingency,
    majority_accuracy,
    matched_accuracy,
    normalised_information,
    one_hot,
)
from emtools.kernels.composition import (
    Profiles,
    effective_counts,
    principal_axes,
    share_errors,
    telling,
    type_profiles,
)
from emtools.models.mixture import Family, GaussianMixture, data_prior, kmeans
from emtools.plots.deconvolve import MOST_WRITTEN, draw_confusion, draw_profiles, draw_proportions, draw_types
from emtools.plots.style import Picture
from emtools.report.page import Page, Table

UNCERTAIN = 0.1
PARAMETERS_A_VALUE = 0.1  # of full covariances; the others share more
RAW = "X looks like raw counts: normalise, log1p and reduce (scanpy pp.normalize_total, pp.log1p, pp.pca) first"
SHOWN_GENES = 40

REFERENCES = (
    "McLachlan & Peel (2000) Finite Mixture Models. Wiley, doi:10.1002/0471721182 (the model).",
    "Dempster, Laird & Rubin (1977) J. R. Stat. Soc. B 39:1, doi:10.1111/j.2517-6161.1977.tb01600.x (EM).",
    "Fraley & Raftery (2007) J. Classif. 24:155, doi:10.1007/s00357-007-0004-5 (the prior on the covariances).",
    "Virshup et al. (2024) J. Open Source Softw. 9:4371, doi:10.21105/joss.04371 (AnnData).",
)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools deconvolve``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        AnnData file, or a table with one row per unit.
    components : int
        Number of types K.
    family : str
        Covariances.
    representation, dimensions, columns
        What of the input is modelled; see `read_cells`.
    id : str or None
        For a table, the column that names the rows.
    log : sequence of str
        For a table, columns modelled on the log scale.
    sample, truth : str or None
        Columns that name the sample and the known type.
    prefix : str
        Types are named ``prefix_1``, ``prefix_2``, ….
    """

    input: Path
    components: int
    family: Family = "full"
    representation: str | None = None
    dimensions: int | None = None
    columns: Sequence[str] | None = None
    id: str | None = None
    log: Sequence[str] = ()
    sample: str | None = None
    truth: str | None = None
    prefix: str = "type"


@dataclass(frozen=True)
class Finding:
    """The answer of a mixture, in the words of a branch.

    Parameters
    ----------
    types : tuple of str
        Names, K of them.
    responsibilities : ndarray, shape (n, K)
        Posterior probabilities.
    rivals : ndarray of int, shape (n,), or None
        Clusters of K-means; None where none of its starts was usable.
    unit : str
        What a row is, in the plural.
    """

    types: tuple[str, ...]
    responsibilities: Floats
    rivals: Any
    unit: str

    @property
    def shares(self) -> Floats:
        """Share of each type, shape (K,)."""
        return np.asarray(self.responsibilities.mean(axis=0), dtype=np.float64)

    @property
    def largest(self) -> Floats:
        """Probability of the most probable type, shape (n,)."""
        return np.asarray(self.responsibilities.max(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Expression:
    """What profiles are made of.

    Parameters
    ----------
    adata : AnnData
        Everything that came with the input.
    profiles : Profiles
        Profiles of its variables, as modelled.
    means : ndarray, shape (G, K)
        Mean of each variable in each type, in the units of the input.
    source : str
        Where the values lie.
    what : str
        What they are, for captions.
    """

    adata: AnnData
    profiles: Profiles
    means: Floats
    source: str
    what: str


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    require_prefix(options.prefix)
    cells, table = read(options)
    model = GaussianMixture(options.components, cells.values.shape[1], options.family)
    most = PARAMETERS_A_VALUE if options.family == "full" else 1.0
    require_size(cells, options.components, model.n_free_parameters, most)
    require_independent(cells, pairs_only=options.family in ("diagonal", "spherical"))
    notes = notices(options, cells, "cells" if table is None else "rows")
    model = replace(model, prior=data_prior(cells.values, options.components, options.family))
    source = ArraySource(cells.values)
    progress = Progress(f"deconvolve {options.input.name}")
    fitted = fit(
        model,
        source,
        starts=options.starts,
        **options.climbing,
        checkpoint=options.checkpoint,
        on_pass=progress,
    )
    finding = Finding(
        types=tuple(f"{options.prefix}_{k + 1}" for k in range(options.components)),
        responsibilities=model.responsibilities(fitted.params, cells.values),
        rivals=hard_clusters(options, cells.values, source),
        unit="cells" if table is None else "rows",
    )
    expression = express(options, cells, finding, table)
    errors = fitted.certificate.standard_errors.get("weights") if fitted.certificate else None
    whole = errors is not None and bool(np.isfinite(errors).all())
    errors = np.asarray(errors) if whole else share_errors(finding.responsibilities)
    shares = share_table(finding, errors)
    samples = None if cells.sample is None else sample_table(finding, cells.sample)
    accuracy = None if cells.truth is None else accuracy_table(finding, cells.truth)
    annotate(
        expression.adata,
        finding.types,
        finding.responsibilities,
        expression.means,
        record(options, cells, fitted, finding, expression),
    )
    progress.close(fitted.summary)
    for note in notes:
        print(f"deconvolve: {note}", file=sys.stderr)
    with staged(options.out) as folder:
        write_anndata(expression.adata, folder / "cells.h5ad")
        shares.to_csv(folder / "proportions.tsv", sep="\t", index=False)
        if samples is not None:
            samples.to_csv(folder / "proportions_by_sample.tsv", sep="\t", index=False)
        frame = pd.DataFrame(expression.means, columns=list(finding.types))
        frame.insert(0, "gene" if table is None else "variable", expression.adata.var_names)
        frame.to_csv(folder / "profiles.tsv", sep="\t", index=False)
        pictures = draw(cells, finding, expression, errors, whole, folder)
        page = describe(options, cells, finding, expression, pictures, shares, samples, accuracy)
        words = [page.lead, several_readings(fitted), *(f"Mind: {note}." for note in notes)]
        page = replace(page, lead=" ".join(filter(None, words)))
        axes = {"weights": [finding.types], "means": [finding.types, cells.dimensions]}
        square = [cells.dimensions, cells.dimensions]
        axes["covariances"] = square if options.family == "tied" else [finding.types, *square]
        axes["variances"] = [finding.types, cells.dimensions] if options.family == "diagonal" else [finding.types]
        return finish(
            folder,
            fitted,
            page,
            options,
            branch="deconvolve",
            inputs=[options.input],
            labels=axes,
            units={} if table is None else {"means": "SD", "covariances": "SD²", "variances": "SD²"},
            accuracy=accuracy,
        )


def read(options: Options) -> tuple[Cells, UnitTable | None]:
    """The representation; for a table also the AnnData made of it."""
    if is_table(options.input):
        if options.representation or options.dimensions:
            raise InputError("--representation, --dimensions", "given with a table", "an AnnData file", "use --columns")
        table = read_unit_table(
            options.input,
            id_column=options.id,
            columns=options.columns,
            log=options.log,
            sample=options.sample,
            truth=options.truth,
        )
        return table.cells, table
    if options.id or options.log:
        raise InputError("--id, --log", "given with an AnnData file", "a table (.csv, .tsv)", "leave them out")
    cells = read_cells(
        options.input,
        representation=options.representation,
        dimensions=options.dimensions,
        columns=options.columns,
        sample=options.sample,
        truth=options.truth,
    )
    return cells, None


def notices(options: Options, cells: Cells, unit: str) -> list[str]:
    """What the reader should know of the input before believing the answer."""
    notes = [RAW] if looks_like_counts(cells) else []
    if cells.sample is not None and (n_without := int((cells.sample.codes < 0).sum())):
        notes.append(
            f"{n_without} of {len(cells.names)} {unit} have no {options.sample} and count in no row of "
            "proportions_by_sample.tsv"
        )
    return notes


def several_readings(fitted: Fit[Any, Any]) -> str:
    """A warning where no two starts agree; else nothing."""
    ends = [start.optimum for start in fitted.starts if start.optimum is not None]
    if len(ends) < 2 or len(set(ends)) < len(ends):
        return ""
    return (
        f"Caution: each of the {len(ends)} starts{'' if len(ends) == len(fitted.starts) else ' that converged'} ended "
        "elsewhere: treat the types as one of several readings."
    )


def hard_clusters(options: Options, values: Floats, source: ArraySource) -> Any:
    """Clusters of K-means on the same values, from as many starts."""
    model = kmeans(options.components, values.shape[1])
    try:
        fitted = fit(
            model,
            source,
            starts=options.starts,
            assign="hard",
            max_passes=options.max_passes,
            seed=options.seed,
            threads=options.threads,
            certificate=False,
        )
    except FitError:
        return None
    return model.log_joint(fitted.params, values).argmax(axis=1)


def express(options: Options, cells: Cells, finding: Finding, table: UnitTable | None) -> Expression:
    """Profiles of every variable."""
    if table is not None:
        profiles = type_profiles(table.modelled, finding.responsibilities)
        what = "means in the units of the table" + (
            ", geometric where modelled on the log scale" if options.log else ""
        )
        return Expression(table.adata, profiles, table.in_units(profiles.means), "X", what)
    adata = load_anndata(options.input)
    if adata.n_obs != len(cells.names):
        raise InputError(str(options.input), "obs and X differ in length", "", "write the file again")
    values, source = expression_of(adata)
    profiles = type_profiles(values, finding.responsibilities)
    spoiled = adata.var_names[~np.isfinite(profiles.spread)]
    if len(spoiled):
        raise InputError(
            f"{options.input}, {source}",
            f"{spoiled[0]} has a missing or infinite value",
            "finite values",
            "drop or fill it",
        )
    return Expression(adata, profiles, profiles.means, source, f"mean expression in {source}")


def share_table(finding: Finding, errors: Floats) -> pd.DataFrame:
    """One row per type."""
    weights = finding.responsibilities
    assigned = np.bincount(weights.argmax(axis=1), minlength=len(finding.types))
    return pd.DataFrame(
        {
            "type": finding.types,
            "proportion": finding.shares,
            "standard_error": errors,
            "n_expected": weights.sum(axis=0),
            "n_effective": effective_counts(weights),
            "n_assigned": assigned,
        }
    )


def sample_table(finding: Finding, sample: Labels) -> pd.DataFrame:
    """One row per sample and type."""
    known = sample.codes >= 0
    table = contingency(sample.codes[known], finding.responsibilities[known])
    sizes = np.bincount(sample.codes[known], minlength=len(sample.names))
    return pd.DataFrame(
        {
            sample.column if sample.column not in ("type", "proportion", "n_expected", "n") else "sample": np.repeat(
                np.array(sample.names, dtype=object), len(finding.types)
            ),
            "type": np.tile(np.array(finding.types, dtype=object), len(sample.names)),
            "proportion": (table / sizes[:, None]).ravel(),
            "n_expected": table.ravel(),
            "n": np.repeat(sizes, len(finding.types)),
        }
    )


def truth_tables(finding: Finding, truth: Labels) -> dict[str, Floats]:
    """Counts of known groups against types, for each method."""
    known = truth.codes >= 0
    n_types = len(finding.types)
    methods = {"Gaussian mixture": finding.responsibilities.argmax(axis=1)}
    if finding.rivals is not None:
        methods["K-means"] = finding.rivals
    return {name: contingency(truth.codes[known], one_hot(labels[known], n_types)) for name, labels in methods.items()}


def accuracy_table(finding: Finding, truth: Labels) -> pd.DataFrame:
    """Agreement with the known groups, units without one left out."""
    rows = []
    for method, counts in truth_tables(finding, truth).items():
        rows += [
            (method, "ARI", adjusted_rand(counts)),
            (method, "NMI", normalised_information(counts)),
            (method, "matched accuracy", matched_accuracy(counts)),
            (method, "majority accuracy", majority_accuracy(counts)),
        ]
    known = truth.codes >= 0
    rows.append(("Gaussian mixture", "mean certainty", float(finding.largest[known].mean())))
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def record(
    options: Options, cells: Cells, fitted: Fit[Any, Any], finding: Finding, expression: Expression
) -> dict[str, Any]:
    """Content of ``uns['em']``."""
    return {
        "types": np.array(finding.types, dtype=object),
        "proportions": finding.shares,
        "status": str(fitted.status),
        "verdict": fitted.verdict,
        "loglik": fitted.loglik,
        "objective": fitted.objective,
        "representation": cells.representation,
        "dimensions": np.array(cells.dimensions, dtype=object),
        "profiles_from": expression.source,
        "family": options.family,
        "n_components": options.components,
        "seed": options.seed if options.seed < 2**63 else str(options.seed),
        "starts": options.starts,
        "parameters": fitted.model.natural(fitted.params),
    }


def draw(
    cells: Cells, finding: Finding, expression: Expression, errors: Floats, whole: bool, folder: Path
) -> list[Picture]:
    """The figures of the answer."""
    if cells.embedding is not None:
        points, name = cells.embedding, cells.embedding_name.removeprefix("X_").upper()
        axes = (f"{name} 1", f"{name} 2")
    else:
        own = cells.representation == "X_pca" and cells.values.shape[1] > 1
        points = cells.values[:, :2] if own else principal_axes(cells.values, 2)
        axes = ("PC 1", "PC 2")
    profiles, genes = expression.profiles, list(expression.adata.var_names)
    n_each = max(2, min(6, SHOWN_GENES // len(finding.types)))
    chosen = telling(profiles, finding.shares, n_each)
    if len(genes) <= MOST_WRITTEN or not any(chosen):
        chosen = [list(range(min(len(genes), MOST_WRITTEN)))]
    pictures = [
        draw_types(points, axes, finding.types, finding.responsibilities, finding.unit, folder),
        draw_profiles(profiles, genes, chosen, finding.types, finding.unit, expression.what, folder, expression.means),
    ]
    sample = cells.sample
    by_sample, sizes = None, []
    if sample is not None:
        known = sample.codes >= 0
        by_sample = contingency(sample.codes[known], finding.responsibilities[known])
        sizes = np.bincount(sample.codes[known], minlength=len(sample.names)).tolist()
        by_sample = by_sample / np.array(sizes)[:, None]
    pictures.append(
        draw_proportions(
            finding.shares,
            errors,
            finding.types,
            len(cells.names),
            finding.unit,
            folder,
            whole=whole,
            sample=sample.column if sample else None,
            samples=sample.names if sample else (),
            by_sample=by_sample,
            n_by_sample=sizes,
        )
    )
    if cells.truth is not None:
        tables = truth_tables(finding, cells.truth)
        panels = [
            (name, counts, finding.types if name != "K-means" else tuple(str(k + 1) for k in range(counts.shape[1])))
            for name, counts in tables.items()
        ]
        pictures.append(draw_confusion(panels, cells.truth.column, cells.truth.names, finding.unit, folder))
    return pictures


def describe(
    options: Options,
    cells: Cells,
    finding: Finding,
    expression: Expression,
    pictures: Sequence[Picture],
    shares: pd.DataFrame,
    samples: pd.DataFrame | None,
    accuracy: pd.DataFrame | None,
) -> Page:
    """The page of the answer."""
    n, d = cells.values.shape
    unit, types = finding.unit, finding.types
    kinds = "types" if unit == "cells" else "groups"
    unsure = float((finding.largest < 1 - UNCERTAIN).mean())
    lead = (
        f"{n} {unit} fall into {len(types)} {kinds}; the largest holds {shares['proportion'].max():.0%} of them, the "
        f"smallest {shares['proportion'].min():.1%}. For {unsure:.0%} of the {unit} another {kinds[:-1]} has a probability above "
        f"{UNCERTAIN}."
    )
    facts = {
        unit.capitalize(): f"{n}",
        kinds.capitalize(): f"{len(types)}",
        "Modelled": f"{d} columns of {cells.representation}" if cells.representation != "z-scores" else f"{d} columns",
        "Covariances": options.family,
        f"Undecided {unit}": f"{unsure:.0%}",
    }
    tables = [
        Table(
            "Proportions",
            "proportion and n_expected count each of the "
            f"{unit} by its probabilities, n_assigned by its most probable type; n_effective is the number of equally "
            "weighted observations behind a type's profile.",
            shares,
        )
    ]
    if samples is not None:
        wide = samples.pivot_table(index=samples.columns[0], columns="type", values="proportion", sort=False)
        wide.insert(0, "n", samples.groupby(samples.columns[0], sort=False)["n"].first())
        tables.append(
            Table(
                f"Proportions by {options.sample}", "Share of each type in each of them.", wide.round(4).reset_index()
            )
        )
    files = {
        "cells.h5ad": "the input with obs em_type and em_uncertainty, obsm em_responsibilities, varm em_profiles, uns em",
        "proportions.tsv": "share of each type",
        "profiles.tsv": f"{expression.what}, for every variable and type",
    }
    if samples is not None:
        files["proportions_by_sample.tsv"] = f"share of each type in each {options.sample}"
    if accuracy is not None:
        value = accuracy.set_index(["method", "metric"])["value"]
        mixture = value["Gaussian mixture"]
        facts[f"ARI with {options.truth}"] = f"{mixture['ARI']:.3f}"
        facts["Matched accuracy"] = f"{mixture['matched accuracy']:.0%}"
        lead += f" The {kinds} agree with {options.truth} with an adjusted Rand index of {mixture['ARI']:.2f}" + (
            f" (K-means: {value['K-means', 'ARI']:.2f})." if finding.rivals is not None else "."
        )
        tables.append(
            Table(
                f"Agreement with {options.truth}",
                "ARI is 1 for equal partitions and 0 on average for random ones; NMI lies between 0 and 1. Matched accuracy "
                "lets each type stand for one known group only; majority accuracy lets several types share one. "
                f"{calibration(mixture)}",
                accuracy.pivot(index="method", columns="metric", values="value")
                .reindex(columns=list(dict.fromkeys(accuracy["metric"])))
                .reset_index(),
            )
        )
        files["accuracy.tsv"] = "agreement with the known groups"
    methods = (
        f"A mixture of {len(types)} normal distributions with {options.family} covariances was fitted by "
        f"Expectation-Maximization to {d} columns ({', '.join(cells.dimensions[:12])}{', …' if d > 12 else ''}) of "
        f"{n} {unit}"
        + (
            ", each standardised to mean 0 and variance 1"
            + (f" (after logarithms of {', '.join(options.log)})" if options.log else "")
            if unit == "rows"
            else f" ({cells.representation})"
        )
        + ". A weak inverse-Wishart prior taken from the data is part of the objective and keeps every covariance from "
        f"collapsing. The best of {options.starts} starts was kept. Profiles are "
        f"{expression.what}, each of the {unit} weighted by its responsibility. K-means, the limit of equal spherical "
        "components and hard assignment, was fitted by the same code from as many starts. Responsibilities are "
        "probabilities under this model; where components stand in for shapes that are not normal they are too certain."
    )
    return Page(
        title=f"{'Cell types' if unit == 'cells' else 'Groups'} in {options.input.name}",
        lead=lead,
        facts=facts,
        pictures=pictures,
        tables=tables,
        methods=methods,
        references=REFERENCES,
        files=files,
    )


def calibration(mixture: pd.Series) -> str:
    """How far the stated certainty may be believed."""
    certainty, best = mixture["mean certainty"], mixture["majority accuracy"]
    text = f"The mixture is on average {certainty:.0%} certain of its types"
    if certainty > best + 0.02:
        return f"{text}, yet at most {best:.0%} agree with the known groups: read its probabilities as too certain."
    return f"{text}, and up to {best:.0%} agree with the known groups."

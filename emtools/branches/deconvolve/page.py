"""Figures and page of ``emtools deconvolve`` for cells or rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.cell_types.answer import SELECTED_ROWS, Kept, Typed, selection_record
from emtools.cell_types.reproduce import Reliability
from emtools.cell_types.search import DEFAULT
from emtools.engine.protocol import Floats
from emtools.io.cells import Cells
from emtools.kernels.composition import principal_axes, telling
from emtools.plots.deconvolve import MOST_WRITTEN, draw_confusion, draw_profiles, draw_proportions, draw_types, kind_of
from emtools.plots.deconvolve_checks import draw_composition, draw_reliability, draw_selection
from emtools.plots.style import Picture
from emtools.report.components import mixture_sizes
from emtools.report.page import Page, Table

UNCERTAIN = 0.1
SHOWN_GENES = 40
UNSTABLE = 0.7  # agreement of fits to other cells below which a type is named

REFERENCES = (
    "McLachlan & Peel (2000) Finite Mixture Models. Wiley, doi:10.1002/0471721182 (the model).",
    "Dempster, Laird & Rubin (1977) J. R. Stat. Soc. B 39:1, doi:10.1111/j.2517-6161.1977.tb01600.x (EM).",
    "Friedman (1989) J. Am. Stat. Assoc. 84:165, doi:10.1080/01621459.1989.10478752 (shrunken covariances).",
    "Guo et al. (2017) ICML, PMLR 70:1321 (temperature).",
    "Lange et al. (2004) Neural Comput. 16:1299, doi:10.1162/089976604773717621 (fits to halves).",
    "Wilson (1927) J. Am. Stat. Assoc. 22:209, doi:10.1080/01621459.1927.10502953 (intervals of proportions).",
    "Virshup et al. (2024) J. Open Source Softw. 9:4371, doi:10.21105/joss.04371 (AnnData).",
)
SCANPY = "Wolf, Angerer & Theis (2018) Genome Biol. 19:15, doi:10.1186/s13059-017-1382-0 (scanpy)."


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found, for a reader.

    Parameters
    ----------
    name : str
        Of the input.
    cells : Cells
        What was modelled.
    typed : Typed
        The answer.
    kept : Kept
        Profiles and proportions by sample.
    genes : tuple of str
        Variables.
    unit : str
        What a row is, in the plural.
    log : tuple of str
        Columns of a table on the log scale.
    tables : mapping of str to ndarray
        Counts of known groups against types, by method; empty without known types.
    accuracy : DataFrame or None
        Agreement with the known types.
    curves : mapping of str to Reliability
        How far the probabilities were borne out, by what they were measured with.
    notes : tuple of str
        What the reader should know of the input.
    labels : str or None
        Column of labels that the fit followed.
    """

    name: str
    cells: Cells
    typed: Typed
    kept: Kept
    genes: tuple[str, ...]
    unit: str
    log: tuple[str, ...]
    tables: Mapping[str, Floats]
    accuracy: pd.DataFrame | None
    curves: Mapping[str, Reliability]
    notes: tuple[str, ...]
    labels: str | None

    @property
    def what(self) -> str:
        """What the profiles are, for captions."""
        if self.unit == "cells":
            return f"mean expression in {self.kept.source}"
        return "means in the units of the table" + (", geometric where modelled on the log scale" if self.log else "")


def draw(found: Found, folder: Path) -> list[Picture]:
    """The figures of the answer."""
    cells, typed, unit, kept = found.cells, found.typed, found.unit, found.kept
    if cells.embedding is not None:
        points, name = cells.embedding, cells.embedding_name.removeprefix("X_").upper()
        axes = (f"{name} 1", f"{name} 2")
    else:
        own = cells.representation == "X_pca" and cells.values.shape[1] > 1
        points = cells.values[:, :2] if own else principal_axes(cells.values, 2)
        axes = ("PC 1", "PC 2")
    chosen = telling(kept.profiles, typed.shares, max(2, min(6, SHOWN_GENES // len(typed.types))))
    if len(found.genes) <= MOST_WRITTEN or not any(chosen):
        chosen = [list(range(min(len(found.genes), MOST_WRITTEN)))]
    pictures = [
        draw_types(points, axes, typed.types, typed.responsibilities, unit, folder, typed.shares),
        draw_profiles(
            kept.profiles, found.genes, chosen, typed.types, unit, found.what, len(cells.names), folder, kept.means
        ),
    ]
    told = kept.samples
    pictures.append(
        draw_proportions(
            typed.shares,
            typed.share_errors,
            typed.types,
            len(cells.names),
            unit,
            folder,
            whole=typed.whole_errors,
            sample=told.get("column"),
            samples=list(told.get("samples", ())),
            by_sample=told.get("proportions"),
            n_by_sample=list(told.get("n", ())),
        )
    )
    if told:
        pictures.append(draw_composition(told, typed.types, unit, folder))
    if typed.selection is not None:
        pictures.append(
            draw_selection(selection_record(typed.selection), min(len(cells.names), SELECTED_ROWS), unit, folder)
        )
    pictures.append(draw_reliability({name: curve.record() for name, curve in found.curves.items()}, unit, folder))
    if cells.truth is not None:
        panels = [
            (name, counts, typed.types if name != "K-means" else tuple(str(k + 1) for k in range(counts.shape[1])))
            for name, counts in found.tables.items()
        ]
        pictures.append(draw_confusion(panels, cells.truth.column, cells.truth.names, unit, folder))
    return pictures


def describe(
    found: Found, shares: pd.DataFrame, samples: pd.DataFrame | None, written: str, pictures: Sequence[Picture]
) -> Page:
    """The page of the answer."""
    cells, typed, unit = found.cells, found.typed, found.unit
    n, d = cells.values.shape
    kinds = "types" if unit == "cells" else "groups"
    unsure = float((typed.responsibilities.max(axis=1) < 1 - UNCERTAIN).mean())
    facts = {
        unit.capitalize(): f"{n}",
        kinds.capitalize(): f"{len(typed.types)}",
        "Modelled": f"{d} columns of {cells.representation}" if cells.representation != "z-scores" else f"{d} columns",
        "Covariances": typed.family,
        f"Undecided {unit}": f"{100 * unsure:.0f} %",
    }
    tables = [
        Table(
            "Proportions",
            f"proportion and n_expected count each of the {unit} by its probabilities, n_assigned by its most probable {kinds[:-1]}; "
            f"n_effective is the number of equally weighted {unit} that its profile averages (Kish); reproducibility is "
            + (
                "the fraction of its hidden labels that were found."
                if found.labels
                else f"how often fits to other {unit} agree."
            ),
            shares.rename(columns={"type": kinds[:-1]}),
        )
    ]
    files = {
        written: "the input with obs em_type and em_uncertainty, obsm em_responsibilities, varm em_profiles, uns em",
        "proportions.tsv": f"share of each {kinds[:-1]}",
        "profiles.tsv": f"{found.what}, for every variable and {kinds[:-1]}",
    }
    if samples is not None:
        tables.append(by_sample_table(samples, typed.types, kinds[:-1]))
        files["proportions_by_sample.tsv"] = (
            f"share of each {kinds[:-1]} in each {samples.columns[0]}, with 95 % intervals"
        )
    lead = lead_of(found, shares, unsure, kinds)
    if found.accuracy is not None and cells.truth is not None:
        value = found.accuracy.set_index(["method", "metric"])["value"]
        ours = value["Gaussian mixture"]
        facts[f"ARI with {cells.truth.column}"] = f"{ours['ARI']:.3f}"
        facts["Matched accuracy"] = f"{100 * ours['matched accuracy']:.0f} %"
        lead += (
            f" The {kinds} agree with {cells.truth.column} with an adjusted Rand index of {ours['ARI']:.2f} (K-means: "
            f"{value['K-means', 'ARI']:.2f})."
        )
        tables.append(
            Table(
                f"Agreement with {cells.truth.column}",
                "ARI is 1 for equal partitions and 0 on average for random ones; NMI lies between 0 and 1. Matched accuracy "
                f"lets each {kinds[:-1]} stand for one known class only; majority accuracy lets several {kinds} share one. Calibration "
                f"error is the mean distance of stated and true frequency. {calibration(ours, kinds)}"
                + (f" Only {unit} without a label count." if found.labels else ""),
                found.accuracy.pivot(index="method", columns="metric", values="value")
                .reindex(columns=list(dict.fromkeys(found.accuracy["metric"])))
                .reset_index(),
            )
        )
        files["accuracy.tsv"] = "agreement with the known groups"
    return Page(
        title=f"{'Cell types' if unit == 'cells' else 'Groups'} in {found.name}",
        lead=" ".join([lead, *(f"Mind: {note}." for note in found.notes)]),
        facts=facts,
        pictures=list(pictures),
        tables=tables,
        check_tables=[sizes_of(found)],
        methods=methods_of(found),
        references=(*REFERENCES, SCANPY) if cells.made else REFERENCES,
        files=files,
    )


def sizes_of(found: Found) -> Table:
    """How much each type rests on, and its condition."""
    typed, fitted = found.typed, found.typed.fitted
    mixture, params = getattr(fitted.model, "mixture", fitted.model), fitted.params
    matrices = mixture.covariance_matrices(params)
    return mixture_sizes(
        typed.types, found.cells.values, typed.posterior, params.weights, params.means, matrices, found.unit
    )


def by_sample_table(samples: pd.DataFrame, types: Sequence[str], kind: str) -> Table:
    """Shares by sample, one row a sample, with intervals; `kind` is what a component is called."""
    first = samples.columns[0]
    told = samples.assign(
        text=[
            f"{100 * p:.1f} ({100 * low:.1f}–{100 * high:.1f})"
            for p, low, high in zip(samples["proportion"], samples["lower"], samples["upper"], strict=True)
        ]
    )
    sizes = samples.groupby(first, sort=False)["n"].first()
    wide = told.pivot_table(index=first, columns="type", values="text", aggfunc="first", sort=False)[list(types)]
    if len(types) > len(sizes):
        wide = wide.T.rename(columns={name: f"{name} (n = {n})" for name, n in sizes.items()}).rename_axis(kind)
    else:
        wide.insert(0, "n", sizes)
    return Table(f"Proportions by {first}", "Per cent of each, with 95 % intervals.", wide.reset_index())


def lead_of(found: Found, shares: pd.DataFrame, unsure: float, kinds: str) -> str:
    """What was found, in a few sentences."""
    typed, unit, trust = found.typed, found.unit, found.typed.trust
    lead = (
        f"{len(found.cells.names)} {unit} fall into {len(typed.types)} {kinds}; the largest holds "
        f"{100 * shares['proportion'].max():.1f} % of them, the smallest {100 * shares['proportion'].min():.1f} %. For {100 * unsure:.0f} % of the "
        f"{unit} another {kinds[:-1]} has a probability above {UNCERTAIN}."
        if len(typed.types) > 1
        else f"All {len(found.cells.names)} {unit} are of one {kinds[:-1]}."
    )
    if typed.selection is not None:
        lead += f" Their number was chosen by {typed.selection.criterion.upper().replace('_', '-')}."
    if np.isfinite(trust.agreement):
        if found.labels:
            lead += f" Of labels that were hidden {100 * trust.agreement:.0f} % were found."
        else:
            lead += f" Fits to other {unit} give {100 * trust.agreement:.0f} % of the {unit} the same {kinds[:-1]}"
            weak = [name for name, share in zip(typed.types, trust.by_type, strict=True) if share < UNSTABLE]
            lead += f"; lean less on {', '.join(weak)}." if weak else "."
    return lead


def methods_of(found: Found) -> str:
    """A paragraph for a paper."""
    cells, typed, unit, kind = found.cells, found.typed, found.unit, kind_of(found.unit)
    n, d = cells.values.shape
    text = (
        f"A mixture of {len(typed.types)} normal distributions was fitted by Expectation-Maximization to {d} columns "
        f"({', '.join(cells.dimensions[:12])}{', …' if d > 12 else ''}) of {n} {unit}"
    )
    if unit == "rows":
        text += ", each standardised to mean 0 and variance 1"
        text += f" (after logarithms of {', '.join(found.log)})" if found.log else ""
    else:
        text += f" ({cells.representation}{f', {cells.made}' if cells.made else ''})"
    if found.labels:
        text += (
            f". {kind.capitalize()}s of some {unit} were taken from {found.labels} and held; one without a label weighs a tenth of "
            f"one with a label. Each {kind} has a covariance of its own, shrunk to the common one. "
        )
    elif typed.family == DEFAULT:
        text += (
            f". It starts from the best of {typed.search.starts} K-means, or from groups that few links between near {unit} "
            f"leave where these lose less than half as many, then from a mixture with one covariance; each {kind} "
            f"then has a covariance of its own, shrunk to the common one as far as a {kind} of average size is half its own. "
        )
    else:
        text += (
            f", with {typed.family} covariances and a weak inverse-Wishart prior taken from the data. It starts from the best "
            f"of {typed.search.starts} K-means. "
        )
    trust = typed.trust
    if found.labels:
        text += (
            f"Probabilities pool those of the mixture at the temperature {trust.temperature:.2f} with those of a logistic "
            f"regression on the labels, to the power {trust.logistic_weight:.2f}: so labels hidden in five folds are likeliest; "
        )
    else:
        text += (
            f"Probabilities are those of the model at the temperature {trust.temperature:.2f}, at which {kind}s given by fits to "
            "halves of the data are likeliest; "
        )
    text += (
        f"proportions and profiles use the probabilities of the mixture at temperature 1, so that rare {kind}s do not grow. "
        f"Profiles are {found.what}, each of the {unit} weighted by its probability."
    )
    return text


def calibration(mixture: pd.Series, kinds: str) -> str:
    """How far the stated certainty may be believed."""
    certainty, best = mixture["mean certainty"], mixture["majority accuracy"]
    text = f"The mixture is on average {100 * certainty:.0f} % certain of its {kinds}"
    if certainty > best + 0.02:
        return f"{text}, yet at most {100 * best:.0f} % agree with the known classes: read its probabilities as too certain."
    return f"{text}, and up to {100 * best:.0f} % agree with the known classes."

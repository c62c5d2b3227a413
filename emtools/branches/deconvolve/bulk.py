"""``emtools deconvolve BULK --reference CELLS``: what mixtures are made of, given single cells of each type."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from emtools.branches.deconvolve.bulk_types import Options
from emtools.branches.finish import finish
from emtools.deconvolving.choice import SAMPLED, deconvolve, misfit
from emtools.deconvolving.content import (
    RnaContent,
    content_by_file,
    mean_totals,
    of_one_total,
    require_raw,
    totals_of,
)
from emtools.deconvolving.fractions import LARGER, Fractions
from emtools.deconvolving.reference import Reference, reference_from_cells, reference_from_profiles
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.bulk import (
    REFERENCE,
    TABLE,
    Expression,
    Matched,
    are_whole,
    labels_of,
    match_genes,
    require_types,
    turned,
)
from emtools.io.cells import require_unique, write_anndata
from emtools.io.console import Progress
from emtools.io.h5ad import listed
from emtools.io.outputs import staged
from emtools.plots.deconvolve_bulk import MARKERS_EACH, draw_composition, draw_explained, draw_factors, draw_reference
from emtools.report.page import Page, Table

Z95 = 1.959963984540054
UNSAFE = re.compile(r"[/\x00-\x1f]+")  # what a key of an AnnData file cannot hold
TRADES = -0.7  # correlation of the errors of two fractions below which they are said to trade places
SEEN = 0.02  # standard error of a fraction from which this matters
MOST_PAIRS = 3
MOST_LAYERS = 3e8  # values of type-specific expression that are written

WAYS = {
    "steady": "Three estimates were averaged: a fit to all genes, one to the marker genes of each type, and the mean log of counts over "
    "profile of the best markers; by how much they differ beyond chance enters the errors. Factors of genes are shown for a look only.",
    "adapted": "Every gene has a factor of its own between mixtures and reference, with a gamma distribution about 1, and a variance of "
    "its own; the distribution of both over genes was estimated, and both were integrated out. Profiles follow the mixtures as far as "
    "the spread of the reference leaves them free.",
}
REFERENCES = (
    "Dempster, Laird & Rubin (1977) J. R. Stat. Soc. B 39:1, doi:10.1111/j.2517-6161.1977.tb01600.x (EM).",
    "Vardi, Shepp & Kaufman (1985) J. Am. Stat. Assoc. 80:8, doi:10.1080/01621459.1985.10477119 (amounts in Poisson mixtures).",
    "White (1982) Econometrica 50:1, doi:10.2307/1912526 (standard errors that hold under a wrong variance).",
    "Wang, Park, Susztak, Zhang & Li (2019) Nat. Commun. 10:380, doi:10.1038/s41467-018-08023-x (MuSiC: cell sizes, donors).",
    "Virshup et al. (2024) J. Open Source Softw. 9:4371, doi:10.21105/joss.04371 (AnnData).",
)


@dataclass(frozen=True)
class Answer:
    """Fractions with intervals, shape (S, K) each.

    Parameters
    ----------
    samples, types : tuple of str
    of : str
        ``"cells"`` or ``"RNA"``.
    fractions, errors, lower, upper : ndarray
        Of these.
    """

    samples: tuple[str, ...]
    types: tuple[str, ...]
    of: str
    fractions: Floats
    errors: Floats
    lower: Floats
    upper: Floats


def analyse(
    options: Options,
    mixtures: Expression,
    cells: Expression,
    only: tuple[str, ...] | None,
    known: Mapping[str, float] | None,
) -> int:
    """Fit what was read, write; the exit code."""
    cells = turned(cells, (*mixtures.names, *mixtures.genes))
    mixtures = turned(mixtures, cells.genes)
    if mixtures.source == TABLE:
        require_unique(mixtures.path, np.array(mixtures.names, dtype=object), "sample")
    if cells.source == TABLE:
        require_unique(cells.path, np.array(cells.names, dtype=object), "type")
    whole, matched, notes = referred(options, mixtures, cells, only)
    types = whole.types
    content, more = contained(options, cells, types, known)
    notes += more
    given, names, counts = usable(options, mixtures, matched, whole)
    progress = Progress(f"deconvolve {options.input.name}", options.starts, options.quiet)
    found = deconvolve(counts, given, **options.climbing)
    progress.close(found.fit.verdict)
    reference, genes = found.reference, tuple(names[i] for i in found.kept)
    notes += [
        f"{len(names) - len(genes)} common genes have too few counts in the cells to say anything and were left out"
    ] * (len(genes) < len(names))
    answer, other = answered(options, mixtures, found, content)
    for note in notes:
        print(f"deconvolve: {note}", file=sys.stderr)
    with staged(options.out) as folder:
        table = long_table(answer)
        if content is not None:
            prefix = f"{other.of.lower()}_"
            table = table.join(long_table(other).drop(columns=["sample", "type"]).add_prefix(prefix))
        table.to_csv(folder / "fractions.csv", index=False)
        adata = annotated(options, mixtures, genes, found, answer, other, content)
        write_anndata(adata, folder / "mixtures.h5ad")
        correlation, off = explained(found)
        chosen = markers(reference)
        pictures = [
            draw_composition(answer.fractions, answer.lower, answer.upper, types, answer.samples, folder, answer.of),
            draw_reference(reference.profiles, chosen, genes, types, folder),
        ]
        checks = [
            draw_explained(correlation, off, answer.samples, folder, found.way == "adapted"),
            draw_factors(found.factors, counts[:, found.kept].mean(axis=0), folder),
        ]
        page = describe(
            options, mixtures, cells, found, genes, answer, other, content, pictures, checks, notes, correlation, off
        )
        return finish(
            folder,
            found.fit,
            page,
            options,
            branch="deconvolve",
            inputs=[path for path in (options.input, options.reference, options.markers, options.contents) if path],
            labels={"amounts": [list(answer.samples), list(types)]},
            extra={
                "fractions": answer.fractions,
                "standard_errors": answer.errors,
                "of": answer.of,
                "way": found.way,
                "misfit": misfit(found),
                "samples": list(answer.samples),
                "types": list(types),
                "n_genes": len(genes),
                **beside(other, content),
            },
            elsewhere="mixtures.h5ad",
        )


def referred(
    options: Options, mixtures: Expression, cells: Expression, only: tuple[str, ...] | None
) -> tuple[Reference, Matched, list[str]]:
    """The reference in the genes that it shares with the mixtures, and what there is to say of it.

    Raises
    ------
    InputError
        If options do not fit the kind of reference, or genes or types cannot be used.
    """
    notes = [*mixtures.notes, *cells.notes]
    if cells.source == TABLE:
        given = [f"--{name}" for name in ("labels", "donor") if getattr(options, name) is not None]
        if given:
            raise InputError(
                ", ".join(given),
                f"given with a table of profiles ({options.reference.name})",
                "",
                "leave it out, or give the cells as .h5ad",
            )
        if len(cells.names) < 2:
            raise InputError(str(options.reference), f"one type ({cells.names[0]})", "two or more")
        if of_one_total(totals_of(cells.values)) and options.rna_per_cell is None:
            notes.append("all profiles have one total: fractions are of RNA, not of cells")
        matched = match_genes(mixtures, cells, only)
        return reference_from_profiles(matched.cells.toarray().T, cells.names), matched, [*notes, *matched.notes]
    if options.labels is None:
        raise InputError(
            "--labels", "is missing", "the obs column of the reference with the types", "see emtools deconvolve --help"
        )
    codes, types = labels_of(cells, options.labels, "--labels")
    notes += require_types(cells, options.labels, codes, types)
    donors = None if options.donor is None else labels_of(cells, options.donor, "--donor")[0]
    matched = match_genes(mixtures, cells, only)
    reference = reference_from_cells(matched.cells, codes, types, donors, options.seed)
    return reference, matched, [*notes, *matched.notes]


def usable(
    options: Options, mixtures: Expression, matched: Matched, reference: Reference
) -> tuple[Reference, tuple[str, ...], Floats]:
    """Genes that some type expresses, in reference and mixtures.

    Raises
    ------
    InputError
        If a sample has no expression in them, or a type none.
    """
    kept = np.flatnonzero((reference.profiles > 0.0).any(axis=1))
    counts = matched.mixtures[:, kept]
    reference = reference.of_genes(kept)
    empty = [mixtures.names[s] for s in np.flatnonzero(~(counts.sum(axis=1) > 0))]
    if empty:
        raise InputError(
            str(options.input), f"{listed(empty)} has no expression in the common genes", "some", "leave the sample out"
        )
    silent = [reference.types[k] for k in np.flatnonzero(~(reference.sizes > 0))]
    if silent:
        raise InputError(
            str(options.reference),
            f"{listed(silent)} has no expression in the common genes",
            "some",
            "leave the type out",
        )
    if not (counts.sum(axis=0) > 0).sum() > len(reference.types):
        raise InputError(
            str(options.input), "nearly all common genes are zero", f"more than {len(reference.types)} with counts"
        )
    return reference, tuple(matched.genes[i] for i in kept), counts


def contained(
    options: Options, cells: Expression, types: tuple[str, ...], known: Mapping[str, float] | None
) -> tuple[RnaContent | None, list[str]]:
    """The RNA of a cell of each type where it is asked for, and what there is to say of it.

    Raises
    ------
    InputError
        If the file lacks a type, or the reference does not hold it.
    """
    if options.rna_per_cell is None:
        return None, []
    table = cells.source == TABLE
    codes = np.arange(len(types)) if table else labels_of(cells, str(options.labels), "--labels")[0]
    behind = mean_totals(totals_of(cells.values), codes, len(types))
    if known is None:
        require_raw(cells, codes)
        return RnaContent(behind, behind, REFERENCE), []
    content = content_by_file(str(options.contents), known, types, np.ones(len(types)) if table else behind)
    unused = [name for name in known if name not in types]
    name = Path(content.source).name
    notes = [f"{listed(unused)} of {name} is not in the reference and was not used"] * bool(unused)
    if not of_one_total(behind) and (table or not are_whole(cells.values)):
        told = f"profiles of {cells.path.name} have different totals ({behind.min():.4g} to {behind.max():.4g})"
        notes.append(
            f"{told} and were taken as per unit of RNA (transcripts per million, perhaps of some genes only); if they are means of raw "
            "counts, their totals are the RNA of a cell already: leave out --rna-per-cell"
            if table
            else f"{told}: these were taken as the RNA behind each and replaced by the RNA per cell of {name}; if cells were normalised "
            "and then cut to some genes, give all genes and name those to use with --markers"
        )
    return content, notes


def answered(
    options: Options, mixtures: Expression, found: Fractions, content: RnaContent | None
) -> tuple[Answer, Answer]:
    """Fractions of what was asked for and of the other, cells or RNA, with 95 % intervals within 0 and 1."""
    answers = []
    for of, (fractions, errors) in (
        ("cells", found.of_cells() if content is None else found.shares(content.cells)),
        ("RNA", found.of_rna() if content is None else found.shares(content.profile)),
    ):
        lower, upper = (np.clip(fractions + sign * Z95 * errors, 0.0, 1.0) for sign in (-1, 1))
        answers.append(Answer(mixtures.names, found.reference.types, of, fractions, errors, lower, upper))
    cells, rna = answers
    return (rna, cells) if options.rna else (cells, rna)


def beside(other: Answer, content: RnaContent | None) -> dict[str, Any]:
    """What fit.json has of the other fractions where the RNA of a cell is given."""
    if content is None:
        return {}
    word = other.of.lower()
    return {
        "rna_per_cell": content.cell,
        f"{word}_fractions": other.fractions,
        f"{word}_standard_errors": other.errors,
    }


def long_table(answer: Answer) -> pd.DataFrame:
    """One row per sample and type."""
    n, k = answer.fractions.shape
    return pd.DataFrame(
        {
            "sample": np.repeat(np.array(answer.samples, dtype=object), k),
            "type": np.tile(np.array(answer.types, dtype=object), n),
            "fraction": answer.fractions.ravel(),
            "standard_error": answer.errors.ravel(),
            "lower_95": answer.lower.ravel(),
            "upper_95": answer.upper.ravel(),
        }
    )


def layer_names(types: Sequence[str]) -> list[str]:
    """``em_<type>`` with whatever a key of an AnnData file cannot hold replaced, no two alike."""
    names: list[str] = []
    for name in types:
        key = "em_" + UNSAFE.sub("_", name)
        while key in names:
            key += "_"
        names.append(key)
    return names


def in_obsm(key: str, answer: Answer) -> list[tuple[str, Floats]]:
    """Keys of obsm and what stands there."""
    ends = {"": answer.fractions, "_se": answer.errors, "_lower": answer.lower, "_upper": answer.upper}
    return [(key + end, values) for end, values in ends.items()]


def annotated(
    options: Options,
    mixtures: Expression,
    genes: Sequence[str],
    found: Fractions,
    answer: Answer,
    other: Answer,
    content: RnaContent | None,
) -> anndata.AnnData:
    """The mixtures with the answer: their own obs, the genes that were used."""
    n, k = answer.fractions.shape
    adata = anndata.AnnData(
        (found.counts / found.scales).T.copy(),
        obs=mixtures.adata.obs.copy(),
        var=pd.DataFrame({"em_factor": found.factors, "em_dispersion": found.dispersions}, index=pd.Index(genes)),
    )
    adata.obs_names = list(mixtures.names)
    second = f"em_fractions_{other.of.lower()}"
    for key, values in (
        *in_obsm("em_fractions", answer),
        *in_obsm(second, other)[: 1 if content is None else None],
    ):
        adata.obsm[key] = pd.DataFrame(values, index=adata.obs_names, columns=list(answer.types))
    adata.varm["em_reference"] = pd.DataFrame(
        found.reference.profiles, index=adata.var_names, columns=list(answer.types)
    )
    adata.varm["em_profiles"] = pd.DataFrame(found.profiles, index=adata.var_names, columns=list(answer.types))
    keys = layer_names(answer.types)
    if n * k * len(genes) <= MOST_LAYERS:
        means, spreads = (np.empty((k, n, len(genes)), dtype=np.float32) for _ in range(2))
        for s in range(n):
            mean, spread = found.expression(s)
            means[:, s], spreads[:, s] = mean.T, spread.T
        for j, key in enumerate(keys):
            adata.layers[key], adata.layers[f"{key}_sd"] = means[j], spreads[j]
    adata.uns["em"] = {
        "types": np.array(answer.types, dtype=object),
        "layers": np.array(keys, dtype=object),
        "fractions_of": answer.of,
        "cell_sizes": found.reference.sizes,
        **({} if content is None else {"rna_per_cell": content.cell}),
        "status": str(found.fit.status),
        "verdict": found.fit.verdict,
        "loglik": found.fit.loglik,
        "objective": found.fit.objective,
        "way": found.way,
        "labels": options.labels or "",
        "seed": options.seed if options.seed < 2**63 else str(options.seed),
    }
    return adata


def explained(found: Fractions) -> tuple[Floats, Floats]:
    """Correlation of logarithms of observed and expected counts of each sample, and their median difference (log2)."""
    expected = found.expected()
    half = 0.5 * np.median(found.scales)
    seen, due = np.log2(found.counts + half), np.log2(expected + half)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(seen.T, due.T, strict=True)]
    return np.array(correlation), np.median(np.abs(seen - due), axis=0)


def markers(reference: Reference) -> list[int]:
    """For each type the genes that are highest over the next type, in standard errors."""
    chosen: list[int] = []
    each = max(2, min(MARKERS_EACH, 60 // len(reference.types)))
    spread = np.sqrt(reference.within.mean(axis=1) + 1e-12)
    for k in range(len(reference.types)):
        rest = np.delete(reference.profiles, k, axis=1).max(axis=1)
        order = np.argsort(-(reference.profiles[:, k] - rest) / spread, kind="stable")
        chosen += [int(g) for g in order[: 3 * each] if g not in chosen][:each]
    return chosen


def trading(found: Fractions, sizes: Floats) -> list[str]:
    """Pairs of types that cannot be told apart well: their errors run against each other, and their sum is surer."""
    correlation, sums = found.together(sizes)
    _, errors = found.shares(sizes)
    each = np.median(errors, axis=0)
    pairs = [
        (correlation[i, j], i, j)
        for i in range(len(each))
        for j in range(i)
        if correlation[i, j] < TRADES and sums[i, j] < 0.7 * min(each[i], each[j]) and min(each[i], each[j]) > SEEN
    ]
    return [
        f"{found.reference.types[j]} and {found.reference.types[i]} trade places (their errors correlate {value:.2f}): the sum of "
        f"both is sure to ±{Z95 * sums[i, j]:.2f}, each alone to ±{Z95 * each[j]:.2f} and ±{Z95 * each[i]:.2f}."
        for value, i, j in sorted(pairs)[:MOST_PAIRS]
    ]


def differing(found: Fractions, off: float) -> list[str]:
    """Whether mixtures and reference differ by more than chance, so that errors are larger than their intervals."""
    times = misfit(found)
    least, unit = (
        (SAMPLED, "the sampling of its cells gives")
        if len(found.reference.deviations)
        else (LARGER, "an error of a tenth in each of its values gives")
    )
    if found.way != "steady" or times < least:
        return []
    return [
        f"Mixtures and reference differ: squared misfit is {times:,.0f} times what {unit}, and a typical gene is off by a factor of "
        f"{2.0**off:.2f}. What this does to the fractions is common to all samples, a constant for each type that mixtures cannot "
        "tell, and mostly larger than the intervals, which see how far genes and ways of estimating disagree: trust differences "
        "between samples more than levels."
    ]


def wide_table(answer: Answer) -> pd.DataFrame:
    """One row per sample, one column per type."""
    wide = pd.DataFrame(answer.fractions, columns=list(answer.types)).round(3)
    wide.insert(0, "sample", list(answer.samples))
    return wide


def meaning(of: str, content: RnaContent | None) -> str:
    """What the fractions are of."""
    if content is None:
        return f"Fractions are of {of}: profiles are means of whole cells, so that a type of large cells does not count more."
    held = (
        "the mean total of the cells of each type in the reference"
        if content.source == REFERENCE
        else f"the RNA per cell of {Path(content.source).name}"
    )
    return (
        f"Fractions are of {of}, those of {'cells' if of == 'RNA' else 'RNA'} stand beside them. Fractions of RNA are amounts times the "
        "RNA behind a profile: the mean total of its cells over all genes, or, of a table of profiles, the same for all; "
        f"those of cells are these over {held}, scaled to sum to 1. Both have standard errors by the delta method, RNA per cell taken as known."
    )


def describe(
    options: Options,
    mixtures: Expression,
    cells: Expression,
    found: Fractions,
    genes: Sequence[str],
    answer: Answer,
    other: Answer,
    content: RnaContent | None,
    pictures: Sequence[Any],
    checks: Sequence[Any],
    notes: Sequence[str],
    correlation: Floats,
    off: Floats,
) -> Page:
    """The page of the answer."""
    n, k = answer.fractions.shape
    reference, of = found.reference, answer.of
    mean = answer.fractions.mean(axis=0)
    most = int(mean.argmax())
    lead = (
        f"{n} mixtures are made of up to {k} types of the reference; the largest on average is {answer.types[most]} "
        f"({100 * mean[most]:.0f} % of the {of}). The median 95 % interval is "
        f"{float(np.median(answer.upper - answer.lower)):.3f} wide."
    )
    differ = differing(found, float(np.median(off)))
    lead += " Mixtures and reference differ by more than chance, and the intervals do not hold all of that." * bool(
        differ
    )
    about = "rows sum to 1; intervals are in fractions.csv."
    tables = [Table("Fractions", f"Fraction of the {of}, {about}", wide_table(answer))]
    if content is not None:
        tables.append(Table(f"Fractions of {other.of}", f"Fraction of the {other.of}, {about}", wide_table(other)))
    sizes = pd.DataFrame(
        {
            "type": list(answer.types),
            **({"cells": reference.n_cells} if reference.n_cells.any() else {}),
            "size": reference.sizes,
            **({} if content is None else {"RNA per cell": content.cell}),
            "mean fraction": mean.round(3),
            "lowest": answer.fractions.min(axis=0).round(3),
            "highest": answer.fractions.max(axis=0).round(3),
        }
    )
    belief = [*differ, *trading(found, np.ones(k) if content is None else content.cells)]
    low = [answer.samples[i] for i in np.flatnonzero(correlation < np.median(correlation) - 0.15)]
    from_where = (
        f"{int(reference.n_cells.sum())} labelled cells ({cells.source} of {options.reference.name})"
        if len(reference.deviations)
        else f"profiles ({options.reference.name}), each value taken to be off by a tenth"
    )
    methods = (
        f"Expression of {len(genes)} genes in {n} mixtures was taken as a sum of the mean profiles of {k} types, from {from_where}, "
        f"and fitted by Expectation-Maximization; samples were scaled to one total. {WAYS[found.way]}\n\n"
        f"{meaning(of, content)} Standard errors are those of the sandwich over genes"
        + (
            f" plus the effect of each {'donor' if options.donor else 'group of cells'} of the reference"
            * bool(len(reference.deviations))
        )
        + "; intervals are cut at 0 and 1. Counts of a type in a sample (layers) are posterior means of latent normal expression."
    )
    files = {
        "fractions.csv": "fraction of each type in each sample, with 95 % intervals",
        "mixtures.h5ad": "mixtures with obsm em_fractions, em_fractions_se, em_fractions_lower, em_fractions_upper, layers "
        "em_<type> (counts that come from the type) and em_<type>_sd, var em_factor, varm em_profiles"
        + f"; em_fractions_{other.of.lower()} of the {other.of}, with errors and intervals alike"
        * (content is not None),
    }
    return Page(
        title=f"What {options.input.name} is made of",
        lead=lead,
        facts={
            "Mixtures": f"{n}",
            "Types": f"{k}",
            "Genes": f"{len(genes)}",
            "Fractions of": of,
            **({} if content is None else {"RNA per cell": Path(content.source).name}),
            f"Misfit, times {'sampling' if len(reference.deviations) else 'an error of a tenth'}": f"{misfit(found):,.0f}",
        },
        notices=notes,
        pictures=pictures,
        tables=[
            *tables,
            Table("Types", "Size is the mean expression of a cell in the genes used.", sizes),
        ],
        belief=belief + [f"{listed(low)} is explained clearly worse than the others."] * bool(low),
        checks=checks,
        methods=methods,
        references=REFERENCES,
        files=files,
    )

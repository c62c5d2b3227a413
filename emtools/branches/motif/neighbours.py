"""``emtools motif --motif-order 1``: what a letter of a site says of the next one, on the page and in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.motif.page import Finding, errors_of
from emtools.engine.result import Fit
from emtools.io.motifs import write_ihbcp
from emtools.motif_finding.dependence import CLEAR, STRENGTHS, Dependence
from emtools.plots.motif import Look
from emtools.plots.motif_neighbours import draw_dependence
from emtools.report.page import Page, Table

OF_ERRORS = ("standard_errors", "complete_errors", "missing", "lower", "upper")  # of a certificate
REFERENCES = (
    "Siebert & Söding (2016) Nucleic Acids Res. 44:6055, doi:10.1093/nar/gkw521 (Bayesian Markov models of motifs).",
    "Dawid (1984) J. R. Stat. Soc. A 147:278, doi:10.2307/2981683 (evidence told one site after another).",
)


def measured(finding: Finding) -> Dependence:
    """What the sites say, of a motif of order 1."""
    if finding.dependence is None:
        raise ValueError(f"{finding.name} is of order 0")
    return finding.dependence


def stem_of(stem: str, number: int) -> str:
    """Name of a file of one motif; numbered from the second on, as the figures are."""
    return stem if number == 1 else f"{stem}_{number}"


def told_dependence(finding: Finding, tables: bool = False) -> dict[str, Any]:
    """For fit.json: the evidence, and the tables where they are in no other place of it; empty of order 0."""
    if finding.dependence is None:
        return {}
    seen, params = finding.dependence, finding.fitted.params
    told: dict[str, Any] = {
        "evidence": seen.evidence,
        "strength": seen.strength,
        "verdict": seen.verdict,
        "n_sites": seen.n_sites,
        "evidence_of_pairs": seen.gains,
    }
    if tables:
        told |= {"transitions": params.transitions, "bits": finding.fitted.model.dependence(params)}
    return {"dependence": told}


def without_leaning_errors(fitted: Fit[Any, Any]) -> Fit[Any, Any]:
    """The fit without errors and intervals of matrix and dependence where something is held fixed at the edge of its range.

    Both come from all tables before them: an entry that is held adds nothing to their errors, which then are too small.
    """
    seen = fitted.certificate
    if seen is None or seen.standard_errors is None or not seen.n_held:
        return fitted
    unknown = {name: np.full_like(seen.standard_errors[name], np.nan) for name in ("matrix", "dependence")}
    told: dict[str, Any] = {part: {**getattr(seen, part), **unknown} for part in OF_ERRORS}
    return replace(fitted, certificate=replace(seen, **told))


def pair_rows(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row for each pair of neighbouring positions of each motif."""
    tables = []
    for finding in findings:
        bits, errors = finding.fitted.model.dependence(finding.fitted.params), errors_of(finding.fitted, "dependence")
        places = np.arange(1, len(bits) + 1)
        table = {
            "motif": finding.name,
            "position": places,
            "next": places + 1,
            "bits": bits,
            "se": np.full(len(bits), np.nan) if errors is None else errors,
            "evidence_nats": measured(finding).gains,
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def sentence(finding: Finding, several: bool) -> str:
    """Does this motif need it?"""
    seen = measured(finding)
    of = f" of {finding.name}" if several else ""
    nats = f"evidence {seen.evidence:+.1f} nats in {seen.n_sites} sites"
    if seen.verdict == "dependent":
        return f" The letters{of} depend on the ones before them ({nats})."
    if seen.verdict == "independent":
        return f" Nothing speaks for letters{of} that depend on the ones before them ({nats}): order 0 says as much with fewer numbers."
    return f" Whether the letters{of} depend on the ones before them is open ({nats}; {CLEAR:g} would decide)."


def method(findings: Sequence[Finding]) -> str:
    """How it was done."""
    strengths = ", ".join(f"{measured(finding).strength:g}" for finding in findings)
    return (
        "\n\nSearch, width and number of sites are those of a motif with independent letters. From it a motif was climbed by full EM whose letters each depend on the one "
        f"before (order 1), with {strengths} letters of the independent motif after each letter as Dirichlet prior, of {STRENGTHS[-1]:g} to {STRENGTHS[0]:g} the number that tells the sites best beside the same without a look at that letter; a site on the reverse strand is read as its reverse "
        "complement by the same tables. Sites, posteriors, p-values and E-value are those of that motif. The evidence compares, on the sites that the independent motif has, "
        "the estimate of a letter after the letter before it with the better of two without a look at that letter, the same one and that of a plain matrix, each told one site after another."
    )


def add_neighbours(page: Page, findings: Sequence[Finding], look: Look, folder: Path) -> Page:
    """The page with sentence, figure and table of each motif, which are written as files too."""
    rows, several = pair_rows(findings), len(findings) > 1
    rows.to_csv(folder / "dependence.tsv", sep="\t", index=False, float_format="%.6g")
    pictures, files = [], {"dependence.tsv": "what each letter says of the next one"}
    for number, finding in enumerate(findings, 1):
        params = finding.fitted.params
        ihbcp, of = f"{stem_of('motif', number)}.ihbcp", f" of {finding.name}" if several else ""
        write_ihbcp(folder / ihbcp, params.matrix, params.scored.matrix)
        part = rows[rows["motif"] == finding.name]
        here = replace(look, number=number, name=finding.name if several else "")
        seen = measured(finding)
        pictures.append(
            draw_dependence(
                part["bits"].to_numpy(), errors_of(finding.fitted, "dependence"), seen.gains, finding.fitted.stats.n_sites, seen.n_sites,
                here, folder,
            )
        )  # fmt: skip
        files |= {
            ihbcp: f"the tables{of}, BaMM format: probabilities of each letter, and after each letter",
            f"{stem_of('dependence', number)}.svg": f"what each letter{of} says of the next one",
        }
    facts = {
        "Shared by neighbours, beyond chance": f"{findings[0].shared_bits(len(findings[0].intervals)):.1f} bits",
        "Evidence for dependence": f"{measured(findings[0]).evidence:+.1f} nats",
    }
    what = (
        "Bits: mutual information of the letters at two neighbouring positions, and its standard error from the curvature of the likelihood, which is not known where an entry of a table is held at the edge of its range. Evidence: how much better the sites are told "
        "where the letter before is looked at (nats; below 0 where it does not pay). MEME, JASPAR and TRANSFAC files cannot hold this: they have the "
        "probabilities of the letters whatever is before."
    )
    shown = (rows if several else rows.drop(columns="motif")).dropna(axis=1, how="all")
    return replace(
        page,
        lead=page.lead + "".join(sentence(finding, several) for finding in findings),
        facts=page.facts if several else {**page.facts, **facts},
        methods=page.methods + method(findings),
        pictures=[*page.pictures, *pictures],
        tables=[
            *page.tables,
            Table("Neighbouring letters", what, shown.rename(columns={"evidence_nats": "evidence, nats"})),
        ],
        references=[*page.references, *REFERENCES],
        files={**page.files, **files},
    )

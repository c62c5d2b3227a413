"""``emtools motif --known``: the known motifs that the found ones resemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from emtools.branches.motif.page import Finding
from emtools.errors import InputError
from emtools.io.motif_files import NamedMotif, read_motifs
from emtools.motif_finding.library import FEW, Match, best_matches
from emtools.plots.motif import Look
from emtools.plots.motif_known import Aligned, draw_known
from emtools.plots.style import Picture
from emtools.report.page import Page, Table

ALIKE = 0.1  # q up to which a match is one
WRITTEN = 0.5  # q up to which it is in matches.tsv
REFERENCES = (
    "Gupta et al. (2007) Genome Biol. 8:R24, doi:10.1186/gb-2007-8-2-r24 (Tomtom; by memelite).",
    "Benjamini & Hochberg (1995) J. R. Stat. Soc. B 57:289, doi:10.1111/j.2517-6161.1995.tb02031.x (q).",
)
SHOWN = 5  # matches of a motif on the page


@dataclass(frozen=True)
class Comparison:
    """Known motifs, and how they match each finding.

    Parameters
    ----------
    known : sequence of NamedMotif
        All of the file.
    matches : list of list of Match
        For each finding, the best first.
    """

    known: Sequence[NamedMotif]
    matches: list[list[Match]]


def read_library(path: Path, letters: str) -> list[NamedMotif]:
    """The known motifs, and an error before anything long where they could not be used."""
    if find_spec("memelite") is None:
        raise InputError("--known", "it needs memelite, which is absent", "", "pip install 'emtools[known]'")
    return read_motifs(path, letters)


def compare(findings: Sequence[Finding], known: Sequence[NamedMotif]) -> Comparison:
    """Every known motif beside each finding."""
    both = findings[0].motif.both
    matches = best_matches([f.fitted.params.matrix for f in findings], [k.matrix for k in known], both)
    return Comparison(known, matches)


def match_rows(findings: Sequence[Finding], comparison: Comparison) -> pd.DataFrame:
    """A row for each match that is the best of its motif or has a q of at most `WRITTEN`."""
    n = len(comparison.known)
    rows = [
        {
            "motif": finding.name,
            "known": comparison.known[m.known].name,
            "p": m.p,
            "E": m.p * n,
            "q": m.q,
            "offset": m.offset,
            "overlap": m.overlap,
            "strand": "-" if m.turned else "+",
        }
        for finding, matches in zip(findings, comparison.matches, strict=True)
        for rank, m in enumerate(matches)
        if rank == 0 or m.q <= WRITTEN
    ]
    return pd.DataFrame(rows)


def draw_matches(findings: Sequence[Finding], comparison: Comparison, look: Look, folder: Path) -> Picture:
    """Each finding beside its best match."""
    pairs = []
    for finding, (best, *_) in zip(findings, comparison.matches, strict=True):
        other = comparison.known[best.known]
        turned = other.matrix[::-1, ::-1] if best.turned else other.matrix
        pairs.append(Aligned(finding.name, other.name, finding.fitted.params.matrix, turned, best.offset, best.q))
    return draw_known(pairs, findings[0].motif.background.frequencies, look, folder)


def match_table(rows: pd.DataFrame) -> Table:
    """The best matches of each motif."""
    what = (
        "The nearest known motifs (Tomtom's p-value of the best alignment; E is p times the number of known motifs, q the share of false ones among "
        "matches as good). “offset”: position of the found motif, from 0, at which the known one begins; “strand”: − where the known one was turned. All with q of at most "
        f"{WRITTEN:g} are in matches.tsv."
    )
    return Table("Known motifs alike", what, rows.groupby("motif", sort=False).head(SHOWN))


def told_matches(findings: Sequence[Finding], comparison: Comparison) -> str:
    """A sentence on the best match of each finding."""
    told = ""
    for finding, (best, *_) in zip(findings, comparison.matches, strict=True):
        it = "It" if len(findings) == 1 else finding.name
        name, n = comparison.known[best.known].name, len(comparison.known)
        told += (
            f" {it} is most like {name} (q = {best.q:.2g}) of {n} known motifs."
            if best.q <= ALIKE
            else f" {it} is like none of {n} known motifs (the nearest is {name}, q = {best.q:.2g})."
        )
    return told


def warned(comparison: Comparison) -> list[str]:
    """What to know of a small set of known motifs."""
    n = len(comparison.known)
    few = f"{n} known motifs are few: the p-values of matches take their columns as background, and hang on which they are below {FEW}"
    return [few] if n < FEW else []


def add_matches(
    page: Page, findings: Sequence[Finding], comparison: Comparison, look: Look, folder: Path
) -> tuple[Page, list[dict[str, Any]]]:
    """The page with figure, table and sentences of the matches, which are written to matches.tsv; and their rows."""
    rows = match_rows(findings, comparison)
    rows.to_csv(folder / "matches.tsv", sep="\t", index=False)
    whole = replace(
        page,
        lead=page.lead + told_matches(findings, comparison),
        notices=[*page.notices, *warned(comparison)],
        pictures=[*page.pictures, draw_matches(findings, comparison, look, folder)],
        tables=[match_table(rows), *page.tables],
        references=[*page.references, *REFERENCES],
        files={**page.files, "matches.tsv": "known motifs alike", "known.svg": "found motifs beside the known ones"},
    )
    return whole, rows.to_dict("records")

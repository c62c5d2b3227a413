"""What an imputation found, what speaks against it, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emtools import __version__
from emtools.branches.impute.methods import SCALE_WORDS, by_scale, distribution, prior_counts, share
from emtools.imputing.advice import listed
from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation
from emtools.io.sniff import whole_suffix
from emtools.plots.impute_checks import show_p

OFF = 0.03  # distance of a coverage from its level that is held against the answer
FEWEST_TABLES = 20
NOTHING, ENOUGH = 0.02, 20  # R² that says nothing, and cells from which it can


def opening(imputation: Imputation, n_gaps: int, n_beyond: int) -> str:
    """The answer in a sentence or two."""
    n, d = imputation.values.shape
    if not n_gaps:
        return f"Nothing is missing in {d} markers of {n} rows: the table is unchanged."
    text = (
        f"{n_gaps} missing values of {d} markers in {n} rows were filled with what the other markers of the same row "
        "say of them, each with its uncertainty."
    )
    if n_beyond:
        every = "All" if n_beyond == n_gaps else f"{n_beyond}"
        text += (
            f" {every} of these cells are known to lie beyond a limit of detection, and were filled within it: none was set "
            "to the limit or to a part of it."
        )
    return text


def belief(imputation: Imputation, diagnosis: Diagnosis, rows: Sequence[str]) -> list[str]:
    """Sentences for and against the answer."""
    told = [
        in_short(imputation, diagnosis),
        *little_words(diagnosis),
        *calibration_words(diagnosis),
        *batch_words(diagnosis),
        *row_words(diagnosis, rows),
    ]
    if imputation.fitted.fit.starts and len(imputation.fitted.fit.starts) > 1:
        told.append(f"Dispersed starts: {diagnosis.starts}")
    if diagnosis.unseen_pairs:
        count = len(diagnosis.unseen_pairs)
        told.append(
            f"{count} pair{'s' * (count != 1)} of markers never meet in a row: what is said of their correlation comes from "
            "the other markers alone, and no data speak against it."
        )
    return told


def in_short(imputation: Imputation, diagnosis: Diagnosis) -> str:
    """What speaks against the answer, all in all."""
    against = []
    if not imputation.fitted.fit.converged:
        against.append("the fit did not converge")
    cells = diagnosis.overimputed
    if cells.pit.size >= ENOUGH:
        off = cells.coverage(0.95) - 0.95
        noise = 2.0 * np.sqrt(0.95 * 0.05 / cells.pit.size)
        if abs(off) > max(OFF, noise):
            against.append(f"intervals are too {'narrow' if off < 0 else 'wide'}")
    if diagnosis.mcar is not None and diagnosis.mcar.p < 0.05:
        against.append("values are not missing completely at random")
    if len(diagnosis.outliers):
        against.append("some rows do not belong to the others")
    if imputation.fitted.pseudo_rows:
        against.append("the data alone do not determine the model, and a prior helps")
    if diagnosis.unseen_pairs:
        against.append("some markers never meet in a row")
    if not against:
        return (
            "In short: nothing that was looked at speaks against these values, within the uncertainty stated for each."
        )
    return f"In short: usable with the stated uncertainty, bearing in mind that {'; '.join(against)}."


def following(imputation: Imputation, diagnosis: Diagnosis, path: Path) -> list[str]:
    """What to do with the answer."""
    if imputation.readings.observed.all():
        return []
    costs = diagnosis.markers["missing_information"].to_numpy(dtype=float)
    worst = float(np.nanmax(costs)) if np.isfinite(costs).any() else 0.0
    enough = max(FEWEST_TABLES, int(np.ceil(100 * worst)))
    told = []
    if len(diagnosis.outliers):
        told.append(
            "Look at the outlying rows above in the lab book. Mend what is an error and run again; if they are true, compare "
            "with the answer of --model t."
        )
    if not imputation.draws:
        told.append(
            f"For regressions, tests and comparisons of groups run again with `--draws {enough}` and use `emtools pool`; take "
            "the completed table for plots, clustering and prediction."
        )
    else:
        some = f"; {enough} tables or more repeat better" if len(imputation.draws) < enough else ""
        told.append(
            f"Pool your regression: `emtools pool DIR --formula 'outcome ~ marker + age' --out DIR/pooled`, DIR being the folder of "
            f"this page{some}. Every variable of the formula should have been in the model."
        )
    told.append(
        f"Rows that come later: `emtools transform new{whole_suffix(path)} --model model.npz --out DIR` fills them with this fit."
    )
    told.append(
        "If a column was mistaken, correct its line in dictionary.tsv and run again with `--dictionary dictionary.tsv`."
    )
    if not imputation.readings.bounded.any():
        told.append(
            "Ask the lab whether any blank means below the limit of detection. If so write `<limit` there: the assumption "
            "above does not hold for such cells."
        )
    return told


def quotable(imputation: Imputation, diagnosis: Diagnosis, method: str) -> str:
    """The analysis in the words of a methods section."""
    gaps = ~imputation.readings.observed
    n_gaps, n_beyond = int(gaps.sum()), int(imputation.readings.bounded.sum())
    if not n_gaps:
        return ""
    n, d = gaps.shape
    text = (
        f"Missing values ({n_gaps:,} of {gaps.size:,} cells, {share(n_gaps, gaps.size)}; {d} markers, {n:,} rows) were imputed "
        f"under {distribution(imputation)}"
    )
    scaled = [f"{listed(names, 12)} as {SCALE_WORDS.get(name, name)}" for name, names in by_scale(imputation).items()]
    text += f" ({'; '.join(scaled)})" if scaled else ""
    text += f", with {listed(imputation.design, 12)} as fixed effects" if imputation.design else ""
    how = "as the posterior mode" if prior_counts(imputation) else "by maximum likelihood"
    text += f", fitted {how} with the EM algorithm (Dempster et al. 1977; emtools {__version__})."
    if n_beyond:
        text += f" Of these, {n_beyond:,} values beyond a limit of detection entered the likelihood as censored."
    if imputation.better is not None:
        text += (
            f" Filled values lie {100 * imputation.better.params.share:.0f} % of the way from the conditional means of this model to the "
            "average of those of mixtures of up to eight normal distributions, a share learnt on hidden cells (stacked regression, "
            "Breiman 1996)."
        )
    cells = diagnosis.overimputed
    if cells.pit.size:
        text += (
            f" Of {cells.pit.size:,} observed values predicted as if missing, {100 * cells.coverage(0.95):.1f} % lay within their "
            "95 % intervals."
        )
    if imputation.draws:
        way = "from bootstrap samples" if method == "bootstrap" else "from the posterior distribution"
        text += (
            f" {len(imputation.draws)} completed tables were drawn, with parameters {way}; estimates were pooled by Rubin's rules with "
            "the degrees of freedom of Barnard and Rubin (1999)."
        )
    return text


def little_words(diagnosis: Diagnosis) -> list[str]:
    """Little's test in words."""
    if diagnosis.mcar is None:
        return [f"Little's test was not made: {diagnosis.why_no_test}."]
    test = diagnosis.mcar
    numbers = f"d² = {test.statistic:.2f} on {test.df} degrees of freedom, {show_p(test.p)}, {test.n_patterns} patterns"
    if test.p < 0.05:
        return [
            f"Little's test speaks against values missing completely at random ({numbers}): rows with gaps differ from the others "
            "in what was observed of them. The model allows this as long as what was observed explains it, which no test "
            "can show; an analysis of complete rows alone may be biased."
        ]
    return [
        f"Little's test finds nothing against values missing completely at random ({numbers}). It compares means only, and "
        "cannot see whether a value is missing because of its own size."
    ]


def calibration_words(diagnosis: Diagnosis) -> list[str]:
    """Over-imputation in words."""
    cells = diagnosis.overimputed
    if not cells.pit.size:
        why = "too few values" if not cells.n_fits else "no fit without some of them had a maximum"
        return [f"No observed cell could be predicted as if missing: {why}."]
    fits = (
        f"by {cells.n_fits} fit{'s' * (cells.n_fits != 1)} that had not seen them"
        if cells.n_fits
        else "by the fit itself, which no single cell moves"
    )
    explained = diagnosis.markers["r_squared"].to_numpy(dtype=float)
    none = int(((explained <= NOTHING) & (diagnosis.markers["n_predicted"] >= ENOUGH)).sum())
    plural = "s are" if none != 1 else " is"
    lonely = (
        f" {none} marker{plural} not told by the others at all: filled with little more than the mean." if none else ""
    )
    hidden = [diagnosis.markers["marker"].iloc[j] for j in cells.unjudged if j < len(diagnosis.markers)]
    if hidden:
        lonely += (
            f" Not judged: {listed(hidden)}, whose limits differ by row or are not kept to, so that it is not known which "
            "values could have been observed."
        )
    covered = ", ".join(f"{100 * cells.coverage(level):.1f} %" for level in (0.5, 0.8, 0.95))
    return [
        f"{cells.pit.size:,} observed cells were predicted as if missing, {fits}: intervals of 50, 80 and 95 % held {covered} "
        f"of the true values.{lonely}"
    ]


def batch_words(diagnosis: Diagnosis) -> list[str]:
    """Batches in words."""
    batch = diagnosis.batch
    if batch is None:
        return []
    moved = int((batch.shifts["p_holm"] < 0.05).sum())
    test = (
        f"likelihood ratio {batch.statistic:.1f} on {batch.df} degrees of freedom, {show_p(batch.p)}"
        if batch.p == batch.p
        else f"no joint test, for {batch.why_no_test}"
    )
    return [
        f"Batches and covariates: {test}; {moved} of {len(batch.shifts)} shifts differ from 0 after Holm's correction."
    ]


def row_words(diagnosis: Diagnosis, rows: Sequence[str]) -> list[str]:
    """Outlying rows in words."""
    far = diagnosis.outliers
    if far.empty:
        return []
    names = [rows[int(i)] for i in far["row"]]
    return [
        f"{len(names)} row{'s are' if len(names) != 1 else ' is'} farther from the others than the model allows (adjusted "
        f"p below 0.05): {listed(names, 8)}."
    ]

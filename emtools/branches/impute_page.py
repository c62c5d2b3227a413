"""The page of ``emtools impute``: what was assumed, what was found, whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools import __version__
from emtools.imputing.advice import listed
from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation
from emtools.io.sniff import whole_suffix
from emtools.kernels.imputation import sd_after_filling
from emtools.kernels.scales import told
from emtools.plots.impute_checks import show_p
from emtools.plots.style import Picture
from emtools.report import page

EXACT = 2  # cells of a row beyond their limits up to which the censored normal is exact
CHECKS = ("overimputed", "batches", "correlations", "information", "shrinkage")  # figures that ask, not answer
MOST_OUTLIERS = 20
OFF = 0.03  # distance of a coverage from its level that is held against the answer
FEWEST_TABLES = 20
NOTHING, ENOUGH = 0.02, 20  # R² that says nothing, and cells from which it can
ALWAYS = (
    "Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., Wiley, section 11.2. "
    "doi:10.1002/9781119482260",
    "Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, J. R. Stat. Soc. B "
    "39, 1-22. doi:10.1111/j.2517-6161.1977.tb01600.x",
)
OF_KIND = {
    "t": "Liu & Rubin (1995), ML estimation of the t distribution using EM and its extensions, Stat. Sin. 5, 19-39.",
    "factors": "Rubin & Thayer (1982), EM algorithms for ML factor analysis, Psychometrika 47, 69-76. "
    "doi:10.1007/BF02293851",
    "mixture": "Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, Adv. Neural Inf. "
    "Process. Syst. 6, 120-127.",
    "stack": "Breiman (1996), Stacked regressions, Mach. Learn. 24, 49-64. doi:10.1007/BF00117832",
}
OF_LIMITS = (
    "Tobin (1958), Estimation of relationships for limited dependent variables, Econometrica 26, 24-36. "
    "doi:10.2307/1907382",
    "Cunningham, Hennig & Lacoste-Julien (2011), Gaussian probabilities and expectation propagation, arXiv:1111.6832.",
)
OF_LITTLE = (
    "Little (1988), A test of missing completely at random for multivariate data with missing values, J. Am. Stat. "
    "Assoc. 83, 1198-1202. doi:10.1080/01621459.1988.10478722"
)
OF_CELLS = (
    "Honaker, King & Blackwell (2011), Amelia II: a program for missing data, J. Stat. Softw. 45(7), section 4.2 "
    "(over-imputation). doi:10.18637/jss.v045.i07"
)
OF_DRAWS = (
    "Rubin (1987), Multiple Imputation for Nonresponse in Surveys, Wiley. doi:10.1002/9780470316696",
    "Barnard & Rubin (1999), Small-sample degrees of freedom with multiple imputation, Biometrika 86, 948-955. "
    "doi:10.1093/biomet/86.4.948",
)
OF_SCALES = {
    "yeo-johnson": "Yeo & Johnson (2000), A new family of power transformations, Biometrika 87, 954-959. "
    "doi:10.1093/biomet/87.4.954",
    "box-cox": "Box & Cox (1964), An analysis of transformations, J. R. Stat. Soc. B 26, 211-252. "
    "doi:10.1111/j.2517-6161.1964.tb00553.x",
}
SCALE_WORDS = {
    "log": "the natural logarithm",
    "logit": "the logit",
    "rank-normal": "normal scores of the ranks",
    "yeo-johnson": "a Yeo-Johnson power (its exponent in brackets)",
    "box-cox": "a Box-Cox power (its exponent in brackets)",
}


def describe(
    imputation: Imputation,
    diagnosis: Diagnosis,
    *,
    path: Path,
    rows: Sequence[str],
    accuracy: pd.DataFrame | None = None,
    notices: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    method: str = "bootstrap",
    files: Mapping[str, str] | None = None,
) -> page.Page:
    """The page of an imputation.

    Parameters
    ----------
    imputation, diagnosis
        The completed table, and what is to be said for and against it.
    path : Path
        The table that was read.
    rows : sequence of str
        Names of the rows.
    accuracy : DataFrame, optional
        Columns ``method, metric, value``, against a truth.
    notices : sequence of str
        What the reader should know, before what the fit and the diagnosis add.
    pictures : sequence of Picture
        Figures that were saved.
    method : str
        How tables were drawn.
    files : mapping of str to str, optional
        Further files beside the page and what they hold.

    Returns
    -------
    emtools.report.page.Page
    """
    n, d = imputation.values.shape
    gaps = ~imputation.readings.observed
    n_gaps, n_beyond = int(gaps.sum()), int(imputation.readings.bounded.sum())
    facts = {"rows": str(n), "markers": str(d), "cells filled": f"{n_gaps} ({share(n_gaps, gaps.size)})"}
    if n_beyond:
        facts["of these beyond a limit"] = str(n_beyond)
    if imputation.draws:
        facts["tables drawn"] = str(len(imputation.draws))
    explained = diagnosis.markers["r_squared"].to_numpy(dtype=float)
    if np.isfinite(explained).any():
        facts["told by the other markers (median R²)"] = f"{np.nanmedian(explained):.2f}"
    if diagnosis.overimputed.pit.size:
        covered = 100 * diagnosis.overimputed.coverage(0.95)
        facts["95 % intervals hold, of observed cells"] = f"{covered:.1f} %"
    lead = opening(imputation, n_gaps, n_beyond)
    tables = [parameters_table(imputation, diagnosis)]
    if accuracy is not None:
        short, scores, end = accuracy_table(accuracy)
        tables.insert(0, scores)
        facts |= short
        lead += end
    empty = [] if diagnosis.overimputed.pit.size else ["overimputed"]
    costs = diagnosis.markers["missing_information"].to_numpy(dtype=float)
    empty += [] if (np.isfinite(costs) & gaps.any(axis=0)).any() else ["information"]
    told = dict.fromkeys([*notices, *imputation.fitted.notices, *diagnosis.notices])
    return page.Page(
        title=f"Imputation of {path.name}",
        lead=lead,
        facts=facts,
        notices=tuple(told),
        pictures=[p for p in pictures if p.stem not in CHECKS],
        tables=tables,
        belief=belief(imputation, diagnosis, rows),
        checks=[p for p in pictures if p.stem in CHECKS and p.stem not in empty],
        check_tables=check_tables(diagnosis, rows),
        following=following(imputation, diagnosis, path),
        quotable=quotable(imputation, diagnosis, method),
        assumed=assumed(imputation),
        methods="\n\n".join(methods(imputation, method)),
        references=references(imputation, diagnosis),
        files={**beside(imputation, diagnosis, path), **(files or {})},
    )


def share(part: int, whole: int) -> str:
    """In per cent."""
    return f"{100 * part / max(whole, 1):.1f} %"


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


def distribution(imputation: Imputation) -> str:
    """The model of the rows in words."""
    fitted, d = imputation.fitted, len(imputation.markers)
    match fitted.kind:
        case "t":
            return (
                f"one multivariate t distribution of {d} markers, whose degrees of freedom were estimated as "
                f"{float(fitted.params.df):.3g}, so that outlying rows pull less"
            )
        case "factors":
            loadings = getattr(fitted.params, "loadings", np.zeros((d, 0)))
            count = min(np.shape(loadings))
            return f"one factor model of {d} markers with {count} factor{'s' * (count != 1)}"
        case "mixture":
            if len(fitted.params.weights) > 1:
                return f"a mixture of {len(fitted.params.weights)} multivariate normal distributions of {d} markers"
            return f"one multivariate normal distribution of {d} markers (a mixture of one component)"
    return f"one multivariate normal distribution of {d} markers"


def assumed(imputation: Imputation) -> list[str]:
    """Paragraphs on what has to be true for the answer to be right."""
    blanks = (
        ""
        if imputation.readings.bounded.any()
        else " Values below a detection limit that were left blank do not meet this: give their limits with --lod."
    )
    text = [
        f"The rows are independent draws from {distribution(imputation)}. Values are missing at random: whether a value is "
        f"missing may depend on what was observed, not on the value itself.{blanks}"
    ]
    if imputation.how_filled:
        text.append(imputation.how_filled)
    text += scale_words(imputation)
    text += limit_words(imputation)
    if imputation.design:
        text.append(
            f"Fixed effects: {listed(imputation.design, 12)}. They are columns of the joint distribution, in which each marker "
            "is a linear function of them; a batch or category has a column of 0 and 1 for each level but the first, its "
            "reference."
        )
    prior = imputation.fitted.pseudo_rows
    if imputation.fitted.kind == "mixture" and prior_counts(imputation):
        text.append(
            "A weak prior on the covariance of each component keeps a component from closing in on a few rows; objective and "
            "log-likelihood differ by it."
        )
    if imputation.fitted.kind == "factors" and prior_counts(imputation):
        text.append(
            "A weak prior keeps the part of each marker that the factors do not tell from going to 0; objective and log-likelihood "
            "differ by it."
        )
    if prior and imputation.fitted.kind == "factors":
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the loadings of the factors towards 0, which makes the estimate exist "
            "and weakens correlations."
        )
    elif prior and towards_structure(imputation.fitted.model):
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the covariance towards one that the table itself suggests, which the "
            "notices name: it makes the estimate exist. What the rows alone say of two markers counts for "
            f"{share_of_prior(len(imputation.values), prior)}, the other for the rest."
        )
    elif prior:
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the covariance towards independent markers with the variances "
            "observed: it makes the estimate exist and steadies it, and shrinks correlations by about "
            f"{share_of_prior(prior, len(imputation.values))}."
        )
    return text


def methods(imputation: Imputation, method: str) -> list[str]:
    """Paragraphs on how the answer was computed."""
    how = "as the mode of their posterior" if prior_counts(imputation) else "by maximum likelihood"
    return [
        f"The parameters were estimated {how} from every observed value with the EM algorithm, with the conditional "
        "covariance of the missing values in the second moments. A missing value was replaced by its conditional mean given "
        "what is known of its row; its SD and 95 % interval leave out the error of the parameters themselves.",
        draw_words(imputation, method),
    ]


def prior_counts(imputation: Imputation) -> bool:
    """Whether the estimate maximises more than the likelihood."""
    fitted = imputation.fitted
    return bool(fitted.pseudo_rows or fitted.model.log_prior(fitted.params))


def towards_structure(model: Any) -> bool:
    """Whether the prior of a normal draws its covariance towards one with correlations."""
    scale = getattr(getattr(model, "prior", None), "scale", None)
    return isinstance(scale, np.ndarray) and scale.ndim == 2 and bool(np.count_nonzero(scale) > len(scale))


def share_of_prior(prior: float, n: int) -> str:
    """Share of the estimate that is the prior's."""
    return f"{100 * prior / (prior + n):.2g} %"


def scale_words(imputation: Imputation) -> list[str]:
    """A paragraph on transforms, where there are any."""
    used = by_scale(imputation)
    if not used:
        return []
    words = [f"{listed(names, 12)} on {SCALE_WORDS.get(name, name)}" for name, names in used.items()]
    return [
        f"These markers were modelled on another scale: {'; '.join(words)}. Their values, intervals and draws are "
        "back-transformed; a filled value is the conditional mean in the unit of the marker, its SD that of the transformed value."
    ]


def by_scale(imputation: Imputation) -> dict[str, list[str]]:
    """Markers by the names of their scales, each with its exponent where it has one; those as measured left out."""
    used: dict[str, list[str]] = {}
    for marker, scale in zip(imputation.markers, imputation.scales, strict=True):
        if scale.name != "none":
            power = getattr(scale, "power", None)
            used.setdefault(scale.name, []).append(marker if power is None else f"{marker} ({power:.3g})")
    return used


def limit_words(imputation: Imputation) -> list[str]:
    """A paragraph on limits of detection, where there are any."""
    readings = imputation.readings
    if not readings.bounded.any():
        return []
    low, high = readings.bounds()
    bounded = readings.bounded
    kinds = {
        "below": bounded & ~np.isfinite(low),
        "above": bounded & ~np.isfinite(high),
        "between two limits": bounded & np.isfinite(low) & np.isfinite(high),
    }
    counted = [f"{int(cells.sum())} {kind}" for kind, cells in kinds.items() if cells.any()]
    each = [
        f"{name} ({int(count)}, at {limits(low[:, j], high[:, j], bounded[:, j])})"
        for j, (name, count) in enumerate(zip(imputation.markers, bounded.sum(axis=0), strict=True))
        if count
    ]
    in_row = bounded.sum(axis=1)
    few, many = int(((in_row > 0) & (in_row <= EXACT)).sum()), int((in_row > EXACT).sum())
    exact = "exactly in all rows that have any" if not many else f"exactly in the {few} rows with one or two of them"
    beyond = (
        f", and by expectation propagation in the {many} rows with more"
        if many
        else ", none having more than two of them"
    )
    return [
        f"Cells known only to lie beyond a limit ({', '.join(counted)}) counted with the probability of lying there given "
        f"the rest of their row, {exact}{beyond}: {listed(each, 8)}. What was filled in there is the conditional mean "
        "within the limits, and no value, interval or draw leaves them."
    ]


def limits(low: np.ndarray, high: np.ndarray, cells: np.ndarray) -> str:
    """The limits of one marker: the number, or how many there are and their range."""
    ends = np.concatenate([low[cells], high[cells]])
    distinct = np.unique(ends[np.isfinite(ends)])
    if distinct.size <= 3:
        return " and ".join(f"{value:.4g}" for value in distinct)
    return f"{distinct.size} limits from {distinct[0]:.4g} to {distinct[-1]:.4g}"


def draw_words(imputation: Imputation, method: str) -> str:
    """A sentence on what the tables are for."""
    single = (
        "The completed table is for description and prediction; standard errors computed from it as if nothing had been "
        "missing are too small."
    )
    if not imputation.draws:
        return f"{single} For tests and regressions draw several tables with --draws and pool them with `emtools pool`."
    how = (
        "each from a fit to a bootstrap sample of the rows"
        if method == "bootstrap"
        else "each from a draw of the parameters from their posterior distribution"
    )
    return (
        f"{single} For tests and regressions there are {len(imputation.draws)} tables with all gaps drawn at random from "
        f"their joint conditional distribution, {how}, so that they carry the error of the parameters too. Analyse each and "
        "pool by Rubin's rules, for instance with `emtools pool` and the formula of the regression."
    )


def references(imputation: Imputation, diagnosis: Diagnosis) -> list[str]:
    """What to cite for what was done."""
    cited = list(ALWAYS)
    kinds = dict.fromkeys([imputation.fitted.kind, *(["mixture", "stack"] if imputation.better is not None else [])])
    cited += [OF_KIND[kind] for kind in kinds if kind in OF_KIND]
    cited += OF_LIMITS if imputation.readings.bounded.any() else ()
    cited += [OF_SCALES[name] for name in sorted({s.name for s in imputation.scales}) if name in OF_SCALES]
    cited += [OF_LITTLE] if diagnosis.mcar is not None else []
    cited += [OF_CELLS] if diagnosis.overimputed.pit.size else []
    cited += OF_DRAWS if imputation.draws else ()
    return cited


def beside(imputation: Imputation, diagnosis: Diagnosis, path: Path) -> dict[str, str]:
    """Files beside the page."""
    suffix = whole_suffix(path)
    held = {
        f"completed{suffix}": "the input with its gaps filled; every other cell is unchanged",
        "imputed_cells.tsv": "one row a filled cell: value, conditional SD, 95 % interval, scale of the SD",
        "conditional_sd.tsv": "conditional SD of each filled cell in the shape of the table; empty where observed",
        "parameters.tsv": "mean, SD and covariances of the markers as estimated",
        "diagnostics.tsv": "one row a marker: counts, missing information, R² and coverage of its observed values",
        "patterns.tsv": "patterns of missingness and their rows",
    }
    if diagnosis.batch is not None:
        held["batch_shifts.tsv"] = "shift of each marker with each batch or covariate, its standard error and p"
    return held


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
        f"{cells.pit.size} observed cells were predicted as if missing, {fits}: intervals of 50, 80 and 95 % held {covered} "
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


def check_tables(diagnosis: Diagnosis, rows: Sequence[str]) -> list[page.Table]:
    """Diagnostics of each marker, and outlying rows."""
    frame = diagnosis.markers
    empty = (
        "; empty, as skewness is, for markers with cells beyond a limit, of which only values within it were observed"
        if frame["n_beyond_limit"].any()
        else ""
    )
    per_marker = pd.DataFrame(
        {
            "marker": frame["marker"],
            "missing information, %": 100 * frame["missing_information"],
            "R²": frame["r_squared"],
            "cells predicted": frame["n_predicted"],
            **{f"within {level} %": 100 * frame[f"coverage_{level}"] for level in (50, 80, 95)},
            "skewness": frame["skewness"].where(frame["n_beyond_limit"] == 0),
        }
    )
    about = "Missing information is about the mean. "
    if per_marker["missing information, %"].isna().all():
        about, per_marker = "", per_marker.drop(columns="missing information, %")
    tables = [
        page.Table(
            "Diagnostics of each marker",
            f"{about}R² is that of observed values predicted as if missing{empty}. Beside it "
            "stands which per cent of them fell within their intervals of 50, 80 and 95 %; "
            "skewness is that of the observed values on the scale of the model, 0 for a normal distribution.",
            per_marker.round({name: 3 if name in ("R²", "skewness") else 1 for name in per_marker.columns[1:]}),
        )
    ]
    far = diagnosis.outliers.head(MOST_OUTLIERS)
    if len(far):
        tables.append(
            page.Table(
                "Outlying rows",
                "Squared Mahalanobis distance of what was observed of a row, and its p value adjusted for the number of rows.",
                pd.DataFrame(
                    {
                        "row": [rows[int(i)] for i in far["row"]],
                        "values observed": far["n_observed"],
                        "squared distance": far["distance"],
                        "adjusted p": far["p_holm"],
                    }
                ),
            )
        )
    return tables


def parameters_table(imputation: Imputation, diagnosis: Diagnosis) -> page.Table:
    """Means and three standard deviations side by side."""
    d, found = len(imputation.markers), diagnosis.markers
    scaled = imputation.scaled.values[:, :d]
    frame = pd.DataFrame(
        {
            "marker": found["marker"],
            "unit": found["unit"],
            "scale": ["as measured" if scale.name == "none" else told(scale) for scale in imputation.scales],
            "missing": found["n_missing"],
            "beyond a limit": found["n_beyond_limit"],
            "mean": found["mean"],
            "SD": found["sd"],
            "SD if filled with means": sd_after_filling(scaled, np.nanmean(scaled, axis=0)),
            "SD of a filled value (median)": [
                float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else np.nan
                for column in imputation.sd.T
            ],
        }
    )
    if not any(imputation.units):
        frame = frame.drop(columns="unit")
    if not imputation.readings.bounded.any():
        frame = frame.drop(columns="beyond a limit")
    of_t = " (location and root of the scatter of the t)" if without_variance(imputation) else ""
    return page.Table(
        "Markers",
        f"Mean and SD of each marker as estimated on its scale{of_t}, beside the SD after filling with column means. "
        "A filled value is uncertain by the last column: close to the SD means that the other "
        "markers tell little of it.",
        frame,
    )


def without_variance(imputation: Imputation) -> bool:
    """Whether rows have the heavy tails of a t whose variance is infinite."""
    return bool(imputation.fitted.kind == "t" and imputation.fitted.params.df <= 2.0)


def accuracy_table(accuracy: pd.DataFrame) -> tuple[dict[str, str], page.Table, str]:
    """Tiles, table and sentence on the errors against the truth."""
    errors = accuracy[accuracy["metric"].str.startswith("NRMSE")]
    wide = errors.pivot(index="metric", columns="method", values="value")
    names = list(dict.fromkeys(errors["method"]))
    wide = wide.loc[list(dict.fromkeys(errors["metric"])), names].reset_index()
    wide["metric"] = wide["metric"].replace("NRMSE", "all markers").str.removeprefix("NRMSE ")
    wide = wide.rename(columns={"metric": "marker"})
    wide.columns.name = None
    own = accuracy[accuracy["method"] == "EM"].set_index("metric")["value"]
    short = {
        "error against truth": f"{own['NRMSE']:.3f} SD",
        "coverage of 95 % intervals": f"{100 * own['coverage of 95 % intervals']:.1f} %",
    }
    plain = float(errors.query("method == 'column mean' and metric == 'NRMSE'")["value"].iloc[0])
    sentence = (
        f" Against the truth of {own['masked cells']:.0f} masked cells the typical error is "
        f"{own['NRMSE']:.2f} standard "
        f"deviations, where filling in column means gives {plain:.2f}."
    )
    caption = (
        "Root mean square error of the masked cells in units of each marker's standard deviation "
        "(0 is exact; about 1 is "
        "what column means give); lower is better. KNN and IterativeImputer are scikit-learn's, "
        "on standardised markers."
    )
    return short, page.Table("Error against the truth", caption, wide), sentence

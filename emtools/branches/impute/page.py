"""The page of ``emtools impute``: what was assumed, what was found, whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.branches.impute.belief import belief, following, opening, quotable
from emtools.branches.impute.methods import assumed, methods, references, share
from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation
from emtools.io.sniff import whole_suffix
from emtools.kernels.imputation import sd_after_filling
from emtools.kernels.scales import told
from emtools.plots.style import Picture
from emtools.report import page

CHECKS = ("overimputed", "batches", "correlations", "information", "shrinkage")  # figures that ask, not answer
MOST_OUTLIERS = 20


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

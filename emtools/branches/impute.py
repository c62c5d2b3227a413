"""``emtools impute``: fill the gaps of a table of markers by the multivariate normal that fits it best."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.branches.finish import RunOptions, finish
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.io.console import Progress
from emtools.io.outputs import staged
from emtools.io.sniff import whole_suffix
from emtools.io.tables import Table, read_table, write_completed
from emtools.kernels import imputation
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource
from emtools.plots.impute import draw_accuracy, draw_imputed, draw_missingness, draw_shrinkage
from emtools.plots.style import Picture
from emtools.report import page

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

LARGEST_FOR_PEERS = 60_000
SAME_CELL = 1e-9
MOST_CODES, CODES_REPEAT = 10, 4
YEARS = (1900, 2100)

REFERENCES = (
    "Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., Wiley, section 11.2. "
    "doi:10.1002/9781119482260",
    "Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, J. R. Stat. Soc. B "
    "39, 1-22. doi:10.1111/j.2517-6161.1977.tb01600.x",
)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools impute``.

    Parameters
    ----------
    input : Path
        Table with gaps.
    id : str, optional
        Column that names the rows.
    columns : sequence of str, optional
        Markers; by default all numeric columns.
    log : sequence of str
        Markers modelled on the log scale.
    missing : sequence of str
        Codes for a missing value.
    truth : Path, optional
        The same table without gaps.
    """

    input: Path
    id: str | None = None
    columns: Sequence[str] | None = None
    log: Sequence[str] = ()
    missing: Sequence[str] = ()
    truth: Path | None = None
    tol: float = 1e-12


@dataclass(frozen=True)
class Filled:
    """A table with its gaps filled, in the units of the table unless said otherwise.

    Parameters
    ----------
    scaled, scaled_values, sd : ndarray, shape (n, d)
        On the scale of the model: table with gaps, table without, conditional standard deviation of each filled cell.
    values, lower, upper : ndarray, shape (n, d)
        Table without gaps, and the ends of the 95 % intervals.
    """

    scaled: Floats
    scaled_values: Floats
    sd: Floats
    values: Floats
    lower: Floats
    upper: Floats


def run(options: Options) -> int:
    """Read, fit, fill, write; the exit status."""
    table = read_table(options.input, id_column=options.id, columns=options.columns, missing=options.missing)
    logged = logged_columns(table, options.log)
    check_shape(table)
    truth = read_truth(table, options) if options.truth is not None else None
    notices = [*table.notices, *what_to_know(table), *(codes_or_years(table) if options.columns is None else [])]
    tell(table, notices)

    scaled = imputation.to_model_scale(table.values, logged)
    source = PatternSource(scaled)
    model = MultivariateNormal(len(table.markers), labels=table.markers)
    progress = Progress("impute")
    try:
        best = fit(
            model,
            source,
            starts=options.starts,
            strategy="moments" if options.starts == 1 else "random",
            **options.climbing,
            checkpoint=options.checkpoint,
            on_pass=progress,
        )
    except FitError as error:
        raise InputError(str(table.path), error.got, "", "leave one of these out with --columns") from error
    progress.close(best.verdict)
    filled = fill(model, best.params, scaled, table, logged)
    low = below_zero(table, filled, logged)
    tell(table, low)
    notices += low
    accuracy = None if truth is None else measure(table, filled, truth, logged, options.seed)

    with staged(options.out) as folder:
        write_tables(table, best.params, filled, logged, folder)
        pictures = draw(table, best.params, filled, logged, truth, folder)
        told = describe(table, best, filled, logged, accuracy, notices, pictures)
        names = list(table.markers)
        return finish(
            folder,
            best,
            told,
            options,
            branch="impute",
            inputs=[options.input, *([options.truth] if options.truth else [])],
            labels={"mean": [names], "covariance": [names, names]},
            units={"mean": "units of the table, log where modelled so", "covariance": "products of these units"},
            accuracy=accuracy,
            extra={"markers": names, "log": list(options.log), "n_missing": int(np.isnan(table.values).sum())},
        )


def logged_columns(table: Table, log: Sequence[str]) -> Booleans:
    """Which markers are modelled on the log scale; their values must be above 0."""
    for name in log:
        if name not in table.markers:
            raise InputError("--log", f"no marker {name!r}", f"some of {', '.join(table.markers)}", "check the name")
        column = table.values[:, table.markers.index(name)]
        if (column <= 0).any():
            row = int(np.argmax(column <= 0))
            raise InputError(
                f"{table.path}, {table.places[row]}, column {name!r}",
                f"{column[row]:g} has no logarithm",
                "values above 0",
                "take it out of --log, or declare the value missing",
            )
    return np.array([name in log for name in table.markers])


def check_shape(table: Table) -> None:
    """A maximum needs more rows than markers."""
    n_rows, d = int((~np.isnan(table.values)).any(axis=1).sum()), len(table.markers)
    if n_rows <= d:
        raise InputError(
            str(table.path),
            f"{n_rows} rows with values for {d} markers: the likelihood has no maximum",
            f"at least {d + 1} rows",
            "choose fewer markers with --columns",
        )


def what_to_know(table: Table) -> list[str]:
    """Sentences on columns that count rows, rows without values and markers that are never seen together."""
    observed = ~np.isnan(table.values)
    told = [
        f"{name} only counts the rows and is modelled as a marker: name it with --id"
        for name, column in zip(table.markers, table.values.T, strict=True)
        if (np.diff(column) == 1).all()
    ]
    empty = [table.rows[i] for i in np.flatnonzero(~observed.any(axis=1))]
    if empty:
        shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        plural = "s" * (len(empty) != 1)
        told.append(f"{len(empty)} row{plural} without any value (row{plural} {shown}): filled with the means")
    joint = imputation.joint_counts(observed)
    for i, j in np.argwhere(np.triu(joint == 0, 1))[:5]:
        one, two = table.markers[i], table.markers[j]
        told.append(f"{one} and {two} are never observed in one row: the data do not identify their covariance")
    return told


def codes_or_years(table: Table) -> list[str]:
    """One sentence on columns of few whole numbers, or of years, which are more often codes or dates than markers."""
    named = []
    for name, column in zip(table.markers, table.values.T, strict=True):
        seen = column[~np.isnan(column)]
        distinct = np.unique(seen)
        if (distinct != np.round(distinct)).any() or (np.diff(column) == 1).all():
            continue
        few = distinct.size <= MOST_CODES and seen.size >= CODES_REPEAT * distinct.size
        if few or (distinct[0] >= YEARS[0] and distinct[-1] <= YEARS[1]):
            named.append(name)
    if not named:
        return []
    return [
        f"only a few different whole numbers, or years, yet modelled as normal: {', '.join(named)}; where these are "
        "codes or dates, choose the markers with --columns"
    ]


def below_zero(table: Table, filled: Filled, logged: Booleans) -> list[str]:
    """One sentence on markers that were above 0 wherever observed, and are filled with less or may be less."""
    gaps = np.isnan(table.values)
    lowest = np.nanmin(table.values, axis=0)
    values = ((filled.values < 0) & gaps).sum(axis=0)
    ends = ((filled.lower < 0) & gaps).sum(axis=0)
    named = [
        f"{table.markers[j]} (filled values: {values[j]}, ends of intervals: {ends[j]})"
        for j in np.flatnonzero((lowest > 0) & ~logged & (ends > 0))
    ]
    if not named:
        return []
    return [
        f"filled in below 0 although every observed value is above it: {', '.join(named)}; "
        "where the marker cannot be negative, model it with --log"
    ]


def tell(table: Table, notices: Sequence[str]) -> None:
    """Notices as lines of the log."""
    for notice in notices:
        print(f"emtools impute: {table.path}: {notice}", file=sys.stderr)


def read_truth(table: Table, options: Options) -> Floats:
    """The same markers and rows without gaps.

    Raises
    ------
    InputError
        If rows are missing, an observed cell differs, or no masked cell is known.
    """
    path = Path(str(options.truth))
    other = read_table(path, id_column=options.id, columns=table.markers, missing=options.missing, option="--truth")
    place = {name: row for row, name in enumerate(other.rows)}
    lost = [name for name in table.rows if name not in place]
    if lost or len(other.rows) != len(table.rows):
        got = f"{len(other.rows)} rows where the table has {len(table.rows)}"
        if options.id is not None and lost:
            got = f"row {lost[0]!r} is not in it"
        raise InputError(str(path), got, "the rows of the table", "check --truth and --id")
    truth: Floats = other.values[[place[name] for name in table.rows]]
    observed = ~np.isnan(table.values)
    apart = observed & ~np.isclose(truth, table.values, rtol=SAME_CELL, atol=0.0, equal_nan=True)
    if apart.any():
        row, column = (int(k) for k in np.argwhere(apart)[0])
        raise InputError(
            f"{path}, {other.places[place[table.rows[row]]]}, column {table.markers[column]!r}",
            f"{truth[row, column]:.10g} where the table has {table.values[row, column]:.10g}",
            "the same values in every cell that the table holds",
            "check that both files have the same rows in the same order, or give --id",
        )
    if not (~observed & ~np.isnan(truth)).any():
        raise InputError(str(path), "no cell is known here that the table lacks", "", "leave out --truth")
    return truth


def fill(model: MultivariateNormal, params: NormalParams, scaled: Floats, table: Table, logged: Booleans) -> Filled:
    """Conditional means and intervals, back in the units of the table; what was observed stays as it was."""
    scaled_values, sd = model.conditional(params, scaled)
    lower, upper = imputation.interval(scaled_values, sd)
    values = np.where(np.isnan(table.values), imputation.from_model_scale(scaled_values, logged), table.values)
    return Filled(
        scaled,
        scaled_values,
        sd,
        values,
        imputation.from_model_scale(lower, logged),
        imputation.from_model_scale(upper, logged),
    )


def peers(scaled: Floats, seed: int) -> dict[str, Floats]:
    """The same table filled by other methods, on the scale of the model."""
    completed = {"column mean": np.where(np.isnan(scaled), np.nanmean(scaled, axis=0), scaled)}
    if scaled.size > LARGEST_FOR_PEERS or np.isnan(scaled).all(axis=1).any():
        return completed
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    even = scaler.fit_transform(scaled)
    completed["KNN, k = 5"] = scaler.inverse_transform(KNNImputer(n_neighbors=5).fit_transform(even))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chained = IterativeImputer(max_iter=50, random_state=seed % 2**32).fit_transform(even)
    completed["IterativeImputer"] = scaler.inverse_transform(chained)
    return completed


def measure(table: Table, filled: Filled, truth: Floats, logged: Booleans, seed: int) -> pd.DataFrame:
    """Errors of the masked cells for EM and other methods, and coverage of the intervals."""
    cells = np.isnan(table.values) & ~np.isnan(truth)
    rows: list[tuple[str, str, float]] = []
    methods = {"EM": filled.values}
    for name, completed in peers(filled.scaled, seed).items():
        methods[name] = imputation.from_model_scale(completed, logged)
    for name, completed in methods.items():
        pooled, by_marker = imputation.normalised_rmse(truth, completed, cells)
        rows.append((name, "NRMSE", pooled))
        rows += [
            (name, f"NRMSE {marker}", float(error))
            for marker, error in zip(table.markers, by_marker, strict=True)
            if np.isfinite(error)
        ]
    covered = imputation.interval_coverage(truth, filled.lower, filled.upper, cells)
    rows += [("EM", "coverage of 95 % intervals", covered), ("EM", "masked cells", float(cells.sum()))]
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def write_tables(table: Table, params: NormalParams, filled: Filled, logged: Booleans, folder: Path) -> None:
    """completed, conditional_sd.tsv, imputed_cells.tsv and parameters.tsv."""
    write_completed(table, filled.values, folder)
    names, rows = list(table.markers), pd.Index(table.rows, name="row")
    pd.DataFrame(filled.sd, index=rows, columns=names).to_csv(folder / "conditional_sd.tsv", sep="\t")
    gaps = np.argwhere(np.isnan(table.values))
    cells = pd.DataFrame(
        [
            (
                table.rows[i],
                names[j],
                filled.values[i, j],
                filled.sd[i, j],
                filled.lower[i, j],
                filled.upper[i, j],
                "log" if logged[j] else "linear",
            )
            for i, j in gaps
        ],
        columns=["row", "column", "value", "sd", "lower", "upper", "scale"],
    )
    cells.to_csv(folder / "imputed_cells.tsv", sep="\t", index=False)
    parameter_frame(table, params, logged).to_csv(folder / "parameters.tsv", sep="\t", index=False)


def parameter_frame(table: Table, params: NormalParams, logged: Booleans) -> pd.DataFrame:
    """One row a marker: scale, counts, mean, standard deviation, covariances."""
    n_observed = (~np.isnan(table.values)).sum(axis=0)
    frame = pd.DataFrame(
        {
            "marker": table.markers,
            "scale": np.where(logged, "log", "linear"),
            "n_observed": n_observed,
            "n_missing": len(table.values) - n_observed,
            "mean": params.mean,
            "sd": np.sqrt(np.diagonal(params.covariance)),
        }
    )
    columns = {f"covariance_{name}": params.covariance[:, j] for j, name in enumerate(table.markers)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def draw(
    table: Table, params: NormalParams, filled: Filled, logged: Booleans, truth: Floats | None, folder: Path
) -> list[Picture]:
    """All figures, the answer first."""
    labels = [f"log {name}" if log else name for name, log in zip(table.markers, logged, strict=True)]
    pictures = [
        draw_missingness(table.values, table.markers, folder),
        draw_imputed(filled.scaled, filled.scaled_values, filled.sd, labels, folder),
    ]
    if truth is not None:
        cells = np.isnan(table.values) & ~np.isnan(truth)
        _, errors = imputation.normalised_rmse(truth, filled.values, cells)
        pictures.append(
            draw_accuracy(
                truth,
                filled.values,
                filled.lower,
                filled.upper,
                cells,
                table.markers,
                errors,
                logged.tolist(),
                folder,
            )
        )
    pictures.append(
        draw_shrinkage(
            labels,
            np.sqrt(np.diagonal(params.covariance)),
            imputation.sd_after_filling(filled.scaled, np.nanmean(filled.scaled, axis=0)),
            filled.scaled_values.std(axis=0),
            folder,
        )
    )
    return pictures


def describe(
    table: Table,
    best: Fit[Any, Any],
    filled: Filled,
    logged: Booleans,
    accuracy: pd.DataFrame | None,
    notices: Sequence[str],
    pictures: Sequence[Picture],
) -> page.Page:
    """The page of the report."""
    n, d = table.values.shape
    gaps = np.isnan(table.values)
    n_gaps = int(gaps.sum())
    facts = {"rows": str(n), "markers": str(d), "cells filled": f"{n_gaps} ({100 * gaps.mean():.1f} %)"}
    lead = (
        f"{n_gaps} missing values of {d} markers in {n} rows were filled with what the other markers of the same row "
        "say of them, each with its uncertainty."
        if n_gaps
        else f"Nothing is missing in {d} markers of {n} rows: the table is unchanged."
    )
    tables = [parameters_table(table, best.params, filled, logged)]
    if accuracy is not None:
        short, scores, lead_end = accuracy_table(accuracy)
        tables.insert(0, scores)
        facts |= short
        lead += lead_end
    lead += "".join(f" Note: {notice}." for notice in notices)
    log_words = (
        f" {', '.join(name for name, log in zip(table.markers, logged, strict=True) if log)} were modelled on the "
        "natural-log scale; their values and intervals are back-transformed, so that a filled value is the conditional "
        "median in its own unit, and its SD is that of the logarithm."
        if logged.any()
        else ""
    )
    methods = (
        f"The rows were taken as independent draws from one multivariate normal distribution of {d} markers, and their "
        "mean and covariance were estimated by maximum likelihood from every observed value with the EM algorithm, one "
        "factorisation per pattern of missingness, with the conditional covariance of the missing values in the second "
        "moments. A missing value was replaced by its conditional mean given the observed values "
        "of its row; its SD and "
        f"95 % interval (mean ± 1.96 SD) leave out the error of the parameters themselves.{log_words} This is right "
        "where values are missing at random: whether a value is missing may depend on what was observed, not on the "
        "value itself. Values below a detection limit do not meet this. The completed table is for description and "
        "prediction; standard errors computed from it as if nothing had been missing are too small."
    )
    suffix = whole_suffix(table.path)
    return page.Page(
        title=f"Imputation of {table.path.name}",
        lead=lead,
        facts=facts,
        pictures=pictures,
        tables=tables,
        methods=methods,
        references=REFERENCES,
        files={
            f"completed{suffix}": "the input with its gaps filled; every other cell is unchanged",
            "imputed_cells.tsv": "one row a filled cell: value, conditional SD, 95 % interval, scale of the SD",
            "conditional_sd.tsv": "conditional SD of each filled cell in the shape of the table; empty where observed",
            "parameters.tsv": "mean, SD and covariances of the markers by maximum likelihood",
        },
    )


def parameters_table(table: Table, params: NormalParams, filled: Filled, logged: Booleans) -> page.Table:
    """Means and three standard deviations side by side."""
    frame = parameter_frame(table, params, logged)[["marker", "scale", "n_missing", "mean", "sd"]]
    frame = frame.assign(
        shrunk=imputation.sd_after_filling(filled.scaled, np.nanmean(filled.scaled, axis=0)),
        typical=[
            float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else np.nan
            for column in filled.sd.T
        ],
    )
    frame.columns = pd.Index(
        ["marker", "scale", "missing", "mean", "SD", "SD if filled with means", "SD of a filled value (median)"]
    )
    return page.Table(
        "Markers",
        "Maximum-likelihood mean and SD of each marker on its scale, beside the SD after filling with column means. "
        "A filled value is uncertain by the last column: close to the SD means that the other "
        "markers tell little of it.",
        frame,
    )


def accuracy_table(accuracy: pd.DataFrame) -> tuple[dict[str, str], page.Table, str]:
    """Tiles, table and sentence on the errors against the truth."""
    errors = accuracy[accuracy["metric"].str.startswith("NRMSE")]
    wide = errors.pivot(index="metric", columns="method", values="value")
    methods = list(dict.fromkeys(errors["method"]))
    wide = wide.loc[list(dict.fromkeys(errors["metric"])), methods].reset_index()
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

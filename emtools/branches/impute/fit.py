"""``emtools impute``: fill the gaps of a table of markers by the model of its rows that fits best."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.branches.options import RunOptions
from emtools.errors import FitError, InputError
from emtools.io.dictionary import Dictionary, Limit, write_dictionary
from emtools.io.outputs import staged
from emtools.io.tables import Table, read_table, write_completed, write_flags
from emtools.kernels.scales import BoxCox, Identity, Scale, kind_and_power, scale_of, word_of

if TYPE_CHECKING:
    import pandas as pd

    from emtools.imputing.diagnose import Diagnosis
    from emtools.imputing.result import Imputation
    from emtools.io.design import Design

Floats = npt.NDArray[np.float64]

LARGEST_FOR_PEERS = 60_000
SAME_CELL = 1e-9
WIDEST_PARAMETERS = 200  # columns whose covariances parameters.tsv holds
EVERY = "*"
CELLS = ["row", "column", "known", "value", "sd", "lower", "upper", "scale"]  # of imputed_cells.tsv
WITHOUT_LIMITS = ("t", "factors", "mixture")
OF_MODELS = {"factors": ("factors", "auto"), "components": ("mixture", "auto")}  # numbers that other models do not have


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
    covariates : sequence of str
        Columns that enter as fixed effects.
    batch : str, optional
        Column of the plate or batch.
    missing : sequence of str
        Codes for a missing value.
    lod, upper_limit : sequence of str
        "COLUMN=LIMIT", a number or a column.
    dictionary : Path, optional
        What the columns are.
    sheet, layer : str, optional
        Part of a workbook, of an AnnData file.
    below_lod : str
        What becomes of values that the file reports below their limit.
    below_codes : sequence of str
        Codes for a value below its limit.
    qc_warnings : str
        What becomes of Olink's values with a warning of quality control.
    truth : Path, optional
        The same table without gaps.
    model : str
        Kind of model, as in `emtools.imputing.fitting.fit_table`.
    log : sequence of str
        Markers modelled on the log scale.
    scale : sequence of str
        "COLUMN=SCALE".
    prior : str or float
        As in `fit_table`.
    factors, components : int, optional
        Of factors and mixture.
    fill : str
        Whether mixtures may share in the filling where they predict better: "best" or "model".
    draws : int
        Completed tables to draw.
    draw_method : str
        How.
    """

    input: Path
    id: str | None = None
    columns: Sequence[str] | None = None
    covariates: Sequence[str] = ()
    batch: str | None = None
    missing: Sequence[str] = ()
    lod: Sequence[str] = ()
    upper_limit: Sequence[str] = ()
    dictionary: Path | None = None
    sheet: str | None = None
    layer: str | None = None
    below_lod: Any = "keep"
    below_codes: Sequence[str] = ()
    qc_warnings: Any = "keep"
    truth: Path | None = None
    model: str = "normal"
    log: Sequence[str] = ()
    scale: Sequence[str] = ()
    prior: str | float = "auto"
    factors: int | None = None
    components: int | None = None
    fill: str = "best"
    draws: int = 0
    draw_method: str = "bootstrap"
    tol: float = 1e-12


def run(options: Options) -> int:
    """Read, fit, fill, write; the exit status."""
    refuse_unused(options)
    table = read_table(
        options.input,
        id_column=options.id,
        columns=options.columns,
        missing=options.missing,
        covariates=options.covariates,
        batch=options.batch,
        dictionary=options.dictionary,
        sheet=options.sheet,
        layer=options.layer,
        lod=pairs(options.lod, "--lod"),
        upper_limit=pairs(options.upper_limit, "--upper-limit"),
        below_lod=options.below_lod,
        below_codes=options.below_codes,
        warned=options.qc_warnings,
    )
    if options.model in WITHOUT_LIMITS:
        refuse_limits(table, f"the {options.model} model", "use --model normal, which has limits in its likelihood")

    from emtools.branches.finish import finish  # what a table that cannot be read need not wait for
    from emtools.branches.impute.page import describe
    from emtools.imputing.advice import before_fit, on_log_scale
    from emtools.imputing.diagnose import diagnose
    from emtools.io.design import design_of
    from emtools.plots.impute import draw_all

    design = design_of(table.covariates)
    scales, chosen = marker_scales(table, options.log, options.scale, design)
    truth = read_truth(table, options) if options.truth is not None else None
    changed = np.array([s.name != "none" or on_log_scale(u) for s, u in zip(scales, table.units, strict=True)])
    named = options.columns is not None or options.dictionary is not None
    notices = [
        *table.notices,
        *chosen,
        *design.notices,
        *unmeasured(table, design),
        *before_fit(table.readings, table.markers, table.rows, logged=changed, chosen=named),
    ]
    tell(table, notices)
    done = completed(table, scales, design, options)
    diagnosis = diagnose(done, rows=table.rows, seed=options.seed, threads=options.threads)
    told = [*done.fitted.notices, *done.how_drawn]
    tell(table, [*told, *([done.how_filled] if done.better else []), *diagnosis.notices])
    accuracy = None if truth is None else measure(done, truth, options.seed)

    with staged(options.out) as folder:
        write_tables(table, done, diagnosis, design, folder)
        pictures = draw_all(done, diagnosis, truth, folder)
        page = describe(
            done,
            diagnosis,
            path=table.path,
            rows=table.rows,
            accuracy=accuracy,
            notices=[*notices, *told],
            pictures=pictures,
            method=options.draw_method,
        )
        return finish(
            folder,
            done.fitted.fit,
            page,
            options,
            branch="impute",
            inputs=[path for path in (options.input, options.truth, options.dictionary) if path is not None],
            labels=labels_of(done),
            units={"mean": "units of the table, log where modelled so", "covariance": "products of these units"},
            accuracy=accuracy,
            extra={
                "kind": done.fitted.kind,
                "filled_by": done.filler.model.name,
                "share_of_mixtures": 0.0 if done.better is None else done.better.params.share,
                "markers": list(table.markers),
                "units": dict(zip(table.markers, table.units, strict=True)),
                "scales": {name: scale.name for name, scale in zip(table.markers, scales, strict=True)},
                "design": list(done.design),
                "pseudo_rows": done.fitted.pseudo_rows,
                "n_missing": int((~table.readings.observed).sum()),
                "n_beyond_limit": int(table.readings.bounded.sum()),
                "n_draws": len(done.draws),
                "diagnosis": diagnosis.to_json(),
            },
            elsewhere="model.npz",
        )


def completed(table: Table, scales: Sequence[Scale], design: Design, options: Options) -> Imputation:
    """Fit and fill."""
    from emtools.imputing.complete import impute
    from emtools.imputing.fitting import WIDE
    from emtools.io.console import Progress

    progress = Progress("impute", options.starts, options.quiet)
    climbing = options.climbing
    if len(table.markers) > WIDE:  # what was not asked for is as long as such a table bears, see `fitting.tight`
        given = {"tol": Options.tol, "max_passes": Options.max_passes}
        climbing = {name: value for name, value in climbing.items() if given.get(name) != value}
    several = options.starts > 1 and options.model != "mixture"
    try:
        done = impute(
            table.readings,
            markers=table.markers,
            units=table.units,
            scales=scales,
            design=design.matrix(table.covariates),
            design_names=design.labels,
            draws=options.draws,
            method=options.draw_method,
            filling=options.fill,
            kind=options.model,
            prior=options.prior,
            n_factors=options.factors,
            n_components=options.components,
            starts=options.starts,
            strategy="random" if several else None,
            checkpoint=options.checkpoint,
            on_pass=progress,
            **climbing,
        )
    except FitError as error:
        raise InputError(str(table.path), error.got, "", "leave one of these out with --columns") from error
    progress.close(done.fitted.fit.summary)
    return done


def unmeasured(table: Table, design: Design) -> list[str]:
    """Sentences on markers without any value in a batch or a category."""
    from emtools.imputing.advice import never_in_level
    from emtools.io.design import as_levels

    known = table.readings.observed | table.readings.bounded
    return [
        sentence
        for name, levels in zip(design.names, design.levels, strict=True)
        if levels is not None
        for sentence in never_in_level(known, table.markers, name, as_levels(table.covariates[name]))
    ]


def refuse_unused(options: Options) -> None:
    """Raise where an option is for another model than the one that was asked for, which would leave it unread."""
    for name, models in OF_MODELS.items():
        if getattr(options, name) is not None and options.model not in models:
            raise InputError(
                f"--{name}",
                f"given with --model {options.model}, which has none",
                f"--model {' or '.join(models)}",
                "leave one of them out",
            )
    if options.draws and options.draw_method == "posterior" and options.model in WITHOUT_LIMITS:
        raise InputError(
            "--draw-method", f"posterior with --model {options.model}", "--model normal", "draw by bootstrap"
        )


def refuse_limits(table: Table, model: str, remedy: str) -> None:
    """Raise where a cell is known to lie beyond a limit, which the model cannot use."""
    if table.readings.bounded.any():
        i, j = (int(k) for k in np.argwhere(table.readings.bounded)[0])
        raise InputError(
            table.at(i, j),
            f"the value lies beyond a limit of detection, which {model} cannot use",
            "values or blanks",
            remedy,
        )


def pairs(words: Sequence[str], option: str) -> dict[str, Limit]:
    """Limits by marker from words "COLUMN=LIMIT", a number or the name of a column."""
    found: dict[str, Limit] = {}
    for word in words:
        name, value = split_pair(word, option, "CRP=0.5, or CRP=crp_lod for a column of limits")
        limit: Limit
        try:
            limit = float(value)
        except ValueError:
            limit = value
        if name in found and found[name] != limit:
            raise InputError(option, f"{found[name]} and {limit} for {name!r}", "one limit", "take one out")
        found[name] = limit
    return found


def split_pair(word: str, option: str, example: str) -> tuple[str, str]:
    """Both sides of the last equals sign."""
    name, equals, value = word.rpartition("=")
    if not (equals and name.strip() and value.strip()):
        raise InputError(option, f"{word!r}", "COLUMN=VALUE", f"write it as {example}")
    return name.strip(), value.strip()


def marker_scales(
    table: Table, log: Sequence[str], scale: Sequence[str], design: Design
) -> tuple[list[Scale], list[str]]:
    """Scale of each marker, and what is to be said of those that nobody chose.

    As the options say, else as the dictionary says. A marker with limits of detection for which neither does is modelled
    on the power at which the likelihood of values and limits is highest: a limit asks for the shape of the tail beyond
    it. All others stay as they are.
    """
    from emtools.imputing.scaling import limited_scales

    asked: dict[str, tuple[str, str]] = dict.fromkeys(log, ("log", "--log"))
    for word in scale:
        name, kind = split_pair(word, "--scale", "CRP=log")
        kind_and_power(kind, "--scale")
        other, option = asked.setdefault(name, (kind, "--scale"))
        if other != kind:
            first = "--log" if option == "--log" else f"{other} in --scale"
            raise InputError("--scale", f"{kind} for {name!r}, which is {first} too", "one scale", "take one out")
    for name, (_, option) in asked.items():
        if name not in (*table.markers, EVERY):
            raise InputError(
                option, f"no marker {name!r}", f"some of {', '.join(table.markers[:12])}", "check the name"
            )
    found: list[Scale | None] = []
    limited = table.readings.bounded.any(axis=0)
    for j, name in enumerate(table.markers):
        kind, option = asked.get(name) or (
            (table.scales[j], "the dictionary") if table.scales[j] else asked.get(EVERY, ("", "--scale"))
        )
        open_to_choice = kind in ("", "box-cox") and limited[j]
        found.append(None if open_to_choice else named_scale(table, j, kind or "none", option))
    chosen = limited_scales(table.readings, found, design.matrix(table.covariates)) if None in found else {}
    other = {table.markers[j]: on_scale(scale) for j, scale in chosen.items() if scale.name != "none"}
    first = next(iter(other), "")
    told = [
        f"modelled on scales that describe values and limits better: {', '.join(f'{m} ({w})' for m, w in other.items())}; "
        f"--scale {quote(f'{first}=none')} keeps {'it' if len(other) == 1 else 'the first'} as measured"
    ]
    return [scale or chosen.get(j, Identity()) for j, scale in enumerate(found)], told if other else []


def named_scale(table: Table, j: int, word: str, option: str) -> Scale:
    """The scale of a marker that was asked for.

    Raises
    ------
    InputError
        If its values or limits lie outside of what the scale allows.
    """
    bounded = table.readings.bounded[:, j]
    low, high = (bound[:, j] for bound in table.readings.bounds())
    limits = np.concatenate([low[bounded], high[bounded]])
    scale = scale_of(word, table.values[:, j], limits=limits, at=lambda row: table.at(row, j), option=option)
    outside = np.flatnonzero(bounded & ((high <= scale.support[0]) | (low >= scale.support[1])))
    if outside.size:
        row = int(outside[0])
        limit = high[row] if high[row] <= scale.support[0] else low[row]
        got = f"no value beyond the limit {limit:g} has a place on the scale {scale.name}"
        raise InputError(table.at(row, j), got, "", f"take the marker out of {option}, or mend the limit")
    return scale


def on_scale(scale: Scale) -> str:
    """Words for a scale."""
    return f"power {scale.power:g}" if isinstance(scale, BoxCox) else scale.name


def as_used(table: Table, scales: Sequence[Scale]) -> Dictionary:
    """The dictionary with the scales that the model had; none is a choice where a marker has limits."""
    limited = table.readings.bounded.any(axis=0)
    used = {
        name: word_of(scale)
        for name, scale, chosen in zip(table.markers, scales, limited, strict=True)
        if chosen or scale.name != "none"
    }
    entries = tuple(replace(entry, scale=used.get(entry.column, entry.scale)) for entry in table.dictionary.entries)
    return replace(table.dictionary, entries=entries)


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


def measure(done: Imputation, truth: Floats, seed: int) -> pd.DataFrame:
    """Errors of the masked cells for EM and other methods, and coverage of the intervals."""
    import pandas as pd

    from emtools.kernels.imputation import interval_coverage, normalised_rmse

    cells = ~done.readings.observed & ~np.isnan(truth)
    rows: list[tuple[str, str, float]] = []
    methods = {"EM": done.values}
    for name, scaled in peers(done.scaled.values[:, : len(done.markers)], seed).items():
        methods[name] = np.column_stack([s.inverse(column) for s, column in zip(done.scales, scaled.T, strict=True)])
    for name, values in methods.items():
        pooled, by_marker = normalised_rmse(truth, values, cells)
        rows.append((name, "NRMSE", pooled))
        rows += [
            (name, f"NRMSE {marker}", float(error))
            for marker, error in zip(done.markers, by_marker, strict=True)
            if np.isfinite(error)
        ]
    covered = interval_coverage(truth, done.lower, done.upper, cells)
    rows += [("EM", "coverage of 95 % intervals", covered), ("EM", "masked cells", float(cells.sum()))]
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def write_tables(table: Table, done: Imputation, diagnosis: Diagnosis, design: Design, folder: Path) -> None:
    """Completed tables, their gaps, and what was estimated."""
    import pandas as pd

    from emtools.imputing.store import write_model

    write_completed(table, done.values, folder, sd=done.sd)
    for number, drawn in enumerate(done.draws, 1):
        write_completed(table, drawn, folder, stem=f"completed_{number}")
    write_flags(table, folder)
    write_dictionary(as_used(table, done.scales), folder / "dictionary.tsv")
    write_model(folder / "model.npz", done, design.as_json())
    names, rows = list(table.markers), pd.Index(table.rows, name="row")
    pd.DataFrame(done.sd, index=rows, columns=names).to_csv(folder / "conditional_sd.tsv", sep="\t")
    write(cell_frame(table.rows, done), folder / "imputed_cells.tsv")
    write(parameter_frame(done, diagnosis), folder / "parameters.tsv")
    write(diagnosis.markers, folder / "diagnostics.tsv")
    write(diagnosis.patterns, folder / "patterns.tsv")
    if diagnosis.batch is not None:
        write(diagnosis.batch.shifts, folder / "batch_shifts.tsv")


def write(frame: pd.DataFrame, path: Path) -> None:
    """A table of tab-separated values."""
    frame.to_csv(path, sep="\t", index=False, lineterminator="\n")


def cell_frame(rows: Sequence[str], done: Imputation) -> pd.DataFrame:
    """One row a filled cell: what it was filled with, and what was known of it."""
    import pandas as pd

    low, high = done.readings.bounds()
    gaps = np.argwhere(~done.readings.observed)
    return pd.DataFrame(
        [
            (
                rows[i],
                done.markers[j],
                known(low[i, j], high[i, j]),
                done.values[i, j],
                done.sd[i, j],
                done.lower[i, j],
                done.upper[i, j],
                scale_word(done.scales[j]),
            )
            for i, j in gaps
        ],
        columns=CELLS,
    )


def known(low: float, high: float) -> str:
    """What was known of a cell without a value."""
    match bool(np.isfinite(low)), bool(np.isfinite(high)):
        case True, True:
            return f"{low:.10g} to {high:.10g}"
        case True, False:
            return f"> {low:.10g}"
        case False, True:
            return f"< {high:.10g}"
    return ""


def scale_word(scale: Scale) -> str:
    """Name of a scale in a table of results."""
    return "linear" if scale.name == "none" else scale.name


def parameter_frame(done: Imputation, diagnosis: Diagnosis) -> pd.DataFrame:
    """One row a marker or column of the design: scale, unit, counts, mean, standard deviation, covariances."""
    import pandas as pd

    n_observed = done.scaled.observed.sum(axis=0)
    names = [*done.markers, *done.design]
    rest = len(done.design)
    frame = pd.DataFrame(
        {
            "marker": names,
            "scale": [*map(scale_word, done.scales), *["design"] * rest],
            "unit": [*done.units, *[""] * rest],
            "n_observed": n_observed,
            "n_missing": len(done.scaled.values) - n_observed,
            "mean": diagnosis.mean,
            "sd": np.sqrt(np.diagonal(diagnosis.covariance)),
        }
    )
    if len(names) > WIDEST_PARAMETERS:
        return frame
    columns = {f"covariance_{name}": diagnosis.covariance[:, j] for j, name in enumerate(names)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def labels_of(done: Imputation) -> Mapping[str, Sequence[Sequence[str]]]:
    """Names along the axes of each parameter: of the columns where an axis is as long as the row."""
    names = [*done.markers, *done.design]
    natural = done.fitted.model.natural(done.fitted.params)
    return {
        key: [names if size == len(names) else [str(i + 1) for i in range(size)] for size in np.shape(array)]
        for key, array in natural.items()
        if len(names) in np.shape(array)
    }

"""Whether to believe a completed table: what is missing and why, what the model gets right, what it cannot know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import chdtrc, fdtrc

from emtools.engine.result import tell_starts
from emtools.errors import FitError, InputError
from emtools.imputing.advice import after_fit, dependencies, listed, never_together, skewness
from emtools.imputing.batches import BatchInfluence, batch_influence, holm
from emtools.imputing.fitting import fit_table
from emtools.imputing.overimpute import FEWER_ROWS, LEVELS, OverImputed, overimpute
from emtools.imputing.result import Fitted, Imputation
from emtools.kernels.missing import group_rows
from emtools.kernels.missingness import Little, leave_one_out, little_test, missing_information
from emtools.kernels.readings import Readings

Floats = npt.NDArray[np.float64]

OBSERVED, BEYOND, MISSING = "o", "<", "."
MOST_PATTERNS = 1_000  # rows of the table of patterns
FLOPS = 4e10  # what an answer may cost that is not asked for by name
SIGNIFICANT = 0.05
BADLY, FROM = 0.04, 200  # distance of a coverage from its level that is told, and cells from which it is


@dataclass(frozen=True)
class Diagnosis:
    """What can be said for and against a completed table.

    Parameters
    ----------
    markers : DataFrame
        One row a marker: counts, estimates on the scale of the model, ``missing_information`` about its mean,
        ``r_squared`` of its observed values predicted from the others, and ``coverage_50``, ``_80``, ``_95`` of the
        predictive intervals.
    patterns : DataFrame
        Patterns of missingness, the commonest first: ``pattern`` (one letter a marker: o observed, < beyond a limit,
        . missing), ``n_rows``, ``n_missing``, ``missing`` (names).
    n_patterns : int
        Patterns in all.
    mcar : Little or None
        Little's test; None where it says nothing, see `why_no_test`.
    why_no_test : str
        Why not; empty where there is a test.
    unseen_pairs : tuple of pairs of int
        Markers of which nothing is known together in any row.
    overimputed : OverImputed
        Observed cells predicted by fits that did not see them.
    batch : BatchInfluence or None
        Influence of the design; None without one.
    outliers : DataFrame
        Rows that are far from the model: ``row`` (from 0), ``n_observed``, ``distance``, ``p``, ``p_holm``; those with
        an adjusted p below 0.05.
    dependencies : tuple of tuples of int
        Markers that are nearly a linear function of one another.
    mean, covariance, correlation : ndarray, shapes (d + e,), (d + e, d + e) and (d, d)
        Of the rows according to the model, and of the markers; of a t with up to 2 degrees of freedom, which has none, its
        location and scatter.
    starts : str
        Whether the starts agreed.
    notices : tuple of str
        What the reader should do about it.
    """

    markers: pd.DataFrame
    patterns: pd.DataFrame
    n_patterns: int
    mcar: Little | None
    why_no_test: str
    unseen_pairs: tuple[tuple[int, int], ...]
    overimputed: OverImputed
    batch: BatchInfluence | None
    outliers: pd.DataFrame
    dependencies: tuple[tuple[int, ...], ...]
    mean: Floats
    covariance: Floats
    correlation: Floats
    starts: str
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What a machine may want of it, as JSON values; tables are files of their own."""
        cells = self.overimputed
        names = self.markers["marker"].tolist()
        return {
            "little": None
            if self.mcar is None
            else {"statistic": self.mcar.statistic, "df": self.mcar.df, "p": finite(self.mcar.p)},
            "n_patterns": self.n_patterns,
            "never_together": [[names[i], names[j]] for i, j in self.unseen_pairs],
            "overimputation": {
                "n_cells": int(cells.pit.size),
                "n_fits": cells.n_fits,
                **{f"coverage_{100 * level:.0f}": finite(cells.coverage(level)) for level in LEVELS},
            },
            "batch": None
            if self.batch is None
            else {"statistic": finite(self.batch.statistic), "df": self.batch.df, "p": finite(self.batch.p)},
            "outlying_rows": [int(row) + 1 for row in self.outliers["row"]],
            "dependencies": [[names[j] for j in group] for group in self.dependencies],
            "starts": self.starts,
            "notices": list(self.notices),
        }


def finite(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


def diagnose(imputation: Imputation, *, rows: Sequence[str] = (), seed: int = 0, threads: int = 1) -> Diagnosis:
    """Everything a statistician asks of a completed table.

    Parameters
    ----------
    imputation : Imputation
        The table, its model and its fit.
    rows : sequence of str
        Names of the rows, n of them; their numbers from 1 by default.
    seed : int
        Deals the cells of the over-imputation.
    threads : int
        Of its fits; cannot change the result.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> from emtools.imputing.complete import impute
    >>> from emtools.kernels.scales import Identity
    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3))
    >>> table[rng.random((60, 3)) < 0.1] = np.nan
    >>> done = impute(Readings(table), markers=("CRP", "IL6", "TNF"), scales=(Identity(),) * 3)
    >>> seen = diagnose(done)
    >>> bool(seen.mcar.p > 0.01), bool((seen.markers["r_squared"] > 0.4).all())
    (True, True)
    """
    d = len(imputation.markers)
    mean, scatter = centre_and_scatter(imputation.fitted)
    covariance = scatter
    if imputation.fitted.kind == "t" and imputation.fitted.params.df > 2.0:
        covariance = imputation.fitted.model.moments(imputation.fitted.params)[1]
    sd = np.sqrt(np.diagonal(covariance)[:d])
    correlation = covariance[:d, :d] / sd[:, None] / sd
    mcar, why = mcar_test(imputation, seed, threads)
    cells = overimpute(imputation.scaled, imputation.filler, d, seed=seed, threads=threads)
    batch = batch_influence(imputation, mean, scatter, seed=seed, threads=threads)
    outliers = outlying_rows(imputation, mean, scatter)
    known = imputation.readings.observed | imputation.readings.bounded
    patterns, n_patterns = pattern_table(imputation.readings, imputation.markers)
    return Diagnosis(
        markers=marker_table(imputation, mean, sd, information(imputation, scatter), cells),
        patterns=patterns,
        n_patterns=n_patterns,
        mcar=mcar,
        why_no_test=why,
        unseen_pairs=tuple(never_together(known)),
        overimputed=cells,
        batch=batch,
        outliers=outliers,
        dependencies=tuple(dependencies(correlation)),
        mean=mean,
        covariance=covariance,
        correlation=correlation,
        starts=tell_starts(imputation.fitted.fit.starts),
        notices=(*after_fit(imputation, correlation), *misfits(imputation, cells, outliers, batch, rows)),
    )


def centre_and_scatter(fitted: Fitted) -> tuple[Floats, Floats]:
    """Mean and covariance of a row, of a t its location and scatter."""
    if fitted.kind == "t":
        return np.asarray(fitted.params.location), np.asarray(fitted.params.scatter)
    mean, covariance = fitted.model.moments(fitted.params)
    return mean, covariance


def mcar_test(imputation: Imputation, seed: int, threads: int) -> tuple[Little | None, str]:
    """Little's test of the table that the model saw, or why there is none."""
    fitted, scaled = imputation.fitted, imputation.scaled
    n, d = scaled.values.shape
    if scaled.bounded.any():
        return None, "values beyond a limit are missing because of their size, so that the question does not arise"
    if scaled.observed.all():
        return None, "nothing is missing"
    if n <= d:
        return None, f"it needs more rows than columns ({n} and {d})"
    if min(n, 2.0 ** min(d, 64)) * d**3 > FLOPS:
        return None, "the table is too large for it, and so many patterns would leave it without power"
    params = fitted.params
    if fitted.kind != "normal" or fitted.pseudo_rows:
        climbing: dict[str, Any] = {"tol": 1e-9, "seed": seed, "threads": threads, "certificate": False}
        try:
            params = fit_table(scaled, prior="none", **climbing).params
        except (FitError, InputError):
            return None, "it needs a maximum of the likelihood without a prior, and there is none"
    tested = little_test(params.mean, params.covariance, scaled.values)
    return (None, "there is one pattern only") if not tested.df else (tested, "")


def marker_table(imputation: Imputation, mean: Floats, sd: Floats, costs: Floats, cells: OverImputed) -> pd.DataFrame:
    """One row a marker."""
    readings, d = imputation.readings, len(imputation.markers)
    seen, beyond = readings.observed.sum(axis=0), readings.bounded.sum(axis=0)
    columns: dict[str, Any] = {
        "marker": imputation.markers,
        "unit": imputation.units,
        "scale": [scale.name for scale in imputation.scales],
        "n_observed": seen,
        "n_beyond_limit": beyond,
        "n_missing": len(readings.values) - seen - beyond,
        "mean": mean[:d],
        "sd": sd,
        "skewness": skewness(imputation.scaled.values[:, :d]),
        "missing_information": costs,
        "n_predicted": np.bincount(cells.columns, minlength=d)[:d],
        "r_squared": [cells.explained(j) for j in range(d)],
    }
    columns |= {f"coverage_{100 * level:.0f}": [cells.coverage(level, j) for j in range(d)] for level in LEVELS}
    return pd.DataFrame(columns)


def information(imputation: Imputation, covariance: Floats) -> Floats:
    """Fraction of missing information about the mean of each marker: of the fit's certificate, else by the model."""
    d, scaled = len(imputation.markers), imputation.scaled
    fitted = imputation.fitted
    certificate = fitted.fit.certificate if fitted.kind == "normal" else None  # elsewhere more is hidden than the gaps
    told = None if certificate is None else certificate.missing.get("mean")
    if told is not None and np.shape(told) == (scaled.values.shape[1],) and np.isfinite(told[:d]).all():
        return np.asarray(np.clip(told[:d], 0.0, 1.0))
    observed = scaled.observed
    n, width = observed.shape
    if scaled.bounded.any() or fitted.kind == "mixture" or (min(n, 2.0 ** min(width, 64)) + 2) * width**3 > FLOPS:
        return np.full(d, np.nan)
    try:
        return missing_information(covariance, observed, fitted.params.df if fitted.kind == "t" else math.inf)[:d]
    except np.linalg.LinAlgError:
        return np.full(d, np.nan)


def pattern_table(readings: Readings, markers: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Patterns of missingness, the commonest first, and how many there are."""
    state = np.where(readings.observed, 0, np.where(readings.bounded, 1, 2)).astype(np.uint8)
    as_bytes = np.ascontiguousarray(state).view(np.dtype((np.void, state.shape[1]))).ravel()
    _, first, counts = np.unique(as_bytes, return_index=True, return_counts=True)
    n_missing = (state[first] == 2).sum(axis=1)
    order = np.lexsort((first, n_missing, -counts))[:MOST_PATTERNS]
    letters = np.array([OBSERVED, BEYOND, MISSING])
    frame = pd.DataFrame(
        {
            "pattern": ["".join(letters[state[first[k]]]) for k in order],
            "n_rows": counts[order],
            "n_missing": n_missing[order],
            "missing": [" ".join(markers[int(j)] for j in np.flatnonzero(state[first[k]] == 2)) for k in order],
        }
    )
    return frame, len(counts)


def outlying_rows(imputation: Imputation, mean: Floats, covariance: Floats) -> pd.DataFrame:
    """Rows far from the model by the Mahalanobis distance of their observed markers given their design; Holm over all rows.

    The squared distance of p observed values is chi-squared with p degrees of freedom under a normal distribution,
    and p times an F with p and ν under a t with ν degrees of freedom. Given e values of the design at the squared
    distance δ it is that of all of them less δ; a t has ν + e degrees of freedom and (ν + δ) / (ν + e) times the scatter.
    """
    fitted, values = imputation.fitted, imputation.scaled.values
    n, d = values.shape
    groups = len(group_rows(~np.isnan(values))) if n * d <= 20_000_000 else n
    nothing = pd.DataFrame({"row": [], "n_observed": [], "distance": [], "p": [], "p_holm": []})
    if fitted.kind == "mixture" or n <= 2 * d or groups * d**3 > FLOPS:
        return nothing.astype({"row": int, "n_observed": int})
    m = len(imputation.markers)
    distance, given = leave_one_out(values, mean, covariance).distance, np.zeros(n)
    if d > m:
        given = leave_one_out(values[:, m:], mean[m:], covariance[m:, m:]).distance
        distance = np.maximum(distance - given, 0.0)
    count = (~np.isnan(values[:, :m])).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if fitted.kind == "t":
            fixed = (~np.isnan(values[:, m:])).sum(axis=1)
            distance = distance * (fitted.params.df + fixed) / (fitted.params.df + given)
            p = fdtrc(count, fitted.params.df + fixed, distance / count)
        else:
            p = chdtrc(count, distance)
    p = np.where(count > 0, p, np.nan)
    frame = pd.DataFrame({"row": np.arange(n), "n_observed": count, "distance": distance, "p": p, "p_holm": holm(p)})
    return frame[frame["p_holm"] < SIGNIFICANT].sort_values("p_holm", kind="stable").reset_index(drop=True)


def misfits(
    imputation: Imputation,
    cells: OverImputed,
    outliers: pd.DataFrame,
    batch: BatchInfluence | None,
    rows: Sequence[str],
) -> list[str]:
    """Sentences on what the model does not describe."""
    told = []
    far = len(outliers)
    if far:
        them = "them" if far != 1 else "it"
        remedy = f"look at {them}" if imputation.fitted.kind == "t" else f"check {them} for errors, or use --model t"
        names = [rows[int(row)] if rows else str(int(row) + 1) for row in outliers["row"]]
        told.append(
            f"{far} row{'s' * (far != 1)} too far from the others for a {described(imputation.fitted)} distribution (row"
            f"{'s' * (far != 1)} {listed(names)}): {remedy}"
        )
    if cells.pit.size >= FROM:
        covered = cells.coverage(0.95)
        if abs(covered - 0.95) > BADLY:
            side = "too narrow" if covered < 0.95 else "wider than they need be"
            n, d = imputation.scaled.values.shape
            few = covered < 0.95 and imputation.fitted.kind == "normal" and n <= FEWER_ROWS * d
            remedy = (
                f"with {n} rows for {d} columns they lack the error of the estimates: try --model factors, or use --draws"
                if few
                else "try --scale, --log or --model t"
            )
            told.append(
                f"95 % intervals hold {100 * covered:.0f} % of observed values that were predicted as if missing, so they are "
                f"{side}: {remedy}"
            )
    if cells.n_failed:
        told.append(
            f"{cells.n_failed} of {cells.n_fits} fits without some of the observed cells had no maximum: the table has hardly "
            "more values than the model needs; use fewer markers or a --prior"
        )
    if batch is not None and (batch.shifts["p_holm"] < SIGNIFICANT).any():
        moved = batch.shifts[batch.shifts["p_holm"] < SIGNIFICANT].sort_values("p_holm", kind="stable")
        words = [f"{r.marker} by {r.shift:+.2f} SD with {r.column}" for r in moved.head(3).itertuples()]
        told.append(
            f"markers shift with the batch or covariate: {listed(words, 3)}{more(len(moved))}; the filled values follow the "
            "shift of their row, and a comparison of rows must take account of it too"
        )
    return told


def more(count: int) -> str:
    """How many shifts are not told."""
    return f" and {count - 3} more" if count > 3 else ""


def described(fitted: Fitted) -> str:
    """The distribution in a word."""
    return "t" if fitted.kind == "t" else "normal"

"""What the reader of a table should know before its gaps are filled, and after: sentences with a remedy each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from emtools.imputing.result import Imputation
from emtools.kernels.imputation import joint_counts
from emtools.kernels.readings import Readings

Floats = npt.NDArray[np.float64]

MOST_CODES, CODES_REPEAT = 10, 4
YEARS = (1900, 2100)
FEW = 10  # observed values below which a marker says little of itself
SKEWED = 2.0
SAME_SHARE, SAME_COUNT = 0.2, 8  # of observed values that are the same number
MOSTLY = 0.5  # share of gaps beyond which a marker is mostly guesses
TOLD = 5
COLLINEAR = 0.99
CONDITION, INVOLVED = 30.0, 0.5  # condition index and share of a variance that tell of a dependency
LOGARITHMIC = re.compile(
    r"(npx|c[tqp]|(log|ln)(2|10|e)?)\b.*", re.IGNORECASE
)  # units of what is on a log scale already
NINES, FAR = re.compile(r"-?9{2,}"), 2.0  # a usual code, and its distance in ranges of the other values
WIDEST = 300  # columns up to which groups of collinear ones are looked for


def listed(names: Sequence[str], most: int = TOLD) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def before_fit(
    readings: Readings,
    markers: Sequence[str],
    rows: Sequence[str],
    *,
    logged: npt.NDArray[np.bool_] | None = None,
    chosen: bool = False,
) -> list[str]:
    """Sentences on a table that hold whatever is fitted to it.

    Parameters
    ----------
    readings : Readings
        The markers in the units of the table, shape (n, d).
    markers, rows : sequence of str
        Names of the columns, and of the rows.
    logged : ndarray of bool, shape (d,), optional
        Markers that are transformed already.
    chosen : bool
        The reader named the markers: then columns of codes are no mistake.

    Returns
    -------
    list of str
    """
    given = np.zeros(len(markers), dtype=bool) if logged is None else logged
    return [
        *what_to_know(readings, markers, rows),
        *few_values(readings, markers),
        *skewed(readings.values, markers, given),
        *repeated(readings.values, markers),
        *nines(readings.values, markers),
        *([] if chosen else codes_or_years(readings.values, markers)),
    ]


def what_to_know(readings: Readings, markers: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Sentences on columns that count rows, rows without values and markers that are never seen together."""
    told = [
        f"{name} only counts the rows and is modelled as a marker: name it with --id"
        for name, column in zip(markers, readings.values.T, strict=True)
        if len(column) > 1 and (np.diff(column) == 1).all()
    ]
    known = readings.observed | readings.bounded
    empty = [rows[int(i)] for i in np.flatnonzero(~known.any(axis=1))]
    if empty:
        shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        plural = "s" * (len(empty) != 1)
        told.append(f"{len(empty)} row{plural} without any value (row{plural} {shown}): filled with the means")
    pairs = never_together(known)
    for one, two in [] if len(pairs) > TOLD else pairs:
        told.append(
            f"{markers[one]} and {markers[two]} are never observed in one row: the data do not identify their covariance; "
            "read it as what the other markers imply, or leave one of them out with --columns"
        )
    if len(pairs) > TOLD:
        involved = sorted({j for pair in pairs for j in pair})
        names = listed([markers[j] for j in involved])
        told.append(
            f"{len(pairs)} pairs of markers are never observed in one row ({names}): the data do not identify their "
            "covariances; where these are panels measured on different rows, fill them panel by panel"
        )
    return told


def never_together(known: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of columns without a row in which something is known of both, shape (n, d) in."""
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(joint_counts(known) == 0, 1))]


def never_in_level(
    known: npt.NDArray[np.bool_], markers: Sequence[str], covariate: str, levels: Sequence[str | None]
) -> list[str]:
    """A sentence on markers of which nothing is known in all rows of a level, so that its effect on them cannot be told.

    Parameters
    ----------
    known : ndarray of bool, shape (n, d)
        Cells of which anything is known.
    markers : sequence of str
        Names of the columns.
    covariate : str
        Name of a batch or category.
    levels : sequence of str
        Its level in each row, None where it is missing.
    """
    held = np.array([level or "" for level in levels], dtype=object)
    distinct = sorted({level for level in levels if level is not None})
    found = [
        f"{marker} where {covariate} is {level}"
        for level in distinct
        for marker, seen in zip(markers, known[held == level].any(axis=0), strict=True)
        if not seen
    ]
    if not found:
        return []
    return [
        f"no value of {listed(found)}: the data do not tell how the marker shifts there, and what is filled in rests on no "
        "measurement of it; leave the marker out with --columns, or those rows"
    ]


def few_values(readings: Readings, markers: Sequence[str]) -> list[str]:
    """Sentences on markers with few observed values, and on those that are mostly missing."""
    n, seen = len(readings.values), readings.observed.sum(axis=0)
    rare = [f"{name} ({count})" for name, count in zip(markers, seen, strict=True) if count < min(FEW, n)]
    told = []
    if rare:
        told.append(
            f"fewer than {FEW} observed values: {listed(rare)}; what is filled in there is a guess: leave such a marker out "
            "with --columns, or measure more"
        )
    known = (readings.observed | readings.bounded).sum(axis=0)
    mostly = [
        f"{name} ({100 * (1 - count / n):.0f} %)"
        for name, count, k in zip(markers, seen, known, strict=True)
        if count >= FEW and k < MOSTLY * n
    ]
    if mostly:
        told.append(
            f"missing in more than half of the rows: {listed(mostly)}; carry their uncertainty along with --draws and "
            "emtools pool"
        )
    return told


def skewness(values: Floats) -> Floats:
    """Third standardised moment of the observed values of each column, shape (d,); NaN where they do not vary."""
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        away = values - np.nanmean(values, axis=0)
        spread = np.sqrt(np.nanmean(away**2, axis=0))
        found: Floats = np.nanmean(away**3, axis=0) / spread**3
    return found


def skewed(values: Floats, markers: Sequence[str], transformed: npt.NDArray[np.bool_]) -> list[str]:
    """One sentence on positive markers with a long right tail that a logarithm shortens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lowest = np.nanmin(values, axis=0)
    here = (skewness(values) > SKEWED) & (lowest > 0) & ~transformed
    named = []
    for j in np.flatnonzero(here):
        if abs(skewness(np.log(values[:, [j]]))[0]) < skewness(values[:, [j]])[0]:
            named.append(markers[int(j)])
    if not named:
        return []
    return [
        f"above 0 with a long right tail (skewness over {SKEWED:g}), yet modelled as normal: {listed(named)}; model them "
        "with --log"
    ]


def repeated(values: Floats, markers: Sequence[str]) -> list[str]:
    """One sentence on lowest or highest values that occur so often that they may stand for a limit."""
    low: list[str] = []
    high: list[str] = []
    for name, column in zip(markers, values.T, strict=True):
        seen, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        if seen.size <= MOST_CODES:
            continue
        for end, names in ((0, low), (-1, high)):
            if counts[end] >= max(SAME_COUNT, SAME_SHARE * counts.sum()):
                names.append(f"{name} ({counts[end]} of {counts.sum()} are {seen[end]:g})")
    told = []
    if low:
        told.append(
            f"the lowest value occurs again and again: {listed(low)}; are these true values, or readings below a limit of "
            "detection? If so give the limit with --lod and the cells as gaps or '<limit'"
        )
    if high:
        told.append(
            f"the highest value occurs again and again: {listed(high)}; are these true values, or readings beyond the range "
            "of the assay? If so give the limit with --upper-limit"
        )
    return told


def nines(values: Floats, markers: Sequence[str]) -> list[str]:
    """One sentence on values such as -99 or 9999 that lie far from all others of their column."""
    named = []
    for name, column in zip(markers, values.T, strict=True):
        seen = np.unique(column[~np.isnan(column)])
        for odd in seen[[0, -1]] if seen.size > 2 else ():
            others = seen[seen != odd]
            away = np.abs(odd - others).min()
            if NINES.fullmatch(f"{odd:.10g}") and away > FAR * np.ptp(others):
                named.append(f"{name} ({odd:g})")
    if not named:
        return []
    return [f"far from all others, and perhaps a code for missing: {listed(named)}; if so name it with --missing"]


def codes_or_years(values: Floats, markers: Sequence[str]) -> list[str]:
    """One sentence on columns of few whole numbers, or of years, which are more often codes or dates than markers."""
    named = []
    for name, column in zip(markers, values.T, strict=True):
        seen = column[~np.isnan(column)]
        distinct = np.unique(seen)
        if not seen.size or (distinct != np.round(distinct)).any() or (np.diff(column) == 1).all():
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


def after_fit(imputation: Imputation, correlation: Floats | None = None) -> list[str]:
    """Sentences on what was filled in, and on markers that repeat one another.

    Parameters
    ----------
    imputation : Imputation
        The completed table.
    correlation : ndarray, shape (d, d), optional
        Of the markers according to the model.

    Returns
    -------
    list of str
    """
    told = [*below_zero(imputation)]
    if correlation is not None:
        told += collinear(correlation, imputation.markers)
    return told


def on_log_scale(unit: str) -> bool:
    """Whether a unit says that values are logarithms already, as NPX and Ct are."""
    return LOGARITHMIC.fullmatch(unit.strip()) is not None


def below_zero(imputation: Imputation) -> list[str]:
    """One sentence on markers that were above 0 wherever known, and are filled with less or may be less.

    Those on a log scale already, by their unit, may well be.
    """
    gaps = ~imputation.readings.observed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lowest = np.nanmin(imputation.readings.values, axis=0)
    values = ((imputation.values < 0) & gaps).sum(axis=0)
    ends = ((imputation.lower < 0) & gaps).sum(axis=0)
    named = [
        f"{imputation.markers[j]} ({f'{values[j]} filled, ' if values[j] else ''}{ends[j]} of {gaps[:, j].sum()} intervals)"
        for j in np.flatnonzero((lowest > 0) & (ends > 0))
        if not on_log_scale(imputation.units[j])
    ]
    if not named:
        return []
    what = "filled values or their intervals reach" if values.any() else "intervals of filled values reach"
    return [
        f"{what} below 0 although every observed value is above it: {listed(named, 12)}; "
        "where the marker cannot be negative, model it with --log"
    ]


def collinear(correlation: Floats, markers: Sequence[str]) -> list[str]:
    """Sentences on markers that are nearly a linear function of others.

    Parameters
    ----------
    correlation : ndarray, shape (d, d)
        According to the model.
    markers : sequence of str
        Names.

    Returns
    -------
    list of str
        Of pairs with a correlation beyond 0.99; and of the dependencies with a condition index over 30 in which at
        least two other markers hold more than half of their variance.

    References
    ----------
    Belsley, Kuh & Welsch (1980) Regression Diagnostics. Wiley, doi:10.1002/0471725153, section 3.2.
    """
    close = np.triu(np.abs(correlation) > COLLINEAR, 1)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(close)]
    told = []
    if pairs:
        words = [f"{markers[i]} and {markers[j]} (r = {correlation[i, j]:.4f})" for i, j in pairs]
        told.append(
            f"nearly the same measurement: {listed(words)}; one of such a pair says all that the other does: leave one out "
            "with --columns where the fit is slow or errors are large"
        )
    for group in dependencies(correlation):
        names = [markers[j] for j in group]
        if len(group) > 2 or (group[0], group[1]) not in pairs:
            told.append(
                f"nearly a linear function of one another: {listed(names, 8)}; their filled values hang on small differences: "
                "leave one out with --columns, or give a small --prior such as 1"
            )
    return told


def dependencies(correlation: Floats) -> list[tuple[int, ...]]:
    """Groups of columns that nearly depend on one another, at least two in each."""
    if len(correlation) > WIDEST or not np.isfinite(correlation).all():
        return []
    values, vectors = np.linalg.eigh(correlation)
    values = np.maximum(values, np.finfo(float).tiny)
    share = vectors**2 / values
    share /= share.sum(axis=1, keepdims=True)
    near = np.sqrt(values[-1] / values) > CONDITION
    if not near.any():
        return []
    involved = np.flatnonzero(share[:, near].sum(axis=1) > INVOLVED)
    groups: list[tuple[int, ...]] = []
    leading = share[np.ix_(involved, np.flatnonzero(near))].argmax(axis=1)
    for number in range(int(near.sum())):
        group = tuple(int(j) for j in involved[leading == number])
        if len(group) >= 2:
            groups.append(group)
    return groups

"""What batches and covariates do to the markers: a likelihood-ratio test, and the shift of each marker with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import chdtrc, ndtr

from emtools.errors import FitError, InputError
from emtools.imputing.fitting import fit_table
from emtools.imputing.result import Fitted, Imputation
from emtools.kernels.missingness import slope_errors
from emtools.kernels.readings import Readings

Floats = npt.NDArray[np.float64]

MOST_SLOPES = 1_500  # slopes and intercepts beyond which their errors are taken marker by marker
MOST_MARKERS = 100  # beyond which the test would cost another long fit
REFIT_TOL = 1e-6
LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class BatchInfluence:
    """Influence of the columns of a design on the markers.

    Parameters
    ----------
    statistic, p : float
        Twice the log-likelihood gained by letting the markers depend on the design, and the upper tail of the
        chi-squared distribution; NaN where there is no such test.
    df : int
        Slopes: markers times columns of the design, less those that no value of the marker tells of.
    shifts : DataFrame
        One row a marker and column: ``marker, column, shift, se, p, p_holm``. The shift is per unit of the column (a
        level against the reference), or per SD where the column is no indicator, in residual SD of the marker.
    why_no_test : str
        Why there is none; empty where there is one.
    """

    statistic: float
    df: int
    p: float
    shifts: pd.DataFrame
    why_no_test: str


def holm(p: Floats) -> Floats:
    """Adjusted p values, shape as given; NaN stays NaN and is not counted.

    References
    ----------
    Holm (1979), Scand. J. Stat. 6, 65-70.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).round(12).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")
    order = order[~np.isnan(p[order])]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0) if order.size else []
    return adjusted


def batch_influence(
    imputation: Imputation, mean: Floats, covariance: Floats, *, seed: int = 0, threads: int = 1
) -> BatchInfluence | None:
    """Influence of the design on the markers, or None where there is no design.

    In a joint normal distribution of markers and design the regression of the markers on the design has parameters of
    its own, so that ``2 [l(both) - l(design) - l(markers)]`` is the likelihood-ratio statistic of its slopes.

    Parameters
    ----------
    imputation : Imputation
        With a design of e columns after its d markers.
    mean, covariance : ndarray, shapes (d + e,) and (d + e, d + e)
        Of the rows according to the model.
    seed, threads
        Of the fit without the design.

    Returns
    -------
    BatchInfluence or None

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., sections 2.5.1 and 8.3.
    """
    e, d = len(imputation.design), len(imputation.markers)
    if not e:
        return None
    shifts = shift_table(imputation, covariance)
    statistic, p, df = math.nan, math.nan, d * e
    why = no_test(imputation.fitted, imputation.scaled.values[:, d:], d)
    if not why:
        try:
            alone = markers_alone(imputation, seed, threads)
        except (FitError, InputError) as error:
            why = f"the markers alone could not be fitted ({error})"
        else:
            statistic = 2.0 * (imputation.fitted.fit.loglik - complete_loglik(imputation.scaled.values[:, d:]) - alone)
            df = n_slopes(imputation.scaled, d)
            p = float(chdtrc(df, max(statistic, 0.0))) if df else math.nan
    return BatchInfluence(statistic, df, p, shifts, why)


def n_slopes(scaled: Readings, n_markers: int) -> int:
    """Slopes of the markers on the design that the rows in which something is known of the marker tell of."""
    known, design = scaled.observed | scaled.bounded, scaled.values[:, n_markers:]
    z = np.column_stack([np.ones(len(design)), design])
    return sum(int(np.linalg.matrix_rank(z[known[:, j]])) - 1 for j in range(n_markers))


def no_test(fitted: Fitted, design: Floats, n_markers: int) -> str:
    """Why there is no likelihood-ratio test; empty where there is one."""
    if fitted.kind != "normal":
        return "it needs the normal model"
    if fitted.pseudo_rows:
        return "the fit has a prior"
    if np.isnan(design).any():
        return "the design has gaps"
    if n_markers > MOST_MARKERS:
        return f"there are more than {MOST_MARKERS} markers"
    return ""


def markers_alone(imputation: Imputation, seed: int, threads: int) -> float:
    """Log-likelihood of the markers without the design."""
    d, scaled = len(imputation.markers), imputation.scaled
    bounds = (None, None) if scaled.lower is None and scaled.upper is None else (b[:, :d] for b in scaled.bounds())
    alone = fit_table(
        Readings(scaled.values[:, :d], *bounds),
        labels=imputation.markers,
        prior="none",
        tol=REFIT_TOL,
        seed=seed,
        threads=threads,
        certificate=False,
    )
    return alone.fit.loglik


def complete_loglik(values: Floats) -> float:
    """Log-likelihood of a table without gaps under the normal distribution that fits it best, nats."""
    n, d = values.shape
    sign, log_determinant = np.linalg.slogdet(np.cov(values.T, bias=True).reshape(d, d))
    return -0.5 * n * (d * (LOG_2PI + 1.0) + float(log_determinant)) if sign > 0 else math.nan


def shift_table(imputation: Imputation, covariance: Floats) -> pd.DataFrame:
    """Shifts of all markers with each column of the design."""
    d = len(imputation.markers)
    design, seen = imputation.scaled.values[:, d:], imputation.scaled.observed[:, :d]
    slopes = np.linalg.solve(covariance[d:, d:], covariance[d:, :d])
    residual = covariance[:d, :d] - covariance[:d, d:] @ slopes
    residual = 0.5 * (residual + residual.T)
    whole = ~np.isnan(design).any(axis=1)
    if (len(imputation.design) + 1) * d <= MOST_SLOPES:
        errors = slope_errors(design[whole], residual, seen[whole])
    else:
        alone = (slope_errors(design[whole], residual[j : j + 1, j : j + 1], seen[whole, j : j + 1]) for j in range(d))
        errors = np.hstack(list(alone))
    sd = np.sqrt(np.diagonal(residual))
    indicator = np.array([np.isin(column[whole], (0.0, 1.0)).all() for column in design.T])
    unit = np.where(indicator, 1.0, design[whole].std(axis=0))
    shift, se = (table / sd * unit[:, None] for table in (slopes, errors))
    p = 2.0 * ndtr(-np.abs(shift / se))
    return pd.DataFrame(
        {
            "marker": np.tile(imputation.markers, len(imputation.design)),
            "column": np.repeat(imputation.design, d),
            "shift": shift.ravel(),
            "se": se.ravel(),
            "p": p.ravel(),
            "p_holm": holm(p.ravel()),
        }
    )

"""Rubin's rules: one answer from the analyses of m completed tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, fdtrc, stdtr, stdtrit

from emtools.errors import InputError

Floats = npt.NDArray[np.float64]

LEAST_SHARE = 1e-4  # of the variance due to missing values, where degrees of freedom are computed


@dataclass(frozen=True)
class Pooled:
    """Estimates of k coefficients over m completed tables; all arrays have shape (k,).

    Parameters
    ----------
    n_tables : int
        Completed tables m.
    estimate : ndarray
        Mean of the estimates, in their units.
    within, between, total : ndarray
        Mean of their squared standard errors; variance of the estimates; ``within + (1 + 1 / m) between``. In the
        squares of these units; ``ubar``, ``b`` and ``t`` in mice.
    complete_df : float
        Degrees of freedom of the analysis of one table: rows less coefficients, or infinity.
    df : ndarray
        Degrees of freedom of the t distribution of ``(estimate - truth) / error``.
    increase : ndarray
        ``(1 + 1 / m) between / within``: relative increase of the variance by what was missing (``riv``).
    share : ndarray
        ``(1 + 1 / m) between / total``: its share of the variance (``lambda``).
    missing : ndarray
        Fraction of missing information, corrected for the number of tables (``fmi``).
    """

    n_tables: int
    estimate: Floats
    within: Floats
    between: Floats
    total: Floats
    complete_df: float
    df: Floats
    increase: Floats
    share: Floats
    missing: Floats

    @property
    def error(self) -> Floats:
        """Standard error of each estimate, shape (k,)."""
        return np.sqrt(self.total)

    @property
    def statistic(self) -> Floats:
        """Estimates over their standard errors, shape (k,)."""
        ratio: Floats = self.estimate / self.error
        return ratio

    @property
    def p_value(self) -> Floats:
        """Two-sided p-value of no effect, shape (k,)."""
        return np.asarray(2.0 * stdtr(self.df, -np.abs(self.statistic)))

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Ends of the two-sided interval of each estimate, shapes (k,)."""
        if not 0.0 < level < 1.0:
            raise InputError("level", f"{level}", "a number between 0 and 1")
        half = np.asarray(stdtrit(self.df, 0.5 + 0.5 * level)) * self.error
        return self.estimate - half, self.estimate + half


def pool(estimates: npt.ArrayLike, variances: npt.ArrayLike, complete_df: float = math.inf) -> Pooled:
    """Pool the estimates of m completed tables by Rubin's rules.

    ``df = 1 / (1 / ν_m + 1 / ν_obs)`` with ``ν_m = (m - 1) / λ²`` and
    ``ν_obs = (ν_com + 1) / (ν_com + 3) ν_com (1 - λ)``, where λ is the share of the variance that is due to
    what was missing and ν_com the degrees of freedom with complete data.

    Parameters
    ----------
    estimates : array, shape (m, k)
        k coefficients from each of m tables, at least 2.
    variances : array, shape (m, k)
        Squares of their standard errors, positive.
    complete_df : float
        Degrees of freedom of one analysis, positive; infinity for large samples.

    Returns
    -------
    Pooled

    Raises
    ------
    InputError
        If there are fewer than two tables, shapes differ, or a number is out of range.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys, doi:10.1002/9780470316696, eqs 3.1.2-3.1.10;
    Barnard & Rubin (1999), Biometrika 86, 948-955, doi:10.1093/biomet/86.4.948, eq. 3.

    Examples
    --------
    >>> pooled = pool([[1.0], [1.2], [1.1]], [[0.04], [0.05], [0.045]], complete_df=50)
    >>> pooled.estimate.round(3).tolist(), pooled.error.round(4).tolist(), pooled.df.round(1).tolist()
    ([1.1], [0.2415], [18.8])
    """
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if q.ndim != 2 or q.shape != u.shape:
        raise InputError("pooling", f"estimates of shape {q.shape}, variances of shape {u.shape}", "(m, k) for both")
    m = len(q)
    if m < 2:
        raise InputError("pooling", f"{m} completed table{'s' * (m != 1)}", "at least 2")
    if not (np.isfinite(q).all() and np.isfinite(u).all() and (u > 0.0).all()):
        raise InputError("pooling", "an estimate or variance that is not a finite number", "positive variances")
    if not complete_df > 0.0:
        raise InputError("pooling", f"{complete_df:g} degrees of freedom", "a positive number")
    apart = q - q[0]  # about one of them, so that equal tables differ by nothing, not by the rounding of their mean
    within, between = u.mean(axis=0), apart.var(axis=0, ddof=1)
    added = (1.0 + 1.0 / m) * between
    total = within + added
    increase, share = added / within, added / total
    least = np.maximum(share, LEAST_SHARE)
    df = (m - 1) / least**2
    if math.isfinite(complete_df):
        observed = (complete_df + 1.0) / (complete_df + 3.0) * complete_df * (1.0 - least)
        df = df * observed / (df + observed)
    missing = (increase + 2.0 / (df + 3.0)) / (increase + 1.0)
    return Pooled(
        m, q[0] + apart.mean(axis=0), within, between, total, float(complete_df), df, increase, share, missing
    )


@dataclass(frozen=True)
class JointTest:
    """F test that several coefficients are 0 together: `statistic` on `df` of both kinds, its `p_value` and the mean
    relative `increase` of variance."""

    statistic: float
    df: tuple[float, float]
    p_value: float
    increase: float


def joint_test(estimates: npt.ArrayLike, covariances: npt.ArrayLike) -> JointTest:
    """Wald test of k coefficients over m completed tables (D1), where all lose about the same share of information.

    Parameters
    ----------
    estimates : array, shape (m, k)
        k coefficients, or differences from what they are tested against, from each of m tables, at least 2.
    covariances : array, shape (m, k, k)
        Their covariances in each table.

    Returns
    -------
    JointTest

    Raises
    ------
    InputError
        If there are fewer than two tables, shapes differ, or the mean covariance is singular.

    References
    ----------
    Li, Raghunathan & Rubin (1991), J. Am. Stat. Assoc. 86, 1065-1073, doi:10.1080/01621459.1991.10475152,
    eqs 1.17-1.19.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> test = joint_test(rng.normal(size=(20, 2)), np.tile(np.eye(2), (20, 1, 1)))
    >>> test.p_value > 0.5
    True
    """
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(covariances, dtype=np.float64)
    if q.ndim != 2 or u.shape != (*q.shape, q.shape[-1]) or len(q) < 2:
        raise InputError("pooling", f"shapes {q.shape} and {u.shape}", "(m, k) and (m, k, k), m at least 2")
    m, k = q.shape
    apart, within = q - q[0], u.mean(axis=0)
    mean, deviations = q[0] + apart.mean(axis=0), apart - apart.mean(axis=0)
    try:
        factor = np.linalg.cholesky(within)
    except np.linalg.LinAlgError as error:
        raise InputError("pooling", "a singular covariance", "coefficients that can be told apart") from error
    white = np.linalg.solve(factor, deviations.T)
    increase = (1.0 + 1.0 / m) * float((white**2).sum()) / (m - 1) / k
    statistic = float((np.linalg.solve(factor, mean) ** 2).sum()) / (k * (1.0 + increase))
    t = k * (m - 1)
    if increase == 0.0:
        df = math.inf
    elif t > 4:
        df = 4.0 + (t - 4.0) * (1.0 + (1.0 - 2.0 / t) / increase) ** 2
    else:
        df = 0.5 * t * (1.0 + 1.0 / k) * (1.0 + 1.0 / increase) ** 2
    p_value = float(fdtrc(k, df, statistic)) if math.isfinite(df) else float(chdtrc(k, k * statistic))
    return JointTest(statistic, (float(k), df), p_value, increase)

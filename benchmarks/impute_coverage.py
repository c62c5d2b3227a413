"""Coverage of 95 % intervals from pooled draws beside complete data and single imputation: ``python -m
benchmarks.impute_coverage``.

Each replicate is a table of n rows, drawn from a normal distribution or with replacement from the complete rows of a
real table, whose cells are then masked: completely at random (MCAR), or more often where the first two columns, which
stay whole, are high (MAR). What is estimated: the mean of each masked column, and the slopes of the regression of one
masked column on all others. The truth is that of the distribution, or of all the complete rows. Intervals of single
imputation treat conditional means as observed.

``observed information`` is what the gaps cost at least: the same estimates from the maximum of the likelihood, their
errors from its observed information by the delta method, with the degrees of freedom that Barnard & Rubin's have as the
number of tables grows without limit. No tables are drawn, so its width is what m draws are measured by: `beyond_bound`
is the width of a method over it, and `rubin` what pooling `DRAWS` tables and no more adds to the width on average, by
their number in the total variance and by Student's t.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from scipy.stats import t
from sklearn.datasets import load_diabetes

from emtools.imputing.fitting import fit_table
from emtools.imputing.multiple import draw
from emtools.imputing.pooling import pool
from emtools.kernels.normal_information import observed_information
from emtools.kernels.readings import Readings

Floats = npt.NDArray[np.float64]

TABLE = Path(__file__).with_name("impute_coverage.tsv")
PBC = Path(__file__).parents[1] / "resources" / "pbc.csv"
REPLICATES, DRAWS = 200, 20
WHOLE = 2  # columns that stay whole under MAR
STEEPNESS = 1.0
LOGGED = ("bili", "chol", "copper", "alk.phos", "ast", "trig", "protime")
METHODS = ("complete data", "observed information", "bootstrap", "posterior", "single imputation")


@dataclass(frozen=True)
class Setting:
    """Where tables come from, how large they are and how they are masked; `share` is that of the maskable cells."""

    table: str
    n: int
    d: int
    mechanism: str
    share: float


SETTINGS = (
    Setting("normal", 100, 5, "MCAR", 0.2),
    Setting("normal", 200, 6, "MAR", 0.25),
    Setting("normal", 100, 8, "MAR", 0.3),
    Setting("normal", 400, 8, "MCAR", 0.3),
    Setting("diabetes", 200, 7, "MCAR", 0.1),
    Setting("diabetes", 200, 7, "MAR", 0.1),
    Setting("pbc", 200, 7, "MCAR", 0.1),
    Setting("pbc", 200, 7, "MAR", 0.1),
)


def diabetes() -> Floats:
    """Progression, age, BMI, blood pressure, HDL, triglycerides (log) and glucose of 442 patients."""
    frame = load_diabetes(scaled=False, as_frame=True).frame
    return frame[["age", "bmi", "bp", "s3", "s5", "s6", "target"]].to_numpy()


def pbc() -> Floats:
    """Age and six laboratory markers of the PBC patients with all of them, logarithms of those with a long tail."""
    names = ["age", "albumin", "bili", "copper", "ast", "platelet", "protime"]
    frame = pd.read_csv(PBC)[names].dropna()
    return frame.apply(lambda column: np.log(column) if column.name in LOGGED else column).to_numpy()


REAL: dict[str, Callable[[], Floats]] = {"diabetes": diabetes, "pbc": pbc}


def population(setting: Setting) -> tuple[Floats, Floats, Callable[[np.random.Generator], Floats]]:
    """Mean, covariance and sampler of the rows."""
    if setting.table in REAL:
        rows = REAL[setting.table]()
        covariance = np.cov(rows.T, bias=True)
        return rows.mean(axis=0), covariance, lambda rng: rows[rng.integers(len(rows), size=setting.n)]
    made = np.random.default_rng(setting.d)
    root = made.normal(size=(setting.d, setting.d)) / math.sqrt(setting.d)
    covariance = root @ root.T + 0.5 * np.eye(setting.d)
    mean = made.normal(size=setting.d)
    return mean, covariance, lambda rng: rng.multivariate_normal(mean, covariance, size=setting.n, method="cholesky")


def mask(values: Floats, setting: Setting, rng: np.random.Generator) -> Floats:
    """The table with gaps: the first `WHOLE` columns stay, and under MAR decide."""
    n, d = values.shape
    chance = np.full(n, setting.share)
    if setting.mechanism == "MAR":
        high = values[:, :WHOLE] - values[:, :WHOLE].mean(axis=0)
        score = (high / high.std(axis=0)).sum(axis=1) * STEEPNESS
        shift = 0.0
        for _ in range(50):  # Newton's steps on the mean
            p = expit(score + shift)
            shift += (setting.share - p.mean()) / (p * (1.0 - p)).mean()
        chance = expit(score + shift)
    gaps = rng.random((n, d)) < chance[:, None]
    gaps[:, :WHOLE] = False
    return np.where(gaps, np.nan, values)


def analyse(tables: Floats) -> tuple[Floats, Floats, Floats]:
    """Means and slopes of m tables (m, n, d): estimates and variances (m, k), and degrees of freedom (k,)."""
    m, n, d = tables.shape
    means = tables[:, :, WHOLE:].mean(axis=1)
    of_means = tables[:, :, WHOLE:].var(axis=1, ddof=1) / n
    design = np.concatenate([np.ones((m, n, 1)), tables[:, :, :-1]], axis=2)
    response = tables[:, :, -1:]
    inverse = np.linalg.inv(design.transpose(0, 2, 1) @ design)
    slopes = inverse @ (design.transpose(0, 2, 1) @ response)
    noise = ((response - design @ slopes) ** 2).sum(axis=(1, 2)) / (n - d)
    of_slopes = np.diagonal(inverse, axis1=1, axis2=2) * noise[:, None]
    df = np.concatenate([np.full(d - WHOLE, n - 1.0), np.full(d - 1, n - float(d))])
    return np.hstack([means, slopes[:, 1:, 0]]), np.hstack([of_means, of_slopes[:, 1:]]), df


def intervals(tables: Floats) -> tuple[Floats, Floats]:
    """Ends of the 95 % intervals of all estimates, shapes (k,)."""
    estimates, variances, df = analyse(tables)
    if len(tables) == 1:
        half = t.ppf(0.975, df) * np.sqrt(variances[0])
        return estimates[0] - half, estimates[0] + half
    low, high = np.empty(len(df)), np.empty(len(df))
    for one in np.unique(df):
        of = df == one
        low[of], high[of] = pool(estimates[:, of], variances[:, of], one).interval()
    return low, high


def at_maximum(values: Floats, mean: Floats, covariance: Floats) -> tuple[Floats, Floats, Floats]:
    """Estimates, variances and fractions of missing information (k,) where the likelihood of a table is highest.

    Variances are those of the inverse observed information, with the divisors of `analyse`: n - 1 and n - d for n.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    mean, covariance : ndarray, shapes (d,) and (d, d)
        The maximum.
    """
    n, d = values.shape
    found = observed_information(values, np.ones(n), mean, covariance)
    assert found is not None
    assert found.share == 1.0
    slopes = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
    rows, columns = np.tril_indices(d)
    jacobian = np.zeros((2 * d - WHOLE - 1, d + rows.size))
    jacobian[: d - WHOLE, WHOLE:d] = np.diag(found.sd[WHOLE:])
    for entry, (i, j) in enumerate(zip(rows, columns, strict=True)):
        step = np.zeros((d, d))
        step[i, j] = step[j, i] = found.sd[i] * found.sd[j]
        right = step[:-1, -1] - step[:-1, :-1] @ slopes
        jacobian[d - WHOLE :, d + entry] = np.linalg.solve(covariance[:-1, :-1], right)
    observed, complete = (
        np.diagonal(jacobian @ np.linalg.solve(information, jacobian.T))
        for information in (found.observed, found.complete)
    )
    divisors = np.concatenate([np.full(d - WHOLE, n / (n - 1.0)), np.full(d - 1, n / (n - float(d)))])
    share = np.clip(1.0 - complete / observed, 0.0, 1.0)
    return np.concatenate([mean[WHOLE:], slopes]), observed * divisors, share


def barnard_rubin(share: Floats, df: Floats, m: float) -> Floats:
    """Degrees of freedom where m tables leave a share of the variance to what was missing; Barnard & Rubin, eq. 3."""
    left = (df + 1.0) / (df + 3.0) * df * (1.0 - share)
    return np.asarray(1.0 / (1.0 / left + share**2 / (m - 1.0)))


def bound(values: Floats, mean: Floats, covariance: Floats, df: Floats) -> tuple[tuple[Floats, Floats], Floats]:
    """Ends of the intervals of the maximum of the likelihood, shapes (k,), and the factor by which `DRAWS` tables widen
    them."""
    estimate, variance, share = at_maximum(values, mean, covariance)
    quantile = t.ppf(0.975, barnard_rubin(share, df, math.inf))
    half = quantile * np.sqrt(variance)
    total = 1.0 + share / DRAWS
    widened = t.ppf(0.975, barnard_rubin(share * (1.0 + 1.0 / DRAWS) / total, df, DRAWS)) / quantile
    return (estimate - half, estimate + half), widened * np.sqrt(total)


def replicate(setting: Setting, seed: int, methods: tuple[str, ...]) -> tuple[dict[str, tuple[Floats, Floats]], Floats]:
    """Intervals by each method on one table, and the factor of `bound`."""
    rng = np.random.default_rng(np.random.SeedSequence([20261123, seed]))
    whole = population(setting)[2](rng)
    known = Readings(mask(whole, setting, rng))
    fitted = fit_table(known, certificate=False)
    found = {"complete data": intervals(whole[None])}
    df = analyse(whole[None])[2]
    found["observed information"], widened = bound(known.values, fitted.params.mean, fitted.params.covariance, df)
    for method in methods:
        found[method] = intervals(np.array(draw(fitted, known, DRAWS, seed, method=method).tables))
    filled = fitted.model.conditional(fitted.params, known)[0]
    return found | {"single imputation": intervals(filled[None])}, widened


def mean_ratio(widths: Floats, others: Floats) -> float:
    """Mean width over the replicates relative to that of others, averaged over the estimates."""
    return float((widths.mean(axis=0) / others.mean(axis=0)).mean())


def study(setting: Setting, replicates: int, methods: tuple[str, ...]) -> pd.DataFrame:
    """Coverage and width by method and kind of estimate."""
    mean, covariance, _ = population(setting)
    d = len(mean)
    truth = np.concatenate([mean[WHOLE:], np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])])
    kinds = np.array(["means"] * (d - WHOLE) + ["slopes"] * (d - 1))
    began = process_time()
    done = [replicate(setting, seed, methods) for seed in range(replicates)]
    found, rubin = [intervals_of for intervals_of, _ in done], np.mean([widened for _, widened in done], axis=0)
    spent = process_time() - began
    rows = []
    widths = {name: np.array([np.subtract(*one[name][::-1]) for one in found]) for name in METHODS if name in found[0]}
    for name, width in widths.items():
        held = np.array([(one[name][0] <= truth) & (truth <= one[name][1]) for one in found])
        for kind in ("means", "slopes"):
            of = kinds == kind
            share = held[:, of].mean(axis=1)
            rows.append(
                {
                    "table": setting.table,
                    "n": setting.n,
                    "d": d,
                    "mechanism": setting.mechanism,
                    "share_masked": setting.share,
                    "estimates": kind,
                    "method": name,
                    "coverage": held[:, of].mean(),
                    "error_of_coverage": share.std(ddof=1) / math.sqrt(replicates),
                    "lowest_of_an_estimate": held[:, of].mean(axis=0).min(),
                    "width_ratio": mean_ratio(width[:, of], widths["complete data"][:, of]),
                    "beyond_bound": mean_ratio(width[:, of], widths["observed information"][:, of]),
                    "rubin": rubin[of].mean(),
                }
            )
    print(f"{setting}: {spent:.0f} CPU s", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--settings", type=int, nargs="+", default=range(len(SETTINGS)), help="their numbers, from 0")
    parser.add_argument("--methods", nargs="+", default=("bootstrap", "posterior"))
    parser.add_argument("--out", type=Path, default=TABLE)
    told = parser.parse_args()
    parts = []
    for number in told.settings:
        parts.append(study(SETTINGS[number], told.replicates, tuple(told.methods)))
        frame = pd.concat(parts)
        frame.to_csv(told.out, sep="\t", index=False, float_format="%.4f")
    print(frame.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()

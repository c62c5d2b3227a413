"""A regression by formula on every completed table, for pooling."""

from __future__ import annotations

import keyword
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.errors import InputError

Floats = npt.NDArray[np.float64]

FAMILIES = ("gaussian", "binomial", "poisson")
SEPARATED = 1e-8  # least distance of a fitted probability from 0 and 1
DEPENDENT = 1e-9  # of a column's length that the others leave over
SHOWN = 12
QUOTED = re.compile(r"(\"[^\"]*\"|'[^']*')")
UNKNOWN = re.compile(r"name '([^']+)' is not defined")
FUNCTIONS = {
    "np": np, "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "exp": np.exp, "sqrt": np.sqrt
}  # fmt: skip


@dataclass(frozen=True)
class Regressions:
    """k coefficients of one regression on each of m tables.

    Parameters
    ----------
    terms : tuple of str
        Names of the coefficients.
    estimates, variances : ndarray, shape (m, k)
        Coefficients and the squares of their standard errors.
    covariances : ndarray, shape (m, k, k)
    complete_df : float
        Rows used less coefficients.
    n_rows, n_left_out : int
        Rows used, and rows in which a variable of the formula has no value.
    outcome : str
        What is regressed, and for a binary one which value counts as 1.
    """

    terms: tuple[str, ...]
    estimates: Floats
    variances: Floats
    covariances: Floats
    complete_df: float
    n_rows: int
    n_left_out: int
    outcome: str


def regress(tables: Sequence[pd.DataFrame], formula: str, family: str = "gaussian") -> Regressions:
    """Fit a regression to each table.

    Parameters
    ----------
    tables : sequence of DataFrame
        Completed tables with the same rows and columns.
    formula : str
        As in R or patsy: ``"bili ~ age + log(albumin) + C(stage)"``; names with dots need no quotes.
    family : {"gaussian", "binomial", "poisson"}
        Least squares, logistic or log-linear regression. A binary outcome is 0 and 1, or two words of which the later
        in the alphabet counts as 1.

    Returns
    -------
    Regressions

    Raises
    ------
    InputError
        If the formula cannot be read or names no column, a coefficient cannot be told from the others, outcomes are
        separated, or a fit does not converge.

    Examples
    --------
    >>> table = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 2.9, 5.1, 7.0]})
    >>> found = regress([table, table], "y ~ x")
    >>> found.terms, found.estimates[0].round(2).tolist(), found.complete_df
    (('Intercept', 'x'), [0.97, 2.02], 2.0)
    """
    if family not in FAMILIES:
        raise InputError("--family", repr(family), f"one of {', '.join(FAMILIES)}")
    if formula.count("~") != 1 or not formula.split("~")[0].strip():
        raise InputError("--formula", repr(formula), "an outcome, ~ and what it depends on", "such as 'bili ~ age'")
    formula = with_quotes(formula, [str(name) for name in tables[0].columns])
    parts = []
    outcome, n_left_out, rows = "", 0, None
    for number, table in enumerate(tables, 1):
        y, x, outcome = matrices(table, formula, family, number)
        names = tuple(unquoted(str(name)) for name in x.columns)
        if rows is None:
            rows, n_left_out, terms = x.index, len(table) - len(x), names
        elif not rows.equals(x.index):
            got = f"completed table {number} has a number in other rows than the first"
            raise InputError("--formula", got, "a number in every table", "look for a logarithm of 0 or less")
        elif sorted(names) == sorted(terms):
            x = x.iloc[:, [names.index(term) for term in terms]]
        else:
            other = next(name for name in (*names, *terms) if name not in terms or name not in names)
            here, there = (number, 1) if other in names else (1, number)
            got = f"{other} is a coefficient in completed table {here}, not in table {there}"
            raise InputError("--formula", got, "the same in all", "name the levels with C(column, levels=[…])")
        parts.append(fit_one(y, x.to_numpy(dtype=np.float64), family, terms, number))
    estimates, covariances = (np.array(part) for part in zip(*parts, strict=True))
    n, k = len(rows if rows is not None else ()), estimates.shape[1]
    variances = np.diagonal(covariances, axis1=1, axis2=2).copy()
    return Regressions(terms, estimates, variances, covariances, float(n - k), n, n_left_out, outcome)


def with_quotes(formula: str, names: Sequence[str]) -> str:
    """The formula with ``Q('…')`` around columns whose names are words with dots, or words of Python."""
    odd = [
        name for name in names if re.fullmatch(r"[\w.]+", name) and (not name.isidentifier() or keyword.iskeyword(name))
    ]
    odd = [name for name in odd if re.search(r"[^\W\d]", name)]
    if not odd:
        return formula
    any_of = "|".join(re.escape(name) for name in sorted(odd, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.])({any_of})(?![\w.])")
    pieces = QUOTED.split(formula)
    return "".join(piece if k % 2 else pattern.sub(r"Q('\1')", piece) for k, piece in enumerate(pieces))


def unquoted(term: str) -> str:
    """A term as a person would write it."""
    return re.sub(r"Q\((?:'([^']*)'|\"([^\"]*)\")\)", lambda found: found[1] or found[2], term)


def matrices(table: pd.DataFrame, formula: str, family: str, number: int) -> tuple[Floats, pd.DataFrame, str]:
    """Outcome (n,), design (n, k) and what the outcome is, of the rows without gaps."""
    import patsy

    scope = patsy.EvalEnvironment([FUNCTIONS])
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            y, x = patsy.dmatrices(formula, table, eval_env=scope, return_type="dataframe")
    except (patsy.PatsyError, SyntaxError) as error:
        raise unreadable(error, table, formula) from error
    except ValueError as error:
        empty = [str(name) for name in table.columns if table[name].isna().all()]
        if not empty:
            raise unreadable(error, table, formula) from error
        got = f"column {empty[0]!r} holds no value in completed table {number}"
        raise InputError("--formula", got, "a column with values", "leave it out") from error
    name = unquoted(formula.split("~")[0].strip())
    if y.shape[1] == 2 and family == "binomial":
        second = str(y.columns[1])
        name, y = f"{name} = {second[second.rfind('[') + 1 : -1]}", y.iloc[:, 1:]
    if y.shape[1] != 1:
        needed = "two values" if family == "binomial" else "numbers"
        raise InputError("--formula", f"outcome {name!r} has {y.shape[1]} levels", needed, "choose another outcome")
    outcome = y.iloc[:, 0].to_numpy(dtype=np.float64)
    if not (np.isfinite(outcome).all() and np.isfinite(x.to_numpy()).all()):
        raise InputError("--formula", f"an infinite value in completed table {number}", "finite ones", "avoid log(0)")
    if not x.shape[1]:
        raise InputError("--formula", f"{unquoted(formula)!r} has no coefficient", "at least one", "such as 'bili ~ 1'")
    if len(x) <= x.shape[1]:
        got = f"{len(x)} rows for {x.shape[1]} coefficients"
        raise InputError("--formula", got, "more rows than coefficients", "use fewer terms")
    if family == "binomial" and not np.isin(outcome, (0.0, 1.0)).all():
        odd = outcome[~np.isin(outcome, (0.0, 1.0))][0]
        raise InputError(
            "--family binomial", f"outcome {name!r} is {odd:g} somewhere", "0 and 1", "compare it: I(y > 1)"
        )
    if family == "poisson" and (outcome < 0.0).any():
        raise InputError("--family poisson", f"outcome {name!r} is negative somewhere", "counts", "use gaussian")
    if family != "poisson" and outcome.min() == outcome.max():
        raise InputError("--formula", f"outcome {name!r} is {outcome[0]:g} in every row", "values that differ")
    return outcome, x, name


def unreadable(error: Exception, table: pd.DataFrame, formula: str) -> InputError:
    """What is wrong with a formula, in one line."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    absent = UNKNOWN.search(said)
    if absent:
        names = [str(name) for name in table.columns]
        more = ", …" if len(names) > SHOWN else ""
        expected = f"one of {', '.join(names[:SHOWN])}{more}"
        return InputError("--formula", f"no column {absent[1]!r}", expected, "names with blanks need Q('…')")
    return InputError("--formula", f"{unquoted(formula)!r} cannot be read ({said[:120]})", "", "write it as in R")


def fit_one(y: Floats, x: Floats, family: str, terms: Sequence[str], number: int) -> tuple[Floats, Floats]:
    """Coefficients (k,) and their covariance (k, k) on one table."""
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

    refuse_dependent(x, terms, number)
    if family == "gaussian":
        least = sm.OLS(y, x).fit()
        if not least.mse_resid > 1e-24 * max(float(y.var()), 1e-300):
            raise InputError(
                "--formula", "the terms give the outcome exactly", "an outcome with an error", "leave it out"
            )
        return np.asarray(least.params), np.asarray(least.cov_params())
    kind: Any = sm.families.Binomial() if family == "binomial" else sm.families.Poisson()
    separated = InputError(
        "--formula",
        f"the terms tell the outcome apart without error in completed table {number}",
        "outcomes that overlap",
        "leave out the term that does so, or merge its levels",
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fitted = sm.GLM(y, x, family=kind).fit(maxiter=100, tol_criterion="params", tol=1e-12, rtol=1e-10)
        except (PerfectSeparationError, PerfectSeparationWarning) as error:
            raise separated from error
    chance = np.asarray(fitted.fittedvalues)
    if family == "binomial" and (np.minimum(chance, 1.0 - chance) < SEPARATED).any():
        raise separated
    params, covariance = np.asarray(fitted.params), np.asarray(fitted.cov_params())
    if not (fitted.converged and np.isfinite(params).all() and np.isfinite(covariance).all()):
        raise InputError(
            "--formula", f"the regression on completed table {number} does not converge", "", "use fewer terms"
        )
    return params, covariance


def refuse_dependent(x: Floats, terms: Sequence[str], number: int) -> None:
    """Raise where a column of the design is a linear combination of those before it, and name it."""
    lengths = np.sqrt((x**2).sum(axis=0))
    remedy = "leave it out"
    if (lengths == 0.0).any():
        name = terms[int(np.argmin(lengths))]
        raise InputError("--formula", f"{name} is 0 in every row of completed table {number}", "", remedy)
    left = np.abs(np.diagonal(np.linalg.qr(x / lengths, mode="r")))
    if (left < DEPENDENT).any():
        name = terms[int(np.argmax(left < DEPENDENT))]
        got = f"{name} is a linear combination of the terms before it in completed table {number}"
        raise InputError("--formula", got, "terms that can be told apart", remedy)

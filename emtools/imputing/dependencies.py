"""Columns of a table with gaps that are an exact linear combination of others, written as equations."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from emtools.engine.protocol import Floats

UNEXPLAINED = 1e-3  # share of a column's variance below which its equation is looked for in the rows
EXACT = 1e-6  # what an equation leaves over, relative to the spread of its terms
PRESENT = 1e-4  # size of a term, relative to the largest, below which it is none
SPARE = 3  # complete rows of an equation beyond its terms
SIMPLE = 12  # largest denominator of a coefficient that is written as a fraction would be


def dependencies(values: Floats, covariance: Floats, labels: Sequence[str]) -> list[str]:
    """Equations that the columns of a table satisfy, such as ``"Sleep = NonD + Dream"``.

    Where the covariance says that a column follows from those before it, the coefficients are taken from the rows in
    which all terms are observed; an equation that these do not satisfy exactly, or that have too few such rows to show
    it, is not told.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    covariance : ndarray, shape (d, d)
        Nearly singular: where an EM climb was heading.
    labels : sequence of str
        Names of the columns.

    Returns
    -------
    list of str

    References
    ----------
    Belsley, Kuh & Welsch (1980) Regression Diagnostics. Wiley, doi:10.1002/0471725153, section 3.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(30, 2))
    >>> rows = np.column_stack([rows, rows[:, 0] - 2.0 * rows[:, 1] + 1.0])
    >>> dependencies(rows, np.cov(rows.T), ["a", "b", "c"])
    ['a = 2 b + c - 1']
    """
    sd = np.sqrt(np.diagonal(covariance))
    correlation = covariance / np.outer(sd, sd)
    free: list[int] = []
    found = []
    for j in range(len(sd)):
        if free:
            inner = correlation[np.ix_(free, free)]
            weights = np.linalg.lstsq(inner, correlation[free, j], rcond=1e-10)[0]
            if 1.0 - float(weights @ correlation[free, j]) < UNEXPLAINED:
                terms = [free[k] for k in np.flatnonzero(np.abs(weights) > 1e-2 * np.abs(weights).max())]
                equation = solve_equation(values, [*terms, j], labels)
                if equation is not None:
                    found.append(equation)
                    continue
        free.append(j)
    return found


def solve_equation(values: Floats, columns: list[int], labels: Sequence[str]) -> str | None:
    """The linear equation that some columns satisfy in every row where all are observed; None where there is none."""
    rows = values[:, columns]
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) < len(columns) + SPARE:
        return None
    sd = rows.std(axis=0)
    if not (sd > 0.0).all():
        return None
    centre = rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd((rows - centre) / sd, full_matrices=False)
    if lengths[-1] > EXACT * lengths[0] or (len(columns) > 2 and lengths[-2] <= EXACT * lengths[0]):
        return None
    null = axes[-1]
    kept = np.abs(null) > PRESENT * np.abs(null).max()
    if not kept.all():
        return solve_equation(values, [c for c, k in zip(columns, kept, strict=True) if k], labels)
    coefficients = null / sd
    choices = [-np.delete(coefficients, k) / coefficients[k] for k in range(len(columns))]
    ways = [(sum(complexity(c) for c in choice), -k) for k, choice in enumerate(choices)]
    target = -min(ways)[1]
    terms = [round_simple(c) for c in choices[target]]
    others = [c for k, c in enumerate(columns) if k != target]
    constant = float(centre[target] - np.delete(centre, target) @ choices[target])
    order = sorted(range(len(terms)), key=lambda k: terms[k] < 0.0)
    text = " ".join(term(terms[k], labels[others[k]], first=i == 0) for i, k in enumerate(order))
    if abs(constant) > 1e2 * EXACT * (abs(centre[target]) + sd[target]):
        text = f"{text} {term(round_simple(constant), '', first=False)}"
    return f"{labels[columns[target]]} = {text}"


def round_simple(value: float) -> float:
    """A fraction of small numbers where `value` is one but for rounding, else `value`."""
    near = float(Fraction(value).limit_denominator(SIMPLE))
    return near if abs(near - value) <= 1e2 * EXACT * abs(value) else value


def complexity(value: float) -> float:
    """How hard a coefficient is to read: 0 for 1, more for -1, other whole numbers, fractions, and anything else."""
    near = round_simple(value)
    if near == value and Fraction(value).limit_denominator(SIMPLE) != Fraction(value):
        return 100.0
    fraction = Fraction(near).limit_denominator(SIMPLE)
    return abs(fraction.numerator) + fraction.denominator - 2 + (0.5 if near < 0.0 else 0.0)


def term(coefficient: float, label: str, first: bool) -> str:
    """A term of an equation with its sign."""
    size = abs(coefficient)
    text = label if label and size == 1.0 else f"{size:.6g} {label}".rstrip()
    if first:
        return f"-{text}" if coefficient < 0.0 else text
    return f"- {text}" if coefficient < 0.0 else f"+ {text}"

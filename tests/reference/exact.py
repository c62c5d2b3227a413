"""Makes exact.json beside this file: python tests/reference/exact.py [name …] (half a minute; mpmath and numpy).

Maximum log-likelihood, maximum-likelihood estimate, EM rate and standard errors of small classical problems to 30
digits, without emtools: log-likelihoods and EM maps are written here a second time, in the simplest way. A start by
EM at 20 digits is followed by Newton steps at 110 digits, where central differences with a step of 1e-33 give a
gradient to about 60 digits, those with 1e-26 a Hessian to about 50. The rate is the top eigenvalue of the Jacobian of
the EM map, standard errors are the delta method on the inverse of the observed information. Every result must pass
three checks to 1e-35: the gradient again at another step, the EM map's fixed point, and the symmetry of I_o (1 -
J)^-1, the complete-data information, which ties Hessian and Jacobian to each other (Dempster, Laird & Rubin 1977,
section 3).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

HERE = Path(__file__).parent
DIGITS = 110
Vector = list[mpf]


@dataclass(frozen=True)
class Problem:
    """A likelihood, its EM map and a start, all in free parameters on the natural scale.

    Parameters
    ----------
    source : str
        Where the data are from.
    data : Any
        As JSON values.
    start : sequence of float
        First free parameters.
    loglik, em_map : callable
        Log-likelihood in nats, and one step of EM, of free parameters.
    natural : callable
        Free parameters to named arrays (nested lists).
    em_steps : int
        Steps of EM before Newton takes over.
    without_error : dict
        Parameters that have no standard error, and their values.
    saddle : bool
        Whether this is a saddle, which has no standard errors.
    """

    source: str
    data: Any
    start: Sequence[float]
    loglik: Callable[[Vector], mpf]
    em_map: Callable[[Vector], Vector]
    natural: Callable[[Vector], dict[str, Any]]
    em_steps: int = 200
    without_error: dict[str, Any] | None = None
    saddle: bool = False


def moved(x: Vector, *steps: tuple[int, mpf]) -> Vector:
    y = list(x)
    for i, step in steps:
        y[i] += step
    return y


def jacobian(f: Callable[[Vector], Vector], x: Vector, h: mpf) -> mpmath.matrix:
    """Derivatives of the entries of f (rows) by those of x (columns), by central differences."""
    columns = []
    for i in range(len(x)):
        up, down = f(moved(x, (i, h))), f(moved(x, (i, -h)))
        columns.append([(a - b) / (2 * h) for a, b in zip(up, down, strict=True)])
    return mp.matrix(columns).T


def hessian(f: Callable[[Vector], mpf], x: Vector, h: mpf) -> mpmath.matrix:
    """Second derivatives by central differences."""
    p = len(x)
    result = mp.matrix(p, p)
    for i, j in combinations_with_replacement(range(p), 2):
        corners = [a * b * f(moved(x, (i, a * h), (j, b * h))) for a in (1, -1) for b in (1, -1)]
        result[i, j] = result[j, i] = mp.fsum(corners) / (4 * h * h)
    return result


def solve(problem: Problem) -> dict[str, Any]:
    """Everything exact.json holds of one problem."""
    x = [mpf(v) for v in problem.start]
    with mp.workdps(20):
        for _ in range(problem.em_steps):
            x = problem.em_map(x)
    step, curve = mpf(10) ** -33, mpf(10) ** -26

    def gradient(at: Vector, h: mpf) -> mpmath.matrix:
        return jacobian(lambda y: [problem.loglik(y)], at, h).T

    for iteration in range(20):
        if iteration < 3:
            information = -hessian(problem.loglik, x, curve)
        change = mp.lu_solve(information, gradient(x, step))
        x = [a + b for a, b in zip(x, change, strict=True)]
        if max(abs(c) for c in change) < mpf(10) ** -45:
            break
    information = -hessian(problem.loglik, x, curve)
    covariance = information**-1
    em_jacobian = jacobian(problem.em_map, x, step)
    values = mp.eig(em_jacobian, left=False, right=False)
    assert max(abs(mp.im(v)) for v in values) < mpf(10) ** -35, "the rate matrix has real eigenvalues"
    rate = max(mp.re(v) for v in values)
    assert problem.saddle == (rate > 1), rate

    change = mp.lu_solve(information, gradient(x, step / 7))
    assert max(abs(c) for c in change) < mpf(10) ** -35, "gradient"
    image = problem.em_map(x)
    assert max(abs(a - b) for a, b in zip(x, image, strict=True)) < mpf(10) ** -35, "fixed point"
    complete = information * (mp.eye(len(x)) - em_jacobian) ** -1
    assert mp.mnorm(complete - complete.T) < mpf(10) ** -35 * mp.mnorm(complete), "complete-data information"

    natural = problem.natural(x)
    errors: dict[str, Any] = {}
    for name, value in natural.items():

        def flat(y: Vector, name: str = name) -> Vector:
            return flatten(problem.natural(y)[name])

        rows = jacobian(flat, x, step)
        spread = rows * covariance * rows.T
        squares = [spread[i, i] for i in range(rows.rows)]
        errors[name] = shaped([None if problem.saddle else mp.sqrt(abs(s)) for s in squares], value)
    for name, value in (problem.without_error or {}).items():
        natural[name], errors[name] = value, shaped([None] * len(flatten(value)), value)
    return {
        "source": problem.source,
        "data": problem.data,
        "loglik": text(problem.loglik(x)),
        "rate": text(rate),
        "parameters": text(natural),
        "standard_errors": text(errors),
    }


def flatten(value: Any) -> Vector:
    if isinstance(value, list):
        return [leaf for part in value for leaf in flatten(part)]
    return [value]


def shaped(leaves: Sequence[Any], like: Any) -> Any:
    """The leaves in the nesting of `like`."""
    queue = iter(leaves)

    def fill(part: Any) -> Any:
        return [fill(inner) for inner in part] if isinstance(part, list) else next(queue)

    return fill(like)


def text(value: Any) -> Any:
    """Numbers as strings of 30 digits."""
    if isinstance(value, dict):
        return {name: text(part) for name, part in value.items()}
    if isinstance(value, list):
        return [text(part) for part in value]
    return None if value is None else mp.nstr(mp.chop(mpf(value), mpf(10) ** -40), 30)


def multinomial(counts: Sequence[int], cells: Callable[[Vector], Vector]) -> Callable[[Vector], mpf]:
    """Log-likelihood of counts without the multinomial coefficient."""
    return lambda x: mp.fsum(n * mp.log(p) for n, p in zip(counts, cells(x), strict=True))


def linkage() -> Problem:
    counts = [125, 18, 20, 34]

    def em_map(x: Vector) -> Vector:
        hidden = counts[0] * x[0] / (2 + x[0])
        return [(hidden + counts[3]) / (hidden + counts[1] + counts[2] + counts[3])]

    return Problem(
        "Rao (1973), p. 369, by Dempster, Laird & Rubin (1977), eq. 1.1",
        counts,
        [0.5],
        multinomial(counts, lambda x: [mpf(1) / 2 + x[0] / 4, (1 - x[0]) / 4, (1 - x[0]) / 4, x[0] / 4]),
        em_map,
        lambda x: {"probability": x[0]},
        20,
    )


def abo() -> Problem:
    counts = [186, 38, 13, 284]

    def cells(x: Vector) -> Vector:
        a, b = x
        o = 1 - a - b
        return [a * a + 2 * a * o, b * b + 2 * b * o, 2 * a * b, o * o]

    def em_map(x: Vector) -> Vector:
        a, b = x
        o = 1 - a - b
        n_aa, n_bb = counts[0] * a / (a + 2 * o), counts[1] * b / (b + 2 * o)
        genes = 2 * mpf(sum(counts))
        return [(counts[0] + n_aa + counts[2]) / genes, (counts[1] + n_bb + counts[2]) / genes]

    return Problem(
        "Phenotypes A, B, AB, O of 521 patients: Clarke et al. (1959), Br. Med. J. 1, 603-607, by Lange (2010), "
        "Numerical Analysis for Statisticians, section 13.4",
        counts,
        [0.3, 0.2],
        multinomial(counts, cells),
        em_map,
        lambda x: {"allele": [x[0], x[1], 1 - x[0] - x[1]]},
        20,
    )


def bivariate(source: str, rows: list[list[float | None]], start: Sequence[float], saddle: bool = False) -> Problem:
    """Normal distribution of pairs with gaps: means, variance, covariance, variance."""
    table = [[None if v is None else mpf(v) for v in row] for row in rows]

    def loglik(x: Vector) -> mpf:
        m1, m2, v1, c, v2 = x
        total = mpf(0)
        for a, b in table:
            if b is None:
                total -= (mp.log(v1) + (a - m1) ** 2 / v1 + mp.log(2 * mp.pi)) / 2
            elif a is None:
                total -= (mp.log(v2) + (b - m2) ** 2 / v2 + mp.log(2 * mp.pi)) / 2
            else:
                det, d, e = v1 * v2 - c * c, a - m1, b - m2
                total -= (mp.log(det) + (v2 * d * d - 2 * c * d * e + v1 * e * e) / det) / 2 + mp.log(2 * mp.pi)
        return total

    def em_map(x: Vector) -> Vector:
        m1, m2, v1, c, v2 = x
        sums = [mpf(0)] * 5
        for a, b in table:
            extra1 = extra2 = mpf(0)
            if b is None:
                b, extra2 = m2 + c / v1 * (a - m1), v2 - c * c / v1
            elif a is None:
                a, extra1 = m1 + c / v2 * (b - m2), v1 - c * c / v2
            new = (a, b, a * a + extra1, a * b, b * b + extra2)
            sums = [s + t for s, t in zip(sums, new, strict=True)]
        e1, e2, e11, e12, e22 = (s / len(table) for s in sums)
        return [e1, e2, e11 - e1 * e1, e12 - e1 * e2, e22 - e2 * e2]

    return Problem(
        source,
        rows,
        start,
        loglik,
        em_map,
        lambda x: {"mean": [x[0], x[1]], "covariance": [[x[2], x[3]], [x[3], x[4]]]},
        60,
        saddle=saddle,
    )


def apple_crop() -> Problem:
    size = [8, 6, 11, 22, 14, 17, 18, 24, 19, 23, 26, 40, 4, 4, 5, 6, 8, 10]
    wormy = [59, 58, 56, 53, 50, 45, 43, 42, 39, 38, 30, 27] + [None] * 6
    return bivariate(
        "Size of apple crop and share of wormy fruits: Snedecor & Cochran (1967), table 6.9.1, with six rows without "
        "the second by Little & Rubin (2002), table 7.4",
        [[a, b] for a, b in zip(size, wormy, strict=True)],
        [15, 45, 80, -80, 100],
    )


def murray(correlation: float) -> Problem:
    rows: list[list[float | None]] = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    rows += [[2, None]] * 2 + [[-2, None]] * 2 + [[None, 2]] * 2 + [[None, -2]] * 2
    return bivariate(
        "Murray (1977), J. R. Stat. Soc. B 39, 27-28, in the discussion of Dempster, Laird & Rubin",
        rows,
        [0, 0, 2.5, 2.5 * correlation, 2.5],
        saddle=correlation == 0,
    )


def london_times() -> Problem:
    counts = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]

    def joint(x: Vector) -> list[tuple[mpf, mpf]]:
        w, first, second = x
        return [
            (
                w * mp.exp(-first) * first**y / mp.factorial(y),
                (1 - w) * mp.exp(-second) * second**y / mp.factorial(y),
            )
            for y in range(len(counts))
        ]

    def em_map(x: Vector) -> Vector:
        shares = [n * a / (a + b) for n, (a, b) in zip(counts, joint(x), strict=True)]
        rest = [n - s for n, s in zip(counts, shares, strict=True)]
        total, other = mp.fsum(shares), mp.fsum(rest)
        first = mp.fsum(y * s for y, s in enumerate(shares)) / total
        return [total / sum(counts), first, mp.fsum(y * s for y, s in enumerate(rest)) / other]

    return Problem(
        "Deaths a day of women over 80 in the London Times, 1910-1912: Hasselblad (1969), J. Am. Stat. Assoc. 64, "
        "1459-1471; counts of days with 0, 1, … 9 deaths",
        counts,
        [0.4, 1.0, 3.0],
        lambda x: mp.fsum(n * mp.log(a + b) for n, (a, b) in zip(counts, joint(x), strict=True)),
        em_map,
        lambda x: {"weights": [x[0], 1 - x[0]], "rates": [x[1], x[2]]},
        3000,
    )


def cauchy(expanded: bool) -> Problem:
    values = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

    def loglik(x: Vector) -> mpf:
        location, square = x
        terms = [mp.log(1 + (v - location) ** 2 / square) + mp.log(square) / 2 + mp.log(mp.pi) for v in values]
        return -mp.fsum(terms)

    def em_map(x: Vector) -> Vector:
        """Over the sum of the weights where the hidden scale is expanded, over n where not."""
        weights = [2 / (1 + (v - x[0]) ** 2 / x[1]) for v in values]
        location = mp.fsum(w * v for w, v in zip(weights, values, strict=True)) / mp.fsum(weights)
        divisor = mp.fsum(weights) if expanded else len(values)
        return [location, mp.fsum(w * (v - location) ** 2 for w, v in zip(weights, values, strict=True)) / divisor]

    return Problem(
        "Differences of heights of crossed and self-fertilised maize in eighths of an inch: Darwin (1876), by Fisher "
        "(1935), The Design of Experiments, section 17; Student's t with one degree of freedom"
        + ", the hidden scale expanded as by Meng & van Dyk (1997), J. R. Stat. Soc. B 59, 511-567"
        * expanded,
        values,
        [25, 200],
        loglik,
        em_map,
        lambda x: {"location": [x[0]], "scatter": [[x[1]]]},
        200,
    )


NEWCOMB = (
    "28 26 33 24 34 -44 27 16 40 -2 29 22 24 21 25 30 23 29 31 19 24 20 36 32 36 28 25 21 28 29 37 25 28 26 30 32 36 "
    "26 30 22 36 23 27 27 28 27 31 27 26 33 26 32 32 24 39 28 24 25 32 25 29 27 28 29 16 23"
)


def profile(values: np.ndarray, steps: int = 400) -> list[tuple[float, float, float, float, float, float]]:
    """Every pair of bounds in the outer quarters and every location: (loglik, location, lower, upper, weight, scale).

    Between two rows the log-likelihood is convex in the location, and it rises as a bound moves inward up to the next
    row, so that the maximum is at order statistics in all three.
    """
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    low, high = np.unique(ordered[: quarter + 1]), np.unique(ordered[-quarter - 1 :])
    grid = np.array([(m, a, b) for m in np.unique(ordered) for a in low for b in high if b > a])
    distance = np.abs(ordered - grid[:, :1])
    uniform = ((ordered >= grid[:, 1:2]) & (ordered <= grid[:, 2:])) / (grid[:, 2:] - grid[:, 1:2])
    weight, scale = np.full((len(grid), 1), 0.5), np.median(distance, axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            laplace = weight * np.exp(-distance / scale) / (2 * scale)
            share = laplace / (laplace + (1 - weight) * uniform)
            weight = share.mean(axis=1, keepdims=True)
            scale = (share * distance).sum(axis=1, keepdims=True) / share.sum(axis=1, keepdims=True)
        laplace = weight * np.exp(-distance / scale) / (2 * scale)
        loglik = np.log(laplace + (1 - weight) * uniform).sum(axis=1)
    usable = np.isfinite(loglik) & (scale[:, 0] > 1e-3)
    rows = np.column_stack([loglik, grid, weight, scale])[usable]
    return [tuple(row) for row in rows[np.argsort(-rows[:, 0])].tolist()]


def laplace_uniform() -> Problem:
    values = [int(v) for v in NEWCOMB.split()]
    _, location, lower, upper, weight, scale = profile(np.array(values, dtype=float))[0]

    def joint(x: Vector) -> list[tuple[mpf, mpf]]:
        w, s = x
        inside = (1 - w) / mpf(upper - lower)
        return [(w * mp.exp(-abs(v - mpf(location)) / s) / (2 * s), inside * (lower <= v <= upper)) for v in values]

    def em_map(x: Vector) -> Vector:
        shares = [a / (a + b) for a, b in joint(x)]
        total = mp.fsum(shares)
        return [
            total / len(values),
            mp.fsum(q * abs(v - mpf(location)) for q, v in zip(shares, values, strict=True)) / total,
        ]

    return Problem(
        "Newcomb's times of passage of light (1882), by Stigler (1977), Ann. Statist. 5, 1055-1098, table 5; bounds "
        "among the order statistics of the outer quarters; standard errors given location and bounds",
        values,
        [weight, scale],
        lambda x: mp.fsum(mp.log(a + b) for a, b in joint(x)),
        em_map,
        lambda x: {"weight": x[0], "scale": x[1]},
        50,
        {"location": location, "lower": lower, "upper": upper},
    )


def old_faithful() -> Problem:
    rows = [[mpf(v) for v in line.split()] for line in (HERE / "faithful.tsv").read_text().splitlines()[1:]]

    def joint(x: Vector) -> list[list[mpf]]:
        parts = []
        for w, (m1, m2), (a, c, b) in ((x[0], x[1:3], x[5:8]), (1 - x[0], x[3:5], x[8:11])):
            det = a * b - c * c
            front, aa, bb, cc = w / (2 * mp.pi * mp.sqrt(det)), -b / det / 2, -a / det / 2, c / det
            parts.append(
                [front * mp.exp(aa * (u - m1) ** 2 + bb * (v - m2) ** 2 + cc * (u - m1) * (v - m2)) for u, v in rows]
            )
        return parts

    def em_map(x: Vector) -> Vector:
        parts = joint(x)
        totals = [a + b for a, b in zip(*parts, strict=True)]
        means: Vector = []
        covariances: Vector = []
        for part in parts:
            q = [a / t for a, t in zip(part, totals, strict=True)]
            n = mp.fsum(q)
            m1, m2 = (mp.fsum(s * row[i] for s, row in zip(q, rows, strict=True)) / n for i in (0, 1))
            means += [m1, m2]
            for f in (
                lambda u, v, m1=m1: (u - m1) ** 2,
                lambda u, v, m1=m1, m2=m2: (u - m1) * (v - m2),
                lambda u, v, m2=m2: (v - m2) ** 2,
            ):
                covariances.append(mp.fsum(s * f(u, v) for s, (u, v) in zip(q, rows, strict=True)) / n)
        first = mp.fsum(a / t for a, t in zip(parts[0], totals, strict=True))
        return [first / len(rows), *means, *covariances]

    return Problem(
        "Azzalini & Bowman (1990), Appl. Stat. 39, 357-365: eruptions and waiting, two full covariances",
        "faithful.tsv",
        [0.64, 4.3, 80, 2.0, 54.5, 0.17, 0.9, 36, 0.07, 0.4, 34],
        lambda x: mp.fsum(mp.log(a + b) for a, b in zip(*joint(x), strict=True)),
        em_map,
        lambda x: {
            "weights": [x[0], 1 - x[0]],
            "means": [[x[1], x[2]], [x[3], x[4]]],
            "covariances": [[[x[5], x[6]], [x[6], x[7]]], [[x[8], x[9]], [x[9], x[10]]]],
        },
        60,
    )


SEQUENCES = (
    "GAATTGAAANAGCCTTNCTCAACT GGAGTAATTNACAACGC TTATACNTATTAAATCGAGNCCAGAGGGCC ATAAAAGCGGGT AATCACTACNGGAACGAAACN "
    "CTCCATGCCCNGTGAANTATACTCTA TCCGCGGNT ACGGTNGCCAATACAAAAA CCGCCCGGCCGTNTTAGTCCGCCCCACC CCCCGTNGGGGAGCT"
)


def hmm() -> Problem:
    sequences = [["ACGTN".index(letter) for letter in word] for word in SEQUENCES.split()]

    def tables(x: Vector) -> tuple[Vector, list[Vector], list[Vector]]:
        emission = [[*x[3:6], 1 - mp.fsum(x[3:6])], [*x[6:9], 1 - mp.fsum(x[6:9])]]
        return [x[0], 1 - x[0]], [[x[1], 1 - x[1]], [1 - x[2], x[2]]], emission

    def forward(x: Vector, codes: list[int]) -> list[Vector]:
        start, transition, emission = tables(x)
        emit = [[*row, mpf(1)] for row in emission]
        steps = [[start[k] * emit[k][codes[0]] for k in (0, 1)]]
        for code in codes[1:]:
            a, b = steps[-1]
            steps.append([(a * transition[0][k] + b * transition[1][k]) * emit[k][code] for k in (0, 1)])
        return steps

    def em_map(x: Vector) -> Vector:
        _, transition, emission = tables(x)
        emit = [[*row, mpf(1)] for row in emission]
        starts, moves = [mpf(0)] * 2, [[mpf(0)] * 2 for _ in (0, 1)]
        letters = [[mpf(0)] * 5 for _ in (0, 1)]
        for codes in sequences:
            alpha = forward(x, codes)
            total = alpha[-1][0] + alpha[-1][1]
            beta = [mpf(1), mpf(1)]
            for t in range(len(codes) - 1, -1, -1):
                for k in (0, 1):
                    letters[k][codes[t]] += alpha[t][k] * beta[k] / total
                if t == 0:
                    starts = [starts[k] + alpha[0][k] * beta[k] / total for k in (0, 1)]
                    break
                for i in (0, 1):
                    for j in (0, 1):
                        moves[i][j] += alpha[t - 1][i] * transition[i][j] * emit[j][codes[t]] * beta[j] / total
                beta = [mp.fsum(transition[i][j] * emit[j][codes[t]] * beta[j] for j in (0, 1)) for i in (0, 1)]
        stay = [moves[k][k] / (moves[k][0] + moves[k][1]) for k in (0, 1)]
        shares = [letters[k][code] / mp.fsum(letters[k][:4]) for k in (0, 1) for code in range(3)]
        return [starts[0] / len(sequences), *stay, *shares]

    return Problem(
        "Ten sequences drawn from a model of two states; N is a letter that was not observed",
        SEQUENCES.split(),
        [0.42, 0.89, 0.89, 0.51, 0.15, 0.05, 0.10, 0.42, 0.37],
        lambda x: mp.fsum(mp.log(mp.fsum(forward(x, codes)[-1])) for codes in sequences),
        em_map,
        lambda x: dict(zip(("start", "transition", "emission"), tables(x), strict=True)),
        150,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "linkage": linkage,
    "abo": abo,
    "apple_crop": apple_crop,
    "murray_positive": lambda: murray(0.6),
    "murray_negative": lambda: murray(-0.6),
    "murray_saddle": lambda: murray(0.0),
    "london_times": london_times,
    "cauchy": lambda: cauchy(False),
    "cauchy_expanded": lambda: cauchy(True),
    "laplace_uniform": laplace_uniform,
    "old_faithful": old_faithful,
    "hmm": hmm,
}


def main(names: Sequence[str]) -> None:
    path = HERE / "exact.json"
    known = json.loads(path.read_text())["problems"] if path.exists() else {}
    with mp.workdps(DIGITS):
        for name in names or PROBLEMS:
            known[name] = solve(PROBLEMS[name]())
            print(name, known[name]["loglik"], known[name]["rate"])
    document = {
        "script": "tests/reference/exact.py",
        "mpmath": mpmath.__version__,
        "working_digits": DIGITS,
        "problems": {name: known[name] for name in PROBLEMS if name in known},
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

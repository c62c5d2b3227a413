"""Completed tables for multiple imputation: parameters drawn as uncertain as they are, then the gaps given these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.certificate import certify
from emtools.engine.executors import executor as make_executor
from emtools.engine.loop import climb
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.imputing.choose import LARGE
from emtools.imputing.result import Fitted
from emtools.kernels.posterior import draw_normal_posterior
from emtools.kernels.readings import Readings

Floats = npt.NDArray[np.float64]

BOOTSTRAP, POSTERIOR, FIXED = METHODS = ("bootstrap", "posterior", "parameters fixed")
RESAMPLE_TOL = 1e-4  # nats: a hundredth of a standard error
WIDE, WIDE_TOL, A_CELL = 100, 1e-2, 2e-6  # columns from which a tenth will do; of a large table, nats a cell
ORDER = 3  # of the acceleration of refits to a large table
QUICK = 0.9  # rate up to which plain EM ends a refit as soon as an accelerated climb would
QUICK_PASSES = 100
FORGOTTEN = 0.01  # of its start that may be left in a chain
FEWEST_STEPS, MOST_STEPS = 10, 2000
MOST_GROWTH = 2.0  # of the noise of a draw, for few rows


@dataclass(frozen=True)
class Draws:
    """Completed tables.

    Parameters
    ----------
    tables : tuple of ndarray, each of shape (n, d)
        On the scales of the model.
    params : tuple of Params
        Parameters that each was drawn with.
    method : str
        One of `METHODS`.
    steps : int
        Steps of data augmentation before each table; 0 for other methods.
    notices : tuple of str
        How the parameters were drawn, and what went otherwise than asked.
    """

    tables: tuple[Floats, ...]
    params: tuple[Any, ...]
    method: str
    steps: int
    notices: tuple[str, ...]


def draw(
    fitted: Fitted,
    readings: Readings,
    m: int,
    seed: int = 0,
    *,
    method: str = BOOTSTRAP,
    threads: int = 1,
    executor: Any = "threads",
    weights: Floats | None = None,
    tol: float | None = None,
    max_passes: int = 2000,
    accelerate: bool = True,
) -> Draws:
    """Draw m completed tables.

    Draw i uses ``SeedSequence([seed, i])`` alone, so that it depends neither on m nor on the number of threads.

    Parameters
    ----------
    fitted : Fitted
        Model of the rows at its maximum.
    readings : Readings
        The table that it was fitted to, shape (n, d).
    m : int
        Tables, at least 1; to be pooled, at least 2, and 20 or more where much is missing.
    seed : int
        Root of the random numbers.
    method : {"bootstrap", "posterior", "parameters fixed"}
        "bootstrap": the rows are resampled and the model fitted again from the parameters of the fit; a normal model's
        noise is corrected for few rows (`widened`). A resample whose likelihood has no maximum gives way to one with
        exponential weights, which leaves no row out. "posterior", for
        normal models: a chain of data augmentation of its own for each table, from the maximum, as many steps as leave
        a hundredth of the start. "parameters fixed": at the maximum; intervals from such tables are too short.
    threads : int
        Tables made at a time; cannot change a number.
    executor : {"serial", "threads"}
        Where they are made.
    weights : ndarray, shape (n,), optional
        Weights of the rows in the fit; 2 equals the row twice.
    tol, max_passes, accelerate
        Of the refits, as in `emtools.engine.starts.fit`; `tol` is 1e-4 nats by default, 1e-2 beyond 100 columns.

    Returns
    -------
    Draws

    Raises
    ------
    InputError
        If a number or the method is not usable, or the posterior is improper.

    References
    ----------
    Honaker, King & Blackwell (2011), J. Stat. Softw. 45(7), doi:10.18637/jss.v045.i07, section 2 (bootstrap);
    Rubin (1981), Ann. Stat. 9, 130-134, doi:10.1214/aos/1176345338 (exponential weights);
    Tanner & Wong (1987), J. Am. Stat. Assoc. 82, 528-540, doi:10.1080/01621459.1987.10478458 (data augmentation).

    Examples
    --------
    >>> from emtools.imputing.fitting import fit_table
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 3))
    >>> values[::4, 0] = np.nan
    >>> known = Readings(values)
    >>> drawn = draw(fit_table(known), known, 5)
    >>> len(drawn.tables), int(np.isnan(drawn.tables[0]).sum())
    (5, 0)
    """
    if m < 1:
        raise InputError("draws", f"{m} tables", "at least 1")
    if method not in METHODS:
        raise InputError("draws", f"method {method!r}", f"one of {', '.join(METHODS)}")
    steps = 0
    notices: list[str] = []
    if method == POSTERIOR:
        check_posterior(fitted, readings, weights)
        steps, notices = chain_length(fitted, readings, threads)
    cells, wide = readings.values.size, readings.values.shape[1] > WIDE
    loose = max(WIDE_TOL, A_CELL * cells if cells >= LARGE else 0.0) if wide else RESAMPLE_TOL
    climbing = {"tol": loose if tol is None else tol, "max_passes": max_passes, "accelerate": accelerate}
    if wide and cells >= LARGE:
        climbing |= {"look": False, "order": ORDER}

    def one(number: int) -> tuple[Any, Floats, str]:
        rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
        params, how = fitted.params, ""
        if method == BOOTSTRAP:
            params, how = resampled(fitted, readings, weights, rng, climbing)
        elif method == POSTERIOR:
            params = augmented(fitted, readings, steps, rng)
        table = fitted.model.draw(params, readings, rng)
        if method == BOOTSTRAP and fitted.kind == "normal" and how != UNFITTED:
            table = widened(fitted, params, readings, table)
        return params, table, how

    with maker(executor, threads) as pool:
        made = pool(one, range(m))
    params, tables, hows = zip(*made, strict=True)
    if method == BOOTSTRAP:
        notices += bootstrap_notices(list(hows))
    return Draws(tables, params, method, steps, tuple(notices))


def maker(kind: Any, threads: int) -> Any:
    """A map over draws in this process: threads, or one of them."""
    return make_executor("serial" if kind == "serial" else "threads", threads)


SMOOTH, UNFITTED, BUDGET = "smooth", "unfitted", "budget"


def resampled(
    fitted: Fitted, readings: Readings, weights: Floats | None, rng: np.random.Generator, climbing: dict[str, Any]
) -> tuple[Any, str]:
    """Parameters of a resample of the rows, and how it went: "" as asked."""
    n = len(readings.values)
    held = np.ones(n) if weights is None else weights
    total = held.sum()
    counts = rng.multinomial(round(float(total)), held / total).astype(np.float64)
    smooth = rng.standard_gamma(held)
    smooth *= total / smooth.sum()
    for drawn, how in ((counts, ""), (smooth, SMOOTH)):
        try:
            source = fitted.model.source(readings, drawn)
        except InputError:
            continue
        again = None
        if not fitted.fit.rate > QUICK:
            again = climb(fitted.model, source, fitted.params, **climbing | {"max_passes": QUICK_PASSES, "look": False})
        if again is None or again.status is Status.BUDGET:
            again = climb(fitted.model, source, fitted.params if again is None else again.params, **climbing)
        if again.status in (Status.CONVERGED, Status.BUDGET):
            return again.params, how if again.status is Status.CONVERGED or how else BUDGET
    return fitted.params, UNFITTED


def widened(fitted: Fitted, params: Any, readings: Readings, table: Floats) -> Floats:
    """A table drawn by bootstrap with the noise about its conditional means that an unbiased variance gives.

    Maximum likelihood from n values of a column makes their variance about a regression on k others too small by
    ``1 - (k + 1) / n`` on average, and a resample does so once more: the noise of a cell in a row with k values grows
    by ``n / (n - k - 1)``, at most twofold. Rows with bounds stay as they are.
    """
    seen, bounded = readings.observed, readings.bounded
    n = (seen | bounded).sum(axis=0) + fitted.pseudo_rows
    left = n - seen.sum(axis=1)[:, None] - 1.0
    growth = np.minimum(n / np.maximum(left, 1.0), MOST_GROWTH)
    growth[bounded.any(axis=1)] = 1.0
    centre = fitted.model.conditional(params, readings)[0]
    return np.where(seen, readings.values, centre + (table - centre) * growth)


def bootstrap_notices(hows: list[str]) -> list[str]:
    """What went otherwise than asked in resampling, as sentences."""
    m, told = len(hows), []
    if hows.count(SMOOTH):
        told.append(
            f"{hows.count(SMOOTH)} of {m} resamples of the rows had no maximum and were weighted smoothly instead; "
            "with so few rows prefer fewer markers or a prior"
        )
    if hows.count(UNFITTED):
        told.append(
            f"{hows.count(UNFITTED)} of {m} draws could not be fitted again and use the parameters of the fit: "
            "intervals pooled from them are too short; choose fewer markers or a prior"
        )
    if hows.count(BUDGET):
        told.append(f"{hows.count(BUDGET)} of {m} refits stopped at their limit of passes; raise --max-passes")
    return told


def check_posterior(fitted: Fitted, readings: Readings, weights: Floats | None) -> None:
    """Refuse data augmentation where it is not defined.

    Raises
    ------
    InputError
        If the model is not normal, rows have weights, or there are too few rows for a proper posterior.
    """
    remedy = "draw by bootstrap"
    if fitted.kind != "normal":
        raise InputError("draws", f"posterior draws of a {fitted.kind} model", "a normal one", remedy)
    if weights is not None and (weights != 1.0).any():
        raise InputError("draws", "posterior draws of weighted rows", "rows of equal weight", remedy)
    n, d = readings.values.shape
    if not n - 1.0 + prior_of(fitted, n)[0] > d - 1.0:
        got = f"{n} rows for {d} columns leave the posterior improper"
        raise InputError("draws", got, "more rows, or a prior of more weight", remedy)


def prior_of(fitted: Fitted, n: int) -> tuple[float, Floats | None]:
    """Degrees and scale of the inverse-Wishart prior of a chain: ``|Σ|⁻¹`` times the pseudo-rows of the ridge, so that a ridge
    of little weight leaves the draws as they are without one.

    Of d complete columns, ``|Σ|⁻¹`` (of ``1 - d`` degrees) gives the variance of one about its regression on the others as
    ``s / χ²`` with the ``n - d`` degrees of freedom of least squares, so that intervals of slopes cover what they claim;
    Jeffreys' ``|Σ|^(-(d + 1)/2)`` (of 0) gives ``n - 1`` and too little noise. Where rows are so few that fewer than d + 2
    degrees would be left, as many more are taken, up to Jeffreys'.

    The ridge of λ pseudo-rows that a fit has is ``|Σ|^(-λ/2) exp(-tr(Ψ Σ⁻¹)/2)``, which adds λ degrees.

    References
    ----------
    Zellner (1971), An Introduction to Bayesian Inference in Econometrics, section 8.1, for both priors;
    Sun & Berger (2007), Objective priors for the multivariate normal model, Bayesian Statistics 8, 525-562.
    """
    prior, d = getattr(fitted.model, "prior", None), len(fitted.params.mean)
    rows, scale = (0.0, None) if prior is None else (prior.degrees + d + 1.0, prior.scale)
    return rows + max(1.0 - d, min(0.0, d + 3.0 - n - rows)), scale


def chain_length(fitted: Fitted, readings: Readings, threads: int) -> tuple[int, list[str]]:
    """Steps of data augmentation after which `FORGOTTEN` of the start is left, and a sentence on it.

    A chain forgets as fast as EM climbs: its slowest function keeps the largest fraction of missing information a step
    (Liu, Wong & Kong 1995, J. R. Stat. Soc. B 57, 157-169, doi:10.1111/j.2517-6161.1995.tb02021.x).
    """
    seen = fitted.fit.certificate
    rate = fitted.fit.rate if seen is None else seen.rate
    if not math.isfinite(rate):
        with make_executor("threads", threads) as pool:
            rate = certify(fitted.model, fitted.model.source(readings), fitted.params, pool).rate
    if not math.isfinite(rate):
        rate = 1.0
    rate = min(max(rate, 0.0), 1.0 - 1e-12)
    wanted = math.log(FORGOTTEN) / math.log(rate) if rate > 0.0 else 0.0
    steps = min(max(math.ceil(wanted), FEWEST_STEPS), MOST_STEPS)
    told = f"each table ends a chain of {steps} steps; {100 * rate:.3g} % of the information is missing at most"
    if wanted > MOST_STEPS:
        told += f", so that {100 * rate**steps:.2g} % of the start may be left in it: compare with the bootstrap"
    return steps, [told]


def augmented(fitted: Fitted, readings: Readings, steps: int, rng: np.random.Generator) -> Any:
    """Parameters after some steps of data augmentation: draw the gaps given them, then them given the whole table."""
    degrees, scale = prior_of(fitted, len(readings.values))
    params = fitted.params
    draw_gaps: Callable[..., Floats] = fitted.model.draw
    for _ in range(steps):
        mean, covariance = draw_normal_posterior(draw_gaps(params, readings, rng), degrees, scale, rng)
        params = replace(params, mean=mean, covariance=covariance)
    return params

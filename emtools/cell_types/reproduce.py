"""How far a responsibility may be believed: it is made as sure as fits to other cells of the same data agree with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.cell_types.search import Search, find_types, rougher
from emtools.engine.protocol import Floats
from emtools.errors import EmtoolsError
from emtools.kernels.agreement import contingency, matching, one_hot
from emtools.kernels.logspace import logsumexp_rows
from emtools.kernels.reliability import reliability as in_bins

Codes = npt.NDArray[np.intp]

BINS = 10
MANY = 200  # cells from which on there are as many
SPLITS = 8
SPLIT_STARTS = 10
SPLIT_ROWS = 10_000  # cells in both halves together, at most
HOTTEST = 1e3


@dataclass(frozen=True)
class Reliability:
    """How often the most probable type was right, by its stated probability.

    Parameters
    ----------
    certainty, right : ndarray, shape (b,)
        Mean probability and frequency of the right type in each bin; bins without a cell are left out.
    n : ndarray of int, shape (b,)
        Judgements in each bin: a cell that several fits judged counts once for each.
    n_units : int
        Different cells among them.
    """

    certainty: Floats
    right: Floats
    n: Codes
    n_units: int

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two, by cells; NaN without a cell.

        Naeini, Cooper & Hauskrecht (2015), AAAI, 2901-2907.
        """
        total = int(self.n.sum())
        return float(np.abs(self.certainty - self.right) @ self.n / total) if total else np.nan

    def record(self) -> dict[str, Any]:
        """As it stands in ``uns``."""
        return {
            "certainty": self.certainty,
            "right": self.right,
            "n": self.n,
            "n_units": self.n_units,
            "error": self.error,
        }


def reliability(certainty: Floats, right: Floats, n_units: int | None = None) -> Reliability:
    """Certainties and hits, each shape (n,), in `BINS` equal bins of the certainty; half as many for few cells.

    They are of `n_units` different cells, by default each of another one.

    Examples
    --------
    >>> reliability(np.array([0.95, 0.91, 0.55]), np.array([1.0, 0.0, 1.0])).right.tolist()
    [1.0, 0.5]
    """
    n_bins = BINS if len(certainty) >= MANY else BINS // 2
    held = in_bins(np.asarray(certainty), np.asarray(right) > 0.0, n_bins)
    return Reliability(
        held.told, held.seen, held.counts.astype(np.intp), len(certainty) if n_units is None else n_units
    )


@dataclass(frozen=True)
class Reproducibility:
    """What fits to half of the cells say of the other half.

    Parameters
    ----------
    temperature : float
        T, at least 1.
    agreement : float
        Fraction of cells to which a fit that has not seen them gives the same type; NaN where none could be fitted.
    by_type : ndarray, shape (K,)
        The same for the cells of each type; NaN for one without cells.
    n_fits : int
        Fits to halves.
    curve : Reliability, optional
        How often they agreed, by the probability stated at this temperature.
    logistic_weight : float
        Power of the probabilities of a logistic regression on the labels beside the tempered ones; 0 without labels.
    """

    temperature: float
    agreement: float
    by_type: Floats
    n_fits: int
    curve: Reliability | None = None
    logistic_weight: float = 0.0


def tempered(log_joint: Floats, temperature: float) -> Floats:
    """Responsibilities at a temperature, ``r_ik ∝ (weight_k density_k(x_i)) ** (1 / T)``.

    The order of the types of a cell does not change. Shares of types are not taken from these: a flatter posterior would
    make rare types frequent.

    Parameters
    ----------
    log_joint : ndarray, shape (n, K)
        Log of weight times density, in nats.
    temperature : float
        T, at least 1.

    Returns
    -------
    ndarray, shape (n, K)
        Rows sum to 1.

    Examples
    --------
    >>> tempered(np.log(np.array([[0.9, 0.1]])), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    scaled = log_joint / temperature
    shares: Floats = np.exp(scaled - logsumexp_rows(scaled)[:, None])
    return shares


def best_temperature(log_joint: Floats, codes: Codes) -> float:
    """Temperature at which the held-out labels are likeliest, ``argmax_T Σ_i log r_i,code(i)(T)``, at least 1.

    Parameters
    ----------
    log_joint : ndarray, shape (m, K)
        Log of weight times density, in nats.
    codes : ndarray of int, shape (m,)
        Label of each.

    References
    ----------
    Guo, Pleiss, Sun & Weinberger (2017), ICML, PMLR 70, 1321-1330, section 4.2 (temperature scaling).
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        scaled = log_joint / np.exp(log_temperature)
        return float((logsumexp_rows(scaled) - scaled[rows, codes]).mean())

    found = minimize_scalar(loss, bounds=(0.0, np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def believed(
    evidence: Floats, found: Codes, n_fits: int, types: Codes | None = None, n_units: int | None = None
) -> Reproducibility:
    """What came of the types of a fit, from types that others found for the same cells.

    Parameters
    ----------
    evidence : ndarray, shape (m, K)
        Log of the probabilities that are stated, up to a constant for each cell.
    found : ndarray of int, shape (m,)
        What they are said to be by others: other fits, or labels.
    n_fits : int
        How many of these.
    types : ndarray of int, shape (m,), optional
        By which agreement is counted; the most probable ones where not given.
    n_units : int, optional
        Different cells among the m; all of them where not given.
    """
    k = evidence.shape[1]
    first = evidence.argmax(axis=1)
    same = (first == found).astype(np.float64)
    by = first if types is None else types
    sizes = np.bincount(by, minlength=k)
    by_type = np.bincount(by, weights=same, minlength=k) / np.where(sizes > 0, sizes, np.nan)
    certainty = tempered(evidence, 1.0).max(axis=1)
    return Reproducibility(1.0, float(same.mean()), by_type, n_fits, reliability(certainty, same, n_units))


def reproduce(model: Any, params: Any, values: Floats, search: Search, fit_half: Any = find_types) -> Reproducibility:
    """Fit both halves of random splits, let each fit type the other half, and ask how sure the whole fit may be of these types.

    Types are matched one to one over the cells of the other half. Nothing but the data is used.

    Parameters
    ----------
    model, params : GaussianMixture, MixtureParams
        The fit whose probabilities are in question.
    values : ndarray, shape (n, d)
        Its cells.
    search : Search
        As for the fit.
    fit_half : callable
        ``fit_half(values, n_types, search)``.

    Returns
    -------
    Reproducibility
        With T = 1 where no half could be fitted.

    References
    ----------
    Splitting: Lange, Roth, Braun & Buhmann (2004), Neural Comput. 16, 1299-1323, doi:10.1162/089976604773717621.
    """
    k = model.n_components
    rng = np.random.default_rng(np.random.SeedSequence([search.seed, 2]))
    logs, labels, judged = [], [], []
    for split in range(SPLITS):
        order = rng.permutation(len(values))[:SPLIT_ROWS]
        middle = len(order) // 2
        for mine, others in ((order[:middle], order[middle:]), (order[middle:], order[:middle])):
            mine, others = np.sort(mine), np.sort(others)
            try:
                half = fit_half(values[mine], k, rougher(search, SPLIT_STARTS, search.seed + 1 + split))
            except EmtoolsError:
                continue
            typed = half.model.log_joint(half.params, values[others]).argmax(axis=1)
            own = model.log_joint(params, values[others])
            table = np.zeros((k, k))
            found = contingency(typed, one_hot(own.argmax(axis=1), k))
            table[: len(found)] = found
            partner = matching(table)[1]
            logs.append(own)
            labels.append(partner[typed])
            judged.append(others)
    if not logs:
        return Reproducibility(1.0, np.nan, np.full(k, np.nan), 0)
    own, found = np.concatenate(logs), np.concatenate(labels)
    temperature = best_temperature(own, found)
    trust = believed(own / temperature, found, len(logs), n_units=np.unique(np.concatenate(judged)).size)
    return replace(trust, temperature=temperature)

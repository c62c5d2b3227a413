"""Number of components and covariance family of a Gaussian mixture, by BIC, ICL or held-out likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.engine.result import Climb
from emtools.engine.starts import USABLE
from emtools.errors import FitError, InputError
from emtools.kernels.logspace import logsumexp_rows
from emtools.models.covariance_prior import data_prior
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_starts import best_split, weighted_rows
from emtools.models.mixture_values import MixtureParams, MixtureStats

Criterion = Literal["bic", "icl", "held_out"]
HELD_SHARE = 0.2  # of the rows


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Parameters
    ----------
    n_components, family : int, str
        K and the family.
    loglik : float
        Log-likelihood at the end, nats.
    df : int
        Free parameters.
    bic, icl : float
        ``2 loglik - df log n``, and that plus twice the sum of the logs of the largest responsibilities; larger is
        better, as in mclust.
    held_out : float
        Mean log-likelihood of a held-out row under the mixture fitted to the others, nats; NaN where not asked for.
    status : str
        How the climb ended; the figures are NaN where it is not usable.
    params : MixtureParams or None
        Parameters of all rows.
    """

    n_components: int
    family: str
    loglik: float
    df: int
    bic: float
    icl: float
    held_out: float
    status: str
    params: MixtureParams | None


@dataclass(frozen=True)
class Selection:
    """A row for each K and family, and the chosen one."""

    table: tuple[Candidate, ...]
    chosen: Candidate
    criterion: Criterion


def select(
    values: Floats,
    components: Iterable[int],
    families: Sequence[str] = ("VVV",),
    criterion: Criterion = "bic",
    *,
    prior: bool = False,
    tol: float = 1e-3,
    max_passes: int = 2000,
    starts: int = 3,
    seed: int = 0,
) -> Selection:
    """Fit every K and family and choose.

    Along K each fit starts from the fit before, its component split that promises most, and from `starts` others;
    the best end is kept.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    components : iterable of int
        Numbers of components.
    families : sequence of str
        Families of `GaussianMixture`.
    criterion : {"bic", "icl", "held_out"}
        What chooses.
    prior : bool
        Whether covariances have the weak prior of `data_prior`.
    tol, max_passes, starts, seed
        Of each climb.

    Raises
    ------
    InputError
        If nothing is asked for or the criterion is unknown.
    FitError
        If no fit is usable.

    References
    ----------
    Schwarz (1978), Ann. Stat. 6, 461-464, doi:10.1214/aos/1176344136; Biernacki, Celeux & Govaert (2000), IEEE Trans.
    Pattern Anal. 22, 719-725, doi:10.1109/34.865189, for ICL.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 9.0])
    >>> found = select(values, (1, 2, 3), ("EII", "VVV"))
    >>> found.chosen.n_components, found.chosen.family, len(found.table)
    (2, 'EII', 6)
    """
    counts = sorted(set(components))
    if not counts or not families or criterion not in ("bic", "icl", "held_out"):
        got = f"{len(counts)} numbers of components, {len(families)} families, criterion {criterion!r}"
        raise InputError("select", got, "at least one of each, and bic, icl or held_out")
    order = np.random.default_rng(np.random.SeedSequence([seed, len(values)])).permutation(len(values))
    n_held = max(1, round(HELD_SHARE * len(values)))
    parts = {"all": values}
    if criterion == "held_out":
        parts |= {"kept": values[np.sort(order[n_held:])], "held": values[np.sort(order[:n_held])]}
    table: list[Candidate] = []
    for family in families:
        last: dict[str, Climb[MixtureParams, MixtureStats] | None] = dict.fromkeys(parts)
        for k in counts:
            for name in parts.keys() - {"held"}:
                rows = parts[name]
                weak = data_prior(rows, k, GaussianMixture(k, rows.shape[1], family).layout) if prior else None  # type: ignore[arg-type]
                model = GaussianMixture(k, rows.shape[1], family, weak)  # type: ignore[arg-type]
                last[name] = best_of(model, rows, last[name], tol, max_passes, starts, seed)
            table.append(judged(model, parts, last, family))
    usable = [row for row in table if np.isfinite(getattr(row, criterion))]
    if not usable:
        raise FitError("select", "no fit is usable", "", "use fewer components or a prior")
    return Selection(tuple(table), max(usable, key=lambda row: getattr(row, criterion)), criterion)


def best_of(
    model: GaussianMixture, values: Floats, before: Climb[MixtureParams, MixtureStats] | None, tol: float,
    max_passes: int, starts: int, seed: int,
) -> Climb[MixtureParams, MixtureStats] | None:  # fmt: skip
    """The best climb from a split of the fit before and from other starts; None where none is usable."""
    source = ArraySource(values)
    begun: list[MixtureParams] = []
    for i in range(starts):
        rng = np.random.default_rng(np.random.SeedSequence([seed, model.n_components, i]))
        try:
            begun.append(model.initial_params(source, rng, "kmeans++"))
        except InputError:
            return None
    if before is not None:
        begun += split_from(model, values, before.params, seed)
    ended = [climb(model, source, start, tol=tol, max_passes=max_passes) for start in begun]
    return max((c for c in ended if c.status in USABLE), key=lambda c: c.objective, default=None)


def split_from(model: GaussianMixture, values: Floats, params: MixtureParams, seed: int) -> list[MixtureParams]:
    """Parameters with one component more than `params`, that which gains most split; none where it cannot be."""
    before = len(params.weights)
    if model.n_components != before + 1:
        return []
    smaller = GaussianMixture(before, model.n_features, model.family, model.prior)
    shares = smaller.responsibilities(params, values)
    rng = np.random.default_rng(np.random.SeedSequence([seed, before]))
    best = None
    for k in range(before):
        rows, mine, held = weighted_rows(shares[:, k], values, np.ones(len(values)))
        found = best_split(smaller, mine, held, rng) if len(rows) > 1 else None
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], k, rows, found[1])
    if best is None:
        return []
    _, k, rows, halves = best
    moved = np.column_stack([shares, np.zeros(len(values))])
    moved[rows, k], moved[rows, before] = shares[rows, k] * halves[:, 0], shares[rows, k] * halves[:, 1]
    try:
        return [model.from_labels(values, moved)]
    except InputError:
        return []


def judged(
    model: GaussianMixture,
    parts: dict[str, Floats],
    ends: dict[str, Climb[MixtureParams, MixtureStats] | None],
    family: str,
) -> Candidate:
    """The row of the table of a fit."""
    end, df, n = ends["all"], model.n_free_parameters, len(parts["all"])
    if end is None:
        return Candidate(model.n_components, family, np.nan, df, np.nan, np.nan, np.nan, "no usable start", None)
    bic = 2.0 * end.loglik - df * np.log(n)
    largest = model.responsibilities(end.params, parts["all"]).max(axis=1)
    kept = ends.get("kept")
    held_out = np.nan
    if kept is not None:
        held_out = float(logsumexp_rows(model.log_joint(kept.params, parts["held"])).mean())
    icl = bic + 2.0 * float(np.log(largest).sum())
    params = model.canonical(end.params)
    return Candidate(model.n_components, family, end.loglik, df, float(bic), icl, held_out, str(end.status), params)

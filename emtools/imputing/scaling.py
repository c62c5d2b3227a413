"""The scale of markers with limits of detection: the power that the likelihood of the whole table is highest at.

Nobody has seen the tail beyond a limit, so that its shape is that of the scale. A power is chosen for each marker by its
own censored likelihood, then for all of them by that of the table: markers that are sums, differences or products of one
another are linear in one another on some scales and not on others, and a straight line that is none goes astray exactly
where all of them lie beyond their limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.engine.stopping import Status
from emtools.errors import EmtoolsError
from emtools.imputing.complete import as_modelled
from emtools.kernels.censored import tobit_loglik
from emtools.kernels.readings import Readings
from emtools.kernels.scales import BoxCox, Identity, Log, Scale, box_cox_of
from emtools.models.censored_normal import CensoredNormal

STEP = 0.25  # between powers of one marker
LOWEST, HIGHEST = -2.0, 4.0
CENTRE, SPREAD = 1.0, 1.0  # normal prior of a power: 1 is no transform
STEPS = (1.0, 0.5)  # of the search over all markers
SWEEPS = 6
CLOSE, PASSES = 0.01, 200  # nats and passes of the climbs that are compared
GAIN = 0.1  # nats by which a move must raise the objective
LARGEST, FEWEST = 20_000, 5  # values up to which the whole table is looked at, and rows a column


def powers(known: Readings, column: int) -> tuple[float, float]:
    """Least and largest power of a marker.

    A tail that nobody saw is not made heavier than that of a normal below, or that of a lognormal above: no power over 1
    where cells have no bound above 0 below, none under 0 where they have none above.
    """
    low, high = (bound[known.bounded[:, column], column] for bound in known.bounds())
    return (0.0 if np.isinf(high).any() else LOWEST), (1.0 if (low <= 0).any() else HIGHEST)


def positive(known: Readings, column: int) -> bool:
    """Whether values and limits of a marker are above 0, as a power needs; a bound below may be 0."""
    values = known.values[:, column]
    low, high = (bound[known.bounded[:, column], column] for bound in known.bounds())
    seen = values[~np.isnan(values)]
    return bool(
        (seen > 0).all() and (high > 0).all() and (low[np.isfinite(low)] >= 0).all() and np.unique(seen).size > 2
    )


def of_power(power: float, known: Readings, column: int) -> Scale:
    """The scale of a power: none at 1, the logarithm at 0."""
    if power == 1.0:
        return Identity()
    if power == 0.0:
        return Log()
    low, high = (bound[known.bounded[:, column], column] for bound in known.bounds())
    return box_cox_of(np.concatenate([known.values[:, column], low, high]), power)


def log_slopes(scale: Scale, values: Floats) -> float:
    """Log derivative of a scale of `of_power`, summed over what was observed; nats."""
    logs = np.log(values[~np.isnan(values)]) if not isinstance(scale, Identity) else np.zeros(1)
    if isinstance(scale, BoxCox):
        return float(((scale.power - 1.0) * (logs - math.log(scale.unit)) - math.log(scale.unit)).sum())
    return -float(logs.sum())


def prior(power: float) -> float:
    """Log density of a power but for a constant."""
    return -0.5 * ((power - CENTRE) / SPREAD) ** 2


def alone(known: Readings, column: int) -> float:
    """The power of a marker by its own censored likelihood and the prior."""
    first, last = powers(known, column)
    one = known.take_columns([column])
    best, found = -math.inf, 1.0
    for power in np.arange(first, last + STEP / 2, STEP):
        scale = of_power(float(power), known, column)
        there = as_modelled(one, [scale])
        low, high = there.bounds()
        value = tobit_loglik(there.values[:, 0], low[:, 0], high[:, 0], np.ones(len(low))) + log_slopes(
            scale, one.values[:, 0]
        )
        if value + prior(power) > best:
            best, found = value + prior(power), float(power)
    return found


def together(
    known: Readings, fixed: Sequence[Scale], found: Mapping[int, float], design: Floats | None = None
) -> dict[int, float]:
    """Powers of highest likelihood of the whole table, near some that each marker chose by itself.

    One marker after the other is moved by a step either way as long as that raises the log-likelihood of the table in its
    own units, plus the prior.

    Parameters
    ----------
    known : Readings
        Markers in the units of the table, shape (n, d).
    fixed : sequence of Scale
        Scales of all markers; those of `found` are not looked at.
    found : mapping of int to float
        Power by column.
    design : ndarray, shape (n, e), optional
        Fixed effects.
    """

    def objective(trial: Mapping[int, float]) -> float:
        scales = [of_power(trial[j], known, j) if j in trial else scale for j, scale in enumerate(fixed)]
        gain = sum(log_slopes(scales[j], known.values[:, j]) + prior(power) for j, power in trial.items())
        return table_loglik(as_modelled(known, scales, design)) + gain

    return ascend(objective, dict(found), {j: powers(known, j) for j in found})


def ascend(
    objective: Callable[[Mapping[int, float]], float],
    found: dict[int, float],
    ranges: Mapping[int, tuple[float, float]],
) -> dict[int, float]:
    """Coordinate ascent of powers within their ranges."""
    best = objective(found)
    for step in STEPS if math.isfinite(best) else ():
        for _ in range(SWEEPS):
            before = best
            for j, (first, last) in ranges.items():
                for move in (step, -step):
                    trial = found | {j: min(max(found[j] + move, first), last)}
                    value = objective(trial) if trial[j] != found[j] else -math.inf
                    if value > best + GAIN:
                        best, found = value, trial
                        break
            if best == before:
                break
    return found


def table_loglik(scaled: Readings) -> float:
    """Log-likelihood of a table under the normal that fits it, nats; minus infinity where there is none."""
    model = CensoredNormal(scaled.values.shape[1])
    with np.errstate(all="ignore"):
        try:
            source = model.source(scaled)
            start = model.initial_params(source, np.random.default_rng(0), "moments")
            ended = climb(cast("Any", model), source, start, tol=CLOSE, max_passes=PASSES)
        except (EmtoolsError, np.linalg.LinAlgError):
            return -math.inf
    return float(ended.loglik) if ended.status in (Status.CONVERGED, Status.BUDGET) else -math.inf


def limited_scales(known: Readings, fixed: Sequence[Scale | None], design: Floats | None = None) -> dict[int, Scale]:
    """Scales of the markers with limits for which nobody named one.

    Parameters
    ----------
    known : Readings
        Markers in the units of the table, shape (n, d).
    fixed : sequence of Scale or None
        Scales as asked for; None where none was.
    design : ndarray, shape (n, e), optional
        Fixed effects of covariates and batches.

    Returns
    -------
    dict of int to Scale
        By column: markers with limits and without a scale, all of whose values and limits are positive.

    References
    ----------
    Box & Cox (1964), J. R. Stat. Soc. B 26, 211-252, doi:10.1111/j.2517-6161.1964.tb00553.x; Andrews, Gnanadesikan &
    Warner (1971), Biometrics 27, 825-840, doi:10.2307/2528821, section 2, for all columns together.

    Examples
    --------
    >>> values = np.exp(np.random.default_rng(0).normal(size=(2000, 1)))
    >>> known = Readings(np.where(values < 0.6, np.nan, values), upper=np.where(values < 0.6, 0.6, np.inf))
    >>> limited_scales(known, [None])[0].name
    'log'
    """
    n, d = known.values.shape
    wanted = [j for j in np.flatnonzero(known.bounded.any(axis=0)).tolist() if fixed[j] is None and positive(known, j)]
    found = {j: alone(known, j) for j in wanted}
    width = d + (0 if design is None else design.shape[1])
    if width > 1 and n * width <= LARGEST and n >= FEWEST * width:
        found = together(known, [scale or Identity() for scale in fixed], found, design)
    return {j: of_power(power, known, j) for j, power in found.items()}

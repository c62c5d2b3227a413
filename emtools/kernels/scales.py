"""Monotone transforms of a marker to the scale of a model, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError

Floats = npt.NDArray[np.float64]

KINDS = ("none", "log", "logit", "rank-normal", "yeo-johnson", "box-cox")
LARGEST_LOG = 700.0  # exp stays finite
LARGEST_LOGIT = 36.0  # the inverse stays inside the open interval
BLOM = (0.375, 0.25)
POWERS = (-4.0, 6.0)


class Scale(Protocol):
    """A strictly increasing transform of one marker."""

    @property
    def name(self) -> str:
        """One of `KINDS`."""
        ...

    @property
    def support(self) -> tuple[float, float]:
        """Open interval that values must lie in."""
        ...

    def forward(self, values: Floats) -> Floats:
        """Values in the units of the table to the scale of the model; NaN stays NaN, infinite bounds stay infinite.

        At and beyond the ends of the support the answer is infinite, as is right for a bound.
        """
        ...

    def inverse(self, scaled: Floats) -> Floats:
        """Back to the units of the table."""
        ...

    def as_json(self) -> dict[str, Any]:
        """The scale as JSON holds it, for `scale_from_json`."""
        ...


@dataclass(frozen=True)
class Identity:
    """The units of the table as they are.

    Examples
    --------
    >>> Identity().forward(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    name = "none"
    support = (-np.inf, np.inf)

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        return np.array(values, dtype=np.float64)

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`."""
        return np.array(scaled, dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name}


@dataclass(frozen=True)
class Log:
    """Natural logarithm.

    Examples
    --------
    >>> Log().forward(np.array([0.0, 1.0])).tolist()
    [-inf, 0.0]
    """

    name = "log"
    support = (0.0, np.inf)

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(values, 0.0)))

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`; e^700 at most."""
        return np.asarray(np.exp(np.minimum(scaled, LARGEST_LOG)))

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name}


@dataclass(frozen=True)
class Logit:
    """log((x − low) / (high − x)) of a value between two ends.

    Parameters
    ----------
    low, high : float
        Ends: 0 and 1 of a fraction, 0 and 100 of a percentage.

    Examples
    --------
    >>> Logit(0.0, 100.0).forward(np.array([50.0, 100.0])).tolist()
    [0.0, inf]
    """

    low: float = 0.0
    high: float = 1.0
    name = "logit"

    @property
    def support(self) -> tuple[float, float]:
        """See `Scale`."""
        return self.low, self.high

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        within = np.clip(values, self.low, self.high)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(within - self.low) - np.log(self.high - within))

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`; never at the ends themselves."""
        from scipy.special import expit

        odds = np.clip(scaled, -LARGEST_LOGIT, LARGEST_LOGIT)
        width = self.high - self.low
        return np.asarray(np.where(odds < 0, self.low + width * expit(odds), self.high - width * expit(-odds)))

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class RankNormal:
    """Normal scores of the ranks, straight lines between observed values.

    An observed value x of mean rank r among n gets Φ⁻¹((r − 3/8) / (n + 1/4)), Blom's scores. Beyond the range of the
    observed values the line goes on with the slope from the median to the extreme value; where all values are above 0,
    the logarithm does below the range, so that nothing falls below 0.

    Parameters
    ----------
    knots, scores : tuple of float
        Different observed values, increasing, and their scores.

    References
    ----------
    Blom (1958), Statistical Estimates and Transformed Beta-Variables, Wiley. Beasley, Erickson & Allison (2009), Behav.
    Genet. 39, 580-595, doi:10.1007/s10519-009-9281-0, equation 1.

    Examples
    --------
    >>> scale = scale_of("rank-normal", np.array([3.0, 1.0, 8.0]))
    >>> scale.forward(np.array([3.0])).round(6).tolist(), scale.inverse(np.array([0.0])).tolist()
    ([0.0], [3.0])
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    name = "rank-normal"

    @property
    def support(self) -> tuple[float, float]:
        """See `Scale`."""
        return (0.0 if self.knots[0] > 0 else -np.inf), np.inf

    def slopes(self) -> tuple[float, float]:
        """Slopes from the median to the ends, per unit of the score; of the logarithm below, where all are above 0."""
        x, z = np.array(self.knots), np.array(self.scores)
        middle = float(np.interp(0.5 * (z[0] + z[-1]), z, x))
        half = 0.5 * (z[-1] - z[0])
        below = float(np.log(middle / x[0])) if x[0] > 0 else middle - float(x[0])
        return below / half, (float(x[-1]) - middle) / half

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        x, z = np.array(self.knots), np.array(self.scores)
        below, above = self.slopes()
        values = np.asarray(values, dtype=np.float64)
        scores = np.interp(values, x, z)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.log(np.maximum(values, 0.0) / x[0]) / below if x[0] > 0 else (values - x[0]) / below
            high = (values - x[-1]) / above
        return np.asarray(np.where(values < x[0], z[0] + low, np.where(values > x[-1], z[-1] + high, scores)))

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`."""
        x, z = np.array(self.knots), np.array(self.scores)
        below, above = self.slopes()
        scaled = np.asarray(scaled, dtype=np.float64)
        values = np.interp(scaled, z, x)
        under, over = np.minimum(scaled - z[0], 0.0), np.maximum(scaled - z[-1], 0.0)
        low = x[0] * np.exp(under * below) if x[0] > 0 else x[0] + under * below
        return np.asarray(np.where(scaled < z[0], low, np.where(scaled > z[-1], x[-1] + over * above, values)))

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name, "knots": list(self.knots), "scores": list(self.scores)}


@dataclass(frozen=True)
class YeoJohnson:
    """Power transform of Yeo and Johnson, of values in units of `unit`.

    With y = x / unit: ((y + 1)^p − 1) / p where y ≥ 0, −((1 − y)^(2 − p) − 1) / (2 − p) where y < 0, logarithms where
    an exponent is 0. Outside `low` to `high` it goes on as a straight line of the same slope, so that every number has
    an inverse.

    Parameters
    ----------
    power : float
        p; 1 is no transform.
    unit : float
        A power of two near the root mean square of the values: the answer does not depend on the unit of the table.
    low, high : float
        Where the straight lines begin, in units of the table.

    References
    ----------
    Yeo & Johnson (2000), Biometrika 87, 954-959, doi:10.1093/biomet/87.4.954, equation 2.

    Examples
    --------
    >>> YeoJohnson(0.0, 1.0, -10.0, 10.0).forward(np.array([0.0, np.e - 1.0])).tolist()
    [0.0, 1.0]
    """

    power: float
    unit: float
    low: float
    high: float
    name = "yeo-johnson"
    support = (-np.inf, np.inf)

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        y = np.asarray(values, dtype=np.float64) / self.unit
        ends = np.array([self.low, self.high]) / self.unit
        within = np.clip(y, *ends)
        with np.errstate(invalid="ignore"):
            beyond = np.where(y == within, 0.0, y - within)
        return np.asarray(yeo_johnson(within, self.power) + beyond * yeo_johnson_slope(within, self.power))

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`."""
        scaled = np.asarray(scaled, dtype=np.float64)
        ends = np.array([self.low, self.high]) / self.unit
        limits = yeo_johnson(ends, self.power)
        within = np.clip(scaled, *limits)
        y = np.clip(yeo_johnson_inverse(within, self.power), *ends)
        with np.errstate(invalid="ignore"):
            beyond = np.where(scaled == within, 0.0, scaled - within)
        return np.asarray((y + beyond / yeo_johnson_slope(y, self.power)) * self.unit)

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name, "power": self.power, "unit": self.unit, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class BoxCox:
    """Power transform of Box and Cox, of positive values in units of `unit`.

    With y = x / unit: (y^p - 1) / p, log y where p is 0. Below `low` it goes on as a logarithm, so that nothing falls
    below 0, above `high` as a straight line, with the slope that they meet, for the logarithm at least 1: every number has
    an inverse.

    Parameters
    ----------
    power : float
        p; 1 is no transform, 0 the logarithm.
    unit : float
        A power of two near the geometric mean of the values: the answer does not depend on the unit of the table.
    low, high : float
        Where logarithm and straight line begin, in units of the table.

    References
    ----------
    Box & Cox (1964), J. R. Stat. Soc. B 26, 211-252, doi:10.1111/j.2517-6161.1964.tb00553.x, equation 1.

    Examples
    --------
    >>> BoxCox(0.5, 1.0, 0.1, 100.0).forward(np.array([1.0, 4.0])).tolist()
    [0.0, 2.0]
    """

    power: float
    unit: float
    low: float
    high: float
    name = "box-cox"
    support = (0.0, np.inf)

    def forward(self, values: Floats) -> Floats:
        """See `Scale`."""
        y = np.asarray(values, dtype=np.float64) / self.unit
        low, high = self.low / self.unit, self.high / self.unit
        within = np.clip(y, low, high)
        with np.errstate(divide="ignore"):
            below = np.log(np.clip(y, 0.0, low) / low) * max(1.0, low**self.power)
        above = np.maximum(y - high, 0.0) * high ** (self.power - 1.0)
        return np.asarray(box_cox(np.log(within), self.power) + below + above)

    def inverse(self, scaled: Floats) -> Floats:
        """See `Scale`."""
        scaled = np.asarray(scaled, dtype=np.float64)
        low, high = self.low / self.unit, self.high / self.unit
        first, last = box_cox(np.log(np.array([low, high])), self.power)
        within = np.exp(box_cox_inverse(np.clip(scaled, first, last), self.power))
        below = np.exp(np.maximum(np.minimum(scaled - first, 0.0) / max(1.0, low**self.power), -LARGEST_LOG))
        above = np.maximum(scaled - last, 0.0) / high ** (self.power - 1.0)
        return np.asarray((np.clip(within, low, high) * below + above) * self.unit)

    def as_json(self) -> dict[str, Any]:
        """See `Scale`."""
        return {"name": self.name, "power": self.power, "unit": self.unit, "low": self.low, "high": self.high}


def box_cox(logs: Floats, power: float) -> Floats:
    """(y^p − 1) / p by log y, its limit log y at p = 0."""
    return logs if power == 0.0 else np.asarray(np.expm1(power * logs) / power)


def box_cox_inverse(transformed: Floats, power: float) -> Floats:
    """log y of what `box_cox` gave."""
    if power == 0.0:
        return transformed
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log1p(np.maximum(power * transformed, -1.0)) / power)


def yeo_johnson(y: Floats, power: float) -> Floats:
    """The transform of standardised values, any shape."""
    logs = np.log1p(np.abs(y))
    return np.asarray(np.where(y < 0, -box_cox(logs, 2.0 - power), box_cox(logs, power)))


def yeo_johnson_inverse(transformed: Floats, power: float) -> Floats:
    """Inverse of `yeo_johnson` within its range."""
    size = np.abs(transformed)
    logs = np.where(transformed < 0, box_cox_inverse(size, 2.0 - power), box_cox_inverse(size, power))
    return np.asarray(np.copysign(np.expm1(logs), transformed))


def yeo_johnson_slope(y: Floats, power: float) -> Floats:
    """Derivative of `yeo_johnson`, above 0."""
    return np.asarray(np.exp(np.where(y < 0, 1.0 - power, power - 1.0) * np.log1p(np.abs(y))))


def yeo_johnson_loglik(values: Floats, power: float) -> float:
    """Profile log-likelihood of the power of standardised values, shape (n,), in nats; Yeo & Johnson, equation 4."""
    spread = float(np.var(yeo_johnson(values, power)))
    logs = float((np.sign(values) * np.log1p(np.abs(values))).sum())
    return -0.5 * values.size * float(np.log(spread)) + (power - 1.0) * logs if spread > 0 else -np.inf


def kind_and_power(word: str, option: str) -> tuple[str, float | None]:
    """A kind of `KINDS`, and the power where one stands behind box-cox.

    Raises
    ------
    InputError
        If the word is neither; `option` says where it stood.

    Examples
    --------
    >>> kind_and_power("box-cox 0.25", "--scale"), kind_and_power("log", "--scale")
    (('box-cox', 0.25), ('log', None))
    """
    kind, _, text = word.partition(" ")
    try:
        power = float(text.replace(",", ".")) if text and kind == "box-cox" else np.nan
    except ValueError:
        power = np.nan
    named = POWERS[0] <= power <= POWERS[1]
    if not named and (text or kind not in KINDS):
        needed = f"one of {', '.join(KINDS)}, or box-cox and a power from {POWERS[0]:g} to {POWERS[1]:g}"
        raise InputError(option, f"no scale {word!r}", needed, "check the word")
    return kind, (power if named else None)


def word_of(scale: Scale) -> str:
    """The word from which `scale_of` makes the same scale of the same values and limits.

    Examples
    --------
    >>> word_of(BoxCox(0.25, 1.0, 0.1, 100.0)), word_of(Log())
    ('box-cox 0.25', 'log')
    """
    return f"box-cox {scale.power!r}" if isinstance(scale, BoxCox) else scale.name


def told(scale: Scale) -> str:
    """Name of a scale and its exponent, for a reader.

    Examples
    --------
    >>> told(BoxCox(-0.25, 1.0, 0.1, 100.0)), told(Log())
    ('box-cox -0.25', 'log')
    """
    return f"{scale.name} {scale.power:.3g}" if isinstance(scale, BoxCox | YeoJohnson) else scale.name


def scale_of(
    word: str,
    values: Floats,
    *,
    limits: Floats | None = None,
    at: Callable[[int], str] = lambda row: f"row {row + 1}",
    option: str = "the scale",
) -> Scale:
    """The scale of a kind that suits the observed values.

    Parameters
    ----------
    word : str
        One of `KINDS`, or box-cox and its power.
    values : ndarray, shape (n,)
        NaN where not observed.
    limits : ndarray, any shape, optional
        Finite bounds of cells without a value, over which a scale of named power reaches as well.
    at : callable
        Words for the place of a row, for messages.
    option : str
        Where the kind was chosen, for messages.

    Returns
    -------
    Scale

    Raises
    ------
    InputError
        If the kind is unknown, or a value lies outside of what it allows.

    Examples
    --------
    >>> scale_of("logit", np.array([20.0, 65.0, np.nan])).high
    100.0
    """
    kind, power = kind_and_power(word, option)
    seen = values[~np.isnan(values)]
    scale: Scale = Identity()
    if power is not None:
        require_support(Log(), values, at=at, option=option)
        known = seen if limits is None else np.concatenate([seen, np.ravel(limits)])
        if not (known > 0).any():
            raise InputError(option, "no value above 0", f"some for the scale {word}", "choose the scale none")
        scale = box_cox_of(known, power)
    elif kind == "log":
        scale = Log()
    elif kind == "logit":
        scale = Logit(0.0, 100.0 if seen.size and seen.max() > 1.0 else 1.0)
    elif kind in ("rank-normal", "yeo-johnson", "box-cox"):
        if np.unique(seen).size < 2:
            raise InputError(option, "no two different values", f"some for the scale {kind}", "choose the scale none")
        if kind == "box-cox":
            require_support(Log(), values, at=at, option=option)
            scale = box_cox_of(seen, box_cox_power(seen))
        else:
            scale = rank_normal(seen) if kind == "rank-normal" else yeo_johnson_of(seen)
    require_support(scale, values, at=at, option=option)
    return scale


def rank_normal(seen: Floats) -> RankNormal:
    """Normal scores of observed values, shape (n,)."""
    from scipy.special import ndtri

    shift, more = BLOM
    knots, ties = np.unique(seen, return_counts=True)
    ranks = np.cumsum(ties) - 0.5 * (ties - 1)
    scores = ndtri((ranks - shift) / (seen.size + more))
    return RankNormal(tuple(knots.tolist()), tuple(scores.tolist()))


def yeo_johnson_of(seen: Floats) -> YeoJohnson:
    """The power of highest likelihood of observed values, shape (n,)."""
    from scipy.optimize import minimize_scalar

    size = float(np.abs(seen).max())
    unit = float(2.0 ** np.round(np.log2(size * np.sqrt(np.mean((seen / size) ** 2)))))
    best = minimize_scalar(
        lambda power: -yeo_johnson_loglik(seen / unit, power), bounds=POWERS, method="bounded", options={"xatol": 1e-9}
    )
    low, high = float(seen.min()), float(seen.max())
    return YeoJohnson(float(best.x), unit, low - (high - low), high + (high - low))


def box_cox_power(seen: Floats) -> float:
    """The power of highest likelihood of observed positive values, shape (n,); Box & Cox, equation 9."""
    from scipy.optimize import minimize_scalar

    logs = np.log(seen)
    logs = logs - logs.mean()

    def loss(power: float) -> float:
        spread = float(np.var(box_cox(logs, power)))
        return 0.5 * seen.size * float(np.log(spread)) if spread > 0 else np.inf

    return float(minimize_scalar(loss, bounds=POWERS, method="bounded", options={"xatol": 1e-9}).x)


def box_cox_of(known: Floats, power: float) -> BoxCox:
    """The scale of a power, for values and limits of any shape: only finite, positive ones are looked at.

    The logarithm begins at a quarter of the smallest, the straight line at twice the largest where the power is under 0
    and the curve would reach infinity, else at a thousand times the largest.
    """
    used = known[np.isfinite(known) & (known > 0)]
    unit = float(2.0 ** np.round(np.log2(used).mean()))
    return BoxCox(power, unit, 0.25 * float(used.min()), (2.0 if power < 0 else 1000.0) * float(used.max()))


def require_support(
    scale: Scale,
    values: Floats,
    *,
    at: Callable[[int], str] = lambda row: f"row {row + 1}",
    option: str = "the scale",
) -> None:
    """Raise where a value lies outside of what a scale allows.

    Parameters
    ----------
    scale : Scale
        The scale.
    values : ndarray, shape (n,)
        NaN where not observed.
    at, option
        As in `scale_of`.
    """
    low, high = scale.support
    outside = np.flatnonzero((values <= low) | (values >= high)) if np.isfinite([low, high]).any() else np.empty(0, int)
    if outside.size:
        row = int(outside[0])
        needed = f"values above {low:g}" + (f" and below {high:g}" if np.isfinite(high) else "")
        what = {"log": "has no logarithm", "logit": "has no logit"}.get(scale.name, f"has no place on {scale.name}")
        more = f" (and {outside.size - 1} more)" if outside.size > 1 else ""
        raise InputError(
            at(row),
            f"{values[row]:g} {what}{more}",
            needed,
            f"take the marker out of {option}, or declare the value missing or below a limit of detection",
        )


def scale_from_json(stored: dict[str, Any]) -> Scale:
    """The scale that `as_json` gave.

    Examples
    --------
    >>> scale_from_json(Logit(0.0, 100.0).as_json())
    Logit(low=0.0, high=100.0)
    """
    name = stored.get("name")
    rest = {key: value for key, value in stored.items() if key != "name"}
    if name == "rank-normal":
        return RankNormal(tuple(rest["knots"]), tuple(rest["scores"]))
    kinds: dict[Any, Callable[..., Scale]] = {
        "none": Identity,
        "log": Log,
        "logit": Logit,
        "yeo-johnson": YeoJohnson,
        "box-cox": BoxCox,
    }
    if name not in kinds:
        raise InputError("scale", f"no scale {name!r}", f"one of {', '.join(KINDS)}", "write the file again")
    return kinds[name](**rest)

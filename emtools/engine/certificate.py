"""What the curvature of the likelihood says of a fit: how far the top is, what is missing, whether it is a top at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import linalg

from emtools.engine.chunks import Map, in_turn, total_stats
from emtools.engine.estimate import Estimate, estimate
from emtools.engine.information import Curvature, Frame, curvature, free_frame, gain_to_the_top, natural_jacobian
from emtools.engine.intervals import Words, intervals, scales
from emtools.engine.protocol import C, Floats, Model, P, S, Source
from emtools.engine.result import AT_BUDGET, LEFT, Fit
from emtools.engine.spectrum import units
from emtools.engine.stopping import Status

LIMIT = 100  # packed parameters above which 4p passes give way to an estimate
MOST = 1500  # packed parameters above which that estimate has no standard errors
FLAT = 1e-4  # share of the information left along a direction, below which it counts as not identified
UNRESOLVED = 1e-2  # error of such a share beyond which nothing is said
NEAR = 0.05  # gap in nats beyond which a place is part of the climb, not its end
SMALL, SETTLED, STEPS = 1e-4, 1e-2, 12  # gap in nats from which steps check it; share left when they end; most of them
# With held coordinates: an error so small beside the largest value of its array belongs to what is held.
VANISHED = 1e-9
EDGE = 1e-3  # size of what is at an edge, in units of its change when the held coordinate is moved to 0
LEAKS = 1e-3  # share of a parameter's movement along unidentified directions that costs it its error
ESTIMATED = 1e-3  # error of a rate that is estimated: within it of 1, a direction counts as flat
NATURAL_STEP = 1e-2  # of differences of natural parameters along an estimated direction, in standard errors
LARGEST = 10  # eigenvalues that are kept
# What a direction is named by: least share of the movement of the first, least rate worth naming, parameters told.
TELLING = 0.5
VISIBLE = 0.01
TOLD = 3
INFORMATION, KRYLOV = "observed information", "krylov estimate"


Labels = Mapping[str, Sequence[Sequence[str]]]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """One number of a natural parameter.

    Parameters
    ----------
    name : str
        Natural parameter.
    index : tuple of int
        Which of its entries, from 0; empty for a single number.

    Examples
    --------
    >>> Entry("transition", (0, 1)).called(), Entry("means", (0, 1)).called({"means": [["a", "b"], ["CRP", "IL6"]]})
    ('transition [1, 2]', 'means [a, IL6]')
    """

    name: str
    index: tuple[int, ...]

    def called(self, labels: Labels | None = None) -> str:
        """Its name for a reader: entries by the labels along each axis, else counted from 1."""
        axes = (labels or {}).get(self.name, ())
        words = [str(axes[axis][i]) if axis < len(axes) else str(i + 1) for axis, i in enumerate(self.index)]
        return f"{self.name} [{', '.join(words)}]" if words else self.name


@dataclass(frozen=True)
class Move(Entry):
    """How one number moves along a direction.

    Parameters
    ----------
    share : float
        Share of its complete-data standard error, in [-1, 1].
    """

    share: float


def listed(entries: Sequence[Entry], labels: Labels | None, most: int = TOLD) -> str:
    """Names of the first few, and how many more there are."""
    more = len(entries) - most
    return ", ".join(entry.called(labels) for entry in entries[:most]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Certificate:
    """What the curvature of the likelihood says of a point.

    Dictionaries have one array per natural parameter, in its shape and unit.

    Parameters
    ----------
    kind : {"maximum", "boundary", "flat", "saddle", "climbing", "unknown"}
        Whether the observed information is positive definite, so apart from what is held at an edge, singular
        (over 99.99 % missing along some direction), or indefinite where the score vanishes; a place that is over
        0.05 nats from its top, or where the likelihood bends upwards and is not level; beyond what float64 resolves.
    gap : float
        Gain still to come in nats along what is identified; NaN where the information is indefinite.
    worst_error : float
        Largest distance of a packed parameter from the top, in its standard errors.
    rate : float
        Largest fraction of missing information: top eigenvalue of the EM rate matrix; above 1 at a saddle.
    standard_errors : dict of str to ndarray
        From the observed data; NaN where it is held at an edge or not identified.
    n_held : int
        Packed parameters at an edge of their space (a probability of zero), held fixed.
    method : {"observed information", "krylov estimate"}
        Differences of the score in 4p passes, or an estimate for many parameters.
    spectrum : ndarray, shape (k,)
        Largest eigenvalues of the EM rate matrix, k at most 10, falling.
    direction : tuple of Move
        What moves most along the top eigenvector, in complete-data standard errors.
    along : ndarray, shape (p,)
        That eigenvector in the packed space, a complete-data standard error long.
    complete_errors : dict of str to ndarray
        Standard errors that complete data would give.
    missing : dict of str to ndarray
        Fraction of missing information: one less the ratio of the squares of both errors.
    lower, upper : dict of str to ndarray
        Ends of 95 % Wald intervals, mapped back from the scale on which they are symmetric.
    scale : dict of str to ndarray of str
        That scale: "value", "log" for positive numbers, "log odds" for probabilities, "Fisher z" for correlations.
    held, flat : tuple of Entry
        What is at an edge of its range; what moves along directions which are not identified.
    passes : int
        Passes over the data that it took.
    """

    kind: str
    gap: float
    worst_error: float
    rate: float
    standard_errors: dict[str, Floats]
    n_held: int
    method: str = INFORMATION
    spectrum: Floats = field(default_factory=lambda: np.zeros(0))
    direction: tuple[Move, ...] = ()
    along: Floats = field(default_factory=lambda: np.zeros(0))
    complete_errors: dict[str, Floats] = field(default_factory=dict)
    missing: dict[str, Floats] = field(default_factory=dict)
    lower: dict[str, Floats] = field(default_factory=dict)
    upper: dict[str, Floats] = field(default_factory=dict)
    scale: dict[str, Words] = field(default_factory=dict)
    held: tuple[Entry, ...] = ()
    flat: tuple[Entry, ...] = ()
    passes: int = 0

    def towards(self, labels: Labels | None = None) -> str:
        """The top direction in words: what moves one way, against what moves the other."""
        if not self.direction:
            return ""
        sides: list[list[str]] = [[], []]
        for move in self.direction:
            sides[move.share < 0.0].append(move.called(labels))
        return " against ".join(" and ".join(side) for side in sides if side)

    @property
    def sentence(self) -> str:
        """What a reader should know of it."""
        return self.tell()

    def tell(self, labels: Labels | None = None) -> str:
        """What a reader should know of it, entries by their labels.

        Parameters
        ----------
        labels : mapping, optional
            For a natural parameter, the names along each of its axes.
        """
        held = f" Held fixed at the edge of its range: {listed(self.held, labels)}." if self.held else ""
        along = self.towards(labels)
        mostly = f", mostly {along}" if along and self.rate >= VISIBLE else ""
        guess = " (an estimate)" if self.method == KRYLOV else ""
        match self.kind:
            case "saddle":
                where = f" Uphill lies a change of {along}." if along else ""
                return (
                    f"This is a saddle, not a maximum (rate {self.rate:.4g} > 1){guess}.{where} Use more starts.{held}"
                )
            case "unknown":
                return "The curvature could not be computed, so there are no standard errors."
            case "climbing":
                left = "an unknown number of" if math.isnan(self.gap) else f"about {self.gap:.2g}"
                slowest = f", slowest along {along}" if mostly else ""
                return f"This is not the top: {left} nats are left{guess}{slowest}.{held}"
            case "flat":
                what = f" Not identified by these data: {listed(self.flat, labels)}." if self.flat else ""
                return f"The likelihood is flat here, or nearly, along some direction.{what}{held}"
        errors = "" if math.isnan(self.worst_error) else f" ({self.worst_error:.1e} standard errors)"
        missing = f"{100 * self.rate:.3g} % of the information is missing about what is hardest to see{mostly}{guess}"
        return f"By the score, {self.gap:.1e} nats{errors} are left on this hill; {missing}.{held}"


def judge(fit: Fit[P, S], certificate: Certificate, labels: Labels | None = None) -> Fit[P, S]:
    """The fit with what its certificate adds to the verdict; a climb that ended on a saddle has not converged.

    A fit that did not converge keeps its verdict, but for what is left where it ran out of passes: that is of the score, as in
    the other figures of the fit, unless the curvature does not tell it.
    """
    top = certificate.kind in ("maximum", "boundary") and math.isfinite(certificate.gap)
    if not fit.converged:
        climbing = certificate.kind == "climbing" and math.isfinite(certificate.gap)
        known = fit.status is Status.BUDGET and (top or climbing)
        about = f"about {certificate.gap:.2g}" if climbing else f"{certificate.gap:.1e}"
        guess = " (an estimate)" if climbing and certificate.method == KRYLOV else ""
        left = f"{about} nats left by the score{guess}"
        return replace(fit, verdict=AT_BUDGET.sub(left, fit.summary, count=1)) if known else fit
    told = certificate.tell(labels)
    if certificate.kind == "saddle":
        return replace(fit, status=Status.SADDLE, gap=math.nan, rate=certificate.rate, verdict=told)
    summary = LEFT.sub("", fit.summary, count=1) if top or certificate.kind == "climbing" else fit.summary
    return replace(fit, verdict=f"{summary} {told}")


def certify(
    model: Model[P, S, C], source: Source[C], params: P, chunk_map: Map = in_turn, *, seed: int = 0, limit: int = LIMIT,
    errors: bool = True,
) -> Certificate:  # fmt: skip
    """What the curvature at `params` says, in 4p + 1 passes over the data and a few more far from the top.

    Parameters
    ----------
    model, source
        A model with soft assignment whose Q is smooth in the packed parameters, and its data.
    params : Params
        Any parameters; standard errors want a maximum of the objective.
    chunk_map : callable
        Ordered map over chunk numbers.
    seed : int
        Root of the random numbers of the estimate for many parameters.
    limit : int
        Packed parameters above which that estimate, of about 25 passes, is made instead.
    errors : bool
        Whether that estimate looks for standard errors; their cost grows with the square of the parameters.

    Returns
    -------
    Certificate

    References
    ----------
    Oakes (1999), J. R. Stat. Soc. B 61, 479-482, doi:10.1111/1467-9868.00188; Dempster, Laird & Rubin (1977),
    J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 3 for the rate matrix.

    Examples
    --------
    >>> from emtools.models.normal import MultivariateNormal, PatternSource
    >>> from emtools.engine.starts import fit
    >>> source = PatternSource(np.array([[1.0, 2.0], [2.0, 4.5], [3.0, 5.5], [4.0, np.nan]]))
    >>> model = MultivariateNormal(2)
    >>> certificate = certify(model, source, fit(model, source).params)
    >>> certificate.kind, certificate.missing["mean"].round(2).tolist()
    ('maximum', [0.0, 0.03])
    """
    packed = model.pack(params)
    stats = total_stats(model, source, params, "soft", chunk_map)
    if packed.size > (MOST if errors else limit):
        rough = np.where(np.isfinite(packed), units(model, stats, packed), 0.0)
        guess = estimate(model, source, stats, packed, rough, chunk_map, seed, errors=False)
        unknown = replace(no_errors(model, params, int(np.sum(rough == 0.0))), passes=1)
        return unknown if guess is None else read_estimate(model, params, rough, guess, unknown)
    frame, fixed = free_frame(model, stats, packed)
    unknown = replace(no_errors(model, params, len(fixed)), held=held_entries(model, packed, fixed), passes=1)
    if not frame.n:
        return unknown
    if frame.n > limit:
        lengths = np.abs(frame.directions).sum(axis=1)
        guess = estimate(model, source, stats, packed, lengths, chunk_map, seed)
        return unknown if guess is None else read_estimate(model, params, lengths, guess, unknown)
    found = curvature(model, source, stats, frame, fixed, chunk_map, UNRESOLVED)
    if found is None:
        return unknown
    return read_information(model, source, params, stats, found, unknown, chunk_map)


def no_errors(model: Model[P, S, C], params: P, n_held: int) -> Certificate:
    """A certificate that says nothing."""
    nothing = {name: np.full(np.shape(value), math.nan) for name, value in model.natural(params).items()}
    return Certificate("unknown", math.nan, math.nan, math.nan, nothing, n_held)


def held_entries(model: Model[P, S, C], packed: Floats, held: Sequence[int]) -> tuple[Entry, ...]:
    """What is at an edge: what a held packed parameter, moved to 0, takes off it."""
    natural = model.natural(model.unpack(packed))
    entries: dict[Entry, None] = {}
    for i in held:
        moved = packed.copy()
        moved[i] = 0.0
        with np.errstate(all="ignore"):
            after = model.natural(model.unpack(moved))
            change = {name: np.abs(after[name] - value) for name, value in natural.items()}
            sizes = {name: np.abs(value) / change[name] for name, value in natural.items()}
        least = min(float(np.nanmin(size, initial=math.inf)) for size in sizes.values())
        for name, size in sizes.items():
            entries.update(dict.fromkeys(chosen(name, (size <= max(EDGE, least)) & (change[name] > 0.0))))
    return tuple(entries)


def chosen(name: str, mask: npt.NDArray[np.bool_]) -> list[Entry]:
    """The entries of a natural parameter that are True."""
    return [Entry(name, tuple(map(int, index))) for index in np.argwhere(mask)]


def without_twins(entries: Sequence[Entry], rows: Mapping[str, Floats], shapes: Shapes) -> tuple[Entry, ...]:
    """The entries without those that move as an earlier one does: the other half of a symmetric matrix."""
    kept: list[Entry] = []
    for entry in entries:
        row = rows[entry.name].reshape(*shapes[entry.name], -1)
        twin = Entry(entry.name, (*entry.index[:-2], *entry.index[:-3:-1]))
        square = len(entry.index) >= 2 and shapes[entry.name][-1] == shapes[entry.name][-2]
        if not (square and twin in kept and np.allclose(row[twin.index], row[entry.index], rtol=1e-6, atol=0.0)):
            kept.append(entry)
    return tuple(kept)


def read_information(
    model: Model[P, S, C],
    source: Source[C],
    params: P,
    stats: S,
    found: Curvature,
    unknown: Certificate,
    chunk_map: Map,
) -> Certificate:
    """Kind, gap, rate, direction, errors and intervals from score and information."""
    frame, natural = found.frame, model.natural(params)
    shapes = {name: np.shape(value) for name, value in natural.items()}
    shares, vectors = linalg.eigh(found.observed, found.complete)
    flat = max(FLAT, found.noise)
    rows = natural_jacobian(model, frame, found.step)
    root = linalg.cholesky(linalg.inv(found.complete), lower=True)
    sizes = {name: np.sqrt(((row @ root) ** 2).sum(axis=1)) for name, row in rows.items()}
    direction = moves(rows, sizes, vectors[:, 0], shapes)
    upward = math.copysign(1.0, direction[0].share) if direction else 1.0
    told = replace(
        unknown,
        rate=float(1.0 - shares[0]),
        spectrum=1.0 - shares[:LARGEST],
        direction=tuple(replace(move, share=upward * move.share) for move in direction),
        along=upward * (frame.directions @ vectors[:, 0]),
        complete_errors={n: nonzero(size, natural[n], unknown.n_held).reshape(shapes[n]) for n, size in sizes.items()},
        passes=1 + 4 * frame.n,
    )
    seen, steep = shares > flat, np.abs(shares) > flat
    pull = (vectors.T @ found.score)[steep]
    if (shares < -flat).any():
        level = 0.5 * float(np.sum(pull**2 / np.abs(shares[steep]))) < NEAR
        return replace(told, kind="saddle" if level else "climbing")
    spread = vectors[:, seen] / np.sqrt(shares[seen])
    hidden = vectors[:, ~seen]
    along = spread.T @ found.score
    gap, way, spent = gain_to_the_top(
        model, source, stats, frame, spread, along, found.step, chunk_map, (SMALL, SETTLED, STEPS)
    )
    packed_errors = np.sqrt(((frame.directions @ spread) ** 2).sum(axis=1))
    moved = packed_errors > 0.0
    worst = float(np.max(np.abs(frame.directions @ way)[moved] / packed_errors[moved], initial=0.0))
    errors, leaking = {}, {}
    for name, row in rows.items():
        leak = np.sqrt(((row @ hidden) ** 2).sum(axis=1))
        leaking[name] = (sizes[name] > 0.0) & (leak > LEAKS * sizes[name])
        error = np.where(leaking[name], math.nan, np.sqrt(((row @ spread) ** 2).sum(axis=1)))
        errors[name] = nonzero(error, natural[name], unknown.n_held).reshape(shapes[name])
    kind = "flat" if hidden.size else "boundary" if unknown.n_held else "maximum"
    told = replace(
        told,
        kind="climbing" if gap > NEAR else kind,
        gap=gap,
        worst_error=worst,
        flat=without_twins(
            [entry for name, leak in leaking.items() for entry in chosen(name, leak.reshape(shapes[name]))],
            rows,
            shapes,
        ),
        passes=told.passes + spent,
    )
    return with_errors(model, params, told, errors, np.sqrt((frame.directions**2).sum(axis=1)))


def read_estimate(
    model: Model[P, S, C], params: P, lengths: Floats, guess: Estimate, unknown: Certificate
) -> Certificate:
    """Kind, gap, rate, direction, errors and intervals from a few directions of the EM map."""
    natural = {name: np.asarray(value, dtype=np.float64) for name, value in model.natural(params).items()}
    shapes = {name: value.shape for name, value in natural.items()}
    top = guess.directions[:, :1]
    rows = natural_jacobian(model, Frame(model.pack(params), top), NATURAL_STEP)
    direction = moves(rows, guess.complete, np.ones(1), shapes)
    upward = math.copysign(1.0, direction[0].share) if direction else 1.0

    def shaped(errors: dict[str, Floats]) -> dict[str, Floats]:
        return {n: nonzero(error, natural[n], unknown.n_held).reshape(shapes[n]) for n, error in errors.items()}

    rate, gap = guess.look.rate, guess.look.gap
    kind = "boundary" if unknown.n_held else "maximum"
    if rate > 1.0 - ESTIMATED:
        kind = "saddle" if rate > 1.0 + ESTIMATED else "flat"
    told = replace(
        unknown,
        kind="climbing" if guess.step_gain > NEAR or NEAR < gap < math.inf else kind,
        gap=gap if math.isfinite(gap) else math.nan,
        worst_error=math.sqrt(2.0 * gap) if math.isfinite(gap) else math.nan,
        rate=rate,
        method=KRYLOV,
        spectrum=guess.look.rates[:LARGEST],
        direction=tuple(replace(move, share=upward * move.share) for move in direction),
        along=upward * top[:, 0],
        complete_errors=shaped(guess.complete),
        passes=unknown.passes + guess.passes,
    )
    if told.kind in ("saddle", "flat") or math.isnan(told.gap):
        return told
    return with_errors(model, params, told, shaped(guess.errors), lengths)


def with_errors(
    model: Model[P, S, C], params: P, told: Certificate, errors: dict[str, Floats], units: Floats
) -> Certificate:
    """The certificate with standard errors and what follows from them."""
    scale = scales(model, model.pack(params), units)
    natural = {name: np.asarray(value, dtype=np.float64) for name, value in model.natural(params).items()}
    ends = {name: intervals(natural[name], error, scale[name]) for name, error in errors.items()}
    with np.errstate(all="ignore"):
        missing = {n: np.maximum(1.0 - (told.complete_errors[n] / error) ** 2, 0.0) for n, error in errors.items()}
    return replace(
        told,
        standard_errors=errors,
        missing=missing,
        lower={name: low for name, (low, _) in ends.items()},
        upper={name: high for name, (_, high) in ends.items()},
        scale=scale,
    )


def nonzero(errors: Floats, values: Floats, n_held: int) -> Floats:
    """Errors with NaN for what does not move, and with held coordinates for what hardly moves."""
    least = VANISHED * float(np.abs(values).max(initial=0.0)) if n_held else 0.0
    return np.where((errors > 0.0) & (errors >= least), errors, math.nan)


def moves(
    rows: Mapping[str, Floats], sizes: Mapping[str, Floats], direction: Floats, shapes: Shapes
) -> tuple[Move, ...]:
    """What moves most along a direction, in complete-data standard errors; of twins only the first."""
    found: list[Move] = []
    for name, row in rows.items():
        with np.errstate(all="ignore"):
            share = np.where(sizes[name] > 0.0, (row @ direction) / sizes[name], 0.0)
        for place, value in enumerate(share):
            index = tuple(int(i) for i in np.unravel_index(place, shapes[name]))
            found.append(Move(name, index, float(value)))
    found.sort(key=lambda move: (-round(abs(move.share), 6), move.name, move.index))
    kept: list[Move] = []
    for move in found:
        if len(kept) == TOLD or abs(move.share) < TELLING * abs(found[0].share):
            break
        row = rows[move.name].reshape(*shapes[move.name], -1)
        here = np.abs(row[move.index])
        near = 1e-6 * float(here.max(initial=0.0))
        if any(np.allclose(here, np.abs(row[k.index]), rtol=1e-6, atol=near) for k in kept if k.name == move.name):
            continue
        kept.append(move)
    return tuple(kept)

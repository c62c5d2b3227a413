"""Hidden Markov random field of normal classes under a smooth illumination, fitted by variational EM.

``K`` classes, ``d`` channels, an image of ``R`` rows and ``C`` columns. Neighbouring pixels are likelier of one class; the
E-step is a mean-field approximation, so that the objective is a lower bound of the log-likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.field import POWERS, Singles, by_colour, field_moments, grid, illumination, sweep, whole
from emtools.kernels.gaussian import LOG_2PI
from emtools.kernels.logspace import normalise_rows

PERCOLATES = 1.25  # coupling above which whole images fall to one class
N_BENDS = len(POWERS) - 1
ROUNDS = 50  # of the M-step at most
SETTLED = 1e-13  # relative change of Q that ends it
BEND_SD = 0.5  # prior standard deviation of a coefficient of the illumination
TINY = 1e-300
COLLAPSED = 1e-12  # smallest variance relative to the mean square


@dataclass(frozen=True)
class Plane:
    """A chunk: one image.

    Parameters
    ----------
    values : ndarray, shape (d, R, C)
        Intensities with about the same noise everywhere.
    number : int
        Number of the image among all.
    given : ndarray, shape (K, R, C), optional
        Log prior of each class at each pixel in nats, up to a constant of the pixel, which then takes the place of the
        neighbours: the pixels are independent, and the E-step is exact.
    place : (ndarray, ndarray), shapes (R,) and (C,), optional
        Where rows and columns lie in the whole image, as `emtools.kernels.field.grid` gives them; for a part of one.
    """

    values: Floats
    number: int = 0
    given: Floats | None = None
    place: tuple[Floats, Floats] | None = None

    @property
    def grid(self) -> tuple[Floats, Floats]:
        """Places of the rows and columns."""
        return grid(*self.shape) if self.place is None else self.place

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n_rows, n_columns = self.values.shape[1:]
        return n_rows, n_columns


@dataclass(frozen=True)
class Remembered:
    """Shares of each image at the last pass, from which the next one goes on.

    Parameters
    ----------
    shares : dict of int to ndarray of float32
        By number of the image, laid out as `by_colour` does.
    """

    shares: Mapping[int, Singles] = field(default_factory=dict)

    def __add__(self, other: Remembered) -> Remembered:
        return Remembered({**self.shares, **other.shares})

    def scaled(self, factor: float) -> Remembered:
        """The same: a field does not scale."""
        return self


@dataclass(frozen=True)
class FieldParams:
    """Parameters of `RandomField`.

    Parameters
    ----------
    means : ndarray, shape (K, d)
        Means where the illumination is 1.
    variances : ndarray, shape (d,)
        Variance about the mean, common to the classes.
    bends : ndarray, shape (d, 5)
        Coefficients of the illumination of each channel, as `emtools.kernels.field.illumination` reads them.
    memory : Remembered
        Shares of the last pass; they are no parameters, and are not packed.
    """

    means: Floats
    variances: Floats
    bends: Floats
    memory: Remembered = field(default_factory=Remembered)


@dataclass(frozen=True)
class FieldStats(Stats):
    """Expected sufficient statistics of `RandomField`; `n` counts pixels.

    Parameters
    ----------
    basis : ndarray, shape (K, 6, 6)
        ``Σ share φ φᵀ`` over the terms of the illumination, of which the first is 1.
    crossed : ndarray, shape (d, K, 6)
        ``Σ share value φ``.
    squares : ndarray, shape (d,)
        ``Σ value²``.
    smoothness : float
        Expected log prior of the classes in nats: the coupling times the expected number of neighbours that agree, or what
        was given.
    memory : Remembered
        Shares of the images.
    """

    basis: Floats
    crossed: Floats
    squares: Floats
    smoothness: float
    memory: Remembered


@dataclass(frozen=True)
class RandomField:
    """Normal classes, coupled along the 4 nearest neighbours, seen through a smooth illumination.

    ``p(z) ∝ exp(coupling Σ_neighbours [z_i = z_j])``; given its class, channel c of pixel i is normal with mean
    ``means[z_i, c] * gain_c(i)`` and variance ``variances[c]``. The objective is
    ``E_q[log p(values | z)] + coupling Σ_neighbours q_i · q_j + entropy(q)`` with q a product over the pixels: the
    log-likelihood is at least as much less ``log Z(coupling)``, which does not depend on the parameters. Each pass goes on
    from the shares of the last one (`FieldParams.memory`), so that the objective never falls.

    Parameters
    ----------
    n_components : int
        Classes K, at least 2.
    n_channels : int
        Channels d.
    coupling : float
        Nats by which two neighbours of one class are likelier, 0 to 1.25.
    lit : bool
        Whether the illumination is fitted; else it is 1 everywhere.
    sweeps : int
        Rounds over the checkerboard in a pass.
    order_by : int
        Channel whose means order the classes upwards.
    known_means : tuple of float, shape (K,), optional
        Means in channel `order_by` that are known, ascending, and not estimated.

    Raises
    ------
    InputError
        If a number cannot be used.

    References
    ----------
    Zhang (1992), IEEE Trans. Signal Process. 40, 2570-2583, doi:10.1109/78.157297 (mean field); Zhang, Brady & Smith
    (2001), IEEE Trans. Med. Imaging 20, 45-57, doi:10.1109/42.906424 (the field, and the illumination within EM).
    """

    n_components: int
    n_channels: int
    coupling: float = 1.0
    lit: bool = True
    sweeps: int = 2
    order_by: int = 0
    known_means: tuple[float, ...] | None = None

    name = "random_field"
    strategies = ("quantiles",)
    assigns = ("soft",)
    smooth = False
    errors = False

    def __post_init__(self) -> None:
        if self.n_components < 2 or self.n_channels < 1:
            got = f"{self.n_components} classes in {self.n_channels} channels"
            raise InputError("random field", got, "at least two classes and one channel")
        if not 0.0 <= self.coupling <= PERCOLATES:
            got = f"coupling {self.coupling:g}"
            raise InputError("random field", got, f"0 to {PERCOLATES}", "above it one class takes the whole image")
        if self.sweeps < 1 or not 0 <= self.order_by < self.n_channels:
            got = f"{self.sweeps} sweeps, order_by {self.order_by}"
            raise InputError("random field", got, f"at least 1, and 0 to {self.n_channels - 1}")
        known = self.known_means
        if known is not None and (len(known) != self.n_components or not all(a < b for a, b in pairwise(known))):
            raise InputError("random field", f"known means {known}", f"{self.n_components}, ascending")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        names = ("n_components", "n_channels", "coupling", "lit", "sweeps", "order_by")
        known = {} if self.known_means is None else {"known_means": list(self.known_means)}
        return {name: getattr(self, name) for name in names} | known

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        known = 0 if self.known_means is None else self.n_components
        return self.n_channels * (self.n_components + 1 + (N_BENDS if self.lit else 0)) - known

    @property
    def estimated(self) -> list[int]:
        """Channels whose means are not known."""
        return [c for c in range(self.n_channels) if self.known_means is None or c != self.order_by]

    def initial_params(self, data: Source[Plane], rng: np.random.Generator, strategy: str) -> FieldParams:
        """Means at quantiles of the values of each channel, no illumination; `rng` is not used."""
        planes = [data.chunk(i).values for i in range(data.n_chunks)]
        values = np.concatenate([plane.reshape(self.n_channels, -1) for plane in planes], axis=1)
        levels = np.linspace(0.0, 1.0, 2 * self.n_components + 1)[1::2]
        return self.even(self.held(np.quantile(values, levels, axis=1)), values.var(axis=1))

    def even(self, means: Floats, variances: Floats) -> FieldParams:
        """Parameters under an even illumination, of means (K, d) and variances (d,)."""
        return FieldParams(means, variances, np.zeros((self.n_channels, N_BENDS)))

    def held(self, means: Floats) -> Floats:
        """`means` (K, d), but those that are known."""
        if self.known_means is None:
            return means
        means = means.copy()
        means[:, self.order_by] = self.known_means
        return means

    def gains(self, params: FieldParams, plane: Plane) -> Floats:
        """Illumination of each channel, shape (d, R, C)."""
        return np.stack([illumination(bends, *plane.grid) for bends in params.bends])

    def log_density(self, params: FieldParams, plane: Plane) -> Floats:
        """Log density of each pixel in each class in nats, shape (K, R, C)."""
        gains, values = self.gains(params, plane), plane.values
        constant = -0.5 * float((np.log(params.variances) + LOG_2PI).sum())
        out = np.full((self.n_components, *values.shape[1:]), constant)
        for k in range(self.n_components):
            for c in range(self.n_channels):
                out[k] -= (values[c] - params.means[k, c] * gains[c]) ** 2 / (2.0 * params.variances[c])
        return out

    def shares(self, params: FieldParams, chunk: Plane) -> tuple[Floats | Singles, Remembered]:
        """Probability of each class at each pixel (K, R, C), and what the next pass goes on from."""
        log_density = self.log_density(params, chunk)
        k, (n_rows, n_columns) = self.n_components, chunk.shape
        if chunk.given is not None:
            log_shares, _ = normalise_rows((log_density + chunk.given).reshape(k, -1).T)
            return np.ascontiguousarray(np.exp(log_shares).T).reshape(k, n_rows, n_columns), Remembered()
        density = by_colour(log_density - log_density.max(axis=0))
        before = params.memory.shares.get(chunk.number)
        cut = np.zeros_like(density) if before is None else before.copy()
        if before is None:
            sweep(cut, density, 0.0, n_columns)
        sweep(cut, density, self.coupling, n_columns, self.sweeps)
        return whole(cut, n_columns), Remembered({chunk.number: cut})

    def e_step(self, params: FieldParams, chunk: Plane, assign: Assign = "soft") -> FieldStats:
        """Sweeps over the image, and what the shares add up to; `loglik` is the bound, of given neighbours the likelihood."""
        shares, memory = self.shares(params, chunk)
        powers, crossed, entropy, agreement = field_moments(chunk.values, shares, *chunk.grid)
        smoothness = self.coupling * agreement
        if chunk.given is not None:
            smoothness = float((shares * chunk.given).sum())
        places = np.array(POWERS)
        pairs = places[:, None] + places
        stats = FieldStats(
            n=float(chunk.values[0].size),
            loglik=0.0,
            entropy=entropy,
            basis=powers[:, pairs[..., 0], pairs[..., 1]],
            crossed=crossed[:, :, places[:, 0], places[:, 1]],
            squares=np.array([np.square(plane).sum() for plane in chunk.values]),
            smoothness=smoothness,
            memory=memory,
        )
        return replace(stats, loglik=self.expected_loglik(stats, params) + entropy)

    def residuals(self, stats: FieldStats, means: Floats, bends: Floats) -> Floats:
        """Expected squared distances from the means, summed over the pixels, shape (d,)."""
        terms = np.concatenate([np.ones((self.n_channels, 1)), bends], axis=1)
        fitted = np.einsum("kc,ckt,ct->c", means, stats.crossed, terms)
        squared = np.einsum("kc,kst,cs,ct->c", means**2, stats.basis, terms, terms)
        return np.asarray(stats.squares - 2.0 * fitted + squared)

    def expected_loglik(self, stats: FieldStats, params: FieldParams) -> float:
        """Q in nats."""
        spread = self.residuals(stats, params.means, params.bends) / params.variances
        logs = stats.n * (np.log(params.variances) + LOG_2PI)
        return stats.smoothness - 0.5 * float((spread + logs).sum())

    def log_prior(self, params: FieldParams) -> float:
        """Log density of the coefficients of the illumination, without its constant, in nats."""
        return -0.5 * float(np.square(params.bends / BEND_SD).sum()) if self.lit else 0.0

    def m_step(self, stats: FieldStats, params: FieldParams) -> FieldParams:
        """Means, illumination and variances, each the best given the others, in turn."""
        parts = [self.lit_means(stats, c, params.bends[c], float(params.variances[c])) for c in range(self.n_channels)]
        means, bends, variances = (np.array(part) for part in zip(*parts, strict=True))
        return FieldParams(means.T, variances, bends, stats.memory)

    def lit_means(
        self, stats: FieldStats, channel: int, bends: Floats, variance: float
    ) -> tuple[Floats, Floats, float]:
        """Means (K,), coefficients (5,) and variance of a channel, each the best given the others, until Q rests."""
        crossed, before = stats.crossed[channel], np.inf
        known = None if self.known_means is None or channel != self.order_by else np.array(self.known_means)
        for _ in range(ROUNDS):
            terms = np.concatenate([[1.0], bends])
            means = (crossed @ terms) / np.maximum(stats.basis @ terms @ terms, TINY) if known is None else known
            if self.lit:
                normal = np.einsum("k,kst->st", means**2, stats.basis)
                precision = np.eye(N_BENDS) * variance / BEND_SD**2
                bends = np.linalg.solve(normal[1:, 1:] + precision, (means @ crossed - normal[0])[1:])
                terms = np.concatenate([[1.0], bends])
            fitted = 2.0 * float(means @ crossed @ terms)
            variance = float(stats.squares[channel] - fitted + means**2 @ (stats.basis @ terms @ terms)) / stats.n
            if not self.lit or not abs(variance - before) > SETTLED * variance:
                break
            before = variance
        return means, bends, variance

    def pack(self, params: FieldParams) -> Floats:
        """Means, log variances and, where it is fitted, the illumination; neither known means nor the shares."""
        means = params.means[:, self.estimated].ravel()
        parts = [means, np.log(params.variances), *([params.bends.ravel()] if self.lit else [])]
        return np.concatenate(parts)

    def unpack(self, vector: Floats) -> FieldParams:
        """Inverse of `pack`; the shares of the last pass are forgotten."""
        d, n_means = self.n_channels, self.n_components * len(self.estimated)
        means = np.zeros((self.n_components, d))
        means[:, self.estimated] = vector[:n_means].reshape(self.n_components, -1)
        rest = vector[n_means:]
        bends = rest[d:].reshape(d, N_BENDS) if self.lit else np.zeros((d, N_BENDS))
        return FieldParams(self.held(means), np.exp(rest[:d]), bends)

    def natural(self, params: FieldParams) -> dict[str, Floats]:
        """Means, variances and, where it is fitted, the coefficients of the illumination."""
        values = {"means": params.means, "variances": params.variances}
        return values | ({"illumination": params.bends} if self.lit else {})

    def canonical(self, params: FieldParams) -> FieldParams:
        """Classes by ascending mean in channel `order_by`; the shares follow."""
        order = np.argsort(params.means[:, self.order_by], kind="stable")
        shares = {number: np.ascontiguousarray(cut[:, order]) for number, cut in params.memory.shares.items()}
        return replace(params, means=params.means[order], memory=Remembered(shares))

    def degenerate(self, stats: FieldStats, params: FieldParams) -> str | None:
        """Whether a class has lost its pixels, or a channel its variance."""
        counts = stats.basis[:, 0, 0]
        if not (counts > 0.0).all():
            return f"class {int(np.argmin(counts)) + 1} of {self.n_components} has no pixels left"
        variances = self.m_step(stats, params).variances
        flat = ~(variances > COLLAPSED * np.maximum(stats.squares / stats.n, TINY))
        return f"channel {int(np.argmax(flat)) + 1} does not vary within the classes" if flat.any() else None

    def boundaries(self, params: FieldParams) -> list[dict[str, Any]]:
        """Where two classes are equally likely under an illumination of 1 and neighbours that favour neither, for every pair.

        Returns
        -------
        list of dict
            ``first``, ``second`` (classes from 1), ``A`` (d, d), ``b`` (d,), ``c``: where ``xᵀAx + bᵀx + c`` is positive,
            `first` is the likelier. It is the log ratio of their densities in nats, and A is 0.
        """
        square, scaled = np.zeros((self.n_channels, self.n_channels)), params.means / params.variances
        levels = -0.5 * (params.means * scaled).sum(axis=1)
        return [
            {
                "first": i + 1,
                "second": j + 1,
                "A": square,
                "b": scaled[i] - scaled[j],
                "c": float(levels[i] - levels[j]),
            }
            for i, j in combinations(range(self.n_components), 2)
        ]

    def neighbours(self, memory: Remembered, plane: Plane) -> Plane:
        """The image with the pull of its neighbours at the last pass given, so that its pixels are independent.

        At the end of a fit the parameters are also stationary for it: its curvature is that of the mixture given the field.
        """
        cut = memory.shares[plane.number]
        shares = whole(cut, plane.shape[1]).astype(np.float64)
        shares /= shares.sum(axis=0)
        pull = np.zeros_like(shares)
        pull[:, 1:] += shares[:, :-1]
        pull[:, :-1] += shares[:, 1:]
        pull[:, :, 1:] += shares[:, :, :-1]
        pull[:, :, :-1] += shares[:, :, 1:]
        return replace(plane, given=self.coupling * pull)

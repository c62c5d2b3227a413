"""What hidden Markov models of numbers share: states of a series, parameters of its chain, and starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from emtools.engine.protocol import Annealed, Assign, Floats, Sampled, Source
from emtools.engine.series import Series
from emtools.errors import InputError
from emtools.kernels.chain import best_states, drawn_states, expected_states
from emtools.kernels.markov import POSSIBLE
from emtools.models.assignment import generator, kind_of
from emtools.models.hmm import MOST_STATES, from_log_odds, impossible, shares, to_log_odds
from emtools.models.mixture_starts import draw_seeds

MOST_WINDOWS = 20_000
# Shortest and longest expected stay of a random start, in rows.
STAYS = (3.0, 200.0)
# Counts of the average that a start adds to each state, so that no rate starts at zero.
START_COUNTS = 0.5


class Chain(Protocol):
    """Anything with a start (K,) and transitions (K, K): the parameters of a model."""

    @property
    def start(self) -> Floats: ...

    @property
    def transition(self) -> Floats: ...


@dataclass(frozen=True)
class States:
    """Expected states of a chunk.

    Parameters
    ----------
    shares : ndarray, shape (n_total, K)
        Posterior of the states times the weight of the series; 0 or the weight along one path.
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Weighted expected counts.
    loglik, entropy : float
        Weighted sums, nats.
    """

    shares: Floats
    n_start: Floats
    n_transition: Floats
    loglik: float
    entropy: float


def check_chain(n_states: int, n_features: int, pseudocount: float) -> None:
    """Refuse sizes and pseudo-counts that cannot be used."""
    if not 1 <= n_states <= MOST_STATES:
        raise InputError("states", str(n_states), f"1 to {MOST_STATES}")
    if n_features < 1:
        raise InputError("features", str(n_features), "at least 1")
    if not 0.0 <= pseudocount < math.inf:
        raise InputError("pseudocount", str(pseudocount), "a number of at least 0")


def find_states(params: Chain, log_emission: Floats, chunk: Series, assign: Assign) -> States:
    """States of `chunk` under any assignment: expected, of the best path, annealed or drawn.

    Parameters
    ----------
    params : Chain
        Start and transitions.
    log_emission : ndarray, shape (n_total, K)
        Log density of each row in each state; NaN gives a log-likelihood of NaN. Where annealed, the log of its power,
        summed over what is missing of the row.
    chunk : Series
        Data, for offsets, weights and messages.
    assign : Assign
        Any kind. Where annealed with power b the path probabilities are raised to b, and `loglik` and `entropy` are
        those of the powers, over b.

    Returns
    -------
    States

    Raises
    ------
    InputError
        If a series has probability zero, or `assign` is unknown.
    """
    kind = kind_of(assign)
    if np.isnan(log_emission).any():
        k = len(params.start)
        return States(np.zeros_like(log_emission), np.zeros(k), np.zeros((k, k)), math.nan, math.nan)
    table = (log_emission, chunk.offsets, chunk.weights)
    weights, entropy = chunk.row_weights, 0.0
    if kind in ("soft", "annealed"):
        b = assign.power if isinstance(assign, Annealed) else 1.0
        posterior, n_start, n_transition, loglik, entropy, series, position = expected_states(
            *table, params.start**b, params.transition**b
        )
        held, loglik, entropy = posterior * weights[:, None], loglik / b, entropy / b
    else:
        if isinstance(assign, Sampled):
            uniforms = generator(assign, chunk.first).random(len(log_emission))
            found = drawn_states(*table, params.start, params.transition, uniforms)
        else:
            found = best_states(*table, params.start, params.transition)
        path, n_start, n_transition, loglik, series, position = found
        held = np.zeros(log_emission.shape)
        used = np.flatnonzero(path >= 0)
        held[used, path[used]] = weights[used]
    if position != POSSIBLE:
        raise impossible(f"series {chunk.first + series + 1}", position)
    return States(held, n_start, n_transition, loglik, entropy)


def best_path(params: Chain, log_emission: Floats, chunk: Series) -> npt.NDArray[np.intp]:
    """The most probable path of the states of one series, shape (T,), from 0."""
    path: npt.NDArray[np.intp] = find_states(params, log_emission, chunk, "hard").shares.argmax(axis=1)
    return path


def one_series(values: npt.ArrayLike, n_features: int) -> Series:
    """A chunk of one series, for decoding."""
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != n_features or not len(table) or np.isinf(table).any():
        got = f"array of shape {table.shape}"
        raise InputError("series", got, f"finite numbers or NaN, at least one row and {n_features} columns")
    return Series(table, np.array([0, len(table)]), np.ones(1))


def next_chain(n_start: Floats, n_transition: Floats, params: Chain, pseudocount: float) -> tuple[Floats, Floats]:
    """Start and transitions from expected counts; a row without any count stays as it was."""
    start = shares(n_start[None, :], pseudocount, params.start[None, :])[0]
    return start, shares(n_transition, pseudocount, params.transition)


def chain_loglik(n_start: Floats, n_transition: Floats, params: Chain) -> float:
    """Part of Q that belongs to the chain, nats."""
    return float(xlogy(n_start, params.start).sum() + xlogy(n_transition, params.transition).sum())


def chain_prior(params: Chain, pseudocount: float) -> float:
    """Log density of Dirichlet(1 + pseudocount) priors on the start and each row, without constants, nats."""
    return float(xlogy(pseudocount, params.start).sum() + xlogy(pseudocount, params.transition).sum())


def pack_chain(params: Chain) -> Floats:
    """Log-odds of each outcome against those after it, shape (K² - 1,)."""
    return np.concatenate([to_log_odds(table).ravel() for table in (params.start[None, :], params.transition)])


def unpack_chain(vector: Floats, n_states: int) -> tuple[Floats, Floats]:
    """Inverse of `pack_chain`."""
    m = n_states - 1
    return from_log_odds(vector[:m].reshape(1, m))[0], from_log_odds(vector[m:].reshape(n_states, m))


class CountModel(Protocol):
    """What is asked of a model of series of counts here."""

    @property
    def n_features(self) -> int: ...

    def log_emission(self, params: Any, values: Floats) -> Floats: ...


def check_series(chunk: Series, n_features: int) -> None:
    """Refuse a wrong number of columns, and what is not a count."""
    values = chunk.values
    if values.shape[1] != n_features:
        raise InputError("series", f"{values.shape[1]} columns", f"{n_features}")
    wrong = (values < 0.0) | (values != np.floor(values)) & ~np.isnan(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        series = int(np.searchsorted(chunk.offsets, row, side="right"))
        where = f"series {chunk.first + series}, row {row - chunk.offsets[series - 1] + 1}, column {column + 1}"
        raise InputError(where, f"{values[row, column]:g}", "a whole number of at least 0, NaN for not observed")


def start_counts(
    data: Source[Series], n_states: int, n_features: int, rng: np.random.Generator, strategy: str
) -> tuple[ChainStart, Floats]:
    """A start of the chain, and the mean counts (K, d) of its states, moved at random by about a tenth.

    Raises
    ------
    InputError
        If a count is negative or no whole number, or fewer windows differ than there are states.
    """
    for index in range(data.n_chunks):
        check_series(data.chunk(index), n_features)
    begin = start_chain(data, n_states, n_features, rng, strategy)
    overall = np.array([np.average(x[~np.isnan(x)], weights=begin.weights[~np.isnan(x)]) for x in begin.values.T])
    rates = np.empty((n_states, n_features))
    for k in range(n_states):
        held = begin.values[begin.labels == k]
        seen = (~np.isnan(held)).sum(axis=0)
        rates[k] = (np.nansum(held, axis=0) + START_COUNTS * overall) / (seen + START_COUNTS)
    return begin, np.maximum(rates * np.exp(0.1 * rng.normal(size=rates.shape)), 1e-3)


def emitted(model: CountModel, params: Any, values: npt.ArrayLike) -> tuple[Series, Floats]:
    """One series of counts, and the log probability of each row in each state; errors as in `check_series` and `one_series`."""
    chunk = one_series(values, model.n_features)
    check_series(chunk, model.n_features)
    return chunk, model.log_emission(params, chunk.values)


def stationary(transition: Floats) -> Floats:
    """Long-run share of each state, shape (K,); the least-squares solution of δ = δ A, Σ δ = 1."""
    k = len(transition)
    system = np.vstack([transition.T - np.eye(k), np.ones(k)])
    shares: Floats = np.linalg.lstsq(system, np.append(np.zeros(k), 1.0))[0]
    return shares


@dataclass(frozen=True)
class ChainStart:
    """What a start knows of the states before any emission is fitted.

    Parameters
    ----------
    start, transition : ndarray, shapes (K,) and (K, K)
        Probabilities.
    values, weights : ndarray, shapes (n, d) and (n,)
        Rows with something observed, and the weights of their series.
    labels : ndarray of int, shape (n,)
        A state for each of them.
    """

    start: Floats
    transition: Floats
    values: Floats
    weights: Floats
    labels: npt.NDArray[np.intp]


def start_chain(
    data: Source[Series], n_states: int, n_features: int, rng: np.random.Generator, strategy: str
) -> ChainStart:
    """States to start from.

    ``"windows"`` cuts the series into windows of a random length, draws K of them that differ (k-means++ on their
    means), gives each window to the nearest, and reads the transitions from that. ``"random"`` draws rows as centres,
    gives each row to the nearest, and draws how long a state lasts.

    Raises
    ------
    InputError
        If the number of columns is wrong, or fewer windows or rows differ than there are states.
    """
    rows, weights, windows, switches = read_windows(data, n_features, rng, 1 if strategy == "random" else 0, n_states)
    centre = np.nanmean(rows, axis=0)
    spread = np.nanstd(rows, axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    n_windows = int(windows[-1]) + 1
    filled = np.where(np.isnan(rows), centre, rows)
    size = np.bincount(windows, minlength=n_windows)
    means = np.column_stack([np.bincount(windows, column, n_windows) / size for column in (filled - centre).T])
    heights: Floats = np.bincount(windows, weights, n_windows).astype(np.float64)
    _, nearest = draw_seeds(means / scale, heights, n_states, rng, strategy)
    labels = nearest[windows]
    others = rng.dirichlet(np.full(max(n_states - 1, 1), 5.0), size=n_states)
    if strategy == "random":
        longest = max(2.0 * STAYS[0], min(STAYS[1], len(rows) / n_states))
        away = np.full(n_states, 1.0 / math.exp(rng.uniform(math.log(STAYS[0]), math.log(longest))))
    else:
        left = (labels[1:] != labels[:-1]) & ~switches[1:]
        leaving = np.bincount(labels[:-1][left], minlength=n_states)
        away = np.clip((leaving + 1.0) / (np.bincount(labels, minlength=n_states) + 2.0), 1e-3, 0.5)
    transition = np.diag(1.0 - away) if n_states > 1 else np.ones((1, 1))
    for i in range(n_states):
        transition[i, np.arange(n_states) != i] = away[i] * others[i, : n_states - 1]
    transition /= transition.sum(axis=1, keepdims=True)
    seen = ~np.isnan(rows).all(axis=1)
    return ChainStart(rng.dirichlet(np.full(n_states, 10.0)), transition, rows[seen], weights[seen], labels[seen])


def read_windows(
    data: Source[Series], n_features: int, rng: np.random.Generator, width: int, n_states: int
) -> tuple[Floats, Floats, npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Rows of positive weight, their weights, the window of each, and whether it is the first of its series.

    A `width` of 0 draws one, log-uniform from 1 to a tenth of the rows of a state.
    """
    chunks = [data.chunk(index) for index in range(data.n_chunks)]
    for chunk in chunks:
        if chunk.values.shape[1] != n_features:
            raise InputError("series", f"{chunk.values.shape[1]} columns", f"{n_features}")
    weights = np.concatenate([chunk.row_weights for chunk in chunks])
    firsts = []
    for chunk in chunks:
        first = np.zeros(len(chunk.values), dtype=np.bool_)
        first[chunk.offsets[:-1]] = True
        firsts.append(first)
    used = weights > 0.0
    rows, first = np.concatenate([chunk.values for chunk in chunks])[used], np.concatenate(firsts)[used]
    if not width:
        top = max(1.0, len(rows) / (10.0 * n_states))
        width = max(1, round(math.exp(rng.uniform(0.0, math.log(top)))), -(-len(rows) // MOST_WINDOWS))
    begins = np.flatnonzero(first)
    place = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
    windows = np.cumsum(first | (place % width == 0)) - 1
    return rows, weights[used], windows, first

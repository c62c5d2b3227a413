"""A mixture of which some rows come with their component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source
from emtools.errors import InputError
from emtools.models.assignment import EVERY_KIND, shared_rows
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_values import MixtureParams, MixtureStats

UNKNOWN = -1


@dataclass(frozen=True)
class PartlyLabelled:
    """Gaussian mixture of K components in d features, of which some rows are known to come from one component.

    ``log p = Σ_labelled w_i log(weights[c_i] N(x_i | c_i)) + Σ_others w_i log Σ_k weights[k] N(x_i | k)``. A row has the d
    features and, last, its component from 0 to K - 1, or -1. How much a row without a label counts is its weight.

    Parameters
    ----------
    mixture : GaussianMixture
        Of any family, with or without a prior.

    References
    ----------
    Nigam, McCallum, Thrun & Mitchell (2000), Mach. Learn. 39, 103-134, doi:10.1023/A:1007692713085, eqs 9-10, section 5.1
    (the weight of the unlabelled).

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> rows = np.array([[0.0, 0], [0.2, -1], [0.6, -1], [9.0, 1], [9.2, -1], [9.7, -1]])
    >>> model = PartlyLabelled(GaussianMixture(2, 1, "tied"))
    >>> fit(model, ArraySource(rows), starts=3).params.means.ravel().round(2).tolist()
    [0.27, 9.3]
    """

    mixture: GaussianMixture

    name = "partly_labelled_mixture"
    strategies = GaussianMixture.strategies
    assigns = EVERY_KIND

    @property
    def n_components(self) -> int:
        return self.mixture.n_components

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.mixture.n_free_parameters

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return self.mixture.hyperparameters

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> MixtureParams:
        """Parameters of the mixture without labels, its components moved to the labelled rows that they stand for."""
        started = self.mixture.initial_params(Unlabelled(data), rng, strategy)
        counts, sums = np.zeros(self.n_components), np.zeros_like(started.means)
        for index in range(data.n_chunks):
            values, codes, weights = self.split(data.chunk(index))
            known = codes >= 0
            np.add.at(counts, codes[known], weights[known])
            np.add.at(sums, codes[known], weights[known, None] * values[known])
        found = counts > 0.0
        means = np.where(found[:, None], sums / np.where(found, counts, 1.0)[:, None], started.means)
        return MixtureParams(started.weights, means, started.covariances)

    def split(self, chunk: Rows) -> tuple[Floats, Any, Floats]:
        """Features (n, d), component or -1 (n,), and weights of a chunk.

        Raises
        ------
        InputError
            If the number of columns is wrong or a label is none of the components.
        """
        d, k = self.mixture.n_features, self.n_components
        if chunk.values.shape[1] != d + 1:
            raise InputError("data", f"{chunk.values.shape[1]} columns", f"{d} features and a label")
        labels = chunk.values[:, d]
        codes = labels.astype(np.intp)
        bad = (codes != labels) | (codes < UNKNOWN) | (codes >= k)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"row {chunk.first + row + 1}, label", f"{labels[row]:g}", f"0 to {k - 1}, or -1")
        return chunk.values[:, :d], codes, chunk.weights

    def log_joint(self, params: MixtureParams, values: Floats) -> Floats:
        """Log of weight times density of rows (n, d) without labels, in nats, shape (n, K)."""
        return self.mixture.log_joint(params, values)

    def e_step(self, params: MixtureParams, chunk: Rows, assign: Assign = "soft") -> MixtureStats:
        """Expected moments; a labelled row belongs to its component.

        Raises
        ------
        InputError
            If a label is none of the components, or `assign` is unknown.
        """
        values, codes, weights = self.split(chunk)
        values = np.ascontiguousarray(values)
        log_joint = self.mixture.log_joint(params, values)
        others = (codes[:, None] >= 0) & (codes[:, None] != np.arange(self.n_components))
        shares, loglik, entropy = shared_rows(np.where(others, -np.inf, log_joint), weights, assign, chunk.first)
        return self.mixture.moments(
            values,
            shares * weights[:, None],
            params.means,
            loglik=loglik,
            entropy=entropy,
            n=float(weights.sum()),
        )

    def m_step(self, stats: MixtureStats, params: MixtureParams) -> MixtureParams:
        """That of the mixture."""
        return self.mixture.m_step(stats, params)

    def expected_loglik(self, stats: MixtureStats, params: MixtureParams) -> float:
        """That of the mixture, in nats."""
        return self.mixture.expected_loglik(stats, params)

    def log_prior(self, params: MixtureParams) -> float:
        """That of the mixture, in nats."""
        return self.mixture.log_prior(params)

    def pack(self, params: MixtureParams) -> Floats:
        """That of the mixture."""
        return self.mixture.pack(params)

    def unpack(self, vector: Floats) -> MixtureParams:
        """Inverse of `pack`."""
        return self.mixture.unpack(vector)

    def natural(self, params: MixtureParams) -> dict[str, Floats]:
        """That of the mixture."""
        return self.mixture.natural(params)

    def canonical(self, params: MixtureParams) -> MixtureParams:
        """As they are: the labels fix the order."""
        return params

    def degenerate(self, stats: MixtureStats, params: MixtureParams) -> str | None:
        """That of the mixture."""
        return self.mixture.degenerate(stats, params)


class Unlabelled:
    """A source without its last column.

    Parameters
    ----------
    data : Source of Rows
        Features and, last, a label.
    """

    def __init__(self, data: Source[Rows]) -> None:
        self.data = data
        self.n_units = data.n_units
        self.n_chunks = data.n_chunks

    def chunk(self, index: int) -> Rows:
        chunk = self.data.chunk(index)
        return Rows(chunk.values[:, :-1], chunk.weights, chunk.first)

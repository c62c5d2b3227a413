"""The steady way: EM on all genes, EM on marker genes and mean logs of markers, averaged. It assumes nothing about platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.deconvolving.fractions import FLOOR, LARGER, Fractions, floored, fractions, inverted
from emtools.deconvolving.reference import Reference
from emtools.engine.chunks import ArraySource, Rows
from emtools.engine.protocol import Floats
from emtools.engine.starts import fit
from emtools.kernels.mixing import Pull, expected_counts
from emtools.models.bulk_mixture import BulkMixture, BulkParams

TOLD_BY = 150  # genes that tell most of each type, which the second fit is of
LOGS_OF = 20  # the same of the third
FEWEST = 3  # of these, below which a type keeps what the first fit gives it
BACKGROUND = 1e-3  # of the mean expression, added before logs are taken
SHARED = 20  # passes for the shares of the classes of genes, amounts held

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """One of the estimates that are averaged.

    Parameters
    ----------
    shares : ndarray, shape (S, K)
        Fractions.
    moves : callable
        By how much each gene (G, K), and each group of reference cells (R, K), moves those of a sample.
    """

    shares: Floats
    moves: Callable[[int], tuple[Floats, Floats]]


def steady(y: Floats, reference: Reference, scales: Floats, climbing: Mapping[str, Any]) -> Fractions:
    """Mean of three estimates: plain EM on all genes, the same on marker genes, and the mean log over markers.

    By how much the three differ beyond chance enters the standard errors.

    Parameters
    ----------
    y : ndarray, shape (G, S)
        Counts, each sample scaled to one total by `scales`.
    reference : Reference
        Of the same genes.
    scales : ndarray, shape (S,)
    climbing : mapping
        As in `fit`: ``tol``, ``max_passes``, ``seed``, ``threads``, ``accelerate``, ….

    References
    ----------
    Hunt, Freytag, Bahlo & Gagnon-Bartsch (2019, dtangle), Bioinformatics 35, 2093-2099,
    doi:10.1093/bioinformatics/bty926 (mean logs of markers); Hoeting, Madigan, Raftery & Volinsky (1999), Stat. Sci. 14,
    382-417, doi:10.1214/ss/1009212519, eq. 4 (variance of an average of models).
    """
    profiles = reference.profiles
    model = BulkMixture(y.shape[1], len(reference.types), strengths=(np.inf,), dispersions=(1.0,))
    rows = np.hstack([y, profiles])
    brief: Mapping[str, Any] = {**climbing, "certificate": False}
    fitted = fit(model, ArraySource(rows), **brief)
    total = fitted.params.amounts.sum(axis=1)
    parts = [fitted_part(fitted.params, y, reference, np.arange(len(y)))]
    told = markers(profiles, TOLD_BY)
    if (
        len(told) > len(reference.types)
        and (y[told].sum(axis=0) > 0.0).all()
        and (profiles[told].sum(axis=0) > 0).all()
    ):
        second = fit(
            model, ArraySource(rows[told]), init=[floored(fitted.params)], **{**brief, "checkpoint": None}
        ).params
        parts.append(fitted_part(second, y, reference, told))
    parts.append(logs_part(y, reference, parts[0]))
    average, covariances, over_genes = averaged(parts, len(y))
    amounts = average * total[:, None]
    pull = pull_of(BulkParams(amounts, fitted.params.shares), y, profiles)
    return Fractions(
        fitted,
        reference,
        profiles,
        y,
        scales,
        amounts,
        covariances * (total**2)[:, None, None],
        pull.factors,
        1.0 / pull.weight,
        over_genes,
        "steady",
        np.arange(len(y)),
    )


def averaged(parts: list[Part], n_genes: int) -> tuple[Floats, Floats, Floats]:
    """Mean of estimates, shape (S, K), its covariances, shape (S, K, K), and the errors over genes of the first."""
    average = np.mean([part.shares for part in parts], axis=0)
    n_samples, n_types = average.shape
    correction = n_genes / max(n_genes - n_types, 1)
    covariances, over_genes = np.empty((n_samples, n_types, n_types)), np.empty((n_samples, n_types))
    for sample in range(n_samples):
        genes, cells = zip(*(part.moves(sample) for part in parts), strict=True)
        mean = np.mean(genes, axis=0)
        covariances[sample] = correction * squared(mean) + LARGER * squared(np.mean(cells, axis=0))
        over_genes[sample] = np.sqrt(correction * (genes[0] ** 2).sum(axis=0))
        for part, own in zip(parts, genes, strict=True):
            apart = part.shares[sample] - average[sample]
            chance = correction * ((own - mean) ** 2).sum(axis=0)
            beyond = np.sign(apart) * np.sqrt(np.maximum(apart**2 - chance, 0.0) / len(parts))
            covariances[sample] += np.outer(beyond, beyond)
    return average, covariances, over_genes


def fitted_part(params: BulkParams, y: Floats, reference: Reference, used: Places) -> Part:
    """What plain EM on the genes `used` gives."""
    own = reference.of_genes(used)

    def moves(sample: int) -> tuple[Floats, Floats]:
        genes = np.zeros((len(y), len(own.types)))
        genes[used], cells = moved_fractions(params.amounts[sample], y[used, sample], own, np.ones(len(used)))
        return genes, cells

    return Part(fractions(params), moves)


def tops(profiles: Floats) -> tuple[Places, Floats]:
    """Type that expresses each gene most, and the log of how much more than the next, shape (G,) each; minus infinity
    for the half of the genes with the lowest maximum.
    """
    raised = profiles + FLOOR * profiles.mean(axis=1, keepdims=True) + BACKGROUND * profiles.mean()
    ordered = np.sort(raised, axis=1)
    highest = profiles.max(axis=1)
    more = np.log(ordered[:, -1] / ordered[:, -2]) if profiles.shape[1] > 1 else highest
    return profiles.argmax(axis=1), np.where(highest > np.median(highest), more, -np.inf)


def markers(profiles: Floats, most: int) -> Places:
    """Positions of the `most` genes of each type whose expression is the most times that of the next type, ascending."""
    top, more = tops(profiles)
    chosen = []
    for k in range(profiles.shape[1]):
        own = np.flatnonzero((top == k) & np.isfinite(more))
        chosen.append(own[np.argsort(-more[own], kind="stable")[:most]])
    return np.sort(np.concatenate(chosen))


def logs_part(y: Floats, reference: Reference, first: Part) -> Part:
    """Fractions proportional to the geometric mean, over the best markers of a type, of counts over profile.

    A type with fewer than `FEWEST` markers keeps what `first` gives it, and the others share the rest.
    """
    profiles = reference.profiles
    n_types = profiles.shape[1]
    chosen = markers(profiles, LOGS_OF)
    top = profiles[chosen].argmax(axis=1)
    held = np.bincount(top, minlength=n_types)
    told = held >= FEWEST
    if told.sum() < 2:
        return first
    mean = np.equal.outer(top, np.arange(n_types)) / np.maximum(held, 1)
    scaled = y * (profiles.sum(axis=0).mean() / y.sum(axis=0))
    background = BACKGROUND * profiles.mean()
    own = profiles[chosen].max(axis=1) + background
    ratios = np.log((scaled[chosen] + background) / own[:, None]).T
    logs = ratios @ mean
    parts = np.exp(np.where(told, logs - logs[:, told].max(axis=1, keepdims=True), -np.inf))
    parts /= parts.sum(axis=1, keepdims=True)
    rest = 1.0 - first.shares[:, ~told].sum(axis=1, keepdims=True)
    of_group = np.equal.outer(reference.deviation_types, np.arange(n_types))
    by_group = np.where(of_group, (reference.deviations[:, chosen] / own) @ mean, 0.0)

    def moves(sample: int) -> tuple[Floats, Floats]:
        to_shares = rest[sample] * parts[sample][:, None] * (np.eye(n_types) - parts[sample])
        genes, cells = (shared_out(given, told, parts[sample]) for given in first.moves(sample))
        genes[chosen] += ((ratios[sample][:, None] - logs[sample]) * mean) @ to_shares
        return genes, cells - by_group @ to_shares

    return Part(np.where(told, rest * parts, first.shares), moves)


def shared_out(moves: Floats, told: npt.NDArray[np.bool_], parts: Floats) -> Floats:
    """Moves (n, K) of the types that are not `told`, which the others give and take by their `parts` (K,)."""
    own = np.where(told, 0.0, moves)
    return np.asarray(own - own.sum(axis=1, keepdims=True) * parts, dtype=np.float64)


def squared(moves: Floats) -> Floats:
    """Covariance that independent moves (n, K) add up to, shape (K, K)."""
    return np.asarray(moves.T @ moves, dtype=np.float64)


def moved_fractions(own: Floats, y: Floats, reference: Reference, weights: Floats) -> tuple[Floats, Floats]:
    """By how much each gene, and each group of reference cells, moves the fractions of a sample (influence functions).

    Parameters
    ----------
    own : ndarray, shape (K,)
        Amounts: zero of ``Σ_g weights (y / mean - 1) profiles``.
    y, weights : ndarray, shape (G,)
        Counts of the sample, weights of the genes.
    reference : Reference

    Returns
    -------
    genes, cells : ndarray, shape (G, K) and (R, K)

    References
    ----------
    Hampel (1974), J. Am. Stat. Assoc. 69, 383-393, doi:10.1080/01621459.1974.10482962.
    """
    profiles = reference.profiles
    expected = expected_counts(own[None], profiles)[:, 0]
    slope = (weights / expected)[:, None] * profiles
    to_shares = inverted(slope.T @ profiles, own) @ (np.eye(len(own)) - own / own.sum()) / own.sum()
    genes = ((y - expected)[:, None] * slope) @ to_shares
    return genes, -(reference.deviations @ slope) * own[reference.deviation_types][:, None] @ to_shares


def pull_of(params: BulkParams, y: Floats, profiles: Floats) -> Pull:
    """Factors and noise of the genes at given amounts, by the classes of `BulkMixture`."""
    model = BulkMixture(y.shape[1], profiles.shape[1])
    shares = np.full(model.n_classes, 1.0 / model.n_classes)
    rows = Rows(np.hstack([y, profiles]), np.ones(len(y)))
    for _ in range(SHARED):
        held = BulkParams(params.amounts, shares)
        shares = model.m_step(model.e_step(held, rows), held).shares
    return model.pull(BulkParams(params.amounts, shares), y, profiles)[1]

"""The adapted way: factors and noise of every gene, profiles of the mixtures' own, errors that count the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emtools.deconvolving.fractions import (
    LARGER,
    Fractions,
    certainty_of,
    floored,
    fractions,
    inverted,
    shares_of,
    telling_genes,
)
from emtools.deconvolving.reference import Reference
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.engine.starts import fit
from emtools.kernels.mixing import adapted_profiles, amount_information, amount_scores, expected_counts
from emtools.models.bulk_mixture import BulkMixture, BulkParams

ROUNDS = 16  # times that profiles follow the mixtures
PASSES = 10  # of EM between two of them
STILL = 1e-3  # largest change of a fraction at which they are left alone
MOST_TOGETHER = 600  # amounts whose joint information is inverted


def adapted(y: Floats, reference: Reference, scales: Floats, climbing: Mapping[str, Any]) -> Fractions:
    """Fractions where every gene has a factor and a noise of its own, and profiles follow the mixtures: of `telling_genes`.

    Parameters
    ----------
    y : ndarray, shape (G, S)
        Counts, each sample scaled to one total by `scales`.
    reference : Reference
        Of the same genes.
    scales : ndarray, shape (S,)
    climbing : mapping
        As in `fit`: ``tol``, ``max_passes``, ``seed``, ``threads``, ``accelerate``, ….
    """
    kept = telling_genes(reference)
    y, reference = y[kept], reference.of_genes(kept)
    model = BulkMixture(y.shape[1], len(reference.types))
    original, certainty = certainty_of(reference)
    profiles = original
    brief: Mapping[str, Any] = {**climbing, "max_passes": PASSES, "certificate": False}
    params = fit(model, ArraySource(np.hstack([y, profiles])), **brief).params
    for _ in range(ROUNDS):
        before = fractions(params)
        _, pull = model.pull(params, y, profiles)
        profiles = adapted_profiles(original, certainty, profiles, params.amounts, y, pull)
        params = fit(model, ArraySource(np.hstack([y, profiles])), init=[floored(params)], **brief).params
        if np.abs(fractions(params) - before).max() < STILL:
            break
    fitted = fit(
        model, ArraySource(np.hstack([y, profiles])), init=[floored(params)], **{**climbing, "certificate": False}
    )
    params = fitted.params
    _, pull = model.pull(params, y, profiles)
    over_genes, over_cells = amount_covariances(model, params, y, profiles, reference)
    _, errors = shares_of(params.amounts, over_genes, np.ones(len(reference.types)))
    return Fractions(
        fitted,
        reference,
        profiles,
        y,
        scales,
        params.amounts,
        over_genes + over_cells,
        pull.factors,
        1.0 / pull.weight,
        errors,
        "adapted",
        kept,
    )


def amount_covariances(
    model: BulkMixture, params: BulkParams, counts: Floats, profiles: Floats, reference: Reference
) -> tuple[Floats, Floats]:
    """Covariance of the amounts of each sample, shape (S, K, K), in two parts to be added: the sandwich over genes, and what
    the cells of the reference would move.

    The sandwich ``I⁻¹ (Σ_g u_g u_gᵀ) I⁻¹`` holds whatever the variance of a gene, as long as genes are independent. The
    second part takes each group of reference cells (each donor) as one: its deviation moves the profiles of its type in
    all genes together, and thereby the amounts; as for the profiles, it is taken to be off by `LARGER` times its sampling
    variance.

    References
    ----------
    White (1982), Econometrica 50, 1-25, doi:10.2307/1912526, eq. 3.2; Liang & Zeger (1986), Biometrika 73, 13-22,
    doi:10.1093/biomet/73.1.13, eq. 7 (groups).
    """
    n_samples, n_types = params.amounts.shape
    _, pull = model.pull(params, counts, profiles)
    step = max(1, MOST_TOGETHER // n_types)
    n_genes = len(counts)
    correction = n_genes / max(n_genes - n_types, 1)
    over_genes, over_cells = (np.zeros((n_samples, n_types, n_types)) for _ in range(2))
    for first in range(0, n_samples, step):
        part = slice(first, min(first + step, n_samples))
        expected = expected_counts(params.amounts[part], profiles)
        information = amount_information(profiles, counts[:, part], expected, pull)
        scores = amount_scores(profiles, counts[:, part], expected, pull).reshape(n_genes, -1)
        inverse = inverted(information, params.amounts[part].ravel())
        covariance = inverse @ (correction * scores.T @ scores) @ inverse
        for s in range(part.stop - part.start):
            block = slice(s * n_types, (s + 1) * n_types)
            amounts = params.amounts[first + s]
            own = inverted(information[block, block], amounts)
            slope = (pull.held / expected[:, s])[:, None] * profiles
            moved = -(reference.deviations @ slope) * amounts[reference.deviation_types][:, None] @ own
            over_genes[first + s], over_cells[first + s] = covariance[block, block], LARGER * moved.T @ moved
    return over_genes, over_cells

"""Fractions of types in mixtures: the steady way, or the adapted one where it pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from emtools.deconvolving.adapted import adapted
from emtools.deconvolving.fractions import Fractions
from emtools.deconvolving.reference import Reference
from emtools.deconvolving.steady import steady
from emtools.engine.protocol import Floats
from emtools.kernels.mixing import expected_counts

PAYS = 1.0 / 9.0  # `gain` times `left` below which factors of genes are told from fractions, and worth it
SMALL = 0.003  # added to both errors before they are compared
SAMPLED = 40.0  # times the sampling variance of the reference: least misfit of cells and mixtures of two kinds


def deconvolve(counts: Floats, reference: Reference, **climbing: Any) -> Fractions:
    """Fractions of the types of `reference` in mixtures.

    The steady way assumes nothing about platforms. The adapted one gives each gene a factor and a noise of its own and lets
    profiles follow the mixtures. It is taken where the sampling of the reference cells explains most of the misfit
    (`misfit`), so that profiles may follow; or where it cuts the errors over genes of a plain fit (`gain`), the more so the
    less fractions explain of how genes vary between samples, whatever the factors (`left`). In the first case both ways
    should agree; by how much they do not, because the reference lacks a type for instance, enters the standard errors. A
    reference without cells is taken in the steady way.

    Parameters
    ----------
    counts : ndarray, shape (S, G)
        Expression on the scale of counts; each sample and each gene of the reference has some.
    reference : Reference
        Of the same genes.
    climbing : optional
        As in `fit`: ``tol``, ``max_passes``, ``seed``, ``threads``, ``accelerate``, …. A ``checkpoint`` is of the first fit
        alone, to all genes: it knows one fit.

    Returns
    -------
    Fractions
    """
    totals = counts.sum(axis=1)
    scales = np.median(totals) / totals
    y = np.ascontiguousarray((counts * scales[:, None]).T)
    plain = steady(y, reference, scales, climbing)
    if not len(reference.deviations):
        return plain
    rich = adapted(y, reference, scales, {**climbing, "checkpoint": None})
    if misfit(plain) < SAMPLED:
        return widened(rich, plain)
    return rich if gain(plain, rich) * left(rich) < PAYS else plain


def widened(rich: Fractions, plain: Fractions) -> Fractions:
    """The adapted way with the squared difference of both added to the variances of its fractions, and to all of a sample
    their mean over types: a type on which both happen to agree is not the surer for it.
    """
    total = rich.amounts.sum(axis=1, keepdims=True)
    apart = rich.amounts - plain.amounts / plain.amounts.sum(axis=1, keepdims=True) * total
    n_types = apart.shape[1]
    even = (np.eye(n_types) - 1.0 / n_types) * n_types / max(n_types - 1, 1)  # variances of 1, and a sum that stays
    common = (apart**2).mean(axis=1)[:, None, None] * even
    return replace(rich, covariances=rich.covariances + apart[:, :, None] * apart[:, None, :] + common)


def misfit(found: Fractions) -> float:
    """Squared misfit of the fit to all genes over what the sampling of the reference cells would give, both divided by
    the mean.
    """
    amounts = found.fit.params.amounts
    factors = found.factors[:, None] if found.way == "adapted" else np.ones((1, 1))
    expected = factors * expected_counts(amounts, found.profiles)
    sampled = factors**2 * (found.reference.errors @ (amounts**2).T)
    return float(((found.counts - expected) ** 2 / expected).sum() / (sampled / expected).sum())


def left(found: Fractions) -> float:
    """Part of the squared variation of genes between samples that fractions do not explain, with any factor for a gene; 1
    where nothing varies.
    """
    y, expected = found.counts, expected_counts(found.amounts, found.profiles)
    seen = y.sum(axis=1) > 0.0
    y, expected = y[seen], expected[seen]
    free = expected * (y.sum(axis=1) / expected.sum(axis=1))[:, None]
    mean = y.mean(axis=1, keepdims=True)
    variation = float(((y - mean) ** 2 / mean).sum())
    return float(((y - free) ** 2 / free).sum()) / variation if variation > 0.0 else 1.0


def gain(plain: Fractions, rich: Fractions) -> float:
    """Geometric mean of the ratios of errors over genes, adapted over steady."""
    ratios = np.log(rich.over_genes + SMALL) - np.log(plain.over_genes + SMALL)
    return float(np.exp(ratios.mean()))

"""Figures of AnnData objects that `emtools.tl` has annotated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from emtools.cell_types.represent import expression_of
from emtools.cell_types.reproduce import reliability as binned
from emtools.errors import InputError
from emtools.io.cells import EMBEDDINGS, Labels, labels_of
from emtools.kernels.agreement import contingency, matching, one_hot
from emtools.kernels.composition import principal_axes, telling, type_profiles
from emtools.plots.deconvolve import confusion_figure, profile_figure, type_figure
from emtools.plots.deconvolve_checks import composition_figure, reliability_figure, selection_figure

__all__ = ["composition", "confusion", "profiles", "reliability", "responsibilities", "selection"]


def answer_of(adata: AnnData) -> tuple[list[str], Any]:
    """Names of the types and responsibilities (n, K).

    Raises
    ------
    InputError
        If `adata` has no answer.
    """
    if "em_responsibilities" not in adata.obsm or "em" not in adata.uns:
        raise InputError(
            "adata", "no em_responsibilities", "an annotated object", "run emtools.tl.mixture(adata, …) first"
        )
    return [str(t) for t in adata.uns["em"]["types"]], np.asarray(adata.obsm["em_responsibilities"], dtype=np.float64)


def kept(adata: AnnData, key: str, remedy: str) -> Any:
    """A part of ``uns['em']``.

    Raises
    ------
    InputError
        If it is not there.
    """
    answer_of(adata)
    if key not in adata.uns["em"]:
        raise InputError("adata, uns['em']", f"no {key!r}", "", remedy)
    return adata.uns["em"][key]


def saved(figure: Any, save: Path | str | None) -> Any:
    """The figure, written to a file where one is named."""
    from emtools.plots.style import plain_decades

    plain_decades(figure)
    if save is not None:
        figure.savefig(save, bbox_inches="tight")
    return figure


def responsibilities(adata: AnnData, basis: str | None = None, save: Path | str | None = None) -> Any:
    """Cells on an embedding, coloured by type with opacity by certainty, beside their uncertainty.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture``.
    basis : str, optional
        Key of obsm; by default X_umap, X_tsne, …, else the first two principal axes of X_pca.
    save : path, optional
        File to write instead of returning a figure that is shown.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InputError
        If there is no answer in `adata`, or no such embedding.
    """
    types, weights = answer_of(adata)
    key = basis or next((name for name in (*EMBEDDINGS, "X_pca") if name in adata.obsm), None)
    if key is None or key not in adata.obsm:
        raise InputError(
            "adata, obsm", f"no embedding {key!r}", f"one of {', '.join(adata.obsm)}", "run scanpy.tl.umap"
        )
    points = np.asarray(adata.obsm[key], dtype=np.float64)
    points = points[:, :2] if points.shape[1] > 1 else principal_axes(points, 2)
    name = "PC" if key == "X_pca" else key.removeprefix("X_").upper()
    shares = np.asarray(adata.uns["em"]["proportions"], dtype=np.float64)
    return saved(type_figure(points, (f"{name} 1", f"{name} 2"), types, weights, "cells", shares), save)


def profiles(
    adata: AnnData,
    n_genes: int = 4,
    layer: str | None = None,
    use_raw: bool | None = None,
    save: Path | str | None = None,
) -> Any:
    """Dot plot of the genes that tell each type from the rest.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture``.
    n_genes : int
        Genes of each type, at most.
    layer, use_raw
        As for ``emtools.tl.mixture``.
    save : path, optional
        File to write as well.

    Returns
    -------
    matplotlib Figure
    """
    types, weights = answer_of(adata)
    found = type_profiles(expression_of(adata, layer, use_raw)[0], weights)
    chosen = telling(found, np.asarray(adata.uns["em"]["proportions"], dtype=np.float64), n_genes)
    return saved(profile_figure(found, [str(g) for g in adata.var_names], chosen, types, "cells")[0], save)


def composition(adata: AnnData, save: Path | str | None = None) -> Any:
    """Share of each type in each sample with its 95 % interval; returns a matplotlib Figure.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture(adata, …, sample=…)``.
    save : path, optional
        File to write as well.
    """
    told = kept(adata, "by_sample", "run emtools.tl.mixture(adata, …, sample=…)")
    return saved(composition_figure(told, answer_of(adata)[0]), save)


def selection(adata: AnnData, save: Path | str | None = None) -> Any:
    """Criteria against the number of types; returns a matplotlib Figure.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture(adata, "auto")`` or another choice of several numbers.
    save : path, optional
        File to write as well.
    """
    told = kept(adata, "selection", 'run emtools.tl.mixture(adata, "auto")')
    return saved(selection_figure(told), save)


def reliability(adata: AnnData, truth: str | None = None, save: Path | str | None = None) -> Any:
    """Stated probability against how often it was right; returns a matplotlib Figure.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture``.
    truth : str, optional
        Column of obs with known types, to which the types are matched one to one, for a second curve.
    save : path, optional
        File to write as well.
    """
    told = kept(adata, "reliability", "run emtools.tl.mixture on more cells")
    curves = {"held-out cells": {"n_units": adata.n_obs, **told}}
    if truth is not None:
        _, weights = answer_of(adata)
        known, table = against(adata, truth)
        rows, columns = matching(table)
        partner = np.full(weights.shape[1], -1)
        partner[columns] = rows
        seen = known.codes >= 0
        right = partner[weights.argmax(axis=1)[seen]] == known.codes[seen]
        curves[truth] = binned(weights.max(axis=1)[seen], right.astype(np.float64)).record()
    return saved(reliability_figure(curves), save)


def confusion(adata: AnnData, truth: str, save: Path | str | None = None) -> Any:
    """Numbers of cells of each known group in each type; returns a matplotlib Figure.

    Parameters
    ----------
    adata : AnnData
        After ``emtools.tl.mixture``.
    truth : str
        Column of obs with known types.
    save : path, optional
        File to write as well.
    """
    known, table = against(adata, truth)
    types, _ = answer_of(adata)
    return saved(confusion_figure([("Gaussian mixture", table, types)], truth, known.names, "cells"), save)


def against(adata: AnnData, truth: str) -> tuple[Labels, Any]:
    """Known types of cells whose label was not given, and counts of these by known type and by type found.

    Raises
    ------
    InputError
        If no cell is left.
    """
    types, weights = answer_of(adata)
    known = labels_of(adata, truth, "truth")
    assert known is not None
    given = str(adata.uns["em"].get("labels", ""))
    if given in adata.obs:
        told = labels_of(adata, given, "labels")
        assert told is not None
        known = replace(known, codes=np.where(told.codes >= 0, -1, known.codes))
    if not (known.codes >= 0).any():
        raise InputError(f"adata, obs, {truth!r}", "every cell with a known type has a label", "some without", "")
    seen = known.codes >= 0
    return known, contingency(known.codes[seen], one_hot(weights.argmax(axis=1)[seen], len(types)))

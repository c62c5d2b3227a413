"""Figures of AnnData objects that `emtools.tl` has annotated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from emtools.errors import InputError
from emtools.io.cells import EMBEDDINGS
from emtools.kernels.composition import principal_axes
from emtools.plots.deconvolve import type_figure

__all__ = ["responsibilities"]


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
    if "em_responsibilities" not in adata.obsm or "em" not in adata.uns:
        raise InputError(
            "adata", "no em_responsibilities", "an annotated object", "run emtools.tl.mixture(adata, …) first"
        )
    key = basis or next((name for name in (*EMBEDDINGS, "X_pca") if name in adata.obsm), None)
    if key is None or key not in adata.obsm:
        raise InputError(
            "adata, obsm", f"no embedding {key!r}", f"one of {', '.join(adata.obsm)}", "run scanpy.tl.umap"
        )
    points = np.asarray(adata.obsm[key], dtype=np.float64)
    points = points[:, :2] if points.shape[1] > 1 else principal_axes(points, 2)
    name = "PC" if key == "X_pca" else key.removeprefix("X_").upper()
    weights = np.asarray(adata.obsm["em_responsibilities"], dtype=np.float64)
    types = [str(t) for t in adata.uns["em"]["types"]]
    figure = type_figure(points, (f"{name} 1", f"{name} 2"), types, weights, "cells")
    if save is not None:
        figure.savefig(save, bbox_inches="tight")
    return figure

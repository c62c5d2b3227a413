"""Analyses of AnnData objects, named and shaped as in scanpy: ``emtools.tl.mixture(adata)``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from anndata import AnnData

from emtools.cell_types.answer import DEFAULT, Typed, labels_from_scores, record, trust_record, type_cells
from emtools.cell_types.search import STARTS, Search
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.cells import (
    Cells,
    Labels,
    annotate,
    cells_of,
    column_keys,
    expression_of,
    labels_of,
    require_independent,
    require_prefix,
    require_size,
)
from emtools.io.h5ad import listed
from emtools.kernels.agreement import contingency
from emtools.kernels.composition import donor_shares, profile_errors, share_errors, type_profiles

__all__ = ["mixture"]

FEW_GENES = 50  # a panel up to this size is modelled as it is
HIGHLY_VARIABLE = 2000
PCS = 50
CELLS_TOTAL = 1e4
SEEDED = 30  # cells labelled for each type by its markers or a reference, at most
LEAST_SHARE = 0.05  # of the common genes with a reference, below which nothing is done
Z95 = 1.959963984540054
WHOLE_SAMPLE = 200_000  # stored values looked at to tell counts


def mixture(
    adata: AnnData,
    n_types: int | None = None,
    *,
    use_rep: str | None = None,
    n_dims: int | None = None,
    labels: str | None = None,
    markers: Mapping[str, Sequence[str]] | None = None,
    reference: AnnData | None = None,
    reference_labels: str | None = None,
    donor: str | None = None,
    starts: int = STARTS,
    prefix: str = "type",
    copy: bool = False,
    random_state: int = 0,
    threads: int = 1,
    tol: float = 1e-6,
    max_passes: int = 2000,
) -> AnnData | None:
    """Find cell types by a Gaussian mixture, with probabilities that were checked on held-out cells.

    Parameters
    ----------
    adata : AnnData
        Cells.
    n_types : int, optional
        Number of types. May be left out with `labels`, `markers` or `reference`, which name them.
    use_rep : str, optional
        Key of obsm, or ``"X"``. By default X_pca; where it is absent it is computed with scanpy (and kept), from counts
        after normalisation; a panel of at most 50 variables is taken as it is.
    n_dims : int, optional
        Use the first so many columns; by default 10 of X_pca, all of another.
    labels : str, optional
        Column of obs with the type of some cells; missing elsewhere.
    markers : mapping of str to sequence of str, optional
        Marker genes of each type.
    reference : AnnData, optional
        Cells of known types, normalised as `adata`.
    reference_labels : str, optional
        Column of ``reference.obs`` with these.
    donor : str, optional
        Column of obs; proportions are then given for each and with the variance between them.
    starts : int
        Starts of K-means.
    prefix : str
        Types are named ``prefix_1``, …, where nothing names them.
    copy : bool
        Return an annotated copy instead of changing `adata`.
    random_state : int
        Root of all random numbers.
    threads : int
        Cannot change the result.
    tol : float
        Estimated remaining gain, in nats, at which the fit stops.
    max_passes : int
        Passes that the fit may take.

    Returns
    -------
    AnnData or None
        With ``obs['em_type']``, ``obs['em_uncertainty']``, ``obsm['em_responsibilities']``, ``varm['em_profiles']``,
        ``varm['em_profiles_se']``, ``uns['em']``. In column names "/" is written "|"; ``uns['em']['types']`` and
        ``obs['em_type']`` have the names as they are.

    Raises
    ------
    InputError
        If the data cannot be used as asked.
    """
    given = sum(x is not None for x in (labels, markers, reference))
    if given > 1:
        raise InputError("mixture", "several of labels, markers, reference", "one of them", "choose one")
    if reference is not None and reference_labels is None:
        raise InputError("mixture", "a reference without reference_labels", "the column of its types", "name it")
    if given == 0 and n_types is None:
        raise InputError("mixture", "no number of types", "n_types, labels, markers or a reference", "give n_types")
    if n_types is not None and (n_types != int(n_types) or n_types < 1):
        raise InputError("mixture, n_types", f"{n_types}", "a whole number of at least 1", "")
    require_prefix(prefix)
    adata = adata.copy() if copy else adata
    if adata.is_view or adata.isbacked:
        what = "a view" if adata.is_view else "backed by its file"
        raise InputError(
            "mixture", f"adata is {what}", "an object that can be changed", "use adata.copy() or to_memory()"
        )
    cells = replace(represented(adata, use_rep, n_dims), sample=labels_of(adata, donor, "donor"))
    known = labels_of(adata, labels, "labels")
    if markers is not None:
        known = marked(adata, markers)
    elif reference is not None:
        known = referred(adata, reference, str(reference_labels))
    k = int(n_types) if n_types is not None else len(known.names) if known else 1
    search = Search(starts=starts, seed=int(random_state), threads=threads, tol=tol, max_passes=max_passes)
    require_usable(cells, k)
    typed = type_cells(cells, k, search, prefix=prefix, labels=known)
    keep(adata, cells, typed, search)
    return adata if copy else None


def require_usable(cells: Cells, n_types: int) -> None:
    """Raise InputError where a mixture of K types cannot be told from the cells."""
    d = cells.values.shape[1]
    require_size(cells, n_types, n_types * (d + 1) + d * (d + 1) // 2, 0.5)
    require_independent(cells, pairs_only=False)


def keep(adata: AnnData, cells: Cells, typed: Typed, search: Search) -> tuple[Any, Floats, str]:
    """Put the answer into `adata`; what the profiles are, their standard errors, and where they come from."""
    values, source = expression_of(adata)
    profiles = type_profiles(values, typed.posterior)
    spoiled = adata.var_names[~np.isfinite(profiles.spread)]
    if len(spoiled):
        raise InputError(
            f"{cells.path}, {source}", f"{spoiled[0]} has a missing or infinite value", "finite values", "drop it"
        )
    errors = profile_errors(values, typed.posterior, profiles.means)
    settings: dict[str, Any] = {
        "family": DEFAULT,
        "n_components": len(typed.types),
        "seed": search.seed if search.seed < 2**63 else str(search.seed),
        "starts": search.starts,
        "profiles_from": source,
        **trust_record(typed.trust),
    }
    shares = typed.posterior.mean(axis=0)
    settings["proportion_errors"] = share_errors(typed.posterior)
    if cells.sample is not None:
        settings["by_donor"] = by_donor(typed, cells.sample)
    written = record(cells, typed.fitted, typed.types, shares, settings)
    annotate(adata, typed.types, typed.responsibilities, profiles.means, written, errors)
    return profiles, errors, source


def by_donor(typed: Typed, donor: Labels) -> dict[str, Any]:
    """Proportions of each donor, and their mean over donors with 95 % intervals from the variance between them."""
    known = donor.codes >= 0
    table = contingency(donor.codes[known], typed.posterior[known])
    sizes = np.bincount(donor.codes[known], minlength=len(donor.names))
    means, errors = donor_shares(typed.posterior, donor.codes, len(donor.names))
    return {
        "column": donor.column,
        "donors": np.array(donor.names, dtype=object),
        "n": sizes,
        "proportions": table / sizes[:, None],
        "mean": means,
        "standard_error": errors,
        "lower": np.clip(means - Z95 * errors, 0.0, 1.0),
        "upper": np.clip(means + Z95 * errors, 0.0, 1.0),
    }


def represented(adata: AnnData, use_rep: str | None, n_dims: int | None) -> Cells:
    """The representation to model; X_pca is computed where it is asked for and absent."""
    key = use_rep or ("X_pca" if "X_pca" in adata.obsm or adata.n_vars > FEW_GENES else "X")
    if key == "X_pca" and key not in adata.obsm:
        add_components(adata)
    if key == "X" and looks_whole(adata.X):
        warnings.warn(
            "X looks like raw counts: a normal mixture wants logarithms; see X_pca", UserWarning, stacklevel=3
        )
    return cells_of(adata, key, dimensions=n_dims)


def looks_whole(matrix: Any) -> bool:
    """Whether the first stored values are whole numbers, none below zero, some above one."""
    stored = np.asarray(matrix.data if hasattr(matrix, "toarray") else np.ravel(matrix))[:WHOLE_SAMPLE]
    return bool(stored.size and (stored >= 0).all() and (stored == np.floor(stored)).all() and (stored > 1).any())


def add_components(adata: AnnData) -> None:
    """``obsm['X_pca']`` with scanpy: counts are normalised and logged first, on a copy; 2,000 most variable genes.

    Raises
    ------
    InputError
        If X is absent, has values that are no numbers or, in counts, below zero, or cells without any count.
    """
    import scanpy as sc

    if adata.X is None:
        raise InputError("adata", "neither X_pca nor X", "one of them", "keep X")
    stored = adata.X.data if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    if not np.isfinite(stored).all():
        raise InputError("adata, X", "missing or infinite values", "finite numbers", "drop or fill them")
    work = AnnData(adata.X.copy(), adata.obs[[]].copy(), adata.var[[]].copy())
    if looks_whole(work.X):
        totals = np.asarray(work.X.sum(axis=1)).ravel()
        if not (totals > 0).all():
            names = [str(n) for n in adata.obs_names[totals == 0][:3]]
            raise InputError(
                "adata, X",
                f"{int((totals == 0).sum())} cells without any count ({listed(names)})",
                "counts",
                "drop them",
            )
        sc.pp.normalize_total(work, target_sum=CELLS_TOTAL)
        sc.pp.log1p(work)
    else:
        largest = float(stored.max(initial=0.0))
        if largest > 50.0 and float(stored.min(initial=0.0)) >= 0.0:
            raise InputError(
                "adata, X",
                f"values up to {largest:.4g} that are not whole: neither counts nor logarithms",
                "counts or log-normalised expression",
                "run scanpy.pp.log1p(adata)",
            )
    if work.n_vars > HIGHLY_VARIABLE and float(stored.min(initial=0.0)) >= 0.0:
        varying = np.asarray((work.X > 0).sum(axis=0)).ravel() > 0
        work = work[:, varying].copy()
        sc.pp.highly_variable_genes(work, n_top_genes=min(HIGHLY_VARIABLE, work.n_vars))
    sc.pp.pca(work, n_comps=min(PCS, work.n_obs - 1, work.n_vars - 1), random_state=0)
    adata.obsm["X_pca"] = np.asarray(work.obsm["X_pca"])


def logged(adata: AnnData) -> tuple[Any, Sequence[str]]:
    """Log expression (n, G) for scores, with the names of its genes: raw where it is, X after log where it is counts."""
    values, _ = expression_of(adata)
    names = [str(name) for name in adata.var_names]
    if not looks_whole(values):
        return values, names
    totals = np.maximum(np.asarray(values.sum(axis=1), dtype=np.float64).ravel(), 1.0)
    if hasattr(values, "multiply"):
        scaled = values.astype(np.float64).multiply((CELLS_TOTAL / totals)[:, None]).tocsr()
        return scaled.log1p(), names
    return np.log1p(np.asarray(values, dtype=np.float64) * (CELLS_TOTAL / totals)[:, None]), names


def columns_of(values: Any, wanted: Sequence[int]) -> Floats:
    """Columns of a dense or sparse matrix as z-scores, shape (n, len(wanted)); those that do not vary are 0."""
    part = values[:, list(wanted)]
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float64)
    spread = dense.std(axis=0)
    return (dense - dense.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)


def n_seeded(n_cells: int, n_types: int) -> int:
    """Cells to label for each type."""
    return max(3, min(SEEDED, n_cells // (4 * n_types)))


def marked(adata: AnnData, markers: Mapping[str, Sequence[str]]) -> Labels:
    """Labels of the cells in which the markers of one type stand out, mean z-score over its genes.

    Raises
    ------
    InputError
        If a type has no marker among the genes, or no cell.
    """
    values, names = logged(adata)
    place = {name: i for i, name in enumerate(names)}
    scores = []
    for name, genes in markers.items():
        found = [place[g] for g in genes if g in place]
        if not found:
            raise InputError(
                f"markers, {name!r}",
                f"none of {listed(list(genes))} is among the genes",
                f"names such as {listed(names[:4])}",
                "use the same kind of names (symbols or Ensembl ids)",
            )
        scores.append(columns_of(values, found).mean(axis=1))
    return labels_from_scores(np.column_stack(scores), list(markers), "markers", n_seeded(adata.n_obs, len(markers)))


def referred(adata: AnnData, reference: AnnData, column: str) -> Labels:
    """Labels of the cells that lie closest to the mean of one type of a reference, by correlation over common genes.

    Raises
    ------
    InputError
        If hardly any gene is common, or no cell is closest to a type.
    """
    types = labels_of(reference, column, "reference_labels", "reference")
    assert types is not None
    values, names = logged(adata)
    theirs, their_names = logged(reference)
    place = {name: i for i, name in enumerate(their_names)}
    common = [i for i, name in enumerate(names) if name in place]
    if len(common) < max(2, LEAST_SHARE * min(len(names), len(their_names))):
        raise InputError(
            "reference",
            f"{len(common)} of {len(names)} genes in common (adata: {listed(names[:3])}; reference: "
            f"{listed(list(their_names[:3]))})",
            f"at least {LEAST_SHARE:.0%}",
            "use the same kind of names (symbols or Ensembl ids)",
        )
    other = columns_of(theirs, [place[names[i]] for i in common])
    means = np.stack([other[types.codes == k].mean(axis=0) for k in range(len(types.names))])
    mine = columns_of(values, common)
    means -= means.mean(axis=1, keepdims=True)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-300)
    mine -= mine.mean(axis=1, keepdims=True)
    mine /= np.maximum(np.linalg.norm(mine, axis=1, keepdims=True), 1e-300)
    return labels_from_scores(mine @ means.T, types.names, f"reference, {column}", n_seeded(len(mine), len(means)))


def type_columns(adata: AnnData) -> list[str]:
    """Column names of ``obsm['em_responsibilities']``, in the order of the types."""
    return column_keys([str(name) for name in adata.uns["em"]["types"]])

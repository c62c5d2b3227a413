"""Analyses of AnnData objects, named and shaped as in scanpy: ``emtools.tl.mixture(adata)``."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from anndata import AnnData

from emtools.cell_types.answer import Question, answer, keep
from emtools.cell_types.hints import marked, referred
from emtools.cell_types.represent import doubts, expression_of, represented
from emtools.cell_types.search import DEFAULT, STARTS, Search
from emtools.errors import InputError
from emtools.io.cells import labels_of, require_prefix
from emtools.models.mixture_selection import Criterion

__all__ = ["mixture"]


def mixture(
    adata: AnnData,
    n_types: int | Sequence[int] | str | None = None,
    *,
    use_rep: str | None = None,
    n_dims: int | None = None,
    columns: Sequence[str] | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    labels: str | None = None,
    markers: Mapping[str, Sequence[str]] | None = None,
    reference: AnnData | None = None,
    reference_labels: str | None = None,
    sample: str | None = None,
    family: str = DEFAULT,
    criterion: Criterion = "icl",
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
        Cells, in memory, backed by a file that has the representation in obsm, or with a Dask X.
    n_types : int, sequence of int or "auto", optional
        Number of types, or those of which the best is chosen (auto: 1 to 20). May be left out with `labels`,
        `markers` or `reference`, which name the types.
    use_rep : str, optional
        Key of obsm, or ``"X"``. By default X_pca; where it is absent it is computed with scanpy (and kept), from counts
        after normalisation; a panel of at most 50 variables is taken as it is.
    n_dims : int, optional
        Use the first so many columns; by default 10 of X_pca, all of another.
    columns : sequence of str, optional
        Variables of X to model.
    layer : str, optional
        Layer to take in place of X, for the profiles and where X is modelled or components are computed.
    use_raw : bool, optional
        Take ``raw`` in place of X; by default for the profiles only, where it holds every variable.
    labels : str, optional
        Column of obs with the type of some cells; missing elsewhere.
    markers : mapping of str to sequence of str, optional
        Marker genes of each type.
    reference : AnnData, optional
        Cells of known types, normalised as `adata`.
    reference_labels : str, optional
        Column of ``reference.obs`` with these.
    sample : str, optional
        Column of obs with donors or batches; proportions are then given for each, with intervals.
    family : str
        ``"shrunken"``: covariances of its own for each type, shrunk to a common one; or one of mclust's fourteen
        families (``"VVV"``, ``"EEE"``, …; also full, tied, diagonal, spherical).
    criterion : {"icl", "bic", "held_out"}
        By what K is chosen.
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
        ``obs['em_type']`` have the names as they are. Nothing is written to the file of a backed object.

    Raises
    ------
    InputError
        If the data cannot be used as asked.
    """
    hints = [name for name, x in (("labels", labels), ("markers", markers), ("reference", reference)) if x is not None]
    if len(hints) > 1:
        raise InputError("mixture", f"{' and '.join(hints)} given", "one of them", "choose one")
    if reference is not None and reference_labels is None:
        raise InputError("mixture", "a reference without reference_labels", "the column of its types", "name it")
    if reference is None and reference_labels is not None:
        raise InputError(
            "mixture", "reference_labels without a reference", "both", "labels of adata itself are `labels`"
        )
    if criterion not in get_args(Criterion):
        raise InputError("mixture, criterion", f"{criterion!r}", f"one of {', '.join(get_args(Criterion))}", "")
    wanted: int | Sequence[int] | str | None
    if n_types is None or isinstance(n_types, str):
        wanted = n_types
    elif isinstance(n_types, numbers.Real):
        wanted = whole(n_types, "n_types")
    else:
        wanted = [whole(number, "n_types") for number in n_types]
    require_prefix(prefix)
    if adata.is_view and not copy:
        raise InputError("mixture", "adata is a view", "an object that can be changed", "use adata.copy()")
    if copy:
        adata = adata.to_memory() if adata.isbacked else adata.copy()
    search = Search(
        starts=whole(starts, "starts"),
        seed=whole(random_state, "random_state", 0),
        threads=whole(threads, "threads"),
        tol=float(tol),
        max_passes=whole(max_passes, "max_passes"),
    )
    cells = represented(adata, use_rep, None if n_dims is None else whole(n_dims, "n_dims"), columns, layer, use_raw)
    cells = replace(cells, sample=labels_of(adata, sample, "sample"))
    known = labels_of(adata, labels, "labels")
    if markers is not None:
        known = marked(adata, markers)
    elif reference is not None:
        known = referred(adata, reference, str(reference_labels))
    expression, source = expression_of(adata, layer, use_raw)
    for note in doubts(cells, expression, source):
        warnings.warn(note, UserWarning, stacklevel=2)
    question = Question(n_types=wanted, criterion=criterion, family=family, labels=known, prefix=prefix, search=search)
    keep(adata, cells, answer(cells, question), expression, source)
    return adata if copy else None


def whole(value: Any, name: str, least: int = 1) -> int:
    """A whole number of any kind, numpy's small ones too, as an int.

    Raises
    ------
    InputError
        If it is none, or below `least`.
    """
    if not isinstance(value, numbers.Real) or not float(value).is_integer() or value < least:
        raise InputError(f"mixture, {name}", f"{value!r}", f"a whole number of at least {least}", "")
    return int(value)

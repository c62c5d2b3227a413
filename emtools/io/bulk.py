"""Mixtures and the single cells they are held against: read both on the scale of counts, and match their genes."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cells import load_anndata, make_labels
from emtools.io.h5ad import listed, opened
from emtools.io.outputs import require_file
from emtools.io.sniff import GZIP, bare_suffix, gunzip

if TYPE_CHECKING:  # to load them takes longer than to find that a file cannot be read
    import anndata
    import pandas as pd

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

TABLE = "the table"  # source of what is no AnnData
GENE_COLUMN = "gene"
TABLES = (".csv", ".tsv", ".tab", ".txt")
ARRAYS = 10.0  # logarithms without any zero that go beyond are intensities of arrays
CLEARLY = 0.3  # of the other's spread of totals
MOST_ROWS = 500  # rows whose totals are looked at
LARGEST_LOG = 30.0  # logarithms of expression stay below; counts of thousands of genes do not
ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?$")
LEAST_GENES = 20
LEAST_COMMON = 0.03  # of the genes of the smaller side
FEW_CELLS = 10
TWICE = (
    ".*names are not unique"  # what anndata says of genes that are named twice, which is told where they are matched
)
REFERENCE = "reference"  # in place of a table of RNA per cell


@dataclass(frozen=True)
class Expression:
    """Expression on the scale of counts.

    Parameters
    ----------
    path : Path
        File.
    names : tuple of str
        Samples or cells, n of them.
    genes : tuple of str
        G of them.
    values : ndarray or CSR matrix, shape (n, G)
        At least 0.
    source : str
        Where they lie.
    adata : AnnData
        Everything that came with them.
    notes : tuple of str
        What was done to them.
    """

    path: Path
    names: tuple[str, ...]
    genes: tuple[str, ...]
    values: Any
    source: str
    adata: anndata.AnnData
    notes: tuple[str, ...] = ()


def read_expression(path: Path, kind: str) -> Expression:
    """Expression of an AnnData file or of a table.

    Counts are looked for in ``layers['counts']``, then in ``raw``, then in ``X``. Logarithms are undone and said.

    Parameters
    ----------
    path : Path
        .h5ad, or .csv, .tsv, .tab, .txt (plain or .gz) with names in the first column and the first row.
    kind : str
        ``"mixtures"`` or ``"cells"``, for messages.

    Raises
    ------
    InputError
        If the file cannot be read, or a value is missing, infinite or negative.
    """
    require_file(path, kind)
    if bare_suffix(path) in TABLES:
        adata = read_table(path)
        return checked(path, kind, adata, adata.X, adata.var_names, TABLE)
    with opened(path) as file:
        if not len(file["obs"]):
            raise InputError(str(path), f"no {kind}", "at least one", "check the filter that made the file")
    adata = load_anndata(path)
    if "counts" in adata.layers:
        return checked(path, kind, adata, adata.layers["counts"], adata.var_names, "layers['counts']")
    if adata.raw is not None:
        return checked(path, kind, adata, adata.raw.X, adata.raw.var_names, "raw")
    if adata.X is None:
        raise InputError(str(path), "there is no expression", "X with at least one gene", "keep X in the file")
    return checked(path, kind, adata, adata.X, adata.var_names, "X")


def read_table(path: Path) -> anndata.AnnData:
    """A table of numbers with names in its first column, as AnnData; which way round is decided when genes are matched."""
    frame = read_numbers(path)
    import anndata
    import pandas as pd

    obs, var = (pd.DataFrame(index=pd.Index([str(n) for n in axis])) for axis in (frame.index, frame.columns))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", TWICE)
        return anndata.AnnData(frame.to_numpy(dtype=np.float64), obs=obs, var=var)


def read_numbers(path: Path) -> pd.DataFrame:
    """A table of numbers with names in its first column.

    Raises
    ------
    InputError
        If a cell is no number, or there are no columns or rows.
    """
    separator = "," if bare_suffix(path) == ".csv" else "\t"
    try:
        raw = path.read_bytes()
        raw = gunzip(path, raw) if raw.startswith(GZIP) else raw
        # Where a blank follows a bare carriage return, pandas reads the row before it some 262,144 times.
        content = io.BytesIO(raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        import pandas as pd

        frame = pd.read_csv(content, sep=separator, index_col=0)
        content.seek(0)
        first = pd.read_csv(content, sep=separator, header=None, nrows=1, dtype=str).iloc[0].tolist()
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            str(path), f"cannot be read as a table ({str(error).splitlines()[0]})", "numbers under one header line"
        ) from error
    if not len(frame):
        raise InputError(str(path), "no row below the header line", "names in the first column, numbers in all others")
    words = [
        str(name)
        for name, kind in zip(frame.columns, frame.dtypes, strict=True)
        if not pd.api.types.is_numeric_dtype(kind)
    ]
    if words or not frame.shape[1]:
        raise InputError(
            str(path),
            f"columns {listed(words)} hold text" if words else "one column only",
            "names in the first column, numbers in all others",
            "take other columns out",
        )
    as_written = first[-frame.shape[1] :]  # pandas numbers names that occur twice
    frame.columns = [
        written if isinstance(written, str) else str(name)
        for name, written in zip(frame.columns, as_written, strict=True)
    ]
    return frame


def checked(path: Path, kind: str, adata: anndata.AnnData, matrix: Any, genes: Any, source: str) -> Expression:
    """Expression without logarithms, all of it at least zero.

    Raises
    ------
    InputError
        If a value is missing, infinite or negative, or there is none above zero.
    """
    from scipy import sparse

    values = sparse.csr_matrix(matrix, dtype=np.float64) if sparse.issparse(matrix) else np.asarray(matrix, np.float64)
    where = f"{path}, {source}"
    held = values.data if sparse.issparse(values) else values
    if not np.isfinite(held).all():
        n_bad = int((~np.isfinite(held)).sum())
        raise InputError(
            where, f"{n_bad} values are missing or infinite", "finite numbers", f"fill the gaps or drop these {kind}"
        )
    if (held < 0).any():
        raise InputError(
            where,
            "some values are negative (scaled or centred data)",
            "counts, TPM, or logarithms of these",
            "put the counts into layers['counts'], or write the data before scaling",
        )
    if not (held > 0).any():
        raise InputError(where, "every value is zero", "expression", "check how the file was made")
    notes: tuple[str, ...] = ()
    if is_logarithm(held, adata):
        base, shift = logarithm_of(values)
        values = (values * np.log(base)).expm1() if sparse.issparse(values) else base**values - shift
        notes = (
            f"{source} of {path.name} holds logarithms (no whole numbers, largest {held.max():.1f}): they were undone as "
            f"{'log2' if base == 2.0 else 'ln'}(x{' + 1' * (shift == 1.0)})",
        )
    names = tuple(str(name) for name in adata.obs_names)
    return Expression(path, names, tuple(str(gene) for gene in genes), values, source, adata, notes)


def is_logarithm(held: Floats, adata: anndata.AnnData) -> bool:
    """Whether expression looks like logarithms: none above `LARGEST_LOG`, and not whole numbers."""
    sample = np.ravel(held)[:200_000]
    return bool(held.max() < LARGEST_LOG) and not are_whole(sample)


def are_whole(values: Any) -> bool:
    """Whether all values, dense or CSR, are whole numbers."""
    held = values.data if hasattr(values, "indptr") else values
    return bool((held == np.floor(held)).all())


def logarithm_of(values: Any) -> tuple[float, float]:
    """Base, and what was added before, of logarithms.

    The base under which totals are clearly the more alike: samples or cells are brought to one total before logarithms are
    taken. Where that decides nothing, logarithms without zeros that go beyond `ARRAYS` are intensities of arrays, base 2;
    others are natural.
    """
    from scipy import sparse

    some = values[:MOST_ROWS]
    spreads = []
    for scale in (1.0, np.log(2.0)):
        part = (some * scale).expm1() if sparse.issparse(some) else np.expm1(some * scale)
        both = [np.asarray(part.sum(axis=axis), dtype=np.float64).ravel() for axis in (0, 1)]
        spreads.append(min(totals.std() / totals.mean() if totals.sum() > 0.0 else np.inf for totals in both))
    if spreads[1] < CLEARLY * spreads[0]:
        return 2.0, 1.0
    unclear = spreads[0] >= CLEARLY * spreads[1]
    if unclear and not sparse.issparse(values) and values.min() > 0.0 and values.max() > ARRAYS:
        return 2.0, 0.0
    return float(np.e), 1.0


def turned(mixtures: Expression, genes: tuple[str, ...]) -> Expression:
    """A table with samples (or types) in rows: turned where its rows are the genes."""
    if mixtures.source != TABLE:
        return mixtures
    known = {bare(gene) for gene in genes}
    in_rows, in_columns = (sum(bare(n) in known for n in names) for names in (mixtures.names, mixtures.genes))
    if in_rows <= in_columns:
        return mixtures
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", TWICE)
        adata = mixtures.adata.T.copy()
    return Expression(
        mixtures.path, mixtures.genes, mixtures.names, mixtures.values.T, mixtures.source, adata, mixtures.notes
    )


def bare(gene: str) -> str:
    """A name without the version of an Ensembl id, in capitals."""
    return gene.split(".")[0].upper() if ENSEMBL.match(gene.upper()) else gene.upper()


@dataclass(frozen=True)
class Matched:
    """Genes that mixtures and cells share.

    Parameters
    ----------
    genes : tuple of str
        As the mixtures name them, G of them.
    mixtures : ndarray, shape (S, G)
    cells : CSR matrix, shape (n, G)
    notes : tuple of str
        What the reader should know.
    """

    genes: tuple[str, ...]
    mixtures: Floats
    cells: Any
    notes: tuple[str, ...]


def read_markers(path: Path) -> tuple[str, ...]:
    """Names of genes: one a line, or the column gene of a table.

    Raises
    ------
    InputError
        If there are none, or a table has no such column.
    """
    require_file(path, "markers")
    try:
        lines = [line.rstrip("\r") for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path), "cannot be read as text", "one gene a line, or a table with a column gene"
        ) from error
    separator = next((mark for mark in ("\t", ",", ";") if lines and mark in lines[0]), None)
    rows = [
        [cell.strip().strip('"') for cell in line.split(separator)] if separator else [line.strip()] for line in lines
    ]
    place = 0
    if rows and (separator or rows[0][0].lower() == GENE_COLUMN):
        header = [name.lower() for name in rows[0]]
        if GENE_COLUMN not in header:
            raise InputError(
                str(path),
                f"no column {GENE_COLUMN!r} among {listed(rows[0])}",
                "one",
                "name the column of the genes gene",
            )
        place, rows = header.index(GENE_COLUMN), rows[1:]
    names = tuple(dict.fromkeys(row[place] for row in rows if len(row) > place and row[place]))
    if not names:
        raise InputError(str(path), "names no gene", "one gene a line, or a table with a column gene")
    return names


def read_rna_per_cell(path: Path) -> dict[str, float]:
    """Relative RNA content of a cell of each type: a table with the types in its first column and a number beside each.

    Raises
    ------
    InputError
        If it cannot be read, has other columns, a value is not above 0, or a type is named twice.
    """
    require_file(path, "relative RNA")
    frame = read_numbers(path)
    layout = "a header line, types in the first column, a number above 0 beside each"
    if frame.shape[1] != 1:
        raise InputError(str(path), f"{frame.shape[1]} columns beside the types", layout, "keep the one with the RNA")
    names, values = [str(name).strip() for name in frame.index], frame.to_numpy(dtype=np.float64)[:, 0]
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise InputError(str(path), f"{listed(twice)} stand there more than once", layout, "keep one row for each type")
    wrong = [name for name, value in zip(names, values, strict=True) if not 0.0 < value < np.inf]
    if wrong:
        raise InputError(str(path), f"no number above 0 for {listed(wrong)}", layout)
    return dict(zip(names, values.tolist(), strict=True))


def match_genes(mixtures: Expression, cells: Expression, only: tuple[str, ...] | None = None) -> Matched:
    """The genes that both name; a gene that is named twice counts with the sum of its values.

    Parameters
    ----------
    mixtures, cells : Expression
        Both sides.
    only : tuple of str, optional
        Genes to use.

    Raises
    ------
    InputError
        If there are too few.
    """
    from scipy import sparse

    ours, theirs = ([bare(gene) for gene in side.genes] for side in (mixtures, cells))
    common = sorted(set(ours) & set(theirs))
    smaller = min(len(set(ours)), len(set(theirs)))
    if len(common) < LEAST_GENES or len(common) < LEAST_COMMON * smaller:
        raise InputError(
            f"{mixtures.path}, {cells.path}",
            f"{len(common)} of {smaller} genes are common to both ({kind_of(mixtures.genes)} such as "
            f"{listed(mixtures.genes[:3])} against {kind_of(cells.genes)} such as {listed(cells.genes[:3])})",
            f"at least {max(LEAST_GENES, int(np.ceil(LEAST_COMMON * smaller)))} common names",
            other_names(mixtures, cells) or other_names(cells, mixtures) or "name the genes of both in the same way",
        )
    wanted = None if only is None else {bare(gene) for gene in only}
    if wanted is not None and len(wanted & set(common)) < LEAST_GENES:
        raise InputError(
            f"{mixtures.path}, {cells.path}",
            f"{len(wanted & set(common))} of {len(wanted)} markers are in both",
            f"at least {LEAST_GENES}",
            "name markers as the files name their genes, or leave --markers out",
        )
    notes = [
        f"{len(names) - len(set(names))} gene names of {side.path.name} occur more than once: their values were added"
        for names, side in ((ours, mixtures), (theirs, cells))
        if len(set(names)) < len(names)
    ]
    if len(common) < 0.5 * smaller:
        notes.append(f"only {len(common)} of {smaller} genes are common to both files")
    if wanted is not None:
        common = [gene for gene in common if gene in wanted]
        notes.append(f"{len(common)} of {len(wanted)} markers are in both files; no other gene was used")
    spelled = dict(zip(reversed(ours), reversed(mixtures.genes), strict=True))
    return Matched(
        tuple(spelled[gene] for gene in common),
        np.asarray((sparse.csr_matrix(mixtures.values) @ picks(ours, common)).toarray()),
        (sparse.csr_matrix(cells.values) @ picks(theirs, common)).tocsr(),
        tuple(notes),
    )


def picks(names: list[str], wanted: list[str]) -> Any:
    """Matrix that adds the columns of one name, shape (len(names), len(wanted))."""
    from scipy import sparse

    places = {name: i for i, name in enumerate(wanted)}
    rows = [i for i, name in enumerate(names) if name in places]
    columns = [places[names[i]] for i in rows]
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(wanted)))


def other_names(one: Expression, other: Expression) -> str:
    """What to do where a column of var of `one` names the genes as `other` does; empty where none does."""
    if one.source == TABLE:
        return ""
    var = one.adata.raw.var if one.source == "raw" else one.adata.var
    known = {bare(gene) for gene in other.genes}
    for column in var.columns:
        names = {bare(str(name)) for name in var[column]}
        if len(names & known) >= max(LEAST_GENES, 0.5 * min(len(names), len(known))):
            return f"var[{str(column)!r}] of {one.path.name} names {len(names & known)} of them: make it var_names"
    return ""


def kind_of(genes: tuple[str, ...]) -> str:
    """What names of genes look like."""
    return (
        "Ensembl ids"
        if sum(bool(ENSEMBL.match(gene.upper())) for gene in genes[:200]) > 100 * min(1.0, len(genes) / 200)
        else "symbols"
    )


def labels_of(cells: Expression, column: str, option: str) -> tuple[Codes, tuple[str, ...]]:
    """Codes and names of a column of obs of the cells.

    Raises
    ------
    InputError
        If it is not there, or groups nothing.
    """
    frame = cells.adata.obs
    if column not in frame:
        raise InputError(
            f"{cells.path}, obs",
            f"no column {column!r}",
            f"one of: {listed(list(frame.columns))}",
            f"name one of them with {option}",
        )
    found = make_labels(cells.path, column, frame[column].to_numpy(dtype=object), option)
    return found.codes, found.names


def require_types(cells: Expression, column: str, codes: Codes, names: tuple[str, ...]) -> list[str]:
    """What to say of types with few cells.

    Raises
    ------
    InputError
        If there is one type, or a type has one cell.
    """
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    if len(names) < 2:
        raise InputError(
            f"{cells.path}, column {column!r}", f"one type ({names[0]})", "two or more", "name another column"
        )
    alone = [name for name, size in zip(names, sizes, strict=True) if size < 2]
    if alone:
        raise InputError(
            f"{cells.path}, column {column!r}",
            f"one cell only of {listed(alone)}",
            "two or more of each type, better fifty",
            "merge it with a related type, or leave its cells without a label",
        )
    few = [f"{name} ({size})" for name, size in zip(names, sizes, strict=True) if size < FEW_CELLS]
    notes = [f"few cells of {listed(few)}: their profiles are rough"] if few else []
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum())} cells without a label were left out")
    return notes

"""``emtools init DATA``: a commented config of the workflow for files of your own, from a look into each."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.config import find_schemas, make_plan
from emtools.io.config_text import read_yaml
from emtools.io.image_folder import STORES, is_store, list_images, stem_of
from emtools.io.outputs import staged
from emtools.io.sniff import TABLES, TRACKS, bare_suffix

if TYPE_CHECKING:
    from emtools.io.tables import Table

SEQUENCES = (".fa", ".fasta", ".fna", ".ffn", ".faa", ".fas")
CELLS = (".h5ad",)
IMAGES = (".tif", ".tiff", ".btf", ".png")
LOSSY = (".jpg", ".jpeg", ".gif", ".webp")
PEAKS, PEAK_LENGTH = 10, 2000  # records from which, and letters up to which, a FASTA file is one of sites
WIDTH, NARROWEST = 12, 2  # of a motif, letters
ROWS_LOOKED_AT = 1000
FEWEST_OF_BATCH = 4  # images that are alike in a folder from which it is one batch
NAMES_MASK = re.compile(r".*[_ .-](masks?|labels?|seg|segmentation|annotations?|truth|gt)", re.IGNORECASE)
STATES, MOST_STATES = 3, 5  # of a track, and that are tried where the number is chosen
NAMES_ROWS = re.compile(r"(.*[_ .-])?(id|sample|patient|subject|donor|barcode|row)([_ .-].*)?", re.IGNORECASE)
SKEWED = 1.0
SAYABLE = re.compile(r"[^-\s\x00-\x1f\x7f{}][^\x00-\x1f\x7f{}]*")  # a word of workflow/schemas/config.schema.yaml
PLAIN = re.compile(r"(/|\.{1,2}/)?[A-Za-z_][A-Za-z0-9_./-]*")
LONGEST = 90  # letters of the name of an entry, of 100 that it may have
WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to look into, and where to write.

    Parameters
    ----------
    data : sequence of Path
        Files, or folders whose files are looked into.
    out : Path
        Config file to write; one that is there is not replaced.
    command : tuple of str
        Command line as typed.
    """

    data: Sequence[Path]
    out: Path
    command: tuple[str, ...] = ()


@dataclass
class Proposal:
    """An analysis to put into the config.

    Parameters
    ----------
    branch : str
        Command.
    path : Path
        Input.
    why : str
        What was seen.
    keys : dict
        Keys and values beside the input.
    hints : list of str
        Lines that a person may take in, without the "# " before them.
    alike : tuple
        What the images of a batch have in common; empty for all but images.
    files : tuple of Path
        Files that an image was read from; empty for all but images.
    """

    branch: str
    path: Path
    why: str
    keys: dict[str, Any] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    alike: tuple[Any, ...] = ()
    files: tuple[Path, ...] = ()


def run(options: Options) -> int:
    """Look and write.

    Raises
    ------
    InputError
        If a named file is nothing that can be analysed, a folder holds none, or the config exists.
    """
    if options.out.exists():
        raise InputError(str(options.out), "is there already", "a new file", "give another --out or remove it")
    if options.out.suffix not in (".yaml", ".yml"):
        raise InputError(str(options.out), f"the ending is {options.out.suffix!r}", "a .yaml file")
    found, unused = look(options.data)
    text = config_text(found, unused, options)
    with staged(options.out.parent, seal=options.out.name) as folder:
        path = folder / options.out.name
        path.write_text(text, encoding="utf-8")
        make_plan(read_yaml(path), str(options.out), find_schemas())
    for proposal in found:
        print(f"emtools init: {proposal.path}: {proposal.branch}, {proposal.why}", file=sys.stderr)
    for line in unused:
        print(f"emtools init: {line}", file=sys.stderr)
    workflow = find_schemas().parent / "Snakefile"
    elsewhere = "" if workflow.parent == Path("workflow") else f" --snakefile {shlex.quote(str(workflow))}"
    print(
        f"emtools init: wrote {options.out}; snakemake{elsewhere} --cores all --configfile {shlex.quote(str(options.out))}"
    )
    return 0


def look(data: Sequence[Path]) -> tuple[list[Proposal], list[str]]:
    """Proposals for the files, and a line for each file of a folder that cannot be analysed, with the reason."""
    found, unused = [], []
    for path in data:
        if path.is_dir() and not is_store(path):
            inside: list[Proposal] = []
            for file in sorted(path.iterdir()):
                if file.name.startswith("."):
                    continue
                if file.is_dir() and not is_store(file):
                    unused.append(f"not used: {file}: a folder within a folder; name it on the command line too")
                    continue
                if not (file.is_file() or is_store(file)):
                    continue
                try:
                    proposal = propose(file)
                except InputError as error:
                    unused.append(f"not used: {error}")
                    continue
                inside += [proposal] if proposal else []
                unused += [] if proposal else [f"not used: {file}: {unknown(file)}"]
            found += as_batch(path, inside)
            continue
        proposal = propose(path)
        if proposal is None:
            endings = ", ".join((*TABLES, *CELLS, *IMAGES, *SEQUENCES, *TRACKS)) + ", or OME-Zarr"
            raise InputError(str(path), unknown(path), f"one of {endings}", "")
        found.append(proposal)
    if not found:
        where, why = ", ".join(map(str, data)), "".join(f"; {line}" for line in unused)
        raise InputError(where, f"nothing there to analyse{why}", "tables, h5ad, images, FASTA or tracks")
    return found, unused


def as_batch(folder: Path, inside: list[Proposal]) -> list[Proposal]:
    """Proposals for the files of a folder; one for all its images where these are many and alike, such as those of a plate."""
    images = [proposal for proposal in inside if proposal.branch == "segment"]
    if len(images) < FEWEST_OF_BATCH or len({image.alike for image in images}) > 1:
        return inside
    if any(NAMES_MASK.fullmatch(stem_of(image.path)) for image in images):  # what others found in them, among them
        return inside
    files = [file.name for image in images for file in image.files]
    if len(set(files)) < len(files):  # planes of one image in several files, each of which stands for it
        return inside
    try:
        if len(list_images([folder])) != len(images):
            return inside
    except InputError:  # two images of one name, which are two fits but no batch
        return inside
    first = images[0]
    hints = [
        *first.hints,
        "a folder is one batch: one model for all images; an entry of its own for a file is a fit of its own",
    ]
    batch = Proposal(
        "segment", folder, f"{len(images)} images alike, each {first.why.removeprefix('an image of ')}", {}, hints
    )
    return [*(proposal for proposal in inside if proposal.branch != "segment"), batch]


def unknown(path: Path) -> str:
    """Why nothing is done with a file whose ending is of no kind that is known."""
    suffix = bare_suffix(path)
    if suffix in LOSSY:
        return f"{suffix} is an image, but not one that keeps its values: save what it was made from as TIFF or PNG"
    return f"the ending is {suffix or 'absent'!r}"


def propose(path: Path) -> Proposal | None:
    """What to do with a file; None where its ending is of no kind that is known."""
    if is_store(path):
        marks = [path / mark for mark in STORES]
        return of_image(path) if any(b"multiscales" in m.read_bytes() for m in marks if m.is_file()) else None
    suffix = bare_suffix(path)
    for endings, of_kind in (
        (TABLES, of_table),
        (CELLS, of_cells),
        (IMAGES, of_image),
        (SEQUENCES, of_fasta),
        (TRACKS, of_track),
    ):
        if suffix in endings:
            return of_kind(path)
    return None


def of_table(path: Path) -> Proposal:
    """Gaps are filled; a table without any is grouped."""
    from emtools.io.tables import read_table

    table = read_table(path)
    named = row_column(table)
    if named is not None:
        table = read_table(path, id_column=named)
    gaps = int(np.isnan(table.values).sum())
    keys: dict[str, Any] = {} if named is None else {"id": named}
    shape = f"{len(table.rows)} rows, {len(table.markers)} markers"
    fixed = [entry.column for entry in table.dictionary.entries if entry.type in ("binary", "category")]
    fixed = [name for name in fixed if name not in table.markers]
    log = [name for name, values in zip(table.markers, table.values.T, strict=True) if skewness(values) > SKEWED]
    hints = [f"columns: {flow(table.markers)}   # default: all numeric columns; take out what is no measurement"]
    hints += [f"log: {flow(log)}   # positive and skewed to the right"] if log else []
    if not gaps:
        keys["components"] = "1-5"
        return Proposal("deconvolve", path, f"a table without gaps ({shape}): groups of its rows", keys, hints)
    hints += [f"covariates: {flow(fixed)}   # few values: fixed effects"] if fixed else []
    hints.append("draws: 5   # completed tables for emtools pool")
    hints += table.notices
    return Proposal("impute", path, f"a table with {gaps:,} gaps ({shape})", keys, hints)


def row_column(table: Table) -> str | None:
    """Column that names the rows: one of text whose values all differ, or numbers so called; not one that a config cannot name."""
    for entry in table.dictionary.entries:
        distinct = entry.type == "text" and entry.note.startswith("every value differs")
        if entry.role == "leave" and distinct and SAYABLE.fullmatch(entry.column):
            return entry.column
    for name, values in zip(table.markers, table.values.T, strict=True):
        whole = not np.isnan(values).any() and (values == np.round(values)).all()
        called = NAMES_ROWS.fullmatch(name) and SAYABLE.fullmatch(name)
        if whole and len(np.unique(values)) == len(values) and called:
            return name
    return None


def skewness(values: npt.NDArray[np.float64]) -> float:
    """Third standardised moment of the observed values; 0.0 where one is not positive or all are equal."""
    held = values[~np.isnan(values)]
    if held.size < 3 or held.min() <= 0.0 or np.ptp(held) == 0.0:
        return 0.0
    return float(np.mean((held - held.mean()) ** 3) / held.std() ** 3)


def of_cells(path: Path) -> Proposal:
    """Cells are grouped; an AnnData file with gaps is filled."""
    from emtools.io.cells import load_anndata, require_names

    adata = load_anndata(path)
    require_names(adata, str(path))
    head = adata.X[:ROWS_LOOKED_AT] if adata.X is not None else np.empty((0, 0))
    head = head.data if hasattr(head, "tocsr") else np.asarray(head)
    shape = f"{adata.n_obs:,} × {adata.n_vars:,}"
    if np.issubdtype(head.dtype, np.floating) and np.isnan(head).any():
        return Proposal("impute", path, f"AnnData with gaps, {shape}")
    labels = [str(name) for name in adata.obs if not numeric(adata.obs[name]) and 1 < adata.obs[name].nunique() <= 50]
    hints = [f"labels: {flow([name])[1:-1]}   # types that some cells have already" for name in labels[:1]]
    hints += [f"truth: {flow([name])[1:-1]}   # types to compare with" for name in labels[:1]]
    hints += [f"sample: {flow([name])[1:-1]}   # proportions by this column" for name in labels[1:2]]
    return Proposal("deconvolve", path, f"AnnData, {shape}", {"components": "auto"}, hints)


def numeric(column: Any) -> bool:
    """Whether a column holds numbers, or several values a row."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufcV"


def of_image(path: Path) -> Proposal:
    """Images are segmented."""
    from emtools.io.images import read_image

    image = read_image(path)
    names = ", ".join(image.channels)
    size = " × ".join(map(str, image.values.shape[-2:]))
    hints = [] if image.pixel_size is not None else ["pixel_size: 0.5   # µm; the file does not say"]
    hints += ["channel: 0   # orders the classes by brightness"] if len(image.channels) > 1 else []
    alike = (image.channels, image.values.shape, image.values.dtype.str, image.pixel_size)
    return Proposal("segment", path, f"an image of {size} pixels ({names})", {}, hints, alike, image.sources)


def of_fasta(path: Path) -> Proposal:
    """Many short sequences of DNA hold a motif; long ones, and proteins, are segmented."""
    from emtools.io.fasta import read_fasta

    records, alphabet, refused = None, "", None
    for alphabet in ("dna", "rna", "protein"):
        try:
            records = read_fasta(path, alphabet)
            break
        except InputError as error:
            refused = refused or error
    if records is None:
        assert refused is not None
        raise refused
    lengths = sorted(len(record.codes) for record in records)
    middle = lengths[len(lengths) // 2]
    many = len(records) >= PEAKS and NARROWEST <= middle <= PEAK_LENGTH
    shape = f"{len(records):,} record{'s' * (len(records) != 1)} of {alphabet}, {sum(lengths):,} letters"
    if many and alphabet == "dna":
        hints = ["strands: one   # where the strand is known", "occurrence: oops   # where each has a site"]
        return Proposal("motif", path, shape, {"width": min(WIDTH, middle)}, hints)
    keys: dict[str, Any] = {"states": 2} | ({} if alphabet == "dna" else {"alphabet": alphabet})
    return Proposal("hmm", path, shape, keys, ["pseudocount: 1   # where sequences are short"])


def of_track(path: Path) -> Proposal:
    """Values on a genome are segmented; whole numbers may be counts."""
    from emtools.io.bedgraph import common_width, read_track

    tracks = read_track(path)
    n = sum(map(len, tracks))
    values = np.concatenate([track.values for track in tracks])
    n_distinct = len(np.unique(values[np.isfinite(values)]))
    if n_distinct < 2:
        raise InputError(str(path), "every value is the same", "at least two that differ, one for each state")
    hints = ["emission: negative-binomial   # where the values are counts"]
    if n_distinct > 2:
        hints.append(f"states: 2-{min(MOST_STATES, n_distinct)}   # to have the number chosen by BIC")
    if common_width(tracks) is None:
        hints.append("bin: 1000   # means over bins of this many bp as steps, where intervals differ in width")
    why = f"{n:,} values on {len(tracks)} record{'s' * (len(tracks) != 1)}"
    return Proposal("hmm", path, why, {"states": min(STATES, n_distinct)}, hints)


def config_text(found: Sequence[Proposal], unused: Sequence[str], options: Options) -> str:
    """The config file."""
    lines = [
        "# Written by emtools init after a look into each file. Lines that begin with # are proposals: take the # away.",
        "# Every key: config/README.md. Look before you run: emtools check " + shlex.quote(str(options.out)),
        "seed: 0",
        "results: results",
    ]
    names: set[str] = set()
    for branch in dict.fromkeys(proposal.branch for proposal in found):
        lines += ["", f"{branch}:"]
        for proposal in found:
            if proposal.branch == branch:
                lines += entry_lines(proposal, unique(proposal.path, names))
    lines += ["", *(f"# {one_line(line)}" for line in unused)] if unused else []
    return "\n".join(lines) + "\n"


def entry_lines(proposal: Proposal, name: str) -> Iterator[str]:
    """One analysis."""
    yield f"  {name}:   # {one_line(proposal.why)}"
    yield f"    input: {scalar(proposal.path)}"
    for key, value in proposal.keys.items():
        yield f"    {key}: {scalar(value)}"
    for hint in proposal.hints:
        yield f"    # {one_line(hint)}"


def unique(path: Path, taken: set[str]) -> str:
    """A name that the config allows, from that of the file; numbered where it is taken."""
    stem = path.name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "data"
    name = name if name[0].isalpha() else f"data_{name}"
    name = name[:LONGEST]
    number, tried = 1, name
    while tried.casefold() in taken:  # names that differ by case alone are one folder on some disks
        number += 1
        tried = f"{name}_{number}"
    taken.add(tried.casefold())
    return tried


def scalar(value: Any) -> str:
    """A value as YAML: bare where that is safe, else in quotes."""
    text = str(value)
    if isinstance(value, int) or (PLAIN.fullmatch(text) and text.lower() not in WORDS):
        return text
    return json.dumps(text, ensure_ascii=False)


def flow(names: Sequence[str]) -> str:
    """Names as a list of YAML."""
    return f"[{', '.join(map(scalar, names))}]"


def one_line(text: str) -> str:
    """Text without line breaks, so that a comment stays one."""
    return " ".join(text.split())

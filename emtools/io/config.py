"""The workflow's configuration: checked in full before any job, references resolved; every fault is one line."""

from __future__ import annotations

import csv
import difflib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emtools.errors import InputError
from emtools.io.config_text import from_text, read_yaml, show, target, validate
from emtools.io.demo import DEMOS
from emtools.io.image_folder import is_batch, list_images
from emtools.io.sniff import TABLES, TRACKS, Kind, bare_suffix, sniff, whole_suffix

FILES: dict[str, dict[str, tuple[Kind, ...]]] = {
    "impute": {"input": ("cells", "table"), "truth": ("cells", "table"), "dictionary": ("table",)},
    "deconvolve": {
        "input": ("cells", "table"),
        "reference": ("cells", "table"),
        "markers": ("table",),
        "rna_per_cell": ("table",),
    },
    "segment": {"input": ("cells", "table", "image"), "truth": ("image",)},
    "hmm": {"input": ("track", "fasta"), "against": ("fit",)},
    "motif": {
        "input": ("fasta",),
        "regions": ("bed",),
        "truth": ("bed",),
        "background": ("fasta",),
        "known": ("motifs",),
        "prior": ("track",),
    },
}
COLUMNS = {
    "impute": ("id", "columns", "covariates", "batch", "log"),
    "deconvolve": ("id", "columns", "log", "sample", "truth", "labels"),
    "segment": ("id", "columns", "order_by", "truth"),
}
PRODUCTS: dict[str, tuple[Kind, str]] = {
    "impute": ("table", "completed"),
    "deconvolve": ("cells", "cells.h5ad"),
    "segment": ("cells", "objects.h5ad"),
    "hmm": ("bed", "segments.bed"),
    "motif": ("bed", "sites.bed"),
}
BRANCHES = tuple(FILES)
MOST_JOBS = 10_000  # of the starts of one entry
SMALL_FILE = 2**14  # bytes: deflate makes them of a thousand times as many at most
OF_BATCHES = (
    "input", "components", "channel", "smallest", "pixel_size", "seed", "threads", "starts", "tol", "max_passes", "algorithm",
)  # fmt: skip
SCHEMAS = Path("workflow/schemas")
ELSEWHERE = ("seed", "threads", "scatter")


@dataclass(frozen=True)
class Options:
    """What `emtools check` looks at.

    Parameters
    ----------
    config : Path
        YAML file.
    schemas : Path, optional
        Folder of config.schema.yaml and samples.schema.yaml; by default that of the working folder, else of the
        repository that this package lies in.
    command : tuple of str
        Command line as typed.
    """

    config: Path
    schemas: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One analysis.

    Parameters
    ----------
    branch, name : str
        Command, and name in the config.
    out : str
        Folder of its results.
    files : mapping of str to str
        Input files by key (`input`, `truth`, `regions`), references resolved to paths.
    words : tuple of str
        The other options, as one types them.
    seed, threads : int
        Root of random numbers; threads.
    given : frozenset of str
        Keys that the config gives.
    scatter : int
        Starts that a job of its own climbs; 0 where the command climbs them all.
    ends : tuple of str
        Files of the ends of starts that such jobs write.
    """

    branch: str
    name: str
    out: str
    files: Mapping[str, str]
    words: tuple[str, ...]
    seed: int
    threads: int
    given: frozenset[str] = field(default_factory=frozenset)
    scatter: int = 0
    ends: tuple[str, ...] = ()

    @property
    def starts(self) -> int:
        """Starts that the config asks for; where they are scattered it must."""
        return int(self.words[self.words.index("--starts") + 1])

    @property
    def start_words(self) -> tuple[str, ...]:
        """The options of a job that climbs some starts: the same however many there are."""
        at = self.words.index("--starts")
        return (*self.words[:at], *self.words[at + 2 : self.words.index("--starts-from")])

    @property
    def start_folder(self) -> str:
        """Where the ends of starts go that jobs of their own climb."""
        return f"{Path(self.out).parents[1]}/starts/{self.branch}/{self.name}"

    @property
    def tabular(self) -> bool:
        """Whether the rows of a table are segmented, not an image."""
        return self.branch == "segment" and kind_by_name(self.files["input"]) != "image"

    @property
    def images(self) -> list[str]:
        """Images of a folder that is one batch, or the one that is too large for a page of its own; none elsewhere."""
        path = Path(self.files["input"])
        if self.branch != "segment" or self.tabular:
            return []
        if path.is_dir() and is_batch([path]):
            return [str(image) for image in list_images([path]).values()]
        whole = "truth" in self.given or "mixture" in self.words
        return [] if whole or not path.exists() or not is_large(path) else [str(path)]

    @property
    def product(self) -> str:
        """File that other entries take as input."""
        name = "mixtures.h5ad" if "reference" in self.files else PRODUCTS[self.branch][1]
        if self.tabular:
            name = "classes.csv" if kind_by_name(self.files["input"]) == "table" else "classes.h5ad"
        return f"{self.out}/{name}{whole_suffix(Path(self.files['input'])) if self.branch == 'impute' else ''}"

    @property
    def chooses(self) -> bool:
        """Whether the number of components is chosen, of a range or by itself."""
        words = self.words
        return "--components" in words and not words[words.index("--components") + 1].isdigit()

    @property
    def drawn(self) -> list[str]:
        """Completed tables that an imputation draws."""
        count = int(self.words[self.words.index("--draws") + 1]) if "--draws" in self.words else 0
        folder, name = os.path.split(self.product)
        stem, dot, ending = name.partition(".")
        return [f"{folder}/{stem}_{number}{dot}{ending}" for number in range(1, count + 1)]


@dataclass(frozen=True)
class Plan:
    """All analyses of a run.

    Parameters
    ----------
    results : str
        Folder of all results.
    entries : tuple of Entry
        Analyses, by branch and then as written.
    """

    results: str
    entries: tuple[Entry, ...]

    def branch(self, name: str) -> tuple[Entry, ...]:
        """Analyses of one branch."""
        return tuple(entry for entry in self.entries if entry.branch == name)


@dataclass(frozen=True)
class Draft:
    """An analysis as written, and where."""

    branch: str
    name: str
    options: Mapping[str, Any]
    where: str

    def at(self, key: str) -> str:
        """Place of one of its keys."""
        return f"{self.where}{', ' if ': line ' in self.where else '.'}{key}"


def prefer_own_commands() -> None:
    """Put the folder of this Python first on the path, so that jobs find its emtools, activated or not."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def make_plan(config: Mapping[str, Any], source: str, schemas: Path) -> Plan:
    """Check a configuration and resolve its references.

    Parameters
    ----------
    config : mapping
        Content of the config file.
    source : str
        Its name, for messages.
    schemas : Path
        Folder of the schemas.

    Raises
    ------
    InputError
        For the first fault found, with the number of others where there are any.
    """
    schema = read_yaml(schemas / "config.schema.yaml")
    whole = {key: ({} if value is None and key in BRANCHES else value) for key, value in config.items()}
    validate(whole, schema, source)
    drafts = list(read_drafts(whole, schema, read_yaml(schemas / "samples.schema.yaml"), source))
    if not drafts:
        raise InputError(source, "no analysis is named", f"an entry under one of {', '.join(BRANCHES)}")
    refuse_twins(drafts)
    results = whole.get("results", "results").rstrip("/")
    index = {f"{draft.branch}:{draft.name}": draft for draft in drafts}
    refuse_circles(index)
    known: dict[str, Entry] = {}

    def entry_of(key: str) -> Entry:
        if key not in known:
            draft = index[key]
            files = {role: resolve(draft, role) for role in roles_of(draft, index) if role in draft.options}
            known[key] = make_entry(draft, files, f"{results}/{draft.branch}/{draft.name}", whole.get("seed", 0))
        return known[key]

    def resolve(draft: Draft, role: str) -> str:
        value = draft.options[role]
        kind, product = reference(draft, role, value, index)
        if (draft.branch, role) == ("hmm", "input"):
            check_hmm(draft, kind)
        if product is None:
            path = Path(value)
            try:
                if kind == "image" and role == "input" and path.is_dir() and is_batch([path]):
                    check_batch(draft, path)
                else:
                    sniff(path, kind)
            except InputError as error:
                remedy = error.remedy or "give another file"
                raise InputError(draft.at(role), f"{error.where}: {error.got}", error.expected, remedy) from error
            return str(path)
        if value.startswith("demo:"):
            return f"{results}/inputs/{product}"
        return f"{entry_of(product).out}/fit.json" if kind == "fit" else entry_of(product).product

    plan = Plan(results, tuple(entry_of(key) for key in index))
    for draft in drafts:
        check_columns(draft, index)
    return plan


def refuse_twins(drafts: Sequence[Draft]) -> None:
    """Refuse names of one branch that differ by case alone: on some disks their results would be one folder."""
    found: dict[tuple[str, str], Draft] = {}
    for draft in drafts:
        other = found.setdefault((draft.branch, draft.name.casefold()), draft)
        if other is not draft:
            got = f"the name differs from {other.name} by case alone"
            raise InputError(draft.where, got, "names that are two folders on any disk", "rename one of them")


def check_hmm(draft: Draft, kind: Kind) -> None:
    """Refuse keys of letters for values, and the other way round."""
    foreign: tuple[str, ...] = ("emission", "bin")
    if kind == "track":
        foreign = ("order", "topology", "model", "alphabet", "repeats", "sample", "against", "odds_window")
    elif draft.options.get("model") == "isochores":  # values of windows of letters
        foreign = ("emission",)
    for key in foreign:
        if key in draft.options:
            what, other = (
                ("values (bedGraph, bigWig)", "sequences") if kind == "track" else ("sequences (FASTA)", "values")
            )
            raise InputError(draft.at(key), f"given with {what}", f"it is for {other}", "leave it out")


def is_large(path: Path) -> bool:
    """Whether an image is segmented part by part; small files are not looked into."""
    if path.is_file() and path.stat().st_size < SMALL_FILE:
        return False
    from emtools.io.images import WHOLE, n_values

    return n_values(path) > WHOLE


def check_batch(draft: Draft, folder: Path) -> None:
    """Raise where the images of a folder, or an option, cannot be those of a batch."""
    for path in list_images([folder]).values():
        sniff(path, "image")
    for key in draft.options:
        if key not in OF_BATCHES:
            raise InputError(draft.at(key), "given with a folder of images", "it is for one image", "leave it out")


def make_entry(draft: Draft, files: Mapping[str, str], out: str, seed: int) -> Entry:
    """An analysis with its options as words of a command line."""
    words: list[str] = []
    for key, value in draft.options.items():
        if key == "input" or key in ELSEWHERE:
            continue
        option = f"--{key.replace('_', '-')}"
        given = files.get(key, value)
        if isinstance(given, bool):
            words += [option] * given
            continue
        words += [option, *map(str, given)] if isinstance(given, list) else [option, str(given)]
    entry = Entry(
        draft.branch,
        draft.name,
        out,
        files,
        tuple(words),
        draft.options.get("seed", seed),
        draft.options.get("threads", 1),
        frozenset(draft.options),
        draft.options.get("scatter", 0),
    )
    if entry.scatter:
        if entry.starts > MOST_JOBS * entry.scatter:
            got = f"{entry.starts:,} starts, {entry.scatter:,} a job"
            raise InputError(draft.at("scatter"), got, f"at most {MOST_JOBS:,} jobs", "let a job climb more starts")
        firsts = range(1, entry.starts + 1, entry.scatter)
        ranges = [f"{first}-{min(first + entry.scatter - 1, entry.starts)}" for first in firsts]
        ends = tuple(f"{entry.start_folder}/{some}/starts.json" for some in ranges)
        entry = replace(entry, words=(*words, "--starts-from", *ends), ends=ends)
    return entry


def read_drafts(
    config: Mapping[str, Any], schema: Mapping[str, Any], row_schema: Mapping[str, Any], source: str
) -> Iterator[Draft]:
    """Analyses of the config, then those of its sample sheets."""
    for branch in BRANCHES:
        named = config.get(branch, {})
        for name, options in named.items():
            yield Draft(branch, name, options, f"{source}: {branch}.{name}")
        if branch in config.get("samples", {}):
            yield from read_sheet(Path(config["samples"][branch]), branch, schema, row_schema, set(named))


def read_sheet(
    path: Path, branch: str, schema: Mapping[str, Any], row_schema: Mapping[str, Any], taken: set[str]
) -> Iterator[Draft]:
    """Analyses of a sample sheet."""
    sniff(path, "table")
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise InputError(str(path), "is no text in UTF-8", "a sample sheet", "save it as UTF-8") from error
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", restkey="(more cells than columns)")
        for row in readable(rows, path):
            where = f"{path}: line {rows.line_num}"
            given = {key: value for key, value in row.items() if value}
            validate(given, row_schema, where)
            name = given.pop("entry")
            if name in taken:
                raise InputError(where, f"there is already an entry {branch}.{name}", "", "choose another name")
            taken.add(name)
            properties = schema["$defs"][branch]["properties"]
            options = {key: from_text(value, target(schema, properties.get(key, {}))) for key, value in given.items()}
            validate(options, {"$defs": schema["$defs"], "$ref": f"#/$defs/{branch}"}, where)
            yield Draft(branch, name, options, where)


def readable(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    """The rows of a sample sheet, or one line about where it is none."""
    try:
        names = [name for name in rows.fieldnames or () if name]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"{path}: line 1", f"the column {show(twice)} stands there twice", "", "remove one of them"
            )
        yield from rows
    except csv.Error as error:
        raise InputError(f"{path}: line {rows.line_num}", str(error), "a TSV", "check how it was made") from error


def kind_by_name(name: str) -> Kind:
    """What a file holds by its ending: an AnnData file, a table, else an image."""
    suffix = bare_suffix(Path(name))
    if suffix in TRACKS:
        return "track"
    return "cells" if suffix in (".h5ad", ".h5") else "table" if suffix in TABLES else "image"


def roles_of(draft: Draft, index: Mapping[str, Draft]) -> tuple[str, ...]:
    """Keys of an analysis that name files; the truth of a segmented table is a column, RNA per cell may be in the reference."""
    if draft.branch == "segment" and reference(draft, "input", draft.options["input"], index)[0] != "image":
        return ("input",)
    return tuple(key for key in FILES[draft.branch] if (key, draft.options.get(key)) != ("rna_per_cell", "reference"))


def reference(draft: Draft, role: str, value: str, index: Mapping[str, Draft]) -> tuple[Kind, str | None]:
    """What a value of a file key stands for.

    Returns
    -------
    kind : str
        Format.
    product : str or None
        File name of a demo set, key of another entry, or None for a path.
    """
    accepted = FILES[draft.branch][role]
    where = draft.at(role)
    head, colon, name = value.partition(":")
    kind: Kind
    if colon and head == "demo":
        if name not in DEMOS:
            raise InputError(where, f"no demo set {name!r}", f"one of {', '.join(DEMOS)}", "name one of these")
        kind, product = ("table" if DEMOS[name].columns else "cells"), f"{name}{DEMOS[name].suffix}"
    elif colon and head in BRANCHES:
        if value not in index:
            names = [key for key in index if key.startswith(f"{head}:")] or list(index)
            close = difflib.get_close_matches(value, names, 1) or names[:1]
            raise InputError(where, f"there is no entry {value}", f"entries are {', '.join(names)}", f"try {close[0]}")
        kind, product = "fit" if (head, role) == ("hmm", "against") else PRODUCTS[head][0], value
        above = index[value]
        if head == "segment" and reference(above, "input", above.options["input"], index)[0] == "table":
            kind = "table"
    else:
        kind = kind_by_name(value)
        return (kind if kind in accepted else accepted[-1]), None
    if kind not in accepted:
        raise InputError(where, f"{value} is a {kind} file", f"{' or '.join(accepted)} is needed", "give another input")
    return kind, product


def refuse_circles(index: Mapping[str, Draft]) -> None:
    """Raise where entries wait for one another."""

    def visit(key: str, path: tuple[str, ...]) -> None:
        if key in path:
            circle = " → ".join((*path[path.index(key) :], key))
            raise InputError(index[key].where, f"entries wait for one another: {circle}", "", "give one of them a file")
        for role in FILES[index[key].branch]:
            value = index[key].options.get(role, "")
            if value in index:
                visit(value, (*path, key))

    for key in index:
        visit(key, ())


def columns_of(draft: Draft, value: str, index: Mapping[str, Draft]) -> tuple[str, ...] | None:
    """Columns of the table that a value stands for; None where they cannot be told cheaply."""
    head, _, name = value.partition(":")
    if head == "demo" and name in DEMOS:
        return DEMOS[name].columns or None
    if value in index:
        upstream = index[value]
        return columns_of(upstream, upstream.options["input"], index) if head == "impute" else None
    from emtools.io.headers import table_columns

    return table_columns(Path(value)) if bare_suffix(Path(value)) not in (".h5ad", ".h5") else None


def check_columns(draft: Draft, index: Mapping[str, Draft]) -> None:
    """Raise where an option names a column that the table does not have."""
    if draft.branch not in COLUMNS or "reference" in draft.options:
        return
    found = columns_of(draft, draft.options["input"], index)
    if found is None:
        return
    for key in COLUMNS[draft.branch]:
        value = draft.options.get(key, [])
        for name in value if isinstance(value, list) else [value]:
            if name not in found:
                close = difflib.get_close_matches(name, found, 1)
                remedy = f"did you mean {close[0]}?" if close else "correct the name"
                raise InputError(
                    draft.at(key),
                    f"{draft.options['input']} has no column {name!r}",
                    f"its columns are {show_columns(found)}",
                    remedy,
                )


def show_columns(names: tuple[str, ...]) -> str:
    """The first dozen names."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def find_schemas() -> Path:
    """Folder of the schemas, which belong to the workflow and not to the installed package.

    Raises
    ------
    InputError
        If neither the working folder nor the folder of this package is a copy of the repository.
    """
    for root in (Path(), Path(__file__).parents[2]):
        if (root / SCHEMAS / "config.schema.yaml").is_file():
            return root / SCHEMAS
    raise InputError(
        str(SCHEMAS / "config.schema.yaml"),
        "no such file here",
        "the folder workflow of the emtools repository",
        "run the command in the repository, or name its workflow/schemas with --schemas",
    )


def run(options: Options) -> int:
    """Check a config file; `emtools check`."""
    config = read_yaml(options.config)
    if not isinstance(config, Mapping):
        raise InputError(str(options.config), "is not a mapping of keys to values", "", "see config/README.md")
    plan = make_plan(config, str(options.config), options.schemas or find_schemas())
    counts = [f"{len(plan.branch(name))} {name}" for name in BRANCHES if plan.branch(name)]
    print(f"emtools check: {options.config} is good: {', '.join(counts)}", file=sys.stderr)
    return 0

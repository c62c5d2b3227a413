"""What a run was made of and what it made: ``emtools manifest`` writes it down, ``emtools verify`` checks it, byte by byte."""

from __future__ import annotations

import csv
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from emtools import __version__
from emtools.errors import InputError, printable
from emtools.io.outputs import RECORD, SEAL, require_file, sha256, staged

SCHEMA = "emtools-manifest-1"
MANIFEST, CRATE = "manifest.json", "ro-crate-metadata.json"
OF_THE_RUN = ("index.html", "runs.tsv", "inputs", "multiqc")
CRATE_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
SHA256_TERM = "https://w3id.org/ro/terms/workflow-run#sha256"
FORMATS = {
    ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".json": "application/json", ".html": "text/html", ".svg": "image/svg+xml",
    ".png": "image/png", ".tif": "image/tiff", ".h5ad": "application/x-hdf5", ".gz": "application/gzip", ".geojson": "application/geo+json",
}  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``emtools manifest`` and ``emtools verify``.

    Parameters
    ----------
    fits : sequence of Path
        fit.json of each analysis of the run.
    out : Path, optional
        Folder of the run, which holds them; both files go there.
    config : sequence of Path
        Files that say what was asked for: configs, sample sheets.
    results : Path, optional
        Folder of a run to verify.
    command : tuple of str
        Command line as typed.
    """

    fits: Sequence[Path] = ()
    out: Path | None = None
    config: Sequence[Path] = ()
    results: Path | None = None
    command: tuple[str, ...] = ()


def run(options: Options) -> int:
    """Write manifest.json and ro-crate-metadata.json, or verify a run by them.

    Returns
    -------
    int
        1 where what is there is not what was written down, else 0.

    Raises
    ------
    InputError
        If a fit.json or the manifest is none, or a fit does not lie in the folder of the run.
    """
    if options.results is not None:
        return verify(options.results)
    assert options.out is not None
    manifest = describe(options.out, options.fits, options.config)
    with staged(options.out, seal=MANIFEST) as folder:
        for name, content in ((MANIFEST, manifest), (CRATE, crate_of(manifest))):
            text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")
    counted = f"{len(manifest['files'])} files of {len(manifest['analyses'])} analyses"
    print(f"emtools manifest: {counted} in {options.out / MANIFEST}", file=sys.stderr)
    return 0


def describe(out: Path, fits: Sequence[Path], config: Sequence[Path]) -> Record:
    """The content of manifest.json.

    Parameters
    ----------
    out : Path
        Folder of the run.
    fits, config : sequence of Path
        As in `Options`.
    """
    from emtools.io.fitfile import package_versions

    analyses = [analysis(out, path) for path in fits]
    inputs = {item["path"]: item for one in analyses for item in one.pop("read")}
    files = {str(name): entry_of(out / name) for name in sorted(files_of(out, fits))}
    return {
        "schema": SCHEMA,
        "made": moment(datetime.now(UTC).timestamp()),
        "versions": package_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "started_in": PurePosixPath(os.path.relpath(Path.cwd(), out)).as_posix(),
        "config": [{"path": os.path.relpath(path), **entry_of(path)} for path in config],
        "inputs": [inputs[path] for path in sorted(inputs)],
        "analyses": analyses,
        "files": files,
    }


def analysis(out: Path, path: Path) -> Record:
    """What a fit.json and the benchmark file beside the run say of an analysis."""
    record = read_json(path)
    try:
        name = path.parent.relative_to(out).as_posix()
        read = [{"path": str(item["path"]), "sha256": str(item["sha256"])} for item in record["inputs"]]
        return {
            "name": name,
            "command": list(record["command"]),
            "seed": record["seed"],
            "status": record["status"],
            "versions": record["versions"],
            "ended": moment(path.stat().st_mtime),
            **cost(out / "benchmarks" / f"{name}.tsv"),
            "inputs": [item["path"] for item in read],
            "read": read,
        }
    except ValueError as error:
        raise InputError(str(path), f"does not lie in {out}", "the fits of one run", "check --out") from error
    except (KeyError, TypeError) as error:
        raise InputError(str(path), f"lacks {error}", "the fit.json of a fit", "run the fit again") from error


def cost(path: Path) -> Record:
    """Seconds by the clock and of CPU in a benchmark file of Snakemake; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        return {"seconds": float(row["s"]), "cpu_seconds": float(row["cpu_time"])}
    except (OSError, StopIteration, KeyError, ValueError, TypeError):
        return {}


def files_of(out: Path, fits: Sequence[Path]) -> Iterator[Path]:
    """Results of a run, seen from its folder: of every fit, and of the whole; what only reports on the run is left out."""
    for place in [out / name for name in OF_THE_RUN] + [path.parent for path in fits]:
        found = [place] if place.is_file() else place.rglob("*")
        for path in found:
            name = path.relative_to(out)
            if path.is_file() and name.name != RECORD and not name.name.startswith(".writing-"):
                yield name


def entry_of(path: Path) -> Record:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def moment(seconds: float) -> str:
    """A time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def read_json(path: Path) -> Record:
    """A JSON file that holds an object."""
    try:
        content = json.loads(require_file(path, "JSON").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), f"not JSON ({error})", "", "run it again") from error
    if not isinstance(content, dict):
        raise InputError(str(path), "not a JSON object", "", "run it again")
    return content


def crate_of(manifest: Mapping[str, Any]) -> Record:
    """The manifest as an RO-Crate 1.1 whose root is the folder of the run.

    Source: Sefton et al. (2021) RO-Crate Metadata Specification 1.1, doi:10.5281/zenodo.4541002.
    """
    software = f"#emtools-{__version__}"
    parts = [
        {
            "@id": quote(name),
            "@type": "File",
            "name": name,
            "contentSize": str(entry["bytes"]),
            "sha256": entry["sha256"],
            "encodingFormat": FORMATS.get(Path(name).suffix, "application/octet-stream"),
        }
        for name, entry in manifest["files"].items()
    ]
    outside = [
        {"@id": f"#{quote(item['path'])}", "@type": "CreativeWork", "name": item["path"], "sha256": item["sha256"]}
        for item in (*manifest["config"], *manifest["inputs"])
    ]
    actions = [
        {
            "@id": f"#run-{quote(one['name'])}",
            "@type": "CreateAction",
            "name": one["name"],
            "description": shlex.join(one["command"]),
            "instrument": {"@id": software},
            "object": [{"@id": f"#{quote(path)}"} for path in one["inputs"]],
            "result": [{"@id": part["@id"]} for part in parts if str(part["name"]).startswith(f"{one['name']}/")],
            "endTime": one["ended"],
        }
        for one in manifest["analyses"]
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of {len(actions)} analyses by emtools",
        "description": "Fits by Expectation-Maximization with their inputs, commands, versions, seeds and hashes; "
        "`emtools verify` checks them.",
        "datePublished": manifest["made"],
        "license": {"@id": "#licence"},
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "mentions": [{"@id": action["@id"]} for action in actions],
    }
    head = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": CRATE_SPECIFICATION},
        "about": {"@id": "./"},
    }
    about = [
        {"@id": "#licence", "@type": "CreativeWork", "name": "not stated", "description": "The owner of the results may say."},
        {"@id": software, "@type": "SoftwareApplication", "name": "emtools", "softwareVersion": __version__,
         "description": json.dumps(manifest["versions"])},
    ]  # fmt: skip
    graph = {str(entity["@id"]): entity for entity in (head, root, *about, *parts, *outside, *actions)}
    return {"@context": [f"{CRATE_SPECIFICATION}/context", {"sha256": SHA256_TERM}], "@graph": list(graph.values())}


def verify(results: Path) -> int:
    """Compare a run with its manifest and tell what differs; 1 where something does.

    A file of results that is changed or gone, a changed input or config, and a fit made from another state of its input are
    faults; an input that is not here any more, and a file beside the results, are only told of.
    """
    manifest = read_json(results / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise InputError(str(results / MANIFEST), f"the schema is {manifest.get('schema')!r}", SCHEMA, "run it again")
    try:
        faults, notes = list(changed_files(results, manifest)), []
        there = results / manifest["started_in"]
        for item in (*manifest["config"], *manifest["inputs"]):
            path = there / item["path"]
            if not os.path.exists(path):  # not so of a name that no disk can hold, where the method raises
                notes.append(f"{item['path']}: is not here any more, so it was not looked at")
            elif sha256(path) != item["sha256"]:
                faults.append(f"{item['path']}: was changed since it was read")
        fits = [results / one["name"] / SEAL for one in manifest["analyses"]]
        extra = sorted({str(name) for name in files_of(results, fits)} - set(manifest["files"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            str(results / MANIFEST), f"not laid out as a manifest ({error})", "", "run it again"
        ) from error
    notes += [f"{name}: is not in the manifest" for name in extra]
    for line in (*faults, *notes):
        print(printable(line))
    counted = f"{len(manifest['files'])} files, {len(manifest['inputs'])} inputs"
    print(f"✗ {len(faults)} of {counted} differ" if faults else f"✓ {counted}: all as the manifest has them")
    return 1 if faults else 0


def changed_files(results: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is not as the manifest has it among the results."""
    for name, entry in manifest["files"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} leads out of the folder")
        path = results / name
        if not os.path.isfile(path):
            yield f"{name}: is gone"
        elif path.stat().st_size != entry["bytes"]:
            yield f"{name}: has {path.stat().st_size} bytes in place of {entry['bytes']}"
        elif sha256(path) != entry["sha256"]:
            yield f"{name}: has other bytes"

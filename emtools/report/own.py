"""A report of any fit, of a model of this package or of your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emtools.engine.result import Fit
from emtools.io.fitfile import fit_record, write_record
from emtools.io.outputs import staged
from emtools.plots.convergence import draw_convergence
from emtools.report.page import Page, write_page


def write_report(
    fit: Fit[Any, Any],
    out: Path | str,
    *,
    title: str | None = None,
    lead: str = "",
    inputs: Sequence[Path | str] = (),
    labels: Mapping[str, Sequence[Sequence[str]]] | None = None,
    units: Mapping[str, str] | None = None,
) -> Path:
    """Write ``report.html``, ``fit.json`` and the figure of the climb into a folder.

    Parameters
    ----------
    fit : Fit
        The fit.
    out : Path
        Folder; made where it is missing.
    title, lead : str, optional
        Heading, by default the name of the model, and the answer in a sentence or two, ``answer`` in fit.json.
    inputs : sequence of Path
        Files that were read; their hashes are recorded.
    labels : mapping, optional
        For a parameter, the names along each of its axes.
    units : mapping, optional
        For a parameter, its unit.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = Path(out)
    files = [Path(path) for path in inputs]
    with staged(folder) as scratch:
        record = fit_record(fit, branch=fit.model.name, inputs=files, command=[], labels=labels, units=units)
        if lead:
            record["answer"] = lead
        convergence = draw_convergence(fit, scratch, labels)
        record["outputs"] = sorted({path.name for path in scratch.iterdir()} | {"fit.json", "report.html"})
        write_record(record, scratch / "fit.json")
        page = Page(title or fit.model.name.replace("_", " ").capitalize(), lead or fit.verdict)
        write_page(scratch / "report.html", page, [convergence], record)
    return folder / "report.html"

"""What every branch does alike when it has fitted: fit.json, figures of convergence, the page, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emtools.branches.options import RunOptions
from emtools.engine.certificate import judge
from emtools.engine.result import Fit
from emtools.io.fitfile import fit_record, write_record
from emtools.io.outputs import files_in
from emtools.report.page import Page, write_page

NOT_CONVERGED = 3
FLAGS = ("--quiet", "--traceback")  # these have no value
UNRECORDED = ("--threads", "--out", "--executor", "--checkpoint")  # options that cannot change the numbers
UNRECORDED_LISTS = ("--starts-from",)  # the same, of any number of words


def recorded_command(command: Sequence[str]) -> list[str]:
    """The command line without what cannot change the numbers."""
    kept: list[str] = []
    skip = listed = False
    for word in command:
        listed = word in UNRECORDED_LISTS or (listed and not word.startswith("--"))
        if skip or listed:
            skip = False
        elif word in UNRECORDED:
            skip = True
        elif word in FLAGS:
            continue
        elif not word.startswith(tuple(f"{option}=" for option in (*UNRECORDED, *UNRECORDED_LISTS))):
            kept.append(word)
    return kept


def finish(
    folder: Path,
    fit: Fit[Any, Any],
    page: Page,
    options: RunOptions,
    *,
    branch: str,
    inputs: Sequence[Path],
    labels: Mapping[str, Sequence[Sequence[str]]] | None = None,
    units: Mapping[str, str] | None = None,
    accuracy: pd.DataFrame | None = None,
    extra: Mapping[str, Any] | None = None,
    elsewhere: str | None = None,
) -> int:
    """Write what every fit has into `folder` and give the exit code.

    Parameters
    ----------
    folder : Path
        Scratch folder of `staged`; the figures named by `page` are already in it.
    fit, page, options
        The fit, what the branch says of it, and how it was asked for.
    branch, inputs, labels, units, extra, elsewhere
        As in `fit_record`.
    accuracy : DataFrame, optional
        Columns ``method, metric, value``, against a known truth; also written as accuracy.tsv.

    Returns
    -------
    int
        0 where the fit converged, else 3.
    """
    from emtools.plots.convergence import draw_convergence

    rows = [] if accuracy is None else accuracy.to_dict("records")
    if accuracy is not None:
        accuracy.to_csv(folder / "accuracy.tsv", sep="\t", index=False)
    if fit.certificate is not None:
        fit = judge(fit, fit.certificate, labels)
        print(f"emtools {branch}: {fit.certificate.tell(labels)}", file=sys.stderr)
    record = fit_record(
        fit,
        branch=branch,
        inputs=inputs,
        command=recorded_command(options.command),
        labels=labels,
        units=units,
        accuracy=rows,
        extra=extra,
        elsewhere=elsewhere,
    )
    record["answer"] = page.lead
    convergence = draw_convergence(fit, folder, labels)
    record["outputs"] = sorted(files_in(folder) | {"fit.json", "report.html"})
    write_record(record, folder / "fit.json")
    write_page(folder / "report.html", page, [convergence], record)
    print(f"emtools {branch}: report in {options.out / 'report.html'}", file=sys.stderr)
    return 0 if fit.converged else NOT_CONVERGED

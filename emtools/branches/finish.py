"""What every branch does alike: common options, fit.json, figures of convergence, the page, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emtools.engine.certificate import judge
from emtools.engine.result import Fit
from emtools.io.fitfile import fit_record, write_record
from emtools.io.outputs import files_in
from emtools.report.page import Page, write_page

NOT_CONVERGED = 3
CLIMBING = ("tol", "max_passes", "seed", "threads", "executor")
UNRECORDED = ("--threads", "--out", "--executor", "--checkpoint")  # options that cannot change the numbers


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that every branch has.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
        Root of all random numbers.
    threads : int
        Threads; cannot change a result.
    starts : int
        Number of starts.
    tol : float
        Estimated remaining gain, in nats, at which a start stops.
    max_passes : int
        Passes over the data that a start may take.
    algorithm : {"accelerated", "em"}
        The second is plain EM.
    executor : str
        Where the chunks are worked on; cannot change a result.
    checkpoint : Path, optional
        File from which an interrupted fit goes on.
    command : tuple of str
        Command line as typed, for the record.
    """

    out: Path
    seed: int = 0
    threads: int = 1
    starts: int = 1
    tol: float = 1e-6
    max_passes: int = 2000
    algorithm: str = "accelerated"
    executor: str = "threads"
    checkpoint: Path | None = None
    command: tuple[str, ...] = ()

    @property
    def climbing(self) -> dict[str, Any]:
        """What every start of a fit is told, as arguments of ``fit``."""
        told = {name: getattr(self, name) for name in CLIMBING}
        return told | {"accelerate": self.algorithm == "accelerated"}


def recorded_command(command: Sequence[str]) -> list[str]:
    """The command line without what cannot change the numbers."""
    kept: list[str] = []
    skip = False
    for word in command:
        if skip:
            skip = False
        elif word in UNRECORDED:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in UNRECORDED)):
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
    convergence = draw_convergence(fit, folder)
    record["outputs"] = sorted(files_in(folder) | {"fit.json", "report.html"})
    write_record(record, folder / "fit.json")
    write_page(folder / "report.html", page, [convergence], record)
    print(f"emtools {branch}: report in {options.out / 'report.html'}", file=sys.stderr)
    return 0 if fit.converged else NOT_CONVERGED

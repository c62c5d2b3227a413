"""Does a model keep the promises that the engine builds on? Examinations for your own models.

`check_model` needs a model and some of its data, nothing else. It runs every examination of
`EXAMINATIONS` and names the broken promises in plain words, with figures and the likely place of the
defect. The models of this package face the same examinations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import ArraySource, Rows, Sequences, SequenceSource
from emtools.engine.protocol import assigns_of, is_smooth
from emtools.errors import InputError
from emtools.testing import examinations
from emtools.testing.subject import EXAMINATIONS, Examination, Finding, NotExaminedError, Subject

__all__ = [
    "EXAMINATIONS",
    "Examination",
    "Finding",
    "ModelError",
    "NotExaminedError",
    "Report",
    "Subject",
    "check_model",
    "examinations",
    "examine_all",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

PARTS = [
    "name",
    "hyperparameters",
    "strategies",
    "initial_params",
    "e_step",
    "m_step",
    "expected_loglik",
    "log_prior",
    "pack",
    "unpack",
    "natural",
    "canonical",
    "degenerate",
]
PIECES = 4  # chunks of the automatic split
MOST_ROWS = 4000  # rows beyond which the automatic split and weights use an even subset


class ModelError(AssertionError):
    """A model breaks promises of ``emtools.engine.protocol.Model``; `report` has the findings."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))


@dataclass(frozen=True)
class Report:
    """Findings on a model.

    Parameters
    ----------
    model : str
        Its name.
    findings : tuple of Finding
        In the order of the examinations.
    """

    model: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the broken promises."""
        return tuple(f.examination.name for f in self.findings if f.broken is not None)

    def __str__(self) -> str:
        kept = sum(f.broken is None and f.skipped is None for f in self.findings)
        lines = [f"{self.model}: {kept} promises kept, {len(self.broken)} broken"]
        if self.broken:
            lines.append(f"Most likely: {likely_defect(set(self.broken))}")
        return "\n".join([*lines, *(str(f) for f in self.findings if f.broken is not None or f.skipped is not None)])


def likely_defect(broken: set[str]) -> str:
    """Where the defect is, from which promises are broken together."""
    if broken & {"frozen", "pure"}:
        return "a step that changes its arguments or remembers, or a value that is not a frozen dataclass of arrays"
    if broken & {"weights"} and not broken & {"identity", "top"}:
        return "the E-step leaves the weights out of a statistic"
    if broken & {"additive", "threads", "scaled"} and not broken & {"identity", "top"}:
        return "the addition of statistics, or an E-step that depends on how the data are cut"
    if "identity" in broken and "score" in broken:
        return "the E-step: a statistic does not belong to the conditional distribution; or Q"
    if "identity" in broken:
        return "loglik or entropy of the E-step, or a constant of Q: the slope of Q is right"
    if "score" in broken:
        return "Q and loglik share a mistake: neither is the model's"
    if broken & {"top", "ascent"}:
        return "the M-step, or a log prior that is not the one it uses: the E-step is in order"
    if "hard" in broken:
        return "the hard E-step"
    if broken & {"annealed", "sampled"}:
        return "the annealed or sampled E-step"
    if "picklable" in broken:
        return "the model, or something in it, lives in a session or a function: put its class into a module"
    return "see each finding"


def check_model(
    model: Any,
    data: Any,
    *,
    split: Any = None,
    weighted: Any = None,
    replicated: Any = None,
    assigns: tuple[str, ...] | None = None,
    smooth: bool | None = None,
    maximises: bool = True,
    only: Sequence[str] | None = None,
) -> Report:
    """Examine a model on data.

    Parameters
    ----------
    model : Model
        A model by the contract of `emtools.engine.protocol.Model`.
    data : Source or array, shape (n, d)
        Some of its data, some tens of units, at which it is not trivial. Everything is computed many times.
    split : Source, optional
        The same data in several chunks. Made from `data` where these are rows or sequences.
    weighted, replicated : Source, optional
        Units with small integer weights, and the same units repeated. Made likewise.
    assigns : tuple of str, optional
        Assignments that the model offers; by default what it says itself.
    smooth : bool, optional
        Whether Q and the log-likelihood are differentiable; by default what the model says itself.
    maximises : bool
        False for a generalised M-step, which only has to raise Q.
    only : sequence of str, optional
        Names of the examinations to run; by default all.

    Returns
    -------
    Report

    Raises
    ------
    ModelError
        If a promise is broken. It lists them all, with figures and the likely place of the defect.
    InputError
        If `model` is a class or lacks a part of the contract.

    Examples
    --------
    >>> from emtools import GaussianMixture
    >>> values = np.concatenate([np.linspace(0, 1, 12) ** 2, np.linspace(3, 5, 9) ** 1.5])
    >>> report = check_model(GaussianMixture(2, 1), values[:, None])
    >>> report.broken
    ()
    """
    require_parts(model)
    if not hasattr(data, "chunk"):
        data = ArraySource(data)
    whole, *made = derive(data)
    told = (split, weighted, replicated)
    split, weighted, replicated = (a if a is not None else b for a, b in zip(told, made, strict=True))
    subject = Subject(
        model,
        whole,
        split,
        weighted,
        replicated,
        assigns_of(model) if assigns is None else assigns,
        is_smooth(model) if smooth is None else smooth,
        maximises,
    )
    report = examine_all(subject, only)
    if report.broken:
        raise ModelError(report)
    return report


def require_parts(model: Any) -> None:
    """Refuse what is no model, before each promise says so in its own way.

    Raises
    ------
    InputError
        If `model` is a class or lacks a part of the contract.
    """
    if isinstance(model, type):
        raise InputError("check_model", f"the class {model.__name__}", "a model", f"give {model.__name__}(…)")
    absent = [part for part in PARTS if not hasattr(model, part)]
    if absent:
        got = f"{type(model).__name__} without {', '.join(absent)}"
        raise InputError("check_model", got, "the parts that emtools.engine.protocol.Model lists", "add what is absent")


def derive(data: Any) -> tuple[Any, Any, Any, Any]:
    """The data in one chunk, in four, with weights from 0 to 3, and with units repeated; None where not known."""
    chunks = [data.chunk(i) for i in range(data.n_chunks)]
    units: Any
    if all(isinstance(chunk, Rows) for chunk in chunks):
        every = max(1, data.n_units // MOST_ROWS)
        units = np.concatenate([chunk.values for chunk in chunks])[::every]
        weights = np.concatenate([chunk.weights for chunk in chunks])[::every]

        def make(numbers: Integers, weights: Floats, pieces: int = 1) -> Any:
            return ArraySource(units[numbers], weights, chunk_rows=-(-len(numbers) // pieces))

    elif all(isinstance(chunk, Sequences) for chunk in chunks):
        units = [chunk.codes[a:b] for chunk in chunks for a, b in pairwise(chunk.offsets.tolist())]
        weights = np.concatenate([chunk.weights for chunk in chunks])
        ends = np.cumsum([len(unit) for unit in units])[:-1]
        of_letters: dict[str, list[Floats]] = {}
        for name in ("free", "prior"):
            parts = [getattr(chunk, name) for chunk in chunks]
            if any(part is not None for part in parts):
                filled = [
                    np.ones(c.codes.size) if part is None else part for c, part in zip(chunks, parts, strict=True)
                ]
                of_letters[name] = np.split(np.concatenate(filled), ends)

        def make(numbers: Integers, weights: Floats, pieces: int = 1) -> Any:
            chosen = [units[i] for i in numbers]
            kept = {name: np.concatenate([values[i] for i in numbers]) for name, values in of_letters.items()}
            return SequenceSource(chosen, weights, -(-sum(map(len, chosen)) // pieces), **kept)

    else:
        return data, data if data.n_chunks > 1 else None, None, None
    n = len(units)
    everything = np.arange(n)
    if n < PIECES:
        return make(everything, weights), None, None, None
    counts = np.concatenate([[1, 3, 2, 0], np.random.default_rng(0).integers(0, 4, size=n - PIECES)])
    repeated = np.repeat(everything, counts)
    return (
        make(everything, weights),
        make(everything, weights, PIECES),
        make(everything, weights * counts),
        make(repeated, weights[repeated]),
    )


def examine_all(subject: Subject, only: Sequence[str] | None = None) -> Report:
    """Findings of all examinations, or of those named in `only`."""
    names = list(EXAMINATIONS) if only is None else only
    unknown = [name for name in names if name not in EXAMINATIONS]
    if unknown:
        raise InputError("check_model", f"examination {unknown[0]!r}", f"one of {', '.join(EXAMINATIONS)}")
    with np.errstate(all="ignore"):
        findings = tuple(examine(subject, name) for name in names)
    return Report(str(getattr(subject.model, "name", type(subject.model).__name__)), findings)


def examine(subject: Subject, name: str) -> Finding:
    """Finding of one examination; a model that raises breaks its promise."""
    chosen = EXAMINATIONS[name]
    try:
        return Finding(chosen, next(chosen.check(subject), None))
    except NotExaminedError as reason:
        return Finding(chosen, skipped=str(reason))
    except Exception as error:
        return Finding(chosen, f"raised {type(error).__name__}: {error}")

"""What the faces share: checked input, a fit with its verdict, and rows without repeats."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from emtools.engine.protocol import Assign
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import EmtoolsError

Floats = npt.NDArray[np.float64]

FEW = 30  # parameters up to which a certificate is made without being asked for


@contextmanager
def value_errors() -> Iterator[None]:
    """Failures as the ValueError that scikit-learn's users expect, in the same words."""
    try:
        yield
    except EmtoolsError as error:
        raise ValueError(str(error)) from error


def checked(estimator: Any, X: Any, sample_weight: Any, *, gaps: bool = False) -> tuple[Floats, Floats]:
    """Training rows (n, d), and their weights (n,), of at least two rows."""
    allowed: Any = "allow-nan" if gaps else True
    X = validate_data(estimator, X, dtype=np.float64, ensure_all_finite=allowed, ensure_min_samples=2)
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return X, weights


def checked_rows(estimator: Any, X: Any, *, gaps: bool = False) -> Floats:
    """Rows (n, d) to predict for."""
    allowed: Any = "allow-nan" if gaps else True
    rows: Floats = validate_data(estimator, X, reset=False, dtype=np.float64, ensure_all_finite=allowed)
    return rows


def merged(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Distinct rows of positive weight in lexicographic order, and the sums of their weights.

    Whatever is drawn from these does not depend on the order of the rows, nor on whether a row is
    there twice or has a weight of 2.
    """
    values, weights = values[weights > 0.0], weights[weights > 0.0]
    if not len(values):
        raise ValueError("sample_weight: all are zero; at least one positive weight is needed")
    order = np.lexsort(values.T[::-1])
    values = values[order]
    both_missing = np.isnan(values[1:]) & np.isnan(values[:-1])
    first = np.concatenate([[True], ((values[1:] != values[:-1]) & ~both_missing).any(axis=1)])
    return values[first], np.add.reduceat(weights[order], np.flatnonzero(first))


def one_of(name: str, value: Any, choices: Any) -> Any:
    """What `value` stands for among `choices`.

    Raises
    ------
    ValueError
        If it is not one of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: {value!r}; one of {', '.join(choices)} is needed")
    return choices[value]


def as_seed(random_state: Any) -> int:
    """A seed from an int, a RandomState or None."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def wanted(certify: bool | str, n_free_parameters: int) -> bool:
    """Whether a certificate is asked for: "auto" stands for models of at most `FEW` parameters.

    Raises
    ------
    ValueError
        If `certify` is neither a bool nor "auto".
    """
    if certify == "auto":
        return n_free_parameters <= FEW
    if not isinstance(certify, bool):
        raise ValueError(f"certify: {certify!r}; True, False or 'auto' is needed")
    return certify


def climb_to_top(
    estimator: Any,
    model: Any,
    source: Any,
    *,
    starts: int = 1,
    strategy: str | None = None,
    init: Sequence[Any] = (),
    assign: Assign = "soft",
    seed: int = 0,
) -> Fit[Any, Any]:
    """Fit, certify where it is asked for, and leave on `estimator` what every face has."""
    with value_errors():
        result = fit(
            model,
            source,
            starts=starts,
            strategy=strategy,
            init=init,
            assign=assign,
            tol=estimator.tol,
            max_passes=estimator.max_iter,
            seed=seed,
            certificate=wanted(getattr(estimator, "certify", False), getattr(model, "n_free_parameters", 0)),
        )
    leave_result(estimator, result)
    return result


def leave_result(estimator: Any, result: Fit[Any, Any]) -> None:
    """Leave on `estimator` what every face has, and warn where the fit did not converge.

    ``converged_``, ``n_iter_`` (passes of the best start), ``verdict_`` (a sentence), ``certificate_`` (None
    without one) and ``result_`` (the `Fit`).
    """
    estimator.result_ = result
    estimator.certificate_ = result.certificate
    estimator.verdict_ = result.verdict
    estimator.converged_ = result.converged
    estimator.n_iter_ = result.starts[result.best_restart].passes
    if not result.converged:
        warnings.warn(result.verdict, ConvergenceWarning, stacklevel=4)

"""fit.json: the machine's view of a fit, the same for every branch and the same bytes for the same fit."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from emtools.engine.certificate import Certificate
from emtools.engine.result import Fit
from emtools.io.outputs import sha256

SCHEMA = "emtools-fit-1"
# Keys of a parameter and the fields of the certificate that they hold.
PER_PARAMETER = {
    "se_complete": "complete_errors",
    "missing": "missing",
    "lower": "lower",
    "upper": "upper",
}
LARGEST = 40_000  # numbers of a parameter that stand in fit.json where another file holds them too
PACKAGES = ("emtools", "numpy", "scipy", "numba")


def plain(value: Any) -> Any:
    """Numbers as JSON can hold them: arrays as lists, NaN and infinities as null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def package_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            from emtools import __version__

            versions[name] = __version__ if name == "emtools" else "absent"
    return versions


def one_word(words: Any) -> Any:
    """The words of an array, or the one word that all its entries share."""
    return words.flat[0] if words is not None and words.size and (words == words.flat[0]).all() else words


def certificate_record(
    certificate: Certificate | None, labels: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, Any]:
    """What the curvature says of the fit as a whole; null where there is no certificate."""
    keys = ("kind", "gap", "worst_error", "rate", "spectrum", "n_held")
    record: dict[str, Any] = {key: getattr(certificate, key, None) for key in keys}
    record["method"] = certificate.method if certificate and certificate.kind != "unknown" else "trace"
    record["direction"] = [
        {"parameter": move.called(labels), "share": move.share} for move in getattr(certificate, "direction", ())
    ]
    for key in ("held", "flat"):
        record[key] = [entry.called(labels) for entry in getattr(certificate, key, ())]
    record["passes"] = certificate.passes if certificate else 0
    return record


def fit_record(
    fit: Fit[Any, Any],
    *,
    branch: str,
    inputs: Sequence[Path],
    command: Sequence[str],
    labels: Mapping[str, Sequence[Sequence[str]]] | None = None,
    units: Mapping[str, str] | None = None,
    accuracy: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
    elsewhere: str | None = None,
) -> dict[str, Any]:
    """The content of fit.json.

    Parameters
    ----------
    fit : Fit
        The fit.
    branch : str
        Command that made it.
    inputs : sequence of Path
        Files that were read; written relative to the working folder.
    command : sequence of str
        Command line without threads and output folder, which cannot change the numbers.
    labels : mapping, optional
        For a parameter, the names along each of its axes.
    units : mapping, optional
        For a parameter, its unit; "1" where there is none.
    accuracy : sequence of mappings, optional
        Rows ``{method, metric, value}`` against a known truth.
    extra : mapping, optional
        What only this branch has to say.
    elsewhere : str, optional
        File that holds all parameters: the larger ones then stand there alone.
    """
    labels, units = labels or {}, units or {}
    certificate: Certificate | None = fit.certificate
    errors = certificate.standard_errors if certificate else {}
    scale = certificate.scale if certificate else {}
    beside: dict[str, Mapping[str, Any]] = {
        key: getattr(certificate, field, {}) for key, field in PER_PARAMETER.items()
    }
    measured = certificate is not None and certificate.kind != "unknown"
    parameters = {
        name: {
            "value": array,
            "se": errors.get(name),
            **{key: table.get(name) for key, table in beside.items()},
            "interval": one_word(scale.get(name)),
            "shape": list(np.shape(array)),
            "unit": units.get(name, "1"),
            **({"labels": labels[name]} if name in labels else {}),
        }
        for name, array in fit.model.natural(fit.params).items()
        if elsewhere is None or np.size(array) <= LARGEST
    }
    hyperparameters = {
        key: value
        for key, value in fit.model.hyperparameters.items()
        if elsewhere is None or not isinstance(value, Mapping) or all(np.size(v) <= LARGEST for v in value.values())
    }
    record = {
        "schema": SCHEMA,
        "branch": branch,
        "model": {"name": fit.model.name, "assign": fit.assign, **hyperparameters},
        "status": str(fit.status),
        "verdict": fit.verdict,
        "loglik": fit.loglik,
        "objective": fit.objective,
        "gap": certificate.gap if certificate and measured else fit.gap,
        "rate": certificate.rate if certificate and measured else fit.rate,
        "certificate": certificate_record(certificate, labels) | {"trace_gap": fit.gap, "trace_rate": fit.rate},
        "n_units": fit.stats.n,
        "passes": fit.passes,
        "parameters": parameters,
        "accuracy": list(accuracy),
        "extra": dict(extra or {}),
        "starts": [
            {
                "restart": s.restart,
                "strategy": s.strategy,
                "status": str(s.status),
                "objective": s.objective,
                "passes": s.passes,
                "optimum": s.optimum,
                "saddles": s.saddles,
            }
            for s in fit.starts
        ],
        "optima": [asdict(optimum) for optimum in fit.optima],
        "unseen_optima": fit.unseen,
        "saddles_left": [asdict(event) for event in fit.events],
        "trace": [
            {
                "restart": row.restart,
                "pass": row.number,
                "kind": row.kind,
                "objective": row.objective,
                "gain": row.gain,
                "gap": row.gap,
                "parameter_change": row.parameter_change,
            }
            for row in fit.trace
        ],
        "inputs": [{"path": os.path.relpath(path), "sha256": sha256(path)} for path in inputs],
        "seed": fit.seed,
        "versions": package_versions(),
        "command": list(command),
    }
    result = plain(record)
    assert isinstance(result, dict)
    return result


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write fit.json: one line per parameter, start and pass."""
    lines = []
    for key, value in record.items():
        if key in ("trace", "starts", "optima", "accuracy", "inputs") and value:
            body = ",\n  ".join(json.dumps(row, allow_nan=False) for row in value)
            text = f"[\n  {body}\n ]"
        elif key in ("parameters", "extra") and value:
            body = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(v, allow_nan=False)}" for name, v in value.items())
            text = f"{{\n  {body}\n }}"
        else:
            text = json.dumps(value, allow_nan=False)
        lines.append(f" {json.dumps(key)}: {text}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

"""Whether the content of a fit.json is laid out as one: the first place where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, prod
from typing import Any

MOST = 10**7  # entries of a parameter
MAYBE = (int, float, type(None))
START = {"restart": (int,), "optimum": (int, type(None)), "objective": MAYBE}
ROW = {"restart": (int,), "objective": MAYBE}
RESULT = {"method": (str,), "metric": (str,), "value": MAYBE}
# What is read of a fit.json, by key: types of a value, fields of a mapping, or [fields of each mapping of a list].
LAYOUT: dict[str, Any] = {
    "branch": (str,), "model": {"name": (str,)}, "status": (str,), "verdict": (str,), "loglik": MAYBE, "objective": MAYBE,
    "gap": MAYBE, "rate": MAYBE, "passes": (int,), "starts": [START], "trace": [ROW],
}  # fmt: skip
OPTIONAL: dict[str, Any] = {
    "answer": (str,), "inputs": [{"path": (str,)}], "accuracy": [RESULT], "optima": [{}], "certificate": {}, "extra": {},
}  # fmt: skip
EXTRA: dict[str, Any] = {"motifs": [{}]}


def fault_of(record: object) -> str:
    """The first key whose value is not what a fit.json has there; empty where all are."""
    if not isinstance(record, dict):
        return "the whole"
    fault = (
        differing(record, LAYOUT)
        or ("" if record["starts"] else "starts")
        or differing(record, given(record, OPTIONAL))
    )
    if not fault and record.get("extra"):
        fault = differing(record["extra"], given(record["extra"], EXTRA), "extra")
    return fault or fault_of_parameters(record.get("parameters"))


def given(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of what may be there, that which is."""
    return {key: value for key, value in wanted.items() if record.get(key) is not None}


def differing(value: Any, wanted: Any, place: str = "") -> str:
    """Place where `value` is not as wanted; empty where it is."""
    if isinstance(wanted, tuple):
        return "" if isinstance(value, wanted) and not isinstance(value, bool) else place
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return place
        return next(filter(None, (differing(item, wanted[0], f"{place}[{i}]") for i, item in enumerate(value))), "")
    if not isinstance(value, Mapping):
        return place
    inner = ((key, f"{place}.{key}" if place else key) for key in wanted)
    return next((found for key, at in inner if (found := differing(value.get(key, ...), wanted[key], at))), "")


def fault_of_parameters(parameters: object) -> str:
    """Place where arrays do not have the shape that they say."""
    if parameters is None:
        return ""
    if not isinstance(parameters, Mapping):
        return "parameters"
    for name, parameter in parameters.items():
        at = f"parameters.{name}"
        shape = parameter.get("shape") if isinstance(parameter, Mapping) else None
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or prod(shape) > MOST:
            return f"{at}.shape"
        labels = parameter.get("labels")
        if labels is not None and not fits_labels(labels, shape):
            return f"{at}.labels"
        for key in ("value", "se", "lower", "upper"):
            if not fits(parameter.get(key), shape, 0.0 if key == "se" else -inf):
                return f"{at}.{key}"
    return ""


def fits(table: object, shape: list[int], least: float) -> bool:
    """Whether nested lists of numbers, none below `least`, have a shape; null may stand for any part."""
    if table is None:
        return True
    if not shape:
        return isinstance(table, (int, float)) and not isinstance(table, bool) and table >= least
    return isinstance(table, list) and len(table) == shape[0] and all(fits(row, shape[1:], least) for row in table)


def fits_labels(labels: object, shape: list[int]) -> bool:
    """Whether there is a list of names for each axis, long enough."""
    if not isinstance(labels, list) or len(labels) != len(shape):
        return False
    return all(isinstance(names, list) and len(names) >= n for names, n in zip(labels, shape, strict=True))

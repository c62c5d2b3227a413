"""A fit.json at a glance: is it one, what was fitted, is it to be believed, how did it climb. Nothing heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emtools.errors import InputError
from emtools.io.outputs import require_file
from emtools.report.layout import fault_of

NEEDED = ("branch", "model", "status", "verdict", "loglik", "objective", "gap", "rate", "passes", "starts", "trace")
FLOOR = 1e-10
LONGEST_CURVE = 400


@dataclass(frozen=True)
class Light:
    """Verdict at a glance: `color` is good, warn or bad; `sign` and `words` say the same without colour."""

    color: str
    sign: str
    words: str


def read_fit(path: Path) -> dict[str, Any]:
    """Content of a fit.json.

    Raises
    ------
    InputError
        If it is not one.
    """
    require_file(path, "fit.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"not JSON ({error})", "the fit.json of a fit", "run the fit again") from error
    missing = [key for key in NEEDED if key not in record] if isinstance(record, dict) else list(NEEDED)
    if missing:
        raise InputError(str(path), f"lacks {', '.join(missing)}", "the fit.json of a fit", "run the fit again")
    fault = fault_of(record)
    if fault:
        raise InputError(f"{path}: {fault}", "is not laid out so", "the fit.json of a fit", "run the fit again")
    return dict(record)


def refuse(word: str) -> None:
    """NaN and infinities stand in no fit.json."""
    raise ValueError(f"{word} is no number of JSON")


def unconverged(record: Mapping[str, Any]) -> list[str]:
    """Names of further fits of the record that are not converged: those of motifs after the first."""
    others = (record.get("extra") or {}).get("motifs") or []
    return [str(other.get("name")) for other in others if other.get("status") != "converged"]


def judge(record: Mapping[str, Any]) -> Light:
    """Green, amber or red, and why."""
    starts = record["starts"]
    hits = sum(start["optimum"] == 1 for start in starts)
    if record["status"] != "converged":
        words = {"budget": "not converged: out of passes"}.get(record["status"], f"not converged: {record['status']}")
        return Light("bad", "✗", words)
    if others := unconverged(record):
        return Light("bad", "✗", f"not converged: {', '.join(others)}")
    if (record.get("certificate") or {}).get("kind") == "flat":
        return Light("warn", "!", "converged; not all identified")
    if len(starts) > 1 and hits == 1:
        return Light("warn", "!", f"converged; found by 1 of {len(starts)} starts")
    return Light("good", "✓", "converged")


def describe_model(model: Mapping[str, Any]) -> str:
    """Name of the model with its size."""
    words = [str(model["name"]).replace("_", " ")]
    for key, unit in (("n_components", "components"), ("n_states", "states"), ("width", "wide"), ("family", "")):
        if key in model:
            words.append(f"{model[key]} {unit}".strip())
    return " · ".join(words)


def curve(record: Mapping[str, Any]) -> list[list[float]]:
    """Pass and nats below the top, of the start that was kept; thinned to `LONGEST_CURVE` points."""
    if record["objective"] is None:
        return []
    top_starts = [s for s in record["starts"] if s["objective"] == record["objective"]]
    best = [s["restart"] for s in sorted(top_starts, key=lambda s: s["optimum"] != 1)]
    heights = [row["objective"] for row in record["trace"] if best and row["restart"] == best[0]]
    gap = record["gap"] or 0.0
    floor = max(FLOOR, gap, 4e-16 * abs(record["objective"]))
    top = record["objective"] + gap
    points = [[i + 1, max(top - height, floor)] for i, height in enumerate(heights) if height is not None]
    step = -(-len(points) // LONGEST_CURVE) or 1
    return points[::step] if (len(points) - 1) % step == 0 else [*points[::step], points[-1]]


def known_part(record: Mapping[str, Any]) -> list[list[float]]:
    """The curve without its last point where that is the level from which it is measured: what is left is not known."""
    return curve(record) if record["gap"] is not None else curve(record)[:-1]

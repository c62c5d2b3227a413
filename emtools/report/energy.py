"""How far the free energy that a fit climbed may lie below the log-likelihood: nothing where the E-step is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

VARIATIONAL = ("random_field", "variational_gaussian_mixture")
PROPAGATED = ("censored_normal",)
LEAST = 1e-9  # nats at the left end of the strip


class Bar(NamedTuple):
    """A bar of the strip: what it is, nats, share of the width in percent."""

    name: str
    nats: float
    width: float


def sentence(record: Mapping[str, Any]) -> str:
    """What the objective is, beside the log-likelihood."""
    name, known = record["model"]["name"], (record.get("extra") or {}).get("free_energy")
    if known:
        return (
            f"It was climbed in place of the log-likelihood, which no one can sum. That lies above it by the Kullback–Leibler "
            f"divergence of the independent pixels from the true posterior, by {known['gap']:,.0f} nats at most ({known['gap_per_unit']:.2g} "
            "a pixel), by the sums over whole rows and whole columns."
        )
    if name in VARIATIONAL:
        return "It was climbed in place of the log-likelihood, which lies above it by an unknown divergence (Kullback–Leibler)."
    if name in PROPAGATED:
        return "Equal to the log-likelihood (KL gap 0) but for rows with three cells or more beyond a limit, which are approximated."
    return "Equal to the log-likelihood at every pass: the E-step is exact, the gap (Kullback–Leibler) is 0."


def strip(record: Mapping[str, Any]) -> list[Bar]:
    """What the climb gained, what the bound may lack and, where known, what is left to gain, on a log axis; empty where the E-step is exact."""
    known = (record.get("extra") or {}).get("free_energy")
    heights = [row["objective"] for row in record["trace"] if row["objective"] is not None]
    if not known or not heights:
        return []
    parts = {
        "climbed, all passes": record["objective"] - heights[0],
        "free energy below the log-likelihood, at most": known["gap"],
    }
    if record["gap"] is not None:
        parts["left to gain on this hill"] = record["gap"]
    high = math.log10(max(*parts.values(), 1.0) / LEAST)
    return [
        Bar(name, nats, 100.0 * max(math.log10(max(nats, LEAST) / LEAST), 0.0) / high) for name, nats in parts.items()
    ]

"""How much each component of a fit rests on, and how well conditioned it is: a table for "Can I believe it?"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.kernels.conditioning import conditions, known_units, most_alike, site_worth
from emtools.report.page import Table

Floats = npt.NDArray[np.float64]
TITLE = "Size and condition of each component"
NEAR_SINGULAR = 1e4


def mixture_sizes(
    names: Sequence[str],
    values: Floats,
    shares: Floats,
    weights: Floats,
    means: Floats,
    covariances: Floats,
    unit: str,
) -> Table:
    """Of a mixture of normals.

    Parameters
    ----------
    names : sequence of str
        Components, K of them.
    values, shares : ndarray, shapes (n, d) and (n, K)
        As modelled, and posterior probabilities.
    weights, means, covariances : ndarray, shapes (K,), (K, d) and (K, d, d)
        As fitted.
    unit : str
        What a row is, in the plural.
    """
    found, worth = conditions(weights, means, covariances), known_units(values, shares, means, covariances)
    frame = pd.DataFrame(
        {
            "component": list(names),
            f"expected {unit}": shares.sum(axis=0),
            f"effective {unit}": worth,
            f"{unit} for each free number": worth / (means.shape[1] * (means.shape[1] + 3) / 2),
            "condition number": found,
        }
    )
    worst = int(np.argmax(found))
    told = (
        f"{names[worst]} is nearly flat in some direction ({found[worst]:.2g}): its density there is not to be trusted."
        if found[worst] > NEAR_SINGULAR
        else f"none is near singular (the largest, {found[worst]:.2g}, is that of {names[worst]})."
    )
    caption = (
        f"Expected: the sum of the probabilities of the {unit}. Effective: as many {unit} that were known to be of the component would tell "
        "its mean as well, given the others (observed information, averaged over the directions); far fewer than expected where components "
        "overlap. A component with few for each number of its mean and its covariance leans on what covariances share, or on a prior. Condition number: largest over smallest variance along "
        f"the axes of its covariance, each column in units of its SD over all {unit} as the mixture has it; {told}"
    )
    return Table(TITLE, caption, frame)


def state_sizes(names: Sequence[str], stats: Any, held: Floats, emission: Floats | None, unit: str) -> Table:
    """Of the states of a hidden Markov model.

    Parameters
    ----------
    names : sequence of str
        States, K of them.
    stats : Stats
        Expected ``n_start`` (K,) and ``n_transition`` (K, K).
    held : ndarray, shape (K,)
        Expected observations in each state.
    emission : ndarray, shape (K, L), optional
        Probability of each letter, or of each word, in each state.
    unit : str
        What an observation is, in the plural.
    """
    visits = stats.n_start + stats.n_transition.sum(axis=0) - np.diagonal(stats.n_transition)
    frame = pd.DataFrame({"state": list(names), f"expected {unit}": held, "expected visits": visits})
    caption = (
        f"Expected: sums of posterior probabilities. What a state emits rests on its {unit}, but its transitions, and how long it lasts, on "
        "its visits alone: these are its effective size there."
    )
    if emission is not None and len(names) > 1:
        nearest, overlap = most_alike(emission)
        frame["most alike"] = [names[k] for k in nearest]
        frame["overlap with it"] = overlap
        values = np.linalg.svd(emission, compute_uv=False)
        condition = values[0] / values[-1] if len(names) <= emission.shape[1] and values[-1] > 0 else np.inf
        caption += (
            " Overlap: the share of emissions that two states have in common (1: they emit alike, and only their visits tell them "
            f"apart). The condition number of the table of emissions is {condition:.3g}; where it is large, or infinite "
            "because there are more states than letters, what a state emits is told by its neighbours in the sequence alone."
        )
    return Table(TITLE, caption, frame)


def motif_sizes(stats: Any, matrix: Floats, errors: Floats | None, called: int) -> Table:
    """Of a motif and its background.

    Parameters
    ----------
    stats : Stats
        Expected ``n_sites`` and ``n_rooms``.
    matrix, errors : ndarray, shape (width, 4)
        Letter probabilities and their standard errors; None where they are not known.
    called : int
        Sites that were called.
    """
    rows: list[tuple[str, float]] = [("expected sites", stats.n_sites), ("sites called", float(called))]
    text = "Expected: the sum over all places of the probability that a site starts there."
    if errors is not None:
        worth = site_worth(matrix, errors)
        rows += [
            ("effective sites, median over positions", float(np.median(worth))),
            ("effective sites, least", float(worth.min())),
        ]
        text += (
            " Effective: as many sites whose place is known as would give a position its standard errors, "
            "Σ p (1 − p) / Σ se²; far fewer than are expected where it is in doubt which places are sites, more where the prior weighs in."
        )
    sums = matrix.max(axis=1) / matrix.min(axis=1)
    rows.append(("condition number, largest over positions", float(sums.max())))
    text += (
        f" Condition number: largest over smallest probability of a position, here at position {int(sums.argmax()) + 1}; where it is "
        "large, the smallest rests on the prior."
    )
    return Table(TITLE, text, pd.DataFrame(rows, columns=["of the motif", "value"]))

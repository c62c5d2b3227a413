"""Where the default stop rules of other packages would end plain EM on the hill of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A stop rule on the rise of the log-likelihood in one pass.

    Parameters
    ----------
    package, words : str
        Whose default it is; the rule in words.
    rise : callable
        ``rise(loglik, n)``: the rise in nats below which it stops.
    more : int
        Steps of EM after the rise was seen, before the parameters are returned.
    """

    package: str
    words: str
    rise: Callable[[float, float], float]
    more: int


RULES = (
    Rule("scikit-learn GaussianMixture", "a rise below 1e-3 nats a row", lambda loglik, n: 1e-3 * n, 1),
    Rule("mclust", "a relative rise below 1e-5", lambda loglik, n: 1e-5 * (1.0 + abs(loglik)), 0),
    Rule("hmmlearn", "a rise below 1e-2 nats", lambda loglik, n: 1e-2, 1),
)


SEQUENCES = ("hmm", "motif")  # branches whose units are sequences, which mixtures know nothing of


VISIBLE = 0.01  # rate below which every rule ends at the top


class Stop(NamedTuple):
    """Where a rule stops: nats left at most, and how far that is along the slowest direction in standard errors."""

    package: str
    words: str
    left: float
    errors: float


def stops(record: Mapping[str, Any]) -> list[Stop]:
    """Where each rule would end plain EM, from the rate in the certificate.

    Near the top the distance d in nats shrinks by r² a pass, so that a pass which rises by g leaves d = g r² / (1 - r²).
    A rule that stops once g is below T leaves at most that of T, and r² of it for each further step. The distance
    in standard errors along the slowest direction is √(2d).

    Parameters
    ----------
    record : mapping
        Content of fit.json.

    Returns
    -------
    list of Stop
        Empty where the fit did not converge or its rate is not known from the curvature.

    References
    ----------
    Böhning et al. (1994), doi:10.1007/BF01720593, eq. 8.
    """
    certificate = record.get("certificate") or {}
    rules = RULES[-1:] if record["branch"] in SEQUENCES else RULES
    rate, loglik, n = certificate.get("rate"), record["loglik"], record.get("n_units")
    if record["status"] != "converged" or not rate or not VISIBLE <= rate < 1.0 or None in (loglik, n, record["gap"]):
        return []
    if certificate.get("kind") not in ("maximum", "boundary"):
        return []
    found = []
    for rule in rules:
        left = rule.rise(loglik, n) * rate ** (2 * (1 + rule.more)) / (1.0 - rate**2)
        found.append(Stop(rule.package, rule.words, left, math.sqrt(2.0 * left)))
    return found

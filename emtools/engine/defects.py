"""Which step of a model is at fault where its objective falls."""

from __future__ import annotations

from emtools.engine.protocol import C, Model, P, S
from emtools.engine.stopping import fell

IDENTITY = 1e-9  # relative difference of loglik and Q + entropy that rounding cannot explain


def culprit(model: Model[P, S, C], stats: S, params: P, after: P) -> str:
    """The step that made the objective fall between two EM steps, in words.

    The log-likelihood is Q plus entropy at the E-step's own parameters, and an M-step does not lower Q plus log prior:
    a fall breaks one or the other, unless the statistics belong to other data than the log-likelihood.

    Parameters
    ----------
    model : Model
        The model.
    stats, params : Stats, Params
        Statistics of the E-step before the fall, and its parameters.
    after : Params
        What the M-step made of them.

    References
    ----------
    Neal & Hinton (1998), doi:10.1007/978-94-011-5014-9_12, theorem 1.
    """
    here = model.expected_loglik(stats, params)
    if abs(stats.loglik - here - stats.entropy) > IDENTITY * (1.0 + abs(stats.loglik)):
        return "its E-step is at fault: loglik is not Q plus entropy"
    before = here + model.log_prior(params)
    there = model.expected_loglik(stats, after) + model.log_prior(after)
    if fell(before, there):
        return f"its M-step is at fault: it lowers Q by {before - there:.3g} nats"
    return "its E-step is at fault: its statistics do not lead uphill"

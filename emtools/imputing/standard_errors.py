"""Standard errors of a normal of many columns from the observed information itself, where the engine could only guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from emtools.engine.certificate import FLAT, INFORMATION, KRYLOV, LARGEST, NEAR, judge, with_errors
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.kernels.normal_information import observed_information
from emtools.kernels.readings import Readings
from emtools.models.normal import MultivariateNormal


def with_observed_errors(fitted: Fit[Any, Any], readings: Readings, weights: Floats | None = None) -> Fit[Any, Any]:
    """The fit with a certificate from the observed information in closed form.

    Only the certificate of a normal that is an estimate is replaced, and only at a maximum; beyond 1,500 parameters
    (52 columns) it stays. With very many patterns of missingness the curvature along covariances is that expected of
    a part of them, and the certificate still says that it estimates.

    Parameters
    ----------
    fitted : Fit
        Of any model.
    readings : Readings
        The table that it was fitted to, shape (n, d).
    weights : ndarray, shape (n,), optional
        Non-negative weights of the rows.

    Returns
    -------
    Fit

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(80, 15)) + rng.normal(size=(80, 1))
    >>> rows[rng.random(rows.shape) < 0.1] = np.nan
    >>> model = MultivariateNormal(15)
    >>> guess = fit(model, model.source(Readings(rows)))
    >>> known = with_observed_errors(guess, Readings(rows))
    >>> guess.certificate.method, known.certificate.method
    ('krylov estimate', 'observed information')
    """
    model, seen = fitted.model, fitted.certificate
    if seen is None or not isinstance(model, MultivariateNormal) or seen.method != KRYLOV:
        return fitted
    prior: dict[str, Any] = {}
    if model.prior is not None:
        prior = {"pseudo_rows": model.prior.degrees + model.n_features + 1.0, "scale": model.prior.scale}
    counts = np.ones(len(readings.values)) if weights is None else weights
    found = observed_information(
        readings.values, counts, fitted.params.mean, fitted.params.covariance, **prior
    )  # fmt: skip
    errors = None if found is None else found.errors()
    complete = None if found is None else found.complete_errors()
    if found is None or errors is None or complete is None:
        return fitted
    spectrum, (gap, worst) = found.missing(LARGEST), found.gap()
    if spectrum[0] > 1.0 - FLAT or gap > NEAR:
        return fitted
    told = replace(
        seen,
        kind="maximum",
        gap=gap,
        worst_error=worst,
        rate=float(spectrum[0]),
        spectrum=spectrum,
        method=INFORMATION if found.share == 1.0 else KRYLOV,
        complete_errors=dict(zip(("mean", "covariance"), complete, strict=True)),
    )
    units = np.ones(model.pack(fitted.params).size)
    told = with_errors(
        model,
        fitted.params,
        told,
        dict(zip(("mean", "covariance"), errors, strict=True)),
        units * model.packed_units(fitted.params),
    )
    return judge(replace(fitted, certificate=told), told)

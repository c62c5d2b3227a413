"""Student's t of real tables with gaps against a direct maximiser (incomplete_t.py, which holds no EM)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference.incomplete_t import table_of

from emtools.engine.starts import fit
from emtools.imputing.fitting import fit_table
from emtools.imputing.standard_errors import fit_with_errors
from emtools.kernels.readings import Readings
from emtools.models.student_t import StudentT

STORED = json.loads((Path(__file__).parent / "incomplete_t.json").read_text(encoding="utf-8"))["fits"]


def model_and_table(name):
    table, words = name.split(", ")
    values = table_of(table)
    return StudentT(values.shape[1], df=None if "estimated" in words else float(words.split()[1])), values


def fitted(name):
    model, values = model_and_table(name)
    source = model.source(Readings(values))
    return fit(model, source, max_passes=1000, parameter_tol=1e-9, tol=1e-10, certificate=False)


@pytest.mark.parametrize("name", sorted(STORED))
def test_maximum(name):
    theirs, ours = STORED[name], fitted(name)
    scatter = np.array(theirs["scatter"])
    sd = np.sqrt(np.diag(scatter))
    assert ours.loglik == pytest.approx(theirs["loglik"], rel=0.0, abs=1e-6)
    np.testing.assert_allclose(ours.params.location / sd, np.array(theirs["location"]) / sd, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(ours.params.scatter / np.outer(sd, sd), scatter / np.outer(sd, sd), rtol=0.0, atol=1e-6)
    assert ours.params.df == pytest.approx(theirs["df"], rel=1e-5)


@pytest.mark.parametrize("name", sorted(STORED))
def test_standard_errors_of_the_location(name):
    """From the observed information in closed form, on every table."""
    model, values = model_and_table(name)
    arguments = {"max_passes": 1000, "parameter_tol": 1e-9, "tol": 1e-10}
    seen = fit_with_errors(model, Readings(values), **arguments).certificate
    assert (seen.method, seen.passes) == ("observed information", 0)
    np.testing.assert_allclose(seen.standard_errors["location"], STORED[name]["errors"], rtol=1e-6)


@pytest.mark.parametrize("name", ["missvals", "nhanes"])
def test_no_finite_degrees_of_freedom_is_said(name):
    """The likelihood rises all the way to the normal, which the direct search finds too."""
    assert STORED[f"{name}, df estimated"]["df"] == 1e4
    found = fit_table(Readings(table_of(name)), kind="t")
    assert "as far as they go, 10,000" in found.notices[0]
    assert "Held fixed at the edge of its range: df" in found.fit.verdict

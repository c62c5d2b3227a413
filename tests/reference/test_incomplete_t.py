"""Student's t of real tables with gaps against a direct maximiser (incomplete_t.py, which holds no EM)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference.incomplete_t import table_of

from emtools.engine.starts import fit
from emtools.kernels.readings import Readings
from emtools.models.student_t import StudentT

STORED = json.loads((Path(__file__).parent / "incomplete_t.json").read_text(encoding="utf-8"))["fits"]


def fitted(name, certificate):
    table, words = name.split(", ")
    values = table_of(table)
    model = StudentT(values.shape[1], df=None if "estimated" in words else float(words.split()[1]))
    source = model.source(Readings(values))
    return fit(model, source, max_passes=1000, parameter_tol=1e-9, tol=1e-10, certificate=certificate)


@pytest.mark.parametrize("name", sorted(STORED))
def test_maximum(name):
    theirs, ours = STORED[name], fitted(name, certificate=False)
    scatter = np.array(theirs["scatter"])
    sd = np.sqrt(np.diag(scatter))
    assert ours.loglik == pytest.approx(theirs["loglik"], rel=0.0, abs=1e-6)
    np.testing.assert_allclose(ours.params.location / sd, np.array(theirs["location"]) / sd, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(ours.params.scatter / np.outer(sd, sd), scatter / np.outer(sd, sd), rtol=0.0, atol=1e-6)
    assert ours.params.df == pytest.approx(theirs["df"], rel=1e-5)


SHORT = ["airquality, df estimated", "airquality, df 3.0", "nhanes, df 3.0", "apple, df estimated"]
LONG = [pytest.param(f"{name}, df estimated", marks=pytest.mark.slow) for name in ("boys", "pbc")]


@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_standard_errors_of_the_location(name):
    errors = fitted(name, certificate=True).certificate.standard_errors["location"]
    np.testing.assert_allclose(errors, STORED[name]["errors"], rtol=1e-4)

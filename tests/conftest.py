"""Shared fixtures. Tests import their neighbours as ``conformance.cases`` and the like."""

import os

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Cases of parametrised tests that take minutes, where the others take seconds.
LONG = (
    "test_the_number_of_factors_is_found[1]",
    "test_units_of_columns_do_not_matter[factors]",
    "test_promise[negative_binomial_mixture-errors]",
    "test_no_kept_pass_falls_and_converged_means_it[negative_binomial_mixture]",
    "test_no_kept_pass_falls_and_converged_means_it[censored_normal]",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the long cases slow, before the marks are asked for."""
    for item in items:
        if item.name in LONG:
            item.add_marker(pytest.mark.slow)

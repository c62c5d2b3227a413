"""Shared fixtures. Tests import their neighbours as ``conformance.cases`` and the like."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

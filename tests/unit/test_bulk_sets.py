"""Sets of real mixtures (benchmarks/bulk_sets.py): noiseless ones, written and read, give back what was mixed."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bulk_accuracy import RIVALS, Task, from_folder, grouped
from benchmarks.bulk_sets import of_pure, references, stored

RNG = np.random.default_rng(0)
GENES = [f"g{i}" for i in range(30)]


def found(task: Task) -> np.ndarray:
    return grouped(RIVALS["NNLS"](task.mixtures, task.reference.profiles), task)


def test_logs_of_arrays_are_undone_and_pure_samples_are_types(tmp_path: Path) -> None:
    names = ["m1", "m2", "x", "y", "z"]
    truth = pd.DataFrame({"a": [0.3, 0.9, 1, 0, 1], "b": [0.7, 0.1, 0, 1, 0]})
    alone = RNG.gamma(1.0, 100.0, (3, 30)) + 1.0
    mixed = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]) @ alone
    tables = {
        "set.data.log": pd.DataFrame(np.log2(np.vstack([mixed, alone])), names, GENES),
        "set.annotation.mixture": truth,
        "set.annotation.pure": truth == 1,
    }
    mixtures, known, pure, types = of_pure(tables, "set")
    stored(tmp_path / "set", mixtures, known, pure, {group: tuple(pure.columns[types[group]]) for group in known})
    task = from_folder(tmp_path / "set")
    assert task.groups == ["a", "b", "a"]
    np.testing.assert_allclose(found(task), [[0.3, 0.7], [0.9, 0.1]], rtol=0, atol=1e-9)


def test_libraries_are_scaled_without_their_spike_ins(tmp_path: Path) -> None:
    shares = RNG.dirichlet(np.ones(30), 2)
    counts = {}
    for (sample, share), depth in zip(
        {"A": 1.0, "B": 0.0, "C": 0.75, "D": 0.25}.items(), (1e6, 3e6, 2e6, 5e6), strict=True
    ):
        for library in "15":
            for lane in ("L01", "L02"):
                expected = depth * (share * shares[0] + (1 - share) * shares[1])
                counts[f"SEQC_LIF_LIV_{sample}_{library}_{lane}_X"] = [*expected, depth * RNG.uniform()]
    references(pd.DataFrame(counts, index=[*GENES, "ERCC_1"]), tmp_path)
    task = from_folder(tmp_path / "seqc")
    assert task.mixtures.shape == (4, 30)
    np.testing.assert_allclose(found(task), task.truth, rtol=0, atol=1e-9)

"""Demo data sets: whole, the same each time, and masked as promised."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from emtools.cli import main
from emtools.io.demo import DEMOS


def test_diabetes_is_complete_and_its_masked_twin_lacks_a_fifth(tmp_path: Path) -> None:
    for name in ("diabetes", "diabetes_masked"):
        assert main(["demo", name, "--out", str(tmp_path / f"{name}.tsv")]) == 0
    truth = pd.read_csv(tmp_path / "diabetes.tsv", sep="\t", index_col="patient")
    masked = pd.read_csv(tmp_path / "diabetes_masked.tsv", sep="\t", index_col="patient")
    assert truth.shape == (442, 9)
    assert ("patient", *truth.columns) == DEMOS["diabetes"].columns
    assert not truth.isna().any(axis=None)
    assert truth["age"].between(18, 80).all()
    assert masked.isna().to_numpy().mean() == pytest.approx(0.2, abs=0.02)
    assert masked.notna().any(axis=1).all()
    assert (masked.isna() | (masked == truth)).all(axis=None)
    first = (tmp_path / "diabetes_masked.tsv").read_bytes()
    assert main(["demo", "diabetes_masked", "--out", str(tmp_path / "diabetes_masked.tsv")]) == 0
    assert (tmp_path / "diabetes_masked.tsv").read_bytes() == first


def test_nuclei_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_breast_cancer

    assert main(["demo", "breast_cancer", "--out", str(tmp_path / "n.tsv")]) == 0
    table = pd.read_csv(tmp_path / "n.tsv", sep="\t")
    data = load_breast_cancer()
    assert tuple(table.columns) == DEMOS["breast_cancer"].columns
    assert (table[list(data.feature_names)].to_numpy() == data.data).all()
    assert table["diagnosis"].value_counts().to_dict() == {"benign": 357, "malignant": 212}


def test_pbmc_is_an_h5ad_with_its_labels(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "cells.h5ad"
    assert main(["demo", "pbmc68k_reduced", "--out", str(path)]) == 0
    with h5py.File(path) as file:
        assert "bulk_labels" in file["obs"].dtype.names
        assert file["obsm"].shape[0] == 700


@pytest.mark.parametrize("words", [("iris", "a.tsv"), ("diabetes", "a.csv")])
def test_wrong_request_leaves_nothing(
    tmp_path: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", words[0], "--out", str(tmp_path / words[1])]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not any(tmp_path.iterdir())

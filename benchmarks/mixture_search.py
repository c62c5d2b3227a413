"""How near searches from ten seeds come to the best known objective, and what they cost in fits.

    python -m benchmarks.mixture_search         # prints and writes benchmarks/mixture_search.tsv
    python -m benchmarks.mixture_search 30      # from other seeds: 30 to 39; prints only

scanpy's pbmc68k_reduced, its first ten components, K = 10, full covariances, `data_prior`. One fit is the mean of ten from
k-means++, timed anew before each search, since a machine is not equally fast all along; a search may spend 19 of these, and the
climb after it is the twentieth. Cost is counted in passes over the data (rows times densities) and in CPU seconds, both without
the certificate.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from threadpoolctl import threadpool_limits

from emtools.engine.chunks import ArraySource
from emtools.engine.starts import fit
from emtools.models.mixture import GaussianMixture, data_prior

BEST = -10466.27  # the highest that searches have found so far
FIRST, SEEDS, FITS = 120, 10, 19
TABLE = Path(__file__).with_suffix(".tsv")
HEADER = "seed\tnats below the best known\tone fit from the seed\tpasses, in fits\tCPU, in fits"


def main() -> None:
    """Measure and print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scanpy

        values = np.ascontiguousarray(scanpy.datasets.pbmc68k_reduced().obsm["X_pca"][:, :10], dtype=np.float64)
    model, source = GaussianMixture(10, 10, prior=data_prior(values, 10, "full")), ArraySource(values)

    def timed(seed: int, search: int = 0) -> tuple[float, int, float]:
        began = process_time()
        fitted = fit(model, source, seed=seed, search=search, certificate=False)
        return fitted.objective, fitted.passes, process_time() - began

    first = int(sys.argv[1]) if len(sys.argv) > 1 else FIRST
    seeds = range(first, first + SEEDS)
    with threadpool_limits(1):
        timed(first, 100)  # compiles
        passes = float(np.mean([timed(seed)[1] for seed in seeds]))
        lines = [HEADER]
        for i, seed in enumerate(seeds):
            alone = [timed(other) for other in seeds]
            one, seconds = alone[i], float(np.mean([other[2] for other in alone]))
            found = timed(seed, round(FITS * passes))
            figures = (BEST - found[0], BEST - one[0], found[1] / passes, found[2] / seconds)
            lines.append("\t".join([str(seed), *(f"{figure:.1f}" for figure in figures)]))
            print(lines[-1], flush=True)
    if first == FIRST:
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

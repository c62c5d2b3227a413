"""Pixels: CPU seconds of a pass, and of a whole fit by grey levels, beside scikit-learn's; one thread, same run.

    python -m benchmarks.segment_speed [ROW ...]     # prints and writes these rows, counted from 1, of benchmarks/segment_speed.tsv

Rows of features are measured as in `benchmarks.mixture_speed`: passes of the two alternate on the same data and parameters,
the ratio is the median of neighbours, the log-likelihoods are compared. One row has the 16 Mi pixels of a 4096 x 4096 image, the
others a quarter of them: a pass costs the same for each pixel, and what scikit-learn makes beside 16 Mi x 15 numbers does not fit
beside what else the machine does.

The rows of grey levels fit a 4096 x 4096 image to the end (accelerated, tied variances, from one start, the EM map looked at around the
end), counting included, reading not; then the same with the standard errors of a certificate, whose cost does not depend
on the image; beside it one pass of scikit-learn over a sixteenth of the pixels, scaled to all.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from benchmarks.mixture_speed import HEADER, case
from benchmarks.timing import in_own_process
from emtools.engine.starts import fit
from emtools.models.histogram import Histogram, histogram
from emtools.models.mixture import Family, GaussianMixture, MixtureParams

MEGA = 2**20
KINDS = (("full", "float64"), ("full", "float32"), ("tied", "float64"))
CASES = (
    (16 * MEGA, 4, 3, "full", "float64", 1.5),
    *((4 * MEGA, d, 3, family, kind, 1.5) for family, kind in KINDS for d in (4, 8, 15)),
)
LEVELS = ((2, 12), (3, 12), (2, 16), (3, 16))  # classes, bits
LEVELS_HEADER = (
    "classes\tbits\tlevels\tpasses\tcounting, ms\twhole fit, ms\twith standard errors, ms\tscikit-learn, one pass, ms"
    "\tscikit-learn, ns per pixel and pass"
)
TABLE = Path(__file__).with_suffix(".tsv")
LEVELS_TABLE = TABLE.with_name("segment_levels.tsv")
FAMILY: Family = "tied"  # as the image branch has it
ROUNDS = 5


def micrograph(bits: int) -> np.ndarray:
    """A 4096 x 4096 image: a dark ground, a quarter of bright cells, some brighter ones; every level may occur."""
    rng = np.random.default_rng(3)
    levels = rng.normal(0.1, 0.02, (4096, 4096))
    kind = rng.random((4096, 4096))
    levels += np.where(kind < 0.25, rng.normal(0.3, 0.08, (4096, 4096)), 0.0)
    levels += np.where(kind < 0.05, 0.3, 0.0)
    return (np.clip(levels, 0.0, 1.0) * (2**bits - 1)).astype(np.uint16)


def first_guess(model: GaussianMixture, levels: Histogram) -> MixtureParams:
    """From classes of equal width in brightness, between the lowest level and that of the brightest hundredth."""
    values = levels.values[:, None]
    top = levels.values[np.searchsorted(levels.counts.cumsum(), 0.99 * levels.counts.sum())]
    k = model.n_components
    labels = np.clip(k * (levels.values - levels.values[0]) // (top - levels.values[0] + 1), 0, k - 1).astype(int)
    return model.from_labels(values, labels, levels.counts.astype(float))


def by_levels(classes: int, bits: int) -> list[str]:
    """One row of the table of grey levels."""
    plane = micrograph(bits)
    model = GaussianMixture(classes, 1, FAMILY, order_by=0)
    fit(model, histogram(plane[:64]).source, init=[first_guess(model, histogram(plane[:64]))])
    spent = []
    for _ in range(ROUNDS):
        began = process_time()
        levels = histogram(plane)
        counted = process_time()
        start = [first_guess(model, levels)]
        found = fit(model, levels.source, init=start, certificate=False)
        fitted = process_time()
        fit(model, levels.source, init=start)
        spent.append((counted - began, fitted - began, process_time() - fitted + counted - began))
    assert found.converged, found.verdict
    pixels = plane[::4, ::4].reshape(-1, 1).astype(np.float64)
    peer = Peer(
        classes,
        covariance_type=FAMILY,
        reg_covar=0.0,
        init_params="random_from_data",
        max_iter=2,
        tol=0.0,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two passes, to have parameters
        peer.fit(pixels[:10_000])
    began = process_time()
    _, log_shares = peer._e_step(pixels)
    peer._m_step(pixels, log_shares)
    each = (process_time() - began) / len(pixels)
    milliseconds = [*(1e3 * np.median(spent, axis=0)), 1e3 * each * plane.size]
    told = [f"{x:.1f}" for x in milliseconds]
    return [str(classes), str(bits), str(len(levels.levels)), str(found.passes), *told, f"{1e9 * each:.0f}"]


def main() -> None:
    """Run the rows that are named, or all: first those of features, then those of grey levels. ``--case`` runs one and prints it."""
    n = len(CASES)
    if sys.argv[1:2] == ["--case"]:
        i = int(sys.argv[2]) - 1
        with threadpool_limits(1):
            print("\t".join(case(*CASES[i]) if i < n else by_levels(*LEVELS[i - n])))
        return
    chosen = [int(name) - 1 for name in sys.argv[1:]] or list(range(n + len(LEVELS)))
    known: dict[str, str] = {}
    for table, width in ((TABLE, 6), (LEVELS_TABLE, 2)):
        if table.exists():
            known |= {"\t".join(line.split("\t")[:width]): line for line in table.read_text().splitlines()[1:]}
    names = ["\t".join(map(str, one)) for one in (*CASES, *LEVELS)]
    for i in chosen:
        known[names[i]] = in_own_process("segment_speed", "--case", str(i + 1))
        print(known[names[i]], flush=True)
        for table, header, held in ((TABLE, HEADER, names[:n]), (LEVELS_TABLE, LEVELS_HEADER, names[n:])):
            rows = [known[name] for name in held if name in known]
            if rows:
                table.write_text("\n".join([header, *rows]) + "\n")


if __name__ == "__main__":
    main()

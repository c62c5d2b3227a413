"""Time of a mean-field sweep over an image, ours and numpy's: ``python -m benchmarks.field_speed``.

CPU seconds of one thread for a sweep over random shares in float32, all 4 neighbours, both colours, of two sweeps, which a pass
of the fit makes; numpy works on whole planes and picks the colour with a mask. The two alternate: medians, the median ratio
of neighbours with its lowest and highest, and that of wall times.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.timing import alternated
from emtools.kernels.field import by_colour, sweep, whole

STORED = Path(__file__).parent / "field_speed.tsv"
SIDES = (512, 1024, 2048)
CLASSES = (2, 3, 4, 5)
SWEEPS = 2
PAIRS, LONGEST = 5, 3.0

Singles = npt.NDArray[np.float32]


def by_numpy(shares: Singles, log_density: Singles, coupling: np.float32) -> Singles:
    """A sweep over planes (K, R, C)."""
    n_rows, n_columns = shares.shape[1:]
    red = np.add.outer(np.arange(n_rows), np.arange(n_columns)) % 2 == 0
    for colour in (red, ~red):
        near = np.zeros_like(shares)
        near[:, 1:] += shares[:, :-1]
        near[:, :-1] += shares[:, 1:]
        near[:, :, 1:] += shares[:, :, :-1]
        near[:, :, :-1] += shares[:, :, 1:]
        joint = log_density + coupling * near
        joint -= joint.max(axis=0)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=0)
        shares = np.where(colour, joint, shares)
    return shares


def measured(side: int, n_classes: int) -> dict[str, Any]:
    """Both on one image."""
    rng = np.random.default_rng(side + n_classes)
    shares = np.moveaxis(rng.dirichlet(np.ones(n_classes), (side, side)), -1, 0).astype(np.float32)
    density = rng.normal(0.0, 3.0, shares.shape).astype(np.float32)
    density -= density.max(axis=0)
    cut, given = by_colour(shares), by_colour(density)
    sweep(cut, given, 1.0, side)
    error = float(np.abs(whole(cut, side) - by_numpy(shares, density, np.float32(1.0))).max())
    took = alternated(
        lambda: sweep(cut, given, 1.0, side, SWEEPS),
        lambda: [by_numpy(shares, density, np.float32(1.0)) for _ in range(SWEEPS)],
        PAIRS,
        LONGEST,
    )
    scale = 1e9 / (SWEEPS * side**2)
    return {
        "side": side, "classes": n_classes, "ours_ns": round(took.ours * scale, 2), "numpy_ns": round(took.theirs * scale, 1),
        "ratio": round(took.ratio, 1), "spread": took.spread, "wall": round(took.wall, 1), "difference": f"{error:.1e}",
    }  # fmt: skip


def main() -> None:
    rows = [measured(side, n_classes) for side in SIDES for n_classes in CLASSES]
    with open(STORED, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

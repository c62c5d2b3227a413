"""How CPU time and memory of whole commands grow with the data: ``python -m benchmarks.scaling [BRANCH ...]``.

Each branch meets four sizes, each in a process of its own with compiled kernels at hand, from reading the file to the page that is
written. The data are simulated, since only their size matters here; starts and passes are held, so that the number of passes does not
decide. ``exponent`` is the slope of log time on log size from one size to the next: 1 is linear.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.command_times import spent

TABLE = Path(__file__).with_suffix(".tsv")
FIT = ("--starts", "2", "--max-passes", "60", "--seed", "1")


def table(path: Path, n: int, rng: np.random.Generator) -> Path:
    """A table of ten correlated markers, a fifth of the cells blank."""
    values = rng.normal(size=(n, 10)) @ rng.normal(size=(10, 10)) / 3.0 + rng.normal(size=(n, 10))
    values[rng.random(values.shape) < 0.2] = np.nan
    pd.DataFrame(values, columns=[f"marker{j}" for j in range(10)]).to_csv(
        path.with_suffix(".csv"), index=False, float_format="%.6g"
    )
    return path.with_suffix(".csv")


def cells(path: Path, n: int, rng: np.random.Generator) -> Path:
    """Cells of eight types in ten components, and 50 genes."""
    import anndata

    means = 2.0 * rng.normal(size=(8, 10))
    scores = means[rng.integers(8, size=n)] + rng.normal(size=(n, 10))
    held = anndata.AnnData(rng.poisson(1.0, size=(n, 50)).astype(np.float32), obsm={"X_pca": scores})
    held.write_h5ad(path.with_suffix(".h5ad"))
    return path.with_suffix(".h5ad")


def image(path: Path, n: int, rng: np.random.Generator) -> Path:
    """A square image of n pixels with bright discs."""
    import tifffile

    side = round(math.sqrt(n))
    rows, columns = np.ogrid[:side, :side]
    disc = (rows % 64 - 32) ** 2 + (columns % 64 - 32) ** 2 < 300
    tifffile.imwrite(path.with_suffix(".tif"), rng.poisson(np.where(disc, 900.0, 200.0)).astype(np.uint16))
    return path.with_suffix(".tif")


def fasta(path: Path, n: int, rng: np.random.Generator, length: int) -> Path:
    """Sequences of random letters with runs rich in G and C."""
    rich = np.repeat(rng.random(-(-n // 500)) < 0.3, 500)[:n]
    letters = np.where(
        rich, rng.choice(4, size=n, p=(0.2, 0.3, 0.3, 0.2)), rng.choice(4, size=n, p=(0.3, 0.2, 0.2, 0.3))
    )
    text = np.frombuffer(b"ACGT", dtype=np.uint8)[letters].tobytes().decode()
    records = (f">s{i}\n{text[i : i + length]}\n" for i in range(0, n, length))
    path.with_suffix(".fa").write_text("".join(records))
    return path.with_suffix(".fa")


# Branch: unit, sizes, writer of data, options.
BRANCHES: dict[str, tuple[str, tuple[int, ...], Callable[..., Path], tuple[str, ...]]] = {
    "impute": ("rows", (1_000, 10_000, 100_000, 400_000), table, ("--fill", "model", *FIT)),
    "deconvolve": ("cells", (2_000, 10_000, 50_000, 200_000), cells, ("--components", "8", *FIT)),
    "segment": ("pixels", (256**2, 512**2, 1024**2, 2048**2), image, FIT),
    "hmm": ("letters", (50_000, 200_000, 1_000_000, 5_000_000), fasta, ("--states", "2", *FIT)),
    "motif": ("letters", (50_000, 200_000, 1_000_000, 5_000_000), fasta, ("--untested", "--width", "8-16")),
}


def measured(branch: str, size: int, folder: Path) -> tuple[float, float]:
    """CPU seconds and peak of memory in MB of a command on data of a size."""
    unit, _, write, options = BRANCHES[branch]
    more = () if write is not fasta else (100 if branch == "motif" else 100_000,)
    path = write(folder / f"data{size}", size, np.random.default_rng(size), *more)
    words = [branch, str(path), "--out", str(folder / branch), *options]
    seconds, memory, code = spent(words, dict(os.environ))
    path.unlink()
    if code not in (0, 3):
        sys.exit(f"{branch} with {size} {unit} ended with {code}")
    return seconds, memory


def grown(branch: str, folder: Path) -> pd.DataFrame:
    """The rows of a branch."""
    unit, sizes, *_ = BRANCHES[branch]
    measured(branch, sizes[0], folder)  # compiles
    seconds, memory = zip(*(measured(branch, size, folder) for size in sizes), strict=True)
    steps = np.diff(np.log(seconds)) / np.diff(np.log(sizes))
    return pd.DataFrame(
        {
            "branch": branch,
            "unit": unit,
            "size": sizes,
            "cpu_s": np.round(seconds, 2),
            "peak_mb": np.round(memory).astype(int),
            "exponent": ["", *(f"{step:.2f}" for step in steps)],
        }
    )


def main() -> None:
    """Measure the branches that are named, or all; the rows of others stay."""
    asked = sys.argv[1:] or list(BRANCHES)
    known = (
        pd.read_csv(TABLE, sep="\t", dtype=str, keep_default_na=False)
        if TABLE.exists()
        else pd.DataFrame({"branch": []})
    )
    with TemporaryDirectory(prefix="emtools-") as folder:
        for branch in asked:
            rows = grown(branch, Path(folder))
            print(rows.to_string(index=False), flush=True)
            known = pd.concat([known[known["branch"] != branch], rows.astype(str)])
            known.to_csv(TABLE, sep="\t", index=False)


if __name__ == "__main__":
    main()

"""Real data sets that the dependencies ship, as files to run a command on. Nothing is downloaded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emtools.errors import InputError
from emtools.io.outputs import staged

MARKERS = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
MASK_SEED = 20261122
MASKED = 0.2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to write and where.

    Parameters
    ----------
    name : str
        Name of the data set.
    out : Path
        File to write.
    command : tuple of str
        Command line as typed.
    """

    name: str
    out: Path
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Demo:
    """A data set.

    Parameters
    ----------
    suffix : str
        Ending of its file.
    columns : tuple of str
        Columns, where it is a table.
    write : callable
        Writes it to a path.
    """

    suffix: str
    columns: tuple[str, ...]
    write: Callable[[Path], None]


def write_pbmc(path: Path) -> None:
    """700 blood cells with `bulk_labels` (Zheng et al. 2017, doi:10.1038/ncomms14049), as scanpy ships them."""
    spec = find_spec("scanpy")
    if spec is None or spec.origin is None:
        raise InputError(
            "demo pbmc68k_reduced", "scanpy, which ships the file, is absent", "", "pip install emtools[workflow]"
        )
    shutil.copyfile(Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad", path)


def write_diabetes(path: Path, mask: bool = False) -> None:
    """Serum measurements of 442 patients (Efron et al. 2004, doi:10.1214/009053604000000067), in their own units.

    Parameters
    ----------
    path : Path
        TSV file with a column `patient` and nine markers.
    mask : bool
        Blank a fifth of the cells at random, always the same, never a whole row.
    """
    import numpy as np
    from sklearn.datasets import load_diabetes

    table = load_diabetes(scaled=False, as_frame=True).data[list(MARKERS)]
    if mask:
        blank = np.random.default_rng(MASK_SEED).random(table.shape) < MASKED
        blank[blank.all(axis=1), 0] = False
        table = table.mask(blank)
    table.insert(0, "patient", [f"P{row:03d}" for row in range(1, len(table) + 1)])
    table.to_csv(path, sep="\t", index=False)


def write_breast_cancer(path: Path) -> None:
    """Shapes of the nuclei in 569 fine-needle aspirates of breast masses (Street, Wolberg & Mangasarian 1993).

    doi:10.1117/12.148698. 30 features and the `diagnosis`, malignant or benign, as scikit-learn ships them.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    table = data.data.copy()
    table.insert(0, "sample", [f"N{row:03d}" for row in range(1, len(table) + 1)])
    table["diagnosis"] = data.target_names[data.target]
    table.to_csv(path, sep="\t", index=False)


MEASURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
NUCLEI = (*(f"mean {m}" for m in MEASURES), *(f"{m} error" for m in MEASURES), *(f"worst {m}" for m in MEASURES))

DEMOS = {
    "pbmc68k_reduced": Demo(".h5ad", (), write_pbmc),
    "diabetes": Demo(".tsv", ("patient", *MARKERS), write_diabetes),
    "diabetes_masked": Demo(".tsv", ("patient", *MARKERS), lambda path: write_diabetes(path, mask=True)),
    "breast_cancer": Demo(".tsv", ("sample", *NUCLEI, "diagnosis"), write_breast_cancer),
}


def run(options: Options) -> int:
    """Write a data set.

    Raises
    ------
    InputError
        If there is no data set of this name, or its file would have the wrong ending.
    """
    demo = DEMOS.get(options.name)
    if demo is None:
        raise InputError("demo", f"no data set named {options.name!r}", f"one of {', '.join(DEMOS)}")
    if options.out.suffix != demo.suffix:
        raise InputError(str(options.out), f"the ending is {options.out.suffix!r}", f"a {demo.suffix} file")
    with staged(options.out.parent, seal=options.out.name) as folder:
        demo.write(folder / options.out.name)
    print(f"emtools demo: wrote {options.out}", file=sys.stderr)
    return 0

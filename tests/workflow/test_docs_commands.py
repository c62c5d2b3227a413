"""Commands of pages are run as they stand, on the demo's data under the names that the pages use."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from emtools.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md")), *sorted((ROOT / "docs" / "from").glob("*.md"))]  # fmt: skip
BLOCK = re.compile(
    r"(?:<!-- not run by the tests of the docs: ([^\n]+) -->\n)?^```(?:console)?\n(.*?)^```", flags=re.M | re.S
)
AFTER_A_RUN = "# after make run"
GC = (0.36, 0.35, 0.38, 0.4, 0.39, 0.39, 0.44, 0.43, 0.5, 0.49)  # of windows of a chromosome


def steps(page: Path) -> tuple[list[list[str]], list[str]]:
    """Words of each command of a page that is to be run, and why others are not."""
    run, why = [], []
    for reason, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in code.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:\.venv/bin/)?emtools (.*)", line)
            if found and not reason and AFTER_A_RUN not in line:
                run.append(shlex.split(found[1], comments=True))
            elif found:
                why.append(reason or AFTER_A_RUN)
    return run, why


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the demo's data, under the names of the pages too."""
    import anndata

    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    for name, of in (("nuclei.tif", "nuclei.tif"), ("nuclei_mask.tif", "nuclei_mask.tif"), ("peaks.fa", "crp.fa")):
        (tmp_path / name).symlink_to(ROOT / "resources" / of)
    image = tifffile.imread(ROOT / "resources" / "nuclei.tif")
    (tmp_path / "plate").mkdir()
    for i, name in enumerate(("plate/a.tif", "plate/b.tif", "well_A1.tif", "well_A2.tif")):
        tifffile.imwrite(tmp_path / name, image[:240, 60 * i : 60 * i + 240])
    genome = "".join((ROOT / "resources" / "lambda.fa").read_text().splitlines()[1:])
    for name, first in (("genome.fa", 20_000), ("chr17.fa", 2_000)):
        (tmp_path / name).write_text(f">{name}\n{genome[first : first + 1_500]}\n")
    draw = np.random.default_rng(1)
    windows = (draw.choice(list("ACGT"), 100_000, p=[0.5 - gc / 2, gc / 2, gc / 2, 0.5 - gc / 2]) for gc in GC)
    (tmp_path / "chr21.fa").write_text(">chr21\n" + "\n".join("".join(letters) for letters in windows) + "\n")
    table = pd.read_csv(ROOT / "resources" / "pbc.csv")
    few = table[["id", "bili", "chol", "albumin", "copper", "platelet"]].head(150)
    few.to_excel(tmp_path / "plate.xlsx", index=False)
    (tmp_path / "my_data").mkdir()
    few.to_csv(tmp_path / "my_data" / "markers.csv", index=False)
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.5, 4.0, size=(3, 80))
    kinds = np.repeat(["B", "T", "NK"], 60)
    genes = pd.DataFrame(index=[f"gene{i}" for i in range(80)])
    counts = rng.poisson(np.repeat(profiles, 60, axis=0)).astype(np.float32)
    of_cells = pd.DataFrame(
        {"cell_type": kinds, "donor": np.tile(list("abc"), 60)}, index=[f"c{i}" for i in range(180)]
    )
    anndata.AnnData(counts, obs=of_cells, var=genes).write_h5ad(tmp_path / "cells.h5ad")
    bulk = rng.poisson(1000 * rng.dirichlet(np.ones(3), size=6) @ profiles).astype(np.float32)
    names = pd.DataFrame(index=[f"s{i}" for i in range(6)])
    anndata.AnnData(bulk, obs=names, var=genes).write_h5ad(tmp_path / "bulk.h5ad")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages, on data this small
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if steps(page)[0]],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_commands_of_a_page_run_as_they_stand(page: Path, data: Path) -> None:
    for words in steps(page)[0]:
        assert main(words) in (0, 3), words
        if "--out" in words:
            assert (data / words[words.index("--out") + 1]).exists()


def test_only_what_needs_other_machines_or_a_whole_run_is_not_run() -> None:
    left = {page.name: why for page in PAGES if (why := steps(page)[1])}
    assert set(left) == {"README.md", "cluster.md"}
    assert left["README.md"] == [AFTER_A_RUN]
    assert sum(len(steps(page)[0]) for page in PAGES) > 25

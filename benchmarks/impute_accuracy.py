"""How far filled-in cells are from the truth, ours and others' on the same masks: ``python -m benchmarks.impute_accuracy``.

Real tables are masked at random (MCAR) or depending on a column that stays (MAR), and the normalised root mean square
error over the masked cells is compared. What is in the file of results is not run again, so that the peers, stored in
impute_accuracy.tsv, run only for a new ``--out`` (mice, Amelia and missForest need R with these packages). ``--show``
prints the means. Stored values: scikit-learn as in requirements.lock, mice 3.15.0, Amelia 1.8.1, missForest 1.5 over
randomForest 4.7-1.1, R 4.2.2.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import os
import subprocess
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import statsmodels.datasets
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.preprocessing import StandardScaler

from emtools.io.demo import MARKERS
from emtools.kernels.imputation import interval_coverage, normalised_rmse

Floats = npt.NDArray[np.float64]
Fill = Callable[[Floats, int], Floats]

HERE = Path(__file__).parent
STORED = HERE / "impute_accuracy.tsv"
REFERENCE = HERE.parent / "tests" / "reference"
SHARES = (0.1, 0.2, 0.4)
STEEPNESS = 2.0
REQUIRED = ("diabetes", "nuclei", "pbc")
IN_R = ("mice", "Amelia", "missForest")
FIELDS = ("table", "mechanism", "share", "seed", "method", "nrmse", "said")


def pbc() -> pd.DataFrame:
    """Age and the nine laboratory markers of the PBC trial, with the gaps they have."""
    table = pd.read_csv(HERE.parent / "resources" / "pbc.csv")
    return table[["age", "bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime"]]


def from_reference(name: str, columns: str) -> Callable[[], pd.DataFrame]:
    """Some columns of a table of tests/reference."""
    return lambda: pd.read_csv(REFERENCE / f"impute_{name}.tsv", sep="\t")[columns.split()]


def from_r(name: str, columns: str) -> Callable[[], pd.DataFrame]:
    """Some columns of a table that R or one of its packages holds."""

    @functools.cache
    def table() -> pd.DataFrame:
        command = f"write.csv({name}, row.names = FALSE)"
        done = subprocess.run(["Rscript", "-e", command], capture_output=True, text=True, check=True)
        return pd.read_csv(io.StringIO(done.stdout))[columns.split()]

    return table


def from_statsmodels(name: str, columns: str) -> Callable[[], pd.DataFrame]:
    """Some columns of a table that statsmodels holds."""
    return lambda: getattr(statsmodels.datasets, name).load_pandas().data[columns.split()]


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "diabetes": lambda: load_diabetes(scaled=False, as_frame=True).data[list(MARKERS)],
    "pbc": pbc,
    "nuclei": lambda: load_breast_cancer(as_frame=True).data,
    "iris": lambda: load_iris(as_frame=True).data,
    "wine": lambda: load_wine(as_frame=True).data,
    "airquality": from_reference("airquality", "Temp Wind Ozone Solar.R"),
    "boys": from_reference("boys", "age hgt wgt bmi hc"),
    "sleep": from_reference("sleep", "log_bw log_brw sws ps log_mls log_gt pi sei odi"),
    "pbcseq": from_reference("pbcseq", "day age bili chol albumin alk.phos ast platelet protime"),
    "Boston": from_r("MASS::Boston", "lstat crim zn indus nox rm age dis rad tax ptratio black medv"),
    "Pima": from_r("MASS::Pima.tr", "age npreg glu bp skin bmi ped"),
    "crabs": from_r("MASS::crabs", "FL RW CL CW BD"),
    "glass": from_r("MASS::fgl", "RI Na Mg Al Si K Ca Ba Fe"),
    "quakes": from_r("datasets::quakes", "lat long depth mag stations"),
    "swiss": from_r("datasets::swiss", "Education Fertility Agriculture Examination Catholic Infant.Mortality"),
    "judges": from_r("datasets::USJudgeRatings", "CONT INTG DMNR DILG CFMG DECI PREP FAMI ORAL WRIT PHYS RTEN"),
    "banknote": from_r("mclust::banknote", "Length Left Right Bottom Top Diagonal"),
    "glucose": from_r("mclust::diabetes", "glucose insulin sspg"),
    "thyroid": from_r("mclust::thyroid", "RT3U T4 T3 TSH DTSH"),
    "lung": from_r("survival::lung", "age time ph.karno pat.karno meal.cal wt.loss"),
    "pupils": from_r("lavaan::HolzingerSwineford1939", "ageyr x1 x2 x3 x4 x5 x6 x7 x8 x9"),
    "cpus": from_r("MASS::cpus", "syct mmin mmax cach chmin chmax perf"),
    "schools": from_r("MASS::nlschools", "IQ lang GS SES"),
    "cereal": from_r("MASS::UScereal", "calories protein fat sodium fibre carbo sugars potassium"),
    "urine": from_r("boot::urine", "gravity ph osmo cond urea calc"),
    "gammopathy": from_r("survival::mgus", "age futime alb creat hgb mspike"),
    "democracy": from_r("lavaan::PoliticalDemocracy", "y1 y2 y3 y4 y5 y6 y7 y8 x1 x2 x3"),
    "voters": from_statsmodels("anes96", "age selfLR ClinLR DoleLR PID educ income TVnews"),
    "districts": from_statsmodels(
        "star98", "LOWINC PERASIAN PERBLACK PERHISP PERMINTE AVYRSEXP AVSALK PERSPENK PTRATIO PCTAF PCTCHRT PCTYRRND"
    ),
    "quarters": from_statsmodels(
        "macrodata", "unemp infl tbilrate m1 cpi pop realgdp realcons realinv realgovt realdpi"
    ),
}


@dataclass(frozen=True)
class Case:
    """A masked table: `truth` and `masked`, shapes (n, d); the first column is what MAR depends on."""

    table: str
    mechanism: str
    share: float
    seed: int
    truth: pd.DataFrame
    masked: pd.DataFrame

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the rows of the file of results are named by."""
        return self.table, self.mechanism, f"{self.share:g}", str(self.seed)

    def error(self, filled: Floats) -> float:
        """Normalised root mean square error over the masked cells."""
        truth, masked = self.truth.to_numpy(float), self.masked.to_numpy(float)
        return normalised_rmse(truth, filled, np.isnan(masked) & ~np.isnan(truth))[0]


def chances(driver: Floats, share: float, signs: Floats) -> Floats:
    """Probability of a gap, shape (n, d): logistic in the standardised driver with slope ±2, `share` on average."""
    z = (driver - driver.mean()) / driver.std()
    low, high = np.full(signs.size, -20.0), np.full(signs.size, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = expit(middle + STEEPNESS * z[:, None] * signs).mean(axis=0) > share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    result: Floats = expit(low + STEEPNESS * z[:, None] * signs)
    return result


def mask(table: str, mechanism: str, share: float, seed: int) -> Case:
    """Blank cells of a table; no row loses its last value.

    MCAR blanks every cell with the same probability. MAR keeps the first column and blanks each other one with a
    probability that rises or falls (by lot) with the first: logistic, slope 2 per standard deviation.
    """
    truth = TABLES[table]().astype(float)
    n, d = truth.shape
    rng = np.random.default_rng([zlib.crc32(f"{table} {mechanism} {share:g}".encode()), seed])
    chance = np.full((n, d), share)
    if mechanism == "MAR":
        signs = rng.choice([-1.0, 1.0], size=d - 1)
        chance = np.column_stack([np.zeros(n), chances(truth.iloc[:, 0].to_numpy(float), share, signs)])
    gaps = rng.random((n, d)) < chance
    known = truth.notna().to_numpy()
    kept = np.argmax(np.where(known, rng.random((n, d)), -1.0), axis=1)
    empty = (known & gaps).sum(axis=1) == known.sum(axis=1)
    gaps[empty, kept[empty]] = False
    return Case(table, mechanism, share, seed, truth, truth.mask(gaps))


def fill_mean(values: Floats, seed: int) -> Floats:
    """Column means."""
    return np.where(np.isnan(values), np.nanmean(values, axis=0), values)


def standardised(fill: Fill) -> Fill:
    """The same on columns of mean 0 and variance 1."""

    def filled(values: Floats, seed: int) -> Floats:
        scaler = StandardScaler().fit(values)
        result: Floats = scaler.inverse_transform(fill(scaler.transform(values), seed))
        return result

    return filled


def fill_knn(values: Floats, seed: int) -> Floats:
    """Five nearest neighbours."""
    result: Floats = KNNImputer(n_neighbors=5).fit_transform(values)
    return result


def fill_iterative(values: Floats, seed: int) -> Floats:
    """Chained Bayesian ridge regressions, at most 50 rounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result: Floats = IterativeImputer(max_iter=50, random_state=seed).fit_transform(values)
    return result


def fill_ours(kind: str) -> Fill:
    """Conditional means of a model of `fit_table`."""

    def filled(values: Floats, seed: int) -> Floats:
        from emtools.imputing.fitting import fit_table
        from emtools.kernels.readings import Readings

        readings = Readings(values)
        labels = tuple(f"x{j}" for j in range(values.shape[1]))
        fitted = fit_table(readings, labels=labels, kind=kind, certificate=False)
        result: Floats = fitted.model.conditional(fitted.params, readings)[0]
        return result

    return filled


PEERS: dict[str, Fill | None] = {
    "mean": fill_mean,
    "KNN": standardised(fill_knn),
    "IterativeImputer": standardised(fill_iterative),
    "mice": None,
    "Amelia": None,
    "missForest": None,
}
OURS: dict[str, Fill] = {"emtools t": fill_ours("t"), "emtools auto": fill_ours("auto")}
FILLINGS = {"emtools": "best", "normal": "model"}  # what `emtools impute` fills without any option; and its model alone


def run_impute(case: Case, filling: str) -> tuple[float, str]:
    """Error of `emtools impute`, and the coverage of its 95 % intervals and the share of mixtures."""
    from emtools.imputing.complete import impute
    from emtools.kernels.readings import Readings
    from emtools.kernels.scales import Identity

    masked, truth = case.masked.to_numpy(float), case.truth.to_numpy(float)
    names = [f"x{j}" for j in range(masked.shape[1])]
    scales = [Identity()] * len(names)
    done = impute(Readings(masked), markers=names, scales=scales, filling=filling, certificate=False)
    covered = interval_coverage(truth, done.lower, done.upper, np.isnan(masked) & ~np.isnan(truth))
    share = done.better.params.share if done.better else 0.0
    return case.error(done.values), f"coverage {covered:.4f}, share {share:.3f}"


def run_in_r(method: str, case: Case, sources: str) -> tuple[float, str]:
    """Error of a peer in R, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        truth, masked = Path(folder) / "truth.csv", Path(folder) / "masked.csv"
        for path, table in ((truth, case.truth), (masked, case.masked)):
            table.to_csv(path, index=False, na_rep="NA", float_format="%.17g")
        command = ["Rscript", str(HERE / "impute_accuracy.R"), method, str(truth), str(masked), str(case.seed)]
        if sources and method == "missForest":
            command.append(f"--sources={sources}")
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    number, _, said = done.stdout.strip("\n").rpartition("\n")[2].partition("\t")
    try:
        return float(number.replace("NA", "nan")), said
    except ValueError:
        return float("nan"), done.stderr.replace("\n", " ").replace("\t", " ")[-200:]


def read(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of a file of results by table, mechanism, share, seed and method."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[f] for f in FIELDS[:5]): row for row in csv.DictReader(file, delimiter="\t")}


def run(path: Path, cases: Iterator[Case], methods: list[str], sources: str) -> None:
    """Append what is not in the file yet."""
    stored = read(path)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        if not stored:
            writer.writerow(FIELDS)
        for case in cases:
            for method in methods:
                if (*case.key, method) in stored:
                    continue
                said = ""
                if method in FILLINGS:
                    error, said = run_impute(case, FILLINGS[method])
                elif method in IN_R:
                    error, said = run_in_r(method, case, sources)
                else:
                    fill = OURS.get(method) or PEERS[method]
                    assert fill is not None
                    error = case.error(fill(case.masked.to_numpy(float), case.seed))
                writer.writerow([*case.key, method, f"{error:.6g}", said])
                file.flush()


def summary(path: Path, ours: str = "emtools") -> pd.DataFrame:
    """Mean error of each method by table and mask over the seeds that `ours` and all peers but missForest have.

    missForest, which takes longest, may have fewer seeds: its mean is that of the others times its ratio to `ours` on the
    seeds it has. `ratio` is `ours` over the best peer, `rank` the place of `ours` among all.
    """
    rows = pd.read_csv(path, sep="\t")
    by = ["table", "mechanism", "share"]
    wide = rows.pivot_table(index=[*by, "seed"], columns="method", values="nrmse")
    fast = [peer for peer in PEERS if peer != "missForest"]
    wide = wide.dropna(subset=[ours, *fast])
    means = wide[[ours, *fast]].groupby(by).mean()
    paired = wide.dropna(subset=["missForest"]).groupby(by).mean()
    means["missForest"] = paired["missForest"] / paired[ours] * means[ours]
    ranks = means.rank(axis=1)[ours]
    means["ratio"] = means[ours] / means[list(PEERS)].min(axis=1)
    means["rank"] = ranks
    means["seeds"] = wide.groupby(by).size()
    means["forests"] = wide["missForest"].notna().groupby(by).sum()
    return means


def main() -> None:
    """Run methods on masks and append their errors to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=STORED)
    parser.add_argument("--tables", nargs="+", default=list(REQUIRED))
    parser.add_argument("--methods", nargs="+", default=[*PEERS, *FILLINGS])
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 10))
    parser.add_argument("--missforest", default="", help="missForest.R where the package is not installed")
    parser.add_argument("--show", action="store_true", help="print the means and run nothing")
    options = parser.parse_args()
    if options.show:
        print(summary(options.out).round(3).to_string())
        return
    cases = (
        mask(table, mechanism, share, seed)
        for seed in range(*options.seeds)
        for table in options.tables
        for mechanism in ("MCAR", "MAR")
        for share in SHARES
    )
    run(options.out, cases, options.methods, options.missforest)


if __name__ == "__main__":
    main()

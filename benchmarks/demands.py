"""What is asked of the speed and memory of each branch, and what the stored studies measured: rows of results.tsv.

A demand names a stored table, the row of it that is meant, the column that is measured and the bound. Studies that were not
run on this machine keep the rows of the run that stored them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.command_times import REFUSED

HERE = Path(__file__).parent
RESULTS = HERE / "results.tsv"
RATIOS = ("ratio", "times", "times_ours")  # columns that have a spread, and a ratio of wall times, beside them


@dataclass(frozen=True)
class Demand:
    """One bound on one figure.

    Parameters
    ----------
    branch, task : str
        What is done.
    table : str
        Stem of the stored table.
    where : mapping
        Values that pick its row, by column.
    column : str
        The figure; a leading ">" is a lower bound from a peer that was stopped.
    bound : float
        At least this, or at most where `most` is set.
    quality : str
        Column that shows that both sides gave the same answer.
    why : str
        Where the bound is missed: what the profile says.
    """

    branch: str
    task: str
    table: str
    where: Mapping[str, object]
    column: str
    bound: float
    most: bool = False
    peer: str = ""
    quality: str = ""
    why: str = ""


def impute() -> list[Demand]:
    """Tables with gaps."""
    rows = []
    sizes = {"10000 x 20": (0.3, 3.0), "2000 x 200": (6.0, 20.0), "100000 x 50": (8.0, 10.0)}
    rivals = {
        "10000 x 20": ("norm, em.norm", "1e-06"),
        "2000 x 200": ("norm2, emNorm", "1e-05"),
        "100000 x 50": ("norm2, emNorm", "1e-05"),
    }
    why = "by profile 70 % of it are 23 passes (of these compiled rows 42 %, what surrounds products of BLAS 38 %), 8 % values of Q, 5 % setting up patterns"
    alone = {
        "10000 x 20": "a pass has eight chunks of a third of a millisecond; set-up, M-steps and looks are not shared",
        "2000 x 200": "E-steps, which are shared, are 77 % of the fit, so 1.63 at best; the rest is inverses, mixing and M-steps",
    }
    for size, (seconds, times) in sizes.items():
        table, (tool, criterion) = f"{size}, 20% missing", rivals[size]
        ours, theirs = {"table": table, "tool": "emtools"}, {"table": table, "tool": tool, "criterion": criterion}
        rows += [
            Demand("impute", f"{size}: CPU s of the fit", "impute_speed", ours, "cpu_seconds", seconds, most=True, quality="note"),
            Demand("impute", f"{size}: fastest right peer", "impute_speed", theirs, "times_ours", times, peer=tool, quality="nats_short",
                   why=why),
        ]  # fmt: skip
        peer = "scikit-learn IterativeImputer"
        rows.append(
            Demand("impute", f"{size}: whole fit", "impute_speed", {"table": table, "tool": peer}, "times_ours", 30.0, peer=peer,
                   quality="nats_short", why=why)
        )  # fmt: skip
        rows.append(Demand("impute", f"{size}: two threads, wall", "impute_threads", {"table": size}, "times", 1.6, why=alone.get(size, "")))  # fmt: skip
        for peer, tool, own in (
            ("mice", "mice, norm, one imputation of 5 sweeps", "nan"),
            ("Amelia, one imputation", "Amelia, EM of a bootstrap sample, one imputation", "0.0001"),
        ):
            where = {"table": table, "tool": tool, "criterion": own}
            rows.append(Demand("impute", f"{size}: whole fit", "impute_speed", where, "times_ours", 1.0, peer=peer, quality="nats_short"))  # fmt: skip
    for size, criterion in (("10000 x 20", "1e-06"), ("100000 x 50", "0.0001")):
        where = {"table": f"{size}, 20% missing", "tool": "Amelia, EM of the table", "criterion": criterion}
        rows.append(Demand("impute", f"{size}: compiled core of Amelia", "impute_speed", where, "times_ours", 30.0, peer="Amelia",
                           quality="nats_short"))  # fmt: skip
    return rows


def mixtures() -> list[Demand]:
    """Cells and pixels."""
    rows = []
    peer = "scikit-learn GaussianMixture"
    asked = {
        (20000, 20, 10, "full", "float64"): 4.0, (100000, 50, 20, "full", "float64"): 4.0, (1000000, 30, 15, "full", "float64"): 4.0,
        (20000, 20, 10, "full", "float32"): 6.0, (100000, 50, 20, "full", "float32"): 6.0, (1000000, 30, 15, "full", "float32"): 6.0,
        (100000, 1, 5, "full", "float64"): 25.0, (100000, 2, 5, "full", "float64"): 25.0,
        (20000, 20, 10, "diagonal", "float64"): 2.0, (20000, 20, 10, "spherical", "float64"): 3.0,
    }  # fmt: skip
    for (n, d, k, family, kind), bound in asked.items():
        where = {"n": n, "d": d, "K": k, "family": family, "type": kind, "apart": 1.5}
        why = (
            "rows in float32 are computed in float64, since a trace here must be monotone to 1e-12; in float32 a pass takes 0.60 to 0.70 of the time, which the first passes could use, 2 to 15 % of a fit (docs/design/size.md)"
            if kind == "float32"
            else ""
        )
        why = "numpy's own exponentials take longer than the whole pass: machine_limits.tsv" if d == 1 else why
        rows.append(Demand("deconvolve", f"pass, {n} x {d}, K = {k}, {family}, {kind}", "mixture_speed", where, "ratio", bound, peer=peer,
                           quality="difference", why=why))  # fmt: skip
    short = "a pass of ours, of which a fifth is beside the rows (Q, M-step, packing, proposals), is about seven times as quick; 20000 x 20 took 266 and 481 of them where the peer took 625 and 1,360"
    for n, d, k in ((20000, 10, 5), (20000, 20, 10), (100000, 5, 3)):
        size = {"n": n, "d": d, "K": k}
        for tolerance, bound in (("1e-03", 10.0), ("1e-06", 20.0), ("1e-08", 30.0)):
            where = {**size, "peer": "scikit-learn", "tolerance": tolerance}
            rows.append(Demand("deconvolve", f"fit to the likelihood of tolerance {tolerance}, {n} x {d}, K = {k}", "mixture_fits", where, "ratio",
                               bound, peer=peer, quality="loglik", why=short))  # fmt: skip
        rows.append(Demand("deconvolve", f"fit to the likelihood of mclust, {n} x {d}, K = {k}", "mixture_fits", {**size, "peer": "mclust"}, "ratio", 20.0,
                           peer="mclust", quality="loglik"))  # fmt: skip
    for n, d, k in ((100000, 50, 20), (400000, 20, 10)):
        rows.append(Demand("deconvolve", f"two threads, wall, {n} x {d}, K = {k}", "mixture_threads", {"n": n, "d": d, "K": k},
                           "wall time, one : two", 1.8, quality="bytes", why="the CPU time of a pass is 1.03 to 1.08 times as much on two threads (mixture_threads.tsv)"))  # fmt: skip
    for n, d, k in (
        (50000, 10, 8),
        (100000, 50, 20),
        (1000000, 4, 3),
        (1000000, 15, 3),
        (100000, 2, 5),
        (20000, 50, 100),
    ):
        rows.append(Demand("segment", f"K-means to the end, {n} x {d}, K = {k}", "kmeans_speed", {"n": n, "d": d, "K": k}, "ratio", 1.0,
                           peer="scikit-learn KMeans", quality="inertia, ours"))  # fmt: skip
    for d in (4, 8, 15):
        n = 16777216 if d == 4 else 4194304
        where = {"n": n, "d": d, "family": "full", "type": "float64"}
        rows.append(Demand("segment", f"pass, {n} pixels x {d}, K = 3", "segment_speed", where, "ratio", 8.0, peer=peer, quality="difference"))  # fmt: skip
    for k in (2, 3, 4, 5):
        where = {"side": 2048, "classes": k}
        rows.append(Demand("segment", f"sweep of the random field, {k} classes: ns a pixel", "field_speed", where, "ours_ns", 5.0, most=True,
                           quality="difference"))  # fmt: skip
        rows.append(Demand("segment", f"sweep of the random field, {k} classes", "field_speed", where, "ratio", 4.0, peer="numpy",
                           quality="difference"))  # fmt: skip
    for k, bits in ((2, 12), (3, 12), (2, 16), (3, 16)):
        where = {"classes": k, "bits": bits}
        rows.append(Demand("segment", f"16 Mi pixels of {bits} bits by grey levels, K = {k}: ms of the fit", "segment_levels", where,
                           "whole fit, ms", 100.0, most=True, quality="passes", why="18 ms count the levels; then 15 passes over 61,179 of them"))  # fmt: skip
    return rows


def sequences() -> list[Demand]:
    """Hidden Markov models and motifs."""
    rows = []
    for size, ratios in (
        ("1 x 1,000,000", (25.0, 25.0, 18.0)),
        ("1 x 10,000,000", (25.0, 25.0, 18.0)),
        ("10,000 x 200", (10.0,) * 3),
    ):
        for k, ratio, nanoseconds in zip((2, 4, 8), ratios, (5.0, 8.0, 16.0), strict=True):
            where = {"letters": size, "states": k}
            rows.append(Demand("hmm", f"pass over {size} letters, K = {k}", "hmm_speed", where, "times", ratio, peer="hmmlearn scaling",
                               quality="apart"))  # fmt: skip
            if size.startswith("1 x"):
                rows.append(Demand("hmm", f"pass over {size} letters, K = {k}: ns a base", "hmm_speed", where, "ours_ns", nanoseconds, most=True,
                                   quality="apart"))  # fmt: skip
    for k in (2, 4):
        where = {"letters": "10,000 x 200", "states": k, "row": "pomegranate 1.1.2"}
        rows.append(Demand("hmm", f"pass over 10,000 x 200 letters, K = {k}", "hmm_speed", where, "times", 1.0, peer="pomegranate", quality="apart"))  # fmt: skip
    for n, widths, bound in ((1000, "15-15", 6.0), (50000, "8-20", 30.0)):
        where = {"sequences": n, "widths": widths}
        rows.append(Demand("motif", f"search of {n} x 100, widths {widths}: CPU s", "motif_speed", where, "cpu_s", bound, most=True, quality="f1"))  # fmt: skip
    where = {"sequences": 1000, "widths": "15-15", "peer": "MEME"}
    rows.append(Demand("motif", "search of 1000 x 100, width 15", "motif_peers", where, "times", 20.0, peer="MEME", quality="peer_f1"))  # fmt: skip
    for n, widths in ((1000, "15-15"), (1000, "8-20"), (50000, "8-20")):
        where = {"sequences": n, "widths": widths, "peer": "STREME"}
        rows.append(Demand("motif", f"search of {n} x 100, widths {widths}", "motif_peers", where, "times", 1.0, peer="STREME", quality="peer_f1"))  # fmt: skip
    for order, width in ((0, 8), (0, 15), (2, 15), (2, 20)):
        where = {"order": order, "width": width}
        rows.append(Demand("motif", f"E-step, width {width}, background of order {order}, both strands: ns a position", "motif_passes", where,
                           "zoops_ns", 4.0, most=True, why="at width 20, order 2: letters 0.6, products of windows 1.1, of tables 1.6, sums by word 2.2; other ways through the tables gave 4 to 7 % (docs/design/motif.md)"))  # fmt: skip
    return rows


def engine() -> list[Demand]:
    """Acceleration of EM."""
    rows = []
    for problem, column, share, bound in (
        ("London Times", "passes", "median", 60.0),
        ("London Times", "passes_95", "95th percentile", 100.0),
        ("Three overlapping normals", "passes", "median", 110.0),
        ("Three overlapping normals", "passes_95", "95th percentile", 150.0),
        ("Normal, 40 % missing", "passes", "median", 100.0),
    ):
        task, where = (
            f"{problem}: passes to within 1e-8 nats of the top, {share}",
            {"problem": problem, "method": "emtools"},
        )
        rows.append(Demand("engine", task, "engine_speed", where, column, bound, most=True, quality="nats_short"))
    for problem in ("London Times", "Three overlapping normals", "Normal, 40 % missing"):
        for peer, method in (("SQUAREM", "SQUAREM 2021.1, default"), ("turboEM", "turboEM 2025.1, qn")):
            where = {"problem": problem, "method": method}
            rows.append(Demand("engine", f"{problem}: E-steps to the top", "engine_speed", where, "times_steps", 1.0, peer=peer, quality="nats_short"))  # fmt: skip
            rows.append(Demand("engine", f"{problem}: CPU time to the top", "engine_speed", where, "times_cpu", 1.0, peer=peer, quality="nats_short",
                               why="a step over so few counts or values takes R 0.1 to 0.3 ms; all else is what a certified climb does beside it (trace, looks at the map, safeguards)"))  # fmt: skip
    return rows


def machine() -> list[Demand]:
    """Kernels against the machine's own limit, and tables that stay on disk."""
    rows = []
    for n, d, k in ((20000, 20, 10), (100000, 50, 20), (200000, 30, 15)):
        name = f"pass of a full mixture, {n} x {d}, K = {k}, all components hold all rows: emtools"
        task = f"pass, {n} x {d}, K = {k}, full: share of one thread's multiply-add peak"
        rows.append(Demand("deconvolve", task, "machine_limits", {"kernel": name}, "share", 0.45))
    for n in (2_000_000, 20_000_000):
        task = f"float32 rows of 30 from disk, {n} to 200000"
        rows += [
            Demand("all", f"{task}: CPU time of a pass per row", "out_of_core", {"rows": n}, "cpu_to_smallest", 1.15, most=True, quality="loglik",
                   why="reading pages that the system does not hold takes it 0.03 us a row at 2 million and 0.07 at 20 million, of 0.6 in all; where it holds them a row costs the same at both sizes"),
            Demand("all", f"{task}: growth of resident memory, MB", "out_of_core", {"rows": n}, "growth_mb", 32.0, most=True),
        ]  # fmt: skip
    return rows


def commands() -> list[Demand]:
    """Whole commands."""
    rows = [Demand("all", "emtools --help: CPU s", "command_times", {"command": "emtools --help"}, "second_cpu_s", 0.1, most=True)]  # fmt: skip
    for name in REFUSED:
        most = 1.0 if name.startswith("refused: emtools deconvolve") else 0.6  # where AnnData must be written
        what = f"{name.removeprefix('refused: ')}: CPU s before it works"
        rows.append(Demand("all", what, "command_times", {"command": name}, "second_cpu_s", most, most=True))
    for name in (
        "small: emtools impute, 4 columns of pbc.csv, no ensemble",
        "small: emtools hmm crp.fa --states 2 --starts 1",
    ):
        rows.append(Demand("all", f"{name}: CPU s, kernels cached", "command_times", {"command": name}, "second_cpu_s", 1.2, most=True,
                           why="to import numpy, pandas, scipy, numba and Matplotlib is 40 % of it, to save three (hmm) or seven (impute) figures 30 to 40 %"))  # fmt: skip
    return rows


def number(text: object) -> float:
    """A figure, or what a peer that was stopped had at least used."""
    return float(str(text).lstrip(">"))


def told(demand: Demand) -> dict[str, object] | None:
    """The row of a demand, or None where nothing is stored."""
    path = HERE / f"{demand.table}.tsv"
    if not path.exists():
        return None
    stored = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column, value in demand.where.items():
        same = stored[column].map(lambda text, value=value: agrees(text, value))
        stored = stored[same]
    if stored.empty or not stored.iloc[0][demand.column]:
        return None
    row = stored.iloc[0]
    figure = number(row[demand.column])
    met = figure <= demand.bound if demand.most else figure >= demand.bound
    return {
        "branch": demand.branch, "task": demand.task, "peer": demand.peer, "measured": row[demand.column],
        "asked": f"{'<=' if demand.most else '>='} {demand.bound:g}", "met": "yes" if met else "no",
        **{name: row.get(name, "") if demand.column in RATIOS else "" for name in ("spread", "wall")},
        "quality": f"{demand.quality}: {row[demand.quality]}" if demand.quality else "",
        "why": "" if met else demand.why, "table": f"{demand.table}.tsv",
    }  # fmt: skip


def agrees(text: str, value: object) -> bool:
    """Whether a cell holds a value, numbers by their size."""
    if isinstance(value, str):
        return text == value
    try:
        return float(text) == float(str(value))
    except ValueError:
        return False


def collect() -> pd.DataFrame:
    """All demands with what is stored of them."""
    rows = [told(demand) for demand in (*impute(), *mixtures(), *sequences(), *engine(), *machine(), *commands())]
    return pd.DataFrame([row for row in rows if row is not None])

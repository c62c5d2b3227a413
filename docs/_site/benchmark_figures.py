"""Figures of the benchmark page, drawn from the tables of benchmarks/ when the site is built."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from emtools.plots.style import FAINT, INK, PAGE, PALETTE, Picture, save, styled

MET, MISSED = PALETTE[0], PALETTE[5]
PLAIN = FuncFormatter(lambda x, _: f"{x:g}")
BRANCHES = ("impute", "deconvolve", "segment", "hmm", "motif", "engine", "all")


def draw_figures(tables: Path, folder: Path) -> list[Picture]:
    """All figures of which the tables are there, as SVG and PNG in `folder`."""
    drawn = {"results.tsv": demands, "scaling.tsv": scaling, "machine_limits.tsv": limits}
    return [
        draw(pd.read_csv(tables / name, sep="\t", keep_default_na=False), folder)
        for name, draw in drawn.items()
        if (tables / name).is_file()
    ]


def spaced(values: np.ndarray, near: float = 0.045) -> np.ndarray:
    """Heights around 0 for dots on a logarithmic axis, so that those that are near one another stand apart."""
    heights = np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    for place, i in enumerate(order):
        close = sum(1 for j in order[:place] if abs(np.log10(values[i]) - np.log10(values[j])) < near)
        heights[i] = (0.5 - close % 2) * 2 * ((close + 1) // 2) * 0.11
    return heights


def strips(axes: plt.Axes, names: list[str], groups: list[np.ndarray], met: list[np.ndarray]) -> None:
    """A line of dots for each name."""
    for row, (values, good) in enumerate(zip(groups, met, strict=True)):
        heights = row + np.clip(spaced(values), -0.4, 0.4)
        for which, color, mark in ((good, MET, "o"), (~good, MISSED, "D")):
            axes.scatter(values[which], heights[which], s=11, color=color, marker=mark, linewidths=0, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)


def demands(table: pd.DataFrame, folder: Path) -> Picture:
    """What was asked beside what was measured, and how many times as fast each peer's work was done."""
    measured = pd.to_numeric(
        table["measured"].str.lstrip(">")
    ).to_numpy()  # of a peer that was stopped, what it had at least used
    asked = table["asked"].str[3:].astype(float).to_numpy()
    good = (table["met"] == "yes").to_numpy()
    factor = np.where(table["asked"].str.startswith("<="), asked / np.maximum(measured, 1e-9), measured / asked)
    factor = np.clip(factor, 0.1, 1000.0)
    branches = [name for name in BRANCHES if (table["branch"] == name).any()]
    peers = list(dict.fromkeys(name for name in table["peer"] if name))
    at_least = table["asked"].str.startswith(">=").to_numpy()
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.0), width_ratios=(1.0, 1.0), layout="constrained")
        of_branch = [(table["branch"] == name).to_numpy() for name in branches]
        strips(left, branches, [factor[rows] for rows in of_branch], [good[rows] for rows in of_branch])
        left.set_xlabel("times better than asked")
        left.set_title(f"{good.sum()} of {len(table)} demands met")
        of_peer = [(table["peer"] == name).to_numpy() & at_least for name in peers]
        names = [name.removeprefix("scikit-learn ") for name in peers]
        strips(right, names, [measured[rows] for rows in of_peer], [good[rows] for rows in of_peer])
        right.set_xlabel("times what emtools takes")
        right.set_title("Beside each peer")
    return save(
        figure,
        folder,
        Picture(
            "demands",
            "What is asked and what is measured",
            "Left: each demand of the table below as a dot, met (round) right of the line, missed (diamond) left of it; 1 is as good as "
            "asked, and what is more than a thousand times as good is drawn at a thousand. Right: how many times the CPU time of ours each peer "
            "took for the same work, one dot a size; of the accelerators SQUAREM and turboEM, which climb with a step that R interprets, one dot for CPU time and one for the number of "
            "E-steps. Met and missed as on the left. numpy is the sweep of a random field written in numpy; GaussianMixture, KMeans and IterativeImputer are scikit-learn's.",
        ),
    )


def slope(size: pd.Series, figure: pd.Series) -> float:
    """Exponent of a power of the size, by least squares in logarithms over all but the smallest size."""
    return float(np.polyfit(np.log(size.to_numpy()[1:]), np.log(figure.to_numpy()[1:]), 1)[0])


def scaling(table: pd.DataFrame, folder: Path) -> Picture:
    """CPU time and memory of whole commands by the size of the data."""
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.8), layout="constrained")
        for k, (branch, rows) in enumerate(table.groupby("branch", sort=False)):
            unit = rows["unit"].iloc[0]
            for panel, column in zip(axes, ("cpu_s", "peak_mb"), strict=True):
                label = f"{branch} ({unit}), {slope(rows['size'], rows[column]):.2f}"
                panel.plot(rows["size"], rows[column], "o-", color=PALETTE[k], markersize=3, label=label)
        for panel, title, label in zip(axes, ("CPU time", "Memory"), ("CPU seconds", "peak, MB"), strict=True):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter(PLAIN)
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_title(title)
            panel.set_xlabel("size of the data")
            panel.set_ylabel(label)
            panel.legend()
    return save(
        figure,
        folder,
        Picture(
            "scaling",
            "Time and memory by size",
            "Whole commands from reading the file to the page, four sizes of each branch; beside the name the unit of the size and the exponent "
            "fitted to the three larger sizes (1 is linear). What a command takes at any size, imports and figures, holds the curves up on the left.",
        ),
    )


def limits(table: pd.DataFrame, folder: Path) -> Picture:
    """Shares of the machine's own limits."""
    table = table[table["limit"] != "GB/s read"].copy()
    split = table["kernel"].str.rsplit(": ", n=1, expand=True)
    table["task"], table["who"] = split[0], split[1]
    tasks = list(dict.fromkeys(table["task"]))
    with styled():
        figure, axes = plt.subplots(figsize=(PAGE, 0.27 * len(tasks) + 0.8), layout="constrained")
        for shift, who, color in ((-0.18, "emtools", MET), (0.18, "scikit-learn", FAINT)):
            rows = table[table["who"] == who]
            places = [tasks.index(task) + shift for task in rows["task"]]
            axes.barh(places, 100 * rows["share"].astype(float), 0.34, color=color, label=who)
        axes.axvline(45.0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(tasks)), [task.removeprefix("pass of ") for task in tasks])
        axes.set_ylim(len(tasks) - 0.5, -0.5)
        axes.set_xlabel("share of the limit, %")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.32))
    return save(
        figure,
        folder,
        Picture(
            "limits",
            "Kernels against the machine",
            "Share of one thread's multiply-add peak, as a product of large matrices reaches it in the same run; of numpy's exponentials for "
            "the mixture of one feature. Only what the statistics need is counted as work, so a kernel that leaves out rows which a component does not hold can "
            "pass 100 %. Dotted: the 45 % that are asked of full mixtures of which all components hold all rows.",
        ),
    )

"""What else was tried on real mixtures, and whether a choice holds on other sets: ``python -m benchmarks.bulk_trials --sets FOLDER``.

FOLDER is that of `benchmarks.bulk_accuracy`; only its real mixtures are used. The steady way is the mean of ``em``, ``markers`` and
``logs``. Tried beside: a flat background column (signal that no type explains, as on arrays), variances that hold the
error of the reference and that between cells, heavy tails, a variance of mean², and the rivals.

bulk_trials.tsv has for each set and estimate the RMSE, the root mean square of the mean error of a type, that of the
errors about it, and the RMSE that is left with the best constant for each type, which only the truth gives. Then every mean of
one to four estimates is chosen on half of the groups of sets (sets of the same mixtures are one group) and judged on the other half.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning

from benchmarks.bulk_accuracy import OURS, PASSES, RIVALS, Task, from_folder, scaled
from benchmarks.bulk_accuracy import STORED as ACCURACY
from emtools.deconvolving.reference import Reference
from emtools.deconvolving.steady import TOLD_BY, Part, logs_part, markers
from emtools.engine.protocol import Floats

STORED = Path(__file__).parent / "bulk_trials.tsv"
JOIN = " + "
STEADY = "em + logs + markers"
SHOWN = (
    STEADY,
    "em, background + logs + markers",
    "em, background + logs + markers, background",
    "em, background + logs, background + markers, background",
    "logs + markers + reference error",
    "heavy tails + logs + markers",
    "em + logs + markers + variance mean²",
    "NNLS + em + logs + markers",
)
CHOSEN_ON = ("abis", "abis_hao", "abis_bref", "shenorr", "hoek")
GROUPS = (
    ("abis", "abis_hao", "abis_bref"),
    ("shenorr", "ratmix"),
    ("hoek", "hoek_bref"),
    ("fino", "fino_bref"),
    ("newman_fl",),
    ("newman_pbmc",),
    ("melanoma",),
    ("seqc",),
)
MOST_TOGETHER = 4
ROUNDS = 20
FREE_ROUNDS = 4  # without damping
HUBER = 1.345
MOST_FOR_SVR = 2000  # genes


def with_background(mixtures: Floats, profiles: Floats) -> tuple[Floats, Floats]:
    """Plain EM with a flat column beside the types: their fractions (S, K), and the background of a gene (S,)."""
    columns = np.hstack([profiles, np.full((len(profiles), 1), profiles.mean())])
    amounts = np.repeat(mixtures.sum(axis=1, keepdims=True) / columns.sum(), columns.shape[1], axis=1)
    for _ in range(PASSES):
        expected = np.maximum(amounts @ columns.T, 1e-300)
        amounts = amounts * ((mixtures / expected) @ columns) / columns.sum(axis=0)
    return scaled(amounts[:, :-1]), amounts[:, -1] * profiles.mean()


def started(mixtures: Floats, profiles: Floats) -> Floats:
    """Amounts (S, K) by least squares, weighted by the mean of a gene."""
    weights = 1.0 / np.sqrt(profiles.mean(axis=1) + 1e-3 * profiles.mean())
    return np.array([nnls(profiles * weights[:, None], y * weights)[0] for y in mixtures])


def reweighted(mixtures: Floats, profiles: Floats, variance: Callable[[Floats, Floats], Floats]) -> Floats:
    """Fractions (S, K) by least squares, weighted again and again by one over ``variance(amounts, mean)``, all (S, …)."""
    amounts = started(mixtures, profiles)
    for turn in range(ROUNDS):
        weights = 1.0 / np.sqrt(variance(amounts, amounts @ profiles.T))
        new = np.array([nnls(profiles * w[:, None], y * w)[0] for y, w in zip(mixtures, weights, strict=True)])
        amounts = new if turn < FREE_ROUNDS else 0.5 * (amounts + new)
    return scaled(amounts)


def by_reference_error(mixtures: Floats, reference: Reference) -> Floats:
    """Variance: mean, spread between cells and error of the reference, in shares that the squared residuals give."""

    def variance(amounts: Floats, mean: Floats) -> Floats:
        parts = np.stack([mean, amounts @ reference.within.T, amounts**2 @ reference.errors.T], axis=-1).reshape(-1, 3)
        squared = ((mixtures - mean) ** 2).ravel()
        shares = squared.mean() / np.maximum(parts.mean(axis=0), 1e-300) / 3.0
        for _ in range(8):
            total = np.maximum(parts @ shares, 1e-12 * squared.mean())
            shares = nnls(parts / total[:, None], np.minimum(squared / total, 1e9))[0]
        total = parts @ shares
        return np.maximum(total, 1e-6 * total.mean()).reshape(mean.shape)

    return reweighted(mixtures, reference.profiles, variance)


def heavy_tailed(mixtures: Floats, profiles: Floats) -> Floats:
    """Variance: mean, residuals beyond `HUBER` median ones held down."""

    def variance(amounts: Floats, mean: Floats) -> Floats:
        own = mean + 1e-2 * mean.mean(axis=1, keepdims=True)
        residuals = np.abs(mixtures - mean) / np.sqrt(own)
        usual = 1.4826 * np.median(residuals, axis=1, keepdims=True) + 1e-12
        return own * np.maximum(1.0, residuals / usual / HUBER)

    return reweighted(mixtures, profiles, variance)


def estimates(task: Task) -> dict[str, Floats]:
    """Fractions (S, K) of each trial, samples scaled to one total."""
    y = task.mixtures * (np.median(task.mixtures.sum(axis=1)) / task.mixtures.sum(axis=1))[:, None]
    reference, profiles = task.reference, task.reference.profiles
    told = markers(profiles, TOLD_BY)

    def logs(mixtures: Floats, first: Floats) -> Floats:
        return logs_part(mixtures.T, reference, Part(first, lambda _: (first, first))).shares

    em = RIVALS["Poisson EM"](y, profiles)
    lifted, background = with_background(y, profiles)
    found = {
        "em": em,
        "markers": RIVALS["Poisson EM"](y[:, told], profiles[told]),
        "logs": logs(y, em),
        "em, background": lifted,
        "markers, background": with_background(y[:, told], profiles[told])[0],
        "logs, background": logs(np.maximum(y - background[:, None], 0.0), lifted),
        "reference error": by_reference_error(y, reference),
        "heavy tails": heavy_tailed(y, profiles),
        "variance mean²": reweighted(y, profiles, lambda _, mean: (mean + mean.mean(axis=1, keepdims=True)) ** 2),
    }
    for name in ("NNLS", "weighted NNLS", "ridge", "nu-SVR"):
        if name != "nu-SVR" or len(profiles) <= MOST_FOR_SVR:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                found[name] = RIVALS[name](y, profiles)
    return found


def of_groups(fractions: Floats, task: Task) -> Floats:
    """Fractions of the groups of the truth, scaled to sum to 1."""
    return scaled(fractions @ np.equal.outer(task.groups, task.truth.columns).astype(float))


def root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def best_constants(found: Floats, truth: Floats) -> float:
    """RMSE of the fractions times the best constant for each type, by steps along one type at a time."""

    def error(logs: Floats) -> float:
        return root_mean_square(scaled(found * np.exp(logs)) - truth)

    logs = np.zeros(found.shape[1])
    least, step = error(logs), 0.5
    while step > 1e-3:
        tried = [logs + step * sign * unit for unit in np.eye(len(logs)) for sign in (1.0, -1.0)]
        nearest = min(tried, key=error)
        if error(nearest) < least - 1e-9:
            logs, least = nearest, error(nearest)
        else:
            step /= 2
    return least


def told(name: str, estimate: str, found: Floats, truth: Floats) -> dict[str, str]:
    """A row of results."""
    wrong = found - truth
    mean = wrong.mean(axis=0)
    figures = {
        "rmse": root_mean_square(wrong),
        "mean_error": root_mean_square(mean),
        "about_it": root_mean_square(wrong - mean),
        "with_constants": best_constants(found, truth),
    }
    return {"set": name, "estimate": estimate, **{key: f"{value:.4f}" for key, value in figures.items()}}


def carried_over(members: list[str], table: pd.DataFrame) -> str:
    """What the best of `members` on half of the groups gives on the other half, over what the steady way gives there.

    `table` holds log ratios to the best rival, a row for each set and a column for each mean.
    """
    gains, more = [], []
    for half in itertools.combinations(range(len(GROUPS)), len(GROUPS) // 2):
        chosen_on = [name for i in half for name in GROUPS[i]]
        best = table.loc[chosen_on, members].mean().idxmin()
        others = table.drop(index=chosen_on)
        gains.append(float((others[best] - others[STEADY]).mean()))
        more.append(int((others[best] > np.log(1.05)).sum() - (others[STEADY] > np.log(1.05)).sum()))
    return (
        f"{len(members)} means, {len(gains)} splits: held-out error over that of the steady way {np.exp(np.mean(gains)):.3f}, "
        f"smaller in {np.mean(np.array(gains) < 0):.2f} of them; sets more than 5 % behind {np.mean(more):+.2f}"
    )


def main() -> None:
    """All trials, stored; means of them, printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True)
    chosen = parser.parse_args()
    peers = (
        pd.read_csv(ACCURACY, sep="\t")
        .set_index("method")
        .drop(index=OURS)
        .query("condition == 'real'")
        .groupby("set")["rmse"]
        .min()
    )
    rows, single, truths, tasks = [], {}, {}, {}
    for name in itertools.chain(*GROUPS):
        task = from_folder(chosen.sets / name)
        tasks[name], single[name], truths[name] = task, estimates(task), scaled(task.truth.to_numpy(float))
        steady = np.mean([single[name][part] for part in STEADY.split(JOIN)], axis=0)
        for estimate, found in {"steady": steady, **single[name]}.items():
            rows.append(told(name, estimate, of_groups(found, task), truths[name]))
        print(name, {row["estimate"]: row["rmse"] for row in rows if row["set"] == name}, flush=True)
    pd.DataFrame(rows).to_csv(STORED, sep="\t", index=False)

    pool = sorted(name for name in single["abis"] if name != "nu-SVR")
    means = {JOIN.join(part): part for n in range(1, MOST_TOGETHER + 1) for part in itertools.combinations(pool, n)}
    ratios = {
        label: {
            name: root_mean_square(of_groups(np.mean([single[name][k] for k in part], axis=0), tasks[name]) - truth)
            / peers[name]
            for name, truth in truths.items()
        }
        for label, part in means.items()
    }
    table = np.log(pd.DataFrame(ratios))
    ours = set(STEADY.split(JOIN))
    close = [label for label, part in means.items() if len(ours & set(part)) >= 2 and len(set(part) - ours) <= 1]
    for label, members in (("all", list(means)), ("single", pool), ("near ours", close)):
        print(label, carried_over(members, table))
    chosen_on = table.index.isin(CHOSEN_ON)
    for label in SHOWN:
        left, right = table.loc[chosen_on, label], table.loc[~chosen_on, label]
        print(f"{label}: chosen on {np.exp(left.mean()):.3f}, {(left > np.log(1.05)).sum()} behind; others {np.exp(right.mean()):.3f}, "
              f"{(right > np.log(1.05)).sum()} behind;", np.exp(table[label]).round(2).to_dict())  # fmt: skip


if __name__ == "__main__":
    main()

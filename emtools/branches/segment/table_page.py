"""The page of ``emtools segment`` for a table: its tables and its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emtools.branches.segment.table_types import Method, Options
from emtools.io.cells import Labels
from emtools.io.feature_table import FeatureTable
from emtools.kernels.agreement import adjusted_rand, contingency, one_hot
from emtools.plots.style import Picture
from emtools.report.components import mixture_sizes
from emtools.report.page import Page, Table

UNSURE = 0.1
SAME_HILL = 1.0  # nats
MOST_FEATURES = 40

REFERENCES = (
    "Dempster, Laird & Rubin (1977) J. R. Stat. Soc. B 39:1, doi:10.1111/j.2517-6161.1977.tb01600.x (EM).",
    "Celeux & Govaert (1992) Comput. Stat. Data Anal. 14:315, doi:10.1016/0167-9473(92)90042-E (K-means as hard EM).",
    "Bishop (2006) Pattern Recognition and Machine Learning, eqs 4.66-4.67 (the boundary of two normals is a quadric).",
    "Hubert & Arabie (1985) J. Classif. 2:193, doi:10.1007/BF01908075 (adjusted Rand index).",
    "Biernacki, Celeux & Govaert (2000) IEEE Trans. Pattern Anal. Mach. Intell. 22:719, doi:10.1109/34.865189 (ICL).",
)


def full_name(method: Method) -> str:
    """The method with its scaling."""
    return f"{method.name}, {method.scale.name}"


def agreement(one: Method, two: Method) -> float:
    """Adjusted Rand index of two fits."""
    k = one.shares.shape[1]
    return adjusted_rand(contingency(one.classes, one_hot(two.classes, k)))


def comparison(methods: Sequence[Method], chosen: Method, accuracy: pd.DataFrame | None) -> pd.DataFrame:
    """One row per fit."""
    k = chosen.shares.shape[1]
    frame = pd.DataFrame({"scaling": [m.scale.name for m in methods], "method": [m.name for m in methods]})
    hard = [m.fit.model.fixed_variance is not None for m in methods]
    frame["boundary"] = [
        "hyperplane" if flat or m.fit.model.layout == "tied" else "quadric"
        for flat, m in zip(hard, methods, strict=True)
    ]
    if accuracy is not None:
        values = accuracy.set_index(["method", "metric"])["value"]
        for metric in ("accuracy", "ARI"):
            frame[metric] = [float(values[full_name(m), metric]) for m in methods]
    for i in range(k):
        frame[f"class {i + 1}"] = [int((m.classes == i).sum()) for m in methods]
    frame["unsure, %"] = [
        None if flat else 100.0 * float((1.0 - m.shares.max(axis=1) > UNSURE).mean())
        for flat, m in zip(hard, methods, strict=True)
    ]
    frame["log-likelihood, nats"] = [None if flat else round(m.loglik) for flat, m in zip(hard, methods, strict=True)]
    frame["BIC"] = [None if flat else round(m.bic) for flat, m in zip(hard, methods, strict=True)]
    frame["agrees with the answer, ARI"] = [agreement(chosen, m) for m in methods]
    return frame


def class_table(table: FeatureTable, chosen: Method) -> pd.DataFrame:
    """One row per feature: mean of each class, and how far apart the outermost are."""
    shares = chosen.shares / np.maximum(chosen.shares.sum(axis=0), 1e-300)
    means = shares.T @ table.values
    spread = table.values.std(axis=0)
    frame = pd.DataFrame({"feature": table.features})
    for k, row in enumerate(means):
        frame[f"mean of class {k + 1}"] = row
    frame["apart, SD of all rows"] = np.ptp(means, axis=0) / spread
    return frame.sort_values("apart, SD of all rows", ascending=False, kind="stable").head(MOST_FEATURES)


def confusion(chosen: Method, truth: Labels) -> pd.DataFrame:
    """Known classes by classes of the answer."""
    known = truth.codes >= 0
    k = chosen.shares.shape[1]
    counts = np.zeros((len(truth.names), k))
    found = contingency(truth.codes[known], one_hot(chosen.classes[known], k))
    counts[: len(found)] = found
    frame = pd.DataFrame({truth.column: truth.names})
    for i in range(k):
        frame[f"class {i + 1}"] = counts[:, i].astype(int)
    return frame


def describe(
    options: Options,
    table: FeatureTable,
    methods: Sequence[Method],
    chosen: Method,
    accuracy: pd.DataFrame | None,
    pictures: Sequence[Picture],
) -> Page:
    """The page."""
    n, d = table.values.shape
    k = options.components
    counts = np.bincount(chosen.classes, minlength=k)
    order = table.features[0 if options.order_by is None else table.features.index(options.order_by)]
    told = ", ".join(f"{counts[i]} in class {i + 1}" for i in range(k))
    lead = (
        f"The {n} rows of {options.input.name} fall into {k} classes by {d} feature{'s' * (d > 1)} ({told}), numbered by "
        f"ascending mean of {order}. The answer is that of {full_name(chosen)}."
    )
    facts = {"rows": f"{n}", "features": f"{d}", "classes": " / ".join(map(str, counts))}
    if accuracy is not None:
        values = accuracy.set_index(["method", "metric"])["value"]
        lead += (
            f" It puts {100 * values[full_name(chosen), 'accuracy']:.1f} % of the rows where {options.truth} has them "
            f"(ARI {values[full_name(chosen), 'ARI']:.3f})."
        )
        facts["accuracy"] = f"{values[full_name(chosen), 'accuracy']:.3f}"
    unsure = 1.0 - chosen.shares.max(axis=1) > UNSURE
    facts["unsure rows (p < 0.9)"] = f"{int(unsure.sum())}"
    tables = [
        Table(
            "Methods and scalings side by side",
            "Each mixture starts from the classes of K-means in the same scaling. Log-likelihood and BIC (larger is better) "
            "are those of the features in the units of the table, so that they can be compared between scalings; what "
            "fits the density best need not find the classes that you mean.",
            comparison(methods, chosen, accuracy),
        ),
        Table(
            "Classes of the answer",
            "Means in the units of the table, weighted by the posterior; features that tell the classes apart come first.",
            class_table(table, chosen),
        ),
    ]
    if table.truth is not None:
        tables.insert(
            1, Table("Known and found", f"Rows by {options.truth} and class.", confusion(chosen, table.truth))
        )
    params, names = chosen.fit.params, [f"class {i + 1}" for i in range(k)]
    matrices, scaled = chosen.fit.model.covariance_matrices(params), chosen.scale.scaled(table.values)
    return Page(
        title=f"Classes of {options.input.name}",
        lead=lead,
        facts=facts,
        notices=list(table.notices),
        assumed=assumed(options, table, methods, chosen),
        pictures=pictures,
        tables=tables,
        check_tables=[
            mixture_sizes(names, scaled, chosen.shares, params.weights, params.means, matrices, "rows"),
        ],
        belief=belief(options, table, methods, chosen, accuracy),
        following=[
            "Read the means of the classes above: do they differ as the kinds that you expect do?",
            *(
                [f"Look at the {unsure.sum():,} unsure rows first (`uncertainty` in `classes.csv`)."]
                if unsure.any()
                else []
            ),
            "`--scaling`, `--family` and `--columns` choose another answer; `boundaries.json` holds the boundary of each pair of "
            "classes, to apply to new rows.",
        ],
        methods=methods_text(options, methods, chosen),
        references=REFERENCES,
        files={
            "classes.csv": "class, posterior of each class and uncertainty of each row, and its class by every fit",
            "boundaries.json": "(A, b, c) and (w, b) of each pair of classes of every fit, in the units of the table",
        }
        | ({"classes.h5ad": "the AnnData file with the classes"} if table.adata is not None else {})
        | ({"accuracy.tsv": "agreement with the known classes"} if accuracy is not None else {}),
    )


def assumed(options: Options, table: FeatureTable, methods: Sequence[Method], chosen: Method) -> list[str]:
    """What the answer takes for granted."""
    shape = {
        "full": "normal, each with a covariance of its own (ellipsoids of any shape, size and direction)",
        "tied": "normal with one common covariance",
        "diagonal": "normal, with features independent within a class",
        "spherical": "normal and round, each of its own size",
    }[options.family]
    logged = [name for name, flag in zip(table.features, chosen.scale.logged, strict=True) if flag]
    scale = {
        "raw": "Features are modelled as they are.",
        "z-scored": "Features are z-scored; to a mixture with full or diagonal covariances that is no assumption, as it follows "
        "any units: they only change where it starts.",
        "log-z": f"Logarithms are taken of the {len(logged)} features that are above 0 in every row, then all are z-scored.",
    }[chosen.scale.name]
    firm = chosen.fit.model.prior is not None
    return [
        f"There are {options.components} classes, and within each the rows are {shape}. {scale} K-means assumes round "
        "classes of one size in whatever units it is given."
        + (
            " The likelihood has no maximum here, so a weak inverse-Wishart prior holds the covariances."
            if firm
            else ""
        )
    ]


def belief(
    options: Options, table: FeatureTable, methods: Sequence[Method], chosen: Method, accuracy: pd.DataFrame | None
) -> list[str]:
    """Sentences for and against the answer."""
    classes = np.stack([m.classes for m in methods])
    same = 100.0 * float((classes == classes[0]).all(axis=0).mean())
    others = [agreement(chosen, m) for m in methods if m is not chosen]
    told = [
        f"The {len(methods)} fits give {same:.0f} % of the rows the same class; the answer agrees with the others at an adjusted "
        f"Rand index of {min(others):.2f} to {max(others):.2f}. "
        + (
            "They tell one story."
            if min(others) > 0.8
            else "They do not tell one story: what a class is depends on the model and on the scaling, so look at the figure "
            "before believing one of them."
        )
    ]
    if accuracy is not None:
        wide = accuracy[accuracy["metric"] == "accuracy"]
        parts = wide["method"].str.rsplit(", ", n=1, expand=True)
        winners = []
        for scaling in dict.fromkeys(parts[1]):
            rows = wide[parts[1] == scaling]
            top = rows.loc[rows["value"].idxmax()]
            winners.append((scaling, parts[0][top.name], float(top["value"])))
        listed = "; ".join(f"{scaling}: {name} ({value:.3f})" for scaling, name, value in winners)
        depends = len({name for _, name, _ in winners}) > 1
        told.append(
            f"Ahead by accuracy: {listed}. "
            + ("The winner depends on the scaling, so one" if depends else "One")
            + " table does not show that a method is better than another."
        )
        known = table.truth.codes >= 0 if table.truth is not None else np.zeros(len(table.rows), dtype=bool)
        if table.truth is not None and known.any():
            counts = contingency(table.truth.codes[known], chosen.shares[known])
            right = counts.argmax(axis=0)[chosen.classes] == table.truth.codes
            sure = known & (1.0 - chosen.shares.max(axis=1) <= UNSURE)
            stated = float((1.0 - chosen.shares.max(axis=1))[known].mean())
            found = float((~right[known]).mean())
            told.append(
                f"The model expects {100 * stated:.1f} % of its classes to be wrong; {100 * found:.1f} % are, and of the "
                f"{int(sure.sum())} rows of which it is sure (p ≥ 0.9) {int((~right & sure).sum())} are. "
                + (
                    "It is far surer than it should be, as mixtures in many correlated features are: take the posteriors as "
                    "an order, not as probabilities."
                    if found > 2 * stated + 0.01
                    else "The posteriors are about as sure as they should be."
                )
            )
    told += same_hills(methods)
    return told


def same_hills(methods: Sequence[Method]) -> list[str]:
    """A sentence where fits of one model under linear scalings, which have one likelihood, ended apart."""
    apart = []
    for name in dict.fromkeys(m.name for m in methods):
        held = [m for m in methods if m.name == name and m.scale.name != "log-z" and np.isfinite(m.loglik)]
        if len(held) == 2 and abs(held[0].loglik - held[1].loglik) > SAME_HILL:
            better, worse = sorted(held, key=lambda m: -m.loglik)
            apart.append(
                f"{name} ended {better.loglik - worse.loglik:.0f} nats higher from {better.scale.name} K-means than from "
                f"{worse.scale.name}"
            )
    if not apart:
        return []
    return [
        f"{'; '.join(apart)}: raw and z-scored features have one likelihood, with more than one top, and K-means decides "
        "which is climbed."
    ]


def methods_text(options: Options, methods: Sequence[Method], chosen: Method) -> str:
    """The paragraph of a methods section."""
    names = ", ".join(dict.fromkeys(m.name for m in methods if m.fit.model.fixed_variance is None))
    scalings = ", ".join(dict.fromkeys(m.scale.name for m in methods))
    return (
        f"K-means (hard EM with one fixed spherical variance, best of several starts) and Gaussian mixtures ({names}) with "
        f"{options.components} classes and free weights were fitted under the scalings {scalings}; each mixture by EM from the "
        f"K-means partition in the same scaling. Reported is {full_name(chosen)}. The boundary of two classes is where their "
        "weighted densities are equal, x'Ax + b'x + c = 0, written in the units of the table (in logarithms where these "
        "were modelled) from the fitted parameters; it is positive where the first of the pair is the likelier."
    )

"""``emtools segment TABLE``: classes of the rows of a table, K-means beside Gaussian mixtures, under three scalings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.segment.table_page import describe, full_name
from emtools.branches.segment.table_types import Method, Options
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.io.cells import Labels
from emtools.io.console import Progress
from emtools.io.feature_table import FeatureTable, write_classes
from emtools.io.fitfile import plain
from emtools.io.outputs import staged
from emtools.kernels.agreement import adjusted_rand, contingency, matched_accuracy, one_hot
from emtools.kernels.feature_scale import FeatureScale, feature_scales
from emtools.kernels.telling import telling_pair
from emtools.models.mixture import Family, GaussianMixture, MixtureParams, data_prior, kmeans
from emtools.plots.segment_table import Panel, draw_by_scaling, draw_planes

HARD_STARTS = 10  # of K-means, whose end depends on its start more than that of any mixture
HARD = "K-means"
GRID = 120
VIEW = (0.0, 99.0)  # percentiles that a figure shows, with a tenth of that beyond


def analyse(options: Options, table: FeatureTable) -> int:
    """Fit what was read, write; the exit code."""
    n_distinct = len(np.unique(table.values, axis=0))
    if n_distinct <= options.components:
        raise InputError(
            str(options.input),
            f"{n_distinct} distinct rows for {options.components} classes",
            "more",
            "lower --components",
        )
    progress = Progress(f"segment {options.input.name}", 0, options.quiet)
    methods = segmentations(options, table, progress)
    chosen = next((m for m in methods if m.scale.name == options.scaling and m.fit.certificate is not None), None)
    if chosen is None:
        raise InputError("--scaling", f"{options.scaling}: no feature is positive throughout", "", "use z-scored")
    progress.close(chosen.fit.summary)
    for note in table.notices:
        print(f"segment: {note}", file=sys.stderr)
    accuracy = None if table.truth is None else accuracy_table(methods, table.truth)
    lines = list(boundaries(methods))
    with staged(options.out) as folder:
        write_classes(table, chosen.shares, pd.DataFrame({m.column: m.classes + 1 for m in methods}), folder)
        write_boundaries(table, lines, folder / "boundaries.json")
        pictures = [draw_planes(*planes(table, methods, chosen), folder)]
        if accuracy is not None and table.truth is not None:
            pictures.append(draw_by_scaling(accuracy, int((table.truth.codes >= 0).sum()), folder))
        page = describe(options, table, methods, chosen, accuracy, pictures)
        classes = [f"class {k + 1}" for k in range(options.components)]
        square = [table.features, table.features]
        layout = chosen.fit.model.layout
        unit = "1" if options.scaling == "raw" else "SD"
        return finish(
            folder,
            chosen.fit,
            page,
            options,
            branch="segment",
            inputs=[options.input],
            labels={
                "weights": [classes],
                "means": [classes, table.features],
                "covariances": square if layout == "tied" else [classes, *square],
                "variances": [classes, table.features] if layout == "diagonal" else [classes],
            },
            units={"means": unit, "covariances": f"{unit}²", "variances": f"{unit}²"},
            accuracy=None if accuracy is None else answer_first(accuracy, chosen),
            extra={
                "features": table.features,
                "scaling": {
                    "name": chosen.scale.name,
                    "log": chosen.scale.logged,
                    "centre": chosen.scale.centre,
                    "spread": chosen.scale.spread,
                },
                "boundaries": lines,
                "fits": [
                    {"method": m.name, "scaling": m.scale.name, "status": str(m.fit.status), "loglik": m.loglik}
                    for m in methods
                ],
            },
        )


def segmentations(options: Options, table: FeatureTable, progress: Progress | None = None) -> list[Method]:
    """K-means and the mixtures under every scaling; the one that is asked for has a certificate.

    Each mixture starts from the classes of K-means in the same scaling, so that what differs is the model.
    """
    families: list[Family] = ["full", "diagonal"]
    families += [options.family] * (options.family not in families)
    order = 0 if options.order_by is None else feature_place(table, options.order_by)
    k, d = options.components, len(table.features)
    found = []
    for scale in feature_scales(table.values):
        rows = scale.scaled(table.values)
        source = ArraySource(rows)
        hard = kmeans(k, d, order, variance=float(rows.var(axis=0).mean()))
        more: dict[str, Any] = {"certificate": False, **options.climbing}
        clusters = fit(hard, source, starts=max(HARD_STARTS, options.starts), assign="hard", **more)
        labels = hard.log_joint(clusters.params, rows).argmax(axis=1)
        found.append(Method(HARD, scale, clusters, one_hot(labels, k), np.nan))
        for family in families:
            asked = family == options.family and scale.name == options.scaling
            how = options.climbing | {"certificate": asked}
            how |= {"on_pass": progress, "checkpoint": options.checkpoint} if asked else {}
            fitted = fit_from(labels, rows, GaussianMixture(k, d, family, order_by=order), source, how, asked)
            if fitted is not None:
                shares = fitted.model.responsibilities(fitted.params, rows)
                loglik = fitted.loglik + scale.log_jacobian(table.values)
                found.append(Method(f"GMM {family}", scale, fitted, shares, loglik))
    return found


def fit_from(
    labels: npt.NDArray[np.intp],
    rows: Floats,
    model: GaussianMixture,
    source: ArraySource,
    how: dict[str, Any],
    asked: bool,
) -> Fit[MixtureParams, Any] | None:
    """A mixture from a partition; where it has no maximum, with a weak prior; None where even that fails.

    Raises
    ------
    FitError
        If even that fails for the one that is asked for.
    """
    k, d, family = model.n_components, model.n_features, model.family
    firm = GaussianMixture(k, d, family, prior=data_prior(rows, k, family), order_by=model.order_by)
    for one in (model, firm):
        try:
            return fit(one, source, init=[one.from_labels(rows, labels)], **how)
        except (FitError, InputError) as error:
            if one is firm and asked:
                raise
            failed = error
    print(f"segment: left out of the comparison: {failed}", file=sys.stderr)
    return None


def feature_place(table: FeatureTable, name: str) -> int:
    """Position of a feature.

    Raises
    ------
    InputError
        If it is not modelled.
    """
    if name not in table.features:
        raise InputError(
            "--order-by", f"{name!r} is not a modelled feature", f"one of: {', '.join(table.features[:12])}"
        )
    return table.features.index(name)


def accuracy_table(methods: Sequence[Method], truth: Labels) -> pd.DataFrame:
    """Agreement of each fit with the known classes, rows without one left out."""
    known = truth.codes >= 0
    rows: list[tuple[str, str, float]] = []
    for method in methods:
        k = method.shares.shape[1]
        counts = contingency(truth.codes[known], one_hot(method.classes[known], k))
        name = full_name(method)
        rows += [(name, "accuracy", matched_accuracy(counts)), (name, "ARI", adjusted_rand(counts))]
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def answer_first(accuracy: pd.DataFrame, chosen: Method) -> pd.DataFrame:
    """The table with the rows of the answer before the others: the page of a run quotes the first."""
    ours = accuracy["method"] == full_name(chosen)
    return pd.concat([accuracy[ours], accuracy[~ours]], ignore_index=True)


def boundaries(methods: Sequence[Method]) -> Iterator[dict[str, Any]]:
    """Boundary of every pair of classes of every fit, in the units of the table (or their logarithms)."""
    for method in methods:
        model = method.fit.model
        for pair in model.boundaries(method.fit.params):
            square, linear, constant = method.scale.quadric(pair["A"], pair["b"], pair["c"])
            form = {"w": linear, "b": constant}
            if model.fixed_variance is None:
                form = {"A": square, "b": linear, "c": constant}
            yield {
                "method": method.name,
                "scaling": method.scale.name,
                "first": pair["first"] + 1,
                "second": pair["second"] + 1,
                "log": method.scale.logged,
                **form,
            }


def write_boundaries(table: FeatureTable, lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Write boundaries.json, one line a boundary."""
    told = ",\n  ".join(json.dumps(plain(line), allow_nan=False) for line in lines)
    features = json.dumps(list(table.features))
    path.write_text(f'{{\n "features": {features},\n "boundaries": [\n  {told}\n ]\n}}\n', encoding="utf-8")


def planes(
    table: FeatureTable, methods: Sequence[Method], chosen: Method
) -> tuple[Floats, tuple[str, ...], list[Panel], int]:
    """What to draw in the plane of the two most telling features: rows (n, 2), names, panels, number of other features."""
    d = len(table.features)
    pair = telling_pair(chosen.scale.scaled(table.values), chosen.shares) if d > 1 else (0, 0)
    points = table.values[:, pair]
    panels = []
    for method in methods:
        logged = method.scale.logged[list(pair)]
        grids = [grid_of(points[:, i], bool(logged[i])) for i in range(2)]
        joint, means, ellipses = in_plane(method, pair, grids)
        wrong = None
        if table.truth is not None:
            counts = contingency(table.truth.codes[table.truth.codes >= 0], method.shares[table.truth.codes >= 0])
            wrong = (table.truth.codes >= 0) & (counts.argmax(axis=0)[method.classes] != table.truth.codes)
        panels.append(
            Panel(method.name, method.scale.name, (grids[0], grids[1]), joint, means, ellipses, method.classes, wrong)
        )
    names = tuple(table.features[i] for i in pair)
    return points, names, panels, d - len(set(pair))


def grid_of(values: Floats, logged: bool) -> Floats:
    """Where a boundary is looked at along a feature, evenly in its logarithm where that is modelled."""
    rows = np.log(values) if logged else values
    low, high = np.percentile(rows, VIEW)
    edge = 0.1 * (high - low) or 1.0
    line = np.linspace(low - edge, high + edge, GRID)
    return np.asarray(np.exp(line) if logged else line)


def in_plane(method: Method, pair: tuple[int, int], grids: Sequence[Floats]) -> tuple[Floats, Floats, list[Floats]]:
    """Log joint densities over a plane (K, n_y, n_x), class means (K, 2) and outlines of one standard deviation.

    The other features are integrated out; all in the units of the table.
    """
    model, params, columns = method.fit.model, method.fit.params, np.array(pair)
    logged, centre, spread = (
        field[columns] for field in (method.scale.logged, method.scale.centre, method.scale.spread)
    )
    flat_scale = FeatureScale(method.scale.name, logged, centre, spread)
    covariances = model.covariance_matrices(params)[:, columns[:, None], columns]
    if pair[0] == pair[1]:
        covariances = covariances * np.eye(2)
    means = params.means[:, columns]
    points = flat_scale.scaled(np.stack(np.meshgrid(*grids), axis=-1).reshape(-1, 2))
    flat = GaussianMixture(model.n_components, 2, "full")
    joint = flat.log_joint(MixtureParams(params.weights, means, covariances), points)

    def back(rows: Floats) -> Floats:
        opened = rows * spread + centre
        opened[:, logged] = np.exp(opened[:, logged])
        return np.asarray(opened)

    angle = np.linspace(0.0, 2.0 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outlines = []
    if model.fixed_variance is None:
        outlines = [
            back(mean + circle @ np.linalg.cholesky(covariance).T)
            for mean, covariance in zip(means, covariances, strict=True)
        ]
    shape = (model.n_components, len(grids[1]), len(grids[0]))
    return joint.T.reshape(shape), back(means.copy()), outlines

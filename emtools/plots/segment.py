"""Figures of a segmented image: objects, certainty, the boundary in feature space, agreement with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.lines import Line2D
from scipy.ndimage import find_objects
from skimage.measure import find_contours

from emtools.kernels.outlines import simplified
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, color_of, save, styled, tiled

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

LARGEST_SHOWN = 1024  # pixels on a side; larger images are shown by every n-th pixel
GREYS = 16
FOUND, TRUE = "#56B4E9", "#F0A030"
MANY_OBJECTS = 1500
GRID = 220


@dataclass(frozen=True)
class Outlined:
    """A segmentation to draw over the image: its title and its objects, shape (n_rows, n_columns), 0 background."""

    title: str
    objects: Labels


@dataclass(frozen=True)
class Regions:
    """Decision regions of a method in a plane of two features.

    Parameters
    ----------
    title : str
        Method and shape of its boundary.
    log_joint : ndarray, shape (K, n_y, n_x)
        Log of weight times density of each class at each grid point, in nats.
    means : ndarray, shape (K, 2)
        Centres of the classes.
    covariances : ndarray, shape (K, 2, 2), or None
        Drawn as ellipses that hold 39 % of each class (one standard deviation each way); None for none.
    """

    title: str
    log_joint: Floats
    means: Floats
    covariances: Floats | None


def thinned(shape: tuple[int, int]) -> int:
    """Step between the pixels shown."""
    return -(-max(shape) // LARGEST_SHOWN)


def shown_grey(plane: npt.NDArray[Any]) -> Floats:
    """Grey levels of an image as a person wants to see it: square root, dark background cut, few levels."""
    root = np.sqrt(plane.astype(np.float64) - min(float(plane.min()), 0.0))
    low, high = np.percentile(root, [50.0, 99.5])
    scaled = np.clip((root - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(np.round(scaled * GREYS) / GREYS)


def shown_colours(planes: npt.NDArray[Any]) -> Floats:
    """An RGB image between 0 and 1, all channels on one scale so that the colours stay."""
    values = planes.astype(np.float64) - min(float(planes.min()), 0.0)
    return np.asarray(np.clip(values / max(float(np.percentile(values, 99.9)), 1e-12), 0.0, 1.0))


def outlines(objects: Labels) -> list[Floats]:
    """Outline of each object as (x, y) points in pixels."""
    lines = []
    for number, box in enumerate(find_objects(objects), start=1):
        if box is None:
            continue
        mask = np.pad(objects[box] == number, 1)
        offset = np.array([box[0].start - 1, box[1].start - 1])
        for contour in find_contours(mask.astype(float), 0.5):
            lines.append((simplified(contour, 0.35) + offset)[:, ::-1])
    return lines


def add_outlines(axis: Any, objects: Labels, color: str, width: float, zorder: int) -> None:
    lines = outlines(objects)
    many = len(lines) > MANY_OBJECTS
    axis.add_collection(LineCollection(lines, colors=color, linewidths=width, zorder=zorder, rasterized=many))


def image_axis(axis: Any, title: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title)
    for spine in axis.spines.values():
        spine.set_visible(False)


def nice_length(extent: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most a quarter of `extent`."""
    power = 10.0 ** np.floor(np.log10(extent / 4))
    return float(max(m * power for m in (1, 2, 5) if m * power <= extent / 4))


def add_scale_bar(axis: Any, shape: tuple[int, int], pixel_size: tuple[float, float] | None) -> None:
    width = 1.0 if pixel_size is None else pixel_size[1]
    length = nice_length(shape[1] * width)
    end, level = shape[1] * 0.97, shape[0] * 1.035
    axis.plot([end - length / width, end], [level, level], color=INK, lw=2.5, clip_on=False, solid_capstyle="butt")
    unit = "pixels" if pixel_size is None else "µm"
    axis.text(end, level + shape[0] * 0.02, f"{length:g} {unit}", ha="right", va="top", fontsize=7)


def draw_overlay(
    plane: npt.NDArray[Any],
    panels: Sequence[Outlined],
    truth: Labels | None,
    pixel_size: tuple[float, float] | None,
    folder: Path,
    note: str,
) -> Picture:
    """Outlines of the objects over the image, one panel per method, the true outlines below them.

    Parameters
    ----------
    plane : ndarray, shape (n_rows, n_columns) or (n_rows, n_columns, 3)
        Image, in grey or in red, green and blue.
    panels : sequence of Outlined
        What was found, by each method.
    truth : ndarray of int, shape (n_rows, n_columns), or None
        True objects.
    pixel_size : (float, float) or None
        µm.
    folder : Path
        Where the figure goes.
    note : str
        A sentence for the caption.
    """
    step = thinned((plane.shape[0], plane.shape[1]))
    n_rows, n_columns = plane.shape[:2]
    coloured = plane.ndim == 3
    with styled():
        down, across = tiled(len(panels), 2)
        width = PAGE if across > 1 else COLUMN
        height = min(9.0 / down, 0.96 * width / across * n_rows / n_columns + 0.5)
        figure, axes = plt.subplots(down, across, figsize=(width, height * down), squeeze=False)
        for axis in axes.ravel()[len(panels) :]:
            axis.set_visible(False)
        grey = (shown_colours if coloured else shown_grey)(plane[::step, ::step])
        for axis, panel in zip(axes.flat, panels, strict=False):
            extent = (-0.5, n_columns - 0.5, n_rows - 0.5, -0.5)
            axis.imshow(grey, cmap="gray", extent=extent, interpolation="none", vmin=0, vmax=1)
            if truth is not None:
                add_outlines(axis, truth, TRUE, 0.9, 3)
            add_outlines(axis, panel.objects, FOUND, 0.7, 4)
            axis.set_xlim(-0.5, n_columns - 0.5)
            axis.set_ylim(n_rows - 0.5, -0.5)
            image_axis(axis, panel.title)
            add_scale_bar(axis, (n_rows, n_columns), pixel_size)
        handles = [Line2D([], [], color=FOUND, label="found")]
        if truth is not None:
            handles.append(Line2D([], [], color=TRUE, label="annotated by a person"))
        arrange(figure, w_pad=1.2)
        figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
        annotated = (
            " Orange without blue is an object that was missed, blue without orange one that is not there, and one blue "
            "outline around two orange ones a pair that was not separated."
            if truth is not None
            else ""
        )
        caption = (
            f"Outlines of the objects found (blue) over the image of {n_rows} × {n_columns} pixels"
            f"{' in its colours' if coloured else ', brightness on a square-root scale so that dim objects show'}."
            f"{annotated} {note}"
        )
        return save(figure, folder, Picture("overlay", "What was found", " ".join(caption.split())))


def draw_posterior(
    foreground: Floats,
    uncertainty: Floats,
    pixel_size: tuple[float, float] | None,
    folder: Path,
    brightest: str = "brightest class",
    independent: bool = True,
) -> Picture:
    """Probability of the brightest class, and the probability that the label of a pixel is wrong.

    Parameters
    ----------
    foreground, uncertainty : ndarray, shape (n_rows, n_columns)
        Posterior of the brightest class; one minus the largest posterior.
    pixel_size : (float, float) or None
        µm.
    folder : Path
        Where the figure goes.
    brightest : str
        What to call that class.
    independent : bool
        Whether the model takes pixels for independent.
    """
    n_rows, n_columns = foreground.shape
    step = thinned((n_rows, n_columns))
    unsure = 100.0 * float((uncertainty > 0.1).mean())
    top = max(0.1, float(uncertainty.max()))
    with styled():
        height = min(9.0, 3.2 * n_rows / n_columns + 0.7)
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, height))
        for axis, values, cmap, title, limit in (
            (axes[0], foreground, "viridis", f"Probability of the {brightest}", 1.0),
            (axes[1], uncertainty, "magma", "Probability that the label is wrong", top),
        ):
            quantised = np.round(values[::step, ::step] / limit * 20) / 20 * limit
            extent = (-0.5, n_columns - 0.5, n_rows - 0.5, -0.5)
            shown = axis.imshow(quantised, cmap=cmap, extent=extent, interpolation="none", vmin=0, vmax=limit)
            image_axis(axis, title)
            add_scale_bar(axis, (n_rows, n_columns), pixel_size)
            figure.colorbar(shown, ax=axis, fraction=0.045, pad=0.02, label="probability")
        arrange(figure)
        caption = (
            f"Left: posterior probability of each of the {n_rows * n_columns:,} pixels to belong to the {brightest}. "
            f"Right: 1 − the largest posterior, the model's own probability that the label is wrong; it is above 0.1 for "
            f"{unsure:.1f} % of the pixels. Bright rims say where an outline could lie elsewhere; a bright interior says "
            "that the object itself is in doubt. The model "
            + ("takes pixels for independent" if independent else "treats its neighbours as if they were known")
            + ", so that it is surer than it should be."
        )
        return save(figure, folder, Picture("posterior", "How sure is each pixel?", caption))


def draw_boundary(
    features: Floats,
    names: tuple[str, str],
    grid: tuple[Floats, Floats],
    panels: Sequence[Regions],
    folder: Path,
    note: str,
    where: str = "",
) -> Picture:
    """Density of the pixels in the plane of two features, tinted by the class that each method gives.

    Parameters
    ----------
    features : ndarray, shape (n, 2)
        The two features of each pixel.
    names : (str, str)
        Their names, with units.
    grid : (ndarray, ndarray), shapes (n_x,) and (n_y,)
        Where the classes of `panels` were evaluated.
    panels : sequence of Regions
        The methods, side by side.
    folder : Path
        Where the figure goes.
    note : str
        What to conclude.
    where : str
        Which plane it is, over the panels; nothing where there is no other.
    """
    xs, ys = grid
    n_classes = len(panels[0].means)
    tint = ListedColormap([color_of(k) for k in range(n_classes)])
    with styled():
        down, across = tiled(len(panels), 3)
        size = (PAGE if across > 1 else COLUMN, 2.9 * down + 0.4)
        figure, axes = plt.subplots(down, across, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis in axes.ravel()[len(panels) :]:
            axis.set_visible(False)
        counts, x_edges, y_edges = np.histogram2d(
            features[:, 0], features[:, 1], bins=100, range=((xs[0], xs[-1]), (ys[0], ys[-1]))
        )
        shown = None
        for axis, panel in zip(axes.flat, panels, strict=False):
            axis.pcolormesh(xs, ys, panel.log_joint.argmax(axis=0), cmap=tint, vmin=-0.5, vmax=n_classes - 0.5, alpha=0.22,
                            shading="nearest", rasterized=True, linewidth=0)  # fmt: skip
            shown = axis.pcolormesh(
                x_edges, y_edges, np.where(counts > 0, counts, np.nan).T,
                norm=LogNorm(1, max(10.0, float(counts.max()))), cmap="Greys", rasterized=True, linewidth=0,
            )  # fmt: skip
            for k in range(n_classes - 1):
                margin = panel.log_joint[k] - np.delete(panel.log_joint, k, axis=0).max(axis=0)
                axis.contour(xs, ys, margin, levels=[0.0], colors=PALETTE[5], linewidths=1.6)
            for k, mean in enumerate(panel.means):
                if panel.covariances is not None:
                    ellipse = ellipse_points(mean, panel.covariances[k])
                    axis.plot(*ellipse, color=color_of(k), lw=1.4)
                axis.plot(*mean, marker="o", ms=6, mec="white", mew=1.0, color=color_of(k), ls="none", zorder=5)
            axis.set_title(panel.title)
            axis.label_outer()
            axis.set_xlim(xs[0], xs[-1])
            axis.set_ylim(ys[0], ys[-1])
        for axis in axes[:, 0]:
            axis.set_ylabel(names[1])
        for axis in axes.ravel()[max(0, len(panels) - across) : len(panels)]:
            axis.set_xlabel(names[0])
            axis.tick_params(labelbottom=True)
        classes = [
            Line2D([], [], marker="o", ls="none", color=color_of(k), label=class_name(k, n_classes))
            for k in range(n_classes)
        ]
        lines = [Line2D([], [], color=PALETTE[5], label="boundary")]
        axes[0, 0].legend(handles=classes + lines, loc="upper left", fontsize=7, handletextpad=0.4, frameon=True,
                          facecolor="white", framealpha=0.85, edgecolor=FAINT)  # fmt: skip
        if where:
            figure.suptitle(where, x=0.02, ha="left", fontsize=8)
        arrange(figure)
        figure.colorbar(shown, ax=axes, fraction=0.02, pad=0.015, label="pixels per cell")
        caption = (
            f"Each of the {len(features):,} pixels by its two features: its own intensity and that of its surroundings, on "
            f"a square-root scale (grey: pixels per cell, log scale). Tints show the class that each method gives there, "
            f"dots the class means, ellipses one standard deviation of each Gaussian. {note}"
        )
        return save(
            figure,
            folder,
            Picture("boundary", "Hyperplane or quadric?" + f" {where}" * bool(where), " ".join(caption.split())),
        )


def class_name(k: int, n_classes: int) -> str:
    """Label of class `k` (from 0) for a legend."""
    word = {0: " (darkest)", n_classes - 1: " (brightest)"}.get(k, "")
    return f"class {k + 1}{word}"


def ellipse_points(mean: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """One standard deviation each way around `mean`."""
    values, vectors = np.linalg.eigh(covariance)
    angle = np.linspace(0.0, 2.0 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    points = mean[:, None] + vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * circle)
    return points[0], points[1]


def draw_accuracy(accuracy: pd.DataFrame, metrics: Sequence[str], n_true: int, folder: Path) -> Picture:
    """Agreement with the truth, one bar per method and metric.

    Parameters
    ----------
    accuracy : DataFrame
        Columns ``method, metric, value``.
    metrics : sequence of str
        Metrics to draw.
    n_true : int
        True objects.
    folder : Path
        Where the figure goes.
    """
    methods = list(dict.fromkeys(accuracy["method"]))
    values = accuracy.set_index(["method", "metric"])["value"]
    with styled():
        height = 0.9 + 0.33 * len(methods)
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(PAGE if len(metrics) > 1 else COLUMN, height), sharey=True, squeeze=False
        )
        for axis, metric in zip(axes[0], metrics, strict=True):
            shown = [float(values[method, metric]) for method in methods]
            colors = [PALETTE[0] if i == 0 else FAINT for i in range(len(methods))]
            axis.barh(range(len(methods)), np.nan_to_num(shown), color=colors, height=0.68)
            for i, value in enumerate(shown):
                axis.text(
                    np.nan_to_num(value) + 0.015,
                    i,
                    "none" if np.isnan(value) else f"{value:.3f}",
                    va="center",
                    fontsize=8,
                )
            axis.set_yticks(range(len(methods)), methods, fontsize=8)
            axis.set_xlim(0, 1.14)
            axis.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
            axis.set_xlabel(metric)
        axes[0, 0].invert_yaxis()
        arrange(figure)
        caption = (
            "Agreement with the annotation; 1 is perfect. Dice compares foreground pixels. Object F1 counts an object as "
            f"found where its overlap with one of the {n_true} annotated objects exceeds half of their union. All methods "
            "share the same separation of touching objects."
        )
        return save(figure, folder, Picture("accuracy", "How close to the annotation?", caption))

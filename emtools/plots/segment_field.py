"""Figures of a random field: the scale it works on, and whether its probabilities come true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from emtools.kernels.reliability import brier_score, reliability
from emtools.models.random_field import Plane
from emtools.plots.segment import LARGEST_SHOWN, add_scale_bar, class_name, image_axis
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, color_of, save, styled
from emtools.segmenting.field import Segmented

BINS = 120
STEPS = 16  # shades


def draw_levels(found: Segmented, channel: int, pixel_size: tuple[float, float] | None, folder: Path) -> Picture:
    """Scaled intensity with its classes, and the illumination that was fitted.

    Parameters
    ----------
    found : Segmented
        The fit.
    channel : int
        Channel to draw.
    pixel_size : (float, float) or None
        µm.
    folder : Path
        Where the figure goes.
    """
    model, params, level = found.fit.model, found.fit.params, found.levels[channel]
    values, shape = found.values[channel], found.values.shape[1:]
    gain = model.gains(params, Plane(found.values))[channel]
    shares = found.posterior.reshape(len(found.posterior), -1).astype(np.float64).mean(axis=1)
    means, sd = params.means[:, channel], float(np.sqrt(params.variances[channel]))
    low = min(float(values.min()), float(means.min()) - 3.0 * sd)
    high = max(float(np.percentile(values, 99.99)), float(means.max()) + 3.0 * sd)
    places = np.linspace(low, high, 400)
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        left.hist(np.clip(values.ravel(), low, high), bins=BINS, range=(low, high), density=True, color=FAINT)
        for k, mean in enumerate(means):
            density = shares[k] * np.exp(-0.5 * ((places - mean) / sd) ** 2) / (sd * np.sqrt(2.0 * np.pi))
            left.plot(places, density, color=color_of(k), lw=1.5, label=class_name(k, len(means)))
        left.set_yscale("log")
        left.set_ylim(bottom=1e-4)
        left.set_xlabel("scaled intensity (0 is the background)")
        left.set_ylabel("density (log)")
        left.legend(fontsize=7, loc="upper right")
        step = -(-max(shape) // LARGEST_SHOWN)
        shown = np.round(gain[::step, ::step] * STEPS) / STEPS
        shown = np.ma.masked_less_equal(shown, 0.0)
        extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
        drawn = right.imshow(shown, cmap="cividis", extent=extent, interpolation="none")
        image_axis(right, "Illumination")
        add_scale_bar(right, (shape[0], shape[1]), pixel_size)
        figure.colorbar(drawn, ax=right, fraction=0.045, pad=0.02, label="share of that at the centre")
        arrange(figure)
        caption = (
            f"Left: the {values.size:,} pixels on the scale on which the classes are normal, asinh(distance from the "
            f"background / {level.scale:.3g}) after a blur of {level.blur:.2f} pixels, and each class under an even "
            "illumination, as high as its share of the image. Right: the smooth illumination that was fitted with the classes, "
            f"{gain.min():.2f} to {gain.max():.2f}; it multiplies the class means, and hardly touches the background, which "
            "lies near 0."
            + (
                " It is blank where it is 0 or less, where nothing bright could tell it: believe it near the objects only."
                if gain.min() <= 0.0
                else ""
            )
        )
        return save(figure, folder, Picture("levels", "On what scale?", caption))


def draw_reliability(
    probabilities: Mapping[str, npt.NDArray[np.floating[Any]]], truth: npt.NDArray[np.bool_], folder: Path
) -> Picture:
    """How often pixels of a posterior turn out to be foreground.

    Parameters
    ----------
    probabilities : mapping of str to ndarray, shape (n_rows, n_columns)
        Posterior of the brightest class, by method.
    truth : ndarray of bool, same shape
        Annotated pixels.
    folder : Path
        Where the figure goes.
    """
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 3.3))
        axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        told = []
        for i, (name, probability) in enumerate(probabilities.items()):
            found = reliability(probability, truth)
            score = brier_score(probability, truth)
            axis.plot(found.told, found.seen, marker="o", ms=4, lw=1.3, color=PALETTE[i], label=f"{name}: {score:.3f}")
            between = (probability > 0.1) & (probability < 0.9)
            told.append(f"{name} {100.0 * float(between.mean()):.1f} %")
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel("posterior of the brightest class")
        axis.set_ylabel("share annotated as object")
        axis.legend(fontsize=7, title="Brier score", title_fontsize=7, loc="upper left")
        arrange(figure)
        caption = (
            f"The {truth.size:,} pixels in ten bins of their posterior, and how many of them a person annotated: on the dotted "
            "line probabilities come true; a curve that is flatter than it is too sure, and one that "
            "lies below it gives too much to the brightest class, as where outlines lie outside those of the person. The Brier score is the mean squared "
            f"error of the probability, 0 at best. Few pixels lie between 0.1 and 0.9: {', '.join(told)}."
        )
        return save(figure, folder, Picture("reliability", "Do the probabilities come true?", caption))

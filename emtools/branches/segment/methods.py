"""The methods that ``emtools segment`` sets side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from emtools.branches.segment.types import Method, Options, Pixels
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Assign, Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import FitError
from emtools.io.console import Progress
from emtools.kernels.pixels import brightness_partitions, separate_objects
from emtools.models.mixture import GaussianMixture, MixtureParams, data_prior, kmeans
from emtools.segmenting.field import segment_planes

FIELD = "random field"


def chosen_model(options: Options, pixels: Pixels) -> GaussianMixture:
    """The mixture that the options ask for."""
    return GaussianMixture(
        options.components,
        pixels.features.shape[1],
        options.family,
        prior=data_prior(pixels.features, options.components, options.family),
        equal_weights=options.weights == "equal",
        order_by=2 * pixels.channel,
    )


def segmentations(
    options: Options, pixels: Pixels, chosen: GaussianMixture, source: ArraySource, progress: Progress | None = None
) -> list[Method]:
    """The answer first: the random field and the mixture, K-means, the mixture with nothing held equal, and Otsu's."""
    k, d = chosen.n_components, chosen.n_features
    hard = kmeans(k, d, chosen.order_by, variance=float(pixels.features.var(axis=0).mean()))
    clusters = fitted_or_none(options, hard, source)
    labels = [] if clusters is None else [hard.log_joint(clusters.params, pixels.features).argmax(axis=1)]
    n_ranked = options.starts - 1 if labels else options.starts
    labels += brightness_partitions(pixels.features[:, 2 * pixels.channel + 1], k, n_ranked)
    init = [chosen.from_labels(pixels.features, partition) for partition in labels]
    if options.model == "field":
        found = [by_field(options, pixels, progress)]
        mixture = fitted_or_none(options, chosen, source, init)
        found += [] if mixture is None else [by_fit(options, pixels, mixture)]
    else:
        best = fit(chosen, source, init=init, on_pass=progress, checkpoint=options.checkpoint, **options.climbing)
        found = [by_fit(options, pixels, best)]
    if clusters is not None:
        found.append(by_fit(options, pixels, clusters))
    if chosen.family != "full" or chosen.equal_weights:
        free = GaussianMixture(k, d, "full", prior=data_prior(pixels.features, k, "full"), order_by=chosen.order_by)
        rival = fitted_or_none(options, free, source, [free.from_labels(pixels.features, labels[0])])
        if rival is not None:
            found.append(by_fit(options, pixels, rival))
    level = threshold_otsu(pixels.plane)
    return [*found, separated(options, "Otsu", "threshold", np.asarray(pixels.plane > level))]


def fitted_or_none(
    options: Options, model: GaussianMixture, source: ArraySource, init: Sequence[MixtureParams] = ()
) -> Fit[MixtureParams, Any] | None:
    """A rival for the comparison; None where none of its starts is usable."""
    try:
        assign: Assign = "soft" if model.fixed_variance is None else "hard"
        more: dict[str, Any] = {"assign": assign, "certificate": False, **options.climbing}
        return fit(model, source, init=init, starts=options.starts, **more)
    except FitError as error:
        print(f"segment: left out of the comparison: {error}", file=sys.stderr)
        return None


def by_field(options: Options, pixels: Pixels, progress: Progress | None = None) -> Method:
    """Segmentation by a random field."""
    found = segment_planes(
        pixels.image.values,
        options.components,
        order_by=pixels.channel,
        on_pass=progress,
        checkpoint=options.checkpoint,
        **options.climbing,
    )
    foreground = found.posterior.argmax(axis=0) == options.components - 1
    objects = separate_objects(foreground, options.smallest)
    return Method(FIELD, "level of its surroundings", foreground, objects, found.fit, found.posterior, found)


def by_fit(options: Options, pixels: Pixels, fitted: Fit[MixtureParams, Any]) -> Method:
    """Segmentation by a fitted mixture."""
    model = fitted.model
    hard = model.fixed_variance is not None
    joint = model.log_joint(fitted.params, pixels.features)
    classes = joint.argmax(axis=1)
    posterior = None if hard else model.responsibilities(fitted.params, pixels.features).T
    weights = "equal" if model.equal_weights else "free"
    return separated(
        options,
        "K-means" if hard else f"GMM {model.family}, {weights} weights",
        "hyperplane" if hard or model.family == "tied" else "quadric",
        (classes == model.n_components - 1).reshape(pixels.shape),
        fitted,
        None if posterior is None else posterior.reshape(-1, *pixels.shape),
    )


def separated(
    options: Options,
    name: str,
    boundary: str,
    foreground: npt.NDArray[np.bool_],
    fitted: Fit[MixtureParams, Any] | None = None,
    posterior: Floats | None = None,
) -> Method:
    """A method by its foreground; all of them separate touching objects alike."""
    return Method(name, boundary, foreground, separate_objects(foreground, options.smallest), fitted, posterior)

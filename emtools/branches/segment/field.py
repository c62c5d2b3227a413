"""What ``emtools segment`` says of a random field: names, scales and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emtools.kernels.intensity import Levels
from emtools.models.random_field import Plane
from emtools.segmenting.batch import FittedBatch
from emtools.segmenting.field import Segmented, upper_bound

TERMS = ("row", "column", "row²", "row × column", "column²")


def field_labels(
    classes: Sequence[str], channels: Sequence[str]
) -> tuple[dict[str, list[Sequence[str]]], dict[str, str]]:
    """Names along the axes of the parameters of a random field, and their units."""
    labels = {"means": [classes, channels], "variances": [channels], "illumination": [channels, TERMS]}
    return labels, dict.fromkeys(("means", "variances"), "scaled intensity") | {"illumination": "share of the centre"}


def field_record(found: Segmented, channels: Sequence[str]) -> dict[str, Any]:
    """How the intensities were scaled: ``asinh((blurred - background) / scale)``, channel by channel, and the outlines."""
    return {
        name: record | outlines_record(found, c)
        for c, (name, record) in enumerate(level_record(found.levels, channels).items())
    }


def energy_record(upper: float, loglik: float, n_pixels: int) -> dict[str, float]:
    """How far the free energy `loglik` may lie below the log-likelihood of the pixels that were fitted, nats."""
    gap = max(upper - loglik, 0.0)  # nothing to couple, nothing lacking: only rounding is left then
    return {"upper_bound": upper, "gap": gap, "gap_per_unit": gap / n_pixels}


def energy_of(found: Segmented) -> dict[str, float]:
    """The same of one image."""
    plane = Plane(found.values)
    return energy_record(upper_bound(found.fit, [plane]), found.fit.loglik, plane.values[0].size)


def level_record(levels: Sequence[Levels], channels: Sequence[str]) -> dict[str, Any]:
    """Levels of the channels of an image, for fit.json."""
    return {
        name: {
            "noise": level.noise,
            "contrast": level.contrast,
            "blur_pixels": level.blur,
            "background": dict(zip(("centre", *TERMS), level.background.tolist(), strict=True)),
            "background_spread": level.spread,
            "typical": level.typical,
            "scale": level.scale,
        }
        for name, level in zip(channels, levels, strict=True)
    }


def outlines_record(found: Segmented | FittedBatch, channel: int) -> dict[str, Any]:
    """The field of the outlines in a channel, on the scale ``asinh(distance / height nearby)``; empty where there is none."""
    if found.outlines is None:
        return {}
    status, params = str(found.outlines.status), found.outlines.params
    return {
        "outlines": {
            "status": status,
            "blur_pixels": found.blurs[channel],
            "means": params.means[:, channel].tolist(),
            "variance": float(params.variances[channel]),
        }
    }


def field_text(found: Segmented, channels: Sequence[str], n_classes: int, smallest: int, brightest: str) -> str:
    """The paragraph of a methods section."""
    model = found.fit.model
    scales = "; ".join(
        f"{name}: noise {level.noise:.3g}, contrast {level.contrast:.3g}, blur {level.blur:.2f} pixels, "
        f"background {level.background[0]:.4g} ± {level.spread:.3g} at the centre, scale {level.scale:.3g}"
        for name, level in zip(channels, found.levels, strict=True)
    )
    gains = model.gains(found.fit.params, Plane(found.values))
    lit = "; ".join(f"{name}: {g.min():.2f} to {g.max():.2f}" for name, g in zip(channels, gains, strict=True))
    return (
        "Noise, contrast and the level of the background (a polynomial of degree 2) were estimated from the image; it was "
        "blurred as little as brings the noise to a sixteenth of the contrast (less half a pixel, which the optics do), and its distance d from the background "
        f"brought to the scale asinh(d / scale), straight near the background and logarithmic far above it ({scales}). A "
        f"hidden Markov random field of {n_classes} normal classes with a common variance per channel, coupled along the 4 "
        f"nearest neighbours ({model.coupling:g} nats a pair), was fitted by variational EM (mean field, checkerboard "
        f"sweeps) with a smooth illumination of degree 2 within it, which ranges over {lit}; the start is K-means, and "
        f"nothing is drawn at random. {outlines_text(found)}"
        f"Its probabilities were tempered (fourth roots, since neighbours mostly say the same) and averaged over {found.jitter:.1f} pixels, a twelfth of the radius of the typical object, since "
        "outlines are not known better. "
        f"The pixels of the {brightest} form the objects: holes up to {smallest} pixels filled, touching objects separated "
        f"by a watershed on the distance to the background, pieces below {smallest} pixels removed. Standard errors and the "
        "certificate are those of the mixture given the neighbours; they take the shares of the neighbours for known, and "
        "are too small."
    )


def outlines_text(found: Segmented | FittedBatch) -> str:
    """What the methods section says of the second field; nothing where there is none."""
    if found.outlines is None:
        return ""
    blurs = " and ".join(f"{blur:.2f}" for blur in found.blurs)
    return (
        "Outlines are those of the same field fitted again to asinh(d / h), where h is the height of the objects nearby (the contraharmonic mean of the "
        "distances of their pixels under Gaussian weights of half the radius of the typical object), so that the border of an "
        f"object lies at about half its own height; d and h are those of a blur of {blurs} pixels, at most a fifth of that radius or what leaves noise of a sixth "
        "of the height, and the means of the classes are known on that scale (0, and asinh 1 in the channel that orders them). "
    )


def disagreement(found: Segmented) -> float:
    """Per cent of the pixels on which the answer differs from what each pixel alone would say under the illumination."""
    model, params = found.fit.model, found.fit.params
    alone = model.log_density(params, Plane(found.values)).argmax(axis=0)
    return 100.0 * float((alone != found.posterior.argmax(axis=0)).mean())


def field_note(found: Segmented) -> str:
    """What the neighbours changed, for the page."""
    share = disagreement(found)
    unsure = 100.0 * float(np.mean(found.posterior.max(axis=0) < 0.9))
    return f"Neighbours and heights turn {share:.2g} % of the pixels; {unsure:.2g} % stay unsure (largest posterior below 0.9)."

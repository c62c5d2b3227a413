"""``emtools segment IMAGE`` until the image is read: nothing heavy is imported before."""

from __future__ import annotations

from dataclasses import fields

from emtools.branches.segment.types import Options, require_classes
from emtools.errors import InputError
from emtools.io import images
from emtools.io.images import n_values, read_image


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    n = n_values(options.input)
    if n > images.WHOLE and options.model == "field" and options.truth is None:
        return run_large(options)
    if n > images.LARGEST_WHOLE:
        option = "--truth" if options.model == "field" else "--model mixture"
        raise InputError(
            str(options.input),
            f"{n:,} values",
            f"at most {images.LARGEST_WHOLE:,} with {option}",
            "crop it, or leave that out",
        )
    require_classes(options.components)
    image = read_image(options.input, options.pixel_size)

    from emtools.branches.segment.fit import analyse  # what a file that cannot be read need not wait for

    return analyse(options, image)


def run_large(options: Options) -> int:
    """A large image: fitted on squares of it, predicted part by part."""
    from emtools.branches.segment import batch_input as batch

    ours = {field.name for field in fields(batch.Options)}
    kept = {field.name: getattr(options, field.name) for field in fields(options) if field.name in ours}
    return batch.run(batch.Options(inputs=(options.input,), **kept))

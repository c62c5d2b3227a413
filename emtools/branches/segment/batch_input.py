"""``emtools segment`` for a batch until its images are looked at: nothing heavy is imported before."""

from __future__ import annotations

from emtools.branches.segment.batch_types import IMAGES, Batch, Options
from emtools.errors import InputError
from emtools.io.image_folder import is_batch, list_images


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    found = list_images(options.inputs)
    single = len(found) == 1 and not is_batch(options.inputs)
    for path in options.inputs:
        if path.is_dir() and path.resolve() in (options.out.resolve(), (options.out / IMAGES).resolve()):
            raise InputError(str(options.out), "results would lie among the images", "", "choose another --out folder")
    batch = Batch(found, options.pixel_size)

    from emtools.branches.segment.batch import analyse  # what a file that cannot be read need not wait for

    return analyse(options, batch, single)

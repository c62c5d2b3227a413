"""``emtools segment`` for many images, or for a large one: one random field for all of them, each predicted part by part."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emtools.branches.finish import finish
from emtools.branches.segment.batch_page import describe, image_table
from emtools.branches.segment.batch_types import IMAGES, Batch, Options
from emtools.branches.segment.field import energy_record, field_labels, level_record, outlines_record
from emtools.branches.segment.image import SEAL, Outcome, kept, key_of, seal, write_segmented
from emtools.errors import InputError
from emtools.io.console import Progress
from emtools.io.objects import write_objects_of_images
from emtools.io.outputs import staged
from emtools.plots.segment import thinned
from emtools.plots.segment_batch import DETAIL, draw_large, draw_shares, draw_sheet
from emtools.segmenting.batch import FittedBatch, fit_batch
from emtools.segmenting.sampling import FIT_PIXELS, part_of, sampled_spans, shares_of


def analyse(options: Options, batch: Batch, single: bool) -> int:
    """Fit what was read, write; the exit code. Images whose outputs are there already, of this fit, are kept."""
    channel = batch.kept[0] if options.channel is None else options.channel
    if channel not in batch.kept:
        raise InputError(
            "--channel", f"{channel}",
            f"a channel that varies: {', '.join(f'{i} ({n})' for i, n in zip(batch.kept, batch.channels, strict=True))}",
            "count from 0",
        )  # fmt: skip
    channel = batch.kept.index(channel)
    fitted = fit_all(options, batch, channel)
    scratch = options.out / IMAGES
    if single:
        with staged(options.out) as folder:
            image, name = batch.load(0), batch.members[0].name
            one = write_segmented(
                folder, name, image, fitted.predictor(0), channel, options.smallest, options.threads, detail=True
            )
            image_table([one]).to_csv(folder / "images.tsv", sep="\t", index=False)
            return conclude(options, batch, fitted, [one], folder, channel, single)
    told = []
    for number, member in enumerate(batch.members):
        told.append(segment_one(options, batch, fitted, number, scratch / member.name, channel))
    batch.held = None
    with staged(options.out) as folder:
        tables = {member.name: scratch / member.name / "objects.csv" for member in batch.members}
        scales = {t.image: t.pixel_size_um and t.pixel_size_um[1] for t in told}
        write_objects_of_images(folder, tables, scales, batch.channels)
        image_table(told).to_csv(folder / "images.tsv", sep="\t", index=False)
        code = conclude(options, batch, fitted, told, folder, channel)
    remove_others(scratch, {member.name for member in batch.members})
    return code


def fit_all(options: Options, batch: Batch, channel: int) -> FittedBatch:
    """Fit the model to parts of all images."""
    progress = Progress(f"segment {options.inputs[0].name}", 1, options.quiet)
    shares = shares_of([member.shape for member in batch.members], FIT_PIXELS)
    samples = []
    for number, (member, share) in enumerate(zip(batch.members, shares, strict=True)):
        image = batch.load(number)
        samples.append([part_of(image.values, span) for span in sampled_spans(member.shape, share)])
    del image
    if len(batch.members) > 1:
        batch.held = None
    fitted = fit_batch(
        samples,
        options.components,
        order_by=channel,
        on_pass=progress,
        checkpoint=options.checkpoint,
        **options.climbing,
    )
    progress.close(fitted.fit.summary)
    return fitted


def segment_one(options: Options, batch: Batch, fitted: FittedBatch, number: int, out: Path, channel: int) -> Outcome:
    """Outputs of one image in a folder of its own, or those that are there."""
    member, predictor = batch.members[number], fitted.predictor(number)
    key = key_of(predictor, member.sha, [member.name, batch.channels, channel, options.smallest, options.pixel_size])
    earlier = kept(out, key)
    progress = f"segment {member.name} ({number + 1} of {len(batch.members)})"
    if earlier is not None:
        print(f"{progress}: kept", file=sys.stderr)
        return earlier
    with staged(out, SEAL) as folder:
        told = write_segmented(
            folder, member.name, batch.load(number), predictor, channel, options.smallest, options.threads
        )
        seal(folder, told, key)
    print(f"{progress}: {told.objects} objects", file=sys.stderr)
    return told


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an earlier batch wrote of images that are in this one no more; other files stay."""
    for out in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in names):
        try:
            listed = [*json.loads((out / SEAL).read_text(encoding="utf-8"))["outputs"], SEAL]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for name in listed:
            if Path(name).name == name and (out / name).is_dir():
                shutil.rmtree(out / name)
            elif Path(name).name == name:
                (out / name).unlink(missing_ok=True)
        if not any(out.iterdir()):
            out.rmdir()
        print(f"emtools: removed {out}, of the earlier batch", file=sys.stderr)


def conclude(
    options: Options,
    batch: Batch,
    fitted: FittedBatch,
    told: Sequence[Outcome],
    folder: Path,
    channel: int,
    single: bool = False,
) -> int:
    """Figures, page and fit.json; the exit code."""
    if single:
        step, first = thinned(batch.members[0].shape), told[0]
        titles = (f"every {step}th pixel: {first.objects} objects", f"{DETAIL} × {DETAIL} pixels as they are")
        pictures = [draw_large(folder / "overlay.png", folder / "detail.png", titles, folder)]
    else:
        places = [options.out / IMAGES / t.image / "overlay.png" for t in told]
        names = [f"{t.image[:40]}: {t.objects} object{'s' * (t.objects != 1)}" for t in told]
        pictures = [draw_sheet(places, names, folder)]
        shares = np.array([t.classes for t in told], dtype=np.float64)
        pictures.append(draw_shares([t.image for t in told], shares / shares.sum(axis=1, keepdims=True), folder))
    notes = notes_of(batch, fitted)
    for note in notes:
        print(f"segment: {note}", file=sys.stderr)
    page = describe(fitted, told, batch.channels, channel, options.smallest, notes, pictures, single)
    classes = [f"class {k + 1}" for k in range(options.components)]
    labels, units = field_labels(classes, batch.channels)
    return finish(
        folder,
        fitted.fit,
        page,
        options,
        branch="segment",
        inputs=[path for member in batch.members for path in member.image.sources],
        labels=labels,
        units=units,
        extra=record(batch, fitted),
    )


def notes_of(batch: Batch, fitted: FittedBatch) -> list[str]:
    """What a reader should know of the images."""
    notes = list(batch.notes)
    sizes = {member.image.pixel_size for member in batch.members}
    if len(sizes) > 1:
        notes.append("the images do not have one pixel size; blur and smallest object are in pixels")
    full = [batch.members[i].name for i in fitted.full]
    if full:
        notes.append(f"full of objects, so that the background of the other images was taken: {', '.join(full)}")
    read: dict[str, list[str]] = {}
    for member in batch.members:
        for note in member.image.notes:
            read.setdefault(note, []).append(member.name)
    notes += [
        note if len(names) == len(batch.members) else f"{note}: {', '.join(names)}" for note, names in read.items()
    ]
    flat = [m.name for m in batch.members if not all(m.varied[i] for i in batch.kept)]
    if flat:
        notes.append(f"without variation in a channel: {', '.join(flat)}")
    return notes


def record(batch: Batch, fitted: FittedBatch) -> dict[str, Any]:
    """What only this branch has to say in fit.json."""
    outlines = {name: outlines_record(fitted, c) for c, name in enumerate(batch.channels)}
    energy = (
        {} if fitted.upper is None else {"free_energy": energy_record(fitted.upper, fitted.fit.loglik, fitted.n_pixels)}
    )
    return (
        energy
        | ({} if fitted.outlines is None else {"scale": outlines})
        | {
            "channels": batch.channels,
            "boundaries": {"random field": fitted.fit.model.boundaries(fitted.fit.params)},
            "n_pixels": fitted.n_pixels,
            "images": [
                {"image": m.name, "pixel_size_um": m.image.pixel_size, "scale": level_record(levels, batch.channels)}
                for m, levels in zip(batch.members, fitted.levels, strict=True)
            ],
        }
    )

import gc
import os
import sys
from functools import cache

from emtools import __version__ as VERSION
from emtools.errors import InputError
from emtools.io.config import make_plan, prefer_own_commands
from emtools.io.config_text import require_plain
from emtools.io.demo import DEMOS

prefer_own_commands()
gc.freeze()  # of planning a thousand rules, an eighth was to look for garbage in what imports left
gc.set_threshold(10_000)

# What is read by a workflow that has this one as a module is its own: we are given a config, or read the last file.
OURS = slice(0 if workflow.modifier.is_main_snakefile() else -1, None)

try:
    for path in [] if workflow.modifier.skip_configfile else workflow.configfiles[OURS]:
        require_plain(Path(os.path.relpath(path)))
    PLAN = make_plan(
        config,
        " + ".join(map(os.path.relpath, workflow.overwrite_configfiles))
        or "config/config.yaml",
        Path(workflow.current_basedir) / ".." / "schemas",
    )
except InputError as error:
    sys.exit(f"emtools: error: {error}")

REPORT = Path(workflow.current_basedir) / ".." / "report"
CATEGORIES = {
    "impute": "Impute: missing biomarkers",
    "deconvolve": "Deconvolve: cell types",
    "segment": "Segment: images",
    "hmm": "HMM: hidden states",
    "motif": "Motif: binding sites",
}


def record(entry, folder, ending):
    """Log or benchmark file of an analysis."""
    return f"{PLAN.results}/{folder}/{entry.branch}/{entry.name}.{ending}"


@cache
def caption(branch, stem):
    """File of a caption: report/<branch>_<stem>.rst or report/<stem>.rst."""
    return next(
        name
        for name in (f"{branch}_{stem}.rst", f"{stem}.rst")
        if (REPORT / name).exists()
    )


def shown(entry, path, result):
    """An output that the Snakemake report shows, with its caption."""
    return report(
        path,
        caption=f"../report/{caption(entry.branch, Path(path).name.split('.')[0])}",
        category=CATEGORIES[entry.branch],
        labels={"data": entry.name, "result": result},
    )


def figures(entry, **results):
    """Figures by stem, with their labels; SVG beside the PNG that the report shows."""
    vectors = [f"{entry.out}/{stem}.svg" for stem in results]
    return vectors + [
        shown(entry, f"{entry.out}/{stem}.png", result)
        for stem, result in results.items()
    ]


def memory(base, per_mb, light=None):
    """Memory in MB: `base` plus `per_mb` for each MB of input, doubled on each retry.

    Of the input called `light`, a track of which little is kept, a twentieth counts.
    """

    def needed(wildcards, input, attempt):
        path = input.get(light) if light else None
        spared = (
            0.95 * os.path.getsize(path) / 2**20
            if path and os.path.exists(path)
            else 0.0
        )
        return int(base + per_mb * (megabytes(input) - spared)) * 2 ** (attempt - 1)

    return needed


def megabytes(input):
    """Size of all input files: `input.size_mb`, which starts an event loop each time, only where a file is not here."""
    try:
        return sum(map(os.path.getsize, input)) / 2**20
    except FileNotFoundError:
        return input.size_mb


def minutes(base):
    """Run time, doubled on each retry."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)


def lost(entry):
    """What an earlier run made and is not there: asking for all outputs of a thousand fits takes long.

    Without its fit.json a fit is asked for itself, since Snakemake does not miss it behind a page of the run that is there.
    """
    if not os.path.exists(f"{entry.out}/fit.json"):
        return [f"{entry.out}/fit.json"] * os.path.exists(f"{PLAN.results}/runs.tsv")
    made = getattr(rules, f"{entry.branch}_{entry.name}").output
    return [path for path in made if not os.path.exists(path)]

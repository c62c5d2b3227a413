"""All demands of speed and what was measured: ``python -m benchmarks`` (``make bench``).

Each study alternates ours and its peer in one run, on the same data, from the same start, on one thread, and stores its own
table; `benchmarks.demands` says which figure of it is asked for, and results.tsv holds them all, the quality of the answers beside. A peer
that is not installed is left out, and said: the folders of hmmlearn, of pomegranate and of the programs STREME and MEME are told by ``PEERS`` (joined as in
``PATH``), the R library of norm, norm2 and turboEM by ``R_LIBS``. ``--quick`` runs the small rows only, ``--collect`` none; rows of peers that take minutes
(STREME on 50,000 sequences, MEME) are run by their own study, `benchmarks.motif_peers`, and stay stored. machine.tsv tells what it ran on and the versions,
studies.tsv how long each study took.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import monotonic

import pandas as pd

from benchmarks.demands import RESULTS, collect


@dataclass(frozen=True)
class Study:
    """A module of this package with its arguments; `needs` is a program or a module of a peer."""

    module: str
    arguments: tuple[str, ...] = ()
    needs: str = ""
    quick: bool = False

    @property
    def name(self) -> str:
        """The module and its options, without folders."""
        told = [word for word in self.arguments if word not in ("", "--library", "--programs") and os.sep not in word]
        return " ".join([self.module, *told])


PEERS = os.environ.get("PEERS", "")
LIBRARY = ("--library", os.environ["R_LIBS"]) if "R_LIBS" in os.environ else ()
TIMES = Path(__file__).with_name("studies.tsv")
STUDIES = (
    Study("machine", quick=True),
    Study("kmeans_speed", quick=True),
    Study("field_speed", quick=True),
    Study("engine_speed", needs="Rscript"),
    Study("machine_limits"),
    Study("command_times"),
    Study("scaling"),
    Study("out_of_core"),
    Study("mixture_speed"),
    Study("mixture_threads"),
    Study("mixture_fits", needs="Rscript"),
    Study("segment_speed"),
    Study("hmm_speed", ("--library", PEERS), needs="hmmlearn"),
    Study("hmm_speed", ("--peer", "pomegranate", "--library", PEERS), needs="pomegranate"),
    Study("motif_speed", ("--largest", "50000")),
    Study("motif_peers", ("--programs", PEERS, "--peer", "streme", "--largest", "1000"), needs="streme"),
    Study("impute_speed", ("--walls",)),
    # 80 CPU seconds tell 30 times ours at 100000 x 50; of the others less is asked, or they were stopped at any limit.
    Study("impute_speed", ("--limit", "80", "--peers", "sklearn", "amelia", *LIBRARY), needs="Rscript"),
    Study("impute_speed", ("--limit", "30", "--peers", "norm", "norm2", "bootstrap", "mice", *LIBRARY), needs="Rscript"),
)  # fmt: skip


def missing(study: Study) -> bool:
    """Whether the peer of a study is not here."""
    if not study.needs or shutil.which(study.needs) or importlib.util.find_spec(study.needs):
        return False
    folders = [folder for argument in study.arguments for folder in argument.split(os.pathsep) if folder]
    return not any(os.path.exists(os.path.join(folder, study.needs)) for folder in folders)


def cpu_of_children() -> float:
    """CPU seconds of the processes that have ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run and collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="studies of a minute")
    parser.add_argument("--collect", action="store_true", help="run nothing, write the table from what is stored")
    chosen = parser.parse_args()
    failed, times = [], []
    for study in () if chosen.collect else STUDIES:
        if (chosen.quick and not study.quick) or missing(study):
            print(f"left out: {study.module}{f', no {study.needs} here' if missing(study) else ''}", flush=True)
            continue
        began, used = monotonic(), cpu_of_children()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{study.module}", *study.arguments])
        wall = monotonic() - began
        print(f"{study.module}: {wall:.0f} s, exit {done.returncode}", flush=True)
        times.append((study.name, round(wall), round(cpu_of_children() - used)))
        failed += [study.module] if done.returncode else []
    if not (chosen.quick or chosen.collect):
        told = pd.DataFrame(times, columns=["study", "wall_s", "cpu_s"])
        told.loc[len(told)] = ["all", told["wall_s"].sum(), told["cpu_s"].sum()]
        told.to_csv(TIMES, sep="\t", index=False)
    table = collect()
    table.to_csv(RESULTS, sep="\t", index=False)
    print(table.drop(columns=["quality", "why"]).to_string(index=False))
    print(f"{(table['met'] == 'yes').sum()} of {len(table)} met. Table: {os.path.relpath(RESULTS)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

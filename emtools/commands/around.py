"""Commands around the fits: demo inputs, the page of a run, a look at fits, at the machine and at data."""

from __future__ import annotations

import argparse
from pathlib import Path

from emtools.commands.parsing import target


def add_helpers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Commands around the fits: demo inputs, the page of a run, a look at a config."""
    demo = commands.add_parser("demo", help="write a real data set to try a command on")
    demo.set_defaults(module="emtools.io.demo")
    demo.add_argument("name", metavar="NAME", help="pbmc68k_reduced, diabetes, diabetes_masked or breast_cancer")
    demo.add_argument("--out", metavar="FILE", type=target, required=True, help="file to write")

    summary = commands.add_parser("summary", help="one page for a run of many fits, and tables for MultiQC")
    summary.set_defaults(module="emtools.report.run")
    summary.add_argument("fits", metavar="FIT.json", nargs="+", type=Path, help="fit.json of each fit")
    summary.add_argument("--out", metavar="DIR", type=target, required=True, help="folder for index.html and runs.tsv")
    summary.add_argument("--multiqc", metavar="FILE", help="MultiQC report to link to, seen from DIR")
    summary.add_argument("--snakemake", metavar="FILE", help="Snakemake report to link to, seen from DIR")

    show = commands.add_parser("show", help="show fits in the terminal: verdict, climb, estimates")
    show.set_defaults(module="emtools.report.show")
    show.add_argument("fits", metavar="FIT", nargs="+", type=Path, help="fit.json, or the folder that holds it")
    show.add_argument("--all", action="store_true", help="every estimate, however many there are")

    manifest = commands.add_parser("manifest", help="write down inputs, hashes, versions, seeds and commands of a run")
    manifest.set_defaults(module="emtools.io.provenance")
    manifest.add_argument("fits", metavar="FIT.json", nargs="+", type=Path, help="fit.json of each fit")
    manifest.add_argument("--out", metavar="DIR", type=target, required=True, help="folder of the run")
    manifest.add_argument(
        "--config", metavar="FILE", nargs="*", default=(), type=Path, help="configs and sample sheets"
    )

    verify = commands.add_parser("verify", help="check that a run is byte by byte what its manifest says")
    verify.set_defaults(module="emtools.io.provenance")
    verify.add_argument("results", metavar="DIR", type=Path, help="folder of the run")

    doctor = commands.add_parser("doctor", help="what is installed here, and which optional parts are there")
    doctor.set_defaults(module="emtools.doctor")

    init = commands.add_parser(
        "init",
        help="write a commented config of the workflow for data of your own",
        epilog="example:\n  emtools init data --out mine.yaml\n  snakemake --cores all --configfile mine.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    init.set_defaults(module="emtools.io.proposal")
    init.add_argument("data", metavar="DATA", nargs="+", type=Path, help="tables, h5ad, images, FASTA; or their folder")
    init.add_argument("--out", metavar="FILE", type=target, required=True, help="config to write; none is replaced")

    check = commands.add_parser("check", help="check a workflow config without running anything")
    check.set_defaults(module="emtools.io.config")
    check.add_argument("config", metavar="CONFIG", type=Path, help="YAML file")
    check.add_argument("--schemas", metavar="DIR", type=Path, help="default: workflow/schemas of the repository")
    for parser in (demo, summary, show, manifest, verify, doctor, init, check):
        parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")

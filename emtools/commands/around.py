"""Commands around the fits: demo inputs, the page of a run, a look at fits, at the machine and at data."""

from __future__ import annotations

import argparse
from pathlib import Path

from emtools.commands.completion import SHELLS
from emtools.commands.parsing import target

Commands = argparse._SubParsersAction  # of argparse.ArgumentParser


def add_helper(
    commands: Commands[argparse.ArgumentParser], name: str, module: str, what: str, *examples: str
) -> argparse.ArgumentParser:
    """A command with its examples."""
    parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog="\n  ".join([f"example{'s' * (len(examples) > 1)}:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(module=module)
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return parser


def add_helpers(commands: Commands[argparse.ArgumentParser]) -> None:
    """Commands around the fits: demo inputs, the page of a run, a look at a config."""
    demo = add_helper(
        commands,
        "demo",
        "emtools.io.demo",
        "write a real data set to try a command on",
        "emtools demo pbmc68k_reduced --out cells.h5ad",
        "emtools demo diabetes_masked --out serum.tsv",
    )
    demo.add_argument("name", metavar="NAME", help="pbmc68k_reduced, diabetes, diabetes_masked or breast_cancer")
    demo.add_argument("--out", metavar="FILE", type=target, required=True, help="file to write")

    summary = add_helper(
        commands,
        "summary",
        "emtools.report.run",
        "one page for a run of many fits, and tables for MultiQC",
        "emtools summary results/*/*/fit.json --out results",
    )
    summary.add_argument("fits", metavar="FIT.json", nargs="+", type=Path, help="fit.json of each fit")
    summary.add_argument("--out", metavar="DIR", type=target, required=True, help="folder for index.html and runs.tsv")
    summary.add_argument("--multiqc", metavar="FILE", help="MultiQC report to link to, seen from DIR")
    summary.add_argument("--snakemake", metavar="FILE", help="Snakemake report to link to, seen from DIR")
    summary.add_argument(
        "--starts",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=[],
        help="starts.json of jobs that climbed some starts of a fit: their costs are counted with its own",
    )

    show = add_helper(
        commands,
        "show",
        "emtools.report.show",
        "show fits in the terminal: verdict, climb, estimates",
        "emtools show results/motif/crp",
        "emtools show --all results/impute/*/fit.json | less",
    )
    show.add_argument("fits", metavar="FIT", nargs="+", type=Path, help="fit.json, or the folder that holds it")
    show.add_argument("--all", action="store_true", help="every estimate, however many there are")

    manifest = add_helper(
        commands,
        "manifest",
        "emtools.io.provenance",
        "write down inputs, hashes, versions, seeds and commands of a run",
        "emtools manifest results/*/*/fit.json --out results --config config/config.yaml",
    )
    manifest.add_argument("fits", metavar="FIT.json", nargs="+", type=Path, help="fit.json of each fit")
    manifest.add_argument("--out", metavar="DIR", type=target, required=True, help="folder of the run")
    manifest.add_argument(
        "--config", metavar="FILE", nargs="*", default=(), type=Path, help="configs and sample sheets"
    )

    verify = add_helper(
        commands,
        "verify",
        "emtools.io.provenance",
        "check that a run is byte by byte what its manifest says",
        "emtools verify results",
    )
    verify.add_argument("results", metavar="DIR", type=Path, help="folder of the run")

    add_helper(
        commands,
        "doctor",
        "emtools.doctor",
        "what is installed here, and which optional parts are there",
        "emtools doctor",
    )

    init = add_helper(
        commands,
        "init",
        "emtools.io.proposal",
        "write a commented config of the workflow for data of your own",
        "emtools init data --out mine.yaml",
        "snakemake --cores all --configfile mine.yaml",
    )
    init.add_argument("data", metavar="DATA", nargs="+", type=Path, help="tables, h5ad, images, FASTA; or their folder")
    init.add_argument("--out", metavar="FILE", type=target, required=True, help="config to write; none is replaced")

    check = add_helper(
        commands,
        "check",
        "emtools.io.config",
        "check a workflow config without running anything",
        "emtools check mine.yaml",
    )
    check.add_argument("config", metavar="CONFIG", type=Path, help="YAML file")
    check.add_argument("--schemas", metavar="DIR", type=Path, help="default: workflow/schemas of the repository")

    completion = add_helper(
        commands,
        "completion",
        "emtools.commands.completion",
        "print a script that completes commands and options in a shell",
        'eval "$(emtools completion bash)"                                 # in ~/.bashrc',
        "emtools completion zsh > ~/.zfunc/_emtools                        # a folder of $fpath",
        "emtools completion fish > ~/.config/fish/completions/emtools.fish",
    )
    completion.add_argument("shell", choices=SHELLS, help="bash, zsh or fish")
    completion.set_defaults(commands=commands)

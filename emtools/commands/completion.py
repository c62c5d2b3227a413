"""``emtools completion SHELL``: a script that completes commands, options and choices, made from the parsers themselves."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SHELLS = ("bash", "zsh", "fish")
BASH = """\
_emtools() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    else
        case "${{COMP_WORDS[1]}} $prev" in
{choices}
        *)
            case "${{COMP_WORDS[1]}} $cur" in
{options}
            esac ;;
        esac
    fi
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o bashdefault -o default -F _emtools emtools
"""
ZSH = """\
#compdef emtools
_emtools() {{
    local -a commands=({commands})
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
{options}
    esac
}}
if [ "$funcstack[1]" = "_emtools" ]; then _emtools "$@"; else compdef _emtools emtools; fi
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to print.

    Parameters
    ----------
    shell : {"bash", "zsh", "fish"}
        For which shell.
    commands : action of argparse
        The sub-commands.
    command : tuple of str
        Command line as typed.
    """

    shell: str
    commands: Any
    command: tuple[str, ...] = ()


def run(options: Options) -> int:
    """Print the script."""
    told = {action.dest: action.help or "" for action in options.commands._choices_actions}
    written = {"bash": bash, "zsh": zsh, "fish": fish}[options.shell](options.commands.choices, told)
    print(written, end="" if written.endswith("\n") else "\n")
    return 0


def plain(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """What an option does, in one line."""
    return " ".join(parser._get_formatter()._expand_help(action).split()) if action.help else ""


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Options of a command."""
    return (action for action in parser._actions if action.option_strings)


def choices_of(action: argparse.Action) -> list[str]:
    """Words that an argument may be; none where it may be any."""
    return [str(word) for word in action.choices or ()]


def places(parser: argparse.ArgumentParser) -> list[str]:
    """Words that what is no option may be."""
    return [word for action in parser._actions if not action.option_strings for word in choices_of(action)]


def bash(parsers: dict[str, argparse.ArgumentParser], told: dict[str, str]) -> str:
    """Of what is not known here, a file, bash completes the name."""
    choices, options = [], []
    for name, parser in parsers.items():
        names = [word for action in actions(parser) for word in action.option_strings]
        for action in actions(parser):
            words = choices_of(action)
            if words:
                pattern = "|".join(f'"{name} {flag}"' for flag in action.option_strings)
                choices.append(f"        {pattern}) words={shlex.quote(' '.join(words))} ;;")
        options.append(f'            "{name} -"*) words={shlex.quote(" ".join(names))} ;;')
        if places(parser):
            options.append(f'            "{name} "*) words={shlex.quote(" ".join(places(parser)))} ;;')
    commands = shlex.quote(" ".join(parsers))
    return BASH.format(commands=commands, choices="\n".join(choices), options="\n".join(options))


def zsh(parsers: dict[str, argparse.ArgumentParser], told: dict[str, str]) -> str:
    """Options with what they do."""
    lines = []
    for name, parser in parsers.items():
        parts = []
        for action in actions(parser):
            about = plain(parser, action).translate(str.maketrans({"[": "(", "]": ")", ":": ";"}))
            words = choices_of(action)
            value = "" if action.nargs == 0 else f":value:({' '.join(words)})" if words else ":value:_files"
            again = "*" if isinstance(action, argparse._ExtendAction | argparse._AppendAction) else ""
            several = "*" if action.nargs in ("+", "*") and value else ""  # all words to the next option
            value = f":*-*{value}" if several else value
            parts += [shlex.quote(f"{again}{flag}[{about}]{value}") for flag in action.option_strings]
        rest = f"*:value:({' '.join(places(parser))})" if places(parser) else "*:file:_files"
        lines.append(f"    {name}) _arguments {' '.join(parts)} {shlex.quote(rest)} ;;")
    commands = " ".join(shlex.quote(f"{name}:{told.get(name, '')}") for name in parsers)
    return ZSH.format(commands=commands, options="\n".join(lines))


def fish(parsers: dict[str, argparse.ArgumentParser], told: dict[str, str]) -> str:
    """Options with what they do."""
    lines = []
    for name, parser in parsers.items():
        lines.append(f"complete -c emtools -n __fish_use_subcommand -f -a {name} -d {quoted(told.get(name, ''))}")
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for action in actions(parser):
            words = choices_of(action)
            flags = " ".join(
                f"-{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')}" for flag in action.option_strings
            )
            value = "" if action.nargs == 0 else f" -x -a {quoted(' '.join(words))}" if words else " -r"
            lines.append(f"complete -c emtools {seen} {flags}{value} -d {quoted(plain(parser, action))}")
        if places(parser):
            lines.append(f"complete -c emtools {seen} -f -a {quoted(' '.join(places(parser)))}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A word as fish reads it, in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

"""Shell completion: each shell reads its script, and completes commands, options, choices and nothing that is not there."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from emtools.cli import build_parser, main

ASKED = [
    (("mo",), ["motif"]),
    (("impute", "--alg"), ["--algorithm"]),
    (("impute", "x.csv", "--algorithm", ""), ["accelerated", "em"]),
    (("segment", "x.tif", "--weights", "f"), ["free"]),
    (("completion", ""), ["bash", "zsh", "fish"]),
    (("hmm", "--covariates"), []),
]
BASH = 'eval "$1"; shift; COMP_WORDS=(emtools "$@"); COMP_CWORD=$#; _emtools; printf "%s\\n" "${COMPREPLY[@]}"'


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def answer(*words: str) -> list[str]:
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return told.stdout.split()


@pytest.mark.parametrize(("words", "offered"), ASKED)
def test_bash_completes(words: tuple[str, ...], offered: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer("bash", "-c", BASH, "bash", script_of("bash", capsys), *words) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this machine")
@pytest.mark.parametrize(("words", "offered"), ASKED)
def test_fish_completes(words: tuple[str, ...], offered: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = " ".join(["emtools", *words])
    told = subprocess.run(
        ["fish", "--no-config", "-c", f"{script_of('fish', capsys)}\ncomplete -C '{line}'"],
        capture_output=True,
        text=True,
    )
    assert told.stderr == ""
    assert sorted(row.split("\t")[0] for row in told.stdout.splitlines()) == sorted(offered)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine")
def test_zsh_reads_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    made = script_of("zsh", capsys)
    loaded = f"autoload -Uz compinit && compinit -D -u\n{made}\necho ${{_comps[emtools]}}"
    assert answer("zsh", "-f", "-c", loaded) == ["_emtools"]


def test_every_command_and_option_is_in_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    (commands,) = [action for action in build_parser()._actions if action.dest == "branch"]
    for shell in ("bash", "zsh", "fish"):
        made = script_of(shell, capsys)
        for name, parser in commands.choices.items():
            assert name in made
            long = [word[2:] for action in parser._actions for word in action.option_strings if word.startswith("--")]
            assert [word for word in long if word not in made] == []

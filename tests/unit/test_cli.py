"""The command line itself: it answers at once, and a wrong option is one line and exit status 2."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from emtools.cli import build_parser, main, pin_threads

HEAVY = ("numpy", "pandas", "matplotlib", "anndata", "numba", "scanpy", "sklearn")


@pytest.mark.parametrize("statement", ["import emtools", "from emtools.cli import build_parser; build_parser()"])
def test_nothing_heavy_is_imported_before_the_arguments_are_read(statement):
    probe = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


RAGGED, LETTERS, STEPS, NOISE = "a,b\n1,2\n1,2,3\n", ">a\nACGT\nAC!T\n", "chr1\t0\t10\tx\n", "nonsense"


@pytest.mark.parametrize(
    ("command", "text", "fault"),
    [
        ("impute bad.csv", RAGGED, "line 3: 3 cells where the header has 2"),
        ("hmm bad.fa --states 2", LETTERS, "position 7: '!'"),
        ("hmm bad.bedgraph --states 2", STEPS, "line 1: 'chr1"),
        ("motif bad.fa --width 6", LETTERS, "position 7: '!'"),
        ("segment bad.tif", NOISE, "not an image"),
        ("segment . --components 3", NOISE, "not an image"),
        ("segment bad.csv", RAGGED, "line 3: 3 cells"),
        ("segment bad.h5ad", NOISE, "not HDF5"),
        ("deconvolve bad.csv --components 2", RAGGED, "line 3: 3 cells"),
        ("deconvolve bad.h5ad --components 2", NOISE, "not HDF5"),
        ("deconvolve bad.h5ad --reference bad.h5ad", NOISE, "not HDF5"),
        ("deconvolve bad.csv.gz --reference bad.h5ad", "\x1f\x8b nonsense", "cannot be read as a table"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_heavy_is_imported(command, text, fault, tmp_path):
    branch, name, *more = command.split()
    file = "bad.tif" if name == "." else name
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    heavy = (*HEAVY[1:], "scipy")
    words = [branch, name, *more, "--out", "out"]
    probe = (
        f"import sys; from emtools.cli import main; main({words!r}); print([m for m in {heavy!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert fault in out.stderr
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("unbuffered", [(), ("-u",)], ids=["buffered", "unbuffered"])
def test_a_reader_that_wants_no_more_ends_the_command_without_a_word(unbuffered):
    words = [sys.executable, *unbuffered, "-m", "emtools", "completion", "bash"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        command.stdout.close()
        said = command.stderr.read()
    assert (command.returncode, said) == (141, b"")


def test_a_pipe_that_broke_elsewhere_is_a_fault_that_is_told():
    probe = """
import os
from emtools import cli

def main():
    reading, writing = os.pipe()
    os.close(reading)
    print("so far")
    os.write(writing, b"to a worker that died")

cli.main = main
cli.entry()
"""
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (out.returncode, out.stdout) == (1, "so far\n")
    assert out.stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")


def test_public_names_load_on_use():
    import emtools

    assert emtools.fit.__module__ == "emtools.engine.starts"
    assert "fit" in dir(emtools)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = emtools.nonsense


@pytest.mark.parametrize("branch", ["impute", "deconvolve", "segment", "hmm", "motif"])
def test_help_shows_an_example_and_the_exit_status(branch, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([branch, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"emtools {branch}" in text.split("example:")[1]
    assert "3 finished but not converged" in text


def test_the_help_of_every_command_has_examples_that_the_command_line_takes():
    (commands,) = (action for action in build_parser()._actions if action.dest == "branch")
    for name, parser in commands.choices.items():
        shown = (parser.format_help().partition("example")[2]).splitlines()
        lines = [line.strip() for line in shown if line.strip().startswith(("emtools ", "eval "))]
        assert lines, name
        assert any(f"emtools {name}" in line for line in lines), name
        for line in lines:
            words = shlex.split(line.removeprefix('eval "$(').replace(')"', ""), comments=True)
            words = words[1 : next((i for i, word in enumerate(words) if word in "|>"), None)]
            assert build_parser().parse_args(words).branch == words[0]


@pytest.mark.parametrize(
    "words",
    [
        ["impute", "x.csv"],
        ["astrology", "x"],
        ["hmm", "x.fa", "--out", "r", "--states", "zero"],
        ["hmm", "x.fa", "--out", "r", "--states", "0"],
        ["hmm", "x.fa", "--out", "r", "--states", "2", "--tol", "-1"],
        ["hmm", "x.fa", "--out", "r", "--states", "2", "--tol", "nan"],
        ["motif", "x.fa", "--out", "r", "--width", "6", "--threads", "0"],
    ],
)
def test_wrong_options_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("emtools")
    assert "error:" in line
    assert line.endswith(" --help\n")
    assert line.count("\n") == 1


HMM = ["hmm", "x.fa", "--states", "2", "--out"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*HMM, "r", "--seed", "-1"], "argument --seed: -1 is not at least 0"),
        ([*HMM, "r", "--seed", "1.5"], "argument --seed: '1.5' is not a whole number"),
        ([*HMM, "r", "--states", "500"], "argument --states: 500 is not in 1 to 100"),
        (["segment", "x.tif", "--out", "r", "--components", "1"], "argument --components: 1 is not in 2 to 16"),
        (["motif", "x.fa", "--out", "r", "--width", "1"], "argument --width: 1 is not at least 2"),
        ([*HMM, "r", "--pseudocount", "-1"], "argument --pseudocount: -1 is not at least 0"),
        ([*HMM, "r", "--pseudocount", "nan"], "argument --pseudocount: nan is not a finite number"),
        ([*HMM, "r", "--tol", "0"], "argument --tol: 0 is not above 0"),
        ([*HMM, ""], "argument --out: the name is empty"),
        (["demo", "diabetes", "--out", " "], "argument --out: the name is empty"),
        (["summary", "fit.json", "--out", ""], "argument --out: the name is empty"),
        (["segment", "x.tif", "--out", "r", "--pixel-size", "inf"], "--pixel-size: inf is not a finite number"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"emtools {words[0]}: error: ")
    assert said in line
    assert line.endswith(f"; see emtools {words[0]} --help\n")
    assert line.count("\n") == 1


def test_ranges_are_those_of_the_models():
    from emtools.branches.segment.types import MOST_CLASSES
    from emtools.models.hmm import MOST_STATES

    segment = ["segment", "x.tif", "--out", "r", "--components"]
    with pytest.raises(SystemExit):
        build_parser().parse_args([*segment, str(MOST_CLASSES + 1)])
    assert build_parser().parse_args([*segment, str(MOST_CLASSES)]).components == MOST_CLASSES
    with pytest.raises(SystemExit):
        build_parser().parse_args([*HMM, "r", "--states", str(MOST_STATES + 1)])
    assert build_parser().parse_args([*HMM, "r", "--states", str(MOST_STATES)]).states == (MOST_STATES, MOST_STATES)


@pytest.mark.parametrize("seed", ["0", str(2**64), "9" * 40])
def test_any_seed_from_0_is_read(seed):
    assert build_parser().parse_args([*HMM, "r", "--seed", seed]).seed == int(seed)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file", "file: is not a folder; choose another --out"),
        ("file/below/it", "file: is not a folder; a folder for file/below/it"),
        ("dangling", "dangling: is not a folder"),
        ("/proc/nope", "/proc/nope: cannot be written"),
        ("n" * 300, "a name has more than 255 bytes"),
    ],
)
def test_a_bad_out_is_found_before_anything_is_read(out, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert main(["hmm", "absent.fa", "--states", "2", "--out", out]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["impute", "D/completed.csv"], "D/completed.csv"),
        (["impute", "link.csv"], "link.csv"),
        (["impute", "mine.csv", "--truth", "D/../D/accuracy.tsv"], "accuracy.tsv"),
        (["deconvolve", "D/cells.h5ad", "--components", "2"], "D/cells.h5ad"),
        (["segment", "D/labels.ome.tif"], "D/labels.ome.tif"),
        (["segment", "x.tif", "--truth", "D/Instances.ome.tif"], "D/Instances.ome.tif"),
        (["motif", "x.fa", "--width", "6", "--regions", "D/segments.bed"], "D/segments.bed"),
    ],
)
def test_an_input_that_an_output_would_replace_is_refused(words, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "completed.csv").write_text("precious")
    (tmp_path / "link.csv").symlink_to("D/completed.csv")
    assert main([*words, "--out", "D"]) == 2
    line = capsys.readouterr().err
    assert f"{name}: lies where an output goes and may be overwritten; choose another --out" in line
    assert line.count("\n") == 1
    assert [path.name for path in (tmp_path / "D").iterdir()] == ["completed.csv"]
    assert (tmp_path / "D" / "completed.csv").read_text() == "precious"


def test_data_may_lie_in_the_folder_of_the_results(tmp_path):
    (tmp_path / "patients.csv").write_text("a,b\n1,2\n2,\n3,7\n4,7.5\n")
    assert main(["impute", str(tmp_path / "patients.csv"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "completed.csv").is_file()
    assert (tmp_path / "patients.csv").is_file()


def test_threads_of_libraries_are_pinned_before_numpy(monkeypatch):
    import os

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "8")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "8")
    monkeypatch.setitem(sys.modules, "numba", None)
    pin_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["NUMBA_NUM_THREADS"] == "8"  # numba is there, and another number would end in an error of its own
    monkeypatch.delitem(sys.modules, "numba")
    pin_threads()
    assert os.environ["NUMBA_NUM_THREADS"] == "1"


def test_options_have_one_spelling(capsys):
    """An abbreviated --threads would stay in the command of fit.json, and change its bytes."""
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(["hmm", "a.fa", "--states", "2", "--out", "o", "--thr", "2"])
    assert ended.value.code == 2
    assert "--thr" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--columns", "--covariates", "--missing", "--lod", "--upper-limit", "--below-codes", "--log", "--scale"]
)
def test_an_option_that_is_given_twice_adds_to_what_it_had(option):
    words = ["impute", "t.csv", "--out", "o", option, "a=1", option, "b=2", "c=3"]
    name = option.strip("-").replace("-", "_")
    for _ in range(2):
        assert list(getattr(build_parser().parse_args(words), name)) == ["a=1", "b=2", "c=3"]

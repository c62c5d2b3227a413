"""``emtools hmm --sample``, ``--against`` and ``--repeats``: what is told beside the states, recomputed from what was written."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emtools.branches.hmm.against import logliks_of, odds_of, read_fit
from emtools.branches.hmm.sampled import joined
from emtools.cli import main
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.io.fasta import partial_sets, read_fasta
from emtools.io.outputs import OWN, RECORD

GENOME = Path(__file__).parents[2] / "resources" / "lambda.fa"
SETS = partial_sets("dna")
PATHS = 40


def run(source, out, *words):
    return main(["hmm", str(source), "--out", str(out), "--starts", "1", "--seed", "3", *map(str, words)])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two stretches of the lambda genome, one with codes that are not one letter."""
    letters = "".join(GENOME.read_text().split("\n")[1:])
    path = tmp_path_factory.mktemp("letters") / "two.fa"
    path.write_text(f">a\n{letters[20_000:24_000]}\n>b\n{letters[:1500]}RYN{letters[1500:1800]}\n")
    return path


@pytest.fixture(scope="module")
def plain(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "order1"
    assert run(records, out, "--states", 2, "--order", 1) == 0
    return out


@pytest.fixture(scope="module")
def results(records, plain, tmp_path_factory):
    out = tmp_path_factory.mktemp("repeated") / "four"
    words = ("--states", 2, "--repeats", 3, "--sample", PATHS, "--against", plain, "--odds-window", 700)
    assert run(records, out, *words) == 0
    return out


def test_files_are_named_and_known(results):
    names = {path.name for path in results.iterdir()} - {RECORD}
    assert {"sampled.tsv", "sampled_segments.tsv.gz", "log_odds.tsv", "log_odds.bedgraph.gz"} <= names
    assert set(json.loads((results / "fit.json").read_text())["outputs"]) == names
    assert all(OWN.fullmatch(name) for name in names)
    page = (results / "report.html").read_text()
    assert "Segments of drawn paths (40)" in page
    assert "between 2.5 and 97.5\N{NO-BREAK SPACE}%" in page
    assert "is seldom like those drawn" in page
    assert "Log-odds against another model" in page


def test_drawn_segments_tile_the_records_and_give_the_summary(results, records):
    lengths = {record.name: len(record.codes) for record in read_fasta(records, "dna", partial=True)}
    with gzip.open(results / "sampled_segments.tsv.gz", "rt") as file:
        rows = pd.read_csv(file, sep="\t")
    assert rows["path"].unique().tolist() == [*range(1, PATHS + 1)] or set(rows["path"]) == {*range(1, PATHS + 1)}
    for (_, name), part in rows.groupby(["path", "record"]):
        assert part["start"].iloc[0] == 0
        assert part["end"].iloc[-1] == lengths[name]
        assert (part["end"].to_numpy()[:-1] == part["start"].to_numpy()[1:]).all()
        assert all(a != b for a, b in pairwise(part["state"]))
    summary = pd.read_csv(results / "sampled.tsv", sep="\t").set_index("state")
    rows["length"] = rows["end"] - rows["start"]
    for state, part in rows.groupby("state"):
        counts = part.groupby("path").size().reindex(range(1, PATHS + 1), fill_value=0)
        assert summary.loc[state, "segments"] == pytest.approx(counts.mean(), rel=1e-5)
        ordered = sorted(counts)
        assert summary.loc[state, "segments, 97.5 %"] == ordered[38]
        share = 100.0 * part["length"].sum() / PATHS / sum(lengths.values())
        assert summary.loc[state, "share of letters, %"] == pytest.approx(share, rel=1e-5)


def test_drawn_shares_are_those_of_the_posterior(results):
    """The mean over paths is within four of its standard errors, as the paths spread, of the share by posterior."""
    summary = pd.read_csv(results / "sampled.tsv", sep="\t")
    states = json.loads((results / "fit.json").read_text())["extra"]["states"]
    for drawn, told in zip(summary.to_dict("records"), states, strict=True):
        spread = drawn["share of letters, %, 97.5 %"] - drawn["share of letters, %, 2.5 %"]
        assert abs(drawn["share of letters, %"] - told["share of letters, %"]) < spread / 4.0 / PATHS**0.5 * 4.0 + 1e-9


def test_no_inner_stay_is_shorter_than_its_row(results):
    with gzip.open(results / "sampled_segments.tsv.gz", "rt") as file:
        rows = pd.read_csv(file, sep="\t")
    inner = rows.groupby(["path", "record"], group_keys=False).apply(lambda part: part.iloc[1:-1], include_groups=False)
    assert len(inner) == 0 or (inner["end"] - inner["start"]).min() >= 3


def test_log_odds_are_those_of_two_forward_runs(results, plain, records):
    """Of one order: the difference of the log-likelihoods of two passes; of two orders, over the letters that both condition alike."""
    table = pd.read_csv(results / "log_odds.tsv", sep="\t").set_index("record")
    with gzip.open(results / "log_odds.bedgraph.gz", "rt") as file:
        windows = [line.split() for line in file.read().splitlines()[1:]]
    ours, theirs = (read_fit(path, "ACGT", SETS) for path in (results, plain))
    for record in read_fasta(records, "dna", partial=True):
        total = table.loc[record.name, "log-odds, bits"]
        assert sum(float(w[3]) for w in windows if w[0] == record.name) == pytest.approx(total, abs=1e-3)
        hidden = record.codes.copy()
        hidden[hidden > 4] = 4
        first = hidden.copy()
        first[np.flatnonzero(np.append(True, hidden[:-1] == 4))] = (
            4  # letters with none before them: order 1 does not score them
        )
        logliks = [
            total_stats(model, SequenceSource([codes]), params).loglik
            for (model, params), codes in ((ours, first), (theirs, hidden))
        ]
        assert total == pytest.approx((logliks[0] - logliks[1]) / np.log(2.0), rel=1e-8)
        own, _ = logliks_of(*ours, ours[0].order, record.codes, 100)
        bits, _ = odds_of(*ours, ours[0].order, own, record.codes, 100)
        assert np.abs(bits).max() == 0.0


def test_own_fit_has_the_log_likelihood_of_its_page(plain, records):
    model, params = read_fit(plain / "fit.json", "ACGT", SETS)
    source = SequenceSource([record.codes for record in read_fasta(records, "dna", partial=True)])
    told = json.loads((plain / "fit.json").read_text())["loglik"]
    assert total_stats(model, source, params).loglik == pytest.approx(told, rel=1e-12)


def test_same_seed_gives_the_same_bytes(results, plain, records, tmp_path):
    words = ("--states", 2, "--repeats", 3, "--sample", PATHS, "--against", plain, "--odds-window", 700, "--threads", 2)
    assert run(records, tmp_path / "again", *words) == 0
    for name in ("sampled.tsv", "sampled_segments.tsv.gz", "log_odds.tsv", "log_odds.bedgraph.gz"):
        assert (tmp_path / "again" / name).read_bytes() == (results / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--against", "nowhere"), "nowhere does not exist"),
        (("--against", GENOME), "not laid out as a fit"),
        (("--odds-window", 500), "--odds-window: without --against"),
        (("--repeats", 40), "at most 100"),
        (("--sample", 0), "--sample"),
    ],
)
def test_what_cannot_be_used_is_one_error(words, told, records, tmp_path, capsys):
    try:
        code = run(records, tmp_path / "out", "--states", "2-3", *words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "fit.json").exists()


def damaged(record, how):
    if how == "other letters":
        record["parameters"]["emission"]["labels"][-1] = list("ACGU")
    elif how == "no labels":
        record["parameters"]["emission"]["labels"] = []
    elif how == "sums":
        record["parameters"]["transition"]["value"][0] = [0.9, 0.9]
    else:
        record["model"] |= how
    return record


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("other letters", "ACGU"),
        ({"name": "gaussian_hmm"}, "gaussian_hmm"),
        ("sums", "not the probabilities"),
        ("no labels", "not laid out as a fit (IndexError)"),
        ({"n_states": float("inf")}, "not laid out as a fit (OverflowError)"),
        ({"n_states": 0}, "states: 0; 1 to 100"),
        ({"repeats": 51}, "repeats: 51; 1 to 50"),
        ({"order": -1}, "order: -1"),
        ({"order": 10**12}, "order: 1000000000000"),
    ],
)
def test_fits_of_something_else_are_refused(how, told, plain, records, tmp_path, capsys):
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(damaged(json.loads((plain / "fit.json").read_text()), how)))
    assert run(records, tmp_path / "out", "--states", 2, "--against", path) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"emtools: error: {path}: ")
    assert said.count("\n") == 1
    assert told in said


def test_a_record_that_the_other_model_cannot_emit_is_told_before_the_fit(tmp_path, capsys, monkeypatch):
    """Letters in turns never have T after T; the first such is the fourth letter of the second record."""
    turns, both = tmp_path / "turns.fa", tmp_path / "both.fa"
    turns.write_text(">t\n" + "ACGT" * 50 + "\n")
    both.write_text(">one\n" + "ACGT" * 20 + "\n>two\nCGTT" + "ACGT" * 20 + "\n")
    never, rarely = tmp_path / "never", tmp_path / "rarely"
    assert run(turns, never, "--states", 1, "--order", 1) == 0
    assert run(turns, rarely, "--states", 1, "--order", 1, "--pseudocount", 1) == 0
    words = ("--states", 1, "--order", "0-2", "--pseudocount", 1)
    assert run(both, tmp_path / "out", *words, "--against", rarely) == 0
    capsys.readouterr()

    def early(*_, **__):
        raise AssertionError("fitted before the other model was looked at")

    monkeypatch.setattr("emtools.branches.hmm.fit.fit", early)
    assert run(both, tmp_path / "out2", *words, "--against", never) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"emtools: error: {never / 'fit.json'}: ")
    assert "record two, up to position 4" in said
    assert "--pseudocount 1" in said
    assert not (tmp_path / "out2").exists()


def test_the_model_of_the_folder_that_is_written_is_not_compared_with(plain, records, tmp_path, capsys):
    before = (plain / "fit.json").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(plain)
    for fit in (plain, link, plain / ".." / plain.name / "fit.json"):
        assert run(records, plain, "--states", 2, "--against", fit) == 2
        assert "choose another --out folder" in capsys.readouterr().err
    assert (plain / "fit.json").read_bytes() == before


def test_where_no_letter_counts_there_are_no_log_odds(plain, tmp_path):
    """Of order 1 a record of N counts no letter, nor does the second window of the other."""
    path, out = tmp_path / "n.fa", tmp_path / "out"
    path.write_text(">none\n" + "N" * 500 + "\n>some\n" + "ACGGTCATTA" * 10 + "N" * 100 + "ACGGTCA\n")
    assert (
        run(path, out, "--states", 2, "--order", 1, "--pseudocount", 1, "--against", plain, "--odds-window", 100) == 0
    )
    table = pd.read_csv(out / "log_odds.tsv", sep="\t").set_index("record")
    assert table["letters"].to_dict() == {"none": 0, "some": 99 + 6}
    assert table.loc["none", "log-odds, bits"] == 0.0
    with gzip.open(out / "log_odds.bedgraph.gz", "rt") as file:
        windows = [line.split() for line in file.read().splitlines()[1:]]
    assert [w[3] for w in windows[:5]] == ["0"] * 5
    assert [w[3] == "0" for w in windows[5:]] == [False, True, False]


def test_few_paths_have_no_intervals(records, tmp_path):
    assert run(records, tmp_path / "out", "--states", 2, "--sample", 19) == 0
    assert pd.read_csv(tmp_path / "out" / "sampled.tsv", sep="\t").shape[1] == 4
    assert "between 2.5 and 97.5\N{NO-BREAK SPACE}%" not in (tmp_path / "out" / "report.html").read_text()


def test_runs_that_go_on_into_the_next_stretch_are_one():
    starts = [np.array([0, 3]), np.array([5, 8])]
    begins, ends, groups = joined(starts, [np.array([0, 1]), np.array([1, 0])], 10)
    assert begins.tolist() == [0, 3, 8]
    assert ends.tolist() == [3, 8, 10]
    assert groups.tolist() == [0, 1, 0]

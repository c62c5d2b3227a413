"""``emtools hmm``: what it writes for the lambda genome, and one line for every input that cannot be used."""

import csv
import gzip
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from emtools.cli import main
from emtools.io.intervals import read_bed
from emtools.io.outputs import OWN
from emtools.models import hmm
from emtools.models.hmm_known import known
from emtools.report.page import PROBABILITY, estimate_rows

GENOME = Path(__file__).parents[2] / "resources" / "lambda.fa"
LENGTH = 48_502
LEFT_ARM = 22_000


def run(source, out, *words):
    return main(["hmm", str(source), "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("hmm") / "lambda"
    assert run(GENOME, out, "--states", 2, "--starts", 3) == 0
    return out


def test_outputs_are_whole(results):
    names = {path.name for path in results.iterdir()} - {".outputs.json"}
    figures = {f"{stem}.{kind}" for stem in ("track", "parameters", "convergence") for kind in ("svg", "png")}
    tracks = {f"posterior_S{k}.bedgraph.gz" for k in (1, 2)}
    tables = {"segments.bed", "posteriors.tsv.gz", "parameters.tsv"}
    assert names == figures | tracks | tables | {"fit.json", "report.html"}
    record = json.loads((results / "fit.json").read_text())
    assert set(record["outputs"]) == names
    assert all(OWN.fullmatch(name) for name in names)
    assert "States by ascending GC." in (results / "report.html").read_text()
    assert record["status"] == "converged"
    assert record["loglik"] == pytest.approx(-66678.07, abs=0.01)
    assert record["parameters"]["emission"]["labels"] == [["S1", "S2"], ["A", "C", "G", "T"]]


def test_segments_tile_the_genome(results):
    segments = read_bed(results / "segments.bed", {"NC_001416.1": LENGTH})
    assert segments[0].start == 0
    assert segments[-1].end == LENGTH
    assert all(a.end == b.start and a.name != b.name for a, b in pairwise(segments))
    rows = [line.split("\t") for line in (results / "segments.bed").read_text().splitlines()]
    assert {len(row) for row in rows} == {9}
    assert {row[8] for row in rows} == {"0,114,178", "230,159,0"}


def test_left_arm_is_gc_rich_as_known(results):
    """Churchill (1989) and Sanger et al. (1982): the left arm is GC-rich, the middle of the genome AT-rich."""
    segments = read_bed(results / "segments.bed")
    rich = sum(max(0, min(s.end, LEFT_ARM) - s.start) for s in segments if s.name == "S2")
    assert rich / LEFT_ARM > 0.98
    middle = [s for s in segments if s.name == "S1" and s.start < 24_000 < s.end]
    assert len(middle) == 1
    assert abs(middle[0].start - 22_500) < 100
    with open(results / "parameters.tsv") as file:
        one, two = csv.DictReader(file, delimiter="\t")
    gc = [float(row["emits_C"]) + float(row["emits_G"]) for row in (one, two)]
    assert gc[0] < 0.42 < 0.54 < gc[1]


def test_posteriors_are_rows_of_the_genome(results):
    raw = (results / "posteriors.tsv.gz").read_bytes()
    assert raw[4:8] == bytes(4), "a time stamp would change the bytes"
    header, *lines = gzip.decompress(raw).decode().splitlines()
    assert header == "record\tposition\tS1\tS2"
    assert len(lines) == LENGTH
    table = np.array([line.split("\t")[1:] for line in lines], dtype=float)
    np.testing.assert_array_equal(table[:, 0], np.arange(LENGTH))
    np.testing.assert_allclose(table[:, 1:].sum(axis=1), 1.0, atol=2e-5, rtol=0)
    for segment in read_bed(results / "segments.bed"):
        mean = table[segment.start : segment.end, int(segment.name[1:])].mean()
        assert segment.score == pytest.approx(1000 * mean, abs=1)


def test_tracks_are_the_posteriors(results):
    lines = gzip.decompress((results / "posteriors.tsv.gz").read_bytes()).decode().splitlines()[1:]
    table = np.array([line.split("\t")[2:] for line in lines], dtype=float)
    for k in (1, 2):
        raw = (results / f"posterior_S{k}.bedgraph.gz").read_bytes()
        assert raw[4:8] == bytes(4), "a time stamp would change the bytes"
        track, *rows = gzip.decompress(raw).decode().splitlines()
        assert track.startswith(f'track type=bedGraph name="P(S{k})"')
        end = 0
        for row in rows:
            record, first, last, value = row.split("\t")
            assert (record, int(first)) == ("NC_001416.1", end)
            end = int(last)
            np.testing.assert_allclose(table[int(first) : end, k - 1], float(value), atol=5.2e-4, rtol=0)
        assert end == LENGTH


@pytest.mark.rendered
def test_same_seed_same_bytes(results, tmp_path):
    assert run(GENOME, tmp_path / "again", "--states", 2, "--starts", 3, "--threads", 2) == 0
    for path in results.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_many_records_with_unobserved_letters(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "many.fa.gz"
    records = [
        f">r{i}\n" + "".join(rng.choice(list("ACGTN"), size=int(rng.integers(1, 120)))) + "\n" for i in range(20)
    ]
    path.write_bytes(gzip.compress((">n\nNNNNNNNN\n" + "".join(records)).encode()))
    status = run(path, tmp_path / "out", "--states", 2, "--starts", 2, "--max-passes", 30)
    assert status in (0, 3)
    segments = read_bed(tmp_path / "out" / "segments.bed")
    assert {s.record for s in segments} == {"n", *(f"r{i}" for i in range(20))}


def test_protein_with_prior(tmp_path):
    path = tmp_path / "p.fa"
    path.write_text(">p\n" + "LIVAFMLIVA" * 6 + "DEKRNQSTDE" * 6 + "\n")
    assert run(path, tmp_path / "out", "--states", 2, "--alphabet", "protein", "--pseudocount", 0.1, "--starts", 2) == 0
    assert [len(s) for s in read_bed(tmp_path / "out" / "segments.bed")] == [60, 60]


def test_states_of_words_are_not_taken_for_regions(tmp_path, capsys):
    rng = np.random.default_rng(2)
    words, regions = "".join(rng.choice(["AAA", "CGC"], size=400)), "AT" * 300 + "GC" * 300
    note = "for regions try --order 2"
    for letters, order, said in ((words, 0, True), (words, 2, False), (regions, 0, False)):
        path = tmp_path / "a.fa"
        path.write_text(f">a\n{letters}\n")
        assert run(path, tmp_path / "out", "--states", 2, "--order", order, "--starts", 2) in (0, 3)
        assert (note in capsys.readouterr().err) == said
        assert (note in (tmp_path / "out" / "report.html").read_text()) == said


def test_genome_of_one_letter_is_said(tmp_path, capsys):
    path = tmp_path / "a.fa"
    path.write_text(">a\n" + "A" * 500 + "\n")
    assert run(path, tmp_path / "out", "--states", 2, "--starts", 2) in (0, 3)
    said, page = capsys.readouterr().err, (tmp_path / "out" / "report.html").read_text()
    for note in ("every observed letter is A", "holds no segment of the most probable path"):
        assert note in said
        assert note in page
    assert not re.search(r"<td>\d[\d.]*e-(\d\d\d|[2-9]\d)</td>", page), "no probability such as 7e-246"
    assert "<td>&lt;1e-6</td><td></td>" in page or "<td>0</td>" in page


def test_a_ready_made_model_is_not_told_to_have_fewer_states(tmp_path, capsys):
    path = tmp_path / "a.fa"
    path.write_text(">a\n" + "ACGTTGCAGG" * 6 + "\n")
    assert run(path, tmp_path / "out", "--model", "coding", "--max-passes", 5) in (0, 3)
    said, page = capsys.readouterr().err, (tmp_path / "out" / "report.html").read_text()
    assert "holds no segment of the most probable path" in said
    assert "use more sequence" in page
    assert "fewer" not in said
    assert "fewer states" not in page


def test_one_letter_and_one_state(tmp_path):
    path = tmp_path / "one.fa"
    path.write_text(">a\nA\n")
    assert run(path, tmp_path / "out", "--states", 1) == 0


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (b"", (), "empty"),
        (b">", (), "without a name"),
        (b">a\n>b\nACGT\n", (), "'a'"),
        (b"id,value\n1,2\n", (), "FASTA"),
        (b">p\nMKVLAA\n", (), "--alphabet protein"),
        (b">a\nAC\n>a\nGT\n", (), "line 3"),
        (b">a\nNNNNNNNN\n", (), "none of 8 letters"),
        (gzip.compress(b">a\n" + b"ACGGTCA" * 500, mtime=0)[:-9], (), "damaged gzip"),
        (b">a\nA\n", (), "fewer --states"),
        (None, (), "no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, content, words, message):
    path = tmp_path / "x.fa"
    if content is not None:
        path.write_bytes(content)
    assert run(path, tmp_path / "out", "--states", 2, *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("emtools: error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "out").exists()


def test_tiny_probabilities_are_shown_as_such_on_the_page():
    entry = {"value": [7e-246, 0.0, 1.0], "se": [1e-9, None, 0.1], "unit": PROBABILITY}
    rows = estimate_rows({"parameters": {"p": entry, "length": {"value": 7e-246, "se": None, "unit": "m"}}})
    assert [row[1] for row in rows] == ["<1e-6", 0.0, 1.0, 7e-246]
    assert rows[0][2] is None


def test_codes_of_several_letters_count_as_what_they_may_be(tmp_path):
    """S is C or G: a record of S and W alone tells the states apart; as N it would tell nothing."""
    path = tmp_path / "codes.fa"
    blocks = ["ATTAATATTA" * 30, "WWWWWWWWWW" * 20, "CGGCCGGCGC" * 30, "SSSSSSSSSS" * 20, "TTATAATTAA" * 30]
    path.write_text(">a\n" + "".join(blocks) + "\n")
    assert run(path, tmp_path / "out", "--states", 2, "--starts", 3) in (0, 3)
    segments = read_bed(tmp_path / "out" / "segments.bed")
    assert [(s.name, s.start, s.end) for s in segments] == [("S1", 0, 500), ("S2", 500, 1000), ("S1", 1000, 1300)]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Partly observed" in page
    assert "IUPAC codes" in page


@pytest.fixture(scope="module")
def dependent(tmp_path_factory):
    """Letters given the one before, of two kinds in turns: 24,000 of them."""
    rng = np.random.default_rng(5)
    tables = rng.dirichlet(np.full(4, 1.5), size=(2, 4))
    text, letter = [], 0
    for t in range(24_000):
        letter = rng.choice(4, p=tables[t // 1500 % 2, letter])
        text.append("ACGT"[letter])
    path = tmp_path_factory.mktemp("dependent") / "d.fa"
    path.write_text(">d\n" + "".join(text) + "\n")
    return path


def test_states_and_order_are_chosen_by_bic(dependent, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(dependent, out, "--states", "1-2", "--order", "0-2", "--starts", 2) == 0
    with open(out / "models.tsv") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["states"], row["order"]) for row in rows] == [(k, m) for k in "12" for m in "012"]
    assert len({row["letters"] for row in rows}) == 1
    best = min(rows, key=lambda row: float(row["BIC"]))
    assert (best["states"], best["order"]) == ("2", "1")
    for row in rows:
        told = -2 * float(row["log-likelihood, nats"]) + int(row["parameters"]) * np.log(int(row["letters"]))
        assert float(row["BIC"]) == pytest.approx(told, rel=1e-12)
    record = json.loads((out / "fit.json").read_text())
    emission = record["parameters"]["emission"]
    assert emission["labels"] == [["S1", "S2"], list("ACGT"), list("ACGT")]
    assert np.shape(emission["value"]) == np.shape(emission["se"]) == (2, 4, 4)
    assert len(read_bed(out / "segments.bed")) == 16
    with open(out / "parameters.tsv") as file:
        first, _ = csv.DictReader(file, delimiter="\t")
    assert float(first["emits_G_after_C"]) == pytest.approx(emission["value"][0][1][2], rel=1e-12)
    said = capsys.readouterr().err
    assert "2 states of order 1: BIC" in said
    one = tmp_path / "one"
    assert run(dependent, one, "--states", 2, "--order", 1, "--starts", 2) == 0
    assert json.loads((one / "fit.json").read_text())["loglik"] == record["loglik"]


@pytest.mark.parametrize("name", ["cpg", "cpg-8"])
def test_planted_islands_are_called(tmp_path, name):
    """Letters by the published tables: islands of 2,000 letters in 12,000, in lower case, with an N and an R."""
    rng = np.random.default_rng(2)
    text, letter = [], 0
    for t in range(36_000):
        inside = 5000 <= t % 12_000 < 7000
        letter = rng.choice(4, p=known("cpg").params.emission[int(inside), letter])
        text.append("acgt"[letter])
    text[3000], text[9000] = "N", "R"
    path, out = tmp_path / "islands.fa", tmp_path / "out"
    path.write_text(">chr\n" + "".join(text) + "\n")
    assert run(path, out, "--model", name, "--max-passes", 200) in (0, 3)
    segments = read_bed(out / "segments.bed")
    assert {s.name for s in segments} == {"outside", "island"}
    called = np.zeros(36_000, dtype=bool)
    for segment in segments:
        called[segment.start : segment.end] = segment.name == "island"
    truth = (np.arange(36_000) % 12_000 - 5000) // 2000 == 0
    assert (called == truth).mean() > 0.98
    header, *rows = gzip.decompress((out / "posteriors.tsv.gz").read_bytes()).decode().splitlines()
    assert header == "record\tposition\toutside\tisland"
    assert len(rows) == 36_000
    with open(out / "parameters.tsv") as file:
        states = [row["state"] for row in csv.DictReader(file, delimiter="\t")]
    assert states == (["outside", "island"] if name == "cpg" else ["A-", "C-", "G-", "T-", "A+", "C+", "G+", "T+"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--states K"),
        (("--model", "cpg", "--states", 2), "--model cpg"),
        (("--model", "cpg", "--alphabet", "protein"), "--model cpg"),
        (("--states", 2, "--order", 3, "--alphabet", "protein"), "order"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, capsys, words, message):
    peptide = tmp_path / "peptide.fa"
    peptide.write_text(">one\nMKVLAAGIVLLLAQDREW\n")
    assert run(peptide if "order" in message else GENOME, tmp_path / "out", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("emtools: error: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("topology", ["left-right", "banded"])
def test_states_with_an_order_of_their_own_are_not_told_to_be_by_gc(tmp_path, topology):
    path, out = tmp_path / "three.fa", tmp_path / "out"
    path.write_text(">a\n" + "ATTAATATTA" * 30 + "CGGCCGGCGC" * 30 + "ACGTTGCAAC" * 30 + "\n")
    assert run(path, out, "--states", 3, "--topology", topology, "--starts", 1, "--max-passes", 20) in (0, 3)
    assert "ascending GC" not in (out / "report.html").read_text()


def test_pieces_do_not_show(results, tmp_path, monkeypatch):
    """The same bytes in pieces of 1,000 letters as in one."""
    whole = hmm.CategoricalHMM.posterior_pieces
    monkeypatch.setattr(
        hmm.CategoricalHMM, "posterior_pieces", lambda model, params, codes: whole(model, params, codes, 1000)
    )
    assert run(GENOME, tmp_path / "again", "--states", 2, "--starts", 3) == 0
    for name in ("segments.bed", "posteriors.tsv.gz", "posterior_S1.bedgraph.gz", "posterior_S2.bedgraph.gz"):
        assert (results / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name

"""``emtools motif`` from the command line: its files read back by others, and every bad input in one line."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from Bio import SeqIO, motifs

from emtools.cli import main
from emtools.io.outputs import OWN

RESOURCES = Path(__file__).parents[2] / "resources"
CRP = RESOURCES / "crp.fa"
SITES = RESOURCES / "crp_sites.bed"
ALWAYS = {
    "fit.json", "report.html", "motifs.meme", "motifs.jaspar", "motifs.transfac", "sites.bed", "sites.gff3",
    "logo.svg", "logo.png", "sites.svg", "sites.png", "positions.svg", "positions.png",
    "convergence.svg", "convergence.png",
}  # fmt: skip


def read_sites(path):
    rows = csv.reader(path.read_text().splitlines(), delimiter="\t")
    return [(r[0], int(r[1]), int(r[2]), r[3], int(r[4]), r[5]) for r in rows]


def letters_of(site, fasta):
    with open(fasta) as file:
        record = SeqIO.to_dict(SeqIO.parse(file, "fasta"))[site[0]].seq[site[1] : site[2]]
    return str(record if site[5] == "+" else record.reverse_complement()).upper()


@pytest.fixture(scope="module")
def crp(tmp_path_factory):
    out = tmp_path_factory.mktemp("motif") / "crp"
    words = ["motif", str(CRP), "--width", "22", "--truth", str(SITES), "--name", "CRP", "--starts", "20"]
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A genome of two records with TGACGTCATG planted on either strand, N beside it, and lower case."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(4)
    words = {"chr1": ["TGACGTAACC", "GGTTACGTCA"], "chr2": ["TGACGTAACC"]}
    text, truth = "", []
    for name, planted_words in words.items():
        letters = rng.choice(list("ACGT"), size=4000)
        for k in range(16):
            at = 250 * k + 90 + 3 * k
            word = planted_words[k % len(planted_words)]
            letters[at : at + 10] = list(word)
            letters[at + 10 : at + 13] = "N"
            truth.append((name, at, at + 10, "+" if word == "TGACGTAACC" else "-"))
        line = "".join(letters)
        text += f">{name} a chromosome\n{line[:1500]}\n{line[1500:].lower()}\n"
    fasta, bed = folder / "genome.fa", folder / "regions.bed"
    fasta.write_text(text)
    bed.write_text("chr1\t0\t4000\topen\nchr2\t1000\t3000\topen\nchr2\t0\t1000\tshut\nchr2\t3000\t4000\tshut\n")
    return fasta, bed, truth


def test_all_files_are_there_and_the_known_sites_are_found(crp):
    assert {path.name for path in crp.iterdir()} == ALWAYS | {"accuracy.tsv"} | {".outputs.json"}
    lines = (crp / "accuracy.tsv").read_text().splitlines()
    rows = {r["metric"]: float(r["value"]) for r in csv.DictReader(lines, delimiter="\t")}
    assert rows["sequences_with_known_site"] == 18
    assert rows["known_sites"] == 24
    assert rows["sequences_found"] == 18
    assert rows["known_sites_found"] >= 18
    assert rows["false_sites"] == 0
    assert rows["nucleotide_f1"] >= 0.80
    record = json.loads((crp / "fit.json").read_text())
    assert set(record["outputs"]) == ALWAYS | {"accuracy.tsv"}
    assert all(OWN.fullmatch(name) for name in record["outputs"])
    assert record["status"] == "converged"
    assert len(record["starts"]) == 1
    assert f"Begun from the best of {len(record['extra']['candidates'])} motifs" in record["verdict"]
    assert "One start only" not in record["verdict"]
    assert record["extra"]["background"].startswith("estimated from them; order chosen for its 1,890 letters")
    assert record["model"]["background_order"] == 0
    assert record["extra"]["significance"]["n_tested"] == 9
    assert record["parameters"]["matrix"]["shape"] == [22, 4]


def test_meme_file_is_read_by_biopython_and_holds_the_fit(crp):
    record = json.loads((crp / "fit.json").read_text())
    with open(crp / "motifs.meme") as file:
        (motif,) = motifs.parse(file, "minimal")
    assert motif.name == "CRP"
    assert motif.length == 22
    assert motif.num_occurrences == record["extra"]["n_sites"] == len(read_sites(crp / "sites.bed"))
    background = record["model"]["background_frequencies"]
    np.testing.assert_allclose([motif.background[c] for c in "ACGT"], background, atol=1e-6)
    lines = (crp / "motifs.meme").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("letter-probability")) + 1
    rows = np.array([line.split() for line in lines[first : first + 22]], dtype=float)
    np.testing.assert_allclose(rows, record["parameters"]["matrix"]["value"], atol=1e-6)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=5e-6)


def test_jaspar_file_is_read_by_biopython(crp):
    record = json.loads((crp / "fit.json").read_text())
    with open(crp / "motifs.jaspar") as file:
        (motif,) = motifs.parse(file, "jaspar")
    counts = np.array([motif.counts[c] for c in "ACGT"]).T
    assert motif.matrix_id == "CRP"
    np.testing.assert_allclose(counts.sum(axis=1), counts.sum(axis=1)[0], atol=0.03)
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, record["parameters"]["matrix"]["value"], atol=0.03)


def test_transfac_file_is_read_by_biopython(crp):
    with open(crp / "motifs.transfac") as file:
        (motif,) = motifs.parse(file, "transfac")
    with open(crp / "motifs.jaspar") as file:
        (other,) = motifs.parse(file, "jaspar")
    assert motif["ID"] == "CRP"
    for letter in "ACGT":
        np.testing.assert_allclose(motif.counts[letter], other.counts[letter], atol=0.02)


def test_gff_has_the_sites_of_the_bed_file_with_their_letters(crp):
    lines = (crp / "sites.gff3").read_text().splitlines()
    assert lines[0] == "##gff-version 3"
    sites = read_sites(crp / "sites.bed")
    assert len(lines) == 1 + len(sites)
    for line, site in zip(lines[1:], sites, strict=True):
        record, _, kind, start, end, score, strand, _, notes = line.split("\t")
        note = dict(pair.split("=") for pair in notes.split(";"))
        assert (record, int(start) - 1, int(end), strand) == (site[0], site[1], site[2], site[5])
        assert kind == "TF_binding_site"
        assert float(score) == pytest.approx(site[4] / 1000)
        assert note["letters"] == letters_of(site, CRP)
        assert 0 < float(note["pvalue"]) < 1e-2


def test_any_number_finds_more_than_one_site_a_sequence(tmp_path):
    """The issue: at least 20 of the 24 known sites; MEME finds 20."""
    words = [
        "motif",
        str(CRP),
        "--width",
        "22",
        "--occurrence",
        "anr",
        "--truth",
        str(SITES),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    lines = (tmp_path / "out" / "accuracy.tsv").read_text().splitlines()
    rows = {r["metric"]: float(r["value"]) for r in csv.DictReader(lines, delimiter="\t")}
    assert rows["known_sites_found"] >= 20
    assert rows["false_sites"] == 0
    assert rows["nucleotide_f1"] >= 0.85
    sites = sorted(read_sites(tmp_path / "out" / "sites.bed"))
    for one, other in itertools.pairwise(sites):
        assert one[0] != other[0] or one[2] <= other[1]


def test_width_and_background_are_chosen_and_said(planted, tmp_path):
    fasta, _, _ = planted
    control = tmp_path / "control.fa"
    rng = np.random.default_rng(1)
    control.write_text(">c\n" + "".join(rng.choice(list("ACGT"), size=60_000)) + "\n")
    words = ["--window", "250", "--width", "6-14", "--background", str(control), "--out", str(tmp_path / "out")]
    assert main(["motif", str(fasta), *words]) == 0
    record = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert record["parameters"]["matrix"]["shape"][0] in (10, 11)
    assert record["model"]["background_order"] == 3
    assert "control.fa" in record["extra"]["background"]
    assert {i["path"].split("/")[-1] for i in record["inputs"]} == {"genome.fa", "control.fa"}


def test_every_site_reads_as_the_motif(crp):
    """Base by base: the letters under the sites, turned to their strand, give the matrix again."""
    matrix = np.array(json.loads((crp / "fit.json").read_text())["parameters"]["matrix"]["value"])
    words = [letters_of(site, CRP) for site in read_sites(crp / "sites.bed")]
    shares = np.array([[sum(w[j] == c for w in words) / len(words) for c in "ACGT"] for j in range(22)])
    np.testing.assert_allclose(shares, matrix, atol=0.05)
    assert np.abs(shares[::-1, ::-1] - matrix).max() > 0.2


def test_the_methods_say_which_places_are_sites(crp):
    """Not those with a posterior of a half: where the place is in doubt, the likeliest is called if a site is there at all."""
    assert "of each sequence that has a site with a probability of at least 0.5." in (crp / "report.html").read_text()


def test_page_counts_sites_as_the_bed_file_does(crp):
    page = (crp / "report.html").read_text()
    name, start, end = read_sites(crp / "sites.bed")[0][:3]
    assert "Start and end are 0-based, half-open, as in sites.bed" in page
    assert f"<td>{name}</td><td>{start}</td><td>{end}</td>" in page


@pytest.mark.rendered
def test_same_bytes_again_with_other_threads(crp, tmp_path):
    words = ["motif", str(CRP), "--width", "22", "--truth", str(SITES), "--name", "CRP", "--starts", "20"]
    assert main([*words, "--threads", "2", "--out", str(tmp_path / "again")]) == 0
    for name in ALWAYS:
        assert (tmp_path / "again" / name).read_bytes() == (crp / name).read_bytes(), name


def test_sites_in_regions_have_coordinates_of_the_genome(planted, tmp_path):
    fasta, bed, truth = planted
    out = tmp_path / "out"
    words = ["--regions", str(bed), "--region-name", "open", "--window", "250", "--width", "10", "--starts", "5"]
    assert main(["motif", str(fasta), *words, "--out", str(out)]) == 0
    sites = read_sites(out / "sites.bed")
    inside = [t for t in truth if t[0] == "chr1" or 1000 <= t[1] < 3000]
    found = {(s[0], s[1], s[2]) for s in sites}
    assert len(found & {t[:3] for t in inside}) == len(inside)
    by_place = {s[:3]: s[5] for s in sites}
    assert len({by_place[t[:3]] == t[3] for t in inside}) == 1
    for site in sites:
        assert site[2] - site[1] == 10
        assert site[0] == "chr1" or 1000 <= site[1] < 3000
        assert "N" not in letters_of(site, fasta)
        assert 0 <= site[4] <= 1000
    assert {letters_of(s, fasta) for s in sites if s[:3] in {t[:3] for t in inside}} in (
        {"TGACGTAACC"},
        {"GGTTACGTCA"},
    )


def test_one_strand_finds_the_sites_of_one_strand(planted, tmp_path):
    fasta, _, _ = planted
    words = ["--window", "250", "--width", "10", "--starts", "5", "--strands", "one"]
    assert main(["motif", str(fasta), *words, "--out", str(tmp_path / "out")]) == 0
    assert {site[5] for site in read_sites(tmp_path / "out" / "sites.bed")} == {"+"}


@pytest.fixture(scope="module")
def two_words(tmp_path_factory):
    """Sequences of 120 letters with one word in the first third of each, and another in the middle of all but one; a track on the middle."""
    folder = tmp_path_factory.mktemp("two_words")
    rng = np.random.default_rng(6)
    text, track = "", ""
    for k in range(24):
        letters = rng.choice(list("ACGT"), size=120)
        letters[8 + k : 16 + k] = list("TTGACGCA")
        if k:
            letters[56 + k % 5 : 64 + k % 5] = list("CCATAAGG")
        text += f">s{k}\n{''.join(letters)}\n"
        track += f"s{k}\t0\t50\t0\ns{k}\t50\t75\t0.9\n"
    (folder / "in.fa").write_text(text)
    (folder / "in.bedgraph").write_text(track)
    return folder


@pytest.mark.parametrize("words", [["--central"], ["--prior", "in.bedgraph"]], ids=["central", "track"])
def test_sites_are_sought_where_the_prior_has_them(words, two_words, tmp_path, monkeypatch):
    monkeypatch.chdir(two_words)
    command = ["motif", "in.fa", "--width", "8", "--starts", "12", "--untested", "--out"]
    assert main([*command, str(tmp_path / "plain")]) == 0
    assert main([*command, str(tmp_path / "out"), *words]) == 0
    plain, ours = (json.loads((tmp_path / name / "fit.json").read_text()) for name in ("plain", "out"))
    assert plain["extra"]["consensus"] in ("TTGACGCA", "TGCGTCAA")
    assert ours["extra"]["consensus"] in ("CCATAAGG", "CCTTATGG")
    assert ("in.bedgraph" in str(ours["inputs"])) == ("--prior" in words)
    page = (tmp_path / "out" / "report.html").read_text()
    assert ("about the middle" if words == ["--central"] else "where in.bedgraph is high") in page


WRONG = {
    "negative": ("a\t0\t4\t1\na\t4\t8\t-0.5\n", "in.bedgraph: a:4-8: -0.5; 0 or more: a weight"),
    "beyond the end": ("a\t0\t13\t1\n", "in.bedgraph: a:0-13: beyond the end of the record (12)"),
    "other records": ("chr1\t0\t12\t1\n", "in.bedgraph: values on 'chr1' and the like, none on 'a' and the like"),
    "nothing above zero": ("a\t0\t12\t0\n", "no value above 0"),
    "no track": ("hello\n", "is it a bedGraph file?"),
}


@pytest.mark.parametrize(("track", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_track_that_is_no_prior_is_one_line(track, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.fa").write_text(GOOD)
    (tmp_path / "in.bedgraph").write_text(track)
    assert main(["motif", "in.fa", "--width", "6", "--prior", "in.bedgraph", "--out", "out"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("emtools: error: ")
    assert error.count("\n") == 0
    assert message in error
    assert not (tmp_path / "out").exists()


PROTEIN = ">p1\nMKVLAAGIVGLCAKAYEERPQWHHTSNDF\n>p2\nMKVLAAGIVGLCAKAYLLEERPQWHHTSNDF\n"
GOOD = ">a\nACGTTGCAACGT\n>b\nTTGCAACGTACG\n"
BAD = {
    "empty file": ("", None, [], "empty"),
    "blank file": ("\n\n", None, [], "blank"),
    "no fasta": ("hello\n", None, [], "'>'"),
    "record without letters": (">a\n>b\nACGT\n", None, [], "no letter"),
    "all shorter than the motif": (">a\nACGT\n>b\nACG\n", None, [], "--width"),
    "one long enough": (">a\nACGTACGTACGT\n>b\nACG\n", None, [], "at least 2"),
    "protein": (PROTEIN, None, [], "add --alphabet protein"),
    "dna as protein": (">a\n" + "ACGT" * 20 + "\n>b\nACGT\n", None, ["--alphabet", "protein"], "add --alphabet dna"),
    "rna": (">a\nACGU\n", None, [], "add --alphabet rna"),
    "rna on both strands": (GOOD, None, ["--alphabet", "rna", "--strands", "both"], "which has two strands"),
    "palindrome of protein": (PROTEIN, None, ["--alphabet", "protein", "--palindrome"], "which has two strands"),
    "any number in protein": (PROTEIN, None, ["--alphabet", "protein", "--occurrence", "anr"], "oops or zoops"),
    "background of too high an order for protein": (
        PROTEIN,
        None,
        ["--alphabet", "protein", "--background-order", "2"],
        "for each of 400 contexts",
    ),
    "no file of known motifs": (GOOD, None, ["--known", "absent.meme"], "absent.meme"),
    "sequences as known motifs": (GOOD, None, ["--known", "in.fa"], "one a letter of ACGT"),
    "sign only": (">", None, [], "a header without a name"),
    "same name twice": (">a\nACGTACGT\n>a\nACGTACGA\n", None, [], "rename"),
    "one record": (">a\n" + "ACGTTGCA" * 20 + "\n", None, [], "cut the long one with --window"),
    "a line of ten million letters": (
        ">a\n" + "ACGTTGCAAT" * 1_000_000 + "\n",
        None,
        [],
        "cut the long one with --window",
    ),
    "all unknown": (">a\nNNNNNNNNNNNN\n>b\nNNNNNNNNNNNNNN\n", None, [], "observed"),
    "unknown in every window": (">a\nACGNACGNACGN\n>b\nACGTNACG\n", None, [], "known letters"),
    "region beyond the end": (GOOD, "a\t0\t99\tr\n", [], "beyond"),
    "region on another record": (GOOD, "z\t0\t9\tr\n", [], "'z'"),
    "no such region": (GOOD, "a\t0\t12\tr\n", ["--region-name", "S9"], "S9"),
    "region on the strand that is not searched": (
        GOOD,
        "a\t0\t12\tr\t0\t+\nb\t0\t12\tr\t0\t-\n",
        ["--strands", "one"],
        "1 of 2 regions on the reverse strand",
    ),
    "no region file": (GOOD, None, ["--regions", "absent.bed"], "absent.bed"),
    "name without regions": (GOOD, None, ["--region-name", "S1"], "--regions"),
    "middle of windows": (GOOD, None, ["--central", "--window", "8"], "--central: with --window"),
    "narrow window": (GOOD, None, ["--window", "3"], "--window"),
    "wider than all": (
        GOOD,
        None,
        ["--width", "1000"],
        "(the longest has 12 letters); at least 2; use a smaller --width",
    ),
    "too wide to multiply": (
        ">a\n" + "ACGT" * 30 + "\n>b\n" + "ACTT" * 30 + "\n",
        None,
        ["--width", "70"],
        "at most 64",
    ),
    "no background file": (GOOD, None, ["--background", "absent.fa"], "absent.fa"),
    "background of too high an order": (GOOD, None, ["--background-order", "5"], "in.fa: 14 letters to count"),
    "order 1 of a palindrome": (
        GOOD,
        None,
        ["--motif-order", "1", "--palindrome"],
        "--motif-order: 1 with --palindrome",
    ),
    "order 1 of protein": (
        PROTEIN,
        None,
        ["--motif-order", "1", "--alphabet", "protein"],
        "--motif-order: 1 with --alphabet protein",
    ),
    "palindrome on one strand": (GOOD, None, ["--palindrome", "--strands", "one"], "both strands"),
    "no truth file": (GOOD, None, ["--truth", "absent.bed"], "absent.bed"),
    "blank in the name": (GOOD, None, ["--name", "my motif"], "--name"),
}


@pytest.mark.parametrize(("text", "regions", "words", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_nothing_is_left(text, regions, words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fasta, out = tmp_path / "in.fa", tmp_path / "results" / "out"
    fasta.write_text(text)
    if regions is not None:
        (tmp_path / "in.bed").write_text(regions)
        words = [*words, "--regions", "in.bed"]
    code = main(["motif", "in.fa", "--out", str(out), *(words if "--width" in words else [*words, "--width", "6"])])
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert error.startswith("emtools: error: ")
    assert error.count("\n") == 0
    assert message in error
    assert not out.exists()


def test_damaged_gzip_is_one_line(tmp_path, capsys):
    path = tmp_path / "in.fa.gz"
    path.write_bytes(gzip.compress(CRP.read_bytes())[:-30])
    assert main(["motif", str(path), "--width", "8", "--out", str(tmp_path / "out")]) == 2
    assert "damaged gzip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def masked_crp(path, n):
    """The CRP regions as a Windows editor would leave them, in lower case, gzipped, with `n` N behind the last one."""
    text = CRP.read_text().lower().rstrip("\n") + "\n" + "n" * n + "\n"
    path.write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))


def test_windows_line_ends_lower_case_and_n_change_nothing(crp, tmp_path):
    """As many N as leave the length of the words of the E-step alone: it decides ties between the strands by rounding."""
    masked_crp(tmp_path / "in.fa.gz", 20_000)
    words = ["--width", "22", "--name", "CRP", "--starts", "20", "--untested", "--out", str(tmp_path / "out")]
    assert main(["motif", str(tmp_path / "in.fa.gz"), *words]) == 0
    assert read_sites(tmp_path / "out" / "sites.bed") == read_sites(crp / "sites.bed")


def test_half_a_million_unknown_letters_hold_no_site(tmp_path):
    masked_crp(tmp_path / "in.fa.gz", 432_770)
    words = ["--width", "22", "--starts", "20", "--untested", "--out", str(tmp_path / "out")]
    assert main(["motif", str(tmp_path / "in.fa.gz"), *words]) == 0
    sites = read_sites(tmp_path / "out" / "sites.bed")
    assert len(sites) >= 14
    assert all(start >= 0 and end <= 105 for _, start, end, *_ in sites)


def test_truth_outside_the_regions_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.fa").write_text(GOOD)
    Path("in.bed").write_text("a\t0\t12\nb\t0\t6\n")
    Path("truth.bed").write_text("b\t6\t12\n")
    words = ["--width", "6", "--regions", "in.bed", "--truth", "truth.bed"]
    assert main(["motif", "in.fa", "--out", "out", *words]) == 2
    assert "none of 1 known sites" in capsys.readouterr().err
    assert not Path("out").exists()


WORDS = {"TGACGTCATT": 0.8, "GGCATAAGCC": 0.6}


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Sequences with two motifs, four asked for."""
    folder = tmp_path_factory.mktemp("twice")
    rng = np.random.default_rng(12)
    text, truth = "", ""
    for i in range(80):
        letters = rng.choice(list("ACGT"), size=100)
        for k, (word, share) in enumerate(WORDS.items()):
            if rng.random() < share:
                at = 50 * k + int(rng.integers(40))
                letters[at : at + 10] = list(word)
                truth += f"s{i}\t{at}\t{at + 10}\n" if k == 1 else ""
        text += f">s{i}\n{''.join(letters)}\n"
    (folder / "in.fa").write_text(text)
    (folder / "known.bed").write_text(truth)
    words = ["motif", str(folder / "in.fa"), "--width", "10", "--starts", "12", "--name", "tf", "--motifs", "4"]
    words += ["--truth", str(folder / "known.bed")]
    assert main([*words, "--out", str(folder / "out")]) == 0
    return folder, words


def test_several_motifs_are_in_every_file_and_the_search_ends_where_chance_begins(twice):
    out = twice[0] / "out"
    figures = {f"{stem}_2.{kind}" for stem in ("logo", "sites", "positions") for kind in ("svg", "png")}
    assert {path.name for path in out.iterdir()} == ALWAYS | figures | {"accuracy.tsv"} | {".outputs.json"}
    record = json.loads((out / "fit.json").read_text())
    assert all(OWN.fullmatch(name) for name in record["outputs"])
    extra = record["extra"]
    assert [m["name"] for m in extra["motifs"]] == ["tf_1", "tf_2"]
    turned = {word: word[::-1].translate(str.maketrans("ACGT", "TGCA")) for word in WORDS}
    for found, word in zip(extra["motifs"], WORDS, strict=True):
        assert found["consensus"] in (word, turned[word])
        assert found["significance"]["p"] < 0.05
        assert found["status"] == "converged"
        assert np.shape(found["matrix_se"]) == np.shape(found["matrix"]) == (10, 4)
    assert extra["motifs"][0]["matrix"] == record["parameters"]["matrix"]["value"]
    assert extra["ended"]["e_value"] > 0.05
    assert "is no better than chance" in extra["ended"]["because"]
    page = (out / "report.html").read_text()
    assert "4 motifs were asked for; nothing further was sought because the next, " in page
    assert "tf_2 meets a known site" in page
    assert page.count("<figcaption><b>The motif: tf_") == 2


def test_others_read_every_motif(twice):
    out = twice[0] / "out"
    record = json.loads((out / "fit.json").read_text())
    for name, kind in (("motifs.meme", "minimal"), ("motifs.jaspar", "jaspar"), ("motifs.transfac", "transfac")):
        with open(out / name) as file:
            read = motifs.parse(file, kind)
        for motif, found in zip(read, record["extra"]["motifs"], strict=True):
            called = {"minimal": lambda m: m.name, "jaspar": lambda m: m.matrix_id, "transfac": lambda m: m["ID"]}
            assert called[kind](motif) == found["name"]
            assert str(motif.consensus) == "".join("ACGT"[i] for i in np.argmax(found["matrix"], axis=1))


def test_sites_are_named_by_their_motif_and_do_not_overlap(twice):
    out = twice[0] / "out"
    sites = read_sites(out / "sites.bed")
    record = json.loads((out / "fit.json").read_text())
    assert [name for name in ("tf_1", "tf_2") for site in sites if site[3] == name] == [site[3] for site in sites]
    assert [sum(s[3] == m["name"] for s in sites) for m in record["extra"]["motifs"]] == [
        m["n_sites"] for m in record["extra"]["motifs"]
    ]
    for one, other in itertools.pairwise(sorted(sites)):
        assert one[0] != other[0] or one[2] <= other[1]
    ids = [line.split("ID=")[1].split(";")[0] for line in (out / "sites.gff3").read_text().splitlines()[1:]]
    assert len(set(ids)) == len(sites)
    with open(out / "accuracy.tsv") as file:
        rows = [r for r in csv.DictReader(file, delimiter="\t") if r["metric"] == "nucleotide_f1"]
    assert [r["method"] for r in rows] == ["tf_2", "tf_1"]
    assert float(rows[0]["value"]) > 0.9 > 0.1 > float(rows[1]["value"])


def test_the_first_of_several_is_the_one(twice, tmp_path):
    folder, words = twice
    assert main([*words[:-4], "--out", str(tmp_path / "one")]) == 0
    one, several = (json.loads((path / "fit.json").read_text()) for path in (tmp_path / "one", folder / "out"))
    assert one["parameters"] == several["parameters"]
    assert {k: v for k, v in several["extra"].items() if k not in ("motifs", "ended")} == one["extra"]
    assert [line.replace("tf_1", "tf") for line in (folder / "out" / "sites.bed").read_text().splitlines()][
        : one["extra"]["n_sites"]
    ] == (tmp_path / "one" / "sites.bed").read_text().splitlines()


@pytest.mark.slow
def test_several_motifs_are_the_same_bytes_with_other_threads(twice, tmp_path):
    folder, words = twice
    assert main([*words, "--threads", "2", "--out", str(tmp_path / "again")]) == 0
    for path in (folder / "out").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_chance_is_said_and_kept_alone_and_untested_motifs_are_as_many_as_asked_for(tmp_path):
    rng = np.random.default_rng(5)
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">s{i}\n{''.join(rng.choice(list('ACGT'), size=50))}\n" for i in range(20)))
    words = ["motif", str(fasta), "--width", "8", "--starts", "3", "--motifs", "2"]
    assert main([*words, "--out", str(tmp_path / "tested")]) in (0, 3)
    extra = json.loads((tmp_path / "tested" / "fit.json").read_text())["extra"]
    assert len(extra["motifs"]) == 1
    assert extra["ended"]["because"] == "the motif is no better than chance"
    assert "That is no better than chance" in (tmp_path / "tested" / "report.html").read_text(encoding="utf-8")
    assert main([*words, "--untested", "--out", str(tmp_path / "untested")]) in (0, 3)
    extra = json.loads((tmp_path / "untested" / "fit.json").read_text())["extra"]
    assert len(extra["motifs"]) == 2
    assert extra["ended"] is None


def test_motifs_that_were_found_are_kept_where_there_is_no_room_for_more(tmp_path):
    fasta = tmp_path / "in.fa"
    fasta.write_text(">a\nACGTACGTAAGT\n>b\nACGTTTGATGAA\n>c\nTTACGTACG\n")
    words = ["motif", str(fasta), "--width", "6-8", "--starts", "3", "--motifs", "8", "--untested"]
    assert main([*words, "--occurrence", "oops", "--out", str(tmp_path / "out")]) in (0, 3)
    extra = json.loads((tmp_path / "out" / "fit.json").read_text())["extra"]
    assert 1 <= len(extra["motifs"]) < 8
    assert extra["ended"]["because"].startswith("no further")


AMINO = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def protein(tmp_path_factory):
    """Proteins with GKSTLWCH on most of them; letters that are not observed beside it."""
    folder = tmp_path_factory.mktemp("protein")
    rng = np.random.default_rng(21)
    records, places = [], {}
    for i in range(60):
        letters = rng.choice(list(AMINO), size=120)
        if rng.random() < 0.7:
            at = int(rng.integers(5, 100))
            letters[at : at + 8] = list("GKSTLWCH")
            letters[at - 1], letters[at + 8] = "X", rng.choice(list("BZJUO"))
            places[f"p{i}"] = at
        records.append(f">p{i}\n{''.join(letters)}\n")
    (folder / "in.fa").write_text("".join(records))
    words = ["motif", str(folder / "in.fa"), "--alphabet", "protein", "--width", "5-12", "--starts", "8"]
    assert main([*words, "--out", str(folder / "out")]) == 0
    return folder, places


def test_motif_of_proteins(protein):
    folder, places = protein
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == ALWAYS - {"motifs.jaspar", "motifs.transfac"} | {".outputs.json"}
    record = json.loads((out / "fit.json").read_text())
    assert record["extra"]["consensus"] == "GKSTLWCH"
    assert record["extra"]["significance"]["p"] < 1e-3
    assert record["model"]["background_order"] == 0
    assert record["parameters"]["matrix"]["labels"][1] == list(AMINO)
    sites = read_sites(out / "sites.bed")
    assert {(s[0], s[1], s[2]) for s in sites} >= {(name, at, at + 8) for name, at in places.items()}
    with open(folder / "in.fa") as file:
        text = {r.id: str(r.seq) for r in SeqIO.parse(file, "fasta")}
    lines = (out / "sites.gff3").read_text().splitlines()[1:]
    for site, line in zip(sites, lines, strict=True):
        assert site[5] == "+"
        assert set(text[site[0]][site[1] : site[2]]) <= set(AMINO)
        assert line.split("\t")[2] == "polypeptide_motif"
        assert line.endswith(f"letters={text[site[0]][site[1] : site[2]]}")
    with open(out / "motifs.meme") as file:
        head = file.read()
    assert f"ALPHABET= {AMINO}\n" in head
    assert "strands:" not in head
    page = (out / "report.html").read_text()
    assert "A motif of 8 aa, GKSTLWCH," in page
    assert "% GC" not in page
    assert "motifs.jaspar" not in page
    assert "<h1>A motif in in<wbr>.fa</h1>" in page
    told = page[: page.index("<h2>How it was made")]
    assert [word for word in ("strand", "ChIP-seq", "no better than chance") if word in told] == []


def test_motif_of_rna(tmp_path):
    rng = np.random.default_rng(22)
    fasta = tmp_path / "in.fa"
    with open(fasta, "w") as file:
        for i in range(60):
            letters = rng.choice(list("ACGU"), size=80)
            if rng.random() < 0.8:
                at = int(rng.integers(70))
                letters[at : at + 8] = list("UGUAUAUA")
            file.write(f">r{i}\n{''.join(letters)}\n")
    out = tmp_path / "out"
    assert main(["motif", str(fasta), "--alphabet", "rna", "--width", "8", "--starts", "10", "--out", str(out)]) == 0
    record = json.loads((out / "fit.json").read_text())
    assert record["extra"]["consensus"] == "UGUAUAUA"
    assert record["model"]["strands"] == "one"
    assert {site[5] for site in read_sites(out / "sites.bed")} == {"+"}
    assert "letters=UGUAUAUA" in (out / "sites.gff3").read_text()
    assert "ALPHABET= ACGU\n" in (out / "motifs.meme").read_text()
    with open(out / "motifs.jaspar") as file:
        (motif,) = motifs.parse(file, "jaspar")
    assert str(motif.consensus) == "TGTATATA"


@pytest.mark.slow
def test_known_motifs_are_named_and_drawn_where_they_lie(twice, tmp_path):
    """Compiling memelite takes half a minute. The second motif is known two positions shorter, turned; the first is not known."""
    _, words = twice
    rng = np.random.default_rng(3)
    known = [rng.dirichlet(np.full(4, 0.4), size=int(rng.integers(8, 14))) for _ in range(40)]
    part = np.full((8, 4), 0.02)
    part[np.arange(8), ["ACGT".index(c) for c in "GCTTATGC"]] = 0.94
    known.insert(7, part)
    text = "MEME version 5\n\nALPHABET= ACGT\n\n"
    for k, matrix in enumerate(known):
        rows = "\n".join(" ".join(f"{p:.6f}" for p in row) for row in matrix)
        text += f"MOTIF K{k}\nletter-probability matrix: alength= 4 w= {len(matrix)} nsites= 20\n{rows}\n\n"
    (tmp_path / "known.meme").write_text(text)
    assert main([*words, "--known", str(tmp_path / "known.meme"), "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "matches.tsv") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    record = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert [r["known"] for r in rows] == [m["known"] for m in record["extra"]["matches"]]
    best = {r["motif"]: r for r in reversed(rows)}
    match = best["tf_2"]
    assert (match["known"], match["overlap"]) == ("K7", "8")
    turned = record["extra"]["motifs"][1]["consensus"] == "GGCATAAGCC"
    assert (match["offset"], match["strand"]) == ("1", "-" if turned else "+")
    assert float(match["q"]) < 1e-3
    assert float(match["E"]) == pytest.approx(41 * float(match["p"]))
    assert float(best["tf_1"]["q"]) > 0.1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "tf_2 is most like K7 (q = " in page
    assert "tf_1 is like none of 41 known motifs" in page
    assert (tmp_path / "out" / "known.svg").is_file()


@pytest.fixture(scope="module")
def dependent(tmp_path_factory):
    """Two words that differ in neighbouring letters as one motif, and a second motif."""
    folder = tmp_path_factory.mktemp("dependent")
    rng = np.random.default_rng(21)
    text = ""
    for i in range(90):
        letters = rng.choice(list("ACGT"), size=90)
        at = int(rng.integers(35))
        letters[at : at + 10] = list(("TGACCGCAGG", "TGAGTGCAGG")[i % 2])
        if i % 3:
            at = 45 + int(rng.integers(30))
            letters[at : at + 10] = list("CATTAATTCC")
        text += f">s{i}\n{''.join(letters)}\n"
    (folder / "in.fa").write_text(text)
    words = ["motif", str(folder / "in.fa"), "--width", "10", "--starts", "10", "--motif-order", "1", "--motifs", "2"]
    assert main([*words, "--out", str(folder / "out")]) == 0
    return folder, words


def test_motifs_of_order_one_have_their_tables_in_files_of_their_own(dependent):
    out = dependent[0] / "out"
    record = json.loads((out / "fit.json").read_text())
    figures = {f"{stem}_2.{kind}" for stem in ("logo", "sites", "positions") for kind in ("svg", "png")}
    figures |= {f"dependence{number}.{kind}" for number in ("", "_2") for kind in ("svg", "png")}
    own = {"dependence.tsv", "motif.ihbcp", "motif_2.ihbcp"}
    assert set(record["outputs"]) == ALWAYS | figures | own
    assert all(OWN.fullmatch(name) for name in record["outputs"])
    assert record["model"]["name"] == "first_order_motif"
    assert record["parameters"]["transitions"]["shape"] == [9, 4, 4]
    first, second = record["extra"]["motifs"]
    assert first["dependence"]["verdict"] == "dependent"
    assert second["dependence"]["verdict"] != "dependent"
    gains = np.array(first["dependence"]["evidence_of_pairs"])
    assert gains.argmax() in (3, 4)  # C before G or G before T, on either strand
    assert gains.sum() == pytest.approx(first["dependence"]["evidence"], rel=1e-12)
    rows = list(csv.DictReader((out / "dependence.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["motif"] for row in rows] == ["motif_1"] * 9 + ["motif_2"] * 9
    bits = np.array([float(row["bits"]) for row in rows[:9]])
    np.testing.assert_allclose(bits, record["parameters"]["dependence"]["value"], rtol=1e-5)
    assert bits.argmax() == gains.argmax()
    assert record["certificate"]["n_held"] > 0
    assert {row["se"] for row in rows[:9]} == {""}  # what leans on held entries has no error
    matrix = np.array(record["parameters"]["matrix"]["value"])
    lines = (out / "motifs.meme").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("letter-probability")) + 1
    rows = np.array([line.split() for line in lines[begin : begin + 10]], dtype=float)
    np.testing.assert_allclose(rows, matrix, atol=1e-6)
    after = np.array(record["parameters"]["transitions"]["value"])
    np.testing.assert_allclose(np.einsum("wa,wab->wb", matrix[:-1], after), matrix[1:], rtol=1e-9)
    lines = (out / "motif.ihbcp").read_text().split("\n")
    np.testing.assert_allclose(np.array(lines[4].split(), dtype=float), after[0].ravel(), rtol=1e-6)
    page = (out / "report.html").read_text()
    assert "The letters of motif_1 depend on the ones before them" in page
    assert "Siebert" in page


def test_threads_change_no_byte_of_a_motif_of_order_one(dependent):
    folder, words = dependent
    assert main([*words, "--threads", "2", "--out", str(folder / "again")]) == 0
    for path in (folder / "out").iterdir():
        if path.suffix not in (".svg", ".png", ".html") and path.name != ".outputs.json":
            assert path.read_bytes() == (folder / "again" / path.name).read_bytes(), path.name

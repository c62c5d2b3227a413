"""``emtools hmm --model coding`` on the lambda genome: reading frames, strands, and genes whose places are known."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from emtools.cli import main
from emtools.io.fasta import decode, read_fasta
from emtools.io.intervals import read_bed
from emtools.models.hmm_known import STOPS, known

GENOME = Path(__file__).parents[2] / "resources" / "lambda.fa"
LENGTH = 48_502
# NC_001416 of the sequence databases (Sanger et al. 1982): 0-based half-open, from the start codon on, and what share is called at
# least. Of O and R the model finds 57 %.
GENES = {
    "J": (15_504, 18_903, "forward", 0.85),
    "int": (27_811, 28_882, "reverse", 0.85),
    "cI": (37_226, 37_940, "reverse", 0.85),
    "O": (38_685, 39_585, "forward", 0.5),
    "R": (45_492, 45_969, "forward", 0.5),
}


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    out = tmp_path_factory.mktemp("coding") / "lambda"
    assert main(["hmm", str(GENOME), "--model", "coding", "--out", str(out), "--quiet"]) == 0
    return read_bed(out / "segments.bed", {"NC_001416.1": LENGTH})


@pytest.fixture(scope="module")
def letters():
    return decode(read_fasta(GENOME)[0].codes)


def test_segments_have_strands_and_whole_codons_without_a_stop(segments, letters):
    assert [s.strand for s in segments] == [{"forward": "+", "reverse": "-"}.get(s.name, ".") for s in segments]
    assert {s.name for s in segments} == {"noncoding", "forward", "reverse"}
    assert all(a.end == b.start for a, b in pairwise(segments))
    turned = letters[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for s in segments:
        inner = s.start > 0 and s.end < LENGTH
        if s.name == "noncoding" or not inner:
            continue
        assert len(s) % 3 == 0
        text = letters[s.start : s.end] if s.strand == "+" else turned[LENGTH - s.end : LENGTH - s.start]
        assert not {text[i : i + 3] for i in range(0, len(text), 3)} & set(STOPS)


@pytest.mark.parametrize("name", list(GENES))
def test_known_genes_are_called_on_their_strand_and_in_their_frame(segments, name):
    begin, end, strand, least = GENES[name]
    inside = np.zeros(end - begin, dtype=bool)
    for s in segments:
        in_frame = (s.start - begin) % 3 == 0 or s.start == 0
        if s.name == strand and in_frame:
            inside[max(s.start - begin, 0) : max(s.end - begin, 0)] = True
    assert inside.mean() > least


@pytest.mark.parametrize(("words", "count"), [((), 1.0), (("--pseudocount", "0"), 0.0), (("--pseudocount", "2"), 2.0)])
def test_rna_has_its_stops_and_the_pseudocount_that_is_asked_for(words, count, letters, tmp_path):
    path, out = tmp_path / "rna.fa", tmp_path / "out"
    path.write_text(">rna\n" + letters[20_000:23_000].replace("T", "U") + "\n")
    command = [
        "hmm",
        str(path),
        "--out",
        str(out),
        "--model",
        "coding",
        "--alphabet",
        "rna",
        "--max-passes",
        "3",
        *words,
    ]
    assert main(command) == 3
    assert json.loads((out / "fit.json").read_text())["model"]["pseudocount"] == count
    page = (out / "report.html").read_text()
    assert "(UAA, UAG, UGA)" in page
    assert "TAA" not in page
    assert "ascending GC" not in page
    assert ("maximum likelihood" in page) == (count == 0.0)


def test_the_model_starts_without_stops_and_can_read_any_letters():
    """Random letters, with every stop in every frame, are possible; a stop within a codon is not, on either strand."""
    ready = known("coding")
    params = ready.params
    np.testing.assert_allclose(params.transition.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(params.emission.sum(axis=2), 1.0, rtol=1e-12)
    assert int((params.emission == 0.0).sum()) == 2 * len(STOPS)
    codes = np.random.default_rng(1).integers(4, size=3000).astype(np.uint8)
    assert np.isfinite(ready.model.posterior(params, codes)).all()
    only_forward = np.array([0, 1, 1, 1, 0, 0, 0]) / 3.0
    for word in STOPS:
        stop = np.array(["ACGT".index(letter) for letter in word], dtype=np.uint8)
        shares = ready.model.posterior(type(params)(only_forward, params.transition, params.emission), stop)
        assert shares[2, 3] == 0.0

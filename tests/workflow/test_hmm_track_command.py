"""``emtools hmm`` on values: the array CGH of GM13330, a grid with gaps, counts, and files that are no bedGraph."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emtools.cli import main
from emtools.io.bedgraph import common_width, on_grid, read_bedgraph
from emtools.io.intervals import read_bed

RATIOS = Path("resources/gm13330.bedgraph")
# Segments beyond 0.2 of DNAcopy 1.72.3 (segment with its defaults, set.seed(1)), first and last clone in kb.
DNACOPY = {"chr1": ("S3", 156_678, 240_000), "chr4": ("S1", 177_282, 184_000)}


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    out = tmp_path_factory.mktemp("track") / "out"
    assert main(["hmm", str(RATIOS), "--states", "3", "--out", str(out)]) == 0
    return out


def test_the_gain_and_the_loss_are_those_of_circular_binary_segmentation(called):
    segments = [s for s in read_bed(called / "segments.bed") if s.name != "S2"]
    found = {s.record: (s.name, s.start // 1000, (s.end - 1000) // 1000) for s in segments if len(s) > 1000}
    assert found == DNACOPY
    single = [s.record for s in segments if len(s) == 1000]
    assert single == ["chr2", "chr22"]


def test_segments_cover_every_step_once_and_posteriors_agree(called):
    tracks = {track.name: track for track in read_bedgraph(RATIOS)}
    table = pd.read_csv(called / "posteriors.tsv.gz", sep="\t")
    assert len(table) == sum(map(len, tracks.values()))
    np.testing.assert_allclose(table[["S1", "S2", "S3"]].sum(axis=1), 1.0, atol=2e-5)
    by_record: dict[str, list] = {}
    for segment in read_bed(called / "segments.bed"):
        by_record.setdefault(segment.record, []).append(segment)
    for name, track in tracks.items():
        assert all(a.end <= b.start and a.name != b.name for a, b in pairwise(by_record[name]))
        assert by_record[name][0].start == track.starts[0]
        assert by_record[name][-1].end == track.ends[-1]


def test_parameters_are_levels_in_order(called):
    table = pd.read_csv(called / "parameters.tsv", sep="\t")
    assert table["level"].is_monotonic_increasing
    record = json.loads((called / "fit.json").read_text())
    assert record["status"] == "converged"
    assert {"segments.bed", "track.png", "report.html"} <= set(record["outputs"])


def write(path, rows):
    path.write_text("track type=bedGraph\n# made here\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def test_bins_of_one_width_lie_on_a_grid_whose_gaps_are_not_observed(tmp_path):
    path = write(
        tmp_path / "x.bedgraph", [("a", 100, 200, 1), ("a", 400, 450, 3), ("a", 200, 300, "NA"), ("b", 0, 100, 5)]
    )
    tracks = read_bedgraph(path)
    width = common_width(tracks)
    assert width == 100
    grid = on_grid(tracks[0], width)
    assert grid.starts.tolist() == [100, 200, 300, 400]
    assert grid.ends.tolist() == [200, 300, 400, 450]
    np.testing.assert_array_equal(grid.values, [1.0, np.nan, np.nan, 3.0])
    far = write(tmp_path / "far.bedgraph", [("a", 0, 100, 1), ("a", 100_000, 100_100, 2)])
    assert common_width(read_bedgraph(far)) is None
    odd = write(tmp_path / "odd.bedgraph", [("a", 0, 100, 1), ("a", 150, 250, 2), ("a", 250, 350, 2)])
    assert common_width(read_bedgraph(odd)) is None


def test_counts_have_levels_that_planted_ones_have(tmp_path):
    rng = np.random.default_rng(3)
    states = np.repeat([0, 1, 0, 1, 0], 80)
    counts = rng.poisson(np.where(states == 1, 12.0, 3.0))
    rows = [("chr1", 50 * i, 50 * i + 50, int(c)) for i, c in enumerate(counts)]
    with gzip.open(tmp_path / "x.bdg.gz", "wt") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    words = [
        "hmm",
        str(tmp_path / "x.bdg.gz"),
        "--states",
        "1-3",
        "--emission",
        "poisson",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    models = pd.read_csv(tmp_path / "out" / "models.tsv", sep="\t")
    assert models["states"][models["BIC"].idxmin()] == 2
    level = pd.read_csv(tmp_path / "out" / "parameters.tsv", sep="\t")["level"]
    np.testing.assert_allclose(level, [3.0, 12.0], rtol=0.15)
    path = np.concatenate([[s.name == "S2"] * (len(s) // 50) for s in read_bed(tmp_path / "out" / "segments.bed")])
    assert (path == states).mean() > 0.97


@pytest.mark.parametrize(
    ("lines", "words", "told"),
    [
        (["a\t0\t10"], [], "line 1: 3 columns"),
        (["a\t0\t10\tx"], [], "line 1"),
        (["a\t10\t5\t1"], [], "start 10, end 5"),
        (["a\t0\t10\tinf"], [], "infinite"),
        (["a\t0\t10\t1", "a\t5\t15\t2"], [], "line 2: overlaps line 1"),
        (["a\t0\t10\tNA"], [], "no value"),
        ([""], [], "no value"),
        (["a\t0\t10\t1.5", "a\t10\t20\t2"], ["--emission", "poisson"], "a:0-10: 1.5"),
        (["a\t0\t10\t1"], ["--order", "1"], "--order: given with values"),
        (["a\t0\t10\t1"], [], "1 values"),
    ],
)
def test_what_is_no_track_is_refused_in_one_line(tmp_path, capsys, lines, words, told):
    path = tmp_path / "x.bedgraph"
    path.write_text("\n".join(lines) + "\n")
    assert main(["hmm", str(path), "--states", "2", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_letters_have_no_emission(tmp_path, capsys):
    words = ["hmm", "resources/lambda.fa", "--states", "2", "--emission", "poisson", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "given with sequences" in capsys.readouterr().err

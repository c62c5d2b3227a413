"""``emtools hmm`` on values: the array CGH of GM13330, a grid with gaps, counts, and files that are no bedGraph."""

from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emtools.branches.hmm.track import rows_of, segments_of
from emtools.cli import main
from emtools.errors import InputError
from emtools.io.bedgraph import ValueTrack, binned, common_width, on_grid, read_bedgraph, read_track
from emtools.io.intervals import read_bed
from emtools.plots.hmm_track import CalledTrack, count_law

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


@pytest.mark.slow
def test_rows_of_many_segments_take_time_by_their_own_steps():
    """A look at all steps of a record for each of its segments took minutes where there were many of both."""
    n = 200_000
    starts = 10 * np.arange(n) + 5 * (np.arange(n) > 7)
    track = ValueTrack("a", starts, starts + 10, np.where(np.arange(n) % 5, np.arange(n) % 7, np.nan))
    path = (np.arange(n) // 10 % 2).astype(np.uint8)
    called = CalledTrack(track, path, np.eye(2)[path])
    segments = segments_of(called, ["S1", "S2"])
    began = process_time()
    rows = rows_of(segments, [called])
    assert process_time() - began < 8.0
    assert (rows["steps"] == 10).all()
    means = [np.nanmean(track.values[10 * k : 10 * k + 10]) for k in range(9)]
    assert rows["mean value"].tolist()[:9] == [f"{mean:.4g}" for mean in means]


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


def write_bigwig(path, rows, sizes):
    pybigtools = pytest.importorskip("pybigtools")
    pybigtools.open(str(path), "w").write(sizes, iter(rows))
    return path


def test_bins_are_means_by_letters():
    """Against a letter-by-letter mean, with intervals that cross bins, gaps, and values that were not observed."""
    rng = np.random.default_rng(4)
    bounds = np.sort(rng.choice(np.arange(37, 900), 60, replace=False))
    starts, ends = bounds[::2], bounds[1::2]
    values = rng.normal(size=30)
    values[[3, 8]] = np.nan
    letters = np.full(1000, np.nan)
    for start, end, value in zip(starts, ends, values, strict=True):
        letters[start:end] = value
    for width in (1, 7, 100, 5000):
        track = binned(ValueTrack("a", starts, ends, values), width)
        assert track.starts[0] == starts[0] // width * width
        assert track.ends[-1] == ends[-1]
        for start, end, mean in zip(track.starts, track.ends, track.values, strict=True):
            held = letters[start:end][np.isfinite(letters[start:end])]
            assert mean == pytest.approx(held.mean(), rel=1e-12) if len(held) else np.isnan(mean)


def test_a_bigwig_says_what_the_bedgraph_says(tmp_path):
    tracks = read_bedgraph(RATIOS)
    rows = [
        (t.name, int(a), int(b), float(v))
        for t in sorted(tracks, key=lambda t: t.name)
        for a, b, v in zip(t.starts, t.ends, t.values, strict=True)
        if np.isfinite(v)
    ]
    path = write_bigwig(tmp_path / "x.bw", rows, {t.name: int(t.ends[-1]) for t in tracks})
    ours = {t.name: t for t in tracks}
    for track in read_track(path):
        theirs = ours[track.name]
        seen = np.isfinite(theirs.values)
        np.testing.assert_array_equal(track.starts, theirs.starts[seen])
        np.testing.assert_array_equal(track.ends, theirs.ends[seen])
        np.testing.assert_array_equal(track.values, theirs.values[seen].astype(np.float32))
    words = ["--states", "2", "--starts", "1", "--bin", "1000000", "--out", str(tmp_path / "out")]
    assert main(["hmm", str(path), *words]) == 0
    first = read_bed(tmp_path / "out" / "segments.bed")[0]
    assert first.start % 1_000_000 == 0


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_bigwig_is_one_line(tmp_path, capsys, damage):
    rows = [("a", 10 * i, 10 * i + 10, float(i % 7)) for i in range(5000)]
    path = write_bigwig(tmp_path / "x.bw", rows, {"a": 50_000})
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "noise": bytes(range(256)) * 40, "empty": b""}[damage])
    assert main(["hmm", str(path), "--states", "2", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "x.bw" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_no_damage_to_a_bigwig_ends_in_a_crash(tmp_path):
    """The library panics, or aborts, on about half of these: it is given a process of its own."""
    rows = [("a", 10 * i, 10 * i + 10, float(i % 7)) for i in range(300)]
    whole = write_bigwig(tmp_path / "x.bw", rows, {"a": 5000}).read_bytes()
    rng = np.random.default_rng(6)
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 8)):
            damaged[at] = rng.integers(256)
        path = tmp_path / f"{number}.bw"
        path.write_bytes(damaged)
        try:
            read_track(path)
        except InputError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(("level", "dispersion"), [(2.0, 0.0), (20.0, 0.0), (20.0, 0.4), (300.0, 1e-7)])
@pytest.mark.parametrize("edges", [np.arange(60) - 0.5, np.linspace(0.0, 2000.0, 81)])
def test_the_curve_of_counts_is_the_probability_of_a_bin(level, dispersion, edges):
    law = stats.nbinom(1.0 / dispersion, 1.0 / (1.0 + dispersion * level)) if dispersion else stats.poisson(level)
    counts = np.arange(0, math.floor(edges[-1]) + 1)
    direct = [law.pmf(counts[(counts > low) & (counts <= high)]).sum() for low, high in pairwise(edges)]
    np.testing.assert_allclose(count_law(level, dispersion, edges), direct, rtol=1e-7, atol=1e-12)


def test_coverage_that_varies_more_than_poisson_has_two_levels_and_not_more(tmp_path):
    """Negative binomial coverage as runs of equal depth: by BIC the Poisson splits its states, the negative binomial not."""
    rng = np.random.default_rng(5)
    states = np.repeat([0, 1, 0, 1, 0, 1], 100)
    depth = rng.negative_binomial(5.0, 5.0 / (5.0 + np.where(states == 1, 60.0, 20.0)))
    rows = [("chr1", 200 * i + a, 200 * i + b, int(d)) for i, d in enumerate(depth) for a, b in ((0, 130), (130, 200))]
    path = write(tmp_path / "x.bedgraph", rows)
    best = {}
    for emission in ("poisson", "negative-binomial"):
        out = tmp_path / emission
        words = ["--states", "1-3", "--starts", "3", "--bin", "200", "--emission", emission, "--out", str(out)]
        assert main(["hmm", str(path), *words]) == 0
        models = pd.read_csv(out / "models.tsv", sep="\t")
        best[emission] = int(models["states"][models["BIC"].idxmin()])
    assert best == {"poisson": 3, "negative-binomial": 2}
    table = pd.read_csv(tmp_path / "negative-binomial" / "parameters.tsv", sep="\t")
    np.testing.assert_allclose(table["level"], [20.0, 60.0], rtol=0.15)
    np.testing.assert_allclose(table["dispersion"], [0.2, 0.2], rtol=0.4)
    told = json.loads((tmp_path / "negative-binomial" / "fit.json").read_text())["extra"]["states"]
    np.testing.assert_allclose([state["dispersion"] for state in told], table["dispersion"])
    assert "level + dispersion × level²" in (tmp_path / "negative-binomial" / "report.html").read_text(encoding="utf-8")
    assert "level²" not in (tmp_path / "poisson" / "report.html").read_text(encoding="utf-8")
    np.testing.assert_allclose(table["spread"], np.sqrt(table["level"] + table["dispersion"] * table["level"] ** 2))
    called = np.concatenate(
        [[s.name == "S2"] * round(len(s) / 200) for s in read_bed(tmp_path / "negative-binomial" / "segments.bed")]
    )
    assert (called == states).mean() > 0.97
    page = (tmp_path / "negative-binomial" / "report.html").read_text()
    assert "rounded to whole numbers" in page


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
        (["a\t0\t10\t-4", "a\t10\t20\t2"], ["--emission", "negative-binomial", "--bin", "5"], "a:0-5: -4"),
        (["a\t0\t1000000000\t4"], ["--bin", "1"], "bins of 1 letters"),
        (["a\t0\t10\t1"], ["--order", "1"], "--order: given with values"),
        (["a\t0\t10\t1"], [], "1 different value; at least one for each of 2 states; use fewer --states"),
        ([f"a\t{10 * i}\t{10 * i + 10}\t5" for i in range(9)], [], "x.bedgraph: 1 different value"),
        (["a\t0\t10\t1", "a\t10\t20\t1e300"], [], "x.bedgraph: a value of size 1e+300; at most 1e+100"),
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

"""BED: written, read back, and refused where it does not fit; bedGraph in pieces."""

import gzip

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.io.bedgraph import read_bedgraph
from emtools.io.intervals import Interval, bedgraph, read_bed, write_bed

LENGTHS = {"chr1": 100, "chr2": 50}


def write(folder, text):
    path = folder / "x.bed"
    path.write_text(text)
    return path


def test_round_trip(tmp_path):
    intervals = [Interval("chr1", 0, 10, "S1", 999, "+"), Interval("chr2", 49, 50, "S2", 0, "-")]
    write_bed(tmp_path / "x.bed", intervals)
    assert read_bed(tmp_path / "x.bed", LENGTHS) == intervals
    assert [len(i) for i in intervals] == [10, 1]


def test_colours_make_nine_columns(tmp_path):
    path = tmp_path / "x.bed"
    write_bed(path, [Interval("chr1", 3, 9, "S1", 500, ".", (0, 114, 178))])
    assert path.read_text() == "chr1\t3\t9\tS1\t500\t.\t3\t9\t0,114,178\n"


def test_headers_short_rows_and_blank_separators(tmp_path):
    path = write(tmp_path, "track name=x\n# note\n\nchr1 1 5\nchr2\t2\t6\tpeak\t1500.7\n")
    assert read_bed(path) == [Interval("chr1", 1, 5), Interval("chr2", 2, 6, "peak", 1000)]


def test_records_may_be_called_like_headers(tmp_path):
    """Of BED and bedGraph, `track` and `browser` are words: a contig track_7 was left out, and nothing said so."""
    path = write(tmp_path, "browser position a\ntrack name=x\ntrack_7\t1\t5\t2.5\nbrowserified 2 6 1.5\n")
    assert [i.record for i in read_bed(path)] == ["track_7", "browserified"]
    assert [track.name for track in read_bedgraph(path)] == ["track_7", "browserified"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("chr1\t5\n", "line 1.*2 columns"),
        ("chr1\ta\tb\n", "line 1.*whole numbers"),
        ("chr1\t1.5\t3\n", "line 1.*whole numbers"),
        ("chr1\t5\t5\n", "start 5, end 5"),
        ("# x\nchr1\t9\t3\n", "line 2.*start 9"),
        ("chr1\t-1\t3\n", "start -1"),
        ("chr3\t1\t3\n", "'chr3'.*chr1, chr2"),
        ("chr2\t1\t51\n", "end 51.*50 letters"),
        ("chr1\t1\t3\tx\t0\t*\n", "strand"),
        ("# nothing\n", "no interval"),
        (">a\nACGT\n", "line 1.*1 columns"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_bed(write(tmp_path, text), LENGTHS)


def test_a_track_in_pieces_joins_its_runs(tmp_path):
    """Runs go on over pieces of one record, not over records, and the bytes are those of the whole."""
    values = {"one": np.array([0.1, 0.1, 0.1, 0.9, 0.9004, 0.9]), "two": np.array([0.9, 0.9, 0.5])}
    for size in (1, 2, 4, 100):
        path = tmp_path / f"{size}.bedgraph.gz"
        with bedgraph(path, "P(S1)", (0, 114, 178)) as track:
            for record, row in values.items():
                for begin in range(0, len(row), size):
                    track.add(record, begin, row[begin : begin + size])
        head, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
        assert head == 'track type=bedGraph name="P(S1)" color=0,114,178 viewLimits=0:1 autoScale=off'
        assert rows == ["one\t0\t3\t0.1", "one\t3\t6\t0.9", "two\t0\t2\t0.9", "two\t2\t3\t0.5"]
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1

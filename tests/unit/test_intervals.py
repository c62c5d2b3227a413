"""BED: written, read back, and refused where it does not fit."""

import pytest

from emtools.errors import InputError
from emtools.io.intervals import Interval, read_bed, write_bed

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

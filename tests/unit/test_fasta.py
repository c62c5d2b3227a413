"""FASTA: what is read, and what is said of every file that cannot be."""

import gzip

import numpy as np
import pytest

from emtools.errors import InputError
from emtools.io.fasta import ALPHABETS, decode, partial_sets, read_fasta


def write(folder, content):
    path = folder / "x.fa"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b">a first one\nACgtN\nAC\n>b\nTTT\n",
        b">a first one\r\nACgtN\r\nAC\r\n>b\r\nTTT",
        b"\n\n>a first one\nAC gt\nNAC\n\n>b\nTTT\n\n",
        b"\xef\xbb\xbf>a\tfirst one\nacgtn\nac\n>b\nttt\n",
        b">a first one\rACgtN\rAC\r>b\rTTT\r",
        gzip.compress(b">a first one\nACgtN\nAC\n>b\nTTT\n", mtime=0),
        gzip.compress(b">a first one\nACgt", mtime=0) + gzip.compress(b"NAC\n>b\nTTT\n", mtime=0),
    ],
    ids=["plain", "windows", "blanks", "bom_tab_lower", "old_mac", "gzip", "bgzip_blocks"],
)
def test_records_are_read(tmp_path, content):
    one, two = read_fasta(write(tmp_path, content))
    assert (one.name, one.description) == ("a", "first one")
    np.testing.assert_array_equal(one.codes, [0, 1, 2, 3, 4, 0, 1])
    assert one.codes.dtype == np.uint8
    assert (two.name, two.description, decode(two.codes)) == ("b", "", "TTT")


@pytest.mark.parametrize(
    ("alphabet", "text", "shown"),
    [("dna", "ACRYT", "ACNNT"), ("rna", "acguN", "ACGUN"), ("protein", "MKXB*w", "MKXXXW")],
)
def test_alphabets_and_ambiguity_codes(tmp_path, alphabet, text, shown):
    (record,) = read_fasta(write(tmp_path, f">a\n{text}\n".encode()), alphabet)
    assert decode(record.codes, alphabet) == shown
    assert record.codes.max() <= len(ALPHABETS[alphabet])


@pytest.mark.parametrize(
    ("alphabet", "text", "sets"),
    [
        ("dna", "RYSWKMBDHVryswkmbdhv", "AG CT CG AT GT AC CGT AGT ACT ACG " * 2),
        ("rna", "RYSWKMBDHV", "AG CU CG AU GU AC CGU AGU ACU ACG"),
        ("protein", "BZJbzj", "DN EQ IL " * 2),
    ],
)
def test_codes_of_several_letters_are_the_sets_of_iupac(tmp_path, alphabet, text, sets):
    letters = ALPHABETS[alphabet]
    plain = letters * 12
    (record,) = read_fasta(write(tmp_path, f">a\n{plain}X{text}\n".encode()), alphabet, partial=True)
    unknown, *codes = record.codes[len(plain) :].tolist()
    assert unknown == len(letters)
    groups = partial_sets(alphabet)
    found = ["".join(letters[i] for i in groups[code - len(letters) - 1]) for code in codes]
    assert found == sets.split()


def test_ten_million_letters_on_one_line(tmp_path):
    (record,) = read_fasta(write(tmp_path, b">long\n" + b"ACGTN" * 2_000_000))
    assert len(record.codes) == 10_000_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "only blanks"),
        (b">", "line 1.*without a name"),
        (b">a\nACGT\n>\nAC\n", "line 3.*without a name"),
        (b">a\n>b\nACGT\n", "record 'a'.*line 1.*no letter"),
        (b">a\nACGT\n>b\n\n", "record 'b'.*line 3.*no letter"),
        (b"a,b\n1,2\n", "starts with 'a,b'.*FASTA"),
        (b"@read\nACGT\n+\nIIII\n", "starts with '@read'.*FASTA"),
        (b"\x89HDF\r\n\x1a\n\0", "FASTA"),
        (">a\nACGT\n".encode("utf-16"), "FASTA"),
        (b">p\nMKVL\n", "record 'p'.*position 4.*'L'.*--alphabet protein"),
        (b">p\nMKVVHHSDYAKKKK\n", "ambiguity codes.*--alphabet protein"),
        (b">r\nACGUUU\n", "position 4.*--alphabet rna"),
        (b">a\x1b[2Jb\nACGT\n", "line 1.*control character in the name"),
        (b">a\nACGT\n>a again\nAC\n", "record 'a'.*line 3.*line 1"),
        (b">a\nAC-GT\n", "position 3.*gaps"),
        (b">a\n1 ACGT\n", "position 1.*'1'"),
        (b">a\nAC\xc3\xa9GT\n", "position 3.*byte 0xc3"),
        (b">a\nNNNN\n>b\nNN\n", "none of 6 letters"),
        (gzip.compress(b">a\n" + b"ACGTTGCA" * 999, mtime=0)[:-12], "damaged gzip"),
        (b"\x1f\x8bnot gzip", "damaged gzip"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as error:
        read_fasta(write(tmp_path, content))
    message = str(error.value)
    assert message.startswith(str(tmp_path / "x.fa"))
    assert "\n" not in message


def test_dna_given_as_protein_or_rna_is_named(tmp_path):
    path = write(tmp_path, b">a\n" + b"ACGT" * 20)
    with pytest.raises(InputError, match="--alphabet dna"):
        read_fasta(path, "protein")
    with pytest.raises(InputError, match=r"position 4.*--alphabet dna"):
        read_fasta(path, "rna")


def test_absent_file_and_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_fasta(tmp_path / "absent.fa")
    with pytest.raises(InputError, match="is a folder"):
        read_fasta(tmp_path)

"""Motifs of protein and RNA: the E-step against enumeration, the search on planted motifs, files, and motifs read from files."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import gammaln

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.errors import InputError
from emtools.io.fasta import ALPHABETS
from emtools.io.motif_files import read_motifs
from emtools.io.motifs import Matrix, consensus, write_jaspar, write_meme
from emtools.kernels.dyads import count_triplets
from emtools.kernels.motif import best_windows
from emtools.models.motif import Motif, MotifParams, estimate_background
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.erasing import erase
from emtools.motif_finding.evidence import STRENGTH, Scene, column_gains
from emtools.motif_finding.search import Terms, search, settle
from emtools.motif_finding.seeds import enriched_triplets, triplet_matrix
from emtools.motif_finding.significance import held_out_test, shuffled_pieces, site_p_values

PROTEIN = ALPHABETS["protein"]
WIDTH = 3


def encode(text, letters=PROTEIN):
    return np.array([letters.find(c) if c in letters else len(letters) for c in text], dtype=np.uint8)


def protein_model(source, width=WIDTH, order=0, **kwargs):
    return Motif(width, estimate_background(source, order, 20, both=False), n_letters=20, strands="one", **kwargs)


def random_matrix(width, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(20), size=width)


@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
@pytest.mark.parametrize("order", [0, 1])
def test_e_step_of_protein_equals_enumeration(occurrence, order):
    texts = ["MKVLAWYW", "AXGHKVL", "XX", "WWW"]
    source = SequenceSource([encode(t) for t in texts], free=np.linspace(0.2, 1.0, 20))
    model = protein_model(source, order=order, occurrence=occurrence)
    params = MotifParams(1.0 if occurrence == "oops" else 0.37, random_matrix(WIDTH, 1))
    loglik, counts = 0.0, np.zeros((WIDTH, 20))
    for i, text in enumerate(texts):
        codes, low = encode(text), source.offsets[i]
        context, logs = 20, []
        for code in codes:
            logs.append(0.0 if code == 20 else model.background.log_table[context if order else 0, code])
            context = int(code)
        starts = [j for j in range(len(text) - WIDTH + 1) if "X" not in text[j : j + WIDTH]]
        rate = params.occurrence if starts else 0.0
        parts = [(math.exp(sum(logs)) * (1.0 - rate), None)]
        for j in starts:
            site = (
                params.matrix[np.arange(WIDTH), codes[j : j + WIDTH]].prod() * source.free[low + j : low + j + 3].prod()
            )
            parts.append((rate / len(starts) * math.exp(sum(logs[:j]) + sum(logs[j + WIDTH :])) * site, j))
        total = math.fsum(p for p, _ in parts)
        loglik += math.log(total)
        for p, j in parts[1:]:
            counts[np.arange(WIDTH), codes[j : j + WIDTH]] += p / total
    stats = total_stats(model, source, params)
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12, atol=1e-12)
    assert model.expected_loglik(stats, params) + stats.entropy == pytest.approx(stats.loglik, rel=1e-12)


def test_likelihood_of_all_proteins_of_a_length_sums_to_one():
    source = SequenceSource([encode("MKVLAWYWHHGG")])
    model = protein_model(source, width=2)
    params = MotifParams(0.4, random_matrix(2, 3))
    everything = SequenceSource([np.array(word, dtype=np.uint8) for word in itertools.product(range(20), repeat=3)])
    logs = model.run_e_step(params, everything.chunk(0))
    each = [
        model.run_e_step(params, SequenceSource([everything[i]]).chunk(0))[0][1]
        for i in range(0, everything.n_units, 97)
    ]
    assert logs[0][1] < 0.0
    low = np.exp([model.background.log_table[0, list(everything[i])].sum() for i in range(everything.n_units)])
    ratio = params.matrix / model.background.frequencies
    codes = np.array([everything[i] for i in range(everything.n_units)], dtype=np.int64)
    mean = 0.5 * sum(ratio[0, codes[:, j]] * ratio[1, codes[:, j + 1]] for j in (0, 1))
    mixture = low * (0.6 + 0.4 * mean)
    assert mixture.sum() == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(np.exp(each), mixture[::97], rtol=1e-12)


def test_best_windows_are_those_of_a_search_by_hand():
    rng = np.random.default_rng(4)
    texts = ["".join(rng.choice(list(PROTEIN + "X"), size=n)) for n in (2, 30, 40, 50, 3)]
    source = SequenceSource([encode(t) for t in texts])
    background = estimate_background(source, 0, 20, both=False)
    matrix = random_matrix(4, 2)
    outside = np.where(source.codes < 20, np.log(background.frequencies)[source.codes % 20], 0.0)
    found = best_windows(source.codes, source.offsets, outside, np.log(matrix), False, np.empty(0), -50.0)
    assert found[0].tolist() == [1, 2, 3]
    logs = np.log(matrix / background.frequencies)
    for i, start, strand, log_ratio in zip(*found, strict=True):
        codes = encode(texts[i])
        scores = {
            j: logs[np.arange(4), codes[j : j + 4]].sum()
            for j in range(len(codes) - 3)
            if (codes[j : j + 4] < 20).all()
        }
        assert strand == 0
        assert log_ratio == pytest.approx(max(scores.values()), rel=1e-12)
        assert scores[int(start)] == pytest.approx(log_ratio, rel=1e-12)


def test_evidence_of_a_column_of_protein_is_the_dirichlet_multinomial():
    p = np.random.default_rng(1).dirichlet(np.ones(20))
    words = np.array([[3], [3], [17], [0], [20]], dtype=np.uint8)
    logs = np.where(words < 20, np.log(p)[words % 20], 0.0)
    alpha, counts = STRENGTH * p, np.bincount(words[words < 20], minlength=20)
    exact = gammaln(STRENGTH) - gammaln(STRENGTH + 4) + (gammaln(counts + alpha) - gammaln(alpha)).sum()
    assert column_gains(words, logs, p).sum() == pytest.approx(exact - logs.sum(), rel=1e-12)


def test_triplets_are_counted_once_a_sequence():
    codes = np.concatenate([encode("AQCDAACD"), encode("ACCXD"), encode("AACD")])
    counts, n_windows = count_triplets(codes, np.array([0, 8, 13, 17]), 2, 1, 20)
    assert n_windows == 5 + 0 + 1
    a, c, d = (PROTEIN.index(letter) for letter in "ACD")
    assert counts[(a * 20 + c) * 20 + d] == 2
    assert counts.sum() == 5
    background = estimate_background(SequenceSource([codes]), 0, 20, both=False)
    matrix = triplet_matrix((a, c, d), (0, 2, 3), 6, background)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    assert [PROTEIN[i] for i in matrix.argmax(axis=1)[[1, 3, 4]]] == ["A", "C", "D"]


@pytest.fixture(scope="module")
def planted():
    """Proteins with one of two motifs in most of them."""
    rng = np.random.default_rng(9)
    codes, places = [], []
    for _ in range(80):
        sequence = rng.integers(0, 20, size=150).astype(np.uint8)
        at = int(rng.integers(60))
        if rng.random() < 0.8:
            word = encode("GKSTLWCHDE")
            word[rng.integers(10, size=2)] = rng.integers(20, size=2)
            sequence[at : at + 10] = word
        places.append(at)
        if rng.random() < 0.6:
            sequence[100 + at // 2 :][:8] = encode("PYNNRFMW")
        codes.append(sequence)
    return SequenceSource(codes), places


def test_planted_motifs_of_proteins_are_found(planted):
    source, places = planted
    background, terms = estimate_background(source, 0, 20, both=False), Terms((6, 14), both=False)
    (letters, _, _), *_ = enriched_triplets(source, background, 14, 3)
    assert set(letters) <= set(encode("GKSTLWCHDEPYNNRFMW").tolist())
    model, start = settle(source, background, terms, search(source, background, terms, seeds=10))
    params = climb(model, source, start).params
    assert consensus(params.matrix, PROTEIN) == "PYNNRFMW"
    rest = erase(source, model, params)
    model, start = settle(rest, background, terms, search(rest, background, terms, seeds=10))
    params = climb(model, rest, start).params
    assert consensus(params.matrix, PROTEIN) == "GKSTLWCHDE"
    calls = call_sites(model, params, rest)
    assert len(calls.start) >= 55
    assert sum(places[i] == at for i, at in zip(calls.sequence, calls.start, strict=True)) >= 0.95 * len(calls.start)


def test_a_motif_of_proteins_is_told_from_chance(planted):
    source, _ = planted
    background, terms = estimate_background(source, 0, 20, both=False), Terms((10, 10), both=False)
    assert held_out_test(source, background, terms, 0, 8).p < 1e-3
    rng = np.random.default_rng(3)
    random = SequenceSource([rng.integers(0, 20, size=150).astype(np.uint8) for _ in range(60)])
    assert held_out_test(random, estimate_background(random, 0, 20, both=False), terms, 0, 8).p > 0.05


def test_shuffles_of_proteins_keep_letters_and_places_of_unknown_ones():
    codes = encode("MKVXLAWYWHHGGKLMX")
    shuffled = shuffled_pieces(codes, np.random.default_rng(0), 20)
    assert sorted(shuffled[:3]) == sorted(codes[:3])
    assert sorted(shuffled[4:-1]) == sorted(codes[4:-1])
    assert not np.array_equal(shuffled, codes)
    assert (np.flatnonzero(shuffled == 20) == np.flatnonzero(codes == 20)).all()


def test_p_value_of_a_site_of_a_protein_is_that_of_all_words():
    p, matrix = np.random.default_rng(5).dirichlet(np.full(20, 5.0)), random_matrix(2, 6)
    logs = np.log(matrix / p)
    scores = logs[0][:, None] + logs[1]
    chance = np.outer(p, p)
    exact = np.array([chance[scores >= score].sum() for score in scores.ravel()])
    ours = site_p_values(matrix, p, scores.ravel())
    assert (ours >= exact - 1e-12).all()
    np.testing.assert_allclose(ours, exact, atol=0.02)


def test_windows_and_order_follow_the_alphabet():
    source = SequenceSource([encode("MKVXLAW"), encode("XX")])
    scene = Scene.of(source, estimate_background(source, 0, 20, both=False), both=False, many=False)
    assert scene.windows(3).tolist() == [2, 0]
    assert choose_order(10**7, control=True, alphabet=20) == 0
    assert choose_order(10**7, control=True) == 5


def test_consensus_of_rna_and_protein():
    matrix = np.array([[0.9, 0.05, 0.03, 0.02], [0.01, 0.02, 0.02, 0.95], [0.4, 0.0, 0.1, 0.5]])
    assert consensus(matrix, "ACGU") == "AUW"
    rows = np.full((2, 20), 0.01)
    rows[0, 4], rows[1, [1, 2]] = 0.81, 0.41
    assert consensus(rows, PROTEIN) == "Fx"


@pytest.mark.parametrize("letters", ALPHABETS.values(), ids=ALPHABETS.keys())
def test_meme_files_are_read_back(letters, tmp_path):
    rng = np.random.default_rng(2)
    n = len(letters)
    matrices = [Matrix(f"m{k}", rng.dirichlet(np.ones(n), size=w), np.ones((w, n)), 7) for k, w in enumerate((5, 9))]
    write_meme(tmp_path / "m.meme", matrices, np.full(n, 1 / n), False, letters)
    read = read_motifs(tmp_path / "m.meme", letters)
    assert [m.name for m in read] == ["m0", "m1"]
    for one, other in zip(read, matrices, strict=True):
        np.testing.assert_allclose(one.matrix, other.shares, atol=2e-6)
    assert ("strands" in (tmp_path / "m.meme").read_text()) == (letters == "ACGT")


def test_a_name_in_the_text_of_meme_ends_where_its_statistics_begin(tmp_path):
    rows = " 0.1 0.2 0.3 0.4\n" * 4
    (tmp_path / "meme.txt").write_text(
        "MEME version 5.5.7\nALPHABET= ACGT\nMOTIF TGAC MEME-1\twidth =   4  sites =  18  llr = 90  E-value = 1.2e-005\n"
        f"letter-probability matrix: alength= 4 w= 4 nsites= 18 E= 1.2e-005\n{rows}"
    )
    assert [m.name for m in read_motifs(tmp_path / "meme.txt", "ACGT")] == ["TGAC MEME-1"]


def test_a_row_of_blanks_is_refused_at_once(tmp_path):
    """A pattern with three ways to share blanks out took minutes."""
    (tmp_path / "a.jaspar").write_text(">MA1\n" + "A" + " " * 20_000 + "]]\n" + "C 1\nG 1\nT 1\n")
    with pytest.raises(InputError, match="line 2"):
        read_motifs(tmp_path / "a.jaspar", "ACGT")


def test_jaspar_files_are_read_with_and_without_letters(tmp_path):
    counts = np.array([[8.0, 1.0, 1.0, 0.0], [0.0, 0.0, 5.0, 5.0]])
    write_jaspar(tmp_path / "a.jaspar", [Matrix("MA1", counts, counts, 10)])
    (tmp_path / "b.pfm").write_text(">MA1 some\n8 0\n1 0\n1 5\n0 5\n\n>MA2\n1 1 1\n1 1 1\n1 1 1\n1 1 1\n")
    for name in ("a.jaspar", "b.pfm"):
        first, *_ = read_motifs(tmp_path / name, "ACGT")
        assert first.name.startswith("MA1")
        np.testing.assert_allclose(first.matrix, counts / 10)
    np.testing.assert_allclose(read_motifs(tmp_path / "a.jaspar", "ACGU")[0].matrix, counts / 10)
    assert [m.name for m in read_motifs(tmp_path / "b.pfm", "ACGT")] == ["MA1 some", "MA2"]


BAD = {
    "empty": ("", "empty"),
    "fasta": (">a\nACGT\n", "1 rows for 'a'"),
    "other text": ("hello\n", "starts with 'hello'"),
    "no motif": ("MEME version 5\n\nALPHABET= ACGT\n", "no motif"),
    "other alphabet": ("MEME version 5\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n", "alphabet ACDEFGHIKLMNPQRSTVWY"),
    "alphabet of its own": ('MEME version 5\nALPHABET "DNA" DNA-LIKE\n', "an alphabet of its own"),
    "cut short": (
        "MEME version 5\nMOTIF a\nletter-probability matrix: alength= 4 w= 2\n1 0 0 0\n",
        "1 rows for 'a'; w= 2",
    ),
    "three columns": ("MEME version 5\nMOTIF a\nletter-probability matrix: w= 1\n1 0 0\n", "rows of [3] numbers"),
    "nothing in a column": (">a\nA [1 0]\nC [0 0]\nG [0 0]\nT [0 0]\n", "without any letter"),
    "too large": (">a\n1e308\n1e308\n1e308\n1e308\n", "or with too many"),
    "unequal rows": (">a\n1 2\n1\n1 2\n1 2\n", "rows of different lengths"),
    "word for a number": (">a\n1 x\n1 1\n1 1\n1 1\n", "numbers"),
    "negative": (">a\n1 -1\n1 1\n1 1\n1 1\n", "none below 0"),
    "not a number": (">a\n1 nan\n1 1\n1 1\n1 1\n", "finite numbers"),
    "letters turned": (">a\nT [1]\nG [1]\nC [1]\nA [1]\n", "the counts of A"),
    "no name": (">\n1\n1\n1\n1\n", "without a name"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_damaged_motif_files_are_one_line(text, message, tmp_path):
    path = tmp_path / "known.txt"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_motifs(path, "ACGT")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))

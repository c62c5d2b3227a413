"""Motifs whose letters depend on the one before: against enumeration, against order 0, and what the evidence tells."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_motif import SETS, encode, letter_logs, source_of

from emtools.branches.motif.neighbours import without_leaning_errors
from emtools.branches.motif.page import Finding
from emtools.engine.certificate import certify
from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io.motifs import write_ihbcp
from emtools.kernels.motif import background_letters
from emtools.models.first_order_motif import FirstOrderMotif, FirstOrderParams
from emtools.models.motif import Motif, MotifParams, estimate_background
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.dependence import STRENGTHS, dependence_gains, linked, look_at, told_by
from emtools.motif_finding.erasing import erase
from emtools.motif_finding.significance import site_p_values


def motif_of(source, width=3, order=1, **kwargs):
    both = kwargs.get("strands", "both") == "both"
    return Motif(width, estimate_background(source, order, both=both), **kwargs)


def random_tables(motif, seed):
    rng = np.random.default_rng(seed)
    rate = 1.0 if motif.occurrence == "oops" else float(rng.uniform(0.2, 0.7))
    first, rest = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4), size=(motif.width - 1, 4))
    return FirstOrderParams(rate, first, rest)


def model_of(motif, strength=4.0):
    return FirstOrderMotif(motif, np.random.default_rng(5).dirichlet(np.ones(4), size=motif.width), strength)


def word_chance(word, params):
    """Probability of a site, and its counts, letter by letter from the definition."""
    counts = np.zeros((len(word), 4, 4))
    p = params.first[word[0]]
    counts[0, 0, word[0]] = 1
    for w in range(1, len(word)):
        p *= params.transitions[w - 1, word[w - 1], word[w]]
        counts[w, word[w - 1], word[w]] = 1
    return p, counts


def placements(n, width, open_at, many):
    """Every way to lay sites that do not overlap: tuples of starts; one at most unless `many`."""
    if not many:
        return [(), *((j,) for j in open_at)]
    found = [()]
    for size in range(1, n // width + 1):
        found += [
            c for c in itertools.combinations(open_at, size) if all(b - a >= width for a, b in itertools.pairwise(c))
        ]
    return found


def complete_data(text, params, motif):
    """Every configuration of one sequence: (joint probability, sites, counts)."""
    logs, width, codes = letter_logs(text, motif.background), motif.width, encode(text)
    strands = (1, -1) if motif.both else (1,)
    open_at = [j for j in range(len(text) - width + 1) if "N" not in text[j : j + width]]
    many, rate, found = motif.occurrence == "anr", params.occurrence, []
    for starts in placements(len(text), width, open_at, many):
        covered = {j + w for j in starts for w in range(width)}
        outside = math.exp(sum(logs[j] for j in range(len(text)) if j not in covered))
        if many:
            passed = [j for j in open_at if j not in covered]
            prior = (rate / len(strands)) ** len(starts) * (1.0 - rate) ** len(passed)
        elif not open_at:
            prior = 1.0
        else:
            prior = rate / (len(open_at) * len(strands)) if starts else 1.0 - rate
        for signs in itertools.product(strands, repeat=len(starts)):
            p, counts = prior * outside, np.zeros((width, 4, 4))
            for j, sign in zip(starts, signs, strict=True):
                word = codes[j : j + width].astype(int)
                chance, more = word_chance(word if sign == 1 else 3 - word[::-1], params)
                p, counts = p * chance, counts + more
            if p > 0.0:
                found.append((p, len(starts), counts))
    return found


@pytest.mark.parametrize("texts", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("occurrence", ["oops", "zoops", "anr"])
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize("width", [2, 3])
def test_e_step_equals_enumeration_of_all_sites(texts, occurrence, strands, order, width):
    """Over the configurations of all sequences; the log-likelihood of a set is the sum of those of its sequences."""
    source = source_of(texts)
    motif = motif_of(source, width, order, occurrence=occurrence, strands=strands)
    model, params = model_of(motif), random_tables(motif, 3)
    stats = total_stats(model, source, params)
    loglik, entropy, n_sites, counts = 0.0, 0.0, 0.0, np.zeros((width, 4, 4))
    for text in texts:
        space = complete_data(text, params, motif)
        total = math.fsum(p for p, _, _ in space)
        loglik += math.log(total)
        entropy -= math.fsum(p / total * math.log(p / total) for p, _, _ in space)
        n_sites += math.fsum(p * n for p, n, _ in space) / total
        counts += sum(p * c for p, _, c in space) / total
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)
    assert stats.n_sites == pytest.approx(n_sites, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [4, 5, 7, 8, 20])
@pytest.mark.parametrize("order", [0, 1, 3, 5])
@pytest.mark.parametrize("strands", ["one", "both"])
def test_words_that_share_a_letter_equal_the_letters_one_by_one(width, order, strands):
    """Words of four letters against log space letter by letter, and against the independent motif where all rows are alike."""
    rng = np.random.default_rng(width)
    sequences = [rng.integers(4, size=n).astype(np.uint8) for n in (60, 47, 25, 33, 3)]
    sequences[1][20] = 4
    source = SequenceSource(sequences, free=rng.uniform(0.2, 1.0, size=168))
    motif = motif_of(source, width, order, strands=strands)
    params = random_tables(motif, 2)
    stats = total_stats(model_of(motif), source, params)
    totals, counts, _, _ = motif.run_e_step(params.scored, source.chunk(0))
    found = [stats.n, stats.loglik, stats.entropy, stats.n_rooms, stats.n_sites, stats.constant]
    np.testing.assert_allclose(found, totals, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-11, atol=1e-13)
    alike = FirstOrderParams(params.occurrence, params.first, np.repeat(params.transitions[:, :1], 4, axis=1))
    one, other = (
        total_stats(m, source, p)
        for m, p in ((model_of(motif), alike), (motif, MotifParams(alike.occurrence, alike.matrix)))
    )
    assert one.loglik == pytest.approx(other.loglik, rel=1e-13)
    np.testing.assert_allclose(one.counts.sum(axis=1), other.counts, rtol=1e-11, atol=1e-13)


def test_likelihood_of_all_sequences_sums_to_one():
    source = source_of(["ACGTTGCA", "TTAAC"])
    texts = ["".join(letters) for letters in itertools.product("ACGT", repeat=5)]
    for occurrence in ("oops", "zoops", "anr"):
        motif = motif_of(source, 3, 1, occurrence=occurrence)
        logs = [total_stats(model_of(motif), source_of([text]), random_tables(motif, 8)).loglik for text in texts]
        assert math.fsum(map(math.exp, logs)) == pytest.approx(1.0, rel=1e-12)


def test_marginals_are_those_of_all_words():
    motif = motif_of(source_of(SETS["plain"]), 4)
    params = random_tables(motif, 1)
    expected = np.zeros((4, 4))
    for word in itertools.product(range(4), repeat=4):
        p, _ = word_chance(np.array(word), params)
        expected[np.arange(4), word] += p
    np.testing.assert_allclose(params.matrix, expected, rtol=1e-13)


def test_m_step_is_the_maximum_and_shrinks_to_the_base():
    source = source_of(SETS["unknown"])
    motif = motif_of(source)
    model, params = model_of(motif), random_tables(motif, 1)
    stats = total_stats(model, source, params)
    best = model.m_step(stats, params)
    top = model.expected_loglik(stats, best) + model.log_prior(best)
    vector = model.pack(best)
    assert vector.size == 1 + 3 + 2 * 12
    np.testing.assert_allclose(model.unpack(vector).transitions, best.transitions, rtol=1e-12)
    for step in np.random.default_rng(0).normal(scale=0.02, size=(40, vector.size)):
        other = model.unpack(vector + step)
        assert model.expected_loglik(stats, other) + model.log_prior(other) < top
    strong = FirstOrderMotif(motif, model.base, 1e9).m_step(stats, params)
    np.testing.assert_allclose(strong.transitions, np.repeat(model.base[1:, None], 4, axis=1), rtol=1e-6)


def planted(rng, n=120, length=40, linked_letters=True):
    """A motif of six positions in three of four sequences: ACAGCA or TGTGCA, or each of the first three letters alone."""
    sequences = [rng.integers(4, size=length).astype(np.uint8) for _ in range(n)]
    words = [encode("ACAGCA"), encode("TGTGCA")]
    for codes in sequences[: 3 * n // 4]:
        at = int(rng.integers(length - 6))
        picks = np.full(6, rng.integers(2)) if linked_letters else rng.integers(2, size=6)
        word = np.array([words[k][w] for w, k in enumerate(picks)], dtype=np.uint8)
        codes[at : at + 6] = word if rng.random() < 0.5 else 3 - word[::-1]
    return SequenceSource(sequences)


def near(words):
    """A matrix that prefers the letters of these words alike."""
    matrix = np.full((6, 4), 0.02)
    for word in words:
        matrix[np.arange(6), encode(word)] += 0.46
    return matrix / matrix.sum(axis=1, keepdims=True)


def test_standard_errors_are_those_of_the_numerical_hessian():
    source = planted(np.random.default_rng(2), n=60)
    motif = motif_of(source, 3, 0)
    model = FirstOrderMotif(motif, np.array([[0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1], [0.4, 0.1, 0.1, 0.4]]), 20.0)
    params = fit(model, source, tol=1e-11, certificate=False).params
    seen = certify(model, source, params)
    assert seen.kind == "maximum"
    packed = model.pack(params)

    def objective(vector):
        at = model.unpack(vector)
        return total_stats(model, source, at).loglik + model.log_prior(at)

    h, n = 0.02, packed.size
    hessian = np.zeros((n, n))
    for i, j in itertools.combinations_with_replacement(range(n), 2):
        total = 0.0
        for a, b, sign in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
            for scale, weight in ((1, 4 / 3), (2, -1 / 12)):
                step = np.zeros(n)
                step[i] += scale * a * h
                step[j] += scale * b * h
                total += weight * sign * objective(packed + step) / (4 * h**2)
        hessian[i, j] = hessian[j, i] = total
    covariance = np.linalg.inv(-hessian)
    for name in ("occurrence", "transitions", "matrix", "dependence"):

        def value(vector, name=name):
            return np.ravel(model.natural(model.unpack(vector))[name])

        steps = 1e-4 * np.eye(n)
        jacobian = np.array([(value(packed + s) - value(packed - s)) / 2e-4 for s in steps]).T
        expected = np.sqrt(np.einsum("ip,pq,iq->i", jacobian, covariance, jacobian))
        np.testing.assert_allclose(np.ravel(seen.standard_errors[name]), expected, rtol=2e-3)


def test_evidence_tells_dependent_letters_from_independent_ones_and_the_tables_find_more_sites():
    words = ("ACAGCA", "TGTGCA")
    for linked_letters in (True, False):
        source = planted(np.random.default_rng(3), linked_letters=linked_letters)
        motif = motif_of(source, 6, 0)
        apart = climb(motif, source, MotifParams(0.7, near(words))).params
        seen = look_at(motif, apart, source)
        of, start = linked(motif, apart, seen)
        result = fit(of, source, init=[start], certificate=False)
        objectives = [row.objective for row in result.trace]
        assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(objectives))
        bits = of.dependence(result.params)
        if linked_letters:
            assert seen.verdict == "dependent"
            assert seen.evidence > 20.0
            assert seen.strength == STRENGTHS[-1]
            assert bits[:2].min() > 0.5
            assert result.loglik > total_stats(motif, source, apart).loglik + 20.0
        else:
            assert seen.verdict != "dependent"
            assert bits.max() < 0.1


def test_gains_are_the_ratios_of_predictions_of_one_letter_after_another():
    rng = np.random.default_rng(1)
    letters, p = rng.integers(4, size=(9, 3)).astype(np.uint8), rng.dirichlet(np.ones(4))
    expected = np.zeros((2, 2))
    for w in (1, 2):
        for i in range(9):
            b, above = letters[i, w], letters[:i, w]
            base = (np.count_nonzero(above == b) + 2.0 * p[b]) / (i + 2.0)
            same = letters[:i, w - 1] == letters[i, w - 1]
            dependent = (np.count_nonzero(above[same] == b) + 5.0 * base) / (same.sum() + 5.0)
            sharper = (np.count_nonzero(above == b) + 5.0 * base) / (i + 5.0)
            expected[:, w - 1] += np.log(dependent / np.array([base, sharper]))
    np.testing.assert_allclose(dependence_gains(letters, p, 5.0), expected, rtol=1e-12)
    always = np.repeat(letters[:1], 9, axis=0)
    np.testing.assert_allclose(dependence_gains(always, p, 5.0)[1], 0.0, atol=1e-14)


@pytest.mark.parametrize("n_sites", [10, 20, 150])
@pytest.mark.parametrize("evenness", [0.1, 1.0])
def test_independent_letters_are_not_called_dependent_in_few_sites_or_many(n_sites, evenness):
    """Odds of 20 beside seven strengths would allow some."""
    rng, called = np.random.default_rng(n_sites), 0
    for _ in range(40):
        columns = rng.dirichlet(np.full(4, evenness), size=20)
        letters = np.array([rng.choice(4, size=n_sites, p=column) for column in columns], dtype=np.uint8).T
        called += told_by(letters, np.full(4, 0.25)).verdict == "dependent"
    assert called <= 2


def test_letters_that_follow_each_other_are_called_dependent():
    rng = np.random.default_rng(2)
    letters = rng.integers(4, size=(50, 10)).astype(np.uint8)
    for w in range(1, 10):
        letters[:, w] = np.where(rng.random(50) < 0.5, letters[:, w - 1], letters[:, w])
    seen = told_by(letters, np.full(4, 0.25))
    assert seen.verdict == "dependent"
    assert (seen.gains > 0.0).sum() >= 7


def test_p_value_of_a_site_is_never_below_that_of_all_words():
    motif = motif_of(source_of(SETS["plain"]), 4)
    params, p = random_tables(motif, 4), np.array([0.4, 0.1, 0.2, 0.3])
    tables = params.scored.matrix
    words = list(itertools.product(range(4), repeat=4))
    score = [
        sum(math.log(tables[w, word[w - 1] if w else 0, word[w]] / p[word[w]]) for w in range(4)) for word in words
    ]
    chance = [math.prod(p[list(word)]) for word in words]
    for limit in np.quantile(score, [0.05, 0.3, 0.6, 0.9, 0.99]):
        exact = math.fsum(c for c, s in zip(chance, score, strict=True) if s >= limit)
        looser = math.fsum(c for c, s in zip(chance, score, strict=True) if s >= limit - 0.06)
        (found,) = site_p_values(tables, p, np.array([limit]))
        assert exact - 1e-12 <= found <= looser + 1e-12


def test_sites_and_what_is_erased_are_those_of_the_tables():
    """ACAG and TGTG are sites; ACTG, as likely by the letters alone, is none."""
    source = source_of(["CCCCACAGCACCCC", "CCCCTGTGCACCCC", "CCCCACTGCACCCC"])
    motif = Motif(6, estimate_background(source, 0), strands="one")
    rest = np.full((5, 4, 4), 1e-6)
    for word in ("ACAGCA", "TGTGCA"):
        codes = encode(word)
        rest[np.arange(5), codes[:-1], codes[1:]] = 1.0 - 3e-6
    params = FirstOrderParams(0.5, np.array([0.49, 0.01, 0.01, 0.49]), rest)
    calls = call_sites(motif, params.scored, source)
    assert calls.sequence.tolist() == [0, 1]
    assert calls.start.tolist() == [4, 4]
    free = erase(source, motif, params.scored).free.reshape(3, -1)
    assert (free[:2, 4:10] < 0.01).all()
    assert free[2].min() > 0.5


def test_threads_change_no_bit_and_chunks_no_sum():
    source = planted(np.random.default_rng(4))
    pieces = [source[i] for i in range(source.n_units)]
    motif, at = motif_of(source, 6, 0), MotifParams(0.7, near(("ACAGCA", "TGTGCA")))
    model, start = linked(motif, at, look_at(motif, at, source))
    cut = SequenceSource(pieces, chunk_letters=500)
    one, two = (fit(model, cut, init=[start], certificate=False, threads=threads) for threads in (1, 2))
    assert model.pack(one.params).tobytes() == model.pack(two.params).tobytes()
    stats = [total_stats(model, SequenceSource(pieces, chunk_letters=n), one.params) for n in (1, 500, 10_000)]
    for other in stats[1:]:
        assert other.loglik == pytest.approx(stats[0].loglik, rel=1e-13)
        np.testing.assert_allclose(other.counts, stats[0].counts, rtol=1e-11, atol=1e-13)


def test_file_of_bamm_has_a_block_for_each_position(tmp_path):
    """The layout that the README of BaMMmotif2 gives, and its reader counts: order 0, order 1 by the letter before, an empty line."""
    params = random_tables(motif_of(source_of(SETS["plain"]), 3), 6)
    write_ihbcp(tmp_path / "motif.ihbcp", params.matrix, params.scored.matrix)
    lines = (tmp_path / "motif.ihbcp").read_text().split("\n")
    assert lines[2::3] == ["", "", ""]
    assert len(lines) == 10
    for w in range(3):
        zero, one = (np.array(lines[3 * w + k].split(), dtype=float) for k in (0, 1))
        np.testing.assert_allclose(zero, params.matrix[w], rtol=1e-6)
        before = np.repeat(params.first[None], 4, axis=0) if w == 0 else params.transitions[w - 1]
        np.testing.assert_allclose(one.reshape(4, 4), before, rtol=1e-6)


def test_background_is_the_one_of_the_independent_motif():
    """The window of a first-order site stands against all its letters, the first one included."""
    source = source_of(["ACGTACGTAC"])
    motif = motif_of(source, 4, 2, strands="one", occurrence="oops")
    params = random_tables(motif, 2)
    codes = encode("ACGTACGTAC")
    logs = background_letters(codes, np.array([0, 10]), motif.background.log_table, 2, 4)
    total = [math.log(word_chance(codes[j : j + 4].astype(int), params)[0]) - logs[j : j + 4].sum() for j in range(7)]
    expected = logs.sum() + math.log(sum(map(math.exp, total)) / 7)
    assert total_stats(model_of(motif), source, params).loglik == pytest.approx(expected, rel=1e-13)


def test_what_neighbours_share_counts_as_information_less_what_chance_shows():
    motif = motif_of(source_of(SETS["plain"]), 4)
    params, of = random_tables(motif, 6), model_of(motif)
    finding = SimpleNamespace(dependence=True, motif=motif, fitted=SimpleNamespace(model=of, params=params))
    shared = float(of.dependence(params).sum())
    assert Finding.shared_bits(finding) == pytest.approx(shared, rel=1e-14)
    assert Finding.shared_bits(finding, 100) == pytest.approx(shared - 27 / (200 * math.log(2)), rel=1e-12)
    assert Finding.shared_bits(finding, 1) == 0.0
    assert Finding.shared_bits(SimpleNamespace(dependence=None), 100) == 0.0


def test_what_does_not_go_together_is_refused():
    source = source_of(SETS["plain"])
    with pytest.raises(InputError, match="palindrome"):
        model_of(motif_of(source, palindrome=True))
    proteins = SequenceSource([np.arange(20, dtype=np.uint8)])
    motif = Motif(3, estimate_background(proteins, 0, 20, both=False), 20, strands="one")
    with pytest.raises(InputError, match="380 probabilities"):
        FirstOrderMotif(motif, np.full((3, 20), 0.05))
    with pytest.raises(InputError, match="shape"):
        FirstOrderMotif(motif_of(source), np.full((4, 4), 0.25))
    with pytest.raises(InputError, match="strength"):
        model_of(motif_of(source), strength=0.0)


def test_what_leans_on_a_held_entry_has_no_standard_error():
    rng = np.random.default_rng(0)
    sequences = [rng.integers(4, size=30).astype(np.uint8) for _ in range(60)]
    for k, codes in enumerate(sequences):
        codes[10:14] = [[0, 1, 0, 2], [3, 2, 0, 2]][k % 2]
    source = SequenceSource(sequences)
    motif = Motif(4, estimate_background(source, 0), occurrence="oops", strands="one")
    fitted = fit(FirstOrderMotif(motif, fit(motif, source, starts=3).params.matrix), source)
    assert without_leaning_errors(fitted) is fitted
    held = replace(fitted, certificate=replace(fitted.certificate, n_held=1))
    told, errors = without_leaning_errors(held).certificate.standard_errors, fitted.certificate.standard_errors
    assert np.isnan(told["matrix"]).all()
    assert np.isnan(told["dependence"]).all()
    assert np.isnan(without_leaning_errors(held).certificate.lower["matrix"]).all()
    np.testing.assert_array_equal(told["transitions"], errors["transitions"])

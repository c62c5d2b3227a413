"""Any number of sites against enumeration, the fast E-step against the slow one, and the parts of the search by hand."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from numba import njit
from scipy.special import betaln, gammaln
from test_motif import LETTERS, SETS, encode, letter_logs, model_of, random_params, source_of

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.errors import InputError
from emtools.kernels.dyads import count_pairs
from emtools.kernels.placements import best_placements
from emtools.kernels.shuffles import shuffle_pairs
from emtools.kernels.windows import (
    BLOCK,
    add_by_linked_word,
    add_by_word,
    add_readable,
    context_table,
    look_up,
    look_up_readable,
    multiply_fresh,
    multiply_fresh_linked,
    multiply_on,
    multiply_on_linked,
    total_pairs,
)
from emtools.models.motif import Motif, MotifParams, estimate_background
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.evidence import STRENGTH, Placed, Scene, best_span, column_gains, middle_span
from emtools.motif_finding.search import Terms, search, settle
from emtools.motif_finding.seeds import enriched_pairs, pair_matrix
from emtools.motif_finding.significance import (
    background_of_test,
    halves,
    held_out_test,
    shuffled_pieces,
    site_p_values,
    upper_tail,
)
from emtools.plots.motif import expected_centres


def placements(text, width):
    """Every set of sites of one sequence that do not overlap: lists of (start, strand)."""

    def onward(j):
        if j >= len(text):
            yield []
            return
        for rest in onward(j + 1):
            yield rest
        if j + width <= len(text) and "N" not in text[j : j + width]:
            for rest in onward(j + width):
                for strand in (1, -1):
                    yield [(j, strand), *rest]

    return list(onward(0))


def joint(text, sites, params, model):
    """Probability of a sequence with these sites; its decisions, and letters of the sites."""
    logs = letter_logs(text, model.background)
    width, strands = model.width, 2 if model.both else 1
    counts, p, n_places, j = np.zeros((width, 4)), 1.0, 0, 0
    starts = dict(sites)
    while j < len(text):
        free = j + width <= len(text) and "N" not in text[j : j + width]
        n_places += free
        if j in starts:
            word = [LETTERS.index(c) for c in text[j : j + width]][:: starts[j]]
            for w, letter in enumerate(word):
                counts[w, letter if starts[j] == 1 else 3 - letter] += 1
            p *= params.occurrence / strands
            j += width
        else:
            p *= math.exp(logs[j]) * ((1.0 - params.occurrence) if free else 1.0)
            j += 1
    return p * float(np.prod(params.matrix**counts)), n_places, counts


@pytest.mark.parametrize("texts", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize("order", [0, 2])
def test_any_number_equals_enumeration_of_all_placements(texts, strands, order):
    source = source_of(texts)
    model = model_of(source, order=order, occurrence="anr", strands=strands)
    params = MotifParams(0.17, random_params(model, 3).matrix)
    stats = total_stats(model, source, params)
    loglik, entropy, n_sites, n_places, counts = 0.0, 0.0, 0.0, 0.0, np.zeros((3, 4))
    for text in texts:
        sets = [s for s in placements(text, 3) if strands == "both" or all(sign == 1 for _, sign in s)]
        weighed = [(*joint(text, sites, params, model), len(sites)) for sites in sets]
        total = math.fsum(p for p, *_ in weighed)
        loglik += math.log(total)
        for p, places, letters, n in weighed:
            z = p / total
            entropy -= z * math.log(z)
            n_sites, n_places, counts = n_sites + z * n, n_places + z * places, counts + z * letters
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)
    assert stats.n_sites == pytest.approx(n_sites, rel=1e-12, abs=1e-12)
    assert stats.n_rooms == pytest.approx(n_places, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12, atol=1e-12)
    assert model.expected_loglik(stats, params) + stats.entropy == pytest.approx(stats.loglik, rel=1e-12)


def test_likelihood_of_any_number_sums_to_one():
    source = source_of(["ACGTTGCA", "TTAAC"])
    model = model_of(source, width=2, order=1, occurrence="anr")
    params = MotifParams(0.3, random_params(model, 8).matrix)
    texts = ("".join(letters) for letters in itertools.product("ACGT", repeat=5))
    logs = [total_stats(model, source_of([text]), params).loglik for text in texts]
    assert math.fsum(math.exp(v) for v in logs) == pytest.approx(1.0, rel=1e-12)


def test_many_sites_in_a_long_sequence_stay_in_the_range_of_numbers():
    """2,000 perfect sites: the ratio of the whole is far above the largest number; halves give the same sum."""
    word = "TGACGTCATTGG"
    text = (word + "ACGGT") * 2000
    source = source_of([text])
    model = model_of(source, width=12, order=0, occurrence="anr", strands="one")
    matrix = np.full((12, 4), 1e-9)
    matrix[np.arange(12), encode(word)] = 1.0 - 3e-9
    params = MotifParams(0.05, matrix)
    stats = total_stats(model, source, params)
    assert stats.n_sites == pytest.approx(2000, abs=0.01)
    assert math.isfinite(stats.loglik)
    one = total_stats(model, source_of([word + "ACGGT"] * 2000), params)
    assert stats.n_sites == pytest.approx(one.n_sites, abs=0.01)


def mixed_source(n, seed, longest=130, **kwargs):
    """Sequences of 1 to `longest` letters, some not observed, with weights 0 to 2."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, longest, size=n)
    texts = ["".join(rng.choice(list(LETTERS), p=[0.3, 0.2, 0.2, 0.29, 0.01], size=size)) for size in sizes]
    return SequenceSource([encode(t) for t in texts], rng.integers(0, 3, size=n).astype(float), **kwargs)


def numbers(stats):
    return [stats.n, stats.loglik, stats.entropy, stats.n_rooms, stats.n_sites, stats.constant]


@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize(("width", "n", "order"), [(2, 40, 0), (5, 60, 1), (13, 700, 2), (20, 60, 4), (30, 700, 5)])
def test_fast_e_step_equals_the_slow_one(occurrence, strands, width, n, order):
    """One to eight words, whole and cut ones; letters that were not observed; every kind of context."""
    source = mixed_source(n, width + n)
    model = model_of(source, width=width, order=order, occurrence=occurrence, strands=strands)
    params = random_params(model, 2)
    fast = model.e_step(params, source.chunk(0))
    totals, counts, _, _ = model.run_e_step(params, source.chunk(0))
    np.testing.assert_allclose(numbers(fast), totals, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(fast.counts, counts, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("occurrence", ["zoops", "anr"])
def test_sequences_may_be_taken_together_or_one_by_one(occurrence):
    """Blocks of many sequences, of one, and one longer than a block; an unknown letter in one block must not touch the next."""
    source = mixed_source(60, 4)
    codes = [source.codes[a:b] for a, b in itertools.pairwise(source.offsets)]
    codes.insert(7, np.random.default_rng(0).integers(4, size=3 * BLOCK).astype(np.uint8))
    codes += [c[c < 4] for c in codes if (c < 4).any()]
    whole = SequenceSource(codes)
    model = model_of(whole, width=7, order=2, occurrence=occurrence)
    params = MotifParams(0.02, random_params(model, 1).matrix)
    together = total_stats(model, whole, params)
    alone = total_stats(model, SequenceSource(codes, chunk_letters=1), params)
    np.testing.assert_allclose(numbers(together), numbers(alone), rtol=1e-11)
    np.testing.assert_allclose(together.counts, alone.counts, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("step", [4, 3])
def test_vector_instructions_do_what_the_readable_ones_do(count, step):
    rng = np.random.default_rng(count)
    n, first = 37, 1
    words, tables = rng.integers(256, size=100).astype(np.uint8), rng.random(2 * 256 * 7)
    factors, ratios, logs = rng.random(n), rng.random(2 * n), rng.random(n)
    for fresh in (True, False):
        ours, theirs = ratios.copy(), ratios.copy()
        call_multiply(fresh, step == 3, words, n, tables, first, count, factors, ours)
        pairs, by_word = theirs.reshape(n, 2), tables.reshape(-1, 256, 2)
        start = np.repeat(factors[:, None], 2, axis=1) if fresh else pairs.copy()
        for j in range(n):
            pairs[j] = start[j] * np.prod(
                [by_word[q, words[j + step * q]] for q in range(first, first + count)], axis=0
            )
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    sums, others, weighed, wanted = tables.copy(), tables.copy(), np.ones(2), np.ones(2)
    call_add(step == 3, words, 3, 30, ratios, 0.7, first, count, logs, sums, weighed)
    add_readable(words, 3, 30, ratios, 0.7, first, count, logs, others, wanted, step)
    np.testing.assert_allclose(sums, others, rtol=1e-14)
    np.testing.assert_allclose(weighed, wanted, rtol=1e-14)
    assert call_total(ratios, 2, 9) == pytest.approx(ratios[2:20].sum(), rel=1e-14)
    ours, theirs = np.zeros((2, n)), np.zeros((2, n))
    call_look_up(words, 9, tables[:512], tables[512:1024], *ours)
    look_up_readable(words, 9, tables[:512], tables[512:1024], *theirs)
    assert (ours == theirs).all()
    assert (ours[:, 2:20] > 0.0).all()


@njit
def call_multiply(fresh, linked, words, n, tables, first, count, factors, ratios):
    if fresh and linked:
        multiply_fresh_linked(words, n, tables, first, count, factors, ratios)
    elif fresh:
        multiply_fresh(words, n, tables, first, count, factors, ratios)
    elif linked:
        multiply_on_linked(words, n, tables, first, count, factors, ratios)
    else:
        multiply_on(words, n, tables, first, count, factors, ratios)


@njit
def call_add(linked, words, at, n, ratios, scale, first, count, logs, sums, weighed):
    if linked:
        add_by_linked_word(words, at, n, ratios, scale, first, count, logs, sums, weighed)
    else:
        add_by_word(words, at, n, ratios, scale, first, count, logs, sums, weighed)


@njit
def call_look_up(words, n, by_word, by_log, inverse, logs):
    look_up(words, n, by_word, by_log, inverse, logs)


@njit
def call_total(values, at, n):
    return total_pairs(values, at, n)


def test_ratios_beyond_the_range_of_numbers_go_the_slow_way():
    source = source_of(["A" * 80, "C" * 80])
    model = model_of(source, width=60, order=0, occurrence="oops", strands="one")
    matrix = np.full((60, 4), 1e-12)
    matrix[:, 2] = 1.0 - 3e-12
    stats = model.e_step(MotifParams(1.0, matrix), source.chunk(0))
    totals, counts, _, _ = model.run_e_step(MotifParams(1.0, matrix), source.chunk(0))
    assert math.isfinite(stats.loglik)
    assert stats.loglik == pytest.approx(totals[1], rel=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12)


def test_calls_do_not_overlap_and_touch_no_unknown_letter():
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list(LETTERS), p=[0.24] * 4 + [0.04], size=90)) for _ in range(40)]
    texts = [t[:10] + "TGACGTAC" + t[18:40] + "GTACGTCA" + t[48:] for t in texts]
    source = source_of(texts, chunk_letters=700)
    model = model_of(source, width=8, order=0, occurrence="anr")
    matrix = np.full((8, 4), 0.02)
    matrix[np.arange(8), encode("TGACGTAC")] = 0.94
    calls = call_sites(model, MotifParams(0.02, matrix), source)
    assert len(calls.start) >= 80
    assert {(i, s) for i, s in zip(calls.sequence.tolist(), calls.start.tolist(), strict=True)} >= {
        (i, at) for i in range(40) for at in (10, 40)
    }
    assert (calls.posterior <= calls.anywhere + 1e-9).all()
    last = (-1, 0)
    for i, start in zip(calls.sequence.tolist(), calls.start.tolist(), strict=True):
        assert i > last[0] or start >= last[1]
        assert "N" not in texts[i][start : start + 8]
        last = (i, start + 8)


def test_best_windows_are_those_of_a_search_by_hand():
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list("ACGT"), size=50)) for _ in range(30)]
    source = source_of(texts)
    background = estimate_background(source, 0)
    matrix = rng.dirichlet(np.full(4, 0.4), size=6) * 0.9 + 0.025
    table = context_table(background.log_table, 0)
    found = best_placements(source.codes, source.offsets, table, 0, matrix, True, np.empty(0), np.empty(0), 1, -50.0)
    logs = np.log(matrix / background.frequencies)
    for i, start, strand, log_ratio in zip(*found, strict=True):
        codes = encode(texts[i])
        scores = {}
        for j in range(45):
            word = codes[j : j + 6].astype(int)
            scores[j, 0] = logs[np.arange(6), word].sum()
            scores[j, 1] = logs[np.arange(6), 3 - word[::-1]].sum()
        assert log_ratio == pytest.approx(max(scores.values()), rel=1e-10)
        assert scores[int(start), int(strand)] == pytest.approx(log_ratio, rel=1e-10)


def test_evidence_is_the_dirichlet_multinomial_and_the_beta_binomial():
    source = source_of(["ACGTAC", "ACGGAC", "TTTTTT", "ACGTTT"])
    background = estimate_background(source, 0, both=False)
    p = background.frequencies
    words = np.array([encode("ACG"), encode("ACG"), encode("ACG"), encode("TTT")])
    logs = np.log(p[words])
    gains = column_gains(words.astype(np.uint8), logs, p)
    counts = np.array([[(words[:, w] == a).sum() for a in range(4)] for w in range(3)])
    alpha = STRENGTH * p
    exact = gammaln(STRENGTH) - gammaln(STRENGTH + 4) + (gammaln(counts + alpha) - gammaln(alpha)).sum(axis=1)
    np.testing.assert_allclose(gains.sum(axis=0), exact - logs.sum(axis=0), rtol=1e-12)
    scene = Scene.of(source, background, both=False, many=False)
    placed = Placed(np.arange(4), np.zeros(4, dtype=np.int64), np.zeros(4, dtype=np.int64), np.ones(4))
    prior = [betaln(n + 0.5, 4 - n + 0.5) - betaln(0.5, 4.5) - n * math.log(4) for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(scene.placing(placed, 3), prior, rtol=1e-12)


def test_windows_are_those_without_unknown_letters():
    texts = ["ACGTNACG", "AC", "ACGTACG", "NNNN"]
    source = source_of(texts)
    scene = Scene.of(source, estimate_background(source, 0), both=True, many=False)
    for width in (1, 3, 4):
        exact = [sum("N" not in t[j : j + width] for j in range(len(t) - width + 1)) for t in texts]
        assert scene.windows(width).tolist() == exact


def test_the_best_columns_are_contiguous_and_in_range():
    columns = np.array([-1.0, 2.0, -0.5, 3.0, -4.0, 1.0])
    assert best_span(columns, 1, 6) == (1, 4)
    assert best_span(columns, 1, 2) == (3, 4)
    assert best_span(columns, 5, 6) == (1, 6)


def test_pairs_are_counted_once_a_sequence_on_both_strands():
    codes, offsets = np.concatenate([encode("ACGTTGCAACG"), encode("CGTNGCA")]), np.array([0, 11, 18])
    counts, n_windows = count_pairs(codes, offsets, 1, True)
    assert n_windows == 5 + 1

    def number(word):
        return int("".join(str(LETTERS.index(c)) for c in word), 4)

    assert counts[number("ACGTGC")] == 1
    assert counts[number("CGTGCA")] == 2
    assert counts[number("TGCACG")] == 2
    assert counts[number("AAAAAA")] == 0


def test_the_planted_pair_comes_first_and_its_matrix_prefers_it():
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(60)]
    texts = [t[:20] + "TGA" + t[23:27] + "CCA" + t[30:] for t in texts]
    source = source_of(texts)
    background = estimate_background(source, 0)
    (word, gap, score), *_ = enriched_pairs(source, background, True, 12, 5)
    assert gap == 4
    assert score > 50
    best = "".join("ACGT"[i] for i in pair_matrix(word, gap, 12, background).argmax(axis=1))
    assert (best[1:4], best[8:11]) in (("TGA", "CCA"), ("TGG", "TCA"))


@pytest.mark.parametrize("occurrence", ["oops", "zoops", "anr"])
def test_the_search_finds_width_and_number_of_planted_sites(occurrence):
    rng = np.random.default_rng(4)
    texts = ["".join(rng.choice(list("ACGT"), size=70)) for _ in range(60)]
    planted = 60 if occurrence == "oops" else 25
    texts = [
        t[:30] + ("TGACGTAACC" if i % 2 else "GGTTACGTCA") + t[40:] if i < planted else t for i, t in enumerate(texts)
    ]
    source = source_of(texts)
    background = estimate_background(source, 0)
    found = search(source, background, Terms((6, 16), occurrence), seeds=20)[0]
    model = Terms((6, 16), occurrence).model(len(found.params.matrix), background, found.params.occurrence)
    calls = call_sites(model, found.params, source)
    assert model.width in (10, 11)
    assert abs(len(calls.start) - planted) <= 2
    assert found.choice.evidence > 30


@pytest.mark.parametrize("widths", [(8, 8), (6, 12)])
def test_a_planted_palindrome_is_found_whole(widths):
    rng = np.random.default_rng(9)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(50)]
    source = source_of([t[:20] + "TGACGTCA" + t[28:] if i < 30 else t for i, t in enumerate(texts)])
    terms = Terms(widths, palindrome=True)
    background = estimate_background(source, 0)
    model, params = settle(source, background, terms, search(source, background, terms, seeds=20))
    assert model.palindrome
    assert model.width == 8
    assert "".join("ACGT"[i] for i in params.matrix.argmax(axis=1)) == "TGACGTCA"
    np.testing.assert_allclose(params.matrix, params.matrix[::-1, ::-1], rtol=1e-12)
    calls = call_sites(model, params, source)
    assert set(calls.start[calls.sequence < 30].tolist()) == {20}
    assert not calls.strand.any()


def test_the_middle_span_is_the_best_one_around_the_middle():
    columns = np.array([9.0, -2.0, 1.0, 3.0, -1.0, 1.5])
    assert best_span(columns, 2, 6) == (0, 6)
    assert middle_span(columns, 2, 4) == (2, 4)
    assert middle_span(columns, 5, 6) == (0, 6)


def test_order_of_the_background_follows_the_letters():
    assert [choose_order(n, False) for n in (1890, 3200, 12_800, 10**8)] == [0, 1, 2, 2]
    assert [choose_order(n, True) for n in (51_200, 204_800, 819_200)] == [3, 4, 5]
    with pytest.raises(InputError, match="no letter"):
        choose_order(0, False)


def test_shuffles_keep_pairs_and_are_all_equally_likely():
    """Every sequence with the pairs of ACACGA, first and last letter: as often as the others (chi-square)."""
    codes = encode("ACACGAGA")
    rng = np.random.default_rng(0)
    seen = Counter(tuple(shuffle_pairs(codes, rng.random(64), 4).tolist()) for _ in range(6000))
    pairs = Counter(zip(codes[:-1].tolist(), codes[1:].tolist(), strict=True))
    middle = set(itertools.permutations(codes[1:-1].tolist()))
    whole = [(codes[0], *m, codes[-1]) for m in middle]
    expected = {w for w in whole if Counter(itertools.pairwise(map(int, w))) == pairs}
    assert {tuple(map(int, w)) for w in expected} == set(seen)
    share = 6000 / len(seen)
    assert sum((n - share) ** 2 / share for n in seen.values()) < len(seen) - 1 + 5 * math.sqrt(2 * len(seen))
    broken = shuffled_pieces(encode("ACGTNNACGGTCA"), rng)
    assert (broken[4:6] == 4).all()
    assert sorted(broken[6:]) == sorted(encode("ACGGTCA"))


def test_upper_tail_is_that_of_all_draws():
    rng = np.random.default_rng(8)
    levels = rng.integers(0, 5, size=(3, 4))
    draws = [sum(levels[v, i] for i, v in enumerate(chosen)) for chosen in itertools.product(range(3), repeat=4)]
    assert upper_tail(levels) == pytest.approx(np.mean(np.array(draws) >= levels[0].sum()), abs=1e-14)
    best = np.sort(levels, axis=0)[::-1]
    assert upper_tail(best) == pytest.approx(np.mean(np.array(draws) >= max(draws)), abs=1e-14)
    assert upper_tail(np.sort(levels, axis=0)) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("levels", [2, 5])
def test_no_level_is_reached_more_often_than_it_says(levels):
    """Whichever version of each sequence is the original, all equally likely: P(p <= a) is at most a for every a, ties or not."""
    drawn = np.random.default_rng(levels).integers(0, levels, size=(4, 4))
    places = np.arange(4)
    p = []
    for chosen in itertools.product(range(4), repeat=4):
        turned = drawn.copy()
        turned[0], turned[list(chosen), places] = drawn[list(chosen), places], drawn[0]
        p.append(upper_tail(turned))
    p = np.array(p)
    assert all(np.mean(p <= a + 1e-12) <= a + 1e-12 for a in p)


@pytest.mark.parametrize(("order", "same"), [(1, True), (2, False)])
def test_background_of_the_test_does_not_know_the_originals(order, same):
    """Held-out sequences in place of which shuffles stood: the background of the test has the same bits, of a higher order too."""
    rng = np.random.default_rng(4)
    codes = [rng.integers(4, size=80).astype(np.uint8) for _ in range(40)]
    source = SequenceSource(codes)
    held_out = set(np.random.default_rng(np.random.SeedSequence([0, 17])).permutation(40)[:20].tolist())
    other = SequenceSource([shuffled_pieces(c, rng) if i in held_out else c for i, c in enumerate(codes)])
    tables = []
    for letters in (source, other):
        half, tested, _ = halves(letters, 0)
        assert tested is not None
        assert tested.n_units == len(held_out)
        whole = estimate_background(letters, order, both=False)
        tables.append((whole.log_table, background_of_test(half, whole, True, False).log_table))
        assert background_of_test(half, whole, False, False) is whole
    assert np.array_equal(tables[0][0], tables[1][0]) is same
    np.testing.assert_array_equal(tables[0][1], tables[1][1])


def test_p_value_of_a_site_is_the_share_of_windows():
    """All 4^5 windows: never below the exact share, and close to it."""
    rng = np.random.default_rng(1)
    matrix = rng.dirichlet(np.ones(4), size=5) * 0.9 + 0.025
    frequencies = np.array([0.3, 0.2, 0.2, 0.3])
    windows = np.array(list(itertools.product(range(4), repeat=5)))
    scores = np.log(matrix / frequencies)[np.arange(5), windows].sum(axis=1)
    weights = frequencies[windows].prod(axis=1)
    exact = np.array([weights[scores >= s - 1e-12].sum() for s in scores])
    ours = site_p_values(matrix, frequencies, scores)
    assert (ours >= exact - 1e-12).all()
    slack = np.array([weights[scores >= s - 6 * 0.011].sum() for s in scores])
    assert (ours <= slack + 1e-12).all()


def test_a_planted_motif_is_significant_and_shuffles_of_it_are_not():
    rng = np.random.default_rng(6)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(60)]
    real = source_of([t[:20] + "TGACGTAACC" + t[30:] for t in texts])
    background = estimate_background(real, 0)
    seen = held_out_test(real, background, Terms((10, 10)), 0, 10)
    assert seen.p < 1e-10
    assert seen.n_with >= 27
    shuffled = SequenceSource([shuffled_pieces(real.codes[a:b], rng) for a, b in itertools.pairwise(real.offsets)])
    assert held_out_test(shuffled, background, Terms((10, 10)), 0, 10).p > 1e-3


def test_expected_positions_are_those_of_all_starts():
    """Every start of every length listed, as wide as one base each."""
    edges = np.array([-12.0, -4.5, -1.0, 0.5, 6.0, 12.0])
    lengths, width = np.array([10, 10, 17, 5]), 5
    exact = np.zeros(5)
    for length in lengths:
        middles = np.arange(length - width + 1) + width / 2 - length / 2
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            shared = np.minimum(middles + 0.5, high) - np.maximum(middles - 0.5, low)
            exact[i] += np.maximum(shared, 0.0).sum() / len(middles)
    np.testing.assert_allclose(expected_centres(lengths, width, edges), exact, rtol=1e-12)


def test_held_rate_and_any_number_are_refused_where_they_mean_nothing():
    background = estimate_background(source_of(["ACGTACGT"]), 0)
    with pytest.raises(InputError, match="between 0 and 1"):
        Motif(4, background, rate=1.0)
    with pytest.raises(InputError, match="at most 64"):
        Motif(65, background, occurrence="anr")

"""Several motifs: letters that are free with a probability, against enumeration; what erasing leaves; two planted motifs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from test_motif import LETTERS, SETS, complete_data, encode, model_of, random_params, source_of
from test_motif_finding import joint, numbers, placements

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.models.motif import MotifParams, estimate_background
from emtools.motif_finding.erasing import LEAST_FREE, coverage, erase, masked
from emtools.motif_finding.evidence import Scene
from emtools.motif_finding.search import Terms, search, settle
from emtools.motif_finding.significance import held_out_test

WIDTH = 3


def freed(texts, seed, **kwargs):
    """Sequences whose letters are free with random probabilities, some of them surely."""
    n = sum(map(len, texts))
    free = np.random.default_rng(seed).choice([1.0, 0.9, 0.4, 0.01], size=n)
    return SequenceSource([encode(text) for text in texts], free=free, **kwargs)


def configurations(text, params, model):
    """Every set of sites of one sequence: (probability, starts with their strands, letters of the sites)."""
    signs = (1, -1) if model.both else (1,)
    if model.occurrence == "anr":
        sets = [s for s in placements(text, WIDTH) if all(sign in signs for _, sign in s)]
        return [(p, sites, counts) for sites in sets for p, _, counts in [joint(text, sites, params, model)]]
    starts = [j for j in range(len(text) - WIDTH + 1) if "N" not in text[j : j + WIDTH]]
    sets = [[site] for site in itertools.product(starts, signs)]
    if model.occurrence == "zoops" or not sets:
        sets.insert(0, [])
    return [(p, sites, c) for sites, (p, _, c) in zip(sets, complete_data(text, params, model), strict=True)]


def by_hand(source, texts, params, model):
    """Log-likelihood, entropy, letters of the sites, posterior of each start, coverage of each letter: each site discounted by its letters."""
    loglik, entropy, counts = 0.0, 0.0, np.zeros((WIDTH, 4))
    starts, covered = np.zeros((2, source.codes.size)), np.zeros(source.codes.size)
    for text, low in zip(texts, source.offsets, strict=False):
        weighed = [
            (p * math.prod(source.free[low + j : low + j + WIDTH].prod() for j, _ in sites), sites, letters)
            for p, sites, letters in configurations(text, params, model)
        ]
        total = math.fsum(p for p, *_ in weighed)
        loglik += math.log(total)
        for p, sites, letters in weighed:
            z = p / total
            entropy -= z * math.log(z) if z else 0.0
            counts += z * letters
            for j, sign in sites:
                starts[int(sign == -1), low + j] += z
                covered[low + j : low + j + WIDTH] += z
    return loglik, entropy, counts, starts, covered


@pytest.mark.parametrize("texts", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("occurrence", ["oops", "zoops", "anr"])
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize("order", [0, 2])
def test_discounted_sites_equal_enumeration(texts, occurrence, strands, order):
    source = freed(texts, 1)
    model = model_of(source, order=order, occurrence=occurrence, strands=strands)
    params = random_params(model, 3)
    loglik, entropy, counts, starts, covered = by_hand(source, texts, params, model)
    stats = total_stats(model, source, params)
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12, atol=1e-12)
    assert model.expected_loglik(stats, params) + stats.entropy == pytest.approx(stats.loglik, rel=1e-12)
    np.testing.assert_allclose(model.starts(params, source.chunk(0)), starts, rtol=1e-12, atol=1e-12)
    left = erase(source, model, params).free
    np.testing.assert_allclose(left, np.clip(source.free * (1 - covered), LEAST_FREE, 1.0), rtol=1e-11)
    plain = total_stats(model, source_of(texts), params)
    assert stats.loglik < plain.loglik or not starts.any()


@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
def test_fast_and_slow_discount_alike_in_any_chunks(occurrence):
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list(LETTERS), p=[0.24] * 4 + [0.04], size=rng.integers(1, 80))) for _ in range(90)]
    source, cut = freed(texts, 5), freed(texts, 5, chunk_letters=200)
    assert cut.n_chunks > 5
    model = model_of(source, width=9, order=2, occurrence=occurrence)
    params, chunk = random_params(model, 2), source.chunk(0)
    fast, places = model.e_step(params, chunk), np.zeros((2, chunk.codes.size))
    totals, counts, _, _ = model.run_e_step(params, chunk, places=places)
    np.testing.assert_allclose(numbers(fast), totals, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(fast.counts, counts, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.starts(params, chunk), places, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(numbers(total_stats(model, cut, params)), totals, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(erase(source, model, params).free, erase(cut, model, params).free, rtol=1e-9)


def test_ratios_beyond_the_range_of_numbers_are_discounted_in_logs():
    source = SequenceSource([encode("A" * 80), encode("C" * 80)], free=np.full(160, 1e-3))
    model = model_of(source, width=60, order=0, occurrence="oops", strands="one")
    matrix = np.full((60, 4), 1e-12)
    matrix[:, 2] = 1.0 - 3e-12
    params = MotifParams(1.0, matrix)
    totals, _, _, _ = model.run_e_step(params, source.chunk(0))
    assert total_stats(model, source, params).loglik == pytest.approx(totals[1], rel=1e-12)
    np.testing.assert_allclose(model.starts(params, source.chunk(0)).sum(), 2.0, rtol=1e-12)


@pytest.mark.parametrize("occurrence", ["zoops", "anr"])
def test_the_discounted_likelihood_never_falls(occurrence):
    rng = np.random.default_rng(8)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(40)]
    texts = [text[:20] + "TGACTTCA" + text[28:] if k % 2 else text for k, text in enumerate(texts)]
    source = SequenceSource([encode(text) for text in texts], free=rng.choice([1.0, 1.0, 0.9, 0.6], size=2400))
    model = model_of(source, width=8, order=1, occurrence=occurrence)
    matrix = np.full((8, 4), 0.15)
    matrix[np.arange(8), encode("TGACTTCA")] = 0.55
    start = MotifParams(0.4 if occurrence == "zoops" else 0.02, matrix)
    rows = []
    climb(model, source, start, max_passes=40, accelerate=False, on_pass=rows.append)
    steps = np.diff([row.objective for row in rows])
    assert len(steps) > 10
    assert steps.min() > -1e-9
    assert steps.max() > 1e-3


def test_letters_covered_are_those_of_the_sites_before():
    np.testing.assert_allclose(coverage(np.array([0.5, 0.0, 0.25, 0.0]), 1), [0.5, 0.0, 0.25, 0.0])
    np.testing.assert_allclose(coverage(np.array([0.5, 0.0, 0.25, 0.0, 0.0]), 3), [0.5, 0.5, 0.75, 0.25, 0.25])
    np.testing.assert_allclose(coverage(np.array([0.5, 0.0]), 7), [0.5, 0.5])


def test_letters_more_probably_taken_are_masked_and_nothing_is_where_nothing_was_found():
    source = SequenceSource([encode("ACGT"), encode("TT")], free=np.array([0.6, 0.4, 1.0, 0.1, 1.0, 0.5]))
    assert masked(source).codes.tolist() == [0, 255, 2, 255, 3, 3]
    assert masked(source).free is None
    assert source.codes.tolist() == [0, 1, 2, 3, 3, 3]
    plain = source_of(["ACGT"])
    assert masked(plain) is plain
    drawn = source.drawn(np.array([1]))
    assert (drawn.codes.tolist(), drawn.free.tolist()) == ([3, 3], [1.0, 0.5])


def test_the_evidence_of_a_site_falls_by_what_its_letters_are_taken():
    texts = ["TTTTTGACGTCATTTTT", "CCTGACGTCACCCCCCC", "TGACGTCATTTTAAAAA", "GGGGGGGGTGACGTCAG"]
    background = estimate_background(source_of(texts), 0)
    free = np.ones(4 * 17)
    free[[5, 6, 17 + 4]] = [0.5, 0.25, 0.1]
    matrix = np.full((8, 4), 0.01)
    matrix[np.arange(8), encode("TGACGTCA")] = 0.97
    evidence, ratios = [], []
    for source in (source_of(texts), SequenceSource([encode(t) for t in texts], free=free)):
        scene = Scene.of(source, background, both=True, many=False)
        placed = scene.place(matrix)
        order = np.argsort(placed.sequence)
        ratios.append(placed.log_ratio[order])
        evidence.append(scene.choose(placed, 8, (8, 8), 4).evidence)
    np.testing.assert_allclose(ratios[1] - ratios[0], [math.log(0.125), math.log(0.1), 0.0, 0.0], rtol=1e-9, atol=1e-9)
    assert evidence[1] - evidence[0] == pytest.approx(math.log(0.0125), rel=1e-9)


def test_two_planted_motifs_come_one_after_the_other():
    """Without erasing the second search finds the first motif again (negative control)."""
    rng = np.random.default_rng(6)
    words = ("TGACGTCATT", "GGCATAAGCC")
    texts = []
    for _ in range(80):
        letters = rng.choice(list("ACGT"), size=100)
        for word, low, share in zip(words, (0, 50), (0.8, 0.6), strict=True):
            if rng.random() < share:
                at = low + int(rng.integers(40))
                letters[at : at + 10] = list(word)
        texts.append("".join(letters))
    source = source_of(texts)
    background, terms = estimate_background(source, 0), Terms((10, 10))
    found = []
    rest = source
    for _ in range(2):
        model, start = settle(rest, background, terms, search(rest, background, terms, seeds=12))
        params = climb(model, rest, start).params
        found.append("".join("ACGT"[i] for i in params.matrix.argmax(axis=1)))
        rest = erase(source, model, params)
    turned = [word[::-1].translate(str.maketrans("ACGT", "TGCA")) for word in words]
    assert found[0] in (words[0], turned[0])
    assert found[1] in (words[1], turned[1])
    model, start = settle(source, background, terms, search(source, background, terms, seeds=12))
    assert "".join("ACGT"[i] for i in start.matrix.argmax(axis=1)) == found[0]


def test_what_is_left_of_a_weak_motif_is_no_second_one():
    """The same motif blurred, in most sequences: significant at first, and no more once it is taken out."""
    rng = np.random.default_rng(17)
    matrix = np.full((12, 4), 0.1)
    matrix[np.arange(12), encode("TGACGTCATTGG")] = 0.7
    texts = []
    for _ in range(120):
        letters = rng.choice(list("ACGT"), size=80)
        if rng.random() < 0.7:
            at = int(rng.integers(68))
            letters[at : at + 12] = [rng.choice(list("ACGT"), p=row) for row in matrix]
        texts.append("".join(letters))
    source = source_of(texts)
    background, terms = estimate_background(source, 0), Terms((12, 12))
    assert held_out_test(source, background, terms, 0, 12).p < 1e-3
    model, start = settle(source, background, terms, search(source, background, terms, seeds=12))
    rest = erase(source, model, climb(model, source, start).params)
    assert 0.0 < (rest.free < 0.5).mean() < 0.3
    assert held_out_test(rest, background, terms, 0, 12).p > 0.05

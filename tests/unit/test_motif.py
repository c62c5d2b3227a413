"""The motif model against enumeration of every configuration of sites, and its small parts by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.starts import fit, join
from emtools.errors import InputError
from emtools.io.fasta import Record, read_fasta
from emtools.io.intervals import Interval
from emtools.io.regions import cut
from emtools.kernels.spans import matches, n_positions, n_shared_positions
from emtools.models.motif import (
    Motif,
    MotifParams,
    estimate_background,
    has_room,
    reverse_complement,
)

LETTERS = "ACGTN"
SETS = {
    "plain": ["ACGTT", "TTAC", "GGATC"],
    "unknown": ["ACNGTTA", "NNNN", "TTACG", "ANCNG"],
    "short": ["AC", "GATTACA", "T"],
    "one": ["CATG"],
}
RESOURCES = Path(__file__).parents[2] / "resources"


def encode(text):
    return np.array([LETTERS.index(letter) for letter in text], dtype=np.uint8)


def source_of(texts, weights=None, **kwargs):
    return SequenceSource([encode(text) for text in texts], weights, **kwargs)


def model_of(source, width=3, order=1, **kwargs):
    both = kwargs.get("strands", "both") == "both"
    return Motif(width, estimate_background(source, order, both=both), **kwargs)


def random_params(model, seed):
    rng = np.random.default_rng(seed)
    rate = 1.0 if model.occurrence == "oops" else float(rng.uniform(0.2, 0.9))
    return MotifParams(rate, rng.dirichlet(np.ones(4), size=model.width))


def letter_logs(text, background):
    """Background log-probability of each letter, from the context written out."""
    logs = []
    for j, letter in enumerate(text):
        if letter == "N":
            logs.append(0.0)
            continue
        context = []
        for back in range(1, background.order + 1):
            if j - back < 0 or text[j - back] == "N":
                break
            context.insert(0, LETTERS.index(text[j - back]))
        digits = [4] * (background.order - len(context)) + context
        row = sum(d * 5**p for p, d in enumerate(reversed(digits)))
        logs.append(background.log_table[row, LETTERS.index(letter)])
    return logs


def complete_data(text, params, model):
    """Every configuration of one sequence: (joint probability, sites, counts)."""
    logs = letter_logs(text, model.background)
    width = model.width
    strands = (1, -1) if model.strands == "both" else (1,)
    starts = [j for j in range(len(text) - width + 1) if "N" not in text[j : j + width]]
    if not starts:
        return [(math.exp(sum(logs)), 0, np.zeros((width, 4)))]
    found = []
    if model.occurrence == "zoops":
        found.append(((1 - params.occurrence) * math.exp(sum(logs)), 0, np.zeros((width, 4))))
    for j, strand in itertools.product(starts, strands):
        counts = np.zeros((width, 4))
        word = [LETTERS.index(c) for c in text[j : j + width]][::strand]
        for w, letter in enumerate(word):
            counts[w, letter if strand == 1 else 3 - letter] += 1
        outside = sum(logs[:j]) + sum(logs[j + width :])
        p = params.occurrence / (len(starts) * len(strands)) * math.exp(outside)
        found.append((p * float(np.prod((params.matrix**counts))), 1, counts))
    return found


@pytest.mark.parametrize("texts", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize("order", [0, 2])
def test_e_step_equals_enumeration_of_all_sites(texts, occurrence, strands, order):
    """Over the product of all sequences' configurations, as one sum, so that nothing factorises by assumption."""
    source = source_of(texts)
    model = model_of(source, order=order, occurrence=occurrence, strands=strands)
    params = random_params(model, 3)
    stats = total_stats(model, source, params)

    spaces = [complete_data(text, params, model) for text in texts]
    total, n_sites, counts, p_log_p = 0.0, 0.0, np.zeros((3, 4)), 0.0
    for configuration in itertools.product(*spaces):
        p = math.prod(part[0] for part in configuration)
        total += p
        n_sites += p * sum(part[1] for part in configuration)
        counts += p * sum(part[2] for part in configuration)
        p_log_p += p * math.log(p)
    assert stats.loglik == pytest.approx(math.log(total), rel=1e-12)
    assert stats.entropy == pytest.approx(math.log(total) - p_log_p / total, rel=1e-12, abs=1e-12)
    assert stats.n_sites == pytest.approx(n_sites / total, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(stats.counts, counts / total, rtol=1e-12, atol=1e-12)
    assert stats.n_rooms == sum(len(space) > 1 for space in spaces)


def test_hard_assignment_takes_the_best_configuration():
    texts = SETS["unknown"]
    source = source_of(texts)
    model = model_of(source)
    params = random_params(model, 5)
    stats = total_stats(model, source, params, "hard")
    best = [max(complete_data(text, params, model), key=lambda part: part[0]) for text in texts]
    assert stats.loglik == pytest.approx(sum(math.log(part[0]) for part in best), rel=1e-12)
    np.testing.assert_array_equal(stats.counts, sum(part[2] for part in best))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_likelihood_of_all_sequences_sums_to_one(order):
    """The absolute likelihood is a probability over the 4^5 sequences of five letters."""
    texts = ["".join(letters) for letters in itertools.product("ACGT", repeat=5)]
    source = source_of(["ACGTTGCA", "TTAAC"])
    model = model_of(source, width=3, order=order)
    params = random_params(model, 8)
    logs = [total_stats(model, source_of([text]), params).loglik for text in texts]
    assert math.fsum(math.exp(v) for v in logs) == pytest.approx(1.0, rel=1e-12)


def test_unknown_letter_is_summed_out():
    source = source_of(["ACGTTGCA", "TTAAC"])
    model = model_of(source, order=0)
    params = random_params(model, 2)
    outside = MotifParams(1e-300, params.matrix)
    some = [total_stats(model, source_of([f"AC{x}GT"]), outside).loglik for x in "ACGT"]
    whole = total_stats(model, source_of(["ACNGT"]), outside).loglik
    assert math.log(sum(math.exp(v) for v in some)) == pytest.approx(whole, rel=1e-12)


def test_background_shrinks_each_order_to_the_one_below():
    source = source_of(["AACA"])
    background = estimate_background(source, 1, both=False)
    single = (np.array([3, 1, 0, 0]) + 4 * 0.25) / 8
    np.testing.assert_allclose(background.frequencies, single, rtol=1e-15)
    after_a = (np.array([1, 1, 0, 0]) + 4 * single) / 6
    np.testing.assert_allclose(np.exp(background.log_table[0]), after_a, rtol=1e-14)
    np.testing.assert_allclose(np.exp(background.log_table[4]), single, rtol=1e-14)


def test_background_of_both_strands_is_symmetric():
    records = read_fasta(RESOURCES / "crp.fa")
    background = estimate_background(SequenceSource([r.codes for r in records]), 1)
    np.testing.assert_allclose(background.frequencies, background.frequencies[::-1], rtol=1e-14)
    pair = np.exp(background.log_table[:4]) * background.frequencies[:, None]
    np.testing.assert_allclose(pair, pair[::-1, ::-1].T, rtol=0.02)


def test_reverse_complement_is_the_same_distribution_and_one_is_chosen():
    source = source_of(SETS["unknown"])
    model = model_of(source)
    params = random_params(model, 4)
    turned = MotifParams(params.occurrence, reverse_complement(params.matrix))
    one, two = (total_stats(model, source, p) for p in (params, turned))
    assert one.loglik == pytest.approx(two.loglik, rel=1e-14)
    np.testing.assert_allclose(one.counts, two.counts[::-1, ::-1], rtol=1e-12)
    np.testing.assert_array_equal(model.canonical(params).matrix, model.canonical(turned).matrix)
    one_strand = model_of(source, strands="one")
    assert one_strand.canonical(params) is params
    assert total_stats(one_strand, source, params).loglik != pytest.approx(
        total_stats(one_strand, source, turned).loglik, rel=1e-3
    )


@pytest.mark.parametrize("width", [4, 5])
def test_a_palindrome_is_tied_to_itself_at_the_best_tied_matrix(width):
    """No other tied matrix has a higher Q + log prior; the free parameters give it back; its errors are those of the pairs."""
    rng = np.random.default_rng(width)
    texts = ["".join(rng.choice(list("ACGT"), size=40)) for _ in range(30)]
    source = source_of([t[:9] + "TGACA"[: width - 1] + "CA" + t[9:] for t in texts])
    model = model_of(source, width=width, order=0, palindrome=True)
    stats = total_stats(model, source, random_params(model, 1))
    best = model.m_step(stats, random_params(model, 1))
    np.testing.assert_allclose(best.matrix, reverse_complement(best.matrix), rtol=1e-14)
    top = model.expected_loglik(stats, best) + model.log_prior(best)
    vector = model.pack(best)
    assert vector.size == 1 + 3 * (width // 2) + width % 2
    np.testing.assert_allclose(model.unpack(vector).matrix, best.matrix, rtol=1e-12)
    for step in rng.normal(scale=0.02, size=(40, vector.size)):
        other = model.unpack(vector + step)
        assert model.expected_loglik(stats, other) + model.log_prior(other) < top
    errors = fit(model, source, starts=2).certificate.standard_errors["matrix"]
    np.testing.assert_allclose(errors, errors[::-1, ::-1], rtol=1e-6)


@pytest.mark.parametrize(
    "kwargs", [{}, {"occurrence": "oops"}, {"rate": 0.3}, {"palindrome": True}, {"width": 4, "palindrome": True}]
)
def test_many_packed_parameters_have_the_objectives_of_each(kwargs):
    source = source_of(SETS["unknown"])
    model = model_of(source, **kwargs)
    matrix = model.tied(np.full((model.width, 4), 0.25))
    size = model.pack(MotifParams(model.held or 0.5, matrix)).size
    places = np.random.default_rng(0).normal(size=(5, size))
    stats = total_stats(model, source, model.unpack(places[0]))
    for prior in (True, False):
        wanted = [
            model.expected_loglik(stats, at) + (model.log_prior(at) if prior else 0.0)
            for at in (model.unpack(place) for place in places)
        ]
        found = model.packed_objectives(places, prior)
        np.testing.assert_allclose(found(stats, 5), wanted, rtol=1e-13)
        np.testing.assert_allclose(found(stats, 2), wanted[:2], rtol=1e-13)


def test_likeliest_site_is_where_it_was_planted():
    texts = ["TTTTTTGACGTCATTTTT", "CCGACGTAACCCC", "TGACGTATTTT", "AAAATACGTCAAA"]
    matrix = np.full((7, 4), 0.01)
    matrix[np.arange(7), encode("TGACGTA")] = 0.97
    source = source_of(texts)
    model = Motif(7, estimate_background(source, 0))
    sites = model.sites(MotifParams(0.9, matrix), source)
    assert sites.starts.tolist() == [5, 1, 0, 4]
    assert sites.strands.tolist() == [0, 0, 0, 1]
    assert (sites.posterior <= sites.any_site + 1e-12).all()
    # TGACGTCA reads TGACGT(C) forward and TGACGT(C) on the other strand, one position apart.
    assert sites.posterior[0] == pytest.approx(0.5, abs=0.02)


def test_palindrome_adds_the_posterior_of_both_strands():
    source = source_of(["TTTTTGATCTTTTTT"])
    matrix = np.full((4, 4), 0.01)
    matrix[np.arange(4), encode("GATC")] = 0.97
    sites = Motif(4, estimate_background(source, 0)).sites(MotifParams(0.9, matrix), source)
    assert sites.starts[0] == 5
    assert sites.posterior[0] > 0.9


def test_no_site_touches_an_unknown_letter():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGTN"), size=40, p=[0.22, 0.22, 0.22, 0.22, 0.12])) for _ in range(30)]
    source = source_of(texts)
    model = model_of(source, width=5)
    sites = model.sites(random_params(model, 1), source)
    for text, start in zip(texts, sites.starts, strict=True):
        assert (start == -1) == (not has_room(encode(text), 5))
        assert "N" not in text[start : start + 5] or start == -1


def test_join_numbers_the_starts_on_and_keeps_the_best():
    source = SequenceSource([r.codes for r in read_fasta(RESOURCES / "crp.fa")])
    model = Motif(22, estimate_background(source, 0), occurrence="oops")
    first = fit(model, source, starts=2, strategy="random", seed=1, max_passes=40)
    better = fit(model, source, starts=3, seed=0)
    assert better.objective > first.objective + 1.0
    for both in (join(first, better, "again"), join(better, first, "again")):
        assert both.objective == better.objective
        assert both.loglik == better.loglik
        np.testing.assert_array_equal(both.params.matrix, better.params.matrix)
        assert [s.restart for s in both.starts] == list(range(5))
        assert both.passes == first.passes + better.passes == len(both.trace)
        assert {row.restart for row in both.trace} == set(range(5))
        assert both.starts[both.best_restart].objective == better.objective
        assert both.starts[-1].strategy == "again"
        assert min(s.optimum for s in both.starts) == 1
        assert "of 5 starts" in both.verdict


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 1}, "at least 2"),
        ({"pseudocount": 0.0}, "above 0"),
        ({"n_letters": 20}, "both strands"),
    ],
)
def test_wrong_hyperparameters_are_refused(change, message):
    model = model_of(source_of(SETS["plain"]))
    with pytest.raises(InputError, match=message):
        replace(model, **change)
    with pytest.raises(InputError, match="background order"):
        estimate_background(source_of(SETS["plain"]), 6)
    with pytest.raises(InputError, match="background order"):
        estimate_background(source_of(SETS["plain"]), 5, n_letters=20, both=False)


def test_no_window_of_known_letters_is_an_error():
    source = source_of(["ACNGT", "NN"])
    with pytest.raises(InputError, match="no window"):
        model_of(source).initial_params(source, np.random.default_rng(0), "words")


def test_words_start_where_the_motif_is():
    """One pass over the words finds a start near a planted motif; a random matrix does not (negative control)."""
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(40)]
    texts = [t[:20] + "TGACGTCATT" + t[30:] for t in texts]
    source = source_of(texts)
    model = model_of(source, width=10, order=0)
    begin = {s: model.initial_params(source, np.random.default_rng(1), s) for s in model.strategies}
    logliks = {s: total_stats(model, source, p).loglik for s, p in begin.items()}
    assert logliks["words"] > logliks["random"] + 50
    found = fit(model, source, starts=3).params.matrix.argmax(axis=1)
    assert "".join("ACGT"[i] for i in found) in ("TGACGTCATT", "AATGACGTCA")


def test_information_and_what_it_takes_to_find_a_site():
    source = source_of(["ACGT" * 5])
    model = model_of(source, width=2, order=0)
    assert model.background.frequencies.tolist() == [0.25] * 4
    params = MotifParams(0.5, np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0 + 1e-300, 1e-300]]))
    np.testing.assert_allclose(model.information(params), [0.0, 1.0], rtol=1e-12, atol=1e-12)
    assert model.corrected_information(params, 10) == pytest.approx(1.0 - 2 * 3 / (20 * math.log(2)), rel=1e-12)
    assert model.locating_bits(np.array([33, 129])) == pytest.approx((math.log2(64) + math.log2(256)) / 2, rel=1e-12)


def test_half_of_the_known_site_must_be_covered():
    known = np.array([[0, 10, 30]])
    assert matches(np.array([[0, 0, 20]]), known).all()
    assert not matches(np.array([[0, 0, 19]]), known).any()
    assert not matches(np.array([[1, 10, 30]]), known).any()
    assert n_positions(np.array([[0, 5, 9], [0, 0, 3], [1, 0, 3], [0, 8, 12]])) == 3 + 7 + 3
    assert n_positions(np.empty((0, 3), dtype=np.int64)) == 0
    assert n_shared_positions(np.array([[0, 0, 20]]), known) == 10


def test_regions_are_joined_and_cut():
    records = [Record("a", "", encode("ACGTACGTAC")), Record("b", "", encode("TTTT"))]
    regions = [Interval("a", 6, 9), Interval("a", 1, 4), Interval("a", 3, 6), Interval("b", 0, 4)]
    pieces = cut(records, regions, 5)
    assert [(p.record, p.start, p.end) for p in pieces] == [("a", 1, 6), ("a", 6, 9), ("b", 0, 4)]
    assert [p.label for p in pieces] == ["a:2-6", "a:7-9", "b"]
    np.testing.assert_array_equal(pieces[1].codes, records[0].codes[6:9])
    assert [p.start for p in cut(records[:1], None, None)] == [0]


def test_second_orders_matter_only_where_they_are_asked_for():
    """Background of order 2 follows a repeat that order 0 cannot (negative control: equal letters)."""
    source = source_of(["ACACACACACACACACACAC" * 3])
    logliks = [model_of(source, order=k, strands="one").background_loglik(source) for k in (0, 1, 2)]
    assert logliks[1] > logliks[0] + 20
    assert logliks[0] == pytest.approx(60 * math.log(31 / 64), rel=1e-12)


@pytest.mark.parametrize("letters", [1, 10_000])
def test_starts_do_not_see_sequences_of_weight_zero(letters, monkeypatch):
    from emtools.models import motif

    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("ACGT"), size=60)) for _ in range(12)]
    model = model_of(source_of(texts), width=6)
    mixed = ["T" * 500, *texts[:5], "A" * 200, *texts[5:]]
    weights = np.array([0.0, *[1.0] * 5, 0.0, *[1.0] * 7])
    for scored in (motif.SCORED_LETTERS, 300, 1):
        monkeypatch.setattr(motif, "SCORED_LETTERS", scored)
        sources = (source_of(texts), source_of(mixed, weights, chunk_letters=letters))
        ours, theirs = (model.initial_params(source, np.random.default_rng(1), "words") for source in sources)
        np.testing.assert_array_equal(model.pack(ours), model.pack(theirs))

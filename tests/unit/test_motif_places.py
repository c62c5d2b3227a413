"""A prior of where sites lie: against enumeration, alike in any chunks, the same bits where it is even; what it finds, and what not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_motif import LETTERS, SETS, encode, model_of, random_params
from test_motif_erasing import configurations
from test_motif_finding import numbers

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.errors import InputError
from emtools.io.bedgraph import ValueTrack, read_track
from emtools.io.weights import values_between
from emtools.kernels.motif import best_windows
from emtools.kernels.placements import best_placements
from emtools.kernels.windows import context_table
from emtools.models.motif import Motif, MotifParams, estimate_background, weights_of_places
from emtools.motif_finding import significance
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.evidence import Scene
from emtools.motif_finding.places import central_weights, place_prior, where_probable
from emtools.motif_finding.search import Terms, enriched_matrices, occurrence_of, search, settle

WIDTH = 3


def weighed(texts, seed, **kwargs):
    """Sequences whose letters have random weights."""
    prior = np.random.default_rng(seed).choice([0.05, 0.7, 1.0, 4.0], size=sum(map(len, texts)))
    return SequenceSource([encode(text) for text in texts], prior=prior / prior.mean(), **kwargs)


def windows_of(text):
    return [j for j in range(len(text) - WIDTH + 1) if "N" not in text[j : j + WIDTH]]


def by_hand(source, texts, params, model):
    """Log-likelihood, entropy, letters of the sites, posterior of each start: every place with its share of the prior."""
    loglik, entropy, counts, starts = 0.0, 0.0, np.zeros((WIDTH, 4)), np.zeros((2, source.codes.size))
    many, rate = model.occurrence == "anr", params.occurrence
    for text, low in zip(texts, source.offsets, strict=False):
        rooms = windows_of(text)
        mean = {j: source.prior[low + j : low + j + WIDTH].mean() for j in rooms}
        total = sum(mean.values())
        parts = []
        for p, sites, letters in configurations(text, params, model):
            if many:  # each site at its own rate, and each place that was passed over
                taken = {k for j, _ in sites for k in range(j, j + WIDTH)}
                for j in rooms:
                    if j in [at for at, _ in sites]:
                        p *= mean[j]
                    elif j not in taken:
                        p *= (1.0 - rate * mean[j]) / (1.0 - rate)
            else:
                for j, _ in sites:
                    p *= len(rooms) * mean[j] / total
            parts.append((p, sites, letters))
        whole = math.fsum(p for p, *_ in parts)
        loglik += math.log(whole)
        for p, sites, letters in parts:
            z = p / whole
            entropy -= z * math.log(z) if z else 0.0
            counts += z * letters
            for j, sign in sites:
                starts[int(sign == -1), low + j] += z
    return loglik, entropy, counts, starts


@pytest.mark.parametrize("texts", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("occurrence", ["oops", "zoops", "anr"])
@pytest.mark.parametrize("strands", ["one", "both"])
@pytest.mark.parametrize("order", [0, 2])
def test_sites_of_unequal_places_equal_enumeration(texts, occurrence, strands, order):
    source = weighed(texts, 1)
    rate = 0.1 if occurrence == "anr" else None
    model = model_of(source, order=order, occurrence=occurrence, strands=strands, rate=rate)
    params = random_params(model, 3)
    if rate:
        params = MotifParams(rate, params.matrix)
    loglik, entropy, counts, starts = by_hand(source, texts, params, model)
    stats = total_stats(model, source, params)
    assert stats.loglik == pytest.approx(loglik, rel=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-12, atol=1e-12)
    assert model.expected_loglik(stats, params) + stats.entropy == pytest.approx(stats.loglik, rel=1e-12)
    np.testing.assert_allclose(model.starts(params, source.chunk(0)), starts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
def test_fast_and_slow_weigh_alike_in_any_chunks(occurrence):
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list(LETTERS), p=[0.24] * 4 + [0.04], size=rng.integers(1, 80))) for _ in range(90)]
    source, cut = weighed(texts, 5), weighed(texts, 5, chunk_letters=200)
    assert cut.n_chunks > 5
    model = model_of(source, width=9, order=2, occurrence=occurrence)
    params, chunk = random_params(model, 2), source.chunk(0)
    places = np.zeros((2, chunk.codes.size))
    totals, counts, _, _ = model.run_e_step(params, chunk, places=places)
    fast = model.e_step(params, chunk)
    np.testing.assert_allclose(numbers(fast), totals, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(fast.counts, counts, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.starts(params, chunk), places, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(numbers(total_stats(model, cut, params)), totals, rtol=1e-10, atol=1e-9)


def test_ratios_beyond_the_range_of_numbers_are_weighed_in_logs():
    source = SequenceSource([encode("A" * 80), encode("C" * 80)], prior=np.linspace(0.5, 1.5, 160))
    model = model_of(source, width=60, order=0, occurrence="oops", strands="one")
    matrix = np.full((60, 4), 1e-12)
    matrix[:, 2] = 1.0 - 3e-12
    params = MotifParams(1.0, matrix)
    totals, _, _, _ = model.run_e_step(params, source.chunk(0))
    assert total_stats(model, source, params).loglik == pytest.approx(totals[1], rel=1e-12)


@pytest.mark.parametrize(("weight", "of_unknown"), [(1.0, 1.0), (0.3, 0.3), (1.0, 0.0), (1.0, 50.0)])
@pytest.mark.parametrize("occurrence", ["oops", "zoops", "anr"])
def test_even_weights_give_the_same_bits_whatever_letters_that_were_not_observed_weigh(weight, of_unknown, occurrence):
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list(LETTERS), p=[0.24] * 4 + [0.04], size=rng.integers(3, 60))) for _ in range(40)]
    codes = [encode(text) for text in texts]
    plain = SequenceSource(codes)
    track = [np.where(c < 4, weight, of_unknown) for c in codes]
    even = SequenceSource(codes, prior=place_prior([len(c) for c in codes], False, track, np.concatenate(codes) < 4))
    for order in (0, 2):
        model = model_of(plain, width=7, order=order, occurrence=occurrence, rate=0.02 if occurrence == "anr" else None)
        params = random_params(model, 1)
        if occurrence == "anr":
            params = MotifParams(0.02, params.matrix)
        ours, theirs = (model.e_step(params, source.chunk(0)) for source in (even, plain))
        assert numbers(ours) == numbers(theirs)
        assert ours.counts.tolist() == theirs.counts.tolist()
    terms = Terms((6, 9), occurrence=occurrence)
    ours, theirs = (search(source, model.background, terms, seeds=4) for source in (even, plain))
    assert [c.choice.evidence for c in ours] == [c.choice.evidence for c in theirs]
    assert ours[0].params.matrix.tolist() == theirs[0].params.matrix.tolist()


def test_weights_of_places_have_a_mean_of_one_in_each_sequence_and_none_without_room():
    source = weighed(["ACGTACGT", "ACNNACG", "NNNN"], 4)
    weights = weights_of_places(source, WIDTH, 4, many=False)
    assert weights[:6].mean() == pytest.approx(1.0)
    assert not weights[6:8].any()
    assert weights[8:].tolist() == [0.0] * 4 + [1.0] + [0.0] * 6
    np.testing.assert_allclose(
        weights_of_places(source, WIDTH, 4, many=True)[:6],
        [source.prior[j : j + WIDTH].mean() for j in range(6)],
        rtol=1e-12,
    )


def test_best_windows_and_their_evidence_count_the_prior():
    rng = np.random.default_rng(8)
    source = SequenceSource([rng.integers(4, size=50).astype(np.uint8) for _ in range(6)])
    background = estimate_background(source, 0)
    source.prior = place_prior([50] * 6, True, None)
    matrix = rng.dirichlet(np.ones(4), size=5)
    weights = weights_of_places(source, 5, 4, many=False)
    scene = Scene.of(source, background, False, False)
    placed = scene.place(matrix)
    ratios = np.log(matrix / background.frequencies)
    for i in range(6):
        scores = [ratios[np.arange(5), source[i][j : j + 5]].sum() + math.log(weights[50 * i + j]) for j in range(46)]
        if max(scores) > 0.0:
            at = int(np.flatnonzero(placed.sequence == i)[0])
            assert placed.start[at] == int(np.argmax(scores))
            assert placed.log_ratio[at] == pytest.approx(max(scores), rel=1e-12)
    even = Scene.of(SequenceSource([source[i] for i in range(6)]), background, False, False)
    gained = np.cumsum(np.log(weights[50 * placed.sequence + placed.start]))
    np.testing.assert_allclose(scene.placing(placed, 5) - even.placing(placed, 5), gained, rtol=1e-10)
    table = context_table(background.log_table, 0)
    fast = best_placements(source.codes, source.offsets, table, 0, matrix, False, np.empty(0), weights, 1, -50.0)
    logs = np.log(background.frequencies)[source.codes]
    slow = best_windows(source.codes, source.offsets, logs, np.log(matrix), False, weights, -50.0)
    np.testing.assert_allclose(fast[3], slow[3], rtol=1e-12)
    assert fast[1].tolist() == slow[1].tolist()


def test_any_number_of_unequal_places_needs_an_occurrence_that_is_held():
    source = weighed(["ACGTACGT"], 1)
    model = Motif(3, estimate_background(source, 0), occurrence="anr")
    with pytest.raises(InputError, match="occurrence that is held"):
        model.e_step(MotifParams(0.1, np.full((3, 4), 0.25)), source.chunk(0))


def central_set(seed, n=80, length=200, share=0.4, spread=15.0):
    """Random sequences with weak sites near the middle of some: sequences, starts by sequence."""
    rng = np.random.default_rng(seed)
    word = np.array([3, 0, 1, 2, 2, 0, 3, 1], dtype=np.uint8)
    sequences, starts = [], {}
    for i in range(n):
        codes = rng.choice(4, p=[0.3, 0.2, 0.2, 0.3], size=length).astype(np.uint8)
        if rng.random() < share:
            at = int(np.clip(round(length / 2 - 4 + rng.normal(0.0, spread)), 0, length - 8))
            codes[at : at + 8] = np.where(rng.random(8) < 0.82, word, rng.integers(4, size=8))
            starts[i] = at
        sequences.append(codes)
    return sequences, starts


def found_share(source, starts):
    """Sites found, and calls, within two letters of those planted."""
    background = estimate_background(source, 0)
    terms = Terms((8, 8))
    model, start = settle(source, background, terms, search(source, background, terms, seeds=12))
    calls = call_sites(model, climb(model, source, start).params, source)
    hits = sum(abs(starts.get(int(i), -99) - int(at)) <= 2 for i, at in zip(calls.sequence, calls.start, strict=True))
    return 2 * hits / (len(starts) + len(calls.start))


def test_weak_sites_near_the_middle_are_found_where_it_is_known():
    plain, central = [], []
    for seed in range(2):
        sequences, starts = central_set(seed)
        plain.append(found_share(SequenceSource(sequences), starts))
        prior = place_prior([len(s) for s in sequences], True, None)
        central.append(found_share(SequenceSource(sequences, prior=prior), starts))
    assert np.mean(central) > np.mean(plain) + 0.05


def test_the_test_weighs_originals_and_shuffles_alike():
    """Random motifs in random letters, weights far from one: were one of the two not weighed, all p would lie at one end."""
    values = []
    for seed in range(24):
        rng = np.random.default_rng([seed, 3])
        prior = np.where(np.arange(60) // 6 == 4, 40.0, 20.0)
        source = SequenceSource(
            [rng.integers(4, size=60).astype(np.uint8) for _ in range(15)], prior=np.tile(prior, 15)
        )
        background = estimate_background(source, 0)
        model, params = (
            Motif(6, background, occurrence="anr", rate=0.02),
            MotifParams(0.02, rng.dirichlet(np.full(4, 0.5), size=6) * 0.96 + 0.01),
        )
        sequences = [source[i] for i in range(15)]
        values.append(significance.tested(model, params, background, sequences, source, rng).p)
    assert 0.3 < np.mean(values) < 0.7


def test_prior_goes_along_with_drawn_sequences_and_chunks():
    source = weighed(["ACGT", "TT", "GGG"], 1, chunk_letters=4)
    drawn = source.drawn(np.array([2, 0]))
    assert drawn.prior.tolist() == [*source.prior[6:], *source.prior[:4]]
    assert source.chunk(1).prior.tolist() == source.prior[4:].tolist()


def test_starts_come_from_where_sites_are_probable_too():
    source = SequenceSource(
        [encode("ACGTAC"), encode("TTTT")], prior=np.array([0.5, 0.5, 1.0, 2.0, 0.1, 0.1, *[0.3] * 4])
    )
    assert where_probable(source, 4).codes.tolist() == [255, 255, 2, 3, 255, 255, 3, 3, 3, 3]
    source.prior = np.full(10, 0.7)
    assert where_probable(source, 4) is None
    rng = np.random.default_rng(1)
    many = SequenceSource([rng.integers(4, size=60).astype(np.uint8) for _ in range(30)])
    for i in range(30):
        many.codes[60 * i + 26 : 60 * i + 32] = [0, 1, 2, 3, 2, 2] if i % 2 else [3, 0, 1, 2, 3, 3]
        many.codes[60 * i : 60 * i + 6] = [2, 2, 2, 2, 2, 2]
    background, terms = estimate_background(many, 0), Terms((6, 6), both=False)
    assert (enriched_matrices(many, background, terms, 6, 1)[0].argmax(axis=1) == 2).all()
    many.prior = place_prior([60] * 30, True, None)
    start = enriched_matrices(where_probable(many, 4), background, terms, 6, 1)[0]
    assert start.argmax(axis=1).tolist() in ([0, 1, 2, 3, 2, 2], [3, 0, 1, 2, 3, 3])


def test_weights_about_the_middle_and_of_a_track():
    weights = central_weights(200)
    assert weights.mean() == pytest.approx(1.0)
    assert (np.diff(weights[:100]) > 0.0).all()
    np.testing.assert_array_equal(weights, weights[::-1])
    values = [np.array([0.0, 2.0, np.nan]), np.array([4.0])]
    prior = place_prior([3, 1], False, values)
    np.testing.assert_allclose(prior, 0.9 * np.array([0.0, 2.0, 2.0, 4.0]) / 2.0 + 0.1, rtol=1e-12)
    assert place_prior([3, 1], False, None) is None
    both = place_prior([200], True, [np.full(200, 7.0)])
    np.testing.assert_allclose(both, weights, rtol=1e-12)


def test_values_of_letters_between():
    track = ValueTrack("a", np.array([0, 3]), np.array([2, 9]), np.array([1.0, 5.0]))
    np.testing.assert_array_equal(values_between(track, 1, 5), [1.0, np.nan, 5.0, 5.0])
    np.testing.assert_array_equal(values_between(track, 9, 11), [np.nan, np.nan])
    np.testing.assert_array_equal(values_between(None, 0, 1), [np.nan])


def test_any_number_of_sites_is_not_inflated_by_where_they_may_lie():
    """Weights are 1 on the average of places, so that as many sites are expected under a prior as without."""
    source = SequenceSource([np.zeros(60, dtype=np.uint8)] * 20, prior=place_prior([60] * 20, True, None))
    background = estimate_background(source, 0)
    scene = Scene.of(source, background, True, True, False)
    weights = scene.places(20)
    assert weights[weights > 0.0].mean() == pytest.approx(1.0, rel=1e-12)
    assert scene.mean_weight(20) > 1.1
    rate = occurrence_of(5, scene, 20, "anr")
    raw = weights_of_places(source, 20, 4, many=True)
    assert rate * raw.sum() == pytest.approx(5.0, rel=2e-3)  # of one place more


def test_a_tenth_of_a_track_is_spread_evenly_over_the_letters_that_were_observed():
    track = [np.concatenate([np.tile([0.0, 1.0], 30), np.zeros(2000)])]
    known = np.arange(2060) < 60
    prior = place_prior([2060], False, track, known)
    assert prior[:60].min() / prior[:60].max() == pytest.approx(0.1 / 1.9)


def test_sequences_too_short_to_have_a_middle_are_refused():
    with pytest.raises(InputError, match="--central: no sequence has 40 letters"):
        place_prior([30, 39], True, None)
    assert place_prior([30, 40], True, None) is not None


def test_of_records_that_are_not_searched_only_the_first_line_is_kept(tmp_path):
    path = tmp_path / "t.bedgraph"
    path.write_text("".join(f"{name}\t{i}\t{i + 1}\t{i}\n" for i in range(3) for name in ("a", "b")))
    assert [(track.name, len(track)) for track in read_track(path, ["b"])] == [("a", 1), ("b", 3)]
    assert [len(track) for track in read_track(path)] == [3, 3]

"""The search for a high hill: moves that merge and split, kept where they climb."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import special

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.engine.search import Searcher, search
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.models.linkage import COUNTS, Linkage
from emtools.models.mixture import GaussianMixture, data_prior
from emtools.models.mixture_crossing import least_loss


def nine_groups():
    """Rows in nine well separated groups of very different sizes."""
    rng = np.random.default_rng(4)
    sizes = [200, 120, 80, 60, 40, 40, 30, 30, 20]
    centres = 12.0 * np.array([(i, j) for i in range(3) for j in range(3)])
    return np.concatenate([c + rng.normal(size=(n, 2)) for c, n in zip(centres, sizes, strict=True)])


def trapped(model, values):
    """Two components on one group, one on two groups: EM alone cannot leave."""
    labels = (np.round(values / 12.0) @ [3, 1]).astype(int)
    labels[labels == 1] = 0
    first = np.flatnonzero(labels == 8)
    labels[first[: len(first) // 2]] = 1
    return model.from_labels(values, labels)


def test_the_most_promising_move_leads_out_of_a_trap():
    values = nine_groups()
    model, source = GaussianMixture(9, 2), ArraySource(values)
    stuck = climb(model, source, trapped(model, values))
    found = model.moves(stuck.params, source, np.random.default_rng(0))
    out = climb(model, source, found.moves[0].make())
    assert out.objective > stuck.objective + 50.0
    # Splitting alone bounds the gain from below; what merging loses may be recovered, not exceeded.
    assert out.objective - stuck.objective >= found.moves[0].promise - 1e-6
    assert all(one.promise >= two.promise for one, two in zip(found.moves, found.moves[1:], strict=False))


def with_a_pair_on_one(model, values, joined, halved):
    """One component on the two groups `joined`, two on the group `halved`: EM alone cannot leave."""
    labels = (np.round(values / 12.0) @ [3, 1]).astype(int)
    labels[labels == joined[1]] = joined[0]
    rows = np.flatnonzero(labels == halved)
    labels[rows[: len(rows) // 2]] = joined[1]
    return model.from_labels(values, labels)


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical", "EII", "VEI", "EEV"])
def test_two_mixtures_crossed_have_the_right_parts_of_both(family):
    values = nine_groups()
    model, source = GaussianMixture(9, 2, family), ArraySource(values)
    truth = climb(model, source, model.from_labels(values, (np.round(values / 12.0) @ [3, 1]).astype(int))).objective
    one = climb(model, source, with_a_pair_on_one(model, values, (0, 1), 8))
    two = climb(model, source, with_a_pair_on_one(model, values, (3, 6), 0))
    assert max(one.objective, two.objective) < truth - 50.0
    found = model.crossed(one.params, two.params, source, np.random.default_rng(0))
    assert climb(model, source, found.params).objective >= truth - 1e-3
    again = model.unpack(model.pack(found.params))
    np.testing.assert_allclose(again.covariances, found.params.covariances, rtol=1e-8, atol=1e-10)
    assert found.passes == pytest.approx(2.0 + sum(range(10, 18)) / 9.0, rel=1e-12)


@pytest.mark.parametrize("family", ["full", "diagonal", "spherical"])
@pytest.mark.parametrize("with_prior", [False, True])
def test_the_pair_that_is_merged_is_the_best_of_all_by_the_bound(family, with_prior):
    rng = np.random.default_rng(6)
    values, weights = rng.normal(size=(120, 3)), rng.uniform(0.5, 2.0, size=120)
    prior = data_prior(values, 6, family) if with_prior else None
    model, smaller = (GaussianMixture(k, 3, family, prior) for k in (6, 5))
    for trial in range(5):
        shares = rng.dirichlet(np.full(6, 0.2 + trial), size=120)
        bounds = {}
        for i, j in combinations(range(6), 2):
            merged = np.delete(shares, j, axis=1)
            merged[:, i] += shares[:, j]
            held = merged * weights[:, None]
            origin = (held / held.sum(axis=0)).T @ values
            entropy = -float(weights @ special.xlogy(merged, merged).sum(axis=1))
            stats = smaller.moments(values, held, origin, n=float(weights.sum()), loglik=np.nan, entropy=entropy)
            params = smaller.m_step(stats, smaller.from_labels(values, merged, weights))
            bounds[i, j] = smaller.expected_loglik(stats, params) + smaller.log_prior(params) + entropy
        params = model.from_labels(values, shares, weights)
        assert least_loss(model, params, shares, values, weights) == max(bounds, key=lambda pair: bounds[pair])


@pytest.mark.parametrize("family", ["full", "tied", "VEI", "EII", "EEV"])
def test_moves_stay_in_the_family(family):
    values = nine_groups()
    model, source = GaussianMixture(9, 2, family), ArraySource(values)
    params = model.initial_params(source, np.random.default_rng(1), "random")
    params = model.m_step(model.e_step(params, source.chunk(0)), params)
    for move in model.moves(params, source, np.random.default_rng(0)).moves[:5]:
        made = move.make()
        again = model.unpack(model.pack(made))
        np.testing.assert_allclose(again.covariances, made.covariances, rtol=1e-8, atol=1e-10)


def test_a_search_finds_the_groups_from_every_seed_and_stays_within_its_budget():
    values = nine_groups()
    model, source = GaussianMixture(9, 2), ArraySource(values)
    truth = climb(model, source, model.from_labels(values, (np.round(values / 12.0) @ [3, 1]).astype(int))).objective
    for seed in range(3):
        result = fit(model, source, seed=seed, search=600, certificate=False)
        assert result.objective >= truth - 1e-3
    _, spent = search(model, source, 100, seed=(0,))
    assert spent <= 130
    one, two = (search(model, source, 300, seed=(5, 1))[0] for _ in range(2))
    np.testing.assert_array_equal(model.pack(one), model.pack(two))


def test_crossing_raises_the_best_of_short_runs_within_its_budget():
    values = nine_groups()
    model, source = GaussianMixture(9, 2), ArraySource(values)
    searcher = Searcher(model, source, 500.0, np.random.default_rng(3))
    runs = [run for run in (searcher.start("random") for _ in range(6)) if run is not None]
    bred = searcher.breed(runs, 400.0)
    assert searcher.spent <= 400.0 + 30.0
    heights = [place.objective for place in bred]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > max(run.objective for run in runs) + 10.0


def test_threads_do_not_change_a_search():
    values = np.random.default_rng(8).normal(size=(300, 2))  # no groups, many hills
    model, source = GaussianMixture(5, 2), ArraySource(values, chunk_rows=100)
    one, two = (fit(model, source, search=500, starts=2, threads=n, certificate=False) for n in (1, 2))
    np.testing.assert_array_equal(model.pack(one.params), model.pack(two.params))
    assert [row.objective for row in one.trace] == [row.objective for row in two.trace]


def test_a_model_without_moves_is_refused():
    with pytest.raises(InputError, match="offers moves"):
        fit(Linkage(), ArraySource(np.array([COUNTS])), search=10)

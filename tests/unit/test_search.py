"""The search for a high hill: moves that merge and split, kept where they climb."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.engine.search import search
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.models.linkage import COUNTS, Linkage
from emtools.models.mixture import GaussianMixture


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


def test_a_model_without_moves_is_refused():
    with pytest.raises(InputError, match="offers moves"):
        fit(Linkage(), ArraySource(np.array([COUNTS])), search=10)

"""Choice of the number of components and the family."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource
from emtools.engine.loop import climb
from emtools.errors import FitError, InputError
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_selection import select, split_from


def groups():
    """Three round groups of very different widths."""
    rng = np.random.default_rng(2)
    return np.concatenate([rng.normal(c, s, size=(60, 2)) for c, s in ((0.0, 0.3), (6.0, 1.0), (15.0, 2.0))])


@pytest.mark.parametrize("criterion", ["bic", "icl", "held_out"])
def test_the_truth_is_chosen(criterion):
    found = select(groups(), range(1, 6), ("EII", "VII"), criterion)
    assert (found.chosen.n_components, found.chosen.family) == (3, "VII")
    assert [(row.n_components, row.family) for row in found.table] == [(k, f) for f in ("EII", "VII")
                                                                       for k in range(1, 6)]  # fmt: skip


def test_the_figures_are_those_of_the_parameters():
    values = groups()
    row = select(values, [3], ["VVV"]).chosen
    model = GaussianMixture(3, 2, "VVV")
    loglik = model.e_step(row.params, ArraySource(values).chunk(0)).loglik
    assert row.loglik == pytest.approx(loglik, rel=1e-12)
    assert row.bic == pytest.approx(2 * loglik - 17 * np.log(180), rel=1e-12)
    largest = model.responsibilities(row.params, values).max(axis=1)
    assert row.icl == pytest.approx(row.bic + 2 * np.log(largest).sum(), rel=1e-10)


def test_a_split_of_the_fit_before_is_above_it():
    values = groups()
    two = GaussianMixture(2, 2)
    before = climb(
        two, ArraySource(values), two.initial_params(ArraySource(values), np.random.default_rng(0), "random")
    )
    three = GaussianMixture(3, 2)
    (start,) = split_from(three, values, before.params, 0)
    assert three.e_step(start, ArraySource(values).chunk(0)).loglik > before.loglik
    assert split_from(GaussianMixture(4, 2), values, before.params, 0) == []


def test_what_cannot_be_chosen_is_said():
    with pytest.raises(InputError, match="at least one"):
        select(groups(), [])
    with pytest.raises(FitError, match="no fit is usable"):
        select(groups()[:4], [6])

"""Linkage and ABO blood groups: enumeration of what is hidden, closed forms, edges and hostile tables."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.protocol import Annealed
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.models.abo import ABO, ABOParams
from emtools.models.linkage import COUNTS, Linkage, LinkageParams, exact_maximum


def source(*counts):
    return ArraySource(np.array([counts], dtype=float))


def test_linkage_sums_over_every_split_of_the_first_cell():
    """The likelihood of counts is the sum over how many of the first cell are of either class, all hidden paths weighed."""
    t, counts = 0.4, (3, 1, 2, 2)
    cells = [0.5, t / 4]
    paths = [math.prod(path) for path in product(cells, repeat=counts[0])]
    rest = ((1 - t) / 4) ** (counts[1] + counts[2]) * (t / 4) ** counts[3]
    stats = total_stats(Linkage(), source(*counts), LinkageParams(t))
    assert stats.loglik == pytest.approx(math.log(sum(paths) * rest), rel=1e-13)
    posterior = np.array(paths) / sum(paths)
    assert stats.entropy == pytest.approx(float(-posterior @ np.log(posterior)), rel=1e-12)
    hidden = [sum(cell == cells[1] for cell in path) for path in product(cells, repeat=counts[0])]
    assert stats.linked - counts[3] == pytest.approx(float(posterior @ hidden), rel=1e-12)
    cold = total_stats(Linkage(), source(*counts), LinkageParams(t), Annealed(2.5))
    assert cold.loglik == pytest.approx(math.log(sum(p**2.5 for p in paths)) / 2.5 + math.log(rest), rel=1e-12)


@pytest.mark.parametrize("counts", [COUNTS, (10.0, 0.0, 0.0, 5.0), (10.0, 5.0, 6.0, 0.0), (1.0, 7.0, 9.0, 3.0)])
def test_linkage_climbs_to_its_closed_form(counts):
    result = fit(Linkage(), source(*counts), tol=1e-13, parameter_tol=1e-10, max_passes=5000)
    assert result.params.probability == pytest.approx(exact_maximum(*counts), abs=1e-8)


def test_the_closed_form_of_rao():
    assert exact_maximum(*COUNTS) == pytest.approx((15 + math.sqrt(53809)) / 394, rel=1e-15)
    with pytest.raises(InputError, match="every count is zero"):
        exact_maximum(0.0, 0.0, 0.0, 0.0)


def abo_cells(p, q, r):
    return np.array([p * p + 2 * p * r, q * q + 2 * q * r, 2 * p * q, r * r])


def test_abo_likelihood_and_posterior_by_enumeration_of_genotypes():
    p, q, r = 0.25, 0.15, 0.6
    counts = np.array([7.0, 4.0, 2.0, 9.0])
    stats = total_stats(ABO(), source(*counts), ABOParams(np.array([p, q, r])))
    assert stats.loglik == pytest.approx(float(counts @ np.log(abo_cells(p, q, r))), rel=1e-13)
    a, b = p / (p + 2 * r), q / (q + 2 * r)
    expected = [7 * a, 7 * (1 - a), 4 * b, 4 * (1 - b), 2, 9]
    np.testing.assert_allclose(stats.genotype, expected, rtol=1e-13)
    hidden = 7 * (-a * math.log(a) - (1 - a) * math.log(1 - a)) + 4 * (-b * math.log(b) - (1 - b) * math.log(1 - b))
    assert stats.entropy == pytest.approx(hidden, rel=1e-13)


def test_abo_reaches_the_best_of_a_grid():
    counts = np.array([186.0, 38.0, 13.0, 284.0])
    result = fit(ABO(), source(*counts), starts=3, tol=1e-12)
    grid = [(p, q) for p in np.linspace(0.2, 0.23, 61) for q in np.linspace(0.04, 0.06, 41)]
    best = max(grid, key=lambda g: counts @ np.log(abo_cells(*g, 1 - sum(g))))
    np.testing.assert_allclose(result.params.allele[:2], best, atol=5e-4)
    top = counts @ np.log(abo_cells(*result.params.allele))
    assert top >= counts @ np.log(abo_cells(*best, 1 - sum(best)))


def test_a_frequency_of_zero_is_an_edge_and_no_error():
    result = fit(ABO(), source(20, 0, 0, 30), starts=2, tol=1e-10)
    assert result.params.allele[1] == pytest.approx(0.0, abs=1e-12)
    assert result.params.allele[2] == pytest.approx(math.sqrt(0.6), rel=1e-6)
    edge = ABOParams(np.array([0.4, 0.0, 0.6]))
    assert total_stats(ABO(), source(2, 0, 0, 1), edge).loglik == pytest.approx(math.log(0.64**2 * 0.36), rel=1e-13)
    np.testing.assert_allclose(ABO().unpack(ABO().pack(edge)).allele, edge.allele, rtol=1e-14)
    assert total_stats(ABO(), source(2, 1, 0, 1), edge).loglik == -math.inf


@pytest.mark.parametrize("model", [Linkage(), ABO()])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[1.0, 2.0, 3.0]], "3 columns; 4"),
        ([[1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 0.0, 0.0]], "row 2, column 2: nan"),
        ([[1.0, -2.0, 3.0, 4.0]], "row 1, column 2: -2"),
        ([[1.0, np.inf, 3.0, 4.0]], "row 1, column 2: inf"),
        ([[0.0, 0.0, 0.0, 0.0]], "every count is zero"),
    ],
)
def test_tables_that_hold_no_counts(model, table, message):
    with pytest.raises(InputError, match=message):
        fit(model, ArraySource(np.array(table)))

"""The figures of docs/models/em.md, measured again."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emtools.engine.chunks import ArraySource
from emtools.engine.starts import fit
from emtools.models.laplace_uniform import LaplaceUniform, LaplaceUniformParams
from emtools.models.mixture import GaussianMixture, MixtureParams, kmeans
from emtools.models.normal import MultivariateNormal, PatternSource

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"\s+", " ", (ROOT / "docs" / "models" / "em.md").read_text())


def overlapping():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(-1, 1, 1000), rng.normal(1, 1, 1000)])


def stated(text):
    assert text in PAGE, text


def test_shares_of_missing_cells_and_rates():
    table = pd.read_csv(ROOT / "resources" / "pbc.csv")
    nine = ["bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime"]
    for columns, share, rate in ((nine, "16 %", "0.446"), (["chol", "trig"], "32 %", "0.007")):
        values = table[columns].to_numpy(float)
        result = fit(MultivariateNormal(len(columns)), PatternSource(values))
        stated(f"{share} of the cells are missing and the rate is {rate}")
        assert f"{100 * np.isnan(values).mean():.0f} %" == share
        assert f"{result.certificate.rate:.3f}" == rate


def test_boundary_of_a_compact_and_a_diffuse_component():
    params = MixtureParams(np.array([0.5, 0.5]), np.array([[0.0], [4.0]]), np.array([[[1.0]], [[9.0]]]))
    model = GaussianMixture(2, 1)
    for root, text in (((-1 + math.sqrt(1 + 16 + 2.25 * math.log(9) * 4)) / 2, None),):
        assert text is None
        assert root > 0
    roots = np.roots([-8.0, -8.0, 16.0 + 18.0 * math.log(3.0)])
    near, far = max(roots), min(roots)
    shares = model.responsibilities(params, np.array([[near], [far]]))
    np.testing.assert_allclose(shares, 0.5, atol=1e-12)
    stated(f"{near:.2f}, on the side of the compact one")
    stated(f"and again at {far:.2f}".replace("-", "−"))
    assert near < 2.0


def test_hard_and_soft_assignment_climb_different_hills():
    values = overlapping()
    source = ArraySource(values)
    hard = fit(kmeans(2, 1, order_by=0), source, assign="hard", starts=5)
    soft = fit(GaussianMixture(2, 1, "tied", equal_weights=True, order_by=0), source, starts=5)
    stated("K-means puts its centres at " + " and ".join(f"{m:.2f}" for m in hard.params.means[:, 0]).replace("-", "−"))
    stated("the mixture at " + " and ".join(f"{m:.2f}" for m in soft.params.means[:, 0]).replace("-", "−"))


def test_a_uniform_bound_stays_where_it_starts():
    values = np.concatenate([np.linspace(-3, 3, 25), [-9.0, 9.5, 8.0, -7.5]])
    wide = LaplaceUniformParams(0.5, 0.0, 1.0, -20.0, 20.0)
    model = LaplaceUniform()
    source = ArraySource(values)
    stats = model.e_step(wide, source.chunk(0))
    after = model.m_step(stats, wide)
    assert (after.lower, after.upper) == (-9.0, 9.5)
    inside = LaplaceUniformParams(0.5, 0.0, 1.0, -9.0, 8.0)
    again = model.m_step(model.e_step(inside, source.chunk(0)), inside)
    assert again.upper == 8.0


def test_ozone_variance_is_stated():
    stated("1044 ppb² and 938 ppb²")


@pytest.mark.parametrize("figure", ["0.884", "1.067", "2143", "38 / 57"])
def test_figures_of_other_tests_are_stated(figure):
    stated(figure)

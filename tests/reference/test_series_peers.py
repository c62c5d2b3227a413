"""Hidden Markov models of numbers against hmmlearn 0.3.3 from equal starts, and against published maxima."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emtools.engine.chunks import total_stats
from emtools.engine.series import SeriesSource
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.models.gaussian_hmm import GaussianHMM, GaussianHMMParams
from emtools.models.negative_binomial_hmm import NegativeBinomialHMM
from emtools.models.poisson_hmm import PoissonHMM, PoissonHMMParams

STORED = json.loads((Path(__file__).parent / "hmmlearn_series.json").read_text(encoding="utf-8"))
NAMES = ("earthquakes_two", "earthquakes_three", "nile_two", "economy_two", "economy_three_diagonal")


def model_and_start(name):
    stored = STORED[name]
    k = len(stored["start"])
    if "rates" in stored:
        arrays = [np.array(stored[part]) for part in ("start", "transition", "rates")]
        return PoissonHMM(k), PoissonHMMParams(*arrays)
    arrays = [np.array(stored[part]) for part in ("start", "transition", "means", "covariances")]
    family = "diagonal" if name.endswith("diagonal") else "full"
    return GaussianHMM(k, arrays[2].shape[1], family), GaussianHMMParams(*arrays)


@pytest.mark.parametrize("name", NAMES)
def test_every_pass_agrees_with_hmmlearn(name):
    model, params = model_and_start(name)
    stored = STORED[name]
    values = np.array(STORED[name.split("_")[0]])
    source = SeriesSource([values])
    for expected in stored["loglik"]:
        stats = total_stats(model, source, params)
        assert stats.loglik == pytest.approx(expected, rel=1e-11)
        params = model.m_step(stats, params)
    final = stored["final"]
    assert total_stats(model, source, params).loglik == pytest.approx(final["loglik"], rel=1e-11)
    for part in ("start", "transition", "rates", "means", "covariances"):
        if part in final:
            expected = np.array(final[part])
            scale = np.abs(expected).max()
            np.testing.assert_allclose(getattr(params, part), expected, rtol=1e-9, atol=1e-11 * scale, err_msg=part)
    np.testing.assert_array_equal(model.viterbi(params, values), final["viterbi"])
    hard = total_stats(model, source, params, "hard").loglik
    assert hard == pytest.approx(final["viterbi_loglik"], rel=1e-11)
    posterior = model.posterior(params, values)[::10]
    np.testing.assert_allclose(posterior, final["posterior_every_10"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("n_states", "loglik", "rates"), [(2, -341.87870, [15.421, 26.018]), (3, -328.5275, [13.134, 19.713, 29.710])]
)
def test_earthquakes_reach_the_published_maximum(n_states, loglik, rates):
    """Zucchini & MacDonald (2009), tables 4.1 and 4.2: free start, fitted by EM."""
    source = SeriesSource([np.array(STORED["earthquakes"])])
    result = fit(PoissonHMM(n_states), source, starts=3, tol=1e-9, seed=2)
    assert result.converged
    assert result.loglik == pytest.approx(loglik, abs=5.1e-5 if n_states == 3 else 5.1e-6)
    np.testing.assert_allclose(result.params.rates.ravel(), rates, rtol=0, atol=5.1e-4)


def test_the_nile_falls_once_after_1898():
    """Cobb (1978) places the change at 1898."""
    values = np.array(STORED["nile"])
    result = fit(GaussianHMM(2), SeriesSource([values]), starts=4, seed=1)
    path = result.model.viterbi(result.params, values)
    assert (1871 + np.flatnonzero(np.diff(path))).tolist() == [1898]
    assert len({start.optimum for start in result.starts}) == 1


def test_spread_counts_reach_the_maximum_that_r_reaches():
    """nlm of R on the likelihood by dnbinom (negative_binomial_hmm.R). Of three states one has a dispersion of 0.0043, which
    can hardly be told from none: a top, at which climbs once went on for ever as if it were an edge.
    """
    peer = json.loads((Path(__file__).parent / "negative_binomial_hmm.json").read_text(encoding="utf-8"))
    for k in (2, 3):
        stored = peer[f"states_{k}"]
        source = SeriesSource([np.array(STORED["earthquakes"], dtype=float)])
        fitted = fit(NegativeBinomialHMM(k), source, starts=5, max_passes=100)
        assert fitted.status is Status.CONVERGED
        assert fitted.loglik == pytest.approx(stored["loglik"], abs=2e-6)
        np.testing.assert_allclose(fitted.params.means[:, 0], stored["means"], rtol=1e-4)
        np.testing.assert_allclose(fitted.params.dispersions[:, 0], stored["dispersions"], atol=1e-5)

"""Fractions of mixtures: recovered, covered by their intervals, and told from single cells."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy import sparse

from emtools.deconvolving import choice
from emtools.deconvolving.adapted import adapted
from emtools.deconvolving.choice import deconvolve, left
from emtools.deconvolving.fractions import shares_of
from emtools.deconvolving.reference import Reference, reference_from_cells, reference_from_profiles
from emtools.deconvolving.steady import LOGS_OF, Part, logs_part, markers, moved_fractions, steady
from emtools.errors import InputError
from emtools.models.bulk_mixture import BulkMixture


def simulated(rng, n_samples=10, n_genes=400, n_types=4):
    """Mixtures drawn from the model itself, and their true fractions."""
    profiles = rng.gamma(0.7, 1.0, size=(n_genes, n_types)) + 0.02
    fractions = rng.dirichlet(np.full(n_types, 2.0), n_samples)
    factors = rng.gamma(5.0, 1 / 5.0, n_genes)
    mean = factors * (200.0 * fractions @ profiles.T)
    return rng.poisson(mean).astype(float), reference_from_profiles(profiles, tuple("abcd"[:n_types]), 1e-6), fractions


def test_intervals_cover_mixtures_drawn_from_the_model():
    rng = np.random.default_rng(5)
    hits, off = [], []
    for _ in range(12):
        counts, reference, truth = simulated(rng)
        fractions, errors = deconvolve(counts, reference, tol=1e-3).of_cells()
        hits.append(np.abs(fractions - truth) <= 1.96 * errors)
        off.append(fractions - truth)
    assert 0.90 <= np.mean(hits) <= 0.985  # samples of a set share the factors of its genes and err together
    assert np.sqrt(np.mean(np.square(off))) < 0.03


@pytest.mark.parametrize("n_cells", [40, 400])  # the rule does not depend on how sure the reference is
def test_a_gene_factor_does_not_turn_fractions(n_cells):
    rng = np.random.default_rng(6)
    counts, reference, truth = simulated(rng, n_samples=12)
    wild = counts * np.exp(rng.normal(0, 1, counts.shape[1]))
    codes = np.repeat(np.arange(4), n_cells)
    cells = rng.poisson(reference.profiles.T[codes]).astype(float)
    from_cells = reference_from_cells(cells, codes, reference.types)
    seen = np.flatnonzero((from_cells.profiles > 0).any(axis=1))
    found = deconvolve(wild[:, seen], from_cells.of_genes(seen), tol=1e-2)
    assert found.way == "adapted"
    assert np.sqrt(np.mean((found.of_cells()[0] - truth) ** 2)) < 0.05
    assert left(found) < 0.2


def test_factors_are_not_told_from_fractions_where_samples_are_alike(monkeypatch):
    rng = np.random.default_rng(6)
    counts, reference, _ = simulated(rng, n_samples=1, n_genes=150)
    wild = rng.poisson(np.tile(counts * np.exp(rng.normal(0, 1, 150)), (6, 1))).astype(float)
    codes = np.repeat(np.arange(4), 400)
    from_cells = reference_from_cells(rng.poisson(reference.profiles.T[codes]).astype(float), codes, reference.types)
    rows = np.ascontiguousarray(wild.T)
    assert left(adapted(rows, from_cells, np.ones(6), {"tol": 1e-2})) > 0.8
    monkeypatch.setattr(choice, "gain", lambda plain, rich: 0.2)
    assert deconvolve(wild, from_cells, tol=1e-2).way == "steady"
    monkeypatch.setattr(choice, "left", lambda found: 0.2)
    assert deconvolve(wild, from_cells, tol=1e-2).way == "adapted"


def solved(y, profiles, weights):
    """Zero of ``Σ_g weights (y / mean - 1) profiles`` by plain EM, slow and sure."""
    amounts = np.full(profiles.shape[1], y.sum() / profiles.sum())
    for _ in range(5000):
        amounts = amounts * (profiles.T @ (weights * y / (profiles @ amounts))) / (profiles.T @ weights)
    return amounts


def test_moves_of_a_gene_and_of_cells_are_those_of_a_refit():
    rng = np.random.default_rng(21)
    cells = rng.negative_binomial(1.0, 1 / (1 + rng.gamma(0.7, 3.0, (2, 60))[np.repeat([0, 1], 40)])).astype(float)
    reference = reference_from_cells(cells, np.repeat([0, 1], 40), ("a", "b"))
    reference = reference.of_genes(np.flatnonzero((reference.profiles > 0).any(axis=1)))
    y = rng.poisson(reference.profiles @ [30.0, 10.0] * rng.gamma(5.0, 0.2, len(reference.profiles))).astype(float)
    weights = rng.uniform(0.5, 2.0, len(y))
    at = solved(y, reference.profiles, weights)
    genes, groups = moved_fractions(at, y, reference, weights)
    for g in (0, 7):
        more = weights.copy()
        more[g] *= 1 + 1e-5
        refit = solved(y, reference.profiles, more)
        assert np.allclose(refit / refit.sum() - at / at.sum(), 1e-5 * genes[g], rtol=0.02, atol=1e-10)
    exact = reference.profiles @ at  # where the fit is exact the move of a group is exact too
    _, groups = moved_fractions(at, exact, reference, weights)
    shifted = reference.profiles.copy()
    shifted[:, reference.deviation_types[3]] += 1e-5 * reference.deviations[3]
    refit = solved(exact, shifted, weights)
    assert np.allclose(refit / refit.sum() - at / at.sum(), 1e-5 * groups[3], rtol=0.02, atol=1e-10)


def test_markers_are_the_genes_that_exceed_the_next_type_most():
    profiles = np.array(
        [[8.0, 1.0], [8.0, 4.0], [1.0, 9.0], [0.1, 0.0], [2.0, 12.0], [0.2, 0.1], [0.1, 0.1], [0.3, 0.1]]
    )
    assert markers(profiles, 1).tolist() == [0, 2]
    assert markers(profiles, 5).tolist() == [0, 1, 2, 4]  # of the half of the genes with the highest maximum


def one_part(reference, y):
    """What the first fit might give: even shares that nothing moves."""
    n_types, n_samples = len(reference.types), y.shape[1]
    still = (np.zeros((len(y), n_types)), np.zeros((len(reference.deviations), n_types)))
    return Part(np.full((n_samples, n_types), 1 / n_types), lambda sample: still)


def test_mean_logs_of_markers_by_hand_and_their_moves():
    rng = np.random.default_rng(31)
    base = np.full((2, 90), 0.5)
    base[0, :30], base[1, 30:60] = rng.uniform(20, 40, 30), rng.uniform(20, 40, 30)
    cells = rng.poisson(np.repeat(base, 50, axis=0)).astype(float)
    reference = reference_from_cells(cells, np.repeat([0, 1], 50), ("a", "b"))
    y = rng.poisson(np.outer(1.0, [30.0, 10.0] @ base) * rng.gamma(5.0, 0.2, 90)).astype(float).T
    found = logs_part(y, reference, one_part(reference, y))
    genes, groups = found.moves(0)
    told = markers(reference.profiles, LOGS_OF)
    background = 1e-3 * reference.profiles.mean()
    scale = reference.profiles.sum(axis=0).mean() / y.sum()
    logs = []
    for k in range(2):
        own = [g for g in told if reference.profiles[g].argmax() == k]
        assert len(own) == LOGS_OF
        above = y[own, 0] * scale + background
        logs.append(np.log(above / (reference.profiles[own, k] + background)).mean())
    by_hand = 1 / (1 + np.exp(logs[1] - logs[0]))
    assert np.allclose(found.shares[0], [by_hand, 1 - by_hand], rtol=1e-12, atol=0)
    assert found.shares[0, 0] == pytest.approx(0.75, abs=0.06)
    assert np.allclose(genes.sum(axis=0), 0.0, rtol=0, atol=1e-12)
    gene = int(told[3])  # of type a
    ratio = np.log((y[gene, 0] * scale + background) / (reference.profiles[gene, 0] + background)) - logs[0]
    assert genes[gene, 0] == pytest.approx(ratio / LOGS_OF * by_hand * (1 - by_hand), rel=1e-10)
    group = 2  # of cells of type a
    moved = reference.profiles.copy()
    moved[:, 0] += 1e-5 * reference.deviations[group]
    shifted = replace(reference, profiles=moved)
    refit = logs_part(y, shifted, one_part(shifted, y)).shares
    assert np.allclose(refit - found.shares, 1e-5 * groups[group], rtol=0.02, atol=1e-10)


def test_a_type_without_markers_keeps_what_the_first_fit_gives_it():
    base = np.full((3, 90), 0.5)
    base[0, :20], base[1, 20:40] = 30.0, 20.0
    base[2] = 0.9 * base[:2].max(axis=0)  # the highest type of no gene
    reference = reference_from_profiles(base.T, ("a", "b", "c"))
    y = (base.T @ [[3.0], [2.0], [5.0]]) * 10
    genes = np.zeros((90, 3))
    genes[7] = [0.01, 0.02, -0.03]
    found = logs_part(y, reference, Part(np.array([[0.3, 0.2, 0.5]]), lambda sample: (genes, np.zeros((0, 3)))))
    moved, _ = found.moves(0)
    assert found.shares[0, 2] == 0.5
    assert found.shares[0].sum() == pytest.approx(1.0, rel=1e-14)
    assert moved[7, 2] == pytest.approx(-0.03, rel=1e-12)
    assert moved.sum(axis=1) == pytest.approx(np.zeros(90), abs=1e-15)
    assert found.shares[0, 0] > found.shares[0, 1]


def test_the_adapted_way_is_taken_where_it_pays_only():
    rng = np.random.default_rng(22)
    base = rng.gamma(0.7, 2.0, (3, 300)) + 0.05
    codes = np.repeat([0, 1, 2], 80)

    def cells():
        return rng.negative_binomial(1.0, 1 / (1 + base[codes])).astype(float)

    reference = reference_from_cells(cells(), codes, ("a", "b", "c"))
    numbers = rng.multinomial(300, [0.5, 0.3, 0.2], 8)
    kin = rng.poisson(numbers @ base).astype(float)
    found = deconvolve(kin, reference, tol=1e-2)
    assert found.way == "adapted"
    rows = np.ascontiguousarray((kin * found.scales[:, None]).T)
    steps = [way(rows, reference, found.scales, {"tol": 1e-2}) for way in (adapted, steady)]
    (rich, errors), (plain, _) = (step.of_cells() for step in steps)
    apart = (rich - plain) ** 2
    wider = errors**2 + apart + apart.mean(axis=1, keepdims=True)
    assert np.allclose(found.of_cells()[1] ** 2, wider, rtol=1e-6, atol=1e-12)
    foreign = rng.poisson(numbers @ (base * np.exp(rng.normal(0, 1, base.shape)))).astype(float)
    assert deconvolve(foreign, reference, tol=1e-2).way == "steady"
    mixed = np.array([rng.multinomial(300, rng.dirichlet(np.ones(3))) for _ in range(12)])
    shifted = rng.poisson(mixed @ base * np.exp(rng.normal(0, 1, 300))).astype(float)
    assert deconvolve(shifted, reference, tol=1e-2).way == "adapted"


def test_order_of_samples_and_units_of_genes_do_not_matter():
    rng = np.random.default_rng(7)
    counts, reference, _ = simulated(rng, n_samples=4, n_genes=120)
    one, _ = deconvolve(counts, reference, tol=1e-8).of_cells()
    other, _ = deconvolve(counts[::-1], reference, tol=1e-8).of_cells()
    assert np.allclose(one, other[::-1], rtol=0, atol=1e-5)


def test_shares_have_the_errors_of_the_delta_method():
    rng = np.random.default_rng(8)
    amounts, root = np.array([[4.0, 1.0, 2.0]]), 0.01 * rng.normal(size=(3, 3))
    sizes = np.array([1.0, 3.0, 0.5])
    shares, errors = shares_of(amounts, (root @ root.T)[None], sizes)
    draws = (amounts + rng.normal(size=(200_000, 3)) @ root.T) * sizes
    draws /= draws.sum(axis=1, keepdims=True)
    assert np.allclose(shares[0], [4 / 8, 3 / 8, 1 / 8], rtol=1e-12, atol=0)
    assert np.allclose(errors[0], draws.std(axis=0), rtol=0.01, atol=0)


def test_reference_of_cells_has_means_and_variances_of_each_type():
    rng = np.random.default_rng(9)
    cells, labels = rng.poisson(2.0, size=(30, 5)).astype(float), np.repeat([0, 1, -1], 10)
    found = reference_from_cells(sparse.csr_matrix(cells), labels, ("a", "b"))
    for k in range(2):
        own = cells[labels == k]
        assert np.allclose(found.profiles[:, k], own.mean(axis=0), rtol=1e-12, atol=0)
        assert np.allclose(found.within[:, k], own.var(axis=0, ddof=1), rtol=1e-12, atol=1e-12)
        assert np.allclose(found.errors[:, k], own.var(axis=0, ddof=1) / 10, rtol=1e-12, atol=1e-12)
        moved = found.deviations[found.deviation_types == k]
        assert np.allclose(moved.sum(axis=0), 0.0, rtol=0, atol=1e-12)
        assert np.allclose((moved**2).sum(axis=0), own.var(axis=0, ddof=1) / 10, rtol=1e-10, atol=1e-12)


def test_donors_that_differ_make_the_reference_less_sure():
    rng = np.random.default_rng(10)
    donors = np.repeat(np.arange(4), 25)
    cells = rng.poisson(3.0 * np.exp(rng.normal(0, 0.5, (4, 6)))[donors]).astype(float)
    labels = np.zeros(100, dtype=int)
    alone = reference_from_cells(cells, labels, ("a",))
    by_donor = reference_from_cells(cells, labels, ("a",), donors)
    assert len(by_donor.deviations) == 4
    assert (by_donor.errors > 2 * alone.errors).mean() > 0.6


def test_expression_by_type_adds_up_and_beats_the_reference():
    rng = np.random.default_rng(11)
    types, n = 3, 6
    base = rng.gamma(0.7, 2.0, (types, 200)) + 0.05
    cells = rng.negative_binomial(1.0, 1 / (1 + base[np.repeat(np.arange(types), 60)])).astype(float)
    reference = reference_from_cells(cells, np.repeat(np.arange(types), 60), ("a", "b", "c"))
    numbers = rng.multinomial(60, [0.5, 0.3, 0.2], n)
    parts = np.array(
        [
            [rng.negative_binomial(1.0, 1 / (1 + np.tile(base[k], (m, 1)))).sum(axis=0) for k, m in enumerate(row)]
            for row in numbers
        ]
    ).transpose(0, 2, 1)
    found = deconvolve(parts.sum(axis=2).astype(float), reference, tol=1e-2)
    ours = plain = 0.0
    parts = parts[:, found.kept]
    for s in range(n):
        mean, spread = found.expression(s)
        assert (spread >= 0).all()
        ours += ((mean - parts[s]) ** 2).sum()
        plain += ((found.amounts[s] / found.scales[s] * found.reference.profiles - parts[s]) ** 2).sum()
    assert ours < 0.8 * plain


@pytest.mark.parametrize(
    ("row", "said"),
    [([1.0, -1.0, 1.0], "-1"), ([1.0, np.nan, 1.0], "nan"), ([3.0, 0.0, 0.0], "no type expresses the gene")],
)
def test_bad_rows_are_named(row, said):
    from emtools.engine.chunks import ArraySource

    table = np.array([[1.0, 2.0, 1.0], row])
    with pytest.raises(InputError, match=said):
        BulkMixture(1, 2).initial_params(ArraySource(table), np.random.default_rng(0), "totals")


def test_genes_without_signal_are_told():
    from emtools.deconvolving.fractions import telling_genes

    profiles = np.vstack([np.full((8, 2), 4.0), np.full((2, 2), 0.1)])
    none = np.zeros((0, 10))
    reference = Reference(
        ("a", "b"), profiles, np.full((10, 2), 0.5), profiles, none, np.zeros(0, int), np.array([5, 5])
    )
    assert telling_genes(reference).tolist() == list(range(8))


def test_an_interrupted_run_goes_on_from_its_checkpoint_wherever_it_ended(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    counts, labels = rng.poisson(3.0, size=(60, 80)), np.repeat([0, 1, 2], 20)
    counts[labels == 0, :20] *= 4
    counts[labels == 1, 20:40] *= 4
    counts[labels == 2, 40:60] *= 4
    reference = reference_from_cells(counts, labels, ("a", "b", "c"))
    bulk = rng.poisson(20.0 * rng.dirichlet(np.ones(3), size=4) @ reference.profiles.T).astype(float)
    whole = deconvolve(bulk, reference)
    modules = [import_module(f"emtools.deconvolving.{name}") for name in ("steady", "adapted")]
    fit, ended = modules[0].fit, []
    for at in range(4):
        calls = []

        def broken(model, source, *, calls=calls, at=at, **asked):
            def stop(*_, passes=[]):  # noqa: B006
                passes.append(1)
                if len(passes) > 2:
                    raise KeyboardInterrupt

            calls.append(1)
            return fit(model, source, **asked, **({"on_pass": stop} if len(calls) == at + 1 else {}))

        for module in modules:
            monkeypatch.setattr(module, "fit", broken)
        with pytest.raises(KeyboardInterrupt):
            deconvolve(bulk, reference, checkpoint=tmp_path / "at")
        ended.append((tmp_path / "at").exists())
        for module in modules:
            monkeypatch.setattr(module, "fit", fit)
        again = deconvolve(bulk, reference, checkpoint=tmp_path / "at")
        np.testing.assert_array_equal(again.amounts, whole.amounts)
        assert not (tmp_path / "at").exists()
    assert ended == [True, False, False, False]

"""The models under examination. Adding a model means adding one function that returns a `Case`, marked ``@case``.

A case is small (a pass takes milliseconds) and its likelihood is not trivial: several components, missing cells, weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import assigns_of


@dataclass(frozen=True)
class Case:
    """What the examiners need.

    Parameters
    ----------
    model : Model
        The model.
    source : callable
        ``source(n)`` gives the same data in about n chunks (n = 1 and n = 4 are used).
    weighted, replicated : callable, optional
        Two sources that must give the same statistics: small integer weights, and units repeated.
    smooth : bool
        Whether Q and the log-likelihood are differentiable in the packed parameters.
    m_step_maximises : bool
        False for a generalised M-step, which only has to raise Q.
    """

    model: Any
    source: Callable[[int], Any]
    weighted: Callable[[], Any] | None = None
    replicated: Callable[[], Any] | None = None
    smooth: bool = True
    m_step_maximises: bool = True

    @property
    def assigns(self) -> tuple[str, ...]:
        """Assignments that the model offers: all of them are examined."""
        return assigns_of(self.model)


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    """Enter a case under the name of its function."""
    CASES[make.__name__] = make
    return make


def weighted_rows(values: np.ndarray, counts: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The pair (weighted, replicated) for a table."""
    return lambda: ArraySource(values, counts.astype(float)), lambda: ArraySource(np.repeat(values, counts, axis=0))


@case
def linkage() -> Case:
    from emtools.models.linkage import COUNTS, Linkage

    table = np.array([COUNTS, [30, 5, 4, 9], [61, 8, 11, 16], [14, 2, 2, 5]])
    weighted, replicated = weighted_rows(table, np.array([1, 3, 2, 1]))
    return Case(Linkage(), lambda n: ArraySource(table, chunk_rows=4 // n), weighted, replicated)


def three_groups(n_features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Sixty rows in three overlapping groups, far from the origin, and small counts for them."""
    rng = np.random.default_rng(11)
    centres = np.array([[0.0, 0.0], [2.5, 1.0], [0.5, 3.5]])[:, :n_features]
    mixing = np.array([[1.0, 0.4], [-0.2, 0.8]])[:n_features, :n_features]
    values = np.repeat(centres, 20, axis=0) + rng.normal(size=(60, n_features)) @ mixing
    return rng.permutation(values) + 50.0, rng.integers(1, 4, size=60)


def mixture_case(model: Any) -> Case:
    values, counts = three_groups()
    weighted, replicated = weighted_rows(values, counts)
    return Case(model, lambda n: ArraySource(values, chunk_rows=60 // n), weighted, replicated)


@case
def mixture_full() -> Case:
    from emtools.models.mixture import GaussianMixture

    return mixture_case(GaussianMixture(2, 2))


@case
def mixture_tied() -> Case:
    from emtools.models.mixture import GaussianMixture

    return mixture_case(GaussianMixture(3, 2, "tied"))


@case
def mixture_diagonal() -> Case:
    from emtools.models.mixture import GaussianMixture

    return mixture_case(GaussianMixture(3, 2, "diagonal"))


@case
def mixture_spherical_equal_weights() -> Case:
    from emtools.models.mixture import GaussianMixture

    return mixture_case(GaussianMixture(3, 2, "spherical", equal_weights=True, order_by=1))


@case
def mixture_full_with_prior() -> Case:
    from emtools.models.mixture import GaussianMixture, data_prior

    return mixture_case(GaussianMixture(3, 2, prior=data_prior(three_groups()[0], 3, "full")))


@case
def mixture_spherical_with_prior() -> Case:
    from emtools.models.mixture import GaussianMixture, data_prior

    return mixture_case(GaussianMixture(3, 2, "spherical", prior=data_prior(three_groups()[0], 3, "spherical")))


@case
def mixture_diagonal_with_prior() -> Case:
    from emtools.models.mixture import GaussianMixture, data_prior

    return mixture_case(GaussianMixture(3, 2, "diagonal", prior=data_prior(three_groups()[0], 3, "diagonal")))


@case
def mixture_tied_with_prior() -> Case:
    from emtools.models.mixture import GaussianMixture, data_prior

    return mixture_case(GaussianMixture(3, 2, "tied", prior=data_prior(three_groups()[0], 3, "tied")))


def family_case(code: str, prior: bool) -> Case:
    from emtools.models.mixture import GaussianMixture, data_prior

    weak = data_prior(three_groups()[0], 2, "full") if prior else None
    examined = mixture_case(GaussianMixture(2, 2, code, weak))  # type: ignore[arg-type]
    return replace(examined, m_step_maximises=code not in ("EVE", "VVE"))


for letters in ("EII", "EEI", "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"):
    CASES[f"mixture_{letters}"] = partial(family_case, letters, letters in ("EEI", "VEE", "VVE", "EVV"))


@case
def kmeans() -> Case:
    from emtools.models.mixture import kmeans

    return mixture_case(kmeans(3, 2, order_by=0))


def gappy_table() -> tuple[np.ndarray, np.ndarray]:
    """Correlated rows with gaps and their counts; spread so wide that filling at the mode gains no density."""
    rng = np.random.default_rng(11)
    values = rng.multivariate_normal([5.0, -2.0, 30.0], [[9.0, 5.0, 4.0], [5.0, 8.0, 3.0], [4.0, 3.0, 12.0]], size=60)
    gaps = rng.random(values.shape) < [0.3, 0.2, 0.25]
    gaps[:20] = False
    gaps[25] = True
    values[gaps] = np.nan
    return values, rng.integers(1, 4, size=60)


def normal_case(model: Any) -> Case:
    from emtools.models.normal import PatternSource

    values, counts = gappy_table()
    return Case(
        model,
        lambda n: PatternSource(values, chunk_patterns=8 // n),
        lambda: PatternSource(values, counts.astype(float)),
        lambda: PatternSource(np.repeat(values, counts, axis=0)),
    )


@case
def normal() -> Case:
    from emtools.models.normal import MultivariateNormal

    return normal_case(MultivariateNormal(3))


@case
def normal_with_prior() -> Case:
    from emtools.models.mixture import CovariancePrior
    from emtools.models.normal import MultivariateNormal

    return normal_case(MultivariateNormal(3, prior=CovariancePrior(6.0, np.diag([4.0, 3.0, 5.0]))))


def hidden_markov(n_states: int, n_letters: int, pseudocount: float, **more: Any) -> Case:
    """Sequences of very different lengths, with letters not observed, or partly where there are sets."""
    from emtools.engine.chunks import SequenceSource
    from emtools.models.hmm import CategoricalHMM

    rng = np.random.default_rng(7)
    sequences = []
    for length in (60, 1, 25, 2, 40, 33):
        drift = np.repeat(rng.integers(2, size=length // 8 + 1), 8)[:length]
        letters = np.where(drift, rng.integers(n_letters, size=length), rng.integers(2, size=length))
        strange = n_letters + np.arange(length) % (1 + len(more.get("partial", ())))
        sequences.append(np.where(rng.random(length) < 0.1, strange, letters).astype(np.uint8))
    counts = np.array([1, 3, 2, 1, 2, 1])
    total = sum(map(len, sequences))
    return Case(
        CategoricalHMM(n_states, n_letters, pseudocount, **more),
        lambda n: SequenceSource(sequences, chunk_letters=total if n == 1 else total // 6),
        lambda: SequenceSource(sequences, counts.astype(float)),
        lambda: SequenceSource([s for s, count in zip(sequences, counts, strict=True) for _ in range(count)]),
    )


@case
def hmm() -> Case:
    return hidden_markov(2, 4, 0.0)


@case
def hmm_with_prior() -> Case:
    return hidden_markov(3, 5, 0.5)


@case
def hmm_with_sets() -> Case:
    return hidden_markov(2, 4, 0.3, partial=((0, 1), (1, 2, 3)))


@case
def hmm_of_order_one() -> Case:
    return hidden_markov(2, 3, 0.3, order=1, partial=((0, 2),))


@case
def hmm_left_right() -> Case:
    return hidden_markov(3, 4, 0.2, topology="left-right")


@case
def hmm_of_repeated_states() -> Case:
    return hidden_markov(2, 4, 0.2, repeats=3)


@case
def laplace_uniform() -> Case:
    from emtools.models.laplace_uniform import LaplaceUniform

    rng = np.random.default_rng(4)
    values = rng.permutation(np.concatenate([rng.laplace(2.0, 0.5, 40), rng.uniform(-8.0, 8.0, 40)]))[:, None]
    weighted, replicated = weighted_rows(values, rng.integers(1, 4, size=80))
    return Case(LaplaceUniform(), lambda n: ArraySource(values, chunk_rows=80 // n), weighted, replicated, smooth=False)


def motif_case(
    occurrence: str,
    strands: str,
    order: int,
    palindrome: bool = False,
    erased: bool = False,
    n_letters: int = 4,
    placed: bool = False,
    first_order: int = 0,
) -> Case:
    from emtools.engine.chunks import SequenceSource
    from emtools.models.first_order_motif import FirstOrderMotif
    from emtools.models.motif import Motif, estimate_background

    rng = np.random.default_rng(31)
    sequences = [rng.integers(n_letters, size=length).astype(np.uint8) for length in (30, 24, 41, 18, 27, 33, 22, 5)]
    for sequence in sequences[:5]:
        sequence[6:11] = [0, 3, 2, 0, 2]
    sequences[1][3] = n_letters
    source = SequenceSource(sequences)
    background = estimate_background(source, order, n_letters, strands == "both")
    free = [rng.uniform(0.85, 1.0, size=len(sequence)) if erased else None for sequence in sequences]
    whole = np.concatenate(free) if erased else None
    prior = [rng.uniform(0.3, 2.0, size=len(sequence)) if placed else None for sequence in sequences]
    weights = np.concatenate(prior) if placed else None
    counts = np.array([1, 2, 1, 3, 1, 1, 2, 1])
    numbers = np.repeat(np.arange(len(sequences)), counts)
    repeated = [sequences[i] for i in numbers]
    again = np.concatenate([free[i] for i in numbers]) if erased else None
    other = np.concatenate([prior[i] for i in numbers]) if placed else None
    width = first_order or (5 if n_letters == 4 else 3)
    model: Any = Motif(
        width,
        background,
        n_letters,
        occurrence=occurrence,  # type: ignore[arg-type]
        strands=strands,  # type: ignore[arg-type]
        palindrome=palindrome,
    )
    if first_order:
        base = np.full((width, n_letters), 0.05)
        base[np.arange(width), [0, 3, 2, 0, 2][:width]] = 0.85
        model = FirstOrderMotif(model, base, strength=5.0)
    return Case(
        model,
        lambda n: SequenceSource(sequences, chunk_letters=200 // n, free=whole, prior=weights),
        lambda: SequenceSource(sequences, counts.astype(float), free=whole, prior=weights),
        lambda: SequenceSource(repeated, free=again, prior=other),
    )


@case
def motif_oops_both_strands() -> Case:
    return motif_case("oops", "both", 1)


@case
def motif_zoops_one_strand() -> Case:
    return motif_case("zoops", "one", 0)


@case
def motif_any_number_both_strands() -> Case:
    return motif_case("anr", "both", 1)


@case
def motif_palindrome_of_odd_width() -> Case:
    return motif_case("zoops", "both", 0, palindrome=True)


@case
def motif_after_another() -> Case:
    return motif_case("zoops", "both", 1, erased=True)


@case
def motif_where_places_differ() -> Case:
    return motif_case("zoops", "both", 0, placed=True)


@case
def motif_of_proteins() -> Case:
    return motif_case("zoops", "one", 0, n_letters=20)


@case
def first_order_motif_oops() -> Case:
    return motif_case("oops", "both", 0, first_order=2)


@case
def first_order_motif_any_number_erased() -> Case:
    return motif_case("anr", "one", 1, erased=True, first_order=2)


@case
def first_order_motif_zoops_where_places_differ() -> Case:
    return motif_case("zoops", "both", 2, placed=True, first_order=5)


def series_case(model: Any, counts: bool) -> Case:
    """Series of very different lengths in two regimes, rows and cells not observed; gaps too wide to gain density."""
    from emtools.engine.series import SeriesSource

    rng = np.random.default_rng(12)
    series = []
    for length in (40, 1, 25, 2, 40, 33):
        state = np.repeat(rng.integers(2, size=length // 6 + 1), 6)[:length]
        if counts:
            values = rng.poisson(np.array([[2.0, 7.0], [6.0, 3.0]])[state]).astype(float)
        else:
            spread = np.array([[3.0, 1.0], [0.0, 2.0]])
            values = np.array([[40.0, -3.0], [46.0, 4.0]])[state] + rng.normal(size=(length, 2)) @ spread
        values[rng.random(values.shape) < 0.1] = np.nan
        series.append(values[:, : model.n_features])
    series[2][4:7] = np.nan
    repeats = np.array([1, 3, 2, 1, 2, 1])
    total = sum(map(len, series))
    return Case(
        model,
        lambda n: SeriesSource(series, chunk_rows=total if n == 1 else total // 6),
        lambda: SeriesSource(series, repeats.astype(float)),
        lambda: SeriesSource([s for s, n in zip(series, repeats, strict=True) for _ in range(n)]),
    )


@case
def gaussian_hmm_full() -> Case:
    from emtools.models.gaussian_hmm import GaussianHMM

    return series_case(GaussianHMM(2, 2), counts=False)


@case
def gaussian_hmm_one_column() -> Case:
    from emtools.models.gaussian_hmm import GaussianHMM

    return series_case(GaussianHMM(2, 1, "diagonal", pseudocount=0.5), counts=False)


@case
def gaussian_hmm_tied_with_prior() -> Case:
    from emtools.models.gaussian_hmm import GaussianHMM
    from emtools.models.mixture import CovariancePrior

    prior = CovariancePrior(5.0, np.array([[9.0, 2.0], [2.0, 6.0]]))
    return series_case(GaussianHMM(2, 2, "tied", prior, pseudocount=0.5), counts=False)


@case
def gaussian_hmm_spherical() -> Case:
    from emtools.models.gaussian_hmm import GaussianHMM

    return series_case(GaussianHMM(3, 2, "spherical"), counts=False)


@case
def isochore_hmm() -> Case:
    from emtools.models.isochores import IsochoreHMM

    return series_case(IsochoreHMM(), counts=False)


@case
def poisson_hmm() -> Case:
    from emtools.models.poisson_hmm import PoissonHMM

    return series_case(PoissonHMM(2, 2, pseudocount=0.5), counts=True)


@case
def poisson_hmm_one_column() -> Case:
    from emtools.models.poisson_hmm import PoissonHMM

    return series_case(PoissonHMM(2, 1), counts=True)


@case
def negative_binomial_hmm() -> Case:
    from emtools.models.negative_binomial_hmm import NegativeBinomialHMM

    return series_case(NegativeBinomialHMM(2, 2, pseudocount=0.5), counts=True)


@case
def kmeans_far() -> Case:
    """Rows tens of standard deviations from every mean: their densities underflow."""
    from emtools.models.mixture import kmeans

    values, counts = three_groups()
    weighted, replicated = weighted_rows(50.0 * values, counts)
    return Case(kmeans(3, 2), lambda n: ArraySource(50.0 * values, chunk_rows=60 // n), weighted, replicated)


@case
def abo() -> Case:
    from emtools.models.abo import ABO

    table = np.array(
        [[186.0, 38.0, 13.0, 284.0], [40.0, 12.0, 5.0, 50.0], [9.0, 3.0, 1.0, 17.0], [25.0, 8.0, 2.0, 31.0]]
    )
    weighted, replicated = weighted_rows(table, np.array([1, 3, 2, 1]))
    return Case(ABO(), lambda n: ArraySource(table, chunk_rows=4 // n), weighted, replicated)


def counted(model: Any, values: np.ndarray) -> Case:
    weighted, replicated = weighted_rows(values, np.random.default_rng(5).integers(0, 4, size=len(values)))
    return Case(model, lambda n: ArraySource(values, chunk_rows=len(values) // n), weighted, replicated)


def spread_counts(dispersion: float, n: int = 120) -> np.ndarray:
    """Rows of two counts in two groups, with gamma-distributed rates."""
    rng = np.random.default_rng(8)
    means = np.array([[1.5, 6.0], [7.0, 2.0]])[rng.permutation(np.arange(n) % 3 // 2)]
    rates = means * rng.gamma(1.0 / dispersion, dispersion, size=means.shape)
    return rng.poisson(rates).astype(float)


@case
def poisson_mixture() -> Case:
    from emtools.models.count_mixture import PoissonMixture

    return counted(PoissonMixture(3, 2), spread_counts(0.2))


@case
def poisson_mixture_with_exposure() -> Case:
    from emtools.models.count_mixture import PoissonMixture

    exposures = np.random.default_rng(2).uniform(0.5, 3.0, size=(120, 1))
    return counted(PoissonMixture(2, 2, exposure=True), np.hstack([spread_counts(0.2), exposures]))


@case
def negative_binomial_mixture() -> Case:
    from emtools.models.negative_binomial import NegativeBinomialMixture

    return counted(NegativeBinomialMixture(2, 2), spread_counts(0.5))


@case
def negative_binomial() -> Case:
    from emtools.models.negative_binomial import NegativeBinomialMixture

    return counted(NegativeBinomialMixture(1), spread_counts(0.5)[:, :1])


def category_counts() -> np.ndarray:
    """Forty rows of about twelve counts in four categories, from two groups."""
    rng = np.random.default_rng(9)
    groups = np.array([[0.5, 0.3, 0.1, 0.1], [0.2, 0.2, 0.4, 0.2]])[rng.permutation(np.arange(40) % 2)]
    return np.stack([rng.multinomial(rng.integers(8, 16), group) for group in groups]).astype(float)


@case
def multinomial_mixture() -> Case:
    from emtools.models.count_mixture import MultinomialMixture

    return counted(MultinomialMixture(2, 4), category_counts())


@case
def multinomial_mixture_with_prior() -> Case:
    from emtools.models.count_mixture import MultinomialMixture

    return counted(MultinomialMixture(3, 4, pseudocount=0.5), category_counts())


def factor_case(model: Any) -> Case:
    """Rows of up to six columns and two factors with gaps, far from the origin, and their counts."""
    from emtools.models.factor_rows import FactorSource

    rng = np.random.default_rng(21)
    loadings = np.array([[2.0, 1.5, -1.0, 0.5, 1.0, 1.2], [0.2, -0.8, 1.0, 1.5, -1.2, 0.9]])[: model.n_factors]
    values = rng.normal(size=(90, model.n_factors)) @ loadings + 0.8 * rng.normal(size=(90, 6)) + 40.0
    values = values[:, : model.n_features]
    values[30:45, 0] = np.nan
    values[45:60, 2:4] = np.nan
    values[60:70, 1] = np.nan
    values[75] = np.nan
    counts = rng.integers(1, 4, size=90)
    return Case(
        model,
        lambda n: FactorSource(values, chunk_rows=40 // n),
        lambda: FactorSource(values, counts.astype(float)),
        lambda: FactorSource(np.repeat(values, counts, axis=0)),
    )


@case
def factor_analysis_one() -> Case:
    from emtools.models.factor_analysis import FactorAnalysis

    return factor_case(FactorAnalysis(4, 1))


@case
def factor_analysis_two() -> Case:
    from emtools.models.factor_analysis import FactorAnalysis

    return factor_case(FactorAnalysis(6, 2))


@case
def probabilistic_components() -> Case:
    from emtools.models.factor_analysis import FactorAnalysis

    return factor_case(FactorAnalysis(5, 2, "isotropic", least_noise=1e-3))


def student_case(model: Any) -> Case:
    """Correlated rows of which some are far out."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(60, 2)) @ np.array([[2.0, 0.7], [0.0, 0.5]]) / np.sqrt(rng.gamma(1.2, 1 / 1.2, (60, 1)))
    return counted(model, np.array([30.0, -4.0]) + values)


@case
def student_t() -> Case:
    from emtools.models.student_t import StudentT

    return student_case(StudentT(2))


@case
def student_t_not_expanded() -> Case:
    from emtools.models.student_t import StudentT

    return student_case(StudentT(2, expanded=False))


@case
def cauchy() -> Case:
    from emtools.models.student_t import StudentT

    return student_case(StudentT(2, df=1.0))


@case
def variational_mixture() -> Case:
    from emtools.models.variational_mixture import VariationalGaussianMixture, vague_prior

    return mixture_case(VariationalGaussianMixture(2, 2, vague_prior(three_groups()[0], 2)))


@case
def variational_mixture_sticks() -> Case:
    from emtools.models.variational_mixture import VariationalGaussianMixture, vague_prior

    return mixture_case(VariationalGaussianMixture(3, 2, vague_prior(three_groups()[0], 3), "stick_breaking"))


@case
def factor_analysis_with_prior() -> Case:
    from emtools.models.factor_analysis import FactorAnalysis, FactorPrior

    prior = FactorPrior(np.array([0.5, 0.7, 0.3, 0.6, 0.4]), rows=3.0, ridge=2.0)
    return factor_case(FactorAnalysis(5, 2, prior=prior))


def gappy_case(model: Any, values: np.ndarray, counts: np.ndarray) -> Case:
    """Rows with gaps, sorted by pattern of missingness."""
    from emtools.models.incomplete_rows import IncompleteSource

    return Case(
        model,
        lambda n: IncompleteSource(values, chunk_rows=len(values) // n),
        lambda: IncompleteSource(values, counts.astype(float)),
        lambda: IncompleteSource(np.repeat(values, counts, axis=0)),
    )


def incomplete_student_case(model: Any) -> Case:
    """Correlated rows with gaps of which some are far out; one has no value."""
    rng = np.random.default_rng(16)
    mixing = np.array([[2.0, 0.7, -1.0], [0.0, 0.8, 0.5], [0.0, 0.0, 1.2]])
    values = rng.normal(size=(80, 3)) @ mixing / np.sqrt(rng.gamma(1.2, 1 / 1.2, (80, 1))) + [30.0, -4.0, 7.0]
    gaps = rng.random(values.shape) < [0.3, 0.2, 0.25]
    gaps[:25] = False
    gaps[40] = True
    values[gaps] = np.nan
    return gappy_case(model, values, rng.integers(1, 4, size=80))


@case
def student_t_with_gaps() -> Case:
    from emtools.models.student_t import StudentT

    return incomplete_student_case(StudentT(3))


@case
def cauchy_with_gaps() -> Case:
    from emtools.models.student_t import StudentT

    return incomplete_student_case(StudentT(3, df=1.0))


@case
def student_t_with_gaps_not_expanded() -> Case:
    from emtools.models.student_t import StudentT

    return incomplete_student_case(StudentT(3, expanded=False))


def incomplete_mixture_case(model: Any) -> Case:
    """Eighty rows in two overlapping groups, far from the origin, with gaps; one has no value."""
    rng = np.random.default_rng(17)
    values = np.repeat([[0.0, 0.0, 1.0], [3.0, 1.5, -1.0]], 40, axis=0)
    values = values + rng.normal(size=(80, 3)) @ np.array([[1.0, 0.4, 0.2], [-0.2, 0.8, 0.0], [0.0, 0.3, 0.9]]) + 50.0
    gaps = rng.random(values.shape) < [0.3, 0.15, 0.2]
    gaps[::4] = False
    gaps[41] = True
    values[gaps] = np.nan
    return gappy_case(model, values[:, : model.n_features], rng.integers(1, 4, size=80))


@case
def incomplete_mixture_full() -> Case:
    from emtools.models.incomplete_mixture import IncompleteMixture

    return incomplete_mixture_case(IncompleteMixture(2, 3))


@case
def incomplete_mixture_tied() -> Case:
    from emtools.models.incomplete_mixture import IncompleteMixture

    return incomplete_mixture_case(IncompleteMixture(2, 3, "tied", order_by=0))


@case
def incomplete_mixture_with_prior() -> Case:
    from emtools.models.covariance_prior import CovariancePrior
    from emtools.models.incomplete_mixture import IncompleteMixture

    return incomplete_mixture_case(IncompleteMixture(2, 2, prior=CovariancePrior(-1.0, np.diag([3.0, 2.0]))))


@case
def incomplete_mixture_tied_with_prior() -> Case:
    from emtools.models.covariance_prior import CovariancePrior
    from emtools.models.incomplete_mixture import IncompleteMixture

    prior = CovariancePrior(4.0, np.array([[3.0, 0.5, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 2.0]]))
    return incomplete_mixture_case(IncompleteMixture(2, 3, "tied", prior))


@case
def censored_normal() -> Case:
    """Limits below and above that differ by row, intervals and gaps; rows with one, two and three censored cells."""
    from emtools.kernels.readings import Readings
    from emtools.models.censored_normal import CensoredNormal, CensoredSource

    values, counts = gappy_table()
    rng = np.random.default_rng(8)
    lower, upper = np.full(values.shape, -np.inf), np.full(values.shape, np.inf)
    limits = np.array([2.5, -3.0, 28.0]) + 0.3 * rng.integers(2, size=(60, 1))
    limited = values < limits
    limited[:15] = False
    upper[limited] = np.broadcast_to(limits, values.shape)[limited]
    lower[limited & (rng.random(values.shape) < 0.3)] = -20.0
    over = values[:, 1] > 1.5
    lower[over, 1] = 1.5
    known = Readings(np.where(limited | (over[:, None] & [False, True, False]), np.nan, values), lower, upper)
    again = np.repeat(np.arange(60), counts)
    return Case(
        CensoredNormal(3),
        lambda n: CensoredSource(known, chunk_rows=60 // n),
        lambda: CensoredSource(known, counts.astype(float)),
        lambda: CensoredSource(known.take(again)),
    )


@case
def partly_labelled() -> Case:
    from emtools.models.mixture import GaussianMixture
    from emtools.models.partly_labelled import PartlyLabelled

    values, counts = three_groups()
    labels = np.where(np.arange(60) % 6 == 0, np.arange(60) % 3, -1)
    rows = np.column_stack([values, labels])
    weighted, replicated = weighted_rows(rows, counts)
    model = PartlyLabelled(GaussianMixture(3, 2, "tied"))
    return Case(model, lambda n: ArraySource(rows, chunk_rows=60 // n), weighted, replicated)


@case
def bulk_mixture() -> Case:
    from emtools.models.bulk_mixture import BulkMixture

    rng = np.random.default_rng(17)
    profiles = rng.gamma(0.8, 4.0, size=(60, 3)) + 0.05
    amounts = rng.gamma(3.0, 1.0, size=(4, 3))
    factors = rng.gamma(4.0, 0.25, size=60)
    counts = rng.poisson(factors[:, None] * (profiles @ amounts.T)).astype(float)
    table = np.hstack([counts, profiles])
    weighted, replicated = weighted_rows(table, rng.integers(1, 4, size=60))
    model = BulkMixture(4, 3, strengths=(1.0, 8.0), dispersions=(1.0, 4.0))
    return Case(model, lambda n: ArraySource(table, chunk_rows=60 // n), weighted, replicated)


@case
def random_field() -> Case:
    """An image with its neighbours given, whole and in strips: then the E-step is exact."""
    from emtools.engine.chunks import ListSource
    from emtools.kernels.field import grid
    from emtools.models.random_field import Plane, RandomField

    rng, shape = np.random.default_rng(3), (12, 9)
    bright = rng.random(shape) < 0.4
    given = np.stack([~bright, bright]) + rng.normal(0.0, 0.5, (2, *shape))
    values = (1.0 + 2.0 * bright + rng.normal(0.0, 0.7, shape))[None]
    rows, columns = grid(*shape)

    def source(n: int) -> ListSource[Plane]:
        cuts = [slice(i * 12 // n, (i + 1) * 12 // n) for i in range(n)]
        return ListSource([Plane(values[:, c], i, given[:, c], (rows[c], columns)) for i, c in enumerate(cuts)], 1)

    return Case(RandomField(2, 1), source)


@case
def random_field_known_means() -> Case:
    """The same of two channels, of one of which the means are known, as of the outlines of objects."""
    from emtools.engine.chunks import ListSource
    from emtools.kernels.field import grid
    from emtools.models.random_field import Plane, RandomField

    rng, shape = np.random.default_rng(4), (12, 9)
    bright = rng.random(shape) < 0.4
    given = np.stack([~bright, bright]) + rng.normal(0.0, 0.5, (2, *shape))
    values = np.stack([0.9 * bright + rng.normal(0.0, 0.3, shape), 1.0 - bright + rng.normal(0.0, 0.7, shape)])
    rows, columns = grid(*shape)

    def source(n: int) -> ListSource[Plane]:
        cuts = [slice(i * 12 // n, (i + 1) * 12 // n) for i in range(n)]
        return ListSource([Plane(values[:, c], i, given[:, c], (rows[c], columns)) for i, c in enumerate(cuts)], 1)

    return Case(RandomField(2, 2, lit=False, known_means=(0.0, 0.9)), source)

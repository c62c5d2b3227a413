"""Defects injected into the E- and M-steps of the gallery: does the conformance suite catch every one?

``python tests/mutations.py`` prints which examination caught which defect first, and exits 1 if one survives, or if the
sound model fails what caught a defect in it. A defect is an edit of a source text, made in memory while the module is
imported; no file is touched. An edit whose place is gone is an error, so that the list cannot rot.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).parent))

import numba  # noqa: E402
from conformance.cases import CASES  # noqa: E402
from conformance.subjects import subject_of  # noqa: E402

from emtools.testing import EXAMINATIONS, examine_all  # noqa: E402

RELOADED = ("emtools.models", "emtools.kernels")
COMPILED = re.compile("njit|intrinsic")


@dataclass(frozen=True)
class Defect:
    """An edit of a module that a case depends on.

    Parameters
    ----------
    words : str
        What is wrong.
    case : str
        Name in `CASES`.
    module : str
        Module under ``emtools``.
    old, new : str
        Text, which must be there once, and what replaces it.
    """

    words: str
    case: str
    module: str
    old: str
    new: str


MIXTURE, VALUES, LOGSPACE, NORMAL, PRECISION, HMM, MARKOV, WORDS = (
    "models.mixture",
    "models.mixture_values",
    "kernels.logspace",
    "models.normal",
    "kernels.precision",
    "models.hmm",
    "kernels.markov",
    "kernels.words",
)

DEFECTS = (
    Defect(
        "responsibilities without the weights of the components",
        "mixture_diagonal",
        MIXTURE,
        "return log_density + log_weights",
        "return log_density",
    ),
    Defect(
        "moments without the weights of the rows",
        "mixture_tied",
        MIXTURE,
        "shares * chunk.weights[:, None],",
        "shares,",
    ),
    Defect(
        "log-likelihood without the weights of the rows",
        "mixture_spherical_equal_weights",
        LOGSPACE,
        "return shares, float(weights @ log_sums) / power",
        "return shares, float(log_sums.sum()) / power",
    ),
    Defect("entropy of the wrong sign", "mixture_diagonal", LOGSPACE, "Floats = -np.einsum(", "Floats = np.einsum("),
    Defect(
        "log-sum-exp without the maximum",
        "kmeans_far",
        LOGSPACE,
        "shift = np.where(np.isneginf(highest), 0.0, highest)",
        "shift = np.zeros_like(highest)",
    ),
    Defect(
        "responsibilities normalised over the rows",
        "mixture_tied",
        LOGSPACE,
        "return shifted - log_rest[..., None], shift + log_rest",
        "return shifted - np.log(np.exp(shifted).sum(axis=0)), shift + log_rest",
    ),
    Defect(
        "hard shares in the soft step",
        "mixture_tied",
        MIXTURE,
        "shares * chunk.weights[:, None],",
        "(shares >= shares.max(axis=1, keepdims=True)) * chunk.weights[:, None],",
    ),
    Defect(
        "first moments of the first call",
        "mixture_diagonal",
        MIXTURE,
        "first[j] = shared.sum(axis=0)",
        "first[j] = type(self).__dict__['boundaries'].__dict__.setdefault(j, shared.sum(axis=0))",
    ),
    Defect(
        "products summed in float32",
        "mixture_tied",
        MIXTURE,
        "second += shared.T @ deviations",
        "second += shared.T.astype(np.float32) @ deviations.astype(np.float32)",
    ),
    Defect(
        "cross products on one side of the diagonal only",
        "mixture_full",
        "kernels.mixture",
        "second[:, 0, 1] = second[:, 1, 0] = cross",
        "second[:, 0, 1] = cross",
    ),
    Defect(
        "a component's share without the row's weight",
        "mixture_full",
        "kernels.vectors",
        "totals[rows] = np.where(total == 0.0, 0.0, weight / total)",
        "totals[rows] = np.where(total == 0.0, 0.0, 1.0 / total)",
    ),
    Defect(
        "variance about the old mean",
        "mixture_diagonal",
        MIXTURE,
        "summed = stats.scatters(means)",
        "summed = stats.scatters(params.means)",
    ),
    Defect(
        "weights that do not sum to one",
        "mixture_diagonal",
        MIXTURE,
        "weights = counts / counts.sum()",
        "weights = counts / (counts.sum() + 1.0)",
    ),
    Defect(
        "the M-step keeps the means",
        "mixture_tied",
        MIXTURE,
        "np.where(filled[:, None], ",
        "np.where(counts[:, None] < 0.0, ",
    ),
    Defect(
        "a variance floor after the M-step",
        "mixture_diagonal",
        MIXTURE,
        "return MixtureParams(weights, means, families.maximise(self.code, summed, divisors, params.covariances))",
        "return MixtureParams(weights, means, 1e-2 + families.maximise(self.code, summed, divisors, params.covariances))",
    ),
    Defect(
        "prior counted twice in the M-step",
        "mixture_full_with_prior",
        MIXTURE,
        "summed = summed + share * self.prior.added_scatter(self.layout)",
        "summed = summed + 2.0 * share * self.prior.added_scatter(self.layout)",
    ),
    Defect(
        "prior missing from the objective",
        "mixture_spherical_with_prior",
        MIXTURE,
        "return self.prior.log_density(covariances, self.layout)",
        "return 0.0",
    ),
    Defect(
        "constant of the density missing from Q",
        "mixture_tied",
        "kernels.gaussian",
        "return -0.5 * n * d * LOG_2PI - n",
        "return -n",
    ),
    Defect(
        "the M-step changes the old parameters",
        "mixture_tied",
        MIXTURE,
        "summed = stats.scatters(means)",
        "summed = stats.scatters(means); params.means[:] = means",
    ),
    Defect(
        "random numbers of its own",
        "mixture_diagonal",
        MIXTURE,
        "return log_density + log_weights",
        "return log_density + log_weights + 1e-7 * np.random.default_rng().normal()",
    ),
    Defect(
        "starts that ignore the seed",
        "mixture_diagonal",
        MIXTURE,
        "draw_seeds(scaled, weights, k, rng, strategy)",
        "draw_seeds(scaled, weights, k, np.random.default_rng(), strategy)",
    ),
    Defect(
        "components reordered but for their means",
        "mixture_spherical_equal_weights",
        MIXTURE,
        "MixtureParams(params.weights[order], params.means[order], covariances)",
        "MixtureParams(params.weights[order], params.means, covariances)",
    ),
    Defect(
        "pack drops digits",
        "mixture_diagonal",
        MIXTURE,
        "parts.append(families.pack(self.code, params.covariances))",
        "parts.append(families.pack(self.code, params.covariances).round(7))",
    ),
    Defect(
        "unpack in another order than pack",
        "mixture_diagonal",
        "kernels.covariance_families",
        "np.exp(np.broadcast_to(vector.reshape(-1, d), (k, d)))",
        "np.exp(np.broadcast_to(vector.reshape(d, -1).T, (k, d)))",
    ),
    Defect(
        "an origin that scales with the statistics",
        "mixture_tied",
        VALUES,
        "        return self\n\n\n",
        "        return Origin(self.points * factor, self.tied)\n\n\n",
    ),
    Defect(
        "statistics about two origins added as they are",
        "mixture_diagonal",
        VALUES,
        "        other = other.about(self.origin)\n",
        "",
    ),
    Defect(
        "conditional covariance forgotten",
        "normal",
        PRECISION,
        "second += done.spread",
        "second += 0.0",
    ),
    Defect(
        "weight missing from the sum",
        "normal",
        PRECISION,
        "first = (rows.scale * rows.keep) @ done.deviations",
        "first = rows.keep @ done.deviations",
    ),
    Defect(
        "conditional covariance of a row without its weight",
        "normal",
        PRECISION,
        "-= weight[t] * work[first + lane]",
        "-= work[first + lane]",
    ),
    Defect(
        "means filled in without regression",
        "normal",
        PRECISION,
        "products = completed @ precision.matrix",
        "products = 0.0 * completed",
    ),
    Defect(
        "determinant of the missing block left out",
        "normal",
        PRECISION,
        "rows.weight * precision.log_det + blocks + square",
        "rows.weight * precision.log_det + square",
    ),
    Defect(
        "entropy without its constant",
        "normal",
        PRECISION,
        "cells * (1.0 + LOG_2PI)",
        "cells * LOG_2PI",
    ),
    Defect("divisor n - 1", "normal", NORMAL, "/ (stats.n + pseudo)", "/ (stats.n - 1.0 + pseudo)"),
    Defect(
        "degrees of the prior without the dimension",
        "normal_with_prior",
        NORMAL,
        "pseudo = self.prior.degrees + self.n_features + 1",
        "pseudo = self.prior.degrees",
    ),
    Defect(
        "first words of each block not counted",
        "hmm",
        WORDS,
        "for group in range((size - 1) // often, -1, -1):",
        "for group in range((size - 1) // often, 0, -1):",
    ),
    Defect(
        "transition counts without the transition",
        "hmm",
        WORDS,
        "uses = gradient[:n_steps, :, :k] * tables[:n_steps, :, :k]",
        "uses = gradient[:n_steps, :, :k]",
    ),
    Defect(
        "weight of a sequence missing from its counts",
        "hmm_with_prior",
        WORDS,
        "share = weights[s] / evidence if",
        "share = 1.0 / evidence if",
    ),
    Defect(
        "first step of the best path not counted",
        "hmm",
        MARKOV,
        "            if t > 0:\n                n_transition[path",
        "            if t > 1:\n                n_transition[path",
    ),
    Defect(
        "rows normalised as columns",
        "hmm_with_prior",
        HMM,
        "totals = raised.sum(axis=1, keepdims=True)",
        "totals = raised.sum(axis=0, keepdims=True)",
    ),
    Defect(
        "entropy of letters that were partly observed left out",
        "hmm_with_sets",
        HMM,
        "entropy + unseen, n_start",
        "entropy, n_start",
    ),
    Defect(
        "letters partly observed shared out evenly",
        "hmm_with_sets",
        HMM,
        "portions = letters / np.where(totals > 0.0, totals, 1.0)",
        "portions = np.full(letters.shape, 1.0 / len(group))",
    ),
    Defect(
        "pseudo-counts for transitions that may not be",
        "hmm_left_right",
        HMM,
        'counts: Floats = getattr(stats, f"n_{name}").reshape(mask.shape) + self.pseudocount * mask',
        'counts: Floats = getattr(stats, f"n_{name}").reshape(mask.shape) + self.pseudocount',
    ),
    Defect(
        "pseudo-counts missing from the log prior",
        "hmm_with_prior",
        HMM,
        "float(xlogy(self.pseudocount * mask, getattr",
        "float(xlogy(0.0 * mask, getattr",
    ),
    Defect(
        "scale about the old location",
        "laplace_uniform",
        "models.laplace_uniform",
        "np.abs(sample.values - location)) / stats.n_laplace",
        "np.abs(sample.values - params.location)) / stats.n_laplace",
    ),
    Defect(
        "mean in place of the median",
        "laplace_uniform",
        "models.laplace_uniform",
        "location = weighted_median(sample.values, sample.laplace)",
        "location = float(np.average(sample.values, weights=sample.laplace))",
    ),
    Defect(
        "pseudo-counts of the motif taken twice",
        "motif_zoops_one_strand",
        "models.motif",
        "counts = self.tied(stats.counts + self.prior_counts)",
        "counts = self.tied(stats.counts + 2.0 * self.prior_counts)",
    ),
    Defect(
        "one sequence too many in the occurrence rate",
        "motif_zoops_one_strand",
        "models.motif",
        "/ (stats.n_rooms + self.pseudocount)",
        "/ (stats.n_rooms + 1.0 + self.pseudocount)",
    ),
    Defect(
        "gaps of a series completed without their covariance",
        "gaussian_hmm_full",
        "models.gaussian_hmm",
        "second[j][np.ix_(m, m)] += counts[j] * residual / power",
        "second[j][np.ix_(m, m)] += 0.0",
    ),
    Defect(
        "entropy of the path without that of the gaps",
        "gaussian_hmm_tied_with_prior",
        "models.gaussian_hmm",
        "entropy += 0.5 * counts[j] * spread / power",
        "entropy += 0.0",
    ),
    Defect(
        "states of a series without its weight",
        "poisson_hmm_one_column",
        "models.hidden_chain",
        "posterior * weights[:, None], loglik / b",
        "posterior, loglik / b",
    ),
    Defect(
        "annealed emissions on a chain that is not",
        "poisson_hmm",
        "models.hidden_chain",
        "params.transition**b",
        "params.transition",
    ),
    Defect(
        "counts not observed counted as seen",
        "poisson_hmm",
        "models.poisson_hmm",
        "n_seen=states.shares.T @ seen.astype(np.float64)",
        "n_seen=states.shares.T @ np.ones(seen.shape)",
    ),
    Defect(
        "negative binomial: rows not observed shared out",
        "negative_binomial_hmm",
        "models.negative_binomial_hmm",
        "sum_by_place(place, states.shares[seen], len(distinct))",
        "sum_by_place(place, states.shares[: len(seen)], len(distinct))",
    ),
    Defect(
        "negative binomial: a mean of one count too many",
        "negative_binomial_hmm",
        "models.negative_binomial_hmm",
        "counts @ held[:, k] / held[:, k].sum()",
        "(counts @ held[:, k] + 1.0) / held[:, k].sum()",
    ),
    Defect(
        "a rate with one count too many",
        "poisson_hmm_one_column",
        "models.poisson_hmm",
        "stats.totals / np.where(used",
        "(stats.totals + 1.0) / np.where(used",
    ),
    Defect(
        "gaps of a row of factors without their own noise",
        "factor_analysis_two",
        "kernels.factors",
        "(carried * loadings).sum(axis=1) + own",
        "(carried * loadings).sum(axis=1)",
    ),
    Defect(
        "factors without their conditional covariance",
        "factor_analysis_one",
        "kernels.factors",
        "given.scores.T @ given.scores + unpacked(spreads.sum(axis=0), q)",
        "given.scores.T @ given.scores",
    ),
    Defect(
        "isotropic noise shared among the wrong number of columns",
        "probabilistic_components",
        "models.factor_analysis",
        "float(left.sum()) / (d * (stats.n + rows))",
        "float(left.sum()) / ((d - q) * (stats.n + rows))",
    ),
    Defect(
        "the means of a variational mixture taken as known",
        "variational_mixture",
        "models.variational_mixture",
        "(of_precision - d * LOG_2PI - d / params.mean_precision)",
        "(of_precision - d * LOG_2PI)",
    ),
    Defect(
        "a divergence without the trace of a Wishart's own",
        "variational_mixture",
        "models.variational_mixture",
        "0.5 * params.degrees * (traces - d)",
        "0.5 * params.degrees * traces",
    ),
    Defect(
        "each stick left with its own rows",
        "variational_mixture_sticks",
        "models.variational_mixture",
        "np.cumsum(counts[::-1])[::-1][1:]",
        "np.cumsum(counts[::-1])[::-1][:-1]",
    ),
    Defect(
        "scales of the rows missing from the second moments",
        "student_t",
        "models.student_t",
        "(deviations * scale[:, None]).T @ deviations",
        "(deviations * weights[:, None]).T @ deviations",
    ),
    Defect(
        "conditional covariance of the gaps weighted by the scale of the row",
        "student_t_with_gaps",
        "models.student_t",
        "second=stats.second + given.spread",
        "second=stats.second + given.spread * stats.scale / stats.n",
    ),
    Defect(
        "missing cells counted as observed ones",
        "student_t_with_gaps",
        "models.student_t",
        "scales = expected_scales(given.squared, params.df, self.n_features - n_gaps)\n        entropies",
        "scales = expected_scales(given.squared, params.df, self.n_features)\n        entropies",
    ),
    Defect(
        "determinant of the missing block with the wrong sign",
        "incomplete_mixture_full",
        "kernels.incomplete",
        "precision.log_det + done.log_dets",
        "precision.log_det - done.log_dets",
    ),
    Defect(
        "conditional covariance of the gaps added without the share of the component",
        "incomplete_mixture_full",
        "models.incomplete_mixture",
        "replace(chunk.rows, weights=held.copy())",
        "chunk.rows",
    ),
    Defect(
        "covariance of the factors forgotten",
        "factor_analysis_two",
        "kernels.factors",
        "given.scores.T @ given.scores + unpacked(spreads.sum(axis=0), q)",
        "given.scores.T @ given.scores",
    ),
    Defect(
        "noise of missing cells forgotten",
        "factor_analysis_one",
        "kernels.factors",
        "own = weight @ gaps * noise",
        "own = 0.0 * noise",
    ),
    Defect(
        "two equal alleles counted once",
        "abo",
        "models.abo",
        "counted = stats.genotype @ ALLELES\n        return ABOParams",
        "counted = stats.genotype @ np.minimum(ALLELES, 1.0)\n        return ABOParams",
    ),
    Defect(
        "rates per row instead of per exposure",
        "poisson_mixture_with_exposure",
        "models.count_mixture",
        "rates = stats.totals / np.where(filled, stats.exposures, 1.0)[:, None]",
        "rates = stats.totals / np.where(filled, stats.counts, 1.0)[:, None]",
    ),
    Defect(
        "dispersion from the rows of all components",
        "negative_binomial_mixture",
        "models.negative_binomial",
        "best_dispersion(values, held[:, k],",
        "best_dispersion(values, held.sum(axis=1),",
    ),
    Defect(
        "hidden class in the wrong cell",
        "linkage",
        "models.linkage",
        "log_joint[0, 1] = LOG_HALF",
        "log_joint[3, 1] = LOG_HALF",
    ),
)


def source_of(defect: Defect) -> Path:
    """File of the module that a defect edits."""
    return Path(__file__).parents[1] / "emtools" / f"{defect.module.replace('.', '/')}.py"


class EditedLoader(importlib.machinery.SourceFileLoader):
    """Imports a file with its text edited on the way."""

    def __init__(self, name: str, path: str, defects: Sequence[Defect]) -> None:
        super().__init__(name, path)
        self.defects = defects

    def get_code(self, fullname: str):
        text = Path(self.path).read_text(encoding="utf-8")
        for defect in self.defects:
            if text.count(defect.old) != 1:
                raise LookupError(f"{fullname}: {text.count(defect.old)} places for {defect.old!r}")
            text = text.replace(defect.old, defect.new)
        return compile(text, self.path, "exec")


class EditedFinder(importlib.abc.MetaPathFinder):
    """Finds the edited modules before anybody else does."""

    def __init__(self, defects: Sequence[Defect]) -> None:
        self.defects = defects

    def find_spec(self, fullname, path, target=None):
        mine = [defect for defect in self.defects if f"emtools.{defect.module}" == fullname]
        if not mine:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=EditedLoader(fullname, spec.origin, mine)
        )


def in_plain_python(defect: Defect) -> bool:
    """Whether a defect is in a file of compiled kernels: these are cached by file, it shows only in plain Python."""
    return COMPILED.search(source_of(defect).read_text(encoding="utf-8")) is not None


@contextmanager
def infected(defect: Defect | None, plain: bool) -> Iterator[None]:
    """Models and kernels imported anew with `defect`, not compiled if `plain`; everything as before at the end."""
    package = sys.modules["emtools"]
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(RELOADED)}
    finder, jit = EditedFinder(() if defect is None else (defect,)), numba.config.DISABLE_JIT
    sys.meta_path.insert(0, finder)
    numba.config.DISABLE_JIT = plain
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = jit
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(RELOADED)]:
            del sys.modules[name]
        sys.modules.update(kept)
        for name in RELOADED:
            if name in kept:
                setattr(package, name.partition(".")[2], kept[name])


def first_broken(case: str, names: Iterable[str], defect: Defect | None, plain: bool) -> str | None:
    """Name of the first of some examinations that a case fails; None if it passes all."""
    with infected(defect, plain), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = subject_of(CASES[case]())
        return next((name for name in names if examine_all(subject, [name]).broken), None)


def main() -> int:
    """Print the table; 1 if a defect survives, or if what catches it blames the sound model as well."""
    survivors = blamed = 0
    width = max(len(defect.words) for defect in DEFECTS)
    catchers: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for defect in DEFECTS:
        plain = in_plain_python(defect)
        caught = first_broken(defect.case, EXAMINATIONS, defect, plain)
        if caught is None:
            survivors += 1
        else:
            catchers[defect.case, plain].add(caught)
        print(f"{defect.words:<{width}}  {defect.case:<32}  {caught or 'SURVIVES'}", flush=True)
    for (case, plain), names in sorted(catchers.items()):
        caught = first_broken(case, sorted(names), None, plain)
        blamed += caught is not None
        print(f"{'no defect':<{width}}  {case:<32}  {caught or 'nothing, as it should be'}", flush=True)
    print(f"{len(DEFECTS) - survivors} of {len(DEFECTS)} defects caught; {blamed} sound models blamed")
    return int(survivors > 0 or blamed > 0)


if __name__ == "__main__":
    sys.exit(main())

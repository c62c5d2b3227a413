"""From cells and what is known of them to named types with probabilities that may be believed.

The command ``emtools deconvolve`` and ``emtools.tl.mixture`` both ask `answer` and write with `keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from anndata import AnnData
from scipy.special import stdtrit

from emtools.cell_types.labels import believe_labels, fit_labelled
from emtools.cell_types.reproduce import Reproducibility, reproduce, tempered
from emtools.cell_types.search import DEFAULT, Search, find_types
from emtools.engine.loop import OnPass
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.errors import InputError
from emtools.io.cells import Cells, Labels, annotate, require_independent, require_size
from emtools.kernels.agreement import contingency
from emtools.kernels.composition import (
    Profiles,
    donor_shares,
    profile_errors,
    share_errors,
    share_intervals,
    type_profiles,
)
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_selection import Criterion, Selection, select

Codes = npt.NDArray[np.intp]

MOST_TYPES = 20  # of which K is chosen where no range is given
SELECTING = "VVV"  # covariances of the mixtures by which K is chosen
SELECTED_ROWS = 5_000  # cells on which it is chosen, at most
SELECTING_STARTS = 2


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of cells.

    Parameters
    ----------
    n_types : int, sequence of int, "auto" or None
        K, or those of which the best is chosen (auto: 1 to 20); None with labels, which have a number.
    criterion : {"icl", "bic", "held_out"}
        By what K is chosen.
    family : str
        ``"shrunken"``, or covariances of `GaussianMixture`.
    labels : Labels, optional
        Known types of some cells.
    prefix : str
        Types are named ``prefix_1``, …, where there are no labels.
    search : Search
        How.
    """

    n_types: int | Sequence[int] | str | None = None
    criterion: Criterion = "icl"
    family: str = DEFAULT
    labels: Labels | None = None
    prefix: str = "type"
    search: Search


@dataclass(frozen=True)
class Typed:
    """Types of cells.

    Parameters
    ----------
    fitted : Fit
        The mixture.
    types : tuple of str
        Names, K of them.
    responsibilities : ndarray, shape (n, K)
        Probability of each type, at the temperature of `trust`; with labels, pooled with a logistic regression on these.
    posterior : ndarray, shape (n, K)
        As the model has it: their means are the shares of the types.
    trust : Reproducibility
        How far the model's own certainty was borne out.
    family : str
        Covariances.
    search : Search
        How it was found.
    selection : Selection or None
        How K was chosen.
    labels : str or None
        Column of the labels that it followed.
    """

    fitted: Fit[Any, Any]
    types: tuple[str, ...]
    responsibilities: Floats
    posterior: Floats
    trust: Reproducibility
    family: str
    search: Search
    selection: Selection | None = None
    labels: str | None = None

    @property
    def shares(self) -> Floats:
        """Share of each type, shape (K,)."""
        return np.asarray(self.posterior.mean(axis=0), dtype=np.float64)

    @property
    def whole_errors(self) -> bool:
        """Whether the errors of the shares hold what is unknown about the types, too."""
        seen = self.fitted.certificate
        errors = None if seen is None else seen.standard_errors.get("weights")
        return errors is not None and bool(np.isfinite(errors).all())

    @property
    def share_errors(self) -> Floats:
        """Standard errors of the shares, shape (K,): of all parameters, else with the types taken as fitted."""
        seen = self.fitted.certificate
        if seen is not None and self.whole_errors:
            return np.asarray(seen.standard_errors["weights"], dtype=np.float64)
        return share_errors(self.posterior)


def answer(cells: Cells, question: Question, on_pass: OnPass | None = None) -> Typed:
    """Fit the mixture that is asked for and temper its probabilities.

    Parameters
    ----------
    cells : Cells
        Data.
    question : Question
        What is asked.
    on_pass : callable, optional
        Told of each pass of the last fit.

    Raises
    ------
    InputError
        If the cells cannot be used as asked, or the labels name another number of types than asked for.
    """
    values, labels, search, family = cells.values, question.labels, question.search, question.family
    n_types, selection = question.n_types, None
    if labels is not None:
        if family != DEFAULT:
            raise InputError("family", f"{family} with labels", DEFAULT, "leave one of them out")
        if n_types not in (None, len(labels.names)):
            got = f"{len(labels.names)} types in {labels.column}, {n_types} asked for"
            raise InputError("labels", got, "the same number", "leave the number out")
        n_types = len(labels.names)
    elif n_types is None:
        raise InputError("types", "no number of them", "a number, auto, or what names them", "say how many, or auto")
    elif not isinstance(n_types, int):
        selection = choose_number(cells, n_types, question.criterion, search)
        n_types = selection.chosen.n_components
    require_usable(cells, n_types, family)
    if labels is None:
        fitted = find_types(values, n_types, search, on_pass, family)

        def again(values: Floats, n_types: int, search: Search) -> Fit[Any, Any]:
            return find_types(values, n_types, search, family=family)

        trust = reproduce(fitted.model, fitted.params, values, search, again)
        names = tuple(f"{question.prefix}_{k + 1}" for k in range(n_types))
        log_joint = fitted.model.log_joint(fitted.params, values)
        evidence = log_joint / trust.temperature
    else:
        fitted = fit_labelled(values, labels.codes, n_types, search, on_pass)
        log_joint = fitted.model.log_joint(fitted.params, values)
        evidence, trust = believe_labels(values, labels.codes, n_types, log_joint, search)
        names = labels.names
    held = None if labels is None else labels.codes
    return Typed(
        fitted,
        names,
        held_to(tempered(evidence, 1.0), held),
        held_to(tempered(log_joint, 1.0), held),
        trust,
        family,
        search,
        selection,
        None if labels is None else labels.column,
    )


def choose_number(cells: Cells, n_types: Sequence[int] | str, criterion: Criterion, search: Search) -> Selection:
    """K by a criterion, over mixtures with free covariances and a weak prior, on at most `SELECTED_ROWS` cells.

    Raises
    ------
    InputError
        If there is nothing to choose from.
    """
    values = cells.values
    if isinstance(n_types, str):
        if n_types != "auto":
            raise InputError("types", repr(n_types), "a number, a range or auto", "")
        n_types = range(1, min(MOST_TYPES, len(values) // (2 * values.shape[1] + 1)) + 1)
    counts = [int(k) for k in n_types]
    if not counts or min(counts) < 1:
        raise InputError("types", f"{listed_numbers(counts)} to choose from", "numbers of at least 1", "")
    if len(values) > SELECTED_ROWS:
        rng = np.random.default_rng(np.random.SeedSequence([search.seed, len(values), 4]))
        values = values[np.sort(rng.choice(len(values), SELECTED_ROWS, replace=False))]
    require_independent(cells, pairs_only=False)
    return select(values, counts, (SELECTING,), criterion, prior=True, starts=SELECTING_STARTS, seed=search.seed)


def listed_numbers(counts: Sequence[int]) -> str:
    """Numbers for a message."""
    return ", ".join(map(str, counts[:6])) or "nothing"


def require_usable(cells: Cells, n_types: int, family: str = DEFAULT) -> None:
    """Raise InputError where a mixture of K types cannot be told from the cells."""
    d = cells.values.shape[1]
    if family == DEFAULT:
        require_size(cells, n_types, n_types * (d + 1) + d * (d + 1) // 2, 0.5)
        require_independent(cells, pairs_only=False)
        return
    model = GaussianMixture(n_types, d, family)  # type: ignore[arg-type]
    full = model.layout == "full"
    require_size(cells, n_types, model.n_free_parameters, 0.1 if full else 1.0)
    require_independent(cells, pairs_only=model.layout in ("diagonal", "spherical"))


def held_to(responsibilities: Floats, codes: Codes | None) -> Floats:
    """Responsibilities in which a labelled cell is of its type."""
    if codes is None:
        return responsibilities
    held: Floats = np.where(codes[:, None] >= 0, np.eye(responsibilities.shape[1])[codes], responsibilities)
    return held


@dataclass(frozen=True)
class Kept:
    """What was written of the types besides who they are.

    Parameters
    ----------
    profiles : Profiles
        Mean expression and more.
    means, errors : ndarray, shape (G, K)
        Profiles in the units of the input, and their standard errors.
    source : str
        Where the expression lies.
    samples : dict
        As in ``uns['em']['by_sample']``; empty without samples.
    """

    profiles: Profiles
    means: Floats
    errors: Floats
    source: str
    samples: dict[str, Any]


def keep(adata: AnnData, cells: Cells, typed: Typed, expression: Any, source: str, in_units: Any = None) -> Kept:
    """Put the answer into `adata`.

    Parameters
    ----------
    adata : AnnData
        Changed.
    cells : Cells
        What was modelled, with its samples.
    typed : Typed
        The answer.
    expression : matrix, shape (n, G)
        What types are described by.
    source : str
        Where it lies.
    in_units : callable, optional
        Takes the means, shape (G, K), to the units of the input.

    Raises
    ------
    InputError
        If the expression has a value that is not finite.
    """
    profiles = type_profiles(expression, typed.posterior)
    spoiled = adata.var_names[~np.isfinite(profiles.spread)]
    if len(spoiled):
        raise InputError(
            f"{cells.path}, {source}",
            f"{spoiled[0]} has a missing or infinite value",
            "finite values",
            "drop or fill it",
        )
    errors = profile_errors(expression, typed.posterior, profiles.means)
    means = profiles.means if in_units is None else in_units(profiles.means)
    samples = {} if cells.sample is None else by_sample(typed, cells.sample)
    written = record(cells, typed, source) | ({"by_sample": samples} if samples else {})
    annotate(adata, typed.types, typed.responsibilities, means, written, errors)
    return Kept(profiles, means, errors, source, samples)


def by_sample(typed: Typed, sample: Labels) -> dict[str, Any]:
    """Proportions of each sample with 95 % intervals, and their mean over samples by the variance between these.

    A cell counts by its responsibility. Intervals of a sample hold the draw of its cells and the doubt about their types
    (`share_intervals`), not what is unknown about the types; that of the mean is Student's, samples counting alike.
    """
    known = sample.codes >= 0
    codes, n_samples = sample.codes[known], len(sample.names)
    sizes = np.bincount(codes, minlength=n_samples)
    shares = contingency(codes, typed.posterior[known]) / sizes[:, None]
    doubt = contingency(codes, (typed.responsibilities * (1.0 - typed.responsibilities))[known]) / sizes[:, None]
    lower, upper = share_intervals(shares, doubt, sizes.astype(np.float64))
    means, errors = donor_shares(typed.posterior, sample.codes, n_samples)
    quantile = float(stdtrit(n_samples - 1, 0.975)) if n_samples > 1 else np.nan
    return {
        "column": sample.column,
        "samples": np.array(sample.names, dtype=object),
        "n": sizes,
        "proportions": shares,
        "lower": lower,
        "upper": upper,
        "mean": means,
        "standard_error": errors,
        "mean_lower": np.clip(means - quantile * errors, 0.0, 1.0),
        "mean_upper": np.clip(means + quantile * errors, 0.0, 1.0),
    }


def record(cells: Cells, typed: Typed, source: str) -> dict[str, Any]:
    """Content of ``uns['em']``: numbers, text, arrays and mappings of these."""
    fitted, trust, search = typed.fitted, typed.trust, typed.search
    seen = fitted.certificate
    told = {
        "types": np.array(typed.types, dtype=object),
        "proportions": typed.shares,
        "proportion_errors": typed.share_errors,
        "status": str(fitted.status),
        "verdict": fitted.verdict,
        "certificate": "none" if seen is None else seen.tell(None),
        "loglik": fitted.loglik,
        "objective": fitted.objective,
        "representation": cells.representation,
        "dimensions": np.array(cells.dimensions, dtype=object),
        "profiles_from": source,
        "family": typed.family,
        "n_components": len(typed.types),
        "seed": search.seed if search.seed < 2**63 else str(search.seed),
        "starts": search.starts,
        "temperature": trust.temperature,
        "reproducibility": trust.agreement,
        "reproducibility_by_type": trust.by_type,
        "parameters": fitted.model.natural(fitted.params),
    }
    if typed.labels is not None:
        told["labels"] = typed.labels
        told["logistic_weight"] = trust.logistic_weight
    if trust.curve is not None:
        told["reliability"] = trust.curve.record()
    if typed.selection is not None:
        told["selection"] = selection_record(typed.selection)
    return told


def selection_record(selection: Selection) -> dict[str, Any]:
    """The table of K as it stands in ``uns``."""
    rows = selection.table
    return {
        "criterion": selection.criterion,
        "family": rows[0].family,
        "n_components": np.array([row.n_components for row in rows]),
        **{name: np.array([getattr(row, name) for row in rows]) for name in ("loglik", "df", "bic", "icl", "held_out")},
    }

"""What an imputation assumed and did, as a methods section tells it."""

from __future__ import annotations

from typing import Any

import numpy as np

from emtools.imputing.advice import listed
from emtools.imputing.diagnose import Diagnosis
from emtools.imputing.result import Imputation

EXACT = 2  # cells of a row beyond their limits up to which the censored normal is exact
ALWAYS = (
    "Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., Wiley, section 11.2. "
    "doi:10.1002/9781119482260",
    "Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, J. R. Stat. Soc. B "
    "39, 1-22. doi:10.1111/j.2517-6161.1977.tb01600.x",
)
OF_KIND = {
    "t": "Liu & Rubin (1995), ML estimation of the t distribution using EM and its extensions, Stat. Sin. 5, 19-39.",
    "factors": "Rubin & Thayer (1982), EM algorithms for ML factor analysis, Psychometrika 47, 69-76. "
    "doi:10.1007/BF02293851",
    "mixture": "Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, Adv. Neural Inf. "
    "Process. Syst. 6, 120-127.",
    "stack": "Breiman (1996), Stacked regressions, Mach. Learn. 24, 49-64. doi:10.1007/BF00117832",
}
OF_LIMITS = (
    "Tobin (1958), Estimation of relationships for limited dependent variables, Econometrica 26, 24-36. "
    "doi:10.2307/1907382",
    "Cunningham, Hennig & Lacoste-Julien (2011), Gaussian probabilities and expectation propagation, arXiv:1111.6832.",
)
OF_LITTLE = (
    "Little (1988), A test of missing completely at random for multivariate data with missing values, J. Am. Stat. "
    "Assoc. 83, 1198-1202. doi:10.1080/01621459.1988.10478722"
)
OF_CELLS = (
    "Honaker, King & Blackwell (2011), Amelia II: a program for missing data, J. Stat. Softw. 45(7), section 4.2 "
    "(over-imputation). doi:10.18637/jss.v045.i07"
)
OF_DRAWS = (
    "Rubin (1987), Multiple Imputation for Nonresponse in Surveys, Wiley. doi:10.1002/9780470316696",
    "Barnard & Rubin (1999), Small-sample degrees of freedom with multiple imputation, Biometrika 86, 948-955. "
    "doi:10.1093/biomet/86.4.948",
)
OF_SCALES = {
    "yeo-johnson": "Yeo & Johnson (2000), A new family of power transformations, Biometrika 87, 954-959. "
    "doi:10.1093/biomet/87.4.954",
    "box-cox": "Box & Cox (1964), An analysis of transformations, J. R. Stat. Soc. B 26, 211-252. "
    "doi:10.1111/j.2517-6161.1964.tb00553.x",
}
SCALE_WORDS = {
    "log": "the natural logarithm",
    "logit": "the logit",
    "rank-normal": "normal scores of the ranks",
    "yeo-johnson": "a Yeo-Johnson power (its exponent in brackets)",
    "box-cox": "a Box-Cox power (its exponent in brackets)",
}


def share(part: int, whole: int) -> str:
    """In per cent."""
    return f"{100 * part / max(whole, 1):.1f} %"


def distribution(imputation: Imputation) -> str:
    """The model of the rows in words."""
    fitted, d = imputation.fitted, len(imputation.markers)
    match fitted.kind:
        case "t":
            return (
                f"one multivariate t distribution of {d} markers, whose degrees of freedom were estimated as "
                f"{float(fitted.params.df):.3g}, so that outlying rows pull less"
            )
        case "factors":
            loadings = getattr(fitted.params, "loadings", np.zeros((d, 0)))
            count = min(np.shape(loadings))
            return f"one factor model of {d} markers with {count} factor{'s' * (count != 1)}"
        case "mixture":
            if len(fitted.params.weights) > 1:
                return f"a mixture of {len(fitted.params.weights)} multivariate normal distributions of {d} markers"
            return f"one multivariate normal distribution of {d} markers (a mixture of one component)"
    return f"one multivariate normal distribution of {d} markers"


def assumed(imputation: Imputation) -> list[str]:
    """Paragraphs on what has to be true for the answer to be right."""
    blanks = (
        ""
        if imputation.readings.bounded.any()
        else " Values below a detection limit that were left blank do not meet this: give their limits with --lod."
    )
    text = [
        f"The rows are independent draws from {distribution(imputation)}. Values are missing at random: whether a value is "
        f"missing may depend on what was observed, not on the value itself.{blanks}"
    ]
    if imputation.how_filled:
        text.append(imputation.how_filled)
    text += scale_words(imputation)
    text += limit_words(imputation)
    if imputation.design:
        text.append(
            f"Fixed effects: {listed(imputation.design, 12)}. They are columns of the joint distribution, in which each marker "
            "is a linear function of them; a batch or category has a column of 0 and 1 for each level but the first, its "
            "reference."
        )
    prior = imputation.fitted.pseudo_rows
    if imputation.fitted.kind == "mixture" and prior_counts(imputation):
        text.append(
            "A weak prior on the covariance of each component keeps a component from closing in on a few rows; objective and "
            "log-likelihood differ by it."
        )
    if imputation.fitted.kind == "factors" and prior_counts(imputation):
        text.append(
            "A weak prior keeps the part of each marker that the factors do not tell from going to 0; objective and log-likelihood "
            "differ by it."
        )
    if prior and imputation.fitted.kind == "factors":
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the loadings of the factors towards 0, which makes the estimate exist "
            "and weakens correlations."
        )
    elif prior and towards_structure(imputation.fitted.model):
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the covariance towards one that the table itself suggests, which the "
            "notices name: it makes the estimate exist. What the rows alone say of two markers counts for "
            f"{share_of_prior(len(imputation.values), prior)}, the other for the rest."
        )
    elif prior:
        text.append(
            f"A ridge prior worth {prior:.3g} rows draws the covariance towards independent markers with the variances "
            "observed: it makes the estimate exist and steadies it, and shrinks correlations by about "
            f"{share_of_prior(prior, len(imputation.values))}."
        )
    return text


def methods(imputation: Imputation, method: str) -> list[str]:
    """Paragraphs on how the answer was computed."""
    how = "as the mode of their posterior" if prior_counts(imputation) else "by maximum likelihood"
    expected = (
        "what the models above together expect given" if imputation.better is not None else "its conditional mean given"
    )
    return [
        f"The parameters were estimated {how} from every observed value with the EM algorithm, with the conditional "
        "covariance of the missing values in the second moments. A missing value was replaced by "
        f"{expected} what is known of its row; its SD and 95 % interval leave out the error of the parameters themselves.",
        draw_words(imputation, method),
    ]


def prior_counts(imputation: Imputation) -> bool:
    """Whether the estimate maximises more than the likelihood."""
    fitted = imputation.fitted
    return bool(fitted.pseudo_rows or fitted.model.log_prior(fitted.params))


def towards_structure(model: Any) -> bool:
    """Whether the prior of a normal draws its covariance towards one with correlations."""
    scale = getattr(getattr(model, "prior", None), "scale", None)
    return isinstance(scale, np.ndarray) and scale.ndim == 2 and bool(np.count_nonzero(scale) > len(scale))


def share_of_prior(prior: float, n: int) -> str:
    """Share of the estimate that is the prior's."""
    return f"{100 * prior / (prior + n):.2g} %"


def scale_words(imputation: Imputation) -> list[str]:
    """A paragraph on transforms, where there are any."""
    used = by_scale(imputation)
    if not used:
        return []
    words = [f"{listed(names, 12)} on {SCALE_WORDS.get(name, name)}" for name, names in used.items()]
    return [
        f"These markers were modelled on another scale: {'; '.join(words)}. Their values, intervals and draws are "
        "back-transformed; a filled value is the conditional mean in the unit of the marker, its SD that of the transformed value."
    ]


def by_scale(imputation: Imputation) -> dict[str, list[str]]:
    """Markers by the names of their scales, each with its exponent where it has one; those as measured left out."""
    used: dict[str, list[str]] = {}
    for marker, scale in zip(imputation.markers, imputation.scales, strict=True):
        if scale.name != "none":
            power = getattr(scale, "power", None)
            used.setdefault(scale.name, []).append(marker if power is None else f"{marker} ({power:.3g})")
    return used


def limit_words(imputation: Imputation) -> list[str]:
    """A paragraph on limits of detection, where there are any."""
    readings = imputation.readings
    if not readings.bounded.any():
        return []
    low, high = readings.bounds()
    bounded = readings.bounded
    kinds = {
        "below": bounded & ~np.isfinite(low),
        "above": bounded & ~np.isfinite(high),
        "between two limits": bounded & np.isfinite(low) & np.isfinite(high),
    }
    counted = [f"{int(cells.sum())} {kind}" for kind, cells in kinds.items() if cells.any()]
    each = [
        f"{name} ({int(count)}, at {limits(low[:, j], high[:, j], bounded[:, j])})"
        for j, (name, count) in enumerate(zip(imputation.markers, bounded.sum(axis=0), strict=True))
        if count
    ]
    in_row = bounded.sum(axis=1)
    few, many = int(((in_row > 0) & (in_row <= EXACT)).sum()), int((in_row > EXACT).sum())
    exact = "exactly in all rows that have any" if not many else f"exactly in the {few} rows with one or two of them"
    beyond = (
        f", and by expectation propagation in the {many} rows with more"
        if many
        else ", none having more than two of them"
    )
    return [
        f"Cells known only to lie beyond a limit ({', '.join(counted)}) counted with the probability of lying there given "
        f"the rest of their row, {exact}{beyond}: {listed(each, 8)}. What was filled in there is the conditional mean "
        "within the limits, and no value, interval or draw leaves them."
    ]


def limits(low: np.ndarray, high: np.ndarray, cells: np.ndarray) -> str:
    """The limits of one marker: the number, or how many there are and their range."""
    ends = np.concatenate([low[cells], high[cells]])
    distinct = np.unique(ends[np.isfinite(ends)])
    if distinct.size <= 3:
        return " and ".join(f"{value:.4g}" for value in distinct)
    return f"{distinct.size} limits from {distinct[0]:.4g} to {distinct[-1]:.4g}"


def draw_words(imputation: Imputation, method: str) -> str:
    """A sentence on what the tables are for."""
    single = (
        "The completed table is for description and prediction; standard errors computed from it as if nothing had been "
        "missing are too small."
    )
    if not imputation.draws:
        return f"{single} For tests and regressions draw several tables with --draws and pool them with `emtools pool`."
    how = (
        "each from a fit to a bootstrap sample of the rows"
        if method == "bootstrap"
        else "each from a draw of the parameters from their posterior distribution"
    )
    return (
        f"{single} For tests and regressions there are {len(imputation.draws)} tables with all gaps drawn at random from "
        f"their joint conditional distribution, {how}, so that they carry the error of the parameters too. Analyse each and "
        "pool by Rubin's rules, for instance with `emtools pool` and the formula of the regression."
    )


def references(imputation: Imputation, diagnosis: Diagnosis) -> list[str]:
    """What to cite for what was done."""
    cited = list(ALWAYS)
    kinds = dict.fromkeys([imputation.fitted.kind, *(["mixture", "stack"] if imputation.better is not None else [])])
    cited += [OF_KIND[kind] for kind in kinds if kind in OF_KIND]
    cited += OF_LIMITS if imputation.readings.bounded.any() else ()
    cited += [OF_SCALES[name] for name in sorted({s.name for s in imputation.scales}) if name in OF_SCALES]
    cited += [OF_LITTLE] if diagnosis.mcar is not None else []
    cited += [OF_CELLS] if diagnosis.overimputed.pit.size else []
    cited += OF_DRAWS if imputation.draws else ()
    return cited

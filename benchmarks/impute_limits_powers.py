"""How the power of a marker with limits could be chosen otherwise. ``python -m benchmarks.impute_limits_powers FOLDER``

Each positive marker of the tables of `benchmarks.impute_limits_more`, and of diabetes and PBC, is censored by itself and
filled by its own tobit on the powers from -2 to 4 in steps of 0.25; a rule says which power, or weighs the means that
all of them give. ``plug-in`` is `emtools.imputing.scaling.alone`; ``averaged`` takes the mean over the posterior of the
power instead, ``tempered`` with a tenth of the log-likelihood, ``to -0.5`` with powers down to that where the command
allows none under 0, ``N(c, s)`` with another prior of the power; ``log`` and ``none`` are one power for all, ``best
constant`` the true mean beyond the limit, which no rule can better. What is settled is settled on the tables named here
first, and judged on the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from benchmarks import impute_limits, impute_limits_more
from benchmarks.impute_limits import censor
from emtools.errors import EmtoolsError
from emtools.imputing.complete import to_scales
from emtools.imputing.scaling import log_slopes, of_power, powers
from emtools.kernels.censored import tobit, tobit_loglik
from emtools.kernels.readings import Readings

TABLE = Path(__file__).with_name("impute_limits_powers.tsv")
SETTLED = ("athletes", "flchain", "meuse", "pima", "thyroid", "wine")
GRID = np.arange(-2.0, 4.01, 0.25)
SHARES = (np.arange(200) + 0.5) / 200
# Centre and spread of the prior, share of the log-likelihood, whether all powers count, least power of an open upper end.
RULES = {
    "plug-in": (1.0, 1.0, 1.0, False, 0.0),
    "averaged": (1.0, 1.0, 1.0, True, 0.0),
    "averaged, tempered": (1.0, 1.0, 0.1, True, 0.0),
    "averaged, to -0.5": (1.0, 1.0, 1.0, True, -0.5),
    "plug-in, N(0.25, 0.25)": (0.25, 0.25, 1.0, False, 0.0),
    "averaged, N(0.25, 0.25)": (0.25, 0.25, 1.0, True, 0.0),
    "averaged, N(0, 0.5), tempered": (0.0, 0.5, 0.1, True, 0.0),
    "log": (0.0, 1e-3, 1.0, False, 0.0),
    "none": (1.0, 1e-3, 1.0, False, 0.0),
}


def tails(known: Readings, power: float) -> tuple[float, float, float]:
    """Log-likelihood on a power, and the mean that its tobit gives to cells below and above; NaN where it fails."""
    scale = of_power(power, known, 0)
    scaled = to_scales(known, [scale])
    low, high = scaled.bounds()
    ones = np.ones(len(low))
    with np.errstate(all="ignore"):
        try:
            mean, sd = tobit(scaled.values[:, 0], low[:, 0], high[:, 0], ones)
            loglik = tobit_loglik(scaled.values[:, 0], low[:, 0], high[:, 0], ones)
        except EmtoolsError:
            return -np.inf, np.nan, np.nan
    below = float(np.max(high[:, 0], where=np.isfinite(high[:, 0]), initial=-np.inf))
    above = float(np.min(low[:, 0], where=np.isfinite(low[:, 0]), initial=np.inf))
    under = scale.inverse(mean + sd * ndtri(SHARES * ndtr((below - mean) / sd))).mean() if below > -np.inf else np.nan
    over = scale.inverse(mean - sd * ndtri(SHARES * ndtr((mean - above) / sd))).mean() if above < np.inf else np.nan
    return loglik + log_slopes(scale, known.values[:, 0]), float(under), float(over)


def by_rules(known: Readings) -> dict[str, tuple[float, float]]:
    """Means of the cells below and above by rule."""
    logliks, under, over = np.array([tails(known, power) for power in GRID]).T
    least, most = powers(known, 0)
    found = {}
    for rule, (centre, spread, share, all_count, open_end) in RULES.items():
        usable = np.isfinite(logliks) & (np.clip(GRID, min(least, open_end), most) == GRID)
        score = np.where(usable, share * logliks - 0.5 * ((GRID - centre) / spread) ** 2, -np.inf)
        weight = np.exp(score - score.max()) if all_count else (np.arange(GRID.size) == score.argmax()).astype(float)
        weight = np.where(usable, weight, 0.0) / weight.sum()
        found[rule] = tuple(float(weight @ np.where(usable, means, 0.0)) for means in (under, over))
    return found


def main(folder: Path) -> None:
    cells = []
    for table in [*impute_limits_more.tables(folder), *impute_limits.tables()]:
        for j in table.limited:
            column = table.values[:, [j]]
            column = column[~np.isnan(column[:, 0])]
            for mask in impute_limits_more.MASKS:
                known = censor(column, [0], mask)
                low, high = known.bounds()
                sides = known.bounded[:, 0] & np.isfinite(high[:, 0]), known.bounded[:, 0] & np.isfinite(low[:, 0])
                truth = [column[side, 0] for side in sides]
                best = tuple(float(values.mean()) if values.size else np.nan for values in truth)
                for rule, means in (by_rules(known) | {"best constant": best}).items():
                    off = [(mean - values) / column.std() for mean, values in zip(means, truth, strict=True)]
                    cells += [(table.name, mask, rule, e) for e in np.concatenate(off).tolist()]
    frame = pd.DataFrame(cells, columns=["table", "mask", "rule", "error"])
    frame["square"] = frame["error"] ** 2
    found = frame.groupby(["table", "mask", "rule"], sort=False)[["error", "square"]].mean().reset_index()
    found["nrmse"], found["bias"] = np.sqrt(found["square"]).round(3), found["error"].round(3)
    found.insert(0, "settled_on", found["table"].isin(SETTLED))
    found.drop(columns=["error", "square"]).to_csv(TABLE, sep="\t", index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

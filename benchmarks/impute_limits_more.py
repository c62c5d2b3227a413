"""Detection limits on tables on which nothing was settled. ``python -m benchmarks.impute_limits_more FOLDER [TABLE...]``

FOLDER holds the tables of ``Rscript benchmarks/impute_limits_tables.R FOLDER``; wine and breast-cancer nuclei come with
scikit-learn; of long tables every so-many-th row, at most 300. Every marker is censored at once: the lowest or highest 15 or 30 % (``low``, ``high``), or as much at either
end (``both``). Columns of the result are those of `benchmarks.impute_limits`; rows are the default of the command
(``chosen``: powers by the likelihood of the whole table), the same with every marker a logarithm or as measured, the
tobit of each marker by itself on each of these scales, LOD/2 and LOD/sqrt 2 where only low values are unknown, and
``best constant``: the mean of the true values of each marker beyond each limit, below which no method can go that fills
all cells of a marker alike. Filled cells are means of 100 conditional draws. Tables that are named replace their rows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from sklearn.datasets import load_breast_cancer, load_wine

from benchmarks.impute_limits import Errors, Table, backward, censor, choose, errors, line
from emtools.engine.protocol import Floats
from emtools.engine.starts import fit
from emtools.imputing.complete import to_scales
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Scale
from emtools.models.censored_normal import CensoredNormal
from emtools.models.normal import NormalParams

TABLE = Path(__file__).with_name("impute_limits_more.tsv")
MASKS = ("low 15", "low 30", "high 15", "high 30", "both 15", "both 30")
DRAWS, MOST_ROWS = 100, 300
SCALES = ("chosen", "log", "none")
BESIDE = frozenset({"age", "elev", "gravity", "LBM", "DTSH"})  # columns of the model without limits


def tables(folder: Path) -> list[Table]:
    """Positive markers get limits."""
    frames = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
    frames["wine"] = load_wine(as_frame=True).data
    frames["nuclei"] = load_breast_cancer(as_frame=True).data.iloc[:, [0, 1, 4, 5, 8, 9]]
    found = []
    for name, frame in frames.items():
        frame = frame.iloc[:: -(-len(frame) // MOST_ROWS)]
        limited = [j for j, marker in enumerate(frame) if marker not in BESIDE and frame[marker].min() > 0]
        found.append(Table(name, list(frame), frame.to_numpy(float), limited, frozenset()))
    return found


def best_constant(table: Table, known: Readings) -> np.ndarray:
    """The true mean of each marker's cells beyond each limit."""
    low, high = known.bounds()
    filled = table.values.copy()
    for j in table.limited:
        for cells in (known.bounded[:, j] & np.isfinite(bound[:, j]) for bound in (low, high)):
            if cells.any():
                filled[cells, j] = table.values[cells, j].mean()
    return filled


def drawn(
    model: CensoredNormal, params: NormalParams, known: Readings, scaled: Readings, scales: Sequence[Scale]
) -> Floats:
    """The completed table by the mean of conditional draws in its own units, as the command fills cells by more of them."""
    rows = known.bounded.any(axis=1)
    some, rng = scaled.take(np.flatnonzero(rows)), np.random.default_rng(0)
    filled = known.values.copy()
    filled[rows] = np.mean([backward(model.draw(params, some, rng), scales) for _ in range(DRAWS)], axis=0)
    return np.clip(filled, *known.bounds())


def by_itself(params: NormalParams, known: Readings, scaled: Readings, scales: Sequence[Scale]) -> Floats:
    """The completed table by the mean of each cell within its bounds under the normal of its own column."""
    sds = np.sqrt(np.diag(params.covariance))
    low, high = (ndtr((bound - params.mean) / sds) for bound in scaled.bounds())
    points = [ndtri(low + share * (high - low)) for share in (np.arange(400) + 0.5) / 400]
    return np.clip(np.mean([backward(params.mean + sds * z, scales) for z in points], axis=0), *known.bounds())


def answers(table: Table, mask: str) -> dict[tuple[str, str], Errors]:
    """Errors by scale and method."""
    known = censor(table.values, table.limited, mask)
    high = known.bounds()[1]
    found = {}
    for scale in SCALES:
        scales = choose(known, table, scale)
        scaled = to_scales(known, scales)
        model = CensoredNormal(table.values.shape[1])
        source = model.source(scaled)
        params = fit(model, source, certificate=False).params
        each = NormalParams(source.means, np.diag(source.sds**2))
        plain = scale == "none"
        told = {
            "multivariate": model.conditional(params, scaled)[0]
            if plain
            else drawn(model, params, known, scaled, scales),
            "tobit": by_itself(each, known, scaled, scales),
        }
        for method, filled in told.items():
            found[scale, method] = errors(np.where(known.bounded, filled, table.values), table, known, scales)
    beside = {"best constant": best_constant(table, known)}
    if mask.startswith("low"):
        limits = np.where(known.bounded, high, 0.0)
        beside |= {"LOD/2": 0.5 * limits, "LOD/sqrt 2": 0.5**0.5 * limits}
    for method, filled in beside.items():
        found["none", method] = errors(np.where(known.bounded, filled, table.values), table, known, scales)
    return found


def main(folder: Path, only: list[str]) -> None:
    done = pd.read_csv(TABLE, sep="\t") if only and TABLE.exists() else pd.DataFrame({"table": []})
    for table in [table for table in tables(folder) if not only or table.name in only]:
        lines = []
        for mask in MASKS:
            for (scale, method), found in answers(table, mask).items():
                told = {"table": table.name, "mask": mask, "scale": scale, "method": method}
                lines.append(line(told, found.column, found.model, {"beyond_bound": max(0.0, found.beyond)}))
        done = pd.concat([done[done["table"] != table.name], pd.DataFrame(lines)])
        done.to_csv(TABLE, sep="\t", index=False, lineterminator="\n")
        shown = done[(done["table"] == table.name) & (done["method"] == "multivariate") & (done["scale"] == "chosen")]
        print(shown[["table", "mask", "nrmse_column", "bias_column"]].to_string(index=False, header=False), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

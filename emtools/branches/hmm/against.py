"""Which of two fitted models the letters speak for: log-odds of each record, and of each window along it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.branches.hmm.decode import Chain, without_first
from emtools.errors import InputError
from emtools.io.fasta import Record
from emtools.io.intervals import zipped_text
from emtools.io.outputs import SEAL
from emtools.models.hmm import PARTS, CategoricalHMM, HMMParams
from emtools.models.hmm_paths import window_logliks
from emtools.report.page import Table

TABLE = "log_odds.tsv"
TRACK = "log_odds.bedgraph.gz"
SHOWN = 200  # records on the page
CAPTION = (
    "log2 of how many times more probable the letters of a record are under the model fitted here than under {other}, whose parameters are "
    "as they were fitted there: bits in all and for each letter that counts. Above 0 they speak for this model. Both are likelihoods of the "
    "same letters; parameters that were fitted to these letters have an advantage that those of the other model may not have."
)


def files(window: int) -> dict[str, str]:
    """What the files hold."""
    return {
        TABLE: "log-odds of each record against the other model, bits",
        TRACK: f"the same for each window of {window:,} letters, given the letters before it, as a track",
    }


def file_of(path: Path) -> Path:
    """fit.json itself, or that of a folder."""
    return path / SEAL if path.is_dir() else path


def read_fit(path: Path, letters: str, sets: tuple[tuple[int, ...], ...]) -> tuple[CategoricalHMM, HMMParams]:
    """Model and parameters of an earlier fit of ``emtools hmm`` to sequences.

    Parameters
    ----------
    path : Path
        Its fit.json, or the folder that holds it.
    letters : str
        Alphabet that it must have.
    sets : tuple of tuples of int
        What codes of several letters stand for.

    Raises
    ------
    InputError
        If it is no such fit, or one of other letters.
    """
    file = file_of(path)
    remedy = "give fit.json, or its folder, of an emtools hmm of sequences"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        told, parts = record["model"], record["parameters"]
        if told["name"] != CategoricalHMM.name:
            raise InputError(str(file), f"a fit of {told['name']}", CategoricalHMM.name, remedy)
        values = [np.array(parts[name]["value"], dtype=np.float64) for name in PARTS]
        known = "".join(parts["emission"]["labels"][-1])
        shape = (int(told["n_states"]), len(known), 0.0, int(told.get("order", 0)), sets)
        repeats = int(told.get("repeats", 1))
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "", remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(str(file), f"not laid out as a fit ({type(error).__name__})", "", remedy) from error
    if known != letters:
        raise InputError(str(file), f"a model of the letters {known}", letters, "compare models of one alphabet")
    params = HMMParams(*values)
    held = CategoricalHMM(*shape, topology="left-right" if repeats > 1 and told.get("topology") == "left-right" else "free",
                          repeats=repeats)  # fmt: skip
    sums = all(np.allclose(value.sum(axis=-1), 1.0, rtol=0.0, atol=1e-6) and (value >= 0.0).all() for value in values)
    if {name: getattr(params, name).shape for name in PARTS} != held.shapes or not sums:
        raise InputError(str(file), "its parameters are not the probabilities of its model", "", remedy)
    return held, params


def log_odds(
    chain: Chain,
    params: HMMParams,
    other: tuple[CategoricalHMM, HMMParams],
    records: Sequence[Record],
    window: int,
    place: Path,
    folder: Path,
) -> tuple[pd.DataFrame, Table]:
    """Write log-odds by record and by window; the table of records, and that of the page."""
    rows = []
    with zipped_text(folder / TRACK) as text:
        text.write(f'track type=bedGraph name="log-odds, bits in {window} letters" autoScale=on\n')
        for record in records:
            bits, n_scored = odds_of(chain.model, params, *other, record.codes, window)
            edges = np.minimum(np.arange(len(bits) + 1) * window, len(record.codes)).tolist()
            text.writelines(
                f"{record.name}\t{begin}\t{end}\t{value:.6g}\n"
                for begin, end, value in zip(edges[:-1], edges[1:], bits.tolist(), strict=True)
            )
            total = float(bits.sum())
            rows.append({"record": record.name, "letters": n_scored, "log-odds, bits": total,
                         "bits a letter": total / n_scored if n_scored else float("nan")})  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(folder / TABLE, sep="\t", index=False, float_format="%.10g")
    shown = table.head(SHOWN).copy()
    for column in ("log-odds, bits", "bits a letter"):
        shown[column] = ["" if np.isnan(value) else f"{value:.4g}" for value in shown[column]]
    return table, Table("Log-odds against another model", CAPTION.format(other=place), shown)


def odds_of(
    model: CategoricalHMM,
    params: HMMParams,
    other: CategoricalHMM,
    theirs: HMMParams,
    codes: np.ndarray,
    window: int,
) -> tuple[np.ndarray, int]:
    """Log-odds of each window given the letters before it, bits, and the letters that count.

    Of models of two orders, letters count before which as many as the higher order needs were observed, and codes of several letters
    do not.
    """
    most = max(model.order, other.order)
    logs, n_scored = [], 0
    for each, values in ((model, params), (other, theirs)):
        same = model.order == other.order
        hidden = codes if same else without_first(codes, each.n_letters, most - each.order)
        logs.append(window_logliks(each, values, hidden, window))
        steps = each.steps_of(np.array(hidden), np.array([0, len(hidden)]))
        n_scored = int((steps != each.steps.n_whole).sum())
    return (logs[0] - logs[1]) / np.log(2.0), n_scored

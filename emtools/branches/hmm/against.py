"""Which of two fitted models the letters speak for: log-odds of each record, and of each window along it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.branches.hmm.decode import Chain, without_first
from emtools.branches.hmm.types import Options, file_of
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.fasta import ALPHABETS, Record, partial_sets
from emtools.io.intervals import zipped_text
from emtools.models.hmm import PARTS, CategoricalHMM, HMMParams
from emtools.models.hmm_paths import window_logliks
from emtools.report.page import Table

TABLE = "log_odds.tsv"
TRACK = "log_odds.bedgraph.gz"
SHOWN = 200  # records on the page
WINDOW = 1000  # letters of a window of log-odds where none is asked for
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


@dataclass(frozen=True)
class Other:
    """Letters under another model.

    Parameters
    ----------
    file : Path
        Its fit.json.
    order : int
        Letters that its emissions depend on.
    window : int
        Letters of a window.
    logliks : dict of int to list of ndarray, shape (n_windows,)
        By order of a model that it is compared with: `logliks_of` of each record.
    """

    file: Path
    order: int
    window: int
    logliks: dict[int, list[Floats]]


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
        shape = (int(told["n_states"]), len(letters), 0.0, int(told.get("order", 0)), sets)
        repeats = int(told.get("repeats", 1))
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "", remedy) from error
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(str(file), f"not laid out as a fit ({type(error).__name__})", "", remedy) from error
    if known != letters:
        raise InputError(str(file), f"a model of the letters {known}", letters, "compare models of one alphabet")
    params = HMMParams(*values)
    left_right = repeats > 1 and told.get("topology") == "left-right"
    try:
        held = CategoricalHMM(*shape, topology="left-right" if left_right else "free", repeats=repeats)
    except InputError as error:
        raise InputError(str(file), f"{error.where}: {error.got}", error.expected, remedy) from error
    sums = all(np.allclose(value.sum(axis=-1), 1.0, rtol=0.0, atol=1e-6) and (value >= 0.0).all() for value in values)
    if {name: getattr(params, name).shape for name in PARTS} != held.shapes or not sums:
        raise InputError(str(file), "its parameters are not the probabilities of its model", "", remedy)
    return held, params


def logliks_of(
    model: CategoricalHMM, params: HMMParams, order: int, codes: np.ndarray, window: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Log-likelihood of each window given the letters before it, nats, and how many of its letters count, beside a model of `order`.

    Of models of two orders, letters count before which as many as the higher order needs were observed, and codes of several letters
    do not.
    """
    hidden = codes if model.order == order else without_first(codes, model.n_letters, max(0, order - model.order))
    counts = model.steps_of(np.array(hidden), np.array([0, len(hidden)])) != model.steps.n_whole
    n_scored = np.add.reduceat(counts, np.arange(0, len(codes), window), dtype=np.int64)
    return window_logliks(model, params, hidden, window), n_scored


def read_other(options: Options, records: Sequence[Record], orders: Iterable[int]) -> Other | None:
    """The records under the model that was asked for, beside models of some orders: before anything is fitted.

    Raises
    ------
    InputError
        If its file is not one, or it gives a record a probability of zero.
    """
    if options.against is None:
        return None
    model, params = read_fit(options.against, ALPHABETS[options.alphabet], partial_sets(options.alphabet))
    file, window = file_of(options.against), options.odds_window or WINDOW
    found: dict[int, list[Floats]] = {order: [] for order in orders}
    for order, rows in found.items():
        for record in records:
            try:
                rows.append(logliks_of(model, params, order, record.codes, window)[0])
            except InputError as error:
                place = error.where.removeprefix("sequence, ")
                raise InputError(
                    str(file),
                    f"a model that gives record {record.name}, up to {place}, a probability of zero",
                    "",
                    "fit that one again with --pseudocount 1, so that what it has not seen is possible",
                ) from error
    return Other(file, model.order, window, found)


def log_odds(
    chain: Chain, params: HMMParams, other: Other, records: Sequence[Record], folder: Path
) -> tuple[pd.DataFrame, Table]:
    """Write log-odds by record and by window; the table of records, and that of the page."""
    rows, window = [], other.window
    with zipped_text(folder / TRACK) as text:
        text.write(f'track type=bedGraph name="log-odds, bits in {window} letters" autoScale=on\n')
        for record, theirs in zip(records, other.logliks[chain.model.order], strict=True):
            bits, n_scored = odds_of(chain.model, params, other.order, theirs, record.codes, window)
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
    return table, Table("Log-odds against another model", CAPTION.format(other=other.file), shown)


def odds_of(
    model: CategoricalHMM, params: HMMParams, order: int, theirs: Floats, codes: np.ndarray, window: int
) -> tuple[Floats, int]:
    """Log-odds of each window given the letters before it, bits, against `theirs` under a model of `order`; and the letters that count.

    Windows without such a letter have 0.
    """
    ours, n_scored = logliks_of(model, params, order, codes, window)
    return np.where(n_scored > 0, (ours - theirs) / np.log(2.0), 0.0), int(n_scored.sum())

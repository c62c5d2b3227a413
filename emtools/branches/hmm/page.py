"""What the page of ``emtools hmm`` says: tables, the answer in two sentences, and the paragraph for a methods section."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from emtools.branches.hmm.decode import Chain
from emtools.branches.hmm.types import Options
from emtools.branches.options import RunOptions
from emtools.io.fasta import Record
from emtools.io.intervals import FULL_SCORE, Interval
from emtools.models.hmm import HMMParams
from emtools.plots.hmm import Decoded

NEGLIGIBLE = 1e-6  # per cent, shown as 0
FEW_LETTERS = 20  # longest stay, on average, below which states tell words and not regions
FEWEST_LETTERS = 10  # observed letters a free parameter, below which the page warns
REFERENCES = (
    "Baum, Petrie, Soules & Weiss (1970) Ann. Math. Statist. 41, 164–171, doi:10.1214/aoms/1177697196 (Baum–Welch)",
    "Rabiner (1989) Proc. IEEE 77, 257–286, doi:10.1109/5.18626 (scaling, several sequences, Viterbi)",
    "Churchill (1989) Bull. Math. Biol. 51, 79–94, doi:10.1016/S0092-8240(89)80049-7 (hidden Markov models of DNA)",
)
CODES = "Cornish-Bowden (1985) Nucleic Acids Res. 13, 3021–3030, doi:10.1093/nar/13.9.3021 (IUPAC codes)"
BIC = "Schwarz (1978) Ann. Statist. 6, 461–464, doi:10.1214/aos/1176344136 (BIC)"


def notices(chain: Chain, records: Sequence[Record], states: pd.DataFrame, letters: str, options: Options) -> list[str]:
    """What of the answer is empty, or not what it is taken for, and what to do where the number of states can be chosen."""
    remedy = "" if chain.init else "; fewer --states may say as much"
    counts = sum(np.bincount(record.codes, minlength=len(letters) + 1)[: len(letters)] for record in records)
    present = np.flatnonzero(counts)
    notes = []
    if len(present) == 1 and len(states) > 1:
        notes.append(f"every observed letter is {letters[present[0]]}, so that nothing tells states apart")
    for row in states.to_dict("records"):
        if not row["segments"]:
            notes.append(
                f"{row['state']} holds no segment of the most probable path ({row['share of letters, %']:.2g} % of the "
                f"letters by posterior){remedy}"
            )
    longest = states["expected stay, letters"].max()
    free = not chain.init and options.order == (0, 0) and options.topology == "free"
    if free and len(states) > 1 and len(letters) == len("ACGT") and longest < FEW_LETTERS:
        notes.append(
            f"a stay in a state lasts {longest:.2g} letters at most on average: the states follow letters that stand beside one "
            "another, not regions; for regions try --order 2, whose emissions hold what the two letters before tell"
        )
    return notes


def gc_percent(codes: np.ndarray, letters: str) -> float:
    """G + C among observed letters, in percent; NaN where none is observed."""
    counts = np.bincount(codes, minlength=len(letters) + 1)[: len(letters)]
    strong = counts[letters.index("C")] + counts[letters.index("G")]
    return float(100.0 * strong / counts.sum()) if counts.sum() else float("nan")


def compositions(chain: Chain, params: HMMParams, decoded: Sequence[Decoded]) -> np.ndarray:
    """Share of each letter in what each group emits, shape (groups, L): of its states as often as they are visited."""
    weights = chain.membership * sum(item.expected for item in decoded)[:, None]
    own = weights.T @ chain.model.composition(params)
    totals = weights.sum(axis=0)[:, None]
    even = chain.membership.T @ chain.model.composition(params) / chain.membership.sum(axis=0)[:, None]
    return np.where(totals > 0.0, own / np.where(totals > 0.0, totals, 1.0), even)


def stays(chain: Chain, params: HMMParams, decoded: Sequence[Decoded]) -> np.ndarray:
    """Probability of staying in each group, shape (groups,): of its states as often as they are visited."""
    visits = sum(item.expected for item in decoded)[:, None] * chain.membership + 1e-300 * chain.membership
    within = params.transition @ chain.membership
    return np.asarray((visits * within).sum(axis=0) / visits.sum(axis=0))


def describe_states(
    chain: Chain, params: HMMParams, decoded: Sequence[Decoded], segments: Sequence[Interval], letters: str
) -> pd.DataFrame:
    """One row per state or group: what it emits, how much of the sequence it holds, how long it stays."""
    n_total = sum(item.length for item in decoded)
    expected = sum(item.expected for item in decoded) @ chain.membership
    emitted, staying = compositions(chain, params, decoded), stays(chain, params, decoded)
    rows = []
    for k, name in enumerate(chain.groups):
        own = [s for s in segments if s.name == name]
        held = sum(map(len, own))
        leave = 1.0 - staying[k]
        row = {
            "state": name,
            "share of letters, %": 100.0 * float(expected[k]) / n_total,
            "segments": len(own),
            "mean segment, letters": held / len(own) if own else float("nan"),
            "expected stay, letters": chain.model.repeats / leave if leave > 0.0 else float("inf"),
        }
        if len(letters) == len("ACGT"):
            row["GC, %"] = 100.0 * float(emitted[k, letters.index("C")] + emitted[k, letters.index("G")])
        else:
            order = np.argsort(-emitted[k])[:5]
            row["commonest letters"] = ", ".join(f"{letters[i]} {emitted[k, i]:.3f}" for i in order)
        rows.append(row)
    return pd.DataFrame(rows)


def readable(states: pd.DataFrame) -> pd.DataFrame:
    """The table of states with lengths as whole letters."""
    shown = states.copy()
    for column in ("share of letters, %", "GC, %"):
        if column in shown:
            shown[column] = shown[column].where(shown[column] > NEGLIGIBLE, 0.0)
    for column in ("mean segment, letters", "expected stay, letters"):
        shown[column] = [
            "never leaves" if np.isinf(v) else "" if np.isnan(v) else f"{v:,.0f}" if v >= 10 else f"{v:.2g}"
            for v in states[column]
        ]
    return shown


def cpg_ratio(codes: np.ndarray, letters: str) -> float:
    """Observed over expected CpG: their number times the observed letters, by that of C times that of G; NaN without C or G.

    Source: Gardiner-Garden & Frommer (1987), doi:10.1016/0022-2836(87)90689-9.
    """
    c, g = codes == letters.index("C"), codes == letters.index("G")
    expected = float(c.sum()) * float(g.sum())
    return float((c[:-1] & g[1:]).sum() * (codes < len(letters)).sum() / expected) if expected else float("nan")


def segment_table(
    segments: Sequence[Interval], decoded: Sequence[Decoded], letters: str, islands: bool = False
) -> pd.DataFrame:
    """Segments as a person reads them; where they may be CpG islands, with their CpG."""
    codes = {item.name: item.codes for item in decoded}
    table = pd.DataFrame(
        {
            "record": [s.record for s in segments],
            "start": [s.start for s in segments],
            "end": [s.end for s in segments],
            "length": [len(s) for s in segments],
            "state": [s.name for s in segments],
            "posterior": [f"{s.score / FULL_SCORE:.3f}" for s in segments],
        }
    )
    if len(letters) == len("ACGT"):
        table["GC, %"] = [f"{gc_percent(codes[s.record][s.start : s.end], letters):.1f}" for s in segments]
    if islands:
        ratios = (cpg_ratio(codes[s.record][s.start : s.end], letters) for s in segments)
        table["CpG, observed / expected"] = [f"{ratio:.2f}" for ratio in ratios]
    return table


def words(letters: str, length: int) -> list[str]:
    """All words of so many letters, in the order of their codes."""
    return ["".join(word) for word in itertools.product(letters, repeat=length)]


def parameter_table(chain: Chain, params: HMMParams, letters: str) -> pd.DataFrame:
    """All parameters, one row per state; of an emission given letters before, these stand behind ``_after_``."""
    table = {"state": list(chain.states), "start": params.start}
    table |= {f"to_{name}": params.transition[:, j] for j, name in enumerate(chain.states)}
    emission = params.emission.reshape(len(chain.states), -1)
    after = [f"_after_{word}" if word else "" for word in words(letters, chain.model.order)]
    names = [f"emits_{letter}{context}" for context in after for letter in letters]
    return pd.DataFrame(table | {name: emission[:, j] for j, name in enumerate(names)})


def lead(
    chain: Chain,
    records: Sequence[Record],
    n_observed: int,
    states: pd.DataFrame,
    n_segments: int,
) -> str:
    """The answer in two sentences."""
    what = records[0].name if len(records) == 1 else f"{len(records)} records"
    n_total = sum(len(record.codes) for record in records)
    text = (
        f"{chain.model.n_states} hidden state{'s' * (chain.model.n_states != 1)} divide {what} ({n_total:,} letters) into "
        f"{n_segments:,} segment{'s' * (n_segments != 1)}. "
    )
    if "GC, %" in states:
        parts = [
            f"{row['state']} holds {row['share of letters, %']:.0f} % of the letters at {row['GC, %']:.1f} % GC"
            for row in states.to_dict("records")
        ]
        text += "; ".join(parts) + "." + " States are numbered by ascending GC." * chain.sorted
    model = chain.model
    if model.n_free_parameters * FEWEST_LETTERS > n_observed:
        text += (
            f" Caution: {model.n_free_parameters} free parameters were fitted to {n_observed} observed letters; "
            f"use {'' if chain.init else 'fewer states or '}more sequence."
        )
    return text


def facts(
    chain: Chain, records: Sequence[Record], n_observed: int, states: pd.DataFrame, n_segments: int
) -> dict[str, str]:
    """Tiles of the page."""
    n_total = sum(len(record.codes) for record in records)
    n_partly = sum(int((record.codes > chain.model.n_letters).sum()) for record in records)
    tiles = {
        "Records": f"{len(records):,}",
        "Letters": f"{n_total:,}",
        "Not observed (N)": f"{n_total - n_observed - n_partly:,}",
        **({"Partly observed": f"{n_partly:,}"} if n_partly else {}),
        "Segments": f"{n_segments:,}",
        "Free parameters": str(chain.model.n_free_parameters),
    }
    if "GC, %" in states and len(states) <= 6:
        tiles |= {f"GC of {row['state']}": f"{row['GC, %']:.1f} %" for row in states.to_dict("records")}
    return tiles


def state_caption(alphabet: str, chain: Chain) -> str:
    """What the table of states says."""
    repeats = chain.model.repeats
    stay = "1 / (1 − probability of staying)" if repeats == 1 else f"{repeats} / (1 − probability of staying)"
    order = "descending frequency of the first letter" if alphabet == "protein" else "ascending GC"
    return (
        f"States by {order}. "
        * chain.sorted
        + "The share sums posterior probabilities; segments are counted on the most probable path; "
        f"the expected stay is {stay}, which the transition matrix implies. Where it is much "
        "shorter than the mean segment, the path hides short visits that are too uncertain to be called."
    )


def methods(options: RunOptions, alphabet: str, chain: Chain, compared: pd.DataFrame | None) -> str:
    """The paragraph of a methods section."""
    model = chain.model
    prior = (
        f"a Dirichlet prior (pseudo-count {model.pseudocount:g}) on every distribution"
        if model.pseudocount
        else "maximum likelihood"
    )
    given = f" given the {model.order} before it" if model.order > 1 else " given the one before it" * model.order
    emits = (
        chain.what
        or f"one of {model.n_letters} letters of {alphabet if alphabet == 'protein' else alphabet.upper()}{given}"
    )
    starts = (
        "the values of the ready-made model"
        if chain.init
        else f"{options.starts} starts (windows grouped by composition)"
    )
    shape = {
        "free": "",
        "left-right": " A state could only be followed by itself or a later one, and each record began in the first.",
        "banded": " A state could only be followed by itself or a neighbour.",
    }[model.topology]
    if model.repeats > 1:
        shape += (
            f" Each state was {model.repeats} in a row that emit and are left alike, so that a stay has at least as many letters and a "
            "negative binomial length."
        )
    choice = (
        ""
        if compared is None
        else " Numbers of states and orders were compared by the Bayesian information criterion, on the letters before which as many as the "
        "highest order needs were observed."
    )
    context = (
        " The first letters of a record, and those behind a letter that was not wholly observed, were conditioned on."
        if model.order
        else ""
    )
    return (
        f"A hidden Markov model with {model.n_states} states, each emitting {emits}, was fitted to all records together by {prior} with "
        f"the Baum–Welch algorithm (scaled forward–backward) from {starts}, each until less than {options.tol:g} nats were "
        f"estimated to be left.{shape}{choice} N was summed out, and other ambiguity codes counted as the letters that they may be.{context} "
        "Segments are the most probable path (Viterbi); posteriors are the forward–backward probabilities at the same parameters."
    )

"""Figures of a hidden Markov model: states along the sequences, and what the states emit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.plots.style import FAINT, INK, PAGE, Picture, abreast, color_of, save, styled

MOST_BINS = 800
MOST_RECORDS = 3
MOST_BARS = 6
MOST_TICKS, MOST_UPRIGHT = 32, 20
BESIDE, WRITTEN = 4, 16  # states up to which transitions stand beside emissions, and are written out
NUCLEOTIDES = 4
STAYS = "; on the diagonal the number of {unit} that a visit lasts on average"


@dataclass(frozen=True)
class Decoded:
    """A record and its states.

    Parameters
    ----------
    name : str
        Record.
    codes : ndarray of uint8, shape (T,)
        Letters.
    bounds : ndarray, shape (n_runs + 1,)
        First letter of each run of the most probable path, and the end of the record.
    called : ndarray of uint8, shape (n_runs,)
        What each run is called, from 0.
    scores : ndarray, shape (n_runs,)
        Mean probability of that over the run.
    expected : ndarray, shape (K,)
        Letters expected in each state of the model.
    bins : ndarray, shape (n_bins, groups)
        Mean probability of each group in bins of equal width; none where the record is not drawn.
    """

    name: str
    codes: np.ndarray
    bounds: np.ndarray
    called: np.ndarray
    scores: np.ndarray
    expected: np.ndarray
    bins: np.ndarray

    @property
    def length(self) -> int:
        """Letters."""
        return len(self.codes)


def rgb_of(state: int) -> tuple[int, int, int]:
    """Colour of a state as BED writes it, 0 to 255."""
    red, green, blue = bytes.fromhex(color_of(state)[1:])
    return red, green, blue


def round_window(length: int) -> int:
    """A round number of letters, about 1/100 of `length`, at least 10."""
    target = max(10.0, length / 100.0)
    power = 10.0 ** np.floor(np.log10(target))
    return int(power * min((1, 2, 5, 10), key=lambda m: abs(m * power - target)))


def windowed_gc(codes: np.ndarray, letters: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and percent G + C of consecutive windows; the last takes in what is left; NaN where nothing was observed."""
    strong = (codes == letters.index("C")) | (codes == letters.index("G"))
    observed = codes < len(letters)
    edges = np.arange(max(1, len(codes) // width)) * width
    n_strong, n_observed = np.add.reduceat(strong.astype(float), edges), np.add.reduceat(observed.astype(float), edges)
    centres = (edges + np.append(edges[1:], len(codes))) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return centres, 100.0 * n_strong / n_observed


def draw_track(
    decoded: Sequence[Decoded], emitted: np.ndarray, names: Sequence[str], letters: str, folder: Path
) -> Picture:
    """GC in windows, posterior of the states and called segments along the longest records.

    ``emitted``, shape (groups, L), is the share of each letter in what each emits.
    """
    shown = sorted(decoded, key=lambda item: -item.length)[:MOST_RECORDS]
    nucleic = len(letters) == NUCLEOTIDES
    levels = 100.0 * emitted[:, [letters.index(x) for x in "CG"]].sum(axis=1) if nucleic else np.empty(0)
    rows = 3 if nucleic else 2
    heights = ([1.3] if nucleic else []) + [1.2, 0.28]
    with styled():
        figure = plt.figure(figsize=(PAGE, (2.9 if nucleic else 2.1) * len(shown) + 0.3), layout="constrained")
        for part, item in zip(np.atleast_1d(figure.subfigures(len(shown), 1, hspace=0.05)), shown, strict=True):
            axes = part.subplots(rows, 1, sharex=True, height_ratios=heights)
            draw_record(axes, item, len(names), levels, letters)
        words = [f"{name} ({level:.1f} % GC)" for name, level in zip(names, levels, strict=True)] if nucleic else names
        handles = [Patch(color=color_of(k), label=word) for k, word in enumerate(words)]
        figure.legend(handles=handles, loc="outside upper right", ncols=abreast(words, PAGE - 0.3))
        width = round_window(shown[0].length)
        gc_text = (
            f"Top: G + C in windows of {width:,} letters; dotted lines, the GC that each state emits. "
            if nucleic
            else ""
        )
        which = f"The {len(shown)} longest of {len(decoded)} records, " if len(decoded) > len(shown) else ""
        caption = (
            f"{which}{sum(item.length for item in shown):,} letters. {gc_text}{'Middle' if nucleic else 'Top'}: probability of each state given the whole sequence, stacked to 1 (averaged over "
            "bins of the picture's width). Bottom: segments of the most probable path. Where one colour fills the whole "
            "height the state is certain; ragged borders show how exactly a boundary is known."
        )
        return save(figure, folder, Picture("track", "States along the sequence", caption))


def draw_record(axes: Any, item: Decoded, n_states: int, levels: np.ndarray, letters: str) -> None:
    length = item.length
    unit, word = (1e6, "Mb") if length >= 2_000_000 else (1e3, "kb") if length >= 2_000 else (1.0, "letters")
    axes = list(axes)
    if levels.size:
        axis = axes.pop(0)
        width = round_window(length)
        centres, gc = windowed_gc(item.codes, letters, width)
        axis.plot(centres / unit, gc, color=INK, lw=0.9, marker="." if len(centres) < 30 else None)
        for k, level in enumerate(levels):
            axis.axhline(level, color=color_of(k), lw=1.1, ls=":")
        values = np.concatenate([gc[np.isfinite(gc)], levels])
        low, high = max(-2.0, values.min() - 4.0), min(102.0, values.max() + 4.0)
        axis.set_ylim(low, high)
        axis.set_yticks([tick for tick in axis.get_yticks() if max(low, 0.0) <= tick <= min(high, 100.0)])
        axis.set_ylabel(f"GC, %\n({f'{width // 1000:,} kb' if width % 1000 == 0 else f'{width:,}-letter'} windows)")
    axis = axes.pop(0)
    n_bins = len(item.bins)
    edges = np.linspace(0, length, n_bins + 1).astype(int)
    tops = np.cumsum(item.bins, axis=1).clip(0.0, 1.0)
    bottom = np.zeros(n_bins)
    for k in range(n_states):
        axis.stairs(tops[:, k], edges / unit, baseline=bottom, fill=True, color=color_of(k), lw=0)
        bottom = tops[:, k]
    axis.set_ylim(0, 1)
    axis.set_ylabel("posterior")
    axis = axes.pop(0)
    pairs = list(itertools.pairwise(item.bounds.tolist()))
    for k in range(n_states):
        runs = [(b / unit, (e - b) / unit) for (b, e), called in zip(pairs, item.called, strict=True) if called == k]
        axis.broken_barh(runs, (0, 1), color=color_of(k), lw=0)
    axis.set_yticks([])
    axis.set_ylabel("path", rotation=0, ha="right", va="center")
    axis.spines["left"].set_visible(False)
    axis.set_xlim(0, length / unit)
    axis.set_xlabel(f"position in {item.name}, {word}")


def draw_parameters(
    model: CategoricalHMM, params: HMMParams, names: Sequence[str], words: Sequence[str], n: int, folder: Path
) -> Picture:
    """What each state emits, and where it goes next, learnt from `n` letters; ``words`` names the columns of the emissions."""
    k, emission = len(names), params.emission.reshape(len(names), -1)
    few = len(words) <= MOST_BARS
    with styled():
        figure, axes = parameter_panels(k, 1.5 if few else 2.0)
        if few:
            draw_emission_bars(axes[0], emission, names, words)
        else:
            draw_emission_map(axes[0], emission, names, words)
        draw_transitions(axes[1], params, names)
        given = " given the letters before it, as the last of a word," if model.order else ""
        seen = (
            "probability of each letter in each state; the grey line is the even share"
            if few
            else f"log2 of the probability of each letter{given} in each state over its mean over states"
        )
        here, there = ("Left", "Right") if k <= BESIDE else ("Above", "Below")
        caption = (
            f"Learnt from {n:,} letters. {here}: {seen}. {there}: probability of the next state (column) after each state (row), per letter"
            f"{STAYS.format(unit='letters') * (k <= WRITTEN)}. Darker is more probable, on a log scale. States "
            "with nearly equal emissions, or visits of a few letters, are hardly told apart by the data."
        )
        return save(figure, folder, Picture("parameters", "What the states are", caption))


def parameter_panels(k: int, ratio: float) -> tuple[Figure, Any]:
    """Emissions of `k` states, `ratio` times as wide as the transitions beside them; or above these, where they are many."""
    if k <= BESIDE:
        return plt.subplots(
            1, 2, figsize=(PAGE, max(2.6, 0.42 * k + 1.2)), width_ratios=(ratio, 1), layout="constrained"
        )
    return plt.subplots(2, 1, figsize=(PAGE, 0.24 * k + 0.4 * k + 1.8), height_ratios=(2, 3), layout="constrained")


def draw_emission_bars(axis: Any, emission: np.ndarray, names: Sequence[str], letters: Sequence[str]) -> None:
    k = len(names)
    width = 0.8 / k
    places = np.arange(len(letters))
    for state in range(k):
        bars = axis.bar(
            places + (state - (k - 1) / 2) * width,
            emission[state],
            width * 0.92,
            color=color_of(state),
            label=names[state],
        )
        if k <= 2:
            axis.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    axis.axhline(1.0 / len(letters), color=FAINT, lw=0.8, zorder=0)
    axis.set_xticks(places, list(letters))
    axis.set_ylabel("emission probability")
    axis.set_title("Emissions")
    axis.set_ylim(0, emission.max() * 1.18)
    axis.legend(ncols=min(k, 6), loc="upper left", bbox_to_anchor=(0.28, 1.17), handlelength=1.0, columnspacing=1.0)


def draw_emission_map(axis: Any, emission: np.ndarray, names: Sequence[str], words: Sequence[str]) -> None:
    floor = 1e-6
    ratio = np.log2((emission + floor) / (emission.mean(axis=0) + floor)).clip(-4, 4)
    image = axis.imshow(ratio, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
    every = -(-len(words) // MOST_TICKS)
    crowded = len(words) > MOST_UPRIGHT
    turned = {"rotation": 90} if crowded else {}
    axis.set_xticks(range(0, len(words), every), list(words[::every]), **turned)
    axis.set_yticks(range(len(names)), list(names))
    axis.set_title("Emissions")
    axis.figure.colorbar(image, ax=axis, label="log2 ratio to the mean", shrink=0.8, extend="both")


def draw_transitions(axis: Any, params: Any, names: Sequence[str], unit: str = "letter") -> None:
    """Probability of each next state, and how many of a unit a visit lasts."""
    k = len(names)
    shade = np.log10(np.maximum(params.transition, 1e-6))
    axis.imshow(shade, cmap="Greys", vmin=-7, vmax=0, aspect="auto")
    for i in range(k):
        for j in range(k if k <= WRITTEN else 0):
            text = stay_text(params.transition[i, i], unit) if i == j else share_text(params.transition[i, j])
            axis.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shade[i, j] > -3.2 else INK,
            )
    axis.set_xticks(range(k), list(names))
    axis.set_yticks(range(k), list(names))
    for tick, state in zip([*axis.get_xticklabels(), *axis.get_yticklabels()], [*range(k)] * 2, strict=True):
        tick.set_color(color_of(state))
        tick.set_fontweight("bold")
    axis.tick_params(length=0)
    axis.set_xlabel("next state")
    axis.set_ylabel("state")
    axis.set_title(f"Transitions per {unit}")


def stay_text(stay: float, unit: str) -> str:
    """How long a visit lasts."""
    if stay >= 1.0:
        return "never\nleaves"
    length = 1.0 / (1.0 - stay)
    return f"{length:,.0f}\n{unit}s" if length >= 10 else f"{length:.1f}\n{unit}s"


def share_text(share: float) -> str:
    """A small probability."""
    if 0.0 < share < 1e-6:
        return "<1e-6"
    return "0" if share == 0.0 else f"{share:.1e}".replace("e-0", "e-") if share < 1e-2 else f"{share:.3f}"

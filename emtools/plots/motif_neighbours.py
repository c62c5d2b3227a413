"""Figure of how much each letter of a motif depends on the one before it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from emtools.plots.motif import Look
from emtools.plots.style import COLUMN, FAINT, INK, PAGE, PALETTE, Picture, arrange, save, styled

Floats = npt.NDArray[np.float64]

LEVEL = 0.95  # of independent pairs that lie below the line


def chance_bits(n_sites: float, n_letters: int = 4) -> float:
    """Mutual information, bits, that `LEVEL` of pairs of independent letters stay below in the counts of n sites.

    ``2 n I ln 2`` follows a χ² distribution with (n_letters - 1)² degrees of freedom.

    Examples
    --------
    >>> round(chance_bits(100), 3)
    0.122
    """
    return float(chi2.ppf(LEVEL, (n_letters - 1) ** 2) / (2.0 * max(n_sites, 1.0) * np.log(2.0)))


def draw_dependence(
    bits: Floats, errors: Floats | None, gains: Floats, expected: float, n_sites: int, look: Look, folder: Path
) -> Picture:
    """Mutual information of neighbouring positions, and the evidence for it.

    Parameters
    ----------
    bits : ndarray, shape (width - 1,)
        Mutual information of each position and the next one.
    errors : ndarray, shape (width - 1,), or None
        Standard errors.
    gains : ndarray, shape (width - 1,)
        Evidence for dependence, nats.
    expected : float
        Expected sites, of which the bits are.
    n_sites : int
        Sites that the evidence is taken from.
    look : Look
        Unit, and what the motif is called.
    folder : Path
        Where the figure goes.
    """
    places = np.arange(1, len(bits) + 1) + 0.5
    chance = chance_bits(expected, len(look.letters))
    with styled():
        size = (float(np.clip(1.2 + 0.27 * (len(bits) + 1), COLUMN, PAGE)), 3.3)
        figure, (above, below) = plt.subplots(2, 1, figsize=size, sharex=True)
        above.bar(places, bits, width=0.7, color=PALETTE[0])
        if errors is not None:
            above.errorbar(places, bits, yerr=errors, fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.5)
        above.axhline(chance, color=INK, lw=0.8, ls="--")
        above.set_ylim(bottom=0.0)
        above.set_ylabel("shared\ninformation, bits")
        above.set_title(f"{bits.sum():.1f} bits in all")
        below.bar(places, gains, width=0.7, color=[PALETTE[2] if gain > 0.0 else FAINT for gain in gains])
        below.axhline(0.0, color=INK, lw=0.7)
        below.set_ylabel("evidence for\ndependence, nats")
        below.set_title(f"{gains.sum():+.1f} nats in all".replace("-", "\N{MINUS SIGN}"))
        step = 1 if len(bits) < 30 else 5
        below.set_xticks(np.arange(1, len(bits) + 2, step))
        below.set_xlim(0.6, len(bits) + 1.4)
        below.set_xlabel(f"position in the site, {look.unit}")
        arrange(figure)
        bars = " (whiskers: one standard error, from the curvature of the likelihood)" if errors is not None else ""
        caption = (
            f"Each bar stands between two neighbouring positions. Above: how much the letter at a position says of the next one, n = {expected:.0f} expected sites{bars}; of letters that are independent "
            f"95 % would stay below the dashed line in as many sites, before the prior draws them to 0. Below: how much better {n_sites} sites are told where the letter before is looked "
            "at; bars above 0 speak for pairs of positions that depend on each other, bars below 0 for a plain matrix."
        )
        return save(figure, folder, look.picture("dependence", "Neighbouring letters", caption))

"""Do the letters of a motif depend on the letters before them: evidence for it, and the motif in which they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.models.first_order_motif import FirstOrderMotif, FirstOrderParams
from emtools.models.motif import Motif, MotifParams
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.evidence import column_gains

CLEAR = 3.0  # nats: odds of 20, were both equally probable before
STRENGTHS = (160.0, 80.0, 40.0, 20.0, 10.0, 5.0, 2.5)  # of the prior, of which the sites choose one


@dataclass(frozen=True)
class Dependence:
    """What the sites of a motif with independent letters say of a dependence between neighbours.

    Parameters
    ----------
    gains : ndarray, shape (width - 1,)
        Log evidence of letters that depend on the one before over that of independent ones, by position from the second on; nats.
        At the strength with the most of it, over the better telling of independent letters.
    strength : float
        That of `STRENGTHS` with the most evidence over the same estimate without a look at the letter before, in letters.
    n_sites : int
        Sites that it is taken from.
    """

    gains: Floats
    strength: float
    n_sites: int

    @property
    def evidence(self) -> float:
        """Over all positions, nats."""
        return float(self.gains.sum())

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.evidence >= CLEAR:
            return "dependent"
        return "open" if self.evidence > 0.0 else "independent"


def dependence_gains(letters: npt.NDArray[np.uint8], frequencies: Floats, strength: float) -> Floats:
    """Log evidence that letters depend on the one before them over that they do not, by position from the second on; nats.

    All are told one site after another from those above it, with ``p0 = (c[b] + A p[b]) / (n + A)`` as in `evidence.column_gains`:
    ``(c[a, b] + strength p0) / (c[a] + strength)`` after the letter a, the estimate of `FirstOrderMotif`, over two that do not look
    at that letter, p0 and ``(c[b] + strength p0) / (n + strength)``. Each is a distribution over all sets of sites (a prequential
    likelihood), so that none is fitted to what it is judged by. The second is sharper than p0, as the first is where letters are
    independent in many sites; in few sites it is too sharp and the first, which has seen fewer letters, is not, so that both count.

    Parameters
    ----------
    letters : ndarray of uint8, shape (n_sites, width)
        Letters of the sites, all observed.
    frequencies : ndarray, shape (n_letters,)
        Background letter probabilities.
    strength : float
        As in `FirstOrderMotif`.

    Returns
    -------
    ndarray, shape (2, width - 1)
        Over p0, and over the sharper one.

    References
    ----------
    Dawid (1984), J. R. Stat. Soc. A 147, 278-292, doi:10.2307/2981683.

    Examples
    --------
    >>> sites = np.array([[0, 0], [3, 3]] * 20, dtype=np.uint8)
    >>> dependence_gains(sites, np.full(4, 0.25), 2.5).round(1).tolist()
    [[23.8], [22.3]]
    """
    log_plain = column_gains(letters, np.zeros(letters.shape), frequencies)[:, 1:]
    base, n_above = strength * np.exp(log_plain), np.arange(len(letters))[:, None]
    linked, sharper = np.zeros(letters.shape[1] - 1), np.zeros(letters.shape[1] - 1)
    for letter in range(len(frequencies)):
        same = letters[:, 1:] == letter
        counts = np.cumsum(same, axis=0) - same
        sharper += np.where(same, np.log((counts + base) / (n_above + strength)), 0.0).sum(axis=0)
        for before in range(len(frequencies)):
            after = letters[:, :-1] == before
            here = after & same
            above, together = np.cumsum(after, axis=0) - after, np.cumsum(here, axis=0) - here
            linked += np.where(here, np.log((together + base) / (above + strength)), 0.0).sum(axis=0)
    gains: Floats = linked - np.stack([log_plain.sum(axis=0), sharper])
    return gains


def told_by(letters: npt.NDArray[np.uint8], frequencies: Floats) -> Dependence:
    """The evidence in the letters of sites, over the better of both tellings of independent letters, and the strength; as `dependence_gains`."""
    gains = np.array([dependence_gains(letters, frequencies, strength) for strength in STRENGTHS])
    nats = gains.sum(axis=2)
    best = int(nats.min(axis=1).argmax())
    return Dependence(gains[best, nats[best].argmin()], STRENGTHS[int(nats[:, 1].argmax())], len(letters))


def look_at(model: Motif, params: MotifParams, source: SequenceSource) -> Dependence:
    """The evidence in the sites of a motif with independent letters."""
    calls = call_sites(model, params, source)
    at = (source.offsets[calls.sequence] + calls.start)[:, None] + np.arange(model.width)
    letters = source.codes[at]
    turned = calls.strand == 1
    letters[turned] = model.n_letters - 1 - letters[turned, ::-1]
    return told_by(letters, model.background.frequencies)


def linked(model: Motif, params: MotifParams, seen: Dependence) -> tuple[FirstOrderMotif, FirstOrderParams]:
    """The motif whose letters depend on the one before, about one with independent letters, and where it starts: there."""
    tables = np.repeat(params.matrix[:, None], model.n_letters, axis=1)
    of = FirstOrderMotif(model, params.matrix, seen.strength)
    return of, FirstOrderParams(params.occurrence, tables[0, 0], tables[1:])


def climbed(model: Motif, params: MotifParams, source: SequenceSource) -> MotifParams:
    """Both climbs, of independent letters and of dependent ones, as the E-step of `model` reads what they end in."""
    apart = climb(model, source, params).params
    of, start = linked(model, apart, look_at(model, apart, source))
    return climb(of, source, start).params.scored

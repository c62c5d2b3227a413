"""Which sites are among the results: those more probable than not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Sequences, SequenceSource
from emtools.engine.protocol import Floats
from emtools.models.motif import Motif, MotifParams

CALLED = 0.5
GLIMPSE = 0.02  # posterior of a start below which it is no candidate

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calls:
    """Sites among the results, by sequence and along each.

    Parameters
    ----------
    sequence, start, strand : ndarray of int64, shape (n_sites,)
        Number of the sequence; 0-based start in it; 0 forward, 1 reverse.
    posterior : ndarray, shape (n_sites,)
        Probability that a site starts there, on either strand.
    anywhere : ndarray, shape (n_sites,)
        Probability that the sequence has a site at all; under ANR, that a site covers the middle of this one.
    """

    sequence: Ints
    start: Ints
    strand: Ints
    posterior: Floats
    anywhere: Floats


def call_sites(model: Motif, params: MotifParams, source: SequenceSource) -> Calls:
    """Sites whose `anywhere` is at least `CALLED`; no two overlap. Those of a palindrome, alike on both strands, are forward."""
    calls = call_either(model, params, source)
    return replace(calls, strand=np.zeros_like(calls.strand)) if model.palindrome else calls


def call_either(model: Motif, params: MotifParams, source: SequenceSource) -> Calls:
    """The same on whichever strand is the likelier."""
    if model.occurrence == "anr":
        parts = [call_many(model, params, source.chunk(i)) for i in range(source.n_chunks)]
        return Calls(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    sites = model.sites(params, source)
    called = np.flatnonzero((sites.any_site >= CALLED) & (sites.starts >= 0))
    return Calls(called, sites.starts[called], sites.strands[called], sites.posterior[called], sites.any_site[called])


def call_many(model: Motif, params: MotifParams, chunk: Sequences) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """The fields of `Calls` of one chunk under ANR: starts by decreasing posterior that overlap none before."""
    posterior = np.zeros((2, chunk.codes.size))
    model.place_sites(params, chunk, posterior)
    here = posterior.sum(axis=0)
    covered = np.cumsum(here)
    candidates = np.flatnonzero(here > GLIMPSE)
    candidates = candidates[np.argsort(-here[candidates], kind="stable")]
    width, half = model.width, model.width // 2
    taken = np.zeros(chunk.codes.size, dtype=bool)
    kept, anywhere = [], []
    for at in candidates.tolist():
        middle = at + half
        over = float(covered[middle] - (covered[middle - width] if middle >= width else 0.0))
        if over >= CALLED and not taken[at : at + width].any():
            taken[at : at + width] = True
            kept.append(at)
            anywhere.append(min(over, 1.0))
    order = np.argsort(np.array(kept, dtype=np.int64))
    places = np.array(kept, dtype=np.int64)[order]
    sequence = np.searchsorted(chunk.offsets, places, side="right") - 1
    return (
        sequence + chunk.first,
        places - chunk.offsets[sequence],
        np.argmax(posterior[:, places], axis=0).astype(np.int64),
        here[places],
        np.array(anywhere)[order] if kept else np.zeros(0),
    )

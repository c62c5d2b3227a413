"""Matches with known motifs beside those of Tomtom of the MEME suite (tomtom.json)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference.tomtom import motifs

from emtools.motif_finding.library import best_matches


@pytest.mark.slow
def test_matches_are_those_of_tomtom():
    """Compiling memelite takes half a minute. Offsets there are of the found motif in the known one."""
    found, known = motifs()
    names = list(known)
    peer = json.loads(Path(__file__).with_name("tomtom.json").read_text())["matches"]
    ours = best_matches(list(found.values()), list(known.values()), both=True)
    for name, matches in zip(found, ours, strict=True):
        assert [m.p for m in matches] == sorted(m.p for m in matches)
        assert all(m.q >= m.p for m in matches)
        by_name = {names[m.known]: m for m in matches}
        for row in peer[name]:
            match = by_name[row["known"]]
            assert abs(np.log10(max(match.p, 1e-12)) - np.log10(max(row["p"], 1e-12))) < 0.05, (name, row, match)
        first = peer[name][0]
        best = matches[0]
        assert names[best.known] == first["known"]
        assert (best.offset, best.overlap, "+-"[best.turned]) == (-first["offset"], first["overlap"], first["strand"])

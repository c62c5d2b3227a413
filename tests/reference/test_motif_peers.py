"""The motif model beside GLAM2 and Biopython, and on the CRP regions with their known sites."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from Bio.motifs.matrix import PositionWeightMatrix

from emtools.engine.chunks import SequenceSource
from emtools.engine.starts import fit
from emtools.io.fasta import decode, read_fasta
from emtools.io.intervals import read_bed
from emtools.kernels.motif import window_ratios
from emtools.kernels.spans import matches
from emtools.models.motif import Motif, estimate_background

HERE = Path(__file__).parent
RESOURCES = HERE.parents[1] / "resources"


@pytest.fixture(scope="module")
def records():
    return read_fasta(RESOURCES / "crp.fa")


@pytest.fixture(scope="module")
def source(records):
    return SequenceSource([record.codes for record in records])


def found_sites(records, source, occurrence, seed, starts=20):
    model = Motif(22, estimate_background(source, 0), occurrence=occurrence)
    fitted = fit(model, source, starts=starts, seed=seed)
    sites = model.sites(fitted.params, source)
    called = np.flatnonzero(sites.any_site >= 0.5)
    return [(int(i), int(sites.starts[i]), int(sites.strands[i])) for i in called], fitted


def test_oops_places_the_sites_where_glam2_does(records, source):
    """All 18, to the base and strand, up to the strand that the motif as a whole is read on."""
    peer = json.loads((HERE / "glam2.json").read_text())["sites"]
    ours, _ = found_sites(records, source, "oops", seed=0, starts=50)
    assert len(ours) == len(peer) == 18
    turned = set()
    for (i, start, strand), (name, first, last, sign) in zip(ours, peer, strict=True):
        assert (records[i].name, start, start + 22) == (name, first, last)
        turned.add("+-"[strand] == sign)
    assert len(turned) == 1


@pytest.mark.parametrize("occurrence", ["oops", "zoops"])
@pytest.mark.parametrize("seed", range(5))
def test_known_crp_sites_are_found(records, source, occurrence, seed):
    """The issue asks for 14 of the 18 sequences; MEME finds 18 (oops) and 17 (zoops) of the 24 sites."""
    ours, _ = found_sites(records, source, occurrence, seed)
    names = [record.name for record in records]
    known = np.array([(names.index(k.record), k.start, k.end) for k in read_bed(RESOURCES / "crp_sites.bed")])
    predicted = np.array([(i, start, start + 22) for i, start, _ in ours])
    hit = matches(predicted, known)
    assert len({i for (i, _, _), row in zip(ours, hit, strict=True) if row.any()}) >= 17
    assert hit.any(axis=0).sum() >= 17
    assert (~hit.any(axis=1)).sum() <= 1


def test_random_sequences_do_not_hold_the_known_sites(records):
    """Negative control: in shuffled regions the same fit finds sites, but not these."""
    rng = np.random.default_rng(0)
    source = SequenceSource([rng.permutation(record.codes) for record in records])
    ours, _ = found_sites(records, source, "oops", seed=0, starts=5)
    names = [record.name for record in records]
    known = np.array([(names.index(k.record), k.start, k.end) for k in read_bed(RESOURCES / "crp_sites.bed")])
    predicted = np.array([(i, start, start + 22) for i, start, _ in ours])
    assert matches(predicted, known).any(axis=1).sum() <= 10


def test_window_ratios_equal_the_scores_of_biopython(records, source):
    """Log-odds on both strands of every window, in bits there and nats here; its scores are float32."""
    _, fitted = found_sites(records, source, "oops", seed=0, starts=2)
    model, matrix = fitted.model, fitted.params.matrix
    letters = "ACGT"
    pwm = PositionWeightMatrix(letters, {c: matrix[:, i].tolist() for i, c in enumerate(letters)})
    pssm = pwm.log_odds(dict(zip(letters, model.background.frequencies.tolist(), strict=True)))
    chunk = source.chunk(0)
    log_background = model.log_background(chunk)
    for i, record in enumerate(records[:4]):
        low, high = chunk.offsets[i : i + 2]
        ratios, windows = np.empty((2, high - low)), np.empty(high - low)
        n = window_ratios(chunk.codes, low, high, log_background, np.log(matrix), True, ratios, windows)
        assert n == len(record.codes) - 21
        text = decode(record.codes)
        np.testing.assert_allclose(ratios[0, :n] / np.log(2), pssm.calculate(text), rtol=1e-4, atol=1e-4)
        reverse = pssm.reverse_complement().calculate(text)
        np.testing.assert_allclose(ratios[1, :n] / np.log(2), reverse, rtol=1e-4, atol=1e-4)


def test_headers_of_the_regions_give_the_known_sites(records):
    """resources/crp_sites.bed is what the headers of resources/crp.fa say."""
    from_headers = [(r.name, int(s) - 1, int(s) + 21) for r in records for s in sorted(map(int, r.description.split()))]
    assert [(k.record, k.start, k.end) for k in read_bed(RESOURCES / "crp_sites.bed")] == from_headers
    assert len(from_headers) == 24

"""Search for one motif: starts from enriched words, short climbs, sites and columns by evidence, again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from emtools.engine.chunks import SequenceSource
from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.models.motif import DNA, Background, Motif, MotifParams, Occurrence
from emtools.motif_finding.erasing import masked
from emtools.motif_finding.evidence import Choice, Scene
from emtools.motif_finding.places import where_probable
from emtools.motif_finding.seeds import enriched_pairs, enriched_triplets, pair_matrix, triplet_matrix

SEEDS = 60  # pairs of words, or triplets of letters, that are tried
FEW_PASSES, MORE_PASSES = 3, 12
FINALISTS = 6  # at least
FINALIST_LETTERS = (
    200_000  # of all finalists together: where the letters are few, more of them are climbed, but not under ANR
)
ROUNDS = 6
SETTLE_PASSES = 50
NEAR = 5.0  # nats of evidence by which a candidate may be behind
GIVEN_UP = 0.1  # of the evidence, at most, when the occurrence is set free
SAMPLE_LETTERS = 200_000  # that a seed is tried on
FINAL_LETTERS = 1_000_000  # that finalists are compared on


@dataclass(frozen=True)
class Candidate:
    """A motif on the way.

    Parameters
    ----------
    params : MotifParams
        Matrix, and the occurrence that its sites give.
    choice : Choice
        Its sites and columns by evidence.
    """

    params: MotifParams
    choice: Choice


@dataclass(frozen=True)
class Terms:
    """What is searched for.

    Parameters
    ----------
    widths : (int, int)
        Narrowest and widest motif.
    occurrence : {"zoops", "oops", "anr"}
        Sites a sequence.
    both : bool
        Both strands.
    pseudocount : float
        Of the model.
    palindrome : bool
        Motifs that are their own reverse complement; both strands.
    order : {0, 1}
        Letters of a site that the next one depends on in the last climb; in the search none does.
    """

    widths: tuple[int, int]
    occurrence: Occurrence = "zoops"
    both: bool = True
    pseudocount: float = 0.5
    palindrome: bool = False
    order: int = 0

    def model(self, width: int, background: Background, rate: float | None) -> Motif:
        """The model at one width; one site at most where the occurrence is held."""
        return Motif(
            width, background, n_letters=background.n_letters, occurrence=self.occurrence, strands="both" if self.both else "one",
            pseudocount=self.pseudocount, rate=None if self.occurrence == "oops" else rate, palindrome=self.palindrome,
        )  # fmt: skip

    def scene(self, source: SequenceSource, background: Background) -> Scene:
        """What evaluations on `source` need."""
        return Scene.of(source, background, self.both, self.occurrence == "anr", self.palindrome)


def occurrence_of(n_sites: int, scene: Scene, width: int, occurrence: str) -> float:
    """The occurrence that gives `n_sites` sites."""
    if occurrence == "oops":
        return 1.0
    starts = scene.windows(width)
    rooms = starts.sum() * scene.mean_weight(width) if occurrence == "anr" else float(np.count_nonzero(starts))
    return float(np.clip(n_sites / (rooms + 1.0), 1e-9, 1.0 - 0.5 / (rooms + 1.0)))


def fewest_sites(n_sequences: int) -> int:
    """Sites at least: the root of the number of sequences, 2 to 20."""
    return int(np.clip(round(np.sqrt(n_sequences)), 2, 20))


def improve(scene: Scene, params: MotifParams, terms: Terms, passes: int, rounds: int) -> Candidate:
    """Climb for some passes at held occurrence, choose sites and columns, and again until nothing changes."""
    best: Candidate | None = None
    fewest = scene.source.n_units if terms.occurrence == "oops" else fewest_sites(scene.source.n_units)
    for _ in range(rounds):
        width = len(params.matrix)
        model = terms.model(width, scene.background, float(np.clip(params.occurrence, 1e-9, 1.0 - 1e-9)))
        climbed = climb(model, scene.source, params, max_passes=passes, accelerate=False, look=False)
        placed = scene.place(climbed.params.matrix)
        if len(placed.start) == 0:
            break
        choice = scene.choose(placed, width, terms.widths, fewest)
        rate = occurrence_of(choice.n_sites, scene, choice.width, terms.occurrence)
        counts = model.tied(choice.counts) + terms.pseudocount * scene.background.frequencies
        same = (choice.first, choice.width) == (0, width)
        matrix = climbed.params.matrix if same else counts / counts.sum(axis=1, keepdims=True)
        candidate = Candidate(MotifParams(rate, matrix), choice)
        if best is not None and choice.evidence <= best.choice.evidence + 0.01:
            break
        best, params = candidate, candidate.params
    if best is None:
        return Candidate(params, Choice(0, 0, len(params.matrix), -np.inf, np.zeros_like(params.matrix)))
    return best


def settle(
    source: SequenceSource, background: Background, terms: Terms, found: list[Candidate], seed: int = 0
) -> tuple[Motif, MotifParams]:
    """The model of the last climb, occurrence fitted or held, and where it starts: the near-best candidate whose top has the most evidence.

    At the number of sites that the evidence chooses weak sites are left out, and the occurrence is too low. Under ZOOPS fitting it
    finds them again, but may also run away to a motif that is in every sequence a little. The two are told apart by
    the evidence of the sites at the top: it must not fall by more than `GIVEN_UP` of what it was. Under ANR there is no
    ceiling to the number of sites, and the occurrence stays held.
    """
    scene = terms.scene(sample_sequences(source, FINAL_LETTERS, seed, background.n_letters), background)
    best = found[0].choice.evidence
    near = [c for c in found if c.choice.evidence >= best - max(NEAR, GIVEN_UP * abs(best))]
    tops: list[tuple[float, int, Motif, MotifParams]] = []
    for candidate in near:
        held = terms.model(len(candidate.params.matrix), background, candidate.params.occurrence)
        params, evidence = top_of(held, scene, candidate.params)
        model = held
        if terms.occurrence == "zoops":
            free = replace(held, rate=None)
            freed, after = top_of(free, scene, candidate.params)
            if after >= evidence - GIVEN_UP * abs(evidence) - 1.0:
                model, params, evidence = free, freed, after
        tops.append((evidence, -len(tops), model, params))
    _, _, model, params = max(tops, key=lambda top: top[:2])
    return model, params


def top_of(model: Motif, scene: Scene, params: MotifParams) -> tuple[MotifParams, float]:
    """Where `model` climbs to from `params`, and the evidence of the sites there; minus infinity where there is none."""
    climbed = climb(model, scene.source, params, max_passes=SETTLE_PASSES).params
    placed = scene.place(climbed.matrix)
    if not len(placed.start) or not 0.0 < climbed.occurrence <= 1.0:
        return params, -np.inf
    fewest = scene.source.n_units if model.occurrence == "oops" else fewest_sites(scene.source.n_units)
    return climbed, scene.choose(placed, model.width, (model.width, model.width), fewest).evidence


def search(
    source: SequenceSource,
    background: Background,
    terms: Terms,
    seed: int = 0,
    seeds: int = SEEDS,
    ended: Mapping[int, Candidate] | None = None,
) -> list[Candidate]:
    """Candidates, the one with the highest evidence first; `ended` are those of `climb_seeds` that were climbed elsewhere."""
    sample = sample_sequences(source, SAMPLE_LETTERS, seed, background.n_letters)
    larger = sample_sequences(source, FINAL_LETTERS, seed, background.n_letters)
    known = ended or {}
    made = climb_seeds(source, background, terms, seed, [i for i in range(seeds) if i not in known])
    found = {**known, **made}
    first = [found[i] for i in sorted(found)]
    small = terms.scene(sample, background)
    scene = small if larger is sample else terms.scene(larger, background)
    if not first:
        model = terms.model(middle_of(terms), background, None)
        rng = np.random.default_rng(np.random.SeedSequence([seed]))
        start = model.initial_params(masked(source), rng, "words")
        first.append(improve(small, start, terms, FEW_PASSES, 2))
    first.sort(key=lambda c: -c.choice.evidence)
    last = []
    few = 0 if terms.occurrence == "anr" else FINALIST_LETTERS // max(1, larger.codes.size)
    n_last = max(FINALISTS, few)
    for candidate in distinct(first)[:n_last]:
        last.append(improve(scene, candidate.params, terms, MORE_PASSES, ROUNDS))
    last.sort(key=lambda c: -c.choice.evidence)
    return last


def middle_of(terms: Terms) -> int:
    """The width in the middle of the range that is asked for."""
    narrow, wide = terms.widths
    return round(math.sqrt(narrow * wide))


def climb_seeds(
    source: SequenceSource, background: Background, terms: Terms, seed: int, numbers: Sequence[int]
) -> dict[int, Candidate]:
    """Short climbs from some of the enriched matrices, numbered from the most enriched; fewer where there are fewer.

    Each looks at no other one, so that they may be climbed apart.
    """
    if not numbers:
        return {}
    sample = sample_sequences(source, SAMPLE_LETTERS, seed, background.n_letters)
    small = terms.scene(sample, background)
    matrices = enriched_matrices(masked(source), background, terms, middle_of(terms), max(numbers) + 1)
    favoured = where_probable(source, background.n_letters)
    if favoured is not None:
        there = enriched_matrices(masked(favoured), background, terms, middle_of(terms), max(numbers) + 1)
        matrices = [matrix for pair in zip_longest(there, matrices) for matrix in pair if matrix is not None]
    found = {}
    for number in numbers:
        if number < len(matrices):
            matrix = matrices[number]
            width = len(matrix)
            rate = occurrence_of(max(2, round(0.25 * sample.n_units)), small, width, terms.occurrence)
            start = MotifParams(rate, terms.model(width, background, rate).tied(matrix))
            found[number] = improve(small, start, terms, FEW_PASSES, 2)
    return found


def enriched_matrices(
    source: SequenceSource, background: Background, terms: Terms, middle: int, most: int
) -> list[Floats]:
    """Matrices of the pairs of words, of a protein of the triplets of letters, that most exceed the background; as wide as these, and at least `middle` where that may be."""
    narrow, wide = terms.widths

    def width(span: int) -> int:
        return int(np.clip(max(span, middle), narrow, wide))

    if background.n_letters == DNA:
        pairs = enriched_pairs(source, background, terms.both, wide, most)
        return [pair_matrix(word, gap, width(6 + gap), background) for word, gap, _ in pairs]
    triplets = enriched_triplets(source, background, wide, most)
    return [triplet_matrix(letters, places, width(places[-1] + 1), background) for letters, places, _ in triplets]


def distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Without those whose evidence equals that of a better one."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if all(abs(candidate.choice.evidence - k.choice.evidence) > 0.5 for k in kept):
            kept.append(candidate)
    return kept


def sample_sequences(source: SequenceSource, most: int, seed: int, n_letters: int = DNA) -> SequenceSource:
    """The source itself, or random sequences of it with about `most` known letters, in an alphabet of `n_letters`."""
    n_known = int(np.count_nonzero(source.codes < n_letters))
    if n_known <= most:
        return source
    rng = np.random.default_rng(np.random.SeedSequence([seed, source.n_units]))
    n = max(2, round(source.n_units * most / n_known))
    chosen = np.sort(rng.choice(source.n_units, size=min(n, source.n_units), replace=False))
    return source.drawn(chosen)

"""The examinations, one promise of ``emtools.engine.protocol.Model`` each."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np

from emtools.engine.certificate import certify
from emtools.engine.chunks import ChunkStep, in_turn, total_stats, tree_sum, workers
from emtools.engine.protocol import Annealed, Sampled, has_errors
from emtools.engine.starts import fit
from emtools.engine.stopping import FALL, Status
from emtools.testing.subject import (
    EXACT,
    Floats,
    NotExaminedError,
    Subject,
    assignments,
    difference,
    examination,
    fingerprint,
    gradient,
    hessian,
    identity_gap,
    numbers,
)

PASSES = 25  # passes that the climbs take
SEEDS = 3  # starts that climb
DIRECTIONS = 20  # drawn at random, along which Q falls away from its top, beside the axes
SLOPE = 1e-5  # error of a slope, relative to the largest, or in nats per standard error where none is expected
LARGEST = 20  # parameters up to which standard errors are compared
ERRORS = 2e-3  # relative error of a standard error
DRAWS = 100  # of what was not observed, for sampled assignment
UNSEEN = 1.0  # nats that events so rare that no draw shows them may hold
SPREADS = 6.0  # standard errors that the mean of the draws may be off


@examination("frozen", "the decorators @dataclass(frozen=True) of parameters and statistics")
def check_frozen(subject: Subject) -> Iterator[str]:
    """Parameters and statistics are frozen dataclasses."""
    params = subject.start()
    for word, value in (("parameters", params), ("statistics", subject.stats(params))):
        if not (is_dataclass(value) and value.__dataclass_params__.frozen):  # type: ignore[union-attr]
            yield f"the {word} are {type(value).__name__}, which is not a frozen dataclass"


@examination("pure", "an E- or M-step that works in place, or keeps something from one call to the next")
def check_pure(subject: Subject) -> Iterator[str]:
    """Steps return; they change neither their arguments nor what the next call returns."""
    model, source = subject.model, subject.whole
    params, other = subject.inner(), subject.start(1)
    chunk = source.chunk(0)
    for assign in assignments(subject.assigns):
        before = fingerprint((params, chunk))
        stats = model.e_step(params, chunk, assign)
        seen = fingerprint(stats)
        model.e_step(other, chunk, assign)
        if fingerprint(model.e_step(params, chunk, assign)) != seen:
            yield f"the {assign} E-step gives another result when called again"
        after = model.m_step(stats, params)
        next_seen = fingerprint(after)
        model.expected_loglik(stats, other)
        model.log_prior(params)
        model.natural(params)
        model.canonical(params)
        model.degenerate(stats, params)
        model.unpack(model.pack(params))
        model.m_step(model.e_step(other, chunk, assign), other)
        if fingerprint(model.m_step(stats, params)) != next_seen or fingerprint(after) != next_seen:
            yield "the M-step gives another result when called again"
        if fingerprint((params, chunk)) != before:
            yield "a step changed the parameters or the data that it was given"
        if fingerprint(stats) != seen:
            yield "the M-step or Q changed the statistics that it was given"


@examination("identity", "loglik, entropy or a statistic of the E-step, or Q")
def check_identity(subject: Subject) -> Iterator[str]:
    """loglik = Q + entropy at the E-step's own parameters, at every pass."""
    params = subject.start()
    for number in range(PASSES):
        stats = total_stats(subject.model, subject.pieces, params)
        gap = identity_gap(subject.model, stats, params)
        if not gap <= EXACT:
            q = subject.model.expected_loglik(stats, params)
            figures = f"loglik {stats.loglik:.12g}, Q {q:.12g}, entropy {stats.entropy:.12g}"
            yield f"at pass {number}: {figures}; off by {gap:.1e} relative (tolerance {EXACT:.0e})"
        params = subject.model.m_step(stats, params)


@examination("score", "a statistic of the E-step, or Q: one is not of this likelihood")
def check_score(subject: Subject) -> Iterator[str]:
    """The slope of Q at its own point is the slope of the log-likelihood (Fisher's identity)."""
    if not subject.smooth:
        raise NotExaminedError("the likelihood has corners")
    model = subject.model
    packed = model.pack(subject.inner())
    units = subject.units(subject.stats(model.unpack(packed)), packed)
    if not np.isfinite(units).any():
        yield "Q is level or infinite along every packed parameter"
    moves = 0.3 * np.random.default_rng(2).choice([-1.0, 1.0], size=packed.size)
    packed = packed + np.where(np.isfinite(units), moves * units, 0.0)
    stats = subject.stats(model.unpack(packed))
    score = gradient(lambda v: subject.stats(model.unpack(v)).loglik, packed, units)
    from_q = gradient(lambda v: model.expected_loglik(stats, model.unpack(v)), packed, units)
    worst = int(np.argmax(np.abs(from_q - score)))
    scale = max(1e-3, float(np.abs(score).max()))
    if not abs(from_q[worst] - score[worst]) <= SLOPE * scale:
        where = int(np.flatnonzero(np.isfinite(units))[worst])
        rises = f"Q rises by {from_q[worst]:.6g}, loglik by {score[worst]:.6g} nats per standard error"
        yield f"along packed parameter {where} {rises}"


@examination("top", "the M-step, or a log prior or Q that is not the one it uses")
def check_top(subject: Subject) -> Iterator[str]:
    """The M-step is the top of Q plus log prior; a generalised one does not go down."""
    model, rng = subject.model, np.random.default_rng(1)
    for old in (subject.inner(), *(subject.start(seed) for seed in range(SEEDS))):
        stats = subject.stats(old)
        new = model.m_step(stats, old)
        before, top = subject.q_plus_prior(stats, old), subject.q_plus_prior(stats, new)
        if not top >= before - EXACT * (1 + abs(top)):
            yield f"the M-step takes Q plus log prior from {before:.12g} down to {top:.12g}"
        if not subject.maximises or model.degenerate(stats, old) is not None:
            continue
        packed = model.pack(new)
        units = subject.units(stats, packed)
        lengths = np.where(np.isfinite(units), units, 1.0)
        axes = np.eye(packed.size)
        chosen = rng.normal(size=(DIRECTIONS, packed.size))
        for direction in (*axes, *-axes, *(chosen / np.linalg.norm(chosen, axis=1, keepdims=True))):
            for size in (0.3, 1e-2):
                value = subject.q_plus_prior(stats, model.unpack(packed + size * lengths * direction))
                if not value <= top + EXACT * (1 + abs(top)):
                    yield f"{size} standard errors away, Q plus log prior is higher by {value - top:.3g} nats"
        if subject.smooth:
            slopes = gradient(partial(q_at_packed, subject, stats), packed, units)
            if not np.abs(slopes).max(initial=0.0) <= SLOPE:
                yield f"Q plus log prior still rises there, by {np.abs(slopes).max():.3g} nats per standard error"


def q_at_packed(subject: Subject, stats: Any, packed: Floats) -> float:
    """Q plus log prior at packed parameters, in nats."""
    return subject.q_plus_prior(stats, subject.model.unpack(packed))


@examination("ascent", "the M-step, if 'identity' and 'score' hold; else the E-step")
def check_ascent(subject: Subject) -> Iterator[str]:
    """The plain map never lowers the objective."""
    model = subject.model
    for assign in assignments(subject.assigns):
        for seed in range(SEEDS):
            params, before = subject.start(seed), -math.inf
            for number in range(PASSES):
                stats = total_stats(model, subject.pieces, params, assign)
                objective = stats.loglik + model.log_prior(params)
                if not objective >= before - FALL * (1 + abs(objective)):
                    yield f"{assign} pass {number} from start {seed} lowers it from {before:.12g} to {objective:.12g}"
                before = objective
                if model.degenerate(stats, params) is not None:
                    break
                params = model.m_step(stats, params)


@examination("hard", "the hard E-step")
def check_hard(subject: Subject) -> Iterator[str]:
    """Under hard assignment entropy is 0, loglik is Q, and both are at most the soft loglik."""
    if "hard" not in subject.assigns:
        raise NotExaminedError("the model offers no hard assignment")
    params = subject.inner()
    stats = subject.stats(params, "hard")
    if stats.entropy != 0.0:
        yield f"entropy is {stats.entropy:.6g}"
    if not identity_gap(subject.model, stats, params) <= EXACT:
        yield f"loglik {stats.loglik:.12g} is not Q {subject.model.expected_loglik(stats, params):.12g}"
    soft = subject.stats(params).loglik
    if not stats.loglik <= soft + EXACT * (1 + abs(soft)):
        yield f"loglik {stats.loglik:.12g} is above the soft {soft:.12g}"


@examination("annealed", "the annealed E-step: loglik = (1/b) log Σ p^b, entropy = H / b")
def check_annealed(subject: Subject) -> Iterator[str]:
    """Annealed assignment keeps loglik = Q + entropy at every power, and is the soft one at power 1."""
    if "annealed" not in subject.assigns:
        raise NotExaminedError("the model offers no annealed assignment")
    params = subject.inner()
    for power in (0.3, 0.9, 3.0):
        stats = subject.stats(params, Annealed(power))
        gap = identity_gap(subject.model, stats, params)
        if not gap <= EXACT:
            yield f"at power {power}: loglik is off Q + entropy by {gap:.1e} relative (tolerance {EXACT:.0e})"
    told = difference(subject.stats(params), subject.stats(params, Annealed(1.0)))
    if told:
        yield f"at power 1: {told}"


@examination("sampled", "the sampled E-step, or its random numbers")
def check_sampled(subject: Subject) -> Iterator[str]:
    """A draw has loglik = Q and no entropy, depends on the seed alone, and has the soft statistics for its mean."""
    if "sampled" not in subject.assigns:
        raise NotExaminedError("the model offers no sampled assignment")
    params = subject.inner()
    stats = subject.stats(params, Sampled((3,)))
    if stats.entropy != 0.0 or not identity_gap(subject.model, stats, params) <= EXACT:
        q = subject.model.expected_loglik(stats, params)
        yield f"loglik {stats.loglik:.12g}, Q {q:.12g}, entropy {stats.entropy:.6g}"
    if fingerprint(stats) != fingerprint(subject.stats(params, Sampled((3,)))):
        yield "two draws with one seed differ"
    soft = subject.stats(params)
    draws = [subject.stats(params, Sampled((3, i))) for i in range(DRAWS)]
    for other in (params, subject.start(0), subject.start(1)):
        drawn = np.array([subject.model.expected_loglik(draw, other) for draw in draws])
        off = drawn.mean() - subject.model.expected_loglik(soft, other)
        if not abs(off) <= SPREADS * drawn.std() / math.sqrt(DRAWS) + UNSEEN:
            yield f"over {DRAWS} draws the mean of Q is off the soft one by {off:.3g} nats, beyond chance"


@examination("additive", "the addition of statistics, or an E-step that depends on how the data are cut")
def check_additive(subject: Subject) -> Iterator[str]:
    """Statistics add over chunks, in any order."""
    if subject.split is None:
        raise NotExaminedError("the data come in one chunk; give split=")
    params, split = subject.inner(), subject.split
    for assign in assignments(subject.assigns):
        whole = subject.stats(params, assign)
        backwards = [subject.model.e_step(params, split.chunk(i), assign) for i in reversed(range(split.n_chunks))]
        for order, total in (
            ("", total_stats(subject.model, split, params, assign)),
            (" reversed", tree_sum(backwards)),
        ):
            told = difference(whole, total)
            if told:
                yield f"{assign} statistics of one chunk and of {split.n_chunks}{order}: {told}"


@examination("scaled", "Stats.scaled or Stats.__add__ of a field that is no plain sum")
def check_scaled(subject: Subject) -> Iterator[str]:
    """Q is linear in the statistics: they add, those of two E-steps too, and scale."""
    stats = subject.stats(subject.inner())
    doubled, summed = stats.scaled(2.0), stats + stats
    told = difference(summed, doubled)
    if told:
        yield told
    elsewhere = subject.stats(subject.start())
    for params in (subject.start(), subject.start(1)):

        def q(stats: Any, params: Any = params) -> float:
            return float(subject.model.expected_loglik(stats, params))

        expected = q(stats) + q(elsewhere)
        pairs = [
            ("twice the statistics", q(doubled), 2.0 * q(stats)),
            ("a quarter plus three quarters", q(stats.scaled(0.25) + stats.scaled(0.75)), q(stats)),
            ("the sum of statistics of two E-steps at different parameters", q(stats + elsewhere), expected),
        ]
        for words, found, wanted in pairs:
            if math.isfinite(wanted) and not abs(found - wanted) <= EXACT * (1 + abs(wanted)):
                yield f"Q of {words} is {found:.12g}, not {wanted:.12g}"


@examination("weights", "the E-step leaves the weights out of a statistic")
def check_weights(subject: Subject) -> Iterator[str]:
    """A weight of 2 is the unit twice."""
    if subject.weighted is None or subject.replicated is None:
        raise NotExaminedError("no weights are given; give weighted= and replicated=")
    params = subject.inner()
    for assign in assignments(subject.assigns):
        weighted, replicated = (
            total_stats(subject.model, source, params, assign) for source in (subject.weighted, subject.replicated)
        )
        told = difference(weighted, replicated)
        if told:
            yield f"{assign} statistics of weighted and repeated units: {told}"


@examination("pack", "pack or unpack")
def check_pack(subject: Subject) -> Iterator[str]:
    """pack gives one float64 vector, and unpack is its inverse."""
    model, params = subject.model, subject.inner()
    packed = model.pack(params)
    if packed.ndim != 1 or packed.dtype != np.float64:
        yield f"pack gives {packed.dtype} of shape {packed.shape}"
    again = model.pack(model.unpack(packed))
    apart = np.abs(again - packed).max(initial=0.0) / max(1.0, np.abs(packed).max(initial=0.0))
    if not apart <= 1e-9:
        yield f"packing, unpacking and packing again moves a number by {apart:.1e} relative (tolerance 1e-09)"
    for name, value in model.natural(params).items():
        back = np.asarray(model.natural(model.unpack(packed))[name])
        apart = np.abs(back - value).max(initial=0.0) / max(1.0, np.abs(value).max(initial=0.0))
        if not apart <= 1e-10:
            yield f"{name} comes back off by {apart:.1e} relative (tolerance 1e-10)"
    one, two = subject.stats(params).loglik, subject.stats(model.unpack(packed)).loglik
    if not abs(one - two) <= 1e-10 * (1 + abs(one)):
        yield f"loglik is {one:.12g} before and {two:.12g} after"


@examination("canonical", "canonical")
def check_canonical(subject: Subject) -> Iterator[str]:
    """Canonical order is the same distribution, and stays when taken again."""
    model = subject.model
    starts = [subject.start(seed) for seed in range(SEEDS)]
    for params in (subject.inner(), *(model.m_step(subject.stats(start), start) for start in starts)):
        ordered = model.canonical(params)
        one, two = subject.stats(params).loglik, subject.stats(ordered).loglik
        if not abs(one - two) <= EXACT * (1 + abs(one)):
            yield f"loglik is {one:.12g} before and {two:.12g} after"
        if not np.array_equal(model.pack(model.canonical(ordered)), model.pack(ordered)):
            yield "taken twice it gives another order"


@examination("threads", "an E-step with state of its own, or random numbers of its own")
def check_threads(subject: Subject) -> Iterator[str]:
    """Threads do not change a bit."""
    params, source = subject.inner(), subject.pieces
    drawn = [Sampled((7,))] if "sampled" in subject.assigns else []
    for assign in [*assignments(subject.assigns), *drawn]:
        alone = total_stats(subject.model, source, params, assign, in_turn)
        with workers(3) as pool:
            together = total_stats(subject.model, source, params, assign, pool)
        for field, one in numbers(alone).items():
            if one.tobytes() != numbers(together)[field].tobytes():
                yield f"{assign} {field} differs"


@examination(
    "picklable", "model, parameters, statistics or source hold something that cannot travel to another process"
)
def check_picklable(subject: Subject) -> Iterator[str]:
    """Model, parameters, statistics and the E-step of a chunk travel to other processes and back."""
    params = subject.inner()
    step = ChunkStep(subject.model, subject.pieces, params, "soft")
    there = pickle.loads(pickle.dumps(step))
    back = pickle.loads(pickle.dumps(there(0)))
    told = difference(step(0), back, 0.0)
    if told:
        yield f"after the journey {told}"


@examination("seeds", "initial_params")
def check_seeds(subject: Subject) -> Iterator[str]:
    """Starts depend on the seed alone, and have a finite log-likelihood."""
    model = subject.model
    for strategy in model.strategies:
        one, two = (model.initial_params(subject.whole, np.random.default_rng(5), strategy) for _ in range(2))
        if not np.array_equal(model.pack(one), model.pack(two)):
            yield f"two {strategy!r} starts with one seed differ"
        loglik = subject.stats(one).loglik
        if not math.isfinite(loglik):
            yield f"a {strategy!r} start has log-likelihood {loglik}"


@examination("names", "name, hyperparameters or natural")
def check_names(subject: Subject) -> Iterator[str]:
    """Name, hyperparameters and natural parameters go into JSON, and the parameters are finite."""
    model, params = subject.model, subject.inner()
    natural = model.natural(params)
    if not model.name or not natural:
        yield f"name {model.name!r}, {len(natural)} natural parameters"
    for key, value in natural.items():
        if not np.isfinite(np.asarray(value)).all():
            yield f"natural parameter {key!r} is not finite"

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else dict(value)

    json.dumps({**dict(model.hyperparameters), **natural}, default=plain, allow_nan=False)


@examination("fit", "canonical or the M-step: what a fit returns is not where it ended")
def check_fit(subject: Subject) -> Iterator[str]:
    """A fit reports the log-likelihood of the parameters that it returns."""
    for assign in assignments(subject.assigns):
        if not isinstance(assign, str):
            continue
        result = fit(subject.model, subject.whole, starts=2, assign=assign, seed=3, max_passes=400, certificate=False)
        if result.status not in (Status.CONVERGED, Status.BUDGET):
            yield f"the {assign} fit ended {result.status}: {result.verdict}"
        loglik = subject.stats(result.params, assign).loglik
        if not abs(loglik - result.loglik) <= EXACT * (1 + abs(loglik)):
            yield f"the {assign} fit reports {result.loglik:.12g}, its parameters have {loglik:.12g}"
        objective = loglik + subject.model.log_prior(result.params)
        if not abs(objective - result.objective) <= EXACT * (1 + abs(objective)):
            yield f"the {assign} fit reports objective {result.objective:.12g}, its parameters have {objective:.12g}"


@examination("errors", "Q or a statistic: the certificate sees these alone; or a natural parameter")
def check_errors(subject: Subject) -> Iterator[str]:
    """Standard errors and rate of the certificate are those of the numerical Hessian of the objective."""
    if not subject.smooth or not has_errors(subject.model):
        raise NotExaminedError("the model has no standard errors: its objective has corners or is no likelihood")
    model = subject.model
    params = fit(model, subject.whole, starts=3, tol=1e-10, max_passes=5000, seed=1, certificate=False).params
    packed, stats = model.pack(params), subject.stats(params)
    if packed.size > LARGEST:
        raise NotExaminedError(f"{packed.size} parameters: the double differences take too long")
    units = subject.units(stats, packed)
    certificate = certify(model, subject.whole, params)
    if certificate.n_held or not np.isfinite(units).all():
        raise NotExaminedError("the maximum lies at an edge")
    information = -hessian(subject.objective, packed, units)
    complete = -hessian(partial(q_at_packed, subject, stats), packed, units)
    rate = float(np.linalg.eigvals(np.eye(packed.size) - np.linalg.solve(complete, information)).real.max())
    if certificate.kind != "maximum":
        lowest = {"flat": 0.99, "saddle": 1.0}.get(certificate.kind, math.inf)
        if not rate > lowest:
            yield f"the certificate says {certificate.kind!r}, the Hessian gives a rate of {rate:.6g}"
        raise NotExaminedError(f"the fit ends at a {certificate.kind} point of these data")
    covariance = np.linalg.inv(information)
    for name in model.natural(params):
        size = np.size(model.natural(params)[name])

        def entry(vector: Floats, name: str = name, j: int = 0) -> float:
            return float(np.ravel(model.natural(model.unpack(vector))[name])[j])

        rows = np.array([gradient(partial(entry, j=j), packed, units) for j in range(size)])
        expected = np.sqrt(np.maximum(np.einsum("ip,pq,iq->i", rows, covariance, rows), 0.0))
        found = np.ravel(certificate.standard_errors[name])
        if found.size != size:
            yield f"{name} has {size} values and {found.size} standard errors"
        free = np.isfinite(found)
        apart = np.abs(found - expected)[free] / np.maximum(expected[free], 1e-12 * expected.max(initial=1.0))
        if not (apart <= ERRORS).all():
            i = int(np.flatnonzero(free)[np.argmax(apart)])
            yield f"{name}[{i}]: standard error {found[i]:.6g}, by the Hessian {expected[i]:.6g}"
        if not (expected[~free] < 1e-8 * expected.max(initial=1e-30)).all():
            yield f"{name} has no standard error where the Hessian gives one"
    if not abs(certificate.rate - rate) <= ERRORS:
        yield f"rate {certificate.rate:.6g}, by the Hessian {rate:.6g}"
    if not certificate.gap < 1e-6:
        yield f"{certificate.gap:.1e} nats are left after the fit"

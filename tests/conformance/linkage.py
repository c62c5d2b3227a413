"""The genetic-linkage multinomial of Rao (1973), the first example of Dempster, Laird & Rubin (1977, eq. 1.1).

Four cells with probabilities (1/2 + t/4, (1-t)/4, (1-t)/4, t/4); the first is a sum of 1/2 and t/4, seen only together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Stats

COUNTS = (125.0, 18.0, 20.0, 34.0)
# The score is a quadratic in t: (15 + sqrt(53809)) / 394.
MLE = (15.0 + math.sqrt(53809.0)) / 394.0


@dataclass(frozen=True)
class LinkageParams:
    recombination: float


@dataclass(frozen=True)
class LinkageStats(Stats):
    hidden: float
    rest: float
    one_minus: float
    constant: float


@dataclass(frozen=True)
class Linkage:
    name = "linkage"
    strategies = ("random", "worst")
    hyperparameters = MappingProxyType({})

    def initial_params(self, data, rng, strategy):
        return LinkageParams(float(rng.uniform(0.05, 0.95)) if strategy == "random" else 0.01)

    def e_step(self, params, chunk: Rows, assign="soft"):
        t = params.recombination
        y = (chunk.values * chunk.weights[:, None]).sum(axis=0)
        p = (t / 4) / (0.5 + t / 4)
        if assign == "hard":
            p = float(p > 0.5)
        probabilities = np.array([0.5 + t / 4, (1 - t) / 4, (1 - t) / 4, t / 4])
        constant = float(y[0] * (1 - p) * math.log(0.5) + (y[0] * p + y[1:].sum()) * math.log(0.25))
        hidden, rest, one_minus = float(y[0] * p), float(y[3]), float(y[1] + y[2])
        soft = 0 < p < 1
        entropy = float(-y[0] * (p * math.log(p) + (1 - p) * math.log(1 - p))) if soft else 0.0
        loglik = float(y @ np.log(probabilities))
        if assign == "hard":
            loglik = (hidden + rest) * math.log(t) + one_minus * math.log(1 - t) + constant
        return LinkageStats(float(y.sum()), loglik, entropy, hidden, rest, one_minus, constant)

    def m_step(self, stats, params):
        top = stats.hidden + stats.rest
        return LinkageParams(top / (top + stats.one_minus))

    def expected_loglik(self, stats, params):
        t = params.recombination
        return (stats.hidden + stats.rest) * math.log(t) + stats.one_minus * math.log(1 - t) + stats.constant

    def log_prior(self, params):
        return 0.0

    def pack(self, params):
        t = params.recombination
        return np.array([math.log(t / (1 - t))])

    def unpack(self, vector):
        return LinkageParams(float(1 / (1 + math.exp(-vector[0]))))

    def natural(self, params):
        return {"recombination": np.array([params.recombination])}

    def canonical(self, params):
        return params

    def degenerate(self, stats, params):
        return None

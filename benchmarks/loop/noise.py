"""Labels spoiled on purpose, rows repeated, and judges who err together.

Judges: pair i has a hardness h_i, judge k a whim e_ik, both standard normal; judge k errs where
sqrt(r) h_i + sqrt(1 - r) e_ik exceeds the normal quantile of its accuracy. r is the correlation of
the normals that gives the wanted correlation (phi) of the errors, found by the bivariate normal
integral. Errors do not depend on the label that the pair came with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from benchmarks.loop.pools import Pool

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
KINDS = ("symmetric", "length", "annotator", "source")
REPEATED = 0.2
TIMES = 3.0
ANNOTATORS, SOURCES = 8, 5


@dataclass(frozen=True, eq=False)
class Spoiled:
    """A pool as somebody would find it: `label` (pairs) says that the first is better, `annotator`
    and `source` are who and where; `copies` (rows) are the places of `pool` that are repeated."""

    pool: Pool
    label: Bools
    annotator: NDArray[np.int64]
    source: NDArray[np.int64]
    copies: NDArray[np.int64]

    @property
    def wrong(self) -> Bools:
        """Which labels are spoiled."""
        return self.label != self.pool.truth


def spoil(pool: Pool, kind: str, rate: float, generator: np.random.Generator) -> Spoiled:
    """Turn `rate` of the labels, and repeat rows until `REPEATED` of all are copies, spoiled ones
    `TIMES` as often as others.

    `symmetric`: any label. `length`: only where the shorter response is better, those of more
    unequal lengths first (a judge who takes the longer). `annotator`, `source`: all the extra ones
    in the labels of one of `ANNOTATORS`, one of `SOURCES`, who has a share of labels large enough
    that 80 % of them are wrong; the others err 2 % of the time.
    """
    n = len(pool)
    truth = pool.truth
    spoilt = np.zeros(n, dtype=bool)
    count = round(rate * n)
    annotator = generator.integers(0, ANNOTATORS, n)
    source = generator.integers(0, SOURCES, n)
    if kind == "symmetric":
        spoilt[generator.permutation(n)[:count]] = True
    elif kind == "length":
        ratio = np.log((pool.first + 1) / (pool.second + 1)) * np.where(truth, 1, -1)
        shorter = np.flatnonzero(ratio < 0)
        lean = -ratio[shorter] + generator.gumbel(size=len(shorter)) * 0.5
        spoilt[shorter[np.argsort(-lean, kind="stable")[:count]]] = True
    else:
        bad = generator.random(n) < rate / 0.8
        spoilt = np.where(bad, generator.random(n) < 0.8, generator.random(n) < 0.02)
        who = annotator if kind == "annotator" else source
        size = ANNOTATORS if kind == "annotator" else SOURCES
        who[:] = np.where(bad, 0, generator.integers(1, size, n))
    weight = np.where(spoilt, TIMES, 1.0)
    copies = round(n * REPEATED / (1 - REPEATED))
    repeated = generator.choice(n, copies, p=weight / weight.sum())
    return Spoiled(pool, truth ^ spoilt, annotator, source, repeated)


def ask_judges(
    truth: Bools, accuracies: tuple[float, ...], correlation: float, generator: np.random.Generator
) -> Array:
    """What judges of these accuracies say, 1 or 0: (pairs, judges). See the module."""
    bars = norm.ppf(accuracies)
    shared = find_shared(float(np.mean(accuracies)), correlation)
    hard = generator.normal(size=(len(truth), 1))
    whim = generator.normal(size=(len(truth), len(bars)))
    errs = np.sqrt(shared) * hard + np.sqrt(1 - shared) * whim > bars
    said: Array = (truth[:, None] ^ errs).astype(np.float64)
    return said


@lru_cache
def find_shared(accuracy: float, correlation: float) -> float:
    """The correlation of two normals whose excesses over the quantile have the phi wanted."""
    bar, p = -norm.ppf(accuracy), 1 - accuracy

    def miss(shared: float) -> float:
        both = multivariate_normal.cdf([bar, bar], cov=[[1, shared], [shared, 1]])
        return float((both - p * p) / (p * (1 - p)) - correlation)

    return 0.0 if correlation <= 0 else float(brentq(miss, 0.0, 0.9999, xtol=1e-4))

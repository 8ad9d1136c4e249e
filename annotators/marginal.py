"""What each part of a training set is worth: the small probe learns without it, and held-out gold
says what that costs.

The value of a part is the accuracy of the probe taught by everything less that of the probe taught
by everything else. To leave rows out costs something whatever they are, so beside it stands what as
many rows drawn at random are worth (`DRAWS` times, averaged), and the difference of the two: what
the part is worth beyond the number of its rows, or costs.

Intervals are paired and bootstrapped over the prompts of the exam, so they say how sure the exam is
of these models. That other rows of the same part would have taught something else is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.probe import call_winners, fit_probe

Array = NDArray[np.float64]
DRAWS = 4
LEAST_LEFT = 8  # pairs that a probe is still taught by
RESAMPLES = 2000
CHUNK = 100  # resamples at once
Z = 1.96
DIGITS = 9
GAINS = ("value", "random", "beyond")
ONLY_PART = "everything is of it, so that nothing is left to learn from without it"
COLUMNS = {
    "part": pl.String, "n": pl.Int64,
    **{f"{name}{end}": pl.Float64 for name in GAINS for end in ("", "_low", "_high")},
    "reason": pl.String,
}  # fmt: skip


def value_parts(
    apart: Array,
    parts: Sequence[str],
    held: Array,
    clusters: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[pl.DataFrame, Array]:
    """The value of each part.

    Args:
        apart: (pairs, dimensions) the vector of the better response less that of the other.
        parts: (pairs) which part each pair is of.
        held: (items, dimensions) the same of gold that teaches nothing.
        clusters: (items) what items have in common that are drawn together: their prompts.
        seed: of the random rows and of the bootstrap.

    Returns:
        One row a part, the most valuable first: part, n (its pairs), value, random (of as many
        rows at random), beyond (value less random), each with `_low` and `_high` (95 %), in shares
        of the exam; null with a `reason` where too little is left to learn from. And how right the
        probe of everything is on each item: (items), a tie is half right.
    """
    names = np.asarray(parts, dtype=object).astype(str)
    whole = fit_probe(apart, np.ones(len(apart)))
    right = _mark(held, whole)

    def mark_without(out: NDArray[np.bool_]) -> Array:
        return _mark(held, fit_probe(apart[~out], np.ones(int((~out).sum())), start=whole))

    found, rows, gains = [], [], []
    for at, name in enumerate(sorted(set(names.tolist()))):
        mine = names == name
        count, left = int(mine.sum()), int((~mine).sum())
        if left < LEAST_LEFT:
            reason = ONLY_PART if not left else f"only {left} pairs would be left to learn from"
            rows.append({"part": name, "n": count, "reason": reason})
            continue
        drawn = []
        for draw in range(DRAWS):
            out = np.zeros(len(names), dtype=bool)
            generator = np.random.default_rng([seed, at, draw])
            out[generator.choice(len(names), count, replace=False)] = True
            drawn.append(mark_without(out))
        value, random = right - mark_without(mine), right - np.mean(drawn, axis=0)
        gains += [value, random, value - random]
        found.append({"part": name, "n": count})
    means, low, high = bootstrap_means(np.array(gains).reshape(-1, len(held)), clusters, seed)
    for at, row in enumerate(found):
        for place, name in enumerate(GAINS):
            k = len(GAINS) * at + place
            row |= {name: means[k], f"{name}_low": low[k], f"{name}_high": high[k]}
        rows.append(row)
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return frame.sort("value", "part", descending=[True, False], nulls_last=True), right


def bootstrap_means(
    values: Array, clusters: Sequence[str], seed: int = 0
) -> tuple[Array, Array, Array]:
    """The mean of each row of `values` (rows, items) with its 95 % percentile interval over
    resampled clusters, the same draws for all rows: three arrays (rows).

    Where every cluster has the same mean (nothing changed, say) draws know nothing of chance: the
    width of the Wilson interval of a share of 0 stands in, on both sides.
    """
    names, place = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    size = len(names)
    sums = np.stack([np.bincount(place, weights=row, minlength=size) for row in values], axis=1) \
        if len(values) else np.zeros((size, 0))  # fmt: skip
    counts = np.bincount(place, minlength=size).astype(float)
    drawn = np.concatenate(
        [(times @ sums) / (times @ counts)[:, None] for times in draw_clusters(size, seed)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    mean = values.mean(axis=1)
    alike = np.ptp(sums / counts[:, None], axis=0) < 10.0**-DIGITS
    width = Z**2 / (size + Z**2)
    return mean, np.where(alike, mean - width, low), np.where(alike, mean + width, high)


def draw_clusters(size: int, seed: int, resamples: int = RESAMPLES) -> list[Array]:
    """How often each of `size` clusters is drawn in each resample, some resamples at a time:
    (resamples, size) in all."""
    generator = np.random.default_rng(seed)
    share = np.full(size, 1 / size)
    steps = [min(CHUNK, resamples - start) for start in range(0, resamples, CHUNK)]
    return [generator.multinomial(size, share, step).astype(float) for step in steps]


def tell_right(p: ArrayLike, truth: ArrayLike) -> Array:
    """How right probabilities are of what is 1, 0 or 0.5 in truth; a tie, theirs or the truth's, is
    half right."""
    said, target = np.asarray(p, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    right: Array = (1 + np.sign(np.round(said - 0.5, DIGITS)) * np.sign(target - 0.5)) / 2
    return right


def _mark(held: Array, weights: Array) -> Array:
    """Rounded, so that equal texts and machines agree."""
    return call_winners(np.ones(1), np.round(held @ weights, DIGITS)[:, None])

"""What each part of a training set is worth: the small probe learns without it, and held-out gold
says what that costs.

The value of a part is the accuracy of the probe taught by everything less that of the probe taught
by everything else. To leave rows out costs something whatever they are, so beside it stands what as
many rows drawn at random are worth (`DRAWS` times, averaged), and the difference of the two: what
the part is worth beyond the number of its rows, or costs.

Intervals are paired and bootstrapped over the prompts of the exam, so they say how sure the exam is
of these models. How much luck there is in which rows are left out shows between the random draws,
and is in the interval of the difference alone: each resample is held against one draw, not against
their mean. So a part that is like any other is called better or worse than random rows by luck in
about one case of twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.probe import call_winners, fit_probe

Array = NDArray[np.float64]
DRAWS = 12
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
        of the exam; null with a `reason` where too little is left to learn. And how right the
        probe of everything is on each item: (items), a tie is half right.
    """
    names = np.asarray(parts, dtype=object).astype(str)
    whole = fit_probe(apart, np.ones(len(apart)))
    right = _mark(held, whole)

    def mark_without(out: NDArray[np.bool_]) -> Array:
        return _mark(held, fit_probe(apart[~out], np.ones(int((~out).sum())), start=whole))

    rows: list[dict[str, Any]] = []
    gains = []
    for at, name in enumerate(sorted(set(names.tolist()))):
        mine = names == name
        count, left = int(mine.sum()), int((~mine).sum())
        row: dict[str, Any] = {"part": name, "n": count}
        if left < LEAST_LEFT:
            row["reason"] = ONLY_PART if not left else f"only {left} pairs would be left to learn"
            rows.append(row)
            continue
        outs = [mine, *(_draw_rows(len(names), count, [seed, at, draw]) for draw in range(DRAWS))]
        gains.append(right - np.array([mark_without(out) for out in outs]))
        rows.append(row)
    cube = np.array(gains).reshape(-1, DRAWS + 1, len(held))
    value, random = cube[:, 0], cube[:, 1:]
    each = (value, random.mean(axis=1), value[:, None] - random)
    for name, gain in zip(GAINS, each, strict=True):
        spans = zip(*bootstrap_means(gain, clusters, seed), strict=True)
        for row, ends in zip((r for r in rows if "reason" not in r), spans, strict=True):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, ends), strict=True))
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return frame.sort("value", "part", descending=[True, False], nulls_last=True), right


def bootstrap_means(
    values: Array, clusters: Sequence[str], seed: int = 0
) -> tuple[Array, Array, Array]:
    """The mean of each row of `values` with its 95 % percentile interval over resampled clusters,
    the same resamples for all rows: three arrays (rows).

    Where every cluster has the same mean (nothing changed, say) resamples know nothing of chance:
    the width of the Wilson interval of a share of 0 stands in, on both sides.

    Args:
        values: (rows, items), or (rows, draws, items), of which all draws are equally likely.
    """
    cube = values if values.ndim == 3 else values[:, None]
    if not len(cube):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    names, place = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    size, (rows, draws) = len(names), cube.shape[:2]
    flat = cube.reshape(rows * draws, cube.shape[-1])
    sums = np.zeros((size, rows * draws))
    np.add.at(sums, place, flat.T)
    counts = np.bincount(place, minlength=size).astype(float)[:, None]
    drawn = np.concatenate(
        [(times @ sums) / (times @ counts) for times in draw_clusters(size, seed)]
    )
    pooled = drawn.reshape(-1, rows, draws).swapaxes(1, 2).reshape(-1, rows)
    low, high = np.quantile(pooled, [0.025, 0.975], axis=0)
    each = (sums / counts).reshape(size, rows, draws).swapaxes(1, 2).reshape(-1, rows)
    mean = cube.mean(axis=(1, 2))
    alike, width = np.ptp(each, axis=0) < 10.0**-DIGITS, Z**2 / (size + Z**2)
    return mean, np.where(alike, mean - width, low), np.where(alike, mean + width, high)


def draw_clusters(size: int, seed: int, resamples: int = RESAMPLES) -> list[Array]:
    """How often each of `size` clusters is drawn in each resample, some resamples at a time:
    (resamples, size) in all."""
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = generator.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size)
        found.append(counts.reshape(rows, size).astype(float))
    return found


def tell_right(p: ArrayLike, truth: ArrayLike) -> Array:
    """How right probabilities are of what is 1, 0 or 0.5 in truth; a tie, theirs or the truth's, is
    half right."""
    said, target = np.asarray(p, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    right: Array = (1 + np.sign(np.round(said - 0.5, DIGITS)) * np.sign(target - 0.5)) / 2
    return right


def _draw_rows(size: int, count: int, seed: list[int]) -> NDArray[np.bool_]:
    chosen = np.zeros(size, dtype=bool)
    chosen[np.random.default_rng(seed).choice(size, count, replace=False)] = True
    return chosen


def _mark(held: Array, weights: Array) -> Array:
    """Rounded, so that equal texts and machines agree."""
    return call_winners(np.ones(1), np.round(held @ weights, DIGITS)[:, None])

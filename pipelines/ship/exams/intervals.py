"""Intervals by the bootstrap over prompts, for scores that are means of means.

A score here is a weighted mean of ratios: of each component, the sum of what its items earned over
how many there are. Prompts are drawn with replacement, with all of their items, since the items of
one prompt are not independent; a component that a draw leaves empty does not count in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

Array = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95
Z = 1.96
CHUNK = 1 << 20  # draws at once
SAME = 1e-12  # less is rounding


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """What was earned by prompt and component.

    Shapes: `earned` and `counts` (prompts, components), `weights` and `extra` (components). An
    `extra` component adds to the mean of the others, by its weight, and is no part of its divisor.
    """

    earned: Array
    counts: Array
    weights: Array
    extra: NDArray[np.bool_]

    def score(self) -> float:
        """The weighted mean over the components that have items; not a number where none has."""
        sums = (part.sum(axis=0, keepdims=True) for part in (self.earned, self.counts))
        return float(_mean(self, *sums)[0])


def tally(
    prompts: Sequence[str],
    parts: Sequence[str],
    credits: Sequence[float],
    weights: Mapping[str, float],
    extra: Sequence[str] = (),
) -> Tally:
    """The tally of what was earned: for which prompt, in which component, how much.

    Args:
        weights: component -> weight; what was earned in others is left out.
        extra: the components that add to the mean.
    """
    names = {name: place for place, name in enumerate(weights)}
    kept = [place for place, part in enumerate(parts) if part in names]
    _, rows = np.unique([prompts[place] for place in kept], return_inverse=True)
    columns = np.asarray([names[parts[place]] for place in kept], dtype=np.int64)
    shape = (int(rows.max(initial=-1)) + 1, len(names))
    at = rows * shape[1] + columns
    size = shape[0] * shape[1]
    earned = np.asarray([credits[place] for place in kept], dtype=float)
    return Tally(
        np.bincount(at, weights=earned, minlength=size).reshape(shape),
        np.bincount(at, minlength=size).reshape(shape).astype(float),
        np.asarray(list(weights.values()), dtype=float),
        np.asarray([name in extra for name in weights], dtype=bool),
    )


def estimate(table: Tally, seed: int) -> Interval:
    """The score and its interval. Where all prompts earned nothing, or all earned everything, every
    draw is the same and knows nothing of chance: there the Wilson interval stands in."""
    found = _summarise(table.score(), _resample([table], seed)[0])
    if found.low == found.high and found.value in (0.0, 1.0):
        width = Z**2 / (len(table.counts) + Z**2)
        ends = (0.0, width) if found.value == 0 else (1 - width, 1.0)
        return Interval(found.value, *ends)
    return found


def estimate_difference(first: Tally, second: Tally, seed: int) -> Interval:
    """How much higher the first score is than the second, drawn on the same prompts.

    Where they are apart by the same on all prompts, every draw is the same and knows nothing of
    chance. There as many prompts as the Wilson interval allows unseen (of 0 among those seen) may
    be of another kind, and as far as can be to either side.

    Raises:
        ValueError: they are not of the same items.
    """
    _check_paired(first, second)
    drawn = _resample([first, second], seed)
    found = _summarise(first.score() - second.score(), drawn[0] - drawn[1])
    if found.high - found.low < SAME:
        unseen = Z**2 / (len(first.counts) + Z**2)
        ends = ((1 - unseen) * found.value + side for side in (-unseen, unseen))
        return Interval(found.value, *ends)
    return found


def doubt_difference(first: Tally, second: Tally, seed: int) -> float:
    """The share of the same draws in which the first score is not higher than the second, one draw
    more counted against it: a one-sided p-value, in (0, 1].

    Raises:
        ValueError: they are not of the same items.
    """
    _check_paired(first, second)
    drawn = _resample([first, second], seed)
    apart = (drawn[0] - drawn[1])[np.isfinite(drawn).all(axis=0)]
    return float((1 + (apart <= 0).sum()) / (1 + len(apart)))


def doubt_signs(first: Tally, second: Tally) -> float:
    """The exact sign test: how likely chance alone puts the first ahead on as many of the prompts
    that differ as it is, were either as likely to be ahead on each. One-sided, in (0, 1].

    A prompt counts by what it adds to the difference of the scores.

    Raises:
        ValueError: they are not of the same items.
    """
    _check_paired(first, second)
    shares = first.weights / np.maximum(first.counts.sum(axis=0), 1.0)
    apart = (first.earned - second.earned) @ shares
    ahead, behind = int((apart > SAME).sum()), int((apart < -SAME).sum())
    return float(bdtrc(ahead - 1, ahead + behind, 0.5))


def draw_counts(size: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Array]:
    """How often each of `size` prompts is drawn in each resample: (some resamples, size), until
    there are `resamples` of them."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // max(size, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size)
        yield counts.reshape(rows, size).astype(float)


def quantiles(values: Array) -> tuple[float, float]:
    """The ends of the 95 % interval of resampled values; those that are no number are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _check_paired(first: Tally, second: Tally) -> None:
    if first.counts.shape != second.counts.shape or (first.counts != second.counts).any():
        raise ValueError("scores of different items cannot be paired")


def _resample(tables: Sequence[Tally], seed: int) -> Array:
    """(tables, RESAMPLES)."""
    drawn = [
        np.stack([_mean(table, times @ table.earned, times @ table.counts) for table in tables])
        for times in draw_counts(len(tables[0].counts), seed)
    ]
    return np.concatenate(drawn, axis=1)


def _mean(table: Tally, earned: Array, counts: Array) -> Array:
    """The weighted means (n,) of sums over prompts (n, components)."""
    has = counts > 0
    weights = np.where(has, table.weights, 0.0)
    total = weights[:, ~table.extra].sum(1)
    gained = (weights * earned / np.where(has, counts, 1.0)).sum(1)
    return np.where(total > 0, gained / np.where(total > 0, total, 1.0), np.nan)


def _summarise(value: float, drawn: Array) -> Interval:
    return Interval(value, *quantiles(drawn))

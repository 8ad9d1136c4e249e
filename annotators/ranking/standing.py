"""What a ranking is, and the conversation by which one comes about.

A ranking is a generator in rounds: it yields the pairs that it wants compared and is sent back
their margins, so that whoever asks the judge can do so for many groups at once. Items are 0..n-1.

A pair is asked for once: the judge would give the same answer to the same question, so a rematch
takes the margin of the first game.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Pair = tuple[int, int]
Comparison = tuple[int, int, float]
Made = dict[Pair, float]

DECIMALS = 9


@dataclass(frozen=True)
class Standing:
    """The ranking of n items.

    `scores` are in the unit of their topology, higher is better; `ranks` start at 0 for the best,
    and equals share the smallest; `quantiles` run from 1 (best) to 0. All three are NaN for an item
    of which no comparison came back. `comparisons` are those asked for, in order, as (i, j,
    margin); the margin is NaN where the judge failed.
    """

    scores: FloatArray
    ranks: FloatArray
    quantiles: FloatArray
    comparisons: tuple[Comparison, ...]


Rounds = Generator[list[Pair], Sequence[float], Standing]
"""Yields pairs (i, j); is sent a margin for each, from -1 to 1, positive where i is better,
averaged over both orders, 0 for a tie, NaN where the comparison failed; returns the standing. No
pair is yielded twice, and no round is empty."""


def play_rounds(rounds: Rounds, compare: Callable[[list[Pair]], Sequence[float]]) -> Standing:
    """Play a ranking to its end.

    Args:
        compare: margins for a round's pairs, in their order.

    Raises:
        ValueError: margins that are too few, too many or outside [-1, 1].
    """
    try:
        pairs = next(rounds)
        while True:
            pairs = rounds.send(compare(pairs))
    except StopIteration as stop:
        return stop.value


def ask_pairs(
    pairs: Sequence[Pair], made: Made
) -> Generator[list[Pair], Sequence[float], list[float]]:
    """Ask for what `made` lacks, add it there, and return the margins of all `pairs`.

    Raises:
        ValueError: margins that are too few, too many or outside [-1, 1].
    """
    new = [(i, j) for i, j in pairs if (i, j) not in made and (j, i) not in made]
    if new:
        margins = yield new
        if len(margins) != len(new):
            raise ValueError(f"{len(new)} pairs were asked for, {len(margins)} margins came back")
        for pair, margin in zip(new, margins, strict=True):
            if abs(margin) > 1:
                raise ValueError(f"{margin} of the pair {pair} is no margin from -1 to 1")
            made[pair] = float(margin)
    return [made[i, j] if (i, j) in made else -made[j, i] for i, j in pairs]


def list_comparisons(made: Made) -> tuple[Comparison, ...]:
    """The comparisons in the order in which they were asked for."""
    return tuple((i, j, margin) for (i, j), margin in made.items())


def count_valid(n: int, made: Made) -> NDArray[np.int64]:
    """In how many comparisons that came back each item stands."""
    valid = [item for pair, margin in made.items() if not math.isnan(margin) for item in pair]
    return np.bincount(np.array(valid, dtype=np.int64), minlength=n)


def rank_scores(scores: FloatArray) -> FloatArray:
    """Ranks from 0 for the highest score; equals share the smallest, NaN has none."""
    rounded = np.round(scores, DECIMALS)
    known = np.sort(-rounded[~np.isnan(rounded)])
    return np.where(np.isnan(rounded), np.nan, np.searchsorted(known, -rounded))


def compute_quantiles(ranks: FloatArray) -> FloatArray:
    """1 - rank / (N - 1), with N the ranked items: 1 for the best; 1 for a lone one too, where
    ArenaRL's formula divides by 0."""
    return 1 - ranks / max(np.count_nonzero(~np.isnan(ranks)) - 1, 1)


def normalise_rewards(quantiles: FloatArray) -> FloatArray:
    """Rewards (q - mean) / (sd + 1e-6) within a group, sd with N - 1 as in ArenaRL's code
    (arXiv 2601.06487). 0 where there is nobody to compare with; NaN stays NaN."""
    known = quantiles[~np.isnan(quantiles)]
    if len(known) < 2:
        return quantiles * 0
    return (quantiles - known.mean()) / (known.std(ddof=1) + 1e-6)

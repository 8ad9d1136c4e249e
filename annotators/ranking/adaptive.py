"""The default ranking of a group: fit, ask where the order is least certain, fit again.

Our own design, after the finding that margin least squares over 2 (N - 1) comparisons ranks better
than ArenaRL's brackets (arXiv 2601.06487) do with as many. `python -m benchmarks.ranking` measures
it.
"""

from __future__ import annotations

import math
from collections.abc import Set

import numpy as np

from annotators.ranking.fit import Fit, fit_least_squares, measure_differences
from annotators.ranking.standing import (
    FloatArray,
    Made,
    Pair,
    Rounds,
    Standing,
    ask_pairs,
    compute_quantiles,
    count_valid,
    list_comparisons,
    rank_scores,
)


def rank_adaptively(n: int, budget: int | None = None, doubt: float = 0.05) -> Rounds:
    """Rank by least squares on comparisons chosen one round after another.

    It starts with a ring (a path, where n is odd) in two rounds, which joins all. Then each round
    asks for up to n / 4 disjoint pairs that have not been compared, each the one of those left with
    the largest product of the chance that its order is wrong and the variance of its difference:
    near neighbours of which little is known. It ends where `measure_doubt` of the fit is at most
    `doubt`, where the budget is spent, or where every pair has been compared.

    The standing's scores are the fit's, in margins; `fit_least_squares(n, standing.comparisons)`
    gives them with their errors.

    Args:
        budget: comparisons at most. By default two in five of all pairs (rounded up), or 2 (n - 1)
            where that is more: so much for joining a small group.
        doubt: the expected share of pairs in the wrong order at which to stop; 0.05 is an expected
            Kendall tau of 0.9, 0 never stops early.

    Raises:
        ValueError: a negative budget; margins that are too few, too many or outside [-1, 1].
    """
    if budget is None:
        budget = choose_budget(n)
    if budget < 0:
        raise ValueError(f"a budget counts comparisons: {budget}")
    made: Made = {}
    start = [(i, i + 1) for i in range(0, n - 1, 2)], [(i, (i + 1) % n) for i in range(1, n, 2)]
    for pairs in start:
        yield from ask_pairs(pairs[: budget - len(made)], made)
    while True:
        fit = fit_least_squares(n, list_comparisons(made))
        limit = min(max(n // 4, 1), budget - len(made))
        pairs = choose_pairs(fit, made.keys(), limit) if measure_doubt(fit) > doubt else []
        if not pairs:
            break
        yield from ask_pairs(pairs, made)
    scores = np.where((count_valid(n, made) > 0) | (n < 2), fit.scores, np.nan)
    ranks = rank_scores(scores)
    return Standing(scores, ranks, compute_quantiles(ranks), fit.comparisons)


def choose_budget(n: int) -> int:
    """The default number of comparisons for a group of n."""
    pairs = n * (n - 1) // 2
    return min(pairs, max(2 * (n - 1), math.ceil(2 * pairs / 5)))


def measure_doubt(fit: Fit) -> float:
    """The share of pairs that the fit expects to stand in the wrong order: the mean over all pairs
    of Phi(-|s_i - s_j| / se_ij). 0 where there is no pair. It is too low for a poor judge, see
    `python -m benchmarks.ranking`."""
    n = len(fit.scores)
    return float(np.triu(_find_doubts(fit), 1).sum()) / max(math.comb(n, 2), 1)


def choose_pairs(fit: Fit, compared: Set[Pair], limit: int) -> list[Pair]:
    """Up to `limit` disjoint pairs to compare next, the most informative first; see
    `rank_adaptively`. None that is in `compared`, whichever item stands first there."""
    n = len(fit.scores)
    gain = _find_doubts(fit) * measure_differences(fit)[1] ** 2
    for i, j in compared:
        gain[i, j] = gain[j, i] = -1
    gain[np.tril_indices(n)] = -1
    chosen: list[Pair] = []
    while len(chosen) < limit and gain.size and gain.max() >= 0:
        i, j = (int(item) for item in np.unravel_index(gain.argmax(), gain.shape))
        chosen.append((i, j))
        gain[[i, j]] = -1
        gain[:, [i, j]] = -1
    return chosen


def _find_doubts(fit: Fit) -> FloatArray:
    """The chance that i and j stand in the wrong order, (n, n)."""
    from scipy.special import ndtr

    difference, se = measure_differences(fit)
    np.fill_diagonal(se, 1)
    return ndtr(-np.abs(difference) / se)

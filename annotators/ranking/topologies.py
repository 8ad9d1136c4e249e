"""The five tournaments of ArenaRL (arXiv 2601.06487; its public code was read for the rules, and
this is a re-implementation).

They are here for fidelity and comparison: over the same comparisons a graph fit
(`annotators.ranking.fit`) ranks better, and `annotators.ranking.adaptive` is the default.

What differs from the published code: items enter in the order given and not shuffled; a rematch is
not asked again; in a bracket byes go to the top seeds; a second bye in Swiss goes to another item;
one item or none is a ranking too. A failed comparison counts for neither side, and in a bracket the
higher seed goes on, as it does after a tie. An item's seed is its index, or its place in the anchor
round.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import combinations

import numpy as np

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


def rank_by_anchor(n: int) -> Rounds:
    """Compare everyone with item 0: n - 1 comparisons, one round.

    An item's score is its margin over the anchor, the anchor's the mean of its own margins.
    Quantiles are (last rank - rank) / last rank.
    """
    made: Made = {}
    scores = yield from _play_anchor(n, made)
    ranks = rank_scores(scores)
    last = np.nanmax(ranks, initial=0)
    return Standing(scores, ranks, 1 - ranks / max(last, 1), list_comparisons(made))


def rank_round_robin(n: int) -> Rounds:
    """Compare everyone with everyone: n (n - 1) / 2 comparisons, one round.

    The score is the number of wins, a tie being half of one; where comparisons failed, the share
    of wins in the others times n - 1.
    """
    made: Made = {}
    yield from ask_pairs(list(combinations(range(n), 2)), made)
    points, games = _count_points(n, made)
    return _conclude(_divide(points * (n - 1), games), made)


def rank_swiss(n: int) -> Rounds:
    """Compare items of equal points: ceil(log2 n) rounds of floor(n / 2), nobody meets twice.

    Ranked by points (a tie half a point, a bye one), then by Buchholz, the sum of the opponents'
    points. The score is points plus a fraction of Buchholz that is too small to overturn them.
    Equals share the mean quantile of their places.
    """
    made: Made = {}
    rounds = math.ceil(math.log2(n)) if n > 1 else 0
    byes = np.zeros(n)
    points = np.zeros(n)
    for _ in range(rounds):
        pairs, free = _pair_swiss(points, made, byes)
        if free is not None:
            byes[free] += 1
        yield from ask_pairs(pairs, made)
        won, games = _count_points(n, made)
        points = np.nan_to_num(_divide((won + byes) * rounds, games + byes), nan=rounds / 2)
    opponents = np.zeros((n, n))
    for i, j in made:
        opponents[i, j] = opponents[j, i] = 1
    buchholz = opponents @ points
    scores = points + buchholz / (2 * max(rounds, 1) * (rounds**2 + 1))
    standing = _conclude(scores, made)
    worse = (standing.ranks[:, None] < standing.ranks[None, :]).sum(axis=1)
    equal = (standing.ranks[:, None] == standing.ranks[None, :]).sum(axis=1)
    ranked = np.count_nonzero(~np.isnan(standing.ranks))
    shared = (worse + (equal - 1) / 2) / max(ranked - 1, 1) if ranked > 1 else 1.0
    quantiles = np.where(np.isnan(standing.ranks), np.nan, shared)
    return Standing(standing.scores, standing.ranks, quantiles, standing.comparisons)


def rank_double_elimination(n: int) -> Rounds:
    """Two lives: 2 n - 2 games in a winners' and a losers' bracket and a grand final; rematches,
    which are not asked again, leave at least n - 1 comparisons.

    Those who leave in one round are ordered by their mean margin. The score is the round of
    leaving plus a quarter of that mean.
    """
    made: Made = {}
    margins: list[list[float]] = [[] for _ in range(n)]
    winners, losers, dropped = list(range(n)), list[int](), list[int]()
    left: list[list[int]] = []
    while len(winners) > 1 or len(losers) + len(dropped) > 1:
        losers += dropped
        upper, lower = _pair_neighbours(winners), _pair_neighbours(losers)
        found = yield from _play_games([*upper, *lower], made, margins)
        dropped = [loser for _, loser in found[: len(upper)]]
        winners = [winner for winner, _ in found[: len(upper)]] + winners[: len(winners) % 2]
        losers = [winner for winner, _ in found[len(upper) :]] + losers[: len(losers) % 2]
        left.append([loser for _, loser in found[len(upper) :]])
    finalists = winners + losers + dropped
    final = yield from _play_games(_pair_neighbours(finalists), made, margins)
    left += [[item] for winner, loser in final for item in (loser, winner)]
    return _conclude(_score_stages(left, margins), made)


def rank_seeded_elimination(n: int) -> Rounds:
    """An anchor round for the seeds, then a knock-out with the first against the last: 2 (n - 1)
    comparisons, less one for each game of item 0 in the bracket, which the anchor round had.

    Scored like double elimination; the seeding margin is one of the margins.
    """
    made: Made = {}
    seeding = yield from _play_anchor(n, made)
    margins = [[] if math.isnan(score) else [float(score)] for score in seeding]
    order = np.argsort(-np.nan_to_num(seeding, nan=-np.inf), kind="stable")
    place = {int(item): seed for seed, item in enumerate(order)}
    slots = [int(order[seed]) if seed < n else None for seed in _mirror_seeds(n)]
    left: list[list[int]] = []
    while len(slots) > 1:
        meetings = [sorted((item for item in two if item is not None), key=place.__getitem__)
                    for two in zip(slots[::2], slots[1::2], strict=True)]  # fmt: skip
        games = [(two[0], two[1]) for two in meetings if len(two) == 2]
        found = yield from _play_games(games, made, margins)
        winner_of = dict(zip(games, (winner for winner, _ in found), strict=True))
        slots = [winner_of[two[0], two[1]] if len(two) == 2 else two[0] for two in meetings]
        left.append([loser for _, loser in found])
    left.append([item for item in slots if item is not None])
    return _conclude(_score_stages(left, margins), made)


TOPOLOGIES = {
    "anchor": rank_by_anchor,
    "round_robin": rank_round_robin,
    "swiss": rank_swiss,
    "double": rank_double_elimination,
    "seeded": rank_seeded_elimination,
}


def _play_anchor(n: int, made: Made) -> Generator[list[Pair], Sequence[float], FloatArray]:
    found = yield from ask_pairs([(0, item) for item in range(1, n)], made)
    margins = np.array(found, dtype=float)
    if n < 2:
        return np.zeros(n)
    known = margins[~np.isnan(margins)]
    return np.concatenate([[known.mean() if len(known) else np.nan], -margins])


def _play_games(
    games: Sequence[Pair], made: Made, margins: list[list[float]]
) -> Generator[list[Pair], Sequence[float], list[Pair]]:
    """Each game's (winner, loser): the first of a pair where nobody won. Notes the margins."""
    found = yield from ask_pairs(games, made)
    results = []
    for (i, j), margin in zip(games, found, strict=True):
        if not math.isnan(margin):
            margins[i].append(margin)
            margins[j].append(-margin)
        results.append((j, i) if margin < 0 else (i, j))
    return results


def _pair_neighbours(items: Sequence[int]) -> list[Pair]:
    """The first two, the next two, and so on; the first of an odd number has a bye before that."""
    start = len(items) % 2
    return list(zip(items[start::2], items[start + 1 :: 2], strict=True))


def _pair_swiss(points: FloatArray, made: Made, byes: FloatArray) -> tuple[list[Pair], int | None]:
    """Pair by points, high with high, without a rematch, and name who has the bye.

    The bye is an opponent of no points that nobody has twice. A pairing exists: before the last of
    ceil(log2 n) rounds each has met less than half of the others (Dirac's theorem).
    """
    n = len(points)
    order = [int(item) for item in np.argsort(-points, kind="stable")]
    met = {frozenset(pair) for pair in made} | {
        frozenset((int(i), n)) for i in np.flatnonzero(byes)
    }
    pairs = _match_unmet([*order, n] if n % 2 else order, met)
    games = [pair for pair in pairs if pair[1] != n]
    return games, next((i for i, j in pairs if j == n), None)


def _match_unmet(order: list[int], met: set[frozenset[int]]) -> list[Pair]:
    """The first perfect matching, in this order, of items that have not met; empty where none."""
    if not order:
        return []
    first, rest = order[0], order[1:]
    for place, other in enumerate(rest):
        if frozenset((first, other)) in met:
            continue
        remaining = rest[:place] + rest[place + 1 :]
        found = _match_unmet(remaining, met)
        if found or not remaining:
            return [(first, other), *found]
    return []


def _mirror_seeds(n: int) -> list[int]:
    """Seeds in bracket order, up to the next power of two: 0 and 1 can meet in the final only."""
    seeds = [0]
    while len(seeds) < n:
        size = 2 * len(seeds)
        seeds = [seed for first in seeds for seed in (first, size - 1 - first)]
    return seeds


def _count_points(n: int, made: Made) -> tuple[FloatArray, FloatArray]:
    """Points (a tie half of one) and comparisons that came back, per item."""
    points = np.zeros(n)
    for (i, j), margin in made.items():
        if not math.isnan(margin):
            points[i] += (1 + np.sign(margin)) / 2
            points[j] += (1 - np.sign(margin)) / 2
    return points, count_valid(n, made).astype(float)


def _score_stages(left: Sequence[Sequence[int]], margins: Sequence[Sequence[float]]) -> FloatArray:
    scores = np.zeros(len(margins))
    for stage, items in enumerate(left):
        for item in items:
            mean = sum(margins[item]) / len(margins[item]) if margins[item] else 0.0
            scores[item] = stage + mean / 4
    return scores


def _divide(total: FloatArray, count: FloatArray) -> FloatArray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _conclude(scores: FloatArray, made: Made) -> Standing:
    """The standing of these scores; nobody is ranked of whom no comparison came back, but one
    alone is the first."""
    n = len(scores)
    scores = np.where((count_valid(n, made) > 0) | (n < 2), np.nan_to_num(scores), np.nan)
    ranks = rank_scores(scores)
    return Standing(scores, ranks, compute_quantiles(ranks), list_comparisons(made))

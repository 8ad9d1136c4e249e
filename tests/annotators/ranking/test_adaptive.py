"""The default ranking: what it asks, when it stops, and what it saves against a round robin."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.ranking.adaptive import (
    choose_budget,
    choose_pairs,
    measure_doubt,
    rank_adaptively,
)
from annotators.ranking.cycles import label_components
from annotators.ranking.fit import fit_least_squares
from annotators.ranking.standing import Pair, play_rounds
from benchmarks.ranking import STRONG, compare_with_round_robin


def record_rounds(
    n: int, table: np.ndarray, **options: float
) -> tuple[list[list[Pair]], np.ndarray]:
    rounds: list[list[Pair]] = []

    def judge(pairs: list[Pair]) -> list[float]:
        rounds.append(pairs)
        return [table[i, j] if i < j else -table[j, i] for i, j in pairs]

    return rounds, play_rounds(rank_adaptively(n, **options), judge)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(0, 40), st.integers(0, 9))
def test_rounds_are_disjoint_and_nothing_is_asked_twice(n: int, budget: int, seed: int) -> None:
    table = np.random.default_rng(seed).choice([-1, -0.4, 0.0, 0.3, 1, math.nan], (n, n))
    rounds, standing = record_rounds(n, table, budget=budget, doubt=0)
    asked = [pair for pairs in rounds for pair in pairs]
    for pairs in rounds:
        items = [item for pair in pairs for item in pair]
        assert pairs and len(set(items)) == len(items)
    assert len({frozenset(pair) for pair in asked}) == len(asked)
    assert len(asked) == len(standing.comparisons) == min(budget, n * (n - 1) // 2)
    if budget >= n:
        start = {(min(pair), max(pair)): 1.0 for pairs in rounds[:2] for pair in pairs}
        assert len(set(label_components(n, start, strong=False))) <= 1


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_tiny_groups(n: int) -> None:
    truth = np.array([0.0, 0.5, 1.0])[:n]
    _, standing = record_rounds(n, truth[:, None] - truth[None, :])
    assert standing.ranks.tolist() == list(reversed(range(n)))
    assert len(standing.comparisons) <= n * (n - 1) // 2


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(9)))
def test_an_honest_judge_is_followed_whoever_comes_first(order: list[int]) -> None:
    truth = np.array(order) / 9
    _, standing = record_rounds(9, truth[:, None] - truth[None, :])
    assert standing.ranks.tolist() == [8 - place for place in order]
    fit = fit_least_squares(9, standing.comparisons)
    np.testing.assert_array_equal(fit.scores, standing.scores)


def test_the_default_budget_is_two_fifths_but_joins_a_small_group() -> None:
    assert [choose_budget(n) for n in (0, 1, 2, 4, 8, 16, 32)] == [0, 0, 1, 6, 14, 48, 199]
    table = np.zeros((16, 16))
    assert len(record_rounds(16, table)[1].comparisons) == 48


def test_it_stops_where_the_order_is_certain() -> None:
    clear = np.sign(np.subtract.outer(np.arange(6), np.arange(6))).astype(float) * 0.9
    far = np.where(np.arange(6) < 3, 0.0, 1.0)
    fewer = len(record_rounds(6, clear, budget=15, doubt=0.2)[1].comparisons)
    most = len(record_rounds(6, clear, budget=15, doubt=0.0)[1].comparisons)
    assert fewer < most == 15
    _, standing = record_rounds(6, far[:, None] - far[None, :], budget=15, doubt=0.2)
    assert measure_doubt(fit_least_squares(6, standing.comparisons)) <= 0.2


def test_a_failed_comparison_is_paid_for_and_not_asked_again() -> None:
    rounds, standing = record_rounds(6, np.full((6, 6), math.nan), budget=15, doubt=0)
    assert len(standing.comparisons) == sum(map(len, rounds)) == 15
    assert np.isnan(standing.ranks).all() and np.isnan(standing.quantiles).all()
    table = np.zeros((4, 4))
    table[0] = math.nan
    _, standing = record_rounds(4, table)
    np.testing.assert_array_equal(standing.ranks, [math.nan, 0, 0, 0])


def test_it_asks_about_near_neighbours_first() -> None:
    star = [(0, 1, 0.9), (0, 2, -0.9), (0, 3, 0.8), (0, 4, -0.8)]
    compared = {pair[:2] for pair in star}
    # Those who met item 0 are equally little known: the nearest of them are the least certain.
    assert choose_pairs(fit_least_squares(5, star), compared, 2) == [(1, 3), (2, 4)]
    # Where all are equal, those whom the most comparisons lie between.
    fit = fit_least_squares(4, [(0, 1, 0.0), (1, 2, 0.0), (2, 3, 0.0)])
    assert choose_pairs(fit, {(0, 1), (1, 2), (2, 3)}, 2) == [(0, 3)]
    assert choose_pairs(fit, set(combinations(range(4), 2)), 5) == []
    assert choose_pairs(fit, {(j, i) for i, j in combinations(range(4), 2)}, 5) == []


def test_doubt_is_half_where_nothing_is_known_and_none_where_there_is_no_pair() -> None:
    assert measure_doubt(fit_least_squares(5, [])) == pytest.approx(0.5)
    assert measure_doubt(fit_least_squares(1, [])) == 0
    assert measure_doubt(fit_least_squares(2, [(0, 1, 1.0)] * 50)) < 0.001


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        next(rank_adaptively(4, budget=-1))


def test_forty_percent_of_the_comparisons_rank_as_well_as_all() -> None:
    """The claim of `python -m benchmarks.ranking`, on fewer groups."""
    found = compare_with_round_robin(16, STRONG, groups=120, seed=11)
    assert found.comparisons <= 0.4 * 120
    assert found.spearman > found.round_robin - 0.02

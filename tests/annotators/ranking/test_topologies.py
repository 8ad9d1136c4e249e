"""Tournaments: what they cost, what an honest judge gets of them, what a failure does to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.ranking.standing import (
    Pair,
    Standing,
    compute_quantiles,
    normalise_rewards,
    play_rounds,
    rank_scores,
)
from annotators.ranking.topologies import (
    TOPOLOGIES,
    rank_by_anchor,
    rank_double_elimination,
    rank_round_robin,
    rank_seeded_elimination,
    rank_swiss,
)

Judge = Callable[[list[Pair]], list[float]]
SLOW_MACHINES = settings(deadline=None)
NAN = math.nan
NAMES = sorted(TOPOLOGIES)


def judge_by(truth: Sequence[float]) -> Judge:
    """A judge without noise."""
    return lambda pairs: [math.tanh(truth[i] - truth[j]) for i, j in pairs]


def judge_by_table(table: np.ndarray) -> Judge:
    """A judge who says what the upper triangle says."""
    return lambda pairs: [table[i, j] if i < j else -table[j, i] for i, j in pairs]


tables = st.integers(2, 9).flatmap(
    lambda n: st.lists(
        st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, NAN]), min_size=n * n, max_size=n * n
    ).map(lambda margins: np.array(margins).reshape(n, n))
)


@pytest.mark.parametrize("n", range(34))
def test_each_costs_what_the_paper_says(n: int) -> None:
    rng = np.random.default_rng(n)
    table = rng.uniform(-1, 1, (n, n))
    made = {name: play_rounds(TOPOLOGIES[name](n), judge_by_table(table)) for name in NAMES}
    count = {name: len(standing.comparisons) for name, standing in made.items()}
    least = max(n - 1, 0)
    assert count["anchor"] == least
    assert count["round_robin"] == n * (n - 1) // 2
    assert count["swiss"] == (math.ceil(math.log2(n)) * (n // 2) if n > 1 else 0)
    assert least <= count["double"] <= 2 * least
    assert least <= count["seeded"] <= 2 * least
    for standing in made.values():
        pairs = [frozenset((i, j)) for i, j, _ in standing.comparisons]
        assert len(set(pairs)) == len(pairs), "a pair was paid for twice"


def test_the_knock_out_spares_the_games_that_the_anchor_round_had() -> None:
    # Seeds 0 4 3 2 1: 4-3-2-1 play for one place in the final, then 0 meets 4, which it met before.
    best_first = play_rounds(rank_seeded_elimination(5), judge_by([5, 1, 2, 3, 4]))
    assert len(best_first.comparisons) == 2 * 4 - 2
    last_first = play_rounds(rank_seeded_elimination(4), judge_by([-9, 1, 2, 3]))
    assert len(last_first.comparisons) == 2 * 3 - 1


def test_double_elimination_plays_two_games_for_every_life_but_the_last() -> None:
    # 0 beats 1, 2 beats 3; 0 beats 2; 1 beats 3, then 2 beats 1; 0 and 2 have met already.
    standing = play_rounds(rank_double_elimination(4), judge_by([9, 5, 7, 1]))
    pairs = [(i, j) for i, j, _ in standing.comparisons]
    assert pairs == [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)]
    assert standing.ranks.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_groups_are_ranked(name: str, n: int) -> None:
    standing = play_rounds(TOPOLOGIES[name](n), judge_by([0.0, 1.0]))
    assert standing.ranks.tolist() == [[], [0], [1, 0]][n]
    assert standing.quantiles.tolist() == [[], [1], [0, 1]][n]
    assert len(standing.comparisons) == max(n - 1, 0)
    assert np.isfinite(normalise_rewards(standing.quantiles)).all()


@SLOW_MACHINES
@given(st.permutations(range(7)), st.sampled_from(NAMES))
def test_an_honest_judge_puts_the_best_first(truth: list[int], name: str) -> None:
    standing = play_rounds(TOPOLOGIES[name](7), judge_by([float(x) for x in truth]))
    best = truth.index(6)
    # The anchor's own mean is no margin over itself: it may hide the best behind item 0.
    assert standing.ranks[best] == 0 or (name == "anchor" and standing.ranks[0] == 0)
    if name == "round_robin":
        assert standing.ranks.tolist() == [6 - x for x in truth]


@SLOW_MACHINES
@given(tables, st.sampled_from(NAMES))
def test_failures_leave_a_standing_of_those_who_were_compared(table: np.ndarray, name: str) -> None:
    n = len(table)
    standing = play_rounds(TOPOLOGIES[name](n), judge_by_table(table))
    compared = {
        item for i, j, margin in standing.comparisons if not math.isnan(margin) for item in (i, j)
    }
    for values in (standing.scores, standing.ranks, standing.quantiles):
        assert set(np.flatnonzero(~np.isnan(values))) == compared
    if compared:
        assert np.nanmin(standing.ranks) == 0
        assert 0 <= np.nanmin(standing.quantiles) <= np.nanmax(standing.quantiles) <= 1


@SLOW_MACHINES
@given(tables)
def test_round_robin_and_anchor_do_not_care_who_is_called_what(table: np.ndarray) -> None:
    n = len(table)
    full = np.triu(table, 1) - np.triu(table, 1).T
    renamed = [0, *reversed(range(1, n))]
    for topology in (rank_round_robin, rank_by_anchor):
        plain = play_rounds(topology(n), judge_by_table(full))
        other = play_rounds(topology(n), judge_by_table(full[np.ix_(renamed, renamed)]))
        np.testing.assert_allclose(other.scores, plain.scores[renamed])
        np.testing.assert_array_equal(other.ranks, plain.ranks[renamed])


@SLOW_MACHINES
@given(tables)
def test_round_robin_upside_down_is_upside_down(table: np.ndarray) -> None:
    n = len(table)
    plain = play_rounds(rank_round_robin(n), judge_by_table(table))
    turned = play_rounds(rank_round_robin(n), judge_by_table(-table))
    np.testing.assert_allclose(plain.scores + turned.scores, np.where(
        np.isnan(plain.scores), np.nan, n - 1.0))  # fmt: skip


def test_anchor_scores_are_margins_over_item_0_and_its_own_mean() -> None:
    standing = play_rounds(rank_by_anchor(4), lambda pairs: [-0.5, 0.3, 0.5])
    np.testing.assert_allclose(standing.scores, [0.1, 0.5, -0.3, -0.5])
    assert standing.ranks.tolist() == [1, 0, 2, 3]
    tied = play_rounds(rank_by_anchor(3), lambda pairs: [0.2, 0.2])
    assert tied.ranks.tolist() == [0, 1, 1]
    assert tied.quantiles.tolist() == [1, 0, 0], "quantiles of the anchor count to the last rank"


def test_swiss_breaks_equal_points_by_the_opponents_and_shares_what_is_left() -> None:
    # 0 beats 1, 2 beats 3; 0 beats 2; 1 beats 3: points 2 1 1 0, opponents' points 2 2 2 2.
    standing = play_rounds(rank_swiss(4), judge_by([9, 5, 7, 1]))
    assert standing.ranks.tolist() == [0, 1, 1, 3]
    np.testing.assert_allclose(standing.quantiles, [1, 0.5, 0.5, 0])
    # With five there is a bye a round, worth a point and never twice the same item's.
    five = play_rounds(rank_swiss(5), lambda pairs: [0.0] * len(pairs))
    games = [sum(item in pair[:2] for pair in five.comparisons) for item in range(5)]
    assert sorted(games) == [2, 2, 2, 3, 3]
    assert [score > 1.9 for score in five.scores] == [count == 2 for count in games]


def test_swiss_prefers_of_equals_the_one_with_the_better_opponents() -> None:
    # 0 and 1 tie, 2 beats 3; 0 beats 2, 1 beats 3: both have 1.5, their opponents 2.5 and 1.5.
    answers = {(0, 1): 0.0, (2, 3): 0.5, (2, 0): -0.5, (1, 3): 0.5}
    standing = play_rounds(rank_swiss(4), lambda pairs: [answers[pair] for pair in pairs])
    assert standing.ranks.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [63, 64, 97, 128])
def test_swiss_finds_opponents_in_large_groups(n: int) -> None:
    rng = np.random.default_rng(n)
    standing = play_rounds(rank_swiss(n), judge_by([float(x) for x in rng.normal(size=n)]))
    assert len({frozenset(pair[:2]) for pair in standing.comparisons}) == (
        math.ceil(math.log2(n)) * (n // 2)
    )


def test_byes_of_the_bracket_go_to_the_top_seeds() -> None:
    asked: list[list[Pair]] = []
    truth = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]

    def judge(pairs: list[Pair]) -> list[float]:
        asked.append(pairs)
        return judge_by(truth)(pairs)

    play_rounds(rank_seeded_elimination(6), judge)
    assert asked[1] == [(3, 4), (2, 5)], "seeds 0 and 1 have nobody to meet in the first round"


def test_after_a_tie_or_a_failure_the_higher_seed_goes_on() -> None:
    for nothing in (0.0, NAN):
        answers = iter([[-0.1, -0.2, -0.3], [nothing], [nothing]])
        standing = play_rounds(rank_seeded_elimination(4), lambda pairs, it=answers: next(it))
        # Seeds: 3 (0.3), 0 and 2 (0.2), 1 (0.1): 3 meets 1, 0 met 2 and lost; 3 meets 2.
        assert standing.ranks.tolist()[2:] == [1, 0]


def test_the_losers_of_a_round_are_ordered_by_mean_margin() -> None:
    standing = play_rounds(rank_seeded_elimination(4), judge_by([3.0, 0.2, 1.0, 2.9]))
    assert standing.ranks.tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("margins", [[0.1], [0.1, 0.2, 0.3], [0.1, 1.5]])
def test_a_round_that_is_answered_wrongly_is_refused(margins: list[float]) -> None:
    with pytest.raises(ValueError, match="margin"):
        play_rounds(rank_by_anchor(3), lambda pairs: margins)


def test_ranks_quantiles_and_rewards() -> None:
    ranks = rank_scores(np.array([2.0, NAN, 5.0, 2.0, 1.0]))
    np.testing.assert_array_equal(ranks, [1, NAN, 0, 1, 3])
    np.testing.assert_allclose(compute_quantiles(ranks), [2 / 3, NAN, 1, 2 / 3, 0])
    rewards = normalise_rewards(np.array([1.0, 0.5, 0.0, NAN]))
    np.testing.assert_allclose(rewards, [2 / (2 + 4e-6), 0, -2 / (2 + 4e-6), NAN])
    assert normalise_rewards(np.ones(3)).tolist() == [0, 0, 0]


def test_many_groups_can_take_turns() -> None:
    """What the generators are for: one batch of questions for all groups at once."""
    truths = [list(order) for order in itertools.permutations([1.0, 2.0, 3.0, 4.0])][:10]
    alone = [play_rounds(rank_swiss(4), judge_by(truth)) for truth in truths]
    groups = [rank_swiss(4) for _ in truths]
    asked = {place: next(group) for place, group in enumerate(groups)}
    done: dict[int, Standing] = {}
    while asked:
        batch = [(place, pair) for place, pairs in asked.items() for pair in pairs]
        margins = [judge_by(truths[place])([pair])[0] for place, pair in batch]
        answers = {place: [m for (p, _), m in zip(batch, margins, strict=True) if p == place]
                   for place in asked}  # fmt: skip
        asked = {}
        for place, answer in answers.items():
            try:
                asked[place] = groups[place].send(answer)
            except StopIteration as stop:
                done[place] = stop.value
    assert [done[i].comparisons for i in range(10)] == [one.comparisons for one in alone]

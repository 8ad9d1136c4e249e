"""Length rewards and repetition: values by hand, and who may never be worth more than whom."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.signals.lengths import (
    CosineEnds,
    make_cosine_rows,
    make_linear_rows,
    make_repetition_rows,
    mark_repeats,
    score_cosine_length,
    score_linear_length,
    score_repetition,
)
from annotators.signals.rows import SignalUnusable
from tests.annotators.signals.checking import check_rows

lengths_in_limit = st.lists(st.integers(0, 99), min_size=1, max_size=8)
groups = st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=8)
tokens = st.lists(st.sampled_from("abc"), max_size=30)


def test_the_cosine_by_hand() -> None:
    """A quarter of the way the cosine is √½; half way it is 0."""
    quarter = 0.5 * (1 + math.sqrt(0.5))
    right = score_cosine_length([0, 25, 50, 99, 100, 400], [True] * 6, limit=100)
    assert right[[0, 1, 2]] == pytest.approx([2.0, 1 + quarter, 1.5])
    assert right[3] == pytest.approx(1, abs=1e-3)
    assert right[[4, 5]].tolist() == [-10, -10]
    wrong = score_cosine_length([0, 25, 50, 99, 100], [False] * 5, limit=100)
    assert wrong[[0, 1, 2]] == pytest.approx([-10.0, -10 * quarter, -5.0])
    assert wrong[3] == pytest.approx(0, abs=1e-2)
    assert wrong[4] == -10


@given(lengths_in_limit)
def test_shorter_right_ones_and_longer_wrong_ones_are_worth_more(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    right = score_cosine_length(lengths, [True] * len(lengths), limit=100)
    wrong = score_cosine_length(lengths, [False] * len(lengths), limit=100)
    assert (np.diff(right) <= 1e-12).all() and (np.diff(wrong) >= -1e-12).all()
    assert ((right >= 1) & (right <= 2) & (wrong >= -10) & (wrong <= 0)).all()


def test_other_ends_and_an_unknown_verdict() -> None:
    ends = CosineEnds(right_short=1, right_long=0.5, wrong_short=-1, wrong_long=-0.5, over=-2)
    scores = score_cosine_length([50, 50, 50, 200], [1, 0, None, None], limit=100, ends=ends)
    assert scores[[0, 1, 3]] == pytest.approx([0.75, -0.75, -2])
    assert np.isnan(scores[2])


def test_the_linear_reward_by_hand() -> None:
    scores = score_linear_length([10, 20, 30, 10, 30], [True, True, True, False, False])
    assert scores == pytest.approx([0.5, 0.0, -0.5, 0.0, -0.5])


@given(groups)
def test_the_linear_reward_punishes_length_and_never_rewards_a_wrong_one(
    group: list[tuple[int, bool]],
) -> None:
    lengths, right = (list(column) for column in zip(*group, strict=True))
    scores = score_linear_length(lengths, right)
    assert ((scores >= -0.5) & (scores <= 0.5)).all()
    for kind in (True, False):
        chosen = sorted((n, s) for n, s, r in zip(lengths, scores, right, strict=True) if r is kind)
        assert all(a[1] >= b[1] for a, b in pairwise(chosen))
    assert all(s <= 0 for s, r in zip(scores, right, strict=True) if not r)
    if len(set(lengths)) == 1:
        assert not scores.any()


def test_unusable_lengths_are_refused() -> None:
    assert len(score_linear_length([], [])) == len(score_cosine_length([], [], limit=5)) == 0
    for lengths, right in (([1, 2], [True]), ([-1], [True]), ([None], [True]), ([1], [0.3])):
        with pytest.raises(SignalUnusable):
            score_linear_length(lengths, right)
    with pytest.raises(SignalUnusable, match="above 0"):
        score_cosine_length([1], [True], limit=0)


def test_repeats_by_hand() -> None:
    assert mark_repeats("abcab", 2).tolist() == [False, False, False, True, True]
    assert mark_repeats("aaaa", 2).tolist() == [False, True, True, True]
    assert mark_repeats("ab", 3).tolist() == [False, False]
    assert score_repetition("aaaa", n=2, worst=-1.0) == pytest.approx(-2 / 3)
    assert score_repetition("abcab", n=2, worst=-0.5) == pytest.approx(-0.125)


@given(tokens, st.integers(1, 4))
def test_repetition_is_bounded_and_only_grows_when_all_is_said_twice(
    said: list[str], n: int
) -> None:
    once, twice = (score_repetition(text, n=n, worst=-1.0) for text in (said, said + said))
    assert -1 <= twice <= once + 1e-12 <= 1e-12
    assert mark_repeats(said, n).any() == (once < 0)
    fresh = list(range(len(said)))
    assert score_repetition(fresh, n=n, worst=-1.0) == 0


def test_settings_of_repetition_are_checked() -> None:
    with pytest.raises(SignalUnusable, match="above 0"):
        score_repetition("ab", n=1, worst=0.1)
    with pytest.raises(SignalUnusable, match="1 or more"):
        mark_repeats("ab", 0)


RESPONSES = pl.DataFrame(
    {
        "prompt_id": ["p", "p", "q", "p"],
        "response_id": ["r1", "r2", "r3", "r4"],
        "length": [10, 30, 500, 20],
        "right": [True, False, True, None],
        "content": ["a b a b", "one two three", "", "x"],
    }
)


def test_rows_are_of_groups_and_an_unknown_verdict_is_unscored() -> None:
    linear = check_rows(make_linear_rows(RESPONSES))
    scores = {row["response_a"]: row["score"] for row in linear}
    assert scores == {"r1": 0.5, "r2": -0.5, "r3": 0.0, "r4": None}
    cosine = check_rows(make_cosine_rows(RESPONSES, limit=400))
    assert [row["valid"] for row in cosine] == [True, True, True, False]
    assert cosine[2]["score"] == -10
    repeated = check_rows(make_repetition_rows(RESPONSES, n=2))
    assert [row["score"] for row in repeated] == pytest.approx([-1 / 3, 0, 0, 0])


def test_a_group_that_grows_gives_other_rows() -> None:
    few = make_linear_rows(RESPONSES.filter(pl.col("response_id") != "r2"))
    ids = {row["response_a"]: row["judgment_id"] for row in make_linear_rows(RESPONSES)}
    assert few[0]["score"] == 0.5 and few[0]["judgment_id"] != ids["r1"]
    assert few[-1]["judgment_id"] == ids["r3"]


def test_no_responses_give_no_rows_and_a_missing_column_is_named() -> None:
    none = RESPONSES.clear()
    assert make_linear_rows(none) == make_cosine_rows(none, limit=1) == []
    assert make_repetition_rows(none, n=2) == []
    with pytest.raises(SignalUnusable, match="lack the column right"):
        make_cosine_rows(RESPONSES.drop("right"), limit=5)

"""Parts of a set: by length, where the shorter response is right, and margins as chances."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.ship.exams.items import Item
from pipelines.ship.exams.probing import reward_length
from pipelines.ship.exams.slices import list_comparisons, measure_margins, score_lengths


def make_item(key: int, right: int, wrong: int) -> Item:
    """A pair whose responses are so many characters long."""
    prompt = ({"role": "user", "content": str(key)},)
    return Item(str(key), prompt, ("r" * right, "w" * wrong), (True, False), "c", "s")


def test_length_wins_where_the_longer_is_right_and_nowhere_else() -> None:
    items = [make_item(i, 10 + i, 5 if i % 2 else 200) for i in range(40)]
    found = score_lengths(list_comparisons(items, reward_length(items)), 1)
    shorter, longer = found["shorter_is_right"], found["longer_is_right"]
    assert (shorter["n"], shorter["score"], longer["score"]) == (20, 0.0, 1.0)
    # twenty of twenty is no certainty
    assert shorter["ci"] == pytest.approx([0, 1.96**2 / (20 + 1.96**2)])
    assert longer["ci"] == pytest.approx([20 / (20 + 1.96**2), 1])
    assert sum(row["n"] for row in found["deciles"]) == 40 and len(found["deciles"]) == 10
    lows = [row["chars_low"] for row in found["deciles"]]
    assert lows == sorted(lows)
    assert found["deciles"][0]["score"] == 1 and found["deciles"][-1]["score"] == 0


def test_equal_lengths_are_one_decile() -> None:
    items = [make_item(i, 7, 7) for i in range(5)]
    found = score_lengths(list_comparisons(items, reward_length(items)), 1)
    assert [row["n"] for row in found["deciles"]] == [5]
    assert found["deciles"][0]["score"] == 0.5
    assert found["shorter_is_right"] == {"n": 0, "score": None, "ci": [None, None]}


def test_nothing_is_said_of_nothing() -> None:
    nothing = list_comparisons([], [])
    assert score_lengths(nothing, 1)["deciles"] == []
    assert measure_margins(nothing) == {"ece": None, "curve": []}


def test_margins_that_are_log_odds_are_calibrated_and_loud_ones_are_not() -> None:
    rng = np.random.default_rng(4)
    items = [make_item(i, 9, 9) for i in range(4_000)]
    margins = rng.normal(0, 1.5, len(items))
    chance = 1 / (1 + np.exp(-np.abs(margins)))
    right = rng.random(len(items)) < chance
    signed = np.where(right, np.abs(margins), -np.abs(margins))
    honest = measure_margins(list_comparisons(items, [np.asarray([m, 0.0]) for m in signed]))
    loud = measure_margins(list_comparisons(items, [np.asarray([9 * m, 0.0]) for m in signed]))
    assert honest["ece"] < 0.03 < 0.1 < loud["ece"]
    assert sum(row["n"] for row in honest["curve"]) == len(items)
    huge = measure_margins(list_comparisons(items[:1], [np.asarray([1e9, 0.0])]))
    assert huge["ece"] == pytest.approx(0)

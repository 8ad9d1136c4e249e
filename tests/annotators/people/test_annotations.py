"""Which of a person's annotations counts, and what is no annotation."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.people.annotations import take_gold, take_labels, take_latest
from annotators.votes import VotesUnreadable
from tests.annotators.people.crowd import START, make_annotations, say

ROW = {"item": "i", "annotator": "x", "label": "a"}


def at(minute: int, **row: object) -> dict[str, object]:
    return {**ROW, "updated_at": START + timedelta(minutes=minute), **row}


def test_the_latest_counts_and_batches_stand_apart() -> None:
    rows = make_annotations([
        at(0, batch="1"), at(5, batch="1", label="b"), at(3, batch="1"),
        at(1, batch="2", label="tie"),
    ])  # fmt: skip
    found = take_latest(rows)
    assert found.select("batch", "label").rows() == [("1", "b"), ("2", "tie")]
    assert take_latest(rows.drop("batch"))["label"].to_list() == ["b"]


def test_a_time_that_is_not_known_is_the_earliest() -> None:
    rows = make_annotations([at(0, label="b"), {**ROW}])
    assert take_latest(rows)["label"].to_list() == ["b"]


@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=6))
def test_order_and_repeats_change_nothing(order: list[int], again: list[int]) -> None:
    rows = say({"x": "aab", "y": "tb?"}) + [
        at(20 + k, item=f"i00{k % 2}", label=label) for k, label in enumerate("abbaba")
    ]
    expected = take_latest(make_annotations(rows))
    assert len(expected) == 6
    assert take_latest(make_annotations([rows[k] for k in (*order, *again)])).equals(expected)


def test_what_was_not_given_is_null_and_cannot_decide_is_no_label() -> None:
    bare = pl.DataFrame({"item": [1, 2], "annotator": ["x", "x"], "label": ["a", None]})
    found = take_latest(bare)
    assert found.columns == ["item", "annotator", "label", "strength", "seconds", "updated_at",
                             "batch", "category"]  # fmt: skip
    assert found["item"].to_list() == ["1", "2"]
    assert found["seconds"].to_list() == [None, None]
    assert take_labels(bare)["item"].to_list() == ["1"]
    assert len(take_latest(bare.clear())) == 0


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{**ROW, "label": "left"}], "the label 'left'"),
        ([{**ROW, "item": None}], "names its item"),
        ([{**ROW, "annotator": None}], "names its annotator"),
        ([{**ROW, "strength": 3}], "the strength 3.0"),
        ([{**ROW, "strength": 1.5}], "the strength 1.5"),
        ([{**ROW, "strength": -1}], "the strength -1.0"),
        ([{**ROW, "strength": 0}], "the strength 0.0"),
        ([{**ROW, "label": None, "strength": 1}], "the strength 1.0"),
        ([{**ROW, "label": "tie", "strength": 2}], "the strength 2.0"),
        ([{**ROW, "seconds": -1.0}], "the seconds -1.0"),
        ([{**ROW, "seconds": float("nan")}], "the seconds nan"),
        ([{**ROW, "seconds": float("inf")}], "the seconds inf"),
        ([ROW, {**ROW, "label": "b"}], "two things about item 'i'"),
        ([at(1), at(1, seconds=3.0)], "two things about item 'i'"),
    ],
)
def test_what_is_no_annotation(rows: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(VotesUnreadable, match=complaint):
        take_latest(make_annotations(rows))


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "strength": 2},
        {**ROW, "label": "b", "strength": -1},
        {**ROW, "label": "tie", "strength": 0},
        {**ROW, "label": None, "seconds": 0.0},
    ],
)
def test_what_is_one(row: dict[str, object]) -> None:
    assert len(take_latest(make_annotations([row, row]))) == 1


def test_columns_of_the_wrong_kind() -> None:
    with pytest.raises(VotesUnreadable, match="lack the column annotator"):
        take_latest(pl.DataFrame({"item": ["i"], "label": ["a"]}))
    for name in ("updated_at", "seconds", "strength"):
        with pytest.raises(VotesUnreadable, match=f"the column {name} .* is String"):
            take_latest(pl.DataFrame([{**ROW, name: "2026-01-05"}]))


def test_gold_has_one_answer_an_item() -> None:
    gold = pl.DataFrame({"item": ["i", "i", "h"], "label": ["a", "a", "b"]})
    assert take_gold(gold).rows() == [("h", "b"), ("i", "a")]
    with pytest.raises(VotesUnreadable, match="two different labels"):
        take_gold(gold.with_columns(label=pl.Series(["a", "b", "b"])))
    with pytest.raises(VotesUnreadable, match="gold lack the column label"):
        take_gold(gold.drop("label"))

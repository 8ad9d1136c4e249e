"""Opinions become votes: what leans where, what a draw is, and what two orders come to."""

from __future__ import annotations

import polars as pl
import pytest

from annotators.votes import (
    VotesUnreadable,
    average_opinions,
    check_gold,
    label_gold,
    make_votes,
    merge_within,
)
from tests.annotators.opinions import make_gold, make_opinions


def test_only_readable_opinions_about_whole_pairs_are_votes() -> None:
    opinions = make_opinions(
        [
            {"annotator": "j", "pair": 1, "p_a": 0.51, "order": "ab"},
            {"annotator": "j", "pair": 2, "p_a": 0.49, "order": "ba"},
            {"annotator": "j", "pair": 3, "p_a": 0.5, "tie": True},
            {"annotator": "j", "pair": 4, "p_a": None},
            {"annotator": "j", "pair": 5, "p_a": 1.0, "criterion": "tone"},
            {"annotator": "v", "response_a": "r", "score": 1.0},
        ]
    )
    votes = make_votes(opinions)
    assert votes["label"].to_list() == ["a", "b", "tie"]
    assert votes["item"][0] == "000001-x|000001-y"
    assert votes["order"].to_list() == ["ab", "ba", None]


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["a", "a", "b"], "a"),
        (["b", "a", "b"], "b"),
        (["tie", "tie", "a"], "tie"),
        (["a", "b"], "tie"),
        (["a", "tie"], "tie"),
        (["a", "a", "b", "b", "tie"], "tie"),
    ],
)
def test_a_draw_of_the_leaders_is_a_tie(labels: list[str], merged: str) -> None:
    votes = pl.DataFrame({"item": "i", "annotator": "j", "label": labels})
    (row,) = merge_within(votes).rows(named=True)
    assert row["label"] == merged
    assert row["n"] == len(labels)
    assert row["share"] == labels.count(merged) / len(labels)


def test_orders_weigh_the_same_however_many_samples_they_kept() -> None:
    said = [
        ("j", "ab", 0.9),
        ("j", "ab", 0.8),
        ("j", "ab", 0.7),
        ("j", "ba", 0.2),
        ("k", None, 1.0),
    ]
    opinions = pl.DataFrame(said, schema=["annotator", "order", "p_a"], orient="row")
    means = average_opinions(opinions, ["annotator"])
    assert means["annotator"].to_list() == ["j", "k"]
    assert means["p_a"].to_list() == pytest.approx([0.5, 1.0]), "the mean of all four is 0.65"
    assert len(average_opinions(opinions.clear(), ["annotator"])) == 0


def test_strange_input_is_named() -> None:
    with pytest.raises(VotesUnreadable, match="item 'i' 'A'"):
        merge_within(pl.DataFrame({"item": ["i"], "annotator": ["j"], "label": ["A"]}))
    with pytest.raises(VotesUnreadable, match="lack the column annotator"):
        merge_within(pl.DataFrame({"item": ["i"], "label": ["a"]}))
    with pytest.raises(VotesUnreadable, match="None"):
        merge_within(pl.DataFrame({"item": ["i"], "annotator": ["j"], "label": [None]}))
    with pytest.raises(VotesUnreadable, match=r"probability 0\.7"):
        check_gold(make_gold({1: 0.7}))
    with pytest.raises(VotesUnreadable, match="two answers"):
        check_gold(pl.concat([make_gold({1: 1.0}), make_gold({1: 0.0})]))


def test_gold_is_labelled_and_told_once() -> None:
    twice = pl.concat([make_gold({1: 1.0, 2: 0.5}), make_gold({2: 0.5, 3: 0.0})])
    assert label_gold(twice)["label"].to_list() == ["a", "tie", "b"]
    assert check_gold(make_gold({1: 1.0}).drop("category"))["category"].to_list() == [None]

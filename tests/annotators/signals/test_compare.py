"""What scores of single responses say of pairs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.reliability import make_cards
from annotators.signals.compare import ONE_SIDED, compare_scores
from annotators.signals.rows import SignalUnusable, make_pair_row, make_score_row
from schemas.tables import polars_schema

PAIRS = pl.DataFrame({"response_a": ["a"], "response_b": ["b"], "basis": ["all"]})


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of the table, each a second later than the one before."""
    stamped = [
        {"gold": False, **row, "created_at": datetime(2026, 1, 1, 0, 0, second)}
        for second, row in enumerate(rows)
    ]
    return pl.DataFrame(stamped, schema=polars_schema("judgments"))


def score(response: str, value: float | None, **others: Any) -> dict[str, Any]:
    return make_score_row("signal:s", "p", response, value, origin=[value], **others)


def compare(*rows: dict[str, Any], pairs: pl.DataFrame = PAIRS) -> list[tuple[Any, ...]]:
    told = compare_scores(frame(*rows), pairs)
    return told.select("p_a", "tie", "valid", "reason").rows()


def test_the_higher_score_is_the_better_response() -> None:
    assert compare(score("a", -3.0), score("b", -7.5)) == [(1.0, False, True, None)]
    assert compare(score("a", 0.1), score("b", 0.2)) == [(0.0, False, True, None)]
    assert compare(score("a", 0.5), score("b", 0.5)) == [(0.5, True, True, None)]


def test_what_was_not_scored_is_no_opinion_or_an_unreadable_one() -> None:
    assert compare(score("a", 1.0)) == []
    assert compare(score("a", None), score("b", 1.0)) == [(None, False, False, ONE_SIDED)]
    assert compare() == []
    assert compare(score("a", 1.0), score("b", 0.0), pairs=PAIRS.clear()) == []


def test_the_latest_score_counts() -> None:
    assert compare(score("a", 1.0), score("b", 0.5), score("a", 0.0)) == [(0.0, False, True, None)]


def test_criteria_judges_and_pairs_are_not_read() -> None:
    of_one = [score("a", 1.0, criterion="tone"), score("b", 0.0, criterion="tone")]
    of_judge = [{**score("a", 1.0), "kind": "llm"}, {**score("b", 0.0), "kind": "llm"}]
    of_pair = make_pair_row("signal:p", "p", "a", "b", criterion="same_policy")
    assert compare(*of_one, *of_judge, of_pair) == []


@given(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), st.floats(0.5, 4), st.floats(-9, 9))
def test_the_opinion_is_the_orders_alone_and_turns_with_the_pair(
    scores: tuple[float, float], scale: float, shift: float
) -> None:
    first, second = (round(value, 3) for value in scores)
    ((p_a, *_),) = compare(score("a", first), score("b", second))
    ((turned, *_),) = compare(score("a", second), score("b", first))
    ((moved, *_),) = compare(
        *(score(n, scale * v + shift) for n, v in (("a", first), ("b", second)))
    )
    assert p_a == 1 - turned == moved


def test_a_card_counts_the_opinions_and_no_token_twice() -> None:
    rows = [{**score("a", 2.0), "tokens_in": 5, "tokens_out": 1, "seconds": 0.5},
            {**score("b", 1.0), "tokens_in": 5, "tokens_out": 1, "seconds": 0.5}]  # fmt: skip
    judgments = frame(*rows)
    gold = pl.DataFrame({"response_a": ["a"], "response_b": ["b"], "p_a": [1.0], "category": ["c"]})
    told = compare_scores(judgments, gold)
    card = make_cards(pl.concat([judgments, told]), gold).row(0, named=True)
    assert (card["pairs"], card["n"], card["accuracy"], card["tokens"]) == (1, 1, 1.0, 12)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SignalUnusable, match="lack the column created_at"):
        compare_scores(frame().drop("created_at"), PAIRS)

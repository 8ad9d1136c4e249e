"""The reference gate: who is right needs no judge, and what cannot be told is left to one."""

from __future__ import annotations

import pytest

from annotators.rubrics.reference import decide_by_gate, score_by_reference
from tests.annotators.judging import make_item


@pytest.mark.parametrize(
    ("answer", "content", "score"),
    [
        ("Paris", "The answer is Paris.", 1.0),
        ("Paris", "paris", 1.0),
        ("Paris", "It is Lyon.", None),
        ("Paris", "Not Paris but Lyon.", None),
        ("USA", "The United States of America", None),
        ("C++", "C", None),
        ("Yes", "No.", 0.0),
        ("no", "I think the answer is **No**.", 1.0),
        ("false", "The answer is: True", 0.0),
        ("yes", "No, unless it rains.", None),
        ("B", "The answer is C", 0.0),
        ("B", "The answer is (B).", 1.0),
        ("B", "The answer is yes", None),
        ("-5", "5", 0.0),
        ("12", "Adding up: 5 + 7.\nAnswer: 12", 1.0),
        ("1/2", r"So we get \boxed{\frac{1}{2}}", 1.0),
        ("12", "Answer: 13", 0.0),
        ("12 apples", "She has 12.", None),
        ("July 4, 1776", "In 1776, on the fourth of July.", None),
        ("It rains because warm air rises and cools.", "Air rises, cools, and water falls.", None),
        (" ", "anything", None),
    ],
)
def test_a_response_against_the_reference(answer: str, content: str, score: float | None) -> None:
    assert score_by_reference(answer, content) == score


def test_exactly_one_right_response_decides() -> None:
    item = make_item("Answer: 12", "Answer: 13", answer="12")
    decision = decide_by_gate(item)
    right = item.contents.index("Answer: 12")
    assert decision is not None and decision.gate == "reference"
    assert decision.p_a == (1.0 if right == 0 else 0.0)
    assert f"response {'ab'[right]}" in decision.reason


@pytest.mark.parametrize(
    "contents",
    [("Answer: 12", "So 12"), ("Answer: 13", "Answer: 14"), ("Paris, or Lyon", "Lyon")],
)
def test_both_right_both_wrong_or_no_telling_is_left_to_a_judge(contents: tuple[str, str]) -> None:
    answer = "Paris" if "Paris" in contents[0] else "12"
    assert decide_by_gate(make_item(*contents, answer=answer)) is None
    assert decide_by_gate(make_item(*contents)) is None


def test_an_empty_response_loses_and_two_are_a_tie() -> None:
    item = make_item("Hello", " ")
    decision = decide_by_gate(item)
    assert decision is not None and decision.gate == "not_empty"
    assert decision.p_a == float(item.contents[0] == "Hello")
    both = decide_by_gate(make_item("...", "  "))
    assert both is not None and both.p_a == 0.5

"""What evolution asks of a model: scores of one criterion in both orders, and edits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from annotators.asking import Unreadable
from annotators.rubrics.evolve import Edit, GoldPair, evolve_rubric
from annotators.rubrics.judge import load_rubric_templates
from annotators.rubrics.proposing import (
    ask_edits,
    load_edit_template,
    make_edits_schema,
    make_proposer,
    make_scorer,
    read_edits,
    run_talk,
)
from annotators.rubrics.rubric import Criterion
from annotators.talk import Item, Judge, Row
from engines.chat import ChatRequest, ChatResult
from tests.annotators.judging import MODEL, hold, make_item, show
from tests.annotators.rubrics.planted import follow, make_criterion, make_pairs, make_rubric

RUBRIC = make_rubric({"birch": "core", "joust": "important"})
TEMPLATE = load_edit_template()
NEW = {"title": "Cedar", "description": "It has cedar.", "kind": "hard"}


def score_by_word(request: ChatRequest) -> str:
    """Likes the response with the criterion's word, and a little whatever is shown first."""
    first, _, second = show(request).partition("[Answer A]")[2].partition("[Answer B]")
    second, _, criteria = second.partition("[Criteria]")
    word = criteria.split(". ")[1].split(":")[0]
    score = 1 + (word in first) - 2 * (word in second)
    return json.dumps({"1": {"evidence": "", "score": max(-2, min(2, score))}})


def hold_all(judge: Judge, items: Sequence[Item]) -> list[Row]:
    return [row for item in items for row in hold(judge, item, score_by_word)[0]]


def test_a_score_is_the_mean_of_both_orders() -> None:
    scorer = make_scorer(MODEL, load_rubric_templates(), hold_all)
    item = make_item("a birch here", "nothing here")
    other = make_item("neither", "of the two")
    scores = scorer(make_criterion("birch"), [other, item])
    sign = 1 if "birch" in item.contents[0] else -1
    assert scores == [0.0, sign * 1.5]  # 2 where it is shown first, -1 where second


def test_a_pair_that_nobody_could_score_has_no_score_and_a_gate_has_the_last_word() -> None:
    def mumble(judge: Judge, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in hold(judge, item, lambda _: "hm")[0]]

    scorer = make_scorer(MODEL, load_rubric_templates(), mumble)
    empty = make_item("words", " ")
    scores = scorer(make_criterion("birch"), [make_item("one", "two"), empty])
    assert scores == [None, 2.0 if empty.contents[0] == "words" else -2.0]
    assert scorer(make_criterion("birch"), []) == []


def test_edits_are_read_by_the_number_of_their_criterion() -> None:
    text = json.dumps({"edits": [
        {"action": "add", "number": 0, "criterion": NEW},
        {"action": "delete", "number": 2},
        {"action": "modify", "number": 1, "criterion": NEW},
    ]})  # fmt: skip
    new = Criterion("Cedar", "It has cedar.", "hard")
    assert read_edits(text, RUBRIC) == (
        Edit("add", "", new), Edit("delete", "joust"), Edit("modify", "birch", new),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ([], "no list"),
        ("none", "no list"),
        ([{"action": "keep", "number": 1}], "add, delete or modify"),
        (["delete 1"], "add, delete or modify"),
        ([{"action": "delete", "number": 3}], "names criterion 3 of 2"),
        ([{"action": "delete"}], "names criterion None"),
        ([{"action": "modify", "number": 1}], "must be an object"),
        ([{"action": "add", "criterion": {**NEW, "kind": "soft"}}], "none of hard"),
    ],
)
def test_an_edit_that_cannot_be_made_is_sent_back(edits: Any, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_edits(json.dumps({"edits": edits}), RUBRIC)


def test_the_model_sees_the_rubric_and_where_it_is_wrong() -> None:
    item = make_item("the better one", "x" * 900, prompt="Which tree?")
    pair = GoldPair(item, float(item.contents[0] == "the better one"))
    tie = GoldPair(make_item("this", "that"), 0.5)
    (request,) = next(ask_edits(MODEL, TEMPLATE, RUBRIC, [pair, tie], 2, seed=9))
    text = show(request)
    assert "1. birch (core): It has the word birch." in text and "up to 2" in text
    better = text.index("First answer: the better one\nSecond answer: xxx")
    assert better < text.index("the first is better") < text.index("neither is better")
    assert "x" * 601 not in text
    assert request.sampling["seed"] == 9
    assert request.json_schema == make_edits_schema(2)


def test_an_answer_that_stays_unreadable_gives_no_edits() -> None:
    asked = []

    def answer(requests: Sequence[ChatRequest]) -> list[ChatResult]:
        asked.extend(requests)
        return [ChatResult(request.request_id, "I would change it all") for request in requests]

    assert make_proposer(MODEL, TEMPLATE, answer)(RUBRIC, [], 3) == ()
    assert len(asked) == 2


def test_a_second_question_about_the_same_rubric_has_another_seed() -> None:
    asked = []

    def answer(requests: Sequence[ChatRequest]) -> list[ChatResult]:
        asked.extend(requests)
        edits = json.dumps([{"action": "delete", "number": 1}])
        return [ChatResult(request.request_id, edits) for request in requests]

    propose = make_proposer(MODEL, TEMPLATE, answer)
    assert propose(RUBRIC, [], 3) == propose(RUBRIC, [], 3) == (Edit("delete", "birch"),)
    assert len({request.sampling["seed"] for request in asked}) == 2


def test_a_model_that_sees_the_mistakes_mends_a_rubric() -> None:
    """Scorer, proposer and evolution together, through canned answers."""
    planted = make_rubric({"amber": "core"})
    gold = make_pairs(40, 4, follow(planted))
    new = {"title": "amber", "description": "It has amber.", "kind": "core"}
    edits = json.dumps({"edits": [{"action": "add", "number": 0, "criterion": new},
                                  {"action": "delete", "number": 1}]})  # fmt: skip

    def answer(requests: Sequence[ChatRequest]) -> list[ChatResult]:
        return [ChatResult(request.request_id, edits) for request in requests]

    found = evolve_rubric(
        make_rubric({"joust": "core"}),
        make_scorer(MODEL, load_rubric_templates(), hold_all),
        gold,
        make_proposer(MODEL, TEMPLATE, answer),
    )
    assert [c.title for c in found.best.criteria] == ["amber"] and found.recommended


def test_a_talk_without_a_question_has_an_end_too() -> None:
    def talk() -> Any:
        return 5
        yield

    assert run_talk(talk(), lambda _: []) == 5

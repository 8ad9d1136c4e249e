"""Conversations: replayed from answers, side by side, and no judge's fault stops another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators import talk
from annotators.asking import make_request
from annotators.pairwise import PairwiseJudge
from annotators.talk import (
    Conversation,
    Item,
    Row,
    Talk,
    judge_items,
    make_row,
    name_annotator,
    together,
)
from engines.chat import ChatResult, Endpoint
from engines.models import ResolvedModel
from tests.annotators.judging import MODEL, hold, make_item

TEMPLATE = "{{ prompt }}\nA: {{ first }}\nB: {{ second }}\n"


def ask_in_turn(name: str, turns: int) -> Talk[str]:
    """A conversation of so many turns, which remembers what it heard."""
    heard = []
    for turn in range(turns):
        message = {"role": "user", "content": f"{name}{turn}"}
        (result,) = yield [make_request(MODEL, [message], {})]
        heard.append(result.text)
    return "".join(heard)


@given(st.lists(st.integers(0, 4), max_size=5))
def test_talks_held_together_end_as_each_would_alone(turns: list[int]) -> None:
    talk = together([ask_in_turn(f"{place}-", n) for place, n in enumerate(turns)])
    rounds = 0
    try:
        requests = next(talk)
        while True:
            rounds += 1
            requests = talk.send(
                [ChatResult(r.request_id, f"<{r.messages[0]['content']}>") for r in requests]
            )
    except StopIteration as stop:
        ends = stop.value
    assert rounds == max(turns, default=0)
    assert ends == [
        "".join(f"<{place}-{turn}>" for turn in range(n)) for place, n in enumerate(turns)
    ]


@dataclass(frozen=True)
class Stumbling:
    """A judge that raises on an answer with a stone in it."""

    model: ResolvedModel = MODEL

    @property
    def annotator(self) -> str:
        return name_annotator("stumbling", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        return {"method": "stumbling"}

    def talk(self, item: Item) -> Talk[list[Row]]:
        (result,) = yield [make_request(self.model, item.messages, {})]
        if "stone" in result.text:
            raise RuntimeError("fell")
        return [make_row(self.annotator, item, [result], p_a=0.75, order="ab")]


def test_a_judge_that_raises_leaves_one_invalid_row_and_the_others_judged() -> None:
    items = [make_item("x", "y", prompt=f"{i}") for i in range(3)]
    rows = [
        row
        for i, item in enumerate(items)
        for row in hold(Stumbling(), item, lambda _, i=i: "a stone" if i == 1 else "fine")[0]
    ]
    assert len(rows) == 3
    bad = [row for row in rows if not row["valid"]]
    assert [row["prompt_id"] for row in bad] == [items[1].prompt_id]
    assert "fell" in bad[0]["reason"]
    assert (bad[0]["p_a"], bad[0]["raw"], bad[0]["tokens_in"]) == (None, "a stone", 10)


def test_a_stored_conversation_is_replayed_without_asking() -> None:
    judge = PairwiseJudge(MODEL, TEMPLATE, mode="reason")
    item = make_item("x", "y")
    rows, asked = hold(judge, item, lambda r: "A" if r.choices else "reasons")
    answers = {r.request_id: ChatResult(r.request_id, "A" if r.choices else "reasons",
                                        tokens_in=10, tokens_out=2) for r in asked}  # fmt: skip
    again = Conversation(judge, item)
    again.feed(answers)
    assert again.rows == rows
    half = Conversation(judge, item)
    half.feed({asked[0].request_id: answers[asked[0].request_id]})
    assert half.rows is None and [r.request_id for r in half.waiting] == [
        r.request_id for r in asked[:2]
    ]  # both orders go on together


def test_another_reading_of_answers_is_another_annotator(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Stumbling().annotator
    monkeypatch.setattr(talk, "READING", talk.READING + 1)
    assert Stumbling().annotator != before


def test_no_items_is_no_rows() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "stub", "r1")
    assert asyncio.run(judge_items(Stumbling(), [], endpoint)) == []

"""What tests of judges share: items, canned answers, and a conversation held without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from annotators.talk import Conversation, Item, Judge, Row
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_prompt_id, make_response_id
from schemas.recipe import ModelSpec

SPEC = ModelSpec(model="stub", url="http://localhost/v1")
MODEL = ResolvedModel("stub", "r1", SPEC)


def make_item(*contents: str, prompt: str = "Which?", **known: Any) -> Item:
    """An item of these responses, in the order of their ids."""
    messages = [{"role": "user", "content": prompt}]
    prompt_id = make_prompt_id(messages)
    by_id = sorted((make_response_id(prompt_id, text), text) for text in contents)
    return Item(
        prompt_id, messages, tuple(i for i, _ in by_id), tuple(t for _, t in by_id), **known
    )


def hold(
    judge: Judge, item: Item, answer: Callable[[ChatRequest], ChatResult | str]
) -> tuple[list[Row], list[ChatRequest]]:
    """The rows of a judge whose requests `answer` answers, and what it asked."""
    talk = Conversation(judge, item)
    asked: list[ChatRequest] = []
    while talk.rows is None:
        asked += talk.waiting
        answers = {}
        for request in talk.waiting:
            said = answer(request)
            if isinstance(said, str):
                said = ChatResult(request.request_id, said, tokens_in=10, tokens_out=2)
            answers[request.request_id] = said
        talk.feed(answers)
    return talk.rows, asked


def show(request: ChatRequest) -> str:
    """All that a request shows its model."""
    return "\n".join(str(message["content"]) for message in request.messages)

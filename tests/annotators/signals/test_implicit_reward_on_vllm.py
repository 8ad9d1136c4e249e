"""Prompt log probabilities through a real vLLM, against those that transformers computes."""

from __future__ import annotations

import asyncio

import pytest

from annotators.signals.implicit_reward import (
    make_implicit_row,
    make_logprob_requests,
    read_logprobs,
)
from annotators.talk import Item
from engines.chat import ChatRequest, ChatResult, Endpoint, stream_results
from engines.models import ResolvedModel, ensure_embedded
from tests.annotators.judging import make_item
from tests.annotators.signals.checking import check_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("vllm")]
CONTENTS = ["A short walk, then a book.", "\n\nTwo lines\nof it.", "Übung 🎉 macht", "B"]


def ask(endpoint: Endpoint, requests: list[ChatRequest]) -> dict[str, ChatResult]:
    async def gather() -> dict[str, ChatResult]:
        return {result.request_id: result async for result in stream_results(endpoint, requests)}

    return asyncio.run(gather())


def compute_logprobs(item: Item, content: str) -> tuple[list[int], list[float]]:
    """The ids and log probabilities of the tokens after the opened turn, by a forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(ensure_embedded())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    opening = tokenizer.apply_chat_template(
        item.messages, tokenize=False, add_generation_prompt=True
    )
    begin = len(tokenizer(opening, add_special_tokens=False)["input_ids"])
    ids = tokenizer(opening + content, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        scores = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    logprobs = [float(scores[place - 1, ids[place]]) for place in range(begin, len(ids))]
    return ids[begin:], logprobs


def test_the_servers_log_probabilities_are_the_responses_own(
    model: ResolvedModel, endpoint: Endpoint
) -> None:
    items = [make_item(content, prompt="How should I spend the evening?") for content in CONTENTS]
    asked = [
        make_logprob_requests(model, item.messages, content)
        for item, content in zip(items, CONTENTS, strict=True)
    ]
    answers = ask(endpoint, list({one.request_id: one for trio in asked for one in trio}.values()))
    heard = [[answers[one.request_id] for one in trio] for trio in asked]
    ids, logprobs = compute_logprobs(items[0], CONTENTS[0])
    read = read_logprobs(heard[0])
    assert read.ids == tuple(ids)
    assert read.logprobs == pytest.approx(logprobs, abs=1e-3)
    rows = [
        make_implicit_row(item, model, model, said, said)
        for item, said in zip(items, heard, strict=True)
    ]
    check_rows(rows)
    print(f"\n{sum(row['valid'] for row in rows)} of {len(rows)} responses have log probabilities")
    assert [row["score"] for row in rows] == [0.0] * len(rows)

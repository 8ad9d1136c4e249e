"""What a reward model is shown where a conversation is longer than it takes."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from engines.embedder import find_minilm
from pipelines.ship.rewards import Question, count_cut, fit_questions, score_responses
from pipelines.ship.train_worker import load_tokenizer


class Words:
    """A tokenizer of words: each is its own number, and `START` opens every conversation."""

    START = 1
    model_max_length = 1_000_000

    def __init__(self, bos: int | None = START) -> None:
        self.bos_token_id = bos

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        assert not tokenize
        said = "".join(f"{0 if m['role'] == 'user' else 2} {m['content']} " for m in messages)
        return f"{self.START} {said}"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def ask(prompt: int, *responses: int) -> Question:
    """A prompt of so many words (100, 101, …) and responses of so many (5000, … and 6000, …)."""
    messages = [{"role": "user", "content": " ".join(map(str, range(100, 100 + prompt)))}]
    texts = [
        " ".join(map(str, range(5000 + 1000 * at, 5000 + 1000 * at + size)))
        for at, size in enumerate(responses)
    ]
    return messages, texts


def fit(question: Question, limit: int, bos: int | None = Words.START) -> Any:
    ((fitted, cut),) = fit_questions(Words(bos), [question], limit)
    return fitted, cut


def test_the_head_of_the_prompt_gives_way_alike_for_all_responses() -> None:
    fitted, cut = fit(ask(10, 3, 2), 9)
    assert cut
    assert fitted[0] == [1, 106, 107, 108, 109, 2, 5000, 5001, 5002]
    assert fitted[1] == [1, 106, 107, 108, 109, 2, 6000, 6001]
    assert fit(ask(10, 3, 2), 9, bos=None)[0][1] == [105, 106, 107, 108, 109, 2, 6000, 6001]


def test_what_fits_stays_and_a_response_is_cut_only_at_its_end() -> None:
    fitted, cut = fit(ask(3, 2, 1), 8)
    assert not cut and fitted[0] == [1, 0, 100, 101, 102, 2, 5000, 5001]
    fitted, cut = fit(ask(3, 50, 2), 8)
    assert cut
    assert fitted == [[1, 2, 5000, 5001, 5002, 5003, 5004, 5005], [1, 2, 6000, 6001]]
    alone, _ = fit(([], ask(0, 50)[1]), 4)
    assert alone == [[1, 2, 5000, 5001]]


@given(st.integers(0, 30), st.lists(st.integers(1, 20), min_size=1, max_size=4),
       st.integers(4, 40))  # fmt: skip
def test_responses_are_whole_where_they_can_be_and_share_their_prompt(
    prompt: int, sizes: list[int], limit: int
) -> None:
    fitted, cut = fit(ask(prompt, *sizes), limit)
    assert cut == (max(sizes) + prompt + 3 > limit)
    prompts = set()
    for at, (tokens, size) in enumerate(zip(fitted, sizes, strict=True)):
        assert len(tokens) <= limit
        own = [token for token in tokens if token >= 5000]
        whole = min(size, limit - 2)
        assert own == list(range(5000 + 1000 * at, 5000 + 1000 * at + whole))
        prompts.add(tuple(token for token in tokens if token < 5000))
    assert len(prompts) == 1
    if cut and max(sizes) + 2 <= limit:
        assert max(map(len, fitted)) == limit, "no more than must be is cut"


def test_a_model_sees_the_response_to_a_prompt_that_fills_it() -> None:
    torch.manual_seed(0)  # the base model has no head of its own: one is drawn
    long = [{"role": "user", "content": "so " * 90}]
    questions = [(long, ("good", "bad")), (long[:0], ("good", "bad"))]
    rewards, cut = score_responses(find_minilm(), questions, 16)
    assert cut == [True, False] and count_cut(find_minilm(), questions, 16) == 1
    assert all(abs(first - second) > 1e-4 for first, second in rewards)
    tokenizer = load_tokenizer("minilm")
    plain = tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
    assert fit_questions(tokenizer, questions[1:], 16)[0][0][0] == plain


PLAIN = "assistant: good[SEP]"

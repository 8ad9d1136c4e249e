"""What a trained reward model says of responses, and what of their texts it could not see.

Training drops pairs of more than `max_length` tokens; here everything is scored, so what is longer
is cut. The prompt gives way first, from its head on, for a reward is of the response; and the
responses to one prompt all get the same cut of it, so that they differ in themselves alone. A
response is cut only where it does not fit by itself, at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.ship.train_worker import load_reward_model, load_tokenizer

Array = NDArray[np.float64]
Question = tuple[Sequence[Mapping[str, str]], Sequence[str]]
"""The messages of a prompt, and the responses to it."""
DIGITS = 6  # of a reward: what comes after differs by its place in a batch, and equal texts tie
BLOCK = 32  # questions, and conversations, at once


def score_responses(
    folder: Path, questions: Sequence[Question], max_length: int
) -> tuple[list[Array], list[bool]]:
    """The model's rewards, an array a question and one a response; and of which questions something
    was cut to fit `max_length` tokens."""
    import torch

    model, tokenizer = load_reward_model(str(folder))
    model.eval()
    rewards: list[Array] = []
    cut: list[bool] = []
    with torch.inference_mode():
        for block in _slice(questions):
            found = fit_questions(tokenizer, block, max_length)
            cut += [is_cut for _, is_cut in found]
            texts = [tokens for fitted, _ in found for tokens in fitted]
            values: list[float] = []
            for part in _slice(texts):
                batch = tokenizer.pad({"input_ids": part}, return_tensors="pt")
                values += model(**batch).logits[:, 0].float().tolist()
            ends = np.cumsum([len(fitted) for fitted, _ in found])[:-1]
            rewards += np.split(np.round(values, DIGITS), ends)
    return rewards, cut


def count_cut(folder: Path, questions: Sequence[Question], max_length: int) -> int:
    """Of how many questions `score_responses` cuts something."""
    tokenizer = load_tokenizer(str(folder))
    return sum(
        is_cut
        for block in _slice(questions)
        for _, is_cut in fit_questions(tokenizer, block, max_length)
    )


def fit_questions(
    tokenizer: Any, questions: Sequence[Question], max_length: int
) -> list[tuple[list[list[int]], bool]]:
    """The tokens of each question's conversations, one a response, `max_length` at most and no more
    than the model takes; and whether something was cut."""
    limit = min(tokenizer.model_max_length, max_length)
    found = []
    for prompt, responses in questions:
        talks = [
            _render(tokenizer, [*prompt, {"role": "assistant", "content": text}])
            for text in responses
        ]
        fitted = [_tokenise(tokenizer, talk) for talk in talks]
        is_cut = any(len(tokens) > limit for tokens in fitted)
        if is_cut:
            head = _render(tokenizer, prompt) if prompt else ""
            fitted = _cut(tokenizer, head, talks, limit)
        found.append((fitted, is_cut))
    return found


def _cut(tokenizer: Any, prompt: str, talks: Sequence[str], limit: int) -> list[list[int]]:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(prompt, *talks, strict=False))
    head = prompt[: sum(1 for _ in same)]  # a template may end a lone prompt otherwise
    before = _tokenise(tokenizer, head)
    after = [_tokenise(tokenizer, talk[len(head) :]) for talk in talks]
    start = before[:1] if before[:1] == [tokenizer.bos_token_id] else []
    room = max(0, limit - len(start) - max(len(tokens) for tokens in after))
    rest = before[max(len(start), len(before) - room) :]
    return [(start + rest + tokens)[:limit] for tokens in after]


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    text: str = tokenizer.apply_chat_template([dict(m) for m in messages], tokenize=False)
    return text


def _tokenise(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tokens


def _slice(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]

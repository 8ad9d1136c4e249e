"""Asking a chat model for something that can be read: a text, a choice or JSON, mended once.

Where the server can (`structured` of the recipe's model), the answer is constrained by a JSON
schema or a list of choices; where it cannot, it is parsed tolerantly. An answer that cannot be read
is sent back once with what is wrong with it; after that it is unscored, its raw text kept and its
tokens counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from annotators.talk import Talk, say_failure
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_request_id

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]
OPENINGS = 200  # brackets tried, for each failure may read all that follows
MEND = (
    "That cannot be used: {fault}. Answer once more, in the form that was asked for, and only that."
)


class Unreadable(ValueError):
    """An answer does not say what was asked; the message says what is wrong with it."""


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What a question came to: its value, or the reason why there is none, and every call made."""

    value: T | None
    reason: str | None
    results: tuple[ChatResult, ...]

    @property
    def text(self) -> str:
        """The last answer as it came."""
        return self.results[-1].text


def make_request(
    model: ResolvedModel,
    messages: Messages,
    sampling: Mapping[str, Any],
    *,
    template: str = "",
    choices: Sequence[str] | None = None,
    json_schema: Mapping[str, Any] | None = None,
    top_logprobs: int | None = None,
    order: str | None = None,
    sample_index: int = 0,
) -> ChatRequest:
    """A request whose id hashes everything that can change its answer.

    Args:
        template: hash of the template texts that made the messages.
        choices, json_schema: the form of the answer, left out where the server cannot constrain.
    """
    if not model.spec.structured:
        choices = json_schema = None
    request_id = make_request_id(
        model=model.name,
        revision=model.revision,
        messages=messages,
        sampling=sampling if top_logprobs is None else {**sampling, "top_logprobs": top_logprobs},
        template=template,
        schema=list(choices) if choices else json_schema,
        order=order,
        sample_index=sample_index,
    )
    return ChatRequest(
        request_id,
        [dict(message) for message in messages],
        sampling,
        choices=tuple(choices) if choices else None,
        json_schema=json_schema,
        top_logprobs=top_logprobs,
    )


def ask(
    make: Callable[[Messages], ChatRequest],
    messages: Messages,
    read: Callable[[ChatResult], T],
) -> Talk[Asked[T]]:
    """Ask, read, and where that fails ask once more, showing the answer and its fault.

    Args:
        make: the request for given messages (see `make_request`).
        read: the value of an answer; raises Unreadable where there is none.
    """
    heard: tuple[ChatResult, ...] = ()
    talk = list(messages)
    reason = ""
    for _ in range(2):
        (result,) = yield [make(talk)]
        heard += (result,)
        if result.error is not None:
            return Asked(None, say_failure(result), heard)
        try:
            return Asked(read(result), None, heard)
        except Unreadable as fault:
            reason = (
                f"truncated at {result.tokens_out} tokens: {fault}"
                if (result.finish_reason == "length")
                else str(fault)
            )
            talk += [
                {"role": "assistant", "content": result.text or "(nothing)"},
                {"role": "user", "content": MEND.format(fault=reason)},
            ]
    return Asked(None, reason, heard)


def read_json(text: str) -> Any:
    """The JSON object or list in an answer: as it stands, in a code fence, or amid words.

    Raises:
        Unreadable: there is none, or it is not whole.
    """
    fences = re.findall(r"```(?:json)?\s*(.*?)```", text, re.DOTALL)
    for candidate in (text, *reversed(fences)):
        try:
            return _check_container(json.loads(candidate))
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder()
    found = None
    place = tried = 0
    while (start := _find_opening(text, place)) >= 0 and tried < OPENINGS:
        tried += 1
        try:
            value, place = decoder.raw_decode(text, start)
            found = _check_container(value)
        except (ValueError, RecursionError):
            place = start + 1
    if found is None:
        raise Unreadable(f"no JSON in {text[:80]!r}")
    return found


def read_choice(text: str, choices: Sequence[str]) -> str:
    """Which one of `choices` an answer names: as it stands, in [[ ]], or as the last word that
    stands alone in capitals as the choice does.

    Raises:
        Unreadable: none of them, or no telling which.
    """
    plain = text.strip().strip("*.[]() ")
    for choice in choices:
        if plain.lower() == choice.lower():
            return choice
    marked = re.findall(r"\[\[\s*(.+?)\s*\]\]", text)
    if marked and marked[-1] in choices:
        return str(marked[-1])
    words = "|".join(re.escape(choice) for choice in choices)
    said = r"(?:[Vv]erdict|[Aa]nswer|[Bb]etter|[Ww]inner|[Cc]hoice)"
    stated = re.findall(rf"{said}\W{{1,4}}(?:is\W{{1,3}})?({words})\b", text)
    if stated:
        return str(stated[-1])
    raise Unreadable(f"none of {', '.join(choices)}: {text[:80]!r}")


def _find_opening(text: str, place: int) -> int:
    starts = [found for mark in "{[" if (found := text.find(mark, place)) >= 0]
    return min(starts, default=-1)


def _check_container(value: Any) -> Any:
    """Raises ValueError: a bare value, or text that is not valid Unicode (a lone surrogate)."""
    if not isinstance(value, dict | list):
        raise ValueError("a bare value")
    json.dumps(value, ensure_ascii=False).encode()
    return value

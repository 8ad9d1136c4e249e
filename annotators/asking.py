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
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from annotators.talk import Talk, say_failure
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_request_id

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]
OPENINGS = 200  # brackets tried, for each failure may read all that follows
VERDICT_TOKENS = 16  # room for a choice amid words; a constrained answer ends with the choice
MEND = (
    "That cannot be used: {fault}. Answer once more, in the form that was asked for, and only that."
)
_MARKS = "*_.[]()\"'` "
_CLAUSE_ENDS = r"(?![*_\"'`)\]]*(?:[\w'’/-]|[ \t]+\w))"
_ANNOUNCED = r"\b(?:verdict|answer|better|winner|choice)(?:\W{0,4}:|\W{1,4}is\b)\W{0,4}"
_DOUBTED = re.compile(
    r"n['’]t\b|\b(?:not|neither|nor|if|whether|unless|worse|worst|weaker|wrong|incorrect)\b",
    re.IGNORECASE,
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


def ask_verdict(
    make: Callable[[Messages], ChatRequest],
    messages: Messages,
    read: Callable[[ChatResult], T],
    *,
    thinking: ChatRequest | None,
    question: str,
) -> Talk[tuple[Asked[T], str | None]]:
    """Ask for a verdict, after reasons if they are wanted; the reasons come with it, and their call
    among its results.

    Args:
        thinking: the request for reasons, to the same messages; None where there are to be none.
        question: what asks for the verdict once the reasons are given.
    """
    if thinking is None:
        asked = yield from ask(make, messages, read)
        return asked, None
    (thought,) = yield [thinking]
    if thought.error is not None:
        return Asked(None, say_failure(thought), (thought,)), None
    messages = [
        *messages,
        {"role": "assistant", "content": thought.text or "(no reasons)"},
        {"role": "user", "content": question},
    ]
    asked = yield from ask(make, messages, read)
    return replace(asked, results=(thought, *asked.results)), thought.text


def read_json(text: str) -> Any:
    """The JSON object or list in an answer: as it stands, in a code fence, or amid words. Of
    several the last object counts, a list only where no object is: answers are objects, and a list
    beside one is a scale or a footnote.

    Raises:
        Unreadable: there is none, or it is not whole.
    """
    fences = re.findall(r"```(?:json)?\s*(.*?)```", text, re.DOTALL)
    whole, *fenced = (_parse(part) for part in (text, *fences))
    if whole is not None:
        return whole
    found = [*_find_containers(text), *(value for value in fenced if value is not None)]
    if not found:
        raise Unreadable(f"no JSON in {text[:80]!r}")
    return ([value for value in found if isinstance(value, dict)] or found)[-1]


def read_choice(text: str, choices: Sequence[str], *, cut: bool = False) -> str:
    """Which one of `choices` an answer decides for: it stands alone, on the first or last line
    alone, in [[ ]], or behind "verdict", "answer", "better", "winner" or "choice" with "is" or a
    colon, at the end of its clause. Outside of [[ ]] no other choice may be named.

    Args:
        cut: the answer was cut off. Then it is the choice alone, or no telling how it goes on.

    Raises:
        Unreadable: none of them, or no telling which.
    """
    plain = text.strip() if cut else text.strip().strip(_MARKS)
    for choice in choices:
        if plain.lower() == choice.lower():
            return choice
    marked = set(re.findall(r"\[\[\s*(.+?)\s*\]\]", text))
    named = marked or find_choices(text, choices)
    if len(named) == 1 and named <= set(choices) and not cut:
        (choice,) = named
        if marked or _is_stated(text, choice):
            return choice
    fault = "no telling which" if len(named) > 1 else "none"
    raise Unreadable(f"{fault} of {', '.join(choices)}: {text[:80]!r}")


def find_choices(text: str, choices: Sequence[str]) -> set[str]:
    """Those of `choices` that stand in a text as words, written as the choices are."""
    return {choice for choice in choices if re.search(rf"\b{re.escape(choice)}\b", text)}


def _is_stated(text: str, choice: str) -> bool:
    """Whether a text that names no other choice decides for this one."""
    lines = text.strip().splitlines()
    if choice in (lines[0].strip(_MARKS), lines[-1].strip(_MARKS)):
        return True
    stated = re.search(rf"(?i:{_ANNOUNCED}){re.escape(choice)}{_CLAUSE_ENDS}", text)
    return stated is not None and _DOUBTED.search(text) is None


def _parse(text: str) -> Any | None:
    try:
        return _check_container(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _find_containers(text: str) -> list[Any]:
    """Every object and list amid words, but for those inside another."""
    decoder = json.JSONDecoder()
    found = []
    place = tried = 0
    while (start := _find_opening(text, place)) >= 0 and tried < OPENINGS:
        tried += 1
        try:
            value, place = decoder.raw_decode(text, start)
            found.append(_check_container(value))
        except (ValueError, RecursionError):
            place = start + 1
    return found


def _find_opening(text: str, place: int) -> int:
    starts = [found for mark in "{[" if (found := text.find(mark, place)) >= 0]
    return min(starts, default=-1)


def _check_container(value: Any) -> Any:
    """Raises ValueError: a bare value, or text that is not valid Unicode (a lone surrogate)."""
    if not isinstance(value, dict | list):
        raise ValueError("a bare value")
    json.dumps(value, ensure_ascii=False).encode()
    return value

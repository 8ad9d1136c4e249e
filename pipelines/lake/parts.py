"""What a row of an imported file comes to, and the parts that every layout reads."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Message = dict[str, str]
Source = Mapping[str, Any]

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
MAX_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """One opinion on responses `i` and `j` of a row.

    `p_first` is the probability that `i` is better (of a plain verdict 1.0, 0.0 or, of a tie,
    0.5), None where not `valid` (see `reason`). `annotator_suffix` is empty for the label of the
    pool itself; `raw` is the opinion as it stands in the row. What follows `raw` only recorded
    opinions know: `order` is `ab` where `i` was shown first, `scores` are those of `i` and `j`,
    `gold` says that this is the truth.
    """

    i: int
    j: int
    annotator_suffix: str
    kind: str
    p_first: float | None
    tie: bool
    valid: bool
    reason: str | None
    raw: str | None
    criterion: str | None = None
    order: str | None = None
    sample_index: int = 0
    critique: str | None = None
    gold: bool | None = None
    scores: tuple[float, float] | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """What one row of a pool says. `policies` names the model of each response, if the row does;
    `context` is the material that the prompt was asked about, which `messages` hold as well;
    `licence` is that of this row alone, where it has one of its own."""

    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    category: str | None = None
    language: str | None = None
    context: str | None = None
    policies: tuple[str | None, ...] = ()
    licence: str | None = None


def read_prompt(prompt: str) -> list[Message]:
    """The messages of a prompt given as text: a Human/Assistant transcript, or the user's turn."""
    if prompt.startswith(HUMAN):
        return read_transcript(prompt.rstrip().removesuffix(ASSISTANT))
    return [{"role": "user", "content": prompt}]


def read_transcript(text: str) -> list[Message]:
    """The messages of a text in the `\\n\\nHuman: … \\n\\nAssistant: …` form."""
    parts = re.split(r"\n\n(Human|Assistant):", text)[1:]
    turns = zip(parts[::2], parts[1::2], strict=True)
    role = {"Human": "user", "Assistant": "assistant"}
    return [{"role": role[speaker], "content": content.strip()} for speaker, content in turns]


def read_messages(row: Source, key: str) -> list[Message]:
    """The list of messages under a key, with `role` and `content` (or `from` and `value`).

    Raises:
        ValueError: it is no such list.
    """
    value = row.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is not {'text or ' if key == 'prompt' else ''}a list of messages")
    messages = []
    for item in value:
        if not isinstance(item, dict):
            raise ValueError(f"{key} holds something that is not a message")
        role = item["role"] if "role" in item else item.get("from")
        content = item["content"] if "content" in item else item.get("value")
        if not isinstance(role, str) or not role or not isinstance(content, str):
            raise ValueError(f"{key} holds a message without role or text")
        messages.append({"role": ROLES.get(role, role), "content": content})
    return messages


def make_row(
    row: Source,
    messages: list[Message],
    responses: tuple[str, ...],
    comparisons: tuple[Comparison, ...],
    *,
    context: str | None = None,
    policies: tuple[str | None, ...] = (),
    licence: str | None = None,
) -> ImportedRow:
    """The row, with its category if it names one.

    Raises:
        ValueError: the last message of the prompt is empty.
    """
    if not messages or not messages[-1]["content"].strip():
        raise ValueError("empty prompt")
    return ImportedRow(
        messages=tuple(messages),
        responses=responses,
        comparisons=comparisons,
        category=get_name(row, "category"),
        context=context,
        policies=policies or (None,) * len(responses),
        licence=licence,
    )


def get_text(row: Source, key: str) -> str:
    """The text under a key. Raises ValueError: it is missing, or not text."""
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError(f"{key} is missing")
    raise ValueError(f"{key} is {_describe(value)}, not text")


def get_name(row: Source, key: str) -> str | None:
    """The text under a key without spaces around it, None where there is none."""
    value = row.get(key)
    return value.strip() or None if isinstance(value, str) else None


def find_text(row: Source, key: str) -> str | None:
    """The text under a key, None where there is none. Raises ValueError: it is not text."""
    return None if row.get(key) is None else get_text(row, key)


def find_name(row: Source, key: str) -> str | None:
    """As `find_text`, without spaces around it; None where nothing else is left."""
    return (find_text(row, key) or "").strip() or None


def find_number(row: Source, key: str) -> float | None:
    """The number under a key, None where there is none. Raises ValueError: it is not a finite
    number; neither a boolean nor a text that holds one is."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is {_describe(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{key} is not a finite number")
    return number


def find_count(row: Source, key: str) -> int | None:
    """As `find_number`, for an integer from 0 that the lake can hold (`3.0` is one)."""
    number = find_number(row, key)
    if number is None:
        return None
    if number < 0 or not number.is_integer() or number > MAX_COUNT:
        raise ValueError(f"{key} is not an integer from 0")
    return int(row[key])


def _describe(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return "text" if isinstance(value, str) else f"of type {type(value).__name__}"

"""The layouts that preference pools come in: one row in, one `ImportedRow` out.

A row that cannot be used raises ValueError with a reason that is the same for every row with
that fault, so that reasons can be counted. An opinion that cannot be read is another matter: the
row stays, and the opinion is marked as not valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Message = dict[str, str]
Source = Mapping[str, Any]

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
PASSAGES = "Passages:"
VERDICTS = {"1": 1.0, "2": 0.0, "0": 0.5, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One opinion on responses `i` and `j` of a row.

    `p_first` is 1.0 (`i` is better), 0.0 or 0.5 (a tie), None where not `valid` (see `reason`).
    `annotator_suffix` is empty for the label of the pool itself; `raw` is the opinion as it
    stands in the row.
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


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """What one row of a pool says. `policies` names the model of each response, if the row does;
    `context` is the material that the prompt was asked about, which `messages` hold as well."""

    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    category: str | None = None
    language: str | None = None
    context: str | None = None
    policies: tuple[str | None, ...] = ()


def detect_layout(row: Source) -> str | None:
    """The layout whose keys the row has, None if there is none."""
    for layout in LAYOUTS:
        if has_keys(layout, row):
            return layout
    return None


def has_keys(layout: str, row: Source) -> bool:
    """Whether the row has the keys of a layout (and, where two layouts share them, its form)."""
    if layout == "ultrafeedback" and "completions" in row:
        return "instruction" in row or "prompt" in row
    if not all(key in row for key in KEYS[layout]):
        return False
    if layout == "hh":
        return isinstance(row["chosen"], str) and row["chosen"].startswith(HUMAN)
    if layout == "trl_implicit":
        return isinstance(row["chosen"], list)
    return True


def read_row(layout: str, row: Source) -> ImportedRow:
    """Turn a row of a known layout into an `ImportedRow`.

    Raises:
        ValueError: the row cannot be used; the message is the reason.
    """
    return LAYOUTS[layout](row)


def read_verdict(value: Any, suffix: str, kind: str, i: int = 0, j: int = 1) -> Comparison:
    """Read 1 (first), 2 (second), 0 or `tie`; anything else is an opinion that is not valid."""
    raw = value if isinstance(value, str) else json.dumps(value, default=str)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with nulls makes floats of its integers
    text = "" if isinstance(value, bool) else str(value).strip().lower()
    if text not in VERDICTS:
        return Comparison(i, j, suffix, kind, None, False, False, "no verdict", raw)
    p_first = VERDICTS[text]
    return Comparison(i, j, suffix, kind, p_first, p_first == 0.5, True, None, raw)


def _read_trl(row: Source) -> ImportedRow:
    prompt = row.get("prompt")
    messages = _read_prompt(prompt) if isinstance(prompt, str) else _read_messages(row, "prompt")
    if not isinstance(row.get("chosen"), list):
        return _make_chosen(row, messages, _get_text(row, "chosen"), _get_text(row, "rejected"))
    prefix, chosen, rejected = _split_conversations(row)
    whole = prefix if messages[-1:] and messages[-1] in prefix else [*messages, *prefix]
    return _make_chosen(row, whole, chosen, rejected)


def _read_prompt(prompt: str) -> list[Message]:
    if prompt.startswith(HUMAN):
        return _read_transcript(prompt.rstrip().removesuffix(ASSISTANT))
    return [{"role": "user", "content": prompt}]


def _read_trl_implicit(row: Source) -> ImportedRow:
    return _make_chosen(row, *_split_conversations(row))


def _read_hh(row: Source) -> ImportedRow:
    contexts, answers = [], []
    for key in ("chosen", "rejected"):
        text = _get_text(row, key)
        context, marker, answer = text.rpartition(ASSISTANT)
        if not marker or not text.startswith(HUMAN):
            raise ValueError(f"{key} is not a Human/Assistant transcript")
        if HUMAN in answer:
            raise ValueError(f"{key} does not end with the assistant's turn")
        contexts.append(context)
        answers.append(answer.strip())
    if contexts[0] != contexts[1]:
        raise ValueError("contexts differ")
    return _make_chosen(row, _read_transcript(contexts[0]), answers[0], answers[1])


def _read_transcript(text: str) -> list[Message]:
    parts = re.split(r"\n\n(Human|Assistant):", text)[1:]
    turns = zip(parts[::2], parts[1::2], strict=True)
    role = {"Human": "user", "Assistant": "assistant"}
    return [{"role": role[speaker], "content": content.strip()} for speaker, content in turns]


def _read_ultrafeedback(row: Source) -> ImportedRow:
    prompt = _get_text(row, "instruction" if "instruction" in row else "prompt")
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(c, dict) for c in completions):
        raise ValueError("completions is not a list of objects")
    if len(completions) < 2:
        raise ValueError("fewer than two completions")
    responses = tuple(_get_text(item, "response") for item in completions)
    scores = [_read_score(item.get("overall_score")) for item in completions]
    known = [score for score in scores if score is not None]
    if not known:
        raise ValueError("no completion has an overall_score")
    best = scores.index(max(known))
    comparisons = tuple(
        _compare_scores(best, other, scores) for other in range(len(scores)) if other != best
    )
    policies = tuple(_get_name(item, "model") for item in completions)
    return _make_row(row, _read_prompt(prompt), responses, comparisons, policies=policies)


def _read_score(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    return score if score == score else None


def _compare_scores(best: int, other: int, scores: list[float | None]) -> Comparison:
    raw = json.dumps([scores[best], scores[other]])
    if scores[other] is None:
        return Comparison(best, other, "", "import", None, False, False, "no overall_score", raw)
    tie = scores[best] == scores[other]
    return Comparison(best, other, "", "import", 0.5 if tie else 1.0, tie, True, None, raw)


def _read_pandalm(row: Source) -> ImportedRow:
    instruction = _get_text(row, "instruction")
    added = _get_text(row, "input") if row.get("input") is not None else ""
    prompt = f"{instruction}\n\n{added}" if added.strip() else instruction
    responses = (_get_text(row, "response1"), _get_text(row, "response2"))
    comparisons = tuple(
        read_verdict(value, key, "human" if key.startswith("annotator") else "llm")
        for key, value in row.items()
        if re.fullmatch(r"annotator\d+|judge_\w+", key)
    )
    models = (_get_name(row, "cmp_key") or "").split("_")
    policies = (models[0], models[1]) if len(models) == 2 else ()
    messages = [{"role": "user", "content": prompt}]
    return _make_row(row, messages, responses, comparisons, policies=policies)


def _read_finegrained(row: Source) -> ImportedRow:
    """The prompt is what the annotators saw: the question, and below it the passages."""
    responses = tuple(_get_text(row, f"prediction {number}") for number in range(1, 5))
    preference = row.get("preference")
    if not isinstance(preference, list) or len(preference) != 6:
        raise ValueError("preference does not hold 6 comparisons")
    comparisons = tuple(
        read_verdict(value, "", "import", i, j)
        for value, (i, j) in zip(preference, combinations(range(4), 2), strict=True)
    )
    question = _get_text(row, "question")
    context = _render_passages(row.get("passages"))
    asked = f"{question}\n\n{PASSAGES}\n\n{context}" if context and question.strip() else question
    messages = [{"role": "user", "content": asked}]
    return _make_row(row, messages, responses, comparisons, context=context)


def _render_passages(passages: Any) -> str | None:
    """Passages are lists whose first text is the title."""
    if not passages:
        return None
    if not all(isinstance(p, list) and all(isinstance(s, str) for s in p) for p in passages):
        return json.dumps(passages, ensure_ascii=False, default=str)
    return "\n\n".join(f"{passage[0]}\n{' '.join(passage[1:])}" for passage in passages if passage)


def _split_conversations(row: Source) -> tuple[list[Message], str, str]:
    """What two conversations share, and the assistant's last turn of each."""
    chosen, rejected = _read_messages(row, "chosen"), _read_messages(row, "rejected")
    for key, messages in (("chosen", chosen), ("rejected", rejected)):
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(f"{key} does not end with the assistant's turn")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("contexts differ")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _read_messages(row: Source, key: str) -> list[Message]:
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


def _make_chosen(row: Source, messages: list[Message], chosen: str, rejected: str) -> ImportedRow:
    if not chosen.strip() or not rejected.strip():
        raise ValueError("empty response")
    comparison = Comparison(0, 1, "", "import", 1.0, False, True, None, "chosen")
    policies = (_get_name(row, "chosen_model"), _get_name(row, "rejected_model"))
    return _make_row(row, messages, (chosen, rejected), (comparison,), policies=policies)


def _make_row(
    row: Source,
    messages: list[Message],
    responses: tuple[str, ...],
    comparisons: tuple[Comparison, ...],
    *,
    context: str | None = None,
    policies: tuple[str | None, ...] = (),
) -> ImportedRow:
    if not messages or not messages[-1]["content"].strip():
        raise ValueError("empty prompt")
    return ImportedRow(
        messages=tuple(messages),
        responses=responses,
        comparisons=comparisons,
        category=_get_name(row, "category"),
        context=context,
        policies=policies or (None,) * len(responses),
    )


def _get_text(row: Source, key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError(f"{key} is missing")
    kind = "a boolean" if isinstance(value, bool) else f"of type {type(value).__name__}"
    raise ValueError(f"{key} is {kind}, not text")


def _get_name(row: Source, key: str) -> str | None:
    value = row.get(key)
    return value.strip() or None if isinstance(value, str) else None


LAYOUTS: dict[str, Callable[[Source], ImportedRow]] = {
    "pandalm": _read_pandalm,
    "finegrained": _read_finegrained,
    "ultrafeedback": _read_ultrafeedback,
    "trl": _read_trl,
    "hh": _read_hh,
    "trl_implicit": _read_trl_implicit,
}
"""In the order in which they are looked for."""

KEYS = {
    "pandalm": ("instruction", "response1", "response2"),
    "finegrained": ("question", *(f"prediction {number}" for number in range(1, 5)), "preference"),
    "ultrafeedback": ("instruction", "completions"),
    "trl": ("prompt", "chosen", "rejected"),
    "hh": ("chosen", "rejected"),
    "trl_implicit": ("chosen", "rejected"),
}
"""What each layout needs (`ultrafeedback` takes `prompt` for `instruction`)."""

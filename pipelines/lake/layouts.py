"""The layouts that preference pools come in: one row in, one `ImportedRow` out.

A row that cannot be used raises ValueError with a reason that is the same for every row with
that fault, so that reasons can be counted. An opinion that cannot be read is another matter: the
row stays, and the opinion is marked as not valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

from pipelines.lake.opinions import NEEDED, read_opinion
from pipelines.lake.parts import (
    ASSISTANT,
    HUMAN,
    Comparison,
    ImportedRow,
    Message,
    Source,
    get_name,
    get_text,
    make_row,
    read_messages,
    read_prompt,
    read_transcript,
)

OPINIONS = "judgments"
PASSAGES = "Passages:"
VERDICTS = {"1": 1.0, "2": 0.0, "0": 0.5, "tie": 0.5}


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
    messages = read_prompt(prompt) if isinstance(prompt, str) else read_messages(row, "prompt")
    if not isinstance(row.get("chosen"), list):
        return _make_chosen(row, messages, get_text(row, "chosen"), get_text(row, "rejected"))
    prefix, chosen, rejected = _split_conversations(row)
    whole = prefix if messages[-1:] and messages[-1] in prefix else [*messages, *prefix]
    return _make_chosen(row, whole, chosen, rejected)


def _read_trl_implicit(row: Source) -> ImportedRow:
    return _make_chosen(row, *_split_conversations(row))


def _read_hh(row: Source) -> ImportedRow:
    contexts, answers = [], []
    for key in ("chosen", "rejected"):
        text = get_text(row, key)
        context, marker, answer = text.rpartition(ASSISTANT)
        if not marker or not text.startswith(HUMAN):
            raise ValueError(f"{key} is not a Human/Assistant transcript")
        if HUMAN in answer:
            raise ValueError(f"{key} does not end with the assistant's turn")
        contexts.append(context)
        answers.append(answer.strip())
    if contexts[0] != contexts[1]:
        raise ValueError("contexts differ")
    return _make_chosen(row, read_transcript(contexts[0]), answers[0], answers[1])


def _read_ultrafeedback(row: Source) -> ImportedRow:
    prompt = get_text(row, "instruction" if "instruction" in row else "prompt")
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(c, dict) for c in completions):
        raise ValueError("completions is not a list of objects")
    if len(completions) < 2:
        raise ValueError("fewer than two completions")
    responses = tuple(get_text(item, "response") for item in completions)
    scores = [_read_score(item.get("overall_score")) for item in completions]
    known = [score for score in scores if score is not None]
    if not known:
        raise ValueError("no completion has an overall_score")
    best = scores.index(max(known))
    comparisons = tuple(
        _compare_scores(best, other, scores) for other in range(len(scores)) if other != best
    )
    policies = tuple(get_name(item, "model") for item in completions)
    return make_row(row, read_prompt(prompt), responses, comparisons, policies=policies)


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
    instruction = get_text(row, "instruction")
    added = get_text(row, "input") if row.get("input") is not None else ""
    prompt = f"{instruction}\n\n{added}" if added.strip() else instruction
    responses = (get_text(row, "response1"), get_text(row, "response2"))
    comparisons = tuple(
        read_verdict(value, key, "human" if key.startswith("annotator") else "llm")
        for key, value in row.items()
        if re.fullmatch(r"annotator\d+|judge_\w+", key)
    )
    models = (get_name(row, "cmp_key") or "").split("_")
    policies = (models[0], models[1]) if len(models) == 2 else ()
    messages = [{"role": "user", "content": prompt}]
    return make_row(row, messages, responses, comparisons, policies=policies)


def _read_finegrained(row: Source) -> ImportedRow:
    """The prompt is what the annotators saw: the question, and below it the passages."""
    responses = tuple(get_text(row, f"prediction {number}") for number in range(1, 5))
    preference = row.get("preference")
    if not isinstance(preference, list) or len(preference) != 6:
        raise ValueError("preference does not hold 6 comparisons")
    comparisons = tuple(
        read_verdict(value, "", "import", i, j)
        for value, (i, j) in zip(preference, combinations(range(4), 2), strict=True)
    )
    question = get_text(row, "question")
    context = _render_passages(row.get("passages"))
    asked = f"{question}\n\n{PASSAGES}\n\n{context}" if context and question.strip() else question
    messages = [{"role": "user", "content": asked}]
    return make_row(row, messages, responses, comparisons, context=context)


def _render_passages(passages: Any) -> str | None:
    """Passages are lists whose first text is the title."""
    if not passages:
        return None
    if not all(isinstance(p, list) and all(isinstance(s, str) for s in p) for p in passages):
        return json.dumps(passages, ensure_ascii=False, default=str)
    return "\n\n".join(f"{passage[0]}\n{' '.join(passage[1:])}" for passage in passages if passage)


def _split_conversations(row: Source) -> tuple[list[Message], str, str]:
    """What two conversations share, and the assistant's last turn of each."""
    chosen, rejected = read_messages(row, "chosen"), read_messages(row, "rejected")
    for key, messages in (("chosen", chosen), ("rejected", rejected)):
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(f"{key} does not end with the assistant's turn")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("contexts differ")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _make_chosen(row: Source, messages: list[Message], chosen: str, rejected: str) -> ImportedRow:
    if not chosen.strip() or not rejected.strip():
        raise ValueError("empty response")
    comparison = Comparison(0, 1, "", "import", 1.0, False, True, None, "chosen")
    policies = (get_name(row, "chosen_model"), get_name(row, "rejected_model"))
    return make_row(row, messages, (chosen, rejected), (comparison,), policies=policies)


LAYOUTS: dict[str, Callable[[Source], ImportedRow]] = {
    "pandalm": _read_pandalm,
    "finegrained": _read_finegrained,
    "ultrafeedback": _read_ultrafeedback,
    "trl": _read_trl,
    "hh": _read_hh,
    "trl_implicit": _read_trl_implicit,
    OPINIONS: read_opinion,
}
"""In the order in which they are looked for."""

KEYS = {
    "pandalm": ("instruction", "response1", "response2"),
    "finegrained": ("question", *(f"prediction {number}" for number in range(1, 5)), "preference"),
    "ultrafeedback": ("instruction", "completions"),
    "trl": ("prompt", "chosen", "rejected"),
    "hh": ("chosen", "rejected"),
    "trl_implicit": ("chosen", "rejected"),
    OPINIONS: NEEDED,
}
"""What each layout needs (`ultrafeedback` takes `prompt` for `instruction`)."""

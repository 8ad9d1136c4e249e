"""The form of a generative judge's answer, and how it is read: principles, critiques, scores."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from annotators.asking import Unreadable, read_json

LOWEST, TOP = 1, 10
MOST_PRINCIPLES = 4
TEXT_CHARS = 300
FRAME_TOKENS = 80  # the keys, brackets and white space of an answer
CHARS_A_TOKEN = 2  # cautious: small models write clumsy tokens under a grammar
_LINE = re.compile(r"scores?[\s\"'`*:=]{1,8}\[([^\[\]]*)\]", re.IGNORECASE)
_SCORE = re.compile(r"\s*[*\"']*(\d{1,2})(?:\.0+)?(?:\s*/\s*10)?[*\"']*\s*")


@dataclass(frozen=True)
class Assessment:
    """One assessment of the responses, in the order in which they were shown.

    `principles` and `critiques` are empty where they stand somewhere in `text`, the whole answer.
    """

    scores: tuple[int, ...]
    critiques: tuple[str, ...]
    principles: tuple[dict[str, Any], ...]
    text: str

    def describe(self) -> str:
        """The assessment in words, without its scores where they can be told apart."""
        if not self.critiques:
            return self.text
        lines = [f"- {one['principle']} ({one['weight']} %)" for one in self.principles]
        lines += [f"Answer {n}: {said}" for n, said in enumerate(self.critiques, start=1)]
        return "\n".join(lines)

    def list_scores(self) -> str:
        """The scores in words."""
        return "\n".join(f"Answer {n}: {score}" for n, score in enumerate(self.scores, start=1))


def make_schema(count: int, max_tokens: int) -> dict[str, Any]:
    """The JSON of an assessment of `count` responses, of texts so short that it fits in
    `max_tokens`."""
    left = max_tokens - FRAME_TOKENS - 10 * count
    chars = max(20, min(TEXT_CHARS, CHARS_A_TOKEN * left // (count + MOST_PRINCIPLES)))
    principle = {
        "type": "object",
        "properties": {
            "principle": {"type": "string", "minLength": 1, "maxLength": chars},
            "weight": {"type": "integer", "minimum": 1, "maximum": 100},
        },
        "required": ["principle", "weight"],
        "additionalProperties": False,
    }
    critique = {"type": "string", "minLength": 1, "maxLength": chars}
    score = {"type": "integer", "enum": list(range(LOWEST, TOP + 1))}
    properties = {
        "principles": {
            "type": "array", "minItems": 1, "maxItems": MOST_PRINCIPLES, "items": principle
        },
        "critiques": {"type": "array", "minItems": count, "maxItems": count, "items": critique},
        "scores": {"type": "array", "minItems": count, "maxItems": count, "items": score},
    }  # fmt: skip
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_assessment(text: str, count: int) -> Assessment:
    """The assessment in an answer: JSON, or words with a line `scores: [7, 4]` (the last counts).

    Principles and critiques that are not in the form are left in `text`; scores are not guessed.

    Raises:
        Unreadable: not `count` whole numbers from 1 to 10.
    """
    try:
        content = read_object(text)
    except Unreadable:
        content = {}
    if not isinstance(content.get("scores"), list):
        lines = _LINE.findall(text)
        if not lines:
            raise Unreadable(f"no scores in {text[:80]!r}")
        content = {"scores": [part for part in lines[-1].split(",") if part.strip()]}
    scores = tuple(_read_score(value) for value in content["scores"])
    if len(scores) != count:
        raise Unreadable(f"{len(scores)} scores for {count} answers")
    critiques = _read_critiques(content.get("critiques"))
    principles = _read_principles(content.get("principles"))
    return Assessment(scores, critiques if len(critiques) == count else (), principles, text)


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in an answer (see `annotators.asking.read_json`), of which every part can be
    written down.

    Raises:
        Unreadable: no such object, nested too deeply, or with half a character (a lone surrogate,
            which a JSON escape can spell and no file can hold).
    """
    try:
        content = read_json(text)
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"it has what JSON cannot hold: {error}") from error
    if not isinstance(content, dict):
        raise Unreadable("not a JSON object")
    return content


def _read_score(value: Any) -> int:
    found = _SCORE.fullmatch(str(value))
    if isinstance(value, bool) or found is None or not LOWEST <= int(found[1]) <= TOP:
        raise Unreadable(f"{value!r:.40} is no whole number from {LOWEST} to {TOP}")
    return int(found[1])


def _read_critiques(value: Any) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else []
    texts = [one.get("critique") if isinstance(one, dict) else one for one in entries]
    return tuple(text for text in texts if isinstance(text, str) and text.strip())


def _read_principles(value: Any) -> tuple[dict[str, Any], ...]:
    entries = value if isinstance(value, list) else []
    return tuple(
        {"principle": one["principle"], "weight": one.get("weight")}
        for one in entries
        if isinstance(one, dict) and isinstance(one.get("principle"), str)
    )

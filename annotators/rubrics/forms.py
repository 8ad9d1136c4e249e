"""The JSON that a rubric judge is asked for, and how it is read: written criteria, and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annotators.asking import Unreadable, read_json
from annotators.rubrics.rubric import KINDS, Criterion

SCORES = (-2, -1, 0, 1, 2)
TITLE_CHARS, TEXT_CHARS = 48, 120


def make_criterion_schema() -> dict[str, Any]:
    """One criterion: title, description, kind."""
    return {
        "type": "object",
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": TITLE_CHARS},
            "description": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS},
            "kind": {"type": "string", "enum": list(KINDS)},
        },
        "required": ["title", "description", "kind"],
        "additionalProperties": False,
    }


def make_criteria_schema(least: int, most: int) -> dict[str, Any]:
    """A list of that many criteria."""
    items = make_criterion_schema()
    return {
        "type": "object",
        "properties": {
            "criteria": {"type": "array", "minItems": least, "maxItems": most, "items": items}
        },
        "required": ["criteria"],
        "additionalProperties": False,
    }


def make_scores_schema(count: int) -> dict[str, Any]:
    """Evidence, then a score, for each number from 1 to `count`."""
    entry = {
        "type": "object",
        "properties": {
            "evidence": {"type": "string", "maxLength": TEXT_CHARS},
            "score": {"type": "integer", "enum": list(SCORES)},
        },
        "required": ["evidence", "score"],
        "additionalProperties": False,
    }
    names = [str(number) for number in range(1, count + 1)]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, entry),
        "required": names,
        "additionalProperties": False,
    }


def read_criteria(
    text: str, least: int, most: int, taken: Iterable[Criterion] = ()
) -> tuple[Criterion, ...]:
    """The criteria that a model wrote. One whose title stands before it, or among `taken`, is left
    out.

    Raises:
        Unreadable: no such JSON, fewer than `least` distinct criteria or more than `most`, or one
            that says nothing or has no kind.
    """
    content = read_json(text)
    entries = content.get("criteria") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise Unreadable("no list under 'criteria'")
    seen = {criterion.title.casefold() for criterion in taken}
    criteria = []
    for entry in entries:
        criterion = read_criterion(entry)
        if criterion.title.casefold() not in seen:
            criteria.append(criterion)
        seen.add(criterion.title.casefold())
    if not least <= len(criteria) <= most:
        raise Unreadable(f"{len(criteria)} distinct criteria, not {least} to {most}")
    return tuple(criteria)


def read_criterion(entry: Any) -> Criterion:
    """One criterion.

    Raises:
        Unreadable: a key is missing, or its value says nothing.
    """
    if not isinstance(entry, Mapping):
        raise Unreadable(f"a criterion must be an object: {entry!r:.80}")
    texts = [str(entry.get(key) or "").strip() for key in ("title", "description", "kind")]
    kind = texts[2].lower()
    if kind not in KINDS:
        raise Unreadable(f"kind {texts[2]!r} of {texts[0]!r} is none of {', '.join(KINDS)}")
    try:
        return Criterion(texts[0], texts[1], kind)
    except ValueError as error:
        raise Unreadable(f"{error}: {entry!r:.80}") from error


def read_scores(text: str, criteria: Sequence[Criterion]) -> tuple[tuple[float, str], ...]:
    """The score (of the response shown first) and the evidence of each criterion, in their order.

    An entry is found by its number or its title, and may be then a bare score; or by its place in a
    list that has as many objects as there are criteria. (A list of numbers may be the scale.)

    Raises:
        Unreadable: no such JSON, or a criterion without a score from -2 to 2: none is made up.
    """
    content = read_json(text)
    if isinstance(content, dict) and isinstance(content.get("scores"), dict | list):
        content = content["scores"]
    if isinstance(content, list):
        if len(content) != len(criteria) or not all(isinstance(one, Mapping) for one in content):
            raise Unreadable(f"a list that is not one object for each of {len(criteria)} criteria")
        content = {str(number): entry for number, entry in enumerate(content, start=1)}
    return tuple(
        _read_score(content.get(str(number), content.get(criterion.title)), number)
        for number, criterion in enumerate(criteria, start=1)
    )


def _read_score(entry: Any, number: int) -> tuple[float, str]:
    score, evidence = entry, ""
    if isinstance(entry, Mapping):
        score, evidence = entry.get("score"), str(entry.get("evidence") or "")
    try:
        value = float(score) if isinstance(score, int | float | str) else None
    except ValueError:
        value = None
    if value not in SCORES or isinstance(score, bool):
        raise Unreadable(f"criterion {number} has no score from -2 to 2 but {score!r:.40}")
    assert value is not None
    return value, evidence

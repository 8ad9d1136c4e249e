"""A judge that is always right, for tests of what becomes of verdicts: it likes the response that
says it is `worth` more, wherever and in whatever form it is asked.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

_WORTH = re.compile(r"\bworth (\d+)")


def read_worths(shown: str) -> list[int]:
    """What the responses in a question say they are worth, in the order in which they stand;
    those of the examples before it are not asked about."""
    return [int(worth) for worth in _WORTH.findall(shown.rpartition("[End of the examples]")[2])]


def prefer_first(shown: str) -> float | None:
    """The probability that the first of the two responses in a question is better; None where it
    does not show two."""
    worths = read_worths(shown)
    return 1 / (1 + math.exp(worths[1] - worths[0])) if len(worths) == 2 else None


def fill_form(schema: Mapping[str, Any], shown: str) -> dict[str, Any]:
    """JSON of that schema: `scores` are what the responses are worth; a `score` is how much more
    the first is than the second, -2 to 2; the rest is made up of the question, and no two texts are
    alike."""
    form: dict[str, Any] = _fill(schema, shown)
    worths = read_worths(shown)
    if worths and "scores" in form:
        form["scores"] = worths
    for entry in form.values():
        if len(worths) == 2 and isinstance(entry, dict) and "score" in entry:
            entry["score"] = max(-2, min(2, worths[0] - worths[1]))
    return form


def _fill(schema: Mapping[str, Any], salt: str) -> Any:
    if "enum" in schema:
        return schema["enum"][hashlib.blake2b(salt.encode()).digest()[0] % len(schema["enum"])]
    if schema["type"] == "object":
        return {key: _fill(part, f"{salt}.{key}") for key, part in schema["properties"].items()}
    if schema["type"] == "array":
        return [_fill(schema["items"], f"{salt}.{place}") for place in range(schema["minItems"])]
    if schema["type"] == "integer":
        return schema["minimum"]
    return "w" + hashlib.blake2b(salt.encode(), digest_size=4).hexdigest()

"""The gate before all others: where a prompt has a reference answer, right and wrong need no judge.

Each response is scored 1 (right), 0 (wrong) or None (no telling). Where exactly one is right and
the other wrong, that decides, as the first stage of OpenRS does (arXiv 2602.14069).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from annotators.answers import find_answer
from annotators.rubrics.gates import check_not_empty
from annotators.talk import Item
from annotators.verifiers import Check, Verdict, verify_responses

CLOSED = (frozenset("abcdefghij"), frozenset(("yes", "no")), frozenset(("true", "false")))


@dataclass(frozen=True)
class Decision:
    """A pair that a gate decides: `p_a` 1 or 0, or 0.5 where neither response says anything."""

    gate: str
    p_a: float
    reason: str


def decide_by_gate(item: Item) -> Decision | None:
    """What needs no judge: one response right and the other wrong by the reference answer, or one
    or both empty. None where a judge is needed."""
    full = [check_not_empty("", content) for content in item.contents]
    spoken = [finding is not None and finding.passed for finding in full]
    if not all(spoken):
        p_a = 0.5 + (spoken[0] - spoken[1]) / 2
        return Decision("not_empty", p_a, f"says something: {spoken[0]} and {spoken[1]}")
    if item.answer is None:
        return None
    scores = [score_by_reference(item.answer, content) for content in item.contents]
    if None in scores or scores[0] == scores[1]:
        return None
    right = "a" if scores[0] else "b"
    return Decision(
        "reference", float(scores[0] or 0), f"only response {right} has {item.answer!r}"
    )


def score_by_reference(answer: str, content: str) -> float | None:
    """1.0 right, 0.0 wrong, None where this cannot be told.

    A final answer that is the reference, but for case, white space and the punctuation around it,
    is right. A reference that is mathematics (a number or a formula, no words) is compared as such
    by math-verify in the verifiers' process. A reference that is one of a closed set (yes and no,
    true and false, the letters of options) makes a final answer wrong that is another of them. All
    else tells nothing: other words may mean the same (a synonym, another spelling or language), and
    a judge that is shown the reference can tell where a comparison of texts cannot.
    """
    wanted = _normalise(answer)
    if not wanted:
        return None
    said = _normalise(find_answer(content))
    if wanted == said:
        return 1.0
    if re.search(r"\d", answer):
        is_formula = "\\" in answer or not re.search(r"[^\W\d_]{3}", answer)
        return _verify(answer, content).score if is_formula else None
    return 0.0 if any({wanted, said} <= words for words in CLOSED) else None


def _normalise(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.split()).strip(" .,;:!?*\"'`$()[]")


def _verify(answer: str, content: str) -> Verdict:
    waiting, verdicts = _scorer()
    waiting.append(Check("math_verify", json.dumps({"answer": answer}), content))
    return next(verdicts)


@cache
def _scorer() -> tuple[deque[Check], Iterator[Verdict]]:
    """One scoring process for all items of this process; it ends with it."""
    waiting: deque[Check] = deque()
    return waiting, verify_responses(iter(waiting.popleft, None))

"""What people can be asked at the desk: one labelling config and one kind of task per question.

A task holds what the annotator must see and nothing else, for all of it can be read at the desk.
Texts are shown as text, never as HTML or Markdown, so nothing in them is ever fetched or run and
they need no cleaning: the desk gets them byte for byte.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.desk.client import DeskRefused
from annotators.rubrics.rubric import Criterion
from annotators.templates import render_template
from engines.assets import find_asset
from schemas.ids import make_id

FOLDER = "label_studio"
CRITERION = "criterion:"  # + title: the name of a criterion's control
RANK = "rank_"  # + index of the response shown
ALL_RIGHT, UNDECIDED = "none", "undecided"
RATING_KEYS = ("qwert", "asdfg", "zxcvb")
TURNING = {f"{ord(c):04X}": c for c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"}


@dataclass(frozen=True)
class Question:
    """A question: its name, its labelling config in `label_studio/`, the keys of a task's data
    beside `question`, `review_id`, `prompt`, `guideline` and `seal`, and how many responses it is
    about (at least, at most)."""

    name: str
    config: str
    keys: tuple[str, ...]
    responses: tuple[int, int]


QUESTIONS = {
    question.name: question
    for question in (
        Question("preference", "pairwise.xml", ("left", "right"), (2, 2)),
        Question("correctness", "correctness.xml", ("response",), (1, 1)),
        Question("spans", "spans.xml", ("response",), (1, 1)),
        Question("first_wrong_step", "first_wrong_step.xml", ("response", "steps"), (1, 1)),
        Question("ranking", "ranking.xml", ("responses", "ranks"), (2, 9)),
    )
}
SHARED_KEYS = ("question", "review_id", "prompt", "guideline", "seal")


def find_question(name: str) -> Question:
    """Raises DeskRefused: no such question."""
    if name not in QUESTIONS:
        raise DeskRefused(f"{name!r} is no question; use one of {', '.join(QUESTIONS)}")
    return QUESTIONS[name]


def render_config(question: str, criteria: Sequence[Criterion] = ()) -> str:
    """The labelling config of a question. Only a preference can have `criteria`, which are rated
    one by one; those that a check decides are left out.

    Raises:
        DeskRefused: no such question, or criteria that it does not take.
    """
    if criteria and question != "preference":
        raise DeskRefused(f"the question {question!r} has no ratings per criterion: leave them out")
    folder = find_asset(f"{FOLDER}/style.css").parent
    rows = [
        {
            "name": CRITERION + criterion.title,
            "title": _keep_dollars(criterion.title),
            "description": _keep_dollars(criterion.description),
            "keys": name_rating_keys(i),
            "told": f" [shift + {RATING_KEYS[i - 3]}]" if 3 <= i < 6 else "",
            "is_marked": i < 3,
        }
        for i, criterion in enumerate(c for c in criteria if c.check is None)
    ]
    read = {
        name: (folder / name).read_text("utf-8") for name in ("style.css", "head.xml", "tail.xml")
    }
    head = render_template(read["head.xml"], style=read["style.css"])
    body = (folder / find_question(question).config).read_text("utf-8")
    return render_template(body, head=head, tail=read["tail.xml"], criteria=rows)


def name_rating_keys(row: int) -> list[str]:
    """The keys of a criterion's five ratings: of the first three letters, of the next three the
    same with shift. Any other has a chord that nobody strikes, for what has no key at all is given
    one by the interface, and a finger that slips from 5 to 6 would rate a criterion."""
    held = ("", "shift+")[row // 3] if row < 6 else "ctrl+alt+shift+"
    return [held + key for key in RATING_KEYS[row % 3]]


def make_task(
    question: str, review_id: str, *, prompt: str, guideline: str, responses: Sequence[str]
) -> dict[str, Any]:
    """The data of a task.

    Args:
        responses: in the order shown (of a pair: left, right).
        guideline: of the prompt's category (`annotators.guidelines`). A line is added to it where
            a text holds marks that make it look other than it reads.

    Raises:
        DeskRefused: no such question, or one of another number of responses.
    """
    asked = find_question(question)
    low, high = asked.responses
    if not low <= len(responses) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise DeskRefused(
            f"the task of review {review_id} has {len(responses)} responses, and {question} is "
            f"asked about {wanted}"
        )
    data: dict[str, Any] = {
        "question": question,
        "review_id": review_id,
        "prompt": prompt,
        "guideline": "\n".join([*_warn(prompt, guideline, *responses), guideline]).strip(),
    }
    if question == "preference":
        data |= {"left": responses[0], "right": responses[1]}
    elif question == "ranking":
        data["responses"] = [{"text": text} for text in responses]
        data["ranks"] = [{"value": str(i + 1)} for i in range(len(responses))]
    else:
        data["response"] = responses[0]
    if question == "first_wrong_step":
        data["steps"] = [
            {"value": "All steps are right", "alias": ALL_RIGHT, "hotkey": "a"},
            {"value": "Cannot decide", "alias": UNDECIDED, "hotkey": "0"},
            *(
                {
                    "value": f"{i + 1}.  {_keep_dollars(step)}",
                    "alias": str(i),
                    **({"hotkey": str(i + 1)} if i < 9 else {}),
                }
                for i, step in enumerate(split_steps(responses[0]))
            ),
        ]
    return {**data, "seal": seal_task(data)}


def seal_task(data: Mapping[str, Any]) -> str:
    """A hash of a task's data without its seal: a task edited at the desk no longer fits it."""
    return make_id("task", {key: value for key, value in data.items() if key != "seal"})


def split_steps(response: str) -> list[str]:
    """The steps of a response that are numbered for the first wrong one: its paragraphs, or its
    lines where it is a single paragraph. A response of white space has one empty step."""
    text = response.strip()
    parts = re.split(r"\n[^\S\n]*\n", text.replace("\r\n", "\n"))
    if len(parts) == 1:
        parts = parts[0].split("\n")
    return [part.strip("\n") for part in parts if part.strip()] or [""]


def _warn(*texts: str) -> list[str]:
    """A line if a text holds marks that turn the direction of what follows."""
    found = sorted({code for text in texts for code, mark in TURNING.items() if mark in text})
    if not found:
        return []
    names = ", ".join(f"U+{code} {unicodedata.name(TURNING[code]).lower()}" for code in found)
    return [f"Look out: a text here holds invisible marks that turn its direction ({names})."]


def _keep_dollars(text: str) -> str:
    """The interface takes `$name` in a config or a choice for a variable: an invisible mark after
    the dollar (U+2060) keeps it from that."""
    return re.sub(r"\$(?=[\w\[\].{}])", "$\u2060", text)

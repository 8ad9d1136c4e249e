"""What an annotation says, read from its results, and the other way round for predictions.

An answer is a plain dictionary, by question:

- preference: `choice` (left, right, tie or None), `strength` (0 to 2, None where it was not asked),
  `ratings` (title of a criterion -> -2 to 2, positive where the left response is better);
- correctness: `correct` (true, false or None);
- spans: `spans`, each `start`, `end` (characters of the response), `label` and `text`;
- first_wrong_step: `index` (from 0; None where all steps are right);
- ranking: `ranks` (of each response shown, 1 being the best, equal ones alike) and `order` (indexes
  of the responses, best first; equal ones as shown).

Each has `undecided` too, true where the person chose that they cannot say, and `tools`.

Results are told apart by `from_name` alone, for the interface writes `to_name`s of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from annotators.desk.questions import ALL_RIGHT, CRITERION, RANK, UNDECIDED

Answer = dict[str, Any]
CHOICES: dict[str, tuple[str | None, int | None]] = {
    "left2": ("left", 2),
    "left1": ("left", 1),
    "tie": ("tie", 0),
    "right1": ("right", 1),
    "right2": ("right", 2),
    UNDECIDED: (None, None),
    "left": ("left", None),  # of tasks from before strength was asked
    "right": ("right", None),
}
CORRECT = {"correct": True, "incorrect": False, UNDECIDED: None}


NOT_OFFERED = "a choice that the task does not offer: was the labelling config changed?"
NO_ANSWER = "the question has no answer"
SPANS = ("factual", "reasoning", "instruction", "form", "unsafe", "other")
SHARED = ("tools", "comment")
CONTROLS = {
    "preference": ("preference",),
    "correctness": ("correctness",),
    "first_wrong_step": ("step",),
    "spans": ("spans", "verdict"),
    "ranking": (),
}


class Unreadable(ValueError):
    """An annotation that holds no answer; the message is the reason, the same for all alike."""


def read_answer(
    question: str, data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> Answer:
    """The answer that the results of an annotation of the task `data` give.

    Raises:
        Unreadable: none, several that exclude one another, or one that the task does not offer.
    """
    readers = {
        "preference": _read_preference,
        "correctness": _read_correctness,
        "spans": _read_spans,
        "first_wrong_step": _read_step,
        "ranking": _read_ranking,
    }
    if question not in readers:
        raise Unreadable("the task asks no question that is known here")
    try:
        read = readers[question](data, results)
    except Unreadable as error:
        raise _blame_config(error, question, results) from error
    return {"undecided": False, **read, "tools": collect(results, "tools", "choices")}


def write_answer(
    question: str, data: Mapping[str, Any], answer: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The results that read as `answer`: what a prediction of it holds. (A ranking has none, for
    its controls are made by the interface and no config validates them.)

    Raises:
        ValueError: no such answer to this question.
    """
    if question == "preference":
        named = (answer.get("choice"), answer.get("strength"))
        value = next((v for v, pair in CHOICES.items() if pair == named), None)
        ratings = [
            _choose(CRITERION + title, str(score), "prompt")
            for title, score in (answer.get("ratings") or {}).items()
        ]
        results = [_choose("preference", value, "prompt"), *ratings]
    elif question == "correctness":
        correct = answer.get("correct")
        value = next((v for v, said in CORRECT.items() if said is correct), None)
        results = [_choose("correctness", value, "response")]
    elif question == "first_wrong_step":
        index = answer.get("index")
        value = UNDECIDED if answer.get("undecided") else ALL_RIGHT if index is None else str(index)
        value = value if value in {step["alias"] for step in data["steps"]} else None
        results = [_choose("step", value, "prompt")]
    elif question == "spans":
        results = [_mark(span, data["response"]) for span in answer.get("spans") or ()]
        if not results:
            value = UNDECIDED if answer.get("undecided") else ALL_RIGHT
            results = [_choose("verdict", value, "response")]
    else:
        raise ValueError(f"{question} takes no predictions")
    return results


def collect(results: Sequence[Mapping[str, Any]], from_name: str, key: str) -> list[str]:
    """All that the control `from_name` says under `key`."""
    values: list[str] = []
    for result in results:
        if result.get("from_name") == from_name:
            value = _look(result).get(key) or []
            values += map(str, value) if isinstance(value, list) else [str(value)]
    return values


def _look(result: Mapping[str, Any]) -> Mapping[str, Any]:
    value = result.get("value")
    return value if isinstance(value, Mapping) else {}


def _read_preference(_data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Answer:
    choice, strength = CHOICES[_read_one(results, "preference", CHOICES)]
    titles = dict.fromkeys(
        name.removeprefix(CRITERION)
        for result in results
        if str(name := result.get("from_name")).startswith(CRITERION)
    )
    scores = ("-2", "-1", "0", "1", "2")
    ratings = {title: int(_read_one(results, CRITERION + title, scores)) for title in titles}
    undecided = choice is None
    return {"choice": choice, "strength": strength, "ratings": ratings, "undecided": undecided}


def _read_correctness(_data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Answer:
    correct = CORRECT[_read_one(results, "correctness", CORRECT)]
    return {"correct": correct, "undecided": correct is None}


def _read_spans(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Answer:
    response, spans = str(data.get("response")), []
    for result in results:
        if result.get("from_name") != "spans":
            continue
        value = _look(result)
        start, end, labels = value.get("start"), value.get("end"), value.get("labels")
        if not (isinstance(start, int) and isinstance(end, int) and isinstance(labels, list)):
            raise Unreadable("a mark without a place or a kind")
        if not {str(label) for label in labels} <= set(SPANS):
            raise Unreadable(NOT_OFFERED)
        text = response[start:end]
        marked = str(value.get("text", text))
        if not 0 <= start < end <= len(response) or _flatten(marked) != _flatten(text):
            raise Unreadable("a mark that does not fit the response")
        spans += [{"start": start, "end": end, "label": str(x), "text": text} for x in labels]
    verdict = collect(results, "verdict", "choices")
    if len(verdict) + bool(spans) != 1:
        raise Unreadable("marks and a verdict that there are none" if spans else _tell(verdict))
    spans.sort(key=lambda span: (span["start"], span["end"], span["label"]))
    return {"spans": spans, "undecided": verdict == [UNDECIDED]}


def _read_step(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Answer:
    offered = [step["alias"] for step in data.get("steps") or ()]
    chosen = _read_one(results, "step", offered)
    index = None if chosen in (ALL_RIGHT, UNDECIDED) else int(chosen)
    return {"index": index, "undecided": chosen == UNDECIDED}


def _read_ranking(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Answer:
    n = len(data.get("responses") or ())
    offered = [str(i + 1) for i in range(n)]
    ranks = [int(_read_one(results, f"{RANK}{i}", offered)) for i in range(n)]
    return {"ranks": ranks, "order": sorted(range(n), key=lambda i: ranks[i])}


def _flatten(text: str) -> list[str]:
    """The interface sends a backslash and an n for the end of a line, and other white space."""
    return text.replace("\\n", "\n").split()


def _read_one(results: Sequence[Mapping[str, Any]], from_name: str, offered: Any) -> str:
    chosen = collect(results, from_name, "choices")
    if len(chosen) != 1:
        raise Unreadable(_tell(chosen))
    if chosen[0] not in offered:
        raise Unreadable(NOT_OFFERED)
    return chosen[0]


def _tell(chosen: Sequence[str]) -> str:
    return "several choices where one is asked for" if chosen else NO_ANSWER


def _blame_config(
    error: Unreadable, question: str, results: Sequence[Mapping[str, Any]]
) -> Unreadable:
    """Where nothing was answered of what is asked, but something that is not."""
    if str(error) != NO_ANSWER:
        return error
    strange = sorted(
        name
        for name in {str(result.get("from_name")) for result in results}
        if name not in (*SHARED, *CONTROLS[question]) and not name.startswith((CRITERION, RANK))
    )
    if not strange:
        return error
    return Unreadable(
        f"an answer to {strange[0]!r}, which is not asked: was the labelling config changed?"
    )


def _choose(name: str, value: str | None, to_name: str) -> dict[str, Any]:
    if value is None:
        raise ValueError("no such answer")
    return {
        "from_name": name,
        "to_name": to_name,
        "type": "choices",
        "value": {"choices": [value]},
    }


def _mark(span: Mapping[str, Any], response: str) -> dict[str, Any]:
    start, end = span["start"], span["end"]
    if not 0 <= start < end <= len(response):
        raise ValueError("a mark that does not fit the response")
    value = {"start": start, "end": end, "text": response[start:end], "labels": [span["label"]]}
    return {"from_name": "spans", "to_name": "response", "type": "labels", "value": value}

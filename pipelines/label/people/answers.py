"""From an annotation at the desk to rows of `judgments`.

An annotation has at least one row, and the first carries the seconds and the raw text, so that
sums over rows count nobody's time twice. Where a person skipped, said nothing, or cannot decide,
that row is invalid and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from schemas.ids import make_id, make_judgment_id, make_pair_id

Row = dict[str, Any]

P_LEFT = {"left": 1.0, "right": 0.0, "tie": 0.5}
UNDECIDED, SKIPPED, EMPTY = "undecided", "skipped", "no answer was given"
ALL_RIGHT = -1  # the index of the first wrong step, where none is wrong
DELETED = "deleted at the desk"


def make_judgments(annotation: Any, review: Mapping[str, Any], turn: int = 0) -> list[Row]:
    """The rows that one revision of an annotation becomes; the same rows at every pull.

    Args:
        annotation: of the desk, with an `updated_at` and a `person`.
        review: the row of `reviews` that it answers.
        turn: see `pipelines.label.people.counting`.
    """
    detail = {
        "annotation": annotation.unique_id,
        "updated_at": write_time(annotation.updated_at),
        "began": write_time(annotation.created_at),
        "review_id": review["review_id"],
        "batch": review["batch_id"],
        "question": review["question"],
        "task": annotation.task_id,
    }
    order = None
    if review["question"] == "preference":
        order = "ab" if review["left"] == "a" else "ba"
    rows = []
    for said in _read(annotation, review):
        more = said.pop("detail", {})
        target = said.pop("target", review["pair_id"])
        row: Row = {
            "annotator": annotation.person,
            "kind": "human",
            "prompt_id": review["prompt_id"],
            "response_a": review["response_a"],
            "response_b": review["response_b"],
            "criterion": None,
            "p_a": None,
            "score": None,
            "tie": False,
            "reason": None,
            **said,
            "order": order,
            "sample_index": 0,
            "critique": None if rows else annotation.comment,
            "raw": None if rows else annotation.raw,
            "detail": json.dumps({**detail, **more}, ensure_ascii=False, sort_keys=True),
            "seconds": None if rows else annotation.seconds,
        }
        row["valid"] = row["reason"] is None
        row["judgment_id"] = make_judgment_id(
            annotation.person,
            target,
            criterion=row["criterion"],
            order=order,
            sample_index=0,
            origin=f"{annotation.unique_id}:{annotation.updated_at.isoformat()}",
        )
        rows.append(row)
    return [turn_over(row, review, turn) for row in rows] if turn else rows


def turn_over(
    row: Mapping[str, Any], review: Mapping[str, Any], turn: int, *, deleted: bool = False
) -> Row:
    """The row that says the same as this one at another turn, or that its annotation is gone.

    Args:
        row: of `judgments`.
        review: what it answers, which older lakes did not note in `detail`.
    """
    detail = {name: value for name, value in json.loads(row["detail"]).items() if name != "deleted"}
    detail = {
        "review_id": review["review_id"],
        "batch": review["batch_id"],
        "question": review["question"],
        "origin": row["judgment_id"],
        **detail,
        "turn": turn,
    }
    lost = dict.fromkeys(("p_a", "score", "critique", "raw", "seconds"))
    gone = {**lost, "tie": False, "valid": False, "reason": DELETED} if deleted else {}
    detail |= {"deleted": True} if deleted else {}
    return {
        **row,
        **gone,
        "judgment_id": make_id("turn", detail["origin"], turn),
        "detail": json.dumps(detail, ensure_ascii=False, sort_keys=True),
    }


def write_time(time: datetime) -> str:
    """A time in UTC, so written that the order of texts is the order of times."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _read(annotation: Any, review: Mapping[str, Any]) -> Iterator[Row]:
    answer, criterion = annotation.answer or {}, CRITERIA.get(review["question"])
    if annotation.answer is None or annotation.cancelled:
        why = SKIPPED if annotation.cancelled else annotation.problem or EMPTY
        yield {"criterion": criterion, "reason": why}
    elif answer.get("undecided"):
        for target in _list_pairs(review) or [{}]:
            yield {**target, "criterion": criterion, "reason": UNDECIDED}
    else:
        said = list(READERS[review["question"]](answer, review))
        yield from said or [{"criterion": criterion, "reason": EMPTY}]
    side = 1 if review["left"] == "a" else -1
    for title, rating in sorted((answer.get("ratings") or {}).items()):
        yield {"criterion": title, "score": float(side * rating)}


def _read_preference(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    choice, strength = answer.get("choice"), answer.get("strength")
    if choice is None:
        return
    side = 1 if review["left"] == "a" else -1
    toward = {"left": side, "right": -side, "tie": 0}[choice]
    p_left = P_LEFT[choice]
    yield {
        "p_a": p_left if side == 1 else 1.0 - p_left,
        "tie": choice == "tie",
        "detail": {
            "tools": answer.get("tools") or [],
            "strength": None if strength is None else toward * strength,
        },
    }


def _read_correctness(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    if answer.get("correct") is not None:
        yield {"criterion": "correct", "score": float(answer["correct"])}


def _read_spans(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    if "spans" not in answer:
        return
    marked: dict[str, list[list[Any]]] = {}
    for span in answer["spans"]:
        marked.setdefault(span["label"], []).append([span["start"], span["end"], span["text"]])
    yield {"criterion": "spans", "score": float(len(answer["spans"]))}  # none is an answer too
    for label, spans in sorted(marked.items()):
        more = {"spans": sorted(spans)}
        yield {"criterion": f"span:{label}", "score": float(len(spans)), "detail": more}


def _read_first_wrong_step(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    if "index" in answer:
        index = ALL_RIGHT if answer["index"] is None else answer["index"]
        yield {"criterion": "first_wrong_step", "score": float(index)}


def _read_ranking(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    shown, order = review["responses"] or [], answer.get("order") or []
    if sorted(order) != list(range(len(shown))):
        return
    ranks = answer.get("ranks") or [order.index(place) + 1 for place in range(len(shown))]
    rank = dict(zip(shown, ranks, strict=True))
    for target in _list_pairs(review):
        first, second = target["response_a"], target["response_b"]
        yield {
            **target,
            "p_a": (1 + (rank[second] > rank[first]) - (rank[second] < rank[first])) / 2,
            "tie": rank[first] == rank[second],
            "detail": {"rank": [shown[place] for place in order]},
        }


def _list_pairs(review: Mapping[str, Any]) -> list[Row]:
    """Each two of the responses of a ranking."""
    return [
        {
            "response_a": first,
            "response_b": second,
            "target": make_pair_id(review["prompt_id"], first, second),
        }
        for first, second in combinations(sorted(review["responses"] or []), 2)
    ]


CRITERIA = {
    "correctness": "correct", "spans": "spans", "first_wrong_step": "first_wrong_step",
}  # fmt: skip
READERS = {
    "preference": _read_preference,
    "correctness": _read_correctness,
    "spans": _read_spans,
    "first_wrong_step": _read_first_wrong_step,
    "ranking": _read_ranking,
}

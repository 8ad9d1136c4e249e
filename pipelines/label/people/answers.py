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


def make_judgments(annotation: Any, review: Mapping[str, Any]) -> list[Row]:
    """The rows that one revision of an annotation becomes; the same rows at every pull.

    Args:
        annotation: of the desk, with an `updated_at` and a `person`.
        review: the row of `reviews` that it answers.
    """
    detail = {
        "annotation": annotation.unique_id,
        "updated_at": write_time(annotation.updated_at),
        "began": find_beginning(annotation),
        "review_id": review["review_id"],
        "batch": review["batch_id"],
        "question": review["question"],
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
    return rows


def turn_over(row: Mapping[str, Any], review: Mapping[str, Any], *, deleted: bool) -> Row:
    """The row that says that this one's annotation is gone from the desk, or is back as it was.

    Args:
        row: of `judgments`, whose `detail` says how often that has happened before.
        review: what it answers, which older lakes did not note in `detail`.
    """
    detail = {name: value for name, value in json.loads(row["detail"]).items() if name != "deleted"}
    turn = detail.get("turn", 0) + 1
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


def find_beginning(annotation: Any) -> str:
    """When an annotation was first submitted, which no later edit changes."""
    try:
        return write_time(datetime.fromisoformat(json.loads(annotation.raw)["created_at"]))
    except (ValueError, KeyError, TypeError):
        return write_time(annotation.updated_at)


def _read(annotation: Any, review: Mapping[str, Any]) -> Iterator[Row]:
    answer = annotation.answer or {}
    if annotation.cancelled:
        yield {"reason": SKIPPED}
        return
    found = list(READERS[review["question"]](answer, review))
    yield from found or [{"reason": UNDECIDED if answer.get("undecided") else EMPTY}]


def _read_preference(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    side = 1 if review["left"] == "a" else -1
    choice = answer.get("choice")
    ratings = answer.get("ratings") or {}
    more: Row = {"tools": answer.get("tools") or []}
    if choice is not None:
        toward = {"left": side, "right": -side, "tie": 0}[choice]
        strength = answer.get("strength")
        more["strength"] = None if strength is None else toward * strength
        p_left = P_LEFT[choice]
        p_a = p_left if side == 1 else 1.0 - p_left
        yield {"p_a": p_a, "tie": choice == "tie", "detail": more}
    elif ratings or answer.get("undecided"):
        yield {"reason": UNDECIDED if answer.get("undecided") else EMPTY, "detail": more}
    for criterion, rating in sorted(ratings.items()):
        yield {"criterion": criterion, "score": float(side * rating)}


def _read_correctness(answer: Mapping[str, Any], review: Mapping[str, Any]) -> Iterator[Row]:
    if answer.get("correct") is not None:
        yield {"criterion": "correct", "score": float(answer["correct"])}
    elif answer.get("undecided") or "correct" in answer:
        yield {"criterion": "correct", "reason": UNDECIDED}


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
    shown = review["responses"] or []
    order = answer.get("order") or []
    if sorted(order) != list(range(len(shown))):
        return
    ranked = [shown[place] for place in order]
    for better, worse in combinations(ranked, 2):
        first, second = sorted((better, worse))
        yield {
            "response_a": first,
            "response_b": second,
            "target": make_pair_id(review["prompt_id"], first, second),
            "p_a": float(better == first),
            "detail": {"rank": ranked},
        }


READERS = {
    "preference": _read_preference,
    "correctness": _read_correctness,
    "spans": _read_spans,
    "first_wrong_step": _read_first_wrong_step,
    "ranking": _read_ranking,
}

"""What a pull makes of what the desk shows: rows to add, and rows that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.label.people.answers import make_judgments, turn_over, write_time
from pipelines.label.people.counting import PERSON, read_details, take_latest
from pipelines.label.people.tasks import list_shown
from pipelines.lake.catalogue import Lake
from schemas.ids import make_id

STAGE = "review_pull"
Row = dict[str, Any]

STORED = """
WITH said AS (
    SELECT *, json_extract_string(detail, '$.review_id') AS noted FROM judgments
    WHERE kind = 'human' AND starts_with(annotator, ?)
)
SELECT said.* EXCLUDE (noted), seen.review_id AS of_review
FROM said JOIN seen ON noted = seen.review_id
UNION ALL
SELECT said.* EXCLUDE (noted), seen.review_id AS of_review
FROM said JOIN seen USING (response_a, response_b) WHERE noted IS NULL AND seen.batch_id IS NULL
"""
STAMPS = ("run_id", "created_at")
ADDED = (
    "of_review", "annotation", "updated_at", "began", "review_id", "batch", "question", "turn",
    "deleted",
)  # fmt: skip


def quarantine(
    lake: Lake, annotations: Sequence[Any], known: Mapping[str, Row]
) -> tuple[list[Any], list[Row]]:
    """The annotations that can be read, and rows of `quarantine` for the others.

    Args:
        known: the reviews of the lake by id.
    """
    ours = {a.review_id for a in annotations if a.review_id in known}
    lost = _find_lost(lake, [known[review_id] for review_id in sorted(ours)])
    readable, strange = [], []
    for annotation in annotations:
        reason = _find_fault(annotation, known, lost)
        if reason is None:
            readable.append(annotation)
            continue
        row = json.dumps({"review_id": annotation.review_id, "raw": annotation.raw})
        strange.append(
            {
                "quarantine_id": make_id("quarantine", STAGE, annotation.unique_id, reason, row),
                "stage": STAGE,
                "source": "label-studio",
                "position": annotation.unique_id,
                "reason": reason,
                "row": row,
            }
        )
    return readable, strange


def find_stored(lake: Lake, seen: Sequence[Row]) -> pl.DataFrame:
    """All judgments that answer the reviews `seen`, with the fields of their `detail` and
    `of_review` (which older lakes did not note: theirs are known by the pair)."""
    keys = dict.fromkeys(("review_id", "response_a", "response_b", "batch_id"), pl.String)
    frame = pl.DataFrame([{name: row[name] for name in keys} for row in seen], schema=keys)
    return read_details(lake.query(STORED, [PERSON], seen=frame))


def take_in(
    annotations: Sequence[Any], stored: pl.DataFrame, known: Mapping[str, Row]
) -> tuple[list[Row], Counter[str]]:
    """The rows of `judgments` to add so that the lake says what the desk shows, and counts: new
    (revisions, tombstones included), deleted, invalid.

    Args:
        annotations: all that the desk shows of the tasks that were looked at, in any order.
        stored: of `find_stored`, of the same tasks.
    """
    revisions = set(stored.select("annotation", "updated_at").unique().iter_rows())
    states: dict[str, list[Row]] = {}
    for row in take_latest(stored).iter_rows(named=True):
        states.setdefault(row["annotation"], []).append(row)
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    for annotation in annotations:
        key = (annotation.unique_id, write_time(annotation.updated_at))
        review = known[annotation.review_id]
        fresh = make_judgments(annotation, review)
        state = states.get(annotation.unique_id)
        if key not in revisions:
            revisions.add(key)
        elif state and state[0]["deleted"] and state[0]["updated_at"] == key[1]:
            del states[annotation.unique_id]
            fresh = [_put_back(row, review, state[0]["turn"]) for row in fresh]
        else:
            continue
        rows += fresh
        counts.update(new=1, invalid=int(not any(row["valid"] for row in fresh)))
    present = {annotation.unique_id for annotation in annotations}
    for unique_id in sorted(states.keys() - present):
        if not states[unique_id][0]["deleted"]:
            counts.update(new=1, deleted=1)
            rows += [
                turn_over(_strip(row), known[row["of_review"]], deleted=True)
                for row in states[unique_id]
            ]
    return rows, counts


def _put_back(row: Row, review: Row, turn: int) -> Row:
    detail = {**json.loads(row["detail"]), "turn": turn}
    return turn_over({**row, "detail": json.dumps(detail)}, review, deleted=False)


def _strip(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in (*STAMPS, *ADDED)}


def _find_fault(annotation: Any, known: Mapping[str, Row], lost: set[str]) -> str | None:
    for name in ("updated_at", "person"):
        if not getattr(annotation, name):
            return f"the annotation has no {name}"
    if annotation.review_id not in known:
        return "the task is of no review in this lake"
    if annotation.review_id in lost:
        return "the pair has left the lake"
    return None


def _find_lost(lake: Lake, reviews: Sequence[Row]) -> set[str]:
    """The reviews whose prompt or responses are no longer in the lake."""
    shown = [
        (row["review_id"], row["prompt_id"], response)
        for row in reviews
        for response in list_shown(row)
    ]
    frame = pl.DataFrame(
        shown, schema={"review_id": pl.String, "prompt_id": pl.String, "response_id": pl.String},
        orient="row",
    )  # fmt: skip
    found = lake.query(
        "SELECT DISTINCT review_id FROM shown WHERE response_id NOT IN "
        "(SELECT response_id FROM responses SEMI JOIN shown USING (response_id)) "
        "OR prompt_id NOT IN (SELECT prompt_id FROM prompts SEMI JOIN shown USING (prompt_id))",
        shown=frame,
    )
    return set(found["review_id"])

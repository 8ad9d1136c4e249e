"""What a pull makes of what the desk shows: rows to add, and rows that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from annotators.desk.annotations import NO_TIME, SKIPPED
from annotators.desk.answers import NO_ANSWER
from pipelines.label.people.answers import make_judgments, turn_over, write_time
from pipelines.label.people.counting import PERSON, read_details, take_latest
from pipelines.label.people.tasks import list_shown
from pipelines.lake.catalogue import Lake
from schemas.ids import make_id

STAGE = "review_pull"
Row = dict[str, Any]

STORED = """
WITH said AS (
    SELECT *, json_extract_string(detail, '$.review_id') AS noted,
        json_extract_string(detail, '$.annotation') AS named
    FROM judgments WHERE kind = 'human' AND starts_with(annotator, ?)
)
SELECT said.* EXCLUDE (noted, named), seen.review_id AS of_review
FROM said JOIN seen ON noted = seen.review_id
UNION ALL
SELECT said.* EXCLUDE (noted, named), seen.review_id AS of_review
FROM said JOIN seen USING (response_a, response_b) WHERE noted IS NULL AND seen.batch_id IS NULL
UNION ALL
SELECT said.* EXCLUDE (noted, named), noted AS of_review
FROM said SEMI JOIN shown USING (named) ANTI JOIN seen ON noted = seen.review_id
WHERE noted IS NOT NULL
"""
STAMPS = ("run_id", "created_at")
ADDED = (
    "of_review", "annotation", "updated_at", "began", "review_id", "batch", "question", "turn",
    "deleted",
)  # fmt: skip
SAID = ("criterion", "response_a", "response_b", "p_a", "score", "tie", "reason")


def quarantine(
    lake: Lake, annotations: Sequence[Any], known: Mapping[str, Row]
) -> tuple[list[Any], list[Row]]:
    """The annotations that say something of a review, and rows of `quarantine`: of all others, and
    of those whose answer cannot be read (which are invalid judgments besides, for what the person
    said before no longer stands).

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
            if annotation.problem in (None, SKIPPED, NO_ANSWER):
                continue
            reason = annotation.problem
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


def find_stored(lake: Lake, seen: Sequence[Row], annotations: Collection[str]) -> pl.DataFrame:
    """All judgments that answer the reviews `seen` or come of the `annotations`, with the fields of
    their `detail` and `of_review` (which older lakes did not note: theirs are known by the pair).
    """
    keys = dict.fromkeys(("review_id", "response_a", "response_b", "batch_id"), pl.String)
    frame = pl.DataFrame([{name: row[name] for name in keys} for row in seen], schema=keys)
    shown = pl.DataFrame({"named": sorted(annotations)}, schema={"named": pl.String})
    return read_details(lake.query(STORED, [PERSON], seen=frame, shown=shown))


def take_in(
    annotations: Sequence[Any],
    stored: pl.DataFrame,
    known: Mapping[str, Row],
    present: Collection[str],
    tasks: Collection[int] | None = None,
) -> tuple[list[Row], Counter[str]]:
    """The rows of `judgments` to add so that the lake says what the desk shows, and counts: new
    (revisions, tombstones included), deleted, invalid, copied (new, of copies of our tasks).

    Args:
        annotations: what can be used of what the desk shows, in any order, revisions of one too.
        stored: of `find_stored`, of the same reviews.
        present: all annotations that the desk shows, whether they can be used or not.
        tasks: those that were read, if not all: what others hold is not known to be gone.
    """
    states: dict[str, list[Row]] = {}
    for row in take_latest(stored).iter_rows(named=True):
        states.setdefault(row["annotation"], []).append(row)
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    latest = {a.unique_id: a for a in sorted(annotations, key=lambda a: a.updated_at)}
    for unique_id, annotation in latest.items():
        review = known[annotation.review_id]
        turn = _find_turn(annotation, review, states.get(unique_id, []))
        if turn is None:
            continue
        fresh = make_judgments(annotation, review, turn)
        rows += fresh
        is_copy = None not in (review["task_id"], annotation.task_id) and (
            annotation.task_id != review["task_id"]
        )
        counts.update(
            new=1, invalid=int(not any(row["valid"] for row in fresh)), copied=int(is_copy)
        )
    for unique_id in sorted(states.keys() - set(present)):
        state = states[unique_id]
        if not state[0]["deleted"] and (tasks is None or _find_task(state[0], known) in tasks):
            counts.update(new=1, deleted=1)
            rows += [
                turn_over(_strip(row), known[row["of_review"]], row["turn"] + 1, deleted=True)
                for row in state
            ]
    return rows, counts


def _find_turn(annotation: Any, review: Row, state: Sequence[Row]) -> int | None:
    """The turn at which an annotation is to be written down; None where the lake says the same."""
    if not state:
        return 0
    stands, time = state[0], write_time(annotation.updated_at)
    turn = int(stands["turn"])
    if time > stands["updated_at"]:
        return turn
    is_same = time == stands["updated_at"] and not stands["deleted"]
    if is_same and stands["of_review"] == review["review_id"]:
        fresh = make_judgments(annotation, review)
        if {tuple(row[name] for name in SAID) for row in state} == {
            tuple(row[name] for name in SAID) for row in fresh
        }:
            return None
    return turn + 1


def _find_task(row: Row, known: Mapping[str, Row]) -> int | None:
    """The task that a judgment came of: its review's, where older lakes did not note it."""
    task = json.loads(row["detail"]).get("task")
    return known[row["of_review"]]["task_id"] if task is None else task


def _strip(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in (*STAMPS, *ADDED)}


def _find_fault(annotation: Any, known: Mapping[str, Row], lost: set[str]) -> str | None:
    for name, what in (("unique_id", "id"), ("person", "person")):
        if not getattr(annotation, name):
            return f"the annotation has no {what}"
    if annotation.problem == NO_TIME:
        return NO_TIME
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

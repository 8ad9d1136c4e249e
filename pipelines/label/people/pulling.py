"""Bringing answers back: authoritative, incremental and append-only.

The desk shows what is, not what was. A pull reads the tasks that changed since the last one (all of
them once a day, and where nothing is known of a project), appends each revision that it has not
seen, and writes a tombstone for an annotation that is gone. So two pulls of one state add nothing,
and whatever a pull missed, repeated or saw in another order, the next one comes to the same
answers. A notice from outside can only make it come sooner.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from annotators import desk as at_desk
from pipelines.label.people.reading import find_stored, quarantine, take_in
from pipelines.label.people.resolving import ITEM, find_answers
from pipelines.label.people.reviews import advance, find_reviews
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary

STAGE = "review_pull"
FULL_AFTER = timedelta(hours=24)  # a task that was deleted shows in nothing but a full reading

Row = dict[str, Any]
Marks = dict[str, dict[str, Any]]


def pull_reviews(lake: Lake, run: Run, desk: Any, *, full: bool = False) -> StageSummary:
    """Append what people said, changed and took back since the last pull.

    An annotation that says nothing readable becomes an invalid judgment; one of a task or a pair
    that the lake does not know, or that lacks its time or its person, is quarantined. A project
    that is gone from the desk is told of, and the others are read. A desk is known by its address:
    `run.tell` hears of reviews that were pushed only to others.

    Args:
        full: read every task, not only what changed.

    Returns:
        `rows_in` counts annotations as they were read; `extra["new"]` the revisions that were not
        there before, tombstones included, `extra["deleted"]` the tombstones, `extra["invalid"]`
        the new ones without an answer, `extra["set_aside"]` the standing annotations that do not
        count, by rule (see `pipelines.label.people.resolving`).

    Raises:
        DeskUnreachable, DeskRefused: see `annotators.desk`; refused only where every project is.
    """
    started = time.monotonic()
    with lake.lease(STAGE, run):
        reviews = find_reviews(lake)
        here = reviews.filter((pl.col("desk") == desk.name) & pl.col("project_id").is_not_null())
        _tell_of_others(run, desk.name, reviews, here)
        known = {row["review_id"]: row for row in reviews.iter_rows(named=True)}
        before = _find_marks(lake, desk.name)
        marks, judgments, strange = dict(before), [], []
        counts: Counter[str] = Counter()
        refused: list[Exception] = []
        for (project,), mine in here.group_by("project_id", maintain_order=True):
            mark = before.get(str(project), {})
            since = None if full else _read_since(mark)
            try:
                pulled = at_desk.pull_annotations(desk, int(project), since=since)
                if not pulled.complete and pulled.tasks < mark["tasks"]:  # some were deleted there
                    pulled = at_desk.pull_annotations(desk, int(project))
            except at_desk.DeskRefused as error:
                run.tell(f"project {project} cannot be read and is left out: {error}")
                refused.append(error)
                continue
            seen = set(pulled.seen_review_ids)
            if pulled.complete:
                seen |= set(mine["review_id"])
            readable, odd = quarantine(lake, pulled.annotations, known)
            stored = find_stored(lake, [known[i] for i in sorted(seen & known.keys())])
            fresh, said = take_in(readable, stored, known)
            counts.update(said, read=len(pulled.annotations), kept=len(readable))
            judgments += fresh
            strange += odd
            marks[str(project)] = _make_mark(mark, pulled)
        if refused and not counts["read"] and len(refused) == here["project_id"].n_unique():
            raise refused[0]
        summary = StageSummary(
            STAGE,
            rows_in=counts["read"],
            kept=counts["kept"],
            quarantined=dict(Counter(row["reason"] for row in strange)),
            seconds=time.monotonic() - started,
            extra={
                **{name: counts[name] for name in ("new", "deleted", "invalid")},
                "desk": desk.name,
                "marks": marks,
            },
        )
        if judgments or marks != before:
            record_run(lake, run, summary, {"judgments": judgments, "quarantine": strange})
        elif strange:  # the newest is read again at every pull
            lake.append({"quarantine": strange}, run=run, stage=STAGE)
        set_aside = _note_answered(lake, run)
    extra = {name: value for name, value in summary.extra.items() if name != "marks"}
    return replace(
        summary, seconds=time.monotonic() - started, extra={**extra, "set_aside": set_aside}
    )


def _tell_of_others(run: Run, desk: str, reviews: pl.DataFrame, here: pl.DataFrame) -> None:
    pushed = reviews.filter(pl.col("project_id").is_not_null())
    if here.is_empty() and not pushed.is_empty():
        elsewhere = ", ".join(sorted(set(pushed["desk"].drop_nulls())))
        run.tell(
            f"no pair was pushed to {desk}, and {len(pushed)} were to {elsewhere}: if that is the "
            "same desk, pull with that address, written the same way"
        )


def _find_marks(lake: Lake, desk: str) -> Marks:
    """How far each project of a desk was read, by the last pull that noted it: `newest` by the
    desk's clock, `full` (when all of it was read) by ours, and the `tasks` it held."""
    found = lake.query(
        "SELECT summary FROM runs WHERE stage = ? AND json_extract_string(summary, '$.desk') = ? "
        "ORDER BY created_at DESC LIMIT 1",
        [STAGE, desk],
    )
    return json.loads(found["summary"][0])["marks"] if len(found) else {}


def _read_since(mark: Mapping[str, Any]) -> datetime | None:
    """From when on a project is read; None for all of it."""
    if "newest" not in mark:
        return None
    is_due = datetime.now(UTC) - datetime.fromisoformat(mark["full"]) > FULL_AFTER
    return None if is_due else datetime.fromisoformat(mark["newest"])


def _make_mark(before: Mapping[str, Any], pulled: Any) -> dict[str, Any]:
    full = datetime.now(UTC).isoformat() if pulled.complete else before["full"]
    mark = {"full": full, "tasks": pulled.tasks}
    if pulled.newest is not None:
        mark["newest"] = pulled.newest.isoformat()
    return mark


def _note_answered(lake: Lake, run: Run) -> dict[str, int]:
    """Mark the reviews that have all the answers that were wanted; gives the annotations that do
    not count, by rule."""
    answers = find_answers(lake).unique("annotation")
    counted = answers.filter(pl.col("set_aside").is_null())
    of_review = dict(counted.group_by("review_id").len().iter_rows())
    of_item = {tuple(key): n for *key, n in counted.group_by(ITEM).len().iter_rows()}
    rows = []
    for row in find_reviews(lake, "status = 'pushed'").iter_rows(named=True):
        item = (row["batch_id"], row["pair_id"], row["role"])
        n = of_review.get(row["review_id"], 0)
        if row["project_id"] is None:  # shown as the tasks of single people
            n = of_item.get(item, 0)
        if n >= row["overlap"]:
            rows.append(advance(row, "answered"))
    if rows:
        lake.append({"reviews": rows}, run=run, stage=STAGE)
    aside = answers.drop_nulls("set_aside").group_by("set_aside").len().sort("set_aside")
    return dict(aside.iter_rows())

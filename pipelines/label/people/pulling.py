"""Bringing answers back: authoritative, incremental and append-only.

The desk shows what is, not what was. A pull reads the tasks that changed since the last one (all of
them once a day, where nothing is known of a project, and where a task is missing or a clock was
set), appends what it shows otherwise than the lake, and writes a tombstone for an annotation that
is gone. So two pulls of one state add nothing, and whatever a pull missed, repeated or saw in
another order, the next one comes to the same answers. A notice from outside can only make it come
sooner.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from annotators import desk as at_desk
from annotators.desk.annotations import EDITED, Annotation
from annotators.desk.client import DeskGone
from pipelines.label.people.marks import Marks, find_marks, make_mark, read_mark
from pipelines.label.people.reading import find_stored, quarantine, take_in
from pipelines.label.people.resolving import ITEM, find_answers
from pipelines.label.people.reviews import advance, find_reviews
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary

STAGE = "review_pull"

Row = dict[str, Any]


@dataclass
class _Found:
    """What a pull has found so far."""

    marks: Marks
    judgments: list[Row] = field(default_factory=list)
    strange: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[Exception] = field(default_factory=list)


def pull_reviews(lake: Lake, run: Run, desk: Any, *, full: bool = False) -> StageSummary:
    """Append what people said, changed and took back since the last pull.

    An annotation that cannot be read becomes an invalid judgment and is quarantined, so that
    somebody looks; one of a task or a pair that the lake does not know, or that lacks its id, its
    time or its person, is quarantined alone. A task or a project that is gone from the desk is told
    of and its review marked, so that what lacks answers can be asked again; what was said in a
    deleted project stays, what was said of a deleted task goes with it. A desk is known by its
    address: `run.tell` hears of reviews that were pushed only to others.

    Args:
        full: read every task, not only what changed.

    Returns:
        `rows_in` counts annotations as they were read, and those not `kept` are quarantined;
        `extra["new"]` the revisions that were not there before, tombstones included,
        `extra["deleted"]` the tombstones, `extra["invalid"]` the new ones without an answer,
        `extra["gone"]` the reviews whose task is newly gone, `extra["set_aside"]` the standing
        annotations that do not count, by rule (see `pipelines.label.people.resolving`).

    Raises:
        DeskUnreachable, DeskRefused: see `annotators.desk`; refused only where every project is.
    """
    started = time.monotonic()
    with lake.lease(STAGE, run):
        reviews = find_reviews(lake)
        here = reviews.filter((pl.col("desk") == desk.name) & pl.col("project_id").is_not_null())
        _tell_of_others(run, desk.name, reviews, here)
        known = {row["review_id"]: row for row in reviews.iter_rows(named=True)}
        before = find_marks(lake, STAGE, desk.name)
        found = _Found(dict(before))
        for (project,), mine in here.group_by("project_id", maintain_order=True):
            _pull_project(lake, run, desk, int(project), mine, known, found, full=full)
        counts, refused = found.counts, found.refused
        if refused and not counts["read"] and len(refused) == here["project_id"].n_unique():
            raise refused[0]
        summary = StageSummary(
            STAGE,
            rows_in=counts["read"],
            kept=counts["read"] - len(found.strange),
            quarantined=dict(Counter(row["reason"] for row in found.strange)),
            seconds=time.monotonic() - started,
            extra={
                **{name: counts[name] for name in ("new", "deleted", "invalid", "gone")},
                "desk": desk.name,
                "marks": found.marks,
            },
        )
        if found.judgments or found.gone or found.marks != before:
            tables = {"judgments": found.judgments, "quarantine": found.strange}
            record_run(lake, run, summary, {**tables, "reviews": found.gone})
        elif found.strange:  # the newest is read again at every pull
            lake.append({"quarantine": found.strange}, run=run, stage=STAGE)
        set_aside = _note_answered(lake, run)
    extra = {name: value for name, value in summary.extra.items() if name != "marks"}
    return replace(
        summary, seconds=time.monotonic() - started, extra={**extra, "set_aside": set_aside}
    )


def _pull_project(
    lake: Lake,
    run: Run,
    desk: Any,
    project: int,
    mine: pl.DataFrame,
    known: dict[str, Row],
    found: _Found,
    *,
    full: bool,
) -> None:
    """Read one project and add to `found` what follows.

    Args:
        mine: the reviews that are shown in it.
        known: all reviews of the lake by id.
    """
    name = f"project {project} (batch {', '.join(b[:12] for b in _list_batches(mine)) or '?'})"
    mark = found.marks.get(str(project), {})
    shown = mine.filter(pl.col("status").is_in(["pushed", "answered"]))
    ours = {
        task: review
        for task, review in shown.select("task_id", "review_id").iter_rows()
        if task is not None
    }
    try:
        pulled = at_desk.pull_annotations(
            desk, project, since=None if full else read_mark(mark), expected=ours, tell=run.tell
        )
    except DeskGone:
        _note_gone(found, list(shown.iter_rows(named=True)))
        if not mark.get("gone"):
            left = int((shown["status"] == "pushed").sum())
            run.tell(
                f"{name} is no longer at the desk: what was pulled of it stays. Its {left} tasks "
                "that still wanted answers go back to the queue; `assay review push` sends them "
                "again"
            )
        found.marks[str(project)] = {"gone": True}
        return
    except at_desk.DeskRefused as error:
        run.tell(f"{name} cannot be read and is left out: {error}")
        found.refused.append(error)
        return
    annotations = [_find_review(a, ours, known) for a in pulled.annotations]
    readable, odd = quarantine(lake, annotations, known)
    _tell_of_odd(lake, run, name, odd)
    seen = {a.review_id for a in readable} | (pulled.review_ids & known.keys())
    seen |= {ours[task] for task in pulled.task_ids & ours.keys()}
    if pulled.complete:
        seen |= set(shown["review_id"])
    present = {annotation.unique_id for annotation in annotations}
    stored = find_stored(lake, [known[i] for i in sorted(seen)], present)
    tasks = None if pulled.complete else pulled.task_ids
    fresh, said = take_in(readable, stored, known, present, tasks)
    if said["copied"]:
        run.tell(
            f"{said['copied']} answers in {name} were given to copies of its tasks, made by hand: "
            "they count as answers to what was copied"
        )
    if pulled.gone:
        run.tell(
            f"{len(pulled.gone)} tasks of {name} were deleted at the desk, with what was said "
            "there. What lacks answers now goes back to the queue; `assay review push` sends it "
            "again"
        )
    _note_gone(found, [known[ours[task]] for task in sorted(pulled.gone)])
    found.counts.update(said, read=len(annotations))
    found.judgments += fresh
    found.strange += odd
    found.marks[str(project)] = make_mark(mark, pulled)


def _list_batches(mine: pl.DataFrame) -> list[str]:
    return mine["batch_id"].drop_nulls().unique().sort().to_list()


def _note_gone(found: _Found, rows: list[Row]) -> None:
    found.gone += [advance(row, "gone") for row in rows]
    found.counts["gone"] += len(rows)


def _find_review(annotation: Annotation, ours: dict[int, str], known: dict[str, Row]) -> Annotation:
    """The annotation, of the review that its task was pushed for, whatever edits say."""
    mine = ours.get(annotation.task_id)
    is_odd = annotation.problem == EDITED or annotation.review_id not in known
    return replace(annotation, review_id=mine) if mine is not None and is_odd else annotation


def _tell_of_odd(lake: Lake, run: Run, name: str, odd: list[Row]) -> None:
    """Say what was not quarantined before."""
    fresh = pl.DataFrame(
        [(row["quarantine_id"], row["reason"]) for row in odd],
        schema={"quarantine_id": pl.String, "reason": pl.String},
        orient="row",
    )
    new = lake.query("FROM fresh ANTI JOIN quarantine USING (quarantine_id)", fresh=fresh)
    if len(new):
        reasons = Counter(new["reason"].to_list())
        what = "; ".join(f"{n} because {reason}" for reason, n in sorted(reasons.items()))
        run.tell(
            f"{len(new)} annotations in {name} cannot be used and are quarantined: {what}. Put "
            "right at the desk what the reason names, and pull again"
        )


def _tell_of_others(run: Run, desk: str, reviews: pl.DataFrame, here: pl.DataFrame) -> None:
    pushed = reviews.filter(pl.col("project_id").is_not_null())
    if here.is_empty() and not pushed.is_empty():
        elsewhere = ", ".join(sorted(set(pushed["desk"].drop_nulls())))
        run.tell(
            f"no pair was pushed to {desk}, and {len(pushed)} were to {elsewhere}: if that is the "
            "same desk, pull with that address, written the same way"
        )


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

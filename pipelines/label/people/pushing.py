"""Sending reviews to the desk: a batch that fills a budget of minutes, hidden gold among it.

A push first writes its plan to the lake (status `planned`), in one transaction with its row of
`batches`, then imports what the desk lacks, then notes what is there (`pushed`). Whoever finds a
plan that was not carried out, carries it out and plans nothing new; and what waits at the desk
counts against the minutes of the next. Killed anywhere and run again, a push leaves no task twice
and none out, and sends no second batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from annotators import desk as at_desk
from annotators.desk.client import DeskGone
from annotators.rubrics.rubric import Criterion
from pipelines.label.people.planning import Plan, plan_batch, plan_returns, strew
from pipelines.label.people.reviews import advance, find_reviews
from pipelines.label.people.tasks import find_texts
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id
from schemas.recipe import ReviewSpec

STAGE = "review_push"
EVEN, STRONG = 0.55, 0.8  # what judges call a tie, and much better, where people may see it
THIRDS = (
    "Third opinions, for those who have not answered these before: a second answer by somebody who "
    "did counts for nothing."
)
LOST = "the prompt or a response of this review is not in the lake"


def push_reviews(
    lake: Lake,
    run: Run,
    desk: Any,
    spec: ReviewSpec | None = None,
    *,
    title: str = "Assay",
    question: str = "preference",
    criteria: Sequence[Criterion] = (),
) -> StageSummary:
    """Send what came back to the queue, and a new batch of what is worth most, as blinded tasks.

    What the lake no longer has the text of is quarantined. `extra` has the batch, its tasks of
    hidden gold, the minutes that it should take everybody together, and how many reviews wait.

    Raises:
        DeskUnreachable, DeskRefused: see `annotators.desk`. Push again: what was imported is not
            imported twice.
    """
    started = time.monotonic()
    spec = spec or ReviewSpec()
    with lake.lease(STAGE, run):
        plan = Plan(reviews=_find_planned(lake, desk.name))
        if plan.reviews:
            run.tell(f"a push was cut short: its {len(plan.reviews)} reviews go first")
        else:
            plan = _make_plan(lake, run, desk, spec, title, question, criteria)
        sent, lost, tables = _send(lake, run, desk, spec, plan.reviews)
        batch = plan.batch or {}
        summary = StageSummary(
            STAGE,
            rows_in=sent + lost,
            kept=sent,
            to_review=sent,
            quarantined={"not_in_lake": lost} if lost else {},
            seconds=time.monotonic() - started,
            extra={
                "batch": batch.get("batch_id"),
                "gold": batch.get("gold", 0),
                "expected_minutes": round(batch.get("expected_minutes", 0.0), 1),
                "waiting": plan.waiting,
            },
        )
        if plan.reviews:
            record_run(lake, run, summary, tables)
    return summary


def _make_plan(
    lake: Lake,
    run: Run,
    desk: Any,
    spec: ReviewSpec,
    title: str,
    question: str,
    criteria: Sequence[Criterion],
) -> Plan:
    """Plan, make the projects that are not there, and write the plan down."""
    returns = plan_returns(lake, spec, desk.name)
    plan = plan_batch(lake, run, spec, desk.name, title, question, returns)
    shown = [row for row in plan.reviews if row["project"]]
    questions = {row["project"]: row["question"] for row in shown}
    thirds = {row["project"] for row in shown if row["role"] == "adjudication"}
    projects: dict[str | None, int | None] = {None: None}
    for project in sorted(questions):
        projects[project] = at_desk.ensure_project(
            desk,
            project,
            questions[project],
            criteria=criteria if questions[project] == "preference" else (),
            show_predictions=spec.show_predictions,
            description=THIRDS if project in thirds else "",
        )
    rows = [
        {**{name: value for name, value in row.items() if name != "project"},
         "project_id": projects[row["project"]]}
        for row in plan.reviews
    ]  # fmt: skip
    batches = []
    if plan.batch:
        mine = [row for row in rows if row["batch_id"] == plan.batch["batch_id"]]
        used = sorted({row["project_id"] for row in mine} - {None})
        batches = [{**plan.batch, "project_ids": used}]
    if rows:
        lake.append({"batches": batches, "reviews": rows}, run=run, stage=STAGE, message="plan")
    return Plan(plan.batch, rows, plan.waiting)


def _find_planned(lake: Lake, desk: str) -> list[dict[str, Any]]:
    planned = find_reviews(lake, "status = 'planned'").filter(pl.col("desk") == desk)
    ordered = planned.sort("gain", "review_id", descending=[True, False], nulls_last=True)
    is_gold = pl.col("role") == "gold"
    return strew(ordered.filter(~is_gold).to_dicts(), ordered.filter(is_gold).to_dicts())


def _send(
    lake: Lake, run: Run, desk: Any, spec: ReviewSpec, planned: list[dict[str, Any]]
) -> tuple[int, int, dict[str, list[dict[str, Any]]]]:
    """Import what the desk lacks; gives the tasks that are there, the reviews whose texts the lake
    lacks, and the rows that note all of it."""
    if not planned:
        return 0, 0, {}
    frame = pl.DataFrame(planned, infer_schema_length=None)
    shown = frame.filter(pl.col("project_id").is_not_null())
    texts = find_texts(lake, shown, at_desk.read_guideline)
    predictions = _find_predictions(lake, shown) if spec.show_predictions else None
    there: dict[str, int] = {}
    projectless: list[dict[str, Any]] = []
    for (project,), rows in shown.group_by("project_id", maintain_order=True):
        tasks = [
            at_desk.make_task(row["question"], row["review_id"], **texts[row["review_id"]])
            for row in rows.iter_rows(named=True)
            if row["review_id"] in texts
        ]
        overlap = _find_overlap(lake, int(project), rows)  # the desk knows one for all its tasks
        try:
            there |= at_desk.push_tasks(desk, int(project), tasks, predictions, overlap=overlap)
        except DeskGone:
            projectless += [row for row in rows.to_dicts() if row["review_id"] in texts]
            run.tell(
                f"project {project} was deleted at the desk before its {len(tasks)} tasks were "
                "there: `assay review pull` puts them back into the queue, and a push after that "
                "sends them to a new one"
            )
    gone = [row for row in planned if row["project_id"] and row["review_id"] not in texts]
    pushed = [
        advance(row, "pushed", task_id=there.get(row["review_id"]))
        for row in planned
        if row["review_id"] in there or row["project_id"] is None or row in gone
    ]
    quarantine = [
        {
            "quarantine_id": make_id("quarantine", STAGE, row["review_id"]),
            "stage": STAGE,
            "position": row["review_id"],
            "reason": LOST,
            "row": json.dumps(row, default=str, sort_keys=True),
        }
        for row in gone
    ]
    pushed += [advance(row, "gone") for row in projectless]
    return len(there), len(gone), {"reviews": pushed, "quarantine": quarantine}


def _find_overlap(lake: Lake, project: int, rows: pl.DataFrame) -> int:
    known = lake.query(
        "SELECT max(overlap) AS overlap FROM reviews WHERE project_id = ?", [project]
    )["overlap"][0]
    return max(known or 1, rows["overlap"].max() or 1)


def _find_predictions(lake: Lake, shown: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """What the judges say of each pair as an answer at the desk, by review_id; `score` is how
    likely they hold it."""
    found = lake.query(
        "SELECT review_id, avg(CASE WHEN shown.left = 'a' THEN p_a ELSE 1 - p_a END) AS p_left "
        "FROM shown JOIN judgments USING (response_a, response_b) "
        "WHERE kind = 'llm' AND valid AND p_a IS NOT NULL AND criterion IS NULL "
        "AND question = 'preference' GROUP BY review_id",
        shown=shown.select("review_id", "response_a", "response_b", "left", "question"),
    )
    return {review_id: _predict(p_left) for review_id, p_left in found.iter_rows()}


def _predict(p_left: float) -> dict[str, Any]:
    p = max(p_left, 1 - p_left)
    if p < EVEN:
        return {"choice": "tie", "strength": 0, "score": p}
    choice = "left" if p_left > 0.5 else "right"
    return {"choice": choice, "strength": 2 if p >= STRONG else 1, "score": p}

"""Human review: the pairs a policy cannot decide, out to Label Studio and back as judgments.

The table `reviews` is the truth and Label Studio a desk. What is pushed is blinded (no model, no
opinion) and its sides are shuffled by hash; what is pulled is keyed by the annotation's unique id
and update time, so that pulling twice adds nothing and a revision is a further judgment. Of a
person's judgments of a pair the latest counts, and an annotation that was deleted at the desk gets
a further, invalid one.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import polars as pl

from annotators.label_studio import (
    PERSON,
    Annotation,
    Desk,
    ensure_project,
    pull_annotations,
    push_tasks,
)
from annotators.templates import render_prompt
from engines.assets import find_asset
from pipelines.label.latest import keep_latest_of_people
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from pipelines.view import View
from schemas.ids import make_id, make_judgment_id, make_pair_id, make_seed

QUEUE, PUSH, PULL = "review_queue", "review_push", "review_pull"
QUESTION = "preference"
CONFIG = "label_studio/pairwise.xml"
DELETED = "deleted at the desk"
P_LEFT = {"left": 1.0, "right": 0.0, "tie": 0.5}


def queue_reviews(lake: Lake, run: Run, view: View) -> StageSummary:
    """Put the undecided pairs into `reviews`, at most `review.limit` of those not queued yet: those
    that the policy knows least of first."""
    started = time.monotonic()
    undecided = view.labels.filter(pl.col("status") == "to_review").sort(
        "entropy", "pair_id", descending=[True, False], nulls_last=False
    )
    with lake.lease(QUEUE, run):
        rows = [
            {
                "review_id": make_id("review", row["pair_id"], QUESTION),
                "status": "queued",
                "left": "a" if make_seed("side", row["pair_id"]) % 2 else "b",
                **{k: row[k] for k in ("pair_id", "prompt_id", "response_a", "response_b",
                                       "reason")},
            }
            for row in undecided.iter_rows(named=True)
        ]  # fmt: skip
        known = set(lake.query("SELECT DISTINCT review_id FROM reviews")["review_id"])
        fresh = [row for row in rows if row["review_id"] not in known]
        taken = fresh[: view.recipe.review.limit]
        if taken:
            lake.append({"reviews": taken}, run=run, stage=QUEUE)
    return StageSummary(
        QUEUE,
        rows_in=len(rows),
        kept=len(rows),
        to_review=len(rows) - len(fresh) + len(taken),
        seconds=time.monotonic() - started,
        extra={"queued": len(taken), "waiting_for_room": len(fresh) - len(taken)},
    )


def push_reviews(lake: Lake, run: Run, desk: Desk, title: str = "Assay") -> StageSummary:
    """Send what is queued to a project of the desk as blinded pairwise tasks.

    A task that the project has already (a push that was killed half-way) is recognised by its
    review id and not sent again.
    """
    started = time.monotonic()
    with lake.lease(PUSH, run):
        waiting = _latest(lake).filter(pl.col("status") == "queued")
        tasks = [_make_task(lake, row) for row in waiting.iter_rows(named=True)]
        pushed: dict[str, int] = {}
        if tasks:
            config = find_asset(CONFIG).read_text(encoding="utf-8")
            project = ensure_project(desk, title, config)
            pushed = push_tasks(desk, project, tasks)
            columns = [c for c in waiting.columns if c not in ("run_id", "created_at")]
            rows = [
                {
                    **{name: row[name] for name in columns},
                    "status": "pushed",
                    "desk": desk.name,
                    "project_id": project,
                    "task_id": pushed[row["review_id"]],
                }
                for row in waiting.iter_rows(named=True)
                if row["review_id"] in pushed
            ]
            lake.append({"reviews": rows}, run=run, stage=PUSH)
        summary = StageSummary(
            PUSH,
            rows_in=len(tasks),
            kept=len(tasks),
            to_review=len(pushed),
            seconds=time.monotonic() - started,
        )
        if tasks:
            record_run(lake, run, summary)
    return summary


def pull_reviews(lake: Lake, run: Run, desk: Desk) -> StageSummary:
    """Bring annotations back as judgments of kind `human`.

    An annotation without a choice becomes an invalid judgment; one whose task the lake does not
    know is quarantined. Where somebody's latest judgment of a pair is no longer what the desk
    shows (it was deleted there, or came back), a further judgment says so. `extra["new"]` counts
    the judgments that were not there before, `extra["deleted"]` those of them that take one back.
    A desk is known by its address: `run.tell` hears of pairs that were pushed only to others.
    """
    started = time.monotonic()
    with lake.lease(PULL, run):
        reviews = _latest(lake).filter(pl.col("project_id").is_not_null())
        by_id = {row["review_id"]: row for row in reviews.iter_rows(named=True)}
        here = reviews.filter(pl.col("desk") == desk.name)
        if here.is_empty() and not reviews.is_empty():
            elsewhere = ", ".join(sorted(set(reviews["desk"].drop_nulls())))
            run.tell(
                f"no pair was pushed to {desk.name}, and {len(reviews)} were to {elsewhere}: if "
                "that is the same desk, pull with that address, written the same way"
            )
        projects = sorted(set(here["project_id"].to_list()))
        annotations = [a for project in projects for a in pull_annotations(desk, project)]
        judgments, answered, strangers = [], {}, []
        for annotation in annotations:
            review = by_id.get(annotation.review_id or "")
            if review is None:
                strangers.append(_make_stranger(annotation))
                continue
            judgments.append(_make_judgment(annotation, review))
            if annotation.choice is not None:
                answered[review["review_id"]] = {
                    **{k: v for k, v in review.items() if k not in ("run_id", "created_at")},
                    "status": "answered",
                }
        new = 0
        if annotations:
            outcome = lake.append(
                {
                    "judgments": judgments,
                    "reviews": list(answered.values()),
                    "quarantine": strangers,
                },
                run=run,
                stage=PULL,
            )
            new = outcome.inserted["judgments"]
        corrections = _correct(_latest_of_people(lake, here), judgments)
        if corrections:
            lake.append({"judgments": corrections}, run=run, stage=PULL)
        summary = StageSummary(
            PULL,
            rows_in=len(annotations),
            kept=len(judgments),
            quarantined={"unknown_task": len(strangers)} if strangers else {},
            seconds=time.monotonic() - started,
            extra={
                "new": new + len(corrections),
                "deleted": sum(row["reason"] == DELETED for row in corrections),
                "invalid": sum(not row["valid"] for row in judgments),
            },
        )
        if new or corrections:
            record_run(lake, run, summary)
    return summary


def review_status(lake: Lake) -> dict[str, int]:
    """How many reviews are queued, pushed and answered (by an answer that was not taken back)."""
    reviews = _latest(lake)
    valid = {_key(row)[1:] for row in _latest_of_people(lake, reviews) if row["valid"]}
    counts = Counter(
        "pushed" if status == "answered" and tuple(sides) not in valid else status
        for status, *sides in reviews.select("status", "response_a", "response_b").iter_rows()
    )
    return {status: counts.get(status, 0) for status in ("queued", "pushed", "answered")}


def _latest(lake: Lake) -> pl.DataFrame:
    """The latest row of each review."""
    order = (
        "CASE status WHEN 'queued' THEN 0 WHEN 'pushed' THEN 1 WHEN 'answered' THEN 2 ELSE 3 END"
    )
    return lake.query(
        f"SELECT * FROM reviews QUALIFY row_number() OVER (PARTITION BY review_id "
        f"ORDER BY {order} DESC) = 1 ORDER BY review_id"
    )


def _latest_of_people(lake: Lake, reviews: pl.DataFrame) -> list[dict[str, Any]]:
    """The judgment that counts of each person and pair of `reviews`."""
    said = lake.query(
        "FROM judgments SEMI JOIN reviewed USING (response_a, response_b) "
        "WHERE starts_with(annotator, ?)",
        [PERSON],
        reviewed=reviews.select("response_a", "response_b"),
    )
    return keep_latest_of_people(said).drop("run_id", "created_at").to_dicts()


def _correct(stored: list[dict[str, Any]], at_desk: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The judgments to add where the one that counts is not what the desk shows now: what it
    shows, or that there is nothing any more. `at_desk` has a person's latest last."""
    shown = {_key(row): row for row in at_desk}
    corrections = []
    for row in stored:
        wanted = shown.get(_key(row)) or {
            **row,
            **dict.fromkeys(("p_a", "critique", "raw", "seconds")),
            "tie": False,
            "valid": False,
            "reason": DELETED,
            "detail": json.dumps({"deleted": True}),
        }
        if wanted["detail"] != row["detail"]:
            after = make_id("correction", row["judgment_id"], wanted["detail"])
            corrections.append({**wanted, "judgment_id": after})
    return corrections


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["annotator"], row["response_a"], row["response_b"]


def _make_task(lake: Lake, review: dict[str, Any]) -> dict[str, Any]:
    messages = lake.query(
        "SELECT messages FROM prompts WHERE prompt_id = ?", [review["prompt_id"]]
    )["messages"][0]
    contents = dict(
        lake.query(
            "SELECT response_id, content FROM responses WHERE response_id IN (?, ?)",
            [review["response_a"], review["response_b"]],
        ).iter_rows()
    )
    left, right = ("a", "b") if review["left"] == "a" else ("b", "a")
    return {
        "review_id": review["review_id"],
        "prompt": render_prompt(messages.to_list()),
        "left": contents[review[f"response_{left}"]],
        "right": contents[review[f"response_{right}"]],
    }


def _make_judgment(annotation: Annotation, review: dict[str, Any]) -> dict[str, Any]:
    a_is_left = review["left"] == "a"
    p_a: float | None = None
    if annotation.choice is not None:
        p_left = P_LEFT[annotation.choice]
        p_a = p_left if a_is_left else 1.0 - p_left
    pair_id = make_pair_id(review["prompt_id"], review["response_a"], review["response_b"])
    order = "ab" if a_is_left else "ba"
    return {
        "judgment_id": make_judgment_id(
            annotation.person,
            pair_id,
            criterion=None,
            order=order,
            sample_index=0,
            origin=f"{annotation.unique_id}:{annotation.updated_at.isoformat()}",
        ),
        "annotator": annotation.person,
        "kind": "human",
        "prompt_id": review["prompt_id"],
        "response_a": review["response_a"],
        "response_b": review["response_b"],
        "p_a": p_a,
        "tie": annotation.choice == "tie",
        "valid": p_a is not None,
        "reason": None if p_a is not None else _say_why(annotation),
        "order": order,
        "sample_index": 0,
        "critique": annotation.comment,
        "raw": annotation.raw,
        "detail": json.dumps(
            {
                "updated_at": annotation.updated_at.isoformat(),
                "annotation": annotation.unique_id,
            }
        ),
        "seconds": annotation.seconds,
    }


def _say_why(annotation: Annotation) -> str:
    return "skipped" if annotation.cancelled else "no preference was chosen"


def _make_stranger(annotation: Annotation) -> dict[str, Any]:
    row = json.dumps({"review_id": annotation.review_id, "raw": annotation.raw})
    return {
        "quarantine_id": make_id("quarantine", PULL, annotation.unique_id),
        "stage": PULL,
        "source": "label-studio",
        "position": annotation.unique_id,
        "reason": "the task is of no review in this lake",
        "row": row,
    }

"""The queue: what people could be asked, what an answer is worth, and what it will cost."""

from __future__ import annotations

import json
import time
from typing import Any

import polars as pl

from pipelines.label.loop.auditing import list_audit
from pipelines.label.people.choosing import Candidate, choose
from pipelines.label.people.costs import expect_seconds
from pipelines.label.people.gains import PARTS, weigh_pairs
from pipelines.label.people.targets import list_targets
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from pipelines.view import View

STAGE = "review_queue"
REASONS = (*PARTS, "objectivity", "controversiality", "category", "cluster_id", "worth")
KEPT = (
    "review_id", "pair_id", "prompt_id", "response_a", "response_b", "responses", "left", "reason",
    "expected_seconds",
)  # fmt: skip


def queue_reviews(lake: Lake, run: Run, view: View, question: str = "preference") -> StageSummary:
    """Put what the policy cannot decide into `reviews`, at most `review.limit` of what is not
    there yet: that first which promises most (see `pipelines.label.people.gains`). With it goes the
    audit of what a gold loop turned round.

    Args:
        question: what is asked of the undecided pairs, or of their responses (see
            `pipelines.label.people.targets`).
    """
    started = time.monotonic()
    undecided = view.labels.filter(pl.col("status") == "to_review").sort("pair_id")
    targets = list_targets(undecided, question)
    with lake.lease(STAGE, run):
        known = set(lake.query("SELECT DISTINCT review_id FROM reviews")["review_id"])
        fresh = [row for row in targets if row["review_id"] not in known]
        rows = _rank(lake, undecided, fresh, question, view.recipe.review.limit) if fresh else []
        audit = []
        if question == "preference" and view.recipe.loop:
            sample = view.recipe.loop.sample
            audit = list_audit(lake, view.labels, sample, view.recipe.seed, known)
        if rows or audit:
            lake.append({"reviews": [*rows, *audit]}, run=run, stage=STAGE)
    return StageSummary(
        STAGE,
        rows_in=len(targets),
        kept=len(targets),
        to_review=len(targets) - len(fresh) + len(rows),
        seconds=time.monotonic() - started,
        extra={
            "queued": len(rows),
            "waiting_for_room": len(fresh) - len(rows),
            **({"audited": len(audit)} if audit else {}),
        },
    )


def _rank(
    lake: Lake, pairs: pl.DataFrame, fresh: list[dict[str, Any]], question: str, limit: int
) -> list[dict[str, Any]]:
    """The rows of `reviews` for the best of these, best first. What speaks of several pairs is
    worth what the best of them is."""
    members = pl.DataFrame(
        [(row["review_id"], pair_id) for row in fresh for pair_id in row["pairs"]],
        schema={"review_id": pl.String, "pair_id": pl.String},
        orient="row",
    )
    weighed = weigh_pairs(lake, pairs.join(members, on="pair_id", how="semi"))
    best = (
        members.join(weighed.select("pair_id", *REASONS), on="pair_id")
        .sort("worth", "pair_id", descending=[True, False])
        .unique("review_id", keep="first", maintain_order=True)
    )
    reasons = {row["review_id"]: row for row in best.iter_rows(named=True)}
    asked = pl.DataFrame(
        [(row["prompt_id"], question,
          row["responses"] or [row["response_a"], row["response_b"]]) for row in fresh],
        schema={"prompt_id": pl.String, "question": pl.String, "responses": pl.List(pl.String)},
        orient="row",
    )  # fmt: skip
    by_id = {}
    for row, seconds in zip(fresh, expect_seconds(lake, asked), strict=True):
        by_id[row["review_id"]] = {**row, "expected_seconds": seconds}
    candidates = [
        Candidate(key, why["worth"], by_id[key]["expected_seconds"], why["category"],
                  why["cluster_id"])
        for key, why in reasons.items()
    ]  # fmt: skip
    rows = []
    for candidate, coverage in choose(candidates, count=limit):
        row, known = by_id[candidate.key], reasons[candidate.key]
        why = {name: known[name] for name in REASONS if known[name] is not None}
        rows.append(
            {
                **{name: row[name] for name in KEPT},
                "status": "queued",
                "question": question,
                "role": "work",
                "gain": candidate.worth * coverage,
                "why": json.dumps({**why, "coverage": coverage}, sort_keys=True),
            }
        )
    return rows

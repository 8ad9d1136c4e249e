"""The queue: what people could be asked, what an answer is worth, and what it will cost."""

from __future__ import annotations

import json
import time
from typing import Any

import polars as pl

from pipelines.label.people.choosing import Candidate, choose
from pipelines.label.people.costs import expect_seconds
from pipelines.label.people.gains import PARTS, weigh_pairs
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from pipelines.view import View
from schemas.ids import make_id, make_seed

STAGE = "review_queue"
QUESTION = "preference"
REASONS = (*PARTS, "objectivity", "controversiality", "category", "cluster_id", "worth")


def queue_reviews(lake: Lake, run: Run, view: View) -> StageSummary:
    """Put the undecided pairs into `reviews`, at most `review.limit` of those not queued yet: those
    first that promise most (see `pipelines.label.people.gains`)."""
    started = time.monotonic()
    undecided = view.labels.filter(pl.col("status") == "to_review").sort("pair_id")
    with lake.lease(STAGE, run):
        known = set(lake.query("SELECT DISTINCT review_id FROM reviews")["review_id"])
        ids = [make_id("review", pair_id, QUESTION) for pair_id in undecided["pair_id"]]
        fresh = undecided.with_columns(review_id=pl.Series(ids, dtype=pl.String)).filter(
            ~pl.col("review_id").is_in(known)
        )
        rows = _rank(lake, fresh, view.recipe.review.limit) if len(fresh) else []
        if rows:
            lake.append({"reviews": rows}, run=run, stage=STAGE)
    return StageSummary(
        STAGE,
        rows_in=len(undecided),
        kept=len(undecided),
        to_review=len(undecided) - len(fresh) + len(rows),
        seconds=time.monotonic() - started,
        extra={"queued": len(rows), "waiting_for_room": len(fresh) - len(rows)},
    )


def _rank(lake: Lake, fresh: pl.DataFrame, limit: int) -> list[dict[str, Any]]:
    """The rows of `reviews` for the best of these pairs, best first."""
    weighed = weigh_pairs(lake, fresh)
    asked = weighed.select(
        "prompt_id", question=pl.lit(QUESTION), responses=pl.concat_list("response_a", "response_b")
    )
    weighed = weighed.with_columns(expect_seconds(lake, asked))
    by_id = {row["review_id"]: row for row in weighed.iter_rows(named=True)}
    candidates = [
        Candidate(key, row["worth"], row["expected_seconds"], row["category"], row["cluster_id"])
        for key, row in by_id.items()
    ]
    rows = []
    for candidate, coverage in choose(candidates, count=limit):
        row = by_id[candidate.key]
        why = {name: row[name] for name in REASONS if row[name] is not None}
        rows.append(
            {
                "status": "queued",
                "left": "a" if make_seed("side", candidate.key) % 2 else "b",
                "question": QUESTION,
                "role": "work",
                "gain": candidate.worth * coverage,
                "why": json.dumps({**why, "coverage": coverage}, sort_keys=True),
                **{name: row[name] for name in ("review_id", "pair_id", "prompt_id", "response_a",
                                                "response_b", "reason", "expected_seconds")},
            }
        )  # fmt: skip
    return rows

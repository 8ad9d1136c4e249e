"""Verdicts of verifiers on responses, as pointwise judgments of kind `verifier`."""

from __future__ import annotations

import time

import polars as pl

from annotators.verifiers import Check, verify_responses
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id, make_judgment_id

STAGE = "verify"
CRITERION = "correctness"
COMMIT_ROWS = 256


def verify(lake: Lake, run: Run, prompts: pl.DataFrame, rollouts: pl.DataFrame) -> StageSummary:
    """Score every response to a prompt with a verifier that has no verdict yet.

    A scorer that raises or hangs makes an invalid judgment with its reason: the response is
    unscored, and the summary counts it under `extra["invalid"]`.

    Args:
        prompts: rows of `prompts`.
        rollouts: what `pipelines.make.rollouts.find_rollouts` gives.
    """
    started = time.monotonic()
    wanted = (
        rollouts.unique("response_id", keep="first", maintain_order=True)
        .join(
            prompts.filter(pl.col("verifier").is_not_null()).select(
                "prompt_id", "verifier", "verifier_data"
            ),
            on="prompt_id",
        )
        .sort("response_id")
    )
    with lake.lease(STAGE, run):
        todo = lake.query(
            "SELECT w.* FROM wanted w ANTI JOIN judgments j ON j.response_a = w.response_id "
            "AND j.kind = 'verifier' AND j.annotator = 'verifier:' || w.verifier",
            wanted=wanted.select(
                "prompt_id", "response_id", "content", "verifier", "verifier_data"
            ),
        )
        items = todo.rows(named=True)
        verdicts = verify_responses(
            Check(row["verifier"], row["verifier_data"], row["content"]) for row in items
        )
        batch = []
        for done, (row, verdict) in enumerate(zip(items, verdicts, strict=True), start=1):
            annotator = f"verifier:{row['verifier']}"
            batch.append(
                {
                    "judgment_id": make_judgment_id(
                        annotator,
                        row["response_id"],
                        criterion=CRITERION,
                        order=None,
                        sample_index=0,
                        origin=make_id("verifier", row["verifier"], row["verifier_data"]),
                    ),
                    "annotator": annotator,
                    "kind": "verifier",
                    "prompt_id": row["prompt_id"],
                    "response_a": row["response_id"],
                    "criterion": CRITERION,
                    "score": verdict.score,
                    "tie": False,
                    "valid": verdict.score is not None,
                    "reason": verdict.reason,
                    "sample_index": 0,
                    "seconds": verdict.seconds,
                }
            )
            if len(batch) == COMMIT_ROWS or done == len(items):
                lake.append({"judgments": batch}, run=run, stage=STAGE)
                run.progress(STAGE, done, len(items))
                batch = []
        invalid = lake.query(
            "SELECT count(*) AS n FROM judgments j SEMI JOIN wanted w "
            "ON j.response_a = w.response_id WHERE j.kind = 'verifier' AND NOT j.valid",
            wanted=wanted.select("response_id"),
        )["n"][0]
        summary = StageSummary(
            stage=STAGE,
            rows_in=len(wanted),
            kept=len(wanted),
            seconds=time.monotonic() - started,
            extra={"made": len(items), "invalid": invalid},
        )
        if items:
            record_run(lake, run, summary)
    return summary

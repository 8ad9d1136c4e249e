"""Verdicts of verifiers on responses, as pointwise judgments of kind `verifier`."""

from __future__ import annotations

import time

import polars as pl

from annotators.verifiers import ANNOTATOR, DIED, TIMED_OUT, Check, verify_responses
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id, make_judgment_id

STAGE = "verify"
CRITERION = "correctness"
COMMIT_ROWS = 256

TODO = f"""
WITH said AS (
    SELECT response_a, annotator, count(*) AS attempt, bool_or(run_id = ?) AS now,
        bool_and(NOT valid AND regexp_matches(reason, '^({TIMED_OUT}|{DIED})')) AS cut_short
    FROM judgments SEMI JOIN wanted
        ON judgments.response_a = wanted.response_id AND judgments.annotator = wanted.annotator
    GROUP BY ALL
)
SELECT wanted.*, coalesce(attempt, 0) AS attempt FROM wanted
LEFT JOIN said ON said.response_a = wanted.response_id
WHERE attempt IS NULL OR (? AND cut_short AND NOT now)
ORDER BY response_id
"""
INVALID = """
SELECT count(*) AS n FROM wanted ANTI JOIN (SELECT * FROM judgments WHERE valid) AS judgments
    ON judgments.response_a = wanted.response_id AND judgments.annotator = wanted.annotator
"""


def verify(lake: Lake, run: Run, prompts: pl.DataFrame, rollouts: pl.DataFrame) -> StageSummary:
    """Score every response to a prompt with a verifier that has no verdict yet of this version of
    the verifiers.

    A scorer that raises or hangs makes an invalid judgment with its reason: the response is
    unscored, and the summary counts it under `extra["invalid"]`. Where the scorer ran out of time
    or was killed, which may be the machine's fault, a run with `retry_failed` tries once more.

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
        .select("prompt_id", "response_id", "content", "verifier", "verifier_data")
        .with_columns(annotator=pl.format(ANNOTATOR, "verifier"))
    )
    with lake.lease(STAGE, run):
        todo = lake.query(TODO, [run.run_id, run.retry_failed], wanted=wanted)
        items = todo.rows(named=True)
        verdicts = verify_responses(
            Check(row["verifier"], row["verifier_data"], row["content"]) for row in items
        )
        batch = []
        for done, (row, verdict) in enumerate(zip(items, verdicts, strict=True), start=1):
            again = [row["attempt"]] if row["attempt"] else []
            batch.append(
                {
                    "judgment_id": make_judgment_id(
                        row["annotator"],
                        row["response_id"],
                        criterion=CRITERION,
                        order=None,
                        sample_index=0,
                        origin=make_id("verifier", row["verifier"], row["verifier_data"], *again),
                    ),
                    "annotator": row["annotator"],
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
        invalid = lake.query(INVALID, wanted=wanted)["n"][0]
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

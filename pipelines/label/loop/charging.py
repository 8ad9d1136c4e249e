"""What a pair costs in calls to models, and how many of a loop's calls are left."""

from __future__ import annotations

import polars as pl

from annotators.talk import Judge
from pipelines.label.loop.progress import Row
from pipelines.lake.catalogue import Lake, PastLake

SPENT = """
SELECT count(DISTINCT request_id) AS calls FROM (
    SELECT request_id, created_at FROM answers
    SEMI JOIN asked USING (prompt_id) WHERE list_contains(?, annotator)
    UNION ALL
    SELECT request_id, created_at FROM failures SEMI JOIN (
        SELECT request_id FROM judgments SEMI JOIN asked USING (prompt_id)
        WHERE list_contains(?, annotator)
        UNION SELECT request_id FROM attributes SEMI JOIN asked USING (prompt_id)
        WHERE list_contains(?, annotator)
    ) USING (request_id) WHERE coalesce(run_id = ?, TRUE)
) WHERE created_at >= (SELECT min(created_at) FROM iterations WHERE loop_id = ?)
"""


def count_calls(judge: Judge) -> int:
    """The calls that a judge makes about a pair, where every answer can be read: an answer that
    must be mended takes one more. Of a judge of single responses, for both of them."""
    says = judge.specification
    orders = 2 if says.get("orders") == "both" else 1
    match says["method"]:
        case "pairwise":
            return orders * int(says["k"]) * (2 if says["mode"] == "reason" else 1)
        case "yes_prob":
            return orders * (2 if says["reason"] else 1)
        case "generative":
            return int(says["k"]) * (2 if says["meta"] else 1)
        case "rubric":
            return orders + (2 if says["adapt"] else 0)
        case "policy":
            return 2 * 2
        case "failures":
            return 2 * sum(len(one["questions"]) for one in says["asked"])
    raise ValueError(f"nobody knows what a pair costs by the method {says['method']}")


def count_spent(
    lake: Lake | PastLake,
    loop_id: str,
    annotators: list[str],
    pairs: pl.DataFrame,
    rows: list[Row],
    again: str | None = None,
) -> int:
    """The calls that these annotators made about the prompts of all iterations since the loop
    began, failed ones and mended answers among them, whichever run paid. What was answered before
    costs a loop nothing, and a call that was made again counts once.

    Args:
        pairs: pair_id, prompt_id of the candidates.
        again: the id of a run that makes failed calls again, once each: of those without an answer
            only its own are counted.
    """
    mine = pl.Series([key for row in rows for key in row["pair_ids"]], dtype=pl.String)
    asked = pairs.filter(pl.col("pair_id").is_in(mine.implode())).select("prompt_id").unique()
    told = [*[annotators] * 3, again, loop_id]
    return int(lake.query(SPENT, told, asked=asked)["calls"][0])

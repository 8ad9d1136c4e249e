"""Hidden gold: pairs whose answer is known, among those that are asked."""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.votes import call_label
from pipelines.label.people.counting import PEOPLE
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded
from schemas.ids import make_seed

SURE = 0.9  # of the likelier side: a truth that people are held to must be one

RECORDED = """
SELECT * FROM judgments WHERE coalesce(gold, false) AND valid AND p_a IS NOT NULL
AND criterion IS NULL AND response_b IS NOT NULL
AND response_a IN (SELECT response_id FROM responses)
AND response_b IN (SELECT response_id FROM responses)
AND prompt_id IN (SELECT prompt_id FROM prompts)
"""


def find_known(lake: Lake) -> pl.DataFrame:
    """The pairs whose better side is recorded or released as gold and denied by no other gold:
    prompt_id, response_a, response_b, label (`a` or `b`), from_people (released, not recorded)."""
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    gold = drop_superseded(lake, lake.query(RECORDED), pools)
    return (
        gold.group_by("prompt_id", "response_a", "response_b")
        .agg(
            p_low=pl.col("p_a").min(),
            p_high=pl.col("p_a").max(),
            from_people=pl.col("annotator").str.starts_with(PEOPLE).all(),
        )
        .filter((pl.col("p_low") >= SURE) | (pl.col("p_high") <= 1 - SURE))
        .with_columns(label=call_label(pl.col("p_low")))
        .drop("p_low", "p_high")
        .sort("response_a", "response_b")
    )


def choose_gold(lake: Lake, count: int, *, avoid: set[tuple[str, str]], seed: str) -> list[Any]:
    """`count` known pairs (fewer where the lake has fewer), as rows of `find_known`: recorded
    before released, which some people may remember; and those first that were shown least often.

    Args:
        avoid: (response_a, response_b) of pairs that are asked anyway.
        seed: what the choice among equals follows from.
    """
    used = {
        (a, b): n
        for a, b, n in lake.query(
            "SELECT response_a, response_b, count(DISTINCT review_id) AS n FROM reviews "
            "WHERE role = 'gold' GROUP BY ALL"
        ).iter_rows()
    }
    rows = [
        row
        for row in find_known(lake).iter_rows(named=True)
        if (row["response_a"], row["response_b"]) not in avoid
    ]
    rows.sort(
        key=lambda row: (
            row["from_people"],
            used.get((row["response_a"], row["response_b"]), 0),
            make_seed(seed, row["response_a"], row["response_b"]),
        )
    )
    return rows[:count]

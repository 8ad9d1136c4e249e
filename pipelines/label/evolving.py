"""Improving a rubric by the gold of a lake: which pairs are gold, and judging that is kept."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.rubrics.evolve import GoldPair
from annotators.rubrics.gold import collect_gold
from annotators.rubrics.rubric import EVERY
from annotators.talk import Item, Judge, Row
from pipelines.label.gold import find_teach_gold
from pipelines.label.talking import hear_judge
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run

STAGE = "evolve"


def find_gold(lake: Lake, categories: Sequence[str]) -> list[GoldPair]:
    """The pairs of these categories (`*`: of any) that have gold which may teach (see
    `pipelines.label.gold.find_teach_gold`)."""
    found = lake.query(
        "SELECT g.prompt_id, g.response_a, g.response_b, g.p_a, p.messages, p.category, "
        "p.answer, a.content AS content_a, b.content AS content_b FROM gold g "
        "JOIN prompts p USING (prompt_id) JOIN responses a ON a.response_id = g.response_a "
        "JOIN responses b ON b.response_id = g.response_b "
        "ORDER BY g.response_a, g.response_b",
        gold=find_teach_gold(lake),
    )
    if EVERY not in categories:
        found = found.filter(pl.col("category").is_in(list(categories)))
    return collect_gold(found)


def hold_in_lake(lake: Lake, run: Run, judge: Judge, items: Sequence[Item]) -> list[Row]:
    """Let a judge judge pairs, with every answer kept in the lake, and return what it said. That is
    no judgment of the lake: a criterion that is tried is nobody's judge, and has no card."""
    return hear_judge(lake, run, stage=STAGE, judge=judge, items=items)

"""Improving a rubric by the gold of a lake: which pairs are gold, and judging that is kept."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.rubrics.evolve import GoldPair
from annotators.rubrics.gold import collect_gold
from annotators.rubrics.rubric import EVERY
from annotators.talk import Item, Judge, Row
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run

STAGE = "evolve"


def find_gold(lake: Lake, categories: Sequence[str]) -> list[GoldPair]:
    """The pairs of these categories (`*`: of any) on which a person, or whoever is flagged gold,
    has an opinion. Of somebody's revisions the latest counts."""
    found = lake.query(
        "SELECT j.prompt_id, j.response_a, j.response_b, j.p_a, j.gold, p.messages, p.category, "
        "p.answer, a.content AS content_a, b.content AS content_b FROM judgments j "
        "JOIN prompts p USING (prompt_id) JOIN responses a ON a.response_id = j.response_a "
        "JOIN responses b ON b.response_id = j.response_b "
        "WHERE j.criterion IS NULL AND (j.kind = 'human' OR j.gold) "
        "QUALIFY j.valid AND row_number() OVER (PARTITION BY j.annotator, j.response_a, "
        'j.response_b, j."order", j.sample_index ORDER BY j.created_at DESC, j.judgment_id) = 1 '
        "ORDER BY j.response_a, j.response_b, j.judgment_id"
    )
    if EVERY not in categories:
        found = found.filter(pl.col("category").is_in(list(categories)))
    return collect_gold(found)


def hold_in_lake(lake: Lake, run: Run, judge: Judge, items: Sequence[Item]) -> list[Row]:
    """Let a judge judge pairs, with every answer kept in the lake, and return what it said."""
    hold_talks(lake, run, stage=STAGE, judge=judge, items=items)
    wanted = pl.DataFrame(
        [item.response_ids for item in items],
        schema={"response_a": pl.String, "response_b": pl.String},
        orient="row",
    )
    rows = lake.query(
        "FROM judgments SEMI JOIN wanted USING (response_a, response_b) WHERE annotator = ?",
        [judge.annotator],
        wanted=wanted,
    )
    return rows.rows(named=True)

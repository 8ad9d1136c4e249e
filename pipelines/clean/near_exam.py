"""Which prompts are the exam's, or so near to one of it that they would be of its cluster."""

from __future__ import annotations

import polars as pl

from pipelines.clean.dedup import group_near
from pipelines.clean.splits import CLUSTER_SIMILARITY
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.teaching import SPLITS, on_test

PROMPTS = f"SELECT prompt_id, split, messages FROM ({SPLITS}) JOIN prompts USING (prompt_id)"


def find_near_exam(lake: Lake, prompts: pl.DataFrame) -> set[str]:
    """The ids of the prompts that examine, or are near to one that does by the measure of the
    splits (a chain of near ones counts).

    Args:
        prompts: prompt_id, messages; the lake need not know them.
    """
    exam = lake.query(PROMPTS).filter(on_test())
    if exam.is_empty() or prompts.is_empty():
        return set()
    both = pl.concat(
        [exam.select("prompt_id", "messages"), prompts.select("prompt_id", "messages")]
    )
    texts = join_messages(both.unique("prompt_id", keep="first", maintain_order=True))
    groups = group_near(texts.select("prompt_id", "text"), CLUSTER_SIMILARITY)
    held = {groups[prompt_id][0] for prompt_id in exam["prompt_id"]}
    return {prompt_id for prompt_id in prompts["prompt_id"] if groups[prompt_id][0] in held}

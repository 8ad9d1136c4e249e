"""What prompts ask for and what their responses differ in, written by a model into `attributes`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipelines.label.judges import load_writer
from pipelines.label.judging import make_pair_items
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import Recipe

STAGE = "attributes"


def describe_pairs(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    base: Path | None,
    prompts: pl.DataFrame,
    pairs: pl.DataFrame,
    rollouts: pl.DataFrame,
    limit: int | None = None,
) -> StageSummary:
    """Have every pair described that the judges are asked about: the prompt's task category,
    objectivity, controversiality, desired attributes and guideline, and what the two responses
    differ in. (Skywork-Reward-V2, arXiv 2507.01352, section 3 and appendix D; the code of that
    curation is not public.)"""
    writer = load_writer(recipe, base)
    if writer is None:
        return StageSummary(STAGE, 0, 0)
    items = make_pair_items(prompts, pairs, rollouts)
    return hold_talks(
        lake, run, stage=STAGE, judge=writer, items=items, table="attributes", limit=limit
    )

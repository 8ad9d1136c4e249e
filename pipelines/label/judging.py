"""Judging as a stage: every judge of the recipe on every pair no verifier decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from annotators.ranking.judge import GroupRanker
from annotators.talk import Item, make_items
from pipelines.label.guiding import guide_items
from pipelines.label.judges import load_judges
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.recipe import Recipe

STAGE = "judge"


def make_pair_items(
    prompts: pl.DataFrame, pairs: pl.DataFrame, rollouts: pl.DataFrame
) -> list[Item]:
    """The pairs that judges are asked about: all but those that a verifier decides."""
    known = [name for name in ("category", "answer") if name in prompts.columns]
    sides = pl.concat([pairs["response_a"], pairs["response_b"]])
    contents = (
        rollouts.select("response_id", "content")
        .filter(pl.col("response_id").is_in(sides.implode()))
        .unique("response_id")
    )
    frame = (
        pairs.filter(pl.col("basis") != "verifier")
        .join(prompts.select("prompt_id", "messages", *known), on="prompt_id")
        .join(contents.rename({"response_id": "response_a", "content": "content_a"}),
              on="response_a")
        .join(contents.rename({"response_id": "response_b", "content": "content_b"}),
              on="response_b")
        .sort("pair_id")
    )  # fmt: skip
    return make_items(frame)


def make_groups(items: Sequence[Item]) -> list[Item]:
    """The responses of each prompt that stand in some pair, as one item a prompt."""
    found: dict[str, dict[str, str]] = {}
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.prompt_id, item)
        contents = dict(zip(item.response_ids, item.contents, strict=True))
        found.setdefault(item.prompt_id, {}).update(contents)
    groups = []
    for prompt_id, contents in found.items():
        ids = tuple(sorted(contents))
        texts = tuple(contents[response_id] for response_id in ids)
        groups.append(replace(first[prompt_id], response_ids=ids, contents=texts))
    return groups


def judge_pairs(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    base: Path | None,
    prompts: pl.DataFrame,
    pairs: pl.DataFrame,
    rollouts: pl.DataFrame,
    limit: int | None = None,
) -> StageSummary:
    """Ask every judge about every pair without a verifier's word.

    Which pairs are judged does not depend on the label policy, so that changing the policy costs
    no call. The counts are of calls; `extra["invalid"]` counts the judgments that say nothing.
    """
    items = make_pair_items(prompts, pairs, rollouts)
    groups = make_groups(items)
    summaries = []
    for judge in load_judges(recipe, base):
        asked = groups if isinstance(judge, GroupRanker) else items
        asked = guide_items(lake, run, STAGE, judge, asked)
        summary = hold_talks(lake, run, stage=STAGE, judge=judge, items=asked, limit=limit)
        summaries.append(summary)
        if limit is not None:
            limit -= summary.extra["calls"]
    return add_summaries(STAGE, summaries)

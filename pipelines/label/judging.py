"""Judging as a stage: every judge of the recipe on every pair no verifier decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from annotators.pairwise import PairwiseJudge
from annotators.talk import Item, Judge, make_items
from annotators.templates import load_template
from engines.assets import find_asset
from engines.models import ResolvedModel, resolve_model
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.recipe import JudgeSpec, Recipe

STAGE = "judge"


def load_judges(recipe: Recipe, base: Path | None) -> list[Judge]:
    """The judges of a recipe with their templates; one that it lists twice, by whatever names, is
    one judge.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    judges = [
        LOADERS[spec.method](spec, resolve_model(recipe.models[spec.model]), base)
        for spec in recipe.judges
    ]
    return list({judge.annotator: judge for judge in judges}.values())


def _load_pairwise(spec: JudgeSpec, model: ResolvedModel, base: Path | None) -> Judge:
    shows = ("prompt", "first", "second")
    file = find_asset(spec.template or "judges/pairwise.jinja", base)
    template = load_template(file, shows, reference=None, reason=False)
    return PairwiseJudge(
        model,
        template,
        mode=spec.mode,
        k=spec.k or 1,
        temperature=spec.temperature or 0.0,
        orders=spec.orders,
        max_tokens=spec.max_tokens,
    )


LOADERS: dict[str, Callable[[JudgeSpec, ResolvedModel, Path | None], Judge]] = {
    "pairwise": _load_pairwise,
}


def make_pair_items(
    prompts: pl.DataFrame, pairs: pl.DataFrame, rollouts: pl.DataFrame
) -> list[Item]:
    """The pairs that judges are asked about: all but those that a verifier decides."""
    known = [name for name in ("category", "answer") if name in prompts.columns]
    contents = rollouts.select("response_id", "content").unique("response_id")
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
    summaries = []
    for judge in load_judges(recipe, base):
        summary = hold_talks(lake, run, stage=STAGE, judge=judge, items=items, limit=limit)
        summaries.append(summary)
        if limit is not None:
            limit -= summary.extra["calls"]
    return add_summaries(STAGE, summaries)

"""Cleaning of responses, before they are judged: an answer nobody should learn from is not paid
for."""

from __future__ import annotations

import polars as pl

from pipelines.clean.rules.refusal import is_refusal
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import CleanSpec, Recipe

STAGE = "filter_responses"
RULES = 2
TRUNCATED = ("length", "content_filter")


def filter_responses(lake: Lake, run: Run, recipe: Recipe, rollouts: pl.DataFrame) -> StageSummary:
    """Drop empty, truncated, too short and too long responses (and refusals, where the recipe
    says so), with length and refusal statistics in `extra`.

    A response counts as truncated only if every rollout that reached it was cut off.

    Args:
        rollouts: rows of `rollouts` with `content`.
    """
    responses = _group(rollouts)

    def compute() -> Decided:
        spec = recipe.clean
        chars = pl.col("chars")
        rule = (
            pl.when(pl.col("content").str.strip_chars() == "")
            .then(pl.lit("empty_response"))
            .when(pl.lit(spec.drop_truncated) & pl.col("truncated"))
            .then(pl.lit("truncated"))
            .when(chars < spec.min_response_chars)
            .then(pl.lit("too_short"))
            .when(chars > spec.max_response_chars)
            .then(pl.lit("too_long"))
            .when(pl.lit(spec.drop_refusals) & pl.col("refusal"))
            .then(pl.lit("refusal"))
        )
        dropped = responses.with_columns(rule=rule).drop_nulls("rule")
        decisions = dropped.select(
            item_id="response_id",
            item_kind=pl.lit("response"),
            action=pl.lit("drop"),
            rule="rule",
            reason=pl.format("{} ({} characters)", "rule", "chars"),
            value=pl.col("chars").cast(pl.Float64),
        )
        return Decided(decisions, extra=_measure(responses))

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_response_scope(recipe.clean, rollouts),
        rows_in=len(responses),
        compute=compute,
    )


def make_response_scope(spec: CleanSpec, rollouts: pl.DataFrame) -> str:
    """The scope of the cleaning of these responses."""
    config = [
        spec.drop_truncated,
        spec.min_response_chars,
        spec.max_response_chars,
        spec.drop_refusals,
    ]
    return make_scope(STAGE, RULES, config, rollouts["rollout_id"])


def keep_responses(lake: Lake, recipe: Recipe, rollouts: pl.DataFrame) -> pl.DataFrame:
    """`rollouts` without those whose response was dropped."""
    scope = make_response_scope(recipe.clean, rollouts)
    return drop_decided(lake, rollouts, "response_id", [scope])


def _group(rollouts: pl.DataFrame) -> pl.DataFrame:
    cut = pl.col("finish_reason").is_in(TRUNCATED).fill_null(False)
    return (
        rollouts.group_by("response_id")
        .agg(pl.col("content").first(), cut.all().alias("truncated"))
        .with_columns(
            chars=pl.col("content").str.len_chars(), refusal=is_refusal(pl.col("content"))
        )
        .sort("response_id")
    )


def _measure(responses: pl.DataFrame) -> dict[str, object]:
    if len(responses) == 0:
        return {}
    chars = responses["chars"]
    return {
        "chars_median": chars.median(),
        "chars_p95": chars.quantile(0.95),
        "refusal_share": round(float(responses["refusal"].mean() or 0.0), 4),
        "truncated_share": round(float(responses["truncated"].mean() or 0.0), 4),
    }

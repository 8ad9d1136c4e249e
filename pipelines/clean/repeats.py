"""Responses that say again what another response to the same prompt says.

Two responses are *variants* where their texts are the same after normalisation (NFC, case, white
space). One stands for the others from here on: no judge is paid to compare them, and what anybody
said of a variant counts for the one that stands. So a pair that two sources labelled the other way
round becomes one pair with two opinions, and the label policy decides it: no label is lost, and no
coin is thrown. Responses to a prompt with a verifier are left as they are: there a case or a space
may be the difference between right and wrong.

A response that opens with the whole prompt, word for word, is dropped as `copies_prompt`.
"""

from __future__ import annotations

import polars as pl

from pipelines.clean.texts import normalise
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary

STAGE = "repeats"
RULES = 1
REPEATS = "repeats_response"
COPIES = "copies_prompt"
LEAST_COPIED = 40
"""Characters: a shorter prompt may well open an answer to it."""


def drop_repeats(
    lake: Lake, run: Run, prompts: pl.DataFrame, rollouts: pl.DataFrame
) -> StageSummary:
    """Record the responses that repeat another one or their prompt (see the module).

    Args:
        prompts: prompt_id, messages, verifier.
        rollouts: rows of `rollouts` with `content`, after the cleaning of responses.
    """
    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_repeat_scope(rollouts),
        rows_in=rollouts["response_id"].n_unique(),
        compute=lambda: Decided(find_repeated(prompts, rollouts)),
    )


def make_repeat_scope(rollouts: pl.DataFrame) -> str:
    """The scope of the decisions on these responses."""
    return make_scope(STAGE, RULES, [LEAST_COPIED], rollouts["rollout_id"])


def keep_first(lake: Lake, rollouts: pl.DataFrame) -> pl.DataFrame:
    """`rollouts` without those whose response repeats another one or its prompt."""
    return drop_decided(lake, rollouts, "response_id", [make_repeat_scope(rollouts)])


def list_variants(lake: Lake, rollouts: pl.DataFrame) -> pl.DataFrame:
    """variant, stands: the response ids that `drop_repeats` found to say the same."""
    return lake.query(
        "SELECT item_id AS variant, representative AS stands FROM decisions "
        "WHERE scope = ? AND rule = ? ORDER BY 1",
        [make_repeat_scope(rollouts), REPEATS],
    )


def find_repeated(prompts: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    """Decision rows. Of variants the one that came first stands (of those that came together the
    one with the smallest id), so that one that comes later changes nothing."""
    asked = prompts.select(
        "prompt_id",
        "verifier",
        prompt=normalise(
            pl.col("messages").list.last().struct.field("content").fill_null(pl.lit(""))
        ),
    )
    came = pl.col("created_at") if "created_at" in rollouts.columns else pl.lit(0)
    responses = (
        rollouts.group_by("prompt_id", "response_id")
        .agg(pl.col("content").first(), came.min().alias("came"))
        .join(asked, on="prompt_id")
        .with_columns(text=normalise(pl.col("content")))
        .sort("came", "response_id")
    )
    copied = (pl.col("prompt").str.len_chars() >= LEAST_COPIED) & pl.col("text").str.starts_with(
        pl.col("prompt")
    )
    copies = responses.filter(copied).select(
        item_id="response_id",
        item_kind=pl.lit("response"),
        action=pl.lit("drop"),
        rule=pl.lit(COPIES),
        reason=pl.lit("opens with its whole prompt"),
        value=pl.col("prompt").str.len_chars().cast(pl.Float64),
        threshold=pl.lit(float(LEAST_COPIED)),
    )
    repeats = (
        responses.filter(~copied & pl.col("verifier").is_null())
        .with_columns(stands=pl.col("response_id").first().over("prompt_id", "text"))
        .filter(pl.col("stands") != pl.col("response_id"))
        .select(
            item_id="response_id",
            item_kind=pl.lit("response"),
            action=pl.lit("drop"),
            rule=pl.lit(REPEATS),
            reason=pl.format("the same text as {}, which stands for it", "stands"),
            value=pl.lit(1.0),
            threshold=pl.lit(1.0),
            group_id="stands",
            representative="stands",
        )
    )
    return pl.concat([copies, repeats], how="diagonal").sort("item_id")

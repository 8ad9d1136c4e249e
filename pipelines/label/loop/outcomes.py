"""From what a pool was read to be, to labels: kept, turned round, or dropped.

Gold and verifiers decide their own pairs. Of the others p is the probability, by all voices
together, that the label a pair came with is right, and t the threshold of the recipe's labels:

    keep: sure          kept where p >= t. Else turned round where the flip policy says so; under
                        `unanimous` only where 1 - p >= t as well. Else dropped: `label_rejected`
                        where 1 - p >= t, `unsure` where neither side is sure enough
    keep: consistent    the published rule: kept where the gold model agrees with the label, and
                        with it jury or best model; turned by the flip policy; else dropped as
                        `inconsistent`

A pair that came with no label gets the side that is sure enough, else it is dropped as `unsure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from annotators.votes import call_label
from pipelines.label.loop.evidence import Evidence
from pipelines.label.loop.recycling import READ, find_readings
from pipelines.label.policies import DIGITS, measure_entropy
from pipelines.lake.catalogue import Lake, PastLake
from schemas.looping import LoopSpec
from schemas.recipe import Recipe

READING, FLIP = "reading", "flip"
BARELY = 0.5 + 1e-6
"""The probability of a label that a rule takes and the reading does not favour."""
OUTCOMES = {
    "pair_id": pl.String, "p_a": pl.Float64, "action": pl.String, "rule": pl.String,
    "why": pl.String, "value": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PoolRead:
    """A pool and what it was read to be: what speaks, the rows of `readings` (none where it was not
    read) and their `outcomes` (see `conclude`)."""

    evidence: Evidence
    readings: pl.DataFrame
    outcomes: pl.DataFrame


def find_read(lake: Lake | PastLake, recipe: Recipe, evidence: Evidence) -> PoolRead:
    """The pool as the lake has it read."""
    readings = find_readings(lake, recipe, evidence)
    spec = recipe.loop or LoopSpec()
    return PoolRead(evidence, readings, conclude(readings, spec, recipe.label.threshold))


def conclude(readings: pl.DataFrame, spec: LoopSpec, threshold: float) -> pl.DataFrame:
    """What becomes of each pair by its reading, gold or not.

    Args:
        readings: of `pipelines.label.loop.recycling.find_readings`.
        threshold: how sure a label must be.

    Returns:
        pair_id, p_a (of the label it gets; of a dropped pair, of what was read), action (keep,
        flip, drop), rule, why (in words) and value (the probability of the label it came with; of
        the surer side where it came with none); in the order given.
    """
    bare = pl.col("action") == READ
    first = pl.when(bare).then(pl.col("p") > 0.5).otherwise(pl.col("came") > 0.5)
    p = pl.when(first).then("p").otherwise(1 - pl.col("p")).round(DIGITS)
    frame = readings.with_columns(first=first, own=p)
    own, other = pl.col("own"), 1 - pl.col("own")
    turns = pl.col("action") == "flip"
    if spec.keep == "sure":
        kept = own >= threshold
        flipped = turns & ~kept & ((other >= threshold) | (spec.flip_policy == "all"))
    else:
        kept = pl.when(bare).then(own >= threshold).otherwise(pl.col("action") == "keep")
        flipped = turns
    unsure = bare | ((own < threshold) & (other < threshold) & (spec.keep == "sure"))
    rule = (
        pl.when(kept).then(pl.lit("keep"))
        .when(flipped).then(pl.lit(f"flip_{spec.flip_policy}"))
        .when(unsure).then(pl.lit("unsure"))
        .when(pl.lit(spec.keep == "sure")).then(pl.lit("label_rejected"))
        .otherwise(pl.lit("inconsistent"))
    )  # fmt: skip
    side = pl.when(flipped).then(~pl.col("first")).otherwise(pl.col("first"))
    sure = pl.when(flipped).then(other).otherwise(own)
    settled = pl.max_horizontal(sure, pl.lit(BARELY))
    return (
        frame.with_columns(kept=kept, flipped=flipped)
        .select(
            "pair_id",
            p_a=pl.when(~pl.col("kept") & ~pl.col("flipped"))
            .then(pl.col("p").round(DIGITS))
            .when(side)
            .then(settled)
            .otherwise(1 - settled),
            action=pl.when("kept")
            .then(pl.lit("keep"))
            .when("flipped")
            .then(pl.lit("flip"))
            .otherwise(pl.lit("drop")),
            rule=rule,
            why=_explain(bare),
            value=own,
        )
        .cast(OUTCOMES)
    )  # type: ignore[arg-type]


def _explain(bare: pl.Expr) -> pl.Expr:
    share = pl.col("own").round(3)
    told = pl.format("all voices together give its label a probability of {}", share)
    with_ = pl.when(pl.col("came").is_null()).then(pl.lit("no label")).otherwise(pl.lit("a tie"))
    none = pl.format("it came with {}, and its surer side has a probability of {}", with_, share)
    return (
        pl.when(bare)
        .then(none)
        .otherwise(pl.format("{}: {}", pl.col("rule"), told))
    )  # fmt: skip


def read_labels(labels: pl.DataFrame, read: PoolRead) -> pl.DataFrame:
    """`labels` (of the policy `gold_loop`), those that nobody settles rewritten by the reading:
    `decided_by` is `reading` or `flip`, and what is dropped has the status `dropped` and the rule
    as its reason. A pair that was not read waits as it did."""
    open_ = pl.col("status").eq("to_review") & pl.col("reason").eq("no_opinion")
    sides = read.evidence.spoken.with_columns(label=call_label(pl.col("p_a")))
    heard = sides.group_by("pair_id").agg(
        share_a=(pl.col("label") == "a").mean(),
        share_b=(pl.col("label") == "b").mean(),
        who=pl.col("annotator").unique().sort(),
    )
    joined = labels.join(
        read.outcomes.rename({"p_a": "p_read"}), on="pair_id", how="left", maintain_order="left"
    ).join(heard, on="pair_id", how="left", maintain_order="left")
    mine = open_ & pl.col("action").is_not_null()
    dropped = pl.col("action") == "drop"
    share = pl.when(pl.col("p_read") > 0.5).then("share_a").otherwise("share_b")
    nobody = pl.lit([], dtype=pl.List(pl.String))
    changes: dict[str, Any] = {
        "status": pl.when(dropped).then(pl.lit("dropped")).otherwise(pl.lit("labelled")),
        "p_a": pl.col("p_read"),
        "agreement": pl.when(~dropped).then(share),
        "tier": pl.when(~dropped).then(pl.lit("silver")),
        "decided_by": pl.when(pl.col("action") == "flip")
        .then(pl.lit(FLIP))
        .when(~dropped)
        .then(pl.lit(READING)),
        "annotators": pl.when(~dropped).then(pl.coalesce("who", nobody)),
        "reason": pl.when(dropped).then("rule"),
        "entropy": measure_entropy(pl.col("p_read")),
    }
    return joined.with_columns(
        pl.when(mine).then(value).otherwise(name).alias(name) for name, value in changes.items()
    ).select(labels.columns)


def find_decisions(labels: pl.DataFrame, read: PoolRead, threshold: float) -> pl.DataFrame:
    """The decision rows of pairs that the reading dropped, or whose label it turned round."""
    told = labels.filter(
        (pl.col("status") == "dropped") | (pl.col("decided_by") == FLIP).fill_null(False)
    ).select("pair_id")
    return told.join(read.outcomes, on="pair_id").select(
        item_id="pair_id",
        item_kind=pl.lit("pair"),
        action="action",
        rule="rule",
        reason="why",
        value="value",
        threshold=pl.lit(threshold),
    )


def hold_against(outcomes: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """Of the outcomes that gave a pair of `gold` (pair_id, truth) a label, whether gold agrees:
    pair_id, action, sure (of the label given), right (1, 0, or 0.5 where gold is a tie)."""
    lean = (pl.col("p_a") - 0.5).sign() * (pl.col("truth") - 0.5).sign()
    return (
        outcomes.filter(pl.col("action") != "drop")
        .join(gold, on="pair_id")
        .select(
            "pair_id",
            "action",
            sure=pl.max_horizontal("p_a", 1 - pl.col("p_a")),
            right=(1 + lean) / 2,
        )
    )

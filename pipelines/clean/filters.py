"""Cleaning of labelled pairs: what repeats another pair, contradicts it, or compares a text with
itself, in whole, but for its stops, or as far as a trainer reads it.

Of pairs that say the same one stays: the one with the best label (gold before silver before
candidate), then the one that more annotators stand behind, then the smallest id. Of pairs that say
the opposite the better supported one stays; where neither is, both go: nothing tells which is
right. The judgments of all of them stay in the lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from pipelines.clean.contradictions import find_contradictions
from pipelines.clean.cut_off import find_cut_off
from pipelines.clean.texts import drop_stops, join_messages, normalise
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import CutOffSpec

STAGE = "filter"
RULES = 3
TIERS = ("gold", "silver", "candidate")


def filter_pairs(
    lake: Lake,
    run: Run,
    labels: pl.DataFrame,
    prompts: pl.DataFrame,
    rollouts: pl.DataFrame,
    cut_off: CutOffSpec | None = None,
) -> StageSummary:
    """Drop pairs whose two texts are the same after normalisation (`identical_responses`), without
    their stops (`differs_in_punctuation`; not where a verifier looks at them) or as far as
    `cut_off` lets a trainer read (`identical_when_cut`); those that say again what a better
    supported one says, the same way round (`duplicate_pair`) or the other way round
    (`mirrored_pair`); and the weakest labels of a cycle A > B > C > A (`preference_cycle`).

    Args:
        labels: labelled pairs (pair_id, prompt_id, chosen_id, rejected_id, tier, annotators,
            margin, …).
        prompts: prompt_id, messages, verifier.
    """

    def compute() -> Decided:
        rows = find_repeats(labels, prompts, rollouts)
        left = _without(labels, rows)
        if cut_off is not None:
            cut = find_cut_off(left, prompts, rollouts, cut_off)
            rows, left = rows + cut, _without(left, cut)
        return Decided(rows + find_contradictions(rank_support(left)))

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_filter_scope(labels, cut_off),
        rows_in=len(labels),
        compute=compute,
    )


def make_filter_scope(labels: pl.DataFrame, cut_off: CutOffSpec | None = None) -> str:
    """The scope of the cleaning of these labelled pairs."""
    config = [] if cut_off is None else [cut_off.tokenizer, cut_off.tokens]
    support = pl.format("{}{}:{}:{}:{}", "pair_id", "chosen_id", "tier", "votes", "margin")
    return make_scope(STAGE, RULES, config, rank_support(labels).select(support).to_series())


def keep_clean(lake: Lake, labels: pl.DataFrame, cut_off: CutOffSpec | None = None) -> pl.DataFrame:
    """`labels` without the pairs that `filter_pairs` dropped."""
    return drop_decided(lake, labels, "pair_id", [make_filter_scope(labels, cut_off)])


def rank_support(labels: pl.DataFrame) -> pl.DataFrame:
    """`labels` with what stands behind each label: `tier` (its place in `TIERS`), `votes` (how many
    annotators decided it), `margin`."""
    given = labels.columns
    tier, votes, margin = pl.lit(len(TIERS)), pl.lit(0), pl.lit(0.0)
    if "tier" in given:
        places = {name: place for place, name in enumerate(TIERS)}
        tier = pl.col("tier").replace_strict(places, default=len(TIERS))
    if "annotators" in given:
        votes = pl.col("annotators").list.len().fill_null(0)
    if "margin" in given:
        margin = pl.col("margin").fill_null(0.0).round(9)
    return labels.select(
        "pair_id",
        "prompt_id",
        "chosen_id",
        "rejected_id",
        tier=tier.cast(pl.Int64),
        votes=votes.cast(pl.Int64),
        margin=margin,
    )


def find_repeats(
    labels: pl.DataFrame, prompts: pl.DataFrame, rollouts: pl.DataFrame
) -> list[dict[str, Any]]:
    """Decision rows for the pairs that repeat or contradict another, or compare a text with
    itself."""
    contents = rollouts.unique("response_id").select(
        "response_id", key=normalise(pl.col("content"))
    )
    asked = join_messages(prompts).select("prompt_id", "verifier", asked=normalise(pl.col("text")))
    frame = (
        rank_support(labels)
        .join(asked, on="prompt_id")
        .join(contents.rename({"response_id": "chosen_id", "key": "chosen"}), on="chosen_id")
        .join(contents.rename({"response_id": "rejected_id", "key": "rejected"}), on="rejected_id")
        .sort("pair_id")
    )
    bare = [drop_stops(pl.col(side)) for side in ("chosen", "rejected")]
    is_same = pl.col("chosen") == pl.col("rejected")
    is_bare = ~is_same & pl.col("verifier").is_null() & (bare[0] == bare[1])
    rows = [
        _make_row(pair_id, rule, reason, None)
        for rule, reason, is_hit in (
            ("identical_responses", "chosen and rejected are the same text", is_same),
            ("differs_in_punctuation", "chosen and rejected differ in their stops alone", is_bare),
        )
        for pair_id in frame.filter(is_hit)["pair_id"]
    ]
    texts = [pl.min_horizontal("chosen", "rejected"), pl.max_horizontal("chosen", "rejected")]
    groups = (
        frame.filter(~is_same & ~is_bare)
        .sort("tier", -pl.col("votes"), "pair_id")
        .group_by("asked", texts[0].alias("one"), texts[1].alias("other"), maintain_order=True)
        .agg("pair_id", "tier", "votes", first=pl.col("chosen") < pl.col("rejected"))
        .filter(pl.col("pair_id").list.len() > 1)
    )
    for group in groups.iter_rows(named=True):
        rows += _settle_group(group)
    return sorted(rows, key=lambda row: row["item_id"])


def _settle_group(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of pairs with the same texts, best supported first."""
    members = list(zip(group["pair_id"], group["tier"], group["votes"], group["first"],
                       strict=True))  # fmt: skip
    kept, tier, votes, way = members[0]
    equal = [m for m in members if m[1:3] == (tier, votes) and m[3] != way]
    if equal:  # nothing tells which is right
        for pair_id, *_, other in members:
            against = next(m[0] for m in members if m[3] != other)
            reason = f"contradicts {against}, and neither is better supported"
            yield _make_row(pair_id, "mirrored_pair", reason, None, kept)
        return
    for pair_id, *_, other in members[1:]:
        if other == way:
            yield _make_row(pair_id, "duplicate_pair", f"says what {kept} says", kept, kept)
        else:
            reason = f"contradicts {kept}, which is better supported"
            yield _make_row(pair_id, "mirrored_pair", reason, kept, kept)


def _make_row(
    pair_id: str, rule: str, reason: str, kept: str | None, group: str | None = None
) -> dict[str, Any]:
    return {
        "item_id": pair_id,
        "item_kind": "pair",
        "action": "drop",
        "rule": rule,
        "reason": reason,
        "value": None,
        "threshold": None,
        "group_id": group,
        "representative": kept,
    }


def _without(labels: pl.DataFrame, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return labels.filter(~pl.col("pair_id").is_in([row["item_id"] for row in rows]))

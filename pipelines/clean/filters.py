"""Cleaning of labelled pairs: what repeats another pair, or compares a text with itself."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.clean.texts import join_messages, normalise
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary

STAGE = "filter"
RULES = 1


def filter_pairs(
    lake: Lake, run: Run, labels: pl.DataFrame, prompts: pl.DataFrame, rollouts: pl.DataFrame
) -> StageSummary:
    """Drop pairs whose two texts are the same after normalisation (`identical_responses`), and
    those that say again what a pair with a smaller id says: the same prompt and texts the same
    way round (`duplicate_pair`) or the other way round (`mirrored_pair`, which contradicts it).

    Args:
        labels: labelled pairs (pair_id, prompt_id, chosen_id, rejected_id, …).
    """
    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_filter_scope(labels),
        rows_in=len(labels),
        compute=lambda: Decided(find_repeats(labels, prompts, rollouts)),
    )


def make_filter_scope(labels: pl.DataFrame) -> str:
    """The scope of the cleaning of these labelled pairs."""
    inputs = (labels["pair_id"] + labels["chosen_id"]).to_list()
    return make_scope(STAGE, RULES, [], inputs)


def keep_clean(lake: Lake, labels: pl.DataFrame) -> pl.DataFrame:
    """`labels` without the pairs that `filter_pairs` dropped."""
    return drop_decided(lake, labels, "pair_id", [make_filter_scope(labels)])


def find_repeats(
    labels: pl.DataFrame, prompts: pl.DataFrame, rollouts: pl.DataFrame
) -> list[dict[str, Any]]:
    """Decision rows for the pairs that repeat another or compare a text with itself."""
    contents = rollouts.unique("response_id").select(
        "response_id", key=normalise(pl.col("content"))
    )
    asked = join_messages(prompts).select("prompt_id", asked=normalise(pl.col("text")))
    frame = (
        labels.select("pair_id", "prompt_id", "chosen_id", "rejected_id")
        .join(asked, on="prompt_id")
        .join(contents.rename({"response_id": "chosen_id", "key": "chosen"}), on="chosen_id")
        .join(contents.rename({"response_id": "rejected_id", "key": "rejected"}), on="rejected_id")
        .sort("pair_id")
    )
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, str, str], str] = {}
    for pair_id, prompt, chosen, rejected in frame.select(
        "pair_id", "asked", "chosen", "rejected"
    ).iter_rows():
        if chosen == rejected:
            reason = "chosen and rejected are the same text"
            rows.append(_make_row(pair_id, "identical_responses", reason, None))
        elif (kept := seen.get((prompt, chosen, rejected))) is not None:
            rows.append(_make_row(pair_id, "duplicate_pair", f"says what {kept} says", kept))
        elif (kept := seen.get((prompt, rejected, chosen))) is not None:
            rows.append(_make_row(pair_id, "mirrored_pair", f"contradicts {kept}", kept))
        else:
            seen[(prompt, chosen, rejected)] = pair_id
    return rows


def _make_row(pair_id: str, rule: str, reason: str, kept: str | None) -> dict[str, Any]:
    return {
        "item_id": pair_id,
        "item_kind": "pair",
        "action": "drop",
        "rule": rule,
        "reason": reason,
        "group_id": kept,
        "representative": kept,
    }

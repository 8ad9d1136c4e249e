"""Pairs that differ only beyond the length to which a trainer cuts them."""

from __future__ import annotations

from typing import Any

import polars as pl

from engines.tokenizers import load_tokenizer
from pipelines.clean.texts import join_messages
from schemas.recipe import CutOffSpec

RULE = "identical_when_cut"


def find_cut_off(
    labels: pl.DataFrame, prompts: pl.DataFrame, rollouts: pl.DataFrame, spec: CutOffSpec
) -> list[dict[str, Any]]:
    """Decision rows for pairs whose prompt and response are the same in the first `spec.tokens`
    tokens of `spec.tokenizer` (no special tokens counted). `value` is the number of tokens that
    both share.

    Args:
        labels: pair_id, prompt_id, chosen_id, rejected_id.
        prompts: prompt_id, messages.
        rollouts: response_id, content.
    """
    contents = rollouts.unique("response_id").select("response_id", "content")
    frame = (
        labels.select("pair_id", "prompt_id", "chosen_id", "rejected_id")
        .join(join_messages(prompts).select("prompt_id", "text"), on="prompt_id")
        .join(contents.rename({"response_id": "chosen_id", "content": "chosen"}), on="chosen_id")
        .join(contents.rename({"response_id": "rejected_id", "content": "rejected"}),
              on="rejected_id")
        .sort("pair_id")
    )  # fmt: skip
    if frame.is_empty():
        return []
    encode = load_tokenizer(spec.tokenizer)
    rows = []
    for pair_id, text, chosen, rejected in frame.select(
        "pair_id", "text", "chosen", "rejected"
    ).iter_rows():
        asked, one, other = (encode(part)[: spec.tokens] for part in (text, chosen, rejected))
        room = spec.tokens - len(asked)
        if one[:room] == other[:room] and len(asked) + min(len(one), len(other)) >= spec.tokens:
            rows.append(_make_row(pair_id, len(asked) + len(one[:room]), spec))
    return rows


def _make_row(pair_id: str, shared: int, spec: CutOffSpec) -> dict[str, Any]:
    return {
        "item_id": pair_id,
        "item_kind": "pair",
        "action": "drop",
        "rule": RULE,
        "reason": f"the same in its first {spec.tokens} tokens of {spec.tokenizer}",
        "value": float(shared),
        "threshold": float(spec.tokens),
        "group_id": None,
        "representative": None,
    }

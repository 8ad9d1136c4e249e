"""Asking people about a share of the labels that the loop turned round, and what they said."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from annotators.agreement import find_interval
from annotators.gold import select_gold, settle_gold
from annotators.votes import PAIR
from pipelines.label.loop.outcomes import FLIP
from pipelines.label.people.costs import expect_seconds
from pipelines.label.people.counting import PEOPLE
from pipelines.label.people.targets import list_targets
from pipelines.lake.catalogue import Lake
from pipelines.lake.teaching import leave_exam
from schemas.ids import make_seed

REASON = "flip_audit"
QUESTION = "preference"
KEPT = ("review_id", "pair_id", "prompt_id", "response_a", "response_b", "responses", "left")


def list_audit(
    lake: Lake, labels: pl.DataFrame, share: float, seed: int, known: set[str]
) -> list[dict[str, Any]]:
    """The rows of `reviews` that ask about that share of the flipped labels, drawn by the hashes of
    their pairs. Each says in `why` to which side it was flipped. Those of the test split are left
    out: what people say there is the exam's gold, and only drawn at random is it a fair exam.

    Args:
        labels: of `pipelines.label.labelling.apply_policy`.
        known: the reviews that there are.
    """
    turned = labels.filter((pl.col("decided_by") == FLIP).fill_null(False)).sort("pair_id")
    flipped = leave_exam(lake, turned)
    drawn = [make_seed("flip audit", seed, key) / 2**31 < share for key in flipped["pair_id"]]
    chosen = flipped.filter(pl.Series(drawn, dtype=pl.Boolean))
    sides = dict(chosen.select("pair_id", pl.col("p_a") > 0.5).iter_rows())
    targets = [row for row in list_targets(chosen, QUESTION) if row["review_id"] not in known]
    if not targets:
        return []
    asked = pl.DataFrame(
        {
            "prompt_id": [row["prompt_id"] for row in targets],
            "question": QUESTION,
            "responses": [[row["response_a"], row["response_b"]] for row in targets],
        }
    )
    rows = []
    for row, seconds in zip(targets, expect_seconds(lake, asked), strict=True):
        why = {"worth": 1.0, "flipped_to": "a" if sides[row["pair_id"]] else "b"}
        rows.append(
            {
                **{name: row[name] for name in KEPT},
                "status": "queued",
                "question": QUESTION,
                "role": "work",
                "reason": REASON,
                "gain": 1.0,
                "why": json.dumps(why, sort_keys=True),
                "expected_seconds": seconds,
            }
        )
    return rows


def measure_flips(lake: Lake, pairs: pl.DataFrame) -> dict[str, Any]:
    """How right the labels of these pairs were that were turned round and asked about: asked,
    answered, right (the share, a tie being half), low, high (95 %); null where nobody has answered.

    Args:
        pairs: response_a, response_b: other recipes of the lake turn others.
    """
    asked = lake.query(
        "SELECT DISTINCT prompt_id, response_a, response_b, "
        "json_extract_string(why, '$.flipped_to') AS side FROM reviews WHERE reason = ? "
        "AND status = 'queued'",
        [REASON],
    ).join(pairs.select(PAIR), on=PAIR, how="semi")
    said = lake.query(
        "SELECT * FROM judgments SEMI JOIN asked USING (response_a, response_b) "
        "WHERE starts_with(annotator, ?)",
        [PEOPLE],
        asked=asked.select(PAIR),
    )
    gold = settle_gold(select_gold(said)).join(asked.select(*PAIR, "side"), on=PAIR)
    agrees = pl.when(pl.col("side") == "a").then("p_a").otherwise(1 - pl.col("p_a"))
    right = gold.select(agrees.mean()).item() if len(gold) else None
    low, high = find_interval(float(right), float(len(gold))) if len(gold) else (None, None)
    return {"asked": len(asked), "answered": len(gold), "right": right, "low": low, "high": high}

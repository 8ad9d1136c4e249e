"""Opinions on responses that say the same: what was said of one counts for the one that stands."""

from __future__ import annotations

import polars as pl

VARIANTS = {"variant": pl.String, "stands": pl.String}
"""The columns of a frame of variants: a response, and the one that stands for it."""


def speak_of_standing(judgments: pl.DataFrame, variants: pl.DataFrame) -> pl.DataFrame:
    """The judgments as they speak of the responses that stand for variants: both sides renamed,
    turned round where the ids' order turns (p_a, the score of a pair, the order shown). What
    compares two variants of one text speaks of nothing and is left out.

    Args:
        judgments: response_a, response_b (null for pointwise), p_a, score, order, …
        variants: variant, stands.
    """
    if variants.is_empty():
        return judgments
    stands = dict(variants.iter_rows())
    renamed = judgments.with_columns(pl.col("response_a", "response_b").replace(stands))
    turned = (pl.col("response_a") > pl.col("response_b")).fill_null(False)
    same = (pl.col("response_a") == pl.col("response_b")).fill_null(False)
    sides = {
        "response_a": pl.when(turned).then("response_b").otherwise("response_a"),
        "response_b": pl.when(turned).then("response_a").otherwise("response_b"),
        "p_a": pl.when(turned).then(1 - pl.col("p_a")).otherwise("p_a"),
        "score": pl.when(turned).then(-pl.col("score")).otherwise("score"),
        "order": pl.when(turned)
        .then(pl.col("order").replace({"ab": "ba", "ba": "ab"}))
        .otherwise("order"),
    }
    return renamed.filter(~same).with_columns(**sides)

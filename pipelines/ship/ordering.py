"""The order of a curriculum: which pairs a trainer meets first.

A pair is the harder, the harder its prompt (easy, medium, hard; what nobody knows lies between),
and of equally hard prompts the closer its responses are: the smaller its margin. Pairs by their
margin are the curriculum of Curri-DPO (Pattnaik et al. 2024, arXiv 2403.07230).
"""

from __future__ import annotations

import polars as pl

from schemas.mixing import Order

LEVELS = {"easy": 0, "medium": 1, "hard": 2}


def order_pairs(rows: pl.DataFrame, order: Order, side: pl.Expr) -> pl.DataFrame:
    """`rows` sorted, with `order`: 0, 1, 2, … in each side. Equally hard pairs stand by their ids,
    whichever end comes first.

    Args:
        rows: pair_id, margin, difficulty.
        side: what parts the rows that are trained on from the others.
    """
    level = pl.col("difficulty").replace_strict(LEVELS, default=1, return_dtype=pl.Int64)
    closeness = -pl.col("margin").round(9)
    turned = order == "hard_first"
    placed = rows.sort(level, closeness, "pair_id", descending=[turned, turned, False])
    return placed.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int64).over(side))

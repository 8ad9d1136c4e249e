"""What still counts of rankings. (Of people: `pipelines.label.people.counting`.)"""

from __future__ import annotations

import polars as pl

from annotators.ranking.conclusions import RANKING, keep_groups
from annotators.talk import Item
from annotators.votes import PAIR


def keep_rankings_of(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """Of ranking judges only what they concluded of the groups that `pairs` (prompt_id,
    response_a, response_b, basis) form: the responses of a prompt that no verifier decides on."""
    ranked = judgments.filter(RANKING).select("prompt_id").unique()
    if ranked.is_empty():
        return judgments
    asked = pairs.filter(pl.col("basis") != "verifier").join(ranked, on="prompt_id", how="semi")
    sides = [asked.select("prompt_id", response=pl.col(side)) for side in PAIR]
    groups = pl.concat(sides).unique().group_by("prompt_id").agg(pl.col("response").sort())
    targets = [Item(prompt, (), tuple(ids), ()).target for prompt, ids in groups.iter_rows()]
    return keep_groups(judgments, targets)

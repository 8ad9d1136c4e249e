"""What still counts of judges that are asked again. (Of people: `people.counting`.)"""

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


def keep_last_guided(judgments: pl.DataFrame) -> pl.DataFrame:
    """Of a judge that is guided (`pipelines.label.guiding`), and was asked about a pair again with
    other words beside it, what it said when it was asked last."""
    told = {name: pl.col("detail").str.json_path_match(f"$.{name}") for name in ("of", "guidance")}
    guided = judgments.select("judgment_id", "annotator", "created_at", **told).drop_nulls("of")
    what = ["annotator", "of"]
    last = guided.sort("created_at", "guidance").unique(what, keep="last")
    stale = guided.join(last, on=[*what, "guidance"], how="anti")
    return judgments.join(stale, on="judgment_id", how="anti", maintain_order="left")

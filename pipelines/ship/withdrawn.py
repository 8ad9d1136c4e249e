"""Gold that a published version holds and that has been withdrawn since.

A version is frozen: it keeps its rows. But what a newer edition of a pool or a further release no
longer says, or now denies, is no gold any more, and labels that were read by its light are no surer
than that. The version is marked; publishing its recipe again makes one without it.
"""

from __future__ import annotations

import polars as pl

from annotators.gold import select_gold, settle_gold
from annotators.votes import PAIR
from pipelines.label.people.counting import keep_counted
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded

WITHDRAWN = "withdrawn: nothing vouches for it now"
DENIED = "denied: gold now says otherwise"


def find_withdrawn(lake: Lake, pair_id: str | None = None) -> pl.DataFrame:
    """name, version, pair_id and why, of every gold pair of a version whose gold is gone or says
    otherwise now; of one pair alone, where it is given."""
    held = lake.query(
        "SELECT name, version, pair_id, chosen_id, least(chosen_id, rejected_id) AS response_a, "
        "greatest(chosen_id, rejected_id) AS response_b FROM version_pairs WHERE tier = 'gold' "
        "ORDER BY name, version, pair_id"
    )
    said = lake.query(
        "SELECT * FROM judgments SEMI JOIN held USING (response_a, response_b)",
        held=held.select(PAIR).unique(),
    )
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    counted = keep_counted(drop_superseded(lake, said, pools))
    gold = settle_gold(select_gold(counted)).select(*PAIR, "p_a")
    first = pl.col("chosen_id") == pl.col("response_a")
    agrees = pl.when(first).then("p_a").otherwise(1 - pl.col("p_a")) > 0.5
    mine = held if pair_id is None else held.filter(pl.col("pair_id") == pair_id)
    return (
        mine.join(gold, on=PAIR, how="left", maintain_order="left")
        .with_columns(agrees=agrees)
        .filter(~pl.col("agrees").fill_null(False))
        .select(
            "name",
            "version",
            "pair_id",
            why=pl.when(pl.col("p_a").is_null()).then(pl.lit(WITHDRAWN)).otherwise(pl.lit(DENIED)),
        )
    )

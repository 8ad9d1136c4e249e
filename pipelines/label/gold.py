"""The gold of a lake that may teach, pair by pair."""

from __future__ import annotations

import polars as pl

from annotators.gold import select_gold, settle_gold
from pipelines.label.people.counting import keep_counted
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.teaching import keep_teaching

SAID = """
FROM judgments WHERE criterion IS NULL AND response_b IS NOT NULL AND (kind = 'human' OR gold)
"""


def find_teach_gold(lake: Lake) -> pl.DataFrame:
    """What gold (`annotators.gold`) says of each pair whose prompt is in train: prompt_id,
    response_a, response_b, p_a (1, 0.5 or 0). Of somebody's revisions the latest counts, of a
    pool's editions the newest."""
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    said = keep_counted(drop_superseded(lake, lake.query(SAID), pools))
    return settle_gold(select_gold(keep_teaching(lake, said)))

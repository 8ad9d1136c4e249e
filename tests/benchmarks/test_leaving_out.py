"""What `benchmarks.loop.leaving_out` prints, of a small planted pool."""

from __future__ import annotations

import polars as pl

from benchmarks.loop.leaving_out import leave_sources, leave_voices, summarise
from tests.benchmarks.test_loop_shows import plant_pool


def test_the_bad_source_costs_and_each_row_is_counted() -> None:
    pool = plant_pool(n=1_200)
    table = summarise([leave_sources(pool, seed) for seed in (0, 1)], ("value", "beyond"))
    bad, other = (table.filter(pl.col("who").str.starts_with(word)) for word in ("the", "any"))
    assert (bad["n"].item(), other["n"].item()) == (2, 8)
    assert bad["value"].item() < 0 < other["value"].item() and bad["value > 0"].item() == 0


def test_the_best_judge_is_worth_most_and_the_bad_annotator_little() -> None:
    found = leave_voices(plant_pool(n=1_200), 0)
    values = dict(found.filter(pl.col("what") == "judge").select("voice", "value").iter_rows())
    assert max(values, key=lambda name: values[name]) == "judge, 85%"
    assert found.filter(who="the bad annotator")["value"].item() < 0.02
    assert len(found) == 12

"""Which conclusions of a ranking count: of a prompt the newest, of a recipe those on its groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import polars as pl
import pytest

from annotators.pairwise import PairwiseJudge
from annotators.ranking.conclusions import (
    count_costs,
    count_groups,
    keep_groups,
    keep_newest,
    list_cycles,
)
from annotators.ranking.judge import GroupRanker
from annotators.talk import Item, Row
from engines.chat import ChatRequest, ChatResult
from schemas.tables import polars_schema
from tests.annotators.judging import MODEL, hold, make_item
from tests.annotators.ranking.test_ranker import TEMPLATE, by_number, judge_by

RANKER = GroupRanker(PairwiseJudge(MODEL, TEMPLATE), "round_robin")
SMALL, LARGE = make_item("0", "1", "2"), make_item("0", "1", "2", "3")
BEATS = {("r", "s"), ("s", "p"), ("p", "r")}
SAY = judge_by(by_number)
SCHEMA = polars_schema("judgments")


def conclude(
    item: Item, day: int, answer: Callable[[ChatRequest], ChatResult | str] = SAY
) -> list[Row]:
    at = dt.datetime(2026, 1, day)
    return [{**row, "created_at": at} for row in hold(RANKER, item, answer)[0]]


def make_frame(*conclusions: list[Row]) -> pl.DataFrame:
    rows = [row for rows in conclusions for row in rows]
    return pl.DataFrame(rows, schema={name: SCHEMA[name] for name in rows[0]})


def list_ids(rows: pl.DataFrame | list[Row]) -> set[str]:
    ids = (
        rows["judgment_id"] if isinstance(rows, pl.DataFrame) else [r["judgment_id"] for r in rows]
    )
    return set(ids)


def test_of_one_prompt_the_newest_conclusion_counts_and_every_comparison() -> None:
    old, new = conclude(SMALL, 1), conclude(LARGE, 2)
    other = conclude(make_item("0", "1", prompt="Another?"), 1)
    kept = keep_newest(make_frame(old, new, other))
    gone = {row["judgment_id"] for row in old if row["annotator"] == RANKER.annotator}
    assert list_ids(kept) == list_ids([*old, *new, *other]) - gone
    assert list_ids(keep_newest(kept)) == list_ids(kept)
    assert len(keep_newest(kept.clear())) == 0


def test_a_recipe_hears_what_was_concluded_of_its_own_group_whenever_that_was() -> None:
    old, new = conclude(SMALL, 1), conclude(LARGE, 2)
    frame = make_frame(old, new)
    for item, mine, others in ((SMALL, old, new), (LARGE, new, old)):
        kept = keep_groups(frame, [item.target])
        gone = {row["judgment_id"] for row in others if row["annotator"] == RANKER.annotator}
        assert list_ids(kept) == list_ids([*mine, *others]) - gone
    assert not len(keep_groups(frame, []).filter(pl.col("annotator") == RANKER.annotator))


def test_what_the_comparisons_cost_stands_in_one_row_of_each_ranking() -> None:
    frame = make_frame(conclude(SMALL, 1), conclude(make_item("0", "1", prompt="Another?"), 1))
    ranked = pl.col("annotator") == RANKER.annotator
    assert frame.filter(ranked)["tokens_in"].sum() == 0, "each call is counted once in the lake"
    counted = count_costs(frame)
    for name in ("tokens_in", "tokens_out", "seconds"):
        compared = frame.filter(~ranked)[name].sum()
        assert counted.filter(ranked)[name].sum() == compared
        assert counted.filter(~ranked)[name].sum() == compared
    assert counted.schema == frame.schema
    assert counted.filter(ranked)["tokens_in"].sum() == 2 * 10 * (3 + 1)


def fail(request: ChatRequest) -> ChatResult:
    return ChatResult(request.request_id, error="http_500")


@pytest.mark.parametrize("healed", [False, True])
def test_groups_are_counted_with_their_cycles_and_those_that_wait(healed: bool) -> None:
    cyclic = make_item("r", "s", "p")
    turning = judge_by(lambda first, second: (first, second) in BEATS)
    waits = make_item("0", "1", prompt="Another?")
    said = [conclude(cyclic, 1, turning), conclude(waits, 1, fail)]
    said += [conclude(waits, 2)] if healed else []
    frame = make_frame(*said)
    (row,) = count_groups(frame).rows(named=True)
    assert row == {
        "annotator": RANKER.annotator, "groups": 2, "waiting": int(not healed), "cyclic": 1,
    }  # fmt: skip
    (found,) = list_cycles(frame).rows(named=True)
    assert found["prompt_id"] == cyclic.prompt_id
    names = dict(zip(cyclic.response_ids, cyclic.contents, strict=True))
    walk = [names[response] for response in found["cycle"]]
    assert all(pair in BEATS for pair in zip(walk, [*walk[1:], walk[0]], strict=True))
    assert len(count_groups(frame.clear())) == len(list_cycles(frame.clear())) == 0

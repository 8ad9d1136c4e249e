"""Whose word is gold, and what it says where there are several."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.gold import RANKS, keep_leading, select_gold, settle_gold

TYPES = {"p_a": pl.Float64, "gold": pl.Boolean, "criterion": pl.String, "order": pl.String}
OPINION = {"prompt_id": "p", "response_a": "a", "response_b": "b", "criterion": None,
           "valid": True, "order": None, "sample_index": 0}  # fmt: skip
VOUCHED = ("import:pool/expert", "human", True)
RELEASED = ("people:b1", "human", True)
ASKED = ("person-1", "human", None)
POOLED = ("import:pool/someone", "human", None)
MACHINE = ("pairwise:m", "llm", None)


def frame(*said: tuple[tuple[str, str, bool | None], float | None], **more: Any) -> pl.DataFrame:
    rows = [
        {**OPINION, "annotator": f"{name}{place}", "kind": kind, "gold": gold, "p_a": p_a, **more}
        for place, ((name, kind, gold), p_a) in enumerate(said)
    ]
    return pl.DataFrame(rows, schema_overrides=TYPES)


@pytest.mark.parametrize(
    ("said", "p_a"),
    [
        ([(ASKED, 1.0)], 1.0),
        ([(ASKED, 1.0), (ASKED, 0.0), (ASKED, 1.0)], 1.0),
        ([(ASKED, 1.0), (ASKED, 0.0)], 0.5),
        ([(ASKED, 1.0), (ASKED, 1.0), (VOUCHED, 0.0)], 0.0),
        ([(ASKED, 1.0), (ASKED, 1.0), (RELEASED, 0.2)], 0.0),
        ([(VOUCHED, 1.0), (RELEASED, 0.0)], 0.5),
        ([(POOLED, 1.0), (POOLED, 1.0), (ASKED, 0.0), (MACHINE, 1.0)], 0.0),
        ([(POOLED, 1.0), (MACHINE, 0.0)], 1.0),
        ([(POOLED, 1.0), (VOUCHED, None), (ASKED, None)], 1.0),
    ],
)
def test_what_is_vouched_for_goes_first_and_the_majority_of_it_counts(
    said: Any, p_a: float
) -> None:
    (row,) = settle_gold(select_gold(frame(*said))).to_dicts()
    assert row == {"prompt_id": "p", "response_a": "a", "response_b": "b", "p_a": p_a}


def test_a_pools_people_are_gold_only_where_a_lake_has_no_other() -> None:
    ours = frame((ASKED, 1.0))
    theirs = frame((POOLED, 0.0), response_a="c", response_b="d")
    assert select_gold(theirs)["response_a"].to_list() == ["c"]
    assert select_gold(pl.concat([ours, theirs]))["response_a"].to_list() == ["a"]


def test_machines_criteria_and_single_responses_are_no_gold() -> None:
    assert select_gold(frame((MACHINE, 1.0))).is_empty()
    assert select_gold(frame((RELEASED, 1.0), criterion="tone")).is_empty()
    assert select_gold(frame((RELEASED, 1.0), response_b=None)).is_empty()
    assert select_gold(frame((RELEASED, 1.0), valid=False)).is_empty()
    assert settle_gold(select_gold(frame((MACHINE, 1.0)))).is_empty()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(sorted(RANKS))), min_size=1))
def test_of_each_pair_one_voice_is_left_and_no_pair_is_lost(
    said: list[tuple[int, str]],
) -> None:
    opinions = pl.DataFrame(said, schema=["pair", "voice"], orient="row")
    kept = keep_leading(opinions, "pair")
    assert set(kept["pair"]) == set(opinions["pair"])
    for pair, voice in kept.iter_rows():
        assert RANKS[voice] == min(RANKS[other] for at, other in said if at == pair)

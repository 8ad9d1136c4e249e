"""Stage 2: every pair one row, and nothing turned that not all three reject."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

from annotators.loop.sorting import ACTIONS, FLIP_POLICIES, SortingRefused, sort_pairs

OPINIONS = (0.9, 0.1, 0.5, None)


def make_pairs() -> pl.DataFrame:
    rows = list(itertools.product(OPINIONS, repeat=3))
    return pl.DataFrame(rows, schema=["p_gold", "p_best", "p_jury"], orient="row").with_columns(
        pair_id=pl.int_range(pl.len()).cast(pl.String)
    )


@pytest.mark.parametrize("policy", FLIP_POLICIES)
@pytest.mark.parametrize("judged", [False, True])
def test_every_pair_has_one_row_and_a_reason(policy: str, judged: bool) -> None:
    found = sort_pairs(make_pairs(), policy, judged=judged)
    assert found["pair_id"].to_list() == make_pairs()["pair_id"].to_list()
    assert set(found["action"]) <= set(ACTIONS) and found["reason"].null_count() == 0


def look_up(policy: str, *, judged: bool = False) -> dict[tuple[float | None, ...], str]:
    rows = make_pairs().join(sort_pairs(make_pairs(), policy, judged=judged), on="pair_id")
    return {row[:3]: row[3] for row in rows.select("p_gold", "p_best", "p_jury", "action").rows()}


def test_kept_is_what_the_gold_model_and_one_other_agree_with() -> None:
    for policy in FLIP_POLICIES:
        for (gold, best, jury), action in look_up(policy, judged=True).items():
            agrees = gold == 0.9 and 0.9 in (best, jury)
            assert (action == "keep") == agrees, (policy, gold, best, jury)


def test_the_best_model_spares_the_jury_what_it_gets_right() -> None:
    for (_, best, jury), action in look_up("unanimous").items():
        if best == 0.9 or jury is not None:
            assert action != "judge"
        elif jury is None and best in (0.1, 0.5, None):
            assert action == "judge"


def test_flips() -> None:
    assert "flip" not in look_up("none").values()
    turned = [key for key, action in look_up("unanimous").items() if action == "flip"]
    assert turned == [(0.1, 0.1, 0.1)]
    every = look_up("all", judged=True)
    assert set(every.values()) == {"keep", "flip"}


def test_what_cannot_be_sorted_is_refused() -> None:
    with pytest.raises(SortingRefused, match="no flip policy 'some'"):
        sort_pairs(make_pairs(), "some")
    with pytest.raises(SortingRefused, match="lack the column p_jury"):
        sort_pairs(make_pairs().drop("p_jury"))
    with pytest.raises(SortingRefused, match="pair 0: p_best is nan"):
        sort_pairs(make_pairs().head(1).with_columns(p_best=float("nan")))
    with pytest.raises(SortingRefused, match="is there twice"):
        sort_pairs(pl.concat([make_pairs().head(2)] * 2))
    assert sort_pairs(make_pairs().clear()).rows() == []

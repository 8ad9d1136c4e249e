"""Length matching: the bound is met, with the fewest pairs, whatever their order."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.matching import choose_unmatched, measure_length_accuracy
from schemas.ids import make_id

LENGTHS = st.lists(st.integers(-6, 9), max_size=120)
BOUNDS = st.sampled_from([0.5, 0.51, 0.55, 0.6, 0.75, 0.95])


def make_pairs(lengths: list[int]) -> pl.DataFrame:
    ids = [make_id("pair", i) for i in range(len(lengths))]
    return pl.DataFrame(
        {"pair_id": ids, "length": lengths}, schema={"pair_id": pl.String, "length": pl.Float64}
    )


def drop(pairs: pl.DataFrame, bound: float, seed: int = 0) -> pl.DataFrame:
    return pairs.join(choose_unmatched(pairs, bound, seed), on="pair_id", how="anti")


@given(LENGTHS, BOUNDS, st.integers(0, 3))
def test_the_bound_is_met_and_no_pair_is_added(lengths: list[int], bound: float, seed: int) -> None:
    pairs = make_pairs(lengths)
    dropped = choose_unmatched(pairs, bound, seed)
    left = drop(pairs, bound, seed)
    assert measure_length_accuracy(left["length"]) <= bound + 1e-12
    assert dropped["pair_id"].is_unique().all()
    assert len(left) + len(dropped) == len(pairs)
    assert set(dropped["pair_id"]) <= set(pairs["pair_id"])
    assert len(choose_unmatched(left, bound, seed)) == 0  # a second time there is nothing to do


@given(LENGTHS, BOUNDS)
def test_no_fewer_would_do(lengths: list[int], bound: float) -> None:
    """All that are dropped are of the side that wins; with one of them back the bound is passed."""
    pairs = make_pairs(lengths)
    dropped = pairs.join(choose_unmatched(pairs, bound, 0), on="pair_id", how="semi")
    assert dropped["length"].sign().n_unique() <= 1
    if len(dropped):
        with_one = pl.concat([drop(pairs, bound), dropped.head(1)])
        assert measure_length_accuracy(with_one["length"]) > bound


@given(st.permutations(range(40)), BOUNDS)
def test_the_order_of_the_pairs_changes_nothing(order: list[int], bound: float) -> None:
    pairs = make_pairs([1 + i % 7 if i % 4 else -1 - i % 3 for i in range(40)])
    expected = choose_unmatched(pairs, bound, 0)
    assert choose_unmatched(pairs[order], bound, 0).equals(expected)


def test_the_most_lopsided_tenths_give_most() -> None:
    even = [sign * (1 + i / 1000) for i in range(100) for sign in (1, -1)]
    lopsided = [50.0 + i for i in range(60)]
    pairs = pl.DataFrame(
        {"pair_id": [make_id("pair", i) for i in range(260)], "length": [*even, *lopsided]}
    )
    dropped = pairs.join(choose_unmatched(pairs, 0.55, 0), on="pair_id", how="semi")
    assert len(dropped) and dropped["length"].min() >= 50
    other = choose_unmatched(pairs, 0.55, 1)
    assert len(other) == len(dropped) and not other.equals(
        dropped.select("pair_id").sort("pair_id")
    )


def test_no_pair_is_no_error() -> None:
    assert measure_length_accuracy(make_pairs([])["length"]) == 0.5
    assert len(choose_unmatched(make_pairs([]), 0.55, 0)) == 0
    assert measure_length_accuracy(pl.Series([1.0, 2.0, 0.0, -1.0])) == pytest.approx(0.625)
    assert measure_length_accuracy(pl.Series([-1.0, -2.0, 0.0, 1.0])) == pytest.approx(0.625)

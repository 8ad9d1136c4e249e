"""From readings to outcomes: laws that hold for any reading."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.loop.sorting import sort_pairs
from pipelines.label.loop.outcomes import BARELY, OUTCOMES, conclude
from pipelines.label.loop.recycling import READ, turn_to_label
from schemas.looping import LoopSpec

chance = st.floats(0, 1)
ROWS = st.lists(
    st.tuples(chance, chance, chance, st.none() | chance, st.sampled_from([None, 0.0, 0.5, 1.0])),
    max_size=12,
)
SPECS = st.builds(
    LoopSpec,
    keep=st.sampled_from(["sure", "consistent"]),
    flip_policy=st.sampled_from(["unanimous", "none", "all"]),
)
NAMES = ("p", "p_gold", "p_best", "p_jury", "came")


def make_readings(rows: list[tuple[float | None, ...]], spec: LoopSpec) -> pl.DataFrame:
    schema = {"pair_id": pl.String, **dict.fromkeys(NAMES, pl.Float64)}
    named = [(f"pair-{place}", *row) for place, row in enumerate(rows)]
    frame = pl.DataFrame(named, schema=schema, orient="row")
    acted = sort_pairs(turn_to_label(frame), spec.flip_policy, judged=True)
    told = acted.select("pair_id", "action", rule="reason")
    return frame.join(told, on="pair_id", how="left", maintain_order="left").with_columns(
        pl.col("action").fill_null(READ), pl.col("rule").fill_null("-")
    )


@given(ROWS, SPECS, st.floats(0.51, 0.99))
def test_every_pair_has_one_outcome_and_a_side_that_fits(
    rows: list[tuple[float | None, ...]], spec: LoopSpec, threshold: float
) -> None:
    readings = make_readings(rows, spec)
    found = conclude(readings, spec, threshold)
    assert found["pair_id"].to_list() == readings["pair_id"].to_list()
    assert dict(found.schema) == OUTCOMES
    assert set(found["action"]) <= {"keep", "flip", "drop"}
    for row in found.join(readings.select("pair_id", "came"), on="pair_id").iter_rows(named=True):
        sided = row["came"] in (0.0, 1.0)
        if row["action"] != "drop":
            assert abs(row["p_a"] - 0.5) >= BARELY - 0.5 - 1e-12
        if row["action"] == "keep" and sided:
            assert (row["p_a"] > 0.5) == (row["came"] == 1.0)
        if row["action"] == "flip":
            assert sided and (row["p_a"] > 0.5) == (row["came"] == 0.0)
        if spec.keep == "sure" and row["action"] == "keep":
            assert max(row["p_a"], 1 - row["p_a"]) >= threshold
    if spec.flip_policy == "none":
        assert "flip" not in set(found["action"])


@given(ROWS, SPECS)
def test_the_response_called_first_makes_no_difference(
    rows: list[tuple[float | None, ...]], spec: LoopSpec
) -> None:
    turned = [tuple(None if p is None else 1 - p for p in row) for row in rows]
    one = conclude(make_readings(rows, spec), spec, 0.7)
    other = conclude(make_readings(turned, spec), spec, 0.7)
    close = (pl.col("p") - 0.5).abs() < 1e-6
    even = make_readings(rows, spec).filter(close | pl.col("came").is_null())["pair_id"]
    keep = ~pl.col("pair_id").is_in(even.implode())
    sides = one.filter(keep)["p_a"], other.filter(keep)["p_a"]
    assert (sides[0] - (1 - sides[1])).abs().max() in (None, pytest.approx(0, abs=1e-8))


def test_what_becomes_of_the_plain_cases() -> None:
    #        p     gold  best  jury  came
    rows = [(0.9, 0.7, 0.8, 0.9, 1.0),   # kept
            (0.1, 0.2, 0.1, 0.1, 1.0),   # all reject it, and so surely
            (0.1, 0.6, 0.1, 0.1, 1.0),   # not all
            (0.4, 0.2, 0.1, 0.1, 1.0),   # all, but not surely
            (0.1, 0.2, 0.1, None, 1.0),  # no jury
            (0.1, 0.2, 0.1, 0.1, None),  # no label
            (0.6, 0.2, 0.1, 0.1, 0.5)]  # fmt: skip

    def rules(**keys: str) -> list[str]:
        spec = LoopSpec(**keys)  # type: ignore[arg-type]
        return conclude(make_readings(rows, spec), spec, 0.75)["rule"].to_list()

    rest = ["keep", "unsure"]
    assert rules() == [
        "keep", "flip_unanimous", "label_rejected", "unsure", "label_rejected", *rest
    ]  # fmt: skip
    assert rules(flip_policy="none")[1] == "label_rejected"
    assert rules(flip_policy="all") == ["keep", *["flip_all"] * 4, *rest]
    assert rules(keep="consistent") == [
        "keep", "flip_unanimous", "inconsistent", "flip_unanimous", "inconsistent", *rest
    ]  # fmt: skip


def test_a_pair_that_came_with_a_tie_is_not_said_to_have_no_label() -> None:
    spec = LoopSpec()
    rows: list[tuple[float | None, ...]] = [(0.9, 0.9, 0.9, 0.9, came) for came in (None, 0.5, 1.0)]
    none, tie, sided = conclude(make_readings(rows, spec), spec, 0.75)["why"]
    assert none == "it came with no label, and its surer side has a probability of 0.9"
    assert tie == "it came with a tie, and its surer side has a probability of 0.9"
    assert "came with" not in sided

"""The ledger of minutes: nothing cut off, nothing filled in."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.agreement import find_difference, find_interval
from annotators.people.minutes import PURPOSES, CurveBroken, price, sum_minutes, trace_curve
from annotators.votes import VotesUnreadable


def spend(
    purpose: str, annotator: str, seconds: float | None, labels: int = 1, **more: Any
) -> dict[str, Any]:
    return {
        "purpose": purpose,
        "annotator": annotator,
        "seconds": seconds,
        "labels": labels,
        **more,
    }


TYPES = {"seconds": pl.Float64, "batch": pl.String, "question": pl.String}
ROWS = [
    spend("work", "x", 30.0, batch="1", question="preference"),
    spend("work", "x", 5400.0, batch="1", question="preference"),  # a page left open
    spend("gold", "y", 60.0, batch="1", question="preference"),
    spend("work", "y", None, batch="1", question="preference"),
    spend("skipped", "y", 6.0, 0, batch="1", question="preference"),
    spend("adjudication", "x", 90.0, 6, batch="2", question="ranking"),
    spend("set_aside", "x", 30.0, 6, batch="2", question="ranking"),
]


def make_times(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema_overrides=TYPES)


def test_by_hand() -> None:
    one, two = sum_minutes(make_times(ROWS)).rows(named=True)
    parts = {f"minutes_{name}": 0.0 for name in PURPOSES}
    assert one == {
        "batch": "1", "n": 5, "n_untimed": 1, "n_labels": 3, "minutes": 91.6, **parts,
        "minutes_work": 90.5, "minutes_gold": 1.0, "minutes_skipped": 0.1,
        "seconds_median": 45.0, "seconds_mean": 1374.0, "seconds_per_label": 1832.0,
    }  # fmt: skip
    assert two == {
        "batch": "2", "n": 2, "n_untimed": 0, "n_labels": 6, "minutes": 2.0, **parts,
        "minutes_adjudication": 1.5, "minutes_set_aside": 0.5,
        "seconds_median": 60.0, "seconds_mean": 60.0, "seconds_per_label": 20.0,
    }  # fmt: skip


def test_by_question_person_and_all() -> None:
    rows = make_times(ROWS)
    by_question = sum_minutes(rows, ["question"])
    assert by_question.select("question", "n_labels").rows() == [("preference", 3), ("ranking", 6)]
    by_person = sum_minutes(rows, ["annotator"])
    assert by_person["n"].to_list() == [4, 3]
    (whole,) = sum_minutes(rows, []).rows(named=True)
    assert (whole["n"], whole["minutes"], whole["n_labels"]) == (7, pytest.approx(93.6), 9)


def test_what_is_not_known_is_null() -> None:
    (row,) = sum_minutes(make_times([spend("gold", "x", None, batch=None)])).rows(named=True)
    assert row["n"] == row["n_untimed"] == 1 and row["n_labels"] == 0
    assert row["minutes"] is row["seconds_median"] is row["seconds_per_label"] is None
    assert len(sum_minutes(make_times(ROWS).clear())) == 0
    priced = pl.DataFrame({"minutes": [3.0, 3.0, None], "n": [4, 0, 4]}).select(s=price("n"))
    assert priced["s"].to_list() == [45.0, None, None]


@pytest.mark.parametrize(
    ("row", "why"),
    [(spend("lunch", "x", 1.0), "spent on one of work"), (spend("work", "x", -1.0), "-1.0 seconds"),
     (spend("work", "x", float("inf")), "inf seconds")],
)  # fmt: skip
def test_what_is_no_time(row: dict[str, Any], why: str) -> None:
    with pytest.raises(VotesUnreadable, match=why):
        sum_minutes(make_times([{**row, "batch": "1"}]))
    with pytest.raises(VotesUnreadable, match="not by 'item'"):
        sum_minutes(make_times(ROWS), by=["item"])
    with pytest.raises(VotesUnreadable, match="lack the column labels"):
        sum_minutes(make_times(ROWS).drop("labels"))


@given(st.integers(0, 2**32 - 1))
def test_every_minute_is_in_one_row_and_one_part(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = make_times([
        spend(str(generator.choice(PURPOSES)), str(generator.choice(["x", "y"])),
              float(generator.exponential(60)) if generator.random() < 0.8 else None,
              batch=str(generator.integers(3)), question=str(generator.integers(2)))
        for _ in range(30)
    ])  # fmt: skip
    total, untimed = rows["seconds"].sum() / 60, rows["seconds"].null_count()
    for by in ([], ["batch"], ["annotator"], ["question"], ["batch", "question", "annotator"]):
        found = sum_minutes(rows, by=by)
        assert found["minutes"].sum() == pytest.approx(total)
        parts = sum(found[f"minutes_{name}"].sum() for name in PURPOSES)
        assert parts == pytest.approx(total)
        assert (found["n"].sum(), found["n_untimed"].sum()) == (30, untimed)


def make_points(*rows: tuple[float | None, float | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["minutes", "accuracy", "n"], orient="row")


def test_the_curve() -> None:
    found = trace_curve(make_points((150, 0.8, 400), (0, 0.6, 400), (150, 0.81, 100)))
    assert found["minutes"].to_list() == [0, 150, 150]
    first, second, third = found.rows(named=True)
    assert (first["low"], first["high"]) == pytest.approx(find_interval(0.6, 400.0))
    assert (first["gain"], first["gain_low"], first["gain_per_100"]) == (None, None, None)
    assert second["gain"] == pytest.approx(0.2)
    assert (second["gain_low"], second["gain_high"]) == pytest.approx(
        find_difference(0.6, 400.0, 0.8, 400.0)
    )
    assert second["gain_per_100"] == pytest.approx(0.2 / 1.5)
    assert third["gain"] == pytest.approx(0.01)
    assert third["gain_per_100"] is None, "no minutes were spent in between"
    assert len(trace_curve(make_points((1, 0.5, 10)).clear())) == 0


@pytest.mark.parametrize(
    "point",
    [(-1, 0.5, 10), (float("nan"), 0.5, 10), (1, 1.2, 10), (1, float("nan"), 10), (1, None, 10),
     (None, 0.5, 10), (1, 0.5, 0), (1, 0.5, None)],
)  # fmt: skip
def test_what_is_no_point(point: tuple[float | None, float | None, int | None]) -> None:
    with pytest.raises(CurveBroken, match="no point of a curve"):
        trace_curve(make_points((0, 0.6, 400), point))


def test_a_curve_without_its_columns() -> None:
    with pytest.raises(CurveBroken, match="lack the column n"):
        trace_curve(make_points((0, 0.6, 400)).drop("n"))

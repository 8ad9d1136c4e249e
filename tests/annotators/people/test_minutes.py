"""The ledger of minutes: nothing cut off, nothing filled in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.agreement import find_difference, find_interval
from annotators.people.minutes import CurveBroken, sum_minutes, trace_curve
from annotators.votes import VotesUnreadable
from tests.annotators.people.crowd import START, make_annotations


def spend(item: str, annotator: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    return {"item": item, "annotator": annotator, "label": "a", "seconds": seconds, **more}


ROWS = [
    spend("i", "x", 30.0, batch="1", category="maths"),
    spend("j", "x", 5400.0, batch="1", category="maths"),  # a page left open
    spend("i", "y", 60.0, batch="1", category="maths"),
    spend("k", "y", None, batch="1", category="prose"),
    spend("k", "x", 90.0, batch="2", category="prose", label=None),
]
KEPT = pl.DataFrame({"item": ["i", "k", "elsewhere", "i"]})


def test_by_hand() -> None:
    found = sum_minutes(make_annotations(ROWS), KEPT)
    one, two = found.rows(named=True)
    assert one == {
        "batch": "1", "n": 4, "n_labels": 4, "n_untimed": 1, "minutes": 91.5,
        "seconds_median": 60.0, "seconds_mean": 1830.0, "seconds_per_label": 1830.0,
        "n_kept": 2, "seconds_per_kept": 2745.0,
    }  # fmt: skip
    assert two == {
        "batch": "2", "n": 1, "n_labels": 0, "n_untimed": 0, "minutes": 1.5,
        "seconds_median": 90.0, "seconds_mean": 90.0, "seconds_per_label": None,
        "n_kept": 1, "seconds_per_kept": 90.0,
    }  # fmt: skip


def test_by_category_person_and_all() -> None:
    rows = make_annotations(ROWS)
    by_category = sum_minutes(rows, KEPT, ["category"])
    assert by_category.select("category", "minutes", "n_kept").rows() == [
        ("maths", 91.5, 1), ("prose", 1.5, 1),
    ]  # fmt: skip
    by_person = sum_minutes(rows, KEPT, ["annotator"])
    assert by_person["n_kept"].to_list() == [2, 2], "a pair that two judged is in both rows"
    # what is discarded and what nobody could decide is paid for by the rest
    assert by_person["seconds_per_label"].to_list() == [5520.0 / 2, 60.0]
    (whole,) = sum_minutes(rows, KEPT, []).rows(named=True)
    assert (whole["n"], whole["minutes"], whole["n_kept"]) == (5, 93.0, 2)
    both = sum_minutes(rows, by=["batch", "category"])
    assert both.select("batch", "category").rows() == [
        ("1", "maths"), ("1", "prose"), ("2", "prose"),
    ]  # fmt: skip


def test_what_is_not_known_is_null() -> None:
    (row,) = sum_minutes(make_annotations([spend("i", "x", None)])).rows(named=True)
    assert row == {
        "batch": None, "n": 1, "n_labels": 1, "n_untimed": 1, "minutes": None,
        "seconds_median": None, "seconds_mean": None, "seconds_per_label": None,
        "n_kept": None, "seconds_per_kept": None,
    }  # fmt: skip
    (row,) = sum_minutes(make_annotations(ROWS[:1]), KEPT.clear()).rows(named=True)
    assert (row["n_kept"], row["seconds_per_kept"]) == (0, None)
    assert len(sum_minutes(make_annotations([]))) == 0
    with pytest.raises(VotesUnreadable, match="not by 'item'"):
        sum_minutes(make_annotations(ROWS), by=["item"])


def test_a_revision_is_not_paid_for_twice() -> None:
    rows = [
        spend("i", "x", 30.0, updated_at=START),
        spend("i", "x", 45.0, updated_at=START + timedelta(hours=1)),
    ]
    assert sum_minutes(make_annotations(rows))["minutes"].to_list() == [0.75]


@given(st.integers(0, 2**32 - 1))
def test_every_minute_is_in_one_row(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = make_annotations([
        spend(f"i{k}", str(generator.choice(["x", "y"])),
              float(generator.exponential(60)) if generator.random() < 0.8 else None,
              batch=str(generator.integers(3)), category=str(generator.integers(2)))
        for k in range(30)
    ])  # fmt: skip
    total, untimed = rows["seconds"].sum() / 60, rows["seconds"].null_count()
    for by in ([], ["batch"], ["annotator"], ["category"], ["batch", "category", "annotator"]):
        found = sum_minutes(rows, by=by)
        assert found["minutes"].sum() == pytest.approx(total)
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

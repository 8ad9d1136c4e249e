"""Kappa, error correlation and alpha against figures worked out by hand and by others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.agreement import (
    compare_annotators,
    correlate_errors,
    find_interval,
    measure_alpha,
)
from tests.annotators.opinions import make_votes

sure_letters = st.lists(st.sampled_from("abt"), min_size=12, max_size=12).map("".join)


def label_items(letters: str) -> pl.DataFrame:
    return make_votes({"gold": letters}).select("item", "label")


@settings(max_examples=40, deadline=None)
@given(sure_letters, sure_letters)
def test_kappa_is_what_scikit_learn_says(one: str, other: str) -> None:
    from sklearn.metrics import cohen_kappa_score

    (row,) = compare_annotators(make_votes({"x": one, "y": other})).rows(named=True)
    assert row["n"] == 12
    if len(set(one + other)) == 1:
        assert row["kappa"] is None
    else:
        assert row["kappa"] == pytest.approx(cohen_kappa_score(list(one), list(other)), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(sure_letters, sure_letters, sure_letters)
def test_phi_is_the_correlation_of_the_errors(one: str, other: str, gold: str) -> None:
    votes = make_votes({"x": one, "y": other})
    (row,) = correlate_errors(votes, label_items(gold)).rows(named=True)
    errors = np.array([[a != g, b != g] for a, b, g in zip(one, other, gold, strict=True)], float)
    if errors.std(axis=0).min() == 0:
        assert row["phi"] is None
    else:
        assert row["phi"] == pytest.approx(np.corrcoef(errors.T)[0, 1])
    assert row["both"] == pytest.approx(errors.prod(axis=1).mean())


def test_only_shared_items_count() -> None:
    pairs = compare_annotators(make_votes({"x": "aab--", "y": "-abt-", "z": "----a"}))
    assert pairs.select("annotator_1", "annotator_2", "n", "agreement").rows() == [
        ("x", "y", 2, 1.0)
    ]
    assert len(compare_annotators(make_votes({"x": "ab"}))) == 0
    errors = correlate_errors(make_votes({"x": "aa", "y": "ab"}), label_items("-a"))
    assert errors.select("n", "errors_1", "errors_2", "phi").rows() == [(1, 0.0, 1.0, None)]


def test_repeated_votes_are_one_opinion() -> None:
    once = make_votes({"x": "ab", "y": "ab"})
    assert compare_annotators(pl.concat([once, once]))["n"].to_list() == [2]


def test_alpha_by_hand() -> None:
    x, y = "abt-a", "abbta"
    # shared: aa bb tb aa, so eight values (a 4, b 3, t 1), and one unit of two that disagree
    observed, expected = 2 / 8, (64 - 16 - 9 - 1) / (8 * 7)
    assert measure_alpha(make_votes({"x": x, "y": y})) == pytest.approx(1 - observed / expected)
    assert measure_alpha(make_votes({"x": "ab", "y": "ab"})) == pytest.approx(1.0)
    for nothing in ({}, {"x": "ab"}, {"x": "aa", "y": "aa"}):
        assert measure_alpha(make_votes(nothing)) is None


def test_wilson_interval() -> None:
    low, high = find_interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    low, high = find_interval(1.0, 10)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4)
    arrays = find_interval(np.array([0.5, 1.0]), np.array([100.0, 10.0]))
    assert arrays[0] == pytest.approx([0.4038, 0.7225], abs=1e-4)

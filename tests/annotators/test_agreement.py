"""Kappa, error correlation and intervals against figures worked out by hand and by others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.agreement import (
    compare_annotators,
    correlate_errors,
    count_independent,
    find_difference,
    find_interval,
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


def test_wilson_interval() -> None:
    low, high = find_interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    low, high = find_interval(1.0, 10)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4)
    arrays = find_interval(np.array([0.5, 1.0]), np.array([100.0, 10.0]))
    assert arrays[0] == pytest.approx([0.4038, 0.7225], abs=1e-4)


def test_newcombe_interval() -> None:
    # his table II: 56/70 less 48/80, 9/10 less 3/10, and 10/10 less 0/20, by method 10
    for (right_2, n_2), (right_1, n_1), ends in (
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ):
        found = find_difference(right_1 / n_1, float(n_1), right_2 / n_2, float(n_2))
        assert found == pytest.approx(ends, abs=1e-4)


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_difference_turned_round_is_its_negative(one: int, other: int) -> None:
    low, high = find_difference(one / 9, 9.0, other / 9, 9.0)
    back = find_difference(other / 9, 9.0, one / 9, 9.0)
    assert (low, high) == pytest.approx((-back[1], -back[0]))
    assert -1 - 1e-9 <= low <= (other - one) / 9 + 1e-9
    assert (other - one) / 9 - 1e-9 <= high <= 1 + 1e-9
    assert high - low > 0.3, "nine of each say little, also where all or none are right"


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_values_of_one_cluster_count_as_one_at_least(rows: list[tuple[int, float]]) -> None:
    clusters, values = [row[0] for row in rows], [row[1] for row in rows]
    found = count_independent(values, clusters)
    assert 1 - 1e-9 <= found <= len(rows) + 1e-9
    assert count_independent(values, range(len(rows))) == len(rows)
    again = [f"c{cluster}" for cluster in clusters][::-1]
    assert count_independent(values[::-1], again) == pytest.approx(found)
    alike = [float(cluster % 2) for cluster in clusters]
    assert count_independent(alike, clusters) <= len(set(clusters)) + 1e-9


def test_values_that_are_alike_within_clusters_count_once_each() -> None:
    clusters = np.repeat(np.arange(40), 6)
    assert count_independent((clusters % 5 < 1).astype(float), clusters.tolist()) == 40
    assert count_independent(np.ones(240), clusters.tolist()) == 40
    assert count_independent(np.arange(240) % 6 < 3, clusters.tolist()) == 240
    assert count_independent([], []) == 0 and count_independent([0.0, 1.0], ["p", "p"]) == 1


def test_intervals_of_clustered_shares_cover() -> None:
    """Forty prompts of six pairs, a correlation of .3 within a prompt: taken as independent, the
    interval covers 83 %."""
    generator = np.random.default_rng(0)
    place = np.repeat(np.arange(40), 6)
    plain = honest = many = 0.0
    for _ in range(400):
        right = generator.random(240) < generator.beta(0.8 * 7 / 3, 0.2 * 7 / 3, 40)[place]
        share, n = float(right.mean()), count_independent(right, place.tolist())
        low, high = find_interval(share, 240.0)
        plain += low < 0.8 < high
        low, high = find_interval(share, n)
        honest += low < 0.8 < high
        many += n
    assert plain < 0.88 * 400 and honest > 0.92 * 400
    assert many / 400 == pytest.approx(240 / 2.5, rel=0.1)

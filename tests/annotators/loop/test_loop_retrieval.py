"""Neighbours of what the model errs on: as many as it errs, the nearest, each once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.loop import retrieval
from annotators.loop.retrieval import (
    count_neighbours,
    fetch_neighbours,
    find_examples,
    rank_nearest,
)


def make_vectors(seed: int, n: int, alike: bool = False) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = generator.integers(-1, 2, (n, 3)) if alike else generator.normal(size=(n, 6))
    rows = np.where(np.abs(rows).sum(axis=1, keepdims=True) == 0, 1, rows)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_counts_by_hand() -> None:
    p = [0.0, 0.5, 0.500001, 0.51, 0.625, 0.75, 0.9, 0.99, 1.0]
    assert count_neighbours(p).tolist() == [8, 8, 4, 4, 3, 2, 1, 1, 0]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_surer_the_model_the_fewer(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert count_neighbours(low) >= count_neighbours(high)
    assert 0 <= count_neighbours(low) <= 8


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 9), st.booleans())
def test_nearest_is_what_a_full_sort_says_whatever_the_blocks(
    seed: int, k: int, alike: bool
) -> None:
    vectors, corpus = make_vectors(seed, 11, alike), make_vectors(seed + 1, 60, alike)
    similar = (vectors @ corpus.T).astype(np.float64).round(6)
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "COLUMNS", 1 + seed % 40)
        patch.setattr(retrieval, "ROWS", 1 + seed % 7)
        places, values = rank_nearest(vectors, corpus, k)
    np.testing.assert_allclose(values, np.take_along_axis(similar, order, 1), atol=2e-6)
    if not alike:
        np.testing.assert_array_equal(places, order)


def test_each_pool_pair_is_fetched_once_for_the_nearest_gold_pair() -> None:
    gold, pool = make_vectors(1, 20), make_vectors(2, 40)
    found = fetch_neighbours(gold, np.full(20, 0.1), pool)
    assert found["pool"].is_unique().all() and found["pool"].is_sorted()
    assert found["wanted"].sum() == 20 * 8
    similar = gold @ pool.T
    for pool_place, gold_place in found.select("pool", "gold").iter_rows():
        assert similar[gold_place, pool_place] == pytest.approx(
            max(similar[g, pool_place] for g in range(20)
                if pool_place in np.argsort(-similar[g])[:8]), abs=1e-5
        )  # fmt: skip


def test_what_the_model_is_sure_of_fetches_nothing_and_a_small_pool_is_taken_whole() -> None:
    gold = make_vectors(3, 5)
    assert len(fetch_neighbours(gold, np.ones(5), make_vectors(4, 30))) == 0
    assert len(fetch_neighbours(gold, np.zeros(5), make_vectors(4, 30)[:0])) == 0
    assert fetch_neighbours(gold, np.zeros(5), make_vectors(4, 3))["pool"].to_list() == [0, 1, 2]
    assert len(fetch_neighbours(gold[:0], np.zeros(0), make_vectors(4, 3))) == 0


def test_examples_are_never_of_the_pair_s_own_prompt() -> None:
    gold = make_vectors(5, 30)
    prompts = [f"p{place % 10}" for place in range(30)]
    shown = find_examples(gold, prompts, gold, prompts, most=4)
    for prompt, places in zip(prompts, shown, strict=True):
        assert len(places) == 4 and all(prompts[place] != prompt for place in places)
    assert find_examples(gold[:2], ["p0", "p1"], gold[:1], ["p0"]) == [[], [0]]
    assert find_examples(gold[:1], ["p0"], gold[:0], []) == [[]]


@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 6))
def test_examples_are_of_as_many_prompts_as_there_are(seed: int, groups: int, most: int) -> None:
    random = np.random.default_rng(seed)
    gold, asked = make_vectors(seed, 12), make_vectors(seed + 100, 3)
    prompts = [f"p{group}" for group in random.integers(0, groups, size=12)]
    for row, places in zip(
        asked, find_examples(asked, ["p0"] * 3, gold, prompts, most), strict=True
    ):
        other = [place for place in range(12) if prompts[place] != "p0"]
        near = sorted(other, key=lambda place: (-round(float(gold[place] @ row), 6), place))
        left, wanted = list(near), []
        while left and len(wanted) < most:  # round by round, one of each prompt
            turn = []
            for place in left:
                if prompts[place] not in {prompts[done] for done in turn}:
                    turn.append(place)
            wanted += turn
            left = [place for place in left if place not in turn]
        assert places == wanted[:most]

"""Weights of pairs by difficulty and by margin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.difficulty_weights import (
    compare_sentences,
    split_sentences,
    weigh_by_difficulty,
    weigh_by_margin,
)


def test_sentences_end_at_marks_and_lines() -> None:
    assert split_sentences("One. Two!\nThree, 3.5 of it") == ["One.", "Two!", "Three, 3.5 of it"]
    assert split_sentences("") == [""]


def test_likeness_is_of_the_nearest_sentences() -> None:
    one, other = np.eye(3)[:2], np.eye(3)[1:]
    assert compare_sentences(one, one) == 1.0
    assert compare_sentences(one, other) == 0.5


def test_pairs_far_apart_weigh_more_and_a_plain_one_weighs_one() -> None:
    weights = weigh_by_difficulty(["a"] * 3, [0.9, 0.5, 0.1], [1.0, 1.0, 1.0])
    assert weights[0] < weights[1] < weights[2]
    assert weights[1] == pytest.approx(1.0)
    by_gap = weigh_by_difficulty(["a"] * 3, [0.5] * 3, [0.0, 1.0, 2.0])
    assert by_gap[0] < by_gap[1] < by_gap[2]
    assert by_gap[1] == pytest.approx(1.0)


rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(-1, 1), st.floats(-50, 50)), max_size=20
)


@given(rows)
def test_a_category_is_weighed_by_itself(drawn: list[tuple[str, float, float]]) -> None:
    names, alike, gaps = ([row[i] for row in drawn] for i in range(3))
    weights = weigh_by_difficulty(names, alike, gaps)
    assert weights.shape == (len(drawn),)
    assert np.isfinite(weights).all() and (weights > 0).all()
    mine = [i for i, name in enumerate(names) if name == "a"]
    alone = weigh_by_difficulty(
        ["a"] * len(mine), [alike[i] for i in mine], [gaps[i] for i in mine]
    )
    assert np.allclose(weights[mine], alone)


def test_surer_labels_weigh_a_little_more() -> None:
    weights = weigh_by_margin([0.0, 0.5, 1.0])
    assert weights[0] == 1.0
    assert 1.0 < weights[1] < weights[2] < 1.1

"""Equal items by their keys: pairs and their mirrors too."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.exact import find_first, group_exact, make_item_keys
from pipelines.clean.kernels.words import hash_texts, read_texts
from tests.slow_kernels import hash_text, normalise_texts

small = st.sampled_from(["", "a", "A", "b", " b ", "é", "e\u0301", "a b"])


def hash_columns(*columns: list[str]) -> np.ndarray:
    """Keys (n, k, 2) of columns of texts."""
    series = [pl.Series(column, dtype=pl.String) for column in columns]
    return np.stack([hash_texts(read_texts(column)) for column in series], axis=1)


@given(st.lists(st.one_of(small, st.text()), max_size=20), st.randoms())
def test_the_first_of_equal_texts_stands_for_them(drawn: list[str], rng: object) -> None:
    keys = hash_columns(drawn)[:, 0]
    normal = normalise_texts(drawn)
    assert keys.tolist() == [list(hash_text(text)[1:]) for text in normal]
    priority = list(range(100, 100 + len(drawn)))
    rng.shuffle(priority)  # type: ignore[attr-defined]
    found = find_first(keys, np.array(priority, dtype=np.int64)).tolist()
    for row, text in enumerate(normal):
        equals = [other for other, its in enumerate(normal) if its == text]
        assert found[row] == min(equals, key=priority.__getitem__)


@given(st.lists(st.tuples(small, small, small), max_size=20))
def test_a_pair_and_its_mirror_are_one_item(drawn: list[tuple[str, str, str]]) -> None:
    columns = [[row[part] for row in drawn] for part in range(3)]
    keys, turned = make_item_keys(hash_columns(*columns))
    normal = list(zip(*map(normalise_texts, columns), strict=True))
    for one, (prompt, chosen, rejected) in enumerate(normal):
        for two, other in enumerate(normal):
            same, mirrored = other == (prompt, chosen, rejected), other == (
                prompt, rejected, chosen)  # fmt: skip
            assert (keys[one] == keys[two]).all() == (same or mirrored)
            if same or mirrored:
                assert (turned[one] != turned[two]) == (not same)


def test_prompt_and_answer_are_not_the_other_way_round() -> None:
    keys, turned = make_item_keys(hash_columns(["a", "b"], ["b", "a"]))
    assert keys[0].tolist() != keys[1].tolist() and not turned.any()


def test_keys_that_share_a_half_are_two() -> None:
    keys = np.array([[7, 1], [7, 2], [3, 9], [7, 1], [7, 2]], dtype=np.uint64)
    order, starts = group_exact(keys)
    groups = [sorted(part.tolist()) for part in np.split(order, starts[1:])]
    assert sorted(groups) == [[0, 3], [1, 4], [2]]
    assert find_first(keys, np.array([4, 3, 2, 1, 0])).tolist() == [3, 4, 2, 3, 4]
    assert find_first(np.zeros((0, 2), np.uint64), np.zeros(0, np.int64)).tolist() == []

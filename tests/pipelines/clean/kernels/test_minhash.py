"""Signatures: those of the slow way, and estimates as good as chance allows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.minhash import FACTORS, PERMUTATIONS, WEIGHTS, sign_items
from pipelines.clean.kernels.words import read_texts
from tests.slow_kernels import find_shingles, fold_bands, hash_text, normalise_texts, sign

words = st.lists(st.sampled_from(["a", "B", "été", "NUL\0", "日本", "École"]), max_size=30)
texts = st.one_of(st.text(max_size=60), words.map(" ".join))


@given(st.integers(1, 3).flatmap(lambda k: st.lists(st.tuples(*[texts] * k), max_size=6)),
       st.integers(1, 6), st.integers(1, 128))  # fmt: skip
def test_an_item_is_signed_as_the_slow_way_signs_it(
    items: list[tuple[str, ...]], size: int, rows: int
) -> None:
    columns = [pl.Series([item[part] for item in items], dtype=pl.String)
               for part in range(len(items[0]) if items else 1)]  # fmt: skip
    signed = sign_items([read_texts(column) for column in columns], rows, size)
    assert len(signed) == len(items)
    begin = 0
    for row, item in enumerate(items):
        normal = normalise_texts(list(item))
        shingles = find_shingles(normal, size)
        assert signed.keys[row].tolist() == [list(hash_text(text)[1:]) for text in normal]
        assert signed.shingles[begin : signed.ends[row]].tolist() == shingles
        signature = sign(shingles, FACTORS.tolist())
        assert signed.bands[:, row].tolist() == fold_bands(signature, rows, WEIGHTS.tolist())
        begin = signed.ends[row]
    assert begin == len(signed.shingles)


def test_permutations_are_permutations() -> None:
    assert len(set(FACTORS.tolist())) == PERMUTATIONS // 2 == 64
    assert (FACTORS % 2 == 1).all()


def compare_pairs(count: int, size: int, similarity: float, rows: int) -> np.ndarray:
    """Where the bands of pairs of texts of `size` single words with that Jaccard similarity agree
    (bands, count)."""
    shared = round(2 * size * similarity / (1 + similarity))
    lines: list[list[str]] = [[], []]
    for i in range(count):
        common = [f"s{i}x{j}" for j in range(shared)]
        for side, own in enumerate(lines):
            own.append(" ".join([*common, *(f"o{i}x{side}x{j}" for j in range(size - shared))]))
    one, two = (sign_items([read_texts(pl.Series(own))], rows, 1).bands for own in lines)
    return one == two


@pytest.mark.parametrize("size", [6, 30, 300])
@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8])
def test_the_estimate_is_unbiased_and_varies_as_a_binomial_or_less(
    size: int, similarity: float
) -> None:
    agree = compare_pairs(600, size, similarity, rows=1)
    shared = round(2 * size * similarity / (1 + similarity))
    truth = shared / (2 * size - shared)
    estimates = agree.mean(axis=0)
    spread = np.sqrt(truth * (1 - truth) / PERMUTATIONS)
    assert abs(estimates.mean() - truth) < 4 * spread / np.sqrt(600)
    # of few shingles the least and the greatest, which are never one, say more than two draws would
    assert (0.85 if size > 6 else 0.5) < estimates.std() / spread < 1.15


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_a_band_agrees_as_often_as_independent_places_would(rows: int) -> None:
    agree = compare_pairs(1_500, 150, 0.25, rows).mean()
    expected = (60 / 240) ** rows
    draws = 1_500 * (PERMUTATIONS // rows)
    assert abs(agree - expected) < 5 * np.sqrt(expected / draws)


@pytest.mark.parametrize("rows", [1, 3, 5, 128])
def test_bands_have_one_key_where_all_their_places_agree_and_only_there(rows: int) -> None:
    rng, weights = np.random.default_rng(0), WEIGHTS.tolist()
    for place in range(128):
        one = rng.integers(0, 2**32 - 1, 128).tolist()
        two = [value + (i == place) for i, value in enumerate(one)]
        pairs = zip(fold_bands(one, rows, weights), fold_bands(two, rows, weights), strict=True)
        assert [a == b for a, b in pairs] == [place // rows != i for i in range(128 // rows)]
    # the same numbers in another band have another key
    assert len(set(fold_bands([0] * 128, rows, weights))) == 128 // rows

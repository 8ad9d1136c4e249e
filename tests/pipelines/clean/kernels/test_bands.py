"""Near-duplicates: what is joined is near, what is near is joined, in any order and any pieces."""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.bands import Near, find_near, plan_rows
from pipelines.clean.kernels.chunks import Store, map_chunks
from pipelines.clean.kernels.joining import CROWD
from tests.slow_kernels import find_components, find_shingles, measure, normalise_texts

WORDS = np.array([f"word{i}" for i in range(4_000)])


def find(texts: list[str], similarity: float = 0.5, cut: int = 10**6, **more: Any) -> Near:
    """`find_near` of single texts in chunks of `cut`."""
    column = pl.Series(texts, dtype=pl.String)
    chunks = ([column[i : i + cut]] for i in range(0, len(texts), cut))
    return find_near(chunks, similarity, **more)


def list_clusters(found: Near) -> set[frozenset[int]]:
    clusters: dict[int, set[int]] = {}
    for row, kept in enumerate(found.kept.tolist()):
        clusters.setdefault(kept, set()).add(row)
    return {frozenset(members) for members in clusters.values()}


def edit(text: str, share: float, rng: np.random.Generator) -> str:
    words = np.array(text.split())
    hit = rng.random(len(words)) < share
    words[hit] = WORDS[rng.integers(0, len(WORDS), int(hit.sum()))]
    return " ".join(words)


def draw(rng: np.random.Generator, words: int = 150) -> str:
    return " ".join(WORDS[rng.integers(0, len(WORDS), words)])


def draw_pool(seed: int, count: int = 60) -> list[str]:
    """Texts with families, copies, short ones and empty ones."""
    rng = np.random.default_rng(seed)
    texts = ["", " ", "yes", "no", "Yes", "a b c d e f g h i", "a b c d e f g h j"]
    while len(texts) < count:
        old = texts[rng.integers(0, len(texts))]
        kind = rng.random()
        if kind < 0.3 or len(old) < 40:
            texts.append(draw(rng, int(rng.integers(1, 120))))
        else:
            texts.append(old.upper() if kind < 0.4 else edit(old, rng.uniform(0, 0.3), rng))
    return texts


@pytest.mark.parametrize(
    ("similarity", "rows"), [(0.3, 2), (0.5, 3), (0.7, 4), (0.8, 6), (0.9, 10), (1.0, 128)]
)
def test_a_pair_at_the_threshold_meets_and_with_more_places_a_band_it_might_not(
    similarity: float, rows: int
) -> None:
    assert plan_rows(similarity) == rows
    assert 1 - (1 - similarity**rows) ** (128 // rows) >= 0.99
    if rows < 128:
        assert 1 - (1 - similarity ** (rows + 1)) ** (128 // (rows + 1)) < 0.99


@pytest.mark.parametrize("similarity", [0.0, -1.0, 1.01, float("nan")])
def test_a_similarity_that_is_none_is_refused(similarity: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        plan_rows(similarity)


@given(st.integers(0, 10**6))
def test_what_is_joined_is_near_and_what_is_near_is_joined(seed: int) -> None:
    texts = draw_pool(seed)
    shingles = [find_shingles([text], 5) for text in normalise_texts(texts)]
    alike = {
        pair: measure(shingles[pair[0]], shingles[pair[1]])
        for pair in combinations(range(len(texts)), 2)
    }
    equal = [pair for pair in alike if shingles[pair[0]] == shingles[pair[1]]]
    near = [pair for pair, value in alike.items() if value >= 0.5]
    components = find_components(len(texts), near + equal)
    found = find(texts)
    clusters = list_clusters(found)
    for cluster in clusters:
        assert any(cluster <= component for component in components)
    for (one, two), value in alike.items():
        if value >= 0.8:
            assert found.kept[one] == found.kept[two]
    for row, value in enumerate(found.value.tolist()):
        others = {v for pair, v in alike.items() if row in pair} | {1.0}
        assert any(abs(value - other) < 1e-6 for other in others)
    assert (found.kept[found.kept] == found.kept).all()
    assert (found.same[found.same] == found.same).all()
    for one, two in alike:
        assert (found.same[one] == found.same[two]) == ((one, two) in equal)


@given(st.integers(0, 10**6), st.integers(1, 70), st.permutations(range(60)))
def test_neither_order_nor_chunks_nor_a_file_change_anything(
    seed: int, cut: int, order: list[int]
) -> None:
    texts = draw_pool(seed)
    priority = np.random.default_rng(seed).permutation(60)
    whole = find(texts, priority=priority)
    shuffled = find([texts[i] for i in order], priority=priority[order], cut=cut, spill=0)
    back = np.argsort(order)
    for column in ("kept", "same"):
        mapped = np.array(order)[getattr(shuffled, column)[back]]
        assert (mapped == getattr(whole, column)).all()
    assert (shuffled.value[back] == whole.value).all()
    for cluster in list_clusters(whole):
        kept = whole.kept[next(iter(cluster))]
        assert priority[kept] == min(priority[list(cluster)])
    # who is to stay changes nothing about who belongs together
    assert list_clusters(find(texts)) == list_clusters(whole)


def draw_crowd(seed: int, count: int) -> list[str]:
    """Texts that share so much that they crowd the buckets, at and about the threshold."""
    rng = np.random.default_rng(seed)
    stem = draw(rng, 60)
    return [f"{stem} {draw(rng, int(rng.integers(10, 60)))}" for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_a_second_dedup_drops_nothing(seed: int) -> None:
    texts = draw_pool(seed, 300) + draw_crowd(seed, 10 * CROWD)
    priority = np.random.default_rng(seed).permutation(len(texts))
    found = find(texts, priority=priority)
    kept = np.unique(found.kept)
    assert len(kept) < len(texts) - CROWD
    again = find([texts[i] for i in kept], priority=priority[kept])
    assert (again.kept == np.arange(len(kept))).all()


def test_shards_together_are_the_whole() -> None:
    texts = draw_pool(1, 200)
    shards = [texts[:70], texts[70:75], [], texts[75:]]
    chunks = [[pl.Series(shard, dtype=pl.String)] for shard in shards]
    assert (find_near(chunks, 0.5).kept == find(texts).kept).all()


def test_fifteen_thousand_copies_cost_milliseconds_and_near_copies_not_much_more() -> None:
    find(["warm", "up"])
    text = " ".join(WORDS[:100])
    for texts, seconds in (
        ([text] * 15_000, 0.5),
        ([f"{text} end{i}" for i in range(15_000)], 5.0),
    ):
        started = time.process_time()
        assert len(set(find(texts).kept.tolist())) == 1
        assert time.process_time() - started < seconds


def test_two_hundred_thousand_copies_of_one_prompt_leave_one() -> None:
    texts = ["Tell me  a joke."] * 200_000
    texts[7], texts[9] = "tell me A joke.", "Something else"
    found = find(texts, cut=50_000)
    assert set(found.kept.tolist()) == {0, 9}
    assert (found.same == found.kept).all()


def test_in_a_crowd_true_neighbours_still_find_each_other() -> None:
    """4,000 letters with one letterhead, of which each tenth is an edit of the one before."""
    rng = np.random.default_rng(0)
    head, texts = " ".join(WORDS[:40]), []
    for i in range(4_000):
        body = edit(texts[-1].split("| ")[1], 0.02, rng) if i % 10 == 9 else draw(rng, 100)
        texts.append(f"{head} | {body}")
    found = find(texts)
    pairs = np.arange(9, 4_000, 10)
    assert (found.kept[pairs] == found.kept[pairs - 1]).mean() >= 0.98
    assert len(np.unique(found.kept)) >= 3_600


def test_pairs_are_near_whichever_answer_was_preferred() -> None:
    rng = np.random.default_rng(2)
    prompt, one, two = draw(rng, 40), draw(rng, 80), draw(rng, 80)
    rows = [
        (prompt, one, two), (prompt, two, one), (prompt, edit(two, 0.02, rng), one),
        (prompt, one, draw(rng, 80)), (draw(rng, 40), draw(rng, 80), draw(rng, 80)),
    ]  # fmt: skip
    columns = [pl.Series(column) for column in zip(*rows, strict=True)]
    found = find_near([columns], 0.7)
    assert list_clusters(found) == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4})}
    assert found.same.tolist() == [0, 0, 2, 3, 4]
    assert found.turned[0] != found.turned[1]


def test_awkward_texts_are_items_like_any_other() -> None:
    big = " ".join(f"word{i}" for i in range(500_000))
    texts = [big, f"{big} more", "\0", "", "\0 \0", "שלום עולם", "", big.upper()]
    assert len(big) > 5_000_000
    found = find(texts, cut=3, spill=1_000)
    assert list_clusters(found) == {
        frozenset({0, 1, 7}), frozenset({2, 4}), frozenset({3, 6}), frozenset({5}),
    }  # fmt: skip
    assert found.same[2] != found.same[4]  # near, for a short text is its set of words


def test_nothing_is_no_trouble() -> None:
    assert len(find_near([], 0.5).kept) == len(find([], 0.5).kept) == 0
    assert find(["alone"]).kept.tolist() == [0]
    assert find_near([[pl.Series([], dtype=pl.String)], [pl.Series(["a"])]], 0.5).kept.tolist() == [
        0
    ]


def test_chunks_keep_their_order_and_are_not_taken_ahead() -> None:
    taken = []

    def take() -> Any:
        for i in range(20):
            taken.append(i)
            yield i

    results = map_chunks(lambda i: -i, take(), threads=2)
    assert next(results) == 0 and len(taken) <= 3
    assert list(results) == [-i for i in range(1, 20)]
    with pytest.raises(ZeroDivisionError):
        list(map_chunks(lambda i: 1 // i, [1, 0, 1]))


@pytest.mark.parametrize("limit", [0, 12, 10**6])
def test_a_store_gives_back_what_it_got(tmp_path: Path, limit: int) -> None:
    store = Store(np.uint32, limit, tmp_path)
    assert store.read().tolist() == []
    for piece in ([1, 2], [], [3], [4, 5, 6]):
        store.append(np.array(piece, dtype=np.uint32))
    assert store.read().tolist() == [1, 2, 3, 4, 5, 6] and store.size == 6
    store.forget()
    assert store.read().tolist() == [1, 2, 3, 4, 5, 6]
    assert not list(tmp_path.iterdir())

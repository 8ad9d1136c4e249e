"""Groups by vectors: transitive, closed to other classes, whatever the order."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.semantic import groups
from pipelines.clean.semantic.diversity import choose_diverse
from pipelines.clean.semantic.groups import group_similar
from pipelines.clean.semantic.joining import find_similar
from pipelines.clean.semantic.kmeans import find_closest, fit_centres
from pipelines.clean.semantic.retrieval import rank_nearest
from tests.pipelines.clean.semantic.test_joining import Vectors, make_vectors


def turn(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    radians = np.radians(degrees)
    return np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32)


def gather(first: list[int]) -> set[frozenset[int]]:
    members: dict[int, set[int]] = defaultdict(set)
    for place, name in enumerate(first):
        members[name].add(place)
    return {frozenset(group) for group in members.values()}


def test_a_chain_is_one_group_named_by_its_first() -> None:
    found = group_similar(turn(60, 0, 10, 20, 200), np.cos(np.radians(11)))
    assert found.first.tolist() == [0, 1, 1, 1, 4]
    assert found.value[[0, 4]].tolist() == [-1, -1]
    assert found.value[1:4] == pytest.approx(np.cos(np.radians(10)), abs=1e-5)


def test_no_chain_leads_through_another_class() -> None:
    near = np.cos(np.radians(11))
    assert group_similar(turn(0, 10, 20), near, ["a", "b", "a"]).first.tolist() == [0, 1, 2]
    assert group_similar(turn(0, 10, 20), near, [None, None, None]).first.tolist() == [0, 0, 0]
    assert group_similar(turn(0, 1, 2), near, ["a", "b", "a"]).first.tolist() == [0, 1, 0]


@given(
    seed=st.integers(0, 2**32 - 1),
    pending=st.sampled_from([1, 7, 2**20]),
    threshold=st.floats(0.5, 0.95),
)
def test_groups_are_the_components_in_any_order(seed: int, pending: int, threshold: float) -> None:
    vectors = make_vectors(120, 16, 0.5, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "PENDING", pending)
        found = group_similar(vectors, threshold)
        order = np.random.default_rng(seed).permutation(len(vectors))
        turned = group_similar(vectors[order], threshold)
    members = gather(found.first.tolist())
    assert {frozenset(order[list(group)].tolist()) for group in gather(turned.first.tolist())} == (
        members
    )
    assert all(found.first[place] == min(group) for group in members for place in group)
    left, right, value = find_similar(vectors, threshold)
    assert (found.first[left] == found.first[right]).all()
    linked = {place for group in members if len(group) > 1 for place in group}
    assert linked == {*left.tolist(), *right.tolist()}
    for place in linked:
        assert found.value[place] == max(value[(left == place) | (right == place)])
    # who stands for a group is near to no one else who stands for one
    kept = np.unique(found.first)
    assert not len(find_similar(vectors[kept], threshold)[0])


def test_centres_lie_closer_to_all_than_the_rows_they_start_from() -> None:
    vectors = make_vectors(600, 32, 0.3, 11)
    centres = fit_centres(vectors, seed=3)
    assert len(centres) == 25
    start = vectors[np.random.default_rng(3).permutation(600)[:25]]
    better = find_closest(vectors, centres)[1].mean()
    assert better > find_closest(vectors, start)[1].mean() + 0.05


@pytest.mark.parametrize(("count", "k"), [(0, None), (1, None), (2, 5), (7, 3), (50, 50)])
def test_centres_of_few_vectors(count: int, k: int | None) -> None:
    vectors = make_vectors(count, 8, 0.3, 2)
    centres = fit_centres(vectors, k)
    assert centres.shape == (min(count, k or 1), 8) or (k is None and len(centres) <= 2)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)


def test_centres_are_the_same_each_time_and_those_of_batches_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = make_vectors(900, 16, 0.2, 4)
    whole = fit_centres(vectors, seed=1)
    assert (fit_centres(vectors, seed=1) == whole).all()
    monkeypatch.setattr("pipelines.clean.semantic.kmeans.BATCH", 200)
    batched = fit_centres(vectors, seed=1)
    means = [find_closest(vectors, centres)[1].mean() for centres in (whole, batched)]
    assert means[1] > means[0] - 0.05


def test_the_diverse_come_from_every_family_and_in_an_order() -> None:
    vectors = np.vstack([turn(*range(10)), turn(*range(120, 124)), turn(240)])
    chosen = choose_diverse(vectors, 3)
    assert {int(place) for place in chosen} & set(range(10))
    assert {int(place) for place in chosen} & set(range(10, 14))
    assert 14 in chosen
    assert choose_diverse(vectors, 2).tolist() == chosen[:2].tolist()
    assert sorted(choose_diverse(vectors, 99).tolist()) == list(range(15))
    assert choose_diverse(vectors[:0], 3).tolist() == []
    assert choose_diverse(vectors, 0).tolist() == []
    assert choose_diverse(vectors, 1, taken=turn(0, 120)).tolist() == [14]


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(0, 40))
def test_the_nearest_are_those_of_a_plain_sort(seed: int, k: int) -> None:
    vectors, corpus = make_vectors(9, 12, 0.5, seed), make_vectors(33, 12, 0.5, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.clean.semantic.retrieval.ROWS", 4)
        patch.setattr("pipelines.clean.semantic.retrieval.COLUMNS", 10)
        found = rank_nearest(vectors, corpus, k)
    plain = np.sort(-(vectors @ corpus.T), axis=1)[:, :k]
    assert len(found) == 9 * min(k, 33)
    for query in range(9 if k else 0):
        rows = found.filter(found["query"] == query)
        assert rows["rank"].to_list() == list(range(1, min(k, 33) + 1))
        assert np.allclose(rows["similarity"], -plain[query], atol=1e-6)
        assert np.allclose(vectors[query] @ corpus[rows["place"]].T, rows["similarity"], atol=1e-6)

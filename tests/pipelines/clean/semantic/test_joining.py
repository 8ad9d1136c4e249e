"""The self-join: every pair that a plain product finds, and in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.clean.semantic import joining
from pipelines.clean.semantic.joining import find_similar, join_similar

Vectors = NDArray[np.float32]


def make_vectors(count: int, dimensions: int, spread: float, seed: int) -> Vectors:
    """Unit vectors in families: `spread` is how far the members of one lie apart."""
    rng = np.random.default_rng(seed)
    families = rng.normal(size=(max(1, count // 12), dimensions))
    found = families[rng.integers(0, len(families), count)]
    found = found + spread * rng.normal(size=found.shape)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def join_plainly(vectors: Vectors, threshold: float) -> list[tuple[int, int, float]]:
    """The same by one product of everything in double precision."""
    exact = vectors.astype(np.float64)
    value = np.round(np.triu(exact @ exact.T, 1), 6)
    left, right = np.nonzero(value >= threshold)
    return [(int(a), int(b), float(value[a, b])) for a, b in zip(left, right, strict=True)]


def join(vectors: Vectors, threshold: float) -> list[tuple[int, int, float]]:
    left, right, value = find_similar(vectors, threshold)
    return list(zip(left.tolist(), right.tolist(), value.tolist(), strict=True))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, so that a few hundred vectors go through all of them."""
    for name, value in {"ROWS": 8, "COLUMNS": 32, "FEW": 20, "STRIP": 3, "NARROW": 0.1}.items():
        monkeypatch.setattr(joining, name, value)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dimensions", [3, 24, 80])
@settings(max_examples=25)
@given(
    count=st.integers(0, 240),
    spread=st.floats(0.05, 1.5),
    threshold=st.floats(0.3, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pair_is_found(
    dimensions: int, count: int, spread: float, threshold: float, seed: int
) -> None:
    vectors = make_vectors(count, dimensions, spread, seed)
    found, plain = join(vectors, threshold), join_plainly(vectors, threshold)
    assert [pair[:2] for pair in found] == [pair[:2] for pair in plain]
    assert np.allclose([pair[2] for pair in found], [pair[2] for pair in plain], atol=2e-6)


@pytest.mark.usefixtures("small_blocks")
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    vectors = make_vectors(150, 80, 0.4, seed)
    order = np.random.default_rng(seed).permutation(len(vectors))
    places = np.argsort(order)
    pairs = {
        (*sorted((int(order[a]), int(order[b]))), value)
        for a, b, value in join(vectors[order], 0.8)
    }
    assert pairs == set(join(vectors, 0.8))
    assert (vectors[order][places] == vectors).all()


@pytest.mark.usefixtures("small_blocks")
def test_equal_rows_and_rows_of_zeros() -> None:
    vectors = np.vstack([np.repeat(make_vectors(1, 80, 0.1, 3), 60, axis=0),
                         np.zeros((30, 80), np.float32)])  # fmt: skip
    found = join(vectors, 1.0)
    assert len(found) == 60 * 59 // 2
    assert {value for *_, value in found} == {1.0}


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01])
def test_a_threshold_that_is_none(threshold: float) -> None:
    with pytest.raises(ValueError, match="a similarity lies above 0"):
        find_similar(make_vectors(3, 8, 0.1, 0), threshold)


def test_a_crowd_of_equal_rows_takes_no_more_memory_than_its_blocks() -> None:
    vectors = np.repeat(make_vectors(1, 8, 0.1, 3), 4_000, axis=0)
    tracemalloc.start()
    pairs = sum(len(left) for left, _, _ in join_similar(vectors, 0.9))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pairs == 4_000 * 3_999 // 2
    assert peak < 80e6  # the pairs alone would take 192 MB


def test_most_pairs_are_ruled_out_by_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = make_vectors(3_000, 64, 0.15, 5)
    monkeypatch.setattr(joining, "FEW", 100)
    monkeypatch.setattr(joining, "NARROW", 0.9)
    looked: list[int] = []
    multiply = joining.Join.multiply

    def count(self: joining.Join, part: NDArray[np.int64], others: NDArray[np.int64]):  # type: ignore[no-untyped-def]
        looked.append(len(part) * len(others))
        return multiply(self, part, others)

    monkeypatch.setattr(joining.Join, "multiply", count)
    assert join(vectors, 0.9) == join_plainly(vectors, 0.9)
    assert sum(looked) < 0.2 * 3_000 * 3_000 / 2

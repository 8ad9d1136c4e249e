"""Vectors of texts are computed once and come back in the order asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.lake import vectors
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.lake.vectors import embed_missing, read_vectors


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was embedded; a text's vector is its length and its number of vowels."""
    seen: list[str] = []

    def embed(texts: Sequence[str], model: str) -> NDArray[np.float32]:
        seen.extend(texts)
        return np.array([[len(t), sum(c in "aeiou" for c in t)] for t in texts], dtype=np.float32)

    monkeypatch.setattr(vectors, "embed_texts", embed)
    monkeypatch.setattr(vectors, "TEXTS_A_COMMIT", 2)
    return seen


def test_a_text_is_embedded_once_whatever_asks_for_it(lake: Lake, asked: list[str]) -> None:
    assert embed_missing(lake, new_run(), "t", ["aa", "bbb", "aa", "cece"]) == 3
    assert sorted(asked) == ["aa", "bbb", "cece"]
    assert embed_missing(lake, new_run(), "t", ["cece", "new"]) == 1
    assert len(asked) == 4
    assert lake.query("SELECT count(*) AS n FROM embeddings")["n"][0] == 4


def test_vectors_come_in_order_and_unknown_texts_have_none(lake: Lake, asked: list[str]) -> None:
    embed_missing(lake, new_run(), "t", ["aa", "bbb"])
    found, known = read_vectors(lake, ["bbb", "never", "aa", "bbb"])
    assert found.tolist() == [[3, 0], [0, 0], [2, 2], [3, 0]]
    assert known.tolist() == [True, False, True, True]
    other, has = read_vectors(lake, ["aa"], model="another")
    assert other.shape == (1, 0) and not has.any()


def test_nothing_is_no_trouble(lake: Lake, asked: list[str]) -> None:
    assert embed_missing(lake, new_run(), "t", []) == 0
    found, known = read_vectors(lake, [])
    assert len(found) == len(known) == 0

"""Vectors in the lake: each text is embedded once, by its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lake import vectors
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from tests.pipelines.lake.pools import count


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which texts reach the embedder, whose vectors say how long a text is."""
    seen: list[str] = []

    def embed(texts: Sequence[str], model: str, **_: Any) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), 1.0, 0.1] for text in texts], dtype=np.float32)

    monkeypatch.setattr(vectors, "embed_texts", embed)
    monkeypatch.setattr(vectors, "choose_precision", lambda: "float32")
    monkeypatch.setattr(vectors, "CHUNK", 2)
    return seen


def embed(lake: Lake, *texts: str, model: str = "minilm") -> list[float]:
    found = vectors.embed_cached(lake, new_run(), texts, model)
    assert found.dtype == np.float32 and found.shape == (len(texts), 3)
    return found[:, 0].tolist()


def test_each_text_is_embedded_once_and_comes_back_in_its_place(
    lake: Lake, asked: list[str]
) -> None:
    assert embed(lake, "a", "bb", "a", "ccc") == [1, 2, 1, 3]
    assert asked == ["a", "bb", "ccc"] and count(lake, "embeddings") == 3
    assert embed(lake, "ccc", "dddd", "a") == [3, 4, 1]
    assert asked == ["a", "bb", "ccc", "dddd"]


def test_another_model_or_precision_has_vectors_of_its_own(
    lake: Lake, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(lake, "a")
    embed(lake, "a", model="other/model")
    monkeypatch.setattr(vectors, "choose_precision", lambda: "bfloat16")
    embed(lake, "a")
    assert asked == ["a"] * 3
    names = lake.query("SELECT model FROM embeddings ORDER BY model")["model"].to_list()
    assert names[0].startswith("minilm@") and names[1] == f"{names[0]}:bfloat16"
    assert names[2] == "other/model"


def test_what_was_embedded_before_a_failure_is_kept(
    lake: Lake, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = vectors.embed_texts

    def fail(texts: Sequence[str], model: str, **more: Any) -> np.ndarray:
        if "ccc" in texts:
            raise RuntimeError("killed")
        return whole(texts, model, **more)

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "embed_texts", fail)
        with pytest.raises(RuntimeError):
            embed(lake, "a", "bb", "ccc")
    assert embed(lake, "a", "bb", "ccc") == [1, 2, 3]
    assert asked == ["a", "bb", "ccc"]


def test_no_texts(lake: Lake, asked: list[str]) -> None:
    assert len(vectors.embed_cached(lake, new_run(), [])) == 0 == len(asked)


def test_what_is_missing_is_embedded_once_and_read_without_a_model(
    lake: Lake, asked: list[str]
) -> None:
    assert vectors.embed_missing(lake, new_run(), "t", ["aa", "bbb", "aa"]) == 2
    assert vectors.embed_missing(lake, new_run(), "t", ["bbb"]) == 0
    found, known = vectors.read_vectors(lake, ["bbb", "never", "aa"])
    assert found[:, 0].tolist() == [3, 0, 2] and known.tolist() == [True, False, True]
    assert vectors.read_vectors(lake, ["aa"], "another")[0].shape == (1, 0)
    assert asked == ["aa", "bbb"]

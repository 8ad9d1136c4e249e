"""Vectors of texts, each computed once: the table `embeddings` is their cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engines.embedder import MINILM, embed_texts
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.run import Run
from schemas.ids import hash_text

TEXTS_A_COMMIT = 1_000


def embed_missing(
    lake: Lake, run: Run, stage: str, texts: Sequence[str], model: str = MINILM
) -> int:
    """Embed what the lake lacks of `texts`, `TEXTS_A_COMMIT` a commit; how many that were.

    Raises:
        engines.embedder.EmbedderMissing: the model is not installed.
    """
    wanted = {hash_text(text): text for text in texts}
    known = lake.query(
        "SELECT text_hash FROM embeddings SEMI JOIN wanted USING (text_hash) WHERE model = ?",
        [model],
        wanted=_name_hashes(list(wanted)),
    )
    todo = sorted(wanted.keys() - set(known["text_hash"]))
    for start in range(0, len(todo), TEXTS_A_COMMIT):
        part = todo[start : start + TEXTS_A_COMMIT]
        vectors = embed_texts([wanted[key] for key in part], model)
        rows = pl.DataFrame(
            {"text_hash": part, "model": [model] * len(part), "vector": vectors.tolist()},
            schema_overrides={"vector": pl.List(pl.Float32)},
        )
        lake.append({"embeddings": rows}, run=run, stage=stage, message=f"{len(part)} vectors")
        run.progress(f"{stage}: vectors", start + len(part), len(todo))
    return len(todo)


def read_vectors(
    lake: Lake | PastLake, texts: Sequence[str], model: str = MINILM
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors (n, d) of `texts`, and which of them (n,) the lake has; others are nothing."""
    keys = [hash_text(text) for text in texts]
    found = lake.query(
        "SELECT text_hash, vector FROM embeddings SEMI JOIN wanted USING (text_hash) "
        "WHERE model = ? ORDER BY text_hash",
        [model],
        wanted=_name_hashes(sorted(set(keys))),
    )
    if found.is_empty():
        return np.zeros((len(keys), 0), dtype=np.float32), np.zeros(len(keys), dtype=np.bool_)
    width = len(found["vector"][0])
    known = found["vector"].list.to_array(width).to_numpy()
    place = {key: at for at, key in enumerate(found["text_hash"])}
    at = np.array([place.get(key, -1) for key in keys], dtype=np.int64)
    vectors = np.where((at >= 0)[:, None], known[at], np.float32(0))
    return vectors.astype(np.float32, copy=False), at >= 0


def _name_hashes(keys: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"text_hash": keys}, schema={"text_hash": pl.String})

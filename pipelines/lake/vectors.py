"""Sentence vectors, cached in the lake by content: no text is embedded twice by one model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engines.embedder import MINILM, choose_precision, embed_texts, name_embedder
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.run import Run
from schemas.ids import hash_text
from schemas.tables import polars_schema

STAGE = "embed"
CHUNK = 2_000


def embed_cached(
    lake: Lake, run: Run, texts: Sequence[str], model: str = MINILM
) -> NDArray[np.float32]:
    """A unit vector for each text: (len(texts), dimensions), float32.

    What the lake lacks is embedded and kept in `embeddings`, 2,000 texts a commit, so that a run
    that is killed goes on where it was. In which precision is the machine's choice and part of the
    key (see `choose_precision`).
    """
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    precision = choose_precision()
    name = name_embedder(model, precision)
    hashes = [hash_text(text) for text in texts]
    first = dict(zip(hashes, texts, strict=True))
    known = _find(lake, name, list(first))
    missing = [key for key in first if key not in known]
    for start in range(0, len(missing), CHUNK):
        keys = missing[start : start + CHUNK]
        vectors = embed_texts([first[key] for key in keys], model, precision=precision)
        rows = pl.DataFrame(
            {"text_hash": keys, "model": name, "vector": vectors.tolist()},
            schema_overrides={"vector": polars_schema("embeddings")["vector"]},
        )
        lake.append({"embeddings": rows}, run=run, stage=STAGE)
        known.update(zip(keys, vectors, strict=True))
        run.progress(STAGE, min(start + CHUNK, len(missing)), len(missing))
    return np.stack([known[key] for key in hashes])


def _find(lake: Lake | PastLake, name: str, keys: list[str]) -> dict[str, NDArray[np.float32]]:
    found = lake.query(
        "SELECT text_hash, vector FROM embeddings SEMI JOIN wanted USING (text_hash) "
        "WHERE model = ?",
        [name],
        wanted=pl.DataFrame({"text_hash": keys}, schema={"text_hash": pl.String}),
    )
    if found.is_empty():
        return {}
    flat = found["vector"].explode().to_numpy().astype(np.float32)
    return dict(zip(found["text_hash"], flat.reshape(len(found), -1), strict=True))


def embed_missing(
    lake: Lake, run: Run, stage: str, texts: Sequence[str], model: str = MINILM
) -> int:
    """Embed what the lake lacks of `texts`, as `embed_cached` does; how many that were."""
    known = _find(lake, name_embedder(model, choose_precision()), [hash_text(t) for t in texts])
    missing = sorted({text for text in texts if hash_text(text) not in known})
    embed_cached(lake, run, missing, model)
    return len(missing)


def read_vectors(
    lake: Lake | PastLake, texts: Sequence[str], model: str = MINILM
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors (n, d) of `texts`, and which of them (n,) the lake has; others are nothing."""
    keys = [hash_text(text) for text in texts]
    known = _find(lake, name_embedder(model, choose_precision()), sorted(set(keys)))
    has = np.array([key in known for key in keys], dtype=np.bool_)
    if not known:
        return np.zeros((len(keys), 0), dtype=np.float32), has
    nothing = np.zeros_like(next(iter(known.values())))
    return np.stack([known.get(key, nothing) for key in keys]), has

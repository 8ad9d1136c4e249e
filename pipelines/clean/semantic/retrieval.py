"""The nearest texts of a corpus, exactly, by vectors that the lake keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from engines.embedder import MINILM
from pipelines.clean.semantic.kmeans import Vectors
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.vectors import embed_cached

ROWS = 256
COLUMNS = 16_384
SCHEMA = {"query": pl.Int64, "rank": pl.Int64, "place": pl.Int64, "similarity": pl.Float64}


def find_nearest(
    lake: Lake, run: Run, texts: Sequence[str], corpus: Sequence[str], k: int, model: str = MINILM
) -> pl.DataFrame:
    """For each text the `k` texts of `corpus` that are closest to it by meaning (all, where there
    are no more), best first, the first of equals.

    Only texts that the lake has no vector of are embedded. A text beyond the model's window is
    known by its beginning.

    Returns:
        query and place (of `texts` and of `corpus`), rank from 1, similarity (cosine).
    """
    found = embed_cached(lake, run, [*texts, *corpus], model)
    return rank_nearest(found[: len(texts)], found[len(texts) :], k)


def rank_nearest(vectors: Vectors, corpus: Vectors, k: int) -> pl.DataFrame:
    """The same for unit vectors. Memory is blocks of 16 MB."""
    parts = []
    k = min(k, len(corpus))
    for at in range(0, len(vectors) if k > 0 else 0, ROWS):
        rows = vectors[at : at + ROWS]
        places, values = np.zeros((len(rows), 0), np.int64), np.zeros((len(rows), 0), np.float32)
        for start in range(0, len(corpus), COLUMNS):
            similar = rows @ corpus[start : start + COLUMNS].T
            among = np.broadcast_to(np.arange(start, start + similar.shape[1]), similar.shape)
            places, values = np.hstack([places, among]), np.hstack([values, similar])
            best = np.argsort(-values, axis=1, kind="stable")[:, :k]
            places, values = (np.take_along_axis(all_, best, 1) for all_ in (places, values))
        parts.append(pl.DataFrame({
            "query": np.repeat(np.arange(at, at + len(rows)), k),
            "rank": np.tile(np.arange(1, k + 1), len(rows)),
            "place": places.ravel(),
            "similarity": values.ravel().astype(np.float64),
        }))  # fmt: skip
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)

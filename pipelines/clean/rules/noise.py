"""Labels that are likely the wrong way round, by a reward model of frozen embeddings."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.clean.rules.pairs import measure_label_noise
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.vectors import embed_cached


def score_label_noise(lake: Lake, run: Run, pairs: pl.DataFrame, seed: int) -> pl.Series:
    """`pipelines.clean.rules.pairs.measure_label_noise` on the embeddings of the responses, which
    the lake keeps; 0 of a pair that confident learning does not call a label error.

    Args:
        pairs: prompt_id, chosen, rejected (texts).
    """
    texts = pl.concat([pairs["chosen"], pairs["rejected"]]).unique(maintain_order=True)
    vectors = embed_cached(lake, run, texts.to_list())
    places = {text: place for place, text in enumerate(texts)}
    chosen, rejected = (
        vectors[np.array([places[text] for text in pairs[side]], dtype=np.int64)]
        for side in ("chosen", "rejected")
    )
    noise, bar = measure_label_noise(chosen, rejected, pairs["prompt_id"].to_list(), seed)
    called = pl.when(noise.is_null()).then(None).when(noise >= bar).then(noise).otherwise(0.0)
    return pl.select(called.alias("value")).to_series()

"""How likely a text is offensive: the linear model on words of `alt-profanity-check`, which the
package carries. It knows English words, not what is meant: `benchmarks/README.md` says how far it
goes on labelled data."""

from __future__ import annotations

import numpy as np
import polars as pl

WINDOW = 600  # characters; a long text is as offensive as its worst window


def measure_toxicity(texts: pl.Series) -> pl.Series:
    """The probability of each text, from 0 to 1; null of null."""
    from profanity_check import predict_prob

    places: list[int] = []
    windows: list[str] = []
    for place, text in enumerate(texts):
        for start in range(0, len(text or ""), WINDOW):
            places.append(place)
            windows.append(text[start : start + WINDOW])
    worst = np.zeros(len(texts))
    if windows:
        np.maximum.at(worst, places, predict_prob(windows))
    values = pl.Series(texts.name, worst)
    return pl.select(pl.when(texts.is_not_null()).then(values).alias(texts.name)).to_series()

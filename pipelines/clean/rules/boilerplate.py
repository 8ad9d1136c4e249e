"""Words that a pool's responses open or close with again and again."""

from __future__ import annotations

import polars as pl

from pipelines.clean.texts import normalise

WORDS = 5
ENDS = 200  # characters that the words are looked for in
SHORT = 80
LEAST = 3  # prompts; two may chance to open alike


def measure_boilerplate(responses: pl.DataFrame) -> pl.Series:
    """For each response, the share of the pool's prompts that have a response which opens, or one
    which closes, in the same five words: the larger of the two. 0 where fewer than `LEAST` prompts
    do, and of a response under `SHORT` characters.

    Args:
        responses: prompt_id, content.
    """
    text, word = pl.col("content"), r"[\w'\u2019]+"
    enough = text.str.len_chars() >= SHORT
    first = normalise(text.str.head(ENDS)).str.extract_all(word).list.head(WORDS)
    last = normalise(text.str.tail(ENDS)).str.extract_all(word).list.tail(WORDS)
    frame = responses.select(
        "prompt_id",
        **{
            name: pl.when(enough & (words.list.len() == WORDS)).then(words.list.join(" "))
            for name, words in (("first", first), ("last", last))
        },
    )
    prompts = max(1, frame["prompt_id"].n_unique())
    shares = [
        pl.when(pl.col(side).is_not_null() & (pl.col("prompt_id").n_unique().over(side) >= LEAST))
        .then(pl.col("prompt_id").n_unique().over(side) / prompts)
        .otherwise(0.0)
        .alias(side)
        for side in ("first", "last")
    ]
    return frame.select(*shares).select(value=pl.max_horizontal("first", "last")).to_series()

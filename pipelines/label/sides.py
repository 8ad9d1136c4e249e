"""The two sides of pairs as they are embedded, and the vector of the one less that of the other.

Texts and vectors of a large pool do not fit in memory: both come from the lake in blocks, and what
stays is the key of each text and the difference of each pair.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from numpy.typing import NDArray

from pipelines.label.people.voices import CONTEXT, list_texts
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.run import Run
from pipelines.lake.vectors import embed_missing, find_missing, key_texts, subtract_keyed

ORDER = ["prompt_id", "response_a", "response_b"]
EMBEDDED = 10_000  # pairs whose texts are held at once where they have to be embedded
SIDES = f"""
SELECT wanted.prompt_id, wanted.response_id,
    right(questions.asked, {CONTEXT}) || chr(10) || responses.content AS text
FROM wanted JOIN (
    SELECT prompt_id, array_to_string([m.content FOR m IN messages], chr(10)) AS asked FROM prompts
) AS questions USING (prompt_id)
JOIN responses ON responses.response_id = wanted.response_id
"""


def size_sides(lake: Lake | PastLake, pairs: pl.DataFrame) -> pl.DataFrame:
    """response_id, size (characters) of the responses of `pairs`."""
    ids = pl.concat([pairs.select(response_id=name) for name in ("response_a", "response_b")])
    return lake.query(
        "SELECT response_id, length(content) AS size FROM responses "
        "SEMI JOIN wanted USING (response_id)",
        wanted=ids.unique(),
    )


def key_sides(lake: Lake | PastLake, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` with key_a and key_b, by which the vectors of their sides are kept (see
    `pipelines.label.people.voices.list_texts`), in the order of their ids. Pairs whose texts the
    lake lacks are left out."""
    names = {"response_a": "key_a", "response_b": "key_b"}
    sides = [pairs.select("prompt_id", response_id=name) for name in names]
    keyed = key_texts(lake, SIDES, wanted=pl.concat(sides).unique())
    found = pairs
    for name, key in names.items():
        side = keyed.rename({"response_id": name, "key": key})
        found = found.join(side, on=["prompt_id", name])
    return found.sort(ORDER)


def embed_sides(lake: Lake, run: Run, stage: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """`key_sides`, after what has no vector yet was embedded."""
    keyed = key_sides(lake, pairs)
    missing = find_missing(lake, pl.concat([keyed["key_a"], keyed["key_b"]]))
    lacking = pl.any_horizontal(
        pl.col(name).is_in(pl.Series(missing, dtype=pl.String).implode())
        for name in ("key_a", "key_b")
    )
    for part in keyed.filter(lacking).select(pairs.columns).iter_slices(EMBEDDED):
        texts = list_texts(lake, part)
        embed_missing(lake, run, stage, [*texts["text_a"], *texts["text_b"]])
    return keyed


def compare_keyed(lake: Lake | PastLake, keyed: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[Any]]:
    """The pairs (of `key_sides`, in any order) of which the lake has both vectors, and for each the
    vector of response_a less that of response_b (see `pipelines.lake.vectors.subtract_keyed`)."""
    apart, known = subtract_keyed(lake, keyed["key_a"], keyed["key_b"])
    pairs = keyed.drop("key_a", "key_b")
    return (pairs, apart) if known.all() else (pairs.filter(pl.Series(known)), apart[known])


def compare_sides(lake: Lake | PastLake, pairs: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[Any]]:
    """The pairs of which the lake has both vectors, in the order of their ids, and for each the
    vector of response_a less that of response_b."""
    return compare_keyed(lake, key_sides(lake, pairs))

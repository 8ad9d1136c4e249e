"""daft: its `minhash` expression, bands by explode and group-by; candidates are not confirmed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import daft
from daft import col
from daft.functions import chunk, lower, minhash
from meter import SIZE, measure


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what shares a band with a text of a smaller id."""
    texts = daft.read_parquet(str(source))
    signatures = texts.select(
        "id",
        minhash(
            lower(col("text")), num_hashes=bands * rows, ngram_size=SIZE, hash_function="xxhash"
        ).alias("signature"),
    )
    banded = signatures.select("id", chunk(col("signature"), rows).alias("band")).explode("band")
    keyed = banded.select("id", col("band").hash().alias("band"))
    shared = keyed.groupby("band").agg(col("id").list_agg().alias("ids"))
    found = shared.where(col("ids").list_count() > 1).to_pydict()["ids"]
    return {row for group in found for row in group if row != min(group)}


if __name__ == "__main__":
    measure(work)

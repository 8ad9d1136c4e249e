"""gaoya: `MinHashStringIndex`, filled and asked in bulk on all cores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gaoya.minhash import MinHashStringIndex
from meter import SIZE, measure, read_rows


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what is similar to a text with a smaller id."""
    ids, texts = read_rows(source)
    index = MinHashStringIndex(
        hash_size=32, jaccard_threshold=similarity, num_bands=bands, band_size=rows,
        analyzer="word", lowercase=True, ngram_range=(SIZE, SIZE), id_container="smallvec",
    )  # fmt: skip
    index.par_bulk_insert_docs(ids, texts)
    for row, similar in zip(ids, index.par_bulk_query(texts), strict=True):
        if min(similar, default=row) < row:
            yield row


if __name__ == "__main__":
    measure(work)

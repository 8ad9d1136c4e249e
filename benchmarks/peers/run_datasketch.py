"""datasketch: `MinHash.bulk` and `MinHashLSH`, candidates confirmed by their estimate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datasketch import MinHash, MinHashLSH
from meter import list_shingles, measure, read_rows


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what is similar to a text that came before."""
    ids, texts = read_rows(source)
    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    kept = {}
    tokens = ([shingle.encode() for shingle in list_shingles(text)] for text in texts)
    for row, sketch in zip(ids, MinHash.generator(tokens, num_perm=bands * rows), strict=True):
        if any(kept[other].jaccard(sketch) >= similarity for other in index.query(sketch)):
            yield row
        else:
            index.insert(row, sketch)
            kept[row] = sketch


if __name__ == "__main__":
    measure(work)

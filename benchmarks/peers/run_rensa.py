"""rensa: `RMinHashDeduplicator` with its LSH index."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meter import list_shingles, measure, read_rows
from rensa import RMinHash, RMinHashDeduplicator


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what the deduplicator calls a duplicate of what came before."""
    ids, texts = read_rows(source)
    seen = RMinHashDeduplicator(similarity, bands * rows, True, bands, 1)
    for row, text in zip(ids, texts, strict=True):
        sketch = RMinHash(bands * rows, 1)
        sketch.update(list_shingles(text))
        if not seen.add(str(row), sketch):
            yield row


if __name__ == "__main__":
    measure(work)

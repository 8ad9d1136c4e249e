"""Assay's own kernels by the protocol of `meter.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from meter import SIZE, measure

from pipelines.clean.kernels.bands import find_near, plan_rows


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop all of a cluster but its smallest id."""
    assert rows == plan_rows(similarity)
    ids = pq.read_table(source, columns=["id"])["id"].to_numpy()
    batches = pq.ParquetFile(source).iter_batches(20_000, columns=["text"])
    chunks = ([batch["text"]] for batch in batches)
    found = find_near(chunks, similarity, np.argsort(np.argsort(ids)), size=SIZE)
    return ids[found.kept != np.arange(len(ids))].tolist()


if __name__ == "__main__":
    measure(work)

"""datatrove: its four MinHash stages one after another, in this process, as its examples have them.

Its word tokeniser, which cannot be left out, is the one it takes for English.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.typeshelper import Languages
from meter import SIZE, measure


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what the filter of the last stage excludes."""
    config = MinhashConfig(n_grams=SIZE, num_buckets=bands, hashes_per_bucket=rows)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        reader = ParquetReader(str(source.parent), glob_pattern=source.name, id_key="id")
        excluded = JsonlWriter(f"{place}/excluded", compression=None)
        stages = [
            ([reader, MinhashDedupSignature(f"{place}/signatures", config, Languages.english)], 1),
            (
                [MinhashDedupBuckets(f"{place}/signatures", f"{place}/buckets", config=config)],
                bands,
            ),
            ([MinhashDedupCluster(f"{place}/buckets", f"{place}/remove", config=config)], 1),
            ([reader, MinhashDedupFilter(f"{place}/remove", excluded)], 1),
        ]
        for number, (pipeline, tasks) in enumerate(stages):
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=1, logging_dir=f"{place}/logs{number}"
            ).run()
        for file in place.glob("excluded/*.jsonl"):
            for line in file.read_text().splitlines():
                yield int(json.loads(line)["id"])


if __name__ == "__main__":
    measure(work)

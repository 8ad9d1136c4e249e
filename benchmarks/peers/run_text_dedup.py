"""text-dedup: its `minhash` command, as it is but for shingles, bands and two processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from datasets import load_from_disk
from meter import SIZE, measure, read_rows


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what the command does not write again."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "path": "parquet", "data_files": source, "split": "train", "cache_dir": f"{folder}/c",
            "output": f"{folder}/out", "column": "text", "ngram": SIZE, "threshold": similarity,
            "num_perm": bands * rows, "b": bands, "r": rows, "num_proc": 2,
        }  # fmt: skip
        given = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run([sys.executable, "-m", "text_dedup.minhash", *given], check=True)
        kept = set(load_from_disk(f"{folder}/out")["id"])
    return (row for row in read_rows(source)[0] if row not in kept)


if __name__ == "__main__":
    measure(work)

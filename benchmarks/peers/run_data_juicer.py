"""Data-Juicer: its `document_minhash_deduplicator`, through its own executor, on two processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow.json as pj
from meter import SIZE, measure, read_rows


def work(source: Path, similarity: float, bands: int, rows: int) -> Iterable[int]:
    """Drop what it does not write again."""
    ids, texts = read_rows(source)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "in.jsonl"
        pairs = zip(ids, texts, strict=True)
        lines.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in pairs))
        step = {
            "tokenization": "space", "window_size": SIZE, "lowercase": True,
            "ignore_pattern": None, "num_permutations": bands * rows,
            "jaccard_threshold": similarity, "num_bands": bands, "num_rows_per_band": rows,
        }  # fmt: skip
        recipe = {
            "dataset_path": str(lines), "export_path": f"{folder}/out.jsonl", "np": 2,
            "work_dir": folder, "open_tracer": False, "use_cache": False,
            "process": [{"document_minhash_deduplicator": step}],
        }  # fmt: skip
        config = Path(folder) / "recipe.json"
        config.write_text(json.dumps(recipe))  # JSON is YAML
        tool = Path(sys.executable).with_name("dj-process")
        subprocess.run([str(tool), "--config", str(config)], check=True, stdout=sys.stderr)
        kept = set(pj.read_json(f"{folder}/out.jsonl")["id"].to_pylist())
    return (row for row in ids if row not in kept)


if __name__ == "__main__":
    measure(work)

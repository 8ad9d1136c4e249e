"""Exact and near-duplicates in bulk: a million texts, a million pairs.

`python -m benchmarks.bulk_texts [--rows 1000000]`

1. Canonical exact dedup: which of the texts say the same but for case, white space and Unicode
   form. Assay's kernel (the keys and their groups) beside Polars and DuckDB, which normalise with a
   regular expression and group; all from one Parquet file, each in a process of its own.
2. Near-duplicates of whole pairs (prompt, chosen, rejected, about 2.1 KB together), decisions
   written, beside the floor: decoding the same Parquet and touching each byte once.

CPU seconds are user + sys, without start-up (imports, and a run over a thousand rows).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.near_duplicates import describe_machine
from benchmarks.near_pool import make_words, pick_words
from benchmarks.peers.meter import read_peak

CHUNK = 20_000
SIMILARITY = 0.8
COPIES = 0.1
EDITS = 0.1
PAIR = ("prompt", "chosen", "rejected")
SIZES = {"prompt": (20, 80), "chosen": (100, 210), "rejected": (100, 210)}


def main() -> None:
    """Print both tables; `--work NAME FILE` is how it calls itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--work", nargs=2)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(do_work(WORKS[given.work[0]], Path(given.work[1]))))
        return
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pairs.parquet"
        write_pairs(source, given.rows)
        print(f"{given.rows} pairs, {source.stat().st_size / 1e9:.2f} GB of Parquet (snappy)")
        rows = [run_work(name, source) for name in WORKS]
    frame = pl.DataFrame(rows)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, float_precision=3):
        for names in (("exact", "exact in Polars", "exact in DuckDB"), ("pairs", "only decoding")):
            part = frame.filter(pl.col("work").is_in(names))
            print(part.with_columns(ratio=pl.col("CPU s") / part["CPU s"][0]))


def run_work(name: str, source: Path) -> dict[str, Any]:
    """One row of the tables, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bulk_texts", "--work", name, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"work": name, **json.loads(done.stdout.splitlines()[-1])}


def do_work(work: Callable[[Path], int], source: Path) -> dict[str, float]:
    """Run it on a few rows, then on all."""
    few = source.with_name(f"few-{os.getpid()}.parquet")
    pq.write_table(pa.Table.from_batches([next(pq.ParquetFile(source).iter_batches(1_000))]), few)
    work(few)
    before, started = os.times(), time.perf_counter()
    found = work(source)
    after, wall = os.times(), time.perf_counter() - started
    return {
        "CPU s": after.user + after.system - before.user - before.system,
        "s": wall,
        "peak MB": read_peak(),
        "dropped": found,
    }


def read_chunks(source: Path, columns: tuple[str, ...]) -> Iterator[list[pl.Series]]:
    """The columns of a file, some rows at a time. (Polars, for pyarrow's batches take half as long
    again to decode, and twice the memory.)"""
    frame = pl.scan_parquet(source).select(columns)
    for part in frame.collect_batches(chunk_size=CHUNK, maintain_order=True):
        yield part.get_columns()


def find_pairs(source: Path) -> int:
    """Near-duplicate pairs, and a decision on each that is not kept."""
    from pipelines.clean.kernels.bands import find_near

    found = find_near(read_chunks(source, PAIR), SIMILARITY)
    rows = np.flatnonzero(found.kept != np.arange(len(found.kept)))
    exact = found.same[rows] == found.same[found.kept[rows]]
    turned = found.turned[rows] != found.turned[found.kept[rows]]
    near = pl.lit("near_duplicate")
    decisions = pl.DataFrame({
        "item_id": rows, "representative": found.kept[rows], "value": found.value[rows],
        "exact": exact, "turned": turned,
    }).with_columns(
        action=pl.lit("drop"),
        rule=pl.when(~pl.col("exact")).then(near).when("turned").then(pl.lit("mirrored_pair"))
        .otherwise(pl.lit("duplicate_pair")),
    )  # fmt: skip
    decisions.write_parquet(source.with_suffix(".decisions"))
    return len(rows)


def only_decode(source: Path) -> int:
    """Decode the columns and touch each byte of them once."""
    total = 0
    for columns in read_chunks(source, PAIR):
        for column in columns:
            total += int(np.frombuffer(column.to_arrow().buffers()[2], dtype=np.uint8).max())
    return int(total < 0)


def find_exact(source: Path) -> int:
    """Assay's keys of the chosen texts."""
    from pipelines.clean.kernels.chunks import map_chunks
    from pipelines.clean.kernels.exact import group_exact
    from pipelines.clean.kernels.words import hash_texts, read_texts

    chunks = read_chunks(source, ("chosen",))
    keys = np.concatenate(list(map_chunks(lambda c: hash_texts(read_texts(c[0])), chunks)))
    return len(keys) - len(group_exact(keys)[1])


def find_exact_polars(source: Path) -> int:
    """Polars: the same normalisation as expressions, hashed, and the distinct counted."""
    from pipelines.clean.texts import normalise

    text = normalise(pl.col("chosen"))
    frame = pl.scan_parquet(source).select(text.n_unique(), pl.len().alias("rows"))
    unique, rows = frame.collect(engine="streaming").row(0)
    return int(rows - unique)


def find_exact_duckdb(source: Path) -> int:
    """DuckDB: the same normalisation in SQL."""
    import duckdb

    key = "trim(regexp_replace(lower(nfc_normalize(chosen)), '\\s+', ' ', 'g'))"
    query = f"SELECT count(*) - count(DISTINCT {key}) FROM read_parquet(?)"
    row = duckdb.execute(query, [str(source)]).fetchone()
    assert row
    return int(row[0])


WORKS: dict[str, Callable[[Path], int]] = {
    "exact": find_exact,
    "exact in Polars": find_exact_polars,
    "exact in DuckDB": find_exact_duckdb,
    "pairs": find_pairs,
    "only decoding": only_decode,
}


def write_pairs(path: Path, count: int, seed: int = 0) -> None:
    """Invented pairs, of which a tenth repeat one with other case, white space and order of the
    answers, and a tenth with two words of each text changed."""
    rng = np.random.default_rng(seed)
    vocabulary = pa.array(make_words(rng).tolist(), pa.string())
    writer: pq.ParquetWriter | None = None
    for begin in range(0, count, 50_000):
        size = min(50_000, count - begin)
        fresh = size - int(size * (COPIES + EDITS))
        columns = {}
        for name, (least, most) in SIZES.items():
            sizes = rng.integers(least, most, fresh)
            places = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
            words = vocabulary.take(pa.array(pick_words(rng, int(places[-1]))))
            texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(places), words), " ")
            whole = pl.Series(name, texts)
            copies = whole[: int(size * COPIES)]
            edits = whole[len(copies) : len(copies) + size - fresh - len(copies)]
            loud = " " + copies.str.to_uppercase().str.replace(" ", "\n\n")
            changed = edits.str.replace(" ", f" edit{begin} ") + f" end{begin}"
            columns[name] = pl.concat([whole, loud.rename(name), changed.rename(name)])
        part = pl.DataFrame(columns)
        turned = np.arange(size) % 2 == 1
        part = part.with_columns(
            chosen=pl.when(turned).then("rejected").otherwise("chosen"),
            rejected=pl.when(turned).then("chosen").otherwise("rejected"),
        )
        table = part.to_arrow().cast(pa.schema([(name, pa.string()) for name in PAIR]))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    if writer:
        writer.close()


if __name__ == "__main__":
    main()

"""Which of many rows share 13 words in a row with some prompts: Assay beside Polars, DuckDB and
pyahocorasick, each from one Parquet file in its own process.

    python -m benchmarks.decontamination_tools TOOL ROWS.parquet PROMPTS.parquet FOUND.parquet

CPU seconds are user + sys without start-up (imports, compilation). Those that take long see fewer
rows; their seconds are scaled by the rows and marked so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.near_pool import make_words, pick_words
from benchmarks.peers.environments import Missing, find_python, read_version

ROOT = Path(__file__).parents[1]
SIZE = 13
CHUNK = 20_000
PLANTED = 0.01
FEW = 2_000
GOALS = {"polars": 3, "pyahocorasick": 10, "duckdb": 50}
SHARES = {"assay": 1.0, "polars": 0.1, "pyahocorasick": 0.05, "duckdb": 0.05}
PROMPT_SHARES = {"pyahocorasick": 0.1}  # its automaton of these takes most of 1 GB


def compare(rows: int, prompts: int) -> pl.DataFrame:
    """A row for each tool; `ratio` is its CPU seconds by Assay's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [write_rows(folder, rows, prompts)]
        print(
            f"{rows} rows, {files[0][0].stat().st_size / 1e9:.2f} GB of Parquet; {prompts} prompts"
        )
        table = []
        for tool, share in SHARES.items():
            try:
                table.append(run_tool(tool, folder, share))
            except (Missing, subprocess.CalledProcessError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                print(f"{tool}: skipped: {said[-1] if said else error}")
    frame = pl.DataFrame(table)
    goals = pl.DataFrame({"tool": list(GOALS), "goal": list(GOALS.values())})
    return frame.with_columns(ratio=pl.col("CPU s") / frame["CPU s"][0]).join(
        goals, on="tool", how="left", maintain_order="left"
    )


def write_rows(folder: Path, rows: int, prompts: int, seed: int = 0) -> tuple[Path, Path]:
    """Prompts of 20 to 100 invented words, and rows of 150 to 225 (about 1.2 KB), into one in a
    hundred of which 13 to 20 words of a prompt are put, in capitals and with other punctuation.
    Their numbers stand in `planted.parquet`."""
    rng = np.random.default_rng(seed)
    vocabulary = make_words(rng)
    lengths = rng.integers(20, 100, prompts)
    known = [vocabulary[pick_words(rng, int(n))] for n in lengths]
    asked = folder / "prompts.parquet"
    pl.DataFrame({"text": [" ".join(words) + "?" for words in known]}).write_parquet(asked)
    planted: list[int] = []
    writer: pq.ParquetWriter | None = None
    for begin in range(0, rows, CHUNK):
        texts = []
        for row in range(begin, min(begin + CHUNK, rows)):
            text = " ".join(vocabulary[pick_words(rng, int(rng.integers(150, 225)))])
            if rng.random() < PLANTED:
                words = known[int(rng.integers(prompts))]
                size = int(rng.integers(13, 21))
                start = int(rng.integers(0, len(words) - size + 1)) if len(words) > size else 0
                text = f"{text[:500]} {', '.join(words[start : start + size]).upper()} {text[500:]}"
                planted.append(row)
            texts.append(text)
        table = pl.DataFrame({"id": range(begin, begin + len(texts)), "text": texts}).to_arrow()
        writer = writer or pq.ParquetWriter(folder / "rows.parquet", table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    pl.DataFrame({"id": planted}).write_parquet(folder / "planted.parquet")
    return folder / "rows.parquet", asked


def run_tool(tool: str, folder: Path, share: float) -> dict[str, Any]:
    """One row of the table, measured in a process of its own."""
    source, asked = folder / "rows.parquet", folder / "prompts.parquet"
    count = pl.scan_parquet(source).select(pl.len()).collect().item()
    part = PROMPT_SHARES.get(tool, 1.0)
    fewer, shorter = cut(source, share, count), cut(asked, part, None)
    found, seen = folder / f"{tool}.parquet", round(count * share)
    if tool == "pyahocorasick":
        python = find_python(tool)
        command = [str(python), str(ROOT / "benchmarks" / "peers" / "run_pyahocorasick.py")]
        version = read_version(tool, python)
    else:
        command = [sys.executable, "-m", "benchmarks.decontamination_tools", tool]
        version = "" if tool == "assay" else __import__(tool).__version__
    command += [str(fewer), str(shorter), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    planted = pl.read_parquet(folder / "planted.parquet").filter(pl.col("id") < seen)
    hits = pl.read_parquet(found)["id"]
    recall = planted["id"].is_in(hits.implode()).mean() if part == 1 else None
    return {
        "tool": tool,
        "version": version,
        "rows": seen,
        "prompts": pl.scan_parquet(shorter).select(pl.len()).collect().item(),
        "CPU s": said["few"] + (said["all"] - said["few"]) * (count - FEW) / (seen - FEW),
        "scaled": share < 1,
        "peak MB": said["peak"],
        "recall": recall,
        "hits": len(hits),
    }


def cut(file: Path, share: float, count: int | None) -> Path:
    """The file with the first share of its rows."""
    if share == 1:
        return file
    fewer = file.with_stem(f"{file.stem}-{share}")
    frame = pl.scan_parquet(file)
    frame.head(round(share * (count or frame.select(pl.len()).collect().item()))).sink_parquet(
        fewer
    )
    return fewer


def do_work(tool: str, source: str, asked: str, target: str) -> dict[str, float]:
    """Index the prompts and find the rows, once of a few rows and once of all."""
    from benchmarks.peers.meter import count_seconds, read_peak  # it reads its own command line

    work = WORKS[tool]
    known = pl.read_parquet(asked)["text"]
    few = Path(source).with_name(f"few-{tool}-{os.getpid()}.parquet")
    pl.scan_parquet(source).head(FEW).sink_parquet(few)
    list(work(few, known[:100]))
    before = count_seconds()
    list(work(few, known))
    between = count_seconds()
    found = [i for part in work(Path(source), known) for i in part]
    after = count_seconds()
    pl.DataFrame({"id": found}, schema={"id": pl.Int64}).write_parquet(target)
    return {"few": between - before, "all": after - between, "peak": read_peak()}


def find_assay(source: Path, known: pl.Series) -> Iterator[list[int]]:
    """Assay: hits verified on their words, with the prompt, the share and an excerpt."""
    from pipelines.clean.contamination import References, find_copies

    rows = tuple(str(i) for i in range(len(known)))
    references = References(("set",) * len(known), rows, tuple(known), ())
    for batch in pq.ParquetFile(source, pre_buffer=False).iter_batches(CHUNK):
        frame = pl.DataFrame(batch)
        hits = find_copies(frame["text"], references, {"13gram": 0.0})
        yield frame["id"].gather(hits["item"]).to_list()


def find_polars(source: Path, known: pl.Series) -> Iterator[list[int]]:
    """Polars: words, runs of 13 by shifting, hashed, joined to those of the prompts."""

    def list_grams(frame: pl.DataFrame) -> pl.LazyFrame:
        words = frame.lazy().select(
            "id", word=pl.col("text").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}\p{M}]+")
        )
        runs = [pl.col("word").shift(-i) for i in range(SIZE)]
        return (
            words.explode("word")
            .with_columns(gram=pl.concat_str(runs, separator=" ").hash())
            .filter(pl.col("id").shift(-SIZE + 1) == pl.col("id"))
            .select("id", "gram")
        )

    prompts = pl.DataFrame({"id": range(len(known)), "text": known})
    index = list_grams(prompts).select("gram").unique().collect()
    for batch in pq.ParquetFile(source, pre_buffer=False).iter_batches(CHUNK):
        frame = pl.DataFrame(batch)
        grams = list_grams(frame)
        hits = grams.join(index.lazy(), on="gram", how="semi").select(pl.col("id").unique())
        yield hits.collect()["id"].to_list()


def find_duckdb(source: Path, known: pl.Series) -> Iterator[list[int]]:
    """DuckDB: words as lists, runs of 13 as slices of them, joined to those of the prompts."""
    import duckdb

    prompts = pl.DataFrame({"id": range(len(known)), "text": known}).to_arrow()
    grams = (
        "SELECT id, unnest(list_transform(range(1, len(w) - 11), "
        "lambda i: hash(list_aggregate(w[i : i + 12], 'string_agg', ' ')))) AS gram FROM "
        "(SELECT id, regexp_extract_all(lower(text), '[\\p{L}\\p{N}\\p{M}]+') AS w FROM %s)"
    )
    with duckdb.connect() as connection:
        connection.register("prompts", prompts)
        connection.execute(f"CREATE TABLE known AS SELECT DISTINCT gram FROM ({grams % 'prompts'})")
        query = (
            f"SELECT DISTINCT id FROM ({grams % 'read_parquet(?)'}) SEMI JOIN known USING (gram)"
        )
        yield [row[0] for row in connection.execute(query, [str(source)]).fetchall()]


WORKS: dict[str, Callable[[Path, pl.Series], Iterator[list[int]]]] = {
    "assay": find_assay,
    "polars": find_polars,
    "duckdb": find_duckdb,
}

if __name__ == "__main__":
    print(json.dumps(do_work(*sys.argv[1:])))

"""Decontamination: what each method finds of real paraphrases, and what the compiled pass costs.

`python -m benchmarks.decontamination [--realdata FOLDER] [--rows 1000000] [--prompts 30000]`

1. GSM8K's test questions against paraphrases of them, and MATH questions against rewritten ones:
   recall and precision of each method. A paraphrase of which the right question is named is found;
   any other pair of a paraphrase and a question at or above the threshold is a false one, so the
   negatives are the other questions of the same set. The threshold is the one of the highest F1 on
   the first half of GSM8K (by hash of the question); the other half and MATH never see it chosen.
   Also how many prompts of other kinds, which nobody paraphrased, are (falsely) called hits.
2. Which of a million invented rows share 13 words in a row with 30,000 prompts: Assay, Polars,
   DuckDB and pyahocorasick, each from one Parquet file in its own process. CPU seconds are user
   + sys without start-up (imports, compilation). Those that take long see fewer rows; their seconds
   are scaled by the rows and marked so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.near_duplicates import describe_machine
from benchmarks.near_pool import make_words, pick_words
from benchmarks.peers.environments import Missing, find_python, read_version
from schemas.ids import make_seed

ROOT = Path(__file__).parents[1]
SIZE = 13
CHUNK = 20_000
PLANTED = 0.01
FEW = 2_000
LEAST_ROWS = 100_000
GOALS = {"polars": 3, "pyahocorasick": 10, "duckdb": 50}
SHARES = {"assay": 1.0, "polars": 0.1, "pyahocorasick": 0.05, "duckdb": 0.05}
PROMPT_SHARES = {"pyahocorasick": 0.1}  # its automaton of these takes most of 1 GB
THRESHOLDS = np.round(np.arange(0.60, 0.951, 0.01), 2)
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Rewrites:
    """Questions, each with the same in other words: `rewritten[i]` is of `questions[i]`."""

    name: str
    questions: list[str]
    rewritten: list[str]


def main() -> None:
    """Print both tables; `--work` is how it calls itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--realdata", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prompts", type=int, default=30_000)
    parser.add_argument("--math", type=int, default=7_500, help="how many MATH rewrites")
    parser.add_argument("--work", nargs=4)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(do_work(*given.work)))
        return
    if 0 < given.rows < LEAST_ROWS:
        parser.error(
            f"--rows is 0 (no second table) or at least {LEAST_ROWS}: a share is scaled up"
        )
    print(describe_machine())
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, float_precision=4):
        if given.realdata.is_dir() and given.math:
            report_rewrites(given.realdata, given.math)
        else:
            print(f"no real data at {given.realdata}: the first table is left out")
        if given.rows:
            print(compare(given.rows, given.prompts))


def report_rewrites(folder: Path, count: int) -> None:
    """The first table."""
    gsm, math = read_gsm8k(folder), read_math(folder, count)
    vectors = {r.name: embed_rewrites(r) for r in (gsm, math)}
    first = split_half(gsm.questions)
    threshold = choose_threshold(*vectors["GSM8K"], first)
    print(f"threshold chosen on the first half of GSM8K: {threshold:.2f}\n")
    rows = []
    whole = np.ones(len(math.questions), dtype=np.bool_)
    parts = {"GSM8K, first half": (gsm, first), "GSM8K, other half": (gsm, ~first)}
    for name, (part, half) in {**parts, "MATH": (math, whole)}.items():
        rows += [{"set": name, **row} for row in score_copies(part, half)]
        scored = score_semantic(*vectors[part.name], half, threshold)
        rows.append({"set": name, "method": f"semantic {threshold:.2f}", **scored})
        passed = score_static(part, half, vectors[part.name], threshold)
        rows.append({"set": name, "method": "semantic, static filter first", **passed})
    print(pl.DataFrame(rows))
    print(score_strangers(folder, gsm, vectors["GSM8K"][0], threshold))


def read_gsm8k(folder: Path) -> Rewrites:
    """The 1,319 test questions and their paraphrases (without the answers that follow them)."""
    questions = [row["question"] for row in read_lines(folder / "gsm8k_test.jsonl.gz")]
    texts = [row["text"] for row in read_lines(folder / "gsm8k_rephrased.jsonl.gz")]
    found = [re.match(r"(?s)\s*Question:\s*(.*?)\s*\n\s*Answer:", text) for text in texts]
    return Rewrites(
        "GSM8K", questions, [m.group(1) if m else t for m, t in zip(found, texts, strict=True)]
    )


def read_math(folder: Path, count: int) -> Rewrites:
    """The first `count` of 7,500 MATH questions and their rewrites."""
    frame = pl.read_parquet(folder / "math_train_rewrites.parquet").head(count)
    return Rewrites(
        "MATH", *(frame[f"{name}_question"].to_list() for name in ("original", "rephrased"))
    )


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a zipped JSONL file."""
    with gzip.open(file, "rt") as handle:
        return [json.loads(line) for line in handle]


def embed_rewrites(part: Rewrites) -> tuple[Vectors, Vectors]:
    """Vectors of the questions and of what was made of them."""
    from engines.embedder import embed_texts

    return embed_texts(part.questions), embed_texts(part.rewritten)


def split_half(questions: Sequence[str]) -> NDArray[np.bool_]:
    """Which questions are of the first half."""
    return np.array([make_seed("half", question) % 2 == 0 for question in questions])


def choose_threshold(questions: Vectors, rewritten: Vectors, half: NDArray[np.bool_]) -> float:
    """The threshold of the highest F1 among the pairs of that half."""
    scores = [score_semantic(questions, rewritten, half, t) for t in THRESHOLDS]
    f1 = [2 * s["precision"] * s["recall"] / (s["precision"] + s["recall"]) for s in scores]
    return float(THRESHOLDS[int(np.argmax(f1))])


def score_semantic(
    questions: Vectors, rewritten: Vectors, half: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Recall and precision of all pairs of that half, and the share of rewrites whose closest other
    question passes the threshold."""
    similar = rewritten[half] @ questions[half].T
    own = np.diag(similar).copy()
    np.fill_diagonal(similar, -1)
    return rate(
        own >= threshold, int((similar >= threshold).sum()), (similar.max(1) >= threshold).mean()
    )


def rate(found: NDArray[np.bool_], false: int, strangers: float) -> dict[str, float]:
    """The columns of the first table."""
    right = int(found.sum())
    return {
        "n": len(found),
        "recall": float(found.mean()),
        "precision": right / (right + false) if right + false else float("nan"),
        "false share of questions": float(strangers),
    }


def score_copies(part: Rewrites, half: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    """What the comparison of words finds of the rewrites."""
    from pipelines.clean.contamination import References, find_copies

    places = np.flatnonzero(half)
    names = tuple(str(i) for i in range(len(places)))
    known = References(
        (part.name,) * len(places), names, tuple(part.questions[i] for i in places), ()
    )
    texts = pl.Series([part.rewritten[i] for i in places])
    hits = find_copies(texts, known, {"exact": 1.0, "13gram": 0.0, "8gram": 0.5})
    for method in ("exact", "13gram", "8gram"):
        mine = hits.filter(pl.col("method") == method)
        right = mine.filter(pl.col("row") == pl.col("item").cast(pl.String))["item"].to_numpy()
        found = np.isin(np.arange(len(places)), right)
        wrong = len(mine) - len(right)
        yield {"method": method, **rate(found, wrong, wrong / len(places))}


def score_static(
    part: Rewrites, half: NDArray[np.bool_], vectors: tuple[Vectors, Vectors], threshold: float
) -> dict[str, float]:
    """The same where the static filter has ruled out first: what the product does."""
    from engines.embedder import MINILM
    from pipelines.clean.paraphrases import rule_out

    places = np.flatnonzero(half)
    questions = [part.questions[i] for i in places]
    near = rule_out([part.rewritten[i] for i in places], questions, MINILM)
    similar = vectors[1][half] @ vectors[0][half].T
    similar[np.setdiff1d(np.arange(len(places)), near)] = -1
    own = np.diag(similar).copy()
    np.fill_diagonal(similar, -1)
    return rate(
        own >= threshold, int((similar >= threshold).sum()), (similar.max(1) >= threshold).mean()
    )


def score_strangers(
    folder: Path, part: Rewrites, questions: Vectors, threshold: float
) -> pl.DataFrame:
    """Of prompts of other kinds: how many pass the static filter, and how many are called hits."""
    from engines.embedder import MINILM, embed_texts
    from pipelines.clean.paraphrases import find_closest, rule_out

    helpful = [row["chosen"] for row in read_lines(folder / "hh_helpful_test.jsonl.gz")]
    turns = [t.split("\n\nAssistant:")[0].removeprefix("\n\nHuman:").strip() for t in helpful]
    alpaca = pl.read_parquet(folder / "alpaca_eval_outputs.parquet")["instruction"]
    pools = {
        "hh helpful, first turns": turns,
        "AlpacaEval": alpaca.unique(maintain_order=True).to_list(),
    }
    rows = []
    for name, texts in pools.items():
        near = rule_out(texts, part.questions, MINILM)
        _, value = find_closest(embed_texts([texts[i] for i in near]), questions)
        rows.append({
            "prompts": name, "n": len(texts), "embedded": len(near) / len(texts),
            "hits": int((value >= threshold).sum()),
        })  # fmt: skip
    return pl.DataFrame(rows)


def compare(rows: int, prompts: int) -> pl.DataFrame:
    """The second table."""
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
    """One row of the second table, measured in a process of its own."""
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
        command = [sys.executable, "-m", "benchmarks.decontamination", "--work", tool]
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
    main()

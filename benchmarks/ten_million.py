"""A pool of millions of pairs cleaned on this machine: exact, near, decontaminate and mix.

    python -m benchmarks.ten_million [--millions 1 10] [--folder /tmp/pools] [--keep]

Rows of about 2.1 KB (prompt, chosen, rejected) are drawn from a seed, with planted copies, mirrors,
near-duplicates, equal answers and repeated evaluation prompts. Each cleaning is a process of its
own; what is printed are its CPU seconds (user + system), the largest resident memory, the seconds
of its steps, and the floor: the CPU seconds of only decoding the Parquet and touching each byte
once. Then one more percent of rows comes in and the pool is cleaned again. Compiled code is loaded
from its cache (a first small run fills it); the start of Python is measured on the small pool and
subtracted from the re-run. Ten millions take about 45 GB of disk, which is given back at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

FILE_ROWS = 200_000
GROUP_ROWS = 20_000
WORDS = 200_000
LENGTHS = (60, 145, 145)  # words of the three texts, on average
EXAMS = 3_000
KINDS = {"copy": 0.02, "mirror": 0.01, "near": 0.03, "twin": 0.01, "leak": 0.001}
SIMILARITY = 0.8
GOAL = 0.05  # of the first run, for one percent more rows


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _spell(ids: Any, counts: Any, letters: Any, starts: Any, out: Any, ends: Any) -> int:
    """The words `ids` written out, `counts` of them a text, a space between; the bytes used."""
    at = word = 0
    for text in range(counts.size):
        for _ in range(counts[text]):
            for place in range(starts[ids[word]], starts[ids[word] + 1]):
                out[at] = letters[place]
                at += 1
            out[at] = 32
            at += 1
            word += 1
        ends[text] = at
    return at


class Writer:
    """Draws texts of made-up words."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(20)
        sizes = rng.integers(2, 10, WORDS)
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        self.letters = rng.integers(97, 123, int(self.starts[-1])).astype(np.uint8)
        self.rng = np.random.default_rng(seed)

    def draw_words(self, counts: np.ndarray) -> np.ndarray:
        """Word numbers, the small ones more often, as in a language."""
        drawn = self.rng.random(int(counts.sum()))
        return (WORDS * drawn**2).astype(np.int64)

    def spell(self, ids: np.ndarray, counts: np.ndarray) -> pa.Array:
        """The texts, `counts` words each."""
        out = np.empty(int(counts.sum()) * 10, dtype=np.uint8)
        ends = np.empty(len(counts), dtype=np.int64)
        used = _spell(ids, counts, self.letters, self.starts, out, ends)
        places = np.concatenate([np.zeros(1, np.int64), ends])
        buffers = [None, pa.py_buffer(places), pa.py_buffer(out[:used])]
        return pa.LargeStringArray.from_buffers(len(counts), buffers[1], buffers[2])


def write_file(path: Path, rows: int, seed: int, exams: list[np.ndarray]) -> None:
    """A file of `rows` pairs; the planted ones repeat rows of the same file."""
    writer = Writer(seed)
    rng = writer.rng
    counts = [np.maximum(12, rng.poisson(mean, rows)).astype(np.int64) for mean in LENGTHS]
    texts = [np.split(writer.draw_words(c), np.cumsum(c)[:-1]) for c in counts]
    at = 0
    kinds = np.full(rows, "own", dtype=object)
    for kind, share in KINDS.items():
        for row in range(at, at + int(share * rows)):
            base = int(rng.integers(rows // 2, rows))  # never one that is planted itself
            one = [texts[side][base] for side in range(3)]
            if kind == "mirror":
                one = [one[0], one[2], one[1]]
            elif kind == "near":
                one = [words.copy() for words in one]
                for side in (1, 2):
                    hit = rng.integers(0, len(one[side]), 2)
                    one[side][hit] = rng.integers(0, WORDS, 2)
            elif kind == "twin":
                one = [one[0], one[1], one[1]]
            elif kind == "leak":
                one = [np.concatenate([texts[0][row][:20], exams[row % len(exams)]]), *one[1:]]
                one[1], one[2] = texts[1][row], texts[2][row]
            for side in range(3):
                texts[side][row] = one[side]
            kinds[row] = kind
        at += int(share * rows)
    columns: dict[str, Any] = {}
    for side, name in enumerate(("prompt", "chosen", "rejected")):
        sizes = np.array([len(words) for words in texts[side]], dtype=np.int64)
        columns[name] = writer.spell(np.concatenate(texts[side]), sizes)
    columns["pair_id"] = pa.array([f"{seed:05}-{row:06}-{kinds[row]}" for row in range(rows)])
    columns["category"] = pa.array([f"c{i}" for i in rng.integers(0, 8, rows)])
    columns["source"] = pa.array([f"s{i}" for i in rng.integers(0, 5, rows)])
    pq.write_table(pa.table(columns), path, row_group_size=GROUP_ROWS, compression="snappy")


def write_pool(folder: Path, rows: int, first: int = 0) -> None:
    """Files of the rows, numbered from `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    exams = draw_exams()
    for number in range((rows + FILE_ROWS - 1) // FILE_ROWS):
        path = folder / f"part-{first + number:04}.parquet"
        write_file(path, min(FILE_ROWS, rows - number * FILE_ROWS), first + number + 1, exams)


def draw_exams() -> list[np.ndarray]:
    """The words of the evaluation prompts."""
    writer = Writer(7_000_000)
    counts = writer.rng.integers(20, 60, EXAMS)
    return np.split(writer.draw_words(counts), np.cumsum(counts)[:-1])


def write_exams(path: Path) -> None:
    """The evaluation prompts as a JSONL file."""
    writer = Writer(7_000_000)
    counts = writer.rng.integers(20, 60, EXAMS)
    texts = writer.spell(writer.draw_words(counts), counts)
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts.to_pylist()))


def measure(command: list[str]) -> dict[str, Any]:
    """Run a command; its CPU seconds, its largest resident memory in MB, wall seconds, output."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "mb": usage.ru_maxrss / 1024,
        "wall": time.monotonic() - started,
        "output": output,
    }


FLOOR = """
import sys, numpy as np, pyarrow.parquet as pq
total = 0
for path in sys.argv[1:]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(16384, columns=["prompt", "chosen", "rejected"]):
            for column in batch.columns:
                total += int(np.frombuffer(column.buffers()[2], dtype=np.uint8).sum())
print(total)
"""


def clean(pool: Path, out: Path, exams: Path, total: int) -> dict[str, Any]:
    """Clean the pool through the command line."""
    recipe = out.with_suffix(".yaml")
    shares = {f"c{i}": 0.12 for i in range(8)}
    recipe.write_text(json.dumps({
        "name": "bulk", "prompts": {"imports": [{"name": "pool", "path": str(pool)}]},
        "mix": {"total": total, "categories": shares, "per_cluster": 4},
        "clean": {"near_duplicate_similarity": SIMILARITY},
    }))  # fmt: skip
    return measure([
        sys.executable, "-m", "flows.cli", "clean", str(pool), "--out", str(out), "--recipe",
        str(recipe), "--against", str(exams), "--json",
    ])  # fmt: skip


def _apart(work: Any, *arguments: Any) -> None:
    """Run `work` in a process of its own: a child counts its parent's memory as its own peak."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} ended with {process.exitcode}")


def run_size(folder: Path, millions: float, keep: bool) -> dict[str, Any]:
    """Generate, clean, grow by one percent and clean again."""
    rows = int(millions * 1_000_000)
    pool, out, exams = folder / "pool", folder / "out", folder / "exams.jsonl"
    for place in (pool, out):
        shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_exams(exams)
    started = time.monotonic()
    _apart(write_pool, pool, rows)
    generated = time.monotonic() - started
    files = sorted(pool.glob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    floor = measure([sys.executable, "-c", FLOOR, *map(str, files)])
    first = clean(pool, out, exams, int(rows * 0.8))
    _apart(write_pool, pool, rows // 100, 9000)
    again = clean(pool, out, exams, int(rows * 0.8))
    disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if not keep:
        shutil.rmtree(folder)
    return {
        "rows": rows, "text_gb": int(floor["output"]) and size / 1e9, "generated": generated,
        "floor": floor["cpu"], "first": first, "again": again, "disk_gb": disk / 1e9,
    }  # fmt: skip


def _describe(run: dict[str, Any]) -> str:
    return f"{run['cpu']:8.1f} CPU s, {run['wall']:.0f} s, {run['mb']:.0f} MB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--keep", action="store_true", help="Leave the last pool where it is.")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="assay-pool-"))
    versions = f"numpy {np.__version__}, numba {numba.__version__}, pyarrow {pa.__version__}"
    python = f"Python {platform.python_version()}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {python}, {versions}")
    start = run_size(folder / "small", 0.01, False)["again"]["cpu"]
    print(f"start of the command, a tiny pool and its re-run included: {start:.1f} CPU s")
    for millions in given.millions:
        found = run_size(folder / f"{millions:g}", millions, given.keep)
        first, again = found["first"], found["again"]
        summary, second = json.loads(first["output"]), json.loads(again["output"])
        print(f"\n{millions:g} million pairs, Parquet of {found['text_gb']:.1f} GB "
              f"(generated in {found['generated']:.0f} s), sketches and decisions "
              f"{found['disk_gb']:.1f} GB")  # fmt: skip
        print(f"  floor (decode, touch each byte)  {found['floor']:8.1f} CPU s")
        print(f"  first run                        {_describe(first)}; "
              f"{first['cpu'] / millions:.1f} CPU s a million, "
              f"{first['cpu'] / found['floor']:.2f} floors")  # fmt: skip
        print(f"  steps                            {summary['steps']}")
        share = (again["cpu"] - start) / first["cpu"]
        print(f"  one percent more                 {_describe(again)}; start excluded "
              f"{again['cpu'] - start:.1f} CPU s = {share:.1%} of the first "
              f"(at most {GOAL:.0%} wanted)")  # fmt: skip
        print(f"  steps                            {second['steps']}")
        print(f"  kept {summary['kept']:,} of {summary['rows_in']:,}; dropped {summary['dropped']}")


if __name__ == "__main__":
    main()

"""The self-join of sentence vectors: CPU seconds and memory beside a plain product and semhash.

`python -m benchmarks.semantic [--vectors 20000,100000] [--thresholds 0.8,0.9,0.95]`

Invented unit vectors of 384 numbers whose variance falls along the axes as that of MiniLM's vectors
of short questions does (the first 96 axes hold two thirds of it), a fiftieth as many topics as
vectors, and for a tenth of the vectors another one at a cosine between 0.8 and 1. `plain` is the
blocked product of all with all. Recall is of the planted pairs at or above the threshold of which
one is dropped; an index that approximates misses some. Each tool runs in its own process with one
BLAS thread; reading the vectors, imports and the first 200 rows are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.near_duplicates import describe_machine
from benchmarks.peers.environments import Missing, find_python, read_version
from benchmarks.peers.meter import count_seconds, read_peak
from pipelines.clean.semantic.groups import group_similar

ROOT = Path(__file__).parents[1]
DIMENSIONS = 384
TOOLS = "assay", "plain", "semhash"
Vectors = NDArray[np.float32]
Places = NDArray[np.int64]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vectors", default="20000,100000")
    parser.add_argument("--thresholds", default="0.8,0.9,0.95")
    parser.add_argument("--work", nargs=4, metavar=("TOOL", "VECTORS", "OUTPUT", "THRESHOLD"))
    given = parser.parse_args()
    if given.work:
        tool, source, target, threshold = given.work
        print(json.dumps(do_work(tool, source, target, float(threshold))))
        return
    print(describe_machine())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, given.vectors.split(",")):
            source = Path(folder) / f"{count}.npy"
            vectors, left, right = make_vectors(count)
            np.save(source, vectors)
            similar = np.einsum("ij,ij->i", vectors[left], vectors[right])
            for threshold in map(float, given.thresholds.split(",")):
                near = similar >= threshold
                for tool in TOOLS:
                    try:
                        rows.append(run_tool(tool, source, threshold, left[near], right[near]))
                    except (Missing, subprocess.CalledProcessError) as error:
                        print(f"{tool}: skipped: {getattr(error, 'stderr', None) or error}")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, float_precision=3):
        print(pl.DataFrame(rows))


def make_vectors(count: int, seed: int = 0) -> tuple[Vectors, Places, Places]:
    """Unit vectors (count, 384), and the places of the planted pairs."""
    rng = np.random.default_rng(seed)
    spread = np.exp(-np.arange(DIMENSIONS) / 160).astype(np.float32)
    topics = rng.normal(size=(max(1, count // 50), DIMENSIONS)).astype(np.float32)
    found = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    found = (found + topics[rng.integers(0, len(topics), count)]) * spread
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    right = np.arange(count - count // 10, count)
    left = rng.integers(0, count - count // 10, len(right))
    noise = rng.normal(size=(len(right), DIMENSIONS)).astype(np.float32) * spread
    noise -= np.einsum("ij,ij->i", noise, found[left])[:, None] * found[left]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = rng.uniform(0.8, 1, (len(right), 1)).astype(np.float32)
    found[right] = cosine * found[left] + np.sqrt(1 - cosine**2) * noise
    return found, left, right


def run_tool(
    tool: str, source: Path, threshold: float, left: Places, right: Places
) -> dict[str, Any]:
    """One tool on one file: a row of the table."""
    target = source.with_suffix(f".{tool}.npy")
    asked = [str(source), str(target), str(threshold)]
    python = find_python(tool) if tool == "semhash" else Path(sys.executable)
    script = [str(ROOT / "benchmarks" / "peers" / "run_semhash.py")]
    command = script if tool == "semhash" else ["-m", "benchmarks.semantic", "--work", tool]
    single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [str(python), *command, *asked], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, **single},
    )  # fmt: skip
    said = json.loads(done.stdout.strip().splitlines()[-1])
    dropped = np.load(target)
    found = np.isin(left, dropped) | np.isin(right, dropped)
    return {
        "vectors": int(source.stem),
        "threshold": threshold,
        "tool": tool,
        "version": read_version(tool, python) if tool == "semhash" else "",
        "CPU s": said["all"],
        "peak MB": said["peak"],
        "dropped": len(dropped),
        "recall": float(found.mean()),
    }


def do_work(tool: str, source: str, target: str, threshold: float) -> dict[str, float]:
    """What a process of its own does: the places to drop, and what that took."""
    work = {"assay": find_groups, "plain": find_plainly}[tool]
    vectors = np.load(source)
    work(vectors[:200], threshold)
    ready = count_seconds()
    dropped = work(vectors, threshold)
    said = {"all": count_seconds() - ready, "peak": read_peak()}
    np.save(target, dropped)
    return said


def find_groups(vectors: Vectors, threshold: float) -> Places:
    """All but the first of each group."""
    first = group_similar(vectors, threshold).first
    return np.flatnonzero(first != np.arange(len(vectors)))


def find_plainly(vectors: Vectors, threshold: float) -> Places:
    """All that are near to an earlier one, by products of everything."""
    near = np.zeros(len(vectors), dtype=bool)
    for at in range(0, len(vectors), 1024):
        for start in range(at, len(vectors), 4096):
            found = vectors[at : at + 1024] @ vectors[start : start + 4096].T >= threshold
            row, column = np.divmod(np.flatnonzero(found), found.shape[1])
            near[(column + start)[column + start > row + at]] = True
    return np.flatnonzero(near)


if __name__ == "__main__":
    main()

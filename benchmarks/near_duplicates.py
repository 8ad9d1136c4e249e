"""Near-duplicates: CPU seconds, memory, recall and precision beside other tools, in one run.

`python -m benchmarks.near_duplicates [--documents 200000] [--tools daft,rensa,…]`

Documents of about 1.2 KB, a tenth of which repeat another with 5 to 15 % of the words changed, by
halves here and there or in one span. All tools get the same runs of 5 words, lower-cased, and the
same bands; each works in its own process and environment, from the Parquet file to the list of ids
to drop. Start-up (imports, compilation, the first 200 rows) is stated and not counted. Tools that
take many minutes see a smaller pool; their seconds, less those of a run of 200 documents, are
scaled by the number of documents and marked so.

Recall is of the planted pairs whose true similarity reaches the threshold; precision is the share
of the dropped documents that belong to a planted pair. With runs of two words (the last table,
Assay alone) all planted edits lie above 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.near_pool import Planted, write_pool
from benchmarks.peers.environments import Missing, find_python, read_version
from pipelines.clean.kernels.bands import plan_rows
from pipelines.clean.kernels.minhash import PERMUTATIONS

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).parent / "peers"
GOALS = {"daft": 3, "rensa": 3, "gaoya": 5, "datasketch": 10, "text-dedup": 50, "datatrove": 100}
SLOW = {"text-dedup": 0.1, "datatrove": 0.02, "data-juicer": 0.1}  # the share that they see
SIMILARITIES = 0.5, 0.7


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--tools", default=",".join([*GOALS, "data-juicer"]))
    given = parser.parse_args()
    print(describe_machine())
    with (
        tempfile.TemporaryDirectory() as folder,
        pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, float_precision=3),
    ):
        pools = Pools(Path(folder), given.documents)
        for similarity in SIMILARITIES:
            rows = plan_rows(similarity)
            print(f"\nthreshold {similarity}, {PERMUTATIONS // rows} bands of {rows}")
            print(compare(pools, given.tools.split(","), similarity))
        print("\nAssay, runs of 2 words")
        pools = Pools(Path(folder), given.documents, size=2)
        print(pl.DataFrame([run_tool("assay", pools, s, size=2) for s in SIMILARITIES]))


class Pools:
    """Pools of several sizes, written when first wanted."""

    def __init__(self, folder: Path, documents: int, size: int = 5) -> None:
        self.folder, self.documents, self.size = folder, documents, size
        self.made: dict[int, Planted] = {}

    def get(self, share: float) -> tuple[Path, Planted, int]:
        """The file, what was planted, and how many documents there are."""
        count = round(self.documents * share)
        path = self.folder / f"pool-{count}-{self.size}.parquet"
        if count not in self.made:
            self.made[count] = write_pool(path, count, size=self.size)
        return path, self.made[count], count


def describe_machine() -> str:
    """The processor and the Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}"
    )


def compare(pools: Pools, tools: list[str], similarity: float) -> pl.DataFrame:
    """A row a tool, with its CPU seconds over Assay's."""
    rows = [run_tool("assay", pools, similarity)]
    for tool in tools:
        try:
            rows.append(run_tool(tool, pools, similarity))
        except (Missing, subprocess.CalledProcessError) as err:
            said = (getattr(err, "stderr", None) or str(err)).strip().splitlines()
            print(f"{tool}: skipped: {said[-1] if said else err}")
    frame = pl.DataFrame(rows)
    own = frame["CPU s"][0]
    goals = pl.DataFrame({"tool": list(GOALS), "goal": list(GOALS.values())})
    return frame.with_columns(ratio=pl.col("CPU s") / own).join(
        goals, on="tool", how="left", maintain_order="left"
    )


def run_tool(tool: str, pools: Pools, similarity: float, size: int = 5) -> dict[str, Any]:
    """One tool on its pool: see the module for what the columns mean."""
    share = SLOW.get(tool, 1.0)
    path, planted, count = pools.get(share)
    python = Path(sys.executable) if tool == "assay" else find_python(tool)
    script = SCRIPTS / f"run_{tool.replace('-', '_')}.py"
    target = path.with_suffix(f".{tool}")
    rows = plan_rows(similarity)
    command = [str(python), str(script), str(path), str(target)]
    command += [str(similarity), str(PERMUTATIONS // rows), str(rows), str(size)]
    home = {**os.environ, "PYTHONPATH": str(ROOT)} if tool == "assay" else None
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=pools.folder, env=home
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    dropped = pl.read_parquet(target)["id"].to_numpy()
    return {
        "tool": tool,
        "version": "" if tool == "assay" else read_version(tool, python),
        "documents": count,
        "CPU s": said["few"] + (said["all"] - said["few"]) / share,
        "scaled": share < 1,
        "start-up CPU s": said["ready"],
        "peak MB": said["peak"],
        **score(dropped, planted, similarity),
    }


def score(dropped: np.ndarray, planted: Planted, similarity: float) -> dict[str, float]:
    """Recall and precision of the ids that a tool drops."""
    found = np.isin(planted.edit, dropped) | np.isin(planted.original, dropped)
    near = planted.similarity >= similarity
    families = np.concatenate([planted.edit, planted.original])
    return {
        "recall": float(found[near].mean()),
        "recall of all planted": float(found.mean()),
        "precision": float(np.isin(dropped, families).mean()) if len(dropped) else 1.0,
    }


if __name__ == "__main__":
    main()

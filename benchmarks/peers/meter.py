"""What every peer's script does around its own work. Needs pyarrow and nothing of Assay.

`python run_X.py INPUT OUTPUT SIMILARITY BANDS ROWS SIZE`, with SIZE words in a shingle. INPUT is a
Parquet file of id (int64) and text; OUTPUT gets the ids that the tool would drop. The last line on
stdout is a JSON object: CPU seconds (user + sys, with those of ended children) until the tool had
been imported and had done the first rows once (`ready`: imports, compilation), of doing these few
rows again (`few`: what a run costs whatever its size) and of all (`all`); `peak` in MB, of the
largest process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SIZE = int(sys.argv[6]) if len(sys.argv) > 6 else 5

Work = Callable[[Path, float, int, int], Iterable[int]]


def measure(work: Work) -> None:
    """Run `work(input, similarity, bands, rows)`, which yields the ids to drop, as said above."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    similarity, bands, rows = float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few.parquet"
        first = next(pq.ParquetFile(source).iter_batches(200))
        pq.write_table(pa.Table.from_batches([first]), few)
        list(work(few, similarity, bands, rows))
        warm = count_seconds()
        list(work(few, similarity, bands, rows))
    ready, started = count_seconds(), time.perf_counter()
    dropped = sorted(set(work(source, similarity, bands, rows)))
    done, wall = count_seconds(), time.perf_counter() - started
    pq.write_table(pa.table({"id": pa.array(dropped, pa.int64())}), target)
    peak = max(read_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    said = {"ready": warm, "few": ready - warm, "all": done - ready, "wall": wall, "peak": peak}
    print(json.dumps(said))


def read_peak() -> float:
    """The most memory that this process held, in MB (what getrusage says of a process includes what
    its parent held when it was started)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def count_seconds() -> float:
    """CPU seconds of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_rows(source: Path) -> tuple[list[int], list[str]]:
    """Ids and texts, for tools that take Python strings."""
    table = pq.read_table(source)
    return table["id"].to_pylist(), table["text"].to_pylist()


def list_shingles(text: str) -> list[str]:
    """The runs of words of a text, for tools that want tokens."""
    words = text.lower().split()
    return [" ".join(words[i : i + SIZE]) for i in range(len(words) - SIZE + 1)]

"""What was decided on a pool of files, written into a lake by one process.

Workers sketch and know no lake; when all is decided and lies in files, one committer copies it in
chunks under the lease of its stage. The scope is done when its row is in `runs`, which comes last:
a committer that was killed is followed by one that finds the chunks that are there and adds the
rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipelines.clean.bulk.pool import PoolUnusable
from pipelines.clean.bulk.sketch import Sketch
from pipelines.clean.bulk.write import QUARANTINED
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import find_summary, record_run
from pipelines.lake.intake import write_json
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id

KIND = "row"
"""`item_kind`: a row of a pool, which the lake itself may not have."""
CHUNK = 50_000
TEXT_CHUNK = 500


def check_names(pool: Path, sketches: Sequence[Sketch]) -> None:
    """Make sure that no two rows of a pool have one name, for a decision would be of both.

    Raises:
        PoolUnusable: two have.
    """
    keys = np.concatenate([sketch.load("id_keys") for sketch in sketches])
    order = np.sort(keys)
    twice = np.isin(keys, np.unique(order[1:][order[1:] == order[:-1]]))
    if not twice.any():
        return
    counts: Counter[str] = Counter()
    first = 0
    for sketch in sketches:
        mine = np.flatnonzero(twice[first : first + sketch.part.rows])
        first += sketch.part.rows
        if len(mine):
            counts.update(sketch.read_ids().gather(mine).to_list())
    name, rows = max(counts.items(), key=lambda item: (item[1], item[0]))
    if rows > 1:
        raise PoolUnusable(
            f"{pool}: {rows:,} rows are called {name!r}, so a lake could not tell them apart; give "
            "each a pair_id of its own, and files different names, or leave out --register"
        )


def register_rows(
    lake: Lake, run: Run, pool: Path, decisions: Path, quarantine: Path, summary: StageSummary
) -> dict[str, int]:
    """Copy what a cleaning wrote to the tables `decisions` and `quarantine`, unless it is there.

    Args:
        decisions: files of `write.DECISION` rows.
        quarantine: files of the rows among them that cannot be used, in the same order, under the
            same names.
        summary: of the cleaning; goes to `runs` when all is there.

    Returns:
        Table -> rows that are new in it.

    Raises:
        pipelines.lake.places.LakeError
    """
    scope, stage = str(summary.scope), summary.stage
    new = {"decisions": 0, "quarantine": 0}
    total = sum(summary.dropped.values()) + sum(summary.quarantined.values())
    done = 0
    with lake.lease(stage, run):
        if find_summary(lake, stage, scope) is not None:
            return new
        for file in sorted(decisions.glob("*.parquet")):
            for table, rows in _read_file(file, quarantine / file.name, pool.name, stage, scope):
                new[table] += lake.append({table: rows}, run=run, stage=stage).inserted[table]
                done += len(rows)
                run.progress("register", done, total)
        record_run(lake, run, summary)
    return new


def _read_file(
    file: Path, texts: Path, pool: str, stage: str, scope: str
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Chunks of both tables."""
    given = pq.ParquetFile(file)
    for batch in given.iter_batches(CHUNK):
        frame = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("action") != QUARANTINED)
        if len(frame):
            named = {"scope": scope, "stage": stage, "item_kind": KIND}
            yield "decisions", frame.with_columns(**{k: pl.lit(v) for k, v in named.items()})
    if not texts.exists():
        return
    faults = pl.read_parquet(file, columns=["item_id", "action", "reason"])
    faults = faults.filter(action=QUARANTINED)
    first = 0
    for batch in pq.ParquetFile(texts).iter_batches(TEXT_CHUNK):
        rows = pl.DataFrame(pl.from_arrow(batch)).to_dicts()
        part = faults.slice(first, len(rows))
        first += len(rows)
        yield "quarantine", pl.DataFrame({
            "quarantine_id": [make_id("quarantine", stage, scope, i) for i in part["item_id"]],
            "stage": stage,
            "source": pool,
            "position": part["item_id"],
            "reason": part["reason"],
            "row": [write_json(row) for row in rows],
        })  # fmt: skip

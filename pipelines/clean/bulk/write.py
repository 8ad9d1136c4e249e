"""Decisions and kept rows as Parquet files, one for each part of the pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.clean.bulk.clusters import Clusters
from pipelines.clean.bulk.pool import FAULTS
from pipelines.clean.bulk.settle import (
    CONTAMINATED,
    DUPLICATE,
    IDENTICAL,
    KEPT,
    MIRRORED,
    MIXED,
    NEAR,
    NOBODY,
    UNUSABLE,
    Settled,
)
from pipelines.clean.bulk.sketch import Plan, Sketch
from pipelines.clean.mix import describe_full

DECISION = {
    "item_id": pl.String, "action": pl.String, "rule": pl.String, "reason": pl.String,
    "value": pl.Float64, "threshold": pl.Float64, "group_id": pl.String,
    "representative": pl.String,
}  # fmt: skip
QUARANTINED = "quarantine"


def write_decisions(
    folder: Path, sketches: Sequence[Sketch], clusters: Clusters, settled: Settled, plan: Plan
) -> dict[str, Counter[str]]:
    """Write `DECISION` rows for all that is not kept, a file for each part; `action` is `drop` or
    `quarantine`. The ids are the pool's `pair_id`, or `file:row`.

    Returns:
        action -> rule (of a quarantined row the reason) -> rows.
    """
    folder.mkdir(parents=True)
    counts: dict[str, Counter[str]] = {"drop": Counter(), QUARANTINED: Counter()}
    names = _name_rows(sketches, settled.stands)
    first = 0
    for number, sketch in enumerate(sketches):
        rows = slice(first, first + sketch.part.rows)
        first = rows.stop
        frame = _decide(sketch, rows, clusters, settled, plan, names)
        name = pl.when(pl.col("action") == QUARANTINED).then("reason").otherwise("rule")
        for action, rule, count in frame.group_by("action", name.alias("name")).len().iter_rows():
            counts[action][rule] += count
        if len(frame):
            frame.write_parquet(folder / f"part-{number:05}.parquet")
    return counts


def write_rows(folder: Path, sketches: Sequence[Sketch], settled: Settled, rule: int) -> None:
    """Write the rows that met a rule (a place in `settle.RULES`) as they came, every column, a file
    for each part that has some."""
    folder.mkdir(parents=True)
    first = 0
    for number, sketch in enumerate(sketches):
        wanted = settled.rule[first : first + sketch.part.rows] == rule
        first += sketch.part.rows
        if not wanted.any():
            continue
        at = 0
        place = folder / f"part-{number:05}.parquet"
        with (
            pq.ParquetFile(sketch.part.path) as file,
            pq.ParquetWriter(place, file.schema_arrow) as out,
        ):
            for batch in file.iter_batches(row_groups=list(sketch.part.groups)):
                out.write_batch(batch.filter(pa.array(wanted[at : at + len(batch)])))
                at += len(batch)


class _Names:
    """The ids of the rows that stand for others."""

    def __init__(self, rows: NDArray[np.int64], names: pl.Series) -> None:
        self.rows, self.names = rows, names

    def find(self, wanted: NDArray[np.int64]) -> pl.Series:
        """The id of each row, null for `NOBODY`."""
        some = wanted != NOBODY
        places = np.full(len(wanted), -1, dtype=np.int64)
        places[some] = np.searchsorted(self.rows, wanted[some])
        return self.names.gather(pl.Series(places).replace({-1: None}))


def _name_rows(sketches: Sequence[Sketch], stands: NDArray[np.int64]) -> _Names:
    rows = np.unique(stands[stands != NOBODY])
    names, first = [pl.Series("id", [], dtype=pl.String)], 0
    for sketch in sketches:
        low, high = np.searchsorted(rows, (first, first + sketch.part.rows))
        if low < high:
            names.append(sketch.read_ids().gather(rows[low:high] - first))
        first += sketch.part.rows
    return _Names(rows, pl.concat(names))


def _decide(
    sketch: Sketch, rows: slice, clusters: Clusters, settled: Settled, plan: Plan, names: _Names
) -> pl.DataFrame:
    rule = settled.rule[rows]
    gone = np.flatnonzero(rule != KEPT)
    frame = pl.DataFrame(
        {
            "item_id": sketch.read_ids().gather(gone),
            "code": rule[gone],
            "fault": sketch.load("fault")[gone],
            "counted": settled.counted[rows][gone],
            "near": clusters.value[clusters.lead[rows][gone]],
            "representative": names.find(settled.stands[rows][gone]),
            "row": gone,
        }
    )
    hits = sketch.read_hits().rename({"value": "share"})
    frame = frame.join(hits, on="row", how="left", maintain_order="left")
    code, stands = pl.col("code"), pl.col("representative")
    mixed: dict[int, tuple[str, str]] = {}
    if settled.mixed is not None:
        counted, _, total = settled.mixed
        mixed = describe_full(counted, settled.counted[rows][gone], total)
    where = pl.format("{} row {}: “{}”", "set", "set_row", "excerpt")
    return frame.select(
        "item_id",
        action=pl.when(code == UNUSABLE).then(pl.lit(QUARANTINED)).otherwise(pl.lit("drop")),
        rule=pl.when(code == CONTAMINATED).then(pl.format("contaminated_{}", "method"))
        .when(code == MIXED).then(pl.col("counted").replace_strict(
            {key: rule for key, (rule, _) in mixed.items()}, default=None, return_dtype=pl.String))
        .otherwise(code.replace_strict(
            {UNUSABLE: "unusable", IDENTICAL: "identical_responses", DUPLICATE: "duplicate_pair",
             MIRRORED: "mirrored_pair", NEAR: "near_duplicate"}, default=None,
            return_dtype=pl.String)),
        reason=pl.when(code == UNUSABLE).then(pl.col("fault").replace_strict(
            dict(enumerate(FAULTS)), default=None, return_dtype=pl.String))
        .when(code == IDENTICAL).then(pl.lit("chosen and rejected are the same text"))
        .when(code == DUPLICATE).then(pl.format("says what {} says", stands))
        .when((code == MIRRORED) & stands.is_null())
        .then(pl.lit("contradicts another row, and neither is better supported"))
        .when(code == MIRRORED).then(pl.format("contradicts {}, which is better supported", stands))
        .when(code == NEAR).then(pl.format("close to {}", stands))
        .when(code == CONTAMINATED).then(where)
        .otherwise(pl.col("counted").replace_strict(
            {key: reason for key, (_, reason) in mixed.items()}, default=None,
            return_dtype=pl.String)),
        value=pl.when(code == CONTAMINATED).then("share").when(code == NEAR)
        .then(pl.col("near").cast(pl.Float64)),
        threshold=pl.when(code == CONTAMINATED)
        .then(pl.col("method").replace_strict(dict(plan.least), default=None,
                                              return_dtype=pl.Float64))
        .when(code == NEAR).then(pl.lit(plan.similarity)),
        group_id=stands,
        representative=stands,
    )  # fmt: skip

"""Rows on their way into the lake: framed as their table wants them, and held to its contract."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.lake.run import Run
from schemas.ids import make_id
from schemas.tables import TABLES, polars_schema

Rows = pl.DataFrame | Sequence[Mapping[str, Any]]


def to_frame(table: str, rows: Rows, run: Run) -> pl.DataFrame:
    """`rows` with every column of the table: `run_id`, `created_at`, and null where none is given.

    Raises:
        ValueError: a column that the table does not have.
    """
    schema = polars_schema(table)
    frame = (
        rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, schema=_part(schema, rows))
    )
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    stamped = frame.with_columns(run_id=pl.lit(run.run_id), created_at=pl.lit(now))
    unknown = set(stamped.columns) - set(schema)
    if unknown:
        raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
    columns = [
        pl.col(name).cast(dtype) if name in stamped.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    ]
    return stamped.select(columns)


def _part(
    schema: Mapping[str, pl.DataType], rows: Sequence[Mapping[str, Any]]
) -> dict[str, pl.DataType]:
    names = set().union(*(row.keys() for row in rows)) if rows else set()
    unknown = names - set(schema)
    if unknown:
        raise ValueError(f"no column {', '.join(sorted(unknown))}")
    return {name: dtype for name, dtype in schema.items() if name in names}


def validate(
    table: str, frame: pl.DataFrame, stage: str
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Split a frame into rows that meet the contract and quarantine rows for those that do not."""
    good, failure = TABLES[table].filter(frame)
    if len(failure) == 0:
        return frame, []
    details = failure.details()
    rules = [name for name in details.columns if name not in frame.columns]
    rejected = []
    for row in details.iter_rows(named=True):
        broken = [rule.replace("|", " ") for rule in rules if row[rule] == "invalid"]
        content = {name: row[name] for name in frame.columns if name != "created_at"}
        text = json.dumps(content, ensure_ascii=False, default=str)
        reason = f"{table}: {', '.join(broken)}"
        rejected.append(
            {
                "quarantine_id": make_id("quarantine", stage, reason, text),
                "stage": stage,
                "reason": reason,
                "row": text,
            }
        )
    return good, rejected

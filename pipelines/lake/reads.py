"""Reading from DuckDB into polars, whole or in blocks, with frames as tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import polars as pl

from schemas.tables import TABLES

STREAM_ROWS = 16_384


def read_frame(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[Any],
    frames: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """What a statement finds, with `frames` as tables by their names.

    DuckDB finds them around the call (its replacement scan): a view that is registered costs 13 ms
    of CPU, more than most reads.

    Raises:
        ValueError: a frame has the name of a table of the lake, which would win.
    """
    named = {name: frame.to_arrow() for name, frame in frames.items()}
    shadowed = named.keys() & TABLES.keys()
    if shadowed:
        raise ValueError(f"a frame has the name of a table: {', '.join(sorted(shadowed))}")
    around = {"_run": cursor.execute, "_sql": sql, "_parameters": list(parameters)}
    found: pl.DataFrame = eval("_run(_sql, _parameters)", {**named, **around}).pl()
    return found


def stream_frames(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[Any],
    frames: Mapping[str, pl.DataFrame],
) -> Iterator[pl.DataFrame]:
    """The same in blocks, of which the first is empty and says the columns.

    On a cursor of its own, since a cursor forgets what it was reading when it is asked again.
    """
    row = cursor.execute("SELECT current_catalog()").fetchone()
    assert row is not None
    own = cursor.cursor()
    try:
        own.execute(f"USE {row[0]}")
        for name, frame in frames.items():  # of a table the planner knows how large it is
            own.register("incoming", frame.to_arrow())
            own.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM incoming")
            own.unregister("incoming")
        reader = own.execute(sql, list(parameters)).fetch_record_batch(STREAM_ROWS)
        for batch in itertools.chain([reader.schema.empty_table()], reader):
            found = pl.from_arrow(batch)
            assert isinstance(found, pl.DataFrame)
            yield found
    finally:
        own.close()

"""The lake: one DuckLake catalogue that holds all state.

DuckLake (DuckDB + Parquet + a catalogue database) gives snapshots, time travel and transactions
but no constraints, so every write goes through `Lake.append`: validated against the contract,
deduplicated, anti-joined under the lake's commit lock, and committed as one transaction.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import polars as pl

from pipelines.lake.locks import Locks
from pipelines.lake.places import (
    LakeError,
    Place,
    explain,
    explain_missing,
    find_extension,
    is_missing,
    is_transient,
    make_attach_sql,
    parse_place,
)
from pipelines.lake.prepare import create_tables, roll_back, upgrade_tables
from pipelines.lake.reads import read_frame, stream_frames
from pipelines.lake.rows import Rows, to_frame, validate
from pipelines.lake.run import Run
from schemas.tables import SCHEMA_VERSION, key_columns

COMMIT_TRIES = 20
BULK_ROWS = 10_000
_SIGNED: set[tuple[str, int, int]] = set()  # extension files whose signature this process checked


@dataclass(frozen=True)
class Appended:
    """What one `append` did: rows inserted and duplicates left out by table, rows quarantined
    by reason."""

    inserted: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PastLake:
    """A lake as it stood at a snapshot. It has `Lake.query` and nothing that writes."""

    cursor: duckdb.DuckDBPyConnection

    def query(
        self, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> pl.DataFrame:
        """See `Lake.query`."""
        return read_frame(self.cursor, sql, parameters, frames)

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """See `Lake.stream`."""
        return stream_frames(self.cursor, sql, parameters, frames)


class Lake:
    """An open lake. Usable from several threads: each gets its own cursor."""

    def __init__(self, place: Place, connection: duckdb.DuckDBPyConnection, locks: Locks) -> None:
        self.place = place
        self._connection = connection
        self._locks = locks
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the catalogue and of every lock."""
        self._locks.close()
        self._connection.close()

    def query(
        self, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a read. Tables go by their bare names, `frames` by their keyword."""
        return read_frame(self._cursor(), sql, parameters, frames)

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """Run a read whose rows come in blocks, for what is too large to hold at once: in no order,
        and never all in memory where the statement has no ORDER BY. The first block is empty, and
        says the columns."""
        return stream_frames(self._cursor(), sql, parameters, frames)

    def query_at(
        self, snapshot: int, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a read against the lake as it stood at `snapshot` (time travel)."""
        with self.look_back(snapshot) as past:
            return past.query(sql, parameters, **frames)

    @contextmanager
    def look_back(self, snapshot: int) -> Iterator[PastLake]:
        """The lake as it stood at `snapshot`, for the functions that only read."""
        name = f"lake_at_{int(snapshot)}"
        cursor = self._connection.cursor()
        cursor.execute(make_attach_sql(self.place, name, f"SNAPSHOT_VERSION {int(snapshot)}"))
        try:
            cursor.execute(f"USE {name}")
            yield PastLake(cursor)
        finally:
            cursor.execute("USE memory")
            cursor.execute(f"DETACH {name}")
            cursor.close()

    def snapshot(self) -> int:
        """Id of the newest snapshot."""
        row = self._cursor().execute("SELECT id FROM lake.current_snapshot()").fetchone()
        assert row is not None
        return int(row[0])

    def append(
        self, tables: Mapping[str, Rows], *, run: Run, stage: str, message: str = ""
    ) -> Appended:
        """Add rows to several tables in one transaction, each key at most once.

        Fills `run_id`, `created_at` and absent nullable columns. Rows that fail their contract go
        to `quarantine` with their reasons. The anti-join against the keys that are already there
        is repeated inside the commit lock, and retried whole when another writer's transaction
        got in between.

        Raises:
            LakeError: the disk is full, the catalogue stays locked, or a lease was lost.
        """
        counts = Appended()
        frames: dict[str, pl.DataFrame] = {}
        rejected: list[dict[str, Any]] = []
        for table, rows in tables.items():
            frame = to_frame(table, rows, run)
            unique = frame.unique(key_columns(table), keep="first", maintain_order=True)
            counts.duplicates[table] = len(frame) - len(unique)
            frames[table], bad = validate(table, unique, stage)
            rejected += bad
        if rejected:
            extra = to_frame("quarantine", rejected, run)
            given = [frames["quarantine"]] if "quarantine" in frames else []
            frames["quarantine"] = pl.concat([*given, extra]).unique("quarantine_id")
            for row in rejected:
                reason = row["reason"]
                counts.quarantined[reason] = counts.quarantined.get(reason, 0) + 1
        note = json.dumps({"run_id": run.run_id, "stage": stage})
        for attempt in range(COMMIT_TRIES):
            try:
                with self._locks.commit():
                    inserted = self._insert(frames, stage, message or stage, note)
                break
            except duckdb.Error as error:
                if attempt + 1 == COMMIT_TRIES or not is_transient(error):
                    raise explain(error, self.place) from error
                time.sleep(0.05 * (attempt + 1))
        for table, frame in frames.items():
            counts.inserted[table] = inserted[table]
            counts.duplicates[table] = (
                counts.duplicates.get(table, 0) + len(frame) - inserted[table]
            )
        return counts

    @contextmanager
    def lease(self, stage: str, run: Run, *, wait_seconds: float | None = None) -> Iterator[None]:
        """Hold a stage against a second writer; waits and says who holds it.

        Raises:
            LeaseHeld: still held after `wait_seconds` (None waits for as long as it takes).
            LakeError: at the end of the block, or at a commit in it: the lease was lost.
        """
        with self._locks.lease(stage, tell=run.tell, wait_seconds=wait_seconds):
            yield

    @contextmanager
    def commit_small(self) -> Iterator[None]:
        """Use one thread inside the block: handing a commit of some hundred rows round several
        costs twice what it saves."""
        cursor = self._connection.cursor()
        row = cursor.execute("SELECT current_setting('threads')").fetchone()
        cursor.execute("SET threads = 1")
        try:
            yield
        finally:
            cursor.execute(f"SET threads = {row[0] if row else 1}")
            cursor.close()

    def compact(self) -> int:
        """Merge the small files that small commits leave; returns how many files went away.

        Time travel is untouched: only files that no snapshot needs any more are deleted, and only
        when they have been out of use for an hour, so that running readers keep theirs.

        Raises:
            LakeError: the files or the catalogue cannot be written.
        """
        try:
            with self._locks.commit():
                cursor = self._cursor()
                rows = cursor.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
                cursor.execute(
                    "CALL ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL 1 HOUR)"
                )
        except duckdb.Error as error:
            raise explain(error, self.place) from error
        return sum(int(row[2]) - int(row[3]) for row in rows)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._connection.cursor()
            cursor.execute("USE lake")
            self._local.cursor = cursor
        return cursor

    def _insert(
        self, frames: Mapping[str, pl.DataFrame], author: str, message: str, note: str
    ) -> dict[str, int]:
        cursor = self._cursor()
        inserted: dict[str, int] = {}
        cursor.execute("BEGIN")
        try:
            for table, frame in frames.items():
                inserted[table] = 0
                keys = ", ".join(key_columns(table))
                for part in frame.iter_slices(BULK_ROWS * 10):
                    incoming = part.to_arrow()  # DuckDB finds it by this name
                    row = cursor.execute(
                        f"INSERT INTO {table} BY NAME "
                        f"SELECT * FROM incoming ANTI JOIN {table} USING ({keys})"
                    ).fetchone()
                    del incoming
                    inserted[table] += int(row[0]) if row else 0
            if any(inserted.values()):
                cursor.execute(
                    "CALL lake.set_commit_message(?, ?, extra_info => ?)",
                    [f"assay:{author}", message, note],
                )
            cursor.execute("COMMIT")
        except BaseException:
            roll_back(cursor)
            raise
        return inserted


def open_lake(url: str | Path, create: bool = True) -> Lake:
    """Open a lake; one that is not there is created, unless `create` is false.

    Raises:
        LakeError: there is no lake and `create` is false, the place cannot be reached or written,
            the DuckLake extension is missing, or the lake was written by a newer schema.
    """
    place = parse_place(str(url))
    if place.folder is not None and place.file is not None:
        if not create and not place.file.exists():
            raise explain_missing(place)
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(
                f"{place.shown}: cannot make this folder: {error.strerror}; give another with "
                "--lake"
            ) from error
    with ExitStack() as opened:  # closed again where the rest fails
        try:
            connection = opened.enter_context(_connect(place))
            there = _attach_existing(connection, place, create)
            locks = Locks(place)
            opened.callback(locks.close)
            if not there:
                with locks.commit():  # two processes that both create the catalogue collide
                    _attach(connection, make_attach_sql(place, "lake"))
            lake = Lake(place, connection, locks)
            _prepare_tables(lake)
        except duckdb.Error as error:
            raise explain(error, place) from error
        opened.pop_all()
    return lake


def _connect(place: Place) -> duckdb.DuckDBPyConnection:
    """A connection with the place's extensions. A process has DuckDB check the signature of each
    extension's file once, not at every open: it hashes 34 MB, most of what an open costs."""
    files = [find_extension(extension) for extension in place.extensions]
    marks = {(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files}
    spill = Path(tempfile.gettempdir()) / f"assay-duckdb-{os.getpid()}"  # else the working folder's
    config = {"autoinstall_known_extensions": "false", "temp_directory": str(spill)}
    if marks <= _SIGNED:
        config["allow_unsigned_extensions"] = "true"
    connection = duckdb.connect(config=config)
    for file in files:
        connection.execute(f"LOAD '{file}'")
    _SIGNED.update(marks)
    return connection


def _attach_existing(connection: duckdb.DuckDBPyConnection, place: Place, create: bool) -> bool:
    try:
        _attach(connection, make_attach_sql(place, "lake", "CREATE_IF_NOT_EXISTS false"))
    except duckdb.Error as error:
        if create:
            return False
        raise (explain_missing(place) if is_missing(error) else explain(error, place)) from error
    return True


def _attach(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    for attempt in range(COMMIT_TRIES):
        try:
            connection.execute(sql)
            return
        except duckdb.Error as error:
            if attempt + 1 == COMMIT_TRIES or not is_transient(error):
                raise
            time.sleep(0.05 * (attempt + 1))


def _prepare_tables(lake: Lake) -> None:
    try:
        stored = lake.query("SELECT value FROM lake_meta WHERE key = 'schema_version'")
    except duckdb.CatalogException:
        with lake._locks.commit():
            create_tables(lake._cursor())
        lake.append(
            {"lake_meta": [{"key": "schema_version", "value": str(SCHEMA_VERSION)}]},
            run=Run("setup"),
            stage="setup",
            message="create the tables",
        )
        return
    version = int(stored["value"][0]) if len(stored) else SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        raise LakeError(
            f"{lake.place.shown}: this lake was written by schema version {version} and this "
            f"Assay reads up to {SCHEMA_VERSION}; install a newer Assay to use it"
        )
    if version < SCHEMA_VERSION:
        with lake._locks.commit():
            upgrade_tables(lake._cursor())

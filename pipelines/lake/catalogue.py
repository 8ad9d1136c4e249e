"""The lake: one DuckLake catalogue that holds all state.

DuckLake (DuckDB + Parquet + a catalogue database) gives snapshots, time travel and transactions
but no constraints, so every write goes through `Lake.append`: validated against the contract,
deduplicated, anti-joined under the lake's commit lock, and committed as one transaction.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import duckdb
import polars as pl

from pipelines.lake.locks import Locks
from pipelines.lake.run import Run
from schemas.errors import AssayError
from schemas.ids import make_id
from schemas.tables import (
    SCHEMA_VERSION,
    TABLES,
    create_table_sql,
    key_columns,
    polars_schema,
)

Rows = pl.DataFrame | Sequence[Mapping[str, Any]]
COMMIT_TRIES = 20
BULK_ROWS = 10_000


class LakeError(AssayError):
    """The lake cannot be used; the message says where it is, why, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a lake lives: the DuckLake ATTACH target, its data folder and its lock place."""

    shown: str
    attach: str
    data_path: str
    extensions: tuple[str, ...]
    folder: Path | None
    postgres_url: str | None = None


@dataclass(frozen=True)
class Appended:
    """What one `append` did: rows inserted and duplicates left out by table, rows quarantined
    by reason."""

    inserted: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


def parse_place(url: str) -> Place:
    """Read a `--lake` value.

    A folder means a SQLite catalogue inside it (several local processes may share it);
    `duckdb:FOLDER` a DuckDB-file catalogue (one process at a time); `postgresql://...` with
    `?data_path=FOLDER_OR_BUCKET` a team's catalogue.

    Raises:
        LakeError: a PostgreSQL URL without data_path, or an unknown scheme.
    """
    if url.startswith(("postgresql://", "postgres://")):
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        data_path = query.pop("data_path", None)
        shown = urlunsplit(parts._replace(netloc=re.sub(r":[^:@]*@", ":***@", parts.netloc)))
        if data_path is None:
            raise LakeError(f"{shown}: say where the Parquet files go, with ?data_path=FOLDER")
        clean = urlunsplit(parts._replace(query=urlencode(query)))
        target = f"ducklake:postgres:{clean}"
        return Place(shown, target, data_path, ("ducklake", "postgres_scanner"), None, clean)
    scheme, _, rest = url.partition(":")
    if rest and scheme == "duckdb":
        folder, file, kind, extensions = Path(rest), "catalog.ducklake", "", ("ducklake",)
    elif rest and re.fullmatch(r"[a-z][a-z0-9+]+", scheme):
        raise LakeError(f"{url}: a lake is a folder, duckdb:FOLDER or postgresql://...")
    else:
        folder, file, kind = Path(url), "catalog.sqlite", "sqlite:"
        extensions = ("ducklake", "sqlite_scanner")
        if (folder / "catalog.ducklake").exists():
            return parse_place(f"duckdb:{url}")
    folder = folder.absolute()
    attach = f"ducklake:{kind}{folder / file}"
    return Place(url, attach, f"{folder / 'data'}/", extensions, folder)


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
        return _read(self._cursor(), sql, parameters, frames)

    def query_at(
        self, snapshot: int, sql: str, parameters: Sequence[Any] = (), **frames: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a read against the lake as it stood at `snapshot` (time travel)."""
        name = f"lake_at_{snapshot}"
        cursor = self._connection.cursor()
        cursor.execute(f"{_attach_sql(self.place, name)[:-1]}, SNAPSHOT_VERSION {int(snapshot)})")
        try:
            cursor.execute(f"USE {name}")
            return _read(cursor, sql, parameters, frames)
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
            LakeError: the disk is full, or the catalogue stays locked.
        """
        counts = Appended()
        frames: dict[str, pl.DataFrame] = {}
        rejected: list[dict[str, Any]] = []
        for table, rows in tables.items():
            frame = _to_frame(table, rows, run)
            unique = frame.unique(key_columns(table), keep="first", maintain_order=True)
            counts.duplicates[table] = len(frame) - len(unique)
            frames[table], bad = _validate(table, unique, stage)
            rejected += bad
        if rejected:
            extra = _to_frame("quarantine", rejected, run)
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
                if attempt + 1 == COMMIT_TRIES or not _is_transient(error):
                    raise _explain(error, self.place) from error
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
        """
        with self._locks.lease(stage, tell=run.tell, wait_seconds=wait_seconds):
            yield

    def compact(self) -> int:
        """Merge the small files that small commits leave; returns how many files went away.

        Time travel is untouched: only files that no snapshot needs any more are deleted, and only
        when they have been out of use for an hour, so that running readers keep theirs.
        """
        with self._locks.commit():
            cursor = self._cursor()
            rows = cursor.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
            cursor.execute(
                "CALL ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL 1 HOUR)"
            )
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
                    cursor.register("incoming", part.to_arrow())
                    row = cursor.execute(
                        f"INSERT INTO {table} BY NAME "
                        f"SELECT * FROM incoming ANTI JOIN {table} USING ({keys})"
                    ).fetchone()
                    cursor.unregister("incoming")
                    inserted[table] += int(row[0]) if row else 0
            if any(inserted.values()):
                cursor.execute(
                    "CALL lake.set_commit_message(?, ?, extra_info => ?)",
                    [f"assay:{author}", message, note],
                )
            cursor.execute("COMMIT")
        except BaseException:
            _roll_back(cursor)
            raise
        return inserted


def open_lake(url: str | Path) -> Lake:
    """Open a lake, creating it if it is not there.

    Raises:
        LakeError: the place cannot be reached or written, the DuckLake extension is missing, or
            the lake was written by a newer schema.
    """
    place = parse_place(str(url))
    if place.folder is not None:
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(f"{place.shown}: cannot make this folder: {error.strerror}") from error
    locks = Locks(place.folder, place.postgres_url)
    try:
        connection = _connect(place, locks)
        lake = Lake(place, connection, locks)
        _prepare_tables(lake)
    except duckdb.Error as error:
        locks.close()
        raise _explain(error, place) from error
    except LakeError:
        locks.close()
        raise
    return lake


def _connect(place: Place, locks: Locks) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for extension in place.extensions:
        connection.execute(f"LOAD '{find_extension(extension)}'")
    try:
        _attach(connection, place, create=False)
    except duckdb.Error:
        with locks.commit():  # two processes that both create the catalogue collide
            _attach(connection, place, create=True)
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, place: Place, *, create: bool) -> None:
    sql = _attach_sql(place, "lake")
    if not create:
        sql = f"{sql[:-1]}, CREATE_IF_NOT_EXISTS false)"
    for attempt in range(COMMIT_TRIES):
        try:
            connection.execute(sql)
            return
        except duckdb.Error as error:
            if attempt + 1 == COMMIT_TRIES or not _is_transient(error):
                raise
            time.sleep(0.05 * (attempt + 1))


def find_extension(name: str) -> Path:
    """The file of a DuckDB extension that a PyPI package ships, so that no network is needed.

    Raises:
        LakeError: the package is missing or is for another DuckDB version.
    """
    package = f"duckdb_extension_{name}"
    mend = f"pip install {package.replace('_', '-')}=={duckdb.__version__}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LakeError(f"the DuckDB extension {name} is not installed: {mend}")
    folder = Path(spec.submodule_search_locations[0]) / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{name}.duckdb_extension"
    if not file.exists():
        raise LakeError(f"the extension {name} is not for DuckDB {duckdb.__version__}: {mend}")
    return file


def _attach_sql(place: Place, name: str) -> str:
    def quote(text: str) -> str:
        return text.replace("'", "''")

    options = [f"DATA_PATH '{quote(place.data_path)}'", "DATA_INLINING_ROW_LIMIT 0"]
    if place.attach.startswith("ducklake:sqlite:"):
        options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 30000"]
    return f"ATTACH '{quote(place.attach)}' AS {name} ({', '.join(options)})"


def _prepare_tables(lake: Lake) -> None:
    try:
        stored = lake.query("SELECT value FROM lake_meta WHERE key = 'schema_version'")
    except duckdb.CatalogException:
        with lake._locks.commit():
            cursor = lake._cursor()
            cursor.execute("BEGIN")
            try:
                for table in TABLES:
                    cursor.execute(create_table_sql(table))  # another process may have been first
                cursor.execute("COMMIT")
            except BaseException:
                _roll_back(cursor)
                raise
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


def _read(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[Any],
    frames: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    for name, frame in frames.items():
        cursor.register(name, frame.to_arrow())
    try:
        return cursor.execute(sql, list(parameters)).pl()
    finally:
        for name in frames:
            cursor.unregister(name)


def _to_frame(table: str, rows: Rows, run: Run) -> pl.DataFrame:
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


def _validate(
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


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.TransactionException:
        return  # the failing statement had ended the transaction already


def _is_transient(error: duckdb.Error) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("conflict", "locked", "busy", "could not serialize"))


def _explain(error: duckdb.Error, place: Place) -> LakeError:
    text = str(error).splitlines()[0]
    if place.postgres_url:
        text = text.replace(place.postgres_url, place.shown)
        text = re.sub(r"(password=)\S+", r"\1***", text)
    low = text.lower()
    if "no space left" in low or "disk full" in low or "disk is full" in low:
        return LakeError(
            f"{place.shown}: the disk is full; what was committed is safe. Free some space and "
            "run the same command again"
        )
    if "lock" in low:
        return LakeError(f"{place.shown}: another process holds the catalogue: {text}")
    if "version" in low and "ducklake" in low:
        return LakeError(
            f"{place.shown}: this catalogue is of another DuckLake format; install a newer Assay "
            f"({text})"
        )
    return LakeError(f"{place.shown}: {text}")

"""Locks of a lake: one for commits, one lease a stage.

DuckLake lets two writers insert the same key without an error, so a commit takes a lock that the
operating system or PostgreSQL gives back when its holder dies, and a stage takes a *lease* with
an expiry that its holder renews, so that a second run waits instead of paying for the same calls.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import AssayError

LEASE_SECONDS = 60.0
POLL_SECONDS = 0.2


class LeaseHeld(AssayError):
    """Another run holds the stage; the message says which process, and since when."""


class Locks:
    """The commit lock and the leases of one lake: beside a local catalogue, or inside a
    PostgreSQL one."""

    def __init__(self, folder: Path | None, postgres_url: str | None) -> None:
        self._folder = folder
        self._postgres_url = postgres_url
        self._postgres: Any = None
        self._mutex = threading.RLock()
        with self._database() as run:
            run(
                "CREATE TABLE IF NOT EXISTS assay_leases (stage TEXT PRIMARY KEY, "
                "holder TEXT NOT NULL, since DOUBLE PRECISION NOT NULL, "
                "expires DOUBLE PRECISION NOT NULL)"
            )

    def close(self) -> None:
        """Close the connection that holds PostgreSQL's locks, if there is one."""
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Hold the lake's commit lock."""
        if self._folder is None:
            with self._mutex:
                connection = self._connect_postgres()
                connection.execute("SELECT pg_advisory_lock(4155534159)")
                try:
                    yield
                finally:
                    connection.execute("SELECT pg_advisory_unlock(4155534159)")
            return
        with (self._folder / "commit.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def lease(
        self, stage: str, *, tell: Callable[[str], None], wait_seconds: float | None
    ) -> Iterator[None]:
        """Hold a stage, renewing the lease until the block ends. See `Lake.lease`."""
        holder = (
            f"{socket.gethostname()}:{os.getpid()}:{_process_start(os.getpid())}:"
            + (uuid.uuid4().hex[:8])
        )
        self._acquire(stage, holder, tell, wait_seconds)
        stop = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(stage, holder, stop), daemon=True)
        renewer.start()
        try:
            yield
        finally:
            stop.set()
            renewer.join()
            with self._database() as run:
                run("DELETE FROM assay_leases WHERE stage = ? AND holder = ?", stage, holder)

    def _acquire(
        self, stage: str, holder: str, tell: Callable[[str], None], wait_seconds: float | None
    ) -> None:
        started = time.monotonic()
        told = False
        while True:
            with self._database() as run:
                now = self._now(run)
                rows = run("SELECT holder, since, expires FROM assay_leases WHERE stage = ?", stage)
                if not rows or rows[0][2] < now or _is_dead(rows[0][0]):
                    run("DELETE FROM assay_leases WHERE stage = ?", stage)
                    run(
                        "INSERT INTO assay_leases VALUES (?, ?, ?, ?)",
                        stage,
                        holder,
                        now,
                        now + LEASE_SECONDS,
                    )
                    return
                host, pid = rows[0][0].split(":")[:2]
                age = now - rows[0][1]
                held = f"stage {stage} is held by process {pid} on {host} for {age:.0f} s"
            if wait_seconds is not None and time.monotonic() - started >= wait_seconds:
                raise LeaseHeld(f"{held}; wait for it to end, or stop it")
            if not told:
                tell(f"waiting: {held}")
                told = True
            time.sleep(POLL_SECONDS)

    def _renew(self, stage: str, holder: str, stop: threading.Event) -> None:
        while not stop.wait(LEASE_SECONDS / 4):
            with self._database() as run:
                run(
                    "UPDATE assay_leases SET expires = ? WHERE stage = ? AND holder = ?",
                    self._now(run) + LEASE_SECONDS,
                    stage,
                    holder,
                )

    @contextmanager
    def _database(self) -> Iterator[Callable[..., list[Any]]]:
        """A function that runs SQL with `?` parameters inside one exclusive transaction."""
        if self._folder is not None:
            connection = sqlite3.connect(
                self._folder / "leases.sqlite", timeout=60, isolation_level=None
            )
            try:
                connection.execute("BEGIN EXCLUSIVE")
                yield lambda sql, *values: connection.execute(sql, values).fetchall()
                connection.execute("COMMIT")
            finally:
                connection.close()
            return
        with self._mutex, self._connect_postgres().transaction() as transaction:
            connection = transaction.connection
            connection.execute("SELECT pg_advisory_xact_lock(4155534160)")

            def run(sql: str, *values: Any) -> list[Any]:
                cursor = connection.execute(sql.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []

            yield run

    def _connect_postgres(self) -> Any:
        import psycopg

        if self._postgres is None:
            self._postgres = psycopg.connect(self._postgres_url or "", autocommit=True)
        return self._postgres

    def _now(self, run: Callable[..., list[Any]]) -> float:
        """The catalogue's clock: several machines must agree on what has expired."""
        if self._folder is not None:
            return time.time()
        return float(run("SELECT extract(epoch FROM clock_timestamp())")[0][0])


def _process_start(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return fields[19]


def _is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that is gone (killed, for example)."""
    host, pid, start, _ = holder.rsplit(":", 3)
    return host == socket.gethostname() and _process_start(int(pid)) != start

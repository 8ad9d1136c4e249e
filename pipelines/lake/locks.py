"""Locks of a lake: one for commits, one lease a stage.

DuckLake lets two writers insert the same key without an error, so a commit takes a lock that the
operating system or PostgreSQL gives back when its holder dies, and a stage takes a *lease* with
an expiry that its holder renews, so that a second run waits instead of paying for the same calls.
A holder that could not renew in time and lost its lease to another finds out before it commits.
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from engines.processes import read_start
from pipelines.lake.places import LakeError, Place, explain
from schemas.errors import AssayError

LEASE_SECONDS = 60.0
POLL_SECONDS = 0.2
COMMIT_LOCK = 4155534159


class LeaseHeld(AssayError):
    """Another run holds the stage; the message says which process, and since when."""


@dataclass
class _Lease:
    stage: str
    holder: str
    renewed: float
    lost: bool = False


class Locks:
    """The commit lock and the leases of one lake: beside a local catalogue, or inside a
    PostgreSQL one, where leases have a connection of their own, so that a long commit does not
    keep them from renewal. Every fault of files or database is a LakeError that names the place.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.folder
        self._held: list[_Lease] = []
        self._faults: tuple[type[Exception], ...] = (OSError, sqlite3.Error)
        if place.postgres_url is not None:
            import psycopg

            from pipelines.lake.postgres import Postgres

            self._faults = (psycopg.Error,)
            self._commits = Postgres(place.postgres_url)
            self._leases = Postgres(place.postgres_url)
        with self._database() as run:
            run(
                "CREATE TABLE IF NOT EXISTS assay_leases (stage TEXT PRIMARY KEY, "
                "holder TEXT NOT NULL, since DOUBLE PRECISION NOT NULL, "
                "expires DOUBLE PRECISION NOT NULL)"
            )

    def close(self) -> None:
        """Close the connections to PostgreSQL, and with them its locks, if there are any."""
        if self._folder is None:
            self._commits.close()
            self._leases.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Hold the lake's commit lock. Raises LakeError where a lease of this `Locks` was lost."""
        with self._explained(), ExitStack() as stack:
            if self._folder is None:
                stack.enter_context(self._commits.lock(COMMIT_LOCK))
            else:
                handle = stack.enter_context((self._folder / "commit.lock").open("a"))
                fcntl.flock(handle, fcntl.LOCK_EX)
            for lease in list(self._held):
                self._check(lease)
            yield

    @contextmanager
    def lease(
        self, stage: str, *, tell: Callable[[str], None], wait_seconds: float | None
    ) -> Iterator[None]:
        """Hold a stage, renewing the lease until the block ends. See `Lake.lease`."""
        lease = self._acquire(stage, tell, wait_seconds)
        self._held.append(lease)
        stop = threading.Event()
        renewer = threading.Thread(target=self._keep, args=(lease, stop), daemon=True)
        renewer.start()
        done = False
        try:
            yield
            done = True
        finally:
            stop.set()
            renewer.join()
            self._held.remove(lease)
            try:
                self._release(lease)
            except LakeError:
                if done:  # else the block's own error says more
                    raise

    def _acquire(
        self, stage: str, tell: Callable[[str], None], wait_seconds: float | None
    ) -> _Lease:
        process = f"{socket.gethostname()}:{os.getpid()}:{read_start(os.getpid())}"
        holder = f"{process}:{uuid.uuid4().hex[:8]}"
        started = time.monotonic()
        told = False
        while True:
            asked = time.monotonic()
            with self._database() as run:
                now = self._now(run)
                rows = run("SELECT holder, since, expires FROM assay_leases WHERE stage = ?", stage)
                if not rows or rows[0][2] < now or _is_dead(rows[0][0]):
                    run("DELETE FROM assay_leases WHERE stage = ?", stage)
                    values = (stage, holder, now, now + LEASE_SECONDS)
                    run("INSERT INTO assay_leases VALUES (?, ?, ?, ?)", *values)
                    return _Lease(stage, holder, asked)
            host, pid = rows[0][0].split(":")[:2]
            held = f"stage {stage} is held by process {pid} on {host} for {now - rows[0][1]:.0f} s"
            if wait_seconds is not None and time.monotonic() - started >= wait_seconds:
                raise LeaseHeld(f"{held}; wait for it to end, or stop it")
            if not told:
                tell(f"waiting: {held}")
                told = True
            time.sleep(POLL_SECONDS)

    def _keep(self, lease: _Lease, stop: threading.Event) -> None:
        """Renew a lease until told to stop, and sooner again after a renewal that failed."""
        wait = LEASE_SECONDS / 4
        while not lease.lost and not stop.wait(wait):
            wait = LEASE_SECONDS / 20
            with suppress(LakeError):
                self._renew(lease)
                wait = LEASE_SECONDS / 4

    def _renew(self, lease: _Lease) -> None:
        asked = time.monotonic()
        with self._database() as run:
            expires = self._now(run) + LEASE_SECONDS
            sql = "UPDATE assay_leases SET expires = ? WHERE stage = ? AND holder = ? RETURNING 1"
            mine = run(sql, expires, lease.stage, lease.holder)
        lease.lost = not mine
        lease.renewed = asked

    def _check(self, lease: _Lease) -> None:
        """Make sure that a lease is still ours: asks only if its last renewal is too long ago."""
        if not lease.lost and time.monotonic() - lease.renewed > LEASE_SECONDS:
            self._renew(lease)
        if lease.lost:
            raise self._lost(lease)

    def _release(self, lease: _Lease) -> None:
        with self._database() as run:
            sql = "DELETE FROM assay_leases WHERE stage = ? AND holder = ? RETURNING 1"
            mine = run(sql, lease.stage, lease.holder)
        if not mine:
            raise self._lost(lease)

    def _lost(self, lease: _Lease) -> LakeError:
        return LakeError(
            f"{self._place.shown}: another run took over the stage {lease.stage}, for this one did "
            "not renew its lease in time; what was committed is safe. Run the same command again"
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._faults as error:
            raise explain(error, self._place) from error

    @contextmanager
    def _database(self) -> Iterator[Callable[..., list[Any]]]:
        """A function that runs SQL with `?` parameters inside one exclusive transaction."""
        with self._explained():
            if self._folder is None:
                with self._leases.transact() as run:
                    yield run
                return
            file = self._folder / "leases.sqlite"
            connection = sqlite3.connect(file, timeout=60, isolation_level=None)
            try:
                connection.execute("BEGIN EXCLUSIVE")
                yield lambda sql, *values: connection.execute(sql, values).fetchall()
                connection.execute("COMMIT")
            finally:
                connection.close()

    def _now(self, run: Callable[..., list[Any]]) -> float:
        """The catalogue's clock: several machines must agree on what has expired."""
        if self._folder is not None:
            return time.time()
        return float(run("SELECT extract(epoch FROM clock_timestamp())")[0][0])


def _is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that is gone (killed, for example)."""
    host, pid, start, _ = holder.rsplit(":", 3)
    return host == socket.gethostname() and str(read_start(int(pid))) != start

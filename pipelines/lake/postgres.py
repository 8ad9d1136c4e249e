"""A connection to PostgreSQL for the locks of a team's lake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

LEASE_LOCK = 4155534160
DEAD_LINE = {"connect_timeout": 10, "keepalives_idle": 5, "keepalives_interval": 5}
"""So that a server that went away without a word is noticed well within a minute."""


class Postgres:
    """One connection, used by one thread at a time and opened again when it was lost.

    All methods raise psycopg.Error when the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._mutex = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Let go of the connection, and with it of its locks."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def lock(self, number: int) -> Iterator[None]:
        """Hold an advisory lock, which the server takes back when this process dies."""
        with self._mutex:
            connection = self._connect()
            connection.execute("SELECT pg_advisory_lock(%s)", [number])
            done = False
            try:
                yield
                done = True
            finally:
                try:
                    connection.execute("SELECT pg_advisory_unlock(%s)", [number])
                except psycopg.Error:
                    if done:  # else the block's own error says more
                        raise

    @contextmanager
    def transact(self) -> Iterator[Callable[..., list[Any]]]:
        """A function that runs SQL with `?` parameters inside one transaction, one at a time."""
        with self._mutex:
            connection = self._connect()
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [LEASE_LOCK])

                def run(sql: str, *values: Any) -> list[Any]:
                    cursor = connection.execute(sql.replace("?", "%s").encode(), values)
                    return cursor.fetchall() if cursor.description else []

                yield run

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
                return self._connection
            except psycopg.Error:
                self.close()
        self._connection = psycopg.connect(self._url, autocommit=True, **DEAD_LINE)  # type: ignore[arg-type]
        return self._connection

"""The tables of a lake: made where it is new, and given new columns where it is older."""

from __future__ import annotations

import duckdb

from schemas.tables import SCHEMA_VERSION, TABLES, create_table_sql, polars_schema, sql_type


def create_tables(cursor: duckdb.DuckDBPyConnection) -> None:
    """Make every table that is not there (another process may have been first)."""
    _run_whole(cursor, [create_table_sql(table) for table in TABLES])


def upgrade_tables(cursor: duckdb.DuckDBPyConnection) -> None:
    """Bring the tables of an older schema version up to this one.

    New tables are made and new columns added, with null in the rows that are there.
    """
    statements = [create_table_sql(table) for table in TABLES]
    for table in TABLES:
        found = cursor.execute(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = 'lake' "
            "AND table_name = ?",
            [table],
        ).fetchall()
        known = {name for (name,) in found}
        statements += [
            f'ALTER TABLE "{table}" ADD COLUMN "{name}" {sql_type(dtype)}'
            for name, dtype in polars_schema(table).items()
            if known and name not in known
        ]
    version = f"UPDATE lake_meta SET value = '{SCHEMA_VERSION}' WHERE key = 'schema_version'"
    _run_whole(cursor, [*statements, version])


def _run_whole(cursor: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
    """Run all statements or none."""
    cursor.execute("BEGIN")
    try:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("COMMIT")
    except BaseException:
        roll_back(cursor)
        raise


def roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """Undo the open transaction."""
    try:
        cursor.execute("ROLLBACK")
    except duckdb.TransactionException:
        return  # the failing statement had ended the transaction already

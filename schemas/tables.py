"""The tables of the lake as dataframely contracts, and the SQL that creates them.

DuckLake has no constraints, so these contracts are the constraints: `pipelines.lake` validates
every row against them before it is written and quarantines the rows that fail. Every table also
carries `run_id` and `created_at` (UTC), which `append` fills in. Columns that hold JSON text say
so. All ids are hex strings.
"""

from __future__ import annotations

import polars as pl

from schemas import evidence, outcomes
from schemas.row import Row

SCHEMA_VERSION = 9
"""Raised whenever a table is added or gets a column. An older lake is given what it lacks when it
is opened, with null in its rows; a newer one is refused.

2: `imports` has revision, settings and category.
3: `answers` and `attributes`; `judgments` has gold.
4: `imports` has judgment_ids.
5: `answers` has prompt_logprobs; `reviews` has question, role and more; `batches`, `releases`,
   `standings`.
6: `weights`.
7: `grades`.
8: `readings`, `iterations`.
9: `exams` has cut and unscored.
"""

TABLES: dict[str, type[Row]] = {
    "prompts": evidence.Prompts,
    "responses": evidence.Responses,
    "rollouts": evidence.Rollouts,
    "judgments": evidence.Judgments,
    "answers": evidence.Answers,
    "attributes": evidence.Attributes,
    "syntheses": evidence.Syntheses,
    "reviews": evidence.Reviews,
    "batches": evidence.Batches,
    "releases": evidence.Releases,
    "standings": evidence.Standings,
    "decisions": outcomes.Decisions,
    "quarantine": outcomes.Quarantine,
    "failures": evidence.Failures,
    "imports": evidence.Imports,
    "annotators": evidence.Annotators,
    "splits": outcomes.Splits,
    "weights": outcomes.Weights,
    "readings": outcomes.Readings,
    "iterations": outcomes.Iterations,
    "versions": outcomes.Versions,
    "version_pairs": outcomes.VersionPairs,
    "runs": outcomes.Runs,
    "models": outcomes.Models,
    "exams": outcomes.Exams,
    "grades": outcomes.Grades,
    "embeddings": evidence.Embeddings,
    "lake_meta": outcomes.LakeMeta,
}


def key_columns(table: str) -> list[str]:
    """The columns that make a row of `table` unique."""
    return TABLES[table].primary_key()


def polars_schema(table: str) -> dict[str, pl.DataType]:
    """Column name -> polars type of `table`, in order."""
    return {name: column.dtype for name, column in TABLES[table].columns().items()}


def create_table_sql(table: str) -> str:
    """`CREATE TABLE IF NOT EXISTS` for DuckLake, which knows no constraints: none stand here."""
    columns = ", ".join(
        f'"{name}" {sql_type(dtype)}' for name, dtype in polars_schema(table).items()
    )
    return f'CREATE TABLE IF NOT EXISTS "{table}" ({columns})'


def sql_type(dtype: pl.DataType) -> str:
    """The DuckDB type of a polars type.

    Raises:
        TypeError: a type that no table uses (128-bit integers among them: DuckLake stores them
            as DOUBLE, silently).
    """
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        fields = ", ".join(f'"{f.name}" {sql_type(f.dtype)}' for f in dtype.fields)  # type: ignore[arg-type]
        return f"STRUCT({fields})"
    names = {
        pl.String: "VARCHAR",
        pl.Int64: "BIGINT",
        pl.Float64: "DOUBLE",
        pl.Float32: "FLOAT",
        pl.Boolean: "BOOLEAN",
        pl.Datetime: "TIMESTAMP",
    }
    for polars_type, name in names.items():
        if dtype == polars_type:
            return name
    raise TypeError(f"no lake column may have type {dtype}")

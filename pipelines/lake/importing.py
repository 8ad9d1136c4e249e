"""Importing a preference pool: every row of it is kept, dropped or quarantined, with its reason.

The pool's own labels become judgments like anybody else's: `import:<name>` for its single label,
`import:<name>/<who>` for the annotators it names. A file of recorded opinions, one a row, is the
layout `judgments` (see `pipelines.lake.opinions`). All ids follow from content, so importing the
same pool again, or a later edition of it, adds only what is new. Importing the same file with
another licence, category or layout makes a new revision of its rows in `imports`, and the latest
revision of a row is the one that counts.

What a newer edition says of a pair replaces what older ones under the same name said of it (see
`pipelines.lake.editions`): a corrected pool is imported under its old name, and files that add to
one another under a name each. An older file does not become the newest by importing it once more.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.intake import FILLED, STAGE, Edition, Intake, PoolRow, Tables, write_json
from pipelines.lake.layouts import KEYS, LAYOUTS, detect_layout, has_keys
from pipelines.lake.readers import BadRow, ImportFailed, Pool, open_pool, read_rows
from pipelines.lake.run import Run, StageSummary
from schemas.sourcing import ImportSource
from schemas.tables import polars_schema

CHUNK_ROWS = 5000
HEAD_ROWS = 100
"""How many rows are looked at to find the layout of a pool, or to see that it has the one named."""


def import_pool(
    lake: Lake, run: Run, source: ImportSource, base_dir: Path | None = None
) -> StageSummary:
    """Bring a preference pool into the lake.

    Writes `prompts`, `responses`, `rollouts` (policy `import:<name>/<model>`, or `import:<name>`),
    `judgments`, `quarantine` and one `imports` row per input row, 5,000 rows a commit. Rows that
    `imports` has already under the same settings are not done again, so an interrupted import
    goes on where it was.

    Args:
        source: the pool, its name and licence, and its layout (`auto` finds it from the keys).
        base_dir: what a relative path is relative to; the working directory if not given.

    Returns:
        What became of the rows of this file, whichever call imported them. Two rules drop a row:
        `identical_responses` (its prompt and response are there, but no pair) and `duplicate`
        (an earlier row has its pairs: what it says beyond that row, such as another verdict or
        another model, is there all the same; an exact repeat says nothing twice. Of recorded
        opinions only such a repeat is a duplicate). `extra` holds the layout and what the rows
        hold: distinct `prompts` and `pairs`, and `judgments`.

    Raises:
        ImportFailed: the file is missing, empty, unreadable as a whole or of an unknown layout.
        LakeError: the lake cannot be written.
    """
    started = time.monotonic()
    pool = open_pool(source.path, base_dir)
    with lake.lease(STAGE, run):
        layout, rows = _find_layout(pool, source.layout)
        edition, done, seen = _find_done(lake, source, pool.file_hash, layout)
        intake = Intake(source, edition, seen)
        todo = _skip_done(rows, done, intake)
        count = len(done)
        while chunk := list(islice(todo, CHUNK_ROWS)):
            tables: Tables = {table: [] for table in FILLED}
            for number, row in chunk:
                intake.add(tables, number, row)
            count += len(chunk)
            message = f"{source.name}: {len(chunk)} rows"
            frames = {table: _to_frame(table, found) for table, found in tables.items() if found}
            lake.append(frames, run=run, stage=STAGE, message=message)
            run.progress(STAGE, count, count)
            run.tell(f"import {source.name}: {count} rows")
    return _summarise(lake, source, pool, edition, time.monotonic() - started)


def _find_layout(pool: Pool, wanted: str) -> tuple[str, Iterator[tuple[int, PoolRow]]]:
    """The layout of a pool, and all of its rows."""
    if wanted != "auto" and wanted not in LAYOUTS:
        near = difflib.get_close_matches(wanted, LAYOUTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: auto, {', '.join(LAYOUTS)}"
        raise ImportFailed(f"{pool.shown}: unknown layout {wanted!r}; {hint}")
    rows = read_rows(pool)
    head: list[tuple[int, PoolRow]] = []
    readable: list[dict[str, Any]] = []
    for number, row in rows:
        head.append((number, row))
        if isinstance(row, BadRow):
            continue
        layout = detect_layout(row) if wanted == "auto" else wanted
        if layout is not None and has_keys(layout, row):
            return layout, chain(head, rows)
        readable.append(row)
        if len(readable) == HEAD_ROWS:
            break
    keys = ", ".join(list(readable[0])[:12])
    if wanted == "auto":
        raise ImportFailed(
            f"{pool.shown}: no known layout has the keys {keys}; rename them to those of one of "
            f"{', '.join(LAYOUTS)}"
        )
    raise ImportFailed(
        f"{pool.shown}: its rows are not of the layout {wanted!r}, which needs "
        f"{', '.join(KEYS[wanted])} (they have the keys {keys}); give another layout, or auto"
    )


def _find_done(
    lake: Lake, source: ImportSource, file_hash: str, layout: str
) -> tuple[Edition, set[int], set[str]]:
    """The revision that an import writes, its rows that are there and the pairs they brought."""
    frame = lake.query(
        "SELECT coalesce(revision, 0) AS revision, settings, row, pair_ids FROM imports "
        "WHERE source = ? AND file_hash = ? "
        "QUALIFY coalesce(revision, 0) = max(coalesce(revision, 0)) OVER ()",
        [source.name, file_hash],
    )
    settings = {"layout": layout, "licence": source.licence, "category": source.category}
    settings |= {"gold": True} if source.gold else {}
    edition = Edition(file_hash, layout, write_json(settings))
    if frame.is_empty():
        return edition, set(), set()
    revision = frame["revision"][0]
    if frame["settings"][0] != edition.settings:
        return replace(edition, revision=revision + 1), set(), set()
    pairs = set(frame["pair_ids"].explode().drop_nulls())
    return replace(edition, revision=revision), set(frame["row"]), pairs


def _skip_done(
    rows: Iterator[tuple[int, PoolRow]], done: set[int], intake: Intake
) -> Iterator[tuple[int, PoolRow]]:
    for number, row in rows:
        if number in done:
            intake.remember(row)
        else:
            yield number, row


def _to_frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = polars_schema(table)
    return pl.DataFrame(rows, schema={name: schema[name] for name in rows[0]})


def _summarise(
    lake: Lake, source: ImportSource, pool: Pool, edition: Edition, seconds: float
) -> StageSummary:
    """Counts of a file's rows as the latest revision in `imports` has them."""
    where = "WHERE source = ? AND file_hash = ? AND coalesce(revision, 0) = ?"
    parameters = [source.name, pool.file_hash, edition.revision]
    outcomes: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    for outcome, reason, count in lake.query(
        f"SELECT outcome, reason, count(*) FROM imports {where} GROUP BY ALL ORDER BY ALL",
        parameters,
    ).iter_rows():
        outcomes[outcome] = outcomes.get(outcome, 0) + count
        if outcome == "quarantined":
            quarantined[reason] = count
    totals = lake.query(
        "SELECT count(DISTINCT prompt_id) AS prompts, (SELECT count(DISTINCT pair_id) FROM "
        f"(SELECT unnest(pair_ids) AS pair_id FROM imports {where})) AS pairs, "
        f"coalesce(sum(judgments), 0)::BIGINT AS judgments FROM imports {where}",
        parameters * 2,
    ).row(0, named=True)
    return StageSummary(
        stage=STAGE,
        rows_in=sum(outcomes.values()),
        kept=outcomes.get("kept", 0),
        dropped={
            "identical_responses": outcomes.get("dropped", 0),
            "duplicate": outcomes.get("duplicate", 0),
        },
        quarantined=quarantined,
        seconds=seconds,
        scope=f"{source.name}:{pool.file_hash}",
        extra={
            "source": source.name,
            "layout": edition.layout,
            "file_hash": pool.file_hash,
            **totals,
        },
    )

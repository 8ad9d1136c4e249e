"""A pool of pairs as Parquet files, and the parts in which it is worked off.

A row is a pair: `chosen` and `rejected`, each a text with `prompt` beside it, a conversation (a
list of role and content) or a transcript ("\\n\\nHuman: …\\n\\nAssistant: …"). Of other columns
`pair_id`, `category`, `source`, `difficulty`, `objectivity`, `tier` (gold, silver, candidate) and
`votes` are read where they are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import AssayError

PART_ROWS = 200_000
BATCH_ROWS = 16_384
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
TEXTS = ("prompt", "chosen", "rejected")
FACTS = ("category", "source", "difficulty", "objectivity", "tier", "votes")
FAULTS = (
    "", "no prompt", "no chosen response", "no rejected response", "contexts differ",
    "does not end with the assistant's turn",
)  # fmt: skip
"""Why a row cannot be used, by its code; 0 is a row that can."""


class PoolUnusable(AssayError):
    """A pool that has no pairs that can be read."""


@dataclass(frozen=True)
class PoolPart:
    """Some row groups of a file. `first` is the number of its first row in the file; `key` says
    what is in it: a hash of the file's size and footer (which holds the places and statistics of
    all that is written) and of the row groups."""

    path: str
    groups: tuple[int, ...]
    first: int
    rows: int
    key: str


def list_parts(pool: Path, part_rows: int = PART_ROWS) -> list[PoolPart]:
    """The parts of a Parquet file, or of all Parquet files in a folder, in the order of their
    names, each of about `part_rows` rows. Only footers are read.

    Raises:
        PoolUnusable: no such file, no Parquet, a column is missing, or there are no rows.
    """
    files = sorted(pool.rglob("*.parquet")) if pool.is_dir() else [pool]
    if not files:
        raise PoolUnusable(f"{pool}: no *.parquet file in this folder; name another")
    parts = [part for file in files for part in _list_parts_of(file, part_rows)]
    if not parts:
        raise PoolUnusable(f"{pool}: a pool without rows; name another")
    return parts


def _list_parts_of(file: Path, part_rows: int) -> Iterator[PoolPart]:
    try:
        seal = _seal_file(file)
        metadata = pq.read_metadata(file)
    except FileNotFoundError as error:
        raise PoolUnusable(f"{file}: no such file; check the path") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise PoolUnusable(
            f"{file}: not a Parquet file ({error}); `assay import` reads JSONL and CSV"
        ) from error
    names = metadata.schema.to_arrow_schema().names
    for column in ("chosen", "rejected"):
        if column not in names:
            raise PoolUnusable(
                f"{file}: no column {column!r} (it has {', '.join(names)}); rename yours, or bring "
                "the pool in with `assay import`, which knows more layouts"
            )
    groups: list[int] = []
    first = rows = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= part_rows or group == metadata.num_row_groups - 1:
            if rows:
                key = _hash([file.name, seal, groups])
                yield PoolPart(str(file), tuple(groups), first, rows, key)
            groups, first, rows = [], first + rows, 0


def _seal_file(file: Path) -> str:
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - 8))
        tail = opened.read()
        length = int.from_bytes(tail[:4], "little") if tail[4:] == b"PAR1" else 0
        opened.seek(max(0, size - 8 - length))
        return _hash([size, hashlib.blake2b(opened.read(), digest_size=16).hexdigest()])


def _hash(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def read_part(
    part: PoolPart, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pl.DataFrame]:
    """The rows of a part, `batch_rows` at a time: `prompt`, `chosen`, `rejected` as texts (null
    where they cannot be read), `fault` (a code of `FAULTS`), and those of `columns` that the file
    has. Without `columns` of texts only the others are decoded."""
    with pq.ParquetFile(part.path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        batches = file.iter_batches(batch_rows, row_groups=list(part.groups), columns=there)
        for batch in batches:
            frame = pl.DataFrame(pl.from_arrow(batch))
            yield read_texts(frame) if "chosen" in frame.columns else frame


def read_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with its pairs as texts, see `read_part`."""
    if isinstance(frame.schema["chosen"], pl.List):
        frame = _read_conversations(frame)
    elif "prompt" not in frame.columns:
        frame = _read_transcripts(frame)
    else:
        if isinstance(frame.schema["prompt"], pl.List):
            frame = frame.with_columns(prompt=_join(pl.col("prompt")))
        frame = frame.with_columns(fault=pl.lit(0, pl.Int8))
    empty = {name: pl.col(name).fill_null("").str.strip_chars() == "" for name in TEXTS}
    fault = pl.col("fault")
    return frame.with_columns(
        fault=pl.when(fault > 0).then(fault)
        .when(empty["prompt"]).then(1).when(empty["chosen"]).then(2).when(empty["rejected"])
        .then(3).otherwise(0).cast(pl.Int8)
    )  # fmt: skip


def _read_conversations(frame: pl.DataFrame) -> pl.DataFrame:
    given = frame
    last = {side: pl.col(side).list.last() for side in ("chosen", "rejected")}
    before = {side: pl.col(side).list.head(pl.col(side).list.len().cast(pl.Int64) - 1)
              for side in last}  # fmt: skip
    ends = [message.struct.field("role") == "assistant" for message in last.values()]
    prompt = _join(before["chosen"])
    if "prompt" in given.columns:
        asked = pl.col("prompt")
        asked = _join(asked) if isinstance(given.schema["prompt"], pl.List) else asked
        prompt = pl.when(before["chosen"].list.len() == 0).then(asked).otherwise(prompt)
    same = _join(before["chosen"]) == _join(before["rejected"])
    return given.with_columns(
        prompt=prompt,
        chosen=last["chosen"].struct.field("content"),
        rejected=last["rejected"].struct.field("content"),
        fault=pl.when(~ends[0].fill_null(False) | ~ends[1].fill_null(False)).then(5)
        .when(~same.fill_null(False)).then(4).otherwise(0).cast(pl.Int8),
    )  # fmt: skip


def _read_transcripts(frame: pl.DataFrame) -> pl.DataFrame:
    sides = {}
    for side in ("chosen", "rejected"):
        text = pl.col(side).fill_null("")
        parts = text.str.split(ASSISTANT)
        answer = parts.list.last()
        context = text.str.head(text.str.len_chars() - answer.str.len_chars())
        good = (parts.list.len() > 1) & ~answer.str.contains(HUMAN, literal=True)
        sides[side] = (context.str.strip_suffix(ASSISTANT), answer.str.strip_chars(), good)
    contexts = [sides[side][0] for side in ("chosen", "rejected")]
    return frame.with_columns(
        prompt=contexts[0].str.strip_chars(),
        chosen=sides["chosen"][1],
        rejected=sides["rejected"][1],
        fault=pl.when(~sides["chosen"][2] | ~sides["rejected"][2]).then(5)
        .when(contexts[0] != contexts[1]).then(4).otherwise(0).cast(pl.Int8),
    )  # fmt: skip


def _join(messages: pl.Expr) -> pl.Expr:
    return messages.list.eval(pl.element().struct.field("content")).list.join("\n")

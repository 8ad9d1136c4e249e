"""Reading the files that preference pools come in, row by row.

A row that cannot be read is reported in its place, so that one bad line never costs the rest of
a pool; a file of which nothing can be read is an error that names the mend.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import AssayError
from schemas.ids import ID_BYTES, make_id

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".csv")
HUB = "hub:"
UNREADABLE_ROWS = 1000
"""A pool whose first so many rows are all unreadable is taken for something else."""


class ImportFailed(AssayError):
    """A pool that cannot be imported; the message names the file and the mend."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: why, and its text as far as it could be made out."""

    reason: str
    text: str


Numbered = Iterator[tuple[int, dict[str, Any] | BadRow]]


@dataclass(frozen=True)
class Pool:
    """A pool that was found: how messages call it, the hash of its content, and where it is.

    `splits` holds the data sets of a saved or hub pool, which are read one after the other.
    """

    shown: str
    file_hash: str
    file: Path | None = None
    splits: tuple[Any, ...] = ()


def open_pool(path: str, base_dir: Path | None = None) -> Pool:
    """Find a pool: a `.parquet`, `.jsonl`, `.jsonl.gz` or `.csv` file, a folder that
    `save_to_disk` wrote, or `hub:ORG/NAME`. A relative path is taken from `base_dir`.

    Raises:
        ImportFailed: it is missing, empty, of an unknown kind, or cannot be opened.
    """
    if path.startswith(HUB):
        return _open_hub(path)
    file = (base_dir or Path()) / path
    try:
        if file.is_dir():
            return _open_saved(file)
        if not file.exists():
            raise ImportFailed(f"{file}: no such file; check the path of the import")
        if not file.name.lower().endswith(SUFFIXES):
            raise ImportFailed(
                f"{file}: unknown kind of file; give {', '.join(SUFFIXES)}, a folder that "
                "`save_to_disk` wrote, or hub:ORG/NAME"
            )
        if file.stat().st_size == 0:
            raise ImportFailed(f"{file}: the file is empty; fetch it again")
        return Pool(str(file), _hash_files([file]), file=file)
    except OSError as error:
        raise ImportFailed(f"{file}: cannot be read: {error.strerror or error}") from error


def read_rows(pool: Pool) -> Numbered:
    """Yield (row number from 0, row or `BadRow`) in the order of the pool.

    Blank lines of a JSONL file are no rows. A gzip stream that breaks off ends in a `BadRow`.

    Raises:
        ImportFailed: no row of the pool can be read, or a Parquet file is damaged.
    """
    held: list[tuple[int, BadRow]] = []
    rows = _read_any(pool)
    for number, row in rows:
        if not isinstance(row, BadRow):
            yield from held
            yield number, row
            yield from rows
            return
        held.append((number, row))
        if len(held) >= UNREADABLE_ROWS:
            break
    if not held:
        raise ImportFailed(f"{pool.shown}: it holds no rows; fetch it again")
    raise ImportFailed(
        f"{pool.shown}: none of its first {len(held)} rows can be read ({held[0][1].reason}); "
        f"check that it is UTF-8 text or Parquet, as its name says, and fetch it again"
    )


def _read_any(pool: Pool) -> Numbered:
    if pool.file is None:
        return enumerate(chain.from_iterable(pool.splits))
    name = pool.file.name.lower()
    if name.endswith(".parquet"):
        return enumerate(_read_parquet(pool.file))
    if name.endswith(".csv"):
        return enumerate(_read_csv(pool.file))
    return enumerate(_read_jsonl(pool.file))


def _read_jsonl(file: Path) -> Iterator[dict[str, Any] | BadRow]:
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    first = True
    with opener(file, "rb") as handle:
        while True:
            try:
                line = handle.readline()
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                yield BadRow("the gzip stream is truncated or damaged here", str(error))
                return
            if not line:
                return
            if first:
                line, first = line.removeprefix(b"\xef\xbb\xbf"), False
            if line.strip():
                yield _parse_line(line)


def _parse_line(line: bytes) -> dict[str, Any] | BadRow:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return BadRow("not UTF-8", line.decode(errors="backslashreplace"))
        try:  # orjson is fast and strict; Python itself writes NaN and long integers
            row = json.loads(text)
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return BadRow("text is not valid Unicode", text)
        except (ValueError, RecursionError):
            return BadRow("not JSON", text)
    if isinstance(row, dict):
        return row
    return BadRow("not a JSON object", line.decode())


def _read_csv(file: Path) -> Iterator[dict[str, Any] | BadRow]:
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        reader = csv.reader(handle)
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow("not CSV", str(error))
                continue
            if not cells:
                continue
            text = ",".join(cells)
            if not _is_unicode(text):
                raw = text.encode(errors="surrogateescape")
                yield BadRow("not UTF-8", raw.decode(errors="backslashreplace"))
            elif header is None:
                header = cells
            elif len(cells) != len(header):
                yield BadRow("not as many cells as the header", text)
            else:
                yield dict(zip(header, cells, strict=True))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(file: Path) -> Iterator[dict[str, Any] | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=1000):
                try:
                    yield from batch.to_pylist()
                except UnicodeDecodeError:
                    yield from _take_apart(batch)
    except (pa.ArrowException, OSError) as error:
        raise ImportFailed(
            f"{file}: not a whole Parquet file ({str(error).splitlines()[0]}); fetch it again"
        ) from error


def _take_apart(batch: Any) -> Iterator[dict[str, Any] | BadRow]:
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        try:
            yield row.to_pylist()[0]
        except UnicodeDecodeError as error:
            yield BadRow("not UTF-8", error.object.decode(errors="backslashreplace"))


def _open_saved(folder: Path) -> Pool:
    from datasets import load_from_disk

    try:
        splits = _split(load_from_disk(str(folder)))
    except Exception as error:  # the library raises many kinds, Arrow's among them
        raise ImportFailed(
            f"{folder}: not a folder that `save_to_disk` wrote, or a damaged one "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    return Pool(str(folder), _hash_files(sorted(folder.rglob("*.arrow"))), splits=splits)


def _open_hub(path: str) -> Pool:
    from datasets import load_dataset

    try:
        splits = _split(load_dataset(path.removeprefix(HUB)))
    except Exception as error:  # network, hub, format and Arrow errors have no common root
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportFailed(
            f"{path}: cannot be loaded ({first_line}); check the name and the network, or give "
            "a file or a folder that `save_to_disk` wrote"
        ) from error
    files = [Path(part["filename"]) for split in splits for part in split.cache_files]
    held_in_memory = [split._fingerprint for split in splits if not split.cache_files]
    return Pool(path, make_id("hub", _hash_files(files), held_in_memory), splits=splits)


def _split(dataset: Any) -> tuple[Any, ...]:
    return tuple(dataset.values()) if isinstance(dataset, dict) else (dataset,)


def _hash_files(files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=ID_BYTES)
    for file in files:
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

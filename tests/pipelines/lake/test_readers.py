"""Readers: every form of file gives the same rows, and bad ones stand in their place."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.lake import readers
from pipelines.lake.catalogue import Lake
from pipelines.lake.readers import BadRow, ImportFailed, open_pool, read_rows
from tests.pipelines.lake.pools import (
    TABLES,
    TRL,
    bring,
    count,
    write_jsonl,
)


def write_pool(folder: Path, form: str, rows: list[dict[str, Any]]) -> str:
    frame = pl.DataFrame(rows)
    if form == "parquet":
        frame.write_parquet(folder / "pool.parquet")
        return str(folder / "pool.parquet")
    if form == "csv":
        frame.write_csv(folder / "pool.csv")
        return str(folder / "pool.csv")
    if form == "saved":
        from datasets import Dataset, DatasetDict

        splits = {"train": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:])}
        DatasetDict(splits).save_to_disk(str(folder / "pool"))
        return str(folder / "pool")
    plain = write_jsonl(folder / "pool.jsonl", *rows)
    if form == "jsonl.gz":
        (folder / "pool.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
        return str(folder / "pool.jsonl.gz")
    return f"hub:{folder}" if form == "hub" else str(plain)


@pytest.mark.parametrize("form", ["parquet", "csv", "saved", "jsonl", "jsonl.gz", "hub"])
def test_every_form_of_file_gives_the_same_rows(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "hub":  # a folder stands in for the hub: same function, no network
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    text = 'An "odd" text,\nwith é, a comma and two lines.'
    rows = [{**TRL, "prompt": f"{n}. {text}"} for n in range(3)]
    folder = tmp_path / "data"
    folder.mkdir()
    pool = open_pool(write_pool(folder, form, rows))
    assert list(read_rows(pool)) == list(enumerate(rows))
    assert len(pool.file_hash) == 32


def test_bad_lines_stand_in_their_place(tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "p.jsonl",
        b"\xef\xbb\xbf" + json.dumps(TRL).encode(),
        b"{broken",
        b'{"prompt": "caf\xe9"}',
        b"",
        b"[1, 2]",
        b'{"prompt": "\\ud800"}',
        b'{"margin": NaN}',
    )
    rows = [row for _, row in read_rows(open_pool(str(file)))]
    reasons = [row.reason if isinstance(row, BadRow) else None for row in rows]
    assert reasons == [
        None,
        "not JSON",
        "not UTF-8",
        "not a JSON object",
        "text is not valid Unicode",
        None,
    ]
    assert rows[0] == TRL
    assert rows[2] == BadRow("not UTF-8", '{"prompt": "caf\\xe9"}\n')


def test_bad_csv_rows_stand_in_their_place(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_bytes(b'a,b\n1,"x\ny"\n2\n3,caf\xe9\n4,z\n')
    assert [row for _, row in read_rows(open_pool(str(file)))] == [
        {"a": "1", "b": "x\ny"},
        BadRow("not as many cells as the header", "2"),
        BadRow("not UTF-8", "3,caf\\xe9"),
        {"a": "4", "b": "z"},
    ]


def test_a_parquet_text_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([b"good", b"caf\xe9", b"fine"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"text": column}), tmp_path / "p.parquet")
    assert [row for _, row in read_rows(open_pool(str(tmp_path / "p.parquet")))] == [
        {"text": "good"},
        BadRow("not UTF-8", "caf\\xe9"),
        {"text": "fine"},
    ]


def test_a_truncated_gzip_gives_what_came_before(tmp_path: Path) -> None:
    lines = [json.dumps({**TRL, "prompt": os.urandom(300).hex()}) for _ in range(200)]
    whole = gzip.compress("\n".join(lines).encode())
    file = tmp_path / "p.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    rows = [row for _, row in read_rows(open_pool(str(file)))]
    assert 50 < len(rows) < 150
    assert rows[:-1] == [json.loads(line) for line in lines[: len(rows) - 1]]
    assert isinstance(rows[-1], BadRow)
    assert "truncated" in rows[-1].reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "file is empty"),
        ("blank.jsonl", b"\n\n", "holds no rows"),
        ("header.csv", b"prompt,chosen,rejected\n", "holds no rows"),
        ("pool.txt", b"{}", "unknown kind of file"),
        ("utf16.jsonl", json.dumps(TRL).encode("utf-16"), "none of its first 1 rows"),
        ("noise.jsonl", b"\xff\xfe\n" * 3000, "none of its first 1000 rows"),
        ("plain.jsonl.gz", b"not gzip at all", "none of its first 1 rows"),
        ("cut.parquet", b"PAR1 and no more", "not a whole Parquet file"),
        ("keys.jsonl", b'{"text": "a"}\n', "no known layout has the keys text"),
        ("folder", "a folder", "not a folder that `save_to_disk` wrote"),
    ],
)
def test_files_that_cannot_be_used_name_themselves_and_leave_no_trace(
    lake: Lake, tmp_path: Path, name: str, content: bytes | str | None, message: str
) -> None:
    file = tmp_path / name
    if isinstance(content, str):
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(ImportFailed, match=message) as failure:
        bring(lake, file)
    assert str(file) in str(failure.value)
    assert {table: count(lake, table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_a_long_run_of_bad_rows_before_good_ones_is_survived(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "UNREADABLE_ROWS", 301)
    summary = bring(lake, write_jsonl(tmp_path / "p.jsonl", *[b"{broken"] * 300, TRL))
    assert (summary.kept, summary.quarantined) == (1, {"not JSON": 300})

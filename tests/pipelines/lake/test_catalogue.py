"""The lake: appends, contracts, time travel, writers at once, PostgreSQL, faults."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake import places
from pipelines.lake.catalogue import Lake, LakeError, open_lake, parse_place
from pipelines.lake.locks import LeaseHeld
from pipelines.lake.run import StageSummary, new_run
from schemas.tables import SCHEMA_VERSION, TABLES, polars_schema

ROOT = Path(__file__).parents[3]


def make_responses(keys: list[str], content: str = "text") -> list[dict[str, str]]:
    return [{"response_id": key, "prompt_id": "p", "content": content} for key in keys]


def count(lake: Lake, table: str = "responses") -> int:
    return lake.query(f"SELECT count(*) AS n FROM {table}")["n"][0]


def test_every_table_exists_with_its_columns(lake: Lake) -> None:
    for table in TABLES:
        frame = lake.query(f"FROM {table} LIMIT 0")
        assert dict(frame.schema) == dict(polars_schema(table)), table


def test_append_leaves_out_keys_that_are_there(lake: Lake) -> None:
    run = new_run()
    lake.append({"responses": make_responses(["a", "b", "a"])}, run=run, stage="t")
    second = lake.append({"responses": make_responses(["b", "c"])}, run=run, stage="t")
    assert second.inserted == {"responses": 1}
    assert second.duplicates == {"responses": 1}
    assert sorted(lake.query("FROM responses")["response_id"]) == ["a", "b", "c"]


def test_rows_that_break_the_contract_are_quarantined_with_their_reason(lake: Lake) -> None:
    bad = {"response_id": "x", "prompt_id": "", "content": None}
    outcome = lake.append(
        {"responses": [*make_responses(["a"]), bad]}, run=new_run(), stage="import"
    )
    assert outcome.inserted["responses"] == 1
    assert sum(outcome.quarantined.values()) == 1
    row = lake.query("FROM quarantine").row(0, named=True)
    assert row["stage"] == "import"
    assert "prompt_id min_length" in row["reason"] and "content nullability" in row["reason"]
    assert '"response_id": "x"' in row["row"]


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=5))
def test_a_key_is_stored_once_whatever_the_batches(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]
) -> None:
    with open_lake(tmp_path_factory.mktemp("lake")) as lake:
        for batch in batches:
            outcome = lake.append({"responses": make_responses(batch)}, run=new_run(), stage="t")
            assert outcome.inserted["responses"] + outcome.duplicates["responses"] == len(batch)
        expected = sorted({key for batch in batches for key in batch})
        assert sorted(lake.query("FROM responses")["response_id"]) == expected


def test_unknown_column_is_an_error_and_not_a_silent_loss(lake: Lake) -> None:
    with pytest.raises(ValueError, match="colour"):
        lake.append({"responses": [{"response_id": "a", "colour": 1}]}, run=new_run(), stage="t")


def test_a_transaction_over_two_tables_is_all_or_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.catalogue.key_columns", _break_on("splits"))
    with pytest.raises(RuntimeError, match="power cut"):
        lake.append({"responses": make_responses(["a"]), "splits": []}, run=new_run(), stage="t")
    monkeypatch.undo()
    assert count(lake) == 0
    lake.append({"responses": make_responses(["a"])}, run=new_run(), stage="t")
    assert count(lake) == 1


def _break_on(name: str):
    from schemas.tables import key_columns

    calls = {"n": 0}

    def fail(table: str) -> list[str]:
        if table == name:
            calls["n"] += 1
            if calls["n"] > 1:  # the first call deduplicates, the second writes
                raise RuntimeError("power cut")
        return key_columns(table)

    return fail


def test_time_travel_survives_later_appends_and_compaction(lake: Lake) -> None:
    run = new_run()
    for key in "abcdef":
        lake.append({"responses": make_responses([key])}, run=run, stage="t")
    snapshot = lake.snapshot()
    lake.append({"responses": make_responses(["later"])}, run=run, stage="t")
    assert lake.compact() > 0
    then = lake.query_at(snapshot, "SELECT response_id FROM responses ORDER BY 1")
    assert then["response_id"].to_list() == list("abcdef")
    assert count(lake) == 7


def test_commits_carry_author_and_message(lake: Lake) -> None:
    lake.append(
        {"responses": make_responses(["a"])}, run=new_run(), stage="rollouts", message="1 result"
    )
    last = lake.query("FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1").row(0, named=True)
    assert (last["author"], last["commit_message"]) == ("assay:rollouts", "1 result")


def test_a_lake_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with open_lake(tmp_path) as lake:
        lake._cursor().execute("UPDATE lake_meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(LakeError, match=r"schema version 99.*newer Assay"):
        open_lake(tmp_path)


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LakeError, match="cannot make this folder"):
        open_lake(file)
    with pytest.raises(LakeError, match="a lake is a folder"):
        parse_place("s3://bucket/lake")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host/db?data_path=/x",
        "postgresql://me:s3cret@host/db",
        "postgresql://me:s3/cret@host/db?data_path=/x",
        "postgresql://me:s3#cret@host/db?data_path=/x",
        "postgresql://me:s3?cret@host/db?data_path=/x",
        "postgresql://me:s3cret@[host/db?data_path=/x",
        "postgresql://me@host/db?data_path=/x&password=s3cret",
        "postgres://host/db?pass%77ord=s3cret",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(LakeError, match=r"PGPASSWORD or in ~/\.pgpass") as failure:
        open_lake(url)
    assert "s3" not in str(failure.value) and "cret" not in str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@host/db",
        "postgresql://me@one:5432,two:5433/db",
        "postgresql://postgres:@/db?host=%2Ftmp%2Fs",
        "postgresql://me@[::1]:5432/db",
    ],
)
def test_a_url_without_a_password_is_taken(url: str) -> None:
    with_path = f"{url}{'&' if '?' in url else '?'}data_path=/x"
    assert parse_place(with_path).postgres_url == url
    with pytest.raises(LakeError, match="data_path"):
        parse_place(url)


def test_a_server_that_is_down_is_named_with_the_mend() -> None:
    with pytest.raises(
        LakeError, match=r"127\.0\.0\.1:1/db.*cannot be reached.*check that it runs"
    ):
        open_lake("postgresql://me@127.0.0.1:1/db?data_path=/x")


@pytest.mark.parametrize("blocked", ["leases.sqlite", "commit.lock", "catalog.sqlite"])
def test_a_folder_that_cannot_be_written_is_named_with_the_mend(
    tmp_path: Path, blocked: str
) -> None:
    (tmp_path / "lake" / blocked).mkdir(parents=True)  # also root cannot write a folder as a file
    with pytest.raises(LakeError, match=rf"{tmp_path}/lake: .*cannot be written.*--lake"):
        open_lake(tmp_path / "lake")


@pytest.mark.parametrize("form", ["{}", "{}/deep", "duckdb:{}"])
def test_a_lake_that_is_only_read_is_not_made(tmp_path: Path, form: str) -> None:
    url = form.format(tmp_path)
    with pytest.raises(LakeError, match=rf"{url}: no lake there.*assay run or assay import makes"):
        open_lake(url, create=False)
    assert list(tmp_path.iterdir()) == []
    open_lake(url).close()
    open_lake(url, create=False).close()


def test_a_failing_compaction_is_explained(lake: Lake) -> None:
    lake._cursor().execute("USE memory; DETACH lake")
    with pytest.raises(LakeError, match=str(lake.place.shown)):
        lake.compact()


def test_a_lake_of_an_older_schema_gets_the_new_columns_and_keeps_its_rows(tmp_path: Path) -> None:
    with open_lake(tmp_path) as lake:
        lake.append({"responses": make_responses(["a"])}, run=new_run(), stage="t")
        cursor = lake._cursor()
        cursor.execute("UPDATE lake_meta SET value = '1' WHERE key = 'schema_version'")
        cursor.execute("ALTER TABLE responses DROP COLUMN content")
        cursor.execute("DROP TABLE exams")
    with open_lake(tmp_path) as lake:
        assert lake.query("SELECT response_id, content FROM responses").rows() == [("a", None)]
        lake.append({"responses": make_responses(["b"])}, run=new_run(), stage="t")
        assert (count(lake), count(lake, "exams")) == (2, 0)
        version = lake.query("SELECT value FROM lake_meta WHERE key = 'schema_version'")["value"]
        assert version.to_list() == [str(SCHEMA_VERSION)]


def test_duckdb_file_catalogue(tmp_path: Path) -> None:
    with open_lake(f"duckdb:{tmp_path}") as lake:
        lake.append({"responses": make_responses(["a"])}, run=new_run(), stage="t")
    with open_lake(tmp_path) as lake:  # the folder says which catalogue it has
        assert count(lake) == 1


def test_an_extension_file_that_somebody_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(tmp_path / "lake"):
        pass  # this process has checked the signatures of the files that ship
    changed = tmp_path / "ducklake.duckdb_extension"
    content = bytearray(places.find_extension("ducklake").read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    find = places.find_extension
    monkeypatch.setattr(
        "pipelines.lake.catalogue.find_extension",
        lambda name: changed if name == "ducklake" else find(name),
    )
    for _ in range(2):
        with pytest.raises(LakeError, match="signature"):
            open_lake(tmp_path / "lake")


def test_a_lake_may_be_moved(tmp_path: Path) -> None:
    with open_lake(tmp_path / "before") as lake:
        lake.append({"responses": make_responses(["a"])}, run=new_run(), stage="t")
    (tmp_path / "before").rename(tmp_path / "after")
    with open_lake(tmp_path / "after") as lake:
        lake.append({"responses": make_responses(["b"])}, run=new_run(), stage="t")
        assert count(lake) == 2


WRITER = """
import sys
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
run = new_run()
with open_lake(sys.argv[1]) as lake:
    for start in range(0, 10_000, 2_500):
        rows = [{"response_id": f"k{i}", "prompt_id": "p", "content": "x"}
                for i in range(start, start + 2_500)]
        lake.append({"responses": rows}, run=run, stage="t")
"""


def append_from_processes(url: str, writers: int) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, url], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(writers)
    ]
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()


@pytest.mark.timeout(300)
def test_eight_processes_appending_the_same_keys_leave_each_once(tmp_path: Path) -> None:
    append_from_processes(str(tmp_path / "lake"), 8)
    with open_lake(tmp_path / "lake") as lake:
        frame = lake.query("SELECT count(*) AS n, count(DISTINCT response_id) AS d FROM responses")
        assert frame.row(0) == (10_000, 10_000)


@pytest.mark.timeout(300)
def test_postgresql_catalogue(postgres_url: str, tmp_path: Path) -> None:
    url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}data_path={tmp_path / 'data'}"
    with pytest.raises(LakeError, match="no lake there"):
        open_lake(url, create=False)
    append_from_processes(url, 3)
    with open_lake(url, create=False) as lake:
        assert count(lake) == 10_000
        snapshot = lake.snapshot()
        lake.append({"responses": make_responses(["later"])}, run=new_run(), stage="t")
        then = lake.query_at(snapshot, "SELECT count(*) AS n FROM responses")
        assert then["n"][0] == 10_000
        with (
            lake.lease("judge", new_run()),
            pytest.raises(LeaseHeld, match="judge is held by process"),
            lake.lease("judge", new_run(), wait_seconds=0),
        ):
            pass
        lake.compact()
        assert count(lake) == 10_001


def test_a_summary_that_loses_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="3 rows came in and 2 are accounted for"):
        StageSummary("filter", rows_in=3, kept=1, dropped={"empty": 1})
    kept = StageSummary("filter", 3, 1, {"empty": 1}, quarantined={"bad": 1}, extra={"calls": 4})
    assert StageSummary.from_json(kept.to_json()) == kept


def test_frames_can_be_joined_by_keyword(lake: Lake) -> None:
    lake.append({"responses": make_responses(["a", "b"])}, run=new_run(), stage="t")
    wanted = pl.DataFrame({"response_id": ["b", "c"]})
    missing = lake.query("FROM wanted ANTI JOIN responses USING (response_id)", wanted=wanted)
    assert missing["response_id"].to_list() == ["c"]


def test_a_full_disk_is_named_and_what_was_committed_is_safe(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("a small disk takes the right to mount one")
    try:
        committed = 0
        with open_lake(place / "lake") as lake:
            with pytest.raises(LakeError, match="disk is full; what was committed is safe"):  # noqa: PT012
                for batch in range(40):
                    rng = random.Random(batch)
                    rows = make_responses([f"{batch}-{i}" for i in range(500)])
                    for row in rows:
                        row["content"] = rng.randbytes(1000).hex()
                    lake.append({"responses": rows}, run=new_run(), stage="t")
                    committed += 500
            assert count(lake) == committed > 0
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)

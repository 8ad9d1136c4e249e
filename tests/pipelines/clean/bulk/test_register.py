"""The decisions of a pool in the lake: each once, whoever was killed, and under whose name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.clean.bulk import register
from pipelines.clean.bulk.clean import clean_pool, make_clean_scope
from pipelines.clean.bulk.pool import PoolUnusable, list_parts
from pipelines.clean.bulk.sketch import Plan
from pipelines.lake.catalogue import Appended, Lake, open_lake
from pipelines.lake.run import Run, new_run
from tests.pipelines.clean.bulk.pools import make_rows, write_pool

PLAN = Plan(similarity=0.7)
COLUMNS = ["item_id", "action", "rule", "reason", "value", "threshold", "representative"]


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = make_rows(120)
    return write_pool(tmp_path / "pool", [rows[::2], rows[1::2]])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "CHUNK", 5)
    monkeypatch.setattr(register, "TEXT_CHUNK", 2)


def read_lake(lake: Lake, scope: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the lake has of a scope, and of the quarantine."""
    decided = lake.query("FROM decisions WHERE scope = ? ORDER BY item_id", [scope])
    return decided, lake.query("FROM quarantine ORDER BY position")


def hold_against_files(lake: Lake, out: Path, scope: str) -> None:
    decided, quarantined = read_lake(lake, scope)
    written = pl.read_parquet(out / "decisions" / "*.parquet").sort("item_id")
    dropped = written.filter(action="drop")
    assert decided.select(COLUMNS).equals(dropped.select(COLUMNS))
    assert set(decided["item_kind"]) == {"row"} and set(decided["stage"]) == {"clean"}
    bad = written.filter(action="quarantine")
    assert quarantined["position"].to_list() == bad["item_id"].to_list()
    assert quarantined["reason"].to_list() == bad["reason"].to_list()
    assert [json.loads(row)["pair_id"] for row in quarantined["row"]] == bad["item_id"].to_list()


def test_each_decision_is_registered_once(lake: Lake, pool: Path, tmp_path: Path) -> None:
    first = clean_pool(pool, tmp_path / "out", PLAN, new_run(), lake=lake)
    new = first.extra["registered"]
    assert new["decisions"] == sum(first.dropped.values()) > 0
    assert new["quarantine"] == sum(first.quarantined.values()) > 0
    hold_against_files(lake, tmp_path / "out", str(first.scope))
    again = clean_pool(pool, tmp_path / "elsewhere", PLAN, new_run(), lake=lake)
    assert again.scope == first.scope
    assert again.extra["registered"] == {"decisions": 0, "quarantine": 0}
    hold_against_files(lake, tmp_path / "elsewhere", str(first.scope))
    runs = lake.query("SELECT scope, summary FROM runs WHERE stage = 'clean'")
    assert runs["scope"].to_list() == [first.scope]
    assert json.loads(runs["summary"][0])["kept"] == first.kept


def test_killed_before_or_after_any_commit_it_leaves_no_gap_and_no_double(
    lake: Lake, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, out, left = Lake.append, tmp_path / "out", [0]

    def die(self: Lake, tables: Any, *, run: Run, stage: str, message: str = "") -> Appended:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        done = append(self, tables, run=run, stage=stage, message=message)
        if left[0] == 1:
            raise Killed
        return done

    summary = clean_pool(pool, out, PLAN, new_run())
    files, scope = (out / "decisions", out / "quarantine"), str(summary.scope)
    monkeypatch.setattr(Lake, "append", die)
    for place in (1, 2, 3, 4, 5, 7):
        left[0] = place
        with pytest.raises(Killed):
            register.register_rows(lake, new_run(), pool, *files, summary)
        assert lake.query("FROM runs WHERE stage = 'clean'").is_empty()
        assert read_lake(lake, scope)[0]["item_id"].is_unique().all()
    left[0] = 0
    last = clean_pool(pool, out, PLAN, new_run(), lake=lake)
    assert last.scope == scope
    assert 0 < last.extra["registered"]["decisions"] < sum(summary.dropped.values())
    hold_against_files(lake, out, scope)


def test_of_two_committers_one_writes(pool: Path, tmp_path: Path) -> None:
    def commit(name: str) -> dict[str, int]:
        with open_lake(tmp_path / "lake") as mine:
            done = clean_pool(pool, tmp_path / name, PLAN, new_run(), lake=mine)
            return dict(done.extra["registered"])

    with ThreadPoolExecutor(2) as both:
        found = sorted(both.map(commit, ["one", "two"]), key=lambda new: new["decisions"])
    assert found[0] == {"decisions": 0, "quarantine": 0}
    assert found[1]["decisions"] > 0


def test_a_scope_is_of_the_plan_and_the_rows_and_not_of_their_order(
    pool: Path, tmp_path: Path
) -> None:
    parts = list_parts(pool)
    scope = make_clean_scope(PLAN, parts, None, 0)
    assert make_clean_scope(PLAN, parts[::-1], None, 0) == scope
    close = Plan(similarity=0.695)
    assert close.key == PLAN.key, "both have the same bands"
    assert make_clean_scope(close, parts, None, 0) != scope
    assert make_clean_scope(PLAN, parts, None, 1) != scope
    assert make_clean_scope(PLAN, parts[:1], None, 0) != scope


def test_rows_that_share_a_name_are_refused_before_anything_is_written(
    lake: Lake, tmp_path: Path
) -> None:
    rows = make_rows(40)
    rows[3]["pair_id"] = rows[30]["pair_id"] = "the same"
    pool = write_pool(tmp_path / "pool", [rows])
    with pytest.raises(PoolUnusable, match=r"2 rows are called 'the same'.*pair_id of its own"):
        clean_pool(pool, tmp_path / "out", PLAN, new_run(), lake=lake)
    assert lake.query("FROM decisions").is_empty()
    assert clean_pool(pool, tmp_path / "out", PLAN, new_run()).rows_in == len(rows)


def test_rows_without_a_name_go_by_file_and_number(lake: Lake, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "pair_id"} for row in make_rows(40)]
    summary = clean_pool(write_pool(tmp_path / "pool", [rows]), tmp_path / "out", PLAN, new_run(),
                         lake=lake)  # fmt: skip
    names = read_lake(lake, str(summary.scope))[0]["item_id"]
    assert len(names) and names.str.contains(r"^file0\.parquet:\d+$").all()


def test_a_pool_of_which_nothing_is_dropped_is_registered_as_well(
    lake: Lake, tmp_path: Path
) -> None:
    rows = [row for row in make_rows(40) if row["pair_id"].startswith("own")]
    pool = write_pool(tmp_path / "pool", [rows])
    summary = clean_pool(pool, tmp_path / "out", PLAN, new_run(), lake=lake)
    assert summary.extra["registered"] == {"decisions": 0, "quarantine": 0}
    assert len(lake.query("FROM runs WHERE stage = 'clean'")) == 1

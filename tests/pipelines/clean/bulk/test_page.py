"""The page of a cleaned pool: every rule with its rows, and nothing of the pool read but these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.clean.bulk import page
from pipelines.clean.bulk.clean import clean_pool
from pipelines.clean.bulk.page import EXAMPLES, list_short, read_rows
from pipelines.clean.bulk.pool import PoolPart, list_parts, read_part
from pipelines.clean.bulk.sketch import Plan, Sketch
from pipelines.clean.rule_names import name_rule
from pipelines.lake.run import new_run
from schemas.mixing import MixSpec
from tests.pipelines.clean.bulk.pools import make_rows, write_pool

PLAN = Plan(similarity=0.7)
MIX = MixSpec(total=60, categories={"a": 0.5, "none": 0.4}, per_cluster=2)


def read_rules(text: str) -> dict[str, tuple[int, str]]:
    """Rule -> the rows that the page says it took, and what it shows of them."""
    found = re.findall(r"<summary>(\w[^:]*): ([\d,]+) (.*?)</details>", text, re.DOTALL)
    bare = re.compile(r"^(.*) \((\w+)\)$")
    for said, _, _ in found:
        if named := bare.match(said):
            assert named[1] == name_rule(named[2])
    return {bare.sub(r"\2", name): (int(rows.replace(",", "")), shown)
            for name, rows, shown in found}  # fmt: skip


def test_every_rule_is_counted_and_has_rows_to_read(tmp_path: Path) -> None:
    rows = make_rows(150)
    pool, out = write_pool(tmp_path / "pool", [rows[::2], rows[1::2]]), tmp_path / "out"
    summary = clean_pool(pool, out, PLAN, new_run(), mix=MIX)
    text = (out / "report.html").read_text("utf-8")
    rules = read_rules(text)
    taken = {**summary.quarantined, **summary.dropped}
    assert {name: rows for name, (rows, _) in rules.items()} == taken
    assert {"duplicate_pair", "mirrored_pair", "near_duplicate", "identical_responses"} <= set(
        taken
    )
    decided = pl.concat(pl.read_parquet(file) for file in (out / "decisions").glob("*.parquet"))
    texts = {row["pair_id"]: row for row in rows}
    for name, (count, shown) in rules.items():
        ids = re.findall(r"<code>([^<]+)</code>", shown)
        assert len(ids) == min(EXAMPLES, count)
        met = decided.filter(pl.col("item_id").is_in(ids))
        assert set(met["rule"]) | set(met["reason"]) >= {name}
        for item in ids:
            words = re.sub(r"<[^>]+>", "", shown)
            assert texts[item]["prompt"].strip() in words, "the row itself, whole"
        beside = name in ("duplicate_pair", "mirrored_pair", "near_duplicate")
        assert shown.count('class="head right"') == (len(ids) if beside else 0)
    assert "<mark>" in rules["near_duplicate"][1]
    assert "<mark>changed</mark>" in text


def test_decisions_are_read_until_none_can_lie_nearer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"prompt": "Is it so?", "chosen": "It is so.", "rejected": "It is not."}
    twins = [{**row, "prompt": f"{i}", "rejected": row["chosen"]} for i in range(4 * EXAMPLES)]
    broken = {**row, "chosen": None}
    files = [[broken], [row, *twins[:EXAMPLES]], twins[EXAMPLES:], twins]
    read: list[str] = []
    whole = pl.read_parquet

    def note(source: Path, **more: Any) -> pl.DataFrame:
        if source.parent.name == "decisions":
            read.append(source.name)
        return whole(source, **more)

    monkeypatch.setattr(page.pl, "read_parquet", note)
    clean_pool(write_pool(tmp_path / "pool", files), tmp_path / "out", PLAN, new_run())
    assert read == ["part-00000.parquet", "part-00001.parquet"]
    assert len(list((tmp_path / "out" / "decisions").iterdir())) == len(files)


def test_a_contradiction_that_nobody_wins_stands_beside_its_opposite(tmp_path: Path) -> None:
    row = {"prompt": "Is it so?", "chosen": "It is <i>so</i>.", "rejected": "It is not."}
    turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    clean_pool(write_pool(tmp_path / "pool", [[row, turned]]), tmp_path / "out", PLAN, new_run())
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert text.count('class="head right">contradicts it') == 2
    assert text.count("rejected, the same") == text.count("chosen, the same") == 2
    assert "It is &lt;i&gt;so&lt;/i&gt;." in text


def test_a_pool_of_which_all_is_kept_has_a_page(tmp_path: Path) -> None:
    row = {"prompt": "Is it so?", "chosen": "It is so.", "rejected": "It is not."}
    clean_pool(write_pool(tmp_path / "pool", [[row]]), tmp_path / "out", PLAN, new_run())
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "1 rows came in and 1 are kept (100.0 %)" in text
    assert "<details" not in text


def test_only_the_row_groups_of_the_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in make_rows(300, seed=1) if row["rejected"] and row["rejected"].strip()]
    pool = write_pool(tmp_path / "pool", [rows[:100], rows[100:]], group=20)
    sketches = [Sketch(part, tmp_path) for part in list_parts(pool, part_rows=60)]
    seen: list[tuple[int, ...]] = []

    def read(part: PoolPart, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        seen.append(part.groups)
        return read_part(part, columns, rows)

    monkeypatch.setattr(page, "read_part", read)
    wanted = np.array([3, 7, 99, 100, 161])
    found = read_rows(sketches, wanted)
    assert {row: text["chosen"] for row, text in found.items()} == {
        int(row): rows[row]["chosen"] for row in wanted
    }
    assert seen == [(0,), (4,), (0,), (3,)]
    assert read_rows(sketches, wanted[:0]) == {}


def test_quotas_that_were_not_met_come_worst_first() -> None:
    quota = {"category": {"a": {"wanted": 5, "got": 5, "available": 9},
                          "b": {"wanted": 5, "got": 4, "available": 4}},
             "source": {"x": {"wanted": 9, "got": 2, "available": 2}}}  # fmt: skip
    assert [(row["name"], row["short"]) for row in list_short(quota)] == [("x", 7), ("b", 1)]

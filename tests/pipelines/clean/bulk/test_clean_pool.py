"""A pool of files from end to end: the laws of dedup and mixing, growth, and hostile rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.clean.bulk.clean import clean_pool
from pipelines.clean.bulk.pool import PoolUnusable
from pipelines.clean.bulk.sketch import Plan
from pipelines.clean.contamination import gather_references
from pipelines.clean.evaluation_sets import read_evaluation_set
from pipelines.lake.run import new_run
from schemas.mixing import MixSpec
from tests.pipelines.clean.bulk.pools import SCHEMA, make_rows, read_decisions, write_pool

PLAN = Plan(similarity=0.7)
MIX = MixSpec(total=120, categories={"a": 0.5}, sources={"x": 0.2}, per_cluster=2)


def clean(pool: Path, out: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The decisions and the summary."""
    summary = clean_pool(pool, out, more.pop("plan", PLAN), new_run(), **more).to_json()
    gone = sum(summary["dropped"].values()) + sum(summary["quarantined"].values())
    assert summary["rows_in"] == summary["kept"] + gone
    assert json.loads((out / "summary.json").read_text()) == summary
    return read_decisions(out), summary


def test_each_planted_repeat_meets_its_rule(tmp_path: Path) -> None:
    rows = make_rows(150)
    found, summary = clean(write_pool(tmp_path / "pool", [rows[::2], rows[1::2]]), tmp_path / "out")
    rules = Counter(rule for rule, _ in found.values())
    assert rules["unusable"] == 6 and summary["quarantined"] == {"no rejected response": 6}
    assert rules["identical_responses"] == 6
    texts = {row["pair_id"]: row for row in rows}
    for item, (rule, stands) in found.items():
        if rule == "duplicate_pair":
            assert texts[item]["chosen"] == texts[stands]["chosen"]
        elif rule == "mirrored_pair" and stands:
            assert texts[item]["chosen"] == texts[stands]["rejected"]
        elif rule == "near_duplicate":
            assert item.startswith(("near", "own", "same", "mirror"))
    assert rules["near_duplicate"] >= 5
    kept = set(texts) - set(found)
    assert all(stands in kept or found[stands][0] == "near_duplicate"
               for _, stands in found.values() if stands)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_order_files_and_row_groups_change_nothing(tmp_path: Path, seed: int) -> None:
    rows = make_rows(120, seed)
    rng = random.Random(seed)
    found, summary = clean(write_pool(tmp_path / "one", [rows]), tmp_path / "a", mix=MIX, seed=seed)
    rng.shuffle(rows)
    cut = rng.randrange(len(rows))
    pool = write_pool(tmp_path / "two", [rows[:cut], rows[cut:]], group=rng.choice([7, 1000]))
    again, same = clean(pool, tmp_path / "b", mix=MIX, seed=seed)
    assert again == found
    assert same["quota"] == summary["quota"] and same["dropped"] == summary["dropped"]


@pytest.mark.parametrize("seed", range(3))
def test_a_grown_pool_ends_as_if_it_had_been_so_from_the_start(tmp_path: Path, seed: int) -> None:
    rows = make_rows(150, seed)
    pool = write_pool(tmp_path / "pool", [rows[:100], rows[100:140]])
    clean(pool, tmp_path / "out", mix=MIX)
    write_pool(tmp_path / "pool", [rows[:100], rows[100:140], rows[140:]])
    grown, summary = clean(pool, tmp_path / "out", mix=MIX)
    assert (summary["parts"], summary["sketched"]) == (3, 1)
    fresh, _ = clean(pool, tmp_path / "other", mix=MIX)
    assert grown == fresh


def test_a_second_cleaning_of_what_was_kept_drops_nothing(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", [make_rows(200, 3)])
    _, first = clean(pool, tmp_path / "out", mix=MIX, kept=True)
    found, summary = clean(tmp_path / "out" / "kept", tmp_path / "again", mix=MIX)
    assert found == {}
    assert summary["kept"] == first["kept"] > 100


def test_the_same_pool_again_reads_no_text(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", [make_rows(60)])
    found, summary = clean(pool, tmp_path / "out")
    again, second = clean(pool, tmp_path / "out")
    assert (summary["sketched"], second["sketched"]) == (1, 0)
    assert again == found


def test_the_better_supported_side_of_a_contradiction_stays(tmp_path: Path) -> None:
    pair = {"prompt": "Why is it so?", "chosen": "Because.", "rejected": "No idea."}
    mirror = {**pair, "chosen": "No idea.", "rejected": "Because."}
    rows = [
        {"pair_id": "a", **pair}, {"pair_id": "b", **mirror}, {"pair_id": "c", **mirror},
        {"pair_id": "d", **pair, "prompt": "And this?"},
        {"pair_id": "e", **mirror, "prompt": "And this?"},
        {"pair_id": "f", **pair, "prompt": "Who says?", "tier": "gold"},
        {"pair_id": "g", **mirror, "prompt": "Who says?", "tier": "silver", "votes": 9},
    ]  # fmt: skip
    rows = [{"tier": None, "votes": None, **row} for row in rows]
    found, _ = clean(write_pool(tmp_path / "pool", [rows]), tmp_path / "out")
    assert found["a"][0] == "mirrored_pair" and found["a"][1] in ("b", "c")
    assert Counter(rule for rule, _ in found.values()) == {"mirrored_pair": 4, "duplicate_pair": 1}
    assert found["d"] == found["e"] == ("mirrored_pair", None)
    assert found["g"] == ("mirrored_pair", "f")


def test_a_repeated_evaluation_prompt_names_its_row(tmp_path: Path) -> None:
    asked = "How many apples does Ann have left if she gives three of her nine apples to Ben today?"
    file = tmp_path / "exam.jsonl"
    file.write_text(json.dumps({"prompt": asked}))
    rows = make_rows(40)
    rows[3]["prompt"] = f"Please solve this. {asked.upper()} Thanks."
    least = {"exact": 1.0, "13gram": 0.0}
    plan = Plan(0.7, gather_references([read_evaluation_set(str(file))]), least)
    found, summary = clean(write_pool(tmp_path / "pool", [rows]), tmp_path / "out", plan=plan)
    assert found[rows[3]["pair_id"]] == ("contaminated_13gram", None)
    assert summary["dropped"]["contaminated_13gram"] == 1
    frame = pl.read_parquet(tmp_path / "out" / "decisions" / "*.parquet")
    [row] = frame.filter(rule="contaminated_13gram").to_dicts()
    assert "exam row" in row["reason"] and "how many apples" in row["reason"]
    assert row["value"] == 1.0


def test_hostile_rows_are_decided_and_not_died_of(tmp_path: Path) -> None:
    rows = make_rows(30)
    base = rows[0]
    odd = {
        "huge": {"chosen": "very long " * 500_000},
        "nul": {"chosen": "a\0b and then some more words"},
        "rtl": {"chosen": "\u202eabc שלום عليكم \u200f of the world"},
        "blank": {"chosen": ""},
        "none": {"prompt": None},
    }
    own = {name: {side: f"{name} {row[side]}" for side in ("prompt", "chosen", "rejected")}
           for name, row in zip(odd, make_rows(30, seed=9), strict=False)}  # fmt: skip
    rows += [{**base, **own[name], "pair_id": name, **texts} for name, texts in odd.items()]
    crowd = {**base, "prompt": "the one prompt that everybody has"}
    rows += [{**crowd, "pair_id": f"crowd{i}"} for i in range(20_000)]
    found, summary = clean(write_pool(tmp_path / "pool", [rows]), tmp_path / "out")
    assert summary["quarantined"]["no chosen response"] == 1
    assert summary["quarantined"]["no prompt"] == 1
    assert found["blank"] == found["none"] == ("unusable", None)
    assert not {"huge", "nul", "rtl"} & found.keys()
    # the crowd is near to `base`: of all of them one stays
    alike = {base["pair_id"], *(f"crowd{i}" for i in range(20_000))}
    assert len(alike - found.keys()) == 1


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "no such file"),
        (lambda folder: folder.mkdir(), "no \\*.parquet file"),
        (lambda folder: folder.write_text("{}"), "not a Parquet file"),
        (lambda folder: pl.DataFrame({"a": [1]}).write_parquet(folder), "no column 'chosen'"),
        (lambda folder: pl.DataFrame(schema=SCHEMA).write_parquet(folder), "a pool without rows"),
    ],
)
def test_a_pool_that_is_none_is_refused(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "pool")
    with pytest.raises(PoolUnusable, match=message):
        clean_pool(tmp_path / "pool", tmp_path / "out", PLAN, new_run())

"""`assay loop`, and the shipped recipe that needs no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.commands.looping import tabulate_iterations
from tests.conftest import run_here, write_recipe
from tests.pipelines.label.loop.planted_pool import (
    make_pool_recipe,
    plant_pool,
    use_numbers,
    write_pool,
)


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    use_numbers(monkeypatch)


def test_it_imports_reads_and_labels(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.jsonl", plant_pool(140), gold=90)
    file = write_recipe(tmp_path / "recipe.yaml", make_pool_recipe(pool))
    done = run_here("loop", file, "--lake", tmp_path / "lake", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows_in"] == told["kept"] + sum(told["dropped"].values()) == 140
    assert [row["stage"] for row in told["stages"]] == ["recycle", "label", "review_queue"]
    again = run_here("loop", file, "--lake", tmp_path / "lake")
    assert again.returncode == 0 and "recycle" in again.stdout


def test_a_recipe_without_a_loop_is_told_what_it_lacks(tmp_path: Path) -> None:
    done = run_here("loop", "tiny", "--lake", tmp_path / "lake")
    assert done.returncode == 1 and "add `loop: {}`" in done.stderr


def test_the_shipped_pool_is_read_without_a_model(tmp_path: Path) -> None:
    done = run_here("loop", "curate_pool", "--lake", tmp_path / "lake", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    reading = told["reading"]
    assert {voice["voice"] for voice in reading["voices"]} >= {
        "label", "import:opinions/checker", "import:opinions/ranker"
    }  # fmt: skip
    assert reading["gold"] >= 50
    assert all("little or no gold in some categories" in line for line in reading["notices"])
    assert told["rows_in"] == told["kept"] + sum(told["dropped"].values())


def test_the_table_says_why_a_loop_ended() -> None:
    row = {"number": 1, "kind": "retrieval", "status": "done", "pairs": 9, "people": 0, "gold": 60,
           "accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "accuracy_read": 0.9,
           "verdicts": 18, "tokens_in": 100, "tokens_out": 18, "minutes": 0.0,
           "ended": "because"}  # fmt: skip
    lines = tabulate_iterations([row, {**row, "number": 2, "accuracy": None, "ended": None}])
    assert "70.0%" in lines[1] and "60.0% to 80.0%" in lines[1]
    assert lines[-1] == "1: because" and tabulate_iterations([]) == []
